//! What is known of the tools of each server. A lock of its own, below that of the store.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::records::Records;
use crate::mcp::folded;
use crate::policy::Schema;

/// The longest definition that is kept, in bytes of its canonical text; of a longer one only the hash is.
pub(super) const TEXT: usize = 256 << 10;

/// Bytes of texts that are kept of one server: nobody's share is another's.
pub(super) const BYTES: usize = 16 << 20;

/// Tools of one server that are kept.
pub(super) const TOOLS: usize = 10_000;

/// The longest name that is kept, in bytes. (MCP 2025-11-25 has tools' names end at 128 characters.)
pub(super) const NAME: usize = 1024;

/// SHA-256.
pub(in crate::state) type Hash = [u8; 32];

/// A definition in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::state) struct Definition {
    pub hash: Hash,
    /// `None`: it was too long, or there was no room.
    pub text: Option<Arc<str>>,
}

/// A tool.
#[derive(Clone, Debug)]
pub(in crate::state) struct Tool {
    /// What was accepted; `None`: nothing ever was.
    pub accepted: Option<Definition>,
    /// What was listed last.
    pub listed: Definition,
    /// What was listed last of what is not accepted. It stays when the accepted one comes back: who has read this one may
    /// call the tool still.
    pub pending: Option<Definition>,
    /// Milliseconds since 1970 when it was first listed, and when its definition was last another one than before.
    pub first_seen: u64,
    pub changed: u64,
    /// The hash of its text as it was last spelled: as a rule, nothing is new.
    pub spelling: Option<Hash>,
    /// Made when it is first asked for.
    pub schema: OnceLock<Arc<Schema>>,
}

/// The tools of one server.
#[derive(Clone, Debug, Default)]
pub(in crate::state) struct Server {
    pub tools: HashMap<Box<str>, Tool>,
    pub head: Head,
    /// The tools that wait, by what their names fold to. Made when it is first asked for.
    waiting: OnceLock<HashMap<String, Box<str>>>,
}

/// What is known of a server besides its tools.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::state) struct Head {
    /// Bytes of names and texts.
    pub bytes: usize,
    /// Milliseconds since 1970 when it first listed anything.
    pub since: u64,
    /// Its first list has ended: what comes now is new.
    pub listed: bool,
    /// It has listed more tools, or longer names, than are kept.
    pub full: bool,
    pub records: Records,
}

/// Servers and tools by their names, as they are to be stored.
pub(in crate::state) type Unsaved = (Vec<(Box<str>, Head)>, Vec<(Box<str>, Box<str>, Tool)>);

#[derive(Debug, Default)]
pub(in crate::state) struct State {
    pub servers: HashMap<Box<str>, Server>,
    /// What the store has not been told: servers (`None`) and their tools.
    pub unsaved: BTreeSet<(Box<str>, Option<Box<str>>)>,
}

/// What servers declare, and whether all of it is there yet.
#[derive(Debug, Default)]
pub(in crate::state) struct Known {
    ready: AtomicBool,
    state: RwLock<State>,
}

impl Known {
    /// Whether what the store holds has been read, or there is no store.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Says that from here on this is the authority.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a store knew.
    pub fn adopt(&self, servers: HashMap<Box<str>, Server>) {
        let mut state = self.write();
        state.servers = servers;
        state.unsaved.clear();
        drop(state);
        self.set_ready();
    }

    /// Whether the store has to be told something.
    pub fn is_unsaved(&self) -> bool {
        !self.read().unsaved.is_empty()
    }

    /// What the store was not told yet, no more than `most` of it; it is taken to be told of that.
    pub fn take_unsaved(&self, most: usize) -> Unsaved {
        let mut state = self.write();
        let (mut servers, mut tools) = (Vec::new(), Vec::new());
        while servers.len() + tools.len() < most
            && let Some((name, tool)) = state.unsaved.pop_first()
        {
            let Some(server) = state.servers.get(&name) else { continue };
            match tool {
                None => servers.push((name, server.head)),
                Some(tool) => {
                    if let Some(of) = server.tools.get(&tool) {
                        tools.push((name, tool, of.clone()));
                    }
                }
            }
        }
        (servers, tools)
    }

    /// All that is known; the store is taken to be told of it.
    pub fn take_all(&self) -> HashMap<Box<str>, Server> {
        let mut state = self.write();
        state.unsaved.clear();
        state.servers.clone()
    }
}

impl Tool {
    /// What its name and texts count for.
    pub fn size(&self, name: &str) -> usize {
        let mut texts: Vec<&Arc<str>> = Vec::new();
        for definition in [self.accepted.as_ref(), Some(&self.listed), self.pending.as_ref()].into_iter().flatten() {
            if let Some(text) = &definition.text
                && !texts.iter().any(|other| Arc::ptr_eq(other, text))
            {
                texts.push(text);
            }
        }
        name.len() + texts.iter().map(|text| text.len()).sum::<usize>()
    }
}

impl Server {
    /// A server without tools.
    pub fn of(head: Head) -> Server {
        Server { head, ..Server::default() }
    }

    /// Puts a tool in the place of what was known of it.
    pub fn insert(&mut self, name: Box<str>, tool: Tool) {
        self.waiting = OnceLock::new();
        self.tools.insert(name, tool);
    }

    /// A tool that waits, of whose name some readers take `name` for another spelling.
    pub fn waiting_as(&self, name: &str) -> Option<&Tool> {
        let waiting = self.waiting.get_or_init(|| {
            let waiting = self.tools.iter().filter(|(_, tool)| tool.pending.is_some());
            waiting.map(|(name, _)| (folded(name), name.clone())).collect()
        });
        if waiting.is_empty() { None } else { self.tools.get(waiting.get(&folded(name))?) }
    }
}

impl Head {
    /// The definition of this canonical text, kept if there is room.
    pub fn keep(&self, hash: Hash, text: &str) -> Definition {
        let fits = text.len() <= TEXT && self.bytes + text.len() <= BYTES;
        Definition { hash, text: fits.then(|| Arc::from(text)) }
    }
}

impl State {
    /// Puts a tool in the place of what was known of it, of which the store has to be told.
    pub fn put(&mut self, server: &str, name: &str, tool: Tool) {
        let Some(of) = self.servers.get_mut(server) else { return };
        let before = of.tools.get(name).map_or(0, |before| before.size(name));
        of.head.bytes = (of.head.bytes + tool.size(name)).saturating_sub(before);
        of.insert(name.into(), tool);
        self.unsaved.insert((server.into(), Some(name.into())));
    }
}
