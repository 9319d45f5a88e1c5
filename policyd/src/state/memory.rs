//! The counters of limits in this process's memory, which is the authority on them while it lives.
//!
//! They are keyed by names and live outside of any compiled policy, so that a reload loses none. The map is sharded and
//! its locks are held for a lookup only. Each counter has a lock of its own; a call that needs several takes them in the
//! order of their numbers, so that no two calls wait for each other. Where there is a [`Store`], a call is admitted only as
//! far as the store counts it already; if it does not, the call takes the store's lock before those of its counters,
//! and has it told. Locks are taken in this order: the store, a shard, counters.
//!
//! Counters whose windows have passed are dropped as new ones come; beyond a cap no new one is made, and the calls that
//! need it are denied with `state-unavailable`.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use smallvec::SmallVec;

use super::counter::{Counter, Key};
use super::store::Store;
use crate::policy::{CounterKey, Refused, ScopeKey, Time};

/// A power of two, far above the number of cores.
const SHARDS: usize = 64;

/// A shard looks for counters to drop when it has doubled since it last did, but not below this size.
const SWEEP_FROM: usize = 64;

/// How long after a sweep of all shards that was needed because the memory was full the next one may come.
const SWEEP_PAUSE: u64 = 1_000_000_000;

/// How much the memory may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Counters in all, and three quarters of it for those of scope `session`. A quiet one takes about 500 bytes, one that is used to the full some 64 KiB.
    pub counters: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { counters: 65_536 }
    }
}

/// The counters. Shared by all connections: clone the `Arc` around it.
#[derive(Debug)]
pub struct Memory {
    shards: Box<[Mutex<Shard>]>,
    /// Counters of sessions that the store knew, and no call has named yet: the store has no session's id.
    unclaimed: Mutex<HashMap<Key, Arc<Counter>>>,
    pub(super) store: Option<Arc<Store>>,
    bounds: Bounds,
    secret: RandomState,
    count: AtomicUsize,
    next_number: AtomicU64,
    /// When a full memory may be swept again, in nanoseconds.
    sweep_after: AtomicU64,
}

/// Counters by the hash of their keys.
#[derive(Debug, Default)]
struct Shard {
    counters: HashMap<u64, SmallVec<[Entry; 1]>, BuildHasherDefault<Hashed>>,
    count: usize,
    sweep_at: usize,
}

/// The hash of a scope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(u64);

#[derive(Debug)]
struct Entry {
    /// The session's id, which the counter's own key does not hold.
    session: Box<str>,
    counter: Arc<Counter>,
}

impl Memory {
    /// Holds nothing, and what it will hold ends with the process. Sessions are shown and selected by the very ids that
    /// calls name: without a store there is no key to hash them with.
    pub fn new(bounds: Bounds) -> Memory {
        Memory {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            unclaimed: Mutex::default(),
            store: None,
            bounds,
            secret: RandomState::new(),
            count: AtomicUsize::new(0),
            next_number: AtomicU64::new(1),
            sweep_after: AtomicU64::new(0),
        }
    }

    /// Holds nothing until a [`Keeper`](super::Keeper) has loaded what `store` knows; no call that needs a counter is
    /// admitted before.
    pub fn stored(bounds: Bounds, store: Store) -> Memory {
        Memory { store: Some(Arc::new(store)), ..Memory::new(bounds) }
    }

