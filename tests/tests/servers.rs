//! What servers ask of their clients (sampling, elicitation, roots), under `methods`: real servers, unmodified clients.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use policyd_tests::agent::{Outcome, Sdk, Step, Transcript};
use policyd_tests::asking::Asking;
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::wait;
use policyd_tests::world::World;
use serde_json::{Value, json};

/// A daemon with one server and a grant for `anna` under `policy`.
fn daemon<'w>(world: &'w World, server: &Asking, policy: &str) -> Daemon<'w> {
    let policy = world.file("policy.json", policy);
    let config =
        Config::new().server("asking", &server.url()).grant("anna", &world.agent_cgroup("anna"), "asking", &policy);
    Daemon::start(world, &config)
}

/// The decisions on what the server asked, each with its outcome.
fn asked(daemon: &Daemon<'_>, method: &str) -> Vec<(Value, Value)> {
    wait::until("every outcome", || {
        let records = daemon.audit();
        let decisions = records.iter().filter(|record| record["direction"] == "to-agent" && record["method"] == method);
        decisions
            .map(|decision| {
                let outcome = records.iter().find(|r| r["record"] == "outcome" && r["call"] == decision["call"]);
                outcome.map(|outcome| (decision.clone(), outcome.clone()))
            })
            .collect()
    })
}

fn only(records: Vec<(Value, Value)>) -> (Value, Value) {
    let [pair] = <[_; 1]>::try_from(records).unwrap_or_else(|records| panic!("{records:#?}"));
    pair
}

const ALLOWING: &str = r#"{
    "version": "1", "default": "deny", "tools": { "*": {} },
    "methods": { "sampling/createMessage": { "limits": [
        { "counter": "samples", "window": "day", "max": 2 } ] }, "elicitation/create": {}, "roots/list": {} }
}"#;

const DENYING: &str = r#"{
    "version": "1", "default": "allow", "methods": {
        "sampling/createMessage": { "action": "deny", "reason": "No sampling." },
        "elicitation/create": { "action": "require_approval" },
        "roots/list": { "require": [ { "conditions": [ { "path": "grant.name", "op": "eq", "value": "bert" } ] } ] }
    }
}"#;

fn steps() -> [Step; 6] {
    [
        Step::Answer,
        Step::Call("sample", json!({"prompt": "hi"}), 1),
        Step::Call("sample", json!({"prompt": "hi", "here": false}), 1),
        Step::call("elicit", 1),
        Step::call("roots", 1),
        Step::call("ping", 1),
    ]
}

fn texts(transcript: &Transcript, tool: &str) -> Vec<String> {
    let calls = transcript.calls(tool);
    assert!(calls.iter().all(|call| matches!(call, Outcome::Ok(_))), "{transcript:#?}");
    calls.iter().map(|call| call.text().to_owned()).collect()
}

/// On the answer of a call and on the session's own stream alike.
fn what_a_policy_names_is_answered_by_the_client(sdk: Sdk) {
    let world = World::new();
    let server = Asking::python(&world);
    let daemon = daemon(&world, &server, ALLOWING);
    let transcript = sdk.run(daemon.agent("anna"), &server.url(), &steps());
    assert_eq!(texts(&transcript, "sample"), ["answered: sampled"; 2]);
    assert_eq!(texts(&transcript, "elicit"), ["answered: Joe"]);
    assert_eq!(texts(&transcript, "roots"), ["answered: ['file:///work']"]);
    assert_eq!(texts(&transcript, "ping"), ["answered: pong"]);
    let methods = ["sampling/createMessage", "sampling/createMessage", "elicitation/create", "roots/list"];
    assert_eq!(transcript.asked(), methods);
    for (decision, outcome) in asked(&daemon, "sampling/createMessage") {
        assert_eq!(decision["rule"], "/methods/sampling~1createMessage");
        assert_eq!((&decision["decision"], &decision["grant"]), (&json!("allow"), &json!("anna")));
        assert_eq!((&outcome["status"], &outcome["error"]), (&json!(200), &Value::Null));
    }
    assert_eq!(only(asked(&daemon, "ping")).0["rule"], "");
    // The third in a day is one too many.
    let transcript = sdk.run(daemon.agent("anna"), &server.url(), &steps()[..2]);
    let [text] = &texts(&transcript, "sample")[..] else { panic!("{transcript:#?}") };
    let expected = "refused: -32001 Denied by policy: rate limit reached for `sampling/createMessage`; try again in ";
    assert!(text.starts_with(expected) && text.contains("'retryAfter': 86"), "{text}");
}

#[test]
fn what_a_policy_names_is_answered_by_a_typescript_client() {
    what_a_policy_names_is_answered_by_the_client(Sdk::TypeScript);
}

#[test]
fn what_a_policy_names_is_answered_by_a_python_client() {
    what_a_policy_names_is_answered_by_the_client(Sdk::Python1);
}

