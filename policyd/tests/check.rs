//! `policyd policy check` and `schema`, as a shell sees them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use serde_json::{Value, json};

/// Runs `policyd policy …` in a folder.
fn policy(folder: &Path, arguments: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_policyd"));
    command.arg("policy").args(arguments).current_dir(folder).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn check(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    told(&policy(folder, &[&["check"], arguments].concat(), ""))
}

/// The problems that `--json` tells.
fn problems(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn codes(stdout: &str) -> Vec<String> {
    problems(stdout).iter().map(|problem| problem["code"].as_str().unwrap().to_owned()).collect()
}

const GOOD: &str = r#"{ "version": "1", "default": "deny", "tools": { "search": {} } }"#;
const DOUBTFUL: &str = r#"{
  "version": "1",
  "default": "deny",
  "tools": {
    "pay": {
      "reason": "no",
      "require": [{ "conditions": [{ "path": "args.currency", "op": "regex", "value": "usd|eur" }] }]
    }
  }
}
"#;
const BAD: &str =
    "{\n  \"version\": \"1\",\n  \"defualt\": \"deny\",\n  \"tools\": { \"a\": { \"action\": \"dney\" } }\n}\n";

/// A folder with policies, and other things.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("bad.json", BAD),
        ("deep/doubtful.json", DOUBTFUL),
        ("good.json", GOOD),
        ("good.tests.json", "no policy"),
        ("package.json", r#"{ "name": "x", "version": "1.0.0" }"#),
        ("policy.schema.json", "{}"),
        ("readme.md", "no policy"),
    ] {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn everything_is_told_at_once() {
    let folder = folder();
    let (code, stdout, stderr) = check(folder.path(), &["."]);
    assert_eq!((code, stderr.as_str()), (65, ""));
    insta::assert_snapshot!(stdout, @r#"
    error: `default` is missing
     --> ./bad.json:1:1
      |
    1 | {
      | ^

    error: unknown key `defualt` in a policy
     --> ./bad.json:3:3
      |
    3 |   "defualt": "deny",
      |   ^^^^^^^^^
      |
      = help: did you mean `default`?

    error: expected `allow`, `deny` or `require_approval`, found `dney`
     --> ./bad.json:4:31
      |
    4 |   "tools": { "a": { "action": "dney" } }
      |                               ^^^^^^
      |
      = help: did you mean `deny`?

    warning[ignored-key]: nobody is told this `reason`: the entry denies nothing by itself
     --> ./deep/doubtful.json:6:7
      |
    6 |       "reason": "no",
      |       ^^^^^^^^
      |
      = help: only `"action": "deny"` has a reason; a rule's words are its `on_deny`

    warning[unanchored-regex]: this pattern may match anywhere in a text
     --> ./deep/doubtful.json:7:87
      |
    7 |       "require": [{ "conditions": [{ "path": "args.currency", "op": "regex", "value": "usd|eur" }] }]
      |                                                                                       ^^^^^^^^^
      |
      = help: write `^…$`, with `(…)` around alternatives, so that the whole text must match

    `./package.json` was left out: it is no policy
    3 files, 3 errors, 2 warnings
    "#);
}

#[test]
fn warnings_are_errors_only_where_it_is_asked_for() {
    let folder = folder();
    for (arguments, expected) in [
        (&["good.json"][..], 0),
        (&["--strict", "good.json"], 0),
        (&["deep"], 0),
        (&["--strict", "deep"], 65),
        (&["--strict", "--allow", "ignored-key", "deep"], 65),
        (&["--strict", "--allow", "ignored-key", "--allow", "unanchored-regex", "deep"], 0),
        (&["bad.json", "missing.json"], 65),
        (&["good.json", "missing.json"], 66),
        (&["policy.schema.json"], 65),
        (&[], 64),
        (&["--allow", "ignored", "good.json"], 64),
        (&["--header", "a: b", "good.json"], 64),
        (&["--server", "ftp://x", "good.json"], 64),
        (&["--tools", "missing.json", "good.json"], 66),
        (&["--tools", "good.json", "good.json"], 65),
    ] {
        let (code, stdout, stderr) = check(folder.path(), arguments);
        assert_eq!(code, expected, "{arguments:?}: {stdout}{stderr}");
        assert!(code != 64 && code != 66 || !stderr.is_empty(), "{arguments:?}: a failure is told");
    }
    fs::create_dir(folder.path().join("empty")).unwrap();
    let (code, _, stderr) = check(folder.path(), &["empty"]);
    assert_eq!((code, stderr.as_str()), (66, "policyd: `empty` has no policies (`*.json`) in it\n"));
    let (_, stdout, _) = check(folder.path(), &["--strict", "deep"]);
    assert!(stdout.ends_with("1 file, 0 errors, 2 warnings (--strict counts them as errors)\n"), "{stdout}");
}

#[test]
fn scripts_get_one_object_per_problem() {
    let folder = folder();
    let (code, stdout, _) = check(folder.path(), &["--json", "deep", "bad.json", "gone.json"]);
    assert_eq!(code, 65);
    assert_eq!(
        codes(&stdout),
        ["ignored-key", "unanchored-regex", "missing-key", "unknown-key", "unknown-word", "unreadable"]
    );
    assert_eq!(
        problems(&stdout)[3],
        json!({
            "file": "bad.json", "line": 3, "column": 3, "end": { "line": 3, "column": 12 }, "severity": "error",
            "code": "unknown-key", "message": "unknown key `defualt` in a policy", "help": "did you mean `default`?",
        })
    );
    let (code, stdout, _) = told(&policy(folder.path(), &["check", "--json", "-"], DOUBTFUL));
    assert_eq!((code, problems(&stdout)[0]["file"].as_str()), (0, Some("<stdin>")));
}

#[test]
fn policies_are_held_against_the_tools_of_a_server() {
    let folder = folder();
    let tools = json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": [
        { "name": "pay", "inputSchema": { "type": "object", "properties": { "curency": { "type": "string" } } } },
        { "name": "refund", "inputSchema": { "type": "object" } },
    ] } });
    fs::write(folder.path().join("tools.txt"), tools.to_string()).unwrap();
    let allow = ["--allow", "ignored-key", "--allow", "unanchored-regex"];
    let (code, stdout, _) = check(folder.path(), &[&["--tools", "tools.txt", "deep"], &allow[..]].concat());
    assert_eq!(code, 0);
    insta::assert_snapshot!(stdout, @r#"
    note: 1 tool that no entry names is denied: `refund`
     --> deep/doubtful.json:3:14
      |
    3 |   "default": "deny",
      |              ^^^^^^

    warning[no-such-argument]: `pay` has no argument `args.currency`: every call is refused
     --> deep/doubtful.json:7:46
      |
    7 |       "require": [{ "conditions": [{ "path": "args.currency", "op": "regex", "value": "usd|eur" }] }]
      |                                              ^^^^^^^^^^^^^^^
      |
      = help: did you mean `curency`?

    1 file, 0 errors, 1 warning
    "#);
}

/// A server that answers each request with the next of some HTTP responses; gives what it was sent.
fn serve(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let mut answers = VecDeque::from(answers);
    let thread = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while let Some(answer) = answers.pop_front() {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut request, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                request.push_str(&line);
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            request.push_str(&String::from_utf8(body).unwrap());
            seen.push(request);
            stream.write_all(answer.as_bytes()).unwrap();
        }
        seen
    });
    (url, thread)
}

