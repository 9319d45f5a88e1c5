mod shipped;

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::authoring::simulation::Declared;
use crate::diagnostic::Places;
use crate::policy::Policy;

const POLICY: &str = r#"{
  "version": "1",
  "default": "deny",
  "hide": ["secret*"],
  "tools": {
    "search": { "rate_limit": "2/minute" },
    "transfer": { "action": "require_approval" },
    "mine": { "require": [ { "conditions": [ { "path": "identity.user", "op": "eq", "value": "ann" } ] } ] },
    "typed": { "arguments": "declared" },
    "pay": {
      "deny_if": [ { "conditions": [ { "path": "args.amount", "op": "gt", "value": 9007199254740992 } ] } ],
      "limits": [ { "counter": "spend", "window": "day", "align": "calendar", "max": 1, "increment_from": "args.amount" } ]
    }
  },
  "methods": { "resources/read": { "deny_if": [ { "conditions": [
    { "path": "args.uri", "op": "starts_with", "value": "file:" } ] } ] } }
}"#;

/// Runs the cases of one suite on [`POLICY`].
fn ran(cases: &str) -> Vec<CaseResult> {
    let text = format!("{{ \"policy\": \"policy.json\", \"cases\": [{cases}] }}");
    let suites = read("t.tests.json", &text).unwrap_or_else(|report| panic!("{}", report.render(false)));
    let policy = Arc::new(Policy::load("policy.json", POLICY).unwrap());
    run(&suites[0], &policy, &Declared::default(), |_| true)
}

fn passes(cases: &str) {
    for case in ran(cases) {
        assert_eq!(case.failures, [], "{}", case.name);
    }
}

#[test]
fn steps_share_counters_and_cases_do_not() {
    passes(
        r#"{ "name": "a", "steps": [
             { "call": "search", "times": 2, "every": "20s", "expect": "allow" },
             { "call": "search", "expect": "deny", "rule": "/tools/search/rate_limit", "retry_after": "40s" },
             { "call": "search", "session": "other", "expect": "allow", "counters": { "/tools/search/rate_limit": 1 } },
             { "call": "search", "at": "+40s", "expect": "allow" },
             { "call": "search", "at": "1m19s", "expect": "deny", "retry_after": "1s", "reason_contains": "again in 1 s" },
             { "call": "search", "at": "2026-01-01T00:01:20Z", "expect": "allow" } ] },
           { "name": "b", "call": "search", "times": 2, "expect": "allow", "rule": "/tools/search" }"#,
    );
}

#[test]
fn amounts_go_as_they_are_written_and_the_calendar_is_kept() {
    passes(
        r#"{ "name": "exact", "start": "2026-05-31T23:59:59Z", "steps": [
             { "call": "pay", "args": { "amount": 0.1 }, "times": 10, "expect": "allow", "counters": { "spend": 1.0 } },
             { "call": "pay", "args": { "amount": 1e-28 }, "expect": "deny", "retry_after": "1s" },
             { "call": "pay", "args": { "amount": 1 }, "at": "2026-06-01T02:00:00+02:00", "expect": "allow" },
             { "call": "pay", "args": { "amount": 2 }, "at": "+1d", "expect": "deny", "retry_after": "never" },
             { "call": "pay", "args": { "amount": 0.5 }, "unsent": true, "times": 50, "expect": "allow" },
             { "call": "pay", "args": { "amount": 9007199254740993 }, "expect": "deny", "rule": "/tools/pay/deny_if/0" } ] }"#,
    );
}

#[test]
fn callers_messages_and_lists_are_what_the_case_says() {
    passes(
        r#"{ "name": "facts", "identity": { "user": "ann" }, "steps": [
             { "call": "mine", "expect": "allow" },
             { "call": "mine", "identity": { "uid": 0 }, "expect": "allow" },
             { "call": "mine", "identity": { "user": null }, "expect": "deny" },
             { "lists": ["mine", "typed"], "hides": ["secret", "other"] },
             { "hides": ["mine"], "identity": { "user": "bob" } } ] },
           { "name": "nobody", "grant": null, "call": "search", "expect": "deny", "rule": "no-grant" },
           { "name": "approval", "call": "transfer", "expect": "approve", "rule": "/tools/transfer/action" },
           { "name": "typed", "call": "typed", "expect": "deny", "rule": "/tools/typed/arguments" },
           { "name": "methods", "steps": [
             { "method": "resources/read", "params": { "uri": "file:///etc" }, "expect": "deny" },
             { "method": "resources/read", "params": { "uri": "https://x" }, "expect": "allow", "rule": "/methods/resources~1read" },
             { "method": "sampling/createMessage", "from": "server", "expect": "deny", "rule": "/default" },
             { "method": "tools/list", "expect": "allow", "rule": "" } ] },
           { "name": "bytes", "steps": [
             { "message": "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"} ", "expect": "allow" },
             { "message": { "jsonrpc": "2.0", "id": 1, "result": {} }, "expect": "allow", "rule": "" },
             { "message": "[]", "expect": "deny", "rule": "malformed", "reason": "batches of messages are accepted only under revision 2025-03-26 (at byte 0)" } ] }"#,
    );
}

