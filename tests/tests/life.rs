//! The daemon's life: crash and restart, reload, drain, bad configuration.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use nix::sys::signal::Signal;
use policyd_tests::agent::{Outcome, Sdk, Step, Transcript};
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::process::Running;
use policyd_tests::raw::{self, Target};
use policyd_tests::server::McpServer;
use policyd_tests::site::{Site, read_head};
use policyd_tests::systems::{PROMPTFAX, WORKBENCH, repository};
use policyd_tests::wait;
use policyd_tests::world::{World, cgroup2_mount};

const ALLOW: &str = r#"{"version": "1", "default": "allow"}"#;

fn is_wait(line: &str) -> bool {
    line.contains("wait")
}

#[test]
fn killed_it_lets_nobody_out_and_restarted_it_takes_over() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let policy = world.file("policy.json", ALLOW);
    let config = Config::new().system(&world, &WORKBENCH, &policy, &["anna"]);
    let daemon = Daemon::start(&world, &config);
    let steps = [Step::call("echo", 1)];
    let agent = daemon.agent("anna");
    assert_eq!(Sdk::Python2.run(agent, &WORKBENCH.url(), &steps).calls("echo").len(), 1);
    let before = server.connections();
    daemon.kill();

    let mut curl = world.agent("anna");
    curl.args(["curl", "--silent", "--show-error", "--insecure", "--max-time", "10", &WORKBENCH.url()]);
    let refused = Running::start(curl).finish();
    assert!(!refused.status.success(), "{refused:?}");
    assert_eq!(server.connections(), before, "the agent got out while policyd was dead");

    let daemon = Daemon::start(&world, &config);
    let transcript = Sdk::Python2.run(daemon.agent("anna"), &WORKBENCH.url(), &steps);
    assert_eq!(transcript.calls("echo"), [Outcome::Ok("{}".to_owned())]);
}

#[test]
fn a_reload_keeps_counters_and_a_bad_policy_keeps_the_old_one() {
    let world = World::new();
    let server = McpServer::start(&world, &PROMPTFAX);
    let text = std::fs::read_to_string(PROMPTFAX.policy()).unwrap();
    let policy = world.file("policy.json", &text);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &PROMPTFAX, &policy, &["anna"]));
    let steps = [
        Step::call("start_session", 6),
        Step::Wait,
        Step::call("start_session", 5),
        Step::Wait,
        Step::call("start_session", 1),
        Step::call("get_status", 1),
    ];
    let mut client = Sdk::TypeScript.start(daemon.agent("anna"), &PROMPTFAX.url(), &steps);
    let (line, _) = client.line("the first wait", 0, is_wait);

    // A reload that changes something else: the six calls still count.
    let reloads = || daemon.metric("policyd_reloads_total", &["result=\"success\""]);
    let before = reloads();
    world.file("policy.json", text.replacen("\"tools\": {", "\"tools\": {\n    \"get_quote\": {},", 1));
    daemon.signal(Signal::SIGHUP);
    wait::until("the reload", || (reloads() > before).then_some(()));
    client.write(b"\n");
    let (line, _) = client.line("the second wait", line + 1, is_wait);

    // A policy that does not load: said everywhere, and the old one stays in force.
    let failures = || daemon.metric("policyd_reloads_total", &[]) - reloads();
    let before = failures();
    world.file("policy.json", r#"{"version": "1", "default": "alow"}"#);
    daemon.signal(Signal::SIGHUP);
    wait::until("the failed reload", || (failures() > before).then_some(()));
    let (_, ready) = daemon.get("/readyz").unwrap();
    assert!(ready.contains("policy.json") || ready.contains("reload"), "{ready}");
    assert!(daemon.log().contains("policy.json"), "{}", daemon.log());
    client.write(b"\n");
    let transcript = Transcript::of(client.finish());
    assert!(line > 0);

    let calls = transcript.calls("start_session");
    assert!(calls[..10].iter().all(|call| matches!(call, Outcome::Ok(_))), "{calls:?}");
    assert!(calls[10..].iter().all(|call| matches!(call, Outcome::Failed(_))), "{calls:?}");
    assert!(matches!(&transcript.calls("get_status")[..], [Outcome::Failed(_)]), "{transcript:#?}");
    assert_eq!(server.count("start_session"), 10);
}

