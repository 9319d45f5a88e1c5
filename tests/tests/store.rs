//! The limits' counters outlive the daemon, however it ends; and a store that fails denies, says so and recovers.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use policyd_tests::agent::{Outcome, Sdk, Step, Transcript};
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::process::Running;
use policyd_tests::server::McpServer;
use policyd_tests::systems::WORKBENCH;
use policyd_tests::wait;
use policyd_tests::world::World;
use rusqlite::Connection;
use serde_json::Value;

/// A policy with one limit on `echo`.
fn limited(max: u64) -> String {
    format!(
        r#"{{"version": "1", "default": "deny", "tools": {{"echo": {{"limits": [
            {{"counter": "echoes", "window": "hour", "max": {max}, "scope": "grant"}}]}}, "fail": {{}}}}}}"#
    )
}

struct Place {
    world: World,
    config: Config,
    server: McpServer,
}

impl Place {
    fn new(max: u64) -> Self {
        let world = World::new();
        let server = McpServer::start(&world, &WORKBENCH);
        let policy = world.file("policy.json", limited(max));
        let config = Config::new().system(&world, &WORKBENCH, &policy, &["anna"]);
        Self { world, config, server }
    }

    fn start(&self) -> Daemon<'_> {
        Daemon::start(&self.world, &self.config)
    }

    fn store(&self) -> PathBuf {
        self.world.path("state").join("state.db")
    }
}

/// Calls `echo` so many times.
fn echo(daemon: &Daemon<'_>, times: usize) -> Vec<Outcome> {
    let transcript = Sdk::Python2.run(daemon.agent("anna"), &WORKBENCH.url(), &[Step::call("echo", times)]);
    let calls = transcript.calls("echo");
    assert_eq!(calls.len(), times, "{transcript:#?}");
    calls
}

fn passed(calls: &[Outcome]) -> usize {
    calls.iter().filter(|call| matches!(call, Outcome::Ok(_))).count()
}

/// What the daemon says that the one counter holds.
fn used(daemon: &Daemon<'_>) -> u64 {
    let finished = daemon.counters(&["list", "--json"]);
    let listed: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"));
    listed["counters"][0]["windows"][0]["used"].as_str().unwrap().parse().unwrap()
}

fn denied_for_state(calls: &[Outcome]) -> bool {
    calls.iter().all(|call| matches!(call, Outcome::Failed(text) if text.contains("cannot be checked")))
}

#[test]
fn ten_of_ten_calls_stay_ten_over_kill_9_and_sigterm() {
    let place = Place::new(10);
    let daemon = place.start();
    assert_eq!(passed(&echo(&daemon, 10)), 10);
    daemon.kill();
    let daemon = place.start();
    assert_eq!(passed(&echo(&daemon, 1)), 0);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.finish().status.code(), Some(0));
    let daemon = place.start();
    assert_eq!(passed(&echo(&daemon, 1)), 0);
    assert_eq!((place.server.count("echo"), used(&daemon)), (10, 10));
}

#[test]
fn a_stop_leaves_what_was_used_and_a_crash_at_most_a_block_more() {
    let place = Place::new(1000);
    let daemon = place.start();
    assert_eq!(passed(&echo(&daemon, 3)), 3);
    assert_eq!(used(&daemon), 3);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.finish().status.code(), Some(0));
    let daemon = place.start();
    assert_eq!(used(&daemon), 3);
    assert_eq!(passed(&echo(&daemon, 1)), 1);
    daemon.kill();
    let after = used(&place.start());
    assert!((4..=3 + 1000 / 64).contains(&after), "{after}");
}

#[test]
fn killed_under_load_it_has_counted_all_that_the_server_saw() {
    let place = Place::new(6400);
    let daemon = place.start();
    let clients: Vec<Running> = (0..3)
        .map(|_| Sdk::TypeScript.start(daemon.agent("anna"), &WORKBENCH.url(), &[Step::call("echo", 2000)]))
        .collect();
    place.server.wait_for("echo", 150);
    daemon.kill();
    drop(clients);
    let seen = place.server.count("echo") as u64;
    let after = used(&place.start());
    // A call of each client may have been admitted and not have arrived; and a block may not have been used up.
    assert!(after >= seen && after <= seen + 3 + 6400 / 64, "{after} after {seen}");
}

