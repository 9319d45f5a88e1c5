//! Batches (2025-03-26): every message is judged and recorded by itself, and the whole goes on, as it came, only if each of
//! them may. Servers execute the elements of an array one by one, so that anything else would let one decide for another.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use smallvec::SmallVec;

use super::agent::{Agent, Way};
use super::judge::{self, Facts, Judged, Ruling, Told};
use super::messages::Reading;
use super::respond::{Asked, Refusal};
use crate::audit;
use crate::mcp::batch;
use crate::mcp::headers::{self, Fault};
use crate::mcp::pending::loose;
use crate::mcp::{self, Cause, Id, Kind, Malformed, Version};
use crate::policy::{Denial, Direction, Permit, Reply, Reservation};
use crate::telemetry::events;

/// One message of a batch, judged. What a record says of it is kept, since the parser goes on to the next.
struct Element {
    bytes: Bytes,
    id: Option<Bytes>,
    method: Option<String>,
    tool: Option<String>,
    arguments: Option<Bytes>,
    unrecorded: Reply,
    reading: Reading,
    ruling: Ruling<Permit>,
}

/// The ids of a batch, as loosely as clients match answers to requests. Each is unescaped once: one may be as long as the
/// body.
#[derive(Debug, Default)]
struct Ids(HashSet<Box<str>>);

/// Judges a body that is an array.
pub(super) fn judge(agent: &Rc<Agent>, way: &Way, head: &Parts, body: &Bytes, started: Instant) -> Judged<Permit> {
    let session = judge::text(head, "mcp-session-id");
    let refuse = |cause: Cause, at: usize, fault: Option<Fault>| {
        let malformed = Malformed { cause, at, id: None };
        let fault = fault.map(|fault| (fault, Reply::Error));
        judge::refuse_malformed(agent, way, head, body, started, malformed, fault)
    };
    if let Err(fault) = headers::check_head(&head.headers).and_then(|()| headers::check_no_mirrors(&head.headers)) {
        return refuse(fault.cause, 0, Some(fault));
    }
    if !is_agreed(agent, head, session) {
        return refuse(Cause::Batch, 0, None);
    }
    let places = match batch::elements(&mut agent.worker.parser.borrow_mut(), body) {
        Ok(places) => places,
        Err(error) => return refuse(error.cause, error.at, None),
    };
    let mut ids = Ids::default();
    let mut elements: Vec<Element> =
        places.into_iter().map(|place| element(agent, way, session, body.slice(place), &mut ids)).collect();
    if elements.iter().any(|element| element.ruling.effect.is_err()) {
        elements.iter_mut().for_each(Element::refuse);
    }
    tell(agent, way, head, body, session, started, elements)
}

/// Whether batches were agreed on: the server named 2025-03-26 in its answer to `initialize`, or, where that was not seen, the
/// request's header does.
fn is_agreed(agent: &Agent, head: &Parts, session: Option<&str>) -> bool {
    let owner = judge::owner(agent, session);
    let said = || judge::text(head, "mcp-protocol-version").and_then(Version::parse);
    agent.worker.shared.agreed(&agent.server.name, owner).or_else(said) == Some(Version::V2025_03_26)
}

/// Judges one message; `ids` are those of the messages in front of it.
fn element(agent: &Agent, way: &Way, session: Option<&str>, bytes: Bytes, ids: &mut Ids) -> Element {
    let mut parser = agent.worker.parser.borrow_mut();
    let malformed = |cause: Cause, reason: String, id: Option<Bytes>| {
        agent.worker.shared.telemetry.emit(events::Malformed { cause: cause.word() });
        let ruling = Ruling::deny(Denial::malformed(reason, Reply::Error));
        let (bytes, reading) = (bytes.clone(), Reading::Never);
        Element { bytes, id, method: None, tool: None, arguments: None, unrecorded: Reply::Error, reading, ruling }
    };
    let message = match mcp::vet(&mut parser, &bytes) {
        Ok(message) => message,
        Err(error) => {
            let id = error.id.clone().map(Bytes::from);
            if let Some(id) = &id {
                ids.take(id);
            }
            return malformed(error.cause, error.to_string(), id);
        }
    };
    let id = judge::id(&bytes, &message);
    let is_repeated = id.as_ref().is_some_and(|id| !ids.take(id));
    match message.kind() {
        // 2025-03-26, Lifecycle: "The initialize request MUST NOT be part of a JSON-RPC batch".
        Kind::Request { method, .. } if method == "initialize" => {
            return malformed(Cause::BatchedInitialize, Cause::BatchedInitialize.to_string(), id);
        }
        Kind::Request { .. } if is_repeated => {
            return malformed(Cause::RepeatedId, Cause::RepeatedId.to_string(), None);
        }
        _ => {}
    }
    Element {
        id,
        method: message.method().map(str::to_owned),
        tool: message.tool().map(str::to_owned),
        arguments: message.arguments().map(|arguments| bytes.slice_ref(arguments.raw().as_bytes())),
        unrecorded: judge::unrecorded(&message),
        reading: Reading::of(way.grant.as_deref(), &message),
        ruling: judge::verdict(agent, way, session, &message).into(),
        bytes: bytes.clone(),
    }
}

