//! What a server asks of the agent (sampling, elicitation, roots …): vetted, decided, recorded, as the agent's own requests are.
//! A refused one does not reach the agent, and the server is told so in the agent's stead.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::{request, response};

use super::agent::{Agent, Way};
use super::judge::{Facts, Ruling, Told, context, owner, tell};
use super::lists::ListError;
use super::respond::Asked;
use super::stdio::Sink;
use super::stead::Stead;
use crate::audit;
use crate::mcp::headers::{PROTOCOL_VERSION, SESSION_ID};
use crate::mcp::pending::{Question, loose};
use crate::mcp::requests::{Fate, Left, Messages, Place, may_hold_method};
use crate::mcp::{self, Id, Kind, Malformed, lists, reply};
use crate::policy::{Answer, Denial, Direction, Permit, Reply, decide};
use crate::telemetry::events;

/// Judges the requests and notifications in one response.
pub struct Requests {
    agent: Rc<Agent>,
    exchange: Box<Exchange>,
}

/// The exchange that a response belongs to.
pub struct Exchange {
    /// The response's status; none on stdio.
    status: Option<u16>,
    /// Which request of the agent's it answers; on stdio that is said line by line.
    subject: Box<str>,
    /// Whether that is an `initialize`.
    opens_session: bool,
    /// Answers the server; it knows the agent's header fields.
    stead: Stead,
}

impl Exchange {
    /// Of a request with this head. `takes_messages`: the agent's messages go to its target.
    ///
    /// Boxed: most exchanges have none, and every connection would have to hold the space for it.
    pub fn of(agent: &Rc<Agent>, head: &request::Parts, takes_messages: bool, asked: &Asked) -> Box<Self> {
        Box::new(Self {
            status: None,
            subject: asked.subject.clone().unwrap_or_default(),
            opens_session: asked.opens_session,
            stead: Stead::of(agent, head, takes_messages),
        })
    }

    /// Of a session with a command, whose stdin is `server`.
    pub fn over_stdio(agent: &Rc<Agent>, server: Rc<Sink>) -> Box<Self> {
        let stead = Stead::over_stdio(agent, server);
        Box::new(Self { status: None, subject: Box::default(), opens_session: false, stead })
    }

