use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;

fn compare(a: &str, b: &str) -> Ordering {
    let number = |text| Number::parse(text).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(number(b).compare(&number(a)), number(a).compare(&number(b)).reverse(), "{a} {b}");
    let bound = Bound::from(number(b).to_owned());
    assert_eq!(bound.compare(a), Some(number(a).compare(&number(b))), "{a} {b}");
    number(a).compare(&number(b).to_owned())
}

#[test]
fn compares_by_value() {
    for (a, b, expected) in [
        ("1.0", "1", Ordering::Equal),
        ("1e0", "10E-1", Ordering::Equal),
        ("0.1", "1e-1", Ordering::Equal),
        ("0.1", "0.1000000000000000055511151231257827", Ordering::Less),
        ("9007199254740993", "9007199254740992", Ordering::Greater),
        ("12345678901234567890123", "12345678901234567890124", Ordering::Less),
        ("1e400", "1e399", Ordering::Greater),
        ("1e400", "10e399", Ordering::Equal),
        ("1E-400", "0", Ordering::Greater),
        ("-1E-400", "0", Ordering::Less),
        ("-0", "0", Ordering::Equal),
        ("-0.000e5", "0e-999999999999999999999999", Ordering::Equal),
        ("0.0005", "5e-4", Ordering::Equal),
        ("100", "1e2", Ordering::Equal),
        ("120.50", "1205e-1", Ordering::Equal),
        ("-2", "-10", Ordering::Greater),
        ("-2", "1", Ordering::Less),
        ("1e0000000000000000000000000000002", "100", Ordering::Equal),
        ("1e+2", "100", Ordering::Equal),
        ("101", "11e1", Ordering::Less),
        ("0.30000000000000004", "0.3", Ordering::Greater),
        ("1e-400", "1E-400", Ordering::Equal),
        ("1E-400", "1.0000000000000000000001E-400", Ordering::Less),
        ("-1e400", "-1e401", Ordering::Greater),
        ("9007199254740993", "9007199254740993.0", Ordering::Equal),
        ("9007199254740993", "9007199254740992.9999999999999999999999", Ordering::Greater),
        ("-0.0", "0e5", Ordering::Equal),
        ("-0", "-1e-999999999999", Ordering::Greater),
        ("0.00012300", "123e-6", Ordering::Equal),
        ("1000000000000000000000000000000", "1e30", Ordering::Equal),
        ("1e-9223372036854775807", "0", Ordering::Greater),
        ("1e9223372036854775806", "1e9223372036854775805", Ordering::Greater),
    ] {
        assert_eq!(compare(a, b), expected, "{a} {b}");
    }
}

#[test]
fn what_cannot_be_placed_is_no_number() {
    for text in [
        "1e9999999999999999999",
        "1e-9999999999999999999",
        "x",
        "1e",
        "1e+",
        "+1",
        "1ex",
        "--1",
        "0e",
        "0ex",
        "0e+",
        "",
        "-",
        ".",
        "1e9223372036854775807",
    ] {
        assert!(Number::parse(text).is_none(), "{text}");
    }
}

#[test]
fn knows_integers() {
    for (text, integer) in
        [("1", true), ("1.0", true), ("1e2", true), ("0.1e1", true), ("1.5", false), ("1e-1", false), ("-0.0", true)]
    {
        assert_eq!(Number::parse(text).unwrap().is_integer(), integer, "{text}");
    }
}

