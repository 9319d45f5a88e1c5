//! A connection's life: who and where to → opened and served, passed through, or refused.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::admission::Place;
use super::dial::dial;
use super::serve::serve;
use super::splice;
use super::worker::{Snapshot, Worker};
use crate::capture::Origin;
use crate::capture::identity::Identity;
use crate::config::Host;
use crate::telemetry;
use crate::tls::peek::{self, Peek, Peeked};
use crate::tls::route::{Dial, Route};

/// A captured connection, before it is known what it is.
pub struct Captured {
    /// The agent's socket, not yet registered with a runtime.
    pub stream: std::net::TcpStream,
    /// What the kernel noted.
    pub origin: Origin,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Held as long as the connection lives.
    pub place: Place,
}

/// A captured connection on its worker.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) origin: Origin,
    pub(super) identity: Arc<Identity>,
    pub(super) place: Place,
}

/// Why a connection was closed by policyd; the cause in metrics and logs.
#[derive(Debug)]
pub(super) struct Refused {
    cause: &'static str,
    detail: String,
    name: Option<String>,
}

impl Refused {
    pub(super) fn new(cause: &'static str, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into(), name: None }
    }

    /// Says which name the client asked for.
    fn naming(mut self, name: Option<&str>) -> Self {
        self.name = name.map(str::to_owned);
        self
    }
}

/// Serves one captured connection to its end.
pub async fn run(worker: Rc<Worker>, captured: Captured) {
    let Captured { stream, origin, identity, place } = captured;
    let result = match TcpStream::from_std(stream) {
        Ok(stream) => live(&worker, Connection { stream, origin, identity: Arc::clone(&identity), place }).await,
        Err(error) => Err(broken(&error)),
    };
    if let Err(refused) = result {
        worker.shared.telemetry.emit(telemetry::Refused {
            cause: refused.cause,
            destination: Some(origin.destination),
            pid: Some(identity.pid),
            uid: Some(identity.uid),
            name: refused.name.as_deref(),
            detail: Some(&*refused.detail).filter(|detail| !detail.is_empty()),
        });
    }
}

async fn live(worker: &Rc<Worker>, mut captured: Connection) -> Result<(), Refused> {
    let snapshot = worker.shared.snapshot.load_full();
    let mut opening = Opening::default();
    match timeout(snapshot.config.timeouts.peek, opening.classify(&mut captured.stream, &snapshot)).await {
        Ok(peeked) => {
            let peeked = peeked?;
            dispatch(worker, captured, opening, peeked).await
        }
        // Boxed: rare and large, and the task of every connection would have to hold the space for it.
        Err(_) => Box::pin(silent(worker, captured, opening, &snapshot)).await,
    }
}

/// What a client has sent so far, before it is known what it is.
#[derive(Default)]
struct Opening {
    read: BytesMut,
    deadline: Option<Instant>,
}

impl Opening {
    /// Reads until it is known what the client opened the connection with. Once something has come, the rest of it has
    /// to come within the handshake's time. Cancellation loses nothing.
    async fn classify(&mut self, stream: &mut TcpStream, snapshot: &Snapshot) -> Result<Peeked, Refused> {
        loop {
            let arriving = stream.read_buf(&mut self.read);
            let arrived = match self.deadline {
                None => arriving.await,
                Some(deadline) => timeout_at(deadline, arriving)
                    .await
                    .map_err(|_| Refused::new("peek-timeout", "the client began a handshake and did not finish it"))?,
            };
            match arrived {
                // The client has shut its side, or is gone: what has come is all there will be.
                Ok(0) | Err(_) => return Ok(peek::end(&self.read)),
                Ok(_) => {}
            }
            if let Peek::Done(peeked) = peek::peek(&self.read) {
                return Ok(peeked);
            }
            self.deadline.get_or_insert_with(|| Instant::now() + snapshot.config.timeouts.handshake);
        }
    }
}

