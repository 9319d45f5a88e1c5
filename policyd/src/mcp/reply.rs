//! What policyd answers in place of a server: exact bytes, one line of JSON, HTTP 200 (but for a header mismatch, which is
//! 400) and the request's own id.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::ACCEPT;

use super::{Id, Version};

/// JSON-RPC error code of a denial: of the range that the specification leaves to implementations.
pub const DENIED: i32 = -32001;
/// JSON-RPC error code that servers give for an unknown tool.
pub const INVALID_PARAMS: i32 = -32602;
/// JSON-RPC error code of 2026-07-28 for headers that disagree with the body; its HTTP status is 400.
pub const HEADER_MISMATCH: i32 = -32020;

/// A denied `tools/call`: a result that the model can read, `Denied by policy: REASON`. When to try again is part of the reason.
pub fn denied_call(id: Id<'_>, reason: &str, version: Option<Version>) -> Bytes {
    let mut out = open(id);
    out.push_str(r#""result":{"content":[{"type":"text","text":"#);
    quote(&mut out, &denial(reason));
    out.push_str(r#"}],"isError":true"#);
    if version.is_some_and(Version::is_stateless) {
        out.push_str(r#","resultType":"complete""#);
    }
    out.push_str("}}");
    out.into()
}

/// Any other denied request: error -32001, the rule's JSON Pointer (or word) and the seconds to wait in `data`.
pub fn denied_request(id: Id<'_>, rule: &str, reason: &str, retry_after: Option<Duration>) -> Bytes {
    let mut data = String::from(r#"{"rule":"#);
    quote(&mut data, rule);
    if let Some(wait) = retry_after {
        data.push_str(&format!(r#","retryAfter":{}"#, seconds(wait)));
    }
    data.push('}');
    error(id, DENIED, &denial(reason), Some(&data))
}

/// A request whose headers do not say what its body says, as 2026-07-28 wants it refused (SEP-2243).
pub fn header_mismatch(id: Id<'_>, rule: &str, reason: &str) -> Bytes {
    let mut data = String::from(r#"{"rule":"#);
    quote(&mut data, rule);
    data.push('}');
    error(id, HEADER_MISMATCH, &format!("Header mismatch: {reason}"), Some(&data))
}

/// A call of a hidden tool: what a server says of a tool that it does not have.
pub fn unknown_tool(id: Id<'_>, tool: &str) -> Bytes {
    error(id, INVALID_PARAMS, &format!("Unknown tool: {tool}"), None)
}

/// A JSON-RPC error; `data` is JSON.
pub fn error(id: Id<'_>, code: i32, message: &str, data: Option<&str>) -> Bytes {
    let mut out = open(id);
    out.push_str(&format!(r#""error":{{"code":{code},"message":"#));
    quote(&mut out, message);
    if let Some(data) = data {
        out.push_str(r#","data":"#);
        out.push_str(data);
    }
    out.push_str("}}");
    out.into()
}

/// One of these replies as the only event of an SSE response.
pub fn as_event(json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len() + 32);
    out.extend_from_slice(b"event: message\ndata: ");
    out.extend_from_slice(json);
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// The form of a reply's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/json`
    Json,
    /// `text/event-stream`
    Sse,
}

/// The form that a client accepts: JSON where it can, because that needs no stream. Without an `Accept` JSON too.
pub fn accepts(headers: &HeaderMap) -> Form {
    let mut sse = false;
    for value in headers.get_all(ACCEPT) {
        for range in value.as_bytes().split(|&b| b == b',') {
            let mut parts = range.split(|&b| b == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            if parts.any(is_zero_weight) {
                continue;
            }
            if [&b"application/json"[..], b"application/*", b"*/*"].iter().any(|json| name.eq_ignore_ascii_case(json)) {
                return Form::Json;
            }
            sse |= [&b"text/event-stream"[..], b"text/*"].iter().any(|s| name.eq_ignore_ascii_case(s));
        }
    }
    if sse { Form::Sse } else { Form::Json }
}

/// `q=0`, `q=0.000`: not acceptable (RFC 9110, 12.4.2).
fn is_zero_weight(parameter: &[u8]) -> bool {
    match parameter {
        [b'q' | b'Q', b'=', weight @ ..] => {
            weight.first() == Some(&b'0') && weight.iter().all(|b| matches!(b, b'0' | b'.'))
        }
        _ => false,
    }
}

fn open(id: Id<'_>) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{},"#, id.0)
}

fn denial(reason: &str) -> String {
    format!("Denied by policy: {reason}")
}

/// Whole seconds, rounded up: never too early.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Writes a JSON string. Line ends beyond ASCII are escaped too: some SSE readers split lines there.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)))
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