#[test]
fn declared_schemas_come_from_the_test_file() {
    let text = r#"{ "policy": "p", "tools": [ { "name": "a", "inputSchema": { "type": "object" } } ],
        "cases": [ { "name": "n", "call": "a", "expect": "allow" } ] }"#;
    let suites = read("t.tests.json", text).unwrap();
    let tool = Tool { name: "a".to_owned(), schema: r#"{ "type": "object" }"#.to_owned() };
    assert_eq!(suites[0].tools, Some(Tools::Here(vec![tool])));
}

#[test]
fn what_stands_outside_holds_inside() {
    let text = r#"{ "grant": "outer", "server": "s", "start": "2027-01-01T00:00:00Z", "suites": [
        { "policy": "p", "session": "mine", "cases": [ { "name": "n", "grant": "case", "steps": [
            { "call": "a", "expect": "allow" }, { "call": "a", "grant": "step", "expect": "allow" } ] } ] },
        { "policy": "q", "server": "t", "start": "2028-01-01T00:00:00Z", "cases": [ { "name": "n", "call": "a", "expect": "allow" } ] } ] }"#;
    let suites = read("t.tests.json", text).unwrap();
    let callers: Vec<_> = suites
        .iter()
        .flat_map(|suite| &suite.cases)
        .flat_map(|case| case.steps.iter().map(|step| (case.start / 1_000_000_000, step.caller.clone())))
        .map(|(start, caller)| (start, caller.grant.unwrap(), caller.server, caller.session))
        .collect();
    let caller = |start, grant: &str, server: &str, session: &str| {
        (start, grant.to_owned(), server.to_owned(), session.to_owned())
    };
    assert_eq!(
        callers,
        [
            caller(1_798_761_600, "case", "s", "mine"),
            caller(1_798_761_600, "step", "s", "mine"),
            caller(1_830_297_600, "outer", "t", "session")
        ]
    );
}

const FAILING: &str = r#"{
  "policy": "policy.json",
  "cases": [
    { "name": "three searches", "steps": [
      { "call": "search", "times": 3, "every": "1s", "expect": "allow" },
      { "call": "search", "expect": "deny", "rule": "/tools/search/limits/0", "retry_after": "1m" } ] },
    { "name": "large", "call": "pay", "each": [ { "amount": 9007199254740993 }, { "amount": 1 } ],
      "expect": "deny", "rule": "/tools/pay/deny_if/0", "reason": "Too <much> & \"more\"." },
    { "name": "lists", "lists": ["secret"] }
  ]
}"#;

fn failing() -> Vec<CaseResult> {
    let suites = read("t.tests.json", FAILING).unwrap();
    let policy = Arc::new(Policy::load("policy.json", POLICY).unwrap());
    run(&suites[0], &policy, &Declared::default(), |_| true)
}

