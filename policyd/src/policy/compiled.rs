//! A policy, compiled: everything that a decision needs, looked up or formatted beforehand.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;

use super::conditions::{Condition, Facts, Path, Sense};
use super::limits::Window;
use super::names::Names;
use super::{Reply, Rule, Schemas, Standing};
use crate::diagnostic::Report;
use crate::mcp::json::Parser;
use crate::mcp::lists::List;

/// A compiled policy.
#[derive(Debug)]
pub struct Policy {
    pub(super) default: Effect,
    pub(super) observe: bool,
    pub(super) deny_as: Reply,
    pub(super) tool_changes: ToolChanges,
    pub(super) hide: Names<Rule>,
    pub(super) all_tools: Rules,
    pub(super) tools: Names<Entry>,
    pub(super) methods: Names<Entry>,
    pub(super) changes_rule: Rule,
    pub(super) default_rule: Rule,
    pub(super) protocol_rule: Rule,
}

/// `default`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// `tool_changes`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ToolChanges {
    /// Tools change as their server likes.
    Allow,
    /// A change is told of.
    #[default]
    Alert,
    /// And nobody may call the tool until it is accepted.
    Deny,
}

/// What the entry of a tool or a method says.
#[derive(Debug)]
pub(super) struct Entry {
    /// Of an allowed call.
    pub rule: Rule,
    pub action: Action,
    /// `arguments: "declared"`
    pub declared: Option<Rule>,
    pub rules: Rules,
}

/// `action`
#[derive(Debug)]
pub(super) enum Action {
    Allow,
    Deny { rule: Rule, reason: Option<Box<str>> },
    RequireApproval { rule: Rule },
}

/// The lists of rules that a tool and `all_tools` both have.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub require: Vec<Clause>,
    pub deny_if: Vec<Clause>,
    pub approve_if: Vec<Clause>,
    /// In the order of the document, `rate_limit` last.
    pub limits: Vec<Limit>,
}

/// One rule of `require`, `deny_if` or `approve_if`.
#[derive(Debug)]
pub(super) struct Clause {
    pub rule: Rule,
    pub conditions: Box<[Condition]>,
    pub on_deny: Option<Box<str>>,
    /// How long an approval is waited for; of `approve_if` only.
    pub timeout: Option<Duration>,
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
    pub window: Window,
    /// All windows on the counter; filled in when the whole document, and those that share the counter, are known.
    pub windows: Box<[Window]>,
    pub max: Decimal,
    /// `increment_from`; `None` counts calls.
    pub amount: Option<Path>,
    pub on_deny: Option<Box<str>>,
}

/// `scope`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    Grant,
    Session,
    Server,
    Host,
    Global,
}

/// Whose list of tools is filtered: what of a call is known before it is made.
#[derive(Clone, Copy)]
pub struct Lister<'a> {
    /// The grant's name.
    pub grant: &'a str,
    /// The server's name.
    pub server: &'a str,
    /// The agent.
    pub identity: &'a crate::capture::identity::Identity,
    /// Whether tools are what they were when they were accepted.
    pub schemas: &'a dyn Schemas,
}

impl std::fmt::Debug for Lister<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lister").field("grant", &self.grant).field("server", &self.server).finish_non_exhaustive()
    }
}

impl Policy {
    /// Compiles a policy document, or reports everything that is wrong with it. `file` is its name in the report.
    pub fn load(file: &str, text: &str) -> Result<Policy, Report> {
        super::load::load(text).map_err(|mut diagnostics| {
            diagnostics.sort_by_key(|problem| (problem.span.start, problem.span.end));
            Report { file: file.to_owned(), source: text.to_owned(), diagnostics }
        })
    }

    /// Whether a call of `tool` is refused for every possible argument, so that lists leave it out. A tool that waits to be
    /// accepted is among them: what its definition says reaches no agent.
    /// Always false in observe mode.
    pub fn unlists(&self, tool: &str, lister: &Lister<'_>) -> bool {
        if self.observe {
            return false;
        }
        if self.hide.find(tool).is_some() {
            return true;
        }
        let Lister { grant, server, identity, schemas } = *lister;
        if self.refuses_changes() && !may_be_called(schemas.standing(server, tool)) {
            return true;
        }
        let facts = Facts { args: None, tool: Some(tool), grant, server, identity };
        match self.tools.find(tool) {
            Some(entry) => entry.refuses(&facts, None) || self.all_tools.refuse(&facts, None),
            None => self.default == Effect::Deny || self.all_tools.refuse(&facts, None),
        }
    }

