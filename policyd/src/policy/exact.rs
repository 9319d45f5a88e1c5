//! Amounts as they are written: decimals that are never rounded. What does not fit is refused instead.
//!
//! `rust_decimal` holds 96 bits and up to 28 decimal places; its own operators round what goes beyond.

use rust_decimal::Decimal;

/// Decimal places that a decimal can have.
pub(super) const MAX_PLACES: u32 = 28;

/// The exact value of a JSON number, or `None` if it does not fit.
///
/// `text` must follow the grammar of RFC 8259, section 6; other texts give `None` or a number.
pub(crate) fn parse(text: &str) -> Option<Decimal> {
    parse_short(text).or_else(|| parse_any(text))
}

/// The same for most numbers that occur: few digits, no sign, no exponent. `None`: read it the long way.
fn parse_short(text: &str) -> Option<Decimal> {
    const MOST: usize = 18;
    let (mut mantissa, mut scale, mut fraction) = (0_i64, 0, 0);
    if text.len() > MOST {
        return None;
    }
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => (mantissa, scale) = (mantissa * 10 + i64::from(byte - b'0'), scale + fraction),
            b'.' if fraction == 0 => fraction = 1,
            _ => return None,
        }
    }
    Some(without_zeros(mantissa, scale))
}

fn parse_any(text: &str) -> Option<Decimal> {
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
                let shift = if zeros == 0 { 10 } else { 10i128.checked_pow(zeros.checked_add(1)?)? };
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
    if scale > MAX_PLACES.into() {
        return None;
    }
    let mantissa = if negative { -mantissa } else { mantissa };
    Decimal::try_from_i128_with_scale(mantissa, u32::try_from(scale).ok()?).ok()
}

/// `a + b`, or `None` if the exact sum does not fit. The sum keeps the larger of the two scales where it fits at that.
pub(crate) fn add(a: Decimal, b: Decimal) -> Option<Decimal> {
    combine(a, b, i128::checked_add)
}

/// `a - b`, or `None` if the exact difference does not fit.
pub(crate) fn subtract(a: Decimal, b: Decimal) -> Option<Decimal> {
    combine(a, b, i128::checked_sub)
}

#[inline]
fn combine(a: Decimal, b: Decimal, operate: impl Fn(i128, i128) -> Option<i128>) -> Option<Decimal> {
    // Zeros behind the last digit, left over from a smaller amount, must not take the room of digits before the point.
    combine_as_scaled(a, b, &operate).or_else(|| combine_as_scaled(a.normalize(), b.normalize(), &operate))
}

#[inline]
fn combine_as_scaled(a: Decimal, b: Decimal, operate: impl Fn(i128, i128) -> Option<i128>) -> Option<Decimal> {
    let scale = a.scale().max(b.scale());
    let mantissa = operate(mantissa_at(a, scale)?, mantissa_at(b, scale)?)?;
    if mantissa.unsigned_abs() >> 96 != 0 {
        return shortened(mantissa, scale);
    }
    Decimal::try_from_i128_with_scale(mantissa, scale).ok()
}

/// A number that is too long: without zeros at its end it may fit. (Apart, or its divisions are done for every sum.)
#[cold]
fn shortened(mut mantissa: i128, mut scale: u32) -> Option<Decimal> {
    while mantissa.unsigned_abs() >> 96 != 0 && scale > 0 && mantissa % 10 == 0 {
        (mantissa, scale) = (mantissa / 10, scale - 1);
    }
    Decimal::try_from_i128_with_scale(mantissa, scale).ok()
}

#[inline]
fn mantissa_at(number: Decimal, scale: u32) -> Option<i128> {
    match scale - number.scale() {
        0 => Some(number.mantissa()),
        more => number.mantissa().checked_mul(10i128.checked_pow(more)?),
    }
}

/// A sum of amounts: wide enough that none is ever rounded or lost, however small or large the parts are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sum {
    whole: u128,
    /// In units of 10⁻²⁸, less than [`ONE`].
    fraction: u128,
}

/// One, in the units of [`Sum`]'s fraction.
const ONE: u128 = 10_u128.pow(MAX_PLACES);

impl Sum {
    /// Nothing.
    pub const ZERO: Sum = Sum { whole: 0, fraction: 0 };