#[test]
fn failures_show_the_place_the_difference_and_what_decided() {
    let shown: String =
        failing().iter().map(|case| render("t.tests.json", &Places::of(FAILING), case, false)).collect();
    insta::assert_snapshot!(shown, @r#"
    error: three searches: call 3 of `search`: expected allow, got deny
     --> t.tests.json:5:64
      |
    5 |       { "call": "search", "times": 3, "every": "1s", "expect": "allow" },
      |                                                                ^^^^^^^
      - decision  allow
      + decision  deny
        rule      /tools/search/rate_limit
        reason    rate limit reached for tool `search`; try again in 58 s
      decided by /tools/search/rate_limit: the limit is reached
          its own counter of the session: 2 + 1 of 2 in any 1m

    error: three searches: call of `search`: another rule than expected decided
     --> t.tests.json:6:53
      |
    6 |       { "call": "search", "expect": "deny", "rule": "/tools/search/limits/0", "retry_after": "1m" } ] },
      |                                                     ^^^^^^^^^^^^^^^^^^^^^^^^
        decision     deny
      - rule         /tools/search/limits/0
      + rule         /tools/search/rate_limit
        reason       rate limit reached for tool `search`; try again in 58 s
      - retry_after  1m
      + retry_after  58s
      decided by /tools/search/rate_limit: the limit is reached
          its own counter of the session: 2 + 1 of 2 in any 1m
      meant was  /tools/search/limits/0: nobody asked it

    error: large: call 1 of `pay`: expected another reason
     --> t.tests.json:7:49
      |
    7 |     { "name": "large", "call": "pay", "each": [ { "amount": 9007199254740993 }, { "amount": 1 } ],
      |                                                 ^
        decision  deny
        rule      /tools/pay/deny_if/0
      - reason    Too <much> & "more".
      + reason    a `deny_if` rule of tool `pay` forbids this call
      decided by /tools/pay/deny_if/0: `deny_if` holds
          args.amount gt 9007199254740992: 9007199254740993 holds

    error: lists: list of tools: expected `secret` to be shown, it is left out
     --> t.tests.json:9:34
      |
    9 |     { "name": "lists", "lists": ["secret"] }
      |                                  ^^^^^^^^
      - list of tools  `secret` shown
      + list of tools  `secret` left out
    "#);
    let colored = render("t.tests.json", &Places::of(FAILING), &failing()[0], true);
    assert!(colored.contains("\u{1b}[31m  - decision  allow\u{1b}[0m\n\u{1b}[32m  + decision  deny"), "{colored}");
}

