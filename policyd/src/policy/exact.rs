//! Amounts as they are written: decimals that are never rounded. What does not fit is refused instead.
//!
//! `rust_decimal` holds 96 bits and up to 28 decimal places; its own operators round what goes beyond.

use rust_decimal::Decimal;

const MAX_SCALE: i64 = 28;

/// The exact value of a JSON number, or `None` if it does not fit.
///
/// `text` must follow the grammar of RFC 8259, section 6; other texts give `None` or a number.
pub(super) fn parse(text: &str) -> Option<Decimal> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (digits, exponent) = match digits.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, Some(exponent)),
        None => (digits, None),
    };
    let mut mantissa: i128 = 0;
    let mut scale: i64 = 0;
    let mut zeros: u32 = 0;
    let mut fraction = false;
    for byte in digits.bytes() {
        match byte {
            b'.' if !fraction => fraction = true,
            // Zeros are held back until another digit follows: `1.000` costs no digits.
            b'0' => {
                zeros = if mantissa == 0 { 0 } else { zeros.checked_add(1)? };
                scale += i64::from(fraction);
            }
            b'1'..=b'9' => {
                let shift = 10i128.checked_pow(zeros.checked_add(1)?)?;
                mantissa = mantissa.checked_mul(shift)?.checked_add(i128::from(byte - b'0'))?;
                zeros = 0;
                scale += i64::from(fraction);
            }
            _ => return None,
        }
    }
    if mantissa == 0 {
        return Some(Decimal::ZERO);
    }
    let exponent: i64 = exponent.map_or(Some(0), |exponent| exponent.parse::<i32>().ok().map(i64::from))?;
    let scale = scale - i64::from(zeros) - exponent;
    let (mantissa, scale) = if scale < 0 {
        let shift = 10i128.checked_pow(u32::try_from(-scale).ok()?)?;
        (mantissa.checked_mul(shift)?, 0)
    } else {
        (mantissa, scale)
    };
    if scale > MAX_SCALE {
        return None;
    }
    let mantissa = if negative { -mantissa } else { mantissa };
    Decimal::try_from_i128_with_scale(mantissa, u32::try_from(scale).ok()?).ok()
}

/// `a + b`, or `None` if the exact sum does not fit. The sum keeps the larger of the two scales.
pub(super) fn add(a: Decimal, b: Decimal) -> Option<Decimal> {
    combine(a, b, i128::checked_add)
}

/// `a - b`, or `None` if the exact difference does not fit.
pub(super) fn subtract(a: Decimal, b: Decimal) -> Option<Decimal> {
    combine(a, b, i128::checked_sub)
}

fn combine(a: Decimal, b: Decimal, operate: fn(i128, i128) -> Option<i128>) -> Option<Decimal> {
    let scale = a.scale().max(b.scale());
    let mantissa = operate(mantissa_at(a, scale)?, mantissa_at(b, scale)?)?;
    Decimal::try_from_i128_with_scale(mantissa, scale).ok()
}

fn mantissa_at(number: Decimal, scale: u32) -> Option<i128> {
    match scale - number.scale() {
        0 => Some(number.mantissa()),
        more => number.mantissa().checked_mul(10i128.checked_pow(more)?),
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        parse(text).map(|number| number.to_string())
    }

    #[test]
    fn reads_numbers_exactly_as_written() {
        for (text, value) in [
            ("0", "0"),
            ("-0.000", "0"),
            ("0e999999999999", "0"),
            ("1", "1"),
            ("10", "10"),
            ("1.0", "1"),
            ("0.1", "0.1"),
            ("-12.50", "-12.5"),
            ("1e3", "1000"),
            ("1200e-2", "12"),
            ("1.5E+2", "150"),
            ("100.001", "100.001"),
            ("0.0000000000000000000000000001", "0.0000000000000000000000000001"),
            ("79228162514264337593543950335", "79228162514264337593543950335"),
            ("1.00000000000000000000000000000000000000000000000", "1"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(value), "{text}");
        }
    }

    #[test]
    fn refuses_what_does_not_fit_rather_than_rounding() {
        for text in [
            "79228162514264337593543950336",
            "1e29",
            "1e999999999999",
            "1e-29",
            "0.00000000000000000000000000001",
            "12345678901234567890.12345678901",
            "nonsense",
            "1.2.3",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn adds_without_rounding_or_not_at_all() {
        let add = |a: &str, b: &str| Some(add(parse(a)?, parse(b)?)?.normalize().to_string());
        assert_eq!(add("0.1", "0.2").as_deref(), Some("0.3"));
        assert_eq!(add("79228162514264337593543950334", "1").as_deref(), Some("79228162514264337593543950335"));
        assert_eq!(add("79228162514264337593543950335", "1"), None);
        assert_eq!(add("79228162514264337593543950334", "0.1"), None, "rust_decimal itself rounds here");
    }
}