    /// An amount that is not negative; a negative one counts as its size.
    #[inline]
    pub fn of(amount: Decimal) -> Sum {
        let (mantissa, scale) = (amount.mantissa().unsigned_abs(), amount.scale());
        if scale == 0 {
            return Sum { whole: mantissa, fraction: 0 };
        }
        let (unit, parts) = (power(scale), power(MAX_PLACES - scale.min(MAX_PLACES)));
        // Most amounts are short, and dividing 128 bits takes ten times as long.
        if let (Ok(mantissa), Ok(unit)) = (u64::try_from(mantissa), u64::try_from(unit)) {
            return Sum { whole: (mantissa / unit).into(), fraction: u128::from(mantissa % unit) * parts };
        }
        Sum { whole: mantissa / unit, fraction: mantissa % unit * parts }
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self == Sum::ZERO
    }

    /// Both together. What not even 128 bits hold before the point stays as large as they hold: no limit is larger.
    pub fn plus(self, other: Sum) -> Sum {
        let fraction = self.fraction + other.fraction;
        let (carry, fraction) = if fraction < ONE { (0, fraction) } else { (1, fraction - ONE) };
        Sum { whole: self.whole.saturating_add(other.whole).saturating_add(carry), fraction }
    }

    /// What is left without a part of it.
    pub fn minus(self, part: Sum) -> Sum {
        if part > self {
            return Sum::ZERO;
        }
        let (borrow, fraction) = match self.fraction.checked_sub(part.fraction) {
            Some(fraction) => (0, fraction),
            None => (1, self.fraction + ONE - part.fraction),
        };
        Sum { whole: self.whole - part.whole - borrow, fraction }
    }

    /// As a decimal; rounded up where it has more digits than fit. `places`: how many decimal places its parts had at most.
    #[inline]
    pub fn rounded_up(self, places: u32) -> Decimal {
        if self.fraction == 0 {
            return match i64::try_from(self.whole) {
                Ok(whole) => Decimal::from(whole),
                Err(_) => self.at_scale(0).unwrap_or(Decimal::MAX),
            };
        }
        let places = places.min(MAX_PLACES);
        (0..=places).rev().find_map(|scale| self.at_scale(scale)).unwrap_or(Decimal::MAX)
    }

    /// With so many decimal places at most, if it fits.
    fn at_scale(self, scale: u32) -> Option<Decimal> {
        let fraction = self.fraction.div_ceil(power(MAX_PLACES - scale));
        let mantissa = self.whole.checked_mul(power(scale))?.checked_add(fraction)?;
        Some(match i64::try_from(mantissa) {
            Ok(mantissa) => without_zeros(mantissa, scale),
            Err(_) => Decimal::try_from_i128_with_scale(i128::try_from(mantissa).ok()?, scale).ok()?.normalize(),
        })
    }
}

/// `10^exponent`, the largest of which is 10²⁸.
#[inline]
fn power(exponent: u32) -> u128 {
    const POWERS: [u128; MAX_PLACES as usize + 1] = {
        let mut powers = [1; MAX_PLACES as usize + 1];
        let mut at = 1;
        while at < powers.len() {
            powers[at] = powers[at - 1] * 10;
            at += 1;
        }
        powers
    };
    POWERS[exponent.min(MAX_PLACES) as usize]
}

