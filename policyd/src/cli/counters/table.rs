//! Counters as a person reads them.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::state::{Listed, SESSION, Used};

const TITLES: [&str; 7] = ["SERVER", "GRANT", "COUNTER", "SCOPE", "WINDOW", "USED", "LAST"];

/// One line per counter and window.
pub(super) fn table(counters: &[Listed], now: SystemTime) -> String {
    if counters.is_empty() {
        return "no counters\n".to_owned();
    }
    let mut lines = vec![TITLES.map(str::to_owned)];
    for counter in counters {
        let text = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".to_owned());
        // Enough of the hash to tell sessions apart; `--json` has all of it.
        let scope = match &counter.session {
            Some(session) => format!("session {}", session.get(..SESSION).unwrap_or(session)),
            None => counter.scope.clone(),
        };
        let last = counter.newest.map_or_else(|| "-".to_owned(), |newest| ago(newest, now));
        for used in &counter.windows {
            lines.push([
                text(&counter.server),
                text(&counter.grant),
                counter.counter.clone(),
                scope.clone(),
                window(used),
                used.used.clone(),
                last.clone(),
            ]);
        }
    }
    let mut widths = [0; TITLES.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

/// `minute`, `90s`, `UTC day`.
fn window(used: &Used) -> String {
    let length = match used.seconds {
        1.0 => "second".to_owned(),
        60.0 => "minute".to_owned(),
        3_600.0 => "hour".to_owned(),
        86_400.0 => "day".to_owned(),
        seconds => format!("{seconds}s"),
    };
    if used.calendar { format!("UTC {length}") } else { length }
}

pub(in crate::cli) fn ago(time: f64, now: SystemTime) -> String {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let then = Duration::try_from_secs_f64(time).unwrap_or_default();
    match now.saturating_sub(then).as_secs() {
        seconds @ 0..120 => format!("{seconds}s ago"),
        seconds @ 120..7_200 => format!("{}m ago", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h ago", seconds / 3_600),
        seconds => format!("{}d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_per_window() {
        let counter = Listed {
            scope: "grant".into(),
            grant: Some("office-agent".into()),
            server: Some("promptfax".into()),
            session: None,
            counter: "spend".into(),
            windows: vec![
                Used { seconds: 60.0, calendar: false, used: "0.30".into() },
                Used { seconds: 86_400.0, calendar: true, used: "12500".into() },
            ],
            entries: 3,
            oldest: Some(1_000.0),
            newest: Some(2_000.0),
        };
        let session = Listed {
            scope: "session".into(),
            session: Some("0123456789abcdef0123456789abcdef".into()),
            counter: "/tools/start_session/rate_limit".into(),
            windows: vec![Used { seconds: 90.0, calendar: false, used: "3".into() }],
            newest: None,
            ..counter.clone()
        };
        let all = Listed {
            scope: "host".into(),
            grant: None,
            server: None,
            windows: vec![Used { seconds: 3_600.0, calendar: false, used: "7".into() }],
            ..counter.clone()
        };
        let now = UNIX_EPOCH + Duration::from_secs(10_000);
        insta::assert_snapshot!(table(&[all, counter, session], now), @"
        SERVER     GRANT         COUNTER                          SCOPE             WINDOW   USED   LAST
        -          -             spend                            host              hour     7      2h ago
        promptfax  office-agent  spend                            grant             minute   0.30   2h ago
        promptfax  office-agent  spend                            grant             UTC day  12500  2h ago
        promptfax  office-agent  /tools/start_session/rate_limit  session 01234567  90s      3      -
        ");
        assert_eq!(table(&[], now), "no counters\n");
    }

    #[test]
    fn times_are_said_roughly() {
        let ago = |seconds: u64| ago(1_000.0, UNIX_EPOCH + Duration::from_secs(1_000 + seconds));
        assert_eq!(
            [ago(0), ago(119), ago(120), ago(7_200), ago(200_000)],
            ["0s ago", "119s ago", "2m ago", "2h ago", "2d ago"]
        );
    }
}
