//! Redirected connections, with what the kernel knows of them.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::sys::socket::{SockFlag, accept4};
use policyd_ebpf::TOKEN_UPSTREAM;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::listener::Listeners;
use super::start::Shared;
use super::{Counters, Error, Origin, canary, sys};

/// Why a connection that reached a listener is not the kernel's doing.
#[derive(Debug, thiserror::Error)]
pub enum NotRedirected {
    /// Somebody dialled the listener.
    #[error("the connection was not redirected by the kernel: somebody dialled policyd's listener")]
    Dialled,
    /// The origin could not be read.
    #[error("the connection's origin could not be read: {0}")]
    Io(#[from] io::Error),
}

/// Looks origins up and exempts upstream sockets. Cheap to clone; usable from any thread; takes no lock.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What the kernel noted for `socket`, a connection accepted from a listener.
    ///
    /// # Errors
    ///
    /// [`NotRedirected::Dialled`] when the kernel noted nothing: close it.
    pub fn origin(&self, socket: impl AsFd) -> Result<Origin, NotRedirected> {
        let key = socket.as_fd().as_raw_fd();
        // SAFETY: SRV's keys are descriptors and its values origins, of which every bit pattern is one.
        let origin = unsafe { sys::map_lookup::<i32, policyd_ebpf::Origin>(self.shared.kernel.srv(), &key) }?;
        origin.map(Origin::from).ok_or(NotRedirected::Dialled)
    }

    /// Lets `socket` connect wherever it wants. To be called on every upstream socket before its `connect`.
    ///
    /// # Errors
    ///
    /// The kernel's; the socket must not be used then (its connect would come back to policyd).
    pub fn exempt(&self, socket: impl AsFd) -> io::Result<()> {
        let key = socket.as_fd().as_raw_fd();
        // SAFETY: TOKEN's keys are descriptors and its values `u32`.
        unsafe { sys::map_update(self.shared.kernel.token(), &key, &TOKEN_UPSTREAM) }
    }

    /// The kernel programs' counters now.
    ///
    /// # Errors
    ///
    /// That the kernel refuses to read the map.
    pub fn counters(&self) -> Result<Counters, Error> {
        self.shared.kernel.counters()
    }

    /// How many connections were closed because the kernel had not redirected them.
    pub fn dialled(&self) -> u64 {
        self.shared.dialled.load(Ordering::Relaxed)
    }
}

/// Accepts redirected connections on the listeners. One per daemon; deals its connections out to the runtimes.
pub struct Acceptor {
    handle: Handle,
    v4: AsyncFd<TcpListener>,
    v6: Option<AsyncFd<TcpListener>>,
    /// Agents' connections that came while the canary was awaited.
    pub(super) backlog: VecDeque<(TcpStream, SocketAddr, Origin)>,
    pub(super) canary: canary::Place,
}

impl Acceptor {
    /// Watches the listeners from the current runtime.
    pub(super) fn new(handle: Handle, listeners: Listeners, canary: canary::Place) -> io::Result<Self> {
        // SAFETY: a `TcpListener` owns its one descriptor.
        let watch = |listener: TcpListener| unsafe { sys::watch(listener) };
        let v6 = listeners.v6.map(watch).transpose()?;
        Ok(Self { handle, v4: watch(listeners.v4)?, v6, backlog: VecDeque::new(), canary })
    }

    /// The next redirected connection: non-blocking and close-on-exec, its peer, and its origin. Connections that the
    /// kernel did not redirect are closed and counted ([`Handle::dialled`]), never yielded.
    ///
    /// Cancellation loses nothing.
    ///
    /// # Errors
    ///
    /// Those of `accept` that concern the process and not the connection, such as no free file descriptors: wait a
    /// little and call again.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr, Origin)> {
        match self.backlog.pop_front() {
            Some(first) => Ok(first),
            None => self.accept_new().await,
        }
    }

    /// The next one from the listeners.
    pub(super) async fn accept_new(&self) -> io::Result<(TcpStream, SocketAddr, Origin)> {
        loop {
            let stream = tokio::select! {
                stream = accept(&self.v4) => stream?,
                stream = accept6(self.v6.as_ref()) => stream?,
            };
            match self.handle.origin(&stream) {
                Ok(origin) => {
                    // A peer that has gone already is nobody's loss.
                    if let Ok(peer) = stream.peer_addr() {
                        return Ok((stream, peer, origin));
                    }
                }
                Err(error) => {
                    self.handle.shared.dialled.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(%error, "connection closed");
                }
            }
        }
    }
}

async fn accept6(listener: Option<&AsyncFd<TcpListener>>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => accept(listener).await,
        None => std::future::pending().await,
    }
}

async fn accept(listener: &AsyncFd<TcpListener>) -> io::Result<TcpStream> {
    loop {
        let accepted = listener.async_io(Interest::READABLE, accept_now).await;
        match accepted {
            // accept(2), "Error handling": these are the connection's own, it is gone.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO)) => {}
            other => return other,
        }
    }
}

fn accept_now(listener: &TcpListener) -> io::Result<TcpStream> {
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: the kernel made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}