#[test]
fn a_changed_file_is_reloaded_by_itself() {
    let world = World::new();
    let _server = McpServer::start(&world, &WORKBENCH);
    let policy = world.file("policy.json", ALLOW);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    let before = daemon.metric("policyd_reloads_total", &["result=\"success\""]);
    world.file("policy.json", r#"{"version": "1", "default": "deny"}"#);
    wait::until("the reload", || {
        (daemon.metric("policyd_reloads_total", &["result=\"success\""]) > before).then_some(())
    });
    let transcript = Sdk::Python2.run(daemon.agent("anna"), &WORKBENCH.url(), &[Step::call("echo", 1)]);
    assert!(matches!(&transcript.calls("echo")[..], [Outcome::Failed(_)]), "{transcript:#?}");
}

#[test]
fn a_removed_grant_ends_what_it_allowed() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let policy = world.file("policy.json", ALLOW);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna", "bert"]));
    let steps = [Step::call("echo", 1), Step::Wait, Step::call("echo", 1)];
    let mut clients =
        ["anna", "bert"].map(|agent| Sdk::TypeScript.start(daemon.agent(agent), &WORKBENCH.url(), &steps));
    for client in &mut clients {
        client.line("the wait", 0, is_wait);
    }
    let before = daemon.metric("policyd_reloads_total", &["result=\"success\""]);
    daemon.rewrite(&Config::new().system(&world, &WORKBENCH, &policy, &["bert"]));
    daemon.signal(Signal::SIGHUP);
    wait::until("the reload", || {
        (daemon.metric("policyd_reloads_total", &["result=\"success\""]) > before).then_some(())
    });
    let [anna, bert] = clients.map(|mut client| {
        client.write(b"\n");
        Transcript::of(client.finish())
    });
    assert!(!matches!(&anna.calls("echo")[..], [_, Outcome::Ok(_)]), "{anna:#?}");
    assert_eq!(bert.calls("echo"), vec![Outcome::Ok("{}".to_owned()); 2]);
    assert_eq!(server.count("echo"), 3);
}

#[test]
fn sigterm_lets_running_calls_finish() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let policy = world.file("policy.json", ALLOW);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    let client = Sdk::TypeScript.start(daemon.agent("anna"), &WORKBENCH.url(), &[Step::call("hold", 1)]);
    server.wait_for("hold", 1);
    daemon.signal(Signal::SIGTERM);
    wait::until("the daemon to drain", || daemon.get("/readyz").filter(|(status, _)| *status == 503));
    server.release(1);
    let transcript = Transcript::of(client.finish());
    assert_eq!(transcript.calls("hold"), [Outcome::Ok("held".to_owned())], "{transcript:#?}");
    let finished = daemon.finish();
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
}

#[test]
fn sigterm_waits_no_longer_than_it_says() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let policy = world.file("policy.json", ALLOW);
    let config = Config::new().section("[timeouts]\ndrain = \"500ms\"").system(&world, &WORKBENCH, &policy, &["anna"]);
    let daemon = Daemon::start(&world, &config);
    let client = Sdk::TypeScript.start(daemon.agent("anna"), &WORKBENCH.url(), &[Step::call("hold", 1)]);
    server.wait_for("hold", 1);
    daemon.signal(Signal::SIGTERM);
    daemon.finish();
    drop(client);
}

#[test]
fn every_configuration_error_is_said_at_once() {
    let world = World::new();
    let policy = world.file("policy.json", ALLOW);
    let config = Config::new()
        .server("workbench", "ftp://workbench.example/mcp")
        .grant("anna", &world.agent_cgroup("anna"), "no such server", &policy)
        .section("[limts]\nbody = 1");
    let finished = Daemon::fails(&world, &config);
    assert_eq!(finished.status.code(), Some(78), "{finished:?}");
    for part in ["ftp", "no such server", "limts", "policyd.toml:"] {
        assert!(finished.stderr.contains(part), "{part} in {}", finished.stderr);
    }
}

