//! What the store promises over crashes and its own failures. A crash is everything dropped without a word.

mod file;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Barrier;
use std::time::Duration;

use prometheus::Registry;
use proptest::prelude::*;
use rusqlite::Connection;

use super::keeper::Work;
use super::*;
use crate::policy::{CounterKey, Counters, Refused, Reservation, ScopeKey, Time, Want, Window};
use crate::state::Selector;
use crate::state::clock::{Clock, Stored};
use crate::state::memory::{Bounds, Memory};
use crate::telemetry::State;

const MINUTE: Window = Window::Rolling(60_000_000_000);
const HOUR: Window = Window::Rolling(3_600_000_000_000);

/// A state folder.
struct Place {
    folder: tempfile::TempDir,
    key: Key,
}

/// A daemon's part of it.
struct Life {
    memory: Arc<Memory>,
    work: Work,
    telemetry: Telemetry,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap(), key: Key::ephemeral().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }

    fn start(&self) -> Life {
        self.start_in("a boot")
    }

    fn start_in(&self, boot: &str) -> Life {
        let telemetry = Telemetry::new(Registry::new(), None).unwrap();
        let store = Store::new(self.folder.path(), &self.key, &telemetry);
        let memory = Arc::new(Memory::stored(Bounds::default(), store));
        let store = memory.store.clone().unwrap();
        let (boot, clock) = (boot.to_owned(), Arc::default());
        let mut work = Work { memory: Arc::clone(&memory), store, clock, boot, checkpointer: None, looks: 0 };
        work.look();
        Life { memory, work, telemetry }
    }

    /// A look from outside.
    fn ask(&self, sql: &str) -> i64 {
        Connection::open(self.file()).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

fn limit<'a>(name: &'a str, window: Window, max: u64, amount: u64) -> Want<'a> {
    let counter = CounterKey { scope: ScopeKey::Grant { grant: "anna", server: "fax" }, name, own: false };
    let (max, amount) = (Decimal::from(max), Decimal::from(amount));
    Want { counter, window, windows: &[], max, amount, used: Decimal::ZERO }
}

fn session<'a>(id: &'a str, max: u64) -> Want<'a> {
    let scope = ScopeKey::Session { grant: "anna", server: "fax", session: id };
    Want { counter: CounterKey { scope, name: "s", own: true }, ..limit("", HOUR, max, 1) }
}

impl Life {
    fn now(&self) -> Now {
        self.work.clock.now()
    }

