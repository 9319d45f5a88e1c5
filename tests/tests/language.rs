//! The policy language before a real server and unmodified clients: what the client is told, the records and the metrics say
//! the same of every decision.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;

use policyd_tests::agent::{Outcome, Sdk, Step, Transcript};
use policyd_tests::asking::Asking;
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::server::McpServer;
use policyd_tests::systems::AXINT;
use policyd_tests::world::World;
use serde_json::{Value, json};

const POLICY: &str = r#"{
  "version": "1", "mode": "MODE", "default": "deny", "hide": ["axint.agent.*"],
  "all_tools": {
    "require": [ { "conditions": [ { "path": "identity.uid", "op": "eq", "value": 0 } ] } ],
    "deny_if": [ { "conditions": [ { "path": "args.tenant", "op": "eq", "value": "theirs" } ], "on_deny": "Not ours." } ]
  },
  "tools": {
    "axint.feature": { "require": [
      { "conditions": [ { "path": "args.currency", "op": "in", "value": ["usd", "eur"] } ], "on_deny": "Only USD and EUR." },
      { "conditions": [ { "path": "args.to", "op": "regex", "value": "^[a-z]+@example\\.com$" } ] } ] },
    "axint.scaffold": { "require": [ { "conditions": [ { "path": "args.file", "op": "under_path", "value": "/srv/data" } ] } ] },
    "axint.cloud.check": { "require": [ { "conditions": [ { "path": "args.url", "op": "host_in", "value": ["api.example.com"] } ] } ] },
    "axint.compile": { "deny_if": [
      { "conditions": [ { "path": "args.items[].price", "op": "gt", "value": 100 } ], "on_deny": "Too dear." } ] },
    "axint.run": {
      "approve_if": [ { "conditions": [ { "path": "args.amount", "op": "gt", "value": 50 } ], "timeout": "10m" } ],
      "limits": [ { "counter": "spend", "window": "day", "align": "calendar", "max": 60, "increment_from": "args.amount",
                    "on_deny": "Daily budget spent." } ] },
    "axint.upgrade": { "action": "require_approval" },
    "axint.repair": { "action": "deny", "reason": "Never from an agent." },
    "axint.status": { "rate_limit": "3/minute" },
    "axint.doctor": { "limits": [ { "counter": "doctor", "window": "hour", "max": 2, "scope": "session" } ] },
    "axint.suggest": { "limits": [ { "counter": "suggest", "window": "2h", "max": 3, "scope": "server" } ] },
    "axint.validate": { "limits": [ { "counter": "validate", "window": "day", "max": 3, "scope": "host" } ] },
    "axint.workflow.check": { "limits": [ { "counter": "check", "window": "day", "max": 3, "scope": "global" } ] },
    "axint.tokens.ingest": { "require": [ { "conditions": [ { "path": "grant.name", "op": "eq", "value": "anna-axint" } ] } ] },
    "axint.templates.*": { "require": [ { "conditions": [
      { "path": "server.name", "op": "eq", "value": "axint" }, { "path": "tool.name", "op": "neq", "value": "axint.templates.get" } ] } ] }
  }
}"#;

/// The agents, each with a grant of its own, in the order in which they come.
const AGENTS: [(&str, Sdk); 2] = [("anna", Sdk::TypeScript), ("bert", Sdk::Python1)];

/// What the tools' list shows: not what is refused for every argument.
const LISTED: [&str; 13] = [
    "axint.status",
    "axint.upgrade",
    "axint.doctor",
    "axint.feature",
    "axint.suggest",
    "axint.workflow.check",
    "axint.scaffold",
    "axint.compile",
    "axint.validate",
    "axint.cloud.check",
    "axint.run",
    "axint.tokens.ingest",
    "axint.templates.list",
];

/// A call and what becomes of it: the rule's pointer below the tool's entry (or from the root), its kind, and the reason.
struct Case {
    tool: &'static str,
    arguments: Value,
    rule: &'static str,
    kind: &'static str,
    /// `None`: allowed.
    reason: Option<&'static str>,
}

fn allow(tool: &'static str, arguments: Value) -> Case {
    Case { tool, arguments, rule: "", kind: "tool", reason: None }
}

fn deny(tool: &'static str, arguments: Value, rule: &'static str, kind: &'static str, reason: &'static str) -> Case {
    Case { tool, arguments, rule, kind, reason: Some(reason) }
}