#[test]
fn a_locked_store_denies_and_recovers() {
    let place = Place::new(10);
    let daemon = place.start();
    let steps = [Step::call("echo", 2), Step::Wait, Step::call("echo", 2), Step::call("fail", 1)];
    let mut client = Sdk::TypeScript.start(daemon.agent("anna"), &WORKBENCH.url(), &steps);
    client.line("the wait", 0, |line| line.contains("wait"));
    let other = Connection::open(place.store()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    client.write(b"\n");
    let transcript = Transcript::of(client.finish());
    let calls = transcript.calls("echo");
    assert!(passed(&calls[..2]) == 2 && denied_for_state(&calls[2..]), "{calls:?}");
    assert!(
        !transcript.calls("fail")[0].text().contains("Denied"),
        "what has no limit needs no store: {transcript:#?}"
    );
    let (status, ready) = daemon.get("/readyz").unwrap();
    assert!(status == 503 && ready.contains("locked by another program") && ready.contains("state.db"), "{ready}");
    let denial = daemon.audit().into_iter().find(|record| record["rule"] == "state-unavailable");
    assert_eq!(denial.unwrap()["decision"], "deny");
    assert!(daemon.metric("policyd_state_failures_total", &[]) >= 1.0);
    let reset = daemon.counters(&["reset", "--all"]);
    assert!(reset.status.code() == Some(69) && reset.stderr.contains("store fails"), "{reset:?}");
    other.execute_batch("ROLLBACK").unwrap();
    wait::until("the store", || daemon.get("/readyz").filter(|(status, _)| *status == 200));
    assert_eq!(passed(&echo(&daemon, 9)), 8);
}

#[test]
fn a_full_disk_denies_and_recovers() {
    let place = Place::new(60);
    let state = place.world.path("state");
    fs::create_dir(&state).unwrap();
    let inside = |arguments: &[&str]| {
        let mut command = place.world.inside();
        command.args(arguments);
        Running::start(command).finish()
    };
    let at = state.to_str().unwrap();
    assert!(inside(&["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", at]).status.success());
    let ballast = format!("{at}/ballast");
    let fill = || inside(&["dd", "if=/dev/zero", "bs=1k", &format!("of={ballast}")]);
    let daemon = place.start();
    let late = daemon.agent("anna");
    let steps = [Step::call("echo", 2), Step::Wait, Step::call("echo", 40)];
    let mut client = Sdk::TypeScript.start(daemon.agent("anna"), &WORKBENCH.url(), &steps);
    client.line("the wait", 0, |line| line.contains("wait"));
    fill();
    client.write(b"\n");
    // It goes on within the room that it has, and writes itself anew when that is used up.
    let calls = Transcript::of(client.finish()).calls("echo");
    let before = passed(&calls);
    assert!(before > 2 && place.server.count("echo") == before, "{calls:?}");
    assert!(inside(&["rm", &ballast]).status.success());
    wait::until("the store", || daemon.get("/readyz").filter(|(status, _)| *status == 200));
    assert_eq!(used(&daemon), before as u64);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.finish().status.code(), Some(0));

    // Without any room it cannot even begin.
    fill();
    let daemon = Daemon::start_unready(&place.world, &place.config);
    let (status, ready) = daemon.get("/readyz").unwrap();
    assert!(status == 503 && ready.contains("make room"), "{ready}");
    let calls = Sdk::Python2.run(late, &WORKBENCH.url(), &[Step::call("echo", 2)]).calls("echo");
    assert!(calls.len() == 2 && denied_for_state(&calls), "{calls:?}");
    assert!(inside(&["rm", &ballast]).status.success());
    wait::until("the store", || daemon.get("/readyz").filter(|(status, _)| *status == 200));
    assert_eq!(passed(&echo(&daemon, 1)), 1);
    assert_eq!((used(&daemon), place.server.count("echo")), (before as u64 + 1, before + 1));
}

