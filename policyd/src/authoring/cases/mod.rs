//! Tests of policies: cases over time, each with what is to be decided. `policyd policy test` runs them.

mod junit;
mod read;
mod report;
mod run;
mod schema;
#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;

use std::ops::Range;

use bytes::Bytes;
use rust_decimal::Decimal;

use super::reader::Spanned;
use super::simulation::{Caller, Decision};
use super::tools::Tool;
use crate::policy::Direction;

pub(crate) use junit::{Ran, junit};
pub(crate) use read::read;
pub(crate) use report::{json, render};
pub(crate) use run::{CaseResult, Failure, run};
pub(crate) use schema::schema;

/// A suite: one policy and its cases.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Suite {
    /// The policy's path, as the test file gives it: relative to that file.
    pub policy: Spanned<String>,
    /// What the server declares of its tools.
    pub tools: Option<Tools>,
    pub cases: Vec<Case>,
}

/// The server's tools.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tools {
    /// A dump of them, by its path relative to the test file.
    File(Spanned<String>),
    /// They stand in the test file.
    Here(Vec<Tool>),
}

/// A case: steps in the order of time, on counters of its own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    pub name: String,
    /// Its place.
    pub span: Range<usize>,
    /// The time of its beginning, in nanoseconds since 1970 in UTC.
    pub start: u64,
    pub steps: Vec<Step>,
}

/// One step of a case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// When, in nanoseconds after the beginning of the case.
    pub at: u64,
    pub caller: Caller,
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Messages(Box<Messages>),
    /// The list of tools is looked at.
    Lists {
        /// What it shows.
        shown: Vec<Spanned<String>>,
        /// What it leaves out.
        hidden: Vec<Spanned<String>>,
    },
}

/// Messages that all come to the same.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Messages {
    /// What they are, in words.
    pub what: String,
    /// Each with its place.
    pub bodies: Vec<Spanned<Bytes>>,
    pub direction: Direction,
    /// How often each is sent, and how far apart, in nanoseconds.
    pub times: u64,
    pub every: u64,
    /// Whether sending fails after the decision, so that the quota is given back.
    pub unsent: bool,
    pub expected: Expected,
}

/// What a decision is to be. What is not said is not looked at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expected {
    pub decision: Spanned<Decision>,
    pub rule: Option<Spanned<String>>,
    pub reason: Option<Spanned<String>>,
    pub reason_contains: Option<Spanned<String>>,
    /// Nanoseconds until trying again can help; `None`: never. Of the last message.
    pub retry_after: Option<Spanned<Option<u64>>>,
    /// What counters hold after the last message.
    pub counters: Vec<(String, Spanned<Decimal>)>,
}
