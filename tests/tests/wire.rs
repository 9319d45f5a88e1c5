//! What goes over the wire: malformed bodies, disagreeing names, other paths, other hosts, HTTP/2.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;

use policyd_tests::agent::{Outcome, Sdk, Step, binary};
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::process::Running;
use policyd_tests::raw::{self, Target};
use policyd_tests::server::{McpServer, Options};
use policyd_tests::site::Site;
use policyd_tests::systems::{WORKBENCH, repository};
use policyd_tests::wait;
use policyd_tests::world::{World, hosts};

const DENYING: &str =
    r#"{"version": "1", "default": "deny", "tools": {"echo": {}, "hold": {}, "progress": {}, "big": {}}}"#;

struct Scene<'w> {
    world: &'w World,
    daemon: Daemon<'w>,
    bundle: PathBuf,
}

impl<'w> Scene<'w> {
    fn new(world: &'w World) -> Self {
        Self::with(world, Config::new())
    }

    fn with(world: &'w World, config: Config) -> Self {
        let policy = world.file("policy.json", DENYING);
        let daemon = Daemon::start(world, &config.system(world, &WORKBENCH, &policy, &["anna"]));
        let bundle = daemon.root();
        Self { world, daemon, bundle }
    }

    /// Sends these bytes to the workbench over TLS under its own name.
    fn send(&self, bytes: &[u8]) -> String {
        let target =
            Target { address: (WORKBENCH.host.v4(), 443).into(), sni: Some(WORKBENCH.host.name), roots: &self.bundle };
        let answer = raw::exchange(self.world, "anna", target, bytes);
        assert!(!answer.stdout.is_empty(), "no answer: {answer:?}\n{}", self.daemon.log());
        answer.stdout
    }
}

fn post(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "POST /mcp HTTP/1.1\r\nhost: workbench.example\r\naccept: application/json, text/event-stream\r\n\
         connection: close\r\ncontent-length: {}\r\n{head}\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

const JSON: &str = "content-type: application/json\r\n";

#[test]
fn a_host_that_disagrees_with_the_server_name_is_misdirected() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let scene = Scene::new(&world);
    let answer = scene.send(b"GET / HTTP/1.1\r\nhost: www.site.example\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    assert_eq!(server.seen(), []);
    let answer = scene.send(b"GET / HTTP/1.1\r\nhost: workbench.example\r\nconnection: close\r\n\r\n");
    assert!(answer.contains("an ordinary page"), "{answer}");
}

#[test]
fn json_rpc_is_policed_on_every_path_with_every_media_type() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let scene = Scene::new(&world);
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"delete_account"}}"#;
    for path in ["/mcp/", "//mcp", "/sse", "/anything?else=1", "/%6dcp"] {
        for media in ["content-type: application/json\r\n", "content-type: text/plain\r\n", ""] {
            let bytes = format!(
                "POST {path} HTTP/1.1\r\nhost: workbench.example\r\nconnection: close\r\n{media}content-length: {}\r\n\r\n{call}",
                call.len()
            );
            let answer = scene.send(bytes.as_bytes());
            assert!(!answer.contains("an ordinary page"), "{path} {media:?}: {answer}");
        }
    }
    assert_eq!(server.seen(), [], "a denied call reached the server on another path");
    let form = "POST /oauth/token HTTP/1.1\r\nhost: workbench.example\r\nconnection: close\r\n\
        content-type: application/x-www-form-urlencoded\r\ncontent-length: 10\r\n\r\ngrant=code";
    assert!(scene.send(form.as_bytes()).contains("an ordinary page"));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_body_that_its_server_would_decode_first_is_not_taken_for_what_it_seems() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let scene = Scene::new(&world);
    // Harmless as UTF-8; in UTF-7, which some servers decode, a call of a tool that is denied.
    let body = concat!(
        r#"{"a":"+ACI-,+ACI-jsonrpc+ACI-:+ACI-2.0+ACI-,+ACI-id+ACI-:1,+ACI-method+ACI-:+ACI-tools/call+ACI-,"#,
        r#"+ACI-params+ACI-:+AHsAIg-name+ACI-:+ACI-delete+AF8-account+ACIAfQ-,+ACI-b+ACI-:+ACI-"}"#
    );
    for head in [
        "content-type: application/json; charset=utf-7",
        "content-type: text/plain; charset=\"UTF-7\"",
        "content-type: application/json\r\ncontent-encoding: x-unknown",
    ] {
        let bytes = format!(
            "POST /mcp/ HTTP/1.1\r\nhost: workbench.example\r\nconnection: close\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = scene.send(bytes.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 422"), "{head}: {answer}");
    }
    assert_eq!(server.seen(), []);
}

