//! What in a policy that loads probably does not do what was meant.
//!
//! A warning that is wrong costs more than one that is missing: people stop reading them. So each is given only where the
//! document itself shows the mistake, and says what happens and what to write instead.

mod contradiction;
mod limits;
mod names;
mod outline;
mod reach;
mod shape;
mod tools;
mod values;

use std::ops::Range;

use crate::authoring::tools::Tool;
use crate::diagnostic::Diagnostic;
use crate::policy::Policy;
use crate::policy::document::{self, Json};
use outline::Outline;

/// The kinds of warnings and notes, by their codes, and what each says.
pub const CODES: [(&str, &str); 28] = [
    ("no-such-tool", "a name or pattern that no tool of the server has"),
    ("no-such-argument", "a path that the tool's schema does not have"),
    ("no-such-value", "a constant that the tool's schema does not allow there"),
    ("argument-type", "an operator that needs another type than the schema has there"),
    ("missed-elements", "a condition on an array where its elements are meant"),
    ("unnamed-tools", "tools that no entry names (a note)"),
    ("unreachable-rule", "a rule that never decides, because an earlier one always does"),
    ("contradiction", "conditions that no value meets together"),
    ("no-conditions", "a `require` that asks nothing"),
    ("constant-condition", "a condition that holds always, or never"),
    ("hidden-entry", "an entry whose tools are all hidden"),
    ("duplicate-hide", "a name in `hide` that another one covers"),
    ("redundant-entry", "an entry that says what `default` says"),
    ("ignored-key", "a key that has no effect where it stands"),
    ("unknown-method", "a method that MCP does not have"),
    ("blocked-protocol", "a rule on requests without which no session works"),
    ("zero-limit", "a limit that admits no call"),
    ("unreachable-limit", "a limit that another one on the same counter reaches first"),
    ("session-scope", "a limit that an agent escapes by opening a new session"),
    ("counter-disagreement", "policies that add different things to one counter"),
    ("unanchored-regex", "a pattern in a `require` that may match anywhere in a text"),
    ("large-regex", "a pattern that takes much memory"),
    ("no-lower-bound", "a `require` that bounds an amount from above only"),
    ("deny-by-place", "a `deny_if` with `under_path` or `host_in`, which odd spellings escape"),
    ("text-for-path", "a file path compared as text"),
    ("text-for-url", "a URL compared as text"),
    ("first-element-only", "a `deny_if` that looks at one element of an array"),
    ("forgeable-identity", "a condition on what a caller can choose itself"),
];

/// What is worth a warning in the document `text`, beside the tools of the server that it is for if they are known; in
/// the order of the places. Nothing if it does not load.
pub fn lint(text: &str, tools: Option<&[Tool]>) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let Some(root) = document::parse(text, &mut problems) else { return Vec::new() };
    if Policy::load("", text).is_err() {
        return Vec::new();
    }
    let Some(outline) = Outline::of(&root, text) else { return Vec::new() };
    let mut found = Found::default();
    reach::check(&outline, &mut found);
    names::check(&outline, &mut found);
    limits::check(&outline, &mut found);
    contradiction::check(&outline, &mut found);
    values::check(&outline, &mut found);
    if let Some(tools) = tools {
        tools::check(&outline, tools, &mut found);
    }
    found.sorted()
}

/// Whether a text is meant to be a policy, rather than some other JSON document. One that cannot be read is: it may be a
/// policy with a mistake in it.
pub fn is_policy(text: &str) -> bool {
    let Some(root) = document::parse(text, &mut Vec::new()) else { return true };
    let Json::Object(members) = &root.json else { return false };
    let has = |key: &str| members.iter().find(|member| member.key == key).map(|member| &member.value.json);
    has("default").is_some()
        || matches!(has("version"), Some(Json::String(version)) if version == "1")
        || ["tools", "all_tools", "methods"].iter().any(|key| matches!(has(key), Some(Json::Object(_))))
}

/// What policies that are in force together disagree about: for each of the documents, by its index, what is worth a
/// warning. `names` are what the messages call them.
pub fn across(documents: &[(&str, &str)]) -> Vec<Vec<Diagnostic>> {
    let mut roots = Vec::new();
    for (name, text) in documents {
        let root = document::parse(text, &mut Vec::new()).filter(|_| Policy::load("", text).is_ok());
        roots.push((*name, *text, root));
    }
    let outlines: Vec<_> = roots
        .iter()
        .map(|(name, text, root)| (*name, root.as_ref().and_then(|root| Outline::of(root, text))))
        .collect();
    limits::across(&outlines)
}

/// The warnings found so far.
#[derive(Debug, Default)]
struct Found(Vec<Diagnostic>);

impl Found {
    /// Notes a warning and what to do.
    fn warn(&mut self, code: &'static str, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.0.push(Diagnostic::warning(span, message).help(help).code(code));
    }

    /// In the order of the places.
    fn sorted(mut self) -> Vec<Diagnostic> {
        self.0.sort_by_key(|problem| (problem.span.start, problem.span.end));
        self.0
    }
}

/// `` `a`, `b` and `c` ``; beyond `most`, how many more.
fn listed(names: &[&str], most: usize) -> String {
    let mut shown: Vec<String> = names.iter().take(most).map(|name| format!("`{name}`")).collect();
    match (names.len().saturating_sub(most), shown.pop()) {
        (_, None) => String::new(),
        (0, Some(last)) if shown.is_empty() => last,
        (0, Some(last)) => format!("{} and {last}", shown.join(", ")),
        (more, Some(last)) => {
            shown.push(last);
            format!("{} and {more} more", shown.join(", "))
        }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
