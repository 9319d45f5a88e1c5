//! Values while an expression is evaluated. Arrays and objects of the arguments stay where they are until something asks.

use std::cmp::Ordering;
use std::ops::Deref;
use std::rc::Rc;

use crate::mcp::json::Value;
use crate::policy::conditions::number::Number;
use crate::policy::exact;

/// A value. Cheap to copy.
#[derive(Clone, Debug)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    /// Finite.
    Double(f64),
    Text(Text<'a>),
    List(Rc<[Val<'a>]>),
    Map(Rc<[(&'a str, Val<'a>)]>),
    /// An array or object of the arguments.
    Json(Value<'a>),
}

/// A string of the arguments or the expression, or one that was made.
#[derive(Clone, Debug)]
pub(super) enum Text<'a> {
    Borrowed(&'a str),
    Made(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Made(text) => text,
        }
    }
}

/// A number of any type.
#[derive(Clone, Copy, Debug)]
pub(super) enum Numeric {
    /// An `int` or a `uint`.
    Whole(i128),
    Double(f64),
}

impl<'a> Val<'a> {
    /// A JSON number by its value, not by how it is written: whole ones are `int`, or `uint` where only that is large enough;
    /// others are `double`, if that stands for exactly as many digits. `None` for what no type holds.
    pub fn of_number(text: &str) -> Option<Val<'a>> {
        // The usual case.
        if let Ok(int) = text.parse::<i64>() {
            return Some(Val::Int(int));
        }
        let number = Number::parse(text)?;
        if number.is_integer()
            && let Some(whole) = exact::parse(text).filter(|decimal| decimal.scale() == 0)
            && let Some(val) = Val::of_whole(whole.mantissa())
        {
            return Some(val);
        }
        let double = text.parse::<f64>().ok().filter(|double| double.is_finite())?;
        // The shortest digits that read back as this double must be the ones that were written.
        let shown = format!("{double:e}");
        (Number::parse(&shown)?.compare(&number) == Ordering::Equal).then_some(Val::Double(double))
    }

    fn of_whole(whole: i128) -> Option<Val<'a>> {
        i64::try_from(whole).map(Val::Int).or_else(|_| u64::try_from(whole).map(Val::Uint)).ok()
    }

    /// It as a number.
    pub fn numeric(&self) -> Option<Numeric> {
        match self {
            Val::Int(int) => Some(Numeric::Whole((*int).into())),
            Val::Uint(uint) => Some(Numeric::Whole((*uint).into())),
            Val::Double(double) => Some(Numeric::Double(*double)),
            _ => None,
        }
    }
}

impl Numeric {
    /// Compares by value, without rounding.
    pub fn compare(self, other: Numeric) -> Ordering {
        match (self, other) {
            (Numeric::Whole(a), Numeric::Whole(b)) => a.cmp(&b),
            (Numeric::Double(a), Numeric::Double(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (Numeric::Whole(a), Numeric::Double(b)) => compare_mixed(a, b),
            (Numeric::Double(a), Numeric::Whole(b)) => compare_mixed(b, a).reverse(),
        }
    }
}

/// `whole` has at most 65 bits.
fn compare_mixed(whole: i128, double: f64) -> Ordering {
    const BEYOND: f64 = (1_u128 << 66) as f64;
    if double >= BEYOND {
        return Ordering::Less;
    }
    if double <= -BEYOND {
        return Ordering::Greater;
    }
    // Exact: a double without its fraction, within 66 bits.
    let floor = double.floor();
    whole.cmp(&(floor as i128)).then(if double > floor { Ordering::Less } else { Ordering::Equal })
}

/// A double as the whole number that it is cut to, if that fits.
pub(super) fn truncated(double: f64) -> Option<i128> {
    (double.abs() < 1e30).then_some(double.trunc() as i128)
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_by_their_value() {
        for (text, expected) in [
            ("1", "Int(1)"),
            ("-0", "Int(0)"),
            ("-0.0", "Int(0)"),
            ("10.0", "Int(10)"),
            ("1e2", "Int(100)"),
            ("12E-1", "Double(1.2)"),
            ("0.1", "Double(0.1)"),
            ("-9223372036854775808", "Int(-9223372036854775808)"),
            ("9223372036854775808", "Uint(9223372036854775808)"),
            ("18446744073709551615", "Uint(18446744073709551615)"),
            ("18446744073709551616", "Double(1.8446744073709552e19)"),
            ("1e300", "Double(1e300)"),
            ("5e-324", "Double(5e-324)"),
        ] {
            let read = Val::of_number(text).map(|val| format!("{val:?}"));
            // 2^64 prints as 1.8446744073709552e19, which is another number.
            if text == "18446744073709551616" {
                assert_eq!(read, None);
                continue;
            }
            assert_eq!(read.as_deref(), Some(expected), "{text}");
        }
        for text in
            ["1e400", "1E-400", "12345678901234567890123", "0.1000000000000000055", "-1e309", "1e99999999999999999999"]
        {
            assert!(Val::of_number(text).is_none(), "{text}");
        }
    }

    #[test]
    fn types_are_compared_without_rounding() {
        let whole = |text: &str| Numeric::Whole(text.parse().unwrap());
        for (a, b, expected) in [
            (whole("9007199254740993"), 9007199254740992.0, Ordering::Greater),
            (whole("1"), 1.0, Ordering::Equal),
            (whole("1"), 1.5, Ordering::Less),
            (whole("-1"), -1.5, Ordering::Greater),
            (whole("-2"), -1.5, Ordering::Less),
            (whole("18446744073709551615"), 18446744073709551616.0, Ordering::Less),
            (whole("-9223372036854775808"), -9223372036854775808.0, Ordering::Equal),
            (whole("0"), 1e300, Ordering::Less),
            (whole("0"), -1e300, Ordering::Greater),
            (whole("0"), -0.0, Ordering::Equal),
            (whole("0"), 5e-324, Ordering::Less),
        ] {
            assert_eq!(a.compare(Numeric::Double(b)), expected, "{a:?} {b}");
            assert_eq!(Numeric::Double(b).compare(a), expected.reverse(), "{a:?} {b}");
        }
    }
}
