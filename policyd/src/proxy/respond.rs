//! The one place where refusals and failures become HTTP.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::request::Parts;
use http::{Response, StatusCode};
use smallvec::SmallVec;

use super::response::ReplyBody;
use crate::audit;
use crate::mcp::reply::{self, Form};
use crate::mcp::{Id, Version};
use crate::policy::{Denial, Instead, Reply};

/// JSON-RPC 2.0 §5.1: the server, or the way to it, failed.
pub const INTERNAL_ERROR: i32 = -32603;

/// How a request wants to be answered.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The JSON text of the request's id, of each request of a batch. None where no JSON-RPC answer is expected, or no id was
    /// read for certain.
    pub ids: SmallVec<[Bytes; 1]>,
    /// Whether it is a batch, whose answers are one.
    pub batch: bool,
    /// The protocol version that the client speaks.
    pub version: Option<Version>,
    /// JSON or SSE.
    pub form: Form,
    /// Whether it is an `initialize`, whose answer may name a session.
    pub opens_session: bool,
    /// Which request it is ([`Message::subject`](crate::mcp::Message::subject)), where its response is read for what it asks.
    pub subject: Option<Box<str>>,
}

/// A refused request.
pub struct Refusal {
    /// Why.
    pub denial: Denial,
    /// How to say so.
    pub asked: Asked,
    /// The tool it was about.
    pub tool: Option<String>,
    /// Records the outcome; `None` where the decision itself could not be recorded.
    pub call: Option<audit::Call>,
    /// What is said of the other messages of its batch.
    pub others: Vec<Refusal>,
}

impl Asked {
    /// A request of which no id is known.
    pub fn plainly(head: &Parts) -> Self {
        Self {
            ids: SmallVec::new(),
            batch: false,
            version: None,
            form: reply::accepts(&head.headers),
            opens_session: false,
            subject: None,
        }
    }

    /// The ids, as replies say them.
    pub fn ids(&self) -> impl Iterator<Item = Id<'_>> {
        // They came out of the strict parser, so they are UTF-8.
        self.ids.iter().filter_map(|id| std::str::from_utf8(id).ok()).map(Id)
    }
}

/// The reply to a refused request.
pub fn refusal(refusal: Refusal) -> Response<ReplyBody> {
    let (form, batch) = (refusal.asked.form, refusal.asked.batch);
    let mismatch = refusal.denial.reply == Reply::HeaderMismatch;
    let (mut messages, mut plain, mut retry, mut calls) = (Vec::new(), None, None, Vec::new());
    gather(refusal, &mut |Refusal { denial, asked, tool, call, .. }| {
        match denial.instead(asked.ids().next(), tool.as_deref(), asked.version) {
            Instead::Message(message) => messages.push(message),
            Instead::Text(line) => plain = plain.take().or(Some((plain_status(&denial), line))),
            Instead::Nothing => {}
        }
        retry = retry.max(denial.retry_after.map(|after| after.as_secs() + u64::from(after.subsec_nanos() > 0)));
        calls.extend(call);
    });
    let mut response = match (&messages[..], plain) {
        ([_, ..], _) => json(messages, batch, form),
        // Not 400, 404 or 405: these make clients fall back.
        ([], Some((status, line))) => text(status, &line),
        ([], None) => Response::builder().status(StatusCode::ACCEPTED).body(Bytes::new()).unwrap_or_default(),
    };
    if mismatch && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    if let Some(seconds) = retry {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer(response, audit::Call::of_batch(calls))
}

/// A refusal and those of the rest of its batch.
fn gather(mut refusal: Refusal, take: &mut impl FnMut(Refusal)) {
    let others = std::mem::take(&mut refusal.others);
    take(refusal);
    others.into_iter().for_each(take);
}

/// The reply to a request that was allowed and could not be answered by its server.
pub fn failure(asked: &Asked, message: &str, rule: Option<&str>, call: audit::Call) -> Response<ReplyBody> {
    let message = format!("policyd: {message}");
    let response = if asked.ids.is_empty() {
        text(StatusCode::BAD_GATEWAY, &message)
    } else {
        let data = rule.map(|rule| format!(r#"{{"rule":"{rule}"}}"#));
        let code = if rule.is_some() { reply::DENIED } else { INTERNAL_ERROR };
        let error = |id| reply::error(id, code, &message, data.as_deref());
        json(asked.ids().map(error).collect(), asked.batch, asked.form)
    };
    answer(response, Some(call))
}

/// The reply to a request that is not for this connection's server (RFC 9110 §15.5.20).
pub fn misdirected(refusal: Refusal) -> Response<ReplyBody> {
    let line = format!("policyd: {}", refusal.denial.reason);
    answer(text(StatusCode::MISDIRECTED_REQUEST, &line), refusal.call)
}

fn answer(response: Response<Bytes>, mut call: Option<audit::Call>) -> Response<ReplyBody> {
    if let Some(call) = &mut call {
        call.outcome.status = Some(response.status().as_u16());
    }
    response.map(|body| ReplyBody::own(body, call))
}

fn plain_status(denial: &Denial) -> StatusCode {
    use crate::policy::RuleKind::{AuditUnavailable, Malformed, StateUnavailable};
    match denial.rule.kind {
        Malformed => StatusCode::UNPROCESSABLE_ENTITY,
        AuditUnavailable | StateUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::FORBIDDEN,
    }
}

/// One message, or all answers to a batch: as an array, or each as an event of its own, which every client reads.
fn json(messages: Vec<Bytes>, batch: bool, form: Form) -> Response<Bytes> {
    let (body, media) = match form {
        Form::Json if batch => (Bytes::from([b"[", &messages.join(&b',')[..], b"]"].concat()), "application/json"),
        Form::Json => (Bytes::from(messages.concat()), "application/json"),
        Form::Sse => {
            let events: Vec<Bytes> = messages.iter().map(|message| reply::as_event(message)).collect();
            (Bytes::from(events.concat()), "text/event-stream")
        }
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(status: StatusCode, line: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{line}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
