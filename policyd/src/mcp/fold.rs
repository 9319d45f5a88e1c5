//! Keys that some readers take for a protocol key: Go's `encoding/json` matches names without regard to case, by Unicode's
//! simple folding, so that `ſ` stands for `s` and the Kelvin sign for `k`.

/// Whether `key` is not `protocol` but folds to it: by case, by full case folding (`ß`, ligatures, dotless i) or by width
/// (fullwidth letters). `protocol` is ASCII.
#[inline]
pub(super) fn is_variant(key: &str, protocol: &str) -> bool {
    key != protocol && folds_to(key, protocol)
}

/// Whether `key` is `protocol` or folds to it.
#[inline]
pub(super) fn folds_to(key: &str, protocol: &str) -> bool {
    if key.is_ascii() { key.eq_ignore_ascii_case(protocol) } else { unicode_folds_to(key, protocol) }
}

#[cold]
fn unicode_folds_to(key: &str, protocol: &str) -> bool {
    // U+0307 is what lower-casing the dotted capital I leaves behind.
    let folded =
        key.chars().map(narrow).flat_map(char::to_uppercase).flat_map(char::to_lowercase).filter(|&c| c != '\u{307}');
    folded.eq(protocol.chars().map(|c| c.to_ascii_lowercase()))
}

/// A fullwidth form as its ASCII character.
fn narrow(c: char) -> char {
    match u32::from(c) {
        code @ 0xff01..=0xff5e => char::from_u32(code - 0xfee0).unwrap_or(c),
        _ => c,
    }
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
        ] {
            assert!(is_variant(key, protocol), "{key}");
        }
    }

    #[test]
    fn leaves_other_keys_alone() {
        for (key, protocol) in [("name", "name"), ("names", "name"), ("näme", "name"), ("", "id"), ("名", "name")] {
            assert!(!is_variant(key, protocol), "{key}");
        }
    }
}
