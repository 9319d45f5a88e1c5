//! Upstream servers that are not what they should be: untrusted, dead, slow, breaking off.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use policyd_tests::agent::{Outcome, Sdk, Step};
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::process::Running;
use policyd_tests::server::{McpServer, Options};
use policyd_tests::site::{Site, read_head};
use policyd_tests::systems::WORKBENCH;
use policyd_tests::world::{World, hosts};

const ALLOW: &str = r#"{"version": "1", "default": "allow"}"#;
const PING: &str = r#"{"jsonrpc":"2.0","id":41,"method":"tools/call","params":{"name":"echo"}}"#;

fn curl(daemon: &Daemon<'_>, url: &str) -> String {
    let mut curl = daemon.agent("anna");
    curl.args(["curl", "--silent", "--show-error", "--max-time", "25", "--http1.1"]);
    curl.args([
        "--header",
        "content-type: application/json",
        "--header",
        "accept: application/json, text/event-stream",
    ]);
    curl.args(["--data", PING, url]);
    let finished = Running::start(curl).finish();
    finished.stdout + &finished.stderr
}

#[test]
fn an_untrusted_certificate_is_an_error_that_says_so() {
    let world = World::new();
    let address = (WORKBENCH.host.v4(), 443).into();
    let tls = world.stranger.server(&[WORKBENCH.host.name]);
    let server = McpServer::at(&world, address, Some(tls), &WORKBENCH, Options::default());
    let policy = world.file("policy.json", ALLOW);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    let answer = curl(&daemon, &WORKBENCH.url());
    assert!(answer.contains(r#""id":41"#) && answer.contains("error"), "{answer}");
    assert!(answer.contains("certificate"), "{answer}");
    assert_eq!(server.seen(), []);
    assert!(daemon.metric("policyd_upstream_errors_total", &[]) >= 1.0, "{}", daemon.metrics());
    drop(daemon);

    // The same server, once its root is named.
    let roots = format!("[tls]\nextra_roots = [\"{}\"]", world.path("stranger.pem").display());
    let config = Config::new().section(&roots).system(&world, &WORKBENCH, &policy, &["anna"]);
    let daemon = Daemon::start(&world, &config);
    let transcript = Sdk::Python2.run(daemon.agent("anna"), &WORKBENCH.url(), &[Step::call("echo", 1)]);
    assert_eq!(transcript.calls("echo"), [Outcome::Ok("{}".to_owned())]);
}

#[test]
fn a_certificate_for_another_name_is_not_accepted() {
    let world = World::new();
    let address = (WORKBENCH.host.v4(), 443).into();
    let tls = world.authority.server(&["someone-else.example"]);
    let server = McpServer::at(&world, address, Some(tls), &WORKBENCH, Options::default());
    let policy = world.file("policy.json", ALLOW);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    let answer = curl(&daemon, &WORKBENCH.url());
    assert!(answer.contains("error") && answer.contains("certificate"), "{answer}");
    assert_eq!(server.seen(), []);
}

#[test]
fn a_server_that_is_down_is_an_error_and_gives_the_quota_back() {
    let world = World::new();
    let policy = world.file(
        "policy.json",
        r#"{"version": "1", "default": "deny", "tools": {"echo": {"limits": [{"counter": "c", "window": "hour", "max": 1}]}}}"#,
    );
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    for _ in 0..2 {
        let answer = curl(&daemon, &WORKBENCH.url());
        assert!(answer.contains(r#""id":41"#) && answer.contains("error"), "{answer}");
        assert!(!answer.contains("rate limit"), "{answer}");
    }
    let server = McpServer::start(&world, &WORKBENCH);
    let transcript = Sdk::Python2.run(daemon.agent("anna"), &WORKBENCH.url(), &[Step::call("echo", 2)]);
    assert!(matches!(&transcript.calls("echo")[..], [Outcome::Ok(_), Outcome::Failed(_)]), "{transcript:#?}");
    assert_eq!(server.count("echo"), 1);
    assert!(daemon.audit().iter().any(|record| record["quota_returned"] == true), "{:#?}", daemon.audit());
}

#[test]
fn one_dead_and_one_live_address_are_reached_as_without_policyd() {
    let world = World::new();
    let tls = world.authority.server(&[hosts::TWO_HOMED.name]);
    let address = (hosts::TWO_HOMED.v4(), 443).into();
    let _server = McpServer::at(&world, address, Some(tls), &WORKBENCH, Options::default());
    let policy = world.file("policy.json", ALLOW);
    let url = format!("https://{}/mcp", hosts::TWO_HOMED.name);
    let config =
        Config::new().server("two-homed", &url).grant("anna", &world.agent_cgroup("anna"), "two-homed", &policy);
    let daemon = Daemon::start(&world, &config);
    let transcript = Sdk::Python2.run(daemon.agent("anna"), &url, &[Step::call("echo", 1)]);
    assert_eq!(transcript.calls("echo"), [Outcome::Ok("{}".to_owned())], "{transcript:#?}");
}

#[test]
fn a_server_that_breaks_off_its_answer_does_not_hang_the_client() {
    let world = World::new();
    let tls = world.authority.server_with_alpn(&[WORKBENCH.host.name], &["http/1.1"]);
    let _peer = Site::at(&world, (WORKBENCH.host.v4(), 443).into(), Some(tls), |stream| {
        read_head(stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"jsonrpc\"")
            .ok();
    });
    let policy = world.file("policy.json", ALLOW);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    let answer = curl(&daemon, &WORKBENCH.url());
    assert!(!answer.contains("timed out"), "{answer}");
}

#[test]
fn a_server_that_answers_nonsense_is_an_error() {
    let world = World::new();
    let tls = world.authority.server_with_alpn(&[WORKBENCH.host.name], &["http/1.1"]);
    let _peer = Site::at(&world, (WORKBENCH.host.v4(), 443).into(), Some(tls), |stream| {
        read_head(stream);
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").ok();
    });
    let policy = world.file("policy.json", ALLOW);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    let answer = curl(&daemon, &WORKBENCH.url());
    assert!(answer.contains(r#""id":41"#) && answer.contains("error"), "{answer}");
}

#[test]
fn a_silent_server_times_out_by_the_stated_setting() {
    let world = World::new();
    let tls = world.authority.server_with_alpn(&[WORKBENCH.host.name], &["http/1.1"]);
    let _peer = Site::at(&world, (WORKBENCH.host.v4(), 443).into(), Some(tls), |stream| {
        std::io::copy(&mut &mut *stream, &mut std::io::sink()).ok();
    });
    let policy = world.file("policy.json", ALLOW);
    let config =
        Config::new().section("[timeouts]\nresponse = \"300ms\"").system(&world, &WORKBENCH, &policy, &["anna"]);
    let daemon = Daemon::start(&world, &config);
    let answer = curl(&daemon, &WORKBENCH.url());
    assert!(answer.contains(r#""id":41"#) && answer.contains("error"), "{answer}");
}

/// What a client that offers only HTTP/2 and then keeps silent sees: the protocol that was selected, and the end.
const SILENT: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
context.set_alpn_protocols(["h2"])
stream = context.wrap_socket(socket.create_connection((sys.argv[1], 443), 10), server_hostname="workbench.example")
print("selected", stream.selected_alpn_protocol(), flush=True)
try:
    while stream.recv(4096):
        pass
    print("ended", flush=True)
except TimeoutError:
    print("still open", flush=True)
except OSError:
    print("ended", flush=True)
"#;

fn silent(daemon: &Daemon<'_>) -> String {
    let mut python = daemon.agent("anna");
    python.args(["python3", "-c", SILENT, &WORKBENCH.host.v4().to_string()]).arg(daemon.root());
    let finished = Running::start(python).finish();
    finished.stdout + &finished.stderr
}

#[test]
fn http2_is_named_only_where_the_server_speaks_it_and_its_silence_has_an_end() {
    let world = World::new();
    let policy = world.file("policy.json", ALLOW);
    let config = Config::new().section("[timeouts]\nidle = \"1s\"").system(&world, &WORKBENCH, &policy, &["anna"]);
    let address = (WORKBENCH.host.v4(), 443).into();
    let tls = world.authority.server_with_alpn(&[WORKBENCH.host.name], &["http/1.1"]);
    let server = McpServer::at(&world, address, Some(tls), &WORKBENCH, Options::default());
    let daemon = Daemon::start(&world, &config);
    let answer = silent(&daemon);
    assert!(answer.contains("selected None") && answer.contains("ended"), "{answer}");
    drop((server, daemon));

    let world = World::new();
    let policy = world.file("policy.json", ALLOW);
    let config = Config::new().section("[timeouts]\nidle = \"1s\"").system(&world, &WORKBENCH, &policy, &["anna"]);
    let _server = McpServer::start(&world, &WORKBENCH);
    let daemon = Daemon::start(&world, &config);
    let answer = silent(&daemon);
    assert!(answer.contains("selected h2") && answer.contains("ended"), "{answer}");
}
