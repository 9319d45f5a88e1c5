//! The sessions that servers minted, and the revisions that were agreed on. A session id that a client made up bounds nothing;
//! only one that was seen in a server's own response counts.

use std::collections::HashMap;

use super::Version;
use super::recent::Recent;

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
#[derive(Debug)]
struct Table {
    minted: Recent<()>,
    /// By session, or by process where the server minted none.
    agreed: Recent<Version>,
}

impl Sessions {
    /// A table of at most `capacity` sessions per server. Servers are those of the configuration: a bounded number.
    pub fn new(capacity: usize) -> Sessions {
        Sessions { capacity, servers: HashMap::new() }
    }

    /// Notes that `server` minted `id`: it stood in the `Mcp-Session-Id` of a response of that server. An id that the
    /// specification does not allow (visible ASCII only) or that is longer than 1 KiB is not remembered.
    pub fn learn(&mut self, server: &str, id: &str) {
        if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(|b| b.is_ascii_graphic()) {
            return;
        }
        self.table(server).minted.insert(id, ());
    }

    /// Whether `server` minted `id` and it has not ended; counts as a use.
    pub fn knows(&mut self, server: &str, id: &str) -> bool {
        self.servers.get_mut(server).is_some_and(|table| table.minted.get(id).is_some())
    }

    /// Forgets a session: it was deleted, or the server answered 404 for it.
    pub fn end(&mut self, server: &str, id: &str) {
        if let Some(table) = self.servers.get_mut(server) {
            table.minted.remove(id);
            table.agreed.remove(id);
        }
    }

    /// Notes the revision that `server` named in its answer to `initialize`. `owner`: the session that it minted, or the
    /// agent's process.
    pub fn agree(&mut self, server: &str, owner: &str, version: Version) {
        self.table(server).agreed.insert(owner, version);
    }

    /// The revision that `server` agreed on with `owner`, as far as that was seen; counts as a use.
    pub fn agreed(&mut self, server: &str, owner: &str) -> Option<Version> {
        self.servers.get_mut(server)?.agreed.get(owner).copied()
    }

    /// How many sessions are remembered.
    pub fn len(&self) -> usize {
        self.servers.values().map(|table| table.minted.len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&mut self, server: &str) -> &mut Table {
        let capacity = self.capacity;
        let table = || Table { minted: Recent::new(capacity), agreed: Recent::new(capacity) };
        self.servers.entry(server.into()).or_insert_with(table)
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

    #[test]
    fn what_was_agreed_ends_with_the_session() {
        let mut sessions = Sessions::new(2);
        sessions.learn("a", "1");
        sessions.agree("a", "1", Version::V2025_03_26);
        sessions.agree("a", "process 7 1", Version::V2025_11_25);
        assert_eq!(sessions.agreed("a", "1"), Some(Version::V2025_03_26));
        assert_eq!(sessions.agreed("a", "process 7 1"), Some(Version::V2025_11_25));
        assert_eq!((sessions.agreed("a", "2"), sessions.agreed("b", "1")), (None, None));
        assert!(!sessions.knows("a", "process 7 1"));
        sessions.end("a", "1");
        assert_eq!(sessions.agreed("a", "1"), None);
    }
}
