//! A worker's idle upstream connections.
//!
//! Connections are reused only by calls that the server could not tell apart anyway: within one network namespace,
//! address, server, grant, user and HTTP version. A worker has a pool of its own, so nothing here is locked or shared.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};

use super::body::Outgoing;

/// Idle HTTP/1.1 connections that are kept for one key; more are closed.
const KEPT: usize = 256;

/// What a connection may be reused for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The agent's network namespace (`SO_NETNS_COOKIE`).
    pub netns: u64,
    /// The address that the agent asked for, or the server's `upstream`.
    pub address: SocketAddr,
    /// The server's name in the configuration.
    pub server: String,
    /// The grant's name; empty for requests that need none.
    pub grant: String,
    /// The agent's user id, which the socket carries.
    pub uid: u32,
    /// Whether TLS selected `h2`.
    pub h2: bool,
}

/// The connections of one worker.
#[derive(Debug, Default)]
pub struct Pool {
    buckets: RefCell<HashMap<Key, Rc<Bucket>>>,
}

/// The connections of one key.
#[derive(Debug, Default)]
pub struct Bucket {
    idle: RefCell<Vec<(Instant, http1::SendRequest<Outgoing>)>>,
    shared: RefCell<Option<http2::SendRequest<Outgoing>>>,
}

// === impl Pool ===

impl Pool {
    /// The bucket of `key`; a caller keeps it rather than look it up for each call.
    pub fn bucket(&self, key: &Key) -> Rc<Bucket> {
        if let Some(bucket) = self.buckets.borrow().get(key) {
            return Rc::clone(bucket);
        }
        Rc::clone(self.buckets.borrow_mut().entry(key.clone()).or_default())
    }

    /// Closes what has been idle for longer than `idle`, and forgets keys that nobody uses.
    pub fn sweep(&self, now: Instant, idle: Duration) {
        self.buckets.borrow_mut().retain(|_, bucket| {
            bucket.idle.borrow_mut().retain(|(since, sender)| !sender.is_closed() && now - *since < idle);
            bucket.shared.borrow_mut().take_if(|sender| sender.is_closed());
            // Held by a client connection beside the map: it will want it again.
            Rc::strong_count(bucket) > 1 || !bucket.idle.borrow().is_empty() || bucket.shared.borrow().is_some()
        });
    }
}

// === impl Bucket ===

impl Bucket {
    /// An idle HTTP/1.1 connection that is ready for a request. It may still turn out to be closed when it is used.
    ///
    /// One whose server has answered and then not read the rest of the request is not ready: a call that took it would wait
    /// for nothing. It stays until it is swept away.
    pub fn take(&self) -> Option<http1::SendRequest<Outgoing>> {
        let mut idle = self.idle.borrow_mut();
        let index = idle.iter().rposition(|(_, sender)| sender.is_ready())?;
        Some(idle.remove(index).1)
    }

    /// Takes a connection back whose response has ended.
    pub fn put(&self, sender: http1::SendRequest<Outgoing>) {
        let mut idle = self.idle.borrow_mut();
        if !sender.is_closed() && idle.len() < KEPT {
            idle.push((Instant::now(), sender));
        }
    }

    /// The HTTP/2 connection, which any number of calls share.
    pub fn shared(&self) -> Option<http2::SendRequest<Outgoing>> {
        self.shared.borrow().as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    /// Replaces the HTTP/2 connection.
    pub fn share(&self, sender: http2::SendRequest<Outgoing>) {
        *self.shared.borrow_mut() = Some(sender);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bytes::Bytes;
    use http::Request;
    use http_body_util::BodyExt;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A server that answers before it has read the request, and reads no more of it.
    #[tokio::test]
    async fn a_connection_that_still_sends_is_not_taken() {
        let (near, mut far) = tokio::io::duplex(1024);
        let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection);
        let bucket = Bucket::default();
        sender.ready().await.unwrap();
        let body = Outgoing::Whole(Some(Bytes::from(vec![b'x'; 1 << 20])));
        let sent = sender.send_request(Request::post("/").header("host", "h").body(body).unwrap());
        let answer = async {
            far.read_exact(&mut [0; 64]).await.unwrap();
            far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        };
        let (response, ()) = tokio::join!(sent, answer);
        assert_eq!(response.unwrap().into_body().collect().await.unwrap().to_bytes(), "ok");
        bucket.put(sender);
        assert!(bucket.take().is_none(), "the next call would wait for a server that does not read");
    }
}
