//! Tool lists in the server's messages: their names are noted, and what they declare where a policy asks for it, and what the
//! policy refuses is left out.

use std::rc::Rc;
use std::sync::Arc;

use super::agent::Agent;
use super::worker::Worker;
use crate::capture::identity::Identity;
use crate::config::Server;
use crate::mcp::json;
use crate::mcp::lists::{self, Filtered};
use crate::policy::Lister;

/// Filters the messages of one response, by the policy that is in force when they come.
pub struct Lists {
    agent: Rc<Agent>,
    worker: Rc<Worker>,
    server: Arc<Server>,
    identity: Arc<Identity>,
    limit: usize,
}

/// Why a message of the server is not passed on.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It is not strict JSON: what a client would read out of it cannot be known.
    #[error("the server's message cannot be read: {0}")]
    Malformed(json::Error),
    /// A list is longer than `limits.list`.
    #[error("the server's list is longer than {0} bytes")]
    TooLong(usize),
}

impl Lists {
    /// For a response to `agent`.
    pub fn new(agent: &Rc<Agent>, limit: usize) -> Self {
        let (worker, server) = (Rc::clone(&agent.worker), Arc::clone(&agent.server));
        Self { agent: Rc::clone(agent), worker, server, identity: Arc::clone(&agent.identity), limit }
    }

    /// The message without the tools that the policy refuses whatever their arguments; `None` where nothing must change.
    ///
    /// What is not JSON is let through where nobody could take it for a message, unless it is `called_json`: then readers
    /// guess its encoding before they read it.
    pub fn filter(&self, message: &[u8], called_json: bool) -> Result<Option<String>, ListError> {
        if !lists::may_hold_list(message) {
            return Ok(None);
        }
        let mut parser = self.worker.parser.borrow_mut();
        let grant = self.agent.way(&self.worker.shared.snapshot.load()).grant;
        let mut tools: Vec<(String, &str)> = Vec::new();
        // Without a grant nothing can be called.
        let unlisted = |tool: &str| {
            grant.as_ref().is_none_or(|grant| {
                let lister = Lister { grant: &grant.name, server: &self.server.name, identity: &self.identity };
                grant.policy.unlists(tool, &lister)
            })
        };
        let filtered = lists::filter(&mut parser, message, unlisted, |name, tool| {
            // Without a schema, there is nothing that arguments could agree with.
            tools.push((name.to_owned(), tool.get("inputSchema").map_or("null", |schema| schema.raw())));
        });
        let filtered = match filtered {
            Err(_) if !called_json && !lists::may_be_message(message) => return Ok(None),
            filtered => filtered.map_err(ListError::Malformed)?,
        };
        if !tools.is_empty() {
            if message.len() > self.limit {
                return Err(ListError::TooLong(self.limit));
            }
            let shared = &self.worker.shared;
            shared.telemetry.saw_tools(&self.server.name, tools.iter().map(|(name, _)| &**name));
            if self.is_asked_for_definitions() {
                let tools = tools.iter().map(|(name, schema)| (&**name, *schema));
                shared.definitions.note(&self.server.name, tools);
            }
        }
        Ok(match filtered {
            Filtered::Unchanged => None,
            Filtered::Edited { text, .. } => Some(text),
        })
    }

    /// Whether a policy compares arguments with what this server declares. Any grant's: the server's last list counts,
    /// whoever asked for it.
    fn is_asked_for_definitions(&self) -> bool {
        let snapshot = self.worker.shared.snapshot.load();
        let grants = snapshot.config.grants.iter();
        grants.filter(|grant| grant.server == self.server.name).any(|grant| grant.policy.checks_declared())
    }
}
