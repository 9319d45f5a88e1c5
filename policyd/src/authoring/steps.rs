//! The steps of a judgement, kept: what was asked, what stood there, what it came to.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;

use super::simulation::Ruling;
use super::times::show_duration;
use crate::policy::trace::{self, Answer, ClauseKind, ClauseStep, LimitStep, Trace};
use crate::policy::{Counters, Now, Refused, ScopeKey, Standing, Want, Window};
use crate::state::Memory;
use crate::visible::visible;

/// Keeps each step of a judgement.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub steps: Vec<Step>,
    /// Where to ask when limits have room again, if that is wanted.
    probe: Option<(Arc<Memory>, Now)>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// `hide` was asked: the rule that hides the tool.
    Hide(Option<Arc<str>>),
    /// The entry that applies; without one, `default`.
    Entry(Option<Arc<str>>),
    /// The entry's `action: "deny"`.
    Deny(Arc<str>),
    /// `tool_changes: "deny"`.
    Changes(Arc<str>, Standing),
    /// `arguments: "declared"`.
    Declared(Arc<str>, Agreement),
    /// A rule with conditions.
    Clause(Clause),
    /// The entry's `action: "require_approval"`.
    RequireApproval(Arc<str>),
    /// A limit.
    Limit(Limit),
}

/// How arguments and their declaration agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Agreement {
    Agree,
    /// What disagrees, and where.
    Disagree(String),
    NeverListed,
}

/// A rule of `require`, `deny_if` or `approve_if`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clause {
    pub rule: Arc<str>,
    pub kind: ClauseKind,
    /// Whether all conditions hold.
    pub holds: bool,
    /// How long an approval would be waited for.
    pub timeout: Option<Duration>,
    pub conditions: Vec<Condition>,
}

/// A condition, and what it looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub shown: String,
    pub holds: bool,
    pub reads_arguments: bool,
    /// The values as JSON, each with what the condition made of it.
    pub findings: Vec<(Option<String>, Answer)>,
}

/// A limit, and what its counter held.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Limit {
    pub rule: Arc<str>,
    pub counter: String,
    /// A `rate_limit`'s own counter.
    pub own: bool,
    /// Whose the counter is: `grant`, `session`, `server`, `host` or `global`.
    pub scope: &'static str,
    /// `None`: it cannot be counted.
    pub amount: Option<Decimal>,
    pub increment_from: Option<String>,
    /// What the window holds when all is decided.
    pub used: Decimal,
    pub max: Decimal,
    pub window: Window,
    /// Whether this is the limit that refuses.
    pub refuses: bool,
    /// When as much again fits, if that was asked: `Some(None)` never.
    pub room: Option<Option<Duration>>,
}

impl Steps {
    /// Also asks each limit when it has room for as much again.
    pub fn with_room(memory: Arc<Memory>, now: Now) -> Steps {
        Steps { steps: Vec::new(), probe: Some((memory, now)) }
    }

    /// The index of the step that decided.
    pub fn deciding(&self, ruling: &Ruling) -> Option<usize> {
        let rule = &*ruling.rule.pointer;
        self.steps.iter().rposition(|step| match step.rule() {
            Some(pointer) => pointer == rule,
            None => matches!(step, Step::Entry(_)) && matches!(rule, "/default" | ""),
        })
    }
}

impl Trace for Steps {
    fn step(&mut self, step: trace::Step<'_>) {
        let pointer = |rule: &crate::policy::Rule| Arc::clone(&rule.pointer);
        self.steps.push(match step {
            trace::Step::Hide(rule) => Step::Hide(rule.map(pointer)),
            trace::Step::Entry(rule) => Step::Entry(rule.map(pointer)),
            trace::Step::Deny(rule) => Step::Deny(pointer(rule)),
            trace::Step::Changes(rule, standing) => Step::Changes(pointer(rule), standing),
            trace::Step::Declared(rule, agreement) => Step::Declared(
                pointer(rule),
                match agreement {
                    None => Agreement::NeverListed,
                    Some(Ok(())) => Agreement::Agree,
                    Some(Err(disagreement)) => Agreement::Disagree(disagreement.to_string()),
                },
            ),
            trace::Step::Clause(clause) => Step::Clause(Clause::of(&clause)),
            trace::Step::RequireApproval(rule) => Step::RequireApproval(pointer(rule)),
            trace::Step::Limit(limit) => {
                let room = self.probe.as_ref().and_then(|(memory, now)| room(&limit, memory, *now));
                Step::Limit(Limit::of(&limit, room))
            }
        });
    }
}

