//! Random policies and calls, for properties that hold for all of them.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::simulation::{self, Caller, Declared};
use crate::capture::identity::Identity;
use crate::policy::{Direction, Policy};

/// A message at a time.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// Milliseconds after the one before.
    pub after: u64,
    pub caller: Caller,
    pub direction: Direction,
    pub body: Bytes,
    /// Sending it fails, if it is allowed.
    pub unsent: bool,
}

const TOOLS: [&str; 6] = ["pay", "pay.all", "search", "drop", "admin.x", "other"];

/// What the servers declare; of `drop`, which makes no sense, nothing can be checked, and the others they have not listed.
pub(super) fn declared() -> Declared {
    Declared::new([
        (
            "pay",
            r#"{ "type": "object", "required": ["n"], "properties": { "n": { "type": "number", "maximum": 500 } } }"#,
        ),
        ("search", r#"{ "properties": { "s": { "pattern": "^[a-m/]" } }, "additionalProperties": false }"#),
        ("drop", r#"{ "type": "everything" }"#),
    ])
}

/// A policy's text, without its braces and `mode`.
pub(super) fn policies() -> impl Strategy<Value = String> {
    let names = prop::sample::subsequence(vec!["pay", "pay*", "*.all", "search", "drop", "admin.*"], 0..=6);
    let entries = names.prop_flat_map(|names| {
        names
            .into_iter()
            .map(|name| entry(true).prop_map(move |entry| format!("\"{name}\": {entry}")))
            .collect::<Vec<_>>()
    });
    let methods = prop::sample::subsequence(vec!["resources/read", "prompts/*", "ping", "sampling/*"], 0..=4);
    let methods = methods.prop_flat_map(|names| {
        names
            .into_iter()
            .map(|name| entry(false).prop_map(move |entry| format!("\"{name}\": {entry}")))
            .collect::<Vec<_>>()
    });
    let hide = prop::sample::subsequence(vec!["\"admin.*\"", "\"search\"", "\"*.x\""], 0..=2);
    let all = (clauses("require", 1), clauses("deny_if", 1), limits());
    let default = prop::sample::select(vec!["allow", "deny"]);
    (default, hide, all, entries, methods).prop_map(|(default, hide, all, tools, methods)| {
        let all: Vec<String> = [all.0, all.1, all.2].into_iter().filter(|part| !part.is_empty()).collect();
        format!(
            "\"version\": \"1\", \"default\": \"{default}\", \"hide\": [{}], \"all_tools\": {{ {} }}, \
             \"tools\": {{ {} }}, \"methods\": {{ {} }}",
            hide.join(", "),
            all.join(", "),
            tools.join(", "),
            methods.join(", ")
        )
    })
}

/// The same policy with one more rule in `all_tools.deny_if`.
pub(super) fn with_deny_if(policy: &str, conditions: &[String]) -> String {
    let rule = format!("{{ \"conditions\": [{}] }}", conditions.join(", "));
    let start = policy.find("\"all_tools\": {").unwrap() + "\"all_tools\": {".len();
    let end = policy.find("\"tools\": {").unwrap();
    let (before, all, after) = (&policy[..start], &policy[start..end], &policy[end..]);
    let all = match all.contains("\"deny_if\": [") {
        true => all.replace("\"deny_if\": [", &format!("\"deny_if\": [{rule}, ")),
        false if all.contains('[') => format!(" \"deny_if\": [{rule}],{all}"),
        false => format!(" \"deny_if\": [{rule}]{all}"),
    };
    format!("{before}{all}{after}")
}

/// Loads a policy of [`policies`].
pub(super) fn load(policy: &str, mode: &str) -> Arc<Policy> {
    let text = format!("{{ {policy}, \"mode\": \"{mode}\" }}");
    Arc::new(Policy::load("policy.json", &text).unwrap_or_else(|report| panic!("{}", report.render(false))))
}

fn entry(tool: bool) -> impl Strategy<Value = String> {
    let action = prop::sample::select(vec!["", "", "", "", "deny", "require_approval"]);
    let declared = prop::bool::weighted(if tool { 0.3 } else { 0.0 });
    let rate = prop::option::weighted(0.3, (0..4u32, 1..90u32));
    let parts = (clauses("require", 2), clauses("deny_if", 2), clauses("approve_if", 1), limits());
    (action, declared, rate, parts).prop_map(|(action, declared, rate, (require, deny_if, approve_if, limits))| {
        let mut parts = vec![require, deny_if, approve_if, limits];
        if !action.is_empty() {
            parts.push(format!("\"action\": \"{action}\""));
        }
        if declared {
            parts.push("\"arguments\": \"declared\"".to_owned());
        }
        if let Some((max, window)) = rate {
            parts.push(format!("\"rate_limit\": {{ \"max\": {max}, \"window\": {window} }}"));
        }
        parts.retain(|part| !part.is_empty());
        format!("{{ {} }}", parts.join(", "))
    })
}

fn clauses(key: &'static str, most: usize) -> impl Strategy<Value = String> {
    let conditions = prop::collection::vec(condition(), 0..3);
    prop::collection::vec(conditions, 0..=most).prop_map(move |clauses| {
        let clauses: Vec<String> =
            clauses.iter().map(|conditions| format!("{{ \"conditions\": [{}] }}", conditions.join(", "))).collect();
        if clauses.is_empty() { String::new() } else { format!("\"{key}\": [{}]", clauses.join(", ")) }
    })
}

/// A condition.
pub(super) fn condition() -> impl Strategy<Value = String> {
    let path = prop::sample::select(vec![
        "args.n",
        "args.s",
        "args.items[]",
        "args.items[0].k",
        "args.o.k",
        "grant.name",
        "tool.name",
        "identity.uid",
        "identity.user",
    ]);
    let test = prop::sample::select(vec![
        r#""op": "eq", "value": 1.0"#,
        r#""op": "neq", "value": "a""#,
        r#""op": "in", "value": ["a", 2, null]"#,
        r#""op": "not_in", "value": ["first", "b"]"#,
        r#""op": "gt", "value": 2"#,
        r#""op": "lte", "value": 1000"#,
        r#""op": "regex", "value": "^[a-f]""#,
        r#""op": "contains", "value": "a""#,
        r#""op": "exists", "value": false"#,
        r#""op": "exists""#,
        r#""op": "len_lte", "value": 2"#,
        r#""op": "starts_with", "value": "p""#,
        r#""op": "type", "value": ["string", "integer"]"#,
        r#""op": "under_path", "value": ["/srv", "/tmp"]"#,
        r#""op": "host_in", "value": ["a.example", "*.b.example"]"#,
    ]);
    let at = (path, test).prop_map(|(path, test)| format!("{{ \"path\": \"{path}\", {test} }}"));
    let cel = prop::sample::select(vec![
        "args.n * 2 < 500",
        "args.s.startsWith('/srv') || args.n == 1",
        "has(args.o.k) ? args.o.k != 'a' : grant.name == 'first'",
        "args.items.all(item, item != null)",
        "identity.uid == 2 && !has(identity.user)",
        "tool.name == 'pay' || server.name == 'b'",
    ]);
    prop_oneof![4 => at, 1 => cel.prop_map(|cel| format!("{{ \"cel\": \"{cel}\" }}"))]
}

fn limits() -> impl Strategy<Value = String> {
    let scope = prop::sample::select(vec!["grant", "session", "server", "host", "global"]);
    let window = prop::sample::select(vec!["second", "minute", "90s", "hour"]);
    let limit = (scope, window, 0..8u32, any::<bool>(), any::<bool>());
    prop::collection::vec(limit, 0..3).prop_map(|limits| {
        let limit = |(scope, window, max, amount, calendar): &(&str, &str, u32, bool, bool)| {
            let (counter, max, from) = match amount {
                true => ("amount", max * 100, r#", "increment_from": "args.n""#),
                false => ("calls", *max, ""),
            };
            let align = if *calendar && *window != "90s" { r#", "align": "calendar""# } else { "" };
            format!(
                "{{ \"counter\": \"{counter}\", \"scope\": \"{scope}\", \"window\": \"{window}\", \"max\": {max}{from}{align} }}"
            )
        };
        let limits: Vec<String> = limits.iter().map(limit).collect();
        if limits.is_empty() { String::new() } else { format!("\"limits\": [{}]", limits.join(", ")) }
    })
}

/// Messages in the order of time.
pub(super) fn sequences() -> impl Strategy<Value = Vec<Sent>> {
    let call = (prop::sample::select(TOOLS.to_vec()), prop::option::weighted(0.9, arguments()))
        .prop_map(|(tool, arguments)| simulation::call(tool, arguments.as_deref()));
    let others = vec!["ping", "resources/read", "prompts/get", "tools/list", "notifications/progress", "x/y"];
    let other = prop::sample::select(others).prop_map(|method| simulation::request(method, None));
    // Of a server, a call is a request like any other.
    let asked = vec!["ping", "sampling/createMessage", "elicitation/create", "notifications/message"];
    let asked = prop::sample::select(asked).prop_map(|method| simulation::request(method, None));
    let asked = prop_oneof![4 => asked, 1 => Just(simulation::call("pay", None))];
    let message = prop_oneof![
        6 => call.prop_map(|body| (Direction::ToServer, body)),
        1 => other.prop_map(|body| (Direction::ToServer, body)),
        1 => asked.prop_map(|body| (Direction::ToAgent, body)),
    ];
    let caller =
        (0..2usize, 0..2usize, 0..2usize, prop::option::of("[ab]")).prop_map(|(grant, server, session, user)| {
            let names = [["first", "second"], ["a", "b"], ["one", "two"]];
            Caller {
                grant: Some(names[0][grant].to_owned()),
                server: names[1][server].to_owned(),
                session: names[2][session].to_owned(),
                identity: Identity { pid: 7, uid: 2, user, cgroup: "/agents".to_owned(), ..Identity::default() },
            }
        });
    let sent = (0..20_000u64, caller, message, prop::bool::weighted(0.1));
    let sent =
        sent.prop_map(|(after, caller, (direction, body), unsent)| Sent { after, caller, direction, body, unsent });
    prop::collection::vec(sent, 1..40)
}

fn arguments() -> impl Strategy<Value = String> {
    let value = || {
        prop_oneof![
            "-?[1-9][0-9]{0,2}",
            "[0-9]\\.[0-9]{1,2}",
            prop::sample::select(vec![
                "0",
                "1e2",
                "null",
                "true",
                "\"a\"",
                "\"bcd\"",
                "\"p\"",
                "\"/srv/a\"",
                "\"/srv/../a\"",
                "\"https://a.example/x\"",
                "\"https://c.b.example:8\"",
                "[]",
                "{\"k\": 1}",
                "[1, \"a\"]"
            ])
            .prop_map(str::to_owned),
        ]
    };
    let items = prop::collection::vec(value(), 0..3).prop_map(|items| format!("[{}]", items.join(", ")));
    let member = prop_oneof![
        4 => value().prop_map(|value| ("n", value)),
        2 => value().prop_map(|value| ("s", value)),
        1 => items.prop_map(|items| ("items", items)),
        1 => value().prop_map(|value| ("o", format!("{{ \"k\": {value} }}"))),
        1 => value().prop_map(|value| ("S", value)),
    ];
    prop::collection::vec(member, 0..5).prop_map(|members| {
        let mut seen = Vec::new();
        let members = members.into_iter().filter(|(key, _)| {
            let first = !seen.contains(key);
            seen.push(key);
            first
        });
        let members: Vec<String> = members.map(|(key, value)| format!("\"{key}\": {value}")).collect();
        format!("{{ {} }}", members.join(", "))
    })
}
