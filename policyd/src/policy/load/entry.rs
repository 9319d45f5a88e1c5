//! The entries of `tools` and `methods`, and `all_tools`.

use std::sync::Arc;

use super::{Keys, Loader, Member, Node, escaped, member};
use crate::policy::compiled::{Action, Entry, Rules};
use crate::policy::{Rule, RuleKind};

pub(crate) const ALL_TOOLS: Keys = Keys { of: "`all_tools`", known: &["require", "deny_if", "limits"] };
pub(crate) const TOOL: Keys = Keys {
    of: "a tool's entry",
    known: &["action", "reason", "arguments", "require", "deny_if", "approve_if", "limits", "rate_limit"],
};
pub(crate) const METHOD: Keys = Keys {
    of: "a method's entry",
    known: &["action", "reason", "require", "deny_if", "approve_if", "limits", "rate_limit"],
};

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Tool,
    Method,
}

impl Of {
    /// The document's key that holds the entries.
    pub(super) fn key(self) -> &'static str {
        match self {
            Of::Tool => "tools",
            Of::Method => "methods",
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Of::Tool => "tool",
            Of::Method => "method",
        }
    }

    /// The name of the object with the entries; what its keys are is the policy's choice.
    pub(super) fn keys(self) -> &'static Keys {
        match self {
            Of::Tool => &Keys { of: "`tools`", known: &[] },
            Of::Method => &Keys { of: "`methods`", known: &[] },
        }
    }
}

/// `action`'s words.
pub(crate) const ACTIONS: [(&str, Word); 3] =
    [("allow", Word::Allow), ("deny", Word::Deny), ("require_approval", Word::RequireApproval)];

/// What `action` says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word {
    Allow,
    Deny,
    RequireApproval,
}

impl Loader<'_> {
    pub(super) fn all_tools(&mut self, node: &Node) -> Option<Rules> {
        let members = self.reader.object(node, &ALL_TOOLS)?;
        Some(self.rules(members, "/all_tools"))
    }

    pub(super) fn entry(&mut self, name: &str, node: &Node, of: Of) -> Option<Entry> {
        let (keys, kind) = match of {
            Of::Tool => (&TOOL, RuleKind::Tool),
            Of::Method => (&METHOD, RuleKind::Method),
        };
        let members = self.reader.object(node, keys)?;
        let pointer = format!("/{}/{}", of.key(), escaped(name));
        let action = self.action(members, &pointer);
        let declared =
            member(members, "arguments").filter(|node| self.reader.word(node, &[("declared", ())]).is_some());
        let mut rules = self.rules(members, &pointer);
        if let Some(node) = member(members, "rate_limit") {
            rules.limits.extend(self.rate_limit(node, &pointer));
        }
        Some(Entry {
            action,
            declared: declared.map(|_| Rule::at(format!("{pointer}/arguments"), RuleKind::Arguments)),
            rules,
            rule: Rule { pointer: Arc::from(pointer), kind },
        })
    }

    fn action(&mut self, members: &[Member], pointer: &str) -> Action {
        let word = self.reader.optional_word(members, "action", &ACTIONS).unwrap_or(Word::Allow);
        let reason = self.reader.optional_string(members, "reason").map(Box::from);
        let at = |kind| Rule::at(format!("{pointer}/action"), kind);
        match word {
            Word::Allow => Action::Allow,
            Word::Deny => Action::Deny { rule: at(RuleKind::Action), reason },
            Word::RequireApproval => Action::RequireApproval { rule: at(RuleKind::Approval) },
        }
    }

    /// `require`, `deny_if`, `approve_if` and `limits`, as far as the object's keys have them.
    fn rules(&mut self, members: &[Member], pointer: &str) -> Rules {
        Rules {
            require: self.clauses(members, "require", RuleKind::Require, pointer),
            deny_if: self.clauses(members, "deny_if", RuleKind::DenyIf, pointer),
            approve_if: self.clauses(members, "approve_if", RuleKind::Approval, pointer),
            limits: self.limits(members, pointer),
        }
    }
}
