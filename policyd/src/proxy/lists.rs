//! Lists in the server's messages: what they declare of tools is noted, and what the policy refuses is left out.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::agent::Agent;
use super::worker::Worker;
use crate::audit;
use crate::capture::identity::Identity;
use crate::config::Server;
use crate::mcp::json::{self, Parser, Value};
use crate::mcp::lists::{self, Filtered, List};
use crate::policy::{Lister, ToolChanges};
use crate::state::{Change, Page};
use crate::telemetry::events::DefinitionChanged;

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
    /// What is new in it cannot be recorded.
    #[error("the server's list holds what is new, and that cannot be recorded")]
    Unrecorded,
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

    /// The message without what the policy refuses whatever the arguments; `None` where nothing must change.
    ///
    /// What is not JSON is let through where nobody could take it for a message, unless it is `called_json`: then readers
    /// guess its encoding before they read it.
    pub fn filter(&self, message: &[u8], called_json: bool) -> Result<Option<String>, ListError> {
        if !lists::may_hold_list(message) {
            return Ok(None);
        }
        let mut parser = self.worker.parser.borrow_mut();
        let grant = self.agent.way(&self.worker.shared.snapshot.load()).grant;
        // Before anything is left out: whether a tool is depends on what is listed of it here.
        if !self.note(&mut parser, message, called_json, grant.is_some())? {
            return Ok(None);
        }
        let schemas = &self.worker.shared.definitions;
        // Without a grant nothing can be called.
        let unlisted = |list: List, name: &str| {
            grant.as_ref().is_none_or(|grant| {
                let (server, identity) = (&self.server.name, &self.identity);
                let lister = Lister { grant: &grant.name, server, identity, schemas };
                grant.policy.unlists_entry(list, name, &lister)
            })
        };
        match lists::filter(&mut parser, message, unlisted, |_| ()).map_err(ListError::Malformed)? {
            Filtered::Unchanged => Ok(None),
            Filtered::Edited { text, .. } => Ok(Some(text)),
        }
    }

    /// Notes the tools that a message lists, whatever the policy; gives whether it is one that can be read. Without a grant
    /// they count for nobody: all are left out, and what a command lists is said by whoever started it.
    fn note(
        &self,
        parser: &mut Parser,
        message: &[u8],
        called_json: bool,
        is_granted: bool,
    ) -> Result<bool, ListError> {
        let mut tools: Vec<(String, Value<'_>)> = Vec::new();
        let mut is_list = false;
        let read = lists::filter(
            parser,
            message,
            |_, _| false,
            |tool| match tool {
                Some((name, tool)) => tools.push((name.to_owned(), tool)),
                None => is_list = true,
            },
        );
        match read {
            Err(_) if !called_json && !lists::may_be_message(message) => return Ok(false),
            read => read.map_err(ListError::Malformed)?,
        };
        // An empty list is one too: what comes after it is new.
        if !is_list || !is_granted {
            return Ok(true);
        }
        if message.len() > self.limit {
            return Err(ListError::TooLong(self.limit));
        }
        let shared = &self.worker.shared;
        let server = &*self.server.name;
        shared.telemetry.saw_tools(server, tools.iter().map(|(name, _)| &**name));
        let at = SystemTime::now();
        let now = at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let page = Page { server, tools: &tools, is_last: !lists::may_go_on(message), now };
        shared.definitions.note(&page, |changes| self.tell(changes, at)).map_err(|_| ListError::Unrecorded)?;
        Ok(true)
    }

    /// Records definitions that are others than before, then counts and logs them.
    fn tell(&self, changes: &[Change], at: SystemTime) -> Result<(), audit::Unavailable> {
        let server = &*self.server.name;
        let records = changes
            .iter()
            .filter_map(|change| change.record.map(|left_out| audit::Definition { at, server, change, left_out }));
        self.worker.recorder.definitions(records)?;
        let alert = self.is_alerting();
        for Change { tool, kind, fields, .. } in changes {
            let fields = fields.as_deref().unwrap_or_default();
            let changed = DefinitionChanged { server, tool, change: *kind, fields, alert };
            self.worker.shared.telemetry.emit(changed);
        }
        Ok(())
    }

    /// Whether a policy wants to be told of changes. Any grant's of the server: they share its definitions.
    fn is_alerting(&self) -> bool {
        let snapshot = self.worker.shared.snapshot.load();
        let mut grants = snapshot.config.grants.iter().filter(|grant| grant.server == self.server.name);
        grants.any(|grant| grant.policy.tool_changes() != ToolChanges::Allow)
    }
}
