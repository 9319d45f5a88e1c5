//! Where HTTP/1.1 requests begin and end on a connection, read strictly (RFC 9112).
//!
//! HTTP servers forgive what lets two of them see different requests in the same bytes: a length beside chunks, lines that end
//! in a bare LF, chunk extensions, trailers. The server that policyd is made of forgives some of it too, and drops what it
//! forgave before anybody can look. So the bytes are read here first: what is accepted has one meaning, in any reader.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Request, Status};

use super::Cause;

/// Hexadecimal digits of a chunk's size: 4 GiB, more than anybody sends in one.
const SIZE_DIGITS: u8 = 8;

/// Decimal digits of a length, so that no reader's integer overflows.
const LENGTH_DIGITS: usize = 15;

/// Header fields for which there is room without an allocation.
const FIELDS: usize = 128;

/// Follows the requests of one connection.
#[derive(Debug)]
pub struct Framing {
    limits: Limits,
    state: State,
    /// How much of an unfinished head has been searched for its end, and where its last line begins.
    searched: usize,
    line: usize,
}

/// What a head may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes.
    pub head: usize,
    /// Header fields.
    pub fields: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of a body.
    Length(u64),
    /// A chunk's size, of which so many digits were read.
    Size {
        digits: u8,
        size: u64,
    },
    SizeEnd(u64),
    /// So many bytes of a chunk.
    Chunk(u64),
    ChunkCr,
    ChunkEnd,
    LastCr,
    LastEnd,
}

/// How far the bytes are well framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// Bytes that may be passed on. What follows them is the beginning of a head: to be shown again when there is more of it.
    pub bytes: usize,
    /// Heads in them.
    pub heads: u64,
}

/// Where the bytes stop being well framed. Nothing behind it has a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}: {why}")]
pub struct Misframed {
    /// What is wrong.
    pub cause: Cause,
    /// The same, more exactly.
    pub why: &'static str,
    /// What comes before it, and may be passed on.
    pub released: Released,
    /// Whether it is in a body, so that the request it belongs to has been released in part.
    pub in_body: bool,
}

