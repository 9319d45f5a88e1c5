//! What the HTTP head says of a body that is policed. It decides nothing; where it can be read in two ways or disagrees with the
//! body, the request is refused. (MCP 2026-07-28, Streamable HTTP, "Request Metadata".)

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, TRANSFER_ENCODING};

use super::json::{Kind, Value};
use super::{Cause, Message, Version, method};

/// The session of 2025-03-26 to 2025-11-25.
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The revision, from 2025-06-18.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// Mirrors `method`, from 2026-07-28.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// Mirrors `params.name` or `params.uri`, from 2026-07-28.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// Mirrors arguments whose schema says so, from 2026-07-28.
const PARAM_PREFIX: &str = "mcp-param-";

/// Headers of which a second one may be read instead of the first.
const SINGLETONS: &[&str] = &[
    "host",
    "origin",
    "authorization",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "last-event-id",
];

/// Why a head was refused, and which header it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}: `{header}`")]
pub struct Fault {
    /// What is wrong.
    pub cause: Cause,
    /// The header's name.
    pub header: HeaderName,
}

fn fail<T>(cause: Cause, header: &HeaderName) -> Result<T, Fault> {
    Err(Fault { cause, header: header.clone() })
}

/// Checks the head of a request whose body is policed, before the body is read: media type, encoding, lengths, headers that
/// are given twice or under a name that some servers take for another.
///
/// # Errors
///
/// The first header that is not acceptable.
pub fn check_head(headers: &HeaderMap) -> Result<(), Fault> {
    check_singletons(headers)?;
    if headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING) {
        return fail(Cause::BodyLength, &TRANSFER_ENCODING);
    }
    match headers.get(CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            return fail(Cause::ContentEncoding, &CONTENT_ENCODING);
        }
        _ => {}
    }
    match headers.get(CONTENT_TYPE) {
        Some(value) => check_media_type(value.as_bytes()).or_else(|cause| fail(cause, &CONTENT_TYPE)),
        None => fail(Cause::MediaType, &CONTENT_TYPE),
    }
}

fn check_singletons(headers: &HeaderMap) -> Result<(), Fault> {
    for name in headers.keys() {
        let text = name.as_str();
        let protocol = text.starts_with("mcp-");
        if (protocol || SINGLETONS.contains(&text)) && headers.get_all(name).iter().nth(1).is_some() {
            return fail(Cause::RepeatedHeader, name);
        }
        // CGI, WSGI and Rack give `a-b` and `a_b` to the application under one name.
        if text.contains('_') {
            let dashed = text.replace('_', "-");
            if dashed.starts_with("mcp-") || SINGLETONS.contains(&dashed.as_str()) {
                return fail(Cause::HeaderVariant, name);
            }
        }
    }
    Ok(())
}

/// `application/json`, with nothing but `charset=utf-8`.
fn check_media_type(value: &[u8]) -> Result<(), Cause> {
    let mut parts = value.splitn(2, |&b| b == b';').map(<[u8]>::trim_ascii);
    if !parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"application/json")) {
        return Err(Cause::MediaType);
    }
    match parts.next() {
        None => Ok(()),
        Some(p) if p.eq_ignore_ascii_case(b"charset=utf-8") || p.eq_ignore_ascii_case(b"charset=\"utf-8\"") => Ok(()),
        Some(_) => Err(Cause::MediaTypeParameter),
    }
}

/// Checks the headers that repeat what the body says, once the body is vetted, and gives the revision that the request
/// speaks: what the body says of it, else the header.
///
/// `Mcp-Param-*` is compared with the arguments' own values, since which argument it mirrors stands in the tool's schema: the
/// header must agree with one that a schema could have named.
///
/// # Errors
///
/// The first header that disagrees or cannot be read.
pub fn check_mirrors(headers: &HeaderMap, message: &Message<'_>) -> Result<Option<Version>, Fault> {
    let header_version = match headers.get(PROTOCOL_VERSION) {
        Some(value) => Some(value.to_str().or_else(|_| fail(Cause::BadHeaderValue, &PROTOCOL_VERSION))?),
        None => None,
    };
    if let Some((header, body)) = header_version.zip(message.meta_version())
        && header != body
    {
        return fail(Cause::HeaderMismatch, &PROTOCOL_VERSION);
    }
    if let Some(value) = headers.get(METHOD)
        && message.method().map(str::as_bytes) != Some(value.as_bytes())
    {
        return fail(Cause::HeaderMismatch, &METHOD);
    }
    if let Some(value) = headers.get(NAME) {
        let said = decode(value).or_else(|cause| fail(cause, &NAME))?;
        if !names(message, &said) {
            return fail(Cause::HeaderMismatch, &NAME);
        }
    }
    for (name, value) in headers {
        if name.as_str().starts_with(PARAM_PREFIX) {
            let said = decode(value).or_else(|cause| fail(cause, name))?;
            if !message.arguments().is_some_and(|arguments| holds(arguments, &said)) {
                return fail(Cause::HeaderMismatch, name);
            }
        }
    }
    Ok(message.version().or_else(|| Version::parse(header_version?)))
}

