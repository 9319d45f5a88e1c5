//! Responses on their way back: streamed as they come, read where the policy has to, each leaving its outcome.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::agent::{Agent, Way};
use super::fields;
use super::intake::Gathered;
use super::lists::ListError;
use super::messages::{Events, Messages, Reading};
use super::requests::Exchange;
use super::streams::Stream;
use super::upstream::Lease;
use crate::audit;
use crate::config::Limits;
use crate::mcp::requests::Left;
use crate::mcp::sse;
use crate::telemetry::StreamGuard;

const CHARSET: &[u8] = b"charset";

/// What a response says that it is, as lenient clients read it: they look for a media type anywhere in the field, or only
/// at its beginning, and join repeated fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Events,
    Json,
    Other,
    /// Some clients would read events, others JSON.
    Unclear,
}

/// The body of a response to the agent.
pub enum ReplyBody {
    /// Policyd's own answer, or a response that was read whole.
    Whole {
        /// The bytes, until they are taken.
        bytes: Option<Bytes>,
        /// Records the outcome.
        call: Option<audit::Call>,
    },
    /// The server's, as it comes.
    Relay(Box<Relay>),
}

/// A response that is passed on as it comes.
pub struct Relay {
    upstream: Incoming,
    events: Option<Events>,
    call: audit::Call,
    lease: Option<Lease>,
    stream: Option<(Rc<Stream>, StreamGuard)>,
}

/// Why a response could not be passed on, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The server's connection broke.
    #[error("the server's response broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// A message could not be read, so it could be neither filtered nor judged.
    #[error(transparent)]
    Message(#[from] ListError),
    /// All that the response holds is what the policy refuses: requests of the server, and no answer.
    #[error("the server answered with a request that is refused")]
    Refused,
    /// An event is longer than `limits.event`.
    #[error(transparent)]
    Event(#[from] sse::TooLarge),
    /// An event that readers split differently.
    #[error("an event of the server holds line separators that clients read differently")]
    Ambiguous,
    /// A response that has to be read is longer than `limits.event`.
    #[error("the server's response is longer than {0} bytes")]
    TooLong(usize),
    /// An encoding that was not asked for.
    #[error("the server sent an encoding that was not asked for")]
    Encoded,
    /// A character set that some clients decode before they read: what stands there is not what they get.
    #[error("the server's response names a character set other than utf-8")]
    Charset,
    /// A media type that clients read differently.
    #[error("the server's response is called both JSON and an event stream")]
    Unclear,
}

impl ResponseError {
    /// The word for it in outcome records.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Broken(_) => "upstream-broken",
            Self::Message(_) | Self::Ambiguous | Self::Unclear => "response-unreadable",
            Self::Refused => "response-refused",
            Self::Event(_) | Self::TooLong(_) => "response-too-long",
            Self::Encoded | Self::Charset => "response-encoded",
        }
    }
}

/// The request that a response is the answer to.
pub struct Answered<'a> {
    /// The connection that it came on.
    pub agent: &'a Rc<Agent>,
    /// The grant that it was judged under.
    pub way: &'a Way,
    /// What may be read of the response.
    pub limits: &'a Limits,
    /// Whether it is read.
    pub reading: Reading,
    /// What is known of the exchange if it is.
    pub exchange: Option<Box<Exchange>>,
    /// Whether somebody waits for an answer to a message, which a drain lets finish.
    pub is_call: bool,
}

