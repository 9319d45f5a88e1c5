//! Tool lists without the tools that a policy refuses for every argument. All that stays keeps its bytes.

use std::ops::Range;

use super::json::{Error, Parser, Value};
use super::message::refuse_variant;
use super::{Cause, json};

/// What became of a server's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// Nothing was left out: forward the server's own bytes.
    Unchanged,
    /// The message without the refused tools, one JSON text.
    Edited {
        /// The edited text.
        text: String,
        /// How many tools were left out.
        removed: usize,
    },
}

/// Whether a message could hold a tool list at all: whether `tools` stands in it in any case, or an escape or a letter that
/// folds to one of its letters (`\u017f` is an S to some) could spell it, or the text is in UTF-16 or
/// UTF-32 (Python's `json` reads both). Without a list there is nothing that must be read.
pub fn may_hold_list(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| matches!(byte, b't' | b'T' | b'\\' | 0) || byte >= 0x80) {
        match rest[at] {
            b't' | b'T' if rest[at..].get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"tools")) => return true,
            b'\\' if matches!(rest.get(at + 1), Some(b'u' | b'U')) => return true,
            byte if byte == 0 || byte >= 0x80 => return true,
            // Past an escaped backslash as a whole, so that what follows is not taken for an escape.
            b'\\' => rest = rest.get(at + 2..).unwrap_or_default(),
            _ => rest = &rest[at + 1..],
        }
    }
    false
}

/// Whether another page may follow a list in this message: `nextCursor` stands in it somewhere, and not with `null`.
pub fn may_go_on(text: &[u8]) -> bool {
    const KEY: &[u8] = b"\"nextCursor\"";
    let is_null = |rest: &[u8]| {
        let value = rest.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        value.is_some_and(|value| value.starts_with(b"null"))
    };
    text.windows(KEY.len()).enumerate().any(|(at, part)| part == KEY && !is_null(&text[at + KEY.len()..]))
}

/// Filters every tool list in a message of a server: any response with a `result.tools` array, whatever its id, because clients
/// correlate loosely; each one of a batch. `unlisted` says which names to leave out; `seen` is told
/// of every tool: its name, and its whole definition.
///
/// Cursors stay as they are, also when a page becomes empty; a filtered list's `cacheScope` becomes `private` (2026-07-28).
///
/// # Errors
///
/// A text that the strict parser refuses, a list whose keys fold to the protocol's, or an entry without a name: clients might
/// read another list in it than the one that was filtered. Do not forward it.
pub fn filter<'a>(
    parser: &'a mut Parser,
    text: &'a [u8],
    mut unlisted: impl FnMut(&str) -> bool,
    mut seen: impl FnMut(&str, Value<'a>),
) -> Result<Filtered, Error> {
    let root = parser.parse(text)?;
    let mut edits = Edits::default();
    if root.is_array() {
        for message in root.items() {
            edits.message(message, &mut unlisted, &mut seen)?;
        }
    } else {
        edits.message(root, &mut unlisted, &mut seen)?;
    }
    if edits.removed == 0 {
        return Ok(Filtered::Unchanged);
    }
    Ok(Filtered::Edited { text: edits.apply(root), removed: edits.removed })
}

/// Whether a reader more lenient than the strict parser could take `text`, which that parser refused, for a message or a batch of
/// them. What cannot be one (a page, the endpoint of HTTP+SSE, `[DONE]`) need not be filtered.
pub fn may_be_message(text: &[u8]) -> bool {
    let trimmed = |text: &[u8]| -> usize {
        // Below a space: control characters. Above ASCII: marks and odd spaces, or bytes that are replaced when decoded.
        text.iter().take_while(|&&b| b <= b' ' || !b.is_ascii()).count()
    };
    let rest = &text[trimmed(text)..];
    match rest {
        [b'{', ..] => true,
        [b'[', rest @ ..] => rest.get(trimmed(rest)) == Some(&b'{'),
        _ => false,
    }
}

/// Places of the text and what goes there instead, in no order.
#[derive(Default)]
struct Edits {
    cuts: Vec<(Range<usize>, &'static str)>,
    removed: usize,
}

impl Edits {
    fn message<'a>(
        &mut self,
        message: Value<'a>,
        unlisted: &mut impl FnMut(&str) -> bool,
        seen: &mut impl FnMut(&str, Value<'a>),
    ) -> Result<(), Error> {
        let Some(result) = member(message, "result", &["result", "id", "jsonrpc"])? else { return Ok(()) };
        let Some(tools) = member(result, "tools", &["tools", "nextCursor", "ttlMs", "cacheScope"])? else {
            return Ok(());
        };
        if !tools.is_array() {
            return Ok(());
        }
        let before = self.removed;
        self.list(tools, unlisted, seen)?;
        if self.removed > before {
            self.make_private(result);
        }
        Ok(())
    }

    fn list<'a>(
        &mut self,
        tools: Value<'a>,
        unlisted: &mut impl FnMut(&str) -> bool,
        seen: &mut impl FnMut(&str, Value<'a>),
    ) -> Result<(), Error> {
        let mut kept = false;
        let mut previous_end = 0;
        let mut items = tools.items().peekable();
        while let Some(tool) = items.next() {
            let name = member(tool, "name", &["name"])?.and_then(|name| name.as_str());
            let Some(name) = name else { return Err(Error { cause: Cause::BadToolList, at: tool.start() }) };
            seen(&name, tool);
            if unlisted(&name) {
                self.removed += 1;
                // With the comma before it, or, at the front, with the one after it.
                let cut = match items.peek() {
                    _ if kept => previous_end..tool.end(),
                    Some(next) => tool.start()..next.start(),
                    None => tool.start()..tool.end(),
                };
                self.cuts.push((cut, ""));
            } else {
                kept = true;
            }
            previous_end = tool.end();
        }
        Ok(())
    }

    /// Shared caches must not hand one agent's list to another.
    fn make_private(&mut self, result: Value<'_>) {
        if let Some(scope) = result.get("cacheScope") {
            self.cuts.push((scope.start()..scope.end(), r#""private""#));
        } else if result.get("ttlMs").is_some() {
            let end = result.end() - 1;
            self.cuts.push((end..end, r#","cacheScope":"private""#));
        }
    }

    fn apply(&mut self, root: Value<'_>) -> String {
        self.cuts.sort_unstable_by_key(|(range, _)| range.start);
        let (text, base) = (root.raw(), root.start());
        let mut out = String::with_capacity(text.len() + 32);
        let mut at = 0;
        for (range, instead) in &self.cuts {
            out.push_str(&text[at..range.start - base]);
            out.push_str(instead);
            at = range.end - base;
        }
        out.push_str(&text[at..]);
        out
    }
}

/// The member `key` of an object; refuses an object with a key that only folds to one of `known`.
fn member<'a>(object: Value<'a>, key: &str, known: &[&str]) -> Result<Option<Value<'a>>, json::Error> {
    let mut found = None;
    for (name, value) in object.entries() {
        refuse_variant(&name, known)?;
        if name.is_str(key) {
            found = Some(value);
        }
    }
    Ok(found)
}

#[cfg(test)]
#[path = "lists_tests.rs"]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