/// Reads a number part by part.
fn plainly(text: &str) -> Option<Number<&str>> {
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) =
        rest.split_once(['e', 'E']).map_or((rest, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    if !mantissa.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let digits = mantissa.trim_start_matches(['0', '.']).trim_end_matches(['0', '.']);
    if digits.is_empty() {
        return zero(mantissa, exponent);
    }
    let first = mantissa.find(digits)?;
    let point = mantissa.find('.').unwrap_or(mantissa.len());
    let place = if first < point { point - first } else { first - point - 1 };
    let place = i64::try_from(place).ok()? * if first < point { 1 } else { -1 };
    let magnitude = place.checked_add(exponent.map_or(Some(0), read_exponent)?)?;
    Some(Number { negative, magnitude, digits })
}

proptest! {
    #[test]
    fn one_pass_reads_what_several_do(
        text in "[1-9][0-9]{0,22}|[1-9]0{0,22}|-?[0-9]{0,3}[.]?[0-9]{0,9}([eE][-+]?[0-9]{0,3})?|[0-9.eE+-]{0,6}",
    ) {
        let parts = |number: Option<Number<&str>>| number.map(|n| (n.negative, n.magnitude, n.digits.to_owned()));
        prop_assert_eq!(parts(Number::parse(&text)), parts(plainly(&text)), "{}", text);
    }

    #[test]
    fn agrees_with_decimals(a in "-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,6})?", b in "-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,6})?") {
        let decimal = |text: &str| text.parse::<Decimal>().unwrap();
        prop_assert_eq!(compare(&a, &b), decimal(&a).cmp(&decimal(&b)));
        let shifted = format!("{a}e3");
        prop_assert_eq!(compare(&shifted, &b), (decimal(&a) * Decimal::from(1000)).cmp(&decimal(&b)));
    }

    /// Any text gives a number or none, and a number is compared with any other: consistently, and without a panic.
    #[test]
    fn any_text_can_be_asked(texts in prop::collection::vec("[-+]{0,2}[0-9]{0,30}[.]{0,2}[0-9]{0,30}([eE][-+]?[0-9]{0,22})?|.{0,8}", 3)) {
        let numbers: Vec<_> = texts.iter().filter_map(|text| Number::parse(text)).collect();
        for a in &numbers {
            a.is_integer();
            prop_assert_eq!(a.compare(a), Ordering::Equal);
            for b in &numbers {
                prop_assert_eq!(a.compare(b), b.compare(a).reverse());
                for c in &numbers {
                    let ordered = a.compare(b).is_le() && b.compare(c).is_le();
                    prop_assert!(!ordered || a.compare(c).is_le(), "{:?}", texts);
                }
            }
        }
    }

    /// Shifting the point and the exponent against each other, and zeros at both ends, change nothing.
    #[test]
    fn notation_does_not_matter(digits in "[1-9][0-9]{0,40}", zeros in 0..20usize, shift in 0..40usize, negative in any::<bool>()) {
        let sign = if negative { "-" } else { "" };
        let plain = format!("{sign}{digits}");
        let shifted = format!("{sign}{digits}{}e-{shift}", "0".repeat(shift));
        let fraction = format!("{sign}0.{}{digits}{}E+00{}", "0".repeat(zeros), "0".repeat(zeros), zeros + digits.len());
        prop_assert_eq!(compare(&plain, &shifted), Ordering::Equal);
        prop_assert_eq!(compare(&plain, &fraction), Ordering::Equal);
        let more = format!("{sign}{digits}.{}1", "0".repeat(zeros));
        prop_assert_eq!(compare(&plain, &more), if negative { Ordering::Greater } else { Ordering::Less });
    }
}

/// Digits that count how often they are looked at.
#[derive(Debug)]
struct Counting<'a>(&'a str, &'a std::cell::Cell<usize>);

impl AsRef<str> for Counting<'_> {
    fn as_ref(&self) -> &str {
        self.1.set(self.1.get() + 1);
        self.0
    }
}

/// A megabyte of digits is walked a fixed number of times, whatever the exponents: nothing is multiplied out.
#[test]
fn long_numbers_are_compared_in_linear_time() {
    let walks = |length: usize, exponent: &str| {
        let text = format!("{}.{}e{exponent}", "7".repeat(length), "3".repeat(length));
        let number = Number::parse(&text).unwrap();
        let looked = std::cell::Cell::new(0);
        let counting =
            Number { negative: false, magnitude: number.magnitude, digits: Counting(number.digits, &looked) };
        assert_eq!(counting.compare(&number), Ordering::Equal);
        looked.get()
    };
    assert_eq!(walks(10, "0"), walks(1_000_000, "0"));
    assert_eq!(walks(10, "999999999999"), walks(1_000_000, "-999999999999"));
    for text in [
        format!("1e{}1", "0".repeat(1_000_000)),
        format!("{}1", "0".repeat(1_000_000)),
        format!("-0.{}", "0".repeat(1_000_000)),
    ] {
        assert!(Number::parse(&text).is_some());
    }
    assert!(Number::parse(&format!("1e{}", "9".repeat(1_000_000))).is_none());
    assert_eq!(compare(&format!("1{}", "0".repeat(1_000_000)), "1e1000000"), Ordering::Equal);
}
