//! Conditions on one argument that no value meets together, and conditions that say the same of every value.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use super::Found;
use super::outline::{Clause, Kind, Outline, Rules, Test, string};
use crate::policy::document::{Json, Node};
use crate::policy::exact;
use crate::policy::load::condition::Operator;

pub(super) fn check(outline: &Outline<'_>, found: &mut Found) {
    let text = outline.text;
    let all = &outline.all_tools;
    for rules in outline.all_rules() {
        for (kind, test) in rules.tests() {
            constant(kind, test, found);
        }
        for clause in rules.deny_if.iter().chain(&rules.approve_if) {
            together(text, clause.tests(), Kind::DenyIf, found);
        }
    }
    together(text, required(all), Kind::Require, found);
    for entry in &outline.tools {
        // What `all_tools` alone contradicts was said.
        if !contradicts(text, required(all)) {
            together(text, required(all).chain(required(&entry.rules)), Kind::Require, found);
        }
    }
    for entry in &outline.methods {
        together(text, required(&entry.rules), Kind::Require, found);
    }
}

/// Every condition of every `require`: all of them must hold.
fn required<'r, 'n>(rules: &'r Rules<'n>) -> impl Iterator<Item = &'r Test<'n>> {
    rules.require.iter().flat_map(Clause::tests)
}

/// A condition that does not depend on the value.
fn constant(kind: Kind, test: &Test<'_>, found: &mut Found) {
    let empty = match test.value.map(|node| &node.json) {
        Some(Json::Array(items)) => items.is_empty(),
        Some(Json::String(text)) => text.is_empty(),
        _ => return,
    };
    let says = match test.op {
        Operator::In | Operator::HostIn | Operator::Type if empty => "holds for nothing",
        Operator::NotIn if empty => "holds for everything",
        Operator::StartsWith | Operator::Contains | Operator::Regex
            if empty && test.value.is_some_and(|node| string(node).is_some()) =>
        {
            "holds for every text"
        }
        _ => return,
    };
    let help = match (kind, says) {
        (Kind::Require, "holds for nothing") => "this `require` refuses every call; write what is allowed into `value`",
        _ => "write into `value` what is meant, or remove the condition",
    };
    let message = format!("`{}` with an empty `value` {says}", test.word());
    let span = test.value.map_or(test.op_span.clone(), |node| node.span.clone());
    found.warn("constant-condition", span, message, help);
}

fn contradicts<'t>(text: &str, tests: impl Iterator<Item = &'t Test<'t>>) -> bool {
    let mut found = Found::default();
    together(text, tests, Kind::Require, &mut found);
    !found.0.is_empty()
}

/// Warns of the first condition on each path after which no value is left.
fn together<'t, 'n: 't>(text: &str, tests: impl Iterator<Item = &'t Test<'n>>, kind: Kind, found: &mut Found) {
    let mut left: BTreeMap<&str, Values> = BTreeMap::new();
    // Over the elements of an array an empty one meets everything.
    for test in tests.filter(|test| test.path.is_single()) {
        let values = left.entry(test.path.text()).or_default();
        if values.settled {
            continue;
        }
        values.narrow(test, text, kind);
        if values.none() {
            values.settled = true;
            let (path, earlier) = (test.path.text(), values.shown.join("`, `"));
            let (message, help) = match kind {
                Kind::Require => (
                    format!("no `{path}` can meet this and `{earlier}`: every call is refused"),
                    "all conditions of all `require` rules must hold; for alternatives write one `in`",
                ),
                _ => (
                    format!("no `{path}` can meet this and `{earlier}`: the rule never holds for a proper value"),
                    "all conditions of a rule must hold; for alternatives write two rules",
                ),
            };
            found.warn("contradiction", test.path_span.start..test.op_span.end.max(test.path_span.end), message, help);
        }
        values.shown.push(shown(test, text));
    }
}

fn shown(test: &Test<'_>, text: &str) -> String {
    let value = test.value.and_then(|node| text.get(node.span.clone())).unwrap_or("true");
    let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{} {value}", test.word())
}

