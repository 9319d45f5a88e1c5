//! One message of an agent: vetted, decided, recorded. Nothing is awaited between the judgement and its record.

use std::rc::Rc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::request::Parts;

use super::agent::{Agent, Way};
use super::batch;
use super::messages::Reading;
use super::respond::{Asked, Refusal};
use crate::audit;
use crate::mcp::headers::{self, Fault};
use crate::mcp::pending::Question;
use crate::mcp::reply::Form;
use crate::mcp::{self, Cause, Kind, Malformed, Message, Version};
use crate::policy::{
    Context, CounterStates, Decision, Denial, Direction, Passage, Permit, Reply, Rule, RuleKind, Target, Verdict,
    decide, passage,
};
use crate::telemetry::events;
use crate::telemetry::{Decided, Effect};

/// What was decided about a request.
pub enum Judged<P> {
    /// It may be forwarded; its decision is recorded.
    Forward {
        /// The right to do so.
        permit: P,
        /// Records the outcome.
        call: audit::Call,
        /// Whether its response has to be read.
        reading: Reading,
        /// How to answer it, should forwarding fail. Boxed: every connection would have to hold the space for it.
        asked: Box<Asked>,
    },
    /// It was refused, which is recorded; this is the reply.
    Refuse(Refusal),
}

/// Judges a body that has to be a message.
pub fn message(agent: &Rc<Agent>, way: &Way, head: &Parts, body: &Bytes) -> Judged<Permit> {
    let started = Instant::now();
    if body.trim_ascii_start().first() == Some(&b'[') {
        return batch::judge(agent, way, head, body, started);
    }
    let worker = &agent.worker;
    let mut parser = worker.parser.borrow_mut();
    let session = text(head, "mcp-session-id");
    let message = match mcp::vet(&mut parser, body) {
        Ok(message) => message,
        Err(malformed) => {
            // A body in another encoding is told by its head rather than by what it looks like.
            let fault = headers::check_head(&head.headers).err().map(|fault| (fault, Reply::Error));
            return refuse_malformed(agent, way, head, body, started, malformed, fault);
        }
    };
    let version =
        match headers::check_head(&head.headers).and_then(|()| headers::check_mirrors(&head.headers, &message)) {
            Ok(version) => version,
            Err(fault) => {
                let id = matches!(message.kind(), Kind::Request { .. }).then(|| message.id()).flatten();
                let malformed = Malformed { cause: fault.cause, at: 0, id: id.map(|id| id.0.to_owned()) };
                let mismatch = headers::is_mismatch(&fault, &head.headers, &message);
                let reply = if mismatch { Reply::HeaderMismatch } else { Reply::Error };
                return refuse_malformed(agent, way, head, body, started, malformed, Some((fault, reply)));
            }
        };
    let form = mcp::reply::accepts(&head.headers);
    vetted(agent, way, &message, Spoken { session, version, form }, body, started)
}

/// Judges a line that has to be a message, on stdio. `version`: what the session speaks, where the message does not say.
pub fn line(agent: &Rc<Agent>, way: &Way, line: &Bytes, version: Option<Version>) -> Judged<Permit> {
    let started = Instant::now();
    // Within JSON a carriage return is white space, and to some readers the end of a line: what they take for the lines of
    // this one would be other messages than the one that is judged. No string can hold one, so no other break matters.
    let inner = line.strip_suffix(b"\r").unwrap_or(line);
    if let Some(at) = inner.iter().position(|&byte| byte == b'\r') {
        return refuse_line(agent, way, line.len(), started, mcp::refuse(line, Cause::CarriageReturn, at));
    }
    let mut parser = agent.worker.parser.borrow_mut();
    match mcp::vet(&mut parser, line) {
        Ok(message) => {
            let version = message.version().or(version);
            vetted(agent, way, &message, Spoken { session: None, version, form: Form::Json }, line, started)
        }
        Err(malformed) => refuse_line(agent, way, line.len(), started, malformed),
    }
}

