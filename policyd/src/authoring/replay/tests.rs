use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::Registry;
use proptest::prelude::*;

use super::*;
use crate::audit::{Admin, Count, Key, Log};
use crate::authoring::testing::{Sent, declared, load, policies, sequences};
use crate::config;
use crate::mcp::json::Parser;
use crate::mcp::vet;
use crate::policy::{self, Direction};
use crate::telemetry::{CallIds, Decided as Written, Effect, Finished, Telemetry};

/// 2026-01-01T00:30:00Z.
const START: u64 = 1_767_227_400_000_000_000;

/// The log that the daemon's writer makes of these messages under a policy.
fn written(policy: &Arc<Policy>, sequence: &[Sent], arguments: bool) -> String {
    written_with(policy, sequence, arguments, None)
}

/// The same; before the message of that number, the counters that are selected begin anew.
fn written_with(policy: &Arc<Policy>, sequence: &[Sent], arguments: bool, reset: Option<(usize, &Selector)>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let telemetry = Telemetry::new(Registry::new(), None).unwrap();
    let audit = config::Audit { path: Some(path.clone()), arguments };
    let log = Log::open(&audit, &Key::ephemeral().unwrap(), &telemetry).unwrap();
    let (mut writer, ids) = (log.writer(), CallIds::new().unwrap());
    let mut simulation = Simulation::new(Arc::clone(policy), declared());
    let mut time = 0;
    for (number, sent) in sequence.iter().enumerate() {
        time += sent.after * 1_000_000;
        let now = Now { time: Time(time), utc: START + time };
        let at: SystemTime = UNIX_EPOCH + Duration::from_nanos(now.utc);
        if let Some((_, selector)) = reset.filter(|(before, _)| *before == number) {
            let text = serde_json::to_vec(selector).unwrap();
            let reset = simulation.memory().reset(selector, |counters| {
                let action = "counters.reset";
                writer
                    .admin(&Admin {
                        at,
                        action,
                        selector: &text,
                        count: Count::Counters(counters),
                        uid: 0,
                        pid: Some(1),
                    })
                    .unwrap();
                Ok::<_, Refused>(())
            });
            reset.unwrap();
        }
        let ruling = simulation.decide(&sent.caller, sent.direction, &sent.body, now, &mut ());
        let mut parser = Parser::default();
        let message = vet(&mut parser, &sent.body).unwrap();
        // As the proxy records it.
        let of_agent = sent.direction == Direction::ToServer;
        let passes = ruling.denial.is_none() || ruling.lifted;
        let call = ids.next();
        let decided = Written {
            call,
            at,
            identity: &sent.caller.identity,
            grant: sent.caller.grant.as_deref(),
            server: &sent.caller.server,
            direction: sent.direction,
            method: message.method(),
            tool: message.tool().filter(|_| of_agent),
            effect: if passes { Effect::Allow } else { Effect::Deny },
            rule: &ruling.rule,
            reason: ruling.reason(),
            observed: ruling.lifted,
            counters: &ruling.counters,
            session: Some(&sent.caller.session),
            protocol_version: None,
            arguments: message.arguments().filter(|_| of_agent).map(|arguments| arguments.raw().as_bytes()),
            took: Duration::from_nanos(700),
        };
        writer.decision(&decided).unwrap();
        let finished = Finished {
            call,
            at,
            server: &sent.caller.server,
            status: passes.then_some(200),
            bytes_in: 1,
            bytes_out: 1,
            took: Duration::from_nanos(1),
            returned: sent.unsent,
            error: None,
        };
        writer.outcome(&finished);
        writer.flush().unwrap();
        if sent.unsent {
            ruling.reservation.give_back();
        }
    }
    fs::read_to_string(&path).unwrap()
}

