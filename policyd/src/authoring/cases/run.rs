//! Runs cases, and says what came out otherwise.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Action, Case, Expected, Messages, Step, Suite};
use crate::authoring::reader::Spanned;
use crate::authoring::simulation::{Decision, Declared, Ruling, Simulation};
use crate::authoring::steps::{self, Steps};
use crate::authoring::times::show_duration;
use crate::policy::{Now, Policy, Time};

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CaseResult {
    pub name: String,
    /// Its place.
    pub span: Range<usize>,
    /// None: it passed.
    pub failures: Vec<Failure>,
}

/// A step of which something came out otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The place of the first expectation that is not met.
    pub span: Range<usize>,
    /// ``call 11 of `send`: expected deny, got allow``
    pub message: String,
    /// What was looked at, expected or not.
    pub rows: Vec<Row>,
    /// The step of the judgement that decided, line by line.
    pub deciding: Vec<String>,
    /// The step of the rule that was expected to decide.
    pub meant: Vec<String>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub what: String,
    /// `None`: nothing was expected of it.
    pub expected: Option<String>,
    pub actual: String,
    pub agrees: bool,
}

/// Runs the cases of a suite for which `wanted` holds, each on counters of its own.
pub(crate) fn run(
    suite: &Suite,
    policy: &Arc<Policy>,
    declared: &Declared,
    wanted: impl Fn(&str) -> bool,
) -> Vec<CaseResult> {
    let cases = suite.cases.iter().filter(|case| wanted(&case.name));
    cases.map(|case| run_case(case, Simulation::new(Arc::clone(policy), declared.clone()))).collect()
}

fn run_case(case: &Case, mut simulation: Simulation) -> CaseResult {
    let mut failures = Vec::new();
    for step in &case.steps {
        match &step.action {
            Action::Messages(messages) => failures.extend(send(case, step, messages, &mut simulation)),
            Action::Lists { shown, hidden } => {
                let shown = shown.iter().map(|tool| (tool, true));
                let all = shown.chain(hidden.iter().map(|tool| (tool, false)));
                failures.extend(all.filter_map(|(tool, expected)| list(step, tool, expected, &simulation)));
            }
        }
    }
    CaseResult { name: case.name.clone(), span: case.span.clone(), failures }
}

/// Sends a step's messages; gives the first that came to something else.
fn send(case: &Case, step: &Step, messages: &Messages, simulation: &mut Simulation) -> Option<Failure> {
    let count = messages.bodies.len() as u64 * messages.times;
    let mut failure = None;
    let mut number = 0;
    for _ in 0..messages.times {
        for body in &messages.bodies {
            let time = step.at.saturating_add(messages.every.saturating_mul(number));
            number += 1;
            let now = Now { time: Time(time), utc: case.start.saturating_add(time) };
            let mut steps = Steps::default();
            let ruling = simulation.decide(&step.caller, messages.direction, &body.value, now, &mut steps);
            if failure.is_none() {
                let told = Told { messages, body, number, count };
                failure = told.compare(&ruling, &steps);
            }
            if messages.unsent {
                ruling.reservation.give_back();
            }
        }
    }
    failure
}

/// A message of several.
struct Told<'a> {
    messages: &'a Messages,
    body: &'a Spanned<Bytes>,
    number: u64,
    count: u64,
}

impl Told<'_> {
    fn compare(&self, ruling: &Ruling, steps: &Steps) -> Option<Failure> {
        let expected = &self.messages.expected;
        let (rows, wrong) = compare(expected, ruling, self.number == self.count);
        let first = wrong.into_iter().next()?;
        let what = match self.count {
            1 => self.messages.what.clone(),
            _ => self.messages.what.replacen("call", &format!("call {}", self.number), 1),
        };
        let message = rows.iter().find(|row| !row.agrees).map(|row| {
            let expected = row.expected.as_deref().unwrap_or_default();
            match &*row.what {
                "decision" => format!("{what}: expected {expected}, got {}", row.actual),
                "rule" => format!("{what}: another rule than expected decided"),
                other => format!("{what}: expected another {other}"),
            }
        });
        // Of several messages with one expectation, the place of the message tells more.
        let span = if self.messages.bodies.len() > 1 { self.body.span.clone() } else { first };
        let admitted = ruling.decision == Decision::Allow;
        let lines = |step: &steps::Step| {
            let rule = step.rule().unwrap_or(&ruling.rule.pointer);
            let mut lines = vec![format!("{rule}: {}", step.words(admitted))];
            lines.extend(step.details(admitted));
            lines
        };
        let deciding = steps.deciding(ruling).and_then(|index| steps.steps.get(index)).map(lines);
        let meant = expected.rule.as_ref().filter(|rule| *rule.value != *ruling.rule.pointer).map(|rule| {
            let step = steps.steps.iter().find(|step| step.rule() == Some(&rule.value));
            step.map_or_else(|| vec![format!("{}: nobody asked it", rule.value)], lines)
        });
        Some(Failure {
            span,
            message: message.unwrap_or_default(),
            rows,
            deciding: deciding.unwrap_or_default(),
            meant: meant.unwrap_or_default(),
        })
    }
}

