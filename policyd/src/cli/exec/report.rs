//! Tells decisions on stderr as they are made, and counts them.

use std::io::{self, Write};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::tally::{self, Tally};
use crate::cli::say;
use crate::telemetry::{Decided, Observer};

/// Lines that wait for a slow terminal. The thread that decides must not wait for it; beyond these, lines are left out and
/// the table at the end still counts them.
const WAITING: usize = 4096;

/// The report of one `exec`.
pub(in crate::cli) struct Report {
    watcher: Watcher,
    printer: Option<JoinHandle<()>>,
}

/// What the daemon tells.
#[derive(Clone)]
struct Watcher {
    shapes: bool,
    started: Instant,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    tally: Tally,
    left_out: u64,
    /// `None` under `--quiet`, and at the end.
    lines: Option<SyncSender<String>>,
}

impl Report {
    /// Starts it; `shapes` tells the shapes of arguments as well.
    pub(in crate::cli) fn start(quiet: bool, shapes: bool) -> Self {
        let (lines, waiting) = mpsc::sync_channel::<String>(WAITING);
        let print = move || {
            for line in waiting {
                // One write per line, so that COMMAND's own output does not get into it.
                let _ = io::stderr().write_all(line.as_bytes());
            }
        };
        // Without a thread there are no lines; the table is printed all the same.
        let printer = if quiet { None } else { std::thread::Builder::new().name("report".into()).spawn(print).ok() };
        let counts = Counts { lines: printer.is_some().then_some(lines), ..Counts::default() };
        let watcher = Watcher { shapes, started: Instant::now(), counts: Arc::new(Mutex::new(counts)) };
        Self { watcher, printer }
    }

    /// What the daemon tells decisions to.
    pub(in crate::cli) fn observer(&self) -> Box<dyn Observer> {
        Box::new(self.watcher.clone())
    }

    /// Prints what still waits, and gives the counts.
    pub(in crate::cli) fn finish(self) -> Tally {
        let (tally, left_out) = {
            let mut counts = self.watcher.lock();
            counts.lines = None;
            (std::mem::take(&mut counts.tally), counts.left_out)
        };
        if let Some(printer) = self.printer {
            let _ = printer.join();
        }
        if left_out > 0 {
            say(format_args!("{left_out} lines were left out, since the terminal was too slow"));
        }
        tally
    }
}

impl Watcher {
    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watcher {
    fn decided(&self, decided: &Decided<'_>) {
        let at = self.started.elapsed();
        let line = tally::line(decided, self.shapes);
        let mut counts = self.lock();
        counts.tally.add(decided, at);
        let Some((line, lines)) = line.zip(counts.lines.as_ref()) else { return };
        if let Err(TrySendError::Full(_)) = lines.try_send(line + "\n") {
            counts.left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exec::tally::tests::{End, call};

    #[test]
    fn what_several_threads_tell_is_counted_once_each() {
        let report = Report::start(true, true);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let observer = report.observer();
                scope.spawn(move || (0..25).for_each(|_| observer.decided(&call("x", End::Allow))));
            }
        });
        let tally = report.finish();
        assert_eq!(tally.rows().map(|(_, _, row)| row.allowed).collect::<Vec<_>>(), [100]);
    }

    #[test]
    fn what_comes_after_the_end_waits_for_nobody() {
        let report = Report::start(false, false);
        let observer = report.observer();
        report.finish();
        observer.decided(&call("x", End::Allow));
    }
}