/// The calls of one agent; `first`: before anybody else has called.
fn cases(first: bool) -> Vec<Case> {
    const UNMET_FEATURE: &str = "a `require` rule of tool `axint.feature` is not met";
    const UNMET_SCAFFOLD: &str = "a `require` rule of tool `axint.scaffold` is not met";
    const UNMET_CLOUD: &str = "a `require` rule of tool `axint.cloud.check` is not met";
    let feature = |currency: &str, to: &str| json!({"currency": currency, "to": to});
    let prices = |prices: &[Value]| json!({"items": prices.iter().map(|p| json!({"price": p})).collect::<Vec<_>>()});
    let of_both = |tool: &'static str, reason: &'static str| match first {
        true => allow(tool, json!({})),
        false => deny(tool, json!({}), "/limits/0", "limit", reason),
    };
    vec![
        allow("axint.feature", feature("usd", "joe@example.com")),
        deny("axint.feature", feature("chf", "joe@example.com"), "/require/0", "require", "Only USD and EUR."),
        deny("axint.feature", feature("eur", "joe@example.com.evil"), "/require/1", "require", UNMET_FEATURE),
        deny("axint.feature", json!({"to": "joe@example.com"}), "/require/0", "require", "Only USD and EUR."),
        // Some servers read a key whatever its case.
        deny(
            "axint.feature",
            json!({"currency": "usd", "Currency": "chf", "to": "joe@example.com"}),
            "/require/0",
            "require",
            "Only USD and EUR.",
        ),
        deny("axint.compile", json!({"tenant": "theirs"}), "//all_tools/deny_if/0", "deny-if", "Not ours."),
        allow("axint.scaffold", json!({"file": "/srv/data/notes.txt"})),
        deny("axint.scaffold", json!({"file": "/srv/data/../shadow"}), "/require/0", "require", UNMET_SCAFFOLD),
        allow("axint.cloud.check", json!({"url": "https://api.example.com/v1"})),
        deny(
            "axint.cloud.check",
            json!({"url": "https://api.example.com@evil.example/"}),
            "/require/0",
            "require",
            UNMET_CLOUD,
        ),
        allow("axint.compile", prices(&[json!(100), json!(1)])),
        allow("axint.compile", json!({})),
        deny("axint.compile", prices(&[json!(1), json!(100.01)]), "/deny_if/0", "deny-if", "Too dear."),
        deny("axint.compile", prices(&[json!("1")]), "/deny_if/0", "deny-if", "Too dear."),
        deny("axint.compile", json!({"Items": [{"price": 1}]}), "/deny_if/0", "deny-if", "Too dear."),
        allow("axint.run", json!({"amount": 49.5})),
        deny("axint.run", json!({"amount": 50.01}), "/approve_if/0", "approval", "needs approval"),
        deny("axint.run", json!({"amount": 10.51}), "/limits/0", "limit", "Daily budget spent. Try again in "),
        allow("axint.run", json!({"amount": 10.5})),
        deny("axint.upgrade", json!({}), "/action", "approval", "needs approval"),
        deny("axint.repair", json!({}), "/action", "action", "Never from an agent."),
        allow("axint.status", json!({})),
        allow("axint.status", json!({})),
        allow("axint.status", json!({})),
        deny(
            "axint.status",
            json!({}),
            "/rate_limit",
            "limit",
            "rate limit reached for tool `axint.status`; try again in ",
        ),
        allow("axint.doctor", json!({})),
        allow("axint.doctor", json!({})),
        deny(
            "axint.doctor",
            json!({}),
            "/limits/0",
            "limit",
            "rate limit reached for tool `axint.doctor`; try again in ",
        ),
        allow("axint.suggest", json!({})),
        of_both("axint.suggest", "rate limit reached for tool `axint.suggest`; try again in "),
        allow("axint.validate", json!({})),
        of_both("axint.validate", "rate limit reached for tool `axint.validate`; try again in "),
        allow("axint.workflow.check", json!({})),
        of_both("axint.workflow.check", "rate limit reached for tool `axint.workflow.check`; try again in "),
        match first {
            true => allow("axint.tokens.ingest", json!({})),
            false => {
                let reason = "a `require` rule of tool `axint.tokens.ingest` is not met";
                deny("axint.tokens.ingest", json!({}), "/require/0", "require", reason)
            }
        },
        Case { rule: "//tools/axint.templates.*", ..allow("axint.templates.list", json!({})) },
        deny(
            "axint.templates.get",
            json!({}),
            "//tools/axint.templates.*/require/0",
            "require",
            "a `require` rule of tool `axint.templates.get` is not met",
        ),
        deny("axint.feedback.create", json!({}), "//default", "default", "tool `axint.feedback.create` is not allowed"),
        deny("axint.agent.claim", json!({}), "//hide/0", "hide", "tool `axint.agent.claim` is hidden"),
    ]
}

