//! The store: what of the counters, and of the definitions of tools, outlives the process.
//!
//! The memory is the authority while the process lives; the store follows it such that it never counts less. Before a call is
//! admitted, a committed transaction covers it. For large limits one covers many calls to come: a block of quota is
//! counted as used, and calls are taken from it in memory only. When a block is used up, or has not been used for a
//! second, it is ended with what was really used.
//!
//! When a transaction fails, calls that need one are denied until the [`Keeper`] has written everything anew.

mod db;
mod error;
mod keeper;
mod make;
mod rows;
#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
mod tools;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rust_decimal::Decimal;

use self::db::Db;
pub use self::db::{examine, writer};
pub use self::error::Error;
pub use self::keeper::Keeper;
use super::counter::{Block, Counter, Tally};
use super::definitions::Known;
use crate::audit::Key;
use crate::policy::{Now, Refused};
use crate::telemetry::Telemetry;
use crate::telemetry::events::{StateCommitted, StateFailed};

/// The file's name in the state folder.
pub const FILE: &str = "state.db";

/// A counter has its rows written anew when it has had so many more.
const CROWDED: u64 = 1024;

/// Where counters are kept.
pub struct Store {
    path: PathBuf,
    sessions: Key,
    telemetry: Telemetry,
    /// Counts how often everything was written anew: what counters were told before counts for nothing.
    generation: AtomicU64,
    /// No transaction is tried: only the keeper tries.
    failing: AtomicBool,
    loaded: AtomicBool,
    inner: Mutex<Inner>,
    /// What servers declare of their tools.
    pub(super) tools: Arc<Known>,
    /// The numbers of counters that the memory has dropped, and the store still holds.
    dropped: Mutex<Vec<u64>>,
    orders: Mutex<Orders>,
    ordered: Condvar,
}

#[derive(Default)]
struct Inner {
    db: Option<Db>,
    /// Whether the file's contents are worth nothing.
    damaged: bool,
    /// Whether something was written since the keeper's last look.
    written: bool,
    /// Whether something was written since the log was last synced.
    unsynced: bool,
    /// How far UTC was ahead of CLOCK_BOOTTIME when the store was last told.
    ahead: i64,
    /// Counters with a block that has not ended.
    open: Vec<Arc<Counter>>,
    /// Counters with many rows.
    crowded: Vec<Arc<Counter>>,
}

#[derive(Clone, Copy, Default)]
struct Orders {
    look: bool,
    stop: bool,
}

/// The store, while one thread has it.
pub(super) struct Book<'a> {
    store: &'a Store,
    inner: MutexGuard<'a, Inner>,
}

/// What a call needs to have counted of one counter.
pub(super) struct Owed<'a> {
    /// The counter.
    pub counter: &'a Arc<Counter>,
    /// What it holds; its lock is held.
    pub tally: &'a mut Tally,
    /// What the call adds.
    pub amount: Decimal,
    /// How much to have counted; not less.
    pub size: Decimal,
}

impl Store {
    /// The store of a state folder. Nothing is opened yet; `key` hashes the ids of sessions.
    pub fn new(state_dir: &Path, key: &Key, telemetry: &Telemetry) -> Store {
        Store {
            path: state_dir.join(FILE),
            sessions: key.clone(),
            telemetry: telemetry.clone(),
            generation: AtomicU64::new(1),
            failing: AtomicBool::new(true),
            loaded: AtomicBool::new(false),
            inner: Mutex::default(),
            tools: Arc::default(),
            dropped: Mutex::default(),
            orders: Mutex::default(),
            ordered: Condvar::new(),
        }
    }

    /// The generation in force.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The store, to have something written. Waits for whoever has it now, which takes one transaction at most, but does
    /// not wait for a store that fails.
    pub(super) fn open(&self) -> Option<Book<'_>> {
        if self.failing() {
            return None;
        }
        let inner = self.lock();
        // It may have failed while this one waited.
        (!self.failing()).then_some(Book { store: self, inner })
    }

    /// A session's id as it is stored and shown: the keyed hash of the audit log.
    pub(super) fn hash_session(&self, id: &str) -> String {
        self.sessions.shown_session(id)
    }

    /// Has the counter with this number taken out when there is time.
    pub(super) fn dropped(&self, number: u64) {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner).push(number);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What a panic left behind is a transaction that was not committed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    /// Whether the memory holds all that the store does: from then on it is the authority.
    pub(super) fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Has everything denied until the keeper has mended it. `begun`: a transaction was, and nobody knows what of it stands.
    fn failed(&self, inner: &mut Inner, error: &Error, begun: bool) {
        // Of a store that is only locked, what was committed before stands.
        if begun || !matches!(error, Error::Locked { .. }) {
            self.forget();
        }
        inner.damaged |= error.is_damage();
        let first = !self.failing.swap(true, Ordering::AcqRel);
        self.telemetry.emit(StateFailed { error: &error.to_string(), first });
        self.order(|orders| orders.look = true);
    }

    /// Has nothing count any more that the store was told so far.
    fn forget(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    fn order(&self, give: impl FnOnce(&mut Orders)) {
        give(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner));
        self.ordered.notify_one();
    }
}

