//! Arithmetic and conversions: nothing is rounded unseen, and what does not fit is an error.

use super::{Result, Stop};
use crate::policy::conditions::cel::expr::Conversion;
use crate::policy::conditions::cel::value::{Numeric, Text, Val, truncated};

/// Both of one type, and the result too: whole numbers that overflow and doubles that are not finite are errors.
pub(super) fn arithmetic<'a>(
    left: &Val<'a>,
    right: &Val<'a>,
    ints: fn(i64, i64) -> Option<i64>,
    uints: fn(u64, u64) -> Option<u64>,
    doubles: fn(f64, f64) -> f64,
) -> Result<Val<'a>> {
    let result = match (left, right) {
        (Val::Int(left), Val::Int(right)) => ints(*left, *right).map(Val::Int),
        (Val::Uint(left), Val::Uint(right)) => uints(*left, *right).map(Val::Uint),
        (Val::Double(left), Val::Double(right)) => {
            Some(doubles(*left, *right)).filter(|d| d.is_finite()).map(Val::Double)
        }
        _ => None,
    };
    result.ok_or(Stop::Error)
}

pub(super) fn converted(conversion: Conversion, value: Val<'_>) -> Option<Val<'_>> {
    let whole = |value: &Val<'_>| match value {
        Val::Text(text) => text.parse::<i128>().ok().filter(|_| !text.starts_with('+')),
        value => match value.numeric()? {
            Numeric::Whole(whole) => Some(whole),
            Numeric::Double(double) => truncated(double),
        },
    };
    Some(match (conversion, &value) {
        (Conversion::Bool, Val::Bool(_)) | (Conversion::String, Val::Text(_)) => value,
        (Conversion::Bool, Val::Text(text)) => match &**text {
            "true" => Val::Bool(true),
            "false" => Val::Bool(false),
            _ => return None,
        },
        (Conversion::Int, value) => Val::Int(i64::try_from(whole(value)?).ok()?),
        (Conversion::Uint, Val::Double(double)) if *double < 0.0 => return None,
        (Conversion::Uint, value) => Val::Uint(u64::try_from(whole(value)?).ok()?),
        (Conversion::Double, Val::Text(text)) => converted(Conversion::Double, Val::of_number(text)?)?,
        (Conversion::Double, value) => match value.numeric()? {
            Numeric::Double(double) => Val::Double(double),
            Numeric::Whole(whole) => {
                let double = whole as f64;
                // Not 2^53 + 1.
                Numeric::Double(double).compare(Numeric::Whole(whole)).is_eq().then_some(Val::Double(double))?
            }
        },
        (Conversion::String, Val::Bool(value)) => Val::Text(Text::Borrowed(if *value { "true" } else { "false" })),
        (Conversion::String, Val::Int(int)) => Val::Text(Text::Made(int.to_string().into())),
        (Conversion::String, Val::Uint(uint)) => Val::Text(Text::Made(uint.to_string().into())),
        _ => return None,
    })
}
