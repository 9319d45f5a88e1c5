//! The sessions that servers minted. A session id that a client made up bounds nothing; only one that was seen in a server's
//! own response counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The longest session id that is remembered, in bytes.
const MAX_ID: usize = 1024;

/// Session ids by server, the least recently used forgotten first. Bounded per server, so that a hostile one that mints
/// without end pushes out nobody else's.
#[derive(Debug)]
pub struct Sessions {
    capacity: usize,
    servers: HashMap<Box<str>, Table>,
}

/// One server's sessions.
#[derive(Debug, Default)]
struct Table {
    stamps: HashMap<Arc<str>, u64>,
    order: BTreeMap<u64, Arc<str>>,
    clock: u64,
}

impl Sessions {
    /// A table of at most `capacity` sessions per server. Servers are those of the configuration: a bounded number.
    pub fn new(capacity: usize) -> Sessions {
        Sessions { capacity, servers: HashMap::new() }
    }

    /// Notes that `server` minted `id`: it stood in the `Mcp-Session-Id` of a response of that server. An id that the
    /// specification does not allow (visible ASCII only) or that is longer than 1 KiB is not remembered.
    pub fn learn(&mut self, server: &str, id: &str) {
        if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(|b| b.is_ascii_graphic()) || self.capacity == 0 {
            return;
        }
        if !self.servers.contains_key(server) {
            self.servers.insert(server.into(), Table::default());
        }
        let Some(table) = self.servers.get_mut(server) else { return };
        if table.touch(id) {
            return;
        }
        if table.stamps.len() == self.capacity
            && let Some((_, oldest)) = table.order.pop_first()
        {
            table.stamps.remove(&oldest);
        }
        let id: Arc<str> = id.into();
        table.clock += 1;
        table.stamps.insert(Arc::clone(&id), table.clock);
        table.order.insert(table.clock, id);
    }

    /// Whether `server` minted `id` and it has not ended; counts as a use.
    pub fn knows(&mut self, server: &str, id: &str) -> bool {
        self.servers.get_mut(server).is_some_and(|table| table.touch(id))
    }

    /// Forgets a session: it was deleted, or the server answered 404 for it.
    pub fn end(&mut self, server: &str, id: &str) {
        if let Some(table) = self.servers.get_mut(server)
            && let Some(stamp) = table.stamps.remove(id)
        {
            table.order.remove(&stamp);
        }
    }

    /// How many sessions are remembered.
    pub fn len(&self) -> usize {
        self.servers.values().map(|table| table.stamps.len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Table {
    /// Makes `id` the most recently used, if it is here.
    fn touch(&mut self, id: &str) -> bool {
        let Some(stamp) = self.stamps.get_mut(id) else { return false };
        self.clock += 1;
        if let Some(name) = self.order.remove(stamp) {
            self.order.insert(self.clock, name);
        }
        *stamp = self.clock;
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn remembers_per_server_and_forgets_the_least_used() {
        let mut sessions = Sessions::new(2);
        sessions.learn("a", "1");
        sessions.learn("a", "2");
        sessions.learn("b", "1");
        assert!(sessions.knows("a", "1") && !sessions.knows("b", "2") && !sessions.knows("c", "1"));
        sessions.learn("a", "3");
        assert!(sessions.knows("a", "1") && !sessions.knows("a", "2") && sessions.knows("b", "1"));
        sessions.learn("a", "3");
        assert_eq!(sessions.len(), 3);
        sessions.end("a", "1");
        sessions.end("a", "nothing");
        assert!(!sessions.knows("a", "1"));
        assert_eq!(sessions.len(), 2);
    }

    #[test]
    fn learns_no_impossible_id() {
        let mut sessions = Sessions::new(2);
        for id in ["", "a b", "é", "a\n", &"x".repeat(1025)] {
            sessions.learn("a", id);
        }
        assert!(sessions.is_empty());
    }
}
