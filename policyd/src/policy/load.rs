//! Document → compiled policy. Collects every problem before it gives up.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::compiled::{Deny, Effect, Entry, Limit};
use super::document::{self, Json, Member, Node};
use super::names::{Names, Pattern};
use super::{Policy, Reply, Rule, RuleKind};
use crate::diagnostic::{Diagnostic, did_you_mean};

mod limit;

use limit::Counted;

/// Compiles a document, or gives all of its problems in no particular order.
pub(super) fn load(text: &str) -> Result<Policy, Vec<Diagnostic>> {
    let mut loader = Loader { text, problems: Vec::new(), counted: HashMap::new() };
    let policy = document::parse(text, &mut loader.problems).and_then(|node| loader.policy(&node));
    match policy {
        Some(policy) if loader.problems.is_empty() => Ok(policy),
        _ => Err(loader.problems),
    }
}

/// The keys of one kind of object: those that are understood, and those of the language that come later.
struct Keys {
    of: &'static str,
    known: &'static [&'static str],
    later: &'static [&'static str],
}

const DOCUMENT: Keys = Keys {
    of: "a policy",
    known: &["version", "default", "hide", "all_tools", "tools", "mode", "deny_as", "description", "$schema"],
    later: &["methods", "tool_changes"],
};
const ALL_TOOLS: Keys =
    Keys { of: "`all_tools`", known: &["limits"], later: &["require", "deny_if", "approve_if", "arguments"] };
const TOOL: Keys = Keys {
    of: "a tool's entry",
    known: &["action", "reason", "limits", "rate_limit"],
    later: &["require", "deny_if", "approve_if", "arguments"],
};

/// A pattern, its text and its place.
type PatternKey<'a> = (Pattern, &'a String, &'a Range<usize>);

struct Loader<'a> {
    text: &'a str,
    problems: Vec<Diagnostic>,
    /// What the limits seen so far add to each counter.
    counted: HashMap<Counted, Option<String>>,
}

