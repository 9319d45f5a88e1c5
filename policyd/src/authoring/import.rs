//! A policy of another proxy as one of this language: PolicyLayer Intercept's YAML.
//!
//! Carried over is what decides the same here. Where that cannot be had, the place is an error. Where what is decided
//! differs at an edge, it is a note, one for each kind; but for numbers that differ behind their fifteenth digit, which can
//! go either way, the edge is a refusal here. The source of what things mean there: <https://github.com/policylayer/intercept>, `POLICY.md`
//! and `internal/`, as of version 1 of its format.

use std::ops::Range;

use super::format::{self, Layout, quoted};
use crate::diagnostic::{Diagnostic, Report, did_you_mean};
use crate::policy::Policy;

mod condition;
mod regexp;
mod rule;
mod yaml;

use yaml::{Entry, Node, Yaml};

/// Whose calls a counter adds up. There it is kept in a store that all callers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scope {
    /// Of one grant
    Grant,
    /// Of all grants of the server, as there
    Server,
    /// Of all servers on this host: for policies that shared a store and counters there
    Host,
}

/// A policy that was carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The policy, laid out.
    pub policy: String,
    /// Where it decides otherwise at an edge, if anywhere.
    pub notes: Report,
}

/// Carries a policy over. `file` is its name in reports.
///
/// # Errors
///
/// Everything that cannot be carried over, and everything that is wrong with it there.
pub fn import(file: &str, text: &str, scope: Scope) -> Result<Imported, Report> {
    let mut importer = Importer { scope, problems: Vec::new(), notes: Vec::new(), counters: Vec::new() };
    let policy = yaml::parse(text, &mut importer.problems).map(|node| importer.policy(&node));
    let report = |mut diagnostics: Vec<Diagnostic>| {
        diagnostics.sort_by_key(|problem| (problem.span.start, problem.span.end));
        Report { file: file.to_owned(), source: text.to_owned(), diagnostics }
    };
    let policy = match policy {
        Some(policy) if importer.problems.is_empty() => policy,
        _ => return Err(report(importer.problems)),
    };
    let whole = |other: Report| {
        let problem = |problem: &Diagnostic| Diagnostic::error(0..0, format!("as a whole: {}", problem.message));
        report(other.diagnostics.iter().map(problem).collect())
    };
    let policy = format::format(file, &policy, Layout::Policy).map_err(whole)?;
    Policy::load(file, &policy).map_err(whole)?;
    let notes = importer.notes.into_iter().map(Note::diagnostic).collect();
    Ok(Imported { policy, notes: report(notes) })
}

/// The keys of one kind of mapping.
struct Keys {
    of: &'static str,
    known: &'static [&'static str],
}

const DOCUMENT: Keys = Keys { of: "the policy", known: &["version", "description", "default", "hide", "tools"] };
const TOOL: Keys = Keys { of: "a tool's entry", known: &["rules"] };

/// Keys of later versions there, and why they are not carried over.
const LATER: [(&str, &str); 3] = [
    ("spend", "budgets of payments have no counterpart; a limit with `increment_from` adds up an argument"),
    ("approvals", rule::APPROVALS),
    ("approval_timeout", rule::APPROVALS),
];

/// A kind of difference, where it first matters, and how often.
struct Note {
    text: &'static str,
    help: &'static str,
    span: Range<usize>,
    count: usize,
}

impl Note {
    fn diagnostic(self) -> Diagnostic {
        let more = match self.count {
            1 => String::new(),
            count => format!(" (here and in {} more)", places(count - 1)),
        };
        Diagnostic::note(self.span, format!("{}{more}", self.text)).help(self.help)
    }
}

/// `1 place`, `2 places`
fn places(count: usize) -> String {
    format!("{count} place{}", if count == 1 { "" } else { "s" })
}

struct Importer {
    scope: Scope,
    problems: Vec<Diagnostic>,
    notes: Vec<Note>,
    /// The counters so far: there a tool's name and a counter's make one name, which need not be unique.
    counters: Vec<String>,
}

/// What the rules of a tool, or of all, came to: JSON texts.
#[derive(Default)]
struct Rules {
    /// Of the first rule that denies outright.
    deny: Option<Vec<(&'static str, String)>>,
    require: Vec<String>,
    limits: Vec<String>,
}

impl Importer {
    /// The policy as JSON; complete if there are no problems.
    fn policy(&mut self, node: &Node) -> String {
        let entries = self.map(node, &DOCUMENT);
        let mut members = vec![("version", quoted("1"))];
        match entry(entries, "version") {
            Some(version) if self.text(version).as_deref() == Some("1") => {}
            Some(version) => self.problem(version.place(), "`version` must be \"1\"", "there is no other version"),
            None => self.problem(node.place(), "`version` is missing", "write `version: \"1\"`"),
        }
        if let Some(text) = entry(entries, "description").and_then(|node| self.text(node)) {
            members.push(("description", quoted(&text)));
        }
        let default = entry(entries, "default").filter(|node| !node.is_null());
        let default = default.and_then(|node| self.word(node, &["allow", "deny"])).unwrap_or("allow");
        members.push(("default", quoted(default)));
        if let Some(hide) = entry(entries, "hide").map(|node| self.hide(node)).filter(|hide| !hide.is_empty()) {
            members.push(("hide", list(&hide)));
        }
        let tools = entry(entries, "tools").map_or(&[][..], |node| self.entries(node, "`tools`"));
        let mut own = Vec::new();
        for Entry { key, key_span, value } in tools {
            let rules = entry(self.map(value, &TOOL), "rules");
            let rules = rules.map_or(&[][..], |node| self.list(node));
            let converted = self.rules(if key == "*" { "_global" } else { key }, rules);
            match &**key {
                "*" => members.push(("all_tools", all_tools(converted))),
                name => {
                    if name.is_empty() {
                        self.problem(key_span.clone(), "a tool's name cannot be empty", "name the tool");
                    }
                    self.literal(key_span.clone(), name);
                    own.push((name, tool(converted)));
                }
            }
        }
        members.push(("tools", object(&own)));
        object(&members)
    }

