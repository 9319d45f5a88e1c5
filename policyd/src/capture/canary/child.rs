//! The canary's process: forked, not executed, so that it works wherever policyd does.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use libc::{c_int, c_void, pid_t, sockaddr_in, socklen_t};

/// How far the canary came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It could not enter the cgroup.
    Move,
    /// It could not connect.
    Connect,
    /// It connected, and `getpeername` gave something else than what it asked for.
    Peer,
    /// All went well.
    Done,
}

/// What the canary tells through its pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// How far it came.
    pub stage: Stage,
    /// What the kernel said there.
    pub errno: i32,
    /// Its source port.
    pub source_port: u16,
}

/// A report's length in the pipe.
pub(super) const REPORT: usize = 8;

impl Report {
    fn to_bytes(self) -> [u8; REPORT] {
        let ([e0, e1, e2, e3], [p0, p1]) = (self.errno.to_ne_bytes(), self.source_port.to_ne_bytes());
        [self.stage as u8, 0, e0, e1, e2, e3, p0, p1]
    }

    /// The report that the pipe carried.
    pub fn from_bytes([stage, _, e0, e1, e2, e3, p0, p1]: [u8; REPORT]) -> Self {
        let stage = match stage {
            0 => Stage::Move,
            1 => Stage::Connect,
            2 => Stage::Peer,
            _ => Stage::Done,
        };
        Self { stage, errno: i32::from_ne_bytes([e0, e1, e2, e3]), source_port: u16::from_ne_bytes([p0, p1]) }
    }
}

/// A running canary. Dropping it ends and reaps it.
#[derive(Debug)]
pub(super) struct Child(pid_t);

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: our own child, not reaped yet.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// Starts a canary that enters the cgroup behind `procs` (an open `cgroup.procs`), connects to `address`:`port`, and
/// writes a [`Report`] to `pipe`. It keeps its connection until it is dropped.
pub(super) fn spawn(
    procs: Option<&OwnedFd>,
    address: Ipv4Addr,
    port: u16,
    patience: Duration,
    pipe: RawFd,
) -> io::Result<Child> {
    let procs = procs.map(|procs| procs.as_raw_fd());
    let destination = sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
        sin_zero: [0; 8],
    };
    let timeout = libc::timeval {
        tv_sec: patience.as_secs().try_into().map_err(io::Error::other)?,
        tv_usec: patience.subsec_micros().into(),
    };
    // SAFETY: the child does system calls only and never returns: no lock or allocator of the parent is touched.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let bytes = sing(procs, &destination, &timeout).to_bytes();
            // SAFETY: the bytes live across the call; after it the child waits for its end.
            unsafe {
                libc::write(pipe, bytes.as_ptr().cast(), bytes.len());
                libc::close(pipe);
                loop {
                    libc::pause();
                }
            }
        }
        pid => Ok(Child(pid)),
    }
}

/// The canary's life. System calls only.
fn sing(procs: Option<RawFd>, destination: &sockaddr_in, timeout: &libc::timeval) -> Report {
    let failed = |stage| Report { stage, errno: nix::errno::Errno::last_raw(), source_port: 0 };
    // SAFETY: every pointer is to a live local of the size that is given.
    unsafe {
        // Its parent's end must be its own, or a killed policyd would leave a canary that holds the listeners open.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if let Some(procs) = procs
            && libc::write(procs, c"0".as_ptr().cast(), 1) != 1
        {
            return failed(Stage::Move);
        }
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        // Where it is not redirected, nobody answers: do not wait for minutes.
        let length = size_of::<libc::timeval>() as socklen_t;
        libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_SNDTIMEO, as_ptr(timeout), length);
        let length = size_of::<sockaddr_in>() as socklen_t;
        if libc::connect(socket, as_ptr(destination).cast(), length) != 0 {
            return failed(Stage::Connect);
        }
        let peer = address(socket, libc::getpeername);
        if peer.sin_addr.s_addr != destination.sin_addr.s_addr || peer.sin_port != destination.sin_port {
            return failed(Stage::Peer);
        }
        let source_port = u16::from_be(address(socket, libc::getsockname).sin_port);
        Report { stage: Stage::Done, errno: 0, source_port }
    }
}

/// What `of` (`getpeername`, `getsockname`) gives for `socket`; zeroes when it fails.
fn address(
    socket: RawFd,
    of: unsafe extern "C" fn(c_int, *mut libc::sockaddr, *mut socklen_t) -> c_int,
) -> sockaddr_in {
    let mut address =
        sockaddr_in { sin_family: 0, sin_port: 0, sin_addr: libc::in_addr { s_addr: 0 }, sin_zero: [0; 8] };
    let mut length = size_of::<sockaddr_in>() as socklen_t;
    // SAFETY: the kernel writes at most `length` bytes.
    unsafe { of(socket, (&raw mut address).cast(), &raw mut length) };
    address
}

fn as_ptr<T>(value: &T) -> *const c_void {
    (&raw const *value).cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_the_pipe() {
        for stage in [Stage::Move, Stage::Connect, Stage::Peer, Stage::Done] {
            let report = Report { stage, errno: -7, source_port: 54321 };
            assert_eq!(Report::from_bytes(report.to_bytes()), report);
        }
    }
}