#[test]
fn a_bad_policy_at_start_is_its_own_code() {
    let world = World::new();
    let policy = world.file("policy.json", r#"{"version": "1", "default": "deny", "tolls": {}}"#);
    let finished = Daemon::fails(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    assert_eq!(finished.status.code(), Some(65), "{finished:?}");
    assert!(finished.stderr.contains("policy.json:1:") && finished.stderr.contains("tools"), "{}", finished.stderr);
}

#[test]
fn a_stream_that_begins_after_its_grant_was_removed_ends_at_once() {
    let world = World::new();
    let (asked, was_asked) = std::sync::mpsc::channel();
    let (answer, may_answer) = std::sync::mpsc::channel::<()>();
    let channels = std::sync::Mutex::new((asked, may_answer));
    let tls = world.authority.server_with_alpn(&[WORKBENCH.host.name], &["http/1.1"]);
    let _server = Site::at(&world, (WORKBENCH.host.v4(), 443).into(), Some(tls), move |stream| {
        read_head(stream);
        let channels = channels.lock().unwrap();
        channels.0.send(()).unwrap();
        channels.1.recv().ok();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: open\n\n").ok();
        stream.flush().ok();
        // Kept open: only policyd can end it.
        channels.1.recv().ok();
    });
    let policy = world.file("policy.json", ALLOW);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    let bundle = daemon.root();
    let target = Target { address: (WORKBENCH.host.v4(), 443).into(), sni: Some(WORKBENCH.host.name), roots: &bundle };
    let mut client = raw::start(&world, "anna", target, &[]);
    client.write(
        b"GET /mcp HTTP/1.1\r\nhost: workbench.example\r\nconnection: close\r\naccept: text/event-stream\r\n\r\n",
    );
    client.close_stdin();
    was_asked.recv().unwrap();
    let reloads = || daemon.metric("policyd_reloads_total", &["result=\"success\""]);
    let before = reloads();
    daemon.rewrite(&Config::new().system(&world, &WORKBENCH, &policy, &[]));
    daemon.signal(Signal::SIGHUP);
    wait::until("the reload", || (reloads() > before).then_some(()));
    answer.send(()).unwrap();
    let finished = client.finish();
    // Ended by policyd as a whole response, not by the client's patience.
    assert!(finished.stdout.starts_with("HTTP/1.1 200") && !finished.stderr.contains("read:"), "{finished:?}");
    drop(answer);
}

#[test]
fn a_server_that_a_reload_closes_is_closed_for_open_connections_too() {
    let world = World::new();
    let server = Site::at(&world, (WORKBENCH.host.v4(), 80).into(), None, |stream| {
        while read_head(stream).is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\npage\n").ok();
        }
    });
    let url = format!("http://{}/mcp", WORKBENCH.host.name);
    let policy = world.file("policy.json", ALLOW);
    let config = |more| {
        let config = Config::new().server_with("plain", &url, more);
        config.grant("anna", &world.agent_cgroup("anna"), "plain", &policy)
    };
    let daemon = Daemon::start(&world, &config(""));
    let mut client = world.agent("anna");
    client.args(["bash", "-c", &format!("exec 3<>/dev/tcp/{}/80; cat <&3 & cat >&3", WORKBENCH.host.v4())]);
    let mut client = Running::start(client);
    let get = format!("GET /rest HTTP/1.1\r\nhost: {}\r\n\r\n", WORKBENCH.host.name);
    client.write(get.as_bytes());
    let (mut line, _) = client.line("the page", 0, |line| line == "page");
    let reloads = || daemon.metric("policyd_reloads_total", &["result=\"success\""]);
    for configured in [config("other_paths = \"refuse\""), Config::new().system(&world, &WORKBENCH, &policy, &["anna"])]
    {
        let before = reloads();
        daemon.rewrite(&configured);
        daemon.signal(Signal::SIGHUP);
        wait::until("the reload", || (reloads() > before).then_some(()));
        client.write(get.as_bytes());
        let answer;
        (line, answer) = client.line("an answer", line + 1, |line| line.starts_with("HTTP/1.1"));
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
    assert_eq!(server.connections(), 1);
}

/// As a unit's that restarts: to the kernel it is another one, with none of the programs.
#[test]
fn a_cgroup_that_is_made_anew_is_captured_again() {
    let world = World::new();
    let _server = McpServer::start(&world, &WORKBENCH);
    let policy = world.file("policy.json", r#"{"version": "1", "default": "deny"}"#);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    // No agent has run yet, so that it can be removed.
    let folder = cgroup2_mount().join(world.cgroup().trim_start_matches('/'));
    std::fs::remove_dir(&folder).unwrap();
    wait::until("the loss to be noticed", || daemon.get("/readyz").unwrap().1.contains("does not exist").then_some(()));
    std::fs::create_dir(&folder).unwrap();
    wait::until("the new one to be captured", || {
        (!daemon.get("/readyz").unwrap().1.contains("does not exist")).then_some(())
    });
    let transcript = Sdk::Rust.run(daemon.agent("anna"), &WORKBENCH.url(), &[Step::call("echo", 1)]);
    assert!(matches!(&transcript.calls("echo")[..], [Outcome::Failed(_)]), "{transcript:#?}");
}

/// Whatever the unit takes away, this has gone without: capabilities and new privileges.
#[test]
fn the_units_capabilities_are_enough() {
    let unit = std::fs::read_to_string(repository().join("deploy/systemd/policyd.service")).unwrap();
    let granted = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let granted: Vec<String> =
        granted.split(' ').map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase())).collect();
    let bound = format!("--bounding-set=-all,{}", granted.join(","));
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let policy = world.file("policy.json", ALLOW);
    let config = Config::new().system(&world, &WORKBENCH, &policy, &["anna"]);
    let daemon = Daemon::start_under(&world, &config, &["setpriv", &bound, "--no-new-privs"]);
    // An agent of another user, whose executable policyd has to read and to whom it gives the upstream socket.
    let mut agent = daemon.agent("anna");
    agent.args(["setpriv", "--reuid", "65534", "--clear-groups"]);
    let transcript = Sdk::Python2.run(agent, &WORKBENCH.url(), &[Step::call("echo", 1)]);
    assert_eq!(transcript.calls("echo"), [Outcome::Ok("{}".to_owned())], "{}", daemon.log());
    assert_eq!(server.count("echo"), 1);
    let records = daemon.audit();
    let call = records.iter().find(|record| record["tool"] == "echo").unwrap();
    assert_eq!(call["identity"]["uid"], 65534, "{call}");
    assert!(call["identity"]["exe"].as_str().is_some_and(|exe| exe.contains("python")), "{call}");
}
