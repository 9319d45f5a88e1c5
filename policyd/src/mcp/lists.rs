//! Lists without what a policy refuses for every argument: tools, resources, templates of resources, prompts. All that stays
//! keeps its bytes.

use std::ops::Range;

use super::json::{Error, Parser, Value};
use super::message::refuse_variant;
use super::{Cause, fold, json};

/// What became of a server's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// Nothing was left out: forward the server's own bytes.
    Unchanged,
    /// The message without the refused entries, one JSON text.
    Edited {
        /// The edited text.
        text: String,
        /// How many entries were left out.
        removed: usize,
    },
}

/// The lists of what a server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `tools/list`: each entry is used by `tools/call`.
    Tools,
    /// `resources/list`: by `resources/read`.
    Resources,
    /// `resources/templates/list`: by `resources/read`, of what the template is expanded to.
    Templates,
    /// `prompts/list`: by `prompts/get`.
    Prompts,
}

impl List {
    const ALL: [List; 4] = [List::Tools, List::Resources, List::Templates, List::Prompts];

    /// The key of a result that holds it.
    fn key(self) -> &'static str {
        match self {
            List::Tools => "tools",
            List::Resources => "resources",
            List::Templates => "resourceTemplates",
            List::Prompts => "prompts",
        }
    }

    /// The key of an entry that names it.
    fn name(self) -> &'static str {
        match self {
            List::Tools | List::Prompts => "name",
            List::Resources => "uri",
            List::Templates => "uriTemplate",
        }
    }
}

/// Whether a message could hold a list at all: whether a string in it begins like the key of one in any case, or an escape or
/// a letter that folds to one of its letters (`\u017f` is an S to some) could spell it, or the text is in UTF-16 or
/// UTF-32 (Python's `json` reads both). Without a list there is nothing that must be read.
pub fn may_hold_list(text: &[u8]) -> bool {
    fold::may_begin_a_string(text, &[b"tools", b"resource", b"prompts"])
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

/// Filters every list in a message of a server: any response with an array of one, whatever its id, because clients
/// correlate loosely; each one of a batch. `unlisted` says which entries to leave out, by what names them; `seen` is told
/// of every list of tools (`None`), then of each tool: its name, and its whole definition.
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
    mut unlisted: impl FnMut(List, &str) -> bool,
    mut seen: impl FnMut(Option<(&str, Value<'a>)>),
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

/// The keys of a result that mean something to a list.
const RESULT: &[&str] = &["tools", "resources", "resourceTemplates", "prompts", "nextCursor", "ttlMs", "cacheScope"];

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
        unlisted: &mut impl FnMut(List, &str) -> bool,
        seen: &mut impl FnMut(Option<(&str, Value<'a>)>),
    ) -> Result<(), Error> {
        let Some(result) = member(message, "result", &["result", "id", "jsonrpc"])? else { return Ok(()) };
        let before = self.removed;
        for list in List::ALL {
            if let Some(entries) = member(result, list.key(), RESULT)?.filter(Value::is_array) {
                self.list(list, entries, unlisted, seen)?;
            }
        }
        if self.removed > before {
            self.make_private(result);
        }
        Ok(())
    }

    fn list<'a>(
        &mut self,
        list: List,
        entries: Value<'a>,
        unlisted: &mut impl FnMut(List, &str) -> bool,
        seen: &mut impl FnMut(Option<(&str, Value<'a>)>),
    ) -> Result<(), Error> {
        if list == List::Tools {
            seen(None);
        }
        let mut kept = false;
        let mut previous_end = 0;
        let mut items = entries.items().peekable();
        while let Some(entry) = items.next() {
            let name = member(entry, list.name(), &[list.name()])?.and_then(|name| name.as_str());
            let Some(name) = name else {
                let cause = if list == List::Tools { Cause::BadToolList } else { Cause::BadList };
                return Err(Error { cause, at: entry.start() });
            };
            if list == List::Tools {
                seen(Some((&*name, entry)));
            }
            if unlisted(list, &name) {
                self.removed += 1;
                // With the comma before it, or, at the front, with the one after it.
                let cut = match items.peek() {
                    _ if kept => previous_end..entry.end(),
                    Some(next) => entry.start()..next.start(),
                    None => entry.start()..entry.end(),
                };
                self.cuts.push((cut, ""));
            } else {
                kept = true;
            }
            previous_end = entry.end();
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