impl Case {
    fn pointer(&self) -> String {
        match self.rule.strip_prefix("//") {
            Some(from_root) => format!("/{from_root}"),
            None => format!("/tools/{}{}", self.tool, self.rule),
        }
    }

    fn step(&self) -> Step {
        Step::Call(self.tool, self.arguments.clone(), 1)
    }
}

/// Runs every agent's cases under the policy in `mode`; gives what the last line of each says, and its records.
fn run(mode: &str, check: impl Fn(&Case, &Outcome, &Value, usize), listed: impl Fn(usize, &[String])) {
    let world = World::new();
    let _server = McpServer::start(&world, &AXINT);
    let policy = world.file("policy.json", POLICY.replace("MODE", mode));
    let daemon = Daemon::start(&world, &Config::new().system(&world, &AXINT, &policy, &AGENTS.map(|(agent, _)| agent)));
    let mut expected: HashMap<(bool, &str), f64> = HashMap::new();
    for (index, (agent, sdk)) in AGENTS.into_iter().enumerate() {
        let cases = cases(index == 0);
        let steps: Vec<Step> = std::iter::once(Step::List).chain(cases.iter().map(Case::step)).collect();
        let transcript = sdk.run(daemon.agent(agent), &AXINT.url(), &steps);
        listed(index, &transcript.list(0));
        let grant = format!("{agent}-axint");
        let records: Vec<Value> = daemon
            .audit()
            .into_iter()
            .filter(|r| r["record"] == "decision" && r["grant"] == *grant && r["method"] == "tools/call")
            .collect();
        assert_eq!(records.len(), cases.len(), "{transcript:#?}");
        let mut outcomes: HashMap<&str, std::vec::IntoIter<Outcome>> = HashMap::new();
        for (case, record) in cases.iter().zip(&records) {
            let of_tool = outcomes.entry(case.tool).or_insert_with(|| transcript.calls(case.tool).into_iter());
            let outcome = of_tool.next().unwrap_or_else(|| panic!("{}: {transcript:#?}", case.tool));
            let what = format!("{agent} {} {}", case.tool, case.arguments);
            assert_eq!(record["tool"], case.tool, "{what}");
            assert_eq!(record["rule"], case.pointer(), "{what}: {record}");
            assert_eq!(record["rule_kind"], case.kind, "{what}: {record}");
            let reason = record["reason"].as_str();
            assert_eq!(reason.is_some(), case.reason.is_some(), "{what}: {record}");
            assert!(reason.unwrap_or_default().starts_with(case.reason.unwrap_or_default()), "{what}: {record}");
            check(case, &outcome, record, index);
            *expected.entry((record["decision"] == "deny", case.kind)).or_default() += 1.0;
        }
    }
    for ((denied, kind), count) in expected {
        let (decision, rule) = (if denied { "deny" } else { "allow" }, format!("rule=\"{kind}\""));
        let labels = [format!("decision=\"{decision}\""), rule, "tool=\"axint.".to_owned()];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let counted = daemon.metric("policyd_decisions_total", &labels)
            + daemon.metric("policyd_decisions_total", &[labels[0], labels[1], "tool=\"other\""]);
        assert!(
            (counted - count).abs() < f64::EPSILON,
            "{decision} {kind}: {counted} for {count}\n{}",
            daemon.metrics()
        );
    }
}

