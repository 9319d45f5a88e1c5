//! What a policy does to calls: the rules in their order, with time as an argument.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rust_decimal::Decimal;

use super::judge::{Judgement, Refusal, Request, judge};
use super::*;
use crate::capture::identity::Identity;
use crate::config::OtherPaths;
use crate::mcp::json::Parser;
use crate::mcp::vet;
use crate::state::Memory;

mod lists;
mod operators;
mod properties;
mod servers;
mod shipped;
mod whole;

/// A grant under a policy, and the store behind it.
struct World {
    grant: Grant,
    memory: Arc<Memory>,
}

/// What a call came to.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// `None`: allowed.
    denied: Option<Denial>,
    rule: String,
}

impl World {
    fn new(policy: &str) -> World {
        let policy = Policy::load("policy.json", policy).unwrap_or_else(|report| panic!("{}", report.render(false)));
        let grant = Grant {
            name: "office".into(),
            who: Who::default(),
            server: "server".into(),
            policy_path: PathBuf::from("policy.json"),
            policy: Arc::new(policy),
        };
        World { grant, memory: Arc::default() }
    }

    /// Another grant of the same store.
    fn granted(&self, name: &str, policy: &str) -> World {
        let mut other = World::new(policy);
        other.grant.name = name.into();
        World { memory: self.memory.clone(), ..other }
    }

    /// Judges the bytes of a message from the agent.
    fn judge(&self, body: &str, session: &str, server: &str, seconds: f64) -> Judgement {
        self.judge_with(body, session, server, seconds, &*self.memory)
    }

    fn judge_with(&self, body: &str, session: &str, server: &str, seconds: f64, counters: &impl Counters) -> Judgement {
        let (mut parser, body) = (Parser::default(), Bytes::from(body.to_owned()));
        let message = vet(&mut parser, &body).unwrap_or_else(|malformed| panic!("{body:?}: {malformed}"));
        let context = Context {
            grant: Some(&self.grant),
            server,
            session,
            identity: &identity(),
            schemas: &(),
            now: Now::at(Time::default().after(Duration::from_secs_f64(seconds))),
        };
        judge(&context, &Request::of(Direction::ToServer, &message), counters, &mut ())
    }

    fn unlists(&self, tool: &str) -> bool {
        let identity = identity();
        self.grant
            .policy
            .unlists(tool, &Lister { grant: &self.grant.name, server: "server", identity: &identity, schemas: &() })
    }

    fn call(&self, tool: &str, seconds: f64) -> Outcome {
        self.call_with(tool, "{}", seconds)
    }

    fn call_with(&self, tool: &str, arguments: &str, seconds: f64) -> Outcome {
        let judgement = self.judge(&tools_call(tool, arguments), "session", "server", seconds);
        Outcome { rule: judgement.rule.pointer.to_string(), denied: judgement.refusal.map(|refusal| refusal.denial) }
    }
}

impl Outcome {
    fn reason(&self) -> &str {
        self.denied.as_ref().map_or("allowed", |denial| &denial.reason)
    }
}

fn identity() -> Identity {
    Identity { uid: 1000, user: Some("ann".into()), cgroup: "/agents".into(), ..Identity::default() }
}

fn tools_call(tool: &str, arguments: &str) -> String {
    let tool = serde_json::to_string(tool).expect("a string");
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{tool},"arguments":{arguments}}}}}"#)
}

