//! For programs.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::Explanation;
use crate::authoring::simulation::Decision;
use crate::authoring::steps::{Agreement, Step};
use crate::authoring::times::show_instant;
use crate::policy::trace::{Answer as Finding, ClauseKind};
use crate::policy::{Instead, Standing, Window};
use crate::telemetry::events::kind_label;

/// The explanation as one object. Numbers of counters are strings, so that no reader rounds them.
pub(crate) fn json(explanation: &Explanation) -> Value {
    let Explanation { question, ruling, steps, deciding, .. } = explanation;
    let admitted = ruling.decision == Decision::Allow;
    let steps: Vec<Value> = steps
        .steps
        .iter()
        .enumerate()
        .map(|(index, one)| {
            let mut value = step(one, admitted);
            if let Value::Object(members) = &mut value {
                members.insert("rule".to_owned(), one.rule().into());
                members.insert("decided".to_owned(), (*deciding == Some(index)).into());
            }
            value
        })
        .collect();
    let counters = ruling
        .counters
        .iter()
        .map(|state| json!({ "counter": &*state.counter, "used": decimal(state.used), "max": decimal(state.max) }));
    json!({
        "subject": explanation.subject,
        "grant": question.caller.grant,
        "server": question.caller.server,
        "session": question.caller.session,
        "at": show_instant(question.at),
        "steps": steps,
        "decision": ruling.decision.word(),
        "rule": &*ruling.rule.pointer,
        "rule_kind": kind_label(ruling.rule.kind),
        "reason": ruling.reason(),
        "retry_after": ruling.retry_after().map(|after| after.as_secs_f64()),
        "observed": ruling.lifted,
        "counters": counters.collect::<Vec<_>>(),
        "answer": match &explanation.answer {
            Some(Instead::Message(text)) => Value::from(String::from_utf8_lossy(text)),
            Some(Instead::Text(text)) => Value::from(text.as_str()),
            Some(Instead::Nothing) | None => Value::Null,
        },
        "listed": explanation.listed,
    })
}

fn step(step: &Step, admitted: bool) -> Value {
    match step {
        Step::Hide(rule) => json!({ "step": "hide", "hidden": rule.is_some() }),
        Step::Entry(rule) => json!({ "step": "entry", "found": rule.is_some() }),
        Step::Deny(_) => json!({ "step": "action", "action": "deny" }),
        Step::RequireApproval(_) => json!({ "step": "action", "action": "require_approval" }),
        Step::Changes(_, standing) => {
            let standing = match standing {
                Standing::Unlisted => "unlisted",
                Standing::Accepted => "accepted",
                Standing::New => "new",
                Standing::Changed => "changed",
                Standing::Unclear => "unclear",
            };
            json!({ "step": "tool_changes", "definition": standing })
        }
        Step::Declared(_, agreement) => {
            let why = match agreement {
                Agreement::Agree => None,
                Agreement::Disagree(what) => Some(what.as_str()),
                Agreement::NeverListed => Some("the server has not listed the tool"),
            };
            json!({ "step": "arguments", "agree": why.is_none(), "why": why })
        }
        Step::Clause(clause) => {
            let conditions = clause.conditions.iter().map(|condition| {
                let findings = condition.findings.iter();
                let found = findings.map(|(value, answer)| json!({ "value": value, "answer": finding(*answer) }));
                json!({
                    "condition": condition.shown,
                    "holds": condition.holds,
                    "found": found.collect::<Vec<_>>(),
                })
            });
            let list = match clause.kind {
                ClauseKind::Require => "require",
                ClauseKind::DenyIf => "deny_if",
                ClauseKind::ApproveIf => "approve_if",
            };
            json!({
                "step": list,
                "holds": clause.holds,
                "conditions": conditions.collect::<Vec<_>>(),
                "timeout": clause.timeout.map(|timeout| timeout.as_secs_f64()),
            })
        }
        Step::Limit(limit) => json!({
            "step": "limit",
            "counter": limit.counter,
            "scope": limit.scope,
            "window": limit.window.length() as f64 / 1e9,
            "align": match limit.window {
                Window::Rolling(_) => "rolling",
                Window::Calendar(_) => "calendar",
            },
            "amount": limit.amount.map(decimal),
            "before": limit.amount.map(|_| decimal(limit.before(admitted))),
            "after": limit.amount.map(|_| decimal(limit.used)),
            "max": decimal(limit.max),
            "refuses": limit.refuses,
            "room_in": limit.room.flatten().map(|after| after.as_secs_f64()),
        }),
    }
}

fn finding(answer: Finding) -> &'static str {
    match answer {
        Finding::Holds => "holds",
        Finding::HoldsNot => "does not hold",
        Finding::Absent => "absent",
        Finding::Mismatch => "mismatch",
        Finding::WrongType => "wrong type",
        Finding::UnclearKey => "unclear key",
        Finding::Undecidable => "undecidable",
    }
}

fn decimal(number: Decimal) -> String {
    number.normalize().to_string()
}