#[test]
fn other_paths_can_be_refused() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let policy = world.file("policy.json", DENYING);
    let config = Config::new().server_with("workbench", &WORKBENCH.url(), "other_paths = \"refuse\"").grant(
        "anna",
        &world.agent_cgroup("anna"),
        "workbench",
        &policy,
    );
    let daemon = Daemon::start(&world, &config);
    let bundle = daemon.root();
    let scene = Scene { world: &world, daemon, bundle };
    let answer = scene.send(b"GET /rest/delete HTTP/1.1\r\nhost: workbench.example\r\nconnection: close\r\n\r\n");
    assert!(!answer.contains("an ordinary page"), "{answer}");
    assert_eq!(server.seen(), []);
}

#[test]
fn batches_do_not_carry_a_denied_call_through() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let scene = Scene::new(&world);
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"delete_account"}}]"#;
    scene.send(&post(JSON, batch.as_bytes()));
    assert_eq!(server.seen(), []);
}

#[test]
fn an_ordinary_site_is_passed_with_its_own_certificate() {
    let world = World::new();
    let site = Site::start(&world);
    let scene = Scene::new(&world);
    // Only the world's authority is trusted here: a certificate of policyd's would fail the handshake.
    let roots = world.path("test-root.pem");
    let target = Target { address: (hosts::SITE.v4(), 443).into(), sni: Some(hosts::SITE.name), roots: &roots };
    let answer = raw::exchange(&world, "anna", target, b"GET / HTTP/1.1\r\nhost: www.site.example\r\n\r\n");
    assert!(answer.stdout.ends_with("the site itself"), "{answer:?}");
    assert_eq!(site.connections(), 1);
    assert!(scene.daemon.metric("policyd_connections_total", &["pass"]) >= 1.0, "{}", scene.daemon.metrics());
    // And an inspected server shows policyd's: the same trust does not suffice.
    let target = Target { address: (WORKBENCH.host.v4(), 443).into(), sni: Some(WORKBENCH.host.name), roots: &roots };
    let answer = raw::exchange(&world, "anna", target, b"GET / HTTP/1.1\r\nhost: workbench.example\r\n\r\n");
    assert!(answer.stderr.contains("handshake"), "{answer:?}");
}

#[test]
fn a_protected_address_is_not_reached_under_another_name_or_none() {
    let world = World::new();
    let tls = world.authority.server_with_alpn(&[hosts::FRONT.name, WORKBENCH.host.name], &["http/1.1"]);
    let peer = Site::at(&world, (WORKBENCH.host.v4(), 443).into(), Some(tls), |stream| {
        stream.write_all(b"reached\n").ok();
    });
    let scene = Scene::new(&world);
    let roots = world.path("test-root.pem");
    let address = (WORKBENCH.host.v4(), 443).into();
    for sni in [Some(hosts::FRONT.name), None] {
        let answer = raw::exchange(&world, "anna", Target { address, sni, roots: &roots }, b"hello\r\n\r\n");
        assert!(!answer.stdout.contains("reached"), "{sni:?}: {answer:?}");
    }
    assert_eq!(peer.connections(), 0, "the protected address was reached");
    assert!(scene.daemon.metric("policyd_connections_refused_total", &[]) >= 2.0, "{}", scene.daemon.metrics());
}

#[test]
fn under_shared_pass_another_name_passes() {
    let world = World::new();
    let tls = world.authority.server_with_alpn(&[hosts::FRONT.name], &["http/1.1"]);
    let _peer = Site::at(&world, (WORKBENCH.host.v4(), 443).into(), Some(tls), |stream| {
        stream.write_all(b"reached\n").ok();
    });
    let _scene = Scene::with(&world, Config::new().capture("shared = \"pass\""));
    let roots = world.path("test-root.pem");
    let target = Target { address: (WORKBENCH.host.v4(), 443).into(), sni: Some(hosts::FRONT.name), roots: &roots };
    let answer = raw::exchange(&world, "anna", target, b"hello\r\n\r\n");
    assert!(answer.stdout.contains("reached"), "{answer:?}");
}

#[test]
fn who_waits_out_the_peek_timeout_is_classified_all_the_same() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let site = Site::start(&world);
    let scene = Scene::with(&world, Config::new().section("[timeouts]\npeek = \"200ms\""));
    let address = (WORKBENCH.host.v4(), 443).into();
    let target = Target { address, sni: Some(WORKBENCH.host.name), roots: &scene.bundle };
    let mut client = raw::start(&world, "anna", target, &["--wait"]);
    client.line("connected", 0, |line| line == "connected");
    // A second silent client, towards a site that passes: once the timeout has opened its upstream (for servers that
    // speak first), the first client's timeout is over too.
    let silent = Target { address: (hosts::SITE.v4(), 443).into(), sni: None, roots: &scene.bundle };
    let _clock = raw::start(&world, "anna", silent, &["--wait"]);
    wait::until("the timeout to open an upstream", || (site.connections() > 0).then_some(()));
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"delete_account"}}"#;
    client.write(b"go\n");
    client.write(&post(JSON, call.as_bytes()));
    let answer = client.finish();
    assert!(answer.stdout.contains("Denied by policy"), "{answer:?}");
    assert_eq!(server.seen(), [], "the late call went through unread");
}

