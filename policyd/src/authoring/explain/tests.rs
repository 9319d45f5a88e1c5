use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::authoring::simulation::{self, Decision, Declared};
use crate::authoring::testing::{Sent, condition, declared, load, policies, sequences, with_deny_if};
use crate::policy::{self, Context, CounterStates, Grant, Policy, Verdict, Who, decide};
use crate::state::Memory;

const POLICY: &str = r#"{
  "version": "1",
  "default": "deny",
  "hide": ["secret*"],
  "all_tools": { "limits": [ { "counter": "calls", "window": "minute", "max": 60 } ] },
  "tools": {
    "drop": { "action": "deny", "reason": "Never from an agent." },
    "transfer": { "action": "require_approval" },
    "typed": { "arguments": "declared" },
    "pay": {
      "require": [ { "conditions": [ { "path": "args.currency", "op": "in", "value": ["usd", "eur"] } ] } ],
      "deny_if": [ { "conditions": [ { "path": "args.items[].price", "op": "gt", "value": 50000 },
                                     { "path": "grant.name", "op": "neq", "value": "boss" } ] } ],
      "approve_if": [ { "conditions": [ { "path": "args.amount", "op": "gt", "value": 10000 } ], "timeout": "10m" } ],
      "limits": [ { "counter": "spend", "window": "day", "max": 20000, "increment_from": "args.amount",
                    "on_deny": "Daily budget spent." },
                  { "counter": "pays", "window": "hour", "max": 3, "scope": "session", "align": "calendar" } ]
    }
  }
}"#;

/// 2026-01-01T00:30:00Z.
const AT: u64 = 1_767_227_400_000_000_000;

fn explained(body: Bytes, after: u64, every: u64) -> Explanation {
    let policy = Policy::load("policy.json", POLICY).unwrap();
    let mut simulation = Simulation::new(Arc::new(policy), Declared::default());
    let question = Question { caller: Caller::default(), direction: Direction::ToServer, body, at: AT, after, every };
    explain(&mut simulation, question)
}

fn shown(tool: &str, arguments: &str) -> String {
    render(&explained(simulation::call(tool, Some(arguments)), 0, 0), false)
}

/// A terminal would obey the first, and turn the second around.
#[test]
fn names_cannot_write_on_the_terminal() {
    let tool = "a\u{1b}[2J\n\u{9b}\u{202e}b";
    let call = serde_json::json!({
        "jsonrpc": "2.0", "id": "\u{202e}", "method": "tools/call", "params": { "name": tool, "arguments": { "x": tool } },
    });
    let other = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": tool });
    for (message, subject) in [(call, "call of `a"), (other, "`a")] {
        let shown = render(&explained(message.to_string().into(), 0, 0), false);
        let expected = format!("{subject}⟨U+001B⟩[2J⟨U+000A⟩⟨U+009B⟩⟨U+202E⟩b`");
        assert_eq!(shown.lines().next(), Some(&*expected));
        let printed = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(shown.chars().all(printed), "{shown:?}");
    }
}

