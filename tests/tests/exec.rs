//! `policyd exec`: no configuration, the command's own exit code, signals, user and terminal.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::process::Command;

use nix::sys::signal::Signal;
use policyd_tests::agent::{Outcome, Sdk, Step, binary};
use policyd_tests::asking::Asking;
use policyd_tests::daemon::audit;
use policyd_tests::process::{Finished, Running};
use policyd_tests::server::McpServer;
use policyd_tests::site::Site;
use policyd_tests::systems::{PROMPTFAX, WORKBENCH};
use policyd_tests::world::{World, hosts};

fn exec(world: &World, arguments: &[&str]) -> Command {
    let mut command = world.inside();
    command.arg(binary("policyd")).arg("exec").args(arguments).arg("--");
    command
}

fn run(mut command: Command, arguments: &[&str]) -> Finished {
    command.args(arguments);
    Running::start(command).finish()
}

#[test]
fn every_sdk_works_under_exec_and_the_eleventh_call_is_denied() {
    let world = World::new();
    let server = McpServer::start(&world, &PROMPTFAX);
    let policy = PROMPTFAX.policy();
    let url = PROMPTFAX.url();
    for (round, sdk) in Sdk::ALL.into_iter().enumerate() {
        let prefix = exec(&world, &["--policy", &policy.to_string_lossy(), "--server", &url]);
        let transcript = sdk.run(prefix, &url, &[Step::List, Step::call("start_session", 11)]);
        assert_eq!(transcript.list(0), ["start_session"], "{sdk:?}");
        let calls = transcript.calls("start_session");
        assert!(calls[..10].iter().all(|call| matches!(call, Outcome::Ok(_))), "{sdk:?}: {calls:?}");
        assert!(matches!(&calls[10], Outcome::Failed(reason) if reason.starts_with("Denied by policy: ")), "{calls:?}");
        assert_eq!(server.count("start_session"), 10 * (round + 1));
        // One line per decision while it runs.
        let told = &transcript.finished.stderr;
        assert!(told.contains("start_session") && told.contains("rate limit"), "{told}");
    }
}

#[test]
fn without_a_policy_it_observes_and_writes_a_starter() {
    let world = World::new();
    let _server = McpServer::start(&world, &WORKBENCH);
    let starter = world.path("starter.json");
    let records = world.path("seen.jsonl");
    let url = WORKBENCH.url();
    let prefix = exec(
        &world,
        &["--server", &url, "--write-policy", &starter.to_string_lossy(), "--audit", &records.to_string_lossy()],
    );
    let transcript = Sdk::Python2.run(prefix, &url, &[Step::call("echo", 1), Step::call("delete_account", 1)]);
    assert_eq!(transcript.calls("delete_account"), [Outcome::Ok("delete_account: done".to_owned())]);
    assert!(audit(&records).iter().any(|record| record["tool"] == "delete_account"));

    let text = std::fs::read_to_string(&starter).unwrap();
    assert!(text.contains("\"echo\"") && text.contains("\"delete_account\""), "{text}");
    // The starter is a policy: what was seen works under it, anything else does not.
    let prefix = exec(&world, &["--server", &url, "--policy", &starter.to_string_lossy()]);
    let transcript = Sdk::Python2.run(prefix, &url, &[Step::call("echo", 1), Step::call("fail", 1)]);
    assert_eq!(transcript.calls("echo"), [Outcome::Ok("{}".to_owned())]);
    assert!(matches!(&transcript.calls("fail")[..], [Outcome::Failed(text)] if text.starts_with("Denied by policy")));
}

#[test]
fn what_servers_ask_is_told_and_allowed_by_the_starter() {
    let world = World::new();
    let server = Asking::python(&world);
    let starter = world.path("starter.json").to_string_lossy().into_owned();
    let url = server.url();
    let steps = [Step::Answer, Step::Call("sample", serde_json::json!({"prompt": "hi"}), 1)];
    for option in ["--write-policy", "--policy"] {
        let prefix = exec(&world, &["--server", &url, option, &starter]);
        let transcript = Sdk::TypeScript.run(prefix, &url, &steps);
        assert_eq!(transcript.calls("sample"), [Outcome::Ok("answered: sampled".to_owned())], "{transcript:#?}");
        let told = "allow workbench.example:3002 (sampling/createMessage) (/methods/sampling~1createMessage)";
        assert!(transcript.finished.stderr.contains(told), "{}", transcript.finished.stderr);
    }
}

#[test]
fn the_exit_code_is_the_commands() {
    let world = World::new();
    let url = WORKBENCH.url();
    let code = |arguments: &[&str]| run(exec(&world, &["--server", &url]), arguments).status.code();
    assert_eq!(code(&["true"]), Some(0));
    assert_eq!(code(&["sh", "-c", "exit 7"]), Some(7));
    assert_eq!(code(&["sh", "-c", "kill -TERM $$"]), Some(128 + 15));
    assert_eq!(code(&["/no/such/command"]), Some(127));
    assert_eq!(code(&["/etc/hosts"]), Some(126));
    let own = run(exec(&world, &["--policy", "/no/such/policy", "--server", &url]), &["true"]);
    assert_eq!(own.status.code(), Some(125), "{own:?}");
}

#[test]
fn signals_and_standard_input_are_the_commands() {
    let world = World::new();
    let url = WORKBENCH.url();
    let mut command = exec(&world, &["--server", &url]);
    command.args(["sh", "-c", "trap 'echo caught; exit 3' TERM; echo ready; read line; echo \"got $line\"; read line"]);
    let mut running = Running::start(command);
    running.line("ready", 0, |line| line == "ready");
    running.write(b"hello\n");
    running.line("what was written", 0, |line| line == "got hello");
    running.signal(Signal::SIGTERM);
    running.line("the trap", 0, |line| line == "caught");
    assert_eq!(running.finish().status.code(), Some(3));
}

#[test]
fn the_command_runs_as_the_user_who_called_sudo_and_cannot_raise_its_privileges() {
    let world = World::new();
    let url = WORKBENCH.url();
    let mut command = world.inside();
    command.args(["env", "SUDO_UID=65534", "SUDO_GID=65534", "SUDO_USER=nobody"]);
    command.arg(binary("policyd")).args(["exec", "--server", &url, "--"]);
    let finished = run(command, &["sh", "-c", "id -u; grep NoNewPrivs /proc/self/status"]);
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines.first(), Some(&"65534"), "{finished:?}");
    assert!(lines.get(1).is_some_and(|line| line.ends_with('1')), "{finished:?}");
}

#[test]
fn other_traffic_passes_and_nothing_is_left_behind() {
    let world = World::new();
    let _site = Site::start(&world);
    let url = WORKBENCH.url();
    let site = format!("https://{}/", hosts::SITE.name);
    let root = world.path("test-root.pem").to_string_lossy().into_owned();
    // The world's root alone is trusted: only the site's own certificate can satisfy it.
    let finished =
        run(exec(&world, &["--server", &url]), &["curl", "--silent", "--show-error", "--cacert", &root, &site]);
    assert!(finished.stdout.contains("the site itself"), "{finished:?}");
    let mut list = world.inside();
    list.args(["sh", "-c", "ls /sys/fs/bpf/policyd 2>/dev/null || true"]);
    assert_eq!(Running::start(list).finish().stdout.trim(), "");
}

#[test]
fn without_a_server_it_says_how_to_name_one() {
    let world = World::new();
    let finished = run(exec(&world, &[]), &["true"]);
    assert!(finished.stderr.contains("--server"), "{finished:?}");
}