impl Book<'_> {
    /// The generation in force.
    pub fn generation(&self) -> u64 {
        self.store.generation()
    }

    /// Has what a call adds counted, in one transaction. If that fails, nothing was, as far as the caller may know.
    pub fn settle(&mut self, owed: &mut [Owed<'_>], now: Now) -> Result<(), Refused> {
        let began = Instant::now();
        let generation = self.generation();
        let written = self.write(|writing| {
            for owed in &mut *owed {
                owed.write(writing, generation, now)?;
            }
            Ok(())
        });
        self.store.telemetry.emit(StateCommitted { took: began.elapsed() });
        written.map_err(|()| Refused::Unavailable)?;
        for owed in owed {
            let crowded = owed.settled(generation, now);
            if owed.tally.lease.block.is_some() {
                self.inner.open.push(Arc::clone(owed.counter));
            }
            if crowded {
                self.inner.crowded.push(Arc::clone(owed.counter));
            }
        }
        Ok(())
    }

    /// Forgets all admissions of these counters. `before` is asked when only the commit is left to fail.
    pub fn reset<E: From<Refused>>(
        &mut self,
        counters: &[Arc<Counter>],
        before: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut asked = Ok(());
        let written = self.write_if(|writing| {
            counters.iter().try_for_each(|counter| writing.clear(counter.number))?;
            asked = before();
            Ok(asked.is_ok())
        });
        written.map_err(|()| Refused::Unavailable)?;
        asked?;
        for counter in counters {
            // What was admitted since is forgotten too.
            counter.reset();
        }
        Ok(())
    }

    /// One transaction.
    fn write(&mut self, write: impl FnOnce(&rows::Writing<'_>) -> Result<(), Error>) -> Result<(), ()> {
        self.write_if(|writing| write(writing).map(|()| true))
    }

    /// One transaction, that is committed if `write` says so.
    fn write_if(&mut self, write: impl FnOnce(&rows::Writing<'_>) -> Result<bool, Error>) -> Result<(), ()> {
        let inner = &mut *self.inner;
        let done = match &mut inner.db {
            Some(db) => transact(db, write),
            None => Err((Error::Closed, false)),
        };
        let Err((error, begun)) = done else {
            (inner.written, inner.unsynced) = (true, true);
            return Ok(());
        };
        self.store.failed(inner, &error, begun);
        Err(())
    }
}

/// One transaction, or why there was none, and whether it was begun.
fn transact(db: &mut Db, write: impl FnOnce(&rows::Writing<'_>) -> Result<bool, Error>) -> Result<(), (Error, bool)> {
    let writing = db.check().and_then(|()| db.begin()).map_err(|error| (error, false))?;
    match write(&writing) {
        Ok(true) => writing.commit(),
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|error| (error, true))
}

impl Owed<'_> {
    /// Ends the block that is used up, and begins one that the call fits into. A block that the call uses up has ended.
    fn write(&self, writing: &rows::Writing<'_>, generation: u64, now: Now) -> Result<(), Error> {
        let Owed { counter, tally, amount, size } = self;
        let Tally { history, lease } = &**tally;
        if lease.generation != generation || lease.windows != history.windows().len() {
            writing.counter(counter.number, &counter.key, history)?;
        }
        let (number, current) = if lease.generation == generation { (lease.next, lease.block) } else { (0, None) };
        if let Some(Block { number, used, last, .. }) = current {
            writing.end(counter.number, number, last, used)?;
        }
        if size.is_zero() {
            return Ok(());
        }
        let since = now.time.max(history.latest());
        writing.block(counter.number, number, since, (amount == size).then_some(since), *size)
    }

    /// Notes what was written. Gives whether the counter has many rows by now.
    fn settled(&mut self, generation: u64, now: Now) -> bool {
        let Tally { history, lease } = &mut *self.tally;
        let number = if lease.generation == generation { lease.next } else { 0 };
        (lease.generation, lease.windows) = (generation, history.windows().len());
        lease.block = (self.amount < self.size).then_some(Block {
            number,
            amount: self.size,
            used: Decimal::ZERO,
            first: 0,
            last: now.time,
        });
        lease.next = number + 1;
        lease.next.cast_unsigned().is_multiple_of(CROWDED)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}
