//! The sockets that captured connects are redirected to.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{Backlog, listen};

use super::sys;

/// Connections that the kernel completes before they are accepted; `net.core.somaxconn` caps it. A redirected connect
/// that finds the queue full waits a second for its second SYN.
const BACKLOG: i32 = 4096;

/// policyd's listeners in its own network namespace, on ports that the kernel chose.
#[derive(Debug)]
pub(super) struct Listeners {
    pub v4: TcpListener,
    /// `None` where the namespace has no IPv6.
    pub v6: Option<TcpListener>,
    /// The namespace's cookie.
    pub netns: u64,
}

impl Listeners {
    /// Opens them, non-blocking.
    pub fn open() -> io::Result<Self> {
        let v4 = open((Ipv4Addr::LOCALHOST, 0).into())?;
        let v6 = match open((Ipv6Addr::LOCALHOST, 0).into()) {
            Ok(listener) => Some(listener),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)) => None,
            Err(error) => return Err(error),
        };
        let netns = sys::netns_cookie(v4.as_fd())?;
        Ok(Self { v4, v6, netns })
    }

    /// The same sockets under new descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        let v6 = self.v6.as_ref().map(TcpListener::try_clone).transpose()?;
        Ok(Self { v4: self.v4.try_clone()?, v6, netns: self.netns })
    }

    /// Their descriptors.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.v4.as_fd()).chain(self.v6.as_ref().map(AsFd::as_fd))
    }

    /// Their addresses.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        std::iter::once(&self.v4).chain(&self.v6).map(TcpListener::local_addr).collect()
    }

    /// What the programs need to know of them.
    pub fn ports(&self) -> io::Result<policyd_ebpf::Listener> {
        let port6 = self.v6.as_ref().map(TcpListener::local_addr).transpose()?.map_or(0, |address| address.port());
        Ok(policyd_ebpf::Listener { port4: self.v4.local_addr()?.port(), port6 })
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    listen(&listener, Backlog::new(BACKLOG)?)?;
    Ok(listener)
}
