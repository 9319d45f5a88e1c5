//! Tool lists in the server's messages: their names are noted, and what the policy refuses is left out.

use std::rc::Rc;
use std::sync::Arc;

use super::worker::Worker;
use crate::config::Server;
use crate::mcp::json;
use crate::mcp::lists::{self, Filtered};
use crate::policy::Grant;

/// Filters the messages of one response.
pub struct Lists {
    worker: Rc<Worker>,
    server: Arc<Server>,
    grant: Arc<Grant>,
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
    /// For a response of `server` to an agent with `grant`.
    pub fn new(worker: Rc<Worker>, server: Arc<Server>, grant: Arc<Grant>, limit: usize) -> Self {
        Self { worker, server, grant, limit }
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
        let policy = &self.grant.policy;
        let mut names = Vec::new();
        let filtered =
            lists::filter(&mut parser, message, |tool| policy.unlists(tool), |tool| names.push(tool.to_owned()));
        let filtered = match filtered {
            Err(_) if !called_json && !lists::may_be_message(message) => return Ok(None),
            filtered => filtered.map_err(ListError::Malformed)?,
        };
        if !names.is_empty() {
            if message.len() > self.limit {
                return Err(ListError::TooLong(self.limit));
            }
            self.worker.shared.telemetry.saw_tools(&self.server.name, names.iter().map(|name| &**name));
        }
        Ok(match filtered {
            Filtered::Unchanged => None,
            Filtered::Edited { text, .. } => Some(text),
        })
    }
}
