//! Unusual ways to connect, all of which must be redirected.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd};

use io_uring::{IoUring, opcode, types};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, bind, connect, getpeername, sendto, setsockopt, socket,
    sockopt,
};
use policyd::capture::Counter;

use crate::rig::{Rig, who};

fn tcp() -> OwnedFd {
    socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap()
}

fn sockaddr(address: SocketAddr) -> SockaddrIn {
    match address {
        SocketAddr::V4(address) => address.into(),
        SocketAddr::V6(_) => panic!("IPv4 is wanted"),
    }
}

/// Runs an agent that connects in its own way and says whom it reached, and wants it to be policyd.
async fn redirected(name: &str, life: impl FnOnce(SocketAddr) -> TcpStream) {
    let mut rig = Rig::new(name);
    let address = rig.address();
    let agent = rig.agent(|output| {
        let stream = life(address);
        write!(output, "{} ", stream.peer_addr().unwrap()).unwrap();
        write!(output, "{}", who(stream)).unwrap();
    });
    let (_stream, origin) = rig.accept().await;
    assert_eq!(origin.destination, address);
    assert_eq!(origin.tgid, agent.pid());
    assert_eq!(agent.join().unwrap(), format!("{address} policyd"));
    rig.assert_server_untouched();
}

#[tokio::test]
async fn a_non_blocking_connect() {
    redirected("nonblocking", |address| {
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).unwrap();
        match connect(fd.as_raw_fd(), &sockaddr(address)) {
            Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => {}
            Err(errno) => panic!("{errno}"),
        }
        writable(&fd);
        fd.into()
    })
    .await;
}

fn writable(fd: &OwnedFd) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd as _;
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
    assert_eq!(poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap(), 1);
}

#[tokio::test]
async fn fast_open_by_a_flag_of_sendto() {
    redirected("fastopen", |address| {
        let fd = tcp();
        let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
        assert_eq!(sendto(fd.as_raw_fd(), b"hello", &sockaddr(address), flags).unwrap(), 5);
        fd.into()
    })
    .await;
}

#[tokio::test]
async fn fast_open_by_a_socket_option() {
    redirected("fastopen-connect", |address| {
        let fd = tcp();
        let on: libc::c_int = 1;
        // SAFETY: the option's value is a live int.
        let result = unsafe {
            let length = size_of_val(&on) as libc::socklen_t;
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_FASTOPEN_CONNECT,
                (&raw const on).cast(),
                length,
            )
        };
        assert_eq!(result, 0);
        connect(fd.as_raw_fd(), &sockaddr(address)).unwrap();
        let mut stream = TcpStream::from(fd);
        stream.write_all(b"hello").unwrap();
        stream
    })
    .await;
}

#[tokio::test]
async fn io_uring() {
    redirected("uring", |address| {
        let fd = tcp();
        let SocketAddr::V4(address) = address else { panic!("IPv4 is wanted") };
        let raw = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
            sin_zero: [0; 8],
        };
        let mut ring = IoUring::new(2).unwrap();
        let length = size_of_val(&raw) as libc::socklen_t;
        let entry = opcode::Connect::new(types::Fd(fd.as_raw_fd()), (&raw const raw).cast(), length).build();
        // SAFETY: address and descriptor live until the completion below.
        unsafe { ring.submission().push(&entry).unwrap() };
        ring.submit_and_wait(1).unwrap();
        assert_eq!(ring.completion().next().unwrap().result(), 0);
        fd.into()
    })
    .await;
}

#[tokio::test]
async fn a_bound_source_port() {
    // A port that was free a moment ago, so that two runs of this test do not want the same one.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    redirected("bound", |address| {
        let fd = tcp();
        setsockopt(&fd, sockopt::ReuseAddr, &true).unwrap();
        bind(fd.as_raw_fd(), &sockaddr(free)).unwrap();
        connect(fd.as_raw_fd(), &sockaddr(address)).unwrap();
        assert_eq!(TcpStream::from(fd.try_clone().unwrap()).local_addr().unwrap(), free);
        fd.into()
    })
    .await;
}

#[tokio::test]
async fn a_mark_exempts_nothing() {
    redirected("mark", |address| {
        let fd = tcp();
        setsockopt(&fd, sockopt::Mark, &0x1337).unwrap();
        connect(fd.as_raw_fd(), &sockaddr(address)).unwrap();
        fd.into()
    })
    .await;
}

/// Ends the association of a socket with its peer, as RFC-less tradition has it: connect(2), "AF_UNSPEC".
fn disconnect(fd: &OwnedFd) {
    let unspecified = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    // SAFETY: the address is live and of the length that is given.
    let result = unsafe { libc::connect(fd.as_raw_fd(), &raw const unspecified, size_of_val(&unspecified) as u32) };
    assert_eq!(result, 0);
}

#[tokio::test]
async fn one_socket_connects_again_and_again() {
    let mut rig = Rig::new("again");
    let address = rig.address();
    let elsewhere: SocketAddr = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 9), address.port()).into();
    let uncaptured = TcpListener::bind("127.0.0.1:0").unwrap();
    let third = uncaptured.local_addr().unwrap();
    let (mut go, mut wait) = {
        let (reader, writer) = std::io::pipe().unwrap();
        (writer, reader)
    };
    let agent = rig.agent(|output| {
        let fd = tcp();
        for target in [address, elsewhere, third, address] {
            connect(fd.as_raw_fd(), &sockaddr(target)).unwrap();
            let peer: SockaddrIn = getpeername(fd.as_raw_fd()).unwrap();
            assert_eq!(SocketAddr::from(SocketAddrV4::from(peer)), target);
            // SAFETY: a duplicate of a live descriptor, owned by the file.
            let mut copy = unsafe { File::from_raw_fd(fd.try_clone().unwrap().into_raw_fd()) };
            let mut answer = [0; 7];
            copy.read_exact(&mut answer).unwrap();
            output.write_all(&answer).unwrap();
            wait.read_exact(&mut [0]).unwrap();
            disconnect(&fd);
        }
    });
    for target in [Some(address), Some(elsewhere), None, Some(address)] {
        match target {
            Some(target) => assert_eq!(rig.accept().await.1.destination, target),
            None => uncaptured.accept().unwrap().0.write_all(b"another").unwrap(),
        }
        go.write_all(b"g").unwrap();
    }
    assert_eq!(agent.join().unwrap(), "policydpolicydanotherpolicyd");
    rig.assert_server_untouched();
}

#[tokio::test]
async fn two_connects_on_one_socket() {
    let mut rig = Rig::new("twice");
    let address = rig.address();
    let agent = rig.agent(|output| {
        let fd = tcp();
        // The first one fails before it leaves: a broadcast address needs no answer to be refused by the kernel.
        let nowhere: SocketAddr = SocketAddrV4::new(Ipv4Addr::BROADCAST, 1).into();
        connect(fd.as_raw_fd(), &sockaddr(nowhere)).unwrap_err();
        connect(fd.as_raw_fd(), &sockaddr(address)).unwrap();
        let error = connect(fd.as_raw_fd(), &sockaddr(address)).unwrap_err();
        assert_eq!(error, nix::errno::Errno::EISCONN);
        write!(output, "{}", who(fd.into())).unwrap();
    });
    let (_stream, origin) = rig.accept().await;
    assert_eq!(origin.destination, address);
    assert_eq!(agent.join().unwrap(), "policyd");
    rig.assert_server_untouched();
    assert_eq!(rig.count(Counter::Accepted), 1);
}