#[test]
fn the_first_rule_that_denies_wins() {
    let world = World::new(
        r#"{ "version": "1", "default": "deny", "hide": ["secret", "admin.*"],
            "all_tools": { "limits": [ { "counter": "calls", "window": "minute", "max": 3 } ] },
            "tools": {
              "secret": {}, "search": {}, "s/~*": {},
              "drop": { "action": "deny", "reason": "Never from an agent." },
              "stop": { "action": "deny", "rate_limit": { "max": 5, "window": 60 } },
              "slow": { "limits": [ { "counter": "slow", "window": "hour", "max": 1, "on_deny": "Once an hour." } ],
                        "rate_limit": { "max": 1, "window": "day" } } } }"#,
    );
    for (tool, rule, reason, reply) in [
        ("secret", "/hide/0", "tool `secret` is hidden", Reply::UnknownTool),
        ("admin.x", "/hide/1", "tool `admin.x` is hidden", Reply::UnknownTool),
        ("other", "/default", "tool `other` is not allowed", Reply::Result),
        ("drop", "/tools/drop/action", "Never from an agent.", Reply::Result),
        ("stop", "/tools/stop/action", "tool `stop` is not allowed", Reply::Result),
    ] {
        let outcome = world.call(tool, 0.0);
        let denial = outcome.denied.expect(tool);
        assert_eq!((outcome.rule.as_str(), &*denial.reason, denial.reply), (rule, reason, reply));
        assert_eq!(&*denial.rule.pointer, rule);
    }
    // None of these used anything of the three calls a minute.
    assert_eq!(world.call("slow", 0.0), Outcome { denied: None, rule: "/tools/slow".into() });
    let second = world.call("slow", 1.0);
    assert_eq!((second.reason(), second.rule.as_str()), ("Once an hour. Try again in 86399 s", "/tools/slow/limits/0"));
    assert_eq!(world.call("search", 2.0).reason(), "allowed");
    assert_eq!(world.call("s/~x", 2.0).rule, "/tools/s~1~0*");
    let fourth = world.call("search", 2.5);
    assert_eq!(fourth.reason(), "rate limit reached for tool `search`; try again in 58 s");
    assert_eq!(fourth.rule, "/all_tools/limits/0");
    assert_eq!(fourth.denied.expect("denied").retry_after, Some(Duration::from_millis(57_500)));
}

#[test]
fn all_tools_holds_for_what_the_default_allows() {
    let world = World::new(
        r#"{ "version": "1", "default": "allow", "tools": {},
            "all_tools": { "limits": [ { "counter": "calls", "window": "60s", "max": 1 } ] } }"#,
    );
    assert_eq!(world.call("a", 0.0), Outcome { denied: None, rule: "/default".into() });
    assert_eq!(world.call("b", 0.0).rule, "/all_tools/limits/0");
    assert_eq!(world.call("b", 60.0).reason(), "allowed");
}

#[test]
fn amounts_are_counted_exactly_as_written() {
    let world = World::new(
        r#"{ "version": "1", "default": "deny", "tools": { "pay": { "limits": [
            { "counter": "spend", "window": "day", "max": 1.0, "increment_from": "args.order.amount" } ] } } }"#,
    );
    let pay = |amount: &str| world.call_with("pay", &format!(r#"{{ "order": {{ "amount": {amount} }} }}"#), 0.0);
    for _ in 0..9 {
        assert_eq!(pay("0.1").reason(), "allowed");
    }
    assert_eq!(pay("0.1000000000000000000000000001").reason(), "limit reached for tool `pay`; try again in 86400 s");
    assert_eq!(pay("1e-1").reason(), "allowed", "ten times 0.1 is 1, not 0.9999999999999999");
    assert_eq!(pay("0").reason(), "allowed");
    assert_eq!(pay("2").reason(), "limit reached for tool `pay`", "no use in trying that again");
    let uncountable = "the amount that limits tool `pay` is missing or cannot be counted";
    for amount in
        ["-0.1", "-1e-5", "\"1\"", "null", "true", "[1]", "{}", "1e40", "1e-40", "79228162514264337593543950336"]
    {
        let outcome = pay(amount);
        assert_eq!((outcome.reason(), outcome.rule.as_str()), (uncountable, "/tools/pay/limits/0"), "{amount}");
    }
    for arguments in ["{}", r#"{"order": 1}"#, r#"{"Order": {"amount": 1}}"#] {
        assert_eq!(world.call_with("pay", arguments, 0.0).reason(), uncountable);
    }
    // Full of digits, the sum of both cannot be kept exactly: refused, not rounded.
    assert_eq!(
        pay("0.0000000000000000000000000001").denied.expect("denied").retry_after,
        Some(Duration::from_secs(86_400))
    );
}

#[test]
fn scopes_share_what_they_say() {
    let policy = |scope: &str| {
        format!(
            r#"{{ "version": "1", "default": "deny", "tools": {{ "t": {{ "limits":
                [ {{ "counter": "{scope}", "window": "minute", "max": 1, "scope": "{scope}" }} ] }} }} }}"#
        )
    };
    // Whether a second call fits after the first: of another session, grant, server.
    for (scope, session, grant, server) in [
        ("grant", false, true, true),
        ("session", true, true, true),
        ("server", false, false, true),
        ("host", false, false, false),
        ("global", false, false, false),
    ] {
        let world = World::new(&policy(scope));
        let call = |world: &World, session: &str, server: &str| {
            world.judge(&tools_call("t", "{}"), session, server, 0.0).refusal.is_none()
        };
        assert!(call(&world, "s1", "a"));
        assert!(!call(&world, "s1", "a"), "{scope}");
        assert_eq!(call(&world, "s2", "a"), session, "{scope}: another session");
        assert_eq!(call(&world.granted("other", &policy(scope)), "s1", "a"), grant, "{scope}: another grant");
        assert_eq!(call(&world, "s1", "b"), server, "{scope}: another server");
    }
}

