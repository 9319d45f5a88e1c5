//! Conditions that are programs: an expression, and a declared schema, over the arguments of one call; decided with all that a
//! decision is besides them.
//!
//! `cargo bench -p policyd --bench conditions`

#![expect(clippy::panic, reason = "a benchmark that cannot run has no result")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use policyd::capture::identity::Identity;
use policyd::mcp::json::Parser;
use policyd::mcp::vet;
use policyd::policy::{Context, Decision, Direction, Grant, Now, Policy, Schemas, Time, Who, decide};
use policyd::state::{Definitions, Memory, Page};

const SCHEMA: &str = r#"{ "type": "object", "required": ["amount", "currency"], "additionalProperties": false,
    "properties": { "amount": { "type": "number", "minimum": 0, "maximum": 100000 },
        "currency": { "enum": ["usd", "eur"] }, "note": { "type": "string", "maxLength": 200, "pattern": "^[ -~]*$" },
        "items": { "type": "array", "maxItems": 2000, "items": { "type": "object", "required": ["sku", "quantity"],
            "properties": { "sku": { "type": "string", "pattern": "^[a-z]+-[0-9]+$" }, "quantity": { "type": "integer" } } } } } }"#;

fn call(items: usize) -> Bytes {
    let mut text = String::new();
    for number in 0..items {
        let comma = if number > 0 { "," } else { "" };
        let _ = write!(text, r#"{comma}{{"sku":"item-{number}","quantity":{number}}}"#);
    }
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{{"name":"charge","arguments":{{"amount":12.50,"quantity":3,"currency":"eur","note":"for the office","items":[{text}]}}}}}}"#
    ))
}

fn grant(rules: &str) -> Grant {
    let text = format!(r#"{{ "version": "1", "default": "deny", "tools": {{ "charge": {rules} }} }}"#);
    let policy = Policy::load("bench.json", &text).unwrap_or_else(|report| panic!("{}", report.render(false)));
    Grant {
        name: "office-agent".into(),
        who: Who::default(),
        server: "payments".into(),
        policy_path: PathBuf::from("bench.json"),
        policy: Arc::new(policy),
    }
}

fn conditions(criterion: &mut Criterion) {
    let definitions = Definitions::default();
    let schema = SCHEMA.replace(r#""amount": {"#, r#""quantity": true, "amount": {"#);
    let tool = format!(r#"{{"name": "charge", "inputSchema": {schema}}}"#);
    let mut parser = Parser::default();
    let tool = parser.parse(tool.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let page = Page { server: "payments", tools: &[("charge".to_owned(), tool)], is_last: true, now: 0 };
    let Ok(()) = definitions.note::<std::convert::Infallible>(&page, |_| Ok(()));
    let cel = |source: &str| format!(r#"{{ "require": [ {{ "conditions": [ {{ "cel": "{source}" }} ] }} ] }}"#);
    let path = r#"{ "require": [ { "conditions": [ { "path": "args.amount", "op": "lt", "value": 1000 } ] } ] }"#;
    for (name, rules, items, allowed) in [
        ("no condition", "{}".to_owned(), 3, true),
        ("a path", path.to_owned(), 3, true),
        ("cel, a comparison", cel("args.amount < 1000"), 3, true),
        ("cel, arithmetic", cel("args.amount * double(args.quantity) < 1000.0"), 3, true),
        (
            "cel, five clauses",
            cel(
                "args.amount < 1000 && args.currency in ['usd', 'eur'] && size(args.note) < 200 && !args.note.contains('secret') && has(args.items)",
            ),
            3,
            true,
        ),
        ("cel, 1,000 items", cel("args.items.all(i, i.quantity < 5000)"), 1000, true),
        (
            "cel, until all steps are used",
            cel("args.items.all(i, args.items.all(j, i.quantity >= 0 && j.quantity >= 0))"),
            1000,
            false,
        ),
        ("declared", r#"{ "arguments": "declared" }"#.to_owned(), 3, true),
        ("declared, 1,000 items", r#"{ "arguments": "declared" }"#.to_owned(), 1000, true),
    ] {
        let (grant, memory, body) = (grant(&rules), Memory::default(), call(items));
        let mut parser = Parser::default();
        let message = vet(&mut parser, &body).unwrap_or_else(|malformed| panic!("{malformed:?}"));
        let schemas: &dyn Schemas = &definitions;
        let context = Context {
            grant: Some(&grant),
            server: "payments",
            session: "0123456789abcdef",
            identity: &Identity::default(),
            schemas,
            now: Now::at(Time(1)),
        };
        let judge = || decide(&context, Direction::ToServer, black_box(&message), &memory);
        let first = judge();
        assert_eq!(matches!(first.decision, Decision::Allow(_)), allowed, "{name}: {:?}", first.decision);
        criterion.bench_function(name, |bencher| bencher.iter(judge));
    }
}

criterion_group!(benches, conditions);
criterion_main!(benches);
