//! What a judgement went through, for those who explain it. A decision itself keeps none of it.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::time::Duration;

use rust_decimal::Decimal;

use super::compiled::{Clause, Limit};
use super::conditions::{Condition, Effort, Facts, Found, Sense, Test, Truth};
use super::schema::{Disagreement, Standing};
use super::{CounterKey, Rule, Want, Window};

/// Is told of each step of a judgement, in order.
pub(crate) trait Trace {
    /// One step.
    fn step(&mut self, step: Step<'_>);

    /// Whether `rule` is to be taken as refusing, or as not refusing, where nobody knows what it reads. `None`, always
    /// without this: all is known. `reads_arguments`: whether the rule reads the call's arguments.
    #[inline]
    fn assumes(&mut self, rule: &Rule, reads_arguments: impl FnOnce() -> bool) -> Option<bool> {
        let _ = (rule, reads_arguments);
        None
    }
}

/// Nobody asks.
impl Trace for () {
    #[inline]
    fn step(&mut self, _: Step<'_>) {}
}

/// One step of a judgement. The last one decided.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// `hide` was asked: its rule, if the tool is hidden.
    Hide(Option<&'a Rule>),
    /// The entry of `tools` or `methods` that applies, if one does; otherwise `default`.
    Entry(Option<&'a Rule>),
    /// The entry's `action: "deny"`; nothing is told of one that allows.
    Deny(&'a Rule),
    /// The tool's definition was compared with the accepted one (`tool_changes: "deny"`).
    Changes(&'a Rule, Standing),
    /// The arguments were compared with the declared schema; `None`: the tool was never listed.
    Declared(&'a Rule, Option<Result<(), &'a Disagreement>>),
    /// A rule of `require`, `deny_if` or `approve_if`.
    Clause(ClauseStep<'a>),
    /// The entry's `action: "require_approval"`.
    RequireApproval(&'a Rule),
    /// A limit. All of a call's limits come, whether or not one of them refuses.
    Limit(LimitStep<'a>),
}

/// Which list a rule stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClauseKind {
    Require,
    DenyIf,
    ApproveIf,
}

/// A rule with conditions was asked.
#[derive(Debug)]
pub(crate) struct ClauseStep<'a> {
    /// Which list it stands in.
    pub kind: ClauseKind,
    /// Whether all its conditions hold.
    pub holds: bool,
    clause: &'a Clause,
    facts: &'a Facts<'a>,
}

/// One condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConditionStep<'a> {
    /// How it is shown to a person: `args.amount gt 50000`.
    pub shown: &'a str,
    /// Whether it counts as holding; an undecidable one counts the way that refuses.
    pub holds: bool,
    /// Whether it depends on the call's arguments.
    pub reads_arguments: bool,
    /// What it looked at, in order, up to what settled it. More than one only over arrays; none for an empty one.
    pub findings: Vec<Finding<'a>>,
}

/// What stood at a condition's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding<'a> {
    /// The value as JSON; `None` where there is none, and of a CEL expression.
    pub value: Option<Cow<'a, str>>,
    /// What the condition made of it.
    pub answer: Answer,
}

/// What a condition says of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It holds.
    Holds,
    /// It does not.
    HoldsNot,
    /// There is no value.
    Absent,
    /// The path goes into a value that has no parts of that kind.
    Mismatch,
    /// The operator wants another type.
    WrongType,
    /// Another key of the object differs in letters that some readers take for the same.
    UnclearKey,
    /// A CEL expression ended with an error, or at a bound.
    Undecidable,
}

/// A limit was asked.
#[derive(Debug)]
pub(crate) struct LimitStep<'a> {
    /// Its counter.
    pub key: CounterKey<'a>,
    /// What the call adds; `None`: it cannot be counted, and nothing else of the limits was asked.
    pub amount: Option<Decimal>,
    /// What the window holds after the judgement: with the call, if it was admitted.
    pub used: Decimal,
    /// It is the limit that refuses: when it will have room again, if ever.
    pub exhausted: Option<Option<Duration>>,
    limit: &'a Limit,
}

impl ClauseKind {
    /// How its conditions count.
    pub(super) fn sense(self) -> Sense {
        match self {
            ClauseKind::Require => Sense::Require,
            ClauseKind::DenyIf | ClauseKind::ApproveIf => Sense::Forbid,
        }
    }
}

impl<'a> ClauseStep<'a> {
    pub(super) fn new(clause: &'a Clause, kind: ClauseKind, facts: &'a Facts<'a>, holds: bool) -> ClauseStep<'a> {
        ClauseStep { kind, holds, clause, facts }
    }

    /// The rule.
    pub fn rule(&self) -> &'a Rule {
        &self.clause.rule
    }