/// `mantissa × 10^-scale`, without zeros at its end.
#[inline]
fn without_zeros(mut mantissa: i64, mut scale: u32) -> Decimal {
    while scale > 0 && mantissa % 10 == 0 {
        (mantissa, scale) = (mantissa / 10, scale - 1);
    }
    Decimal::new(mantissa, scale)
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sum_loses_nothing_between_the_smallest_and_the_largest() {
        let sum = |texts: &[&str]| {
            texts.iter().fold(Sum::ZERO, |sum, text| sum.plus(Sum::of(parse(text).expect("an amount"))))
        };
        let (tiny, huge) = ("0.0000000000000000000000000001", "79228162514264337593543950335");
        let both = sum(&[tiny, huge, tiny]);
        assert!(both > sum(&[huge, tiny]) && sum(&[huge, tiny]) > sum(&[huge]));
        assert_eq!(both.minus(sum(&[huge])), sum(&[tiny, tiny]));
        assert_eq!(both.minus(sum(&[tiny, tiny])), sum(&[huge]));
        assert_eq!(both.rounded_up(MAX_PLACES), Decimal::MAX, "no decimal holds it");
        assert_eq!(
            sum(&["100000", tiny]).rounded_up(MAX_PLACES).to_string(),
            "100000.00000000000000000000001",
            "up, never down"
        );
        assert_eq!(sum(&["0.1"; 10]), sum(&["1"]));
        assert_eq!(sum(&["0.9", "0.2"]).rounded_up(MAX_PLACES).to_string(), "1.1");
        assert_eq!(sum(&["1"]).minus(sum(&["2"])), Sum::ZERO);
    }

    proptest! {
        #[test]
        fn sums_agree_with_decimals(amounts in prop::collection::vec((0..10_000_000_u32, 0..6_u32), 1..20)) {
            let amounts: Vec<Decimal> =
                amounts.into_iter().map(|(mantissa, scale)| Decimal::new(mantissa.into(), scale)).collect();
            let sum = amounts.iter().fold(Sum::ZERO, |sum, amount| sum.plus(Sum::of(*amount)));
            let all: Decimal = amounts.iter().sum();
            let places = amounts.iter().map(Decimal::scale).max().unwrap_or(0);
            prop_assert_eq!((sum.rounded_up(MAX_PLACES), sum.rounded_up(places)), (all, all));
            prop_assert_eq!(sum, Sum::of(all));
            prop_assert_eq!(sum.minus(Sum::of(amounts[0])), Sum::of(all - amounts[0]));
        }
    }

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
    fn a_million_sums_do_not_drift() {
        let (tenth, third) = (parse("0.1").expect("a number"), parse("0.3333333333333333").expect("a number"));
        let (mut tenths, mut mixed, mut float) = (Decimal::ZERO, Decimal::ZERO, 0.0_f64);
        for _ in 0..1_000_000 {
            tenths = add(tenths, tenth).expect("it fits");
            mixed = add(add(mixed, tenth).expect("it fits"), third).expect("it fits");
            float += 0.1;
        }
        assert_eq!(Some(tenths), parse("100000"));
        assert_eq!(Some(mixed), parse("433333.3333333333"));
        assert!((float - 100_000.0).abs() > 1e-7, "floats drift: {float}");
    }

    #[test]
    fn extreme_and_long_numbers_are_read_or_refused_at_once() {
        let zeros = "0".repeat(1_000_000);
        for (text, value) in [
            ("9007199254740993".to_owned(), Some("9007199254740993")),
            ("12345678901234567890123".to_owned(), Some("12345678901234567890123")),
            ("-0".to_owned(), Some("0")),
            ("1e400".to_owned(), None),
            ("1E-400".to_owned(), None),
            ("0E-400".to_owned(), Some("0")),
            (format!("1.{zeros}"), Some("1")),
            (format!("0.{zeros}"), Some("0")),
            (format!("{zeros}1.5"), Some("1.5")),
            (format!("1{zeros}e-1000000"), Some("1")),
            (format!("0.{zeros}1e1000001"), Some("1")),
            (format!("1{zeros}"), None),
            (format!("0.{zeros}1"), None),
            ("7".repeat(1_000_000), None),
            (format!("1e{zeros}2"), Some("100")),
            (format!("1e{}", "9".repeat(1_000_000)), None),
        ] {
            assert_eq!(shown(&text).as_deref(), value, "{}…", text.get(..30).unwrap_or(&text));
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_asked(texts in prop::collection::vec("[-+]{0,2}[0-9]{0,30}[.]{0,2}[0-9]{0,30}([eE][-+]?[0-9]{0,22})?|.{0,8}", 2)) {
            if let [Some(a), Some(b)] = [parse(&texts[0]), parse(&texts[1])] {
                // What is added can be taken away again, exactly, or it was not added.
                if let Some(sum) = add(a, b) {
                    prop_assert_eq!(subtract(sum, b).map(|back| back == a), Some(true));
                }
            }
        }

        /// Both readers of numbers agree wherever the smaller one can read at all.
        #[test]
        fn agrees_with_conditions(a in "-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,12})?([eE][-+]?[0-9])?", b in "-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,12})?([eE][-+]?[0-9])?") {
            use super::super::conditions::number::Number;
            let (x, y) = (Number::parse(&a).expect("a number"), Number::parse(&b).expect("a number"));
            prop_assert_eq!(parse(&a).expect("it fits").cmp(&parse(&b).expect("it fits")), x.compare(&y));
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

    #[test]
    fn a_tiny_amount_that_has_gone_leaves_no_mark() {
        let number = |text| parse(text).expect("fits");
        let tiny = number("0.0000000000000000000000000001");
        for large in ["7", "8", "79228162514264337593543950330"] {
            let sum = subtract(add(number("5"), tiny).expect("fits"), tiny).expect("fits");
            assert_eq!((sum, sum.scale()), (number("5"), 28));
            assert_eq!(add(sum, number(large)), add(number("5"), number(large)), "{large}");
            assert_eq!(add(number(large), sum), add(number("5"), number(large)), "{large}");
        }
        assert_eq!(add(number("8"), tiny), None, "no digit is dropped");
    }

    /// Half a million digits, and at last four million: were the time not linear in their number, this would not end.
    #[test]
    fn the_length_of_a_number_costs_linear_time() {
        const LONG: usize = 1 << 19;
        let (zeros, nines) = ("0".repeat(LONG), "9".repeat(LONG));
        for (text, value) in [
            (nines.clone(), None),
            (format!("1{zeros}"), None),
            (format!("0.{zeros}1"), None),
            (format!("0.{nines}"), None),
            (format!("1e{nines}"), None),
            (format!("1e-{nines}"), None),
            (format!("1.{zeros}"), Some("1")),
            (format!("1.5{zeros}e1"), Some("15")),
            (format!("-0.{zeros}"), Some("0")),
            (format!("0e{nines}"), Some("0")),
            (format!("1e{zeros}2"), Some("100")),
            (format!("1{zeros}e-{LONG}"), Some("1")),
            (format!("0.{zeros}7e{}", LONG + 1), Some("7")),
        ] {
            assert_eq!(shown(&text).as_deref(), value, "{}…", &text[..8]);
        }
        assert_eq!(parse(&"9".repeat(1 << 22)), None);
        assert_eq!(shown(&format!("1.{}", "0".repeat(1 << 22))).as_deref(), Some("1"));
    }

    /// The value as digits and an exponent, by other means: `None` if it does not fit into 96 bits and 28 places.
    fn plainly(negative: bool, digits: &str, exponent: i32) -> Option<Decimal> {
        let digits = digits.trim_start_matches('0');
        let significant = digits.trim_end_matches('0');
        if significant.is_empty() {
            return Some(Decimal::ZERO);
        }
        let exponent = exponent + i32::try_from(digits.len() - significant.len()).ok()?;
        let zeros = usize::try_from(exponent.max(0)).ok()?;
        let mantissa: i128 = format!("{significant}{}", "0".repeat(zeros)).parse().ok()?;
        let scale = u32::try_from(-exponent.min(0)).ok().filter(|&scale| scale <= 28)?;
        Decimal::try_from_i128_with_scale(if negative { -mantissa } else { mantissa }, scale).ok()
    }

    proptest! {
        #[test]
        fn reads_what_the_digits_say(
            negative: bool, whole in "0|[1-9][0-9]{0,32}|[1-9]0{0,32}", fraction in "[0-9]{0,12}0{0,24}[0-9]{0,3}", exponent in -40..40i32,
        ) {
            let sign = if negative { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            let text = format!("{sign}{whole}{point}{fraction}e{exponent}");
            let places = i32::try_from(fraction.len()).unwrap_or(0);
            prop_assert_eq!(parse(&text), plainly(negative, &format!("{whole}{fraction}"), exponent - places), "{}", text);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}", number in "[-+0-9.eE]{0,60}") {
            let _ = (parse(&text), parse(&number));
        }

        #[test]
        fn the_short_way_reads_the_same(text in "[0-9]{0,12}(\\.[0-9]{0,3}0{0,4})?") {
            let parts = |number: Option<Decimal>| number.map(|number| (number.mantissa(), number.scale()));
            prop_assert!(parse_short(&text).is_some() || text.len() > 18);
            prop_assert_eq!(parts(parse(&text)), parts(parse_any(&text)), "{}", text);
        }

        #[test]
        fn what_is_added_can_be_taken_away(a in any::<i64>(), b in any::<i64>(), places in (0..28u32, 0..28u32)) {
            let (a, b) = (Decimal::from_i128_with_scale(a.into(), places.0), Decimal::from_i128_with_scale(b.into(), places.1));
            if let Some(sum) = add(a, b) {
                prop_assert_eq!(subtract(sum, b), Some(a));
                prop_assert_eq!(add(b, a), Some(sum));
            }
        }
    }
}
