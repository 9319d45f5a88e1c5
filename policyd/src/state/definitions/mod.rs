//! What servers declare of their tools: the definitions that they list, and which of them were accepted.
//!
//! The first list of a server is taken as it is. From then on a definition that differs from the accepted one, and a tool that
//! was not in that list, wait until an operator has accepted them. What is not listed any more is kept: it may come back.

mod accept;
mod known;
mod plan;
mod records;
#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

pub use self::accept::{Acceptance, Accepted, Shown, Text, Tools, Unacceptable};
use self::known::NAME;
pub(super) use self::known::{Definition, Hash, Head, Known, Server, Tool};
use self::plan::Plan;
use super::memory::Memory;
use super::store::Store;
use crate::mcp::json::{Parser, Value};
use crate::policy::{Schema, Schemas, Standing};

/// What servers declare of their tools. Clones are the same.
#[derive(Clone, Debug)]
pub struct Definitions {
    known: Arc<Known>,
    store: Option<Arc<Store>>,
}

/// A page of a server's list.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The server's name.
    pub server: &'a str,
    /// The tools on it, in their order, each by its name and with its whole definition.
    pub tools: &'a [(String, Value<'a>)],
    /// Whether no other page follows.
    pub is_last: bool,
    /// Milliseconds since 1970.
    pub now: u64,
}

/// A definition that is another one than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The tool.
    pub tool: String,
    /// In which way.
    pub kind: ChangeKind,
    /// The SHA-256 of its canonical form before, in hexadecimal digits.
    pub old: Option<String>,
    /// And now.
    pub new: String,
    /// The keys of the definition that differ, where both texts are known.
    pub fields: Option<Vec<String>>,
    /// Milliseconds since 1970 when the tool was first listed.
    pub first_seen: u64,
    /// `Some`: it is to be recorded, and so many records of the server were left out before it.
    pub record: Option<u64>,
}

/// In which way a definition is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is part of the server's first list.
    First,
    /// The tool was not in the server's first list.
    New,
    /// It was listed with another definition before.
    Changed,
    /// The server has listed as many tools as are kept: this one is not.
    NotKept,
}

impl ChangeKind {
    /// The word for it in records and metrics.
    pub fn label(self) -> &'static str {
        match self {
            ChangeKind::First => "first",
            ChangeKind::New => "new",
            ChangeKind::Changed => "changed",
            ChangeKind::NotKept => "not-kept",
        }
    }
}

/// Kept in memory only.
impl Default for Definitions {
    fn default() -> Definitions {
        let known = Arc::<Known>::default();
        known.set_ready();
        Definitions { known, store: None }
    }
}

impl Definitions {
    /// Those that are kept where `memory` keeps its counters: in its store, if it has one.
    pub fn beside(memory: &Memory) -> Definitions {
        match &memory.store {
            Some(store) => Definitions { known: Arc::clone(&store.tools), store: Some(Arc::clone(store)) },
            None => Definitions::default(),
        }
    }

    /// Notes what a server lists. A name that stands on the page more than once, with different definitions, counts as a tool
    /// with all of them: clients differ in which one they take.
    ///
    /// `record` is given what is another one than before, if anything is, before that counts.
    ///
    /// # Errors
    ///
    /// What `record` says; then nothing was noted, and the same comes up with the next list. As long as the store could not be
    /// read nothing is noted either.
    pub fn note<E>(&self, page: &Page<'_>, record: impl FnOnce(&[Change]) -> Result<(), E>) -> Result<(), E> {
        if !self.known.is_ready() {
            return Ok(());
        }
        let tools = plan::by_name(page.tools);
        // As a rule, nothing is new.
        if self.known.read().servers.get(page.server).is_some_and(|server| plan::is_known(server, page, &tools)) {
            return Ok(());
        }
        let mut state = self.known.write();
        let plan = Plan::of(state.servers.get(page.server), page, &tools);
        if !plan.changes.is_empty() {
            record(&plan.changes)?;
        }
        plan.carry_out(&mut state, page.server);
        drop(state);
        if let Some(store) = &self.store {
            // Where this fails, the store is written anew as soon as it works: all that is here, too.
            let _ = store.save_tools();
        }
        Ok(())
    }
}

impl Schemas for Definitions {
    fn declared(&self, server: &str, tool: &str) -> Option<Arc<Schema>> {
        let state = self.known.read();
        let tool = state.servers.get(server)?.tools.get(tool)?;
        Some(Arc::clone(tool.schema.get_or_init(|| Arc::new(schema(&tool.listed)))))
    }

    fn standing(&self, server: &str, tool: &str) -> Standing {
        if !self.known.is_ready() {
            return Standing::Unclear;
        }
        let state = self.known.read();
        let Some(server) = state.servers.get(server) else { return Standing::Unlisted };
        if let Some(tool) = server.tools.get(tool) {
            return tool.standing();
        }
        // A server may take another spelling of a name for the tool itself. No name that is kept has one that is so long.
        if tool.len() > LONGEST_SPELLING {
            return Standing::Unclear;
        }
        match server.waiting_as(tool) {
            Some(tool) => tool.standing(),
            None if server.head.full => Standing::Unclear,
            None => Standing::Unlisted,
        }
    }
}

/// Bytes: folding makes no name shorter than a quarter of it.
const LONGEST_SPELLING: usize = 4 * NAME;

impl Tool {
    fn standing(&self) -> Standing {
        match (&self.pending, &self.accepted) {
            (None, _) => Standing::Accepted,
            (Some(_), None) => Standing::New,
            (Some(_), Some(_)) => Standing::Changed,
        }
    }
}

/// The schema of the arguments. Of a name that is listed with several definitions there is none that counts.
fn schema(definition: &Definition) -> Schema {
    let Some(text) = &definition.text else { return Schema::too_long() };
    let mut parser = Parser::default();
    let declared = parser.parse(text.as_bytes()).ok().and_then(|tool| tool.get("inputSchema"));
    // Without a schema there is nothing that arguments could agree with.
    Schema::new(declared.map_or("null", |schema| schema.raw()))
}

/// The SHA-256 of texts one after the other.
fn sha256<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Hash {
    let mut context = Context::new(&SHA256);
    texts.into_iter().for_each(|text| context.update(text));
    let mut hash = Hash::default();
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// A hash as people and records see it.
pub(super) fn hexadecimal(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