/// When a limit has room for as much again.
fn room(limit: &LimitStep<'_>, memory: &Memory, now: Now) -> Option<Option<Duration>> {
    let want = Want {
        counter: limit.key,
        window: limit.window(),
        windows: &[],
        max: limit.max(),
        amount: limit.amount?,
        used: Decimal::ZERO,
    };
    match memory.reserve(&mut [want], now) {
        Ok(reservation) => {
            reservation.give_back();
            Some(Some(Duration::ZERO))
        }
        Err(Refused::Exhausted(_, after)) => Some(after),
        Err(Refused::Unavailable) => None,
    }
}

impl Clause {
    fn of(step: &ClauseStep<'_>) -> Clause {
        let conditions = step.conditions().map(|condition| Condition {
            shown: condition.shown.to_owned(),
            holds: condition.holds,
            reads_arguments: condition.reads_arguments,
            findings: condition
                .findings
                .into_iter()
                .map(|finding| (finding.value.map(|value| value.into_owned()), finding.answer))
                .collect(),
        });
        Clause {
            rule: Arc::clone(&step.rule().pointer),
            kind: step.kind,
            holds: step.holds,
            timeout: step.timeout(),
            conditions: conditions.collect(),
        }
    }
}

impl Limit {
    fn of(step: &LimitStep<'_>, room: Option<Option<Duration>>) -> Limit {
        Limit {
            rule: Arc::clone(&step.rule().pointer),
            counter: step.key.name.to_owned(),
            own: step.key.own,
            scope: match step.key.scope {
                ScopeKey::Grant { .. } => "grant",
                ScopeKey::Session { .. } => "session",
                ScopeKey::Server(_) => "server",
                ScopeKey::Host => "host",
                ScopeKey::Global => "global",
            },
            amount: step.amount,
            increment_from: step.increment_from().map(str::to_owned),
            used: step.used,
            max: step.max(),
            window: step.window(),
            refuses: step.amount.is_none() || step.exhausted.is_some(),
            room,
        }
    }

    /// Whether the call fits besides what the window holds without it.
    fn fits(&self) -> bool {
        self.amount.and_then(|amount| self.used.checked_add(amount)).is_some_and(|sum| sum <= self.max)
    }

    /// What the window held before the call, if the call was `admitted` or not.
    pub fn before(&self, admitted: bool) -> Decimal {
        match self.amount {
            // Both are exact, and so is their difference.
            Some(amount) if admitted => self.used.checked_sub(amount).unwrap_or(self.used),
            _ => self.used,
        }
    }
}

impl Step {
    /// The rule that it asked; `None` where none applies.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Step::Hide(rule) | Step::Entry(rule) => rule.as_deref(),
            Step::Deny(rule) | Step::Changes(rule, _) | Step::Declared(rule, _) | Step::RequireApproval(rule) => {
                Some(rule)
            }
            Step::Clause(clause) => Some(&clause.rule),
            Step::Limit(limit) => Some(&limit.rule),
        }
    }

    /// What it came to, in words. `admitted`: the call used its quota.
    pub fn words(&self, admitted: bool) -> String {
        match self {
            Step::Hide(Some(_)) => "the tool is hidden".to_owned(),
            Step::Hide(None) => "the tool is not hidden".to_owned(),
            Step::Entry(Some(_)) => "the entry that applies".to_owned(),
            Step::Entry(None) => "no entry applies".to_owned(),
            Step::Deny(_) => "the entry's action is `deny`".to_owned(),
            Step::Changes(_, standing) => match standing {
                Standing::Unlisted => {
                    "the server has not listed the tool, so that nothing of it has changed".to_owned()
                }
                Standing::Accepted => "the tool's definition is the accepted one".to_owned(),
                Standing::New => "the tool is new, and was not accepted".to_owned(),
                Standing::Changed => "the tool's definition has changed, and was not accepted".to_owned(),
                Standing::Unclear => "whether the tool's definition has changed cannot be told".to_owned(),
            },
            Step::Declared(_, Agreement::Agree) => "the arguments are as declared".to_owned(),
            Step::Declared(_, Agreement::Disagree(what)) => format!("the arguments are not as declared: {what}"),
            Step::Declared(_, Agreement::NeverListed) => "the server has not listed the tool".to_owned(),
            Step::Clause(clause) => clause.words(),
            Step::RequireApproval(_) => "the entry's action is `require_approval`".to_owned(),
            Step::Limit(limit) if limit.amount.is_none() => "the amount cannot be counted".to_owned(),
            Step::Limit(limit) if limit.refuses => "the limit is reached".to_owned(),
            Step::Limit(limit) if !admitted && !limit.fits() => "the limit is reached too".to_owned(),
            Step::Limit(_) => "the limit has room".to_owned(),
        }
    }

    /// More of it: the conditions with what stood there, the counter. `admitted`: the call used its quota.
    pub fn details(&self, admitted: bool) -> Vec<String> {
        match self {
            Step::Clause(clause) => clause.conditions.iter().map(Condition::line).collect(),
            Step::Limit(limit) => vec![limit.line(admitted)],
            _ => Vec::new(),
        }
    }
}

