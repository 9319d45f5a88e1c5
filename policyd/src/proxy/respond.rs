//! The one place where refusals and failures become HTTP.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::request::Parts;
use http::{Response, StatusCode};

use super::response::ReplyBody;
use crate::audit;
use crate::mcp::reply::{self, Form};
use crate::mcp::{Id, Version};
use crate::policy::{Denial, Instead};

/// JSON-RPC 2.0 §5.1: the server, or the way to it, failed.
const INTERNAL_ERROR: i32 = -32603;

/// How a request wants to be answered.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The JSON text of the request's id; `None` where no JSON-RPC answer is expected, or no id was read for certain.
    pub id: Option<Bytes>,
    /// The protocol version that the client speaks.
    pub version: Option<Version>,
    /// JSON or SSE.
    pub form: Form,
    /// Whether it is an `initialize`, whose answer may name a session.
    pub opens_session: bool,
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
}

impl Asked {
    /// A request of which no id is known.
    pub fn plainly(head: &Parts) -> Self {
        Self { id: None, version: None, form: reply::accepts(&head.headers), opens_session: false }
    }

    fn id(&self) -> Option<Id<'_>> {
        // It came out of the strict parser, so it is UTF-8.
        self.id.as_deref().and_then(|id| std::str::from_utf8(id).ok()).map(Id)
    }
}

/// The reply to a refused request.
pub fn refusal(refusal: Refusal) -> Response<ReplyBody> {
    let Refusal { denial, asked, tool, call } = refusal;
    let retry = denial.retry_after.map(|after| after.as_secs() + u64::from(after.subsec_nanos() > 0));
    let mut response = match denial.instead(asked.id(), tool.as_deref(), asked.version) {
        Instead::Message(message) => json(message, asked.form),
        // Not 400, 404 or 405: these make clients fall back.
        Instead::Text(line) => text(plain_status(&denial), &line),
        Instead::Nothing => Response::builder().status(StatusCode::ACCEPTED).body(Bytes::new()).unwrap_or_default(),
    };
    if let Some(seconds) = retry {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer(response, call)
}

/// The reply to a request that was allowed and could not be answered by its server.
pub fn failure(asked: &Asked, message: &str, rule: Option<&str>, call: audit::Call) -> Response<ReplyBody> {
    let response = match asked.id() {
        Some(id) => {
            let data = rule.map(|rule| format!(r#"{{"rule":"{rule}"}}"#));
            let code = if rule.is_some() { reply::DENIED } else { INTERNAL_ERROR };
            json(reply::error(id, code, &format!("policyd: {message}"), data.as_deref()), asked.form)
        }
        None => text(StatusCode::BAD_GATEWAY, &format!("policyd: {message}")),
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

fn json(body: Bytes, form: Form) -> Response<Bytes> {
    let (body, media) = match form {
        Form::Json => (body, "application/json"),
        Form::Sse => (reply::as_event(&body), "text/event-stream"),
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