    /// With what the response's head says.
    pub fn answered(mut self: Box<Self>, response: &response::Parts) -> Box<Self> {
        self.status = Some(response.status.as_u16());
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

    /// Which request of the agent's the exchange answers.
    pub fn subject(&self) -> &str {
        &self.exchange.subject
    }

    /// Learns which revision the server agrees on, where this is the answer to an `initialize`.
    pub fn learn_version(&self, text: &[u8]) {
        if !self.exchange.opens_session {
            return;
        }
        let agent = &self.agent;
        if let Some(version) = mcp::agreed_version(&mut agent.worker.parser.borrow_mut(), text) {
            let owner = owner(agent, self.exchange.stead.field(&SESSION_ID));
            agent.worker.shared.agree(&agent.server.name, owner, version);
        }
    }

    /// What is left of a text without the requests and notifications that the policy in force refuses. Of a text that stays
    /// whole the bytes go on as they came: they are the ones that were judged.
    ///
    /// `subject`: which request of the agent's the text answers.
    pub fn judge(&self, text: &Bytes, called_json: bool, subject: &str) -> Result<Left, ListError> {
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
        Ok(messages.judge(text, |place| self.fate(&way, text, place, subject)))
    }

    /// What becomes of a message in which there is something to judge.
    fn fate(&self, way: &Way, text: &Bytes, place: &Place, subject: &str) -> Fate {
        let mut subject = Cow::Borrowed(subject);
        if place.has_method {
            match self.passes(way, text.slice(place.message.clone())) {
                None => return Fate::Drop,
                // It tells of a task, and is no answer.
                Some(told_of) => subject = Cow::Owned(told_of),
            }
        }
        match self.inputs_pass(way, text, place, &subject) {
            Ok(()) => Fate::Keep,
            Err(denial) => match place.id.clone().filter(|_| !place.has_method) {
                Some(id) => Fate::Replace(replaced(&text[id], &denial)),
                None => Fate::Drop,
            },
        }
    }

    /// Judges the requests that stand in a result; what they reserve is free again if one is refused, since the agent sees
    /// none of them then.
    fn inputs_pass(&self, way: &Way, text: &Bytes, place: &Place, subject: &str) -> Result<(), Denial> {
        let mut passed = Vec::new();
        for input in &place.inputs {
            match self.judge_input(way, &input.request(text)) {
                Told::Pass(permit, call) => passed.push((permit, call)),
                Told::Refuse(denial, call) => {
                    for (permit, mut call) in passed {
                        let reservation = permit.map(|permit: Permit| permit.redeem().1).unwrap_or_default();
                        self.end(&mut call, 0);
                        call.outcome.error = Some("response-refused");
                        call.outcome.returned = !reservation.is_empty();
                        reservation.give_back();
                    }
                    if let Some(mut call) = call {
                        self.end(&mut call, 0);
                    }
                    return Err(denial);
                }
            }
        }
        for (input, (_used, mut call)) in place.inputs.iter().zip(passed) {
            // What goes on is the text that the request is a part of.
            self.end(&mut call, input.request.len());
            if let Some(key) = input.key.clone() {
                let key = String::from_utf8_lossy(&text[key]);
                let question = Question::input(granted(way), subject, &loose(Id(&key)));
                self.agent.asked(&question);
            }
        }
        Ok(())
    }

    /// Judges one request without an envelope. One that cannot be read passes without a permit where the policy only observes.
    fn judge_input(&self, way: &Way, bytes: &Bytes) -> Told<Option<Permit>> {
        let facts = self.facts(bytes.len());
        let worker = &self.agent.worker;
        let mut parser = worker.parser.borrow_mut();
        let message = match mcp::vet_input(&mut parser, Id("0"), bytes) {
            Ok(message) => message,
            Err(malformed) => {
                let denial = self.malformed(&malformed);
                let observes = self.agent.is_observed();
                let ruling = if observes { Ruling::observe(denial) } else { Ruling::deny(denial) };
                return match tell(&self.agent, way, &facts, ruling, |()| ()) {
                    Told::Pass((), call) => Told::Pass(None, call),
                    Told::Refuse(denial, call) => Told::Refuse(denial, call),
                };
            }
        };
        let context = context(&self.agent, way, facts.session);
        let verdict = decide(&context, Direction::ToAgent, &message, &*worker.shared.counters);
        let facts = Facts { method: message.method(), ..facts };
        let undo = |permit: Permit| permit.redeem().1.give_back();
        match tell(&self.agent, way, &facts, Ruling::from(verdict), undo) {
            Told::Pass(permit, call) => Told::Pass(Some(permit), call),
            Told::Refuse(denial, call) => Told::Refuse(denial, call),
        }
    }

    fn malformed(&self, malformed: &Malformed) -> Denial {
        self.agent.worker.shared.telemetry.emit(events::Malformed { cause: malformed.cause.word() });
        Denial::malformed(malformed.to_string(), Reply::Error)
    }

    fn end(&self, call: &mut audit::Call, sent: usize) {
        let status = self.exchange.status;
        // On stdio there is none: what was said has come to its end all the same.
        (call.outcome.status, call.outcome.ended) = (status, status.is_none());
        call.outcome.bytes_out = sent as u64;
    }

    /// Records that a text of the server goes on although it cannot be read, since the policy only observes; gives whether
    /// that could be recorded.
    pub fn observe(&self, received: usize, why: &impl std::fmt::Display) -> bool {
        let way = self.agent.way(&self.agent.worker.shared.snapshot.load());
        let ruling = Ruling::observe(Denial::malformed(why.to_string(), Reply::Drop));
        match tell(&self.agent, &way, &self.facts(received), ruling, |()| ()) {
            Told::Pass((), mut call) => {
                self.end(&mut call, received);
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

    /// Judges one message that has a method, and answers it if it is refused; gives its subject if it goes on.
    fn passes(&self, way: &Way, bytes: Bytes) -> Option<String> {
        let facts = self.facts(bytes.len());
        let session = facts.session;
        let agent = &self.agent;
        let worker = &agent.worker;
        let mut parser = worker.parser.borrow_mut();
        let message = match mcp::vet(&mut parser, &bytes) {
            Ok(message) => message,
            Err(malformed) => {
                let denial = self.malformed(&malformed);
                if agent.is_observed() {
                    return self.observe(bytes.len(), &malformed).then(String::new);
                }
                self.enforce(way, &facts, Ruling::deny(denial), malformed.id.as_deref().map(Id));
                return None;
            }
        };
        let id = match message.kind() {
            Kind::Request { id, .. } => Some(*id),
            Kind::Notification { method, .. } if method.starts_with("notifications/") && !names(way, method) => {
                return Some(message.subject());
            }
            Kind::Notification { .. } | Kind::Response { .. } => None,
        };
        let verdict = decide(&context(agent, way, session), Direction::ToAgent, &message, &*worker.shared.counters);
        let facts = Facts { method: message.method(), ..facts };
        self.enforce(way, &facts, Ruling::from(verdict), id).then(|| message.subject())
    }

    /// Records a ruling and does what it says; gives whether the message goes on to the agent.
    fn enforce(&self, way: &Way, facts: &Facts<'_>, ruling: Ruling<Permit>, id: Option<Id<'_>>) -> bool {
        let exchange = &self.exchange;
        let told = tell(&self.agent, way, facts, ruling, |permit: Permit| permit.redeem().1.give_back());
        match told {
            Told::Pass(permit, mut call) => {
                // What goes on is the text that these bytes are a part of; what was reserved is used.
                let (bytes, _used) = permit.redeem();
                self.end(&mut call, bytes.len());
                if let Some(id) = id {
                    let question = Question::request(granted(way), owner(&self.agent, facts.session), id);
                    self.agent.asked(&question);
                }
                true
            }
            Told::Refuse(denial, mut call) => {
                if let Some(call) = &mut call {
                    self.end(call, 0);
                }
                if let Some(id) = id {
                    exchange.stead.answer(Answer::refusing(id, &denial), call);
                }
                false
            }
        }
    }
}

/// The name of the grant.
fn granted(way: &Way) -> &str {
    way.grant.as_ref().map(|grant| &*grant.name).unwrap_or_default()
}

/// What an agent gets in place of a result that holds a refused request: what its server needed to know, it does not learn.
fn replaced(id: &[u8], denial: &Denial) -> Bytes {
    let id = String::from_utf8_lossy(id);
    reply::denied_request(Id(&id), &denial.rule.pointer, &denial.reason, denial.retry_after)
}

/// Whether the policy has a rule for a notification: the others go on without one.
fn names(way: &Way, method: &str) -> bool {
    way.grant.as_ref().is_none_or(|grant| grant.policy.names_method(method))
}
