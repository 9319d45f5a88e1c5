//! The clocks that limits go by.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::policy::{Now, Time};

/// Tells the time. It runs back neither while the process lives, nor over a restart of it or of the machine: not even UTC,
/// or a period of the calendar could be had twice. So after a wrong clock ran ahead, UTC goes on from there, at the pace of
/// CLOCK_BOOTTIME, until the right one has caught up.
#[derive(Debug)]
pub struct Clock {
    /// What is told is this much later than CLOCK_BOOTTIME, which begins anew with each boot.
    shift: AtomicI64,
    /// The most that CLOCK_REALTIME was ever ahead of CLOCK_BOOTTIME.
    ahead: AtomicI64,
}

/// What a stored clock said, to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The boot in which it did (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// What was told then.
    pub now: Now,
    /// How much later than CLOCK_BOOTTIME that was.
    pub shift: i64,
}

impl Stored {
    /// How far UTC was ahead of CLOCK_BOOTTIME, in nanoseconds.
    pub fn ahead(&self) -> i64 {
        signed(self.now.utc).saturating_sub(signed(self.now.time.0)).saturating_add(self.shift)
    }
}

/// What the machine's own clocks say, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    utc: u64,
    boottime: u64,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock { shift: AtomicI64::new(0), ahead: AtomicI64::new(i64::MIN) }
    }
}

impl Clock {
    /// Now. Rolling windows go by CLOCK_BOOTTIME: it runs while the machine sleeps. When the host's clock is set back, UTC
    /// goes on from where it was, at the pace of the other one: it neither jumps back nor stands still.
    pub fn now(&self) -> Now {
        self.tell(read())
    }

    /// Goes on from where a stored clock stopped.
    pub(super) fn resume(&self, stored: &Stored, boot: &str) {
        self.resume_at(stored, boot, read());
    }

    /// What to store.
    pub(super) fn stored(&self, boot: &str) -> Stored {
        Stored { boot: boot.to_owned(), now: self.now(), shift: self.shift.load(Ordering::Relaxed) }
    }

    fn resume_at(&self, stored: &Stored, boot: &str, reading: Reading) {
        self.shift.store(shift(stored, boot, reading), Ordering::Relaxed);
        let ahead = if stored.boot == boot {
            stored.ahead()
        } else {
            signed(stored.now.utc).saturating_sub(signed(reading.boottime))
        };
        self.ahead.fetch_max(ahead, Ordering::Relaxed);
    }

    fn tell(&self, Reading { utc, boottime }: Reading) -> Now {
        let ahead = signed(utc).saturating_sub(signed(boottime));
        let ahead = self.ahead.fetch_max(ahead, Ordering::Relaxed).max(ahead);
        let later = |by: i64| boottime.saturating_add_signed(by);
        Now { time: Time(later(self.shift.load(Ordering::Relaxed))), utc: later(ahead) }
    }
}

/// Neither clock can fail on a kernel that has eBPF; were one to, all windows would stand still and fill: closed.
///
/// UTC first: whatever comes between the two readings makes it seem less ahead, so that the most that it ever was is exact.
fn read() -> Reading {
    let read = |clock| clock_gettime(clock).map_or(0, |now| Duration::from(now).as_nanos() as u64);
    Reading { utc: read(ClockId::CLOCK_REALTIME), boottime: read(ClockId::CLOCK_BOOTTIME) }
}

/// How much later than CLOCK_BOOTTIME to tell. In another boot the time went on by as much as UTC did, as far as it did.
fn shift(stored: &Stored, boot: &str, reading: Reading) -> i64 {
    if stored.boot == boot {
        return stored.shift;
    }
    let off = reading.utc.saturating_sub(stored.now.utc);
    signed(stored.now.time.0.saturating_add(off)).saturating_sub(signed(reading.boottime))
}