fn http(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn response(head: &str, result: Value) -> String {
    http(
        &format!("200 OK\r\ncontent-type: application/json{head}"),
        &json!({ "jsonrpc": "2.0", "id": 1, "result": result }).to_string(),
    )
}

#[test]
fn a_live_server_is_asked_page_by_page_and_told_good_bye() {
    let folder = folder();
    let page = json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": [{ "name": "pay" }], "nextCursor": "" } });
    let stream = format!(
        ": hello\n\ndata: {}\n\nevent: message\ndata: {page}\n\n",
        json!({ "jsonrpc": "2.0", "method": "notifications/message" })
    );
    let (url, server) = serve(vec![
        response("\r\nmcp-session-id: s1", json!({ "protocolVersion": "2025-06-18" })),
        http("202 Accepted", ""),
        http("200 OK\r\ncontent-type: text/event-stream", &stream),
        response("", json!({ "tools": [{ "name": "refund" }] })),
        http("405 Method Not Allowed", ""),
    ]);
    let (code, stdout, stderr) =
        check(folder.path(), &["--json", "--server", &url, "--header", "Authorization: Bearer b1", "good.json"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let told: Vec<_> =
        problems(&stdout).iter().map(|problem| problem["message"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, ["2 tools that no entry names are denied: `pay` and `refund`", "the server has no tool `search`"]);
    let seen = server.join().unwrap();
    assert!(seen.iter().all(|request| request.contains("authorization: Bearer b1\r\n")), "{seen:?}");
    let later = |request: &String| {
        request.contains("mcp-session-id: s1\r\n") && request.contains("mcp-protocol-version: 2025-06-18\r\n")
    };
    assert!(!later(&seen[0]) && seen[1..].iter().all(later), "{seen:?}");
    assert!(!seen[2].contains("cursor") && seen[3].contains(r#""cursor":"""#), "{seen:?}");
    assert!(seen[4].starts_with("DELETE /mcp "), "{seen:?}");
}

#[test]
fn a_server_without_sessions_is_asked_at_once() {
    let folder = folder();
    let refusal = json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32601, "message": "no such method" } });
    let (url, server) = serve(vec![
        http("400 Bad Request\r\ncontent-type: application/json", &refusal.to_string()),
        response("", json!({ "resultType": "complete", "tools": [{ "name": "search" }] })),
    ]);
    let (code, stdout, stderr) = check(folder.path(), &["--server", &url, "good.json"]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "1 file, 0 errors, 0 warnings\n", ""));
    let seen = server.join().unwrap();
    assert!(seen[1].contains("mcp-method: tools/list\r\n") && seen[1].contains("mcp-protocol-version: 2026-07-28\r\n"));
    assert!(seen[1].contains(r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#), "{}", seen[1]);
}

#[test]
fn a_server_that_cannot_be_asked_is_told() {
    let folder = folder();
    let error =
        json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32001, "message": "go\u{7} away" } }).to_string();
    for (answers, message) in [
        (vec![http("401 Unauthorized", "")], "it wants credentials (HTTP 401); give them with --header"),
        (
            vec![http("307 Temporary Redirect\r\nlocation: https://other.example/", "")],
            "it redirects to `https://other.example/`",
        ),
        (
            vec![http("404 Not Found", ""), http("404 Not Found", "")],
            "it answered HTTP 404; is this the URL of its MCP endpoint?",
        ),
        (
            vec![http("200 OK\r\ncontent-type: text/html", "<html>")],
            "its answer to `initialize` is no MCP: it holds no JSON-RPC response",
        ),
        (
            vec![http("200 OK\r\ncontent-type: application/json", &error), http("500 Oh", "")],
            "it refused `initialize`: go⟨U+0007⟩ away (-32001)",
        ),
        (
            vec![response("", json!({})), http("202 Accepted", ""), response("", json!({ "tools": 7 }))],
            "its answer to `tools/list` is no MCP: no list of tools stands here",
        ),
    ] {
        let (url, server) = serve(answers);
        let (code, stdout, stderr) = check(folder.path(), &["--server", &url, "good.json"]);
        assert!(code == 69 && stdout.is_empty() && stderr.contains(message), "{message}: {code} {stdout}{stderr}");
        server.join().unwrap();
    }
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, _, stderr) = check(folder.path(), &["--server", &format!("http://{unused}/mcp"), "good.json"]);
    assert!(code == 69 && stderr.contains("it cannot be connected to"), "{stderr}");
}

