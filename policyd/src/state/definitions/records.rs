//! How many records a server can bring about: it can change its tools as often as it likes.

/// Records of one server within [`WINDOW`]. What is beyond is counted, and told with the next record.
pub(super) const MOST: u32 = 1000;

/// An hour, in milliseconds.
pub(super) const WINDOW: u64 = 3_600_000;

/// The records of one server.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::state) struct Records {
    since: u64,
    count: u32,
    left_out: u64,
}

impl Records {
    /// Whether one more may be written at `now` (milliseconds since 1970), and how many were left out before it.
    pub fn admit(&mut self, now: u64) -> Option<u64> {
        if now.abs_diff(self.since) >= WINDOW {
            (self.since, self.count) = (now, 0);
        }
        if self.count == MOST {
            self.left_out += 1;
            return None;
        }
        self.count += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_told_afterwards() {
        let mut records = Records::default();
        for _ in 0..MOST {
            assert_eq!(records.admit(WINDOW), Some(0));
        }
        assert_eq!((records.admit(WINDOW), records.admit(WINDOW + 1)), (None, None));
        assert_eq!(records.admit(2 * WINDOW), Some(2));
        assert_eq!(records.admit(2 * WINDOW), Some(0));
    }
}