fn signed(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(time: u64, utc: u64, shift: i64) -> Stored {
        Stored { boot: "one".into(), now: Now { time: Time(time), utc }, shift }
    }

    #[test]
    fn within_a_boot_the_same_clock_goes_on() {
        for by in [0, 500, -500] {
            let reading = Reading { utc: 1, boottime: 2_000 };
            assert_eq!(shift(&stored(1_000, 9_000, by), "one", reading), by);
        }
    }

    #[test]
    fn after_a_boot_the_time_went_on_as_utc_did() {
        let told = |stored: &Stored, reading: Reading| {
            let clock = Clock::default();
            clock.resume_at(stored, "two", reading);
            clock.tell(reading).time.0
        };
        // Up for longer than the boot before it, and for less.
        for boottime in [5, 1_000_000] {
            assert_eq!(told(&stored(1_000, 9_000, 0), Reading { utc: 9_300, boottime }), 1_300);
            // The clock of the new boot is behind: no time has passed.
            assert_eq!(told(&stored(1_000, 9_000, 0), Reading { utc: 10, boottime }), 1_000);
        }
    }

    #[test]
    fn a_clock_that_is_set_back_neither_jumps_nor_stands_still() {
        let clock = Clock::default();
        let tell = |utc, boottime| clock.tell(Reading { utc, boottime }).utc;
        assert_eq!(tell(1_000, 10), 1_000);
        assert_eq!(tell(5_000, 20), 5_000);
        assert_eq!(tell(1_020, 30), 5_010, "set back");
        assert_eq!(tell(6_000, 40), 6_000);
    }

    #[test]
    fn a_restart_while_utc_is_behind_does_not_set_it_back() {
        // Told at 5_000 in UTC, when CLOCK_BOOTTIME said 600.
        let stored = stored(1_000, 5_000, 400);
        for (boot, boottime, utc) in [("one", 700, 5_100), ("two", 7, 5_000)] {
            let clock = Clock::default();
            clock.resume_at(&stored, boot, Reading { utc: 3_000, boottime });
            assert_eq!(clock.tell(Reading { utc: 3_000, boottime }).utc, utc, "{boot}");
            assert_eq!(clock.tell(Reading { utc: 3_050, boottime: boottime + 50 }).utc, utc + 50, "it goes on");
            assert_eq!(clock.tell(Reading { utc: 9_000, boottime: boottime + 60 }).utc, 9_000, "it was caught up");
        }
    }

    #[test]
    fn the_machine_tells_the_time() {
        let clock = Clock::default();
        let before = clock.now();
        assert!(before.utc > 1_700_000_000_000_000_000 && before.time.0 > 0);
        let later =
            Stored { boot: "of another machine".into(), now: Now { time: Time(u64::MAX / 4), utc: 0 }, shift: 0 };
        clock.resume(&later, "this one");
        assert!(clock.now().time > Time(u64::MAX / 4));
        assert_eq!(clock.stored("this one").boot, "this one");
    }

    proptest! {
        /// Over restarts and boots, with host clocks that do what they like, the time never runs back.
        #[test]
        fn time_never_runs_back(steps in prop::collection::vec((0..3u8, 0..10_000u64, 0..100_000u64), 1..50)) {
            let (mut clock, mut boot, mut boottime) = (Clock::default(), 0u32, 0u64);
            let mut last = Now::default();
            for (kind, passed, utc) in steps {
                boottime += passed;
                if kind > 0 {
                    let before = Stored { boot: boot.to_string(), now: last, shift: clock.shift.load(Ordering::Relaxed) };
                    if kind == 2 {
                        boot += 1;
                        boottime = passed;
                    }
                    clock = Clock::default();
                    let reading = Reading { utc, boottime };
                    clock.resume_at(&before, &boot.to_string(), reading);
                }
                let now = clock.tell(Reading { utc, boottime });
                prop_assert!(now.time >= last.time, "{now:?} after {last:?}");
                prop_assert!(now.utc >= last.utc, "{now:?} after {last:?}");
                last = now;
            }
        }
    }
}