#[test]
fn a_reload_loses_no_counter() {
    let limits = |max: u32| {
        format!(
            r#"{{ "version": "1", "default": "deny", "tools": {{
                "t": {{ "limits": [ {{ "counter": "c", "window": "minute", "max": {max} }} ] }},
                "u": {{ "rate_limit": {{ "max": {max}, "window": 60 }} }} }} }}"#
        )
    };
    let world = World::new(&limits(1));
    assert_eq!((world.call("t", 0.0).reason(), world.call("u", 0.0).reason()), ("allowed", "allowed"));
    let reloaded = world.granted("office", &limits(2));
    for tool in ["t", "u"] {
        assert_eq!(reloaded.call(tool, 1.0).reason(), "allowed", "{tool}");
        assert!(reloaded.call(tool, 1.0).denied.is_some(), "{tool}: the first call still counts");
    }
}

#[test]
fn a_counter_counts_for_every_window_that_the_policy_has_on_it() {
    let world = World::new(
        r#"{ "version": "1", "default": "deny", "tools": {
            "search": { "limits": [ { "counter": "calls", "window": "minute", "max": 10 } ] },
            "export": { "limits": [ { "counter": "calls", "window": "day", "max": 100 } ] } } }"#,
    );
    for call in 0..600_u32 {
        assert_eq!(world.call("search", f64::from(call * 61)).reason(), "allowed");
    }
    assert_eq!(world.call("export", 600.0 * 61.0).rule, "/tools/export/limits/0");
}

#[test]
fn what_is_given_back_can_be_used_again() {
    let world = World::new(
        r#"{ "version": "1", "default": "deny", "tools": { "t": { "rate_limit": { "max": 1, "window": 60 } } } }"#,
    );
    let call = tools_call("t", "{}");
    let judgement = world.judge(&call, "s", "server", 0.0);
    assert_eq!(judgement.counters[0].counter.as_ref(), "/tools/t/rate_limit");
    assert_eq!((judgement.counters[0].used, judgement.counters[0].max), (Decimal::ONE, Decimal::ONE));
    assert!(world.judge(&call, "s", "server", 1.0).refusal.is_some());
    judgement.reservation.give_back();
    assert!(world.judge(&call, "s", "server", 1.0).refusal.is_none());
}

