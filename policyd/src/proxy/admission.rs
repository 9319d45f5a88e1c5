//! How many connections may be open: in all, and of one agent. Agents are counted by cgroup: a process that forks gets no more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    agents: Mutex<HashMap<u64, usize>>,
}

/// A connection's place; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    admission: Admission,
    agent: u64,
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

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.inner.total.load(Ordering::Relaxed)
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
