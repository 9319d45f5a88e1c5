//! `require`, `deny_if` and `approve_if`.

use std::time::Duration;

use super::limit::duration;
use super::{Json, Keys, Loader, Member, Node, member};
use crate::policy::compiled::Clause;
use crate::policy::{Rule, RuleKind};

pub(crate) const CLAUSE: Keys = Keys { of: "a rule", known: &["conditions", "on_deny", "name"] };
pub(crate) const APPROVAL: Keys =
    Keys { of: "a rule of `approve_if`", known: &["conditions", "on_deny", "name", "timeout"] };

impl Loader<'_> {
    /// The list of rules under `key`; `pointer` is the place of the object that has it.
    pub(super) fn clauses(&mut self, members: &[Member], key: &str, kind: RuleKind, pointer: &str) -> Vec<Clause> {
        let elements = member(members, key).and_then(|node| self.reader.array(node)).unwrap_or(&[]);
        let clause = |(index, node)| self.clause(node, Rule::at(format!("{pointer}/{key}/{index}"), kind));
        elements.iter().enumerate().filter_map(clause).collect()
    }

    fn clause(&mut self, node: &Node, rule: Rule) -> Option<Clause> {
        let keys = if rule.kind == RuleKind::Approval { &APPROVAL } else { &CLAUSE };
        let members = self.reader.object(node, keys)?;
        self.reader.optional_string(members, "name");
        let on_deny = self.reader.optional_string(members, "on_deny").map(Box::from);
        let timeout = member(members, "timeout").map(|node| self.timeout(node));
        let conditions = self.reader.required(node, members, "conditions").and_then(|node| self.reader.array(node));
        let conditions: Vec<Option<_>> = conditions?.iter().map(|node| self.condition(node)).collect();
        let conditions: Option<Box<[_]>> = conditions.into_iter().collect();
        let timeout = match timeout {
            Some(timeout) => Some(timeout?),
            None => None,
        };
        Some(Clause { rule, conditions: conditions?, on_deny, timeout })
    }

    /// How long an approval is waited for.
    fn timeout(&mut self, node: &Node) -> Option<Duration> {
        let timeout = match &node.json {
            Json::String(text) => duration(text),
            _ => None,
        };
        match timeout {
            Some(nanoseconds) if nanoseconds > 0 => Some(Duration::from_nanos(nanoseconds)),
            _ => {
                self.reader.problem(
                    node.place(),
                    "this is no duration",
                    Some("such as `30s`, `10m` or `2h`".to_owned()),
                );
                None
            }
        }
    }
}