/// Everything that is expected, and the places of what is not met.
fn compare(expected: &Expected, ruling: &Ruling, last: bool) -> (Vec<Row>, Vec<Range<usize>>) {
    let mut table = Table::default();
    let Expected { decision, rule, reason, reason_contains, retry_after, counters } = expected;
    let actual = ruling.decision;
    table.row("decision", Some(&decision.span), Some(decision.value.word().into()), actual.word().into());
    let pointer = match &*ruling.rule.pointer {
        "" => "none: the protocol's own".to_owned(),
        pointer => pointer.to_owned(),
    };
    let wanted = rule.as_ref().map(|rule| match &*rule.value {
        "" => "none: the protocol's own".to_owned(),
        pointer => pointer.to_owned(),
    });
    table.row("rule", rule.as_ref().map(|rule| &rule.span), wanted, pointer);
    let told = ruling.reason().unwrap_or("none: the call is allowed").to_owned();
    match (reason, reason_contains) {
        (None, None) if ruling.denial.is_none() => {}
        (None, None) => table.row("reason", None, None, told.clone()),
        (reason, _) => {
            if let Some(reason) = reason {
                table.row("reason", Some(&reason.span), Some(reason.value.clone()), told.clone());
            }
        }
    }
    if let Some(part) = reason_contains {
        let agrees = told.contains(&part.value);
        table.add("reason", &part.span, format!("…{}…", part.value), told, agrees);
    }
    if let (true, Some(retry_after)) = (last, retry_after) {
        let shown = |after: Option<u64>| after.map_or("never".to_owned(), show_duration);
        let after = ruling.retry_after().map(|after| u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
        let agrees = after == retry_after.value;
        table.add("retry_after", &retry_after.span, shown(retry_after.value), shown(after), agrees);
    }
    for (name, number) in counters.iter().filter(|_| last) {
        // Limits with several windows on one counter: any of them.
        let used: Vec<_> =
            ruling.counters.iter().filter(|state| *state.counter == **name).map(|state| state.used).collect();
        let agrees = used.contains(&number.value);
        let shown = match used.as_slice() {
            [] => "not asked".to_owned(),
            used => used.iter().map(|used| used.normalize().to_string()).collect::<Vec<_>>().join(" and "),
        };
        let expected = number.value.normalize().to_string();
        table.add(&format!("counter `{name}`"), &number.span, expected, shown, agrees);
    }
    (table.rows, table.wrong)
}

#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    wrong: Vec<Range<usize>>,
}

impl Table {
    fn row(&mut self, what: &str, span: Option<&Range<usize>>, expected: Option<String>, actual: String) {
        match (span, expected) {
            (Some(span), Some(expected)) => {
                let agrees = expected == actual;
                self.add(what, span, expected, actual, agrees);
            }
            _ => self.rows.push(Row { what: what.to_owned(), expected: None, actual, agrees: true }),
        }
    }

    fn add(&mut self, what: &str, span: &Range<usize>, expected: String, actual: String, agrees: bool) {
        if !agrees {
            self.wrong.push(span.clone());
        }
        self.rows.push(Row { what: what.to_owned(), expected: Some(expected), actual, agrees });
    }
}

fn list(step: &Step, tool: &Spanned<String>, expected: bool, simulation: &Simulation) -> Option<Failure> {
    let actual = simulation.lists(&step.caller, &tool.value);
    if actual == expected {
        return None;
    }
    let word = |shown| if shown { "shown" } else { "left out" };
    let message = format!("list of tools: expected `{}` to be {}, it is {}", tool.value, word(expected), word(actual));
    let row = Row {
        what: "list of tools".to_owned(),
        expected: Some(format!("`{}` {}", tool.value, word(expected))),
        actual: format!("`{}` {}", tool.value, word(actual)),
        agrees: false,
    };
    Some(Failure { span: tool.span.clone(), message, rows: vec![row], deciding: Vec::new(), meant: Vec::new() })
}
