//! The harness without policyd between: what the SDKs and servers do by themselves. When one of these fails, none of the
//! others means anything.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use policyd_tests::agent::{Outcome, Sdk, Step};
use policyd_tests::raw::{self, Target};
use policyd_tests::server::{McpServer, Options};
use policyd_tests::site::Site;
use policyd_tests::systems::{self, WORKBENCH};
use policyd_tests::world::{World, hosts};
use serde_json::json;

#[test]
fn every_sdk_reaches_every_system() {
    let world = World::new();
    let servers = systems::ALL.map(|system| McpServer::start(&world, &system));
    for (system, server) in systems::ALL.iter().zip(&servers) {
        for sdk in Sdk::ALL {
            let before = server.count(system.tool);
            let transcript = sdk.run(world.agent("alice"), &system.url(), &[Step::List, Step::call(system.tool, 11)]);
            assert!(!transcript.version().is_empty());
            let list = transcript.list(0);
            assert!(list.iter().any(|name| name == system.tool), "{sdk:?} {list:?}");
            assert!(list.iter().any(|name| name == system.other), "{sdk:?} {list:?}");
            let done = Outcome::Ok(format!("{}: done", system.tool));
            assert_eq!(transcript.calls(system.tool), vec![done; 11], "{sdk:?} {}", system.name);
            assert_eq!(server.count(system.tool) - before, 11);
        }
    }
}

#[test]
fn stateless_and_paged_servers_work_too() {
    let world = World::new();
    let options = Options { sessions: false, json: true, page: 3 };
    let server = McpServer::with(&world, &WORKBENCH, options);
    let steps = [Step::List, Step::Call("echo", json!({"message": "hallo"}), 1), Step::call("fail", 1)];
    let transcript = Sdk::Rust.run(world.agent("alice"), &WORKBENCH.url(), &steps);
    assert_eq!(transcript.list(0).len(), 8);
    assert_eq!(transcript.calls("echo"), [Outcome::Ok(r#"{"message":"hallo"}"#.to_owned())]);
    assert_eq!(transcript.calls("fail"), [Outcome::Failed("failed as asked".to_owned())]);
    assert_eq!(server.calls().len(), 2);
}

#[test]
fn a_held_call_answers_when_it_is_released() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let client = Sdk::Python2.start(world.agent("alice"), &WORKBENCH.url(), &[Step::call("hold", 1)]);
    server.wait_for("hold", 1);
    server.release(1);
    let transcript = policyd_tests::agent::Transcript::of(client.finish());
    assert_eq!(transcript.calls("hold"), [Outcome::Ok("held".to_owned())]);
}

#[test]
fn the_site_answers_and_raw_bytes_arrive_as_they_are() {
    let world = World::new();
    let site = Site::start(&world);
    let system = world.path("system.pem");
    let target = Target { address: (hosts::SITE.v4(), 443).into(), sni: Some(hosts::SITE.name), roots: &system };
    let answer = raw::exchange(&world, "alice", target, b"GET / HTTP/1.1\r\nhost: www.site.example\r\n\r\n");
    assert!(answer.stdout.ends_with("the site itself"), "{answer:?}");
    assert_eq!(site.connections(), 1);
}

#[test]
fn nothing_of_a_world_is_left() {
    let world = World::new();
    let cgroup = policyd_tests::world::cgroup2_mount().join(world.cgroup().trim_start_matches('/'));
    let mut sleeper = world.agent("alice");
    sleeper.args(["sleep", "infinity"]);
    let sleeper = policyd_tests::process::Running::start(sleeper);
    policyd_tests::wait::until("the agent in its cgroup", || {
        let pids = std::fs::read_to_string(cgroup.join("alice/cgroup.procs")).unwrap();
        (!pids.is_empty()).then_some(())
    });
    drop(world);
    assert!(!cgroup.exists());
    assert!(!sleeper.finish().status.success());
}
