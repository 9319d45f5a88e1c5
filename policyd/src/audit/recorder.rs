//! Record, metric and log line of one decision together.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::{Error, Log, Unavailable, Writer};
use crate::policy::{Denial, Reply};
use crate::telemetry::{CallId, CallIds, Decided, Effect, Finished, Handles, Telemetry};

/// One worker's way to tell of its decisions. Clones are the same; it stays on its thread.
#[derive(Clone)]
pub struct Recorder(Rc<Inner>);

struct Inner {
    ids: CallIds,
    /// What the agent is told instead, so that the log and the metrics say the same.
    unavailable: Denial,
    parts: RefCell<Parts>,
}

struct Parts {
    writer: Writer,
    handles: Handles,
    /// Is told when outcomes wait that nobody has seen to yet; without it each is written at once.
    flusher: Option<Box<dyn Fn()>>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// For one worker thread, on that thread. Fails only if the operating system gives no random bytes.
    pub fn new(telemetry: &Telemetry, log: &Arc<Log>) -> Result<Recorder, Error> {
        let parts = Parts { writer: log.writer(), handles: telemetry.handles(), flusher: None };
        Ok(Recorder(Rc::new(Inner {
            ids: CallIds::new().map_err(|_| Error::NoRandom)?,
            unavailable: Denial::audit_unavailable(Reply::Error),
            parts: RefCell::new(parts),
        })))
    }

    /// Lets outcomes wait for the next decision's write, or for [`flush`](Recorder::flush), which `flusher` is to bring
    /// about soon: at the end of the event loop's turn. A call costs one `write(2)` less.
    pub fn defer_outcomes(&self, flusher: impl Fn() + 'static) {
        if let Ok(mut parts) = self.0.parts.try_borrow_mut() {
            parts.flusher = Some(Box::new(flusher));
        }
    }

    /// Writes the outcomes that wait.
    pub fn flush(&self) {
        if let Ok(mut parts) = self.0.parts.try_borrow_mut() {
            // What cannot be written is counted, and said in the log's `gap` record; there is nothing left to refuse.
            let _ = parts.writer.flush();
        }
    }

    /// Writes records of definitions that are others than before: before anything of that counts.
    pub fn definitions<'a>(&self, all: impl Iterator<Item = super::Definition<'a>>) -> Result<(), Unavailable> {
        // Only an observer that lists tools while it is told of a decision finds them taken.
        self.0.parts.try_borrow_mut().map_err(|_| Unavailable)?.writer.definitions(all)
    }

    /// The id for the next decision.
    pub fn next_call(&self) -> CallId {
        self.0.ids.next()
    }

    /// Writes the decision's record, then counts and logs it: before anything of the decision happens.
    ///
    /// If the record cannot be written, the message must be refused with `audit-unavailable`, and is counted and logged
    /// as refused so.
    pub fn decided(&self, decided: &Decided<'_>) -> Result<Call, Unavailable> {
        // Only an observer that decides while it is told of a decision finds them taken.
        let mut parts = self.0.parts.try_borrow_mut().map_err(|_| Unavailable)?;
        if let Err(unavailable) = parts.writer.decision(decided) {
            let refused = Decided {
                effect: Effect::Deny,
                rule: &self.0.unavailable.rule,
                reason: Some(&self.0.unavailable.reason),
                observed: false,
                ..*decided
            };
            parts.handles.decided(&refused);
            return Err(unavailable);
        }
        let server = parts.handles.decided(decided);
        Ok(Call {
            recorder: self.clone(),
            id: decided.call,
            server,
            since: Instant::now(),
            outcome: Outcome::default(),
            others: Box::default(),
        })
    }
}

/// How a decided message ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The HTTP status that the client got; `None` if it got none.
    pub status: Option<u16>,
    /// Whether it came to its end where there are no statuses: on stdio.
    pub ended: bool,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body that were sent to the client.
    pub bytes_out: u64,
    /// Whether the quota that was reserved was given back.
    pub returned: bool,
    /// What went wrong, in a word of policyd's own.
    pub error: Option<&'static str>,
}

/// A decided message that has not ended. Dropping it ends it: its outcome is written with what is known then, so that
/// no way out of a call, a client that goes away included, leaves a decision without one.
#[derive(Debug)]
pub struct Call {
    recorder: Recorder,
    id: CallId,
    server: Arc<str>,
    since: Instant,
    /// What is known so far; kept up to date while a response streams.
    pub outcome: Outcome,
    /// The other messages of its batch.
    others: Box<[Call]>,
}

impl Call {
    /// Its id.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// The messages of a batch as one, which end together. The outcomes of all say the same, but each has the bytes of its own
    /// message, and only the first those of the response. `None` of none.
    pub fn of_batch(mut calls: Vec<Call>) -> Option<Call> {
        let others = calls.split_off(calls.len().min(1));
        let mut first = calls.pop()?;
        first.others = others.into();
        Some(first)
    }

    /// Ends it.
    pub fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Outcome { status, ended, bytes_in, bytes_out, returned, error } = self.outcome;
        for other in &mut self.others {
            let Outcome { bytes_in, .. } = other.outcome;
            other.outcome = Outcome { bytes_in, bytes_out: 0, ..self.outcome };
        }
        let finished = Finished {
            call: self.id,
            at: SystemTime::now(),
            server: &self.server,
            status,
            bytes_in,
            bytes_out,
            took: self.since.elapsed(),
            returned,
            error: error.or(if status.is_none() && !ended { Some("abandoned") } else { None }),
        };
        // An observer that ends a call while it is told of another: not a thing to die of.
        let Ok(mut parts) = self.recorder.0.parts.try_borrow_mut() else { return };
        let first = parts.writer.outcome(&finished);
        match &parts.flusher {
            Some(flusher) if first => flusher(),
            Some(_) => {}
            None => {
                // As in `flush`.
                let _ = parts.writer.flush();
            }
        }
        parts.handles.finished(&finished);
    }
}
