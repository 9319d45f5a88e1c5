//! The thread that looks after the store.

use std::fs;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::db::{Checkpointer, Db, sync};
use super::make::{Before, make};
use super::rows::Writing;
use super::tools::AT_ONCE;
use super::{Book, Error, Inner, Store};
use crate::policy::Time;
use crate::state::clock::Clock;
use crate::state::counter::Counter;
use crate::state::memory::Memory;
use crate::telemetry::events::{StateFailed, StateReady};

/// How often the store is looked after. A block that was not used for as long is ended.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many looks there are between two searches for counters that count no more.
const SWEEP_EVERY: u32 = 60;

/// A step of UTC from which on the store is told of it at once, in nanoseconds. Below is how exactly a clock can be read.
const STEP: i64 = 1_000_000;

/// Looks after a memory's store: loads it; ends blocks that nobody uses; takes out what counts no more; and while the
/// store fails, tries until everything could be written. Dropped: writes what was really used, and closes the store.
#[derive(Debug)]
pub struct Keeper {
    store: Arc<Store>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Loads the store of `memory`, from which `clock` goes on, and starts the thread. A store that cannot be loaded is no
    /// error here: `/readyz` says what is wrong, and it is tried again each second.
    ///
    /// # Errors
    ///
    /// [`Error::Thread`]. [`Error::Closed`], if `memory` has no store.
    pub fn start(memory: Arc<Memory>, clock: Arc<Clock>) -> Result<Keeper, Error> {
        let store = memory.store.clone().ok_or(Error::Closed)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let mut work = Work { memory, store: Arc::clone(&store), clock, boot, checkpointer: None, looks: 0 };
        work.look();
        let thread =
            thread::Builder::new().name("state".to_owned()).spawn(move || work.run()).map_err(Error::Thread)?;
        Ok(Keeper { store, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.store.order(|orders| orders.stop = true);
        if let Some(thread) = self.thread.take() {
            // Only fails if the thread panicked, and then there is nothing left to do.
            let _ = thread.join();
        }
    }
}

/// The thread's own.
pub(super) struct Work {
    pub memory: Arc<Memory>,
    pub store: Arc<Store>,
    pub clock: Arc<Clock>,
    pub boot: String,
    pub checkpointer: Option<Checkpointer>,
    pub looks: u32,
}

impl Work {
    fn run(mut self) {
        while !self.wait() {
            self.look();
        }
        self.close();
    }

    /// Until the next second, or an order. Whether to stop.
    fn wait(&self) -> bool {
        let orders = self.store.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.store.ordered.wait_timeout_while(orders, INTERVAL, |orders| !orders.look && !orders.stop);
        let (mut orders, _) = waited.unwrap_or_else(PoisonError::into_inner);
        orders.look = false;
        orders.stop
    }

    pub fn look(&mut self) {
        self.looks = self.looks.wrapping_add(1);
        if self.store.failing() {
            self.recover();
            return;
        }
        let now = self.clock.now().time;
        if self.looks.is_multiple_of(SWEEP_EVERY) {
            self.memory.sweep(now);
        }
        let idle_since = Time(now.0.saturating_sub(INTERVAL.as_nanos() as u64));
        let everything = self.looks.is_multiple_of(SWEEP_EVERY);
        if self.tidy(idle_since, everything) && self.sync() && self.checkpoint() {
            // What comes next begins the log anew, and syncs it: rather here than where a call waits.
            self.store.lock().written = true;
            self.tidy(idle_since, false);
        }
    }

    /// Ends the blocks that were not used since `idle_since`, and takes out what is not needed. Gives whether the store works.
    pub fn tidy(&self, idle_since: Time, everything: bool) -> bool {
        let mut stale = Vec::new();
        if everything {
            stale = self.memory.all();
            stale.retain(|counter| counter.tally.lock().is_ok_and(|tally| tally.lease.stale));
        }
        let mut inner = self.store.lock();
        let dropped = std::mem::take(&mut *self.store.dropped.lock().unwrap_or_else(PoisonError::into_inner));
        let mut renewed = std::mem::take(&mut inner.crowded);
        renewed.append(&mut stale);
        let mut open = std::mem::take(&mut inner.open);
        // A counter is noted with each of its blocks.
        open.sort_unstable_by_key(|counter| counter.number);
        open.dedup_by_key(|counter| counter.number);
        let (idle, busy): (Vec<_>, Vec<_>) = open.into_iter().partition(|counter| {
            // One whose block has ended has nothing to end.
            counter.tally.lock().is_ok_and(|tally| tally.lease.block.is_none_or(|block| block.last <= idle_since))
        });
        inner.open = busy;
        let clock = self.clock.stored(&self.boot);
        // A clock that was set ahead may have begun a period of the calendar, without any transaction.
        let stepped = clock.ahead().saturating_sub(inner.ahead) > STEP;
        let unsaved = self.store.tools.is_unsaved();
        if dropped.is_empty() && renewed.is_empty() && idle.is_empty() && !inner.written && !stepped && !unsaved {
            // Nothing to write; but a file that is gone must be noticed.
            return match inner.db.as_ref().map(Db::check) {
                Some(Ok(())) => true,
                Some(Err(error)) => {
                    self.store.failed(&mut inner, &error, false);
                    false
                }
                None => false,
            };
        }
        let generation = self.store.generation();
        let mut book = Book { store: &self.store, inner };
        let written = book.write(|writing| {
            for number in &dropped {
                writing.remove(*number)?;
            }
            for counter in &idle {
                end(writing, counter, idle_since)?;
            }
            for counter in &renewed {
                let mut tally = counter.tally.lock().unwrap_or_else(PoisonError::into_inner);
                if tally.lease.generation == generation {
                    writing.replace(counter, &mut tally, generation)?;
                }
            }
            let most = if everything { usize::MAX } else { AT_ONCE };
            writing.unsaved_tools(&self.store, most)?;
            writing.clock(&clock)
        });
        book.inner.written = false;
        if written.is_ok() {
            book.inner.ahead = clock.ahead();
        }
        written.is_ok()
    }

    /// Syncs the log, if it was written to. Gives whether the store works.
    fn sync(&self) -> bool {
        if !std::mem::take(&mut self.store.lock().unsynced) {
            return true;
        }
        // Calls go on meanwhile. After an error nobody knows what is on the disk: everything is written anew.
        let Err(error) = sync(&self.store.path) else { return true };
        self.store.failed(&mut self.store.lock(), &error, true);
        false
    }

    /// Copies the log into the database, if it has grown. Gives whether it did.
    fn checkpoint(&mut self) -> bool {
        let path = &self.store.path;
        if self.checkpointer.is_none() {
            self.checkpointer = Checkpointer::open(path).ok();
        }
        let Some(checkpointer) = &self.checkpointer else { return false };
        checkpointer.run().unwrap_or_else(|error| {
            self.store.failed(&mut self.store.lock(), &error, false);
            false
        })
    }

    /// Opens the store anew, and loads it, or writes everything that is in memory.
    fn recover(&mut self) {
        self.checkpointer = None;
        let mut inner = self.store.lock();
        inner.db = None;
        match self.reopen(&mut inner) {
            Ok(db) => {
                inner.db = Some(db);
                (inner.damaged, inner.written, inner.unsynced) = (false, false, true);
                self.store.failing.store(false, Ordering::Release);
                let ready = StateReady { path: &self.store.path, again: self.looks > 1 };
                self.store.telemetry.emit(ready);
            }
            Err(error) => {
                inner.damaged |= error.is_damage();
                self.store.telemetry.emit(StateFailed {
                    error: &error.to_string(),
                    // The first attempt of all fails without anything that failed before.
                    first: self.looks == 1,
                });
            }
        }
    }

    fn reopen(&self, inner: &mut Inner) -> Result<Db, Error> {
        if self.store.is_loaded() {
            return self.rewrite(inner);
        }
        let path = &self.store.path;
        let mut db = match Db::open(path)? {
            Some(db) => db,
            None => {
                make(path, Before::Nothing, |_| Ok(()))?;
                self.made()?
            }
        };
        let writing = db.begin()?;
        let counters = writing.load(&self.clock, &self.boot, self.store.generation())?;
        let tools = writing.tools()?;
        writing.commit()?;
        self.memory.adopt(counters);
        self.store.tools.adopt(tools);
        self.store.loaded.store(true, Ordering::Release);
        Ok(db)
    }

    /// Writes everything that is in memory: all that stood in the store, too.
    fn rewrite(&self, inner: &mut Inner) -> Result<Db, Error> {
        // Before anything is read: what is admitted from here on needs a transaction, and those wait.
        self.store.forget();
        let generation = self.store.generation();
        inner.open.clear();
        inner.crowded.clear();
        self.store.dropped.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let fill = |writing: &Writing<'_>| {
            writing.empty()?;
            writing.clock(&self.clock.stored(&self.boot))?;
            for counter in self.memory.all() {
                let mut tally = counter.tally.lock().unwrap_or_else(PoisonError::into_inner);
                writing.replace(&counter, &mut tally, generation)?;
            }
            writing.all_tools(&self.store)
        };
        let path = &self.store.path;
        if !inner.damaged
            && let Some(mut db) = Db::open(path)?
        {
            let writing = db.begin()?;
            fill(&writing)?;
            writing.commit()?;
            return Ok(db);
        }
        make(path, Before::Lost, fill)?;
        inner.damaged = false;
        self.made()
    }

    fn made(&self) -> Result<Db, Error> {
        let path = &self.store.path;
        Db::open(path)?.ok_or_else(|| Error::Moved { path: path.clone() })
    }

    /// Writes what was really used, and lets go of the store.
    pub fn close(&mut self) {
        if !self.store.failing() {
            self.tidy(Time(u64::MAX), true);
        }
        self.checkpointer = None;
        self.store.failing.store(true, Ordering::Release);
        // The last connection to be closed copies the log into the database and removes it.
        self.store.lock().db = None;
    }
}

/// Ends a counter's block with what was really used, if it was not used since.
fn end(writing: &Writing<'_>, counter: &Counter, idle_since: Time) -> Result<(), Error> {
    let mut tally = counter.tally.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(block) = tally.lease.block.filter(|block| block.last <= idle_since) else { return Ok(()) };
    writing.end(counter.number, block.number, block.last, block.used)?;
    // Whatever comes of this transaction: without a block, the next call needs one.
    tally.lease.block = None;
    Ok(())
}