fn replayed(policy: &Arc<Policy>, log: &str, filter: Filter) -> Replay {
    let mut replay = Replay::new(Arc::clone(policy), Some(declared()), filter, 2);
    let mut parser = Parser::default();
    for line in log.lines() {
        replay.record(&Record::parse(&mut parser, line.as_bytes()).unwrap_or_else(|why| panic!("{why}: {line}")));
    }
    replay
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// What the daemon writes about its decisions is enough to come to them again.
    #[test]
    fn a_log_under_its_own_policy_shows_no_difference(
        policy in policies(),
        sequence in sequences(),
        arguments in any::<bool>(),
        mode in prop::sample::select(vec!["enforce", "observe"]),
    ) {
        let policy = load(&policy, mode);
        let replay = replayed(&policy, &written(&policy, &sequence, arguments), Filter::default());
        prop_assert_eq!(replay.changes(), vec![]);
        prop_assert_eq!(replay.totals.judged, sequence.len() as u64);
        prop_assert_eq!((replay.totals.others, replay.totals.untold), (0, 0));
        if arguments {
            let is_call = |sent: &&Sent| sent.direction == Direction::ToServer && sent.body.windows(10).any(|part| part == b"tools/call");
            let others = sequence.len() - sequence.iter().filter(is_call).count();
            prop_assert!(replay.totals.assumed <= others as u64, "only params of other requests are not known");
        }
    }

    /// Nor do resets.
    #[test]
    fn counters_that_were_reset_are_reset_again(
        policy in policies(),
        sequence in sequences(),
        number in any::<prop::sample::Index>(),
        selector in prop::sample::select(vec![
            r#"{"all":true}"#,
            r#"{"counter":"calls"}"#,
            r#"{"scope":"session"}"#,
            r#"{"grant":"first","server":"a"}"#,
            r#"{"session":"one"}"#,
        ]),
    ) {
        let policy = load(&policy, "enforce");
        let selector: Selector = serde_json::from_str(selector).unwrap();
        // The log has a session's hash, which stands for its id from there on.
        let log = written_with(&policy, &sequence, true, Some((number.index(sequence.len()), &selector)));
        let hash = |id: &str| {
            let mut found = None;
            for (sent, line) in sequence.iter().zip(log.lines().filter(|line| line.contains("\"decision\","))) {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                if sent.caller.session == id {
                    found = value["session"].as_str().map(str::to_owned);
                }
            }
            found
        };
        let log = match hash("one") {
            Some(hash) => log.replace(r#""session":"one""#, &format!(r#""session":"{hash}""#)),
            None => log,
        };
        let replay = replayed(&policy, &log, Filter::default());
        prop_assert_eq!(replay.changes(), vec![]);
        prop_assert_eq!(replay.totals.resets, 1);
    }

    /// Nothing in a line can do harm.
    #[test]
    fn any_line_is_a_record_or_none(line in ".{0,200}", cut in 0..400usize) {
        let mut parser = Parser::default();
        let _ = Record::parse(&mut parser, line.as_bytes());
        let whole = decision("pay", "allow", "/tools/pay", "tool", "1970-01-01T00:00:00Z", "{}");
        prop_assert!(Record::parse(&mut parser, &whole.as_bytes()[..cut.min(whole.len() - 1)]).is_err());
    }
}

/// A record as the writer makes it. `arguments`: the part of the line that says them.
fn record(tool: &str, decision: &str, rule: &str, kind: &str, time: &str, arguments: &str) -> String {
    format!(
        r#"{{"record":"decision","time":"{time}","call":"{tool}-{time}","identity":{{"pid":7,"uid":1000,"user":"joe","exe":null,"cgroup":"/","unit":null}},"grant":"office","server":"shop","method":"tools/call","tool":"{tool}","decision":"{decision}","rule":"{rule}","rule_kind":"{kind}","reason":null,"observed":false,"counters":[],"session":"5e55","protocol_version":null,{arguments},"decision_us":1}}"#
    )
}

fn decision(tool: &str, decision: &str, rule: &str, kind: &str, time: &str, arguments: &str) -> String {
    record(tool, decision, rule, kind, time, &format!(r#""arguments_hmac":"ab","arguments":{arguments}"#))
}

fn policy(text: &str) -> Arc<Policy> {
    Arc::new(Policy::load("policy.json", text).unwrap_or_else(|report| panic!("{}", report.render(false))))
}

const OTHER: &str = r#"{ "version": "1", "default": "deny", "tools": {
    "search": { "limits": [ { "counter": "searches", "window": "minute", "max": 2 } ] },
    "s*": {},
    "pay": { "deny_if": [ { "conditions": [ { "path": "args.amount", "op": "gt", "value": 100 } ] } ],
             "approve_if": [ { "conditions": [ { "path": "args.amount", "op": "gt", "value": 50 } ] } ] } } }"#;

fn log() -> String {
    let at = |second: u32| format!("2026-01-01T00:00:{second:02}.500000Z");
    let call = |tool: &str, second, arguments: &str| {
        decision(tool, "allow", &format!("/tools/{tool}"), "tool", &at(second), arguments)
    };
    let unknown = r#""arguments_hmac":"ab""#;
    let mut lines: Vec<String> = (0..5).map(|second| call("search", second, "{}")).collect();
    lines.push(format!(
        r#"{{"record":"outcome","time":"{}","call":"search-{}","server":"shop","status":null,"bytes_in":1,"bytes_out":0,"latency_us":1,"quota_returned":true,"error":"upstream-refused"}}"#,
        at(5),
        at(1)
    ));
    lines.extend([
        call("search", 6, "{}"),
        call("pay", 7, r#"{"amount":200}"#),
        call("pay", 8, r#"{"amount":60}"#),
        call("pay", 9, r#"{"amount":1}"#),
        record("pay", "allow", "/tools/pay", "tool", &at(10), unknown),
        record("pay", "deny", "/tools/pay/deny_if/0", "deny-if", &at(11), unknown),
        record("pay", "deny", "/tools/pay/deny_if/9", "deny-if", &at(12), unknown),
        decision("sell", "allow", "/tools/sell", "tool", &at(13), "null"),
        decision("drop", "allow", "/default", "default", &at(14), "null"),
        decision("drop", "deny", "malformed", "malformed", &at(15), "null"),
        format!(r#"{{"record":"gap","time":"{}","missed":7}}"#, at(16)),
        call("search", 59, "{}").replace("\"office\"", "\"other\""),
    ]);
    lines.join("\n")
}

#[test]
fn differences_are_told_by_tool_and_rule() {
    let replay = replayed(&policy(OTHER), &log(), Filter::default());
    insta::assert_snapshot!(render(&replay, false), @r"
    other decisions
      search: allowed by /tools/search → denied by /tools/search/limits/0: 3 calls
          2026-01-01T00:00:02.5Z  call search-2026-01-01T00:00:02.500000Z  grant office  rate limit reached for tool `search`; try again in 58 s
          2026-01-01T00:00:03.5Z  call search-2026-01-01T00:00:03.500000Z  grant office  rate limit reached for tool `search`; try again in 57 s
      drop: allowed by /default → denied by /default: 1 call
          2026-01-01T00:00:14.5Z  call drop-2026-01-01T00:00:14.500000Z  grant office  tool `drop` is not allowed
      pay: allowed by /tools/pay → held for approval by /tools/pay/approve_if/0: 1 call
          2026-01-01T00:00:08.5Z  call pay-2026-01-01T00:00:08.500000Z  grant office  needs approval
      pay: allowed by /tools/pay → denied by /tools/pay/deny_if/0: 1 call
          2026-01-01T00:00:07.5Z  call pay-2026-01-01T00:00:07.500000Z  grant office  a `deny_if` rule of tool `pay` forbids this call
      pay: denied by /tools/pay/deny_if/9 → allowed by /tools/pay: 1 call (1 of them on assumptions)
          2026-01-01T00:00:12.5Z  call pay-2026-01-01T00:00:12.500000Z  grant office

    the same decision by another rule
      sell: allowed by /tools/sell → allowed by /tools/s*: 1 call
          2026-01-01T00:00:13.5Z  call sell-2026-01-01T00:00:13.500000Z  grant office

    15 decisions judged: 7 as recorded, 7 otherwise, 1 by another rule
      they are of 2 grants and 1 server: `--grant` and `--server` choose
      3 on assumptions: what the records do not say is taken to have let each rule that reads it decide as recorded, and limits do not count it; `audit.arguments = true` records arguments, `--tools` tells what the server declares
      1 not by a policy: malformed, without a grant, no message
      1 gap in the log: 7 records missing
    ");
    let value = json(&replay);
    assert_eq!((&value["judged"], &value["changed"], &value["moved"]), (&15.into(), &7.into(), &1.into()));
    let changed = serde_json::json!({
        "name": "pay",
        "recorded": { "decision": "allow", "rule": "/tools/pay" },
        "replayed": { "decision": "approve", "rule": "/tools/pay/approve_if/0" },
        "calls": 1,
        "assumed": 0,
        "examples": [ {
            "time": "2026-01-01T00:00:08.5Z",
            "call": "pay-2026-01-01T00:00:08.500000Z",
            "grant": "office",
            "reason": "needs approval"
        } ]
    });
    assert_eq!(value["changes"][2], changed);
    assert!(render(&replay, true).contains("\u{1b}[31mdenied by /tools/search/limits/0\u{1b}[0m"));
}

#[test]
fn what_agents_name_fills_no_memory() {
    let calls: Vec<String> = (0..MOST_GROUPS + 50)
        .map(|number| {
            let tool = format!("t{number}");
            decision(&tool, "allow", &format!("/tools/{tool}"), "tool", "2026-01-01T00:00:00Z", "{}")
        })
        .collect();
    let replay = replayed(&policy(OTHER), &calls.join("\n"), Filter::default());
    assert_eq!(replay.groups.len(), MOST_GROUPS + 1);
    let (others, group) = replay.changes()[0];
    assert_eq!((&*others.name, group.calls), ("(others)", 50));
    let shown = render(&replay, false);
    assert!(shown.lines().count() < 400 && shown.contains("and 9901 more, which `--json` shows"), "{shown}");
}

#[test]
fn filters_choose_and_what_came_before_still_counts() {
    let office = Filter { grant: Some("office".to_owned()), ..Filter::default() };
    let replay = replayed(&policy(OTHER), &log(), office.clone());
    assert_eq!((replay.totals.filtered, replay.totals.judged), (1, 14));
    let filter = Filter { since: times("2026-01-01T00:00:06Z"), until: times("2026-01-01T00:00:09Z"), ..office };
    let replay = replayed(&policy(OTHER), &log(), filter);
    assert_eq!((replay.totals.before, replay.totals.judged), (5, 3));
    // Two searches were admitted before, of which one was given back.
    let changes: Vec<_> = replay.changes().into_iter().map(|(change, _)| &*change.replayed.1).collect();
    assert_eq!(changes, ["/tools/pay/approve_if/0", "/tools/pay/deny_if/0"]);
    let server = Filter { server: Some("elsewhere".to_owned()), ..Filter::default() };
    assert_eq!(replayed(&policy(OTHER), &log(), server).totals.judged, 0);
}

fn times(text: &str) -> Option<u64> {
    Some(crate::authoring::times::instant(text).unwrap())
}

#[test]
fn a_late_record_does_not_turn_time_back() {
    let strict = policy(
        r#"{ "version": "1", "default": "deny", "tools": { "t": { "limits": [
            { "counter": "c", "window": "minute", "max": 1, "align": "calendar" } ] } } }"#,
    );
    let call = |time| decision("t", "allow", "/tools/t", "tool", time, "{}");
    let log = [call("2026-01-01T00:01:00Z"), call("2026-01-01T00:00:59.999Z")].join("\n");
    let replay = replayed(&strict, &log, Filter::default());
    assert_eq!(replay.totals.changed, 1, "the second counts as of the same minute");
}

/// A call under a limit of one an hour, twice; between them somebody resets counters.
#[test]
fn a_reset_makes_room_where_it_did() {
    let limited = policy(
        r#"{ "version": "1", "default": "deny", "tools": { "t": { "limits": [
            { "counter": "c", "window": "hour", "max": 1 } ] } } }"#,
    );
    let sent = |after| Sent {
        after,
        caller: simulation::Caller::default(),
        direction: Direction::ToServer,
        body: simulation::call("t", None),
        unsent: false,
    };
    let sequence = [sent(0), sent(1_000)];
    for (selector, second) in [
        (r#"{"counter":"c"}"#, "/tools/t"),
        (r#"{"grant":"agent"}"#, "/tools/t"),
        (r#"{"counter":"d"}"#, "/tools/t/limits/0"),
        (r#"{"scope":"host"}"#, "/tools/t/limits/0"),
    ] {
        let selector: Selector = serde_json::from_str(selector).unwrap();
        let log = written_with(&limited, &sequence, true, Some((1, &selector)));
        assert_eq!(log.matches(&format!(r#""rule":"{second}","#)).count(), if second == "/tools/t" { 2 } else { 1 });
        let replay = replayed(&limited, &log, Filter::default());
        assert_eq!((replay.changes(), replay.totals.resets), (vec![], 1), "{selector:?}");
        let without: Vec<&str> = log.lines().filter(|line| !line.contains(r#""record":"admin""#)).collect();
        let changed = u64::from(second == "/tools/t");
        assert_eq!(replayed(&limited, &without.join("\n"), Filter::default()).totals.changed, changed);
        // A reset after the end of what is looked at is none of it.
        let filter = Filter { until: Some(START + 1), ..Filter::default() };
        assert_eq!(replayed(&limited, &log, filter).totals.resets, 0);
        assert!(render(&replay, false).contains("  1 reset of counters, repeated here\n"));
    }
    let line =
        r#"{"record":"admin","time":"2026-01-01T00:00:00Z","action":"other","selector":{},"counters":0,"uid":0}"#;
    assert_eq!(replayed(&limited, line, Filter::default()).totals, Totals::default(), "nothing of counters");
}

#[test]
fn what_servers_ask_is_judged_as_theirs() {
    let strict = policy(r#"{ "version": "1", "default": "deny", "methods": { "sampling/*": {} } }"#);
    let asked = |method: &str, rule: &str| {
        // Each at a time of its own: a record that is there twice counts once.
        let at = if method == "tools/call" { "2026-01-01T00:00:01Z" } else { "2026-01-01T00:00:00Z" };
        record("t", "allow", rule, "default", at, r#""arguments_hmac":null"#)
            .replace(r#""tool":"t""#, r#""tool":null"#)
            .replace("\"method\":\"tools/call\"", &format!(r#""direction":"to-agent","method":"{method}""#))
    };
    let log = [asked("sampling/createMessage", "/methods/sampling~1*"), asked("tools/call", "/default")].join("\n");
    let replay = replayed(&strict, &log, Filter::default());
    assert_eq!((replay.totals.judged, replay.totals.changed), (2, 1));
    let (change, _) = replay.changes()[0];
    assert_eq!((&*change.name, &*change.replayed.1), ("tools/call", "/default"));
    // An agent that calls a tool without a name sends no message that a policy judges.
    let of_agent = asked("tools/call", "/default").replace("to-agent", "to-server");
    assert_eq!(replayed(&strict, &of_agent, Filter::default()).totals.others, 1);
}

#[test]
fn what_is_no_record_says_why() {
    let good = decision("t", "allow", "/tools/t", "tool", "2026-01-01T00:00:00Z", "{}");
    for (line, why) in [
        ("", "this is no record: the body is empty (at byte 0)"),
        ("[]", "this is no record: it is no object"),
        ("{}", "`time` is missing"),
        (&good.replace("2026-01-01T", "yesterday "), "`time` is no instant: `yesterday 00:00:00Z`"),
        (&good.replace("\"decision\",", "\"verdict\","), "there is no record `verdict`"),
        (&good.replace("\"allow\"", "\"maybe\""), "there is no decision `maybe`"),
        (&good.replace("\"method\"", "\"direction\":\"up\",\"method\""), "there is no direction `up`"),
        (
            r#"{"record":"admin","time":"2026-01-01T00:00:00Z","action":"counters.reset","selector":{"grand":"a"}}"#,
            "`selector` selects no counters: unknown field `grand`, expected one of `all`, `scope`, `grant`, `server`, `session`, `counter` at line 1 column 8",
        ),
        (&good.replace("\"uid\":1000,", ""), "`identity.uid` is missing"),
        (&good.replace("\"rule_kind\"", "\"kind\""), "`rule_kind` is missing"),
        (&good[..40], "this is no record: the body ends inside a JSON value (at byte 40)"),
    ] {
        assert_eq!(Record::parse(&mut Parser::default(), line.as_bytes()), Err(why.to_owned()), "{line}");
    }
}

#[test]
fn what_no_policy_decided_is_left_alone() {
    let allow = policy(r#"{ "version": "1", "default": "deny" }"#);
    let at = "2026-01-01T00:00:00Z";
    let lines = [
        decision("t", "deny", "no-grant", "no-grant", at, "null").replace("\"office\"", "null"),
        decision("u", "deny", "audit-unavailable", "audit-unavailable", at, "null"),
        // A stream of the server's messages, and a response.
        record("v", "allow", "", "protocol", at, r#""arguments_hmac":null"#)
            .replace("\"v\"", "null")
            .replace("tools/call", "GET"),
        record("w", "allow", "", "protocol", at, r#""arguments_hmac":null"#)
            .replace("\"w\"", "null")
            .replace("\"tools/call\"", "null"),
    ];
    let replay = replayed(&allow, &lines.join("\n"), Filter::default());
    assert_eq!((replay.totals.others, replay.totals.judged), (4, 0));
    let cut = "x".repeat(1024) + "…";
    let replay = replayed(&allow, &decision(&cut, "deny", "/default", "default", at, "{}"), Filter::default());
    assert_eq!((replay.totals.untold, replay.totals.judged), (1, 0));
}

#[test]
fn quota_that_waits_for_an_outcome_is_bounded() {
    let mut held = Held::default();
    let memory = Memory::default();
    let reserve = || {
        let key = policy::CounterKey { scope: policy::ScopeKey::Host, name: "c", own: false };
        let want = policy::Want {
            counter: key,
            window: policy::Window::Rolling(1),
            windows: &[],
            max: 1_000_000.into(),
            amount: 1.into(),
            used: 0.into(),
        };
        policy::Counters::reserve(&memory, &mut [want], Now::default()).unwrap()
    };
    for number in 0..MOST_HELD + 10 {
        held.put(&number.to_string(), reserve());
    }
    assert_eq!((held.reservations.len(), held.order.len()), (MOST_HELD, MOST_HELD));
    assert!(held.take("9").is_none() && held.take("10").is_some());
}

#[test]
fn what_is_there_twice_or_late_is_told() {
    let allow = policy(r#"{ "version": "1", "default": "deny", "tools": { "t": {} } }"#);
    let at = |time: &str| decision("t", "allow", "/tools/t", "tool", time, "{}");
    let gap = r#"{"record":"gap","time":"2026-01-01T00:00:03Z","missed":2}"#.to_owned();
    let log = [at("2026-01-01T00:00:02Z"), at("2026-01-01T00:00:02Z"), gap.clone(), gap];
    let totals = replayed(&allow, &log.join("\n"), Filter::default()).totals;
    assert_eq!(totals, Totals { judged: 1, gaps: 1, missed: 2, repeated: 2, ..Totals::default() });
    // Threads write a little out of order; that is nothing to tell.
    let log = ["2026-01-01T00:00:02Z", "2026-01-01T00:00:01Z", "2026-01-01T00:00:00.999999Z"].map(at);
    let replay = replayed(&allow, &log.join("\n"), Filter::default());
    assert_eq!(replay.totals, Totals { judged: 3, late: 1, ..Totals::default() });
    assert_eq!(replay.totals.doubts(), ["1 decision out of order"]);
    assert!(render(&replay, false).contains("  1 decision out of order: counted at the time of the latest before\n"));
}
