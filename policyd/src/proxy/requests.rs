//! What a server asks of the agent (sampling, elicitation, roots …): vetted, decided, recorded, as the agent's own requests are.
//! A refused one does not reach the agent, and the server is told so in the agent's stead.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::{request, response};

use super::agent::{Agent, Way};
use super::judge::{Facts, Ruling, Told, context, tell};
use super::lists::ListError;
use super::stead::Stead;
use crate::mcp::headers::{PROTOCOL_VERSION, SESSION_ID};
use crate::mcp::requests::{Left, Messages, may_hold_method};
use crate::mcp::{self, Id, Kind, lists};
use crate::policy::{Answer, Denial, Direction, Permit, Reply, decide};
use crate::telemetry::events;

/// Judges the requests and notifications in one response.
pub struct Requests {
    agent: Rc<Agent>,
    exchange: Box<Exchange>,
}

/// The exchange that a response belongs to.
pub struct Exchange {
    /// The response's status.
    status: u16,
    /// Answers the server; it knows the agent's header fields.
    stead: Stead,
}

impl Exchange {
    /// Of a request with this head. `takes_messages`: the agent's messages go to its target.
    ///
    /// Boxed: most exchanges have none, and every connection would have to hold the space for it.
    pub fn of(agent: &Rc<Agent>, head: &request::Parts, takes_messages: bool) -> Box<Self> {
        Box::new(Self { status: 0, stead: Stead::of(agent, head, takes_messages) })
    }

    /// With what the response's head says.
    pub fn answered(mut self: Box<Self>, response: &response::Parts) -> Box<Self> {
        self.status = response.status.as_u16();
        self.stead.learn_session(&response.headers);
        self
    }
}

impl Requests {
    /// For a response to `agent`.
    pub fn new(agent: &Rc<Agent>, exchange: Box<Exchange>) -> Self {
        Self { agent: Rc::clone(agent), exchange }
    }

    /// Learns where the messages of the agent go (HTTP+SSE of 2024-11-05: the event `endpoint`).
    pub fn learn_endpoint(&self, data: &[u8]) {
        self.exchange.stead.learn_endpoint(data);
    }

    /// What is left of a text without the requests and notifications that the policy in force refuses. Of a text that stays
    /// whole the bytes go on as they came: they are the ones that were judged.
    pub fn judge(&self, text: &Bytes, called_json: bool) -> Result<Left, ListError> {
        if !may_hold_method(text) {
            return Ok(Left::All);
        }
        let shared = &self.agent.worker.shared;
        let way = self.agent.way(&shared.snapshot.load());
        if way.grant.as_ref().is_some_and(|grant| !grant.policy.judges_servers()) {
            return Ok(Left::All);
        }
        let found = Messages::find(&mut self.agent.worker.parser.borrow_mut(), text);
        let messages = match found {
            Err(_) if !called_json && !lists::may_be_message(text) => return Ok(Left::All),
            found => found.map_err(ListError::Malformed)?,
        };
        Ok(messages.retain(text, |place| self.passes(&way, text.slice(place))))
    }

    /// Records that a text of the server goes on although it cannot be read, since the policy only observes; gives whether
    /// that could be recorded.
    pub fn observe(&self, received: usize, why: &impl std::fmt::Display) -> bool {
        let way = self.agent.way(&self.agent.worker.shared.snapshot.load());
        let ruling = Ruling::observe(Denial::malformed(why.to_string(), Reply::Drop));
        match tell(&self.agent, &way, &self.facts(received), ruling, |()| ()) {
            Told::Pass((), mut call) => {
                call.outcome.status = Some(self.exchange.status);
                call.outcome.bytes_out = received as u64;
                true
            }
            Told::Refuse(..) => false,
        }
    }

    /// What a record says of a text of the server, before it is read.
    fn facts(&self, received: usize) -> Facts<'_> {
        Facts {
            direction: Direction::ToAgent,
            method: None,
            tool: None,
            session: self.exchange.stead.field(&SESSION_ID),
            version: self.exchange.stead.field(&PROTOCOL_VERSION),
            arguments: None,
            received,
            started: Instant::now(),
            unrecorded: Reply::Error,
        }
    }

    /// Judges one message that has a method, and answers it if it is refused.
    fn passes(&self, way: &Way, bytes: Bytes) -> bool {
        let facts = self.facts(bytes.len());
        let session = facts.session;
        let agent = &self.agent;
        let worker = &agent.worker;
        let mut parser = worker.parser.borrow_mut();
        let message = match mcp::vet(&mut parser, &bytes) {
            Ok(message) => message,
            Err(malformed) => {
                worker.shared.telemetry.emit(events::Malformed { cause: malformed.cause.word() });
                let denial = Denial::malformed(malformed.to_string(), Reply::Error);
                return self.enforce(way, &facts, Ruling::deny(denial), malformed.id.as_deref().map(Id));
            }
        };
        let id = match message.kind() {
            Kind::Request { id, .. } => Some(*id),
            Kind::Notification { method, .. } if method.starts_with("notifications/") && !names(way, method) => {
                return true;
            }
            Kind::Notification { .. } | Kind::Response { .. } => None,
        };
        let verdict = decide(&context(agent, way, session), Direction::ToAgent, &message, &*worker.shared.counters);
        let facts = Facts { method: message.method(), ..facts };
        self.enforce(way, &facts, Ruling::from(verdict), id)
    }

    /// Records a ruling and does what it says; gives whether the message goes on to the agent.
    fn enforce(&self, way: &Way, facts: &Facts<'_>, ruling: Ruling<Permit>, id: Option<Id<'_>>) -> bool {
        let exchange = &self.exchange;
        let told = tell(&self.agent, way, facts, ruling, |permit: Permit| permit.redeem().1.give_back());
        match told {
            Told::Pass(permit, mut call) => {
                // What goes on is the text that these bytes are a part of; what was reserved is used.
                let (bytes, _used) = permit.redeem();
                call.outcome.status = Some(exchange.status);
                call.outcome.bytes_out = bytes.len() as u64;
                true
            }
            Told::Refuse(denial, mut call) => {
                if let Some(call) = &mut call {
                    call.outcome.status = Some(exchange.status);
                }
                if let Some(id) = id {
                    exchange.stead.answer(Answer::refusing(id, &denial), call);
                }
                false
            }
        }
    }
}

/// Whether the policy has a rule for a notification: the others go on without one.
fn names(way: &Way, method: &str) -> bool {
    way.grant.as_ref().is_none_or(|grant| grant.policy.names_method(method))
}
