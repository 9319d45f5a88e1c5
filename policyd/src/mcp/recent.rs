//! What was noted of late, the least recently used forgotten first: bounded memory of what peers say without end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A map of at most so many entries.
#[derive(Debug)]
pub(super) struct Recent<V> {
    capacity: usize,
    entries: HashMap<Arc<str>, (u64, V)>,
    order: BTreeMap<u64, Arc<str>>,
    clock: u64,
}

impl<V> Recent<V> {
    /// An empty one.
    pub fn new(capacity: usize) -> Recent<V> {
        Recent { capacity, entries: HashMap::new(), order: BTreeMap::new(), clock: 0 }
    }

    /// Notes `value` as the most recently used; forgets the least recently used where there is no more room.
    pub fn insert(&mut self, key: &str, value: V) {
        if self.capacity == 0 {
            return;
        }
        self.remove(key);
        if self.entries.len() == self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        let key: Arc<str> = key.into();
        self.clock += 1;
        self.entries.insert(Arc::clone(&key), (self.clock, value));
        self.order.insert(self.clock, key);
    }

    /// What was noted under `key`; counts as a use.
    pub fn get(&mut self, key: &str) -> Option<&V> {
        let (stamp, value) = self.entries.get_mut(key)?;
        self.clock += 1;
        if let Some(name) = self.order.remove(stamp) {
            self.order.insert(self.clock, name);
        }
        *stamp = self.clock;
        Some(value)
    }

    /// Forgets `key`, and gives what was noted.
    pub fn remove(&mut self, key: &str) -> Option<V> {
        let (stamp, value) = self.entries.remove(key)?;
        self.order.remove(&stamp);
        Some(value)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_least_recently_used() {
        let seen = |recent: &mut Recent<i32>, keys: [&str; 3]| keys.map(|key| recent.get(key).copied());
        let mut recent = Recent::new(2);
        recent.insert("a", 1);
        recent.insert("b", 2);
        assert_eq!(recent.get("a"), Some(&1));
        recent.insert("c", 3);
        assert_eq!(seen(&mut recent, ["a", "b", "c"]), [Some(1), None, Some(3)]);
        recent.insert("a", 4);
        assert_eq!((recent.len(), recent.remove("a"), recent.remove("a")), (2, Some(4), None));
        recent.insert("d", 5);
        assert_eq!((recent.len(), seen(&mut recent, ["a", "c", "d"])), (2, [None, Some(3), Some(5)]));
        let mut nothing = Recent::new(0);
        nothing.insert("a", 1);
        assert_eq!(nothing.len(), 0);
    }
}
