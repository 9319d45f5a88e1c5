//! What becomes of the store's file.

use super::*;
use crate::state::store::make::{Before, make};

#[test]
fn a_store_that_is_damaged_at_start_stays_until_it_is_moved_away() {
    let place = Place::new();
    fs::write(place.file(), [0x55; 8192]).unwrap();
    let mut life = place.start();
    let (state, detail) = life.state();
    assert_eq!(state, State::Failed);
    assert!(detail.contains("damaged") && detail.contains("move it away"), "{detail}");
    assert_eq!(life.call([limit("x", HOUR, 1, 1)]).unwrap_err(), Refused::Unavailable);
    life.work.look();
    assert_eq!(fs::read(place.file()).unwrap(), [0x55; 8192], "nobody but its owner may say that it is worth nothing");
    fs::rename(place.file(), place.folder.path().join("old")).unwrap();
    life.work.look();
    assert!(life.call([limit("x", HOUR, 1, 1)]).is_ok());
    assert_eq!(life.state().0, State::Good);
}

#[test]
fn a_store_that_is_damaged_or_gone_while_it_is_used_is_made_anew() {
    // In another process: to close a file here would end this one's locks on it.
    let file = "$0/state.db";
    for damage in [
        format!("rm {file}"),
        "rm $0/state.db*".to_owned(),
        format!("mv {file} {file}.old && cp {file}.old {file}"),
        format!("head -c 20000 /dev/urandom > {file}"),
        format!(": > {file}"),
        format!("rm {file} && mkdir {file}"),
    ] {
        let place = Place::new();
        let mut life = place.start();
        drop(life.call([limit("large", HOUR, 1000, 3), limit("small", HOUR, 10, 4), session("s", 9)]).unwrap());
        let done = Command::new("sh").args(["-c", &damage]).arg(place.folder.path()).status().unwrap();
        assert!(done.success(), "{damage}");
        assert_eq!(life.call([limit("small", HOUR, 10, 1)]).unwrap_err(), Refused::Unavailable, "{damage}");
        assert_eq!(life.state().0, State::Failed);
        life.work.look();
        if damage.contains("mkdir") {
            assert!(life.state().1.contains("not be opened") || life.state().1.contains("cannot be opened"));
            fs::remove_dir(place.file()).unwrap();
            life.work.look();
        }
        assert_eq!(life.state().0, State::Good, "{damage}: {}", life.state().1);
        assert!(life.call([limit("small", HOUR, 10, 1)]).is_ok(), "{damage}");
        drop(life);
        let life = place.start();
        assert_eq!((life.used("small", HOUR), life.used("large", HOUR)), (5, 3), "{damage}");
        assert_eq!(life.memory.counters(), 3);
    }
}

#[test]
fn an_empty_store_is_one_that_has_lost_everything() {
    let place = Place::new();
    let life = place.start();
    drop(life.call([limit("x", HOUR, 1, 1)]).unwrap());
    drop(life);
    for beside in ["", "-wal", "-shm"] {
        let file = place.folder.path().join(format!("{FILE}{beside}"));
        fs::remove_file(&file).ok();
    }
    fs::write(place.file(), "").unwrap();
    assert!(matches!(examine(&place.file()), Err(Error::Damaged { .. })));
    let life = place.start();
    let (state, detail) = life.state();
    assert_eq!(state, State::Failed);
    assert!(detail.contains("it is empty") && detail.contains("move it away"), "{detail}");
    assert_eq!(life.call([limit("x", HOUR, 1, 1)]).unwrap_err(), Refused::Unavailable);
}

#[test]
fn a_store_has_its_name_only_when_it_is_whole() {
    let place = Place::new();
    let failed = make(&place.file(), Before::Nothing, |_| Err(Error::Closed));
    assert!(matches!(failed, Err(Error::Closed)) && !place.file().exists());
    make(&place.file(), Before::Nothing, |_| {
        assert!(!place.file().exists());
        // Another daemon that is about to make it.
        let second = make(&place.file(), Before::Nothing, |_| Ok(()));
        assert!(matches!(second, Err(Error::InUse { .. })), "{second:?}");
        Ok(())
    })
    .unwrap();
    assert!(Db::open(&place.file()).unwrap().is_some());
    let again = make(&place.file(), Before::Nothing, |_| Ok(()));
    assert!(matches!(again, Err(Error::InUse { .. })), "{again:?}");
    assert_eq!(fs::metadata(place.file()).unwrap().permissions().mode() & 0o777, 0o600);
    let left: Vec<_> = fs::read_dir(place.folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, [FILE]);
}

