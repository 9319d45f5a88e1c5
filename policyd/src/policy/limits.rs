//! Rolling-window limits: the history of one counter.
//!
//! An admission at `t` counts in a window of length `w` at every `now` with `now - t < w`. So no half-open interval of
//! that length ever holds more than was allowed. The last [`EXACT`] admissions are kept one by one. Older neighbours are
//! merged into one entry that stands at the *later* time: it expires when the last of them does, never earlier, so
//! merging can only refuse, never admit. An entry is merged only with others of the same slot of a grid that is at most
//! a 64th of the entry's age (or of the shortest window) wide, which bounds both the error and the number of entries.

use std::collections::VecDeque;
use std::time::Duration;

use rust_decimal::Decimal;
use smallvec::SmallVec;

use super::exact;

/// An instant: nanoseconds that never run backwards, whatever the wall clock does. The caller supplies it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// The instant `duration` later; the last one there is, if that is beyond it.
    pub fn after(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The admissions that are kept one by one.
pub(crate) const EXACT: usize = 1024;

/// How many entries may gather beyond the exact ones and the merged ones before neighbours are merged again.
const SLACK: usize = 512;

/// A slot is at most one `2^FINENESS`th of an entry's age.
const FINENESS: u32 = 6;

/// The history of one counter, for all windows that limits have asked it about.
#[derive(Debug, Default)]
pub(crate) struct History {
    entries: VecDeque<Entry>,
    /// How many entries have left at the front, ever: `View::first` counts from the first entry of all.
    gone: u64,
    /// The last ticket number that left at the front.
    gone_ticket: u64,
    views: SmallVec<[View; 2]>,
    /// The latest admission. Threads may ask with an earlier `now`; it counts as this one.
    latest: u64,
    last_ticket: u64,
    /// The number of entries at which neighbours are merged next.
    merge_at: usize,
}

/// One admission, or several neighbouring ones: the tickets after the entry before it, up to its own.
#[derive(Clone, Copy, Debug)]
struct Entry {
    ticket: u64,
    time: u64,
    amount: Decimal,
}

/// One window's part of the history: the entries from `first` on, and their sum.
#[derive(Clone, Copy, Debug)]
struct View {
    window: u64,
    first: u64,
    sum: Decimal,
}

/// What one admission put in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ticket {
    number: u64,
    amount: Decimal,
}

/// Why an amount does not fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Exhausted {
    /// What the window holds.
    pub used: Decimal,
    /// When the amount fits if nothing else is admitted; `None`: never.
    pub retry_after: Option<Duration>,
}

impl History {
    /// What a window of `window` nanoseconds holds, if `amount` fits into it besides.
    pub fn fits(&mut self, window: u64, max: Decimal, amount: Decimal, now: Time) -> Result<Decimal, Exhausted> {
        let now = now.0.max(self.latest);
        let Some(view) = self.view(window, now) else {
            return Err(Exhausted { used: Decimal::MAX, retry_after: Some(Duration::from_nanos(window)) });
        };
        if exact::add(view.sum, amount).is_some_and(|sum| sum <= max) {
            return Ok(view.sum);
        }
        Err(Exhausted { used: view.sum, retry_after: self.room(view, max, amount, now) })
    }

    /// Admits `amount`, which must have [fitted](Self::fits) into every window that limits it.
    pub fn admit(&mut self, amount: Decimal, now: Time) -> Ticket {
        if amount.is_zero() {
            return Ticket { number: 0, amount };
        }
        let now = now.0.max(self.latest);
        self.latest = now;
        self.last_ticket += 1;
        self.entries.push_back(Entry { ticket: self.last_ticket, time: now, amount });
        let (entries, gone) = (&self.entries, self.gone);
        // A sum that cannot be represented belongs to a window that this admission did not ask, as an older policy's.
        // Nobody needs it any more; asked again, it is summed up anew.
        self.views.retain(|view| match exact::add(view.sum, amount) {
            Some(sum) => {
                view.sum = sum;
                view.advance(entries, gone, now);
                true
            }
            None => false,
        });
        self.forget();
        if self.entries.len() >= self.merge_at.max(EXACT + SLACK) {
            self.merge(now);
        }
        Ticket { number: self.last_ticket, amount }
    }

