//! Any text as an expression, over any arguments: a load error with its place, or one decision, the same each time. The last
//! line is the arguments, the rest the expression.

#![no_main]

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use policyd::capture::identity::Identity;
use policyd::mcp::json::Parser;
use policyd::mcp::vet;
use policyd::policy::{Context, Decision, Direction, Grant, Now, Policy, Time, Who, decide};
use policyd::state::Memory;

fuzz_target!(|text: &str| {
    let (expression, arguments) = text.rsplit_once('\n').unwrap_or((text, "{}"));
    let condition = serde_json::json!({ "conditions": [{ "cel": expression }] });
    let load = |kind: &str| {
        let tools = serde_json::json!({ "t": { kind: [condition] } });
        Policy::load(
            "policy.json",
            &serde_json::json!({ "version": "1", "default": "deny", "tools": tools }).to_string(),
        )
    };
    let policies = match (load("require"), load("deny_if")) {
        (Ok(require), Ok(deny_if)) => [require, deny_if],
        (Err(report), Err(_)) => return assert!(report.render(false).contains("policy.json")),
        _ => panic!("an expression that is good in one place only"),
    };
    let call =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#);
    let (body, mut parser) = (Bytes::from(call), Parser::default());
    let Ok(message) = vet(&mut parser, &body) else { return };
    let [required, forbidden] = policies.map(|policy| {
        let grant = Grant {
            name: "g".into(),
            who: Who::default(),
            server: "s".into(),
            policy_path: PathBuf::from("policy.json"),
            policy: Arc::new(policy),
        };
        let context = Context {
            grant: Some(&grant),
            server: "s",
            session: "",
            identity: &Identity::default(),
            schemas: &(),
            now: Now::at(Time(0)),
        };
        let allowed = || {
            let verdict = decide(&context, Direction::ToServer, &message, &Memory::default());
            matches!(verdict.decision, Decision::Allow(_))
        };
        assert_eq!(allowed(), allowed(), "the same call, another answer");
        allowed()
    });
    // True: one allows. False: the other. Undecidable: neither.
    assert!(!(required && forbidden), "an expression that holds and does not");
});
