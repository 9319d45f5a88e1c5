//! What servers declare of their tools.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::policy::{Schema, Schemas};

/// Tools of one server whose schemas are kept, and the bytes of their texts. A server that lists more than that goes without
/// for the rest: nobody's share is another's.
const TOOLS: usize = 1024;
const BYTES: usize = 8 << 20;

/// The definitions that servers last listed. A list comes in pages, so that each one replaces what it names and nothing else.
#[derive(Debug, Default)]
pub struct Definitions {
    servers: RwLock<HashMap<Box<str>, Tools>>,
}

/// The tools of one server.
#[derive(Debug, Default)]
struct Tools {
    schemas: HashMap<Box<str>, Arc<Schema>>,
    /// Bytes of names and texts.
    bytes: usize,
}

impl Definitions {
    /// Notes what `server` lists: each tool with the JSON text of its `inputSchema`. A schema that has not changed stays
    /// compiled.
    pub fn note<'a>(&self, server: &str, tools: impl Iterator<Item = (&'a str, &'a str)> + Clone) {
        let is_known =
            |(tool, text): (&str, &str)| self.declared(server, tool).is_some_and(|schema| schema.is_of(text));
        // As a rule, nothing is new.
        if tools.clone().all(is_known) {
            return;
        }
        let mut servers = self.servers.write().unwrap_or_else(PoisonError::into_inner);
        if !servers.contains_key(server) {
            servers.insert(server.into(), Tools::default());
        }
        let Some(known) = servers.get_mut(server) else { return };
        for (tool, text) in tools {
            known.note(tool, text);
        }
    }

    /// All of them: server, tool and schema, in no order.
    pub fn all(&self) -> Vec<(String, String, Arc<Schema>)> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        for (server, tools) in &*servers {
            for (tool, schema) in &tools.schemas {
                all.push((server.to_string(), tool.to_string(), Arc::clone(schema)));
            }
        }
        all
    }
}

impl Schemas for Definitions {
    fn declared(&self, server: &str, tool: &str) -> Option<Arc<Schema>> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        servers.get(server)?.schemas.get(tool).cloned()
    }
}

impl Tools {
    fn note(&mut self, tool: &str, text: &str) {
        let size = |schema: &Schema| tool.len() + schema.text().len();
        let old = self.schemas.get(tool);
        if old.is_some_and(|old| old.is_of(text)) {
            return;
        }
        let schema = Schema::new(text);
        let bytes = self.bytes - old.map_or(0, |old| size(old)) + size(&schema);
        if bytes > BYTES || (old.is_none() && self.schemas.len() == TOOLS) {
            // What it declared before does not count any more.
            if let Some(old) = self.schemas.remove(tool) {
                self.bytes -= size(&old);
            }
            return;
        }
        self.bytes = bytes;
        self.schemas.insert(tool.into(), Arc::new(schema));
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::mcp::json::Parser;

    fn agrees(definitions: &Definitions, tool: &str, arguments: &str) -> Option<bool> {
        let mut parser = Parser::default();
        let arguments = parser.parse(arguments.as_bytes()).unwrap();
        Some(definitions.declared("bank", tool)?.check(Some(arguments)).is_ok())
    }

    #[test]
    fn the_last_definition_counts() {
        let definitions = Definitions::default();
        assert!(definitions.declared("bank", "pay").is_none());
        definitions.note("bank", [("pay", r#"{"maxProperties":1}"#), ("get", "true")].into_iter());
        assert_eq!(agrees(&definitions, "pay", r#"{"a":1,"b":2}"#), Some(false));
        let compiled = definitions.declared("bank", "pay").unwrap();
        definitions.note("bank", [("pay", r#"{"maxProperties":1}"#)].into_iter());
        assert!(Arc::ptr_eq(&compiled, &definitions.declared("bank", "pay").unwrap()), "compiled once");
        // Another page leaves the rest alone.
        definitions.note("bank", [("pay", r#"{"maxProperties":2}"#)].into_iter());
        assert_eq!(agrees(&definitions, "pay", r#"{"a":1,"b":2}"#), Some(true));
        assert_eq!(agrees(&definitions, "get", "{}"), Some(true));
        assert!(definitions.declared("other", "pay").is_none(), "another server's tool");
        let mut all: Vec<_> = definitions.all().into_iter().map(|(server, tool, _)| (server, tool)).collect();
        all.sort();
        assert_eq!(all, [("bank".to_owned(), "get".to_owned()), ("bank".to_owned(), "pay".to_owned())]);
    }

    #[test]
    fn a_server_that_lists_without_end_goes_without() {
        let definitions = Definitions::default();
        let names: Vec<String> = (0..TOOLS + 10).map(|n| format!("tool{n}")).collect();
        definitions.note("bank", names.iter().map(|name| (name.as_str(), "true")));
        assert_eq!(definitions.all().len(), TOOLS);
        // What is known can still change.
        definitions.note("bank", [("tool0", "false")].into_iter());
        assert_eq!(agrees(&definitions, "tool0", "{}"), Some(false));
        definitions.note("other", [("pay", "true")].into_iter());
        assert!(definitions.declared("other", "pay").is_some(), "another server has room");
    }

    #[test]
    fn texts_are_bounded_in_all() {
        let definitions = Definitions::default();
        let long = format!(r#"{{"description":"{}"}}"#, "x".repeat(200 << 10));
        let names: Vec<String> = (0..100).map(|n| format!("tool{n}")).collect();
        definitions.note("bank", names.iter().map(|name| (name.as_str(), long.as_str())));
        let bytes = |all: Vec<(String, String, Arc<Schema>)>| -> usize {
            all.iter().map(|(_, tool, schema)| tool.len() + schema.text().len()).sum()
        };
        assert!(bytes(definitions.all()) <= BYTES);
        // A schema that is too long for any use is not kept, but it was declared.
        definitions.note("other", [("pay", "x".repeat(1 << 20).as_str())].into_iter());
        assert_eq!(bytes(definitions.all().into_iter().filter(|(server, ..)| server == "other").collect()), 3);
        // One that outgrows what is left is forgotten rather than kept as it was.
        definitions.note("bank", [("tool0", "true"), ("filler", long.as_str())].into_iter());
        assert!(definitions.declared("bank", "filler").is_some());
        let long = format!(r#"{{"description":"{}"}}"#, "y".repeat(255 << 10));
        definitions.note("bank", [("tool0", long.as_str())].into_iter());
        assert!(definitions.declared("bank", "tool0").is_none());
    }
}
