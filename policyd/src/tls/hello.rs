//! A strict reader of the first TLS message, the ClientHello. Pure: it is given all bytes that have arrived so far.
//!
//! Stricter than any server, so that no server can see another name than policyd did: what is ambiguous (two names, an
//! extension twice, a name that is no DNS name) is malformed. RFC 8446 section 4.1.2, RFC 6066 section 3, RFC 7301
//! section 3.1, RFC 9849 (Encrypted Client Hello).

use rustls::pki_types::DnsName;

/// Bytes within which a ClientHello must end, record headers included. Post-quantum key shares make 2 KiB common;
/// nothing sends more than a few.
pub const MAX: usize = 64 * 1024;

/// The largest plaintext record (RFC 8446, section 5.1).
const MAX_RECORD: usize = 1 << 14;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
/// ESNI, ECH's forerunner: it hides the name likewise.
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

/// What a ClientHello says about where it wants to go and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The server's name: lower case, no trailing dot. `None` without the extension, and for an address literal, which
    /// RFC 6066 does not allow and servers ignore.
    pub sni: Option<String>,
    /// The application protocols offered, best first; empty without the extension.
    pub alpn: Vec<Vec<u8>>,
    /// Whether an (outer) encrypted ClientHello is there. Browsers send random ones to every server (GREASE).
    pub ech: bool,
    /// The TLS versions offered (`0x0304` is 1.3), as `supported_versions` lists them, else the one legacy version.
    pub versions: Vec<u16>,
}

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a ClientHello, but not all of it.
    NeedMore,
    /// A whole ClientHello.
    Hello(Hello),
    /// No TLS.
    NotTls,
    /// It begins as TLS and is wrong: why, for the log.
    Malformed(&'static str),
}

/// Reads a ClientHello from the first bytes of a connection, all of those that have arrived so far.
///
/// It may be fragmented over any number of records. Nothing is copied until it is complete.
pub fn parse(bytes: &[u8]) -> Parsed {
    match read(bytes) {
        Ok(hello) => Parsed::Hello(hello),
        Err(Stop::NeedMore) if bytes.len() >= MAX => Parsed::Malformed("longer than 64 KiB"),
        Err(Stop::NeedMore) => Parsed::NeedMore,
        Err(Stop::NotTls) => Parsed::NotTls,
        Err(Stop::Malformed(why)) => Parsed::Malformed(why),
    }
}

enum Stop {
    NeedMore,
    NotTls,
    Malformed(&'static str),
}

const fn malformed<T>(why: &'static str) -> Result<T, Stop> {
    Err(Stop::Malformed(why))
}

fn read(bytes: &[u8]) -> Result<Hello, Stop> {
    let length = message_length(bytes)?;
    // One record is the common case and is read in place.
    if let Some(payload) = bytes.get(5..).map(|rest| &rest[..rest.len().min(record_length(bytes))])
        && let Some(message) = payload.get(4..4 + length)
    {
        return body(message);
    }
    let mut message = Vec::with_capacity(4 + length);
    for payload in records(bytes) {
        message.extend_from_slice(payload?);
        if message.len() >= 4 + length {
            return body(&message[4..4 + length]);
        }
    }
    Err(Stop::NeedMore)
}

type Split<'a> = (&'a [u8], &'a [u8]);

fn record_length(bytes: &[u8]) -> usize {
    match bytes {
        [_, _, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    }
}

/// The length of the ClientHello's body, once all of it has arrived in well-formed records.
fn message_length(bytes: &[u8]) -> Result<usize, Stop> {
    let mut header = [0; 4];
    let (mut have, mut total) = (0, 0);
    for payload in records(bytes) {
        let payload = payload?;
        for byte in payload.iter().take(4 - have) {
            header[have] = *byte;
            have += 1;
        }
        if have > 0 && header[0] != CLIENT_HELLO {
            return malformed("the first handshake message is no ClientHello");
        }
        total += payload.len();
        let length = usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]);
        if have == 4 && length > MAX {
            return malformed("longer than 64 KiB");
        }
        if have == 4 && total >= 4 + length {
            return Ok(length);
        }
    }
    Err(Stop::NeedMore)
}

/// The payloads of the records, the last one as far as it has arrived; ends at an incomplete header.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<&[u8], Stop>> {
    let mut first = true;
    std::iter::from_fn(move || {
        let was_first = std::mem::replace(&mut first, false);
        match record(bytes, was_first) {
            Ok(Some((payload, rest))) => {
                bytes = rest;
                Some(Ok(payload))
            }
            Ok(None) => None,
            Err(stop) => {
                bytes = &[];
                Some(Err(stop))
            }
        }
    })
}

