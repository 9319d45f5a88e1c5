//! The messages of a response that has to be read: what the server asks is judged, tool lists are filtered, the rest stays.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;

use super::agent::Agent;
use super::lists::{ListError, Lists};
use super::requests::{Exchange, Requests};
use super::response::ResponseError;
use crate::mcp::requests::Left;
use crate::mcp::{Kind, Message, sse};
use crate::policy::{Grant, Policy};

/// Whether the messages of a response are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Its bytes go through unread.
    Never,
    /// All of them are.
    Messages,
    /// Only those of an SSE stream are: on a path that may be an endpoint of the server that nobody declared.
    Events,
    /// Those of an SSE stream are, for the tools that they list; what cannot be read goes through.
    Lists,
    /// Only for the revision that the server agrees on; they go through as they are, readable or not, until a reload gives
    /// them something to be read for.
    Handshake,
}

/// Reads the messages of one response.
pub struct Messages {
    agent: Rc<Agent>,
    lists: Lists,
    requests: Requests,
    reading: Reading,
}

/// The events of an SSE response, read one by one.
pub struct Events {
    decoder: sse::Decoder,
    messages: Messages,
    ready: VecDeque<Bytes>,
}

/// Whether a policy has something to look for in what a server sends: entries to leave out of lists, or requests to refuse.
/// Clients match answers to requests loosely, so that a list may come in any response.
pub fn must_read(policy: &Policy) -> bool {
    policy.filters_lists() || policy.judges_servers()
}

// === impl Reading ===

impl Reading {
    /// How the response to `message` is read. Lists always are, for what they declare, and the answer to `initialize`.
    pub fn of(grant: Option<&Grant>, message: &Message<'_>) -> Self {
        let list = matches!(message.kind(), Kind::Request { method, .. } if method == "tools/list");
        match grant {
            Some(grant) if list || must_read(&grant.policy) => Self::Messages,
            Some(_) if message.method() == Some("initialize") => Self::Handshake,
            _ => Self::Never,
        }
    }

    /// How a stream of the server's own messages is read: answers may be replayed on it.
    pub fn stream(grant: Option<&Grant>) -> Self {
        match grant {
            Some(grant) if must_read(&grant.policy) => Self::Messages,
            Some(_) => Self::Lists,
            None => Self::Never,
        }
    }

    /// How the response on another path is read: servers answer under other paths than the declared one too (`/mcp/`,
    /// `/sse`), and on a stream there come the answers to what was posted elsewhere.
    pub fn elsewhere(grant: Option<&Grant>) -> Self {
        match grant {
            Some(grant) if must_read(&grant.policy) => Self::Events,
            Some(_) => Self::Lists,
            None => Self::Never,
        }
    }
}

// === impl Messages ===

impl Messages {
    /// Of a response to `agent` that is read as `reading` says; a tool list in it is no longer than `list` bytes.
    pub fn new(agent: &Rc<Agent>, list: usize, reading: Reading, exchange: Box<Exchange>) -> Self {
        let (lists, requests) = (Lists::new(agent, list), Requests::new(agent, exchange));
        Self { agent: Rc::clone(agent), lists, requests, reading }
    }

    /// What the agent is to see of a text: one message, or a batch of them.
    ///
    /// What is not JSON is let through where nobody could take it for a message, unless it is `called_json`: then readers
    /// guess its encoding before they read it.
    pub fn read(&self, text: &Bytes, called_json: bool) -> Result<Left, ListError> {
        self.requests.learn_version(text);
        if self.is_handshake() {
            return Ok(Left::All);
        }
        match self.read_strictly(text, called_json, self.requests.subject()) {
            Err(_) if self.is_noting() => Ok(Left::All),
            Err(error) if self.lets_pass(text.len(), &error) => Ok(Left::All),
            read => read,
        }
    }

    /// The same of a line of a command, which answers the request `subject`, if any.
    pub fn read_line(&self, line: &Bytes, subject: &str) -> Result<Left, ListError> {
        match self.read_strictly(line, true, subject) {
            Err(error) if self.lets_pass(line.len(), &error) => Ok(Left::All),
            read => read,
        }
    }

    /// Notes the tools that a line of a command lists, of which nothing else is looked for: it goes on in any case.
    pub fn note_line(&self, line: &Bytes) {
        // What cannot be read is not noted, as on streams.
        let _ = self.lists.filter(line, true);
    }

    /// Whether only the revision is looked for, and the policy in force asks for no more.
    fn is_handshake(&self) -> bool {
        self.reading == Reading::Handshake && self.looks_for_nothing()
    }

    /// Whether only tools that are listed are looked for, and the policy in force asks for no more.
    fn is_noting(&self) -> bool {
        self.reading == Reading::Lists && self.looks_for_nothing()
    }

    /// Whether there is a grant in force, and its policy has nothing read.
    fn looks_for_nothing(&self) -> bool {
        let way = self.agent.way(&self.agent.worker.shared.snapshot.load());
        way.grant.is_some_and(|grant| !must_read(&grant.policy))
    }

