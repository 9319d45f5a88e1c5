//! Server-sent events, framed as they arrive (HTML Living Standard, 9.2.5 and 9.2.6).
//!
//! The decoder only finds where events end; what one holds is read when somebody asks. The events' raw bytes, one after the other,
//! are the stream: what nobody changes is forwarded as it came, without a copy when an event lies within one chunk.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

/// An event that is larger than the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {limit} bytes")]
pub struct TooLarge {
    /// The bound, in bytes.
    pub limit: usize,
}

/// Cuts a stream into events, whatever its chunks are.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// The beginning of an event whose end has not arrived.
    pending: BytesMut,
    /// What arrived last and is not yet cut.
    chunk: Bytes,
    /// How much of `chunk` was looked at.
    scanned: usize,
    line: Line,
    /// The last byte was a CR: an LF that follows belongs to it.
    after_cr: bool,
    /// Only comments since the event began.
    only_comments: bool,
    first: bool,
}

/// How far the current line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Empty,
    Comment,
    Field,
}

impl Decoder {
    /// A decoder for one stream; no event may be larger than `limit` bytes.
    pub fn new(limit: usize) -> Decoder {
        Decoder {
            limit,
            pending: BytesMut::new(),
            chunk: Bytes::new(),
            scanned: 0,
            line: Line::Empty,
            after_cr: false,
            only_comments: true,
            first: true,
        }
    }

    /// Takes the next chunk. Ask [`Decoder::next_event`] until it gives nothing before the next one.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            let mut joined = BytesMut::from(std::mem::take(&mut self.chunk));
            joined.extend_from_slice(&chunk);
            self.chunk = joined.freeze();
        }
    }

    /// The next event that has arrived whole.
    ///
    /// Comments before an event come out as soon as their line has ended, as an event without data: they keep connections alive.
    ///
    /// # Errors
    ///
    /// [`TooLarge`]: end the stream; the decoder is of no more use.
    pub fn next_event(&mut self) -> Result<Option<Event>, TooLarge> {
        match self.boundary() {
            Some(length) => {
                if self.pending.len() + length > self.limit {
                    return Err(TooLarge { limit: self.limit });
                }
                let piece = self.chunk.split_to(length);
                self.scanned = 0;
                let raw = if self.pending.is_empty() {
                    piece
                } else {
                    self.pending.extend_from_slice(&piece);
                    self.pending.split().freeze()
                };
                let first = std::mem::replace(&mut self.first, false);
                Ok(Some(Event { raw, first }))
            }
            None => {
                if self.pending.len() + self.chunk.len() > self.limit {
                    return Err(TooLarge { limit: self.limit });
                }
                self.pending.extend_from_slice(&self.chunk);
                self.chunk = Bytes::new();
                self.scanned = 0;
                Ok(None)
            }
        }
    }

    /// What is left when the stream ends: the raw bytes of an event without its blank line. Readers that keep to the standard
    /// dispatch it to nobody; [`Event::data`] says what a lenient one would see.
    pub fn finish(mut self) -> Option<Event> {
        self.pending.extend_from_slice(&self.chunk);
        (!self.pending.is_empty()).then(|| Event { raw: self.pending.freeze(), first: self.first })
    }

    /// Bytes that are held back.
    pub fn buffered(&self) -> usize {
        self.pending.len() + self.chunk.len()
    }

    /// Looks for the end of the event in `chunk`; gives its length there.
    fn boundary(&mut self) -> Option<usize> {
        let bytes = &self.chunk[..];
        let mut at = self.scanned;
        while let Some(&byte) = bytes.get(at) {
            let lf_of_cr = self.after_cr && byte == b'\n';
            self.after_cr = byte == b'\r';
            match byte {
                _ if lf_of_cr => at += 1,
                b'\r' | b'\n' => {
                    at += 1;
                    let line = std::mem::replace(&mut self.line, Line::Empty);
                    self.only_comments &= line != Line::Field;
                    if line == Line::Empty || (line == Line::Comment && self.only_comments) {
                        self.only_comments = true;
                        if byte == b'\r' && bytes.get(at) == Some(&b'\n') {
                            at += 1;
                            self.after_cr = false;
                        }
                        return Some(at);
                    }
                }
                _ => {
                    if self.line == Line::Empty {
                        self.line = if byte == b':' { Line::Comment } else { Line::Field };
                    }
                    // The rest of the line in one go.
                    at += bytes[at..].iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len() - at);
                }
            }
        }
        self.scanned = at;
        None
    }
}

