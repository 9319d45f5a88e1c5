//! One strict pass over a JSON text into a flat, reused list of nodes.
//!
//! Nodes are in the order of the text, sixteen bytes each, and hold places, not copies: numbers keep their digits, strings are
//! unescaped when somebody asks. What is refused, and why, stands at [`Cause`]; RFC 8259 is the grammar.

mod duplicates;
mod mark;
mod parse;
mod string;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
mod value;

pub(crate) use mark::Mark;
pub(crate) use value::Place;
pub use value::{Entries, Items, Value};

use super::Cause;

/// Levels of nesting that a text may have; the outermost value is the first.
pub const MAX_DEPTH: usize = 64;

/// Parses JSON texts strictly; keeps its list of nodes for the next one.
#[derive(Debug, Default)]
pub struct Parser {
    nodes: Vec<Node>,
    /// The open containers: indices of their nodes.
    open: Vec<u32>,
    /// Keys of one object, while it is searched for duplicates.
    keys: Vec<u32>,
}

/// Where a text stops being acceptable, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause} (at byte {at})")]
pub struct Error {
    /// What is wrong.
    pub cause: Cause,
    /// Byte offset of the place.
    pub at: usize,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// One value or key: its text is `start..end`, its subtree ends before the node `next`.
#[derive(Clone, Copy, Debug)]
struct Node {
    start: u32,
    end: u32,
    next: u32,
    kind: Kind,
    /// A string with escapes in it.
    escaped: bool,
    /// Of a key without escapes.
    mark: Mark,
}

const _: () = assert!(size_of::<Node>() == 16);

/// How much is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Everything.
    Strict,
    /// The grammar only: to find the id of a message that is refused.
    Grammar,
}

impl Parser {
    /// A parser with room for a few hundred nodes.
    pub fn new() -> Parser {
        Parser { nodes: Vec::with_capacity(256), open: Vec::with_capacity(MAX_DEPTH), keys: Vec::new() }
    }

    /// Reads one JSON text strictly.
    ///
    /// # Errors
    ///
    /// The first thing found that is not acceptable; see [`Cause`].
    pub fn parse<'a>(&'a mut self, body: &'a [u8]) -> Result<Value<'a>, Error> {
        let text = checked_text(body)?;
        self.run(text, Mode::Strict)?;
        Ok(Value::root(&self.nodes, text))
    }

    /// Reads a text of which only the grammar is checked: duplicate keys, depth and lone surrogates pass. Never for a text
    /// that is forwarded.
    pub(super) fn parse_grammar<'a>(&'a mut self, body: &'a [u8]) -> Result<Value<'a>, Error> {
        let text = checked_text(body)?;
        self.run(text, Mode::Grammar)?;
        Ok(Value::root(&self.nodes, text))
    }
}

fn checked_text(body: &[u8]) -> Result<&str, Error> {
    if u32::try_from(body.len()).is_err() {
        return Err(Error { cause: Cause::TooLarge, at: 0 });
    }
    if matches!(body, [0xef, 0xbb, 0xbf, ..] | [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        return Err(Error { cause: Cause::ByteOrderMark, at: 0 });
    }
    std::str::from_utf8(body).map_err(|e| Error { cause: utf8_cause(&body[e.valid_up_to()..]), at: e.valid_up_to() })
}

/// CESU and WTF-8 write surrogates as three bytes, `ed a0..=bf xx`.
fn utf8_cause(rest: &[u8]) -> Cause {
    match rest {
        [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => Cause::LoneSurrogate,
        _ => Cause::NotUtf8,
    }
}