#[test]
fn every_step_is_shown_with_what_stood_there() {
    let arguments = r#"{ "currency": "usd", "amount": 6000.50, "items": [] }"#;
    let explanation = explained(simulation::call("pay", Some(arguments)), 4, 60_000_000_000);
    insta::assert_snapshot!(render(&explanation, false), @r#"
    call of `pay`
      grant `agent`, server `server`, session `session`, at 2026-01-01T00:30:00Z
      after 4 of the same, 1m apart; 1 of them refused

      1  /hide                    the tool is not hidden
      2  /tools/pay               the entry that applies
      3  /tools/pay/require/0     `require` is met
           args.currency in ["usd", "eur"]: "usd" holds
      4  /tools/pay/deny_if/0     `deny_if` does not hold
           args.items[].price gt 50000: an empty array: counts as `does not hold`
           grant.name neq "boss": "agent" holds
      5  /tools/pay/approve_if/0  `approve_if` does not hold
           args.amount gt 10000: 6000.50 does not hold
      6  /all_tools/limits/0      the limit has room
           counter `calls` of the grant: 0 + 1 of 60 in any 1m; as much again fits now
    > 7  /tools/pay/limits/0      the limit is reached
           counter `spend` of the grant: 18001.5 + 6000.5 of 20000 in any 1d; as much again fits in 23h56m
      8  /tools/pay/limits/1      the limit is reached too
           counter `pays` of the session: 3 + 1 of 3 in the current 1h; as much again fits in 30m

    decision  deny by /tools/pay/limits/0 (limit)
    reason    Daily budget spent. Try again in 86160 s
    answer    {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Denied by policy: Daily budget spent. Try again in 86160 s"}],"isError":true}}
    record    "decision":"deny","rule":"/tools/pay/limits/0","observed":false
    lists     show the tool, if the server has it
    "#);
    let colored = render(&explanation, true);
    let mut plain = colored.clone();
    for code in ["0", "1", "2", "31"] {
        plain = plain.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(plain, render(&explanation, false), "colours change nothing else");
    assert_ne!(colored, plain);
}

#[test]
fn undecidable_conditions_say_why_and_how_they_count() {
    let arguments = r#"{ "currency": "eur", "items": [ { "price": 1 }, { "price": "1" } ] }"#;
    insta::assert_snapshot!(shown("pay", arguments), @r#"
    call of `pay`
      grant `agent`, server `server`, session `session`, at 2026-01-01T00:30:00Z

      1  /hide                 the tool is not hidden
      2  /tools/pay            the entry that applies
      3  /tools/pay/require/0  `require` is met
           args.currency in ["usd", "eur"]: "eur" holds
    > 4  /tools/pay/deny_if/0  `deny_if` holds
           args.items[].price gt 50000: 1 does not hold, "1" is nothing that this operator can decide about: counts as `holds`
           grant.name neq "boss": "agent" holds

    decision  deny by /tools/pay/deny_if/0 (deny-if)
    reason    a `deny_if` rule of tool `pay` forbids this call
    answer    {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Denied by policy: a `deny_if` rule of tool `pay` forbids this call"}],"isError":true}}
    record    "decision":"deny","rule":"/tools/pay/deny_if/0","observed":false
    lists     show the tool, if the server has it
    "#);
    insta::assert_snapshot!(shown("pay", r#"{ "Currency": "eur" }"#), @r#"
    call of `pay`
      grant `agent`, server `server`, session `session`, at 2026-01-01T00:30:00Z

      1  /hide                 the tool is not hidden
      2  /tools/pay            the entry that applies
    > 3  /tools/pay/require/0  `require` is not met
           args.currency in ["usd", "eur"]: a key differs only in letters that some readers take for the same: counts as `does not hold`

    decision  deny by /tools/pay/require/0 (require)
    reason    a `require` rule of tool `pay` is not met
    answer    {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Denied by policy: a `require` rule of tool `pay` is not met"}],"isError":true}}
    record    "decision":"deny","rule":"/tools/pay/require/0","observed":false
    lists     show the tool, if the server has it
    "#);
}

#[test]
fn denials_come_with_the_agents_very_answer() {
    insta::assert_snapshot!(shown("drop", "{}"), @r#"
    call of `drop`
      grant `agent`, server `server`, session `session`, at 2026-01-01T00:30:00Z

      1  /hide               the tool is not hidden
      2  /tools/drop         the entry that applies
    > 3  /tools/drop/action  the entry's action is `deny`

    decision  deny by /tools/drop/action (action)
    reason    Never from an agent.
    answer    {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Denied by policy: Never from an agent."}],"isError":true}}
    record    "decision":"deny","rule":"/tools/drop/action","observed":false
    lists     leave the tool out
    "#);
    insta::assert_snapshot!(shown("secret.key", "{}"), @r#"
    call of `secret.key`
      grant `agent`, server `server`, session `session`, at 2026-01-01T00:30:00Z

    > 1  /hide/0  the tool is hidden

    decision  deny by /hide/0 (hide)
    reason    tool `secret.key` is hidden
    answer    {"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool: secret.key"}}
    record    "decision":"deny","rule":"/hide/0","observed":false
    lists     leave the tool out
    "#);
    insta::assert_snapshot!(shown("transfer", "{}"), @r#"
    call of `transfer`
      grant `agent`, server `server`, session `session`, at 2026-01-01T00:30:00Z

      1  /hide                   the tool is not hidden
      2  /tools/transfer         the entry that applies
    > 3  /tools/transfer/action  the entry's action is `require_approval`

    decision  approve by /tools/transfer/action (approval)
              nobody can approve a call yet: it is denied
    reason    needs approval
    answer    {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Denied by policy: needs approval"}],"isError":true}}
    record    "decision":"deny","rule":"/tools/transfer/action","observed":false
    lists     show the tool, if the server has it
    "#);
    insta::assert_snapshot!(shown("typed", "{}"), @r#"
    call of `typed`
      grant `agent`, server `server`, session `session`, at 2026-01-01T00:30:00Z

      1  /hide                   the tool is not hidden
      2  /tools/typed            the entry that applies
    > 3  /tools/typed/arguments  the server has not listed the tool

    decision  deny by /tools/typed/arguments (arguments)
    reason    the server has not listed tool `typed`, so that its arguments cannot be checked; list the tools first
    answer    {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Denied by policy: the server has not listed tool `typed`, so that its arguments cannot be checked; list the tools first"}],"isError":true}}
    record    "decision":"deny","rule":"/tools/typed/arguments","observed":false
    lists     show the tool, if the server has it
    "#);
}

#[test]
fn other_messages_are_explained_too() {
    insta::assert_snapshot!(render(&explained(simulation::request("resources/read", None), 0, 0), false), @r#"
    `resources/read`
      grant `agent`, server `server`, session `session`, at 2026-01-01T00:30:00Z

    > 1  /default  no entry applies

    decision  deny by /default (default)
    reason    `resources/read` is not allowed
    answer    {"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Denied by policy: `resources/read` is not allowed","data":{"rule":"/default"}}}
    record    "decision":"deny","rule":"/default","observed":false
    "#);
    insta::assert_snapshot!(render(&explained(simulation::request("notifications/cancelled", None), 0, 0), false), @r#"
    notification `notifications/cancelled`
      grant `agent`, server `server`, session `session`, at 2026-01-01T00:30:00Z

    > 1  -  no entry applies

    decision  allow by no rule: it belongs to the protocol
    answer    the server's own
    record    "decision":"allow","rule":"","observed":false
    "#);
    insta::assert_snapshot!(render(&explained(Bytes::from_static(b"{\"id\":1,\"id\":2}"), 0, 0), false), @r#"
    message
      grant `agent`, server `server`, session `session`, at 2026-01-01T00:30:00Z

    decision  deny by malformed (malformed)
    reason    an object holds a key twice (at byte 8)
    answer    no JSON-RPC message, but the text `policyd: denied by policy: an object holds a key twice (at byte 8)`
    record    "decision":"deny","rule":"malformed","observed":false
    "#);
}

#[test]
fn programs_get_the_same() {
    let explanation = explained(simulation::call("pay", Some(r#"{ "currency": "usd", "amount": 0.10 }"#)), 1, 0);
    let value = json(&explanation);
    assert_eq!(
        (&value["decision"], &value["rule"], &value["listed"]),
        (&"allow".into(), &"/tools/pay".into(), &true.into())
    );
    assert_eq!(value["counters"][1], serde_json::json!({ "counter": "spend", "used": "0.2", "max": "20000" }));
    assert_eq!(value["steps"][1]["decided"], true);
    let deny_if = serde_json::json!({
        "step": "deny_if",
        "rule": "/tools/pay/deny_if/0",
        "decided": false,
        "holds": false,
        "timeout": null,
        "conditions": [
            {
                "condition": "args.items[].price gt 50000",
                "holds": false,
                "found": [{ "value": null, "answer": "absent" }]
            },
            {
                "condition": "grant.name neq \"boss\"",
                "holds": true,
                "found": [{ "value": "\"agent\"", "answer": "holds" }]
            }
        ]
    });
    assert_eq!(value["steps"][3], deny_if);
    let spend = serde_json::json!({
        "step": "limit",
        "rule": "/tools/pay/limits/0",
        "decided": false,
        "counter": "spend",
        "scope": "grant",
        "window": 86_400.0,
        "align": "rolling",
        "amount": "0.1",
        "before": "0.1",
        "after": "0.2",
        "max": "20000",
        "refuses": false,
        "room_in": 0.0
    });
    assert_eq!(value["steps"][6], spend);
}

#[test]
fn a_limit_that_is_full_besides_the_one_that_refuses_says_so() {
    let shown =
        render(&explained(simulation::call("pay", Some(r#"{ "currency": "usd", "amount": 6666 }"#)), 3, 0), false);
    assert!(shown.contains("> 7  /tools/pay/limits/0      the limit is reached\n"), "{shown}");
    assert!(shown.contains("  8  /tools/pay/limits/1      the limit is reached too\n"), "{shown}");
}

/// The daemon's side: the same messages, one after the other, on a store of their own.
struct Daemon {
    policy: Arc<Policy>,
    declared: Declared,
    memory: Memory,
}

impl Daemon {
    fn new(policy: &Arc<Policy>) -> Daemon {
        Daemon { policy: Arc::clone(policy), declared: declared(), memory: Memory::default() }
    }

    fn decide(&self, sent: &Sent, now: Now) -> Verdict {
        let mut parser = Parser::default();
        let message = vet(&mut parser, &sent.body).unwrap();
        let grant = Grant {
            name: sent.caller.grant.clone().unwrap(),
            who: Who::default(),
            server: sent.caller.server.clone(),
            policy_path: PathBuf::new(),
            policy: Arc::clone(&self.policy),
        };
        let context = Context {
            grant: Some(&grant),
            server: &sent.caller.server,
            session: &sent.caller.session,
            identity: &sent.caller.identity,
            schemas: &self.declared,
            now,
        };
        decide(&context, sent.direction, &message, &self.memory)
    }
}

/// Decision, rule, reason, counters, as records have them.
type Said = (&'static str, String, Option<String>, Vec<String>);

/// Without the zeros behind the point: what was given back leaves them.
fn numbers(counters: &CounterStates) -> Vec<String> {
    counters.iter().map(|state| format!("{} {}/{}", state.counter, state.used.normalize(), state.max)).collect()
}

fn said(verdict: Verdict, unsent: bool) -> Said {
    let denial = match &verdict.decision {
        policy::Decision::Deny(denial) => Some(denial),
        policy::Decision::Allow(_) => verdict.observed.as_ref(),
    };
    let word = match denial {
        None => "allow",
        Some(denial) if denial.rule.kind == policy::RuleKind::Approval => "approve",
        Some(_) => "deny",
    };
    let (reason, counters) = (denial.map(|denial| denial.reason.clone()), numbers(&verdict.counters));
    let said = (word, verdict.rule.pointer.to_string(), reason, counters);
    if let (policy::Decision::Allow(permit), true) = (verdict.decision, unsent) {
        permit.redeem().1.give_back();
    }
    said
}

fn explain_said(simulation: &mut Simulation, sent: &Sent, now: Now) -> (Said, Option<String>) {
    let mut steps = Steps::with_room(Arc::clone(simulation.memory()), now);
    let ruling = simulation.decide(&sent.caller, sent.direction, &sent.body, now, &mut steps);
    let deciding = steps.deciding(&ruling).map(|index| steps.steps[index].rule().unwrap_or("/default").to_owned());
    let said = (
        ruling.decision.word(),
        ruling.rule.pointer.to_string(),
        ruling.reason().map(str::to_owned),
        numbers(&ruling.counters),
    );
    if sent.unsent {
        ruling.reservation.give_back();
    }
    (said, deciding)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Call by call, on counters that both keep; that the explanation asks for more than the daemon changes nothing.
    #[test]
    fn explain_and_the_daemon_agree(policy in policies(), sequence in sequences()) {
        let policy = load(&policy, "enforce");
        let mut simulation = Simulation::new(Arc::clone(&policy), declared());
        let daemon = Daemon::new(&policy);
        let mut time = 0;
        for sent in &sequence {
            time += sent.after * 1_000_000;
            let now = Now { time: Time(time), utc: AT + time };
            let (explained, deciding) = explain_said(&mut simulation, sent, now);
            let decided = said(daemon.decide(sent, now), sent.unsent);
            prop_assert_eq!(&explained, &decided);
            // The step that is marked is the rule that is recorded.
            let marked = deciding.unwrap_or_default();
            prop_assert!(marked == decided.1 || (marked == "/default" && decided.1.is_empty()), "{} {}", marked, decided.1);
        }
    }

    #[test]
    fn observe_and_enforce_report_the_same_decisions(policy in policies(), sequence in sequences()) {
        let daemons = ["enforce", "observe"].map(|mode| Daemon::new(&load(&policy, mode)));
        let mut time = 0;
        for sent in &sequence {
            time += sent.after * 1_000_000;
            let now = Now { time: Time(time), utc: AT + time };
            let [enforced, observed] = daemons.each_ref().map(|daemon| daemon.decide(sent, now));
            prop_assert!(matches!(observed.decision, policy::Decision::Allow(_)), "observing refuses nothing");
            prop_assert_eq!(said(enforced, sent.unsent), said(observed, sent.unsent));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// On equal counters: a denial that is new leaves its quota to later calls.
    #[test]
    fn one_more_deny_if_never_allows_more(
        policy in policies(),
        conditions in prop::collection::vec(condition(), 0..2),
        sequence in sequences(),
    ) {
        let stricter = load(&with_deny_if(&policy, &conditions), "enforce");
        let policy = load(&policy, "enforce");
        let now = Now { time: Time(0), utc: AT };
        for sent in &sequence {
            let [before, after] = [&policy, &stricter].map(|policy| said(Daemon::new(policy).decide(sent, now), false));
            prop_assert!(before.0 == "allow" || after.0 != "allow", "{:?} became {:?}", before, after);
        }
    }
}

#[test]
fn a_refused_call_before_counts_as_refused() {
    let explanation = explained(simulation::call("pay", Some(r#"{ "currency": "usd", "amount": 1 }"#)), 5, 0);
    assert_eq!((explanation.ruling.decision, explanation.refused_before), (Decision::Deny, 2));
}
