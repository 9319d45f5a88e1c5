//! The log that all workers share: where it lies, whether it works, and the thread that looks after it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use super::file::{Lines, Sink};
use super::key::Key;
use super::{Error, Unavailable, record};
use crate::config;
use crate::telemetry::events::{AuditFailed, AuditRecovered};
use crate::telemetry::{Decided, Finished, Telemetry};

/// How often the log is synced, and looked after.
const INTERVAL: Duration = Duration::from_secs(1);

/// The audit log. While it lives, a thread syncs it once a second if it was written to, notices when it was moved or
/// removed, and, after records were missed, tries until a `gap` record can be written.
pub struct Log {
    shared: Option<Arc<Shared>>,
    keeper: Option<JoinHandle<()>>,
    key: Key,
    arguments: bool,
}

struct Shared {
    path: PathBuf,
    telemetry: Telemetry,
    /// Changes when writers must open the path anew.
    generation: AtomicU64,
    dirty: AtomicBool,
    failing: AtomicBool,
    missed: AtomicU64,
    orders: Mutex<Orders>,
    ordered: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Orders {
    look: bool,
    stop: bool,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("null", &self.shared.is_none()).finish_non_exhaustive()
    }
}

impl Log {
    /// Opens or makes the log at `audit.path` (mode 0640) and starts its thread. Without a path, records go nowhere.
    pub fn open(audit: &config::Audit, key: &Key, telemetry: &Telemetry) -> Result<Arc<Log>, Error> {
        let mut log = Log { shared: None, keeper: None, key: key.clone(), arguments: audit.arguments };
        if let Some(path) = &audit.path {
            let sink = Sink::open(path)?;
            let shared = Arc::new(Shared {
                path: path.clone(),
                telemetry: telemetry.clone(),
                generation: AtomicU64::new(0),
                dirty: AtomicBool::new(false),
                failing: AtomicBool::new(false),
                missed: AtomicU64::new(0),
                orders: Mutex::default(),
                ordered: Condvar::new(),
            });
            let keeper = Keeper { shared: Arc::clone(&shared), sink, lines: Lines::default(), generation: 0 };
            let thread = thread::Builder::new().name("audit".to_owned()).spawn(move || keeper.run());
            telemetry.health().good("audit", "records are written");
            log.keeper = Some(thread.map_err(Error::Thread)?);
            log.shared = Some(shared);
        }
        Ok(Arc::new(log))
    }

    /// A writer for one worker thread. It opens the file with its first record.
    pub fn writer(self: &Arc<Log>) -> Writer {
        let generation = self.shared.as_ref().map_or(0, |shared| shared.generation.load(Ordering::Acquire));
        let sink = self.shared.as_ref().map(|shared| Sink::at(&shared.path));
        Writer { log: Arc::clone(self), sink, lines: Lines::default(), generation }
    }

    /// Has every writer open the path anew before its next record: after the log was rotated (SIGHUP).
    pub fn reopen(&self) {
        if let Some(shared) = &self.shared {
            shared.generation.fetch_add(1, Ordering::Release);
            shared.order(|orders| orders.look = true);
        }
    }
}

impl Drop for Log {
    /// Syncs a last time.
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.order(|orders| orders.stop = true);
        }
        if let Some(keeper) = self.keeper.take() {
            // Only fails if the thread panicked, and then there is nothing left to do.
            let _ = keeper.join();
        }
    }
}

/// One worker's way into the log. Writes from the calling thread, without a lock.
#[derive(Debug)]
pub struct Writer {
    log: Arc<Log>,
    sink: Option<Sink>,
    lines: Lines,
    generation: u64,
}

impl Writer {
    /// Writes the record of a decision that nothing of has happened yet.
    pub fn decision(&mut self, decided: &Decided<'_>) -> Result<(), Unavailable> {
        let Writer { log, sink, lines, .. } = self;
        if sink.is_some() {
            lines.push(|out| record::decision(out, decided, &log.key, log.arguments));
        }
        self.flush()
    }

    /// Writes the record of a change that has not happened yet.
    pub fn admin(&mut self, admin: &record::Admin<'_>) -> Result<(), Unavailable> {
        if self.sink.is_some() {
            self.lines.push(|out| record::admin(out, admin));
        }
        self.flush()
    }