/// The values that are left for one path.
#[derive(Debug, Default)]
struct Values {
    /// Only these, in a canonical spelling, each with its value if it is a number.
    only: Option<BTreeMap<String, Option<Decimal>>>,
    not: BTreeSet<String>,
    /// The bound, and whether it is excluded.
    above: Option<(Decimal, bool)>,
    below: Option<(Decimal, bool)>,
    /// It must be absent, present.
    absent: bool,
    present: bool,
    /// Conditions seen so far, for the message.
    shown: Vec<String>,
    /// Nothing more is to be said.
    settled: bool,
}

impl Values {
    fn narrow(&mut self, test: &Test<'_>, text: &str, kind: Kind) {
        let constants = || test.constants().iter().map(|node| spelled(node, text)).collect::<Option<Vec<_>>>();
        let number = || test.value.and_then(|node| text.get(node.span.clone())).and_then(exact::parse);
        let require = kind == Kind::Require;
        match test.op {
            Operator::Eq | Operator::In => {
                // A number that cannot be compared here: say nothing of this path.
                let Some(constants) = constants() else { return self.settled = true };
                let new: BTreeMap<_, _> = constants.into_iter().collect();
                match &mut self.only {
                    Some(only) => only.retain(|key, _| new.contains_key(key)),
                    None => self.only = Some(new),
                }
            }
            Operator::Neq | Operator::NotIn => {
                let Some(constants) = constants() else { return self.settled = true };
                self.not.extend(constants.into_iter().map(|(key, _)| key));
            }
            Operator::Lt | Operator::Lte | Operator::Gt | Operator::Gte => {
                let Some(number) = number() else { return self.settled = true };
                let excluded = matches!(test.op, Operator::Lt | Operator::Gt);
                let above = matches!(test.op, Operator::Gt | Operator::Gte);
                let bound = if above { &mut self.above } else { &mut self.below };
                let narrower = match *bound {
                    None => true,
                    Some((old, _)) if number == old => excluded,
                    Some((old, _)) => (number > old) == above,
                };
                if narrower {
                    *bound = Some((number, excluded));
                }
            }
            Operator::Exists => {
                let wanted = test.value.is_none_or(|node| text.get(node.span.clone()) == Some("true"));
                self.absent |= !wanted && require;
                self.present |= wanted && require;
            }
            _ => {}
        }
        // In a `require` an absent value meets nothing else.
        self.present |= require && test.op != Operator::Exists;
    }

    fn none(&self) -> bool {
        let crossed = match (self.above, self.below) {
            (Some((above, a)), Some((below, b))) => above > below || (above == below && (a || b)),
            _ => false,
        };
        let fits = |(key, number): (&String, &Option<Decimal>)| {
            let bounded = self.above.is_some() || self.below.is_some();
            let within = |number: &Decimal| {
                self.above.is_none_or(|(bound, excluded)| *number > bound || (!excluded && *number == bound))
                    && self.below.is_none_or(|(bound, excluded)| *number < bound || (!excluded && *number == bound))
            };
            !self.not.contains(key) && (!bounded || number.as_ref().is_some_and(within))
        };
        // An empty `value` has its own warning.
        let emptied = self.only.as_ref().is_some_and(|only| !self.shown.is_empty() && !only.iter().any(fits));
        crossed || emptied || (self.absent && self.present)
    }
}

/// A constant such that equal ones are spelled equally, and its value if it is a number. `None` for numbers that are too
/// long to be compared here.
fn spelled(node: &Node, text: &str) -> Option<(String, Option<Decimal>)> {
    let source = || text.get(node.span.clone()).unwrap_or_default();
    let inner = |node: &Node| spelled(node, text).map(|(spelled, _)| spelled);
    Some(match &node.json {
        Json::Null | Json::Bool => (source().to_owned(), None),
        Json::String(string) => (format!("{string:?}"), None),
        Json::Number => {
            let number = exact::parse(source())?;
            (number.normalize().to_string(), Some(number))
        }
        Json::Array(items) => (format!("[{}]", items.iter().map(inner).collect::<Option<Vec<_>>>()?.join(",")), None),
        Json::Object(members) => {
            let members = members.iter().map(|member| Some(format!("{:?}:{}", member.key, inner(&member.value)?)));
            let mut members = members.collect::<Option<Vec<_>>>()?;
            members.sort();
            (format!("{{{}}}", members.join(",")), None)
        }
    })
}
