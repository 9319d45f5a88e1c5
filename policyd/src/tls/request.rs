//! A strict reader of the head of a plain HTTP/1 request, to tell whom it is for. Pure: it is given all bytes that have
//! arrived so far. The request itself is parsed again, by the HTTP server, when the connection is inspected.

use std::net::{IpAddr, Ipv6Addr};

use crate::config::Host;

use super::hello::dns_name;

/// Bytes within which a request's head must end.
pub const MAX: usize = 64 * 1024;

/// Header fields within which a request's head must end.
const MAX_HEADERS: usize = 256;

/// What an HTTP/2 client that assumes cleartext HTTP/2 sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whom a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The authority of an absolute-form target (`GET http://host/ HTTP/1.1`) or of a CONNECT.
    pub target: Option<Authority>,
    /// The Host field. `None` where it is missing or empty.
    pub host: Option<Authority>,
    /// Whether the method is CONNECT.
    pub connect: bool,
    /// Whether there is an Upgrade field.
    pub upgrade: bool,
}

/// A host and a port, as the client wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The host: lower case, no brackets, no trailing dot.
    pub host: Host,
    /// The port, if there is one.
    pub port: Option<u16>,
}

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a request's head, but not all of it.
    NeedMore,
    /// A whole head.
    Request(Head),
    /// HTTP/2 without TLS and without Upgrade ("prior knowledge").
    H2c,
    /// No HTTP.
    NotHttp,
    /// It says that it is HTTP and is wrong: why, for the log.
    Malformed(&'static str),
}

/// Reads a request's head from the first bytes of a connection, all of those that have arrived so far.
pub fn parse(bytes: &[u8]) -> Parsed {
    if bytes.starts_with(PREFACE) {
        return Parsed::H2c;
    }
    if PREFACE.starts_with(bytes) {
        return Parsed::NeedMore;
    }
    match claims_http(bytes) {
        Some(false) => return Parsed::NotHttp,
        None if bytes.len() >= MAX => return Parsed::NotHttp,
        None => return Parsed::NeedMore,
        Some(true) => {}
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX => match head(&request) {
            Ok(head) => Parsed::Request(head),
            Err(why) => Parsed::Malformed(why),
        },
        Ok(httparse::Status::Partial) if bytes.len() < MAX => Parsed::NeedMore,
        Ok(_) => Parsed::Malformed("a head longer than 64 KiB"),
        Err(httparse::Error::TooManyHeaders) => Parsed::Malformed("more than 256 header fields"),
        Err(_) => Parsed::Malformed("no well-formed request head"),
    }
}

/// Whether the first line is that of an HTTP/1 request; `None` while that is open. Other protocols that begin with text
/// (SSH, SMTP, Redis) must not be held up for long, and must not be called malformed HTTP.
fn claims_http(bytes: &[u8]) -> Option<bool> {
    // Servers skip empty lines before the request line (RFC 9112, section 2.2), and so does httparse.
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let bytes = &bytes[start..];
    let line = bytes.iter().position(|byte| *byte == b'\n').map(|end| &bytes[..end]);
    let method = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
    if method == 0 || method > 32 || !bytes[..method].iter().all(|byte| is_token(*byte)) {
        return Some(false);
    }
    // The same answer for the line's beginning as for all of it, however much has arrived.
    if line.unwrap_or(bytes).iter().any(|byte| *byte < b' ' && !matches!(byte, b'\r' | b'\t')) {
        return Some(false);
    }
    line.map(|line| line.windows(6).any(|window| window.eq_ignore_ascii_case(b" HTTP/")))
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn head(request: &httparse::Request<'_, '_>) -> Result<Head, &'static str> {
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let connect = method == "CONNECT";
    let mut hosts = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err("more than one Host field"),
        (Some(field), None) if field.value.trim_ascii().is_empty() => None,
        (Some(field), None) => Some(authority(field.value.trim_ascii()).ok_or("a Host field that names no host")?),
        (None, None) => None,
    };
    let target = if connect { Some(target) } else { absolute(target) };
    let target = match target {
        Some(target) => Some(authority(target.as_bytes()).ok_or("a request target that names no host")?),
        None => None,
    };
    let upgrade = request.headers.iter().any(|field| field.name.eq_ignore_ascii_case("upgrade"));
    Ok(Head { target, host, connect, upgrade })
}

/// The authority of an absolute-form target, whatever its scheme.
fn absolute(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return None;
    }
    let (scheme, rest) = target.split_once("://")?;
    if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
        return None;
    }
    Some(rest.split(['/', '?', '#', '\\']).next().unwrap_or(rest))
}

/// Reads `host`, `host:port`, `1.2.3.4:port` or `[::1]:port`. User information is refused: it is of no use here, and it
/// makes what looks like one host another.
pub fn authority(text: &[u8]) -> Option<Authority> {
    let text = str::from_utf8(text).ok()?;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            let host = Host::Address(IpAddr::V6(host.parse::<Ipv6Addr>().ok()?).to_canonical());
            match rest {
                "" => (host, None),
                rest => (host, Some(rest.strip_prefix(':')?)),
            }
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            let host = match host.parse::<IpAddr>() {
                Ok(address) => Host::Address(address),
                Err(_) => Host::Name(dns_name(host)?),
            };
            (host, port)
        }
    };
    let port = match port {
        None | Some("") => None,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
        Some(_) => return None,
    };
    Some(Authority { host, port })
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
