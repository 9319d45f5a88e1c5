//! What stands in the store, and how it gets there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use rusqlite::{Row, Transaction, params};
use rust_decimal::Decimal;

use super::error::Error;
use crate::policy::{History, Now, Time, Window};
use crate::state::clock::{Clock, Stored};
use crate::state::counter::{Counter, Key, Lease, Tally, Whose};

/// A transaction. Dropped without a [`commit`](Writing::commit): nothing happened.
pub(in crate::state) struct Writing<'a> {
    transaction: Transaction<'a>,
    path: &'a Path,
}

/// When how much was admitted, and the number that the next block gets.
type Blocks = (Vec<(Time, Decimal)>, i64);

/// What stands in the store of one counter.
struct Loaded {
    number: u64,
    windows: Vec<Window>,
    entries: Vec<(Time, Decimal)>,
    next: i64,
    /// It stood there as several.
    merged: bool,
}

impl Loaded {
    /// Holds from now on all that either held, for the windows of both.
    fn merge(&mut self, other: Loaded) {
        self.entries.extend(other.entries);
        self.entries.sort_by_key(|(time, _)| *time);
        for window in other.windows {
            if !self.windows.contains(&window) {
                self.windows.push(window);
            }
        }
        self.merged = true;
    }
}

type Result<T> = std::result::Result<T, Error>;

