//! The canonical layout of policies: one way to write each, so that a difference between two versions is a difference in
//! what they mean.
//!
//! The keys of an object that the language knows come in the language's order, others behind them; names, conditions and
//! rules stay in the author's. What fits on a line stands on one, but for the document itself and its entries of `tools`
//! and `methods`. Numbers keep their text. Nothing is lost, and what is laid out already stays as it is.

use crate::diagnostic::Report;
use crate::policy::document::{self, Json, Member, Node};
use crate::policy::load::condition::CONDITION;
use crate::policy::load::entry::{ALL_TOOLS, METHOD, TOOL};
use crate::policy::load::limit::{LIMIT, RATE_LIMIT};
use crate::policy::load::rules::{APPROVAL, CLAUSE};

/// How long a line may be, in characters. Only what cannot be divided is longer.
const WIDTH: usize = 100;

/// What is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A policy, whose keys have an order.
    Policy,
    /// Any other JSON document: its keys stay in the author's order.
    Plain,
}

/// The document's keys: what it is and what it says of everything first, then the long lists.
const DOCUMENT: [&str; 11] = [
    "$schema",
    "version",
    "description",
    "default",
    "mode",
    "deny_as",
    "tool_changes",
    "hide",
    "all_tools",
    "tools",
    "methods",
];

/// Lays a document out. `file` is its name in the report.
///
/// # Errors
///
/// Everything that keeps the document from being read: bad syntax, duplicate keys. What its keys mean is not asked.
pub fn format(file: &str, text: &str, layout: Layout) -> Result<String, Report> {
    let node = read(file, text)?;
    let shape = if layout == Layout::Policy { Shape::Document } else { Shape::Other };
    let mut printer = Printer { text, out: String::with_capacity(text.len()) };
    printer.broken(&node, shape, 0);
    printer.out.push('\n');
    Ok(printer.out)
}

/// Whether a document is a policy, by its keys. One that cannot be read is none.
pub fn is_policy(text: &str) -> bool {
    let has = |members: &[Member], key: &str| members.iter().any(|member| member.key == key);
    match document::parse(text, &mut Vec::new()) {
        Some(Node { json: Json::Object(members), .. }) => {
            has(&members, "version") && (has(&members, "default") || has(&members, "tools"))
        }
        _ => false,
    }
}

/// A string as JSON with as few escapes as it can be read with: what would not show stays escaped.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if shows(c) => out.push(c),
            c => out.push_str(&escape(c)),
        }
    }
    out.push('"');
    out
}

/// A character as JSON can write any.
fn escape(c: char) -> String {
    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// Whether a character can be seen, or combines with one that can. Bidirectional controls, zero-width characters, other
/// spaces and unassigned code points cannot.
fn shows(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // Behind another character, `escape_debug` lets combining ones be.
    let text = ['a', c].iter().collect::<String>();
    !c.is_whitespace() && text.escape_debug().eq(text.chars())
}

/// Reads a document whole, or says everything that is wrong with it.
fn read(file: &str, text: &str) -> Result<Node, Report> {
    let mut problems = Vec::new();
    match document::parse(text, &mut problems) {
        Some(node) if problems.is_empty() => Ok(node),
        _ => {
            problems.sort_by_key(|problem| problem.span.start);
            Err(Report { file: file.to_owned(), source: text.to_owned(), diagnostics: problems })
        }
    }
}

/// What a value is in a policy, as far as its layout goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Document,
    /// `tools`, `methods`: what their entries are.
    Names(&'static Shape),
    Tool,
    Method,
    AllTools,
    Clause,
    Approval,
    Condition,
    Limit,
    RateLimit,
    Other,
}

impl Shape {
    /// The keys in their order.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Shape::Document => &DOCUMENT,
            Shape::Tool => TOOL.known,
            Shape::Method => METHOD.known,
            Shape::AllTools => ALL_TOOLS.known,
            Shape::Clause => CLAUSE.known,
            Shape::Approval => APPROVAL.known,
            Shape::Condition => CONDITION.known,
            Shape::Limit => LIMIT.known,
            Shape::RateLimit => RATE_LIMIT.known,
            Shape::Names(_) | Shape::Other => &[],
        }
    }

    /// What stands under a key of it, or is an element of what stands there.
    fn under(self, key: &str) -> Shape {
        match (self, key) {
            (Shape::Document, "tools") => Shape::Names(&Shape::Tool),
            (Shape::Document, "methods") => Shape::Names(&Shape::Method),
            (Shape::Document, "all_tools") => Shape::AllTools,
            (Shape::Names(entry), _) => *entry,
            (Shape::Tool | Shape::Method | Shape::AllTools, "require" | "deny_if") => Shape::Clause,
            (Shape::Tool | Shape::Method | Shape::AllTools, "approve_if") => Shape::Approval,
            (Shape::Tool | Shape::Method | Shape::AllTools, "limits") => Shape::Limit,
            (Shape::Tool | Shape::Method, "rate_limit") => Shape::RateLimit,
            (Shape::Clause | Shape::Approval, "conditions") => Shape::Condition,
            _ => Shape::Other,
        }
    }

    /// Whether it never stands on one line, unless it is empty.
    fn breaks(self) -> bool {
        matches!(self, Shape::Document | Shape::Names(_))
    }

    /// An object's members in their order: known keys, then the others as they come.
    fn ordered(self, members: &[Member]) -> Vec<&Member> {
        let place = |member: &&Member| self.keys().iter().position(|key| *key == member.key).unwrap_or(usize::MAX);
        let mut ordered: Vec<&Member> = members.iter().collect();
        ordered.sort_by_key(place);
        ordered
    }
}

