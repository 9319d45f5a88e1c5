//! What is kept, and what leaves: rows, counters and the write-ahead log stay few.

use super::*;

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