#[test]
fn plumbing_passes_and_data_follows_the_default() {
    for (default, data) in [("deny", false), ("allow", true)] {
        let world = World::new(&format!(r#"{{ "version": "1", "default": "{default}" }}"#));
        let passes = |body: &str| world.judge(body, "s", "server", 0.0).refusal.is_none();
        for method in ["initialize", "ping", "tools/list", "resources/templates/list", "server/discover"] {
            assert!(passes(&request(method)), "{method}");
        }
        for method in ["resources/read", "prompts/get", "completion/complete", "tasks/result", "tools/calls", "x/y"] {
            assert_eq!(passes(&request(method)), data, "{method}");
        }
        assert!(passes(RESPONSE));
        assert!(passes(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#));
        assert!(!passes(r#"{"jsonrpc":"2.0","method":"resources/read"}"#), "a request without an id");
    }
    let world = World::new(r#"{ "version": "1", "default": "deny" }"#);
    let refusal = world.judge(&request("resources/read"), "s", "server", 0.0).refusal.expect("denied");
    assert_eq!((&*refusal.denial.reason, refusal.denial.reply), ("`resources/read` is not allowed", Reply::Error));
}

const RESPONSE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

fn request(method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#)
}

#[test]
fn without_a_grant_nothing_passes() {
    for (body, reply) in [
        (&*tools_call("t", "{}"), Reply::Result),
        (&request("initialize"), Reply::Error),
        (&request("resources/read"), Reply::Error),
        (RESPONSE, Reply::Drop),
        (r#"{"jsonrpc":"2.0","method":"x"}"#, Reply::Drop),
    ] {
        let (mut parser, body) = (Parser::default(), Bytes::from(body.to_owned()));
        let message = vet(&mut parser, &body).expect("well-formed");
        let context = Context {
            grant: None,
            server: "server",
            session: "s",
            identity: &identity(),
            schemas: &(),
            now: Now::default(),
        };
        let verdict = decide(&context, Direction::ToServer, &message, &Memory::default());
        let Decision::Deny(denial) = verdict.decision else { panic!("{body:?} passes") };
        assert_eq!((&*denial.rule.pointer, denial.rule.kind), ("no-grant", RuleKind::NoGrant));
        assert_eq!((denial.reply, verdict.observed), (reply, None), "{body:?}");
    }
}

#[test]
fn a_passage_needs_a_grant_at_the_endpoint_only() {
    let world = World::new(r#"{ "version": "1", "default": "deny" }"#);
    let rule = |grant, target| passage(grant, target).map(drop).map_err(|denial| denial.rule.pointer.to_string());
    for grant in [None, Some(&world.grant)] {
        let endpoint = if grant.is_some() { Ok(()) } else { Err("no-grant".to_owned()) };
        assert_eq!(rule(grant, Target::Endpoint), endpoint);
        assert_eq!(rule(grant, Target::OtherPath(OtherPaths::Pass)), Ok(()));
        assert_eq!(rule(grant, Target::OtherPath(OtherPaths::Refuse)), Err("other-paths".to_owned()));
    }
}

/// A store that cannot be asked.
struct Gone;

impl Counters for Gone {
    fn reserve(&self, _: &mut [Want<'_>], _: Now) -> Result<Reservation, Refused> {
        Err(Refused::Unavailable)
    }
}

#[test]
fn a_store_that_cannot_be_asked_denies_even_when_observing() {
    for mode in ["enforce", "observe"] {
        let world = World::new(&format!(
            r#"{{ "version": "1", "default": "allow", "mode": "{mode}",
                "tools": {{ "t": {{ "rate_limit": {{ "max": 1, "window": 60 }} }} }} }}"#
        ));
        let judge = |tool| world.judge_with(&tools_call(tool, "{}"), "s", "server", 0.0, &Gone).refusal;
        let refusal = judge("t").expect("denied");
        assert_eq!((refusal.denial.rule.kind, refusal.lifted), (RuleKind::StateUnavailable, false));
        assert!(judge("without limits").is_none(), "it needs no store");
    }
}

/// Tools that are what their names say.
struct Named;

impl Schemas for Named {
    fn declared(&self, _: &str, _: &str) -> Option<Arc<Schema>> {
        None
    }

    fn standing(&self, _: &str, tool: &str) -> Standing {
        match tool {
            "accepted" => Standing::Accepted,
            "new" => Standing::New,
            "unclear" => Standing::Unclear,
            "unlisted" => Standing::Unlisted,
            _ => Standing::Changed,
        }
    }
}

#[test]
fn a_tool_that_changes_is_refused_where_the_policy_says_so() {
    let identity = identity();
    let judge = |rest: &str, body: &str| {
        let world = World::new(&format!(r#"{{ "version": "1", "default": "allow", {rest} }}"#));
        let (mut parser, body) = (Parser::default(), Bytes::from(body.to_owned()));
        let message = vet(&mut parser, &body).expect("a message");
        let context = Context {
            grant: Some(&world.grant),
            server: "bank",
            session: "",
            identity: &identity,
            schemas: &Named,
            now: Now::at(Time::default()),
        };
        let request = Request::of(Direction::ToServer, &message);
        let refusal = judge(&context, &request, &*world.memory, &mut ()).refusal;
        refusal.map(|Refusal { denial, lifted }| (denial.rule.pointer.to_string(), denial.reason, lifted))
    };
    let call = |rest: &str, tool: &str| judge(rest, &tools_call(tool, "{}"));
    let deny = r#""tool_changes": "deny""#;
    for tool in ["accepted", "unlisted"] {
        assert_eq!(call(deny, tool), None, "{tool}");
    }
    let refused = |tool: &str| {
        let (rule, reason, lifted) = call(deny, tool).expect("refused");
        assert_eq!((&*rule, lifted), ("/tool_changes", false));
        reason
    };
    assert_eq!(
        refused("charge"),
        "the definition of tool `charge` has changed, and nobody has accepted it: an operator can look at it with `policyd tools diff bank charge`"
    );
    assert_eq!(
        refused("new"),
        "tool `new` is new on this server, and nobody has accepted it: an operator can look at it with `policyd tools diff bank new`"
    );
    assert_eq!(refused("unclear"), "whether the definition of tool `unclear` has changed cannot be told now");
    // What a shell would run is not made part of a command.
    for name in ["x; rm -rf ~", "-h", "$(id)", "a b", "a\u{200b}", ""] {
        assert!(refused(name).ends_with("`policyd tools diff bank TOOL`"), "{name}");
    }
    // The policy's own word comes first, and what it says of every tool does not touch methods.
    let own = r#""tool_changes": "deny", "tools": { "charge": { "action": "deny" } }, "hide": ["hidden"]"#;
    assert_eq!(call(own, "charge").expect("refused").0, "/tools/charge/action");
    assert_eq!(call(own, "hidden").expect("refused").0, "/hide/0");
    let method = r#"{"jsonrpc":"2.0","id":1,"method":"charge"}"#;
    assert_eq!(judge(deny, method), None);
    assert_eq!(judge(r#""tool_changes": "deny", "methods": { "charge": {} }"#, method), None);
    for rest in [r#""mode": "enforce""#, r#""tool_changes": "alert""#, r#""tool_changes": "allow""#] {
        assert_eq!(call(rest, "charge"), None, "{rest}");
    }
    let observed = call(r#""tool_changes": "deny", "mode": "observe""#, "charge").expect("refused, were it enforced");
    assert_eq!((&*observed.0, observed.2), ("/tool_changes", true));

    let lister = Lister { grant: "office", server: "bank", identity: &identity, schemas: &Named };
    let load =
        |rest: &str| Policy::load("p", &format!(r#"{{ "version": "1", "default": "allow", {rest} }}"#)).expect("loads");
    let policy = load(deny);
    assert!(policy.filters_lists() && policy.unlists("charge", &lister) && policy.unlists("new", &lister));
    assert!(policy.unlists("unclear", &lister) && !policy.unlists("accepted", &lister));
    let observes = load(r#""tool_changes": "deny", "mode": "observe""#);
    assert!(!observes.filters_lists() && !observes.unlists("charge", &lister));
    assert!(!load(r#""tool_changes": "alert""#).filters_lists());
}

#[test]
fn deny_as_error_changes_the_reply_of_refused_calls() {
    let world = World::new(r#"{ "version": "1", "default": "deny", "deny_as": "error", "hide": ["h"] }"#);
    assert_eq!(world.call("x", 0.0).denied.expect("denied").reply, Reply::Error);
    assert_eq!(world.call("h", 0.0).denied.expect("denied").reply, Reply::UnknownTool);
}

#[test]
fn a_name_in_a_message_is_short_and_printable() {
    let world = World::new(r#"{ "version": "1", "default": "deny" }"#);
    assert_eq!(world.call("a\u{1b}[2J\n`", 0.0).reason(), "tool `a⟨U+001B⟩[2J⟨U+000A⟩`` is not allowed");
    assert!(world.call(&"x".repeat(1_000_000), 0.0).reason().len() < 200);
}
