//! Keys that some readers take for another one: Go's `encoding/json` matches names without regard to case, by Unicode's
//! simple folding, so that `ſ` stands for `s` and the Kelvin sign for `k`.

/// Whether `key` is not `meant` but folds to the same: by case, by full case folding (`ß`, ligatures, dotless i) or by width
/// (fullwidth letters).
#[inline]
pub(crate) fn is_variant(key: &str, meant: &str) -> bool {
    key != meant && folds_to(key, meant)
}

/// Whether `key` is `meant` or folds to the same.
#[inline]
pub(super) fn folds_to(key: &str, meant: &str) -> bool {
    if key.is_ascii() && meant.is_ascii() { key.eq_ignore_ascii_case(meant) } else { unicode_folds_to(key, meant) }
}

#[cold]
fn unicode_folds_to(key: &str, meant: &str) -> bool {
    characters(key).eq(characters(meant))
}

/// What `text` folds to: two texts that are equal by it are the same or variants of each other.
pub(crate) fn folded(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { characters(text).collect() }
}

fn characters(text: &str) -> impl Iterator<Item = char> {
    // U+0307 behind an i is what lower-casing the dotted capital I leaves. Elsewhere it stays: a text of millions of them must not
    // be read to its end to be told apart.
    let mut after_i = false;
    text.chars().map(narrow).flat_map(char::to_uppercase).flat_map(char::to_lowercase).filter(move |&c| {
        let is_left = after_i && c == '\u{307}';
        after_i = c == 'i';
        !is_left
    })
}

/// A fullwidth form as its ASCII character.
fn narrow(c: char) -> char {
    match u32::from(c) {
        code @ 0xff01..=0xff5e => char::from_u32(code - 0xfee0).unwrap_or(c),
        _ => c,
    }
}

/// Whether a string in a JSON text may begin with one of `words` in any case, for some reader: an escape or a letter beyond ASCII
/// could spell anything, and so could UTF-16 and UTF-32.
pub(super) fn may_begin_a_string(text: &[u8], words: &[&[u8]]) -> bool {
    let begins = |rest: &[u8], word: &[u8]| rest.get(..word.len()).is_some_and(|is| is.eq_ignore_ascii_case(word));
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| matches!(byte, b'"' | b'\\' | 0) || byte >= 0x80) {
        match rest[at] {
            b'"' if words.iter().any(|word| begins(&rest[at + 1..], word)) => return true,
            b'\\' if matches!(rest.get(at + 1), Some(b'u' | b'U')) => return true,
            byte if byte == 0 || byte >= 0x80 => return true,
            // Past an escaped character as a whole, so that what follows is not taken for an escape.
            b'\\' => rest = rest.get(at + 2..).unwrap_or_default(),
            _ => rest = &rest[at + 1..],
        }
    }
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn finds_every_way_to_fold() {
        for (key, protocol) in [
            ("Name", "name"),
            ("taſk", "task"),
            ("tas\u{212a}", "task"),
            ("METHOD", "method"),
            ("ıd", "id"),
            ("İD", "id"),
            ("progreßToken", "progressToken"),
            ("ｎａｍｅ", "name"),
            ("jsonrpC", "jsonrpc"),
            ("GRÖSSE", "größe"),
        ] {
            assert!(is_variant(key, protocol), "{key}");
            assert_eq!(folded(key), folded(protocol), "{key}");
        }
    }

    #[test]
    fn leaves_other_keys_alone() {
        let dots = "\u{307}".repeat(1 << 22);
        for (key, protocol) in [
            ("name", "name"),
            ("names", "name"),
            ("näme", "name"),
            ("", "id"),
            ("名", "name"),
            ("nam\u{307}e", "name"),
            ("i\u{307}\u{307}d", "id"),
            (&dots, "id"),
        ] {
            assert!(!is_variant(key, protocol), "{key}");
            assert_eq!(folded(key) == folded(protocol), key == protocol, "{key}");
        }
    }
}
