//! As much of the daemon as the tests of capture need: a process of its own that captures, accepts and answers, and
//! that can be killed.
//!
//! `capture-daemon INSTANCE PORT CGROUP ANSWER [OWN]`: captures PORT for CGROUP, living in OWN. ANSWER is `itself`
//! (write `policyd`), or where the answer comes from: `exempt` (the origin's destination, over an exempted socket) or
//! `own` (the same over any socket of this process). Prints `ready PORT4`, then `accepted DESTINATION` each time.
//! With ANSWER `heir` a child keeps a socket that this process made, and uses it when this process has died.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use nix::unistd::{ForkResult, fork, getpid, getppid};
use policyd::capture::{Capture, Cgroup2, Handle, Options, Pins};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [instance, port, cgroup, answer, own @ ..] = &arguments[..] else { bail!("INSTANCE PORT CGROUP ANSWER [OWN]") };
    if let [own] = own {
        let procs = Cgroup2::find()?.directory(own)?.join("cgroup.procs");
        std::fs::write(&procs, "0").context("enter the own cgroup")?;
    }
    let port = port.parse()?;
    let capture = Capture::start(Options {
        instance: instance.clone(),
        cgroups: vec![cgroup.clone()],
        ports: [port].into(),
        all_ports: false,
        pins: Pins::Keep,
    })?;
    let mut acceptor = capture.acceptor()?;
    if answer == "heir" {
        leave_an_heir(port)?;
    }
    println!("ready {}", capture.listening()?.first().context("no listener")?.port());
    loop {
        let (mut stream, _, origin) = acceptor.accept().await?;
        println!("accepted {}", origin.destination);
        let answer = match answer.as_str() {
            "exempt" => fetch(origin.destination, Some(&capture.handle()))?,
            "own" => fetch(origin.destination, None)?,
            _ => *b"policyd",
        };
        stream.write_all(&answer)?;
    }
}

/// What the server at `destination` says.
fn fetch(destination: SocketAddr, exempt: Option<&Handle>) -> Result<[u8; 7]> {
    let fd = tcp()?;
    if let Some(handle) = exempt {
        handle.exempt(&fd)?;
    }
    connect(fd.as_raw_fd(), &v4(destination)?)?;
    let mut stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// Forks a child with a socket that this process made: it bears this process's mark.
fn leave_an_heir(port: u16) -> Result<()> {
    let fd = tcp()?;
    // Before the fork: the parent may be dead by the time that the child asks.
    let parent = getpid();
    // SAFETY: this process has one thread.
    if let ForkResult::Parent { .. } = unsafe { fork() }? {
        return Ok(());
    }
    // The listener must die with its owner, so the heir keeps only its output and the socket.
    let socket = fd.as_raw_fd().cast_unsigned();
    // SAFETY: nothing else in this process uses the descriptors that are closed.
    unsafe {
        libc::close_range(3, socket - 1, 0);
        libc::close_range(socket + 1, u32::MAX, 0);
    }
    while getppid() == parent {
        std::thread::yield_now();
    }
    let outcome = match connect(fd.as_raw_fd(), &v4(([127, 0, 0, 1], port).into())?) {
        Ok(()) => "let out".to_owned(),
        Err(errno) => errno.to_string(),
    };
    println!("heir {outcome}");
    std::process::exit(0)
}

fn tcp() -> Result<OwnedFd> {
    Ok(socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?)
}

fn v4(address: SocketAddr) -> Result<SockaddrIn> {
    match address {
        SocketAddr::V4(address) => Ok(address.into()),
        SocketAddr::V6(_) => bail!("{address} is not IPv4"),
    }
}