/// Makes the response to the agent of the server's.
/// On failure the call comes back, so that the failure can be answered and recorded.
pub async fn relay(
    request: Answered<'_>,
    lease: Lease,
    response: Response<Incoming>,
    mut call: audit::Call,
) -> Result<Response<ReplyBody>, (ResponseError, audit::Call)> {
    let Answered { agent, way, limits, reading, exchange, is_call } = request;
    let (mut head, upstream) = response.into_parts();
    fields::strip_hop_by_hop(&mut head.headers);
    fields::strip_alternatives(&mut head.headers);
    head.version = http::Version::HTTP_11;
    call.outcome.status = Some(head.status.as_u16());
    // Until the last byte has gone out.
    call.outcome.error = Some("client-gone");
    let media = media(&head.headers);
    let events = media == Media::Events;
    let read = match reading {
        Reading::Never => None,
        Reading::Events | Reading::Lists if matches!(media, Media::Json | Media::Other) => None,
        Reading::Lists if unreadable(media, &head.headers).is_some() => None,
        Reading::Messages | Reading::Events | Reading::Lists | Reading::Handshake => {
            match unreadable(media, &head.headers) {
                Some(error) => {
                    // Nothing of it has been received yet.
                    let is_let_pass = exchange.is_some_and(|exchange| {
                        Messages::new(agent, limits.list, reading, exchange.answered(&head)).lets_pass(0, &error)
                    });
                    if !is_let_pass {
                        return Err((error, call));
                    }
                    None
                }
                None => exchange.map(|exchange| exchange.answered(&head)),
            }
        }
    };
    let body = match read {
        Some(exchange) if !events => {
            let whole = match gather(upstream, limits.event).await {
                Ok(whole) => whole,
                Err(error) => return Err((error, call)),
            };
            lease.give_back();
            let messages = Messages::new(agent, limits.list, reading, exchange);
            let bytes = match messages.read(&whole, media == Media::Json) {
                Ok(Left::All) => whole,
                Ok(Left::Some(edited)) => {
                    head.headers.remove(CONTENT_LENGTH);
                    Bytes::from(edited)
                }
                Ok(Left::None) => return Err((ResponseError::Refused, call)),
                Err(error) => return Err((error.into(), call)),
            };
            ReplyBody::own(bytes, Some(call))
        }
        read => {
            // One that only some clients take for events is never read.
            let stream = matches!(media, Media::Events | Media::Unclear).then(|| {
                let telemetry = &agent.worker.shared.telemetry;
                (agent.stream(way, is_call, read.is_none()), telemetry.stream(&agent.server.name))
            });
            if read.is_some() {
                head.headers.remove(CONTENT_LENGTH);
            }
            let messages = |exchange| Messages::new(agent, limits.list, reading, exchange);
            let events = read.map(|exchange| Events::new(messages(exchange), limits.event));
            ReplyBody::Relay(Box::new(Relay { upstream, events, call, lease: Some(lease), stream }))
        }
    };
    Ok(Response::from_parts(head, body))
}

/// Reads a response whole.
async fn gather(mut body: Incoming, limit: usize) -> Result<Bytes, ResponseError> {
    let mut read = Gathered::default();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if read.bytes().len() + data.len() > limit {
                return Err(ResponseError::TooLong(limit));
            }
            read.push(data);
        }
    }
    Ok(read.finish())
}

fn media(fields: &HeaderMap) -> Media {
    let says = |media: &[u8]| {
        fields
            .get_all(CONTENT_TYPE)
            .iter()
            .any(|value| value.as_bytes().windows(media.len()).any(|part| part.eq_ignore_ascii_case(media)))
    };
    match (says(b"text/event-stream"), says(b"json")) {
        (true, false) => Media::Events,
        (false, true) => Media::Json,
        (false, false) => Media::Other,
        (true, true) => Media::Unclear,
    }
}

/// What in a response's head keeps its messages from being read.
fn unreadable(media: Media, fields: &HeaderMap) -> Option<ResponseError> {
    let encoded = || fields.get_all(CONTENT_ENCODING).iter().any(|value| value != HeaderValue::from_static("identity"));
    match media {
        Media::Unclear => Some(ResponseError::Unclear),
        _ if encoded() => Some(ResponseError::Encoded),
        Media::Events | Media::Json if has_odd_charset(fields) => Some(ResponseError::Charset),
        _ => None,
    }
}

/// Whether a content type says of a character set anything but that it is UTF-8, wherever in it and in whatever notation
/// (RFC 2231 has `charset*`, `charset*0`): Python clients decode events by it.
fn has_odd_charset(fields: &HeaderMap) -> bool {
    fields.get_all(CONTENT_TYPE).iter().any(|value| {
        let value = value.as_bytes().to_ascii_lowercase();
        let mentions = value.windows(CHARSET.len()).enumerate().filter(|(_, part)| part == &CHARSET);
        mentions.map(|(at, _)| &value[at + CHARSET.len()..]).any(|rest| !says_utf8(rest))
    })
}

/// Whether what follows on `charset` is `=utf-8`, quoted or not, and no more than that.
fn says_utf8(rest: &[u8]) -> bool {
    let end = rest.iter().position(|&byte| byte == b';').unwrap_or(rest.len());
    let Some(name) = rest[..end].trim_ascii().strip_prefix(b"=") else { return false };
    let name = name.trim_ascii();
    let name = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name);
    matches!(name, b"utf-8" | b"utf8")
}

// === impl ReplyBody ===

impl ReplyBody {
    /// A body that is at hand.
    pub fn own(bytes: Bytes, call: Option<audit::Call>) -> Self {
        let mut call = call;
        if let Some(call) = &mut call {
            call.outcome.error.get_or_insert("client-gone");
        }
        let mut body = Self::Whole { bytes: Some(bytes), call };
        // Nobody asks an empty body for its end: with the head all is said.
        if let Self::Whole { bytes: Some(bytes), call } = &mut body
            && bytes.is_empty()
        {
            end(call, 0);
        }
        body
    }
}