    /// Whether a text that cannot be read goes on all the same: the policy only observes, and that is recorded.
    pub fn lets_pass(&self, length: usize, why: &impl std::fmt::Display) -> bool {
        self.is_handshake() || (self.agent.is_observed() && self.requests.observe(length, why))
    }

    fn read_strictly(&self, text: &Bytes, called_json: bool, subject: &str) -> Result<Left, ListError> {
        let left = self.requests.judge(text, called_json, subject)?;
        let edited = match &left {
            Left::None => None,
            Left::Some(batch) => self.lists.filter(batch.as_bytes(), called_json)?,
            Left::All => self.lists.filter(text, called_json)?,
        };
        Ok(edited.map_or(left, Left::Some))
    }
}

// === impl Events ===

impl Events {
    /// Of a stream whose events are no longer than `limit` bytes.
    pub fn new(messages: Messages, limit: usize) -> Self {
        Self { decoder: sse::Decoder::new(limit), messages, ready: VecDeque::new() }
    }

    /// What can be sent on.
    pub fn next(&mut self) -> Option<Bytes> {
        self.ready.pop_front()
    }

    /// Whether nothing is held back.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.decoder.buffered() == 0
    }

    /// Takes what has arrived; whole events become ready, as far as the agent is to see them.
    pub fn take(&mut self, data: Bytes) -> Result<(), ResponseError> {
        self.decoder.push(data);
        while let Some(event) = self.decoder.next_event()? {
            self.read(event)?;
        }
        Ok(())
    }

    /// Makes ready what is left when the stream ends: the standard has nobody dispatch it, but lenient readers do. Gives
    /// whether there is something.
    pub fn finish(&mut self) -> Result<bool, ResponseError> {
        if let Some(event) = std::mem::replace(&mut self.decoder, sse::Decoder::new(0)).finish() {
            self.read(event)?;
        }
        Ok(!self.ready.is_empty())
    }

    fn read(&mut self, event: sse::Event) -> Result<(), ResponseError> {
        // A reader that splits lines elsewhere than the standard would see other data than was read here.
        if event.is_ambiguous()
            && !self.messages.is_noting()
            && !self.messages.lets_pass(event.raw().len(), &ResponseError::Ambiguous)
        {
            return Err(ResponseError::Ambiguous);
        }
        let left = match event.data() {
            Some(data) => {
                let data = match data {
                    Cow::Borrowed(data) => event.raw().slice_ref(data),
                    Cow::Owned(data) => Bytes::from(data),
                };
                if event.kind() == b"endpoint" {
                    self.messages.requests.learn_endpoint(&data);
                }
                self.messages.read(&data, false)?
            }
            None => Left::All,
        };
        match left {
            Left::All => self.ready.push_back(event.into_raw()),
            Left::Some(edited) => self.ready.push_back(event.with_data(&edited)),
            Left::None => self.ready.extend(event.without_data()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::mcp;
    use crate::mcp::json::Parser;
    use crate::policy::Who;

    fn grant(policy: &str) -> Grant {
        let policy = Policy::load("policy.json", &format!(r#"{{"version": "1", {policy}}}"#)).unwrap();
        Grant {
            name: "anna".into(),
            who: Who::default(),
            server: "server".into(),
            policy_path: "policy.json".into(),
            policy: policy.into(),
        }
    }

    #[test]
    fn a_policy_that_refuses_calls_only_has_no_response_read_but_lists() {
        let conditions = r#"[{"conditions": [{"path": "args.a", "op": "eq", "value": 1}]}]"#;
        let calls = grant(&format!(
            r#""default": "allow", "tools": {{"x": {{"deny_if": {conditions}, "rate_limit": "3/minute"}}}}"#
        ));
        let hides = grant(r#""default": "allow", "hide": ["x"]"#);
        let refuses = grant(r#""default": "allow", "methods": {"sampling/createMessage": {"action": "deny"}}"#);
        let denies = grant(r#""default": "deny""#);
        let holds = grant(r#""default": "allow", "tool_changes": "deny""#);
        for (grant, all) in [
            (&calls, Reading::Never),
            (&hides, Reading::Messages),
            (&refuses, Reading::Messages),
            (&denies, Reading::Messages),
            (&holds, Reading::Messages),
        ] {
            let handshake = if all == Reading::Never { Reading::Handshake } else { all };
            for (method, expected) in
                [("tools/list", Reading::Messages), ("tools/call", all), ("ping", all), ("initialize", handshake)]
            {
                let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"x"}}}}"#);
                let (mut parser, body) = (Parser::default(), Bytes::from(body));
                assert_eq!(Reading::of(Some(grant), &mcp::vet(&mut parser, &body).unwrap()), expected, "{method}");
            }
            // Streams are read for what they list in any case.
            let is_read = all != Reading::Never;
            assert_eq!(Reading::stream(Some(grant)), if is_read { Reading::Messages } else { Reading::Lists });
            assert_eq!(Reading::elsewhere(Some(grant)), if is_read { Reading::Events } else { Reading::Lists });
        }
        assert_eq!(Reading::stream(None), Reading::Never);
    }
}
