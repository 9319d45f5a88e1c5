//! What servers declare of their tools, in the store.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use rusqlite::{Row, params};

use super::error::Error;
use super::rows::{Writing, senseless};
use super::{Book, Store};
use crate::policy::Refused;
use crate::state::definitions::{Definition, Hash, Head, Server, Tool, hexadecimal};

/// What a store of format 2 has more than one of format 1.
pub(super) const SCHEMA: &str = "
    CREATE TABLE tool_server (
        server TEXT PRIMARY KEY,
        since INTEGER NOT NULL,      -- when it first listed anything, in milliseconds since 1970
        listed INTEGER NOT NULL,     -- 1: its first list has ended
        overfull INTEGER NOT NULL    -- 1: it has listed more tools than are kept
    ) STRICT, WITHOUT ROWID;
    -- Definitions: the SHA-256 of their canonical form and, if it is kept, that text. A text that stands in a column before is
    -- left out.
    CREATE TABLE tool (
        server TEXT NOT NULL,
        name TEXT NOT NULL,
        first_seen INTEGER NOT NULL, -- in milliseconds since 1970
        changed INTEGER NOT NULL,
        accepted TEXT,               -- NULL: nothing ever was
        accepted_text TEXT,
        listed TEXT NOT NULL,        -- what was listed last
        listed_text TEXT,
        pending TEXT,                -- what was listed last of what is not accepted
        pending_text TEXT,
        PRIMARY KEY (server, name)
    ) STRICT;
";

/// Tools that are written at a time: a server that changes all of its tools all the time must not have calls wait.
pub(super) const AT_ONCE: usize = 1024;

type Servers = HashMap<Box<str>, Server>;

impl Store {
    /// Has what is new of the servers' tools written now: no more of it than a worker can wait for, the keeper writes the rest.
    pub(in crate::state) fn save_tools(&self) -> Result<(), Refused> {
        self.open().ok_or(Refused::Unavailable)?.save_tools(AT_ONCE)
    }
}

impl Book<'_> {
    /// Writes what the store was not told yet of the servers' tools, no more than `most` of it.
    pub fn save_tools(&mut self, most: usize) -> Result<(), Refused> {
        let store = self.store;
        self.write(|writing| writing.unsaved_tools(store, most)).map_err(|()| Refused::Unavailable)
    }
}

impl Writing<'_> {
    /// Writes what `store` was not told yet. If that fails, everything is written anew.
    pub(super) fn unsaved_tools(&self, store: &Store, most: usize) -> Result<(), Error> {
        let (servers, tools) = store.tools.take_unsaved(most);
        servers.iter().try_for_each(|(name, head)| self.tool_server(name, head))?;
        tools.iter().try_for_each(|(server, name, tool)| self.tool(server, name, tool))
    }

    /// Writes all of it, in place of whatever stands there.
    pub(super) fn all_tools(&self, store: &Store) -> Result<(), Error> {
        // Row by row: of a table that is empty nothing is written, and the disk may be full.
        self.run("DELETE FROM tool WHERE true", [])?;
        self.run("DELETE FROM tool_server WHERE true", [])?;
        for (name, server) in store.tools.take_all() {
            self.tool_server(&name, &server.head)?;
            server.tools.iter().try_for_each(|(tool, of)| self.tool(&name, tool, of))?;
        }
        Ok(())
    }

    fn tool_server(&self, name: &str, head: &Head) -> Result<(), Error> {
        self.run(
            "INSERT INTO tool_server (server, since, listed, overfull) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (server) DO UPDATE SET listed = excluded.listed, overfull = excluded.overfull",
            params![name, head.since.cast_signed(), head.listed, head.full],
        )
    }

    fn tool(&self, server: &str, name: &str, tool: &Tool) -> Result<(), Error> {
        let Tool { accepted, listed, pending, .. } = tool;
        let hash = |one: &Definition| hexadecimal(&one.hash);
        let text = |one: &Definition, before: [Option<&Definition>; 2]| {
            let stands = before.into_iter().flatten().any(|other| other.hash == one.hash);
            one.text.clone().filter(|_| !stands)
        };
        let (first, second) = (accepted.as_ref(), pending.as_ref());
        self.run(
            "INSERT OR REPLACE INTO tool (server, name, first_seen, changed, accepted, accepted_text, listed, listed_text,
                 pending, pending_text)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                server,
                name,
                tool.first_seen.cast_signed(),
                tool.changed.cast_signed(),
                first.map(hash),
                first.and_then(|one| text(one, [None, None])),
                hash(listed),
                text(listed, [first, None]),
                second.map(hash),
                second.and_then(|one| text(one, [first, Some(listed)])),
            ],
        )
    }

    /// Reads all of it.
    pub(super) fn tools(&self) -> Result<Servers, Error> {
        let mut servers = Servers::new();
        for (name, head) in self.rows("SELECT server, since, listed, overfull FROM tool_server", |row| {
            let head = Head { since: time(row, 1)?, listed: row.get(2)?, full: row.get(3)?, ..Head::default() };
            Ok((row.get::<_, Box<str>>(0)?, head))
        })? {
            servers.insert(name, Server::of(head));
        }
        let rows = self.rows(
            "SELECT server, name, first_seen, changed, accepted, accepted_text, listed, listed_text, pending, pending_text
             FROM tool",
            |row| Ok((row.get::<_, Box<str>>(0)?, row.get::<_, Box<str>>(1)?, tool(row)?)),
        )?;
        for (server, name, tool) in rows {
            let server = servers.entry(server).or_default();
            server.head.bytes += tool.size(&name);
            server.insert(name, tool);
        }
        Ok(servers)
    }
}

fn tool(row: &Row<'_>) -> rusqlite::Result<Tool> {
    let accepted = definition(row, 4, [None, None])?;
    let listed =
        definition(row, 6, [accepted.as_ref(), None])?.ok_or_else(|| senseless("a tool that was never listed"))?;
    let pending = definition(row, 8, [accepted.as_ref(), Some(&listed)])?;
    Ok(Tool {
        accepted,
        listed,
        pending,
        first_seen: time(row, 2)?,
        changed: time(row, 3)?,
        spelling: None,
        schema: OnceLock::new(),
    })
}

fn definition(row: &Row<'_>, at: usize, before: [Option<&Definition>; 2]) -> rusqlite::Result<Option<Definition>> {
    let Some(hash) = row.get::<_, Option<String>>(at)? else { return Ok(None) };
    let hash = digits(&hash).ok_or_else(|| senseless("a hash that is none"))?;
    if let Some(same) = before.into_iter().flatten().find(|other| other.hash == hash) {
        return Ok(Some(same.clone()));
    }
    let text = row.get::<_, Option<String>>(at + 1)?.map(Arc::from);
    Ok(Some(Definition { hash, text }))
}

/// A hash from its hexadecimal digits.
fn digits(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if text.len() != 2 * hash.len() || !text.is_ascii() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(at)?).map_err(|_| senseless("a time below zero"))
}
