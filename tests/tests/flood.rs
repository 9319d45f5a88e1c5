//! 5,000 connections, half of them hostile, while an honest client works on.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use policyd_tests::agent::{Outcome, Sdk, Step, binary};
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::process::Running;
use policyd_tests::server::McpServer;
use policyd_tests::systems::WORKBENCH;
use policyd_tests::world::World;

#[test]
fn an_honest_client_works_on_through_a_flood() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let policy = world.file("policy.json", r#"{"version": "1", "default": "allow"}"#);
    let config = Config::new()
        .section(
            "[limits]\nconnections_per_agent = 6000\n\n[timeouts]\npeek = \"2s\"\nrequest = \"5s\"\nhandshake = \"5s\"",
        )
        .system(&world, &WORKBENCH, &policy, &["anna", "mallory"]);
    let daemon = Daemon::start(&world, &config);
    let steps = [Step::call("echo", 20), Step::Wait, Step::call("echo", 20), Step::Wait, Step::call("echo", 20)];
    let mut honest = Sdk::TypeScript.start(daemon.agent("anna"), &WORKBENCH.url(), &steps);
    let (line, _) = honest.line("the first calls", 0, |line| line.contains("wait"));

    let mut flood = world.agent("mallory");
    flood.args(["sh", "-c", "ulimit -n $(ulimit -H -n); exec \"$@\"", "sh"]);
    flood.arg(binary("agent")).args(["flood", &format!("{}:443", WORKBENCH.host.v4()), "--connections", "5000"]);
    let mut flood = Running::start(flood);
    // While it rises, and when it stands.
    honest.write(b"\n");
    let (line, _) = honest.line("calls during the flood", line + 1, |line| line.contains("wait"));
    let (_, stands) = flood.line("the flood to stand", 0, |line| line.starts_with("open"));
    // Those that policyd has already turned away count too: they were opened.
    assert_eq!(stands, "open 5000", "the flood was not what it should be");
    honest.write(b"\n");
    let finished = honest.finish_within(Duration::from_secs(60));
    let transcript = policyd_tests::agent::Transcript::of(finished);
    assert!(line > 0);
    assert_eq!(transcript.calls("echo"), vec![Outcome::Ok("{}".to_owned()); 60], "{transcript:#?}");
    assert_eq!(server.count("echo"), 60);
    drop(flood);

    // It stands as before: a new client is served, and what the flood held is given back.
    let after = Sdk::Python2.run(daemon.agent("anna"), &WORKBENCH.url(), &[Step::call("echo", 1)]);
    assert_eq!(after.calls("echo").len(), 1);
    policyd_tests::wait::until("the flood's connections to be given back", || {
        (daemon.metric("policyd_active_connections", &[]) <= 10.0).then_some(())
    });
}
