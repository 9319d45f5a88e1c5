//! `policyd stdio` with a daemon: grants, counters, records and metrics are the daemon's, and the identity is the kernel's.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use policyd_tests::agent::{Outcome, Sdk, Step, stdio_url};
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::process::Running;
use policyd_tests::stdio::{Place, answer, hello, request, start_under};
use policyd_tests::systems::AXINT;
use policyd_tests::wait;
use policyd_tests::world::World;
use serde_json::{Value, json};

struct Scene {
    world: World,
    place: Place,
}

impl Scene {
    fn new() -> Self {
        Self { world: World::new(), place: Place::new() }
    }

    fn config(&self) -> Config {
        Config::new().command("axint").grant("anna", &self.world.agent_cgroup("anna"), "axint", &AXINT.policy())
    }

    fn command(&self, server: &str) -> Vec<String> {
        Place::handed_over(server, &self.world.path("stdio.sock"), &self.place.tools(&AXINT))
    }

    fn start(&self, agent: &str, server: &str) -> Running {
        start_under(self.world.agent(agent), &self.command(server))
    }
}

fn call(id: usize) -> Vec<u8> {
    request(&id.to_string(), "tools/call", &json!({"name": AXINT.tool, "arguments": {}}))
}

/// Calls the allowed tool so many times and gives whether each call was allowed.
fn calls(session: &mut Running, count: usize) -> Vec<bool> {
    session.write(&hello());
    (1..=count)
        .map(|id| {
            session.write(&call(id));
            answer(session, &id.to_string())["result"]["isError"] != Value::Bool(true)
        })
        .collect()
}

#[test]
fn sessions_share_the_daemons_counters_and_are_recorded_as_their_callers() {
    let scene = Scene::new();
    let daemon = Daemon::start(&scene.world, &scene.config());
    let (mut first, mut second) = (scene.start("anna", "axint"), scene.start("anna", "axint"));
    assert_eq!(calls(&mut first, 6), [true; 6]);
    assert_eq!(calls(&mut second, 5), [true, true, true, true, false]);
    assert_eq!(scene.place.calls().len(), 10);
    assert_eq!(daemon.metric("policyd_active_connections", &["route=\"stdio\""]), 2.0);
    let listed = daemon.counters(&["list"]);
    assert!(listed.stdout.contains("axint.session.start_rate"), "{listed:#?}");

    // Somebody without a grant gets no session, and what his command would list counts for nobody.
    let stranger = scene.start("bert", "axint").finish();
    assert_eq!(stranger.status.code(), Some(77), "{stranger:#?}");
    assert!(stranger.stderr.contains("no grant lets this process use `axint`"), "{stranger:#?}");

    let (cgroup, pid) = (scene.world.agent_cgroup("anna"), first.pid());
    let records = daemon.audit();
    let decisions: Vec<_> = records.iter().filter(|record| record["tool"] == AXINT.tool).collect();
    assert_eq!(decisions.len(), 11);
    let denied: Vec<_> = records.iter().filter(|record| record["rule"] == "no-grant").collect();
    assert_eq!(denied.len(), 1, "{denied:#?}");
    assert_eq!((&denied[0]["decision"], &denied[0]["server"]), (&"deny".into(), &"axint".into()));
    assert_eq!(denied[0]["identity"]["cgroup"], scene.world.agent_cgroup("bert"));

    let own = decisions.iter().filter(|record| record["identity"]["pid"] == pid);
    for record in own.clone() {
        assert_eq!((&record["identity"]["cgroup"], &record["identity"]["uid"]), (&cgroup.clone().into(), &0.into()));
        assert_eq!((&record["grant"], &record["server"]), (&"anna".into(), &"axint".into()));
    }
    assert_eq!(own.count(), 6);

    for mut session in [first, second] {
        session.close_stdin();
        assert_eq!(session.finish().status.code(), Some(0));
    }
    wait::until("the sessions to end", || {
        (daemon.metric("policyd_active_connections", &["route=\"stdio\""]) == 0.0).then_some(())
    });
}

#[test]
fn clients_with_pipes_and_with_sockets_work_through_the_daemon() {
    for sdk in [Sdk::Python2, Sdk::TypeScript] {
        let scene = Scene::new();
        let _daemon = Daemon::start(&scene.world, &scene.config());
        let steps = [Step::List, Step::call(AXINT.tool, 11)];
        let transcript = sdk.run(scene.world.agent("anna"), &stdio_url(&scene.command("axint")), &steps);
        assert_eq!(transcript.list(0), [AXINT.tool], "{sdk:?}: {transcript:#?}");
        let calls = transcript.calls(AXINT.tool);
        assert!(calls[..10].iter().all(|call| matches!(call, Outcome::Ok(_))), "{sdk:?}: {calls:?}");
        assert!(matches!(calls[10], Outcome::Failed(_)), "{sdk:?}: {calls:?}");
        assert_eq!(scene.place.calls().len(), 10);
    }
}

#[test]
fn without_its_daemon_a_session_ends_and_none_begins() {
    let scene = Scene::new();
    let none = scene.start("anna", "axint").finish();
    assert_eq!(none.status.code(), Some(69), "{none:#?}");
    assert!(none.stderr.contains("no daemon answers") && none.stderr.contains("--policy"), "{none:#?}");

    let daemon = Daemon::start(&scene.world, &scene.config());
    let unknown = scene.start("anna", "axin").finish();
    assert_eq!(unknown.status.code(), Some(69), "{unknown:#?}");
    assert!(unknown.stderr.contains("did you mean `axint`?"), "{unknown:#?}");

    let mut session = scene.start("anna", "axint");
    assert_eq!(calls(&mut session, 1), [true]);
    daemon.kill();
    let ended = session.finish();
    assert_eq!(ended.status.code(), Some(69), "{ended:#?}");
    assert!(ended.stderr.contains("the daemon has gone away"), "{ended:#?}");
    assert_eq!(scene.place.calls().len(), 1);

    // The next one takes the dead one's socket over.
    let daemon = Daemon::start(&scene.world, &scene.config());
    let mut session = scene.start("anna", "axint");
    assert_eq!(calls(&mut session, 1), [true]);
    // Without the wrapper nobody waits for the command: the daemon ends its session.
    let pid = Pid::from_raw(session.pid().cast_signed());
    kill(pid, Signal::SIGKILL).unwrap();
    wait::until("the session to end", || {
        (daemon.metric("policyd_active_connections", &["route=\"stdio\""]) == 0.0).then_some(())
    });
    drop(session);
    // A drain ends sessions too.
    let mut session = scene.start("anna", "axint");
    assert_eq!(calls(&mut session, 1), [true]);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.finish().status.code(), Some(0));
    session.finish();
}

#[test]
fn a_reload_brings_the_first_command_and_holds_for_sessions_that_run() {
    let scene = Scene::new();
    let daemon = Daemon::start(&scene.world, &Config::new());
    assert!(!scene.world.path("stdio.sock").exists(), "a socket that nobody needs");
    daemon.rewrite(&scene.config());
    wait::until("the socket", || scene.world.path("stdio.sock").exists().then_some(()));
    let mut session = scene.start("anna", "axint");
    assert_eq!(calls(&mut session, 1), [true]);
    daemon.rewrite(&Config::new().command("axint"));
    wait::until("the grant to be gone", || (daemon.metric("policyd_config_generation", &[]) >= 3.0).then_some(()));
    session.write(&call(7));
    assert!(answer(&mut session, "7").to_string().contains("no grant"));
    assert_eq!(scene.place.calls().len(), 1);
}