impl Loader<'_> {
    fn policy(&mut self, node: &Node) -> Option<Policy> {
        let members = self.object(node, &DOCUMENT)?;
        match self.required(node, members, "version") {
            Some(Node { json: Json::String(version), .. }) if version == "1" => {}
            Some(other) => self.problem(other.place(), "`version` must be \"1\"", None),
            None => {}
        }
        let default = self.required(node, members, "default");
        let default = default.and_then(|node| self.word(node, &[("allow", Effect::Allow), ("deny", Effect::Deny)]));
        let observe = self.optional_word(members, "mode", &[("enforce", false), ("observe", true)]);
        let deny_as = self.optional_word(members, "deny_as", &[("result", Reply::Result), ("error", Reply::Error)]);
        for key in ["description", "$schema"] {
            self.optional_string(members, key);
        }
        let hide = self.hide(members);
        let mut all_limits = Vec::new();
        if let Some(node) = member(members, "all_tools")
            && let Some(members) = self.object(node, &ALL_TOOLS)
        {
            self.limits(members, "/all_tools", &mut all_limits);
        }
        let tools = self.tools(members);
        Some(Policy {
            default: default?,
            observe: observe.unwrap_or(false),
            deny_as: deny_as.unwrap_or(Reply::Result),
            hide,
            tools,
            all_limits,
            default_rule: Rule::word(RuleKind::Default),
            protocol_rule: Rule::word(RuleKind::Protocol),
        })
    }

    fn hide(&mut self, members: &[Member]) -> Names<Rule> {
        let (mut exact, mut patterns) = (HashMap::new(), Vec::new());
        let elements = member(members, "hide").and_then(|node| self.array(node)).unwrap_or(&[]);
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

    fn tools(&mut self, members: &[Member]) -> Names<Entry> {
        let (mut exact, mut patterns, mut places) = (HashMap::new(), Vec::new(), Vec::new());
        let none = Keys { of: "`tools`", known: &[], later: &[] };
        let entries = member(members, "tools").and_then(|node| self.entries(node, &none)).unwrap_or(&[]);
        for Member { key, key_span, value } in entries {
            if key.is_empty() {
                self.problem(key_span.clone(), "a tool's name cannot be empty", None);
            }
            let Some(entry) = self.tool(key, value) else { continue };
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
        self.ties(&places);
        Names::new(exact, patterns)
    }

    /// Two patterns that can match one name must differ in the length of their literal parts.
    fn ties(&mut self, places: &[PatternKey<'_>]) {
        let mut groups: HashMap<usize, Vec<&PatternKey<'_>>> = HashMap::new();
        for place in places {
            let group = groups.entry(place.0.literal()).or_default();
            if let Some((_, other, _)) = group.iter().find(|(pattern, ..)| pattern.overlaps(&place.0)) {
                let message = format!("the patterns `{}` and `{other}` can match the same tool", place.1);
                let help = "their literal parts are equally long, so that neither is more specific; change one";
                self.problem(place.2.clone(), message, Some(help.to_owned()));
            }
            group.push(place);
        }
    }

    fn tool(&mut self, name: &str, node: &Node) -> Option<Entry> {
        let members = self.object(node, &TOOL)?;
        let pointer = format!("/tools/{}", escaped(name));
        let action = member(members, "action");
        let denied = match action {
            Some(Node { json: Json::String(word), span }) if word == "require_approval" => {
                self.problem(span.clone(), "action `require_approval` is not supported yet", None);
                None
            }
            Some(node) => self.word(node, &[("allow", false), ("deny", true)]),
            None => None,
        };
        let reason = self.optional_string(members, "reason").map(Box::from);
        let deny = denied
            .unwrap_or(false)
            .then(|| Deny { rule: Rule::at(format!("{pointer}/action"), RuleKind::Action), reason });
        let mut limits: Vec<Limit> = Vec::new();
        self.limits(members, &pointer, &mut limits);
        if let Some(node) = member(members, "rate_limit") {
            limits.extend(self.rate_limit(node, &pointer));
        }
        Some(Entry { rule: Rule { pointer: Arc::from(pointer), kind: RuleKind::Tool }, deny, limits })
    }

    fn tool_name<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        let name = self.string(node)?;
        if name.is_empty() {
            self.problem(node.place(), "a tool's name cannot be empty", None);
            return None;
        }
        Some(name)
    }

    // The kinds of values. Each gives `None` after it has noted what is wrong.

    /// An object whose keys are all known.
    fn object<'n>(&mut self, node: &'n Node, keys: &Keys) -> Option<&'n [Member]> {
        let members = self.entries(node, keys)?;
        for Member { key, key_span, .. } in members {
            if keys.known.contains(&key.as_str()) {
                continue;
            }
            if keys.later.contains(&key.as_str()) {
                self.problem(key_span.clone(), format!("`{key}` is not supported yet"), None);
                continue;
            }
            let help = did_you_mean(key, keys.known.iter().copied())
                .map(|word| format!("did you mean `{word}`?"))
                .unwrap_or_else(|| format!("{} has {}", keys.of, listed(keys.known)));
            self.problem(key_span.clone(), format!("unknown key `{key}` in {}", keys.of), Some(help));
        }
        Some(members)
    }

    /// An object, whatever its keys.
    fn entries<'n>(&mut self, node: &'n Node, keys: &Keys) -> Option<&'n [Member]> {
        match &node.json {
            Json::Object(members) => Some(members),
            _ => self.wrong(node, &format!("{} must be an object", keys.of)),
        }
    }

    fn array<'n>(&mut self, node: &'n Node) -> Option<&'n [Node]> {
        match &node.json {
            Json::Array(elements) => Some(elements),
            _ => self.wrong(node, "expected an array"),
        }
    }

    fn string<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        match &node.json {
            Json::String(text) => Some(text),
            _ => self.wrong(node, "expected a string"),
        }
    }

    fn optional_string<'n>(&mut self, members: &'n [Member], key: &str) -> Option<&'n str> {
        member(members, key).and_then(|node| self.string(node))
    }

    /// One of a few words, each with what it stands for.
    fn word<T: Copy>(&mut self, node: &Node, words: &[(&'static str, T)]) -> Option<T> {
        let names: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
        let Json::String(text) = &node.json else {
            return self.wrong(node, &format!("expected {}", alternatives(&names)));
        };
        let found = words.iter().find(|(word, _)| word == text).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let help = did_you_mean(text, names.iter().copied()).map(|word| format!("did you mean `{word}`?"));
            self.problem(node.place(), format!("expected {}, found `{text}`", alternatives(&names)), help);
        }
        found
    }

    fn optional_word<T: Copy>(&mut self, members: &[Member], key: &str, words: &[(&'static str, T)]) -> Option<T> {
        member(members, key).and_then(|node| self.word(node, words))
    }

    fn required<'n>(&mut self, node: &Node, members: &'n [Member], key: &str) -> Option<&'n Node> {
        let found = member(members, key);
        if found.is_none() {
            self.problem(node.place(), format!("`{key}` is missing"), None);
        }
        found
    }

    fn wrong<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        self.problem(node.place(), format!("{expected}, found {}", node.kind()), None);
        None
    }

    fn problem(&mut self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        self.problems.push(Diagnostic { message: message.into(), span, help });
    }
}

fn member<'n>(members: &'n [Member], key: &str) -> Option<&'n Node> {
    members.iter().find(|member| member.key == key).map(|member| &member.value)
}

/// A key as a part of a JSON Pointer (RFC 6901, section 3).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// `` `a`, `b`, `c` ``
fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// `` `a`, `b` or `c` ``
fn alternatives(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or `{last}`", listed(rest)),
        _ => listed(words),
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
