//! The decision alone: a `tools/call` against a policy with four limits, with and without reading its JSON.
//!
//! `cargo bench -p policyd --bench decide`

#![expect(clippy::panic, reason = "a benchmark that cannot run has no result")]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use policyd::mcp::json::Parser;
use policyd::mcp::{Message, vet};
use policyd::policy::{Context, Decision, Grant, Policy, Time, Verdict, Who, decide};
use policyd::state::Memory;

/// A grant under a policy with `patterns` more patterns than the call needs.
fn grant(tool: &str, patterns: usize) -> Grant {
    let others: String = (0..patterns).map(|n| format!(r#", "group{n}.*": {{}}"#)).collect();
    let text = format!(
        r#"{{ "version": "1", "default": "deny", "hide": ["admin.*", "*secret*"],
            "all_tools": {{ "limits": [ {{ "counter": "calls", "window": "minute", "max": 600 }} ] }},
            "tools": {{ "{tool}": {{ "limits": [
                {{ "counter": "charges", "window": "minute", "max": 100 }},
                {{ "counter": "charges", "window": "hour", "max": 5000 }},
                {{ "counter": "spend", "window": "minute", "max": 100000.50, "increment_from": "args.amount" }} ] }}{others} }} }}"#
    );
    let policy = Policy::load("bench.json", &text).unwrap_or_else(|report| panic!("{}", report.render(false)));
    Grant {
        name: "office-agent".into(),
        who: Who::default(),
        server: "payments".into(),
        policy_path: PathBuf::from("bench.json"),
        policy: Arc::new(policy),
    }
}

/// A call with small objects in its arguments, `bytes` long or a little longer.
fn body(bytes: usize) -> Bytes {
    let mut items = String::new();
    let mut number = 0;
    loop {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{{"name":"create_charge","arguments":{{"amount":12.50,"items":[{items}]}}}}}}"#
        );
        if text.len() >= bytes {
            return Bytes::from(text);
        }
        let comma = if number > 0 { "," } else { "" };
        items.push_str(&format!(r#"{comma}{{"sku":"item-{number}","quantity":{number},"note":"for the office"}}"#));
        number += 1;
    }
}

/// Decides a call a second, so that the windows fill, move on and stay below their limits.
fn judge(grant: &Grant, memory: &Memory, now: &mut u64, message: &Message<'_>) -> Verdict {
    *now += 1_000_000_000;
    let context = Context { grant: Some(grant), server: "payments", session: "0123456789abcdef", now: Time(*now) };
    decide(&context, message, memory)
}

fn decisions(criterion: &mut Criterion) {
    for (size, bytes) in [("178 B", 150), ("2 KiB", 2048)] {
        let body = body(bytes);
        let mut group = criterion.benchmark_group(format!("tools_call of {size}"));
        group.throughput(Throughput::Elements(1));
        for (name, tool, patterns) in [("an exact name", "create_charge", 0), ("a pattern of 1,000", "create_*", 999)] {
            let (grant, memory, mut now) = (grant(tool, patterns), Memory::default(), 0);
            let mut parser = Parser::default();
            let message = vet(&mut parser, &body).unwrap_or_else(|malformed| panic!("{malformed:?}"));
            let first = judge(&grant, &memory, &mut now, &message);
            assert!(matches!(first.decision, Decision::Allow(_)), "the limits leave room");
            group.bench_function(format!("{name}, decided"), |bencher| {
                bencher.iter(|| judge(&grant, &memory, &mut now, black_box(&message)));
            });
            let mut parser = Parser::default();
            group.bench_function(format!("{name}, read and decided"), |bencher| {
                bencher.iter(|| {
                    let message =
                        vet(&mut parser, black_box(&body)).unwrap_or_else(|malformed| panic!("{malformed:?}"));
                    judge(&grant, &memory, &mut now, &message)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);
