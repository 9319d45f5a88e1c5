//! Reserving: all that a call needs, or nothing.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use rust_decimal::Decimal;
use smallvec::{SmallVec, smallvec};

use super::counter::{Counter, Tally};
use super::memory::{Memory, Place};
use super::store::{Book, Owed, Store};
use crate::policy::{CounterKey, Counters, Now, Refused, Reservation, ScopeKey, Ticket, Want};

/// A counter counts at most this part of a limit as used that no call has used yet: what a crash can take from the caller.
/// So many transactions, at most, take up a whole limit.
const PARTS: u64 = 64;

impl Counters for Memory {
    fn reserve(&self, wants: &mut [Want<'_>], now: Now) -> Result<Reservation, Refused> {
        if wants.is_empty() {
            return Ok(Reservation::default());
        }
        let mut handles: Handles = SmallVec::new();
        let mut known: Option<(ScopeKey<'_>, Place)> = None;
        for want in wants.iter() {
            let CounterKey { scope, .. } = want.counter;
            // Most limits of a call have one scope.
            let place = match known {
                Some((other, place)) if other == scope => place,
                _ => self.place(&scope),
            };
            known = Some((scope, place));
            handles.push(self.counter(place, &want.counter, now.time)?);
        }
        let done = match &self.store {
            None => admit(wants, &handles, now, Cover::NotNeeded),
            Some(store) => match admit(wants, &handles, now, Cover::Given(store)) {
                // Whoever waits here for another call's transaction is often covered by it.
                Err(Stop::Uncovered) => match store.open() {
                    Some(mut book) => admit(wants, &handles, now, Cover::Get(&mut book)),
                    None => Err(Stop::Refused(Refused::Unavailable)),
                },
                done => done,
            },
        };
        let tickets = done.map_err(|stop| match stop {
            Stop::Refused(refused) => refused,
            Stop::Uncovered => Refused::Unavailable,
        })?;
        let mut held = Reservation::default();
        for (handle, ticket) in handles.into_iter().zip(tickets) {
            if let Some(ticket) = ticket {
                // The handle keeps the counter from being dropped.
                held.hold(handle, ticket);
            }
        }
        Ok(held)
    }
}

/// The counters of the wants.
type Handles = SmallVec<[Arc<Counter>; 4]>;

/// What was admitted; one ticket for several wants on one counter.
type Tickets = SmallVec<[Option<Ticket>; 4]>;

/// What sees to it that a crash loses no admission.
enum Cover<'a, 'b> {
    /// Nothing is to outlive the process.
    NotNeeded,
    /// What the store counts already.
    Given(&'a Store),
    /// The store is told what it does not count yet.
    Get(&'a mut Book<'b>),
}

/// Why nothing was admitted.
enum Stop {
    Refused(Refused),
    /// The store has to be told first.
    Uncovered,
}

/// A counter while a call is judged.
struct Locked<'a> {
    counter: &'a Arc<Counter>,
    tally: MutexGuard<'a, Tally>,
    /// The want that says what the call adds.
    by: usize,
}

/// The counters of a call, in the order of their numbers.
type AllLocked<'a> = SmallVec<[Locked<'a>; 4]>;

fn admit(wants: &mut [Want<'_>], handles: &Handles, now: Now, cover: Cover<'_, '_>) -> Result<Tickets, Stop> {
    let mut locked = lock(wants, handles)?;
    let mut refused: Option<(usize, Option<Duration>)> = None;
    for (index, (want, handle)) in wants.iter().zip(handles).enumerate() {
        let tally = tally_of(&mut locked, handle)?;
        tally.history.watch(want.windows);
        if let Err(exhausted) = tally.history.fits(want.window, want.max, want.amount, now) {
            refused = Some(match refused {
                // All must have room, and one that never will settles it.
                Some((first, wait)) => (first, wait.zip(exhausted.retry_after).map(|(a, b)| a.max(b))),
                None => (index, exhausted.retry_after),
            });
        }
    }
    if refused.is_none() {
        covered(&mut locked, wants, handles, now, cover)?;
    }
    let mut tickets: Tickets = smallvec![None; wants.len()];
    if refused.is_none() {
        for Locked { tally, by, .. } in &mut locked {
            tickets[*by] = Some(tally.admit(wants[*by].amount, now));
        }
    }
    for (want, handle) in wants.iter_mut().zip(handles) {
        want.used = tally_of(&mut locked, handle)?.history.used(want.window);
    }
    match refused {
        Some((index, retry_after)) => Err(Stop::Refused(Refused::Exhausted(index, retry_after))),
        None => Ok(tickets),
    }
}

fn tally_of<'l>(locked: &'l mut AllLocked<'_>, handle: &Arc<Counter>) -> Result<&'l mut Tally, Stop> {
    let found = locked.iter_mut().find(|locked| locked.counter.number == handle.number);
    found.map(|locked| &mut *locked.tally).ok_or(Stop::Refused(Refused::Unavailable))
}

/// Locks each counter once, in the order of their numbers.
fn lock<'a>(wants: &[Want<'_>], handles: &'a Handles) -> Result<AllLocked<'a>, Stop> {
    let mut order: SmallVec<[usize; 4]> = (0..handles.len()).collect();
    // They mostly are: counters are numbered as calls first name them.
    if !handles.is_sorted_by_key(|counter| counter.number) {
        order.sort_unstable_by_key(|&index| handles[index].number);
    }
    let mut locked: AllLocked<'a> = SmallVec::new();
    for by in order {
        let counter = &handles[by];
        match locked.last_mut().filter(|last| last.counter.number == counter.number) {
            // One admission for all of them.
            Some(last) if wants[by].amount > wants[last.by].amount => last.by = by,
            Some(_) => {}
            None => {
                let tally = counter.tally.lock().map_err(|_| Stop::Refused(Refused::Unavailable))?;
                locked.push(Locked { counter, tally, by });
            }
        }
    }
    Ok(locked)
}

/// Sees to it that the store counts what the call will add.
fn covered(
    locked: &mut [Locked<'_>],
    wants: &[Want<'_>],
    handles: &Handles,
    now: Now,
    cover: Cover<'_, '_>,
) -> Result<(), Stop> {
    let generation = match &cover {
        Cover::NotNeeded => return Ok(()),
        Cover::Given(store) => store.generation(),
        Cover::Get(book) => book.generation(),
    };
    let uncovered = |locked: &Locked<'_>| !locked.tally.covers(wants[locked.by].amount, generation);
    if !locked.iter().any(uncovered) {
        return Ok(());
    }
    let Cover::Get(book) = cover else { return Err(Stop::Uncovered) };
    let mut owed: SmallVec<[Owed<'_>; 4]> = SmallVec::new();
    for locked in locked.iter_mut().filter(|locked| uncovered(locked)) {
        let (amount, history) = (wants[locked.by].amount, &locked.tally.history);
        let limits = wants.iter().zip(handles).filter(|(_, handle)| handle.number == locked.counter.number);
        // The least that one of its limits allows, and how much room all of them have.
        let (max, room) = limits.fold((Decimal::MAX, Decimal::MAX), |(max, room), (want, _)| {
            (max.min(want.max), room.min(want.max.saturating_sub(history.used(want.window))))
        });
        let size = block_size(amount, max, room);
        owed.push(Owed { counter: locked.counter, tally: &mut locked.tally, amount, size });
    }
    book.settle(&mut owed, now).map_err(Stop::Refused)
}

/// How much to have counted at once: this call's amount, or for large limits what many calls will add.
fn block_size(amount: Decimal, max: Decimal, room: Decimal) -> Decimal {
    if amount.is_zero() {
        return amount;
    }
    // Not exact, and need not be: it is as much as will be counted, whatever it is.
    let part = max.checked_div(Decimal::from(PARTS)).unwrap_or_default().trunc_with_scale(amount.scale());
    part.min(room).max(amount)
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_a_64th_of_a_limit_and_never_less_than_the_call() {
        let size = |amount: &str, max: &str, room: &str| {
            let [amount, max, room] = [amount, max, room].map(|text| text.parse::<Decimal>().unwrap());
            block_size(amount, max, room).normalize().to_string()
        };
        assert_eq!(size("1", "10", "10"), "1", "small limits are counted call by call");
        assert_eq!(size("1", "64", "64"), "1");
        assert_eq!(size("1", "1000", "1000"), "15");
        assert_eq!(size("1", "1000", "4"), "4", "no more than there is room for");
        assert_eq!(size("500", "1000", "900"), "500");
        assert_eq!(size("0.01", "10", "10"), "0.15");
        assert_eq!(size("0", "1000", "1000"), "0", "nothing is counted for a call that adds nothing");
        assert_eq!(size("1", "79228162514264337593543950335", "79228162514264337593543950335").len(), 28);
    }
}