#[test]
fn programs_and_ci_systems_get_them_too() {
    let cases = failing();
    let value = json("t.tests.json", &Places::of(FAILING), "policy.json", &cases[1]);
    assert_eq!(
        (&value["passed"], &value["line"], &value["failures"][0]["line"]),
        (&json!(false), &json!(7), &json!(7))
    );
    let only =
        [ran(r#"{ "name": "fine <&>\u0000", "call": "search", "expect": "allow" }"#), vec![cases[1].clone()]].concat();
    let suite = Ran { file: "t.tests.json", source: FAILING, policy: "policy.json", cases: &only };
    insta::assert_snapshot!(junit(&[suite]), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="policyd policy test" tests="2" failures="1" errors="0" time="0">
      <testsuite name="policy.json" file="t.tests.json" tests="2" failures="1" errors="0" time="0">
        <testcase name="fine &lt;&amp;&gt;�" classname="policy.json" file="t.tests.json" line="4" time="0"/>
        <testcase name="large" classname="policy.json" file="t.tests.json" line="7" time="0">
          <failure type="decision" message="call 1 of `pay`: expected another reason">error: large: call 1 of `pay`: expected another reason
     --&gt; t.tests.json:7:49
      |
    7 |     { &quot;name&quot;: &quot;large&quot;, &quot;call&quot;: &quot;pay&quot;, &quot;each&quot;: [ { &quot;amount&quot;: 9007199254740993 }, { &quot;amount&quot;: 1 } ],
      |                                                 ^
        decision  deny
        rule      /tools/pay/deny_if/0
      - reason    Too &lt;much&gt; &amp; &quot;more&quot;.
      + reason    a `deny_if` rule of tool `pay` forbids this call
      decided by /tools/pay/deny_if/0: `deny_if` holds
          args.amount gt 9007199254740992: 9007199254740993 holds</failure>
        </testcase>
      </testsuite>
    </testsuites>
    "#);
}

#[test]
fn only_wanted_cases_run() {
    let suites = read("t.tests.json", FAILING).unwrap();
    let policy = Arc::new(Policy::load("policy.json", POLICY).unwrap());
    let cases = run(&suites[0], &policy, &Declared::default(), |name| name.contains("list"));
    assert_eq!(cases.iter().map(|case| &*case.name).collect::<Vec<_>>(), ["lists"]);
}

#[test]
fn every_problem_is_told_with_its_place() {
    let text = r#"{
  "policy": "", "case": [],
  "start": "yesterday", "identity": { "uid": -1, "name": "x" },
  "tools": [ { "nam": "a" } ],
  "cases": [
    { "name": "a", "calls": "x", "expect": "denied" },
    { "name": "b", "steps": [
      { "call": "x", "at": "1m", "expect": "allow", "reason": "x" },
      { "call": "x", "args": [], "at": "30s", "expect": "deny" },
      { "call": "x", "method": "y", "expect": "deny" },
      { "call": "x", "args": {}, "each": [], "times": 0, "every": 5, "retry_after": "soon", "expect": "deny" },
      { "lists": ["a", 1], "expect": "allow" },
      { "method": "tools/call", "args": {}, "expect": "deny" },
      { "call": "x", "from": "server", "counters": { "c": "1" }, "unsent": "no" },
      { "at": "2025-12-31T23:59:59Z", "call": "x", "expect": "deny" } ] },
    { "name": "c", "steps": [] },
    7
  ]
}"#;
    let report = read("t.tests.json", text).unwrap_err();
    insta::assert_snapshot!(report.to_string(), @r"
    t.tests.json:2:13: this cannot be empty
    t.tests.json:2:17: unknown key `case` in a test file (did you mean `cases`?)
    t.tests.json:3:12: this is no instant (a date and time such as `2026-01-01T09:30:00Z`)
    t.tests.json:3:46: expected a whole number from 0 to 4294967295
    t.tests.json:3:50: unknown key `name` in an identity (an identity has `pid`, `uid`, `user`, `exe`, `cgroup`, `unit`)
    t.tests.json:4:14: this tool has no `name` (a file with the server's `tools/list`, or an array of tools, each with `name` and `inputSchema`)
    t.tests.json:6:5: this step does nothing (`call` a tool, send another `method` or a whole `message`, or say what the server's list of tools shows (`lists`) and leaves out (`hides`))
    t.tests.json:6:20: unknown key `calls` in a case (did you mean `call`?)
    t.tests.json:8:53: a call that is allowed has no `reason`
    t.tests.json:9:30: arguments must be an object, found an array
    t.tests.json:9:40: this is before the end of the step before it, which is 1m after the start (the steps of a case stand in the order of time)
    t.tests.json:10:22: `method` cannot stand beside `call` (make two steps of it)
    t.tests.json:11:42: `each` cannot stand beside `args` (write each call's arguments whole)
    t.tests.json:11:55: expected a whole number from 1 to 1000000
    t.tests.json:11:67: this is no duration (a string such as `90s`, `1m30s` or `250ms`)
    t.tests.json:11:85: this is no duration (a string such as `90s`, `1m30s` or `250ms`)
    t.tests.json:12:24: expected a string, found a number
    t.tests.json:12:28: `expect` belongs to a call, not to a list of tools
    t.tests.json:13:19: `tools/call` is written as `call`
    t.tests.json:13:33: `args` belongs to `call`
    t.tests.json:14:7: `expect` is missing
    t.tests.json:14:30: a server calls no tools: name a `method`
    t.tests.json:14:59: expected a decimal number (what the counter holds after the call, such as `10` or `0.5`)
    t.tests.json:14:76: expected true or false, found a string
    t.tests.json:15:15: this is before the case's `start` (since the case's start: `0s`, `1m30s`; since the step before: `+10s`; or a date and time such as `2026-01-01T09:30:00Z`)
    t.tests.json:16:29: a case needs at least one step
    t.tests.json:17:5: a case must be an object, found a number
    ");
}

#[test]
fn a_file_in_which_nothing_runs_or_two_cases_are_one_is_wrong() {
    let case = r#"{"name":"a","call":"x","expect":"deny"}"#;
    let file = |members: &str| format!(r#"{{"policy":"p.json",{members}}}"#);
    for (text, message, place) in [
        (file(r#""cases":[]"#), "no case would be run: `cases` is empty", "["),
        (r#"{"suites":[]}"#.to_owned(), "a test file needs at least one suite", "["),
        (file(&format!(r#""cases":[{case},{case}]"#)), "there is a case `a` before this one", "\"a\""),
    ] {
        let report = read("t.tests.json", &text).unwrap_err();
        let [problem] = report.diagnostics.as_slice() else { panic!("{report}") };
        assert_eq!((problem.message.as_str(), &text[problem.span.clone()]), (message, place));
    }
    let suite = file(&format!(r#""cases":[{case}]"#));
    assert!(
        read("t.tests.json", &format!(r#"{{"suites":[{suite},{suite}]}}"#)).is_ok(),
        "each suite has its own names"
    );
}
