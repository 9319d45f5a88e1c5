//! The client's side of a session: what this process was given as stdin and stdout, as sockets.
//!
//! A session is served on Unix stream sockets only, which can be read and written without waiting whoever else holds them.
//! Many clients give just these. Pipes, files and terminals are copied by a thread each.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::proxy::stdio::socket;

/// The client's two directions.
pub struct Client {
    /// What it writes.
    pub from: UnixStream,
    /// What it reads.
    pub to: UnixStream,
    /// Copies what `to` is given, where stdout is no socket.
    copier: Option<JoinHandle<()>>,
}

/// The command's two directions, and their other ends.
pub struct Command {
    /// Its stdin, to be written to.
    pub stdin: UnixStream,
    /// Its stdout, to be read from.
    pub stdout: UnixStream,
    /// What the command gets.
    pub theirs: (Stdio, Stdio),
}

impl Client {
    /// Takes this process's stdin and stdout; `/dev/null` takes their place, so that nobody but the session holds them.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn take() -> io::Result<Self> {
        let from = io::stdin().as_fd().try_clone_to_owned()?;
        let to = io::stdout().as_fd().try_clone_to_owned()?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        nix::unistd::dup2_stdin(&null)?;
        nix::unistd::dup2_stdout(&null)?;
        let from = match socket(from.try_clone()?) {
            Ok(socket) => socket,
            Err(_) => copied_from(from.into())?,
        };
        let (to, copier) = match socket(to.try_clone()?) {
            Ok(socket) => (socket, None),
            Err(_) => copied_to(to.into()).map(|(socket, copier)| (socket, Some(copier)))?,
        };
        Ok(Self { from, to, copier })
    }

    /// The thread that passes on what the client reads.
    pub fn copier(&mut self) -> Option<JoinHandle<()>> {
        self.copier.take()
    }
}

impl Command {
    /// Two pairs of sockets, as Node and others give the servers that they start.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn new() -> io::Result<Self> {
        let (stdin, theirs_in) = UnixStream::pair()?;
        let (stdout, theirs_out) = UnixStream::pair()?;
        // One direction each, as with pipes.
        stdin.shutdown(Shutdown::Read)?;
        stdout.shutdown(Shutdown::Write)?;
        let theirs = (OwnedFd::from(theirs_in).into(), OwnedFd::from(theirs_out).into());
        Ok(Self { stdin, stdout, theirs })
    }
}

/// A socket that gives what `file` gives.
fn copied_from(mut file: File) -> io::Result<UnixStream> {
    let (ours, mut theirs) = UnixStream::pair()?;
    thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        // Ends when either side does; the session notices by itself.
        let _ = copy(&mut file, &mut theirs);
        let _ = theirs.shutdown(Shutdown::Write);
    })?;
    Ok(ours)
}

/// A socket of which `file` gets all, and the thread that sees to it.
fn copied_to(mut file: File) -> io::Result<(UnixStream, JoinHandle<()>)> {
    let (ours, mut theirs) = UnixStream::pair()?;
    let copier = thread::Builder::new().name("stdout".to_owned()).spawn(move || {
        let _ = copy(&mut theirs, &mut file);
    })?;
    Ok((ours, copier))
}

/// As `io::copy`, which splices: and whoever splices from a socket into a pipe holds the pipe's lock while it waits for the
/// socket, so that nobody can read what is in the pipe already.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => to.write_all(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits for a thread, for a while.
pub fn join(thread: JoinHandle<()>, patience: Duration) {
    let deadline = Instant::now() + patience;
    while !thread.is_finished() && Instant::now() < deadline {
        thread::park_timeout(Duration::from_millis(1));
    }
}