/// Refuses a line of `received` bytes that is no message, or too long to be read.
pub fn refuse_line<P>(agent: &Rc<Agent>, way: &Way, received: usize, started: Instant, why: Malformed) -> Judged<P> {
    agent.worker.shared.telemetry.emit(events::Malformed { cause: why.cause.word() });
    let facts = Facts { received, ..Facts::unread(started) };
    let denial = Denial::malformed(why.to_string(), Reply::Error);
    let ids = why.id.map(Bytes::from).into_iter().collect();
    let asked = Asked { ids, batch: false, version: None, form: Form::Json, opens_session: false, subject: None };
    record(agent, way, &facts, Ruling::deny(denial), asked, Reading::Never, drop)
}

/// What a message's transport says of it.
struct Spoken<'a> {
    session: Option<&'a str>,
    version: Option<Version>,
    form: Form,
}

/// Judges a message that the strict parser accepted.
fn vetted(
    agent: &Rc<Agent>,
    way: &Way,
    message: &Message<'_>,
    spoken: Spoken<'_>,
    body: &Bytes,
    started: Instant,
) -> Judged<Permit> {
    let Spoken { session, version, form } = spoken;
    let verdict = verdict(agent, way, session, message);
    let reading = Reading::of(way.grant.as_deref(), message);
    let asked = Asked {
        ids: id(body, message).into_iter().collect(),
        batch: false,
        version,
        form,
        opens_session: message.method() == Some("initialize"),
        subject: (reading != Reading::Never).then(|| message.subject().into()),
    };
    let facts = Facts {
        direction: Direction::ToServer,
        method: message.method(),
        tool: message.tool(),
        session,
        version: version.map(Version::name),
        arguments: message.arguments().map(|arguments| arguments.raw().as_bytes()),
        received: body.len(),
        started,
        unrecorded: unrecorded(message),
    };
    let ruling = Ruling::from(verdict);
    record(agent, way, &facts, ruling, asked, reading, |permit| permit.redeem().1.give_back())
}

/// What is decided about one message of an agent: what the policy says, and that nothing is answered that was not asked.
pub(super) fn verdict(agent: &Agent, way: &Way, session: Option<&str>, message: &Message<'_>) -> Verdict {
    let unasked = unasked(agent, way, session, message);
    let observes = way.grant.as_ref().is_some_and(|grant| grant.policy.observes());
    if let Some(denial) = unasked.clone().filter(|_| !observes) {
        return Verdict::deny(denial);
    }
    let counters = &*agent.worker.shared.counters;
    let verdict = decide(&context(agent, way, session), Direction::ToServer, message, counters);
    match (unasked, &verdict.decision) {
        (Some(denial), Decision::Allow(_)) => Verdict { rule: denial.rule.clone(), observed: Some(denial), ..verdict },
        _ => verdict,
    }
}

/// Why an answer cannot go on that the server was not seen to ask for: a response, or what a request carries in
/// `inputResponses`. Known only where what the server sends is read for its requests; elsewhere there is nothing to refuse.
fn unasked(agent: &Agent, way: &Way, session: Option<&str>, message: &Message<'_>) -> Option<Denial> {
    let grant = way.grant.as_ref().filter(|grant| grant.policy.judges_servers())?;
    let asked = |question: Question| agent.answered(&question);
    match message.kind() {
        Kind::Response { id } => {
            let was_asked = asked(Question::request(&grant.name, owner(agent, session), *id));
            (!was_asked).then(|| Denial::unasked(Reply::Drop))
        }
        Kind::Request { .. } => {
            let mut keys = message.input_responses().peekable();
            keys.peek()?;
            let subject = message.subject();
            let reply = message.tool().map_or(Reply::Error, |_| grant.policy.deny_as());
            let is_stray = keys.any(|key| !asked(Question::input(&grant.name, &subject, &key)));
            is_stray.then(|| Denial::unasked(reply))
        }
        Kind::Notification { .. } => None,
    }
}

/// The JSON text of the id that an answer to `message`, which stands in `body`, has to have.
pub(super) fn id(body: &Bytes, message: &Message<'_>) -> Option<Bytes> {
    match message.kind() {
        Kind::Request { id, .. } => Some(body.slice_ref(id.0.as_bytes())),
        Kind::Notification { .. } | Kind::Response { .. } => None,
    }
}

