//! `policyd policy test`, `explain` and `replay` as a shell sees them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder with a policy and its tests.
struct Folder(tempfile::TempDir);

const POLICY: &str = r#"{
  "version": "1",
  "default": "deny",
  "tools": {
    "search": { "rate_limit": "2/minute" },
    "pay": { "deny_if": [ { "conditions": [ { "path": "args.amount", "op": "gt", "value": 100 } ] } ] }
  }
}"#;

const TESTS: &str = r#"{ "policy": "policy.json", "cases": [
  { "name": "two searches", "steps": [
    { "call": "search", "times": 2, "expect": "allow" },
    { "call": "search", "expect": "deny" } ] },
  { "name": "small amounts", "call": "pay", "args": { "amount": 1 }, "expect": "allow" }
] }"#;

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("policy.json", POLICY);
        folder
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, "")
    }

    /// With something on stdin. The folder is the working directory.
    fn run_with(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_policyd"));
        command.arg("policy").args(arguments).current_dir(self.0.path()).env("NO_COLOR", "1").env("COLUMNS", "100");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that does not read it may be gone by now.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn tests_end_with_0_or_1_and_say_how_many() {
    let folder = Folder::new();
    folder.write("p.tests.json", TESTS);
    let good = folder.run(&["test", "."]);
    assert_eq!((code(&good), stdout(&good), stderr(&good)), (0, "2 cases passed, 0 failed\n".into(), String::new()));
    let one = folder.run(&["test", "p.tests.json", "--filter", "small"]);
    assert_eq!((code(&one), stdout(&one)), (0, "1 case passed, 0 failed\n".into()));
    let none = folder.run(&["test", "p.tests.json", "--filter", "large"]);
    assert_eq!((code(&none), stderr(&none)), (64, "policyd: no case's name contains `large`\n".into()));

    folder.write("p.tests.json", &TESTS.replace("\"times\": 2", "\"times\": 3"));
    let bad = folder.run(&["test", "p.tests.json", "--junit", "report.xml"]);
    assert_eq!(code(&bad), 1);
    assert!(stdout(&bad).starts_with("error: two searches: call 3 of `search`: expected allow, got deny\n"));
    assert!(stdout(&bad).contains("--> p.tests.json:3:") && stdout(&bad).ends_with("1 case passed, 1 failed\n"));
    let report = fs::read_to_string(folder.0.path().join("report.xml")).unwrap();
    assert!(report.contains("<testsuites name=\"policyd policy test\" tests=\"2\" failures=\"1\""), "{report}");
    let json = folder.run(&["test", "p.tests.json", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((code(&json), &value["failed"], &value["cases"][1]["passed"]), (1, &1.into(), &true.into()));
    let unwritten = folder.run(&["test", "p.tests.json", "--junit", "missing/report.xml"]);
    assert_eq!(code(&unwritten), 73);
}

#[test]
fn a_bad_policy_or_test_file_is_65_and_everything_is_told() {
    let folder = Folder::new();
    folder.write(
        "a.tests.json",
        r#"{ "policy": "bad.json", "cases": [ { "name": "n", "call": "search", "expect": "deny" } ] }"#,
    );
    folder.write("b.tests.json", r#"{ "policy": "missing.json", "case": [] }"#);
    folder.write(
        "c.tests.json",
        r#"{ "policy": "missing.json", "cases": [ { "name": "n", "call": "search", "expect": "deny" } ] }"#,
    );
    folder.write("d.tests.json", TESTS);
    folder.write("bad.json", r#"{ "version": "2" }"#);
    let bad = folder.run(&["test", "."]);
    assert_eq!(code(&bad), 65);
    for text in [
        "--> ./bad.json:1:14",
        "--> ./b.tests.json:1:29",
        "did you mean `cases`?",
        "`./missing.json` cannot be read",
        "--> ./c.tests.json:1:13",
    ] {
        assert!(stderr(&bad).contains(text), "{text}:\n{}", stderr(&bad));
    }
    assert_eq!(stdout(&bad), "2 cases passed, 0 failed\n", "the others run all the same");
    assert_eq!(code(&folder.run(&["test", "nothing.tests.json"])), 66);
    assert_eq!(code(&folder.run(&["test"])), 64);
}

#[test]
fn the_shipped_tests_pass_in_place() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/policies");
    let output = Folder::new().run(&["test", folder.to_str().unwrap()]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    let schema = Folder::new().run(&["test", "--schema"]);
    assert_eq!(stdout(&schema), fs::read_to_string(folder.join("tests.schema.json")).unwrap());
}

#[test]
fn the_test_file_in_the_help_runs() {
    let folder = Folder::new();
    let help = folder.run(&["test", "--help"]);
    let help = stdout(&help);
    let example: String = help
        .lines()
        .skip_while(|line| !line.starts_with("A test file, "))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n");
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/policies");
    fs::copy(policies.join("promptfax.json"), folder.0.path().join("promptfax.json")).unwrap();
    folder.write("promptfax.tests.json", &example);
    let output = folder.run(&["test", "promptfax.tests.json"]);
    assert_eq!((code(&output), stdout(&output)), (0, "2 cases passed, 0 failed\n".into()), "{example}");
}

#[test]
fn explain_ends_with_0_whatever_is_decided() {
    let folder = Folder::new();
    let denied = folder.run(&[
        "explain",
        "policy.json",
        "--tool",
        "pay",
        "--args",
        r#"{"amount": 200}"#,
        "--at",
        "2026-01-01T00:00:00Z",
    ]);
    assert_eq!((code(&denied), stderr(&denied)), (0, String::new()));
    insta::assert_snapshot!(stdout(&denied), @r#"
    call of `pay`
      grant `agent`, server `server`, session `session`, at 2026-01-01T00:00:00Z

      1  /hide                 the tool is not hidden
      2  /tools/pay            the entry that applies
    > 3  /tools/pay/deny_if/0  `deny_if` holds
           args.amount gt 100: 200 holds

    decision  deny by /tools/pay/deny_if/0 (deny-if)
    reason    a `deny_if` rule of tool `pay` forbids this call
    answer    {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Denied by policy: a `deny_if` rule of tool `pay` forbids this call"}],"isError":true}}
    record    "decision":"deny","rule":"/tools/pay/deny_if/0","observed":false
    lists     show the tool, if the server has it
    "#);
    // The same, from files and from stdin.
    let file = folder.write("arguments.json", r#"{"amount": 200}"#);
    let at = format!("@{}", file.display());
    for (arguments, stdin) in [(&*at, ""), ("-", r#"{"amount": 200}"#)] {
        let call = ["explain", "policy.json", "--tool", "pay", "--at", "2026-01-01T00:00:00Z", "--args", arguments];
        assert_eq!(stdout(&folder.run_with(&call, stdin)), stdout(&denied), "{arguments}");
    }
    let third = folder.run(&["explain", "policy.json", "--tool", "search", "--after", "2", "--every", "1s", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&third.stdout).unwrap();
    assert_eq!((&value["rule"], &value["retry_after"]), (&"/tools/search/rate_limit".into(), &58.0.into()));
    let server = folder.run(&["explain", "policy.json", "--method", "roots/list", "--from", "server"]);
    assert!(stdout(&server).starts_with("`roots/list` from the server\n"), "{}", stdout(&server));
    let raw = folder.run_with(&["explain", "policy.json", "--message", "-"], "[]");
    assert!(stdout(&raw).contains("deny by malformed"), "{}", stdout(&raw));
}

#[test]
fn explain_says_what_it_cannot_do() {
    let folder = Folder::new();
    folder.write("bad.json", r#"{ "version": "1" }"#);
    for (expected, arguments) in [
        (64, &["explain", "policy.json"][..]),
        (64, &["explain", "policy.json", "--tool", "a", "--method", "b"]),
        (64, &["explain", "policy.json", "--tool", "a", "--args", "{"]),
        (64, &["explain", "policy.json", "--tool", "a", "--args", r#"{},"x":{}"#]),
        (64, &["explain", "policy.json", "--method", "a", "--args", "{}"]),
        (64, &["explain", "policy.json", "--tool", "a", "--at", "noon"]),
        (64, &["explain", "policy.json", "--tool", "a", "--identity", "colour=red"]),
        (65, &["explain", "bad.json", "--tool", "a"]),
        (66, &["explain", "missing.json", "--tool", "a"]),
        (66, &["explain", "policy.json", "--tool", "a", "--args", "@missing.json"]),
        (66, &["explain", "policy.json", "--tool", "a", "--tools", "missing.json"]),
        (65, &["explain", "policy.json", "--tool", "a", "--tools", "policy.json"]),
    ] {
        let output = folder.run(arguments);
        assert_eq!(code(&output), expected, "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
}

/// A decision record.
fn record(second: u32, tool: &str, arguments: &str) -> String {
    format!(
        r#"{{"record":"decision","time":"2026-01-01T00:00:{second:02}.000000Z","call":"{second:032x}","identity":{{"pid":7,"uid":1000,"user":"joe","exe":null,"cgroup":"/","unit":null}},"grant":"office","server":"shop","method":"tools/call","tool":"{tool}","decision":"allow","rule":"/tools/{tool}","rule_kind":"tool","reason":null,"observed":false,"counters":[],"session":"5e55","protocol_version":null,"arguments_hmac":"ab","arguments":{arguments},"decision_us":1.5}}"#
    ) + "\n"
}

#[test]
fn replay_reads_logs_in_the_order_of_time() {
    let folder = Folder::new();
    // The later file is named first, as `audit.jsonl audit.jsonl.1` does.
    folder.write("audit.jsonl", &(record(20, "search", "{}") + &record(21, "pay", r#"{"amount":200}"#)));
    folder.write("audit.jsonl.1", &(record(1, "search", "{}") + &record(2, "search", "{}")));
    let output = folder.run(&["replay", "policy.json", "audit.jsonl", "audit.jsonl.1"]);
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
    insta::assert_snapshot!(stdout(&output), @r"
    other decisions
      pay: allowed by /tools/pay → denied by /tools/pay/deny_if/0: 1 call
          2026-01-01T00:00:21Z  call 00000000000000000000000000000015  grant office  a `deny_if` rule of tool `pay` forbids this call
      search: allowed by /tools/search → denied by /tools/search/rate_limit: 1 call
          2026-01-01T00:00:20Z  call 00000000000000000000000000000014  grant office  rate limit reached for tool `search`; try again in 41 s

    4 decisions judged: 2 as recorded, 2 otherwise, 0 by another rule
    ");
    let strict = folder.run(&["replay", "policy.json", "audit.jsonl", "--fail-on-difference", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&strict.stdout).unwrap();
    assert_eq!((code(&strict), &value["changed"], &value["changes"][0]["calls"]), (1, &1.into(), &1.into()));
    let same = folder.run(&["replay", "policy.json", "audit.jsonl.1", "--fail-on-difference"]);
    assert_eq!(
        (code(&same), stdout(&same)),
        (0, "2 decisions judged: 2 as recorded, 0 otherwise, 0 by another rule\n".into())
    );
    let filtered = folder.run(&["replay", "policy.json", "audit.jsonl", "--grant", "another"]);
    assert!(stdout(&filtered).contains("2 left out"), "{}", stdout(&filtered));
}

#[test]
fn replay_in_a_pipeline_fails_where_nothing_is_known() {
    let folder = Folder::new();
    folder.write("empty.jsonl", "");
    let none = folder.run(&["replay", "policy.json", "empty.jsonl", "--fail-on-difference"]);
    assert_eq!(code(&none), 1);
    assert_eq!(stderr(&none), "policyd: --fail-on-difference: no decision was judged, so nothing is known\n");
    assert_eq!(code(&folder.run(&["replay", "policy.json", "empty.jsonl"])), 0);

    let unknown = record(1, "pay", "null").replace(r#","arguments":null"#, "");
    let gap = r#"{"record":"gap","time":"2026-01-01T00:00:09.000000Z","missed":3}"#;
    folder.write("audit.jsonl", &format!("{}{unknown}{gap}\n", record(5, "search", "{}")));
    let arguments = ["replay", "policy.json", "audit.jsonl", "--fail-on-difference"];
    assert_eq!(code(&folder.run(&arguments)), 0);
    let strict = folder.run(&[&arguments[..], &["--strict"]].concat());
    assert_eq!(code(&strict), 65);
    let doubts = "1 decision judged on assumptions, 1 gap in the log, 1 decision out of order";
    assert_eq!(stderr(&strict), format!("policyd: --strict: {doubts}\n"));
}

#[test]
fn replay_counts_a_log_once_that_is_given_twice() {
    let folder = Folder::new();
    folder.write("audit.jsonl", &(record(1, "search", "{}") + &record(2, "search", "{}")));
    let twice = folder.run(&["replay", "policy.json", "audit.jsonl", "audit.jsonl", "--fail-on-difference"]);
    assert_eq!(
        (code(&twice), stdout(&twice)),
        (
            0,
            "2 decisions judged: 2 as recorded, 0 otherwise, 0 by another rule\n  \
             2 records there twice, and counted once\n"
                .into()
        )
    );
}

#[test]
fn a_full_disk_is_73_and_stdin_is_given_once() {
    let folder = Folder::new();
    folder.write("p.tests.json", TESTS);
    folder.write("audit.jsonl", &record(1, "search", "{}"));
    folder.write("i.yaml", "version: \"1\"\n");
    for arguments in [
        &["check", "policy.json"][..],
        &["check", "--json", "gone.json"],
        &["schema"],
        &["fmt", "--check", "policy.json"],
        &["import", "i.yaml"],
        &["explain", "policy.json", "--tool", "search"],
        &["test", "."],
        &["test", "--schema"],
        &["replay", "policy.json", "audit.jsonl"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_policyd"));
        let output = command.arg("policy").args(arguments).current_dir(folder.0.path()).stdout(full).output().unwrap();
        assert_eq!(code(&output), 73, "{arguments:?}");
        assert!(stderr(&output).contains("policyd: stdout cannot be written: "), "{}", stderr(&output));
    }
    for arguments in [
        &["check", "-", "-"][..],
        &["replay", "-", "-"],
        &["explain", "-", "--tool", "search", "--args", "-"],
        &["check", "--tools", "-", "-"],
    ] {
        let input = if arguments[1] == "--tools" { "[]" } else { POLICY };
        let output = folder.run_with(arguments, input);
        assert_eq!(code(&output), 66, "{arguments:?}");
        assert!(stderr(&output).contains("`<stdin>` is read already: `-` can be given once"), "{}", stderr(&output));
    }
}

#[test]
fn replay_tells_bad_lines_and_takes_a_torn_end() {
    let folder = Folder::new();
    let whole = record(1, "search", "{}");
    let torn = record(2, "search", "{}");
    let log = format!("{whole}nonsense\n\n{{\"record\":\"news\",\"time\":\"2026-01-01T00:00:01Z\"}}\n{}", &torn[..100]);
    folder.write("audit.jsonl", &log);
    let output = folder.run(&["replay", "policy.json", "audit.jsonl"]);
    assert_eq!(code(&output), 0);
    assert_eq!(
        stderr(&output),
        "policyd: audit.jsonl:2: this is no record: the body is not JSON (at byte 0)\n\
         policyd: audit.jsonl:4: there is no record `news`\n"
    );
    assert_eq!(
        stdout(&output),
        "1 decision judged: 1 as recorded, 0 otherwise, 0 by another rule\n  \
         2 lines could not be read\n  1 line at the end torn off\n"
    );
    assert_eq!(code(&folder.run(&["replay", "policy.json", "audit.jsonl", "--strict"])), 65);
    let piped = folder.run_with(&["replay", "policy.json", "-", "--strict"], &(whole.clone() + &torn[..100]));
    assert_eq!(code(&piped), 0, "a torn end is no bad line: {}", stderr(&piped));
    let many = folder.run_with(&["replay", "policy.json", "-"], &"x\n".repeat(1000));
    assert_eq!(stderr(&many).lines().count(), 11);

    fs::write(folder.0.path().join("audit.jsonl.2.gz"), [0x1f, 0x8b, 8, 0]).unwrap();
    let compressed = folder.run(&["replay", "policy.json", "audit.jsonl.2.gz"]);
    assert_eq!(code(&compressed), 66);
    assert!(stderr(&compressed).contains("zcat"), "{}", stderr(&compressed));
    assert_eq!(code(&folder.run(&["replay", "policy.json", "missing.jsonl"])), 66);
    assert_eq!(code(&folder.run(&["replay", "missing.json", "audit.jsonl"])), 66);
    assert_eq!(code(&folder.run(&["replay", "policy.json"])), 64);
}

#[test]
fn help_needs_no_manual() {
    for name in ["test", "explain", "replay"] {
        let help = stdout(&Folder::new().run(&[name, "--help"]));
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{name}: {help}");
        insta::assert_snapshot!(name, help);
    }
}
