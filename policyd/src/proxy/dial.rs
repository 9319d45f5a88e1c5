//! Connecting upstream as the agent would have: to the address that it asked for, with its user id on the socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use nix::unistd::{Uid, fchown, geteuid};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until, timeout};

use crate::capture::Handle;

/// How long an attempt stands alone before the next address is tried beside it (RFC 8305 §5 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No address answered within the time.
    #[error("no answer from {0} within {1:?}")]
    Timeout(SocketAddr, Duration),
    /// Every address failed; this is what the first said.
    #[error("cannot connect to {0}: {1}")]
    Failed(SocketAddr, io::Error),
    /// The socket could not be prepared: not exempt from capture, or not the agent's.
    #[error("cannot prepare the upstream socket: {0}")]
    Prepare(io::Error),
}

impl DialError {
    /// The kind, as `policyd_upstream_errors_total` labels it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Timeout(..) => "connect-timeout",
            Self::Failed(..) => "connect-failed",
            Self::Prepare(_) => "socket",
        }
    }
}

/// Connects to `address`; when it fails or is slow, also to the `others` of its name, in their order.
///
/// A redirected `connect` always succeeds, so the agent's own fallback to another address no longer works: this one
/// takes its place. `uid` becomes the socket's owner, so that the host's routes and filters by uid hold for it. Without a
/// `capture` that exempts it no socket is opened.
pub async fn dial(
    capture: Option<&Handle>,
    uid: u32,
    address: SocketAddr,
    others: impl Future<Output = Vec<IpAddr>>,
    within: Duration,
) -> Result<TcpStream, DialError> {
    let Some(capture) = capture else {
        return Err(DialError::Prepare(io::Error::other("nothing is captured here")));
    };
    match timeout(within, race(capture, uid, address, others)).await {
        Ok(result) => result,
        Err(_) => Err(DialError::Timeout(address, within)),
    }
}

async fn race(
    capture: &Handle,
    uid: u32,
    address: SocketAddr,
    others: impl Future<Output = Vec<IpAddr>>,
) -> Result<TcpStream, DialError> {
    let first = attempt(capture, uid, address);
    tokio::pin!(first);
    let first_error = tokio::select! {
        result = &mut first => match result {
            Ok(stream) => return Ok(stream),
            Err(error) => Some(error),
        },
        () = tokio::time::sleep(STAGGER) => None,
    };
    let mut waiting: Vec<SocketAddr> = others
        .await
        .into_iter()
        .filter(|ip| *ip != address.ip())
        .map(|ip| SocketAddr::new(ip, address.port()))
        .rev()
        .collect();
    let mut running = FuturesUnordered::new();
    let mut kept = first_error;
    let mut first_runs = kept.is_none();
    loop {
        if let Some(next) = waiting.pop() {
            running.push(attempt(capture, uid, next));
        } else if running.is_empty() && !first_runs {
            // `kept` is set whenever the first attempt no longer runs.
            return Err(kept.unwrap_or(DialError::Failed(address, io::ErrorKind::NotConnected.into())));
        }
        let stagger = Instant::now() + STAGGER;
        tokio::select! {
            result = &mut first, if first_runs => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    first_runs = false;
                    kept = Some(error);
                }
            },
            Some(result) = running.next(), if !running.is_empty() => {
                if let Ok(stream) = result {
                    return Ok(stream);
                }
            }
            () = sleep_until(stagger), if !waiting.is_empty() => {}
        }
    }
}

async fn attempt(capture: &Handle, uid: u32, address: SocketAddr) -> Result<TcpStream, DialError> {
    let socket = prepare(capture, uid, address).map_err(DialError::Prepare)?;
    let stream = socket.connect(address).await.map_err(|error| DialError::Failed(address, error))?;
    stream.set_nodelay(true).map_err(|error| DialError::Failed(address, error))?;
    Ok(stream)
}

fn prepare(capture: &Handle, uid: u32, address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    capture.exempt(socket.as_fd())?;
    if uid != geteuid().as_raw() {
        fchown(socket.as_fd(), Some(Uid::from_raw(uid)), None)?;
    }
    socket.set_keepalive(true)?;
    Ok(socket)
}
