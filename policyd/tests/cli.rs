//! The program as a shell sees it: exit codes, output, signals. Run as root, as all of the project's tests.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn policyd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_policyd"));
    command.args(arguments).env_remove("SUDO_UID").env_remove("SUDO_GID").env("NO_COLOR", "1");
    command
}

fn output(arguments: &[&str]) -> Output {
    policyd(arguments).stdin(Stdio::null()).output().unwrap()
}

fn code(arguments: &[&str]) -> i32 {
    output(arguments).status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn wrong_command_lines_are_64_and_under_exec_125() {
    for arguments in [&["nonsense"][..], &[], &["run", "--nonsense"], &["detach", "--instance", "../x"]] {
        assert_eq!(code(arguments), 64, "{arguments:?}");
    }
    for arguments in [&["exec"][..], &["exec", "--server", "ftp://x", "--", "true"], &["exec", "true"]] {
        assert_eq!(code(arguments), 125, "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["exec", "--help"], &["run", "-h"]] {
        assert_eq!(code(arguments), 0, "{arguments:?}");
    }
}

#[test]
fn exec_ends_as_its_command_does() {
    assert_eq!(code(&["exec", "--", "sh", "-c", "exit 7"]), 7);
    assert_eq!(code(&["exec", "--", "sh", "-c", "kill -KILL $$"]), 137);
    assert_eq!(code(&["exec", "--", "no-such-command-here"]), 127);
    assert_eq!(code(&["exec", "--", "/etc/passwd"]), 126);
    let missing = output(&["exec", "--", "true"]);
    assert_eq!(missing.status.code(), Some(0));
    assert!(stderr(&missing).contains("nothing is inspected"), "{}", stderr(&missing));
}

#[test]
fn a_policy_without_a_server_is_refused_before_anything_runs() {
    let out = output(&["exec", "--policy", "p.json", "--", "echo", "ran"]);
    assert_eq!(out.status.code(), Some(125));
    assert!(out.stdout.is_empty() && stderr(&out).contains("--server"), "{}", stderr(&out));
}

#[test]
fn the_commands_streams_and_signals_are_its_own() {
    let script = "trap 'kill $!; echo got; exit 3' TERM; sleep infinity & echo ready; while :; do wait $!; done";
    let mut command = policyd(&["exec", "--", "sh", "-c", script]);
    // A group of its own, so that the signal reaches policyd alone.
    let mut child = command.process_group(0).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    // Those that the terminal sends to COMMAND as well are not passed on: it would get them twice.
    kill(pid, Signal::SIGINT).unwrap();
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "got");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn the_command_runs_as_the_user_who_called_sudo_and_cannot_go_back() {
    let script = "id -u; id -g; echo \"$HOME ${SUDO_UID-none}\"; grep NoNewPrivs /proc/self/status; grep CapEff /proc/self/status";
    let mut command = policyd(&["exec", "--", "sh", "-c", script]);
    command.current_dir("/").env("SUDO_UID", "65534").env("SUDO_GID", "65534").env("HOME", "/root");
    let out = command.output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["65534", "65534", "/nonexistent none"], "{text}");
    assert_eq!(lines[3].split_whitespace().last(), Some("1"));
    assert_eq!(lines[4].split_whitespace().last(), Some("0000000000000000"));
    let odd = policyd(&["exec", "--", "true"]).env("SUDO_UID", "bob").output().unwrap();
    assert_eq!(odd.status.code(), Some(125));
}

#[test]
fn a_bad_configuration_is_told_whole_and_a_good_one_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policyd.toml");
    let run = |text: &str| {
        fs::write(&path, text).unwrap();
        output(&["run", "--check", "--config", path.to_str().unwrap()])
    };
    let bad = run("[capture]\ncgroups = [\"x\"]\nportz = 1\n[[server]]\nname = \"a\"\nurl = \"gopher://a\"\n");
    assert_eq!(bad.status.code(), Some(78));
    for place in ["policyd.toml:2:12", "policyd.toml:3:1", "policyd.toml:6:7", "did you mean `ports`?"] {
        assert!(stderr(&bad).contains(place), "{place}:\n{}", stderr(&bad));
    }
    fs::write(folder.path().join("p.json"), "{}").unwrap();
    let grant = "[capture]\ncgroups = [\"/\"]\n[[server]]\nname = \"a\"\nurl = \"https://a.example\"\n\
        [[grant]]\nname = \"g\"\nwho = {}\nserver = \"a\"\npolicy = \"p.json\"\n";
    assert_eq!(run(grant).status.code(), Some(65));
    fs::write(folder.path().join("p.json"), r#"{"version":"1","default":"deny"}"#).unwrap();
    let good = run(grant);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    assert!(stderr(&good).contains("1 server, 1 grant"));
}

#[test]
fn the_example_configuration_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/policyd.toml");
    let config = policyd::config::Config::load(&path);
    let config = config.unwrap_or_else(|error| panic!("{}", error.render(false)));
    assert_eq!((config.servers.len(), config.grants.len()), (2, 2));
    // What is commented out is the default: with the comment signs removed, nothing changes but what has none.
    let text = fs::read_to_string(&path).unwrap();
    let folder = path.parent().unwrap();
    let all: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .filter(|line| !line.starts_with("extra_roots") && !line.starts_with("upstream"))
        .collect();
    let copy = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(folder.join("policies"), copy.path().join("policies")).unwrap();
    fs::write(copy.path().join("policyd.toml"), all).unwrap();
    let whole = policyd::config::Config::load(&copy.path().join("policyd.toml"));
    let whole = whole.unwrap_or_else(|error| panic!("{}", error.render(false)));
    assert_eq!((whole.limits, whole.timeouts), (config.limits, config.timeouts));
    assert_eq!((whole.capture, whole.admin, whole.audit), (config.capture, config.admin, config.audit));
}

#[test]
fn help_needs_no_manual() {
    for (name, arguments) in [
        ("policyd", &["--help"][..]),
        ("exec", &["exec", "--help"]),
        ("run", &["run", "--help"]),
        ("doctor", &["doctor", "--help"]),
        ("detach", &["detach", "--help"]),
        ("ca", &["ca", "--help"]),
        ("counters", &["counters", "--help"]),
        ("counters-reset", &["counters", "reset", "--help"]),
        ("stdio", &["stdio", "--help"]),
        ("stdio-wrap", &["stdio", "wrap", "--help"]),
        ("tools", &["tools", "--help"]),
        ("tools-accept", &["tools", "accept", "--help"]),
    ] {
        let out = policyd(arguments).env("COLUMNS", "100").output().unwrap();
        insta::assert_snapshot!(name, String::from_utf8(out.stdout).unwrap());
    }
}
