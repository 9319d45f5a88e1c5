//! Connections to the servers: opened, reused, and what is sent over them.

use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::body::Outgoing;
use super::dial::DialError;
use super::exec::LocalExec;
use super::pool::Bucket;
use crate::config::{Limits, Timeouts};
use crate::tls::upstream::UpstreamTlsError;

/// How often an HTTP/2 connection is asked whether its peer still lives.
const PING_EVERY: Duration = Duration::from_secs(30);

/// A connection that a request can be sent on.
#[derive(Debug)]
pub enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<Outgoing>),
    /// Any number.
    Http2(http2::SendRequest<Outgoing>),
}

/// Why an exchange with the server failed.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No TLS, or an untrusted certificate.
    #[error(transparent)]
    Tls(#[from] UpstreamTlsError),
    /// No HTTP connection, or it broke before the request was sent.
    #[error("the server closed the connection before the request was sent: {0}")]
    Unsent(hyper::Error),
    /// It broke after the request was sent, in part at least.
    #[error("the connection to the server broke: {0}")]
    Broken(hyper::Error),
    /// No response head within `timeouts.response`.
    #[error("the server did not answer within {0:?}")]
    Slow(Duration),
}

impl UpstreamError {
    /// The kind, as `policyd_upstream_errors_total` labels it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dial(error) => error.kind(),
            Self::Tls(error) => error.as_str(),
            Self::Unsent(_) => "closed",
            Self::Broken(_) => "broken",
            Self::Slow(_) => "response-timeout",
        }
    }

    /// Whether policyd saw it fail before the request was sent whole, so that its quota is given back. (A write that
    /// fails half-way cannot be told from a lost answer here, and counts as sent.)
    pub fn unsent(&self) -> bool {
        matches!(self, Self::Dial(_) | Self::Tls(_) | Self::Unsent(_))
    }
}

/// A connection on loan for one response; goes back to its bucket when the response has ended whole.
#[derive(Debug)]
pub struct Lease {
    bucket: Rc<Bucket>,
    sender: Option<http1::SendRequest<Outgoing>>,
}

impl Lease {
    /// The response has ended: the connection can be used again.
    pub fn give_back(mut self) {
        if let Some(sender) = self.sender.take() {
            self.bucket.put(sender);
        }
    }
}

/// Makes an HTTP connection of `stream` and keeps it alive on this worker.
pub async fn handshake<S>(stream: S, h2: bool, limits: &Limits, timeouts: &Timeouts) -> Result<Sender, UpstreamError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let io = TokioIo::new(stream);
    if h2 {
        let (sender, connection) = http2::Builder::new(LocalExec)
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(timeouts.handshake)
            .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
            .handshake(io)
            .await
            .map_err(UpstreamError::Unsent)?;
        tokio::task::spawn_local(async move {
            // Its error reaches whoever waits for a response.
            let _ = connection.await;
        });
        return Ok(Sender::Http2(sender));
    }
    let (sender, connection) = http1::Builder::new()
        .max_headers(limits.headers)
        .max_header_size(limits.head)
        .handshake(io)
        .await
        .map_err(UpstreamError::Unsent)?;
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    Ok(Sender::Http1(sender))
}

/// Sends `request` over a connection of `bucket`, or one that `open` makes, and waits for the response's head.
///
/// A pooled connection that turns out to be closed is replaced, as long as nothing of the request was sent.
pub async fn send<F>(
    bucket: &Rc<Bucket>,
    h2: bool,
    mut request: Request<Outgoing>,
    open: impl Fn() -> F,
    within: Duration,
) -> Result<(Response<Incoming>, Lease), UpstreamError>
where
    F: Future<Output = Result<Sender, UpstreamError>>,
{
    loop {
        let pooled = if h2 { bucket.shared().map(Sender::Http2) } else { bucket.take().map(Sender::Http1) };
        let (sender, fresh) = match pooled {
            Some(sender) => (sender, false),
            None => (open().await?, true),
        };
        let attempt = async {
            match sender {
                Sender::Http1(mut sender) => {
                    if let Err(error) = sender.ready().await {
                        return Err((error, Some(request)));
                    }
                    match sender.try_send_request(request).await {
                        Ok(response) => Ok((response, Lease { bucket: Rc::clone(bucket), sender: Some(sender) })),
                        Err(mut failure) => {
                            let unsent = failure.take_message();
                            Err((failure.into_error(), unsent))
                        }
                    }
                }
                Sender::Http2(mut sender) => {
                    if let Err(error) = sender.ready().await {
                        return Err((error, Some(request)));
                    }
                    if fresh {
                        bucket.share(sender.clone());
                    }
                    match sender.try_send_request(request).await {
                        Ok(response) => Ok((response, Lease { bucket: Rc::clone(bucket), sender: None })),
                        Err(mut failure) => {
                            let unsent = failure.take_message();
                            Err((failure.into_error(), unsent))
                        }
                    }
                }
            }
        };
        match timeout(within, attempt).await {
            Err(_) => return Err(UpstreamError::Slow(within)),
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err((_, Some(unsent)))) if !fresh => request = unsent,
            Ok(Err((error, Some(_)))) => return Err(UpstreamError::Unsent(error)),
            Ok(Err((error, None))) => return Err(UpstreamError::Broken(error)),
        }
    }
}
