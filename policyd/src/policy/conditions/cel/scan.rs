//! Bounds on an expression's text. The crate's parser recurses for each bracket and conditional, and its tree grows a level
//! with each operator of a chain: both are bounded before it sees the text.

use super::{BadProgram, SOURCE};

/// Brackets that may be open at once, and conditionals (`? :`) before them: each nests in the one before it.
const NESTING: usize = 10;
/// Operators, `.`, `[` and `in` among them: a chain of them is a tree as deep.
const OPERATORS: usize = 256;

/// Refuses what is too long or too deep to be read.
pub(super) fn check(source: &str) -> Result<(), BadProgram> {
    if source.len() > SOURCE {
        return Err(BadProgram::new(format!("this expression is longer than {SOURCE} bytes"), 0..source.len()));
    }
    let bytes = source.as_bytes();
    let (mut open, mut conditionals, mut operators) = (0_usize, 0_usize, 0_usize);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let refuse = |what: &str| Err(BadProgram::new(format!("this expression {what}"), at..at + 1));
        match byte {
            b'"' | b'\'' => {
                at = end_of_string(bytes, at);
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes.iter().skip(at).position(|&byte| byte == b'\n').unwrap_or(bytes.len() - at);
                continue;
            }
            b'(' | b'{' => open += 1,
            b'[' => {
                open += 1;
                operators += 1;
            }
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            b'?' => conditionals += 1,
            b'.' | b'!' | b'-' | b'+' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'&' | b'|' => {
                // `&&` and `<=` are one.
                let goes_on = matches!(bytes.get(at + 1), Some(b'=' | b'&' | b'|')) && byte != b'.';
                operators += usize::from(!goes_on);
            }
            b'i' if is_in(bytes, at) => operators += 1,
            b'\\' | b'`' => return refuse("has a character in it that stands only in strings"),
            _ => {}
        }
        if open + conditionals > NESTING {
            return refuse(&format!("has more than {NESTING} brackets and conditionals in each other"));
        }
        if operators > OPERATORS {
            return refuse(&format!("has more than {OPERATORS} operators"));
        }
        at += 1;
    }
    Ok(())
}

/// Whether the word `in` stands at a place.
fn is_in(bytes: &[u8], at: usize) -> bool {
    let goes_on = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    bytes.get(at + 1) == Some(&b'n')
        && !goes_on(bytes.get(at + 2))
        && !goes_on(at.checked_sub(1).and_then(|at| bytes.get(at)))
}

/// The place behind the string that begins with the quote at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    // `r"\"` and `Rb"\"`: a backslash is a backslash.
    let prefix = bytes.get(..start).unwrap_or_default();
    let raw = prefix.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').take(2);
    let raw = raw.clone().any(|byte| matches!(byte, b'r' | b'R'))
        && raw.clone().all(|byte| matches!(byte, b'r' | b'R' | b'b' | b'B'));
    let Some(&quote) = bytes.get(start) else { return start };
    let triple = [quote; 3];
    let rest = bytes.get(start..).unwrap_or_default();
    let (close, mut at): (&[u8], usize) =
        if rest.starts_with(&triple) { (&triple, start + 3) } else { (&triple[..1], start + 1) };
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(close) {
            return at + close.len();
        }
        at += if !raw && rest.first() == Some(&b'\\') { 2 } else { 1 };
    }
    bytes.len()
}
