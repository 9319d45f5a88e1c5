//! An agent's HTTP/1.1 connection, of which nothing is passed on that is not framed strictly.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::mcp::framing::{Framing, Limits, Misframed};

/// Stands for a head that was refused, so that the refusal takes the way of any other: in its turn, recorded, answered. It
/// names no host: should it ever be taken for a request, it is refused as one.
const STAND_IN: &[u8] = b"POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How much is read at once of a head that came in pieces.
const PIECE: usize = 2048;

/// Which request of a connection has a head that was refused, if one has; shared by the gate and who answers.
#[derive(Clone, Debug, Default)]
pub struct Refused(Rc<Cell<Option<(u64, Misframed)>>>);

impl Refused {
    /// What is wrong with the head of the `number`-th request; the first is 1.
    pub fn head(&self, number: u64) -> Option<Misframed> {
        self.0.get().filter(|(refused, _)| *refused == number).map(|(_, why)| why)
    }
}

/// Passes whole heads and well-framed bodies on from `stream`. In place of a head that is not strict it gives
/// [`STAND_IN`]; a body that is not ends in an error. After either nothing is passed on. Writes go straight through.
#[derive(Debug)]
pub struct Gate<S> {
    stream: S,
    framing: Framing,
    /// Heads passed on.
    heads: u64,
    refused: Refused,
    /// Why nothing more is passed on.
    shut: Option<Misframed>,
    /// What could not be passed on at once: `ready` bytes that may be, then the beginning of a head. Empty but for a moment.
    held: Vec<u8>,
    ready: usize,
}

impl<S> Gate<S> {
    /// A gate before `stream`, and where to ask about refused heads.
    pub fn new(stream: S, limits: Limits) -> (Self, Refused) {
        let refused = Refused::default();
        let gate = Self {
            stream,
            framing: Framing::new(limits),
            heads: 0,
            refused: refused.clone(),
            shut: None,
            held: Vec::new(),
            ready: 0,
        };
        (gate, refused)
    }

    /// How many of `bytes` may be passed on.
    fn check(&mut self, bytes: &[u8]) -> usize {
        let released = match self.framing.advance(bytes) {
            Ok(released) => released,
            Err(misframed) => {
                self.shut = Some(misframed);
                misframed.released
            }
        };
        self.heads += released.heads;
        released.bytes
    }

    /// Keeps what comes after the bytes that may be passed on: the beginning of a head, or what stands for it.
    fn keep(&mut self, rest: &[u8]) {
        match self.shut {
            None => self.held.extend_from_slice(rest),
            Some(misframed) if misframed.in_body => {}
            Some(misframed) => {
                self.refused.0.set(Some((self.heads + 1, misframed)));
                self.held.extend_from_slice(STAND_IN);
                self.ready = self.held.len();
            }
        }
    }

    /// Passes on what is held and may be.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.ready.min(buf.remaining());
        buf.put_slice(&self.held[..length]);
        self.held.drain(..length);
        self.ready -= length;
        if self.held.is_empty() {
            // Connections live long after a head that came in pieces.
            self.held = Vec::new();
        }
    }
}

impl<S: AsyncRead + Unpin> Gate<S> {
    /// Reads more of the head that is held in part; whether there is more.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut piece = [MaybeUninit::uninit(); PIECE];
        let mut piece = ReadBuf::uninit(&mut piece);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
        if piece.filled().is_empty() {
            return Poll::Ready(Ok(false));
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(piece.filled());
        let length = self.check(&held);
        // Not to be copied for each byte of a head that comes byte by byte.
        let rest = if length == 0 && self.shut.is_none() { Vec::new() } else { held.split_off(length) };
        self.ready = length;
        self.held = held;
        self.keep(&rest);
        Poll::Ready(Ok(true))
    }

    /// Reads into nowhere until the stream ends: it is noticed that the agent goes away, and a close does not become a reset
    /// that would take the answer with it.
    fn poll_away(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut piece = [MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(&mut piece);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gate = &mut *self;
        loop {
            if gate.ready > 0 {
                gate.give(buf);
                return Poll::Ready(Ok(()));
            }
            match gate.shut {
                Some(misframed) if misframed.in_body => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, misframed)));
                }
                Some(_) => return gate.poll_away(cx),
                None => {}
            }
            if !gate.held.is_empty() {
                if !ready!(gate.poll_more(cx))? {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut gate.stream).poll_read(cx, buf))?;
            let read = &buf.filled()[before..];
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let length = gate.check(read);
            gate.keep(&read[length..]);
            buf.set_filled(before + length);
            if length > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
