//! The counters of limits in this process's memory.
//!
//! They are keyed by names and live outside of any compiled policy, so that a reload loses none. The map is sharded and
//! its locks are held for a lookup only. Each counter has a lock of its own; a call that needs several takes them in the
//! order of their numbers, so that no two calls wait for each other, and does nothing slow while it holds them.
//! Counters whose windows have passed are dropped as new ones come; beyond a cap no new one is made, and the calls that
//! need it are denied with `state-unavailable`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rust_decimal::Decimal;
use smallvec::SmallVec;

use crate::policy::{Counters, Held, History, KeyBytes, Refused, Reservation, ScopeKey, Ticket, Time, Want};

/// A power of two, far above the number of cores.
const SHARDS: usize = 64;

/// A shard looks for counters to drop when it has doubled since it last did, but not below this size.
const SWEEP_FROM: usize = 64;

/// How long after a sweep of all shards that was needed because the store was full the next one may come.
const SWEEP_PAUSE: u64 = 1_000_000_000;

/// How much the store may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Counters in all, and three quarters of it for those of scope `session`. A quiet one takes about 300 bytes, one that is used to the full some 64 KiB.
    pub counters: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { counters: 65_536 }
    }
}

/// The store. Shared by all connections: clone the `Arc` around it.
#[derive(Debug)]
pub struct Memory {
    shards: Box<[Mutex<Shard>]>,
    bounds: Bounds,
    count: AtomicUsize,
    next_number: AtomicU64,
    /// When a full store may be swept again, in nanoseconds.
    sweep_after: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    counters: HashMap<Box<[u8]>, Arc<Counter>>,
    sweep_at: usize,
}

#[derive(Debug)]
struct Counter {
    /// The order in which locks are taken.
    number: u64,
    history: Mutex<History>,
}

impl Memory {
    /// An empty store.
    pub fn new(bounds: Bounds) -> Memory {
        Memory {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            bounds,
            count: AtomicUsize::new(0),
            next_number: AtomicU64::new(0),
            sweep_after: AtomicU64::new(0),
        }
    }

    /// How many counters there are.
    pub fn counters(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Drops the counters whose windows have passed. The store does this itself as it grows; a caller may do it on a
    /// timer to have the memory back earlier.
    pub fn sweep(&self, now: Time) {
        for shard in &self.shards {
            if let Ok(mut shard) = shard.lock() {
                self.sweep_shard(&mut shard, now);
            }
        }
    }

    fn counter(&self, key: KeyBytes, session: bool, now: Time) -> Result<Arc<Counter>, Refused> {
        let shard = self.shard(&key)?;
        // How many sessions there are is the agents' and servers' choice; the rest is the configuration's, and must not
        // suffer from it.
        let bound = if session { self.bounds.counters - self.bounds.counters / 4 } else { self.bounds.counters };
        {
            let shard = shard.lock().map_err(|_| Refused::Unavailable)?;
            if let Some(counter) = shard.counters.get(&*key) {
                return Ok(counter.clone());
            }
        }
        self.make_room(bound, now);
        let mut shard = shard.lock().map_err(|_| Refused::Unavailable)?;
        // Another thread may have been faster.
        if let Some(counter) = shard.counters.get(&*key) {
            return Ok(counter.clone());
        }
        if shard.counters.len() >= shard.sweep_at.max(SWEEP_FROM) {
            self.sweep_shard(&mut shard, now);
        }
        let taken =
            self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < bound).then_some(count + 1));
        taken.map_err(|_| Refused::Unavailable)?;
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let counter = Arc::new(Counter { number, history: Mutex::default() });
        shard.counters.insert(key.into_boxed_slice(), counter.clone());
        Ok(counter)
    }

    /// The shard of a key. The last bytes vary most: scope keys end with the session. Which shard it is decides about
    /// contention only; the maps themselves hash with a secret.
    fn shard(&self, key: &[u8]) -> Result<&Mutex<Shard>, Refused> {
        let mixed = key
            .iter()
            .rev()
            .take(16)
            .fold(key.len(), |mixed, &byte| mixed.wrapping_mul(31).wrapping_add(usize::from(byte)));
        self.shards.get(mixed % SHARDS).ok_or(Refused::Unavailable)
    }

    /// Sweeps a full store, but not over and over while that gains nothing.
    fn make_room(&self, bound: usize, now: Time) {
        if self.counters() < bound {
            return;
        }
        let due = self.sweep_after.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |after| {
            (now.0 >= after).then_some(now.0.saturating_add(SWEEP_PAUSE))
        });
        if due.is_ok() {
            self.sweep(now);
        }
    }

    fn sweep_shard(&self, shard: &mut Shard, now: Time) {
        let before = shard.counters.len();
        shard.counters.retain(|_, counter| {
            // Handles are cloned only under this shard's lock: if there is no other, none can come. One that is held
            // belongs to a call that is about to admit, or may give back.
            let idle =
                Arc::strong_count(counter) == 1 && counter.history.lock().is_ok_and(|history| history.expires() <= now);
            !idle
        });
        self.count.fetch_sub(before - shard.counters.len(), Ordering::Relaxed);
        shard.sweep_at = shard.counters.len() * 2;
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new(Bounds::default())
    }
}