/// How an agent is told that what it sent cannot be recorded.
pub(super) fn unrecorded(message: &Message<'_>) -> Reply {
    match message.kind() {
        Kind::Request { .. } if message.tool().is_some() => Reply::Result,
        Kind::Request { .. } => Reply::Error,
        Kind::Notification { .. } | Kind::Response { .. } => Reply::Drop,
    }
}

/// Judges a request that carries no JSON-RPC.
pub fn other(agent: &Rc<Agent>, way: &Way, head: &Parts, target: Target) -> Judged<Passage> {
    let facts = Facts { method: Some(head.method.as_str()), ..Facts::of(head, Instant::now()) };
    let reading = match target {
        Target::Endpoint => Reading::stream(way.grant.as_deref()),
        Target::OtherPath(_) => Reading::elsewhere(way.grant.as_deref()),
    };
    let ruling = match passage(way.grant.as_deref(), target) {
        Ok(passage) => Ruling {
            effect: Ok(passage),
            rule: Rule::word(RuleKind::Protocol),
            observed: None,
            counters: CounterStates::new(),
        },
        Err(denial) => Ruling::deny(denial),
    };
    record(agent, way, &facts, ruling, Asked::plainly(head), reading, drop)
}

/// Refuses a request that was not read far enough to be judged; `reason` says more exactly than `cause` why.
pub fn refuse(agent: &Rc<Agent>, way: &Way, head: &Parts, cause: Cause, reason: String) -> Refusal {
    agent.worker.shared.telemetry.emit(events::Malformed { cause: cause.word() });
    let denial = Denial::malformed(reason, Reply::Error);
    let facts = Facts::of(head, Instant::now());
    match record(agent, way, &facts, Ruling::<Never>::deny(denial), Asked::plainly(head), Reading::Never, drop) {
        Judged::Refuse(refusal) => refusal,
        Judged::Forward { permit, .. } => match permit {},
    }
}

/// Stands for a permit that cannot be.
enum Never {}

pub(super) fn refuse_malformed(
    agent: &Rc<Agent>,
    way: &Way,
    head: &Parts,
    body: &Bytes,
    started: Instant,
    malformed: Malformed,
    fault: Option<(Fault, Reply)>,
) -> Judged<Permit> {
    let cause = fault.as_ref().map_or(malformed.cause, |(fault, _)| fault.cause);
    agent.worker.shared.telemetry.emit(events::Malformed { cause: cause.word() });
    let facts = Facts { received: body.len(), ..Facts::of(head, started) };
    let mut asked = Asked::plainly(head);
    let (reason, reply) = match fault {
        Some((fault, reply)) => (fault.to_string(), reply),
        None => (malformed.to_string(), Reply::Error),
    };
    asked.ids = malformed.id.map(Bytes::from).into_iter().collect();
    let denial = Denial::malformed(reason, reply);
    record(agent, way, &facts, Ruling::deny(denial), asked, Reading::Never, drop)
}

/// Who it is that a server's messages go to, and whose sessions' counters count: the session, or the agent's process where no
/// server minted `session`.
pub(super) fn owner<'a>(agent: &'a Agent, session: Option<&'a str>) -> &'a str {
    let minted = |id: &&str| agent.worker.shared.knows_session(&agent.server.name, id);
    session.filter(minted).unwrap_or(&agent.process)
}

/// What a decision depends on besides the message. A `session` that no server minted counts as the agent's process.
pub(super) fn context<'a>(agent: &'a Agent, way: &'a Way, session: Option<&'a str>) -> Context<'a> {
    let shared = &agent.worker.shared;
    Context {
        grant: way.grant.as_deref(),
        server: &agent.server.name,
        session: owner(agent, session),
        identity: &agent.identity,
        schemas: &shared.definitions,
        now: shared.clock.now(),
    }
}

/// What a record says of a message, besides the ruling.
pub(super) struct Facts<'a> {
    /// Which way it goes.
    pub direction: Direction,
    pub method: Option<&'a str>,
    pub tool: Option<&'a str>,
    pub session: Option<&'a str>,
    pub version: Option<&'a str>,
    pub arguments: Option<&'a [u8]>,
    pub received: usize,
    pub started: Instant,
    /// How it is told that this cannot be recorded, where the policy would allow it.
    pub unrecorded: Reply,
}

