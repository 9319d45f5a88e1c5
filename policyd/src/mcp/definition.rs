//! What a server says of a tool, in a form that can be compared: one text for all spellings of the same definition.
//!
//! As in RFC 8785 keys are sorted and spaces left out, strings are spelled with as few escapes as they can be, and numbers by
//! their value. Unlike there numbers are exact: a float would make one of two that differ.

use std::borrow::Cow;
use std::collections::HashMap;

use super::json::{Kind, Parser, Value};

/// The canonical JSON of `value`: equal for two texts that differ in spaces, the order of keys, or the spelling of strings and
/// numbers only. The order of an array's elements counts.
pub fn canonical(value: Value<'_>) -> String {
    let mut out = String::with_capacity(value.raw().len());
    write(&mut out, value);
    out
}

fn write(out: &mut String, value: Value<'_>) {
    match value.kind() {
        Kind::Null | Kind::Bool => out.push_str(value.raw()),
        Kind::Number => number(out, value.raw()),
        Kind::String => string(out, &value.as_str().unwrap_or_default()),
        Kind::Array => {
            out.push('[');
            for (index, item) in value.items().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(out, item);
            }
            out.push(']');
        }
        Kind::Object => {
            let mut members: Vec<_> = value.entries().filter_map(|(key, value)| Some((key.as_str()?, value))).collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            out.push('{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                string(out, &key);
                out.push(':');
                write(out, value);
            }
            out.push('}');
        }
    }
}

fn string(out: &mut String, text: &str) {
    // A text always can be written.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// How many zeros a number may need to be written without an exponent.
const ZEROS: i64 = 20;

/// A number of RFC 8259, section 6, by its value.
fn number(out: &mut String, text: &str) {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        // Beyond that no two spellings are taken for one.
        Some((mantissa, exponent)) => match exponent.parse::<i32>() {
            Ok(exponent) => (mantissa, i64::from(exponent)),
            Err(_) => return out.push_str(text),
        },
        None => (text, 0),
    };
    let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return out.push('0');
    }
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    let exponent = exponent - length(fraction) + length(digits) - length(significant);
    if negative {
        out.push('-');
    }
    // Where the point stands, counted from the first digit.
    let point = length(significant) + exponent;
    match exponent {
        0..=ZEROS => {
            out.push_str(significant);
            out.extend((0..exponent).map(|_| '0'));
        }
        _ if exponent < 0 && point > 0 => {
            let (whole, fraction) = significant.split_at(usize::try_from(point).unwrap_or(0));
            out.push_str(&format!("{whole}.{fraction}"));
        }
        _ if exponent < 0 && point > -ZEROS => {
            out.push_str("0.");
            out.extend((point..0).map(|_| '0'));
            out.push_str(significant);
        }
        _ => out.push_str(&format!("{significant}e{exponent}")),
    }
}

/// The longest list of fields that [`differing`] gives.
const FIELDS: usize = 16;

/// The keys under which two definitions, both in their canonical form, differ: sorted, and no more than sixteen. None of
/// definitions that are no objects.
pub fn differing(old: &str, new: &str) -> Vec<String> {
    let (mut old_parser, mut new_parser) = (Parser::default(), Parser::default());
    let (Ok(old), Ok(new)) = (old_parser.parse(old.as_bytes()), new_parser.parse(new.as_bytes())) else {
        return Vec::new();
    };
    let [old, new] = [old, new].map(|definition| {
        let members = definition.entries().filter_map(|(key, value)| Some((key.as_str()?, value.raw())));
        members.collect::<HashMap<Cow<'_, str>, &str>>()
    });
    let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
    let mut fields: Vec<String> =
        keys.filter(|key| old.get(*key) != new.get(*key)).map(|key| key.to_string()).collect();
    fields.sort();
    fields.truncate(FIELDS);
    fields
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> String {
        canonical(Parser::default().parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn spellings_of_one_definition_are_equal() {
        for (one, other) in [
            (r#"{"a":1,"b":[1,2]}"#, "{ \"b\" : [ 1 ,\n2 ], \"a\":1 }"),
            (r#""caf\u00e9 \/ \ud83d\ude00""#, "\"café / \u{1f600}\""),
            (r#"{"\u0061":null}"#, r#"{"a":null}"#),
            ("[1, 1.0, 10e-1, 0.1E1, 1e+0]", "[1,1,1,1,1]"),
            ("[100, 1e2, 1.00e2]", "[100,100,100]"),
            ("[0.5, 5e-1, 0.50]", "[0.5,0.5,0.5]"),
            ("[0, -0, 0.000, 0e9]", "[0,0,0,0]"),
            ("[1e300, 10e299]", "[1e300,1e300]"),
            ("[-1.5e-3]", "[-0.0015]"),
        ] {
            assert_eq!(of(one), of(other), "{one}");
        }
        assert_eq!(of("[123.450, 12e21, 1e-30, 5e20]"), "[123.45,12e21,1e-30,500000000000000000000]");
    }

    #[test]
    fn what_differs_stays_different() {
        for (one, other) in [
            ("[1,2]", "[2,1]"),
            ("1", "\"1\""),
            ("9007199254740993", "9007199254740992"),
            ("0.1", "0.10000000000000001"),
            ("1e300", "1e299"),
            ("\"a\"", "\"a\u{200b}\""),
            ("{}", "[]"),
            ("null", "false"),
            (r#"{"a":{}}"#, r#"{"a":null}"#),
        ] {
            assert_ne!(of(one), of(other), "{one}");
        }
    }

    #[test]
    fn fields_that_differ_are_named() {
        let (old, new) = (r#"{"a":1,"b":2,"c":{"d":[]}}"#, r#"{"a":1,"c":{"d":[0]},"e":null}"#);
        assert_eq!(differing(old, new), ["b", "c", "e"]);
        assert_eq!(differing(old, old), [""; 0]);
        assert_eq!(differing("[1]", "[2]"), [""; 0]);
        // Were each key looked for among all others, this would not end.
        let many = |from: usize| {
            let members: Vec<String> = (from..from + 200_000).map(|n| format!(r#""k{n}":0"#)).collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(differing(&many(0), &many(1)), ["k0", "k200000"]);
    }

    proptest! {
        /// What is canonical stays as it is, and means to others what it meant before.
        #[test]
        fn canonical_texts_are_fixed_points(digits in "-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?", text: String) {
            let json = format!("[{digits},{}]", serde_json::to_string(&text).unwrap());
            let once = of(&json);
            prop_assert_eq!(of(&once), once.clone());
            let number = once[1..].split(',').next().unwrap();
            prop_assert_eq!(number.parse::<f64>().unwrap(), digits.parse::<f64>().unwrap());
            let is: serde_json::Value = serde_json::from_str(&once).unwrap();
            prop_assert_eq!(is[1].as_str().unwrap(), text);
        }
    }
}
