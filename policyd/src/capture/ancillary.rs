//! What comes along with the bytes of a Unix socket. Its other end may belong to anybody, who decides what that is, and whoever
//! shares a socket may ask the kernel for more of it. So all of it is read, and whatever descriptors there are have an owner.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;

/// Room for all that the kernel adds to one message: 253 descriptors (`SCM_MAX_FD`), credentials, a security label, a pidfd.
const ROOM: usize = 2048;
/// A descriptor of the sender's process (`SO_PASSPIDFD`).
const SCM_PIDFD: libc::c_int = 4;

/// What one call received.
#[derive(Debug)]
pub struct Received {
    /// Bytes; 0 at the end.
    pub bytes: usize,
    /// Descriptors that were passed, which close on exec.
    pub descriptors: Vec<OwnedFd>,
    /// Who sent it, where the socket asks for that (`SO_PASSCRED`). `None` too for a process of which this PID namespace knows
    /// nothing: to the kernel that is 0.
    pub pid: Option<u32>,
    /// There was more beside the bytes than was received.
    pub truncated: bool,
}

/// Where headers may start.
#[repr(align(8))]
struct Room([u8; ROOM]);

/// Receives into `buffer`, without waiting.
///
/// # Errors
///
/// The kernel's; `WouldBlock` if there is nothing.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut room = Room([0; ROOM]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: of this structure of numbers and pointers all zeros are a value.
    let mut head: libc::msghdr = unsafe { mem::zeroed() };
    head.msg_iov = &raw mut part;
    head.msg_iovlen = 1;
    head.msg_control = room.0.as_mut_ptr().cast();
    head.msg_controllen = ROOM;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `head` leads to `buffer` and `room`, with their lengths; both are borrowed exclusively until the call returns.
    let bytes = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut head, flags) };
    let bytes = usize::try_from(bytes).map_err(|_| io::Error::last_os_error())?;
    let truncated = head.msg_flags & libc::MSG_CTRUNC != 0;
    let mut received = Received { bytes, descriptors: Vec::new(), pid: None, truncated };
    for (kind, data) in messages(&room.0[..head.msg_controllen.min(ROOM)]) {
        match kind {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS | SCM_PIDFD) => {
                let new = numbers(data).filter(|&number| number >= 0);
                // SAFETY: the kernel has just made these descriptors for this call, so nobody else owns them. Instead of a
                // pidfd it may give an error, which is negative.
                received.descriptors.extend(new.map(|number: RawFd| unsafe { OwnedFd::from_raw_fd(number) }));
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                let pid = numbers(data).next().and_then(|pid| u32::try_from(pid).ok());
                received.pid = pid.filter(|pid| *pid != 0);
            }
            _ => {}
        }
    }
    Ok(received)
}

/// The control messages in what the kernel wrote, as cmsg(3) lays them out: level and type, and the data.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = ((libc::c_int, libc::c_int), &[u8])> {
    const LENGTH: usize = size_of::<usize>();
    const HEADER: usize = size_of::<libc::cmsghdr>();
    std::iter::from_fn(move || {
        let (length, _) = rest.split_first_chunk::<LENGTH>()?;
        let length = usize::from_ne_bytes(*length);
        let data = rest.get(HEADER..length)?;
        let mut kind = numbers(&rest[LENGTH..HEADER]);
        let kind = (kind.next()?, kind.next()?);
        rest = rest.get(length.next_multiple_of(LENGTH)..).unwrap_or_default();
        Some((kind, data))
    })
}

fn numbers(data: &[u8]) -> impl Iterator<Item = libc::c_int> {
    data.as_chunks().0.iter().map(|bytes| libc::c_int::from_ne_bytes(*bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::io::IoSlice;
    use std::os::unix::net::UnixStream;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_much_as_can_be_sent_is_received() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        setsockopt(&theirs, sockopt::PassCred, &true).unwrap();
        let many = [ours.as_raw_fd(); 253];
        sendmsg::<()>(
            ours.as_raw_fd(),
            &[IoSlice::new(b"text")],
            &[ControlMessage::ScmRights(&many)],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        let mut buffer = [0; 16];
        let received = receive(&theirs, &mut buffer).unwrap();
        assert_eq!((&buffer[..received.bytes], received.truncated), (&b"text"[..], false));
        assert_eq!((received.descriptors.len(), received.pid), (253, Some(std::process::id())));
        for descriptor in &received.descriptors {
            let flags = FdFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFD).unwrap());
            assert!(flags.contains(FdFlag::FD_CLOEXEC));
        }
        assert_eq!(receive(&theirs, &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop((received, ours));
        assert_eq!(receive(&theirs, &mut buffer).unwrap().bytes, 0);
    }

    proptest! {
        #[test]
        fn no_lengths_lead_astray(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(16), any::<u8>()], 0..96)) {
            for (_, data) in messages(&bytes) {
                prop_assert!(data.len() <= bytes.len());
            }
        }
    }
}