    fn call(&self, mut wants: impl AsMut<[Want<'static>]>) -> Result<Reservation, Refused> {
        self.memory.reserve(wants.as_mut(), self.now())
    }

    /// How much of a generous limit is used.
    fn used(&self, name: &'static str, window: Window) -> u64 {
        let mut wants = [Want { max: Decimal::MAX, ..limit(name, window, 0, 0) }];
        drop(self.memory.reserve(&mut wants, self.now()).unwrap());
        wants[0].used.try_into().unwrap()
    }

    fn state(&self) -> (State, String) {
        let report = self.telemetry.health().report();
        let condition = &report.conditions["state"];
        (condition.state, condition.detail.clone())
    }

    /// As on SIGTERM.
    fn stop(mut self) {
        self.work.close();
    }
}

#[test]
fn what_was_admitted_counts_after_a_crash() {
    let place = Place::new();
    let life = place.start();
    assert_eq!(life.state().0, State::Good);
    for _ in 0..10 {
        drop(life.call([limit("x", HOUR, 10, 1)]).unwrap());
    }
    drop(life);
    let life = place.start();
    let Err(Refused::Exhausted(0, Some(wait))) = life.call([limit("x", HOUR, 10, 1)]) else { panic!("admitted") };
    assert!(wait <= Duration::from_secs(3600) && wait > Duration::from_secs(3500), "{wait:?}");
    assert!(life.call([limit("y", HOUR, 10, 1)]).is_ok());
    let mode = fs::metadata(place.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_crash_counts_a_block_in_full_and_an_end_what_was_used() {
    let place = Place::new();
    let life = place.start();
    for _ in 0..3 {
        drop(life.call([limit("x", HOUR, 1000, 1)]).unwrap());
    }
    assert_eq!(place.ask("SELECT count(*) FROM block"), 1, "one transaction for all of them");
    drop(life);
    let life = place.start();
    assert_eq!(life.used("x", HOUR), 15);
    for _ in 0..4 {
        drop(life.call([limit("x", HOUR, 1000, 1)]).unwrap());
    }
    life.call([limit("x", HOUR, 1000, 1)]).unwrap().give_back();
    life.stop();
    assert_eq!(place.start().used("x", HOUR), 19);
}

#[test]
fn a_block_that_nobody_uses_is_ended() {
    let place = Place::new();
    let life = place.start();
    drop(life.call([limit("x", HOUR, 1000, 2)]).unwrap());
    assert!(life.work.tidy(Time(0), false));
    assert_eq!(place.ask("SELECT count(*) FROM block WHERE until IS NULL"), 1, "it was used just now");
    assert!(life.work.tidy(life.now().time, false));
    assert_eq!(place.ask("SELECT count(*) FROM block WHERE until IS NULL"), 0);
    drop(life);
    assert_eq!(place.start().used("x", HOUR), 2);
}

#[test]
fn what_is_given_back_is_free_after_a_stop() {
    let place = Place::new();
    let life = place.start();
    life.call([limit("x", HOUR, 3, 1)]).unwrap().give_back();
    drop(life.call([limit("x", HOUR, 3, 1)]).unwrap());
    assert_eq!(place.ask("SELECT count(*) FROM block"), 2, "counted too much for now");
    life.stop();
    assert_eq!(place.start().used("x", HOUR), 1);
}

#[test]
fn all_windows_of_a_counter_are_remembered() {
    let place = Place::new();
    let life = place.start();
    drop(life.call([limit("x", HOUR, 5, 5), limit("x", Window::Rolling(1), 5, 5)]).unwrap());
    drop(life);
    let life = place.start();
    // A call that only asks for the short window must not have the long one's admissions forgotten.
    drop(life.call([limit("x", Window::Rolling(1), 5, 1)]).unwrap());
    assert!(life.call([limit("x", HOUR, 5, 1)]).is_err());
    assert_eq!(life.used("x", HOUR), 6);
}

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
fn what_cannot_be_summed_up_is_not_forgotten() {
    let place = Place::new();
    let life = place.start();
    drop(life.call([limit("x", HOUR, 5, 5)]).unwrap());
    drop(life);
    let most = "INSERT INTO block SELECT counter, number + 1, since, until, '79228162514264337593543950335' FROM block";
    Connection::open(place.file()).unwrap().execute_batch(most).unwrap();
    let life = place.start();
    assert_eq!(life.memory.counters(), 1);
    assert!(matches!(life.call([limit("x", HOUR, 5, 1)]), Err(Refused::Exhausted(..))));
}

#[test]
fn what_no_window_reaches_any_more_is_not_loaded() {
    let place = Place::new();
    let life = place.start();
    drop(life.call([limit("x", HOUR, 9, 5)]).unwrap());
    drop(life);
    let old = "INSERT INTO block SELECT counter, number + 1, since - 3600000000000, until - 3600000000000,
               '79228162514264337593543950335' FROM block; UPDATE clock SET time = time + 3600000000000, shift = shift + 3600000000000;
               UPDATE block SET since = since + 3600000000000, until = until + 3600000000000;";
    Connection::open(place.file()).unwrap().execute_batch(old).unwrap();
    let life = place.start();
    assert_eq!((life.used("x", HOUR), place.ask("SELECT count(*) FROM block")), (5, 1));
    assert!(life.call([limit("x", HOUR, 9, 1)]).is_ok(), "the next block gets a free number");
}

#[test]
fn a_dropped_counter_and_its_successor_are_one() {
    let place = Place::new();
    let life = place.start();
    drop(life.call([limit("x", HOUR, 9, 5), limit("y", MINUTE, 9, 1)]).unwrap());
    drop(life);
    // As a crash leaves it between the successor's first call and the removal of the one before.
    let twice = "INSERT INTO block SELECT counter + 10, number, since, until, '2' FROM block;
                 INSERT INTO counter SELECT id + 10, scope, grant_name, server, session, name, own,
                     'rolling:60000000000 calendar:86400000000000' FROM counter;";
    Connection::open(place.file()).unwrap().execute_batch(twice).unwrap();
    for _ in 0..2 {
        let life = place.start();
        assert_eq!((life.memory.counters(), place.ask("SELECT count(*) FROM counter")), (2, 2));
        assert_eq!((life.used("x", HOUR), life.used("x", MINUTE), life.used("y", MINUTE)), (7, 7, 3));
        assert!(matches!(life.call([limit("x", HOUR, 9, 3)]), Err(Refused::Exhausted(..))));
    }
    let life = place.start();
    assert!(life.call([limit("x", HOUR, 9, 2)]).is_ok(), "its rows have free numbers");
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

#[test]
fn sessions_count_on_and_their_ids_are_in_no_file() {
    let place = Place::new();
    let life = place.start();
    for _ in 0..2 {
        drop(life.call([session("a-secret-id", 2)]).unwrap());
    }
    drop(life);
    let files = fs::read_dir(place.folder.path()).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap());
    for file in files {
        assert!(!file.windows(11).any(|part| part == b"a-secret-id"));
    }
    let life = place.start();
    assert_eq!(life.memory.counters(), 1);
    assert!(life.call([session("a-secret-id", 2)]).is_err());
    assert!(life.call([session("another", 2)]).is_ok());
    assert_eq!(life.memory.counters(), 2, "the first one was found");
}

#[test]
fn while_the_store_is_locked_calls_that_need_it_are_denied() {
    let place = Place::new();
    let mut life = place.start();
    drop(life.call([limit("large", HOUR, 1000, 1), limit("small", HOUR, 10, 1)]).unwrap());
    let other = Connection::open(place.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(life.call([limit("small", HOUR, 10, 1)]).unwrap_err(), Refused::Unavailable);
    assert_eq!(life.used("large", HOUR), 1, "a refused call uses nothing");
    assert!(life.call([limit("large", HOUR, 1000, 1)]).is_ok(), "this is counted already");
    life.work.look();
    let (state, detail) = life.state();
    assert_eq!(state, State::Failed);
    assert!(detail.contains("locked") && detail.contains("state.db"), "{detail}");
    assert_eq!(life.call([limit("small", HOUR, 10, 1)]).unwrap_err(), Refused::Unavailable);
    other.execute_batch("ROLLBACK").unwrap();
    life.work.look();
    assert_eq!(life.state().0, State::Good);
    assert!(life.call([limit("small", HOUR, 10, 1)]).is_ok());
    drop(life);
    let life = place.start();
    assert_eq!((life.used("small", HOUR), life.used("large", HOUR)), (2, 2));
}

#[test]
fn a_store_that_is_locked_at_start_is_loaded_later() {
    let place = Place::new();
    let life = place.start();
    drop(life.call([limit("x", HOUR, 1, 1)]).unwrap());
    drop(life);
    let other = Connection::open(place.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut life = place.start();
    assert_eq!(life.call([limit("x", HOUR, 1, 1)]).unwrap_err(), Refused::Unavailable);
    assert_eq!(life.state().0, State::Failed);
    other.execute_batch("ROLLBACK").unwrap();
    life.work.look();
    assert!(matches!(life.call([limit("x", HOUR, 1, 1)]), Err(Refused::Exhausted(..))));
    assert_eq!(life.state().0, State::Good);
}

#[test]
fn what_was_reset_stays_so() {
    let place = Place::new();
    let life = place.start();
    drop(life.call([limit("x", HOUR, 1000, 7), limit("y", HOUR, 10, 7)]).unwrap());
    let held = life.call([limit("x", HOUR, 1000, 1)]).unwrap();
    let selector = Selector { counter: Some("x".into()), ..Selector::default() };
    let one = |count| if count == 1 { Ok(()) } else { Err(Refused::Unavailable) };
    assert_eq!(life.memory.reset(&selector, one), Ok(1));
    assert_eq!((life.used("x", HOUR), life.used("y", HOUR)), (0, 7));
    drop(life.call([limit("x", HOUR, 10, 2)]).unwrap());
    held.give_back();
    assert_eq!(life.used("x", HOUR), 2, "what was reset cannot be given back");
    drop(life);
    let life = place.start();
    assert_eq!((life.used("x", HOUR), life.used("y", HOUR)), (2, 7));
    // Without a record nothing is reset, and the store goes on.
    assert_eq!(life.memory.reset(&selector, |_| Err(Refused::Unavailable)), Err(Refused::Unavailable));
    assert_eq!((life.state().0, place.ask("SELECT count(*) FROM block")), (State::Good, 2));
    // With a store that fails nothing is reset, and nobody is told that it was.
    let other = Connection::open(place.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(life.call([limit("y", HOUR, 10, 1)]).unwrap_err(), Refused::Unavailable);
    assert_eq!(life.memory.reset(&selector, |_| -> Result<(), _> { panic!("told") }), Err(Refused::Unavailable));
    assert_eq!(life.used("x", HOUR), 2);
}

#[test]
fn rows_stay_few_and_dropped_counters_leave() {
    let place = Place::new();
    let life = place.start();
    let second = 1_000_000_000;
    let start = life.now();
    let at = |step: u64| Now { time: Time(start.time.0 + step * second / 4), utc: start.utc };
    for step in 0..5_000 {
        let mut wants = [limit("x", Window::Rolling(second), 10, 1)];
        drop(life.memory.reserve(&mut wants, at(step)).unwrap());
        if step % 500 == 0 {
            assert!(life.work.tidy(Time(0), false));
        }
    }
    assert!(place.ask("SELECT count(*) FROM block") < 2_000);
    life.memory.sweep(at(6_000).time);
    assert_eq!(life.memory.counters(), 0);
    assert!(life.work.tidy(Time(0), false));
    assert_eq!(place.ask("SELECT (SELECT count(*) FROM counter) + (SELECT count(*) FROM block)"), 0);
}

#[test]
fn what_counts_no_more_is_not_loaded() {
    let place = Place::new();
    let life = place.start();
    drop(life.call([limit("x", Window::Rolling(1), 10, 1)]).unwrap());
    drop(life);
    let life = place.start();
    assert_eq!(life.memory.counters(), 0);
    assert_eq!(place.ask("SELECT count(*) FROM counter"), 0);
}

#[test]
fn the_log_is_copied_into_the_database_when_it_grows() {
    let place = Place::new();
    let mut life = place.start();
    let log = place.folder.path().join("state.db-wal");
    while fs::metadata(&log).map_or(0, |log| log.len()) < 5 << 20 {
        for _ in 0..64 {
            life.call([limit("x", HOUR, 64, 1)]).unwrap().give_back();
        }
    }
    life.work.look();
    // What comes next begins the log anew.
    life.work.look();
    drop(life.call([limit("x", HOUR, 64, 1)]).unwrap());
    let after = fs::metadata(&log).unwrap().len();
    while fs::metadata(&log).unwrap().len() == after && place.ask("SELECT count(*) FROM block") < 100 {
        life.call([limit("x", HOUR, 64, 1)]).unwrap().give_back();
    }
    assert!(fs::metadata(&log).unwrap().len() <= after, "the log grew on");
    assert_eq!(life.state().0, State::Good);
}

#[test]
fn threads_are_never_admitted_more_than_the_store_knows() {
    let place = Place::new();
    let mut life = place.start();
    let admitted = AtomicU64::new(0);
    let start = Barrier::new(5);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..2_000 {
                    let wants = &mut [limit("x", HOUR, 5_000, 1), limit("y", HOUR, 6_000, 1)];
                    if life.memory.reserve(wants, life.work.clock.now()).is_ok() {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        start.wait();
        for _ in 0..50 {
            life.work.tidy(Time(u64::MAX), true);
        }
    });
    let admitted = admitted.into_inner();
    assert_eq!(admitted, 5_000);
    life.work.look();
    drop(life);
    let used = place.start().used("y", HOUR);
    assert!(used >= admitted && used <= admitted + 6_000 / 64, "{used}");
}

/// A step of a random life.
#[derive(Clone, Debug)]
enum Step {
    Call(u64),
    GiveBack,
    Tidy,
    Crash,
    Stop,
    Lose,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// After any crash the counter says at least what was used, and at most a block (per crash) and what was given back more.
    #[test]
    fn never_less_than_was_used(
        max in prop_oneof![1..100u64, 100..100_000u64],
        steps in prop::collection::vec(prop_oneof![
            6 => (0..40u64).prop_map(Step::Call),
            1 => Just(Step::GiveBack),
            1 => Just(Step::Tidy),
            1 => Just(Step::Crash),
            1 => Just(Step::Stop),
            1 => Just(Step::Lose),
        ], 1..40),
    ) {
        let place = Place::new();
        let mut life = place.start();
        let (mut used, mut slack) = (0, 0);
        let mut held = Vec::new();
        for step in steps {
            match step {
                Step::Call(amount) => match life.call([limit("x", HOUR, max, amount), limit("x", MINUTE, max, amount)]) {
                    Ok(reservation) => {
                        used += amount;
                        held.push((reservation, amount));
                    }
                    Err(refused) => {
                        prop_assert!(matches!(refused, Refused::Exhausted(..)), "{refused:?}");
                        prop_assert!(used + slack + amount > max);
                    }
                }
                Step::GiveBack => if let Some((reservation, amount)) = held.pop() {
                    reservation.give_back();
                    used -= amount;
                    slack += amount;
                }
                Step::Tidy => prop_assert!(life.work.tidy(Time(u64::MAX), true)),
                Step::Crash => {
                    held.clear();
                    drop(life);
                    life = place.start();
                    slack += (max / 64).max(40);
                }
                Step::Stop => {
                    held.clear();
                    life.stop();
                    life = place.start();
                }
                Step::Lose => {
                    fs::remove_file(place.file()).unwrap();
                    // What notices it, and what mends it.
                    life.work.look();
                    life.work.look();
                }
            }
            let says = life.used("x", HOUR);
            prop_assert!(says >= used && says <= used + slack, "{says} for {used} + {slack}");
        }
    }
}
