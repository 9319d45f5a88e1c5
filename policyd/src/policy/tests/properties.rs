//! What holds for all policies and calls.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

proptest! {
    /// Observing computes what enforcing would do, call by call, and lets everything pass.
    #[test]
    fn observe_and_enforce_find_the_same_rule(
        calls in prop::collection::vec((0..5usize, 0..20u64, 0..2usize, "-?[0-9]{1,3}(\\.[0-9])?|null"), 1..80),
    ) {
        let policy = |mode: &str| format!(
            r#"{{ "version": "1", "default": "deny", "mode": "{mode}", "hide": ["b*"],
                "all_tools": {{ "limits": [ {{ "counter": "all", "window": "90s", "max": 9, "scope": "server" }} ] }},
                "tools": {{
                  "a": {{ "rate_limit": {{ "max": 3, "window": 60 }} }},
                  "c*": {{ "limits": [ {{ "counter": "n", "window": "minute", "max": 500, "increment_from": "args.n" }} ] }},
                  "d": {{ "action": "deny" }} }} }}"#
        );
        let (enforce, observe) = (World::new(&policy("enforce")), World::new(&policy("observe")));
        let mut now = 0;
        for (tool, wait, session, amount) in calls {
            now += wait;
            let tool = ["a", "b1", "c1", "d", "e"][tool];
            let arguments = format!(r#"{{ "n": {} }}"#, amount.trim_start_matches("00").trim_start_matches('0'));
            let arguments = if document::parse(&arguments, &mut Vec::new()).is_some() { arguments } else { "{}".into() };
            let body = tools_call(tool, &arguments);
            let session = ["s1", "s2"][session];
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let judge = |world: &World| world.judge(&body, session, "server", now as f64);
            let (enforced, observed) = (judge(&enforce), judge(&observe));
            prop_assert_eq!(&enforced.rule, &observed.rule);
            prop_assert_eq!(&enforced.counters, &observed.counters);
            let denial = |judgement: &Judgement| judgement.refusal.as_ref().map(|refusal| refusal.denial.clone());
            prop_assert_eq!(denial(&enforced), denial(&observed));
            prop_assert!(observed.refusal.is_none_or(|refusal| refusal.lifted));
            prop_assert!(enforced.refusal.is_none_or(|refusal| !refusal.lifted));
        }
    }
}

/// Any condition that loads.
fn condition() -> impl Strategy<Value = Json> {
    let path = prop::sample::select(vec![
        "args.a",
        "args.b",
        "args.a.b",
        "args.a[]",
        "args.a[0]",
        "args.a[].b",
        "grant.name",
        "tool.name",
        "identity.uid",
        "identity.unit",
    ]);
    let scalar = prop::sample::select(vec![json!("a"), json!("b"), json!(1), json!(0.5), json!(null), json!(true)]);
    let equality = (prop::sample::select(vec!["eq", "neq", "contains"]), scalar.clone());
    let set = (prop::sample::select(vec!["in", "not_in"]), prop::collection::vec(scalar, 0..3).prop_map(Json::from));
    let order = (prop::sample::select(vec!["lt", "lte", "gt", "gte"]), (-1..3).prop_map(Json::from));
    let other = prop::sample::select(vec![
        ("regex", json!("^a")),
        ("regex", json!("")),
        ("exists", json!(true)),
        ("exists", json!(false)),
        ("len_lte", json!(1)),
        ("starts_with", json!("a")),
        ("under_path", json!("/srv")),
        ("host_in", json!(["a.example"])),
        ("type", json!(["string", "object"])),
    ]);
    (path, prop_oneof![equality, set, order, other])
        .prop_map(|(path, (op, value))| json!({ "path": path, "op": op, "value": value }))
}

fn clauses() -> impl Strategy<Value = Json> {
    let clause = prop::collection::vec(condition(), 0..3).prop_map(|conditions| json!({ "conditions": conditions }));
    prop::collection::vec(clause, 0..3).prop_map(Json::from)
}

/// Any entry of a tool; `all_tools` has no `action` and no `approve_if`.
fn rules(own: bool) -> impl Strategy<Value = Json> {
    let limits = prop::option::of((0..3u32, any::<bool>())).prop_map(|limit| {
        let limit = limit.map(|(max, spend)| {
            let mut limit = json!({ "counter": format!("c{spend}"), "window": "day", "max": max });
            if spend {
                limit["increment_from"] = json!("args.a");
            }
            limit
        });
        Json::from(limit.into_iter().collect::<Vec<_>>())
    });
    let action = prop::sample::select(vec!["allow", "allow", "allow", "deny", "require_approval"]);
    (clauses(), clauses(), clauses(), limits, action).prop_map(move |(require, deny_if, approve_if, limits, action)| {
        let mut rules = json!({ "require": require, "deny_if": deny_if, "limits": limits });
        if own {
            rules["approve_if"] = approve_if;
            rules["action"] = json!(action);
        }
        rules
    })
}

/// Any policy for the tools `x`, `y1` and `z`.
fn policy() -> impl Strategy<Value = Json> {
    let default = prop::sample::select(vec!["allow", "deny"]);
    (default, rules(true), rules(true), rules(false), any::<bool>()).prop_map(|(default, exact, pattern, all, hide)| {
        let hide = if hide { json!(["y2"]) } else { json!([]) };
        json!({ "version": "1", "default": default, "hide": hide, "all_tools": all, "tools": { "x": exact, "y*": pattern } })
    })
}

/// Arguments that the conditions above have something to say about.
fn arguments() -> impl Strategy<Value = Json> {
    let value = prop::sample::select(vec![
        json!("a"),
        json!("ab"),
        json!("/srv/a"),
        json!("/srv/../a"),
        json!("https://a.example/"),
        json!("https://a.example@b/"),
        json!(0),
        json!(1),
        json!(0.5),
        json!(-1),
        json!(null),
        json!(true),
        json!([]),
        json!(["a", 1]),
        json!([{ "b": "a" }, {}]),
        json!({ "b": 1 }),
        json!({ "B": 1 }),
        json!({}),
    ]);
    let key = prop::sample::select(vec!["a", "a", "a", "b", "b", "A"]);
    prop::collection::btree_map(key, value, 0..3).prop_map(|members| json!(members))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Of one call, in one state: a call that is denied uses no quota, so that a later one may find more.
    #[test]
    fn another_deny_if_never_allows_more(
        policy in policy(),
        added in prop::collection::vec(condition(), 0..3),
        place in prop::sample::select(vec!["/all_tools/deny_if", "/tools/x/deny_if", "/tools/y*/deny_if"]),
        index in any::<prop::sample::Index>(),
        arguments in arguments(),
    ) {
        let mut stricter = policy.clone();
        let list = stricter.pointer_mut(place).and_then(Json::as_array_mut).expect("every entry has the list");
        list.insert(index.index(list.len() + 1), json!({ "conditions": added }));
        let (before, after) = (World::new(&policy.to_string()), World::new(&stricter.to_string()));
        for tool in ["x", "y1", "y2", "z"] {
            let call = tools_call(tool, &arguments.to_string());
            let allows = |world: &World| world.judge_with(&call, "s", "server", 0.0, &Memory::default()).refusal.is_none();
            prop_assert!(allows(&before) || !allows(&after), "{tool} {arguments}");
            prop_assert!(!before.unlists(tool) || after.unlists(tool), "{tool} is listed again");
            // What is left out of lists is refused, whatever the arguments.
            prop_assert!(!after.unlists(tool) || !allows(&after), "{tool} {arguments}");
        }
    }
}