#[test]
fn the_schema_is_printed_as_it_is_published() {
    let (code, stdout, stderr) = told(&policy(Path::new("."), &["schema"], ""));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let published = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/policies/policy.schema.json");
    assert!(stdout == fs::read_to_string(published).unwrap());
}

/// `script` gives a command a terminal.
#[test]
fn colours_are_for_terminals_that_have_them() {
    let folder = folder();
    let coloured = |environment: &str| {
        let command = format!("env -u NO_COLOR {environment} {} policy check bad.json", env!("CARGO_BIN_EXE_policyd"));
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).current_dir(folder.path()).stdin(Stdio::null());
        let output = script.output().unwrap();
        assert_eq!(output.status.code(), Some(65), "{environment}");
        output.stdout.contains(&0x1b)
    };
    assert!(coloured("TERM=xterm") && coloured("NO_COLOR= TERM=xterm"));
    assert!(!coloured("TERM=dumb") && !coloured("NO_COLOR=1 TERM=xterm"));
    assert!(!check(folder.path(), &["bad.json"]).1.contains('\u{1b}'), "no terminal");
}

#[test]
fn help_says_what_is_read_and_what_for() {
    let folder = tempfile::tempdir().unwrap();
    let help = |name: &str| told(&policy(folder.path(), &[name, "--help"], "")).1.replace("\n", " ");
    assert!(help("check").contains("Folders are walked: every `*.json`"), "{}", help("check"));
    assert!(help("schema").contains("(2020-12)"), "{}", help("schema"));
}