/// Whether `fault` is one that a request of a stateless revision is told of as a header mismatch: a mirror header that
/// disagrees or cannot be read, and either the headers or the body say that they speak such a revision.
pub fn is_mismatch(fault: &Fault, headers: &HeaderMap, message: &Message<'_>) -> bool {
    let header = || headers.get(PROTOCOL_VERSION).and_then(|value| Version::parse(value.to_str().ok()?));
    matches!(fault.cause, Cause::HeaderMismatch | Cause::BadHeaderValue)
        && message.version().or_else(header).is_some_and(Version::is_stateless)
}

/// Refuses the headers that mirror one message over a body that holds several: no header can agree with all of them.
///
/// # Errors
///
/// The first such header.
pub fn check_no_mirrors(headers: &HeaderMap) -> Result<(), Fault> {
    let mirrors = |name: &&HeaderName| **name == METHOD || **name == NAME || name.as_str().starts_with(PARAM_PREFIX);
    headers.keys().find(mirrors).map_or(Ok(()), |name| fail(Cause::HeaderMismatch, name))
}

/// Whether `Mcp-Name` may say this. Where it is not known what it mirrors for a method, any of what it mirrors for others.
fn names(message: &Message<'_>, said: &str) -> bool {
    let says = |key: &str| message.params().and_then(|params| params.get(key)).is_some_and(|value| value.is_str(said));
    match message.method().and_then(method::subject_key) {
        Some(key) => says(key),
        None => ["name", "uri", "taskId"].into_iter().any(says),
    }
}

/// Whether an object, or an object in it, has a member whose value the header could mirror.
fn holds(object: Value<'_>, said: &str) -> bool {
    object.entries().any(|(_, value)| match value.kind() {
        Kind::String => value.is_str(said),
        Kind::Bool => value.raw() == said,
        Kind::Number => value.raw() == said || same_integer(value.raw(), said),
        // At most as deep as the parser allows.
        Kind::Object => holds(value, said),
        Kind::Null | Kind::Array => false,
    })
}

/// Compares as the specification asks: `42` is `42.0`, within what a double holds exactly.
fn same_integer(body: &str, said: &str) -> bool {
    const SAFE: f64 = 9_007_199_254_740_991.0;
    match (body.parse::<f64>(), said.parse::<f64>()) {
        (Ok(a), Ok(b)) => a == b && a.abs() <= SAFE && a.fract() == 0.0,
        _ => false,
    }
}

/// A mirror header's value: as it stands, or out of `=?base64?…?=`.
fn decode(value: &HeaderValue) -> Result<Cow<'_, str>, Cause> {
    let text = value.to_str().map_err(|_| Cause::BadHeaderValue)?;
    match text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(encoded) => {
            let bytes = base64(encoded.as_bytes()).ok_or(Cause::BadHeaderValue)?;
            String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Cause::BadHeaderValue)
        }
        None => Ok(Cow::Borrowed(text)),
    }
}

/// RFC 4648, section 4, canonical only: padded, no bits left over, so that no two texts mean the same.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (groups, rest) = text.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    for (index, group) in groups.iter().enumerate() {
        let padding = group.iter().rev().take_while(|&&b| b == b'=').count();
        if padding > 2 || (padding > 0 && index + 1 != groups.len()) {
            return None;
        }
        let bits = group[..4 - padding].iter().try_fold(0_u32, |bits, &b| Some(bits << 6 | sextet(b)?))?;
        let bytes = (bits << (6 * padding)).to_be_bytes();
        let (kept, left) = bytes[1..].split_at(3 - padding);
        if left.iter().any(|&b| b != 0) {
            return None;
        }
        out.extend_from_slice(kept);
    }
    Some(out)
}

fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
