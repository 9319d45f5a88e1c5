//! `policyd stdio`: servers that are commands, real ones and hostile ones, before real clients and raw ones.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use policyd::mcp::Cause;
use policyd_tests::agent::{Outcome, Sdk, Step, Transcript};
use policyd_tests::process::Running;
use policyd_tests::stdio::{Place, answer, everything, hello, request, start};
use policyd_tests::strictness::{Row, documented, rows};
use policyd_tests::systems::{AXINT, LOOKING_GLASS, WORKBENCH};
use serde_json::{Value, json};

const ALLOW: &str = r#"{"version": "1", "default": "allow"}"#;
const SDKS: [Sdk; 3] = [Sdk::Python2, Sdk::Python1, Sdk::TypeScript];

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|word| (*word).to_owned()).collect()
}

fn call(id: &str, tool: &str, arguments: &Value) -> Vec<u8> {
    request(id, "tools/call", &json!({"name": tool, "arguments": arguments}))
}

#[test]
fn the_everything_server_is_the_same_through_policyd() {
    let place = Place::new();
    // Reads whatever the server says, and refuses nothing of it.
    let policies = [ALLOW, r#"{"version": "1", "default": "allow", "hide": ["hidden-tool"], "methods": {"x/*": {}}}"#];
    for sdk in SDKS {
        let steps = [
            Step::Answer,
            Step::List,
            Step::Call("echo", json!({"message": "hällo\u{2028}\u{1f600}"}), 2),
            Step::Call("trigger-sampling-request", json!({"prompt": "hi", "maxTokens": 5}), 1),
            Step::Call("get-tiny-image", json!({}), 1),
            Step::Call("no-such-tool", json!({}), 1),
            Step::Prompt("simple-prompt"),
        ];
        // The newest SDK answers nothing that servers ask.
        let steps = if sdk == Sdk::Python2 { &steps[1..3] } else { &steps[..] };
        let direct = sdk.over_stdio(&everything(), steps);
        assert!(direct.list(0).len() > 5, "{direct:#?}");
        // The session's end is a race in the Python client (1.30): with or without policyd it may say so.
        let said = |transcript: &Transcript| -> Vec<String> {
            let lines = transcript.finished.stdout.lines();
            lines.filter(|line| !line.contains("BrokenResourceError")).map(str::to_owned).collect()
        };
        for policy in policies {
            let policy = place.policy(policy);
            let through = sdk.over_stdio(&place.alone("everything", &policy, &everything()), steps);
            assert_eq!(said(&through), said(&direct), "{sdk:?}: {}", through.finished.stderr);
        }
    }
}

#[test]
fn the_policies_of_axint_and_looking_glass_hold_for_every_sdk() {
    for system in [AXINT, LOOKING_GLASS] {
        for sdk in SDKS {
            let place = Place::new();
            let server = place.alone(system.name, &system.policy(), &place.tools(&system));
            let steps = [Step::List, Step::call(system.tool, 11), Step::call(system.other, 1)];
            let transcript = sdk.over_stdio(&server, &steps);
            assert_eq!(transcript.list(0), [system.tool], "{sdk:?}: {transcript:#?}");
            let calls = transcript.calls(system.tool);
            let done = Outcome::Ok(format!("{}: done", system.tool));
            assert!(calls[..10].iter().all(|call| *call == done), "{sdk:?}: {calls:?}");
            assert!(matches!(&calls[10], Outcome::Failed(why) if why.starts_with("Denied by policy: ")), "{calls:?}");
            let other = &transcript.calls(system.other)[0];
            assert!(matches!(other, Outcome::Failed(why) if why.starts_with("Denied by policy: ")), "{other:?}");
            assert_eq!(place.calls(), vec![system.tool; 10], "{sdk:?}");
            records_join(&place.audit(), system.name);
        }
    }
}

/// Every decision has its outcome, and outcomes that went well have neither a status nor an error.
fn records_join(records: &[Value], server: &str) {
    let of = |kind: &str| records.iter().filter(|record| record["record"] == kind).collect::<Vec<_>>();
    let (decisions, outcomes) = (of("decision"), of("outcome"));
    assert!(decisions.len() > 12, "{records:#?}");
    for decision in &decisions {
        let outcome = outcomes.iter().find(|outcome| outcome["call"] == decision["call"]);
        let outcome = outcome.unwrap_or_else(|| panic!("no outcome of {decision}"));
        assert_eq!((&outcome["status"], &outcome["error"]), (&Value::Null, &Value::Null), "{decision} {outcome}");
        assert_eq!(decision["server"], server);
        assert_eq!(decision["identity"]["uid"], 0);
        assert!(decision["identity"]["pid"].as_u64() > Some(1), "{decision}");
    }
    assert_eq!(decisions.len(), outcomes.len());
}

#[test]
fn rubbish_on_stdout_reaches_no_client_and_ends_nothing() {
    for policy in [ALLOW, r#"{"version": "1", "default": "deny", "tools": {"*": {}}}"#] {
        let place = Place::new();
        let policy = place.policy(policy);
        let mut session = start(&place.alone("workbench", &policy, &place.tools(&WORKBENCH)));
        session.write(&hello());
        session.write(&call("1", "echo", &json!({"rubbish": true})));
        assert_eq!(answer(&mut session, "1")["result"]["content"][0]["text"], "echo: done");
        session.write(&call("2", "echo", &json!({"bytes": 5 << 20})));
        let large = answer(&mut session, "2");
        assert_eq!(large["result"]["content"][0]["text"].as_str().unwrap().len(), 5 << 20);
        session.close_stdin();
        let finished = session.finish();
        assert_eq!(finished.status.code(), Some(0), "{finished:#?}");
        for line in finished.stdout.lines().filter(|line| *line != "{\"half\": ") {
            assert_eq!(serde_json::from_str::<Value>(line).unwrap()["jsonrpc"], "2.0", "{line}");
        }
        assert!(
            finished.stderr.contains("not-json-rpc") && finished.stderr.contains("not-json\""),
            "{}",
            finished.stderr
        );
        assert!(!finished.stderr.contains("structured"), "what the server printed stands in the log");
    }
}

#[test]
fn a_batch_that_nobody_could_send_is_not_read() {
    let place = Place::new();
    let policy = place.policy(ALLOW);
    let answers = |count: usize| {
        let answers: Vec<_> = (0..count).map(|id| json!({"jsonrpc": "2.0", "id": id, "result": {}})).collect();
        serde_json::to_string(&answers).unwrap()
    };
    let script = format!("echo '{}'; echo '{}'; cat", answers(101), answers(100));
    let mut session = start(&place.alone("workbench", &policy, &["sh".into(), "-c".into(), script]));
    session.close_stdin();
    let finished = session.finish();
    assert_eq!(finished.status.code(), Some(0), "{finished:#?}");
    assert_eq!(finished.stdout.trim_end(), answers(100));
    assert!(finished.stderr.contains("long-batch"), "{}", finished.stderr);
}

#[test]
fn a_server_that_dies_is_told_of_by_its_exit_code_and_in_the_records() {
    let place = Place::new();
    let policy = place.policy(ALLOW);
    let mut session = start(&place.alone("workbench", &policy, &place.tools(&WORKBENCH)));
    session.write(&hello());
    answer(&mut session, "0");
    session.write(&call("1", "echo", &json!({"exit": 7})));
    let finished = session.finish();
    assert_eq!(finished.status.code(), Some(7), "{finished:#?}");
    let records = place.audit();
    let calling = records.iter().find(|record| record["tool"] == "echo").unwrap();
    let outcome = records.iter().find(|r| r["record"] == "outcome" && r["call"] == calling["call"]).unwrap();
    assert_eq!(outcome["error"], "server-gone");
}

/// The most memory that it has had, in kB.
fn peak(session: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", session.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_line_of_100_mib_is_refused_unread_and_the_session_goes_on() {
    let place = Place::new();
    let policy = place.policy(ALLOW);
    let mut session = start(&place.alone("workbench", &policy, &place.tools(&WORKBENCH)));
    session.write(&hello());
    session.write(br#"{"jsonrpc":"2.0","id":"long","method":"tools/call","params":{"name":"echo","arguments":{"a":""#);
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        session.write(&piece);
    }
    session.write(b"\"}}}\n");
    let refused = answer(&mut session, "\"long\"");
    assert_eq!(refused["error"]["code"], -32001);
    assert_eq!(refused["error"]["data"]["rule"], "malformed");
    session.write(&call("1", "echo", &json!({})));
    answer(&mut session, "1");
    assert_eq!(place.calls(), ["echo"]);
    let peak = peak(&session);
    assert!(peak < 100 << 10, "{peak} kB for a line that is not kept");
    assert!(
        place.audit().iter().any(|r| r["rule"] == "malformed" && r["reason"].as_str().unwrap().contains("too long"))
    );
}

#[test]
fn what_a_server_would_execute_and_policyd_does_not_read_alike_is_refused() {
    let tricks: [(&str, &[u8]); 3] = [
        // Python reads universal line ends: three lines, of which the second is a call.
        (
            "a carriage return",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{\"x\":\r{\"jsonrpc\":\"2.0\",\"id\":2,\
            \"method\":\"tools/call\",\"params\":{\"name\":\"delete_account\",\"arguments\":{}}}\r}}\n",
        ),
        (
            "a duplicate key",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\
            \"name\":\"delete_account\",\"arguments\":{}}}\n",
        ),
        (
            "another member",
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"delete_account\",\
            \"arguments\":{}},\"x\":1}\n",
        ),
    ];
    for (trick, line) in tricks {
        let place = Place::new();
        let mut direct = start(&place.tools(&WORKBENCH));
        direct.write(&hello());
        direct.write(line);
        answer(&mut direct, if trick == "a carriage return" { "2" } else { "1" });
        assert_eq!(place.calls(), ["delete_account"], "{trick}: the server does execute it");
        drop(direct);

        let place = Place::new();
        let policy =
            place.policy(r#"{"version": "1", "default": "allow", "tools": {"delete_account": {"action": "deny"}}}"#);
        let mut session = start(&place.alone("workbench", &policy, &place.tools(&WORKBENCH)));
        session.write(&hello());
        session.write(line);
        session.write(&call("3", "echo", &json!({})));
        answer(&mut session, "3");
        assert_eq!(place.calls(), ["echo"], "{trick}");
        if trick != "a carriage return" {
            assert_eq!(answer(&mut session, "1")["error"]["data"]["rule"], "malformed", "{trick}");
        }
        assert!(place.audit().iter().any(|record| record["rule"] == "malformed"), "{trick}");
    }
}

#[test]
fn no_row_of_the_strictness_table_reaches_a_python_server() {
    let mut rows = rows();
    // A line end would make two lines of one, and what is empty is left out.
    rows.retain(|row| row.in_body && row.cause != "empty" && !row.body.contains(&b'\n'));
    assert!(rows.len() > 50, "{}", rows.len());
    let line = |row: &Row| [&row.body[..], b"\n"].concat();

    let place = Place::new();
    let mut direct = start(&place.executes());
    direct.write(&hello());
    rows.iter().for_each(|row| direct.write(&line(row)));
    direct.write(&call("\"end\"", "control", &json!({})));
    answer(&mut direct, "\"end\"");
    for tool in ["control", "a_name_twice", "NaN", "invalid_UTF-8", "an_unknown_member"] {
        assert!(place.executed().contains(tool), "{tool} is not executed: {:?}", place.executed());
    }

    let place = Place::new();
    let mut session = start(&place.alone("executes", &place.policy(ALLOW), &place.executes()));
    session.write(&hello());
    answer(&mut session, "0");
    let mut told = BTreeSet::new();
    for (at, row) in rows.iter().enumerate() {
        let before = session.stdout().len();
        let ping = format!("\"ping {at}\"");
        session.write(&line(row));
        session.write(&request(&ping, "ping", &json!({})));
        answer(&mut session, &ping);
        let replies = session.stdout().split_off(before);
        match &replies[..] {
            [_pong] => {}
            [reply, _pong] => {
                let reply: Value = serde_json::from_str(reply).unwrap();
                assert_eq!((&reply["id"], &reply["error"]["code"]), (&json!(1), &json!(-32001)), "{}", row.what);
                assert_eq!(reply["error"]["data"]["rule"], "malformed", "{}", row.what);
                told.insert(row.cause);
            }
            more => panic!("{}: {more:?}", row.what),
        }
    }
    session.write(&call("\"end\"", "control", &json!({})));
    answer(&mut session, "\"end\"");
    assert_eq!(place.executed(), BTreeSet::from(["control".to_owned()]));
    let records = place.audit();
    let reasons: Vec<&str> =
        records.iter().filter(|r| r["rule"] == "malformed").map(|r| r["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.len(), rows.len(), "{reasons:#?}");
    for (row, reason) in rows.iter().zip(reasons) {
        // A carriage return is refused wherever it stands.
        let word = if row.body.contains(&b'\r') { "carriage-return" } else { row.cause };
        let cause = Cause::ALL.iter().find(|cause| cause.word() == word).unwrap();
        assert!(reason.starts_with(&cause.to_string()), "{}: {reason}", row.what);
    }
    let errors: BTreeSet<&str> =
        rows.iter().map(|row| row.cause).filter(|cause| documented(cause) == "error").collect();
    assert_eq!(told, errors);
}

#[test]
fn an_answer_that_this_sessions_server_did_not_ask_for_is_refused() {
    let place = Place::new();
    let policy = place.policy(r#"{"version": "1", "default": "allow", "methods": {"x/*": {"action": "deny"}}}"#);
    // Says what it reads, and asks one thing once it has been greeted.
    let script = r#"read -r line; echo '{"jsonrpc":"2.0","id":"7","method":"roots/list"}';
        while read -r line; do echo "read $line" >&2; done"#;
    let server = words(&["sh", "-c", script]);
    let mut asked = start(&place.alone("sh", &policy, &server));
    let mut other = start(&place.alone(
        "sh",
        &policy,
        &words(&["sh", "-c", "while read -r line; do echo \"read $line\" >&2; done"]),
    ));
    asked.write(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n");
    asked.line("what the server asks", 0, |line| line.contains("roots/list"));
    let answers = |id: &str| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"roots\":[]}}}}\n");
    for session in [&mut asked, &mut other] {
        // Clients answer `7` to `"7"`, and repeat answers.
        for id in ["7", "\"7\"", "8"] {
            session.write(answers(id).as_bytes());
        }
        session.write(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n");
        session.close_stdin();
    }
    let read = |lines: String| lines.lines().filter(|line| line.starts_with("read ")).count();
    assert_eq!((read(asked.finish().stderr), read(other.finish().stderr)), (3, 1));
    let refused = place.audit().iter().filter(|r| r["rule"] == "unasked" && r["decision"] == "deny").count();
    assert_eq!(refused, 4);
}

#[test]
fn what_a_server_needs_to_know_belongs_to_one_request() {
    let place = Place::new();
    let policy = place.policy(r#"{"version": "1", "default": "allow", "methods": {"x/*": {"action": "deny"}}}"#);
    let script = r#"read -r line
        echo '{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list"}}}}'
        while read -r line; do echo "read $line" >&2; done"#;
    let mut session = start(&place.alone("sh", &policy, &words(&["sh", "-c", script])));
    session.write(&call("1", "t", &json!({})));
    answer(&mut session, "1");
    for (id, tool, key, goes_on) in [("2", "t", "k", true), ("3", "t", "other", false), ("4", "u", "k", false)] {
        let mut responses = json!({"name": tool, "arguments": {}});
        responses["inputResponses"] = json!({key: {"roots": []}});
        session.write(&request(id, "tools/call", &responses));
        if !goes_on {
            assert!(answer(&mut session, id)["result"]["isError"].as_bool().unwrap(), "{id}");
        }
    }
    session.close_stdin();
    let finished = session.finish();
    let read: Vec<&str> = finished.stderr.lines().filter(|line| line.starts_with("read ")).collect();
    assert!(matches!(read[..], [one] if one.contains("\"id\":2,")), "{read:?}");
    assert_eq!(place.audit().iter().filter(|record| record["rule"] == "unasked").count(), 2);
}

#[test]
fn tools_that_change_are_noted_and_refused_where_the_policy_says_so() {
    for (policy, refused) in [(ALLOW, false), (r#"{"version": "1", "default": "allow", "tool_changes": "deny"}"#, true)]
    {
        let place = Place::new();
        let mut session = start(&place.alone("workbench", &place.policy(policy), &place.tools(&WORKBENCH)));
        session.write(&hello());
        let mut list = |id: &str| {
            session.write(&request(id, "tools/list", &json!({})));
            let tools = answer(&mut session, id)["result"]["tools"].as_array().unwrap().clone();
            if id == "1" {
                session.write(&call("2", "echo", &json!({"add": "later"})));
                answer(&mut session, "2");
            }
            tools.iter().any(|tool| tool["name"] == "later")
        };
        assert_eq!((list("1"), list("3")), (false, !refused));
        session.write(&call("4", "later", &json!({})));
        let called = answer(&mut session, "4");
        assert_eq!(called["result"]["isError"].as_bool().unwrap_or_default(), refused, "{called}");
        let noted = place.audit().iter().filter(|r| r["record"] == "definition" && r["tool"] == "later").count();
        assert_eq!(noted, 1, "{policy}: {:#?}", place.audit());
    }
}

#[test]
fn what_is_remembered_of_unanswered_requests_is_bounded() {
    let place = Place::new();
    let policy = place.policy(ALLOW);
    let script = "head -n 200 >/dev/null; echo ready >&2; cat >/dev/null";
    let mut session = start(&place.alone("sh", &policy, &words(&["sh", "-c", script])));
    let long = "x".repeat(1 << 20);
    for at in 0..200 {
        session.write(&request(&format!("\"{at} {long}\""), "ping", &json!({})));
    }
    policyd_tests::wait::until("all to have gone on", || session.stderr().contains(&"ready".to_owned()).then_some(()));
    let peak = peak(&session);
    assert!(peak < 100 << 10, "{peak} kB for 200 MiB of ids");
}

#[test]
fn a_malformed_line_without_a_certain_id_is_dropped_in_silence() {
    let place = Place::new();
    let policy = place.policy(ALLOW);
    let mut session = start(&place.alone("workbench", &policy, &place.tools(&WORKBENCH)));
    session.write(&hello());
    answer(&mut session, "0");
    session.write(b"nonsense\n[{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"ping\"}]\n\n{\"id\":null,\"method\":\"ping\"}\n\xef\xbb\xbf{}\n");
    session.write(&call("1", "echo", &json!({})));
    answer(&mut session, "1");
    assert_eq!(session.stdout().len(), 2, "nothing else is said: {:#?}", session.stdout());
    let refused = place.audit().iter().filter(|record| record["rule"] == "malformed").count();
    assert_eq!(refused, 4);
}

#[test]
fn a_client_that_closes_stdin_ends_the_server() {
    let place = Place::new();
    let policy = place.policy(ALLOW);
    let mut session = start(&place.alone("workbench", &policy, &place.tools(&WORKBENCH)));
    session.write(&hello());
    answer(&mut session, "0");
    session.close_stdin();
    assert_eq!(session.finish().status.code(), Some(0));
    // What stood in the pipe is answered before.
    let mut session = start(&place.alone(
        "cat",
        &policy,
        &words(&["sh", "-c", "cat >/dev/null; echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}'; exit 3"]),
    ));
    session.write(&hello());
    session.close_stdin();
    let finished = session.finish();
    assert_eq!(
        (finished.stdout.as_str(), finished.status.code()),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Some(3))
    );
}

#[test]
fn stderr_signals_and_exit_codes_are_the_commands() {
    let place = Place::new();
    let policy = place.policy(ALLOW);
    for (signal, script, code) in [
        (Signal::SIGTERM, "trap 'exit 5' TERM", 5),
        (Signal::SIGINT, "trap 'exit 6' INT", 6),
        (Signal::SIGHUP, "trap 'exit 7' HUP", 7),
        (Signal::SIGTERM, "true", 128 + 15),
    ] {
        let script = format!("{script}; echo ready >&2; while :; do sleep 0.01; done");
        let session = start(&place.alone("sh", &policy, &words(&["sh", "-c", &script])));
        policyd_tests::wait::until("the command to run", || {
            session.stderr().contains(&"ready".to_owned()).then_some(())
        });
        session.signal(signal);
        assert_eq!(session.finish().status.code(), Some(code), "{signal}");
    }
    // Killed, it takes the command along, even one that does not mind the end of its stdin.
    let script = "echo $$ >&2; while :; do sleep 0.01; done";
    let session = start(&place.alone("sh", &policy, &words(&["sh", "-c", script])));
    let pid = policyd_tests::wait::until("the command to run", || session.stderr().first()?.parse::<i32>().ok());
    session.signal(Signal::SIGKILL);
    let gone = || nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_err().then_some(());
    policyd_tests::wait::until("the command to be gone", gone);
    drop(session);
    for (command, code) in [(&["no-such-command"][..], 127), (&["/etc/passwd"], 126), (&["sh", "-c", "exit 42"], 42)] {
        let finished = start(&place.alone("sh", &policy, &words(command))).finish();
        assert_eq!(finished.status.code(), Some(code), "{finished:#?}");
    }
}

#[test]
fn what_a_server_asks_is_judged_and_it_is_told_of_a_refusal() {
    let place = Place::new();
    let policy = place.policy(
        r#"{"version": "1", "default": "allow", "methods": {"sampling/createMessage": {"action": "deny", "reason": "no models here"}}}"#,
    );
    let steps = [Step::Answer, Step::Call("trigger-sampling-request", json!({"prompt": "hi"}), 1)];
    let transcript = Sdk::TypeScript.over_stdio(&place.alone("everything", &policy, &everything()), &steps);
    assert!(transcript.asked().iter().all(|method| *method != "sampling/createMessage"), "{transcript:#?}");
    let outcome = &transcript.calls("trigger-sampling-request")[0];
    assert!(outcome.text().contains("Denied by policy"), "{outcome:?}");
    let records = place.audit();
    let asked =
        records.iter().find(|record| record["direction"] == "to-agent" && record["decision"] == "deny").unwrap();
    assert_eq!((&asked["method"], &asked["server"]), (&"sampling/createMessage".into(), &"everything".into()));
}