#[test]
fn a_damaged_store_denies_until_it_is_moved_away() {
    let place = Place::new(10);
    let daemon = place.start();
    assert_eq!(passed(&echo(&daemon, 1)), 1);
    daemon.kill();
    for beside in ["-wal", "-shm"] {
        fs::remove_file(place.store().with_extension(format!("db{beside}"))).ok();
    }
    fs::write(place.store(), vec![0x55; 16_384]).unwrap();
    let daemon = Daemon::start_unready(&place.world, &place.config);
    let (status, ready) = daemon.get("/readyz").unwrap();
    assert!(status == 503 && ready.contains("damaged") && ready.contains("move it away"), "{ready}");
    assert!(denied_for_state(&echo(&daemon, 2)));
    let list = daemon.counters(&["list"]);
    assert!(list.status.code() == Some(69) && list.stderr.contains("readyz"), "{list:?}");
    fs::rename(place.store(), place.world.path("old.db")).unwrap();
    wait::until("the store", || daemon.get("/readyz").filter(|(status, _)| *status == 200));
    assert_eq!(passed(&echo(&daemon, 1)), 1);
    assert_eq!(place.server.count("echo"), 2);
}

#[test]
fn a_store_that_is_lost_or_spoilt_while_it_is_used_is_written_anew() {
    let place = Place::new(10);
    let mut daemon = place.start();
    assert_eq!(passed(&echo(&daemon, 4)), 4);
    for damage in ["rm -f \"$0\"*", "head -c 30000 /dev/urandom > \"$0\""] {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", damage]).arg(place.store());
        let before = daemon.metric("policyd_state_failures_total", &[]);
        assert!(Running::start(command).finish().status.success());
        wait::until("it to be noticed", || (daemon.metric("policyd_state_failures_total", &[]) > before).then_some(()));
        wait::until("the store", || daemon.get("/readyz").filter(|(status, _)| *status == 200));
        daemon.kill();
        daemon = place.start();
        assert_eq!(used(&daemon), 4, "{damage}");
    }
    assert_eq!(passed(&echo(&daemon, 8)), 6);
}

#[test]
fn counters_are_listed_and_reset_by_those_who_may_and_that_is_recorded() {
    let place = Place::new(3);
    let daemon = place.start();
    assert_eq!(passed(&echo(&daemon, 4)), 3);
    let list = daemon.counters(&["list"]);
    assert!(list.stdout.contains("anna-workbench") && list.stdout.contains("echoes"), "{list:?}");
    assert_eq!(daemon.counters(&["reset"]).status.code(), Some(64));
    let other = daemon.counters(&["reset", "--grant", "nobody"]);
    assert!(other.status.code() == Some(1) && other.stdout.contains("no counter"), "{other:?}");
    let reset = daemon.counters(&["reset", "--grant", "anna-workbench", "--counter", "echoes"]);
    assert!(reset.status.success() && reset.stdout.trim() == "1 counter reset", "{reset:?}");
    let records = daemon.audit();
    let record = records.iter().rfind(|record| record["record"] == "admin").unwrap();
    assert_eq!((&record["action"], &record["counters"]), (&"counters.reset".into(), &1.into()));
    assert_eq!((&record["selector"]["counter"], &record["uid"]), (&"echoes".into(), &0.into()));
    assert_eq!(passed(&echo(&daemon, 1)), 1);
    // Somebody else's user.
    let mut command = place.world.inside();
    command.args(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(policyd_tests::agent::binary("policyd")).args(["counters", "--socket"]);
    command.arg(place.world.path("control.sock")).arg("list");
    let denied = Running::start(command).finish();
    assert!(denied.status.code() == Some(77) && denied.stderr.contains("root"), "{denied:?}");
    daemon.kill();
    let daemon = place.start();
    assert_eq!(used(&daemon), 1, "what was reset stays so");
    let socket = place.world.path("control.sock");
    daemon.signal(Signal::SIGTERM);
    daemon.finish();
    let mut command = place.world.inside();
    command.arg(policyd_tests::agent::binary("policyd")).args(["counters", "--socket"]).arg(&socket).arg("list");
    let nobody = Running::start(command).finish();
    assert!(nobody.status.code() == Some(69) && nobody.stderr.contains("systemctl start"), "{nobody:?}");
}
