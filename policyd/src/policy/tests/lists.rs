//! What lists leave out.

use super::*;

#[test]
fn lists_leave_out_what_no_argument_could_pass() {
    let identity = identity();
    let lister = Lister { grant: "office", server: "server", identity: &identity, schemas: &() };
    let rules = r#""hide": ["h*"], "tools": { "a": {}, "hidden": {}, "d": { "action": "deny" },
        "z": { "rate_limit": { "max": 0, "window": 60 } }, "x.*": {},
        "half": { "limits": [ { "counter": "c", "window": "day", "max": 0.5 } ] },
        "amount": { "limits": [ { "counter": "m", "window": "day", "max": 0, "increment_from": "args.n" } ] } }"#;
    let load = |rest: &str| Policy::load("p", &format!(r#"{{ "version": "1", {rest} }}"#)).expect("loads");
    let deny = load(&format!(r#""default": "deny", {rules}"#));
    for (tool, unlisted) in [
        ("a", false),
        ("hidden", true),
        ("h", true),
        ("d", true),
        ("z", true),
        ("half", true),
        ("amount", false),
        ("x.y", false),
        ("unknown", true),
    ] {
        assert_eq!(deny.unlists(tool, &lister), unlisted, "{tool}");
    }
    assert!(deny.filters_lists());
    let allow = load(&format!(r#""default": "allow", {rules}"#));
    assert!(!allow.unlists("unknown", &lister) && allow.unlists("d", &lister) && allow.filters_lists());
    let observe = load(&format!(r#""default": "deny", "mode": "observe", {rules}"#));
    assert!(!observe.unlists("d", &lister) && !observe.filters_lists() && observe.observes());
    assert!(
        !load(r#""default": "allow", "tools": { "a": { "rate_limit": { "max": 1, "window": 1 } } }"#).filters_lists()
    );
    let nothing =
        load(r#""default": "allow", "all_tools": { "limits": [ { "counter": "c", "window": "day", "max": 0 } ] }"#);
    assert!(nothing.unlists("a", &lister) && nothing.filters_lists());
    let mut named: Vec<&str> = deny.named_tools().collect();
    named.sort_unstable();
    assert_eq!(named, ["a", "amount", "d", "half", "hidden", "z"]);
}

#[test]
fn lists_leave_out_what_methods_refuse_whatever_else_is_said() {
    use crate::mcp::lists::List::{Prompts, Resources, Templates, Tools};
    let identity = identity();
    let lister = Lister { grant: "office", server: "server", identity: &identity, schemas: &() };
    let load = |rest: &str| Policy::load("p", &format!(r#"{{ "version": "1", {rest} }}"#)).expect("loads");
    let condition =
        |path: &str, op: &str, value: &str| format!(r#"{{"path": "{path}", "op": "{op}", "value": {value}}}"#);
    let docs = condition("args.uri", "starts_with", r#""docs://""#);
    let draft = condition("args.uri", "contains", r#""draft""#);
    let meta = condition("args._meta.a", "eq", "1");
    let bert = condition("grant.name", "eq", r#""bert""#);
    let read = |rules: &str| load(&format!(r#""default": "allow", "methods": {{"resources/read": {{{rules}}}}}"#));
    let policy = read(&format!(
        r#""require": [{{"conditions": [{docs}]}}], "deny_if": [{{"conditions": [{draft}]}}, {{"conditions": [{draft}, {meta}]}}]"#
    ));
    for (list, name, unlisted) in [
        (Resources, "docs://a", false),
        (Resources, "file:///a", true),
        (Resources, "docs://draft", true),
        (Resources, "docs://\"\n", false),
        (Templates, "file:///{path}", false),
        (Prompts, "a", false),
        (Tools, "a", false),
    ] {
        assert_eq!(policy.unlists_entry(list, name, &lister), unlisted, "{list:?} {name}");
    }
    // What else is said could let it pass, or not.
    let undecided =
        read(&format!(r#""deny_if": [{{"conditions": [{draft}, {meta}]}}], "require": [{{"conditions": [{meta}]}}]"#));
    assert!(!undecided.unlists_entry(Resources, "docs://draft", &lister));
    let cel = read(r#""require": [{"conditions": [{"cel": "args.uri == \"a\""}]}]"#);
    assert!(!cel.unlists_entry(Resources, "b", &lister));
    for rules in [r#""action": "deny""#, &format!(r#""require": [{{"conditions": [{bert}]}}]"#)] {
        let policy = read(rules);
        assert!(policy.unlists_entry(Resources, "a", &lister) && policy.unlists_entry(Templates, "a", &lister));
        assert!(!policy.unlists_entry(Prompts, "a", &lister));
    }
    let deny = r#""default": "deny", "methods": {"prompts/*": {"deny_if": [{"conditions": [{"path": "args.name", "op": "eq", "value": "x"}]}]}}"#;
    let policy = load(deny);
    assert!(policy.unlists_entry(Resources, "a", &lister) && policy.unlists_entry(Templates, "a", &lister));
    assert!(policy.unlists_entry(Prompts, "x", &lister) && !policy.unlists_entry(Prompts, "y", &lister));
    let observe = load(&format!(r#""mode": "observe", {deny}"#));
    assert!(!observe.unlists_entry(Resources, "a", &lister) && !observe.unlists_entry(Prompts, "x", &lister));
}
