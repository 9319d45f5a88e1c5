//! Restarts and the clock: calendar windows, a UTC that steps, reboots.

use super::*;

#[test]
fn a_calendar_window_goes_on_over_a_restart_and_ends_with_its_period() {
    let place = Place::new();
    let day = 86_400_000_000_000;
    let want = || [limit("x", Window::Calendar(day), 5, 1)];
    let life = place.start();
    // As if it were a minute before midnight.
    let now = Now { utc: 20_000 * day - 60_000_000_000, ..life.now() };
    for _ in 0..5 {
        drop(life.memory.reserve(&mut want(), now).unwrap());
    }
    drop(life);
    let life = place.start();
    let at = |seconds: u64| {
        let later = seconds * 1_000_000_000;
        Now { time: Time(now.time.0 + later), utc: now.utc + later }
    };
    assert!(life.memory.reserve(&mut want(), at(59)).is_err());
    assert!(life.memory.reserve(&mut want(), at(61)).is_ok());
}

#[test]
fn a_restart_while_utc_is_behind_frees_no_calendar_limit() {
    const DAY: u64 = 86_400_000_000_000;
    let want = || [limit("x", Window::Calendar(DAY), 5, 1)];
    for boot in ["a boot", "another boot"] {
        let place = Place::new();
        let life = place.start();
        // A clock that was two days and a half ahead, and then was put right.
        let ahead = life.now().utc + DAY * 5 / 2;
        let ahead = Stored { now: Now { utc: ahead, ..life.now() }, ..life.work.clock.stored("a boot") };
        life.work.clock.resume(&ahead, "a boot");
        for _ in 0..5 {
            drop(life.call(want()).unwrap());
        }
        // The keeper's look is what tells the store.
        assert!(life.work.tidy(Time(0), false));
        let before = life.now().utc;
        drop(life);
        let life = place.start_in(boot);
        assert!(life.now().utc >= before, "{boot}");
        assert!(matches!(life.call(want()), Err(Refused::Exhausted(..))), "{boot}");
    }
}

#[test]
fn a_step_of_utc_is_stored_without_a_call() {
    let place = Place::new();
    let life = place.start();
    assert!(life.work.tidy(Time(0), false));
    let ahead = Stored {
        now: Now { utc: life.now().utc + 3_600_000_000_000, ..life.now() },
        ..life.work.clock.stored("a boot")
    };
    life.work.clock.resume(&ahead, "a boot");
    assert!(life.work.tidy(Time(0), false));
    drop(life);
    assert!(place.start().now().utc > Clock::default().now().utc + 3_000_000_000_000);
}

#[test]
fn a_reboot_forgets_nothing_whatever_the_clock_says() {
    let place = Place::new();
    let life = place.start();
    drop(life.call([limit("x", HOUR, 5, 5)]).unwrap());
    assert!(life.work.tidy(Time(0), false));
    let before = life.now().time;
    life.stop();
    // A clock that was days ahead when the machine went down, and is right now.
    let later = Connection::open(place.file()).unwrap();
    later.execute_batch("UPDATE clock SET utc = utc + 500000000000000").unwrap();
    drop(later);
    let life = place.start_in("another boot");
    assert!(life.now().time >= before);
    assert!(matches!(life.call([limit("x", HOUR, 5, 1)]), Err(Refused::Exhausted(..))));
    life.stop();
    // Two hours of another machine's time have passed.
    let later = Connection::open(place.file()).unwrap();
    later.execute_batch("UPDATE clock SET utc = (unixepoch() - 7200) * 1000000000").unwrap();
    drop(later);
    let life = place.start_in("a third boot");
    assert!(life.call([limit("x", HOUR, 5, 1)]).is_ok());
}
