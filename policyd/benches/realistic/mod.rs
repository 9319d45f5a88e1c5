//! A realistic policy and call, for the benchmarks of the decision: six conditions, one of them over an array and one a
//! pattern; three limits, one of them on an amount; 2 KiB of arguments.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use policyd::capture::identity::Identity;
use policyd::mcp::Message;
use policyd::policy::{Context, Decision, Direction, Grant, Now, Policy, Time, Verdict, Who, decide};
use policyd::state::Memory;

/// How many calls fill every window of the policy, at one each ten seconds: a day of them and more.
const SETTLED: usize = 10_000;

/// Under what name the policy knows the tool that is called, `create_charge`.
#[derive(Clone, Copy, Debug)]
pub enum Named {
    Exactly,
    ByPattern,
}

/// The daemon around a decision.
#[derive(Debug)]
pub struct World {
    grant: Grant,
    memory: Memory,
    identity: Identity,
    /// Nanoseconds.
    now: u64,
}

impl World {
    /// A policy that also names other tools: so many exactly, so many by patterns.
    pub fn new(named: Named, tools: usize, patterns: usize) -> World {
        let policy = match Policy::load("bench.json", &policy(named, tools, patterns)) {
            Ok(policy) => Arc::new(policy),
            Err(report) => panic!("{}", report.render(false)),
        };
        let grant = Grant {
            name: "office-agent".into(),
            who: Who::default(),
            server: "payments".into(),
            policy_path: PathBuf::from("bench.json"),
            policy,
        };
        World { grant, memory: Memory::default(), identity: Identity::default(), now: 0 }
    }

    /// Decides a call, ten seconds after the one before: the windows fill, move on and stay below their limits.
    pub fn judge(&mut self, message: &Message<'_>) -> Verdict {
        self.now += 10_000_000_000;
        let context = Context {
            grant: Some(&self.grant),
            server: "payments",
            session: "0123456789abcdef",
            identity: &self.identity,
            schemas: &(),
            now: Now::at(Time(self.now)),
        };
        decide(&context, Direction::ToServer, message, &self.memory)
    }

    /// Decides so many calls that the windows have filled and moved on.
    ///
    /// # Panics
    /// When a call is not allowed.
    pub fn settle(&mut self, message: &Message<'_>) {
        for _ in 0..SETTLED {
            let verdict = self.judge(message);
            assert!(matches!(verdict.decision, Decision::Allow(_)), "{verdict:?}");
        }
    }
}

fn policy(named: Named, tools: usize, patterns: usize) -> String {
    let tool = match named {
        Named::Exactly => "create_charge",
        Named::ByPattern => "create_*",
    };
    // Of several shapes, in equal parts; those that can match one name differ in length.
    let pattern = |n: usize| match n % 3 {
        0 => format!("group{n:04}.*"),
        1 => format!("*.object{n:04}"),
        _ => format!("get_{n:04}_*_item"),
    };
    let names = (0..tools).map(|n| format!("tool_{n}")).chain((0..patterns).map(pattern));
    let others: String = names.map(|name| format!(",\n\"{name}\": {{}}")).collect();
    format!(
        r#"{{ "version": "1", "default": "deny", "hide": ["admin.*", "*secret*", "drop_table"],
    "all_tools": {{ "limits": [ {{ "counter": "calls", "window": "minute", "max": 600 }} ] }},
    "tools": {{ "{tool}": {{
        "require": [
            {{ "conditions": [ {{ "path": "args.currency", "op": "in", "value": ["usd", "eur", "gbp"] }},
                               {{ "path": "args.amount", "op": "lte", "value": 50000 }} ] }},
            {{ "conditions": [ {{ "path": "args.customer.email", "op": "regex",
                                  "value": "^[a-z0-9._-]+@example\\.com$" }} ] }},
            {{ "conditions": [ {{ "path": "args.items[].quantity", "op": "lte", "value": 100 }} ] }} ],
        "deny_if": [
            {{ "conditions": [ {{ "path": "args.customer.country", "op": "in", "value": ["xx", "yy"] }} ] }},
            {{ "conditions": [ {{ "path": "args.test_mode", "op": "eq", "value": true }} ] }} ],
        "limits": [
            {{ "counter": "charges", "window": "hour", "max": 5000 }},
            {{ "counter": "spend", "window": "day", "max": 10000000.50, "increment_from": "args.amount" }} ]
    }}{others} }} }}"#
    )
}

/// The call. Its arguments are 2 KiB: some fields, an array of eight objects, and a text.
pub fn call() -> Bytes {
    let item = |n: usize| format!(r#"{{"sku":"item-{n}","quantity":{n},"price":{n}.95,"note":"for the office"}}"#);
    let items = (1..9).map(item).collect::<Vec<_>>().join(",");
    let before = format!(
        r#"{{"amount":12.50,"currency":"eur","customer":{{"name":"Ann","email":"ann.lee@example.com","country":"pt"}},"items":[{items}],"test_mode":false,"description":""#
    );
    let text = "Chairs for the meeting room. ";
    let text = text.repeat((2048 - before.len()) / text.len());
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{{"name":"create_charge","arguments":{before}{text}"}}}}}}"#
    ))
}
