//! The open response streams of a worker, so that a reload or a drain can end them.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Waker;

/// The streams of one worker.
#[derive(Debug, Default)]
pub struct Streams {
    open: RefCell<Vec<Weak<Stream>>>,
}

/// One open response stream, as its body holds it.
#[derive(Debug)]
pub struct Stream {
    /// Whom it belongs to: tells whether a grant still stands behind it.
    stands: BoxedCheck,
    /// Whether it carries the answer to a call, which a drain lets finish.
    answers: bool,
    ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A boxed check; its own type so that [`Stream`] can be `Debug`.
struct BoxedCheck(Box<dyn Fn() -> bool>);

impl std::fmt::Debug for BoxedCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxedCheck")
    }
}

// === impl Streams ===

impl Streams {
    /// Registers a stream. `answers`: it carries the answer to a call. `stands` is asked after each reload whether it may
    /// go on.
    pub fn open(&self, answers: bool, stands: impl Fn() -> bool + 'static) -> Rc<Stream> {
        let stream = Rc::new(Stream {
            stands: BoxedCheck(Box::new(stands)),
            answers,
            ended: Cell::new(false),
            waker: RefCell::new(None),
        });
        let mut open = self.open.borrow_mut();
        // Amortised: the list is swept when it would grow.
        if open.len() == open.capacity() {
            open.retain(|stream| stream.strong_count() > 0);
        }
        open.push(Rc::downgrade(&stream));
        stream
    }

    /// Ends the streams that nothing stands behind any more.
    pub fn revise(&self) {
        self.each(Stream::revise);
    }

    /// Ends the streams that would never end by themselves; those that answer a call may finish.
    pub fn drain(&self) {
        self.each(|stream| {
            if !stream.answers {
                stream.end();
            }
        });
    }

    fn each(&self, visit: impl Fn(&Stream)) {
        let open: Vec<_> = self.open.borrow().iter().filter_map(Weak::upgrade).collect();
        for stream in open {
            visit(&stream);
        }
    }
}

// === impl Stream ===

impl Stream {
    /// Ends it if nothing stands behind it any more.
    pub fn revise(&self) {
        if !(self.stands.0)() {
            self.end();
        }
    }

    fn end(&self) {
        self.ended.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Whether the stream has to end now; if not, `waker` is woken when it has to.
    pub fn has_ended(&self, waker: &Waker) -> bool {
        if self.ended.get() {
            return true;
        }
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_ends_only_what_no_longer_stands() {
        let streams = Streams::default();
        let stays = streams.open(false, || true);
        let goes = streams.open(true, || false);
        streams.revise();
        assert!(!stays.has_ended(Waker::noop()));
        assert!(goes.has_ended(Waker::noop()));
    }

    #[test]
    fn a_drain_lets_answers_finish() {
        let streams = Streams::default();
        let answer = streams.open(true, || true);
        let own = streams.open(false, || true);
        streams.drain();
        assert!(!answer.has_ended(Waker::noop()));
        assert!(own.has_ended(Waker::noop()));
    }
}
