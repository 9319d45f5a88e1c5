//! JSON numbers by their decimal value, however long they are: `1.0` is `1`, and `0.1` is not the nearest float.
//!
//! Nothing is computed: a number is its significant digits and the place of the point, and two of them are compared digit by
//! digit. So no exponent costs more than its own length.

use std::cmp::Ordering;

/// A number: `0.d₁d₂d₃… × 10^magnitude`, where `d₁` is not zero.
#[derive(Clone, Copy, Debug)]
pub(in crate::policy) struct Number<T> {
    negative: bool,
    magnitude: i64,
    /// From the first digit that is not zero to the last one, a point perhaps among them. Empty: zero.
    digits: T,
}

/// A number that others are compared with.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Bound {
    number: Number<Box<str>>,
    /// The same, if it is an integer of up to 18 digits.
    short: Option<i64>,
}

impl Bound {
    /// How the number that `text` is compares with it. `None`: `text` is no number that can be compared.
    #[inline]
    pub fn compare(&self, text: &str) -> Option<Ordering> {
        if let (Some(bound), Some(number)) = (self.short, short(text.as_bytes())) {
            return Some(number.cmp(&bound));
        }
        Some(Number::parse(text)?.compare(&self.number))
    }
}

impl From<Number<Box<str>>> for Bound {
    fn from(number: Number<Box<str>>) -> Bound {
        let digits = number.digits.as_ref();
        let zeros = usize::try_from(number.magnitude).ok().and_then(|places| places.checked_sub(digits.len()));
        let written = zeros.filter(|_| number.magnitude <= SHORT as i64).map(|zeros| {
            let sign = if number.negative { "-" } else { "" };
            format!("{sign}{digits}{}", "0".repeat(zeros))
        });
        let short = if digits.is_empty() { Some(0) } else { written.and_then(|text| short(text.as_bytes())) };
        Bound { number, short }
    }
}

/// Digits that fit into 64 bits, whatever they are.
const SHORT: usize = 18;

/// An integer that is written as one, of up to [`SHORT`] digits.
#[inline]
fn short(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > SHORT {
        return None;
    }
    let mut value = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

impl<'a> Number<&'a str> {
    /// Reads a number that follows the grammar of RFC 8259, section 6. `None` for another text, and where the exponent is
    /// beyond 64 bits.
    pub fn parse(text: &'a str) -> Option<Number<&'a str>> {
        let (negative, text) = match text.as_bytes() {
            [b'-', ..] => (true, text.get(1..)?),
            _ => (false, text),
        };
        // The places of the first and the last digit that is not zero, of the point, and of the mantissa's end.
        let (mut significant, mut point, mut end) = (None, None, text.len());
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'0' => {}
                b'1'..=b'9' => significant = Some((significant.map_or(at, |(first, _)| first), at)),
                b'.' => point = point.or(Some(at)),
                b'e' | b'E' => {
                    end = at;
                    break;
                }
                _ => return None,
            }
        }
        let exponent = text.get(end + 1..);
        let Some((first, last)) = significant else {
            // Zero, however far its exponent is.
            return zero(text.get(..end)?, exponent);
        };
        let point = point.unwrap_or(end);
        // Before the point: how many digits there are from the first one on; behind it, how many zeros come before it.
        let place =
            if first < point { i64::try_from(point - first).ok()? } else { -i64::try_from(first - point - 1).ok()? };
        let exponent = exponent.map_or(Some(0), read_exponent)?;
        Some(Number { negative, magnitude: place.checked_add(exponent)?, digits: text.get(first..=last)? })
    }

    /// A copy that owns its digits.
    pub fn to_owned(self) -> Number<Box<str>> {
        Number { negative: self.negative, magnitude: self.magnitude, digits: self.digits.into() }
    }
}

fn zero<'a>(mantissa: &str, exponent: Option<&str>) -> Option<Number<&'a str>> {
    let digits = exponent.map(|exponent| exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    let exponent = digits.is_none_or(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    (mantissa.contains('0') && exponent).then_some(Number { negative: false, magnitude: 0, digits: "" })
}

/// Digits with a sign perhaps; leading zeros do not count.
fn read_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    let value: i64 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    Some(if negative { -value } else { value })
}

impl<T: AsRef<str>> Number<T> {
    /// Compares two numbers by their value.
    pub fn compare<U: AsRef<str>>(&self, other: &Number<U>) -> Ordering {
        match (self.sign(), other.sign()) {
            (a, b) if a != b => a.cmp(&b),
            (0, _) => Ordering::Equal,
            (1, _) => self.compare_size(other),
            _ => self.compare_size(other).reverse(),
        }
    }

    /// Whether there is nothing behind the point.
    pub fn is_integer(&self) -> bool {
        let digits = i64::try_from(self.digits().count()).unwrap_or(i64::MAX);
        digits == 0 || digits <= self.magnitude
    }

    fn compare_size<U: AsRef<str>>(&self, other: &Number<U>) -> Ordering {
        // Digits that are missing are zeros, and neither ends with one: the longer of two that agree is the larger.
        self.magnitude.cmp(&other.magnitude).then_with(|| self.digits().cmp(other.digits()))
    }

    fn sign(&self) -> i8 {
        match (self.digits.as_ref().is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.digits.as_ref().bytes().filter(|&byte| byte != b'.')
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
