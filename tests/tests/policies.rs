//! The five policies of `deploy/policies/`, unchanged, before real servers and every SDK.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;

use policyd_tests::agent::{Outcome, Sdk, Step};
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::server::{McpServer, Options};
use policyd_tests::systems::{self, System, WORKBENCH};
use policyd_tests::world::World;

const AGENTS: [&str; 4] = ["anna", "bert", "cora", "dora"];

/// Each SDK is an agent with a grant of its own: each has its own ten calls, whatever the others have used.
fn ten_calls_and_no_more(system: System) {
    let world = World::new();
    let server = McpServer::start(&world, &system);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &system, &system.policy(), &AGENTS));
    for (agent, sdk) in AGENTS.into_iter().zip(Sdk::ALL) {
        let before = server.count(system.tool);
        let steps = [Step::List, Step::call(system.tool, 11), Step::call(system.other, 1)];
        let transcript = sdk.run(daemon.agent(agent), &system.url(), &steps);
        transcript.version();
        assert_eq!(transcript.list(0), [system.tool], "{sdk:?}");
        let mut calls = transcript.calls(system.tool);
        let eleventh = calls.pop().unwrap();
        assert_eq!(calls, vec![Outcome::Ok(format!("{}: done", system.tool)); 10], "{sdk:?}");
        let Outcome::Failed(reason) = eleventh else { panic!("{sdk:?}: {eleventh:?}") };
        let expected = format!("Denied by policy: rate limit reached for tool `{}`; try again in ", system.tool);
        assert!(reason.starts_with(&expected), "{sdk:?}: {reason}");
        let denied = Outcome::Failed(format!("Denied by policy: tool `{}` is not allowed", system.other));
        assert_eq!(transcript.calls(system.other), [denied], "{sdk:?}");
        assert_eq!(server.count(system.tool) - before, 10, "the eleventh call reached the server");
    }
    assert_eq!(server.count(system.other), 0, "a denied call reached the server");
}

#[test]
fn axint() {
    ten_calls_and_no_more(systems::AXINT);
}

#[test]
fn contextlayer() {
    ten_calls_and_no_more(systems::CONTEXTLAYER);
}

#[test]
fn looking_glass() {
    ten_calls_and_no_more(systems::LOOKING_GLASS);
}

#[test]
fn promptfax() {
    ten_calls_and_no_more(systems::PROMPTFAX);
}

#[test]
fn waysway() {
    ten_calls_and_no_more(systems::WAYSWAY);
}

#[test]
fn the_pages_variants_deny_with_their_reason_and_limit_each_session() {
    let world = World::new();
    let system = systems::PROMPTFAX;
    let server = McpServer::start(&world, &system);
    let variant = |name: &str| system.policy().with_file_name(format!("{}.{name}.json", system.name));
    let config = Config::new()
        .server(system.name, &system.url())
        .grant("denied", &world.agent_cgroup("anna"), system.name, &variant("deny"))
        .grant("limited", &world.agent_cgroup("bert"), system.name, &variant("rate-limit"));
    let daemon = Daemon::start(&world, &config);

    let steps = [Step::List, Step::call(system.tool, 1)];
    let denied = Sdk::TypeScript.run(daemon.agent("anna"), &system.url(), &steps);
    assert!(denied.list(0).is_empty());
    let [Outcome::Failed(reason)] = &denied.calls(system.tool)[..] else { panic!("{denied:?}") };
    assert_eq!(reason, "Denied by policy: start_session is not for agents.");
    assert_eq!(server.count(system.tool), 0);

    for session in 1..=2 {
        let limited = Sdk::TypeScript.run(daemon.agent("bert"), &system.url(), &[Step::call(system.tool, 11)]);
        let calls = limited.calls(system.tool);
        assert!(calls[..10].iter().all(|call| matches!(call, Outcome::Ok(_))), "session {session}: {calls:?}");
        assert!(matches!(&calls[10], Outcome::Failed(_)), "session {session}: {calls:?}");
    }
    assert_eq!(server.count(system.tool), 20);
}

