//! What the loader says, word for word.

use proptest::prelude::*;

use super::super::{Lister, Policy};

mod limits;
mod size;

/// All problems of a document, one per line.
fn problems(text: &str) -> String {
    match Policy::load("p", text) {
        Ok(_) => "loads".to_owned(),
        Err(report) => report.to_string(),
    }
}

/// The problems of a tool's entry, in a document that is right otherwise.
fn entry(text: &str) -> String {
    let before = "{\"version\":\"1\",\"default\":\"deny\",\"tools\":{\"t\":\n";
    problems(&format!("{before}{text}\n}}}}"))
}

/// The problems of a limit.
fn limit(text: &str) -> String {
    entry(&format!("{{\"limits\":[\n{text}\n]}}")).replace("p:3:", "")
}

#[test]
fn every_problem_is_reported_at_once() {
    let report = Policy::load(
        "policy.json",
        r#"{
  "verson": "1",
  "default": "reject",
  "hide": "delete_account",
  "methods": { "tools/call": {} },
  "tools": {
    "pay": {
      "require": [ { "conditions": [ { "path": "arg.x", "op": "gte", "value": "1" }, { "op": "less", "value": 1 } ] } ],
      "limits": [
        { "counter": "spend", "window": "weekly", "max": -1, "increment_from": "amount" },
        { "counter": "spend", "window": "day", "max": 10, "scope": "grants" }
      ],
      "rate_limit": "ten/minute",
      "rate_limit": { "max": 10 }
    },
    "a*": {}, "*b": { "action": "ask", "arguments": "open" }
  }
}"#,
    )
    .expect_err("it is full of mistakes");
    insta::assert_snapshot!(report.render(false), @r#"
    error: `version` is missing
     --> policy.json:1:1
      |
    1 | {
      | ^

    error: unknown key `verson` in a policy
     --> policy.json:2:3
      |
    2 |   "verson": "1",
      |   ^^^^^^^^
      |
      = help: did you mean `version`?

    error: expected `allow` or `deny`, found `reject`
     --> policy.json:3:14
      |
    3 |   "default": "reject",
      |              ^^^^^^^^

    error: expected an array, found a string
     --> policy.json:4:11
      |
    4 |   "hide": "delete_account",
      |           ^^^^^^^^^^^^^^^^

    error: `tools/call` is not judged by `methods`
     --> policy.json:5:16
      |
    5 |   "methods": { "tools/call": {} },
      |                ^^^^^^^^^^^^
      |
      = help: rules for tools stand in `tools` and `all_tools`

    error: the path `arg.x` does not start with `args`
     --> policy.json:8:48
      |
    8 |       "require": [ { "conditions": [ { "path": "arg.x", "op": "gte", "value": "1" }, { "op": "less", "value": 1 } ] } ],
      |                                                ^^^^^^^
      |
      = help: such as `args.amount`, `args.items[].price`, `args["a.b"]` or `grant.name`

    error: this operator compares numbers: `value` must be one, found a string
     --> policy.json:8:79
      |
    8 |       "require": [ { "conditions": [ { "path": "arg.x", "op": "gte", "value": "1" }, { "op": "less", "value": 1 } ] } ],
      |                                                                               ^^^

    error: `path` is missing
     --> policy.json:8:86
      |
    8 |       "require": [ { "conditions": [ { "path": "arg.x", "op": "gte", "value": "1" }, { "op": "less", "value": 1 } ] } ],
      |                                                                                      ^

    error: expected `eq`, `neq`, `in`, `not_in`, `lt`, `lte`, `gt`, `gte`, `regex`, `contains`, `exists`, `len_lte`, `starts_with`, `under_path`, `host_in` or `type`, found `less`
     --> policy.json:8:94
      |
    8 |       "require": [ { "conditions": [ { "path": "arg.x", "op": "gte", "value": "1" }, { "op": "less", "value": 1 } ] } ],
      |                                                                                              ^^^^^^

    error: this is no window
      --> policy.json:10:41
       |
    10 |         { "counter": "spend", "window": "weekly", "max": -1, "increment_from": "amount" },
       |                                         ^^^^^^^^
       |
       = help: `second`, `minute`, `hour`, `day`, or a duration such as `90s` or `2h`

    error: `max` must not be negative
      --> policy.json:10:58
       |
    10 |         { "counter": "spend", "window": "weekly", "max": -1, "increment_from": "amount" },
       |                                                          ^^

    error: the path `amount` does not start with `args`
      --> policy.json:10:80
       |
    10 |         { "counter": "spend", "window": "weekly", "max": -1, "increment_from": "amount" },
       |                                                                                ^^^^^^^^
       |
       = help: a path to one of the arguments, such as `args.amount`

    error: expected `grant`, `session`, `server`, `host` or `global`, found `grants`
      --> policy.json:11:68
       |
    11 |         { "counter": "spend", "window": "day", "max": 10, "scope": "grants" }
       |                                                                    ^^^^^^^^
       |
       = help: did you mean `grant`?

    error: this is no rate
      --> policy.json:13:21
       |
    13 |       "rate_limit": "ten/minute",
       |                     ^^^^^^^^^^^^
       |
       = help: a number and a window, such as `10/minute` or `5/90s`

    error: duplicate key `rate_limit`
      --> policy.json:14:7
       |
    14 |       "rate_limit": { "max": 10 }
       |       ^^^^^^^^^^^^
       |
       = help: it stands on line 13 too

    error: the patterns `*b` and `a*` can match the same tool
      --> policy.json:16:15
       |
    16 |     "a*": {}, "*b": { "action": "ask", "arguments": "open" }
       |               ^^^^
       |
       = help: their literal parts are equally long, so that neither is more specific; change one

    error: expected `allow`, `deny` or `require_approval`, found `ask`
      --> policy.json:16:33
       |
    16 |     "a*": {}, "*b": { "action": "ask", "arguments": "open" }
       |                                 ^^^^^

    error: expected `declared`, found `open`
      --> policy.json:16:53
       |
    16 |     "a*": {}, "*b": { "action": "ask", "arguments": "open" }
       |                                                     ^^^^^^

    policy.json: 18 problems
    "#);
}

#[test]
fn a_syntax_error_is_shown_at_its_place() {
    let report =
        Policy::load("policy.json", "{\n  \"version\": \"1\"\n  \"default\": \"deny\"\n}").expect_err("no comma");
    insta::assert_snapshot!(report.render(false), @r#"
    error: expected `,` or `}`, found `"`
     --> policy.json:3:3
      |
    3 |   "default": "deny"
      |   ^

    policy.json: 1 problem
    "#);
}

#[test]
fn the_document_needs_its_version_and_default() {
    assert_eq!(problems("{}"), "p:1:1: `version` is missing\np:1:1: `default` is missing");
    assert_eq!(problems("[]"), "p:1:1: a policy must be an object, found an array");
    for version in ["1", "\"2\"", "\"1.0\"", "null"] {
        let text = format!(r#"{{ "default": "deny", "version": {version} }}"#);
        assert_eq!(problems(&text), "p:1:33: `version` must be \"1\"");
    }
    assert_eq!(
        problems(r#"{ "version": "1", "default": "alow" }"#),
        "p:1:30: expected `allow` or `deny`, found `alow` (did you mean `allow`?)"
    );
    for right in [
        r#"{ "version": "1", "default": "deny" }"#,
        r#"{ "$schema": "https://x", "description": "d", "version": "1", "default": "allow", "mode": "observe",
             "deny_as": "error", "hide": [], "tools": {}, "all_tools": {} }"#,
    ] {
        assert_eq!(problems(right), "loads");
    }
    for (key, value, message) in [
        ("mode", "\"dry-run\"", "expected `enforce` or `observe`, found `dry-run`"),
        ("mode", "true", "expected `enforce` or `observe`, found a boolean"),
        ("deny_as", "\"errors\"", "expected `result` or `error`, found `errors` (did you mean `error`?)"),
        ("description", "7", "expected a string, found a number"),
        ("hide", "[1, \"\"]", "expected a string, found a number\np:2:5: a tool's name cannot be empty"),
        ("tools", "[]", "`tools` must be an object, found an array"),
        ("tools", "{\"a\": true}", "a tool's entry must be an object, found a boolean"),
    ] {
        let text = format!("{{\"version\":\"1\",\"default\":\"deny\",\"{key}\":\n{value}}}");
        let found = problems(&text);
        assert_eq!(found.split_once(": ").map(|(_, message)| message), Some(message), "{key}: {value}");
    }
}

#[test]
fn unknown_keys_are_errors_with_a_suggestion() {
    assert_eq!(entry(r#"{ "limit": [] }"#), "p:2:3: unknown key `limit` in a tool's entry (did you mean `limits`?)");
    assert_eq!(
        entry(r#"{ "colour": 1 }"#),
        "p:2:3: unknown key `colour` in a tool's entry (a tool's entry has `action`, `reason`, `arguments`, `require`, \
         `deny_if`, `approve_if`, `limits`, `rate_limit`)"
    );
    assert_eq!(
        entry(r#"{ "rate_limit": { "max": 1, "window": 1, "scope": "grant" } }"#),
        "p:2:42: unknown key `scope` in `rate_limit` (`rate_limit` has `max`, `window`)"
    );
}

#[test]
fn limits_say_what_is_wrong_with_them() {
    assert_eq!(limit("{}"), "1: `counter` is missing\n1: `window` is missing\n1: `max` is missing");
    let window = "(`second`, `minute`, `hour`, `day`, or a duration such as `90s` or `2h`)";
    for (value, message) in [
        ("\"weekly\"", format!("this is no window {window}")),
        ("\"\"", format!("this is no window {window}")),
        ("\"90\"", format!("this is no window {window}")),
        ("\"1.5h\"", format!("this is no window {window}")),
        ("\"-1s\"", format!("this is no window {window}")),
        ("\"9\u{e9}\"", format!("this is no window {window}")),
        ("60", format!("a window needs a unit {window}")),
        ("\"0s\"", format!("a window must be longer than zero {window}")),
        ("\"367d\"", format!("a window can be at most 366 days long {window}")),
        ("\"99999999999999999999h\"", format!("a window can be at most 366 days long {window}")),
    ] {
        let text = format!(r#"{{ "counter": "c", "max": 1, "window": {value} }}"#);
        assert_eq!(limit(&text), format!("39: {message}"), "{value}");
    }
    for (value, message) in [
        ("-1", "`max` must not be negative"),
        ("\"1\"", "`max` must be a number that is not negative, found a string"),
        ("1e40", "`max` has too many digits (at most 28 digits, and as many decimal places, can be kept exactly)"),
    ] {
        let text = format!(r#"{{ "counter": "c", "window": "day", "max": {value} }}"#);
        assert_eq!(limit(&text), format!("43: {message}"), "{value}");
    }
    for right in ["second", "minute", "hour", "day", "90s", "2h", "15m", "366d"] {
        let text = format!(r#"{{ "counter": "c", "max": 0.5, "window": "{right}", "scope": "global" }}"#);
        assert_eq!(limit(&text), "loads", "{right}");
    }
    for (window, loads) in [
        ("60", true),
        ("\"minute\"", true),
        ("\"90s\"", true),
        ("0.5", true),
        ("0", false),
        ("-1", false),
        ("1e-20", false),
        ("1e28", false),
        ("31622401", false),
    ] {
        let text = format!(r#"{{ "rate_limit": {{ "max": 1, "window": {window} }} }}"#);
        assert_eq!(entry(&text) == "loads", loads, "{window}: {}", entry(&text));
    }
}

#[test]
fn limits_on_one_counter_agree_on_what_they_add() {
    let two = |first: &str, second: &str| {
        let limit = |rest: &str| format!(r#"{{ "counter": "c", "window": "day", "max": 1{rest} }}"#);
        super::tests::limit(&format!("{},\n{}", limit(first), limit(second)))
    };
    let from = |path: &str| format!(r#", "increment_from": "{path}""#);
    assert_eq!(two("", ""), "loads");
    assert_eq!(two(&from("args.a"), &from("args.a")), "loads");
    assert_eq!(two(&from("args.a"), r#", "scope": "server""#), "loads", "two counters");
    assert_eq!(
        two(&from("args.a"), ""),
        "p:4:14: this limit counts calls, another one on counter `c` adds `args.a` (two limits on one counter must \
         agree on `increment_from`; rename one of the counters)"
    );
    assert!(two(&from("args.a"), &from("args.b")).contains("adds `args.b`, another one on counter `c` adds"));
}

#[test]
fn patterns_that_tie_are_errors() {
    let tools = |names: &str| problems(&format!("{{\"version\":\"1\",\"default\":\"deny\",\"tools\":{{\n{names}}}}}"));
    assert_eq!(
        tools(r#""a.*": {}, "*.b": {}"#),
        "p:2:12: the patterns `*.b` and `a.*` can match the same tool (their literal parts are equally long, so that \
         neither is more specific; change one)"
    );
    assert_eq!(tools(r#""a.*": {}, "b.*": {}, "a.b*": {}, "a.b": {}, "*": {}"#), "loads");
    assert!(tools(r#""a*": {}, "a**": {}"#).contains("can match the same tool"));
    assert!(tools(r#""a": {}, "\u0061": {}"#).contains("duplicate key `a`"));
    assert!(tools(r#""": {}"#).contains("a tool's name cannot be empty"));
}

proptest! {
    /// Whatever an editor leaves behind, the loader gives a policy or a report with places inside of the text.
    #[test]
    fn never_panics_on_mutated_documents(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..4usize, "[\\[\\]{}\",:0-9a-z*\\\\ \u{e9}\u{1f600}]{0,3}"), 0..6),
    ) {
        let mut text: Vec<char> = r#"{ "version": "1", "default": "deny", "hide": ["a*", "b"], "mode": "enforce",
            "all_tools": { "limits": [ { "counter": "c", "window": "90s", "max": 6e1, "scope": "host" } ] },
            "tools": { "é.*": { "action": "deny", "reason": "\u00e9" }, "t": { "rate_limit": { "max": 10, "window": 60 },
            "limits": [ { "counter": "m", "window": "day", "max": 1.5, "increment_from": "args.a[\"b\"]" } ] } } }"#
            .chars().collect();
        for (place, length, with) in cuts {
            let start = place.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, with.chars());
        }
        let text: String = text.into_iter().collect();
        match Policy::load("p", &text) {
            Ok(policy) => {
                let identity = crate::capture::identity::Identity::default();
                policy.unlists("t", &Lister { grant: "g", server: "s", identity: &identity, schemas: &() });
            }
            Err(report) => {
                prop_assert!(!report.diagnostics.is_empty());
                for problem in &report.diagnostics {
                    prop_assert!(text.get(problem.span.clone()).is_some(), "{:?}", problem);
                }
                report.render(true);
            }
        }
    }
}