    /// Whether what stands in a `list` under `name` is refused whatever else is said when it is used, so that lists leave it
    /// out: a resource by its URI, a prompt by its name, a template only where nothing can be read at all.
    pub fn unlists_entry(&self, list: List, name: &str, lister: &Lister<'_>) -> bool {
        let (method, known) = match list {
            List::Tools => return self.unlists(name, lister),
            List::Resources => ("resources/read", Some("uri")),
            List::Templates => ("resources/read", None),
            List::Prompts => ("prompts/get", Some("name")),
        };
        if self.observe {
            return false;
        }
        let Some(entry) = self.methods.find(method) else { return self.default == Effect::Deny };
        let params = known.map(|key| serde_json::json!({ key: name }).to_string());
        let mut parser = Parser::default();
        let args = params.as_ref().and_then(|params| parser.parse(params.as_bytes()).ok());
        let Lister { grant, server, identity, .. } = *lister;
        entry.refuses(&Facts { args, tool: None, grant, server, identity }, known)
    }

    /// Whether any tool could be unlisted: if not, list responses need not be read.
    pub fn filters_lists(&self) -> bool {
        !self.observe
            && (self.default == Effect::Deny
                || self.refuses_changes()
                || !self.hide.is_empty()
                || self.all_tools.may_refuse()
                || self.tools.values().any(Entry::may_refuse))
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

    /// What is done about definitions that change (`tool_changes`).
    pub fn tool_changes(&self) -> ToolChanges {
        self.tool_changes
    }

    /// Whether tools that wait to be accepted are refused.
    pub(super) fn refuses_changes(&self) -> bool {
        self.tool_changes == ToolChanges::Deny
    }

    /// The form of a refused tool call's reply (`deny_as`).
    pub fn deny_as(&self) -> Reply {
        self.deny_as
    }

    /// Whether an entry of `methods` is about `method`.
    pub fn names_method(&self, method: &str) -> bool {
        self.methods.find(method).is_some()
    }

    /// Whether requests of the server may be refused, so that they have to be looked for in its streams.
    pub fn judges_servers(&self) -> bool {
        self.default == Effect::Deny || !self.methods.is_empty()
    }
}

/// Whether `tool_changes: "deny"` leaves a tool alone. What was never listed is left to the other rules.
pub(super) fn may_be_called(standing: Standing) -> bool {
    matches!(standing, Standing::Accepted | Standing::Unlisted)
}

impl Entry {
    fn refuses(&self, facts: &Facts<'_>, known: Option<&str>) -> bool {
        matches!(self.action, Action::Deny { .. }) || self.rules.refuse(facts, known)
    }

    fn may_refuse(&self) -> bool {
        matches!(self.action, Action::Deny { .. }) || self.rules.may_refuse()
    }
}

impl Rules {
    /// Whether they refuse a call with these facts, whatever its arguments besides the one that is `known`.
    fn refuse(&self, facts: &Facts<'_>, known: Option<&str>) -> bool {
        self.require.iter().any(|clause| clause.never_holds(facts, known))
            || self.deny_if.iter().any(|clause| clause.always_holds(facts, known))
            || self.limits.iter().any(Limit::never_admits)
    }

    /// Whether there are facts with which they refuse every call.
    fn may_refuse(&self) -> bool {
        let without_arguments = |condition: &Condition| !condition.reads_arguments();
        self.require.iter().any(|clause| clause.conditions.iter().any(without_arguments))
            || self.deny_if.iter().any(|clause| clause.conditions.iter().all(without_arguments))
            || self.limits.iter().any(Limit::never_admits)
    }
}

impl Clause {
    /// Whether every condition holds.
    pub fn holds(&self, sense: Sense, facts: &Facts<'_>) -> bool {
        self.conditions.iter().all(|condition| condition.holds(sense, facts))
    }

    /// Whether any condition depends on the call's arguments.
    pub fn reads_arguments(&self) -> bool {
        self.conditions.iter().any(Condition::reads_arguments)
    }

    /// Whether every condition holds that does not depend on the call's arguments.
    pub fn holds_as_far_as_known(&self, sense: Sense, facts: &Facts<'_>) -> bool {
        self.conditions.iter().filter(|condition| !condition.reads_arguments()).all(|one| one.holds(sense, facts))
    }

    /// Whether it fails as a `require`, whatever the arguments besides the one that is `known`.
    fn never_holds(&self, facts: &Facts<'_>, known: Option<&str>) -> bool {
        let fails = |condition: &Condition| condition.reads_only(known) && !condition.holds(Sense::Require, facts);
        self.conditions.iter().any(fails)
    }

    /// Whether it holds as a `deny_if`, whatever the arguments besides the one that is `known`.
    fn always_holds(&self, facts: &Facts<'_>, known: Option<&str>) -> bool {
        let holds = |condition: &Condition| condition.reads_only(known) && condition.holds(Sense::Forbid, facts);
        self.conditions.iter().all(holds)
    }
}

impl Limit {
    /// Whether no call fits, whatever its arguments and whenever it comes.
    fn never_admits(&self) -> bool {
        self.amount.is_none() && self.max < Decimal::ONE
    }
}
