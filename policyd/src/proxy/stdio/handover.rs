//! How `policyd stdio` hands a session to the daemon: over a Unix socket that every local user may connect to.
//!
//! 1. The daemon looks at who connected (`SO_PEERCRED`, then `/proc`), and greets.
//! 2. The other side says which server it is, with four sockets and its credentials (`SCM_RIGHTS`, `SCM_CREDENTIALS`): the
//!    kernel vouches that the very process that was looked at still lives.
//! 3. The daemon answers, and from then on serves the session. It says so when the session has ended, and closes.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::{Deserialize, Serialize};

use crate::capture::ancillary;

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
    /// That is because no grant lets the caller use the server.
    #[serde(default)]
    pub denied: bool,
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
    let received = ancillary::receive(socket, &mut line)?;
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let line = line[..received.bytes].strip_suffix(b"\n").ok_or_else(|| wrong("the message is cut off"))?;
    let hello = serde_json::from_slice(line).map_err(|error| wrong(&format!("the message cannot be read: {error}")))?;
    let ends = received.descriptors.try_into().ok().filter(|_| !received.truncated);
    let ends = ends.ok_or_else(|| wrong("there are not four descriptors"))?;
    let pid = received.pid.ok_or_else(|| wrong("it does not say which process of this PID namespace sent it"))?;
    Ok(Received { hello, ends, pid })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{setsockopt, sockopt};

    use super::*;
    use crate::admin::control;

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
    fn a_sender_of_whom_nothing_is_known_is_refused() {
        // To the kernel a process of another PID namespace is 0, and so is the sender where nobody had asked who that is.
        let (ours, theirs) = UnixStream::pair().unwrap();
        send(&ours, &Hello { server: "axint".into() }, [ours.as_fd(); 4]).unwrap();
        setsockopt(&theirs, sockopt::PassCred, &true).unwrap();
        let refused = receive(&theirs).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        assert!(refused.to_string().contains("which process"), "{refused}");
    }

    #[test]
    fn whoever_sends_before_being_accepted_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = control::listen(&path, nix::unistd::getgid(), 0o600).unwrap();
        let caller = UnixStream::connect(&path).unwrap();
        send(&caller, &Hello { server: "axint".into() }, [caller.as_fd(); 4]).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(receive(&accepted).unwrap().pid, std::process::id());
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
