//! Writes JSON into a buffer: no values built, nothing allocated.

use std::fmt::Display;
use std::io::Write;

/// Appends `text` as a JSON string (RFC 8259, section 7).
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        escape(out, special[0]);
        rest = &special[1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u00");
            hex(out, &[byte]);
        }
    }
}

/// The longest text from an agent that a record holds, in bytes.
const LONGEST: usize = 1024;

/// Appends a text that the agent chose: cut off with `…` where it has no end.
pub(super) fn bounded(out: &mut Vec<u8>, text: &str) {
    if text.len() <= LONGEST {
        return string(out, text);
    }
    string(out, &text[..text.floor_char_boundary(LONGEST)]);
    out.pop();
    out.extend_from_slice("…\"".as_bytes());
}

/// Appends a text or `null`.
pub(super) fn optional<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        Some(value) => write(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends lower-case hexadecimal digits.
pub(super) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]));
}

/// Appends a hash as a string.
pub(super) fn hash(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    hex(out, bytes);
    out.push(b'"');
}

/// Appends an integer.
pub(super) fn integer(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends what displays as a plain decimal as a number with exactly those digits; anything else as a string.
pub(super) fn decimal(out: &mut Vec<u8>, number: &impl Display) {
    let start = out.len();
    // Writing to a vector does not fail.
    let _ = write!(out, "{number}");
    if !plain_decimal(&out[start..]) {
        let text = String::from_utf8_lossy(&out[start..]).into_owned();
        out.truncate(start);
        string(out, &text);
    }
}

/// `-?(0|[1-9][0-9]*)(\.[0-9]+)?`
fn plain_decimal(text: &[u8]) -> bool {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let mut parts = unsigned.splitn(2, |&byte| byte == b'.');
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let whole = parts.next().unwrap_or_default();
    digits(whole) && (whole.len() == 1 || whole[0] != b'0') && parts.next().is_none_or(digits)
}

/// Appends a JSON text as a value on one line. What is no JSON becomes a string, so that the record stays a record.
pub(super) fn raw(out: &mut Vec<u8>, text: &[u8]) {
    if serde_json::from_slice::<serde::de::IgnoredAny>(text).is_err() {
        return string(out, &String::from_utf8_lossy(text));
    }
    // Line ends stand only between tokens: inside strings they are escaped.
    out.extend(text.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn any_string_reads_back(text in any::<String>()) {
            let json = written(|out| string(out, &text));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            prop_assert!(!json.contains('\n'));
        }

        #[test]
        fn any_integer_reads_back(number: u64) {
            prop_assert_eq!(written(|out| integer(out, number)), number.to_string());
        }

        #[test]
        fn any_bytes_stay_one_value_on_one_line(bytes in any::<Vec<u8>>()) {
            let json = written(|out| raw(out, &bytes));
            prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
            prop_assert!(!json.contains(['\n', '\r']));
        }
    }

    #[test]
    fn every_control_character_is_escaped() {
        let text: String = (0..0x20u8).map(char::from).chain("\"\\/\u{7f}é\u{2028}".chars()).collect();
        let json = written(|out| string(out, &text));
        assert!(json.bytes().all(|byte| byte >= 0x20));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn decimals_keep_their_digits_and_nothing_else_becomes_a_number() {
        for number in ["0", "-1", "10", "0.10", "123456789012345678901234567890.5"] {
            assert_eq!(written(|out| decimal(out, &number)), number);
        }
        for text in ["", "-", "01", "1.", ".5", "1e3", "NaN", "1,0", "1.2.3"] {
            assert_eq!(written(|out| decimal(out, &text)), format!("\"{text}\""));
        }
    }

    #[test]
    fn endless_text_is_cut_at_a_character() {
        let json = written(|out| bounded(out, &"é".repeat(5_000)));
        let text: String = serde_json::from_str(&json).unwrap();
        assert!(text.ends_with("é…") && text.len() < 1_030, "{} bytes", text.len());
    }
}
