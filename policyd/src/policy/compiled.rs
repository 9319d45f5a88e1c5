//! A policy, compiled: everything that a decision needs, looked up or formatted beforehand.

use std::sync::Arc;

use rust_decimal::Decimal;

use super::names::Names;
use super::path::Path;
use super::{Reply, Rule};
use crate::diagnostic::Report;

/// A compiled policy.
#[derive(Debug)]
pub struct Policy {
    pub(super) default: Effect,
    pub(super) observe: bool,
    pub(super) deny_as: Reply,
    pub(super) hide: Names<Rule>,
    pub(super) tools: Names<Entry>,
    pub(super) all_limits: Vec<Limit>,
    pub(super) default_rule: Rule,
    pub(super) protocol_rule: Rule,
}

/// `default`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// What a tool's entry says.
#[derive(Debug)]
pub(super) struct Entry {
    /// Of an allowed call.
    pub rule: Rule,
    /// `action: "deny"`.
    pub deny: Option<Deny>,
    /// In the order of the document, `rate_limit` last.
    pub limits: Vec<Limit>,
}

/// `action: "deny"` and its `reason`.
#[derive(Debug)]
pub(super) struct Deny {
    pub rule: Rule,
    pub reason: Option<Box<str>>,
}

/// A limit.
#[derive(Debug)]
pub(super) struct Limit {
    pub rule: Rule,
    /// The counter's name; the rule's pointer for a `rate_limit`.
    pub counter: Arc<str>,
    /// A `rate_limit`'s own counter.
    pub own: bool,
    pub scope: Scope,
    /// Nanoseconds, more than zero.
    pub window: u64,
    pub max: Decimal,
    /// `increment_from`; `None` counts calls.
    pub amount: Option<Path>,
    pub on_deny: Option<Box<str>>,
}

impl Limit {
    /// Whether no call fits, whatever its arguments and whenever it comes.
    fn never_admits(&self) -> bool {
        self.amount.is_none() && self.max < Decimal::ONE
    }
}

/// `scope`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    Grant,
    Session,
    Server,
    Host,
    Global,
}

impl Policy {
    /// Compiles a policy document, or reports everything that is wrong with it. `file` is its name in the report.
    pub fn load(file: &str, text: &str) -> Result<Policy, Report> {
        super::load::load(text).map_err(|mut diagnostics| {
            diagnostics.sort_by_key(|problem| (problem.span.start, problem.span.end));
            Report { file: file.to_owned(), source: text.to_owned(), diagnostics }
        })
    }

    /// Whether a call of `tool` is refused for every possible argument, so that lists leave it out.
    /// Always false in observe mode.
    pub fn unlists(&self, tool: &str) -> bool {
        if self.observe {
            return false;
        }
        if self.hide.find(tool).is_some() || self.all_limits.iter().any(Limit::never_admits) {
            return true;
        }
        match self.tools.find(tool) {
            Some(entry) => entry.always_denies(),
            None => self.default == Effect::Deny,
        }
    }

    /// Whether any tool could be unlisted: if not, list responses need not be read.
    pub fn filters_lists(&self) -> bool {
        !self.observe
            && (self.default == Effect::Deny
                || !self.hide.is_empty()
                || self.all_limits.iter().any(Limit::never_admits)
                || self.tools.values().any(Entry::always_denies))
    }

    /// The tools that the policy names exactly, hidden ones too: a bounded set, for the labels of metrics. A name that
    /// is both hidden and has an entry comes twice.
    pub fn named_tools(&self) -> impl Iterator<Item = &str> {
        self.tools.exact().chain(self.hide.exact())
    }

    /// Whether the policy only observes (`mode: "observe"`): its own denials are recorded and let pass.
    pub fn observes(&self) -> bool {
        self.observe
    }

    /// The form of a refused tool call's reply (`deny_as`).
    pub fn deny_as(&self) -> Reply {
        self.deny_as
    }
}

impl Entry {
    fn always_denies(&self) -> bool {
        self.deny.is_some() || self.limits.iter().any(Limit::never_admits)
    }
}