    fn hide(&mut self, node: &Node) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for element in self.list(node) {
            let Yaml::Scalar { text: name, .. } = &element.yaml else {
                self.problem(element.place(), "expected a text", "the name of a tool");
                continue;
            };
            if name.trim().is_empty() || element.is_null() {
                self.problem(element.place(), "a tool's name cannot be empty", "name the tool");
                continue;
            }
            if name != "*" {
                self.literal(element.place(), name);
            }
            if names.contains(&quoted(name)) {
                self.problem(element.place(), format!("`{name}` is hidden twice"), "remove one of the two");
            }
            names.push(quoted(name));
        }
        names
    }

    /// A name with `*` in it stands for itself there, and for many here.
    fn literal(&mut self, span: Range<usize>, name: &str) {
        if name.contains('*') {
            let help = "there only a tool of exactly this name is meant, here `*` matches any characters";
            self.problem(span, format!("the name `{name}` cannot be carried over"), help);
        }
    }

    // The kinds of values, as Go's reader takes them: what is null is as good as absent.

    /// A mapping whose keys are all known.
    fn map<'n>(&mut self, node: &'n Node, keys: &Keys) -> &'n [Entry] {
        let entries = self.entries(node, keys.of);
        for Entry { key, key_span, .. } in entries.iter().filter(|entry| !keys.known.contains(&&*entry.key)) {
            if let Some((_, why)) = LATER.iter().find(|(later, _)| later == key) {
                self.problem(key_span.clone(), format!("`{key}` cannot be carried over"), *why);
                continue;
            }
            let help = match did_you_mean(key, keys.known.iter().copied()) {
                Some(word) => format!("did you mean `{word}`? there it has no effect"),
                None => "there it has no effect; remove it".to_owned(),
            };
            self.problem(key_span.clone(), format!("unknown key `{key}` in {}", keys.of), help);
        }
        entries
    }

    fn entries<'n>(&mut self, node: &'n Node, of: &str) -> &'n [Entry] {
        match &node.yaml {
            Yaml::Map(entries) => entries,
            _ if node.is_null() => &[],
            _ => {
                self.problem(node.place(), format!("{of} must be a mapping"), "`key: value` on lines of their own");
                &[]
            }
        }
    }

    fn list<'n>(&mut self, node: &'n Node) -> &'n [Node] {
        match &node.yaml {
            Yaml::List(nodes) => nodes,
            _ if node.is_null() => &[],
            _ => {
                self.problem(node.place(), "expected a list", "`- element` on lines of their own, or `[a, b]`");
                &[]
            }
        }
    }

    /// A text; `None` if there is none.
    fn text(&mut self, node: &Node) -> Option<String> {
        match &node.yaml {
            _ if node.is_null() => None,
            Yaml::Scalar { text, .. } => Some(text.clone()).filter(|text| !text.is_empty()),
            _ => {
                self.problem(node.place(), "expected a text", "put quotes around it if it is one");
                None
            }
        }
    }

    /// One of a few words.
    fn word(&mut self, node: &Node, words: &[&'static str]) -> Option<&'static str> {
        let text = self.text(node).unwrap_or_default();
        let found = words.iter().find(|word| **word == text).copied();
        if found.is_none() {
            let listed: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            let help = match did_you_mean(&text, words.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("there are {}", listed.join(", ")),
            };
            self.problem(node.place(), format!("`{text}` is not known here"), help);
        }
        found
    }

    fn problem(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Diagnostic::error(span, message).help(help));
    }

    fn note(&mut self, span: Range<usize>, text: &'static str, help: &'static str) {
        match self.notes.iter_mut().find(|note| note.text == text) {
            Some(note) => note.count += 1,
            None => self.notes.push(Note { text, help, span, count: 1 }),
        }
    }
}

fn entry<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Node> {
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

/// The entry of `tools`.
fn tool(rules: Rules) -> String {
    let mut members = Vec::new();
    if let Some(words) = &rules.deny {
        members.push(("action", quoted("deny")));
        let reason = words.iter().find(|(key, _)| *key == "on_deny");
        members.extend(reason.map(|(_, reason)| ("reason", reason.clone())));
    }
    members.extend(rules.lists());
    object(&members)
}

/// `all_tools`, which has no `action`: a rule that always holds denies as well.
fn all_tools(rules: Rules) -> String {
    let mut members = rules.lists();
    if let Some(words) = rules.deny {
        let always = [vec![("conditions", list(&[]))], words].concat();
        members.push(("deny_if", list(&[object(&always)])));
    }
    object(&members)
}

impl Rules {
    fn lists(&self) -> Vec<(&'static str, String)> {
        let lists = [("require", &self.require), ("limits", &self.limits)];
        lists.into_iter().filter(|(_, texts)| !texts.is_empty()).map(|(key, texts)| (key, list(texts))).collect()
    }
}

/// JSON of JSON.
fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(key, value)| format!("{}:{value}", quoted(key))).collect();
    format!("{{{}}}", members.join(","))
}

fn list(elements: &[String]) -> String {
    format!("[{}]", elements.join(","))
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
