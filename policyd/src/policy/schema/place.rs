//! Where in the arguments something stands, to be shown. Keys are the caller's words: they are escaped and shortened.

use crate::mcp::json::Value;

/// Characters of a key, and bytes of a place, that are shown.
const KEY: usize = 40;
const PLACE: usize = 200;

/// The JSON Pointer (RFC 6901) of the value that begins at byte `start` of the text, as far as it can be shown; `name` below it.
pub(super) fn pointer(root: Value<'_>, start: usize, name: Option<&str>) -> String {
    let mut pointer = String::new();
    let mut value = root;
    while value.start() < start {
        let holds = |inner: &Value<'_>| inner.start() <= start && start < inner.end();
        if let Some((key, inner)) = value.entries().find(|(_, inner)| holds(inner)) {
            push(&mut pointer, &key.as_str().unwrap_or_default());
            value = inner;
        } else if let Some((index, inner)) = value.items().enumerate().find(|(_, inner)| holds(inner)) {
            push(&mut pointer, &index.to_string());
            value = inner;
        } else {
            // A key.
            break;
        }
    }
    if let Some(name) = name {
        push(&mut pointer, name);
    }
    pointer
}

fn push(pointer: &mut String, key: &str) {
    if pointer.len() > PLACE {
        if !pointer.ends_with('…') {
            pointer.push_str("/…");
        }
        return;
    }
    pointer.push('/');
    let mut characters = key.chars();
    for character in characters.by_ref().take(KEY) {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            // What a person and a model read as what it is.
            ' '..='_' | 'a'..='}' => pointer.push(character),
            other => pointer.extend(other.escape_unicode()),
        }
    }
    if characters.next().is_some() {
        pointer.push('…');
    }
}

/// How a place stands behind what is wrong there.
pub(super) fn at(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!(" at `{place}`") }
}