/// All of a body has been taken.
fn end(call: &mut Option<audit::Call>, sent: usize) {
    if let Some(mut call) = call.take() {
        call.outcome.bytes_out = sent as u64;
        if call.outcome.error == Some("client-gone") {
            call.outcome.error = None;
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ResponseError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        match self.get_mut() {
            Self::Whole { bytes, call } => {
                let Some(bytes) = bytes.take() else { return Poll::Ready(None) };
                end(call, bytes.len());
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Relay(relay) => relay.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { bytes, .. } => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Relay(relay) => relay.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { bytes, .. } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Relay(relay) if relay.events.is_none() => relay.upstream.size_hint(),
            Self::Relay(_) => SizeHint::new(),
        }
    }
}

// === impl Relay ===

impl Relay {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        if self.stream.as_ref().is_some_and(|(stream, _)| stream.has_ended(cx.waker())) {
            self.call.outcome.error = Some("stream-ended");
            // The server has not ended it: its connection cannot be used again.
            self.lease = None;
            return Poll::Ready(None);
        }
        loop {
            if let Some(event) = self.events.as_mut().and_then(Events::next) {
                self.call.outcome.bytes_out += event.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            let frame = match ready!(Pin::new(&mut self.upstream).poll_frame(cx)) {
                None => match self.events.as_mut().map_or(Ok(false), Events::finish) {
                    Err(error) => return self.fail(error),
                    // What was left is sent on first.
                    Ok(true) => continue,
                    Ok(false) => {
                        self.complete();
                        return Poll::Ready(None);
                    }
                },
                Some(Err(error)) => return self.fail(error.into()),
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                Ok(data) => match &mut self.events {
                    None => {
                        self.call.outcome.bytes_out += data.len() as u64;
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Some(events) => {
                        if let Err(error) = events.take(data) {
                            return self.fail(error);
                        }
                    }
                },
            }
        }
    }

    fn has_ended(&self) -> bool {
        self.upstream.is_end_stream() && self.events.as_ref().is_none_or(Events::is_empty)
    }

    fn complete(&mut self) {
        self.call.outcome.error = None;
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    fn fail(&mut self, error: ResponseError) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        self.call.outcome.error = Some(error.word());
        self.lease = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // hyper does not ask again when the announced length has gone out.
        if self.lease.is_some() && self.call.outcome.error == Some("client-gone") && self.has_ended() {
            self.complete();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_media_type_is_what_the_most_lenient_client_takes_it_for() {
        for (values, expected) in [
            (&["text/event-stream; charset=utf-8"][..], Media::Events),
            (&["Text/Event-StreamX"], Media::Events),
            (&["text/plain", "text/event-stream"], Media::Events),
            (&["text/plain; a=text/event-stream"], Media::Events),
            (&["application/json"], Media::Json),
            (&["application/jsonfoo"], Media::Json),
            (&["application/json, text/event-stream"], Media::Unclear),
            (&["text/html"], Media::Other),
            (&[], Media::Other),
        ] {
            let fields = values.iter().map(|value| (CONTENT_TYPE, value.parse().unwrap())).collect();
            assert_eq!(media(&fields), expected, "{values:?}");
        }
    }

    #[test]
    fn what_clients_decode_by_another_character_set_cannot_be_read() {
        for (values, is_readable) in [
            (&["text/event-stream"][..], true),
            (&["text/event-stream; charset=utf-8"], true),
            (&["text/event-stream;Charset = \"UTF-8\" ; a=b"], true),
            (&["application/json;charset=utf8", "application/json"], true),
            (&["text/event-stream; charset=utf-7"], false),
            (&["text/event-stream; CHARSET=\"UTF-16-LE\""], false),
            (&["application/json; charset=cp037"], false),
            (&["text/event-stream; charset=utf-8; charset=utf-7"], false),
            (&["text/event-stream; charset=utf-8", "text/plain; charset=utf-7"], false),
            (&["text/event-stream; a=\"; charset=utf-7\""], false),
            (&["text/event-stream; charset*=us-ascii''utf-7"], false),
            (&["text/event-stream; charset*0=utf; charset*1=-7"], false),
            (&["text/event-stream; charset=\"utf-8\\-7\""], false),
            (&["text/event-stream; charset=utf-8 7"], false),
            (&["text/event-stream; charset"], false),
            // Nobody reads messages there.
            (&["text/html; charset=iso-8859-1"], true),
        ] {
            let fields = values.iter().map(|value| (CONTENT_TYPE, value.parse().unwrap())).collect();
            let error = unreadable(media(&fields), &fields);
            assert_eq!(
                error.as_ref().map(ResponseError::word),
                (!is_readable).then_some("response-encoded"),
                "{values:?}"
            );
        }
    }
}