impl<'a> Writing<'a> {
    pub(super) fn new(transaction: Transaction<'a>, path: &'a Path) -> Writing<'a> {
        Writing { transaction, path }
    }

    /// Notes a counter and its windows.
    pub fn counter(&self, number: u64, key: &Key, history: &History) -> Result<()> {
        let (scope, grant, server, session) = key.parts();
        self.run(
            "INSERT INTO counter (id, scope, grant_name, server, session, name, own, windows)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (id) DO UPDATE SET windows = excluded.windows",
            params![id(number), scope, grant, server, session, &*key.name, key.own, windows(history)],
        )
    }

    /// Begins a block, or notes one that has ended already.
    pub fn block(&self, counter: u64, number: i64, since: Time, until: Option<Time>, amount: Decimal) -> Result<()> {
        self.run(
            "INSERT INTO block (counter, number, since, until, amount) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id(counter), number, at(since), until.map(at), amount.to_string()],
        )
    }

    /// Ends a block: so much of it was really used.
    pub fn end(&self, counter: u64, number: i64, until: Time, amount: Decimal) -> Result<()> {
        if amount.is_zero() {
            return self.run("DELETE FROM block WHERE counter = ?1 AND number = ?2", params![id(counter), number]);
        }
        self.run(
            "UPDATE block SET until = ?3, amount = ?4 WHERE counter = ?1 AND number = ?2",
            params![id(counter), number, at(until), amount.to_string()],
        )
    }

    /// Takes out all blocks of a counter.
    pub fn clear(&self, counter: u64) -> Result<()> {
        self.run("DELETE FROM block WHERE counter = ?1", params![id(counter)])
    }

    /// Takes out the blocks of a counter that had ended by then.
    fn forget(&self, counter: u64, until: Time) -> Result<()> {
        self.run("DELETE FROM block WHERE counter = ?1 AND until <= ?2", params![id(counter), at(until)])
    }

    /// Takes out a counter.
    pub fn remove(&self, counter: u64) -> Result<()> {
        self.clear(counter)?;
        self.run("DELETE FROM counter WHERE id = ?1", params![id(counter)])
    }

    /// Takes out everything.
    pub fn empty(&self) -> Result<()> {
        self.run("DELETE FROM block", [])?;
        self.run("DELETE FROM counter", [])
    }

    /// Writes a counter as it is, in place of whatever stands there.
    pub fn replace(&self, counter: &Counter, tally: &mut Tally, generation: u64) -> Result<()> {
        self.clear(counter.number)?;
        self.counter(counter.number, &counter.key, &tally.history)?;
        let mut next = 0;
        for (time, amount) in tally.history.entries().filter(|(_, amount)| !amount.is_zero()) {
            self.block(counter.number, next, time, Some(time), amount)?;
            next += 1;
        }
        let windows = tally.history.windows().len();
        tally.lease = Lease { generation, windows, next, block: None, stale: false };
        Ok(())
    }

    /// Notes what time it is.
    pub fn clock(&self, clock: &Stored) -> Result<()> {
        self.run(
            "INSERT INTO clock (one, boot, time, utc, shift) VALUES (1, ?1, ?2, ?3, ?4)
             ON CONFLICT (one) DO UPDATE SET boot = excluded.boot, time = excluded.time, utc = excluded.utc, shift = excluded.shift",
            params![clock.boot, at(clock.now.time), at(Time(clock.now.utc)), clock.shift],
        )
    }

    /// Makes it so.
    pub fn commit(self) -> Result<()> {
        self.transaction.commit().map_err(|cause| Error::of(self.path, cause))
    }

    /// Reads everything, has `clock` go on from where it stopped, ends the blocks that a crash left open, and takes out
    /// what counts no more.
    ///
    /// An open block counts in full, as if all of it had been used now. So does whatever lies in the future.
    pub fn load(&self, clock: &Clock, boot: &str, generation: u64) -> Result<Vec<Counter>> {
        if let Some(stored) = self.stored_clock()? {
            clock.resume(&stored, boot);
        }
        let stored = clock.stored(boot);
        self.clock(&stored)?;
        let now = stored.now.time;
        self.run("UPDATE block SET until = ?1 WHERE until IS NULL OR until > ?1", params![at(now)])?;
        let mut blocks = self.blocks()?;
        let mut loaded: HashMap<Key, Loaded> = HashMap::new();
        for (number, key, windows) in self.counters()? {
            let (mut entries, next) = blocks.remove(&number).unwrap_or_default();
            // By the windows that stand here: a history may not be able to sum up all of them.
            let longest = windows.iter().map(|window| window.length()).max().unwrap_or(0);
            let expired = entries.partition_point(|(time, _)| time.0.saturating_add(longest) <= now.0);
            if expired == entries.len() {
                self.remove(number)?;
                continue;
            }
            if expired > 0 {
                self.forget(number, Time(now.0.saturating_sub(longest)))?;
                entries.drain(..expired);
            }
            let one = Loaded { number, windows, entries, next, merged: false };
            match loaded.entry(key) {
                // The memory had dropped one and made another when it ended, and the first was still to be taken out.
                Entry::Occupied(mut other) => {
                    self.remove(number)?;
                    other.get_mut().merge(one);
                }
                Entry::Vacant(place) => {
                    place.insert(one);
                }
            }
        }
        loaded.into_iter().map(|(key, loaded)| self.restore(key, loaded, generation)).collect()
    }

    fn restore(&self, key: Key, loaded: Loaded, generation: u64) -> Result<Counter> {
        let Loaded { number, windows, entries, next, merged } = loaded;
        let history = History::restore(windows, entries);
        let windows = history.windows().len();
        let mut tally = Tally { history, lease: Lease { generation, windows, next, block: None, stale: false } };
        let mut counter = Counter::new(number, key);
        if merged {
            self.replace(&counter, &mut tally, generation)?;
        }
        counter.tally = tally.into();
        Ok(counter)
    }

    fn stored_clock(&self) -> Result<Option<Stored>> {
        let read = |row: &Row<'_>| {
            let (time, utc) = (instant(row.get(1)?), instant(row.get(2)?));
            Ok(Stored { boot: row.get(0)?, now: Now { time, utc: utc.0 }, shift: row.get(3)? })
        };
        Ok(self.rows("SELECT boot, time, utc, shift FROM clock", read)?.pop())
    }

    fn counters(&self) -> Result<Vec<(u64, Key, Vec<Window>)>> {
        self.rows("SELECT id, scope, grant_name, server, session, name, own, windows FROM counter ORDER BY id", |row| {
            let text = |index: usize| row.get::<_, Option<Box<str>>>(index);
            let whose = match (&*row.get::<_, Box<str>>(1)?, text(2)?, text(3)?, text(4)?) {
                ("grant", Some(grant), Some(server), None) => Whose::Grant { grant, server },
                ("session", Some(grant), Some(server), Some(session)) => Whose::Session { grant, server, session },
                ("server", None, Some(server), None) => Whose::Server(server),
                ("host", None, None, None) => Whose::Host,
                ("global", None, None, None) => Whose::Global,
                _ => return Err(senseless("a counter of no known scope")),
            };
            let windows = row.get::<_, String>(7)?;
            let windows = windows.split(' ').filter(|text| !text.is_empty()).map(window).collect::<Option<Vec<_>>>();
            let windows = windows.ok_or_else(|| senseless("a window of no known form"))?;
            let number = u64::try_from(row.get::<_, i64>(0)?).map_err(|_| senseless("a number below zero"))?;
            Ok((number, Key { whose, name: row.get(5)?, own: row.get(6)? }, windows))
        })
    }

    /// The blocks of each counter by their times, and the number that is free.
    fn blocks(&self) -> Result<HashMap<u64, Blocks>> {
        let rows =
            self.rows("SELECT counter, number, until, amount FROM block ORDER BY counter, until, number", |row| {
                let amount = row.get::<_, String>(3)?;
                let amount = Decimal::from_str_exact(&amount).ok().filter(|amount| !amount.is_sign_negative());
                let amount = amount.ok_or_else(|| senseless("an amount that is none"))?;
                Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?, instant(row.get(2)?), amount))
            })?;
        let mut blocks: HashMap<u64, Blocks> = HashMap::new();
        for (counter, number, until, amount) in rows {
            let (entries, next) = blocks.entry(counter).or_default();
            entries.push((until, amount));
            *next = (*next).max(number + 1);
        }
        Ok(blocks)
    }

    pub(super) fn rows<T>(&self, sql: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>> {
        let all = || {
            let mut statement = self.transaction.prepare_cached(sql)?;
            statement.query_map([], read)?.collect::<rusqlite::Result<Vec<T>>>()
        };
        all().map_err(|cause| Error::of(self.path, cause))
    }

    pub(super) fn run(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<()> {
        let run = || self.transaction.prepare_cached(sql)?.execute(parameters);
        run().map(drop).map_err(|cause| Error::of(self.path, cause))
    }
}

/// What no policyd has written.
pub(super) fn senseless(what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, what.into())
}

fn id(number: u64) -> i64 {
    number.cast_signed()
}

fn at(time: Time) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn instant(nanoseconds: i64) -> Time {
    Time(u64::try_from(nanoseconds).unwrap_or(0))
}

fn windows(history: &History) -> String {
    let texts = history.windows().map(|window| match window {
        Window::Rolling(length) => format!("rolling:{length}"),
        Window::Calendar(length) => format!("calendar:{length}"),
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn window(text: &str) -> Option<Window> {
    let (kind, length) = text.split_once(':')?;
    let length = length.parse().ok().filter(|length| *length > 0)?;
    match kind {
        "rolling" => Some(Window::Rolling(length)),
        "calendar" => Some(Window::Calendar(length)),
        _ => None,
    }
}
