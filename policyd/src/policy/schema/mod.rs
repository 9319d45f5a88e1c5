//! `"arguments": "declared"`: the schemas that servers declare for their tools' arguments.
//!
//! A server may be hostile, and a schema is a program: `$ref`s that double at each level, patterns that backtrack, numbers that a
//! float rounds. So schemas are checked here over the arguments as they were read: every step is counted, nothing is copied,
//! numbers are compared by their decimal value, patterns take linear time.
//!
//! JSON Schema drafts 7 (and 6, 2019-09, as far as they agree with it) and 2020-12, which is what a schema without `$schema` is in
//! (MCP 2025-11-25, "JSON Schema usage"). Draft 7's `dependencies` counts in all of them. `format`, `contentEncoding` and
//! `contentMediaType` are annotations, as 2020-12 has it. What cannot be kept is never skipped: a schema with a reference that
//! leaves the document, a base URI inside of it, a pattern with look-around or a keyword of the wrong type agrees with nothing.
//!
//! One thing is stricter than JSON Schema: a key that only some readers take for a declared one (`Amount` for `amount`) does
//! not agree, since the server may be among them.

mod check;
mod compile;
mod ecma;
mod evaluated;
mod keyword;
mod pattern;
mod place;
#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;

use std::sync::{Arc, OnceLock};

use crate::mcp::json::{Parser, Value};
use compile::Compiled;

/// What servers last listed of their tools, wherever it is kept.
pub trait Schemas {
    /// The schema of `tool`'s arguments as `server` last listed it; `None` if it was never listed.
    fn declared(&self, server: &str, tool: &str) -> Option<Arc<Schema>>;

    /// Whether `tool` is still what it was when it was accepted.
    fn standing(&self, server: &str, tool: &str) -> Standing {
        let _ = (server, tool);
        Standing::Unlisted
    }
}

/// A tool's definition beside the one that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The server never listed it.
    Unlisted,
    /// It is accepted: as part of the first list, or by an operator.
    Accepted,
    /// The server listed it later than its first list, and nobody has accepted it.
    New,
    /// The server listed it with another definition than the accepted one, and nobody has accepted that.
    Changed,
    /// That cannot be known now: the store cannot be read, or the server has listed more tools than are kept.
    Unclear,
}

/// A tool's `inputSchema`. It is compiled when it is first asked: most never are.
#[derive(Debug)]
pub struct Schema {
    text: Box<str>,
    compiled: OnceLock<Result<Compiled, Disagreement>>,
}

/// Why arguments do not agree with a schema. Says where, never what stands there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// A part of the arguments is not as declared.
    #[error("{what}{}", place::at(.place))]
    Invalid {
        /// JSON Pointer into the arguments, shortened where it is long; empty for all of them.
        place: String,
        /// What is wrong: the schema's keyword, in words.
        what: &'static str,
    },
    /// The schema cannot be used: it is too large, refers outside of itself, or is no schema.
    #[error("the declared schema cannot be used: {0}")]
    Unusable(&'static str),
    /// Checking would take too long.
    #[error("checking against the declared schema takes too long")]
    TooCostly,
}

impl Schema {
    /// A schema by its JSON text. One that cannot be used agrees with nothing; one longer than any that can is not kept.
    pub fn new(text: &str) -> Schema {
        if text.len() > compile::TEXT {
            let compiled = OnceLock::from(Err(Disagreement::Unusable("it is longer than 256 KiB")));
            return Schema { text: Box::default(), compiled };
        }
        Schema { text: text.into(), compiled: OnceLock::new() }
    }

    /// The schema of a tool whose definition is too long to be kept: nothing agrees with it.
    pub fn too_long() -> Schema {
        Schema {
            text: Box::default(),
            compiled: OnceLock::from(Err(Disagreement::Unusable("the tool's definition is too long to be kept"))),
        }
    }

    /// Whether `arguments` (absent: an empty object) are as declared.
    ///
    /// # Errors
    ///
    /// [`Disagreement`]: the first one, in an order that depends on nothing but the two.
    pub fn check(&self, arguments: Option<Value<'_>>) -> Result<(), Disagreement> {
        let compiled = self.compiled.get_or_init(|| compile::compile(&self.text)).as_ref().map_err(Clone::clone)?;
        match arguments {
            Some(arguments) => check::check(compiled, arguments),
            None => {
                let mut parser = Parser::default();
                let Ok(empty) = parser.parse(b"{}") else { return Err(Disagreement::TooCostly) };
                check::check(compiled, empty)
            }
        }
    }
}

/// No server has listed anything.
impl Schemas for () {
    fn declared(&self, _: &str, _: &str) -> Option<Arc<Schema>> {
        None
    }
}