/// What is wrong with a head or a body.
type Wrong = (Cause, &'static str);

impl Framing {
    /// Follows a connection from its first byte on.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::Head, searched: 0, line: 0 }
    }

    /// Reads on. `bytes` begins where what was released so far ended.
    ///
    /// # Errors
    ///
    /// The first thing that is not framed strictly. Nothing may be read after it.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Released, Misframed> {
        let mut released = Released { bytes: 0, heads: 0 };
        while released.bytes < bytes.len() {
            let rest = &bytes[released.bytes..];
            let in_body = self.state != State::Head;
            let step = if in_body { self.body(rest) } else { self.head(rest) };
            match step {
                Ok(0) => break,
                Ok(read) => {
                    released.bytes += read;
                    released.heads += u64::from(!in_body);
                }
                Err((cause, why)) => return Err(Misframed { cause, why, released, in_body }),
            }
        }
        Ok(released)
    }

    /// Reads a head; 0 while it has not ended.
    fn head(&mut self, bytes: &[u8]) -> Result<usize, Wrong> {
        while let Some(found) = memchr::memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + found;
            if end == self.line || bytes[end - 1] != b'\r' {
                return Err((Cause::BadHead, "a line that does not end in CR LF"));
            }
            let empty = end == self.line + 1;
            self.searched = end + 1;
            self.line = end + 1;
            if empty && end == 1 {
                return Err((Cause::BadHead, "an empty line before the request line"));
            }
            if empty {
                let length = std::mem::take(&mut self.searched);
                self.line = 0;
                if length > self.limits.head {
                    return Err(self.too_long());
                }
                self.state = self.parse(&bytes[..length])?;
                return Ok(length);
            }
        }
        self.searched = bytes.len();
        if bytes.len() > self.limits.head { Err(self.too_long()) } else { Ok(0) }
    }

    fn too_long(&self) -> Wrong {
        (Cause::HeadTooLarge, "`limits.head` says how long it may be")
    }

    /// Reads a whole head: what follows it.
    fn parse(&self, head: &[u8]) -> Result<State, Wrong> {
        let mut room = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS];
        let mut more = Vec::new();
        let room = match room.get_mut(..self.limits.fields) {
            Some(room) => room,
            None => {
                more.resize_with(self.limits.fields, MaybeUninit::uninit);
                &mut more
            }
        };
        let mut request = Request::new(&mut []);
        match ParserConfig::default().parse_request_with_uninit_headers(&mut request, head, room) {
            Ok(Status::Complete(length)) if length == head.len() => {}
            Err(httparse::Error::TooManyHeaders) => {
                return Err((Cause::HeadTooLarge, "`limits.headers` says how many header fields it may have"));
            }
            Err(httparse::Error::Version) => {
                return Err((Cause::BadHead, "a version other than HTTP/1.1 and HTTP/1.0"));
            }
            Err(httparse::Error::HeaderName) => {
                return Err((Cause::BadHead, "a header field's name, or a fold, that RFC 9112 does not allow"));
            }
            Err(httparse::Error::HeaderValue) => {
                return Err((Cause::BadHead, "a header field's value that RFC 9112 does not allow"));
            }
            _ => return Err((Cause::BadHead, "a request line that RFC 9112 does not allow")),
        }
        if http::Uri::try_from(request.path.unwrap_or_default()).is_err() {
            return Err((Cause::BadHead, "a target that is no URI"));
        }
        let mut length = None;
        let mut chunked = false;
        for field in request.headers.iter() {
            if field.name.eq_ignore_ascii_case("content-length") {
                let value = decimal(field.value).ok_or((Cause::BodyLength, "`Content-Length` is not a number"))?;
                if length.replace(value).is_some() {
                    return Err((Cause::BodyLength, "`Content-Length` is given more than once"));
                }
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                if std::mem::replace(&mut chunked, true) {
                    return Err((Cause::TransferEncoding, "it is given more than once"));
                }
                if !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err((Cause::TransferEncoding, "it is something else"));
                }
            }
        }
        match (length, chunked) {
            (Some(_), true) => Err((Cause::BodyLength, "`Content-Length` beside `Transfer-Encoding`")),
            (None, true) if request.version != Some(1) => Err((Cause::TransferEncoding, "HTTP/1.0 has none")),
            (None, true) => Ok(State::Size { digits: 0, size: 0 }),
            (None | Some(0), false) => Ok(State::Head),
            (Some(length), false) => Ok(State::Length(length)),
        }
    }

    /// Reads some of a body, which is not empty: at least one byte.
    fn body(&mut self, bytes: &[u8]) -> Result<usize, Wrong> {
        let expect = |byte: u8, next: State, why: &'static str| {
            if bytes[0] == byte { Ok((1, next)) } else { Err((Cause::BadChunk, why)) }
        };
        let (read, next) = match self.state {
            State::Head => (0, State::Head),
            State::Length(left) => {
                let (read, left) = take(bytes, left);
                (read, if left == 0 { State::Head } else { State::Length(left) })
            }
            State::Chunk(left) => {
                let (read, left) = take(bytes, left);
                (read, if left == 0 { State::ChunkCr } else { State::Chunk(left) })
            }
            State::Size { digits, size } => match (bytes[0], char::from(bytes[0]).to_digit(16)) {
                (b'\r', _) if digits > 0 => (1, State::SizeEnd(size)),
                (_, Some(digit)) if digits < SIZE_DIGITS => {
                    (1, State::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
                }
                (_, Some(_)) => return Err((Cause::BadChunk, "a size of more than 8 digits")),
                (b';', None) if digits > 0 => return Err((Cause::BadChunk, "a chunk extension")),
                _ => return Err((Cause::BadChunk, "a size that is not in hexadecimal digits")),
            },
            State::SizeEnd(0) => expect(b'\n', State::LastCr, "a size line that does not end in CR LF")?,
            State::SizeEnd(size) => expect(b'\n', State::Chunk(size), "a size line that does not end in CR LF")?,
            State::ChunkCr => expect(b'\r', State::ChunkEnd, "a chunk that is longer than its size")?,
            State::ChunkEnd => expect(b'\n', State::Size { digits: 0, size: 0 }, "a chunk that does not end in CR LF")?,
            State::LastCr => expect(b'\r', State::LastEnd, "a trailer")?,
            State::LastEnd => expect(b'\n', State::Head, "a last line that does not end in CR LF")?,
        };
        self.state = next;
        Ok(read)
    }
}

/// How many of `left` bytes are here, and how many are still to come.
fn take(bytes: &[u8], left: u64) -> (usize, u64) {
    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (here, left - here as u64)
}

/// Digits and nothing else: no sign, no space, no list.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > LENGTH_DIGITS || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
