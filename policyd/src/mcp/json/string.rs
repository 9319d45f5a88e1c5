//! Strings: finding their end, and what their escapes mean.

use std::borrow::Cow;

use super::super::Cause;
use super::{Error, Mode};

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Marks the quotes, backslashes and control characters among eight bytes by their high bits. The lowest mark is exact; a carry
/// may set marks above it.
#[inline]
fn special(word: u64) -> u64 {
    let quote = word ^ (ONES * 0x22);
    let backslash = word ^ (ONES * 0x5c);
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (zero(quote) | zero(backslash) | control) & HIGHS
}

/// Finds the end of the string whose quote is at `start`: the place behind its closing quote, and whether it holds escapes.
#[inline]
pub(super) fn scan(text: &[u8], start: usize, mode: Mode) -> Result<(usize, bool), Error> {
    let mut at = start + 1;
    let mut escaped = false;
    loop {
        while let Some(eight) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let marks = special(u64::from_le_bytes(*eight));
            if marks != 0 {
                at += marks.trailing_zeros() as usize / 8;
                break;
            }
            at += 8;
        }
        // At a marked byte, or among the last seven of the text.
        match text.get(at) {
            Some(b'"') => return Ok((at + 1, escaped)),
            Some(b'\\') => {
                escaped = true;
                at = escape(text, at, mode)?;
            }
            Some(0..=0x1f) => return Err(Error { cause: Cause::ControlCharacter, at }),
            Some(_) => at += 1,
            None => return Err(Error { cause: Cause::Truncated, at }),
        }
    }
}

/// Checks the escape at `at`, a surrogate pair as one; gives the place behind it.
fn escape(text: &[u8], at: usize, mode: Mode) -> Result<usize, Error> {
    let fail = |cause| Err(Error { cause, at });
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match hex4(text, at + 2) {
            None if text.len() < at + 6 => fail(Cause::Truncated),
            None => fail(Cause::BadEscape),
            Some(0xdc00..=0xdfff) if mode == Mode::Strict => fail(Cause::LoneSurrogate),
            Some(0xd800..=0xdbff) if mode == Mode::Strict => {
                match (text.get(at + 6), text.get(at + 7), hex4(text, at + 8)) {
                    (Some(b'\\'), Some(b'u'), Some(0xdc00..=0xdfff)) => Ok(at + 12),
                    _ => fail(Cause::LoneSurrogate),
                }
            }
            Some(_) => Ok(at + 6),
        },
        Some(_) => fail(Cause::BadEscape),
        None => fail(Cause::Truncated),
    }
}

fn hex4(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    digits.iter().try_fold(0, |n, d| Some(n * 16 + char::from(*d).to_digit(16)?))
}

/// What the inside of a scanned string means. Half a pair (in a text of which only the grammar was checked) becomes U+FFFD.
pub(super) fn unescape(raw: &str) -> Cow<'_, str> {
    let Some(first) = raw.find('\\') else { return Cow::Borrowed(raw) };
    let mut out = String::with_capacity(raw.len());
    out.push_str(&raw[..first]);
    let mut rest = &raw[first..];
    while let Some(escape) = rest.strip_prefix('\\') {
        let (meant, length) = one(escape.as_bytes());
        out.push(meant);
        rest = escape.get(length..).unwrap_or("");
        let plain = rest.find('\\').unwrap_or(rest.len());
        out.push_str(&rest[..plain]);
        rest = &rest[plain..];
    }
    Cow::Owned(out)
}

/// One escape, without its backslash: what it means and how long it is.
fn one(escape: &[u8]) -> (char, usize) {
    match escape.first() {
        Some(b'b') => ('\u{8}', 1),
        Some(b'f') => ('\u{c}', 1),
        Some(b'n') => ('\n', 1),
        Some(b'r') => ('\r', 1),
        Some(b't') => ('\t', 1),
        Some(b'u') => match (hex4(escape, 1), hex4(escape, 7)) {
            (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) if escape[5..7] == *b"\\u" => {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 11)
            }
            (code, _) => (code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER), 5),
        },
        Some(other) => (char::from(*other), 1),
        None => (char::REPLACEMENT_CHARACTER, 0),
    }
}