// === impl Ids ===

impl Ids {
    /// Takes an id; gives whether it was free.
    fn take(&mut self, id: &[u8]) -> bool {
        self.0.insert(loose(Id(&String::from_utf8_lossy(id))).into())
    }
}

// === impl Element ===

impl Element {
    /// Makes an allowed message one that is refused for its neighbours' sake.
    fn refuse(&mut self) {
        if self.ruling.effect.is_err() {
            return;
        }
        let ruling = Ruling::deny(Denial::batch(self.unrecorded));
        if let Ok(permit) = std::mem::replace(&mut self.ruling, ruling).effect {
            permit.redeem().1.give_back();
        }
    }
}

/// Records what was decided about each message, and about the whole.
fn tell(
    agent: &Rc<Agent>,
    way: &Way,
    head: &Parts,
    body: &Bytes,
    session: Option<&str>,
    started: Instant,
    elements: Vec<Element>,
) -> Judged<Permit> {
    let version = Some(Version::V2025_03_26);
    let form = mcp::reply::accepts(&head.headers);
    let asked =
        |ids: SmallVec<[Bytes; 1]>| Asked { ids, batch: true, version, form, opens_session: false, subject: None };
    let all = asked(elements.iter().filter_map(|element| element.id.clone()).collect());
    let reads = elements.iter().any(|element| element.reading == Reading::Messages);
    let reading = if reads { Reading::Messages } else { Reading::Never };
    let mut is_refused = false;
    let (mut permits, mut refusals) = (Vec::new(), Vec::new());
    for Element { bytes, id, method, tool, arguments, unrecorded, ruling, .. } in elements {
        let facts = Facts {
            direction: Direction::ToServer,
            method: method.as_deref(),
            tool: tool.as_deref(),
            session,
            version: version.map(Version::name),
            arguments: arguments.as_deref(),
            received: bytes.len(),
            started,
            unrecorded,
        };
        let (denial, call) = match judge::tell(agent, way, &facts, ruling, |permit| permit.redeem().1.give_back()) {
            Told::Pass(permit, call) => {
                permits.push(permit);
                (Denial::batch(unrecorded), Some(call))
            }
            Told::Refuse(denial, call) => {
                is_refused = true;
                (denial, call)
            }
        };
        let asked = asked(id.into_iter().collect());
        refusals.push(Refusal { denial, asked, tool, call, others: Vec::new() });
    }
    if is_refused {
        // Only where a record could not be written: what was refused before holds no permit.
        take_back(permits.into_iter().map(|permit| permit.redeem().1), &mut refusals);
        return Judged::Refuse(together(refusals, all));
    }
    let calls = refusals.iter_mut().filter_map(|refusal| refusal.call.take()).collect();
    match (Permit::batch(body.clone(), permits), audit::Call::of_batch(calls)) {
        (Some(permit), Some(call)) => Judged::Forward { permit, call, reading, asked: Box::new(all) },
        // The permits are for the very elements of this array, so that this does not come about.
        _ => Judged::Refuse(together(refusals, all)),
    }
}

/// Frees what the messages reserved that were recorded as allowed and do not go on: their outcomes, which all say the same, say
/// so.
fn take_back(reservations: impl Iterator<Item = Reservation>, refusals: &mut [Refusal]) {
    let (mut is_any, mut returned) = (false, false);
    for reservation in reservations {
        (is_any, returned) = (true, returned || !reservation.is_empty());
        reservation.give_back();
    }
    for call in refusals.iter_mut().filter_map(|refusal| refusal.call.as_mut()).filter(|_| is_any) {
        call.outcome.returned = returned;
        call.outcome.error = Some("audit-unavailable");
    }
}

