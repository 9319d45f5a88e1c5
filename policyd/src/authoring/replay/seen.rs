//! Which records came already: the same log may be given twice, or a copy of its end.

use std::collections::{HashSet, VecDeque};

/// How many records are remembered. Logs are read in the order of time, so what is there twice comes twice in a row.
const MOST: usize = 16_384;

/// The last records.
#[derive(Debug, Default)]
pub(super) struct Seen {
    records: HashSet<(u64, String)>,
    order: VecDeque<(u64, String)>,
}

impl Seen {
    /// Notes a record of this time (nanoseconds since 1970 in UTC) and call; says whether it came already.
    pub fn again(&mut self, time: u64, call: &str) -> bool {
        let record = (time, call.to_owned());
        if !self.records.insert(record.clone()) {
            return true;
        }
        self.order.push_back(record);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.records.remove(&oldest);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_records_are_remembered() {
        let mut seen = Seen::default();
        assert!(!seen.again(1, "a") && !seen.again(1, "b") && !seen.again(2, "a"));
        assert!(seen.again(1, "a") && seen.again(2, "a"));
        for time in 3..3 + MOST as u64 {
            assert!(!seen.again(time, "a"));
        }
        assert_eq!((seen.records.len(), seen.order.len()), (MOST, MOST));
        assert!(!seen.again(1, "a"), "forgotten");
    }
}
