//! What cannot be carried over is an error with its place, and no text breaks the reader.

use super::*;

#[test]
fn everything_that_cannot_be_carried_over_is_told_at_once() {
    let yaml = r#"version: "2"
defualt: allow
default: maybe
hide: [a, a, "b*", ""]
approvals: { default_timeout: 5m }
tools:
  "read_*":
    rules: []
  "":
    rules: []
  pay:
    rules:
      - name: big
        action: require_approval
        conditions: [{ path: args.amount, op: gt, value: 100 }]
        approval_timeout: 30m
      - name: budget
        spend: { per_call: 0.5 }
        action: allow
      - action: deny
        conditions: [{ path: args.x, op: eq, value: 1 }]
      - name: empty
      - name: both
        rate_limit: 5/hour
        state: { counter: c, window: hour }
      - name: rates
        rate_limit: 0/hour
      - name: rates too
        rate_limit: 5/week
  count:
    rules:
      - name: of another
        conditions:
          - { path: state.pay.spent, op: lt, value: 5 }
      - name: floor
        conditions:
          - { path: state.count.n, op: gte, value: 5 }
          - { path: state.count.n, op: lte, value: 5.5 }
        state: { counter: n, window: week, increment: -1 }
      - name: never counted
        conditions: [{ path: args.x, op: exists, value: true }]
        state: { counter: idle, window: day }
      - name: closed
        conditions: [{ path: state.count.zero, op: lt, value: 0 }]
        state: { counter: zero, window: day }
      - name: two ways
        conditions: [{ path: state.count.two, op: lt, value: 9 }]
        state: { counter: two, window: day, increment: 2, increment_from: args.x }
      - name: nowhere
        conditions: [{ path: state.count.no, op: lt, value: 9 }]
        state: { window: day, counter: no, increment_from: amount }
      - name: twice
        rate_limit: 1/day
      - name: twice
        rate_limit: 2/day
  conditions:
    rules:
      - name: all wrong
        conditions:
          - { path: argument.x, op: eq, value: 1 }
          - { path: args.x, op: equals, value: 1 }
          - { path: args.x, op: eq }
          - { path: args.x, op: eq, value: [1] }
          - { path: args.x, op: in, value: 1 }
          - { path: args.x, op: gt, value: "1" }
          - { path: args.x, op: exists, value: yes }
          - { path: args.x, op: regex, value: 7 }
          - { path: args.x, op: regex, value: '(a)\1' }
          - { path: args.x, op: regex, value: 'a(?=b)' }
          - { path: args.x, op: neq, value: "[a]" }
  closed:
    rules:
      - { name: first, action: deny }
      - { name: second, action: deny }
"#;
    insta::assert_snapshot!(refused(yaml), @r##"
    intercept.yaml:1:10: `version` must be "1" (there is no other version)
    intercept.yaml:2:1: unknown key `defualt` in the policy (did you mean `default`? there it has no effect)
    intercept.yaml:3:10: `maybe` is not known here (there are `allow`, `deny`)
    intercept.yaml:4:11: `a` is hidden twice (remove one of the two)
    intercept.yaml:4:14: the name `b*` cannot be carried over (there only a tool of exactly this name is meant, here `*` matches any characters)
    intercept.yaml:4:20: a tool's name cannot be empty (name the tool)
    intercept.yaml:5:1: `approvals` cannot be carried over (there the agent is refused and calls again once a person has agreed, here the call waits; write `approve_if` or `"action": "require_approval"` after the import)
    intercept.yaml:7:3: the name `read_*` cannot be carried over (there only a tool of exactly this name is meant, here `*` matches any characters)
    intercept.yaml:9:3: a tool's name cannot be empty (name the tool)
    intercept.yaml:14:17: approvals cannot be carried over (there the agent is refused and calls again once a person has agreed, here the call waits; write `approve_if` or `"action": "require_approval"` after the import)
    intercept.yaml:16:9: `approval_timeout` cannot be carried over (there the agent is refused and calls again once a person has agreed, here the call waits; write `approve_if` or `"action": "require_approval"` after the import)
    intercept.yaml:18:9: `spend` cannot be carried over (budgets of payments have no counterpart; a limit with `increment_from` adds up an argument)
    intercept.yaml:19:17: `allow` is not known here (there are `evaluate`, `deny`, `require_approval`)
    intercept.yaml:20:9: a rule must have a `name` (it stands in the records there)
    intercept.yaml:20:9: a rule that denies can have no conditions, limit or state (there it denies every call whatever else it has; move the rest to a rule of its own)
    intercept.yaml:22:9: a rule without conditions cannot be carried over (there it is refused; `action: deny` denies every call)
    intercept.yaml:24:21: `rate_limit` cannot stand beside `conditions` or `state` (there it is refused; write two rules)
    intercept.yaml:27:21: `0/hour` is no rate (a number above zero, a slash, and `minute`, `hour` or `day`)
    intercept.yaml:29:21: `5/week` is no rate (a number above zero, a slash, and `minute`, `hour` or `day`)
    intercept.yaml:34:13: `state.pay.spent` is not the counter of this rule's own `state` (here a limit counts and bounds in one; there this would only look at what another rule counts)
    intercept.yaml:37:52: `gte` on a counter cannot be carried over (a limit has an upper bound: `lt` or `lte`)
    intercept.yaml:38:52: the bound of a counter must be a whole number (there the fraction would be cut off)
    intercept.yaml:39:38: `week` is not known here (there are `minute`, `hour`, `day`)
    intercept.yaml:39:55: `increment` must be a positive whole number (such as `1`)
    intercept.yaml:42:16: the counter `idle` is never counted (there a counter counts only if its own rule has `lt` or `lte` on `state.count.idle`)
    intercept.yaml:44:63: no call fits under this bound (`action: deny` denies every call)
    intercept.yaml:48:45: `increment` has no effect beside `increment_from` (there `increment_from` alone counts; remove `increment`)
    intercept.yaml:51:60: the path `amount` does not start with `args.` (such as `args.amount`)
    intercept.yaml:55:21: two rules count into `count._rate_day` (two rules of one tool cannot have a `rate_limit` of the same window there)
    intercept.yaml:60:21: the path `argument.x` starts with neither `args.` nor `state.` (such as `args.amount`)
    intercept.yaml:61:33: `equals` is not known here (there are `eq`, `neq`, `in`, `not_in`, `lt`, `lte`, `gt`, `gte`, `regex`, `contains`, `exists`)
    intercept.yaml:62:13: `value` is missing (what the operator compares with)
    intercept.yaml:63:44: lists and mappings cannot be compared with (there they are compared by how Go prints them; compare what is in them, one by one)
    intercept.yaml:64:44: this operator needs a list (such as `[a, b]`)
    intercept.yaml:65:44: this operator compares numbers (write a number, without quotes)
    intercept.yaml:66:48: `exists` needs a boolean (`true` or `false`; `yes` and `no` are texts)
    intercept.yaml:67:47: a pattern must be a text (put quotes around it)
    intercept.yaml:68:47: this pattern cannot be carried over: `\1` is an octal escape; write it as `\x{…}` (RE2 syntax as in Go, without back-references and octal escapes)
    intercept.yaml:69:47: this pattern cannot be carried over: `(?=b` is not known (RE2 syntax as in Go, without back-references and octal escapes)
    intercept.yaml:70:45: this text cannot be carried over (there it also refuses the lists and objects that Go prints like this)
    intercept.yaml:74:9: this rule is never reached (a rule before it denies every call; remove one of the two)
    "##);
}

#[test]
fn an_error_shows_its_place() {
    let yaml = "version: \"1\"\ntools:\n  größe:\n    rules:\n      - name: n\n        rate_limt: 5/hour\n";
    let report = import("intercept.yaml", yaml, Scope::Server).unwrap_err();
    insta::assert_snapshot!(report.render(false), @r##"
    error: a rule without conditions cannot be carried over
     --> intercept.yaml:5:9
      |
    5 |       - name: n
      |         ^
      |
      = help: there it is refused; `action: deny` denies every call

    error: unknown key `rate_limt` in a rule
     --> intercept.yaml:6:9
      |
    6 |         rate_limt: 5/hour
      |         ^^^^^^^^^
      |
      = help: did you mean `rate_limit`? there it has no effect

    intercept.yaml: 2 problems
    "##);
}

#[test]
fn what_readers_of_yaml_differ_about_is_refused() {
    let value = |value: &str| {
        format!(
            "version: '1'\ntools: {{ t: {{ rules: [{{ name: n, conditions: [{{ path: args.x, op: eq, value: {value} }}] }}] }} }}\n"
        )
    };
    for text in ["010", "0x10", "0o17", "0b11", "1_000", "+5", ".5", "5.", ".inf", "-.NaN", "2024-01-02", "1e999"] {
        let report = refused(&value(text));
        assert!(report.contains("several things") || report.contains("too large"), "{text}: {report}");
    }
    assert!(refused(&value("9223372036854775808")).contains("too large"));
    for (text, carried) in [
        ("no", "\"no\""),
        ("Yes", "\"Yes\""),
        ("true", "true"),
        ("FALSE", "false"),
        ("~", "null"),
        ("\"~\"", "\"~\""),
        ("'010'", "\"010\""),
        ("10.0.0.1", "\"10.0.0.1\""),
        ("-0.50", "-0.50"),
        ("1e3", "1e3"),
        ("9223372036854775807", "9223372036854775807"),
        ("\"\\u00e9\"", "\"é\""),
    ] {
        let policy = imported(&value(text)).policy;
        assert!(policy.contains(&format!("\"value\": {carried} }}")), "{text}: {policy}");
    }
    for (yaml, what) in [
        ("version: '1'\ntools: &a {}\n", "anchors"),
        ("version: '1'\nhide: &a [x]\ndescription: *a\n", "aliases"),
        ("version: '1'\ntools: { <<: { a: {} } }\n", "merge keys"),
        ("version: !!str 1\n", "tags"),
        ("version: '1'\nversion: '1'\n", "duplicate key `version`"),
        ("version: '1'\ntools: { a: {}, \"a\": {} }\n", "duplicate key `a`"),
        ("version: '1'\n---\nversion: '1'\n", "second document"),
        ("version: '1'\ntools: { ? [a] : {} }\n", "a key must be a text"),
        ("version: '1'\ntools: { ~: {} }\n", "a key must be a text"),
        ("version: '1'\n  tools: {}\n", "this is not YAML"),
        ("\u{feff}version: '1'\n", "byte order mark"),
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("- version\n", "the policy must be a mapping"),
    ] {
        let report = refused(yaml);
        assert!(report.contains(what), "{yaml}: {report}");
    }
    let deep = format!("version: '1'\ntools: {}{}\n", "[".repeat(100), "]".repeat(100));
    assert!(refused(&deep).contains("nested too deeply"));
}

/// The places of all problems are inside of the text, whatever it is.
fn told(text: &str) {
    let reports = match import("p", text, Scope::Grant) {
        Ok(imported) => {
            assert_eq!(format::format("p", &imported.policy, Layout::Policy).as_ref(), Ok(&imported.policy));
            imported.notes
        }
        Err(report) => {
            assert!(!report.diagnostics.is_empty());
            report
        }
    };
    for problem in &reports.diagnostics {
        assert!(text.get(problem.span.clone()).is_some(), "{problem:?} in {text:?}");
    }
    reports.render(false);
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_strange(text in "[a-z0-9 :\\-\\[\\]{}\"'&*!|>#%@`\n\t,.?~<é]{0,64}") {
        told(&text);
    }

    /// A policy with a piece cut out and another put in.
    #[test]
    fn no_change_is_too_strange(
        cut in 0..SHOP.len(),
        length in 0..40_usize,
        piece in proptest::sample::select(vec!["", "é", "[", "}", "\"", ": ", "\n", "- ", "&a ", "*a", "<<: ", "-1", "1e999", "~", "null"]),
    ) {
        let end = SHOP.ceil_char_boundary((cut + length).min(SHOP.len()));
        let start = SHOP.floor_char_boundary(cut);
        told(&format!("{}{piece}{}", &SHOP[..start], &SHOP[end..]));
    }
}
