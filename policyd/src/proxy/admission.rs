//! How many connections may be open: in all, and of one agent. Agents are counted by cgroup: a process that forks gets no more.
//! And how much of unfinished lines may be kept over all sessions of commands, both sides of which are an agent's own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of unfinished lines, over all sessions.
const MOST_HELD: usize = 256 << 20;

/// Why a connection was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// `limits.connections_per_agent` is reached.
    #[error("the agent has too many connections open")]
    Agent,
    /// `limits.connections` is reached.
    #[error("too many connections are open")]
    Daemon,
}

/// Counts the open connections of a daemon. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    total: AtomicUsize,
    held: AtomicUsize,
    agents: Mutex<HashMap<u64, usize>>,
}

/// A connection's place; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    admission: Admission,
    agent: u64,
}

/// What one direction of a session keeps; given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    admission: Admission,
    bytes: usize,
}

impl Full {
    /// The cause in metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Agent => "too-many-connections-of-agent",
            Self::Daemon => "too-many-connections",
        }
    }
}

impl Admission {
    /// Takes a place for a connection of an agent in the cgroup `agent`, unless `of_agent` or `in_all` are open already.
    pub fn enter(&self, agent: u64, of_agent: usize, in_all: usize) -> Result<Place, Full> {
        if self.inner.total.fetch_add(1, Ordering::Relaxed) >= in_all {
            self.inner.total.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Daemon);
        }
        let mut agents = self.inner.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let open = agents.entry(agent).or_default();
        if *open >= of_agent {
            self.inner.total.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Agent);
        }
        *open += 1;
        drop(agents);
        Ok(Place { admission: self.clone(), agent })
    }

    /// Counts what one direction of a session keeps.
    pub fn hold(&self) -> Held {
        Held { admission: self.clone(), bytes: 0 }
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.inner.total.load(Ordering::Relaxed)
    }
}

impl Held {
    /// Notes that so many bytes are kept now; gives whether there is room for them.
    pub fn set(&mut self, bytes: usize) -> bool {
        let held = &self.admission.inner.held;
        let before = std::mem::replace(&mut self.bytes, bytes);
        let others = held.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed).wrapping_sub(before);
        others.wrapping_add(bytes) <= MOST_HELD
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let inner = &self.admission.inner;
        inner.total.fetch_sub(1, Ordering::Relaxed);
        let mut agents = inner.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = agents.get_mut(&self.agent) {
            *open -= 1;
            if *open == 0 {
                agents.remove(&self.agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_all_sessions_keep_is_bounded_and_comes_back() {
        let admission = Admission::default();
        let (mut first, mut second) = (admission.hold(), admission.hold());
        assert!(first.set(MOST_HELD - 10) && second.set(10));
        assert!(!second.set(11));
        assert!(second.set(5) && first.set(MOST_HELD - 5));
        drop(first);
        assert!(second.set(MOST_HELD));
        drop(second);
        assert_eq!(admission.inner.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn places_are_bounded_by_agent_and_in_all_and_come_back() {
        let admission = Admission::default();
        let first = admission.enter(1, 2, 3).unwrap();
        let _second = admission.enter(1, 2, 3).unwrap();
        assert_eq!(admission.enter(1, 2, 3).unwrap_err(), Full::Agent);
        let _other = admission.enter(2, 2, 3).unwrap();
        assert_eq!(admission.enter(3, 2, 3).unwrap_err(), Full::Daemon);
        assert_eq!(admission.open(), 3);
        drop(first);
        assert!(admission.enter(1, 2, 3).is_ok());
    }
}