/// The payload of the first record and what follows it; `None` while its header is incomplete.
fn record(bytes: &[u8], first: bool) -> Result<Option<Split<'_>>, Stop> {
    let Some(kind) = bytes.first() else { return Ok(None) };
    let Some(major) = bytes.get(1) else {
        return if (20..=24).contains(kind) || !first { Ok(None) } else { Err(Stop::NotTls) };
    };
    if first && !((20..=24).contains(kind) && *major == 3) {
        // Some servers take any major version on the first record; that a name hides there must not let it pass.
        let looks_like_hello = *kind == HANDSHAKE && bytes.get(5).is_none_or(|kind| *kind == CLIENT_HELLO);
        return match (looks_like_hello, bytes.len() > 5) {
            (true, true) => malformed("a ClientHello in a record of an unknown version"),
            (true, false) => Ok(None),
            (false, _) => Err(Stop::NotTls),
        };
    }
    if *kind != HANDSHAKE {
        return malformed("a record before or within the ClientHello that is no handshake record");
    }
    if *major != 3 {
        return malformed("a ClientHello in a record of an unknown version");
    }
    let Some((header, rest)) = bytes.split_at_checked(5) else { return Ok(None) };
    match record_length(header) {
        0 => malformed("an empty handshake record"),
        length if length > MAX_RECORD => malformed("a record longer than 16 KiB"),
        length => Ok(Some(rest.split_at(length.min(rest.len())))),
    }
}

/// Takes fields off the front of a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let Some((taken, rest)) = self.0.split_at_checked(length) else {
            return malformed("a field reaches beyond its container");
        };
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Stop> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, Stop> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A vector with a length of one byte.
    fn vector8(&mut self) -> Result<&'a [u8], Stop> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// A vector with a length of two bytes.
    fn vector16(&mut self) -> Result<&'a [u8], Stop> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn end(&self) -> Result<(), Stop> {
        if self.0.is_empty() { Ok(()) } else { malformed("bytes after the end of a field") }
    }
}

fn body(message: &[u8]) -> Result<Hello, Stop> {
    let mut reader = Reader(message);
    let mut hello = Hello { versions: vec![reader.u16()?], ..Hello::default() };
    reader.take(32)?;
    if reader.vector8()?.len() > 32 {
        return malformed("a session id longer than 32 bytes");
    }
    let suites = reader.vector16()?;
    if suites.is_empty() || !suites.len().is_multiple_of(2) {
        return malformed("no whole list of cipher suites");
    }
    if reader.vector8()?.is_empty() {
        return malformed("no compression method");
    }
    if reader.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Reader(reader.vector16()?);
    reader.end()?;
    let mut seen = Vec::new();
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let content = Reader(extensions.vector16()?);
        if seen.contains(&kind) {
            return malformed("an extension twice");
        }
        if seen.len() >= 256 {
            return malformed("more than 256 extensions");
        }
        seen.push(kind);
        match kind {
            SERVER_NAME => hello.sni = server_name(content)?,
            ALPN => hello.alpn = protocols(content)?,
            SUPPORTED_VERSIONS => hello.versions = versions(content)?,
            ENCRYPTED_CLIENT_HELLO | ENCRYPTED_SERVER_NAME => hello.ech = true,
            _ => {}
        }
    }
    Ok(hello)
}

fn server_name(mut content: Reader<'_>) -> Result<Option<String>, Stop> {
    let mut list = Reader(content.vector16()?);
    content.end()?;
    if list.u8()? != 0 {
        return malformed("a server name of an unknown type");
    }
    let name = list.vector16()?;
    if list.end().is_err() {
        return malformed("more than one server name");
    }
    let Ok(name) = str::from_utf8(name) else { return malformed("a server name that is no DNS name") };
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Ok(None);
    }
    match dns_name(name) {
        Some(name) => Ok(Some(name)),
        None => malformed("a server name that is no DNS name"),
    }
}

/// A DNS name in lower case without its trailing dot; `None` if it is not one.
pub(super) fn dns_name(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.ends_with('.') || DnsName::try_from(name).is_err() {
        return None;
    }
    Some(name.to_ascii_lowercase())
}

fn protocols(mut content: Reader<'_>) -> Result<Vec<Vec<u8>>, Stop> {
    let mut list = Reader(content.vector16()?);
    content.end()?;
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        match list.vector8()? {
            [] => return malformed("an empty application protocol"),
            protocol => protocols.push(protocol.to_vec()),
        }
    }
    if protocols.is_empty() { malformed("an empty list of application protocols") } else { Ok(protocols) }
}

fn versions(mut content: Reader<'_>) -> Result<Vec<u16>, Stop> {
    let mut list = Reader(content.vector8()?);
    content.end()?;
    let mut versions = Vec::new();
    while !list.0.is_empty() {
        versions.push(list.u16()?);
    }
    if versions.is_empty() { malformed("an empty list of versions") } else { Ok(versions) }
}

#[cfg(test)]
#[path = "hello_tests.rs"]
mod tests;