const HIDING: &str = r#"{"version": "1", "default": "allow", "hide": ["delete_account", "admin.*"]}"#;

fn hides(options: Options, sdk: Sdk) {
    let world = World::new();
    let server = McpServer::with(&world, &WORKBENCH, options);
    let policy = world.file("hiding.json", HIDING);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    let steps = [Step::List, Step::call("admin.grant", 1), Step::call("no such tool", 1), Step::call("echo", 1)];
    let transcript = sdk.run(daemon.agent("anna"), &WORKBENCH.url(), &steps);
    let list = transcript.list(0);
    assert!(list.iter().any(|tool| tool == "echo"), "{list:?}");
    assert!(!list.iter().any(|tool| tool == "delete_account" || tool.starts_with("admin.")), "{list:?}");
    // What is hidden must look like what does not exist, by the server's own word for that.
    let text = |tool: &str| match &transcript.calls(tool)[..] {
        [Outcome::Error(code, message)] => (*code, message.replace(tool, "TOOL")),
        other => panic!("{tool}: {other:?}"),
    };
    assert_eq!(text("admin.grant"), text("no such tool"));
    assert_eq!(transcript.calls("echo"), [Outcome::Ok("{}".to_owned())]);
    assert_eq!(server.count("admin.grant"), 0);
}

#[test]
fn hidden_tools_do_not_show_in_sse() {
    hides(Options::default(), Sdk::TypeScript);
}

#[test]
fn hidden_tools_do_not_show_in_json_and_across_pages() {
    // Pages of two: one of them holds hidden tools only. rmcp follows the cursors.
    hides(Options { sessions: false, json: true, page: 2 }, Sdk::Rust);
}

#[test]
fn observing_denies_nothing_and_hides_nothing() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let policy = world.file("observe.json", r#"{"version": "1", "default": "deny", "mode": "observe"}"#);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    let steps = [Step::List, Step::call("delete_account", 1)];
    let transcript = Sdk::Python2.run(daemon.agent("anna"), &WORKBENCH.url(), &steps);
    assert_eq!(transcript.list(0).len(), 8);
    assert_eq!(transcript.calls("delete_account"), [Outcome::Ok("delete_account: done".to_owned())]);
    assert_eq!(server.count("delete_account"), 1);
    let observed =
        daemon.audit().into_iter().any(|record| record["tool"] == "delete_account" && record["observed"] == true);
    assert!(observed, "{:#?}", daemon.audit());
}

#[test]
fn who_has_no_grant_is_denied() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let policy = world.file("allow.json", r#"{"version": "1", "default": "allow"}"#);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    let transcript = Sdk::Python2.run(daemon.agent("stranger"), &WORKBENCH.url(), &[Step::call("echo", 1)]);
    assert!(!transcript.calls("echo").iter().any(|call| matches!(call, Outcome::Ok(_))), "{transcript:#?}");
    assert_eq!(server.calls().len(), 0);
    assert!(daemon.audit().iter().any(|record| record["rule"] == "no-grant"), "{:#?}", daemon.audit());
}

#[test]
fn every_shipped_policy_is_one_that_loads() {
    let folder = systems::repository().join("deploy/policies");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    // Beside them lie their tests, and the schemas of both.
    let beside = |file: &Path| [".tests.json", ".schema.json"].iter().any(|end| file.to_string_lossy().ends_with(end));
    let files: Vec<_> = files.filter(|file| !beside(file)).collect();
    assert!(files.len() >= 15, "{files:?}");
    let world = World::new();
    let config = files.iter().fold(Config::new().server("workbench", &WORKBENCH.url()), |config, file: &_| {
        let name = Path::new(file).file_stem().unwrap().to_string_lossy();
        config.grant(&name, &world.agent_cgroup(&name), "workbench", file)
    });
    Daemon::start(&world, &config);
}