    /// How long an approval would be waited for.
    pub fn timeout(&self) -> Option<Duration> {
        self.clause.timeout
    }

    /// Its conditions, one by one.
    pub fn conditions(&self) -> impl Iterator<Item = ConditionStep<'a>> {
        let (sense, facts) = (self.kind.sense(), self.facts);
        self.clause.conditions.iter().map(move |condition| ConditionStep {
            shown: &condition.shown,
            holds: condition.holds(sense, facts),
            reads_arguments: condition.reads_arguments(),
            findings: findings(condition, sense, facts),
        })
    }
}

/// Asks a condition once more, and keeps what it saw.
fn findings<'a>(condition: &'a Condition, sense: Sense, facts: &Facts<'a>) -> Vec<Finding<'a>> {
    let mut findings = Vec::new();
    match &condition.test {
        Test::At { path, op } => {
            let mut effort = Effort::default();
            let _ = path.visit(facts, &mut |found| {
                let truth = op.test(&found, &mut effort);
                let settled = sense.takes(truth, op) == (sense == Sense::Forbid);
                findings.push(Finding::of(found, truth));
                if settled { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        }
        Test::Cel(program) => {
            let answer = match program.evaluate(facts) {
                Some(true) => Answer::Holds,
                Some(false) => Answer::HoldsNot,
                None => Answer::Undecidable,
            };
            findings.push(Finding { value: None, answer });
        }
    }
    findings
}

impl<'a> Finding<'a> {
    fn of(found: Found<'a>, truth: Truth) -> Finding<'a> {
        let answer = match (truth, &found) {
            (Truth::Holds, _) => Answer::Holds,
            (Truth::HoldsNot, _) => Answer::HoldsNot,
            (Truth::Absent, _) => Answer::Absent,
            (Truth::Wrong, Found::Mismatch) => Answer::Mismatch,
            (Truth::Wrong, Found::Unclear) => Answer::UnclearKey,
            (Truth::Wrong, _) => Answer::WrongType,
        };
        let value = match found {
            Found::Absent | Found::Mismatch | Found::Unclear => None,
            Found::Json(value) => Some(Cow::Borrowed(value.raw())),
            Found::Text(text) => Some(Cow::Owned(serde_json::Value::from(&*text).to_string())),
            Found::Number(number) => Some(Cow::Owned(number.to_string())),
        };
        Finding { value, answer }
    }
}

impl<'a> LimitStep<'a> {
    /// An amount that cannot be counted.
    pub(super) fn uncountable(limit: &'a Limit, key: CounterKey<'a>) -> LimitStep<'a> {
        LimitStep { key, amount: None, used: Decimal::ZERO, exhausted: None, limit }
    }

    pub(super) fn asked(limit: &'a Limit, want: &Want<'a>, exhausted: Option<Option<Duration>>) -> LimitStep<'a> {
        LimitStep { key: want.counter, amount: Some(want.amount), used: want.used, exhausted, limit }
    }

    /// The rule.
    pub fn rule(&self) -> &'a Rule {
        &self.limit.rule
    }

    /// What its window may hold.
    pub fn max(&self) -> Decimal {
        self.limit.max
    }

    /// Its window.
    pub fn window(&self) -> Window {
        self.limit.window
    }

    /// The path of the argument that it adds up; `None`: it counts calls.
    pub fn increment_from(&self) -> Option<&'a str> {
        self.limit.amount.as_ref().map(|path| path.text())
    }
}
