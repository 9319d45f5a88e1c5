//! What the store promises over crashes and its own failures. A crash is everything dropped without a word.

mod clock;
mod file;
mod random;
mod rows;
mod tools;

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
