//! Reads documents of our own as policies are read: strict, and every problem at once.

use std::ops::Range;

use crate::diagnostic::Report;
use crate::policy::document::{self, Json, Node};
pub(super) use crate::policy::reader::{Keys, Reader, member};

/// A value and its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spanned<T> {
    pub value: T,
    pub span: Range<usize>,
}

/// Reads a document, or reports everything that is wrong with it. `file` is its name in the report.
pub(super) fn read<T>(
    file: &str,
    text: &str,
    read: impl FnOnce(&mut Reader<'_>, &Node) -> Option<T>,
) -> Result<T, Report> {
    let mut reader = Reader::new(text);
    let value = document::parse(text, &mut reader.problems).and_then(|node| read(&mut reader, &node));
    match value {
        Some(value) if reader.problems.is_empty() => Ok(value),
        _ => {
            reader.problems.sort_by_key(|problem| (problem.span.start, problem.span.end));
            Err(Report { file: file.to_owned(), source: text.to_owned(), diagnostics: reader.problems })
        }
    }
}

/// More kinds of values, that policies do not have.
impl Reader<'_> {
    /// A string that is not empty, with its place.
    pub fn name(&mut self, node: &Node) -> Option<Spanned<String>> {
        let value = self.string(node)?.to_owned();
        if value.is_empty() {
            self.problem(node.place(), "this cannot be empty", None);
            return None;
        }
        Some(Spanned { value, span: node.place() })
    }

    /// An array of names.
    pub fn names(&mut self, node: &Node) -> Option<Vec<Spanned<String>>> {
        let names: Vec<_> = self.array(node)?.iter().map(|node| self.name(node)).collect();
        names.into_iter().collect()
    }

    /// A whole number from `least` to `most`.
    pub fn whole(&mut self, node: &Node, least: u64, most: u64) -> Option<u64> {
        let number = match node.json {
            Json::Number => self.raw(node).parse().ok().filter(|number| (least..=most).contains(number)),
            _ => None,
        };
        if number.is_none() {
            self.problem(node.place(), format!("expected a whole number from {least} to {most}"), None);
        }
        number
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, node: &Node) -> Option<bool> {
        match node.json {
            Json::Bool => Some(self.raw(node) == "true"),
            _ => self.wrong(node, "expected true or false"),
        }
    }
}