/// The client has not said enough within the peek timeout: maybe the server speaks first.
///
/// The upstream is opened where silence may pass, and what it says is handed on; the client's first bytes are classified
/// all the same, however late they come, and nothing of them goes out before.
async fn silent(
    worker: &Rc<Worker>,
    mut captured: Connection,
    mut opening: Opening,
    snapshot: &Arc<Snapshot>,
) -> Result<(), Refused> {
    let Route::Pass(to) = worker.route(snapshot, &Peeked::Silent, &captured.origin) else {
        // A client that holds a protected address without a word is not kept for ever.
        let peeked = timeout(snapshot.config.timeouts.request, opening.classify(&mut captured.stream, snapshot))
            .await
            .map_err(|_| Refused::new("peek-timeout", "the client sent nothing"))??;
        return dispatch(worker, captured, opening, peeked).await;
    };
    let upstream = open(worker, snapshot, &captured.origin, &to, None).await?;
    let mut spoken = false;
    let mut chunk = BytesMut::with_capacity(16 * 1024);
    let peeked = loop {
        tokio::select! {
            biased;
            peeked = opening.classify(&mut captured.stream, snapshot) => break peeked?,
            readable = upstream.readable() => {
                readable.map_err(|error| broken(&error))?;
                match upstream.try_read_buf(&mut chunk) {
                    // The server has had enough; so has the client, then.
                    Ok(0) => return Ok(()),
                    Ok(_) => {
                        spoken = true;
                        captured.stream.write_all_buf(&mut chunk).await.map_err(|error| broken(&error))?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(broken(&error)),
                }
            }
        }
    };
    match worker.route(&worker.shared.snapshot.load(), &peeked, &captured.origin) {
        Route::Pass(_) => pass(worker, captured, opening, upstream).await,
        Route::Inspect(_) if spoken => Err(Refused::new(
            "server-spoke-first",
            "the client named a configured server after another one had answered",
        )),
        Route::Inspect(_) | Route::Refuse(_) => {
            drop(upstream);
            dispatch(worker, captured, opening, peeked).await
        }
    }
}

async fn dispatch(worker: &Rc<Worker>, captured: Connection, opening: Opening, peeked: Peeked) -> Result<(), Refused> {
    let snapshot = worker.shared.snapshot.load_full();
    match worker.route(&snapshot, &peeked, &captured.origin) {
        Route::Inspect(server) => Box::pin(serve(worker, captured, opening.read.freeze(), server, &peeked)).await,
        // The client came and went without a word: nothing to pass.
        Route::Pass(_) if peeked == Peeked::Silent => Ok(()),
        Route::Pass(to) => {
            let upstream = open(worker, &snapshot, &captured.origin, &to, name_of(&peeked)).await?;
            pass(worker, captured, opening, upstream).await
        }
        Route::Refuse(cause) => Err(Refused::new(cause.as_str(), "").naming(name_of(&peeked))),
    }
}

/// The name that the client says it wants: its other addresses are tried when the one it chose cannot be reached.
fn name_of(peeked: &Peeked) -> Option<&str> {
    match peeked {
        Peeked::Tls(hello) => hello.sni.as_deref(),
        Peeked::Http(head) => match &head.host.as_ref().or(head.target.as_ref())?.host {
            Host::Name(name) => Some(name),
            Host::Address(_) => None,
        },
        _ => None,
    }
}

/// Connects a connection that passes.
async fn open(
    worker: &Worker,
    snapshot: &Snapshot,
    origin: &Origin,
    to: &Dial,
    name: Option<&str>,
) -> Result<TcpStream, Refused> {
    let shared = &worker.shared;
    let within = snapshot.config.timeouts.connect;
    let (address, name) = match to {
        Dial::Original => (origin.destination, name),
        // The agent chose the name, policyd the address: an allowed name must not carry it elsewhere.
        Dial::Name(name) => {
            let addresses = Box::pin(shared.names.addresses_of(name)).await;
            let first = addresses.map_err(|error| Refused::new("unresolved", error.to_string()).naming(Some(name)))?[0];
            (SocketAddr::new(first, origin.destination.port()), Some(name.as_str()))
        }
    };
    let others = async {
        match name {
            Some(name) => shared.names.addresses_of(name).await.unwrap_or_default(),
            None => Vec::new(),
        }
    };
    // Boxed: a passed connection holds its task's space for as long as it lives.
    Box::pin(dial(shared.capture.as_ref(), origin.uid, address, others, within))
        .await
        .map_err(|error| Refused::new(error.kind(), error.to_string()).naming(name))
}

/// Passes a connection through: what was read of it first, then both ways inside the kernel.
async fn pass(worker: &Worker, captured: Connection, opening: Opening, mut upstream: TcpStream) -> Result<(), Refused> {
    let _active = worker.shared.telemetry.connection(telemetry::Route::Pass);
    upstream.write_all(&opening.read).await.map_err(|error| broken(&error))?;
    // An idle passed connection holds two sockets and this task, no buffer.
    drop(opening);
    // How it ends is the peers' business: an error of one side has been seen by the other as a close.
    let _ = splice::join(&captured.stream, &upstream, &worker.pipes).await;
    Ok(())
}

fn broken(error: &io::Error) -> Refused {
    Refused::new("broken", error.to_string())
}
