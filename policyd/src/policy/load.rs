//! Document → compiled policy. Collects every problem before it gives up.

use std::collections::HashMap;
use std::ops::Range;

use super::compiled::{Effect, Entry, ToolChanges};
use super::conditions::Path;
use super::document::{self, Json, Member, Node};
use super::names::{Names, Pattern, ties};
use super::reader::{Keys, Reader, member};
use super::{Policy, Reply, Rule, RuleKind, Shared};
use crate::diagnostic::Diagnostic;

pub(crate) mod condition;
pub(crate) mod entry;
pub(crate) mod limit;
pub(crate) mod rules;

use entry::Of;
use limit::Counted;

/// Compiles a document, or gives all of its problems in no particular order.
pub(super) fn load(text: &str) -> Result<Policy, Vec<Diagnostic>> {
    let mut loader = Loader { reader: Reader::new(text), counted: HashMap::new() };
    let policy = document::parse(text, &mut loader.reader.problems).and_then(|node| loader.policy(&node));
    match policy {
        Some(policy) if loader.reader.problems.is_empty() => Ok(policy),
        _ => Err(loader.reader.problems),
    }
}

/// The keys of a policy document.
pub(crate) const DOCUMENT: Keys = Keys {
    of: "a policy",
    known: &[
        "version",
        "default",
        "hide",
        "all_tools",
        "tools",
        "methods",
        "mode",
        "deny_as",
        "tool_changes",
        "description",
        "$schema",
    ],
};

/// `default`'s words.
pub(crate) const DEFAULTS: [(&str, Effect); 2] = [("allow", Effect::Allow), ("deny", Effect::Deny)];
/// `mode`'s words, and whether each only observes.
pub(crate) const MODES: [(&str, bool); 2] = [("enforce", false), ("observe", true)];
/// `deny_as`'s words.
pub(crate) const REPLIES: [(&str, Reply); 2] = [("result", Reply::Result), ("error", Reply::Error)];

/// `tool_changes`' words.
pub(crate) const CHANGES: [(&str, ToolChanges); 3] =
    [("allow", ToolChanges::Allow), ("alert", ToolChanges::Alert), ("deny", ToolChanges::Deny)];

/// How many pairs of patterns that tie are looked for. Who repairs so many sees the rest afterwards.
const MOST_TIES: usize = 1000;

/// A pattern, its text and its place.
type PatternKey<'a> = (Pattern, &'a String, &'a Range<usize>);

struct Loader<'a> {
    reader: Reader<'a>,
    /// What the limits seen so far add to each counter.
    counted: HashMap<Counted, Option<Path>>,
}

impl Loader<'_> {
    fn policy(&mut self, node: &Node) -> Option<Policy> {
        let members = self.reader.object(node, &DOCUMENT)?;
        match self.reader.required(node, members, "version") {
            Some(Node { json: Json::String(version), .. }) if version == "1" => {}
            Some(other) => self.reader.problem(other.place(), "`version` must be \"1\"", None),
            None => {}
        }
        let default = self.reader.required(node, members, "default");
        let default = default.and_then(|node| self.reader.word(node, &DEFAULTS));
        let observe = self.reader.optional_word(members, "mode", &MODES);
        let deny_as = self.reader.optional_word(members, "deny_as", &REPLIES);
        let tool_changes = self.reader.optional_word(members, "tool_changes", &CHANGES);
        for key in ["description", "$schema"] {
            self.reader.optional_string(members, key);
        }
        let hide = self.hide(members);
        let all_tools = member(members, "all_tools").and_then(|node| self.all_tools(node));
        let tools = self.named(members, Of::Tool);
        let methods = self.named(members, Of::Method);
        let mut policy = Policy {
            default: default?,
            observe: observe.unwrap_or(false),
            deny_as: deny_as.unwrap_or(Reply::Result),
            tool_changes: tool_changes.unwrap_or_default(),
            hide,
            all_tools: all_tools.unwrap_or_default(),
            tools,
            methods,
            changes_rule: Rule::at("/tool_changes".to_owned(), RuleKind::ToolChanges),
            default_rule: Rule::word(RuleKind::Default),
            protocol_rule: Rule::word(RuleKind::Protocol),
        };
        // Within a document the limits on one counter agree: that is checked where they are read.
        let mut shared = Shared::default();
        let _ = shared.note("", "", &policy);
        shared.tell(&mut policy);
        Some(policy)
    }

    fn hide(&mut self, members: &[Member]) -> Names<Rule> {
        let (mut exact, mut patterns) = (HashMap::new(), Vec::new());
        let elements = member(members, "hide").and_then(|node| self.reader.array(node)).unwrap_or(&[]);
        for (index, element) in elements.iter().enumerate() {
            let Some(name) = self.tool_name(element) else { continue };
            let rule = Rule::at(format!("/hide/{index}"), RuleKind::Hide);
            match Pattern::parse(name) {
                Some(pattern) => patterns.push((pattern, rule)),
                None => {
                    exact.entry(name.into()).or_insert(rule);
                }
            }
        }
        Names::new(exact, patterns)
    }

    /// The entries of `tools` or `methods`.
    fn named(&mut self, members: &[Member], of: Of) -> Names<Entry> {
        let (mut exact, mut patterns, mut places) = (HashMap::new(), Vec::new(), Vec::new());
        let entries = member(members, of.key()).and_then(|node| self.reader.entries(node, of.keys())).unwrap_or(&[]);
        for Member { key, key_span, value } in entries {
            if key.is_empty() {
                self.reader.problem(key_span.clone(), format!("a {}'s name cannot be empty", of.word()), None);
            }
            if of == Of::Method && key == "tools/call" {
                let help = "rules for tools stand in `tools` and `all_tools`";
                self.reader.problem(key_span.clone(), "`tools/call` is not judged by `methods`", Some(help.to_owned()));
            }
            let Some(entry) = self.entry(key, value, of) else { continue };
            match Pattern::parse(key) {
                Some(pattern) => {
                    places.push((pattern.clone(), key, key_span));
                    patterns.push((pattern, entry));
                }
                None => {
                    exact.insert(key.as_str().into(), entry);
                }
            }
        }
        self.ties(&places, of);
        Names::new(exact, patterns)
    }

    /// Two patterns that can match one name must differ in the length of their literal parts.
    fn ties(&mut self, places: &[PatternKey<'_>], of: Of) {
        let patterns: Vec<&Pattern> = places.iter().map(|(pattern, ..)| pattern).collect();
        for (later, earlier) in ties(&patterns, MOST_TIES) {
            let (Some((_, key, place)), Some((_, other, _))) = (places.get(later), places.get(earlier)) else {
                continue;
            };
            let message = format!("the patterns `{key}` and `{other}` can match the same {}", of.word());
            let help = "their literal parts are equally long, so that neither is more specific; change one";
            self.reader.problem((*place).clone(), message, Some(help.to_owned()));
        }
    }

    fn tool_name<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        let name = self.reader.string(node)?;
        if name.is_empty() {
            self.reader.problem(node.place(), "a tool's name cannot be empty", None);
            return None;
        }
        Some(name)
    }
}

/// A key as a part of a JSON Pointer (RFC 6901, section 3).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