#[test]
fn what_is_refused_does_not_reach_the_client_and_its_server_is_told() {
    let world = World::new();
    let server = Asking::python(&world);
    let daemon = daemon(&world, &server, DENYING);
    for (round, sdk) in [Sdk::TypeScript, Sdk::Python1].into_iter().enumerate() {
        let transcript = sdk.run(daemon.agent("anna"), &server.url(), &steps());
        let refused = |reason: &str, rule: &str| {
            format!("refused: -32001 Denied by policy: {reason} {{'rule': '/methods/{rule}'}}")
        };
        let no_sampling = refused("No sampling.", "sampling~1createMessage/action");
        assert_eq!(texts(&transcript, "sample"), [no_sampling.clone(), no_sampling], "{sdk:?}");
        assert_eq!(texts(&transcript, "elicit"), [refused("needs approval", "elicitation~1create/action")], "{sdk:?}");
        let unmet = "a `require` rule of `roots/list` is not met";
        assert_eq!(texts(&transcript, "roots"), [refused(unmet, "roots~1list/require/0")], "{sdk:?}");
        assert_eq!(texts(&transcript, "ping"), ["answered: pong"], "{sdk:?}");
        assert_eq!(transcript.asked(), <[&str; 0]>::default(), "{sdk:?}");
        let records = asked(&daemon, "sampling/createMessage");
        assert_eq!(records.len(), 2 * (round + 1));
        for (decision, outcome) in records {
            assert_eq!((&decision["decision"], &decision["reason"]), (&json!("deny"), &json!("No sampling.")));
            assert_eq!((&decision["session"].is_string(), &outcome["error"]), (&true, &Value::Null));
        }
    }
    let denied = |rule: &str| daemon.metric("policyd_decisions_total", &["decision=\"deny\"", "tool=\"\"", rule]);
    assert_eq!(denied("rule=\"action\""), 4.0, "{}", daemon.metrics());
    assert_eq!(denied("rule=\"approval\""), 2.0, "{}", daemon.metrics());
    assert_eq!(denied("rule=\"require\""), 2.0, "{}", daemon.metrics());
}

#[test]
fn observing_lets_servers_ask_and_records_the_same_rules() {
    let world = World::new();
    let server = Asking::python(&world);
    let daemon = daemon(&world, &server, &DENYING.replacen('{', r#"{ "mode": "observe","#, 1));
    let transcript = Sdk::TypeScript.run(daemon.agent("anna"), &server.url(), &steps());
    assert_eq!(texts(&transcript, "sample"), ["answered: sampled"; 2]);
    assert_eq!(texts(&transcript, "elicit"), ["answered: Joe"]);
    assert_eq!(texts(&transcript, "roots"), ["answered: ['file:///work']"]);
    for (method, rule) in [
        ("sampling/createMessage", "/methods/sampling~1createMessage/action"),
        ("elicitation/create", "/methods/elicitation~1create/action"),
        ("roots/list", "/methods/roots~1list/require/0"),
    ] {
        for (decision, _) in asked(&daemon, method) {
            assert_eq!((&decision["rule"], &decision["decision"]), (&json!(rule), &json!("allow")));
            assert_eq!(decision["observed"], true);
        }
    }
}

/// Its events carry ids, which its clients resume by.
#[test]
fn the_reference_server_goes_on_when_it_is_refused() {
    let world = World::new();
    let server = Asking::everything(&world);
    let daemon = daemon(&world, &server, r#"{ "version": "1", "default": "deny", "tools": { "*": {} } }"#);
    let steps = [
        Step::Answer,
        Step::Call("trigger-sampling-request", json!({"prompt": "hi"}), 1),
        Step::call("trigger-elicitation-request", 1),
        Step::Call("echo", json!({"message": "still here"}), 1),
    ];
    for sdk in [Sdk::TypeScript, Sdk::Python1] {
        let transcript = sdk.run(daemon.agent("anna"), &server.url(), &steps);
        for (tool, method) in [
            ("trigger-sampling-request", "sampling/createMessage"),
            ("trigger-elicitation-request", "elicitation/create"),
        ] {
            let [Outcome::Failed(text)] = &transcript.calls(tool)[..] else {
                panic!("{sdk:?} {tool}: {transcript:#?}")
            };
            let expected = format!("MCP error -32001: Denied by policy: `{method}` is not allowed");
            assert_eq!(text, &expected, "{sdk:?}");
        }
        assert_eq!(transcript.calls("echo"), [Outcome::Ok("Echo: still here".to_owned())], "{sdk:?}");
        assert_eq!(transcript.asked(), <[&str; 0]>::default(), "{sdk:?}");
    }
    assert_eq!(asked(&daemon, "sampling/createMessage").len(), 2);
}

#[test]
fn on_http_and_sse_answers_go_where_the_stream_says() {
    let world = World::new();
    let server = Asking::everything_sse(&world);
    let daemon = daemon(&world, &server, r#"{ "version": "1", "default": "deny", "tools": { "*": {} } }"#);
    let steps = [Step::Answer, Step::Call("trigger-sampling-request", json!({"prompt": "hi"}), 1)];
    let transcript = Sdk::TypeScript.run(daemon.agent("anna"), &server.url(), &steps);
    let refused = "MCP error -32001: Denied by policy: `sampling/createMessage` is not allowed";
    assert_eq!(transcript.calls("trigger-sampling-request"), [Outcome::Failed(refused.to_owned())], "{transcript:#?}");
    assert_eq!(transcript.asked(), <[&str; 0]>::default());
    assert_eq!(only(asked(&daemon, "sampling/createMessage")).1["error"], Value::Null);
}