/// The refusals of a batch's messages as one.
fn together(refusals: Vec<Refusal>, all: Asked) -> Refusal {
    let mut others = refusals.into_iter();
    let first = others.next().unwrap_or_else(|| Refusal {
        denial: Denial::batch(Reply::Error),
        asked: Asked { ids: SmallVec::new(), ..all },
        tool: None,
        call: None,
        others: Vec::new(),
    });
    Refusal { others: others.collect(), ..first }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::pin::Pin;
    use std::task::{Context, Waker};

    use http_body::Body;
    use prometheus::Registry;
    use rust_decimal::Decimal;
    use serde_json::Value;

    use super::*;
    use crate::audit::{Key, Log, Recorder};
    use crate::config;
    use crate::mcp::reply::Form;
    use crate::policy::{CounterKey, Counters, Now, RuleKind, ScopeKey, Time, Want, Window};
    use crate::proxy::respond;
    use crate::state::Memory;
    use crate::telemetry::Telemetry;
    use crate::telemetry::samples::{allowed, identity, rule};

    /// The outcomes of two messages that were recorded as allowed, in front of one whose record failed.
    fn outcomes(reservations: Vec<Reservation>) -> Vec<Value> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let telemetry = Telemetry::new(Registry::new(), None).unwrap();
        let audit = config::Audit { path: Some(path.clone()), arguments: false };
        let log = Log::open(&audit, &Key::ephemeral().unwrap(), &telemetry).unwrap();
        let recorder = Recorder::new(&telemetry, &log).unwrap();
        let asked = |id: &'static str| Asked {
            ids: [Bytes::from(id)].into_iter().collect(),
            batch: true,
            version: Some(Version::V2025_03_26),
            form: Form::Json,
            opens_session: false,
            subject: None,
        };
        let (identity, rule) = (identity(), rule("/tools/search", RuleKind::Tool));
        let recorded = |id| Refusal {
            denial: Denial::batch(Reply::Error),
            asked: asked(id),
            tool: None,
            call: Some(recorder.decided(&allowed(recorder.next_call(), &identity, &rule)).unwrap()),
            others: Vec::new(),
        };
        let denial = Denial::audit_unavailable(Reply::Error);
        let unrecorded = Refusal { denial, asked: asked("3"), tool: None, call: None, others: Vec::new() };
        let mut refusals = vec![recorded("1"), recorded("2"), unrecorded];
        take_back(reservations.into_iter(), &mut refusals);
        let mut body = respond::refusal(together(refusals, asked("1"))).into_body();
        assert!(Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())).is_ready(), "it is at hand");
        let text = std::fs::read_to_string(&path).unwrap();
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.filter(|record| record["record"] == "outcome").collect()
    }

    #[test]
    fn what_was_allowed_and_does_not_go_on_says_so_and_that_its_quota_is_free() {
        let memory = Memory::default();
        let window = Window::Rolling(1_000_000_000);
        let mut want = [Want {
            counter: CounterKey { scope: ScopeKey::Host, name: "searches", own: false },
            window,
            windows: &[window],
            max: Decimal::ONE,
            amount: Decimal::ONE,
            used: Decimal::ZERO,
        }];
        let held = memory.reserve(&mut want, Now::at(Time(0))).unwrap();
        assert!(memory.reserve(&mut want, Now::at(Time(0))).is_err());
        for (held, returned) in [(held, true), (Reservation::default(), false)] {
            let outcomes = outcomes(vec![Reservation::default(), held]);
            assert_eq!(outcomes.len(), 2);
            for outcome in outcomes {
                assert_eq!(outcome["status"], 200, "{outcome}");
                assert_eq!(outcome["error"], "audit-unavailable", "{outcome}");
                assert_eq!(outcome["quota_returned"], returned, "{outcome}");
            }
        }
        assert!(memory.reserve(&mut want, Now::at(Time(0))).is_ok(), "it is free again");
        // What was refused by itself did not go wrong.
        for outcome in outcomes(Vec::new()) {
            assert!(outcome["error"].is_null() && outcome["quota_returned"] == false, "{outcome}");
        }
    }

    #[test]
    fn an_id_is_free_once_however_it_is_written() {
        let mut ids = Ids::default();
        for (id, is_free) in [
            ("1", true),
            (r#""1""#, false),
            (r#""\u0031""#, false),
            ("2", true),
            (r#""x""#, true),
            (r#""\u0078""#, false),
            (r#""X""#, true),
            (r#""""#, true),
            ("2", false),
        ] {
            assert_eq!(ids.take(id.as_bytes()), is_free, "{id}");
        }
    }
}