/// One event, or comments, as raw bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    raw: Bytes,
    /// The stream begins here: a byte order mark may stand before it.
    first: bool,
}

impl Event {
    /// The bytes as they came, blank line included.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The bytes as they came.
    pub fn into_raw(self) -> Bytes {
        self.raw
    }

    /// What its `data` lines say, joined by LF; `None` without any. Borrowed if there is one.
    pub fn data(&self) -> Option<Cow<'_, [u8]>> {
        let mut lines = self.values(b"data");
        let first = lines.next()?;
        let Some(second) = lines.next() else { return Some(Cow::Borrowed(first)) };
        let mut joined = first.to_vec();
        for line in std::iter::once(second).chain(lines) {
            joined.push(b'\n');
            joined.extend_from_slice(line);
        }
        Some(Cow::Owned(joined))
    }

    /// Its type; `message` where it names none.
    pub fn kind(&self) -> &[u8] {
        self.values(b"event").last().filter(|kind| !kind.is_empty()).unwrap_or(b"message")
    }

    /// Its id. One that holds NUL counts as none.
    pub fn id(&self) -> Option<&[u8]> {
        self.values(b"id").filter(|id| !id.contains(&0)).last()
    }

    /// The milliseconds to wait before reconnecting, as digits.
    pub fn retry(&self) -> Option<&[u8]> {
        self.values(b"retry").filter(|ms| !ms.is_empty() && ms.iter().all(u8::is_ascii_digit)).last()
    }

    /// Whether readers that split lines where Unicode does (Python's `splitlines`) would find a `data` line that the standard
    /// does not: vertical tab, form feed, the separators U+001C to U+001E, U+0085, U+2028, U+2029. Refuse such an event where
    /// lists are filtered.
    pub fn is_ambiguous(&self) -> bool {
        let text = String::from_utf8_lossy(&self.raw);
        let odd = ['\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
        text.contains(odd) && text.split(odd).skip(1).any(|line| line.starts_with("data"))
    }

    /// The event with other data, serialized by policyd: `event: message`, one `data` line, `id` and `retry` kept.
    /// `data` is a JSON text; line ends in it are white space and become spaces.
    pub fn with_data(&self, data: &str) -> Bytes {
        let mut out = Vec::with_capacity(data.len() + 64);
        out.extend_from_slice(b"event: message\n");
        self.write_fields(&mut out);
        out.extend_from_slice(b"data: ");
        out.extend(data.bytes().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }));
        out.extend_from_slice(b"\n\n");
        out.into()
    }

    /// The event without its data, so that a client can still resume behind it: `id` and `retry` kept, and where there is an id
    /// an empty `data` line, with which clients note it (2025-11-25 begins streams with such events). `None`: neither is there.
    pub fn without_data(&self) -> Option<Bytes> {
        let mut out = Vec::new();
        self.write_fields(&mut out);
        if self.id().is_some() {
            out.extend_from_slice(b"data:\n");
        }
        if out.is_empty() {
            return None;
        }
        out.push(b'\n');
        Some(out.into())
    }

    fn write_fields(&self, out: &mut Vec<u8>) {
        for (name, value) in [(&b"id: "[..], self.id()), (b"retry: ", self.retry())] {
            if let Some(value) = value {
                out.extend_from_slice(name);
                out.extend_from_slice(value);
                out.push(b'\n');
            }
        }
    }

    fn values<'a>(&'a self, field: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
        let raw = &self.raw[..];
        let raw = if self.first { raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw) } else { raw };
        raw.split(|b| matches!(b, b'\r' | b'\n')).filter_map(move |line| {
            let rest = line.strip_prefix(field)?;
            match rest {
                [] => Some(rest),
                [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
                _ => None,
            }
        })
    }
}

#[cfg(test)]
#[path = "sse_tests.rs"]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
