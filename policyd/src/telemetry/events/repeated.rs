//! Log lines that an agent can cause at will: the first at once, the rest counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The least time between two lines of one cause.
const INTERVAL: Duration = Duration::from_secs(5);

/// Remembers, for each cause, when its last line came and how many were left out since.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct RepeatedLines(Mutex<HashMap<&'static str, Line>>);

#[derive(Debug)]
struct Line {
    last: Instant,
    suppressed: u64,
}

impl RepeatedLines {
    /// Whether a line of `cause` is due now, and how many were left out before it.
    pub(in crate::telemetry) fn admit(&self, cause: &'static str) -> Option<u64> {
        self.admit_at(cause, Instant::now())
    }

    fn admit_at(&self, cause: &'static str, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = lines.get_mut(cause) else {
            lines.insert(cause, Line { last: now, suppressed: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(line.last) < INTERVAL {
            line.suppressed += 1;
            return None;
        }
        line.last = now;
        Some(std::mem::take(&mut line.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_comes_at_once_and_the_next_says_how_many_were_left_out() {
        let lines = RepeatedLines::default();
        let start = Instant::now();
        assert_eq!(lines.admit_at("name", start), Some(0));
        assert_eq!(lines.admit_at("name", start + Duration::from_secs(1)), None);
        assert_eq!(lines.admit_at("name", start + Duration::from_secs(4)), None);
        assert_eq!(lines.admit_at("other", start + Duration::from_secs(4)), Some(0), "each cause has its own");
        assert_eq!(lines.admit_at("name", start + Duration::from_secs(5)), Some(2));
        assert_eq!(lines.admit_at("name", start + Duration::from_secs(10)), Some(0));
    }
}