#[test]
fn every_rule_decides_as_the_language_says() {
    let check = |case: &Case, outcome: &Outcome, record: &Value, _| {
        assert_eq!(record["decision"], if case.reason.is_some() { "deny" } else { "allow" }, "{record}");
        assert_eq!(record["observed"], false);
        match (case.reason, outcome) {
            (None, Outcome::Ok(text)) => assert_eq!(*text, format!("{}: done", case.tool)),
            // Told as what does not exist is.
            (Some(_), Outcome::Error(-32602, text)) if case.kind == "hide" => {
                assert!(text.ends_with(&format!("Unknown tool: {}", case.tool)), "{text}");
            }
            (Some(_), Outcome::Failed(text)) => {
                assert_eq!(*text, format!("Denied by policy: {}", record["reason"].as_str().unwrap()));
            }
            (_, outcome) => panic!("{} {}: {outcome:?}", case.tool, case.arguments),
        }
    };
    run("enforce", check, |index, list| {
        let of_agent = |tool: &&str| index == 0 || *tool != "axint.tokens.ingest";
        assert_eq!(list, LISTED.into_iter().filter(of_agent).collect::<Vec<_>>());
    });
}

#[test]
fn observing_lets_all_of_it_pass_and_records_the_same_rules() {
    let check = |case: &Case, outcome: &Outcome, record: &Value, _| {
        assert_eq!(*outcome, Outcome::Ok(format!("{}: done", case.tool)));
        assert_eq!((&record["decision"], &record["observed"]), (&json!("allow"), &json!(case.reason.is_some())));
    };
    run("observe", check, |_, list| assert_eq!(list.len(), 33));
}

#[test]
fn requests_besides_calls_follow_methods() {
    const POLICY: &str = r#"{
      "version": "1", "default": "deny", "tools": { "echo": {} }, "methods": {
        "resources/read": {
          "require": [ { "conditions": [ { "path": "args.uri", "op": "starts_with", "value": "demo://resource/dynamic/text/" } ] } ],
          "limits": [ { "counter": "reads", "window": "hour", "max": 2 } ] },
        "prompts/get": { "action": "deny", "reason": "No prompts." }
      }
    }"#;
    const TEXT: &str = "demo://resource/dynamic/text/1";
    const BLOB: &str = "demo://resource/dynamic/blob/1";
    let world = World::new();
    let server = Asking::everything(&world);
    let policy = world.file("policy.json", POLICY);
    let config = AGENTS.into_iter().fold(Config::new().server("everything", &server.url()), |config, (agent, _)| {
        config.grant(agent, &world.agent_cgroup(agent), "everything", &policy)
    });
    let daemon = Daemon::start(&world, &config);
    let steps = [Step::Read(TEXT), Step::Read(BLOB), Step::Read(TEXT), Step::Read(TEXT), Step::Prompt("simple-prompt")];
    let refused = |outcome: &Outcome, reason: &str| match outcome {
        Outcome::Error(-32001, text) => assert!(text.contains(&format!("Denied by policy: {reason}")), "{text}"),
        outcome => panic!("{outcome:?}"),
    };
    for (agent, sdk) in AGENTS {
        let transcript: Transcript = sdk.run(daemon.agent(agent), &server.url(), &steps);
        let texts = transcript.read(TEXT);
        assert!(matches!(&texts[..2], [Outcome::Ok(_), Outcome::Ok(_)]), "{transcript:#?}");
        refused(&texts[2], "rate limit reached for `resources/read`; try again in ");
        refused(&transcript.read(BLOB)[0], "a `require` rule of `resources/read` is not met");
        refused(&transcript.prompt("simple-prompt")[0], "No prompts.");
        let rules: Vec<String> = daemon
            .audit()
            .iter()
            .filter(|r| r["grant"] == agent && (r["method"] == "resources/read" || r["method"] == "prompts/get"))
            .map(|r| r["rule"].as_str().unwrap().to_owned())
            .collect();
        let read = "/methods/resources~1read";
        let expected = ["", "/require/0", "", "/limits/0"].map(|rule| format!("{read}{rule}"));
        assert_eq!(rules, [&expected[..], &["/methods/prompts~1get/action".to_owned()]].concat());
    }
    let counted = |labels: &[&str]| daemon.metric("policyd_decisions_total", labels);
    assert_eq!(counted(&["rule=\"method\"", "decision=\"allow\"", "tool=\"\""]), 4.0, "{}", daemon.metrics());
    assert_eq!(counted(&["rule=\"require\"", "decision=\"deny\"", "tool=\"\""]), 2.0);
}