impl<'a> Facts<'a> {
    /// What the head alone says.
    fn of(head: &'a Parts, started: Instant) -> Self {
        let (session, version) = (text(head, "mcp-session-id"), text(head, "mcp-protocol-version"));
        Self { session, version, ..Self::unread(started) }
    }

    /// Nothing is known.
    fn unread(started: Instant) -> Self {
        Self {
            direction: Direction::ToServer,
            method: None,
            tool: None,
            session: None,
            version: None,
            arguments: None,
            received: 0,
            started,
            unrecorded: Reply::Error,
        }
    }
}

/// A decision, with the right that it gives.
pub(super) struct Ruling<P> {
    pub effect: Result<P, Denial>,
    rule: Rule,
    observed: Option<Denial>,
    counters: CounterStates,
}

/// A ruling that was recorded.
pub(super) enum Told<P> {
    /// It may pass; the call records the outcome.
    Pass(P, audit::Call),
    /// It may not; the outcome is recorded unless the decision could not be.
    Refuse(Denial, Option<audit::Call>),
}

/// Records a ruling on a request, which `undo` takes back where that fails.
fn record<P>(
    agent: &Rc<Agent>,
    way: &Way,
    facts: &Facts<'_>,
    ruling: Ruling<P>,
    asked: Asked,
    reading: Reading,
    undo: impl FnOnce(P),
) -> Judged<P> {
    match tell(agent, way, facts, ruling, undo) {
        Told::Pass(permit, call) => Judged::Forward { permit, call, reading, asked: Box::new(asked) },
        Told::Refuse(denial, call) => {
            Judged::Refuse(Refusal { denial, asked, tool: facts.tool.map(str::to_owned), call, others: Vec::new() })
        }
    }
}

/// Records a ruling. One that cannot be recorded becomes a denial, and `undo` takes its right back.
pub(super) fn tell<P>(agent: &Agent, way: &Way, facts: &Facts<'_>, ruling: Ruling<P>, undo: impl FnOnce(P)) -> Told<P> {
    let denial = ruling.effect.as_ref().err().or(ruling.observed.as_ref());
    let recorder = &agent.worker.recorder;
    let decided = Decided {
        call: recorder.next_call(),
        at: SystemTime::now(),
        identity: &agent.identity,
        grant: way.grant.as_ref().map(|grant| &*grant.name),
        server: &agent.server.name,
        direction: facts.direction,
        method: facts.method,
        tool: facts.tool,
        effect: if ruling.effect.is_ok() { Effect::Allow } else { Effect::Deny },
        rule: &ruling.rule,
        reason: denial.map(|denial| &*denial.reason),
        observed: ruling.observed.is_some(),
        counters: &ruling.counters,
        session: facts.session,
        protocol_version: facts.version,
        arguments: facts.arguments,
        took: facts.started.elapsed(),
    };
    match (recorder.decided(&decided), ruling.effect) {
        (Ok(mut call), effect) => {
            call.outcome.bytes_in = facts.received as u64;
            match effect {
                Ok(permit) => Told::Pass(permit, call),
                Err(denial) => Told::Refuse(denial, Some(call)),
            }
        }
        (Err(audit::Unavailable), effect) => {
            let reply = match effect {
                Ok(permit) => {
                    undo(permit);
                    facts.unrecorded
                }
                Err(denial) => denial.reply,
            };
            Told::Refuse(Denial::audit_unavailable(reply), None)
        }
    }
}

pub(super) fn text<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name)?.to_str().ok()
}

impl<P> Ruling<P> {
    pub(super) fn deny(denial: Denial) -> Self {
        Self { rule: denial.rule.clone(), effect: Err(denial), observed: None, counters: CounterStates::new() }
    }
}

impl Ruling<()> {
    /// Lets pass what `denial` would refuse.
    pub(super) fn observe(denial: Denial) -> Self {
        Self { rule: denial.rule.clone(), effect: Ok(()), observed: Some(denial), counters: CounterStates::new() }
    }
}

impl From<Verdict> for Ruling<Permit> {
    fn from(verdict: Verdict) -> Self {
        let effect = match verdict.decision {
            Decision::Allow(permit) => Ok(permit),
            Decision::Deny(denial) => Err(denial),
        };
        Self { effect, rule: verdict.rule, observed: verdict.observed, counters: verdict.counters }
    }
}