#[test]
fn a_crash_while_a_lost_store_is_made_anew_does_not_have_limits_count_anew() {
    for damage in ["rm $0/state.db*", "head -c 20000 /dev/urandom > $0/state.db"] {
        let place = Place::new();
        let mut life = place.start();
        drop(life.call([limit("x", HOUR, 1, 1)]).unwrap());
        let done = Command::new("sh").args(["-c", damage]).arg(place.folder.path()).status().unwrap();
        assert!(done.success());
        // The new one cannot be built, and the process dies of it.
        let new = place.folder.path().join("state.db.new");
        fs::create_dir(&new).unwrap();
        life.work.look();
        life.work.look();
        assert_eq!(life.state().0, State::Failed, "{damage}");
        drop(life);
        fs::remove_dir(&new).unwrap();
        let mut life = place.start();
        life.work.look();
        assert_eq!(life.call([limit("x", HOUR, 1, 1)]).unwrap_err(), Refused::Unavailable, "{damage}");
        assert!(life.state().1.contains("move it away"), "{}", life.state().1);
        assert_eq!(place.folder.path().join("state.db.damaged").exists(), damage.contains("urandom"));
    }
}

#[test]
fn a_store_of_another_time_or_program_is_refused() {
    for (sql, word) in [
        ("PRAGMA user_version = 99", "99"),
        ("PRAGMA application_id = 1", "another program"),
        ("UPDATE counter SET scope = 'other'", "no known scope"),
        ("UPDATE block SET amount = 'NaN'", "damaged"),
        ("DROP TABLE block", "no such table"),
    ] {
        let place = Place::new();
        let life = place.start();
        drop(life.call([limit("x", HOUR, 2, 1)]).unwrap());
        drop(life);
        Connection::open(place.file()).unwrap().execute_batch(sql).unwrap();
        let life = place.start();
        let (state, detail) = life.state();
        assert_eq!(state, State::Failed, "{sql}");
        assert!(detail.contains(word) && detail.contains("state.db"), "{sql}: {detail}");
        assert_eq!(life.call([limit("x", HOUR, 2, 1)]).unwrap_err(), Refused::Unavailable, "{sql}");
    }
}

#[test]
fn a_folder_that_is_missing_is_said_and_found_later() {
    let place = Place::new();
    let folder = place.folder.path().join("state");
    let place = Place { folder: place.folder, key: place.key };
    fs::write(&folder, "").unwrap();
    let telemetry = Telemetry::new(Registry::new(), None).unwrap();
    let memory = Arc::new(Memory::stored(Bounds::default(), Store::new(&folder, &place.key, &telemetry)));
    let keeper = Keeper::start(Arc::clone(&memory), Arc::new(Clock::default())).unwrap();
    assert!(!telemetry.health().ready());
    let now = Clock::default().now();
    assert_eq!(memory.reserve(&mut [limit("x", HOUR, 1, 1)], now).unwrap_err(), Refused::Unavailable);
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    memory.store.as_ref().unwrap().order(|orders| orders.look = true);
    let began = Instant::now();
    while !telemetry.health().ready() {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", telemetry.health());
        std::thread::yield_now();
    }
    assert!(memory.reserve(&mut [limit("x", HOUR, 1, 1)], now).is_ok());
    drop(keeper);
}

#[test]
fn two_daemons_cannot_have_one_store() {
    let place = Place::new();
    let first = place.start();
    let mut second = place.start();
    assert!(second.state().1.contains("another policyd"), "{}", second.state().1);
    drop(first.call([limit("x", HOUR, 1, 1)]).unwrap());
    first.stop();
    second.work.look();
    assert!(matches!(second.call([limit("x", HOUR, 1, 1)]), Err(Refused::Exhausted(..))));
}

#[test]
fn the_log_is_synced_when_it_was_written_and_missed_when_it_is_gone() {
    let place = Place::new();
    let mut life = place.start();
    life.work.look();
    let unsynced = |life: &Life| life.memory.store.as_ref().unwrap().lock().unsynced;
    assert!(!unsynced(&life));
    drop(life.call([limit("x", HOUR, 9, 4)]).unwrap());
    assert!(unsynced(&life));
    life.work.look();
    assert!(!unsynced(&life));
    assert_eq!(life.state().0, State::Good);
    // SQLite goes on writing to a log that has no name, and all of that would end with the process.
    fs::remove_file(place.folder.path().join("state.db-wal")).unwrap();
    drop(life.call([limit("x", HOUR, 9, 1)]).unwrap());
    life.work.look();
    assert!(life.state().0 == State::Failed && life.state().1.contains("state.db-wal"), "{}", life.state().1);
    life.work.look();
    assert_eq!(life.state().0, State::Good);
    drop(life);
    assert_eq!(place.start().used("x", HOUR), 5);
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
