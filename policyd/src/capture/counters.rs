//! The programs' counters.

use policyd_ebpf::{COUNTERS, Counter};

/// The programs' counters since this daemon started, summed over the processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; COUNTERS as usize]);

impl Counters {
    /// Every counter with its name in metrics (snake case, without prefix or unit).
    pub const NAMES: [(Counter, &'static str); COUNTERS as usize] = [
        (Counter::Redirected, "redirected"),
        (Counter::RefusedNamespace, "refused_namespace"),
        (Counter::RefusedFamily, "refused_family"),
        (Counter::RefusedListener, "refused_listener"),
        (Counter::RefusedMemory, "refused_memory"),
        (Counter::UdpDropped, "udp_dropped"),
        (Counter::Exempted, "exempted"),
        (Counter::EventsLost, "events_lost"),
        (Counter::Accepted, "accepted"),
    ];

    /// One counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// All counters with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Self::NAMES.iter().map(|(counter, name)| (*name, self.get(*counter)))
    }

    /// The counter `index`'s value.
    pub(super) fn set(&mut self, index: usize, value: u64) {
        self.0[index] = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_name_at_its_place() {
        for (index, (counter, _)) in Counters::NAMES.iter().enumerate() {
            assert_eq!(*counter as usize, index);
        }
    }
}
