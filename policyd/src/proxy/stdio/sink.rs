//! The two directions of a stdio session's sockets.
//!
//! They may belong to somebody else, who can change what is set on them. So every call says itself that it must not wait
//! (`MSG_DONTWAIT`). It does not keep the kernel from waiting when it closes a descriptor that came with a message: a TCP
//! connection that lingers holds up the worker that read it.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, recv, sendmsg, sockopt,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// Why a descriptor cannot be one end of a session.
#[derive(Debug, thiserror::Error)]
pub enum NotASocket {
    /// It is something else.
    #[error("not a Unix stream socket")]
    Kind,
    /// The kernel said no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The end that is read from.
#[derive(Debug)]
pub struct Source(UnixStream);

/// The end that is written to, line by line, by whoever has one to write.
#[derive(Debug)]
pub struct Sink(Mutex<Option<UnixStream>>);

/// Takes a descriptor for a socket if it is one.
///
/// # Errors
///
/// [`NotASocket`]: anything but a Unix stream socket could make its reader wait.
pub fn socket(descriptor: OwnedFd) -> Result<net::UnixStream, NotASocket> {
    let kind = getsockopt(&descriptor, sockopt::SockType).map_err(|_| NotASocket::Kind)?;
    let address = getsockname::<SockaddrStorage>(descriptor.as_raw_fd()).map_err(|_| NotASocket::Kind)?;
    if kind != SockType::Stream || address.family() != Some(AddressFamily::Unix) {
        return Err(NotASocket::Kind);
    }
    Ok(descriptor.into())
}

// === impl Source ===

impl Source {
    /// Watches a socket from the current runtime.
    ///
    /// # Errors
    ///
    /// That it cannot be watched.
    pub fn new(socket: net::UnixStream) -> io::Result<Self> {
        watch(socket).map(Self)
    }

    /// Reads what is there into `buffer`, and waits until there is something. 0 at the end.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let received = self.0.async_io(Interest::READABLE, || {
                recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT).map_err(io::Error::from)
            });
            match received.await {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The other side closed with something unread: nothing more comes, as at the end.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(0),
                received => return received,
            }
        }
    }
}

// === impl Sink ===

impl Sink {
    /// Watches a socket from the current runtime.
    ///
    /// # Errors
    ///
    /// That it cannot be watched.
    pub fn new(socket: net::UnixStream) -> io::Result<Self> {
        watch(socket).map(|end| Self(Mutex::new(Some(end))))
    }

    /// Writes a line: `text` and its end, whole, before any other one.
    ///
    /// # Errors
    ///
    /// The kernel's, and `BrokenPipe` when it is closed.
    pub async fn send(&self, text: &[u8]) -> io::Result<()> {
        let end = self.0.lock().await;
        let end = end.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut parts = [IoSlice::new(text), IoSlice::new(b"\n")];
        let mut rest = &mut parts[..];
        while !rest.is_empty() {
            let sent = end.async_io(Interest::WRITABLE, || {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                sendmsg::<()>(end.as_raw_fd(), rest, &[], flags, None).map_err(io::Error::from)
            });
            match sent.await {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => IoSlice::advance_slices(&mut rest, sent?),
            }
        }
        Ok(())
    }

    /// Ends it: its reader sees the end, whoever else holds the socket.
    pub async fn close(&self) {
        if let Some(end) = self.0.lock().await.take() {
            // Fails where the reader has gone, who needs no telling.
            let _ = end.into_std().and_then(|end| end.shutdown(Shutdown::Write));
        }
    }
}

/// On the current runtime. `MSG_DONTWAIT` would be enough; tokio insists on the flag.
fn watch(socket: net::UnixStream) -> io::Result<UnixStream> {
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}