impl Counters for Memory {
    fn reserve(&self, wants: &mut [Want<'_>], now: Time) -> Result<Reservation, Refused> {
        if wants.is_empty() {
            return Ok(Reservation::default());
        }
        let mut handles: SmallVec<[Arc<Counter>; 4]> = SmallVec::new();
        for (index, want) in wants.iter().enumerate() {
            // Limits of one counter with several windows are common, and comparing is cheaper than looking up.
            let same = wants.iter().take(index).position(|other| other.counter == want.counter);
            let handle = match same.and_then(|same| handles.get(same)) {
                Some(handle) => handle.clone(),
                None => {
                    let session = matches!(want.counter.scope, ScopeKey::Session { .. });
                    self.counter(want.counter.to_bytes(), session, now)?
                }
            };
            handles.push(handle);
        }
        let mut distinct: SmallVec<[&Arc<Counter>; 4]> = handles.iter().collect();
        distinct.sort_unstable_by_key(|counter| counter.number);
        distinct.dedup_by_key(|counter| counter.number);
        let mut locked: SmallVec<[Locked<'_>; 4]> = SmallVec::new();
        for counter in distinct {
            let history = counter.history.lock().map_err(|_| Refused::Unavailable)?;
            locked.push(Locked { counter, history, amount: Decimal::ZERO });
        }

        let mut refused: Option<(usize, Option<Duration>)> = None;
        for (index, (want, handle)) in wants.iter_mut().zip(&handles).enumerate() {
            let Some(locked) = locked.iter_mut().find(|locked| locked.counter.number == handle.number) else {
                return Err(Refused::Unavailable);
            };
            locked.amount = locked.amount.max(want.amount);
            match locked.history.fits(want.window, want.max, want.amount, now) {
                Ok(used) => want.used = used,
                Err(exhausted) => {
                    want.used = exhausted.used;
                    refused = Some(match refused {
                        // All must have room, and one that never will settles it.
                        Some((first, wait)) => (first, wait.zip(exhausted.retry_after).map(|(a, b)| a.max(b))),
                        None => (index, exhausted.retry_after),
                    });
                }
            }
        }
        if let Some((index, retry_after)) = refused {
            return Err(Refused::Exhausted(index, retry_after));
        }
        let mut held = Reserved(SmallVec::new());
        for mut locked in locked {
            let ticket = locked.history.admit(locked.amount, now);
            held.0.push((locked.counter.clone(), ticket));
        }
        for want in wants {
            // It fitted below `max`, so that the sum is exact.
            want.used += want.amount;
        }
        Ok(Reservation::of(Box::new(held)))
    }
}

/// A counter while a call is judged.
struct Locked<'a> {
    counter: &'a Arc<Counter>,
    history: MutexGuard<'a, History>,
    /// What the call adds.
    amount: Decimal,
}

/// What a call holds. The handles keep its counters from being dropped.
struct Reserved(SmallVec<[(Arc<Counter>, Ticket); 2]>);

impl Held for Reserved {
    fn give_back(self: Box<Self>) {
        for (counter, ticket) in self.0 {
            // A lock that another thread's panic left behind stays refused: nothing to give back to.
            if let Ok(mut history) = counter.history.lock() {
                history.give_back(ticket);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
