//! How `policyd stdio` hands a session to the daemon: over a Unix socket that every local user may connect to.
//!
//! 1. The daemon looks at who connected (`SO_PEERCRED`, then `/proc`), and greets.
//! 2. The other side says which server it is, with four sockets and its credentials (`SCM_RIGHTS`, `SCM_CREDENTIALS`): the
//!    kernel vouches that the very process that was looked at still lives.
//! 3. The daemon answers, and from then on serves the session. It says so when the session has ended, and closes.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// What the daemon greets with. The number is the version of this protocol.
pub const GREETING: &str = "policyd stdio 1";
/// What it says when the session has ended.
pub const ENDED: &[u8] = b"ended";
/// A line of this protocol is no longer.
pub const LONGEST: usize = 4096;

/// Which session it is. Unknown keys are refused: they would be another version's.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The server's name in the daemon's configuration.
    pub server: String,
}

/// What the daemon answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Why it does not take the session, if it does not.
    pub error: Option<String>,
}

/// The four sockets: what the client writes, what it reads, the command's stdin, its stdout.
pub type Ends<T> = [T; 4];

/// What was received of a [`Hello`].
#[derive(Debug)]
pub struct Received {
    /// Which session.
    pub hello: Hello,
    /// Its sockets, or whatever was sent for them.
    pub ends: Ends<OwnedFd>,
    /// The process that sent them, as the kernel knows it.
    pub pid: u32,
}

/// Sends a [`Hello`].
///
/// # Errors
///
/// The kernel's.
pub fn send(socket: impl AsFd, hello: &Hello, ends: Ends<BorrowedFd<'_>>) -> io::Result<()> {
    let mut line = serde_json::to_vec(hello)?;
    line.push(b'\n');
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&ends));
    let sent = sendmsg(socket, &[IoSlice::new(&line)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == line.len() { Ok(()) } else { Err(io::Error::other("the message was cut off")) }
}

/// Receives a [`Hello`], without waiting.
///
/// # Errors
///
/// The kernel's; `InvalidData` for what is no such message.
pub fn receive(socket: impl AsFd) -> io::Result<Received> {
    let mut line = [0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut line)], &mut control, flags)?;
    let (mut ends, mut pid) = (Vec::new(), None);
    // All of them, so that none stays open that is not wanted.
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(descriptors) => ends.extend(descriptors),
            RecvAncillaryMessage::ScmCredentials(credentials) => pid = Some(credentials.pid),
            _ => {}
        }
    }
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let line = line[..received.bytes].strip_suffix(b"\n").ok_or_else(|| wrong("the message is cut off"))?;
    let hello = serde_json::from_slice(line).map_err(|error| wrong(&format!("the message cannot be read: {error}")))?;
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(wrong("there are more than four descriptors"));
    }
    let ends = ends.try_into().map_err(|_| wrong("there are not four descriptors"))?;
    let pid = pid.ok_or_else(|| wrong("there are no credentials"))?;
    Ok(Received { hello, ends, pid: pid.as_raw_nonzero().get().unsigned_abs() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{setsockopt, sockopt};

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        setsockopt(&theirs, sockopt::PassCred, &true).unwrap();
        (ours, theirs)
    }

    #[test]
    fn what_is_handed_over_arrives() {
        let (ours, theirs) = pair();
        let (mut mine, handed) = UnixStream::pair().unwrap();
        let hello = Hello { server: "axint".into() };
        send(&ours, &hello, [handed.as_fd(); 4]).unwrap();
        let received = receive(&theirs).unwrap();
        assert_eq!((received.hello, received.pid), (hello, std::process::id()));
        let [end, ..] = received.ends;
        UnixStream::from(end).write_all(b"x").unwrap();
        let mut read = [0];
        mine.read_exact(&mut read).unwrap();
        assert_eq!(read, *b"x");
    }

    #[test]
    fn anything_else_is_refused() {
        let (ours, theirs) = pair();
        assert_eq!(receive(&theirs).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        for text in ["", "\n", "{}\n", "{\"server\":\"x\"}", "{\"server\":\"x\",\"uid\":0}\n", "{\"server\":\"x\"}\n"] {
            (&ours).write_all(text.as_bytes()).unwrap();
            if !text.is_empty() {
                assert_eq!(receive(&theirs).unwrap_err().kind(), io::ErrorKind::InvalidData, "{text}");
            }
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let five = [ours.as_fd(); 5];
        control.push(SendAncillaryMessage::ScmRights(&five));
        sendmsg(&ours, &[IoSlice::new(b"{\"server\":\"x\"}\n")], &mut control, SendFlags::empty()).unwrap();
        assert_eq!(receive(&theirs).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