    /// Writes records of definitions that are others than before, before anything of that counts.
    pub fn definitions<'a>(&mut self, all: impl Iterator<Item = record::Definition<'a>>) -> Result<(), Unavailable> {
        if self.sink.is_some() {
            for definition in all {
                self.lines.push(|out| record::definition(out, &definition));
                if self.lines.is_full() {
                    self.flush()?;
                }
            }
        }
        self.flush()
    }

    /// Keeps the record of an outcome for the next [`flush`](Writer::flush) or decision. Gives whether it is the first
    /// that waits.
    pub fn outcome(&mut self, finished: &Finished<'_>) -> bool {
        let Writer { sink, lines, .. } = self;
        if sink.is_none() {
            return false;
        }
        lines.push(|out| record::outcome(out, finished));
        if lines.is_full() {
            // What cannot be written is counted, and said in the log's `gap` record; there is nothing left to refuse.
            let _ = self.flush();
            return false;
        }
        self.lines.count() == 1
    }

    /// Writes what waits, in one `write(2)`.
    pub fn flush(&mut self) -> Result<(), Unavailable> {
        let Writer { log, sink, lines, generation } = self;
        let (Some(sink), Some(shared)) = (sink, &log.shared) else { return Ok(()) };
        if lines.count() == 0 {
            return Ok(());
        }
        let current = shared.generation.load(Ordering::Acquire);
        if *generation != current {
            *generation = current;
            sink.reopen();
        }
        let result = sink.append(lines);
        let count = lines.count() as u64;
        lines.clear();
        // Looked at first: a store would take the cache line from the other workers each time.
        if !shared.dirty.load(Ordering::Relaxed) {
            shared.dirty.store(true, Ordering::Release);
        }
        result.map_err(|error| {
            shared.missed.fetch_add(count, Ordering::Relaxed);
            shared.failed(&error);
            Unavailable
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // As for any outcome that cannot be written.
        let _ = self.flush();
    }
}

impl Shared {
    fn failed(&self, error: &io::Error) {
        let first = !self.failing.swap(true, Ordering::AcqRel);
        self.telemetry.emit(AuditFailed { error: &error.to_string(), first });
    }

    fn order(&self, give: impl FnOnce(&mut Orders)) {
        give(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner));
        self.ordered.notify_one();
    }
}

/// The thread's own.
struct Keeper {
    shared: Arc<Shared>,
    sink: Sink,
    lines: Lines,
    generation: u64,
}

impl Keeper {
    fn run(mut self) {
        loop {
            let stop = self.wait();
            self.look();
            if stop {
                return;
            }
        }
    }

    /// Until the next second, or an order. Whether to stop.
    fn wait(&self) -> bool {
        let orders = self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.ordered.wait_timeout_while(orders, INTERVAL, |orders| !orders.look && !orders.stop);
        let (mut orders, _) = waited.unwrap_or_else(PoisonError::into_inner);
        orders.look = false;
        orders.stop
    }

    fn look(&mut self) {
        if self.shared.dirty.swap(false, Ordering::AcqRel)
            && let Err(error) = self.sink.sync()
        {
            self.shared.failed(&error);
        }
        if !self.sink.in_place() && !self.sink.is_closed() {
            self.shared.generation.fetch_add(1, Ordering::Release);
        }
        let generation = self.shared.generation.load(Ordering::Acquire);
        if self.generation != generation || self.sink.is_closed() {
            self.generation = generation;
            if let Err(error) = self.sink.connect() {
                self.shared.failed(&error);
            }
        }
        if self.shared.failing.load(Ordering::Acquire) {
            self.recover();
        }
    }

    /// Tries whether records can be written again, and says in the log how many are missing.
    fn recover(&mut self) {
        let missed = self.shared.missed.load(Ordering::Acquire);
        self.lines.clear();
        let line = self.lines.push(|out| record::gap(out, SystemTime::now(), missed));
        if self.sink.append(line).is_err() {
            return;
        }
        self.shared.failing.store(false, Ordering::Release);
        self.shared.missed.fetch_sub(missed, Ordering::AcqRel);
        self.shared.dirty.store(true, Ordering::Release);
        self.shared.telemetry.emit(AuditRecovered { missed });
    }
}

#[cfg(test)]
impl Log {
    /// The key, to recompute hashes with.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }
}
