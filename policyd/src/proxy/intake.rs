//! What a request carries: a message to judge, or something that cannot be one.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::body::Outgoing;
use crate::config::Server;
use crate::mcp::Cause;
use crate::mcp::framing::Misframed;
use crate::mcp::sniff::{self, Sniff};

/// A request's body, classified.
#[derive(Debug)]
pub enum Intake {
    /// May be read as JSON by the server: to be vetted. `endpoint`: it is aimed at the server's MCP endpoint, so that it
    /// has to be a JSON-RPC message; elsewhere it may be another JSON document.
    Candidate {
        /// The whole body.
        body: Bytes,
        /// Whether the path is the configured endpoint's.
        endpoint: bool,
    },
    /// No body, or one that no server reads as JSON.
    Other(Outgoing),
}

/// Why a body could not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Longer than `limits.body`.
    #[error("the request body is longer than {0} bytes")]
    TooLong(usize),
    /// Not complete within `timeouts.request`.
    #[error("the request body did not arrive within {0:?}")]
    Slow(Duration),
    /// The connection broke, or HTTP/2's framing.
    #[error("the request body could not be read: {0}")]
    Broken(hyper::Error),
    /// HTTP/1.1's framing is not strict.
    #[error(transparent)]
    Misframed(Misframed),
}

impl IntakeError {
    /// The cause that records and metrics name.
    pub fn cause(&self) -> Cause {
        match self {
            Self::TooLong(_) => Cause::TooLarge,
            Self::Slow(_) => Cause::SlowBody,
            Self::Misframed(why) => why.cause,
            Self::Broken(_) => Cause::BrokenBody,
        }
    }
}

impl From<hyper::Error> for IntakeError {
    fn from(error: hyper::Error) -> Self {
        let inner = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<std::io::Error>());
        match inner.and_then(|error| error.get_ref()?.downcast_ref::<Misframed>()) {
            Some(why) => Self::Misframed(*why),
            None => Self::Broken(error),
        }
    }
}

/// Reads as much of the body as it takes to classify it: at the endpoint all of it, elsewhere until it is clear that it
/// cannot be JSON in any encoding, or all of it too.
pub async fn take_in(
    server: &Server,
    head: &Parts,
    mut body: Incoming,
    limit: usize,
    within: Duration,
) -> Result<Intake, IntakeError> {
    let endpoint = head.uri.path() == server.path;
    if body.is_end_stream() {
        return Ok(if endpoint && head.method == http::Method::POST {
            Intake::Candidate { body: Bytes::new(), endpoint }
        } else {
            Intake::Other(Outgoing::Empty)
        });
    }
    if body.size_hint().lower() > limit as u64 && endpoint {
        return Err(IntakeError::TooLong(limit));
    }
    let deadline = Instant::now() + within;
    let mut read = Gathered::default();
    let mut sniffing = !endpoint;
    loop {
        if sniffing {
            match sniff::sniff(&head.headers, read.bytes(), false) {
                Sniff::Other => return Ok(Intake::Other(Outgoing::Streamed(Some(read.finish()), body))),
                Sniff::MaybeJson => sniffing = false,
                Sniff::NeedMore => {}
            }
        }
        match timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(IntakeError::Slow(within)),
            Ok(Some(Err(error))) => return Err(error.into()),
            Ok(Some(Ok(frame))) => {
                // Request trailers carry nothing that an MCP server reads; they are not forwarded.
                if let Ok(data) = frame.into_data() {
                    if read.bytes().len() + data.len() > limit {
                        return Err(IntakeError::TooLong(limit));
                    }
                    read.push(data);
                }
            }
            Ok(None) => {
                let body = read.finish();
                // All of it was read and it never looked like JSON: white space at most.
                return Ok(if sniffing {
                    Intake::Other(Outgoing::Whole(Some(body)))
                } else {
                    Intake::Candidate { body, endpoint }
                });
            }
        }
    }
}

/// Frames put together; a body of one frame (nearly all) is not copied.
#[derive(Default)]
pub(super) struct Gathered {
    first: Bytes,
    more: BytesMut,
}

impl Gathered {
    pub(super) fn push(&mut self, data: Bytes) {
        if self.more.is_empty() && self.first.is_empty() {
            self.first = data;
        } else {
            if self.more.is_empty() {
                self.more.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.more.extend_from_slice(&data);
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        if self.more.is_empty() { &self.first } else { &self.more }
    }

    pub(super) fn finish(self) -> Bytes {
        if self.more.is_empty() { self.first } else { self.more.freeze() }
    }
}
