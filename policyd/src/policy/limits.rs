//! Windows of limits: the history of one counter.
//!
//! An admission at `t` counts in a rolling window of length `w` at every `now` with `now - t < w`. So no half-open interval of
//! that length ever holds more than was allowed. The last [`EXACT`] admissions are kept one by one. Older neighbours are
//! merged into one entry that stands at the *later* time: it expires when the last of them does, never earlier, so
//! merging can only refuse, never admit. An entry is merged only with others of the same slot of a grid that is at most
//! a 64th of the entry's age (or of the shortest window) wide, which bounds both the error and the number of entries.
//!
//! A window that is aligned with the calendar counts what was admitted since its period began. Entries have no UTC time:
//! when a clock first says that a period is new, its beginning is put on the clock of the entries, and stays there. So a wall
//! clock that stands still, is slow or jumps ahead within a period frees nothing.

use std::collections::VecDeque;
use std::time::Duration;

use rust_decimal::Decimal;
use smallvec::SmallVec;

use super::exact::Sum;

/// An instant: nanoseconds that never run backwards, whatever the wall clock does. The caller supplies it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// The instant `duration` later; the last one there is, if that is beyond it.
    pub fn after(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// When a message is decided, by the two clocks that limits go by. The caller reads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// For rolling windows.
    pub time: Time,
    /// Nanoseconds since 1970 in UTC, for windows that are aligned with the calendar. The caller never lets it run back.
    pub utc: u64,
}

impl Now {
    /// The instant at which both clocks say `time`.
    pub fn at(time: Time) -> Now {
        Now { time, utc: time.0 }
    }
}

/// The window of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// The last so many nanoseconds, more than zero.
    Rolling(u64),
    /// The current one of the periods of so many nanoseconds into which UTC days are divided.
    Calendar(u64),
}

impl Window {
    /// Nanoseconds.
    pub fn length(self) -> u64 {
        match self {
            Window::Rolling(length) | Window::Calendar(length) => length.max(1),
        }
    }

    /// How long an admission that is `age` old still counts.
    fn remaining(self, age: u64, now: Now) -> u64 {
        match self {
            Window::Rolling(length) => length.saturating_sub(age),
            Window::Calendar(_) => self.length() - now.utc % self.length(),
        }
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
    /// How many decimal places the amounts have at most.
    places: u32,
    /// The number of entries at which neighbours are merged next.
    merge_at: usize,
}

/// One admission, or several neighbouring ones: the tickets after the entry before it, up to its own.
#[derive(Clone, Copy, Debug)]
struct Entry {
    ticket: u64,
    time: u64,
    amount: Sum,
}

/// One window's part of the history: the entries from `first` on, and their sum.
#[derive(Clone, Copy, Debug)]
struct View {
    window: Window,
    first: u64,
    sum: Sum,
    /// Of a window that is aligned with the calendar: the number of the current period since 1970, and when it began.
    period: u64,
    began: u64,
}

/// What one admission put in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ticket {
    number: u64,
    amount: Decimal,
}

/// Why an amount does not fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Exhausted {
    /// When the amount fits if nothing else is admitted; `None`: never.
    pub retry_after: Option<Duration>,
}

impl Ticket {
    /// Which admission it was, counted from 1; 0 for one of nothing.
    pub(crate) fn number(self) -> u64 {
        self.number
    }

    /// How much.
    pub(crate) fn amount(self) -> Decimal {
        self.amount
    }
}

impl History {
    /// A history that holds these admissions, oldest first, and goes on counting for these windows.
    pub fn restore(
        windows: impl IntoIterator<Item = Window>,
        entries: impl IntoIterator<Item = (Time, Decimal)>,
    ) -> History {
        let mut history = History::default();
        for (time, amount) in entries {
            history.latest = history.latest.max(time.0);
            history.last_ticket += 1;
            history.places = history.places.max(amount.scale());
            let (ticket, time, amount) = (history.last_ticket, history.latest, Sum::of(amount));
            history.entries.push_back(Entry { ticket, time, amount });
        }
        let sum = sum(&history.entries);
        history.views.extend(windows.into_iter().map(|window| View::new(window, 0, sum)));
        history
    }

    /// The windows that limits have asked about.
    pub fn windows(&self) -> impl ExactSizeIterator<Item = Window> {
        self.views.iter().map(|view| view.window)
    }

