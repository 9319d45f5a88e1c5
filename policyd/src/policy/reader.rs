//! Reads documents whose every part knows its place: strict, and every problem at once.

use std::ops::Range;

use super::document::{Json, Member, Node};
use crate::diagnostic::{Diagnostic, did_you_mean};

// The kinds of problems, for programs.

/// A key that the language does not have.
pub(crate) const UNKNOWN_KEY: &str = "unknown-key";
/// A key that must be there is not.
pub(crate) const MISSING_KEY: &str = "missing-key";
/// A value of another JSON type than the one that must stand there.
pub(crate) const WRONG_TYPE: &str = "wrong-type";
/// A word that is none of the few that can stand there.
pub(crate) const UNKNOWN_WORD: &str = "unknown-word";
/// Anything else that makes no sense.
pub(crate) const INVALID: &str = "invalid";

/// The keys of one kind of object.
pub(crate) struct Keys {
    /// The object, in words: `a rule`.
    pub of: &'static str,
    /// What it may have.
    pub known: &'static [&'static str],
}

/// A text that is read, and what was wrong so far.
pub(crate) struct Reader<'a> {
    pub text: &'a str,
    pub problems: Vec<Diagnostic>,
}

/// The kinds of values. Each method gives `None` after it has noted what is wrong.
impl<'a> Reader<'a> {
    /// Nothing was wrong so far.
    pub fn new(text: &'a str) -> Reader<'a> {
        Reader { text, problems: Vec::new() }
    }

    /// The text of a node, as it is written.
    pub fn raw(&self, node: &Node) -> &'a str {
        self.text.get(node.span.clone()).unwrap_or_default()
    }

    /// An object whose keys are all known.
    pub fn object<'n>(&mut self, node: &'n Node, keys: &Keys) -> Option<&'n [Member]> {
        let members = self.entries(node, keys)?;
        for Member { key, key_span, .. } in members {
            if keys.known.contains(&key.as_str()) {
                continue;
            }
            let help = match did_you_mean(key, keys.known.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("{} has {}", keys.of, listed(keys.known)),
            };
            self.problem(key_span.clone(), format!("unknown key `{key}` in {}", keys.of), help);
            self.code(UNKNOWN_KEY);
        }
        Some(members)
    }

    /// An object, whatever its keys.
    pub fn entries<'n>(&mut self, node: &'n Node, keys: &Keys) -> Option<&'n [Member]> {
        match &node.json {
            Json::Object(members) => Some(members),
            _ => self.wrong(node, &format!("{} must be an object", keys.of)),
        }
    }

    /// An array.
    pub fn array<'n>(&mut self, node: &'n Node) -> Option<&'n [Node]> {
        match &node.json {
            Json::Array(elements) => Some(elements),
            _ => self.wrong(node, "expected an array"),
        }
    }

    /// A string.
    pub fn string<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        match &node.json {
            Json::String(text) => Some(text),
            _ => self.wrong(node, "expected a string"),
        }
    }

    /// The string under a key that need not be there.
    pub fn optional_string<'n>(&mut self, members: &'n [Member], key: &str) -> Option<&'n str> {
        member(members, key).and_then(|node| self.string(node))
    }

    /// One of a few words, each with what it stands for.
    pub fn word<T: Copy>(&mut self, node: &Node, words: &[(&'static str, T)]) -> Option<T> {
        let names: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
        let Json::String(text) = &node.json else {
            return self.wrong(node, &format!("expected {}", alternatives(&names)));
        };
        let found = words.iter().find(|(word, _)| word == text).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let help = did_you_mean(text, names.iter().copied()).map(|word| format!("did you mean `{word}`?"));
            self.problem(node.place(), format!("expected {}, found `{text}`", alternatives(&names)), help);
            self.code(UNKNOWN_WORD);
        }
        found
    }

    /// The word under a key that need not be there.
    pub fn optional_word<T: Copy>(&mut self, members: &[Member], key: &str, words: &[(&'static str, T)]) -> Option<T> {
        member(members, key).and_then(|node| self.word(node, words))
    }

    /// What must be there.
    pub fn required<'n>(&mut self, node: &Node, members: &'n [Member], key: &str) -> Option<&'n Node> {
        let found = member(members, key);
        if found.is_none() {
            self.problem(node.place(), format!("`{key}` is missing"), None);
            self.code(MISSING_KEY);
        }
        found
    }

    /// Another kind of value than was expected.
    pub fn wrong<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        self.problem(node.place(), format!("{expected}, found {}", node.kind()), None);
        self.code(WRONG_TYPE);
        None
    }

    /// Notes a problem.
    pub fn problem(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.problems.push(Diagnostic { help: help.into(), ..Diagnostic::error(span, message).code(INVALID) });
    }

    /// Names the kind of the problem that was noted last.
    fn code(&mut self, code: &'static str) {
        if let Some(last) = self.problems.last_mut() {
            last.code = Some(code);
        }
    }
}

/// What an object has under a key.
pub(crate) fn member<'n>(members: &'n [Member], key: &str) -> Option<&'n Node> {
    members.iter().find(|member| member.key == key).map(|member| &member.value)
}

/// `` `a`, `b`, `c` ``
pub(crate) fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// `` `a`, `b` or `c` ``
fn alternatives(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or `{last}`", listed(rest)),
        _ => listed(words),
    }
}
