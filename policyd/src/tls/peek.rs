//! What the first bytes of a connection are. Pure: it is given all bytes that have arrived so far, however late.

use super::hello::{self, Hello};
use super::request::{self, Head};

/// The outcome of a peek.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Not enough has arrived. Never with [`MAX`] bytes or more.
    NeedMore,
    /// It is known.
    Done(Peeked),
}

/// What a client opened the connection with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peeked {
    /// A TLS ClientHello.
    Tls(Hello),
    /// A plain HTTP/1 request.
    Http(Head),
    /// HTTP/2 without TLS.
    H2c,
    /// Something that is neither TLS nor HTTP.
    Other,
    /// Nothing yet, and the peek timeout is over; or nothing ever.
    Silent,
    /// TLS that is wrong, and how.
    MalformedHello(&'static str),
    /// HTTP that is wrong, and how.
    MalformedRequest(&'static str),
}

/// With that many bytes the answer is always [`Peek::Done`].
pub const MAX: usize = if hello::MAX > request::MAX { hello::MAX } else { request::MAX };

/// Classifies the first bytes of a connection.
pub fn peek(bytes: &[u8]) -> Peek {
    if bytes.is_empty() {
        return Peek::NeedMore;
    }
    match hello::parse(bytes) {
        hello::Parsed::NeedMore => return Peek::NeedMore,
        hello::Parsed::Hello(hello) => return Peek::Done(Peeked::Tls(hello)),
        hello::Parsed::Malformed(why) => return Peek::Done(Peeked::MalformedHello(why)),
        hello::Parsed::NotTls => {}
    }
    Peek::Done(match request::parse(bytes) {
        request::Parsed::NeedMore => return Peek::NeedMore,
        request::Parsed::Request(head) => Peeked::Http(head),
        request::Parsed::H2c => Peeked::H2c,
        request::Parsed::NotHttp => Peeked::Other,
        request::Parsed::Malformed(why) => Peeked::MalformedRequest(why),
    })
}

/// Classifies the first bytes of a connection when no more will come: the client has shut its side, or time is up.
///
/// Nothing at all is [`Peeked::Silent`]. A beginning of TLS is malformed, since a server may have read more into it; a
/// beginning of text that is not yet a request is [`Peeked::Other`].
pub fn end(bytes: &[u8]) -> Peeked {
    match peek(bytes) {
        Peek::Done(peeked) => peeked,
        Peek::NeedMore if bytes.is_empty() => Peeked::Silent,
        Peek::NeedMore if hello::parse(bytes) == hello::Parsed::NeedMore => Peeked::MalformedHello("cut off"),
        Peek::NeedMore => Peeked::Other,
    }
}