    /// Takes out exactly what an admission put in, if it has not expired.
    pub fn give_back(&mut self, ticket: Ticket) {
        if ticket.amount.is_zero() || ticket.number <= self.gone_ticket {
            return;
        }
        let index = self.entries.partition_point(|entry| entry.ticket < ticket.number);
        let Some(entry) = self.entries.get_mut(index) else { return };
        let Some(rest) = exact::subtract(entry.amount, ticket.amount) else { return };
        entry.amount = rest;
        let place = self.gone + index as u64;
        for view in &mut self.views {
            if place >= view.first
                && let Some(sum) = exact::subtract(view.sum, ticket.amount)
            {
                view.sum = sum;
            }
        }
    }

    /// When nothing of the history will count any more: from then on it can be dropped.
    pub fn expires(&self) -> Time {
        let longest = self.views.iter().map(|view| view.window).max().unwrap_or(0);
        self.entries.back().map_or(Time(0), |entry| Time(entry.time.saturating_add(longest)))
    }

    /// The view of a window at `now`; a new one sees what the history still holds. `None`: its sum does not fit.
    fn view(&mut self, window: u64, now: u64) -> Option<View> {
        if let Some(view) = self.views.iter_mut().find(|view| view.window == window) {
            view.advance(&self.entries, self.gone, now);
            return Some(*view);
        }
        let mut view = View { window, first: self.gone, sum: sum(&self.entries)? };
        view.advance(&self.entries, self.gone, now);
        self.views.push(view);
        Some(view)
    }

    /// How long until `amount` fits: until enough of the oldest entries have left.
    fn room(&self, view: View, max: Decimal, amount: Decimal, now: u64) -> Option<Duration> {
        let mut left = view.sum;
        for entry in self.entries.iter().skip(index_of(view.first, self.gone)) {
            left = exact::subtract(left, entry.amount)?;
            if exact::add(left, amount).is_some_and(|sum| sum <= max) {
                return Some(Duration::from_nanos(entry.time.saturating_add(view.window) - now));
            }
        }
        None
    }

    /// Drops the entries that no window sees.
    fn forget(&mut self) {
        let first = self.views.iter().map(|view| view.first).min().unwrap_or(self.gone);
        while self.gone < first {
            let Some(entry) = self.entries.pop_front() else { break };
            self.gone += 1;
            self.gone_ticket = entry.ticket;
        }
    }

    /// Merges older neighbours and drops what was given back.
    fn merge(&mut self, now: u64) {
        let shortest = self.views.iter().map(|view| view.window).min().unwrap_or(1);
        let mut old = std::mem::take(&mut self.entries);
        old.retain(|entry| !entry.amount.is_zero());
        let exact_from = old.len().saturating_sub(EXACT);
        let mut kept: VecDeque<Entry> = VecDeque::with_capacity(old.len());
        for (index, entry) in old.into_iter().enumerate() {
            let slot = slot_bits((now - entry.time).max(shortest));
            match kept.back_mut() {
                Some(before) if index < exact_from && before.time >> slot == entry.time >> slot => {
                    match exact::add(before.amount, entry.amount) {
                        Some(amount) => *before = Entry { amount, ..entry },
                        None => kept.push_back(entry),
                    }
                }
                _ => kept.push_back(entry),
            }
        }
        self.entries = kept;
        self.merge_at = self.entries.len() + SLACK;
        let (entries, gone) = (&self.entries, self.gone);
        self.views.retain(|view| match sum(entries) {
            Some(sum) => {
                *view = View { window: view.window, first: gone, sum };
                view.advance(entries, gone, now);
                true
            }
            None => false,
        });
    }
}

impl View {
    /// Leaves out the entries that are as old as the window.
    fn advance(&mut self, entries: &VecDeque<Entry>, gone: u64, now: u64) {
        while let Some(entry) = entries.get(index_of(self.first, gone)) {
            if now - entry.time < self.window {
                return;
            }
            self.first += 1;
            // The parts of an exact sum, at its scale, always fit.
            self.sum = exact::subtract(self.sum, entry.amount).unwrap_or(self.sum);
        }
        self.sum = Decimal::ZERO;
    }
}

fn index_of(place: u64, gone: u64) -> usize {
    usize::try_from(place - gone).unwrap_or(usize::MAX)
}

fn sum(entries: &VecDeque<Entry>) -> Option<Decimal> {
    entries.iter().try_fold(Decimal::ZERO, |sum, entry| exact::add(sum, entry.amount))
}

/// The width of a slot for entries of this age, as a power of two.
fn slot_bits(age: u64) -> u32 {
    age.max(1).ilog2().saturating_sub(FINENESS)
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