#[test]
fn http2_clients_are_policed_and_get_http2() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let scene = Scene::new(&world);
    let transcript =
        Sdk::Rust.run(scene.daemon.agent("anna"), &WORKBENCH.url(), &[Step::call("echo", 2), Step::call("fail", 1)]);
    assert_eq!(transcript.calls("echo"), vec![Outcome::Ok("{}".to_owned()); 2]);
    assert!(matches!(&transcript.calls("fail")[..], [Outcome::Failed(text)] if text.starts_with("Denied by policy")));
    assert!(server.seen().iter().all(|seen| seen.h2), "{:?}", server.seen());

    let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"delete_account"}}"#;
    let mut curl = scene.daemon.agent("anna");
    curl.args(["curl", "--silent", "--show-error", "--http2", "--write-out", "\n%{http_version} %{http_code}"]);
    curl.args(["--header", "content-type: application/json", "--data", body, &WORKBENCH.url()]);
    let answer = Running::start(curl).finish();
    assert!(answer.stdout.contains("Denied by policy"), "{answer:?}");
    assert!(answer.stdout.ends_with("2 200"), "{answer:?}");
}

#[test]
fn a_plain_server_on_loopback_works_like_any_other() {
    let world = World::new();
    let mut everything = world.inside();
    everything.args(["env", "PORT=3000", "node"]);
    everything.arg(repository().join(".cache/node/node_modules/@modelcontextprotocol/server-everything/dist/index.js"));
    everything.arg("streamableHttp");
    let everything = Running::start(everything);
    wait::until("server-everything to listen", || {
        let connected = world.on_agents_side(|| std::net::TcpStream::connect("127.0.0.1:3000").is_ok());
        connected.join().unwrap().then_some(())
    });
    let policy = world.file("policy.json", r#"{"version": "1", "default": "deny", "tools": {"echo": {}}}"#);
    let url = "http://127.0.0.1:3000/mcp";
    let config =
        Config::new().server("everything", url).grant("anna", &world.agent_cgroup("anna"), "everything", &policy);
    let daemon = Daemon::start(&world, &config);
    for sdk in [Sdk::TypeScript, Sdk::Python1] {
        let steps = [Step::List, Step::Call("echo", serde_json::json!({"message": "hi"}), 1), Step::call("get-env", 1)];
        let transcript = sdk.run(daemon.agent("anna"), url, &steps);
        assert_eq!(transcript.list(0), ["echo"], "{sdk:?}");
        assert_eq!(transcript.calls("echo"), [Outcome::Ok("Echo: hi".to_owned())], "{sdk:?}");
        assert!(
            matches!(&transcript.calls("get-env")[..], [Outcome::Failed(text)] if text.starts_with("Denied by policy")),
            "{transcript:#?}"
        );
    }
    drop(everything);
}

#[test]
fn large_results_and_progress_stream_through() {
    let world = World::new();
    let server = McpServer::with(&world, &WORKBENCH, Options { sessions: false, ..Options::default() });
    let scene = Scene::new(&world);
    let big = Step::Call("big", serde_json::json!({"bytes": 900_000}), 1);
    let transcript = Sdk::Python2.run(scene.daemon.agent("anna"), &WORKBENCH.url(), &[big]);
    let answers = transcript.calls("big");
    let lengths: Vec<usize> = answers.iter().map(|answer| answer.text().len()).collect();
    assert_eq!(lengths, [900_000], "{:.300} {:.300}", transcript.finished.stdout, transcript.finished.stderr);

    // A progress event must arrive while the call is still held: nothing is collected before it is sent on.
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"progress","arguments":{"steps":2},"_meta":{"progressToken":"t"}}}"#;
    let mut agent = scene.daemon.agent("anna");
    agent.arg(binary("agent")).args(["raw", &format!("{}:443", WORKBENCH.host.v4()), "--sni", WORKBENCH.host.name]);
    agent.arg("--roots").arg(&scene.bundle);
    let mut client = Running::start(agent);
    let head = "content-type: application/json\r\nmcp-protocol-version: 2025-06-18\r\n";
    client.write(&post(head, body.as_bytes()));
    client.close_stdin();
    server.wait_for("progress", 1);
    client.line("the second progress event", 0, |line| line.contains(r#""progress":2"#));
    assert!(!client.stdout().iter().any(|line| line.contains("progressed")), "answered before it was released");
    server.release(1);
    client.line("the result", 0, |line| line.contains("progressed"));
}
