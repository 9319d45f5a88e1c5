//! Conditions: what a rule asks of a call. An undecidable one never lets a call pass.

pub(super) mod automaton;
pub(super) mod cel;
pub(super) mod constant;
pub(super) mod host_in;
mod look_alike;
pub(super) mod number;
pub(crate) mod op;
pub(crate) mod path;
pub(super) mod pattern;
mod strings;
pub(super) mod under_path;

use std::ops::ControlFlow;

pub(super) use op::{Op, Truth};
pub(super) use path::Found;
pub(crate) use path::Path;
pub(super) use pattern::Effort;

use crate::capture::identity::Identity;
use crate::mcp::json::Value;

/// What conditions can ask about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// The call's arguments, or the params of another request; an object.
    pub args: Option<Value<'a>>,
    /// The tool that is called.
    pub tool: Option<&'a str>,
    /// The grant's name.
    pub grant: &'a str,
    /// The server's name.
    pub server: &'a str,
    /// The caller.
    pub identity: &'a Identity,
}

/// Why an operator's `value` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadValue {
    /// Which of the values, where there are several.
    pub index: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// One condition.
#[derive(Debug)]
pub(super) struct Condition {
    pub test: Test,
    /// How it is shown to a person: `args.amount gt 50000`.
    pub shown: Box<str>,
}

/// What a condition asks.
#[derive(Debug)]
pub(super) enum Test {
    At { path: Path, op: Op },
    Cel(cel::Program),
}

/// What a list of rules does with its conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sense {
    /// `require`: must hold, for every element.
    Require,
    /// `deny_if`, `approve_if`: must not hold, for any element.
    Forbid,
}

impl Condition {
    /// Whether it counts as holding. Undecidable, it counts the way that refuses.
    pub fn holds(&self, sense: Sense, facts: &Facts<'_>) -> bool {
        match &self.test {
            Test::At { path, op } => {
                let mut result = sense == Sense::Require;
                let mut effort = Effort::default();
                let _ = path.visit(facts, &mut |found| {
                    let holds = sense.takes(op.test(&found, &mut effort), op);
                    // One element that fails settles a `require`, one that holds a `deny_if`.
                    if holds == (sense == Sense::Forbid) {
                        result = holds;
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                });
                result
            }
            Test::Cel(program) => program.evaluate(facts).unwrap_or(sense == Sense::Forbid),
        }
    }

    /// Whether it depends on no argument but `known`, of those that do not lie deeper.
    pub fn reads_only(&self, known: Option<&str>) -> bool {
        match (&self.test, known) {
            (Test::At { path, .. }, Some(known)) if path.reads_arguments() => {
                matches!(path.steps(), [path::Step::Key(key)] if **key == *known)
            }
            _ => !self.reads_arguments(),
        }
    }

    /// Whether it depends on the call's arguments.
    pub fn reads_arguments(&self) -> bool {
        match &self.test {
            Test::At { path, .. } => path.reads_arguments(),
            Test::Cel(program) => program.reads_arguments(),
        }
    }
}

impl Sense {
    /// Whether what an operator says of a value counts as holding.
    pub fn takes(self, truth: Truth, op: &Op) -> bool {
        match (self, truth) {
            (_, Truth::Holds) => true,
            (_, Truth::HoldsNot) => false,
            (Sense::Require, Truth::Absent | Truth::Wrong) => false,
            (Sense::Forbid, Truth::Absent) => op.holds_for_absent(),
            (Sense::Forbid, Truth::Wrong) => true,
        }
    }
}