    /// What has not been forgotten yet, oldest first; what has more digits than a decimal holds, rounded up.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (Time, Decimal)> {
        self.entries.iter().map(|entry| (Time(entry.time), entry.amount.rounded_up(self.places)))
    }

    /// The latest admission.
    pub fn latest(&self) -> Time {
        Time(self.latest)
    }

    /// Forgets all admissions. What is given back of them later changes nothing.
    pub fn clear(&mut self) {
        self.gone += self.entries.len() as u64;
        self.gone_ticket = self.last_ticket;
        self.entries.clear();
        self.places = 0;
        for view in &mut self.views {
            (view.first, view.sum) = (self.gone, Sum::ZERO);
        }
    }

    /// Counts for these windows from now on, besides those that it has been asked about: a window sees only what came while
    /// it was counted for.
    pub fn watch(&mut self, windows: &[Window]) {
        for &window in windows {
            if !self.views.iter().any(|view| view.window == window) {
                self.views.push(View::new(window, self.gone, sum(&self.entries)));
            }
        }
    }

    /// Whether `amount` fits into `window` besides what it holds.
    pub fn fits(&mut self, window: Window, max: Decimal, amount: Decimal, now: Now) -> Result<(), Exhausted> {
        let now = self.clamped(now);
        let view = self.view(window, now);
        let (max, amount) = (Sum::of(max), Sum::of(amount));
        if view.sum.plus(amount) <= max {
            return Ok(());
        }
        let view = *view;
        Err(Exhausted { retry_after: self.room(view, max, amount, now) })
    }

    /// What `window` held when it was last asked about, and what was admitted since; rounded up where a decimal cannot hold it.
    pub fn used(&self, window: Window) -> Decimal {
        let view = self.views.iter().find(|view| view.window == window);
        view.map_or(Decimal::ZERO, |view| view.sum.rounded_up(self.places))
    }

    /// Admits `amount`, which must have [fitted](Self::fits) into every window that limits it.
    pub fn admit(&mut self, amount: Decimal, now: Now) -> Ticket {
        if amount.is_zero() {
            return Ticket { number: 0, amount };
        }
        let now = self.clamped(now);
        let sum = Sum::of(amount);
        self.latest = now.time.0;
        self.last_ticket += 1;
        self.places = self.places.max(amount.scale());
        self.entries.push_back(Entry { ticket: self.last_ticket, time: now.time.0, amount: sum });
        let (entries, gone) = (&self.entries, self.gone);
        for view in &mut self.views {
            view.sum = view.sum.plus(sum);
            view.advance(entries, gone, now);
        }
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
        let amount = Sum::of(ticket.amount);
        entry.amount = entry.amount.minus(amount);
        let place = self.gone + index as u64;
        for view in self.views.iter_mut().filter(|view| place >= view.first) {
            view.sum = view.sum.minus(amount);
        }
    }

    /// When nothing of the history will count any more: from then on it can be dropped.
    pub fn expires(&self) -> Time {
        let longest = self.views.iter().map(|view| view.window.length()).max().unwrap_or(0);
        self.entries.back().map_or(Time(0), |entry| Time(entry.time.saturating_add(longest)))
    }

    fn clamped(&self, now: Now) -> Now {
        Now { time: Time(now.time.0.max(self.latest)), ..now }
    }

    /// The view of a window at `now`; a new one sees what the history still holds.
    fn view(&mut self, window: Window, now: Now) -> &View {
        let index = match self.views.iter().position(|view| view.window == window) {
            Some(index) => index,
            None => {
                self.views.push(View::new(window, self.gone, sum(&self.entries)));
                self.views.len() - 1
            }
        };
        let view = &mut self.views[index];
        view.advance(&self.entries, self.gone, now);
        view
    }

    /// How long until `amount` fits: until enough of the oldest entries have left.
    fn room(&self, view: View, max: Sum, amount: Sum, now: Now) -> Option<Duration> {
        let mut left = view.sum;
        for entry in self.entries.iter().skip(index_of(view.first, self.gone)) {
            left = left.minus(entry.amount);
            if left.plus(amount) <= max {
                return Some(Duration::from_nanos(view.window.remaining(now.time.0 - entry.time, now)));
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
    fn merge(&mut self, now: Now) {
        let shortest = self.views.iter().map(|view| view.window.length()).min().unwrap_or(1);
        self.entries.retain(|entry| !entry.amount.is_zero());
        let exact_from = self.entries.len().saturating_sub(EXACT);
        // In place: the entries below `kept` are what remains of those below `index`.
        let mut kept = 0_usize;
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get(index).copied() else { break };
            let slot = slot_bits((now.time.0 - entry.time).max(shortest));
            let before = kept.checked_sub(1).and_then(|before| self.entries.get_mut(before));
            let together = before.filter(|before| index < exact_from && before.time >> slot == entry.time >> slot);
            match together {
                Some(before) => *before = Entry { amount: before.amount.plus(entry.amount), ..entry },
                None => {
                    self.entries.swap(kept, index);
                    kept += 1;
                }
            }
        }
        self.entries.truncate(kept);
        self.merge_at = self.entries.len() + SLACK;
        let (entries, gone, sum) = (&self.entries, self.gone, sum(&self.entries));
        for view in &mut self.views {
            (view.first, view.sum) = (gone, sum);
            view.advance(entries, gone, now);
        }
    }
}

impl View {
    fn new(window: Window, first: u64, sum: Sum) -> View {
        View { window, first, sum, period: 0, began: 0 }
    }

    /// Leaves out the entries that the window does not reach any more.
    fn advance(&mut self, entries: &VecDeque<Entry>, gone: u64, now: Now) {
        if let Window::Calendar(_) = self.window {
            let length = self.window.length();
            let period = now.utc / length;
            if period > self.period {
                // No later than it really began, if it began unseen.
                self.began = self.began.max(now.time.0.saturating_sub(now.utc % length));
                self.period = period;
            }
        }
        while let Some(entry) = entries.get(index_of(self.first, gone)) {
            let counts = match self.window {
                Window::Rolling(length) => now.time.0 - entry.time < length,
                Window::Calendar(_) => entry.time >= self.began,
            };
            if counts {
                return;
            }
            self.first += 1;
            self.sum = self.sum.minus(entry.amount);
        }
        self.sum = Sum::ZERO;
    }
}

fn index_of(place: u64, gone: u64) -> usize {
    usize::try_from(place - gone).unwrap_or(usize::MAX)
}

fn sum(entries: &VecDeque<Entry>) -> Sum {
    entries.iter().fold(Sum::ZERO, |sum, entry| sum.plus(entry.amount))
}

/// The width of a slot for entries of this age, as a power of two.
fn slot_bits(age: u64) -> u32 {
    age.max(1).ilog2().saturating_sub(FINENESS)
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