struct Printer<'a> {
    text: &'a str,
    out: String,
}

impl Printer<'_> {
    /// A value that begins at the end of the last line, at `depth`; `taken` characters of its line are for others.
    fn value(&mut self, node: &Node, shape: Shape, depth: usize, taken: usize) {
        let mut line = String::new();
        if self.flat(node, shape, WIDTH.saturating_sub(taken), &mut line) {
            self.out.push_str(&line);
        } else {
            self.broken(node, shape, depth);
        }
    }

    /// A value with each of its parts on a line of its own.
    fn broken(&mut self, node: &Node, shape: Shape, depth: usize) {
        let (open, close) = if matches!(node.json, Json::Array(_)) { ('[', ']') } else { ('{', '}') };
        let parts: Vec<(String, &Node, Shape)> = match &node.json {
            Json::Object(members) if !members.is_empty() => {
                let part = |member: &&Member| format!("{}: ", quoted(&member.key));
                let under = |member: &&Member| shape.under(&member.key);
                shape.ordered(members).iter().map(|member| (part(member), &member.value, under(member))).collect()
            }
            Json::Array(elements) if !elements.is_empty() => {
                elements.iter().map(|element| (String::new(), element, shape)).collect()
            }
            _ => {
                let mut line = String::new();
                self.flat(node, shape, usize::MAX, &mut line);
                return self.out.push_str(&line);
            }
        };
        self.out.push(open);
        let last = parts.len() - 1;
        for (index, (key, value, shape)) in parts.into_iter().enumerate() {
            self.line(depth + 1);
            let comma = usize::from(index < last);
            self.out.push_str(&key);
            self.value(value, shape, depth + 1, 2 * (depth + 1) + key.chars().count() + comma);
            if index < last {
                self.out.push(',');
            }
        }
        self.line(depth);
        self.out.push(close);
    }

    fn line(&mut self, depth: usize) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n("  ", depth));
    }

    /// Puts a value on one line, if it may stand on one and has `room` characters or fewer.
    fn flat(&self, node: &Node, shape: Shape, room: usize, line: &mut String) -> bool {
        match &node.json {
            Json::Null | Json::Bool | Json::Number => {
                line.push_str(self.text.get(node.span.clone()).unwrap_or_default());
            }
            Json::String(text) => line.push_str(&quoted(text)),
            Json::Array(elements) => {
                let nested = |node: &&Node| matches!(node.json, Json::Array(_) | Json::Object(_));
                if elements.iter().filter(nested).nth(1).is_some() {
                    return false;
                }
                line.push('[');
                for (index, element) in elements.iter().enumerate() {
                    line.push_str(if index == 0 { "" } else { ", " });
                    if !self.flat(element, shape, room, line) {
                        return false;
                    }
                }
                line.push(']');
            }
            Json::Object(members) if members.is_empty() => line.push_str("{}"),
            Json::Object(members) => {
                if shape.breaks() {
                    return false;
                }
                for (index, member) in shape.ordered(members).into_iter().enumerate() {
                    line.push_str(if index == 0 { "{ " } else { ", " });
                    line.push_str(&quoted(&member.key));
                    line.push_str(": ");
                    if !self.flat(&member.value, shape.under(&member.key), room, line) {
                        return false;
                    }
                }
                line.push_str(" }");
            }
        }
        line.len() <= room || line.chars().count() <= room
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