    /// How many counters there are.
    pub fn counters(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Drops the counters whose windows have passed. The memory does this itself as it grows; a caller may do it on a
    /// timer to have the room back earlier.
    pub fn sweep(&self, now: Time) {
        for shard in &self.shards {
            if let Ok(mut shard) = shard.lock() {
                self.sweep_shard(&mut shard, now);
            }
        }
        let mut unclaimed = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = unclaimed.len();
        unclaimed.retain(|_, counter| !self.drops(counter, now));
        self.count.fetch_sub(before - unclaimed.len(), Ordering::Relaxed);
    }

    /// Where counters of `scope` stand: what agents and servers chose is in it, and is hashed with the secret.
    pub(super) fn place(&self, scope: &ScopeKey<'_>) -> Place {
        Place(self.secret.hash_one(scope))
    }

    /// The counter that calls name by `key`, whose scope stands at `place`; made, if there is none.
    pub(super) fn counter(&self, place: Place, key: &CounterKey<'_>, now: Time) -> Result<Arc<Counter>, Refused> {
        let hash = place.of(key);
        // The map takes the hash's other end.
        let shard = self.shards.get((hash >> 32) as usize % SHARDS).ok_or(Refused::Unavailable)?;
        if let Some(counter) = shard.lock().map_err(|_| Refused::Unavailable)?.find(hash, key) {
            return Ok(counter);
        }
        // How many sessions there are is the agents' and servers' choice; the rest is the configuration's, and must not
        // suffer from it.
        let (session, bound) = match key.scope {
            ScopeKey::Session { session, .. } => (session, self.bounds.counters - self.bounds.counters / 4),
            _ => ("", self.bounds.counters),
        };
        // Until then nobody knows what it holds.
        if self.store.as_ref().is_some_and(|store| !store.is_loaded()) {
            return Err(Refused::Unavailable);
        }
        self.make_room(bound, now);
        let mut shard = shard.lock().map_err(|_| Refused::Unavailable)?;
        // Another thread may have been faster.
        if let Some(counter) = shard.find(hash, key) {
            return Ok(counter);
        }
        if shard.count >= shard.sweep_at.max(SWEEP_FROM) {
            self.sweep_shard(&mut shard, now);
        }
        let shown = self.store.as_ref().filter(|_| !session.is_empty()).map(|store| store.hash_session(session));
        let owned = Key::new(key, shown.as_deref().unwrap_or(session));
        let counter = match self.claim(&owned) {
            Some(counter) => counter,
            None => {
                let taken = self
                    .count
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < bound).then_some(count + 1));
                taken.map_err(|_| Refused::Unavailable)?;
                Arc::new(Counter::new(self.next_number.fetch_add(1, Ordering::Relaxed), owned))
            }
        };
        shard.add(hash, Entry { session: session.into(), counter: Arc::clone(&counter) });
        Ok(counter)
    }

    /// All counters, those included that no call has named yet.
    pub(super) fn all(&self) -> Vec<Arc<Counter>> {
        // A counter may be claimed meanwhile: looked for there first, it is found at least once.
        let mut all: Vec<Arc<Counter>> =
            self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(shard.counters.values().flatten().map(|entry| Arc::clone(&entry.counter)));
        }
        all.sort_unstable_by_key(|counter| counter.number);
        all.dedup_by_key(|counter| counter.number);
        all
    }

    /// Takes in what a store knew, before any counter is made.
    pub(super) fn adopt(&self, counters: Vec<Counter>) {
        for counter in counters {
            self.next_number.fetch_max(counter.number + 1, Ordering::Relaxed);
            self.count.fetch_add(1, Ordering::Relaxed);
            let counter = Arc::new(counter);
            if let (_, _, _, Some(_)) = counter.key.parts() {
                let mut unclaimed = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner);
                unclaimed.insert(counter.key.clone(), counter);
            } else {
                let key = counter.key.named("");
                let hash = self.place(&key.scope).of(&key);
                let Some(shard) = self.shards.get((hash >> 32) as usize % SHARDS) else { continue };
                let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                shard.add(hash, Entry { session: "".into(), counter });
            }
        }
    }

    fn claim(&self, key: &Key) -> Option<Arc<Counter>> {
        let mut unclaimed = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner);
        if unclaimed.is_empty() { None } else { unclaimed.remove(key) }
    }

    /// Sweeps a full memory, but not over and over while that gains nothing.
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
        let before = shard.count;
        shard.counters.retain(|_, entries| {
            entries.retain(|entry| !self.drops(&entry.counter, now));
            !entries.is_empty()
        });
        shard.count = shard.counters.values().map(SmallVec::len).sum();
        self.count.fetch_sub(before - shard.count, Ordering::Relaxed);
        shard.sweep_at = shard.count * 2;
    }

    /// Whether a counter is to be dropped; if so, the store is told. Handles are cloned only under the lock of the map
    /// that it is in, which the caller holds: if there is no other, none can come. One that is held belongs to a call that is
    /// about to admit, or may give back, or to the store.
    fn drops(&self, counter: &Arc<Counter>, now: Time) -> bool {
        if Arc::strong_count(counter) > 1 {
            return false;
        }
        let Ok(tally) = counter.tally.lock() else { return false };
        let drops = tally.history.expires() <= now;
        if let Some(store) = self.store.as_ref().filter(|_| drops && tally.lease.generation > 0) {
            store.dropped(counter.number);
        }
        drops
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new(Bounds::default())
    }
}

impl Place {
    /// The hash of a key in this scope, by FNV-1a from a start that nobody knows: names are the configuration's choice.
    fn of(self, key: &CounterKey<'_>) -> u64 {
        const PRIME: u64 = 0x100_0000_01b3;
        let Place(scope) = self;
        let bytes = key.name.bytes().chain([u8::from(key.own)]);
        bytes.fold(scope, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
    }
}

impl Shard {
    fn find(&self, hash: u64, key: &CounterKey<'_>) -> Option<Arc<Counter>> {
        let entries = self.counters.get(&hash)?;
        entries.iter().find(|entry| entry.is(key)).map(|entry| Arc::clone(&entry.counter))
    }

    fn add(&mut self, hash: u64, entry: Entry) {
        self.counters.entry(hash).or_default().push(entry);
        self.count += 1;
    }
}

impl Entry {
    fn is(&self, key: &CounterKey<'_>) -> bool {
        self.counter.key.named(&self.session) == *key
    }
}

/// What is a hash already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        // The map's keys are `u64`: only those come.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