impl Clause {
    fn words(&self) -> String {
        let list = match self.kind {
            ClauseKind::Require => "require",
            ClauseKind::DenyIf => "deny_if",
            ClauseKind::ApproveIf => "approve_if",
        };
        match (self.kind, self.holds) {
            (ClauseKind::Require, true) => format!("`{list}` is met"),
            (ClauseKind::Require, false) => format!("`{list}` is not met"),
            (ClauseKind::DenyIf | ClauseKind::ApproveIf, true) => match self.timeout {
                Some(timeout) => {
                    let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
                    format!("`{list}` holds; an approval is waited for {}", show_duration(timeout))
                }
                None => format!("`{list}` holds"),
            },
            (ClauseKind::DenyIf | ClauseKind::ApproveIf, false) => format!("`{list}` does not hold"),
        }
    }
}

/// Of a long list of values, how many are shown besides the one that settled it.
const SHOWN: usize = 4;

/// The longest value that is shown whole, in characters.
const LONGEST: usize = 120;

impl Condition {
    /// `args.amount gt 50000: 60000 holds`
    fn line(&self) -> String {
        let mut shown: Vec<String> = Vec::new();
        let last = self.findings.len().saturating_sub(1);
        for (index, (value, answer)) in self.findings.iter().enumerate() {
            if index < SHOWN || index == last {
                let value = value.as_deref().map(|value| shorten(value) + " ").unwrap_or_default();
                shown.push(format!("{value}{}", words(*answer)));
            } else if index == SHOWN {
                shown.push(format!("({} more)", last - SHOWN));
            }
        }
        if shown.is_empty() {
            shown.push("an empty array".to_owned());
        }
        let counts = if self.holds { "holds" } else { "does not hold" };
        let told = self.findings.last().is_some_and(|(_, answer)| matches!(answer, Answer::Holds | Answer::HoldsNot));
        // What is undecidable counts the way that refuses, which needs saying.
        let counts = if told { String::new() } else { format!(": counts as `{counts}`") };
        format!("{}: {}{counts}", self.shown, shown.join(", "))
    }
}

fn words(answer: Answer) -> &'static str {
    match answer {
        Answer::Holds => "holds",
        Answer::HoldsNot => "does not hold",
        Answer::Absent => "absent",
        Answer::Mismatch => "the path goes into a value that has no such parts",
        Answer::WrongType => "is nothing that this operator can decide about",
        Answer::UnclearKey => "a key differs only in letters that some readers take for the same",
        Answer::Undecidable => "cannot be decided",
    }
}

/// One line of a value's text.
fn shorten(value: &str) -> String {
    let line: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    let mut shown = visible(&line);
    if value.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

impl Limit {
    /// ``counter `spend` of the grant: 95000 + 12000 of 100000 in any 1d; room again in 3h``
    fn line(&self, admitted: bool) -> String {
        let name = if self.own { "its own counter".to_owned() } else { format!("counter `{}`", self.counter) };
        let scope = match self.scope {
            "grant" => " of the grant",
            "session" => " of the session",
            "server" => " of the server",
            "host" => " of the host",
            _ => " of all hosts",
        };
        let window = show_duration(self.window.length());
        let window = match self.window {
            Window::Rolling(_) => format!("in any {window}"),
            Window::Calendar(_) => format!("in the current {window}"),
        };
        let Some(amount) = self.amount else {
            let path = self.increment_from.as_deref().unwrap_or_default();
            return format!("{name}{scope}: `{path}` is missing, negative or no number; at most {} {window}", self.max);
        };
        let before = self.before(admitted);
        let room = match self.room {
            None => String::new(),
            Some(None) => "; as much again never fits".to_owned(),
            Some(Some(Duration::ZERO)) => "; as much again fits now".to_owned(),
            Some(Some(after)) => {
                let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
                format!("; as much again fits in {}", show_duration(after))
            }
        };
        let (before, amount) = (before.normalize(), amount.normalize());
        format!("{name}{scope}: {before} + {amount} of {} {window}{room}", self.max.normalize())
    }
}
