//! Durations and instants as people write them.

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The units, the longest first.
const UNITS: [(&str, u64); 5] = [("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", MILLISECOND)];

/// Nanoseconds of `90s`, `1m30s`, `250ms`, `1d12h`: whole numbers with units, the longer unit first, each at most once.
pub(crate) fn duration(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text;
    let mut units = UNITS.iter();
    if text.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, after) = after.split_at(letters);
        let (_, length) = units.by_ref().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*length)?)?;
        rest = after;
    }
    Some(total)
}

/// `1m30s`: the duration as [`duration`] reads it; what is below a millisecond is rounded up.
pub(crate) fn show_duration(nanoseconds: u64) -> String {
    let mut rest = nanoseconds.div_ceil(MILLISECOND).saturating_mul(MILLISECOND);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut shown = String::new();
    for (unit, length) in UNITS {
        if rest >= length {
            shown.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    shown
}

/// Nanoseconds since 1970 in UTC of an RFC 3339 date and time from 1970 to 2261; finer digits than nanoseconds are dropped.
pub(crate) fn instant(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |from: usize, length: usize| -> Option<u64> {
        let digits = text.get(from..from + length)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let separated = [(4, b"-"), (7, b"-"), (13, b":"), (16, b":")].iter().all(|(at, is)| bytes.get(*at) == is.first());
    if !separated || !matches!(bytes.get(10)?, b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    // A leap second counts as the one before it.
    let second = if second == 60 { 59 } else { second };
    if !(1970..=2261).contains(&year) || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut nanoseconds = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let known = fraction.get(..digits.min(9)).filter(|known| !known.is_empty())?;
        nanoseconds = format!("{known:0<9}").parse().ok()?;
        rest = fraction.get(digits..)?;
    }
    let local = (days_before(year, month, day) * 24 + hour) * 60 + minute;
    let minutes = match rest.as_bytes() {
        [b'Z' | b'z'] => local,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - 6;
            let (hours, minutes) = (number(at + 1, 2)?, number(at + 4, 2)?);
            let offset = (hours <= 23 && minutes <= 59).then_some(hours * 60 + minutes)?;
            if *sign == b'+' { local.checked_sub(offset)? } else { local + offset }
        }
        _ => return None,
    };
    Some((minutes * 60 + second) * SECOND + nanoseconds)
}

/// `2026-11-21T13:01:47Z`, with as many decimal places as it needs.
pub(crate) fn show_instant(utc: u64) -> String {
    let (days, rest) = (utc / DAY, utc % DAY);
    // The year whose first day is the last that is not later.
    let mut year = 1970 + days / 366;
    while days_before(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_before(year, month + 1, 1) <= days {
        month += 1;
    }
    let day = 1 + days - days_before(year, month, 1);
    let (hour, minute, second) = (rest / HOUR, rest / MINUTE % 60, rest / SECOND % 60);
    let fraction = match rest % SECOND {
        0 => String::new(),
        nanoseconds => format!(".{}", format!("{nanoseconds:09}").trim_end_matches('0')),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Days from 1970-01-01 to the first of January of `year`, and on to the month and day.
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    let past = year - 1;
    let leap_days = past / 4 - past / 100 + past / 400 - 477;
    let months: u64 = (1..month).map(|month| days_in(year, month)).sum();
    (year - 1970) * 365 + leap_days + months + day - 1
}

fn days_in(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("1m30s", 90), ("2h", 7_200), ("1d1h1m1s", 90_061)] {
            assert_eq!(duration(text), Some(seconds * SECOND), "{text}");
        }
        assert_eq!(duration("1s5ms"), Some(1_005_000_000));
        for text in
            ["", "1", "s", "-1s", "1s1m", "1s1s", "1.5s", "1 s", "1w", "99999999999999999999s", "300000000d", "+1s"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(show_duration(90_061_000_000_001), "1d1h1m1s1ms");
        assert_eq!(show_duration(0), "0s");
    }

    #[test]
    fn instants_are_read_as_rfc_3339_says() {
        for (text, shown) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("2000-02-29T23:59:60Z", "2000-02-29T23:59:59Z"),
            ("2026-11-21t13:01:47.123456z", "2026-11-21T13:01:47.123456Z"),
            ("2026-11-21 13:01:47+01:30", "2026-11-21T11:31:47Z"),
            ("2026-12-31T23:30:00-01:00", "2027-01-01T00:30:00Z"),
            ("2026-01-01T00:00:00.1234567899Z", "2026-01-01T00:00:00.123456789Z"),
            ("2261-12-31T23:59:59Z", "2261-12-31T23:59:59Z"),
        ] {
            assert_eq!(instant(text).map(show_instant).as_deref(), Some(shown), "{text}");
        }
        assert_eq!(instant("2026-11-21T13:01:47Z"), Some(1_795_266_107 * SECOND));
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T13:01:47",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+1:00",
            "2026-01-01T00:00:00+24:00",
            "1970-01-01T00:00:00+00:01",
            "+026-01-01T00:00:00Z",
            "2026-01-01T00:00:00Zé",
            "2026-01-01T00:00:0é",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(milliseconds in 0..9_000_000_000_000u64, utc in 0..9_214_646_400_000_000_000u64) {
            prop_assert_eq!(duration(&show_duration(milliseconds * MILLISECOND)), Some(milliseconds * MILLISECOND));
            prop_assert_eq!(instant(&show_instant(utc)), Some(utc));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,40}", almost in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[Z+.0-9:é-]{0,8}") {
            let _ = (duration(&text), instant(&text), instant(&almost));
        }
    }
}
