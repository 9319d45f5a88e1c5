//! Passed connections: bytes go from socket to socket inside the kernel, and nothing is held while they idle.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::pipe2;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe holds at most. Larger pipes mean fewer system calls; the kernel lets unprivileged users have this much.
const PIPE_SIZE: usize = 1024 * 1024;

/// Idle pipes that a worker keeps for the next bytes; more are closed.
const KEPT_PIPES: usize = 32;

/// A worker's pipes. A connection borrows one only while bytes move.
#[derive(Debug, Default)]
pub struct Pipes {
    idle: RefCell<Vec<Pipe>>,
}

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// Joins two connections until both directions have ended; a half-close is passed on as one.
///
/// Gives the bytes that went to the upstream and to the client. Fails with the first error of either direction, and both
/// end then.
pub async fn join(client: &TcpStream, upstream: &TcpStream, pipes: &Pipes) -> io::Result<(u64, u64)> {
    tokio::try_join!(one_way(client, upstream, pipes), one_way(upstream, client, pipes))
}

/// Moves bytes from `source` to `sink` until `source` ends, then ends `sink`'s write side. Gives the number of bytes.
pub async fn one_way(source: &TcpStream, sink: &TcpStream, pipes: &Pipes) -> io::Result<u64> {
    let mut total = 0;
    loop {
        source.readable().await?;
        let pipe = pipes.take()?;
        // Until the source has no more for now: a busy connection keeps its pipe.
        loop {
            let filled = source.try_io(Interest::READABLE, || move_bytes(source, &pipe.write, PIPE_SIZE));
            match filled {
                Ok(0) => {
                    pipes.put(pipe);
                    // The sink may have gone already; the other direction tells.
                    let _ = shutdown(sink.as_raw_fd(), Shutdown::Write);
                    return Ok(total);
                }
                Ok(filled) => {
                    drain(&pipe, filled, sink).await?;
                    total += filled as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        pipes.put(pipe);
    }
}

async fn drain(pipe: &Pipe, mut left: usize, sink: &TcpStream) -> io::Result<()> {
    while left > 0 {
        match sink.try_io(Interest::WRITABLE, || move_bytes(&pipe.read, sink, left)) {
            Ok(moved) => left -= moved,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sink.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn move_bytes(from: impl AsFd, to: impl AsFd, length: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    Ok(splice(from, None, to, None, length, flags)?)
}

// === impl Pipes ===

impl Pipes {
    fn take(&self) -> io::Result<Pipe> {
        if let Some(pipe) = self.idle.borrow_mut().pop() {
            return Ok(pipe);
        }
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Refused where the user's pipe budget is used up; the default size works as well.
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE as i32));
        Ok(Pipe { read, write })
    }

    /// Takes an *empty* pipe back. (On errors pipes with bytes in them are dropped instead.)
    fn put(&self, pipe: Pipe) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < KEPT_PIPES {
            idle.push(pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn passes_bytes_and_half_closes_both_ways() {
        let (mut client, inside) = pair().await;
        let (outside, mut server) = pair().await;
        let sent: Vec<u8> = (0..3_000_000_u32).map(|i| i as u8).collect();
        let expected = sent.clone();
        let agent = async move {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let peer = async move {
            let mut received = Vec::new();
            server.read_to_end(&mut received).await.unwrap();
            // The client has ended its side; ours still carries the answer.
            server.write_all(b"after the half-close").await.unwrap();
            server.shutdown().await.unwrap();
            received
        };
        let pipes = Pipes::default();
        let (moved, answer, received) = tokio::join!(join(&inside, &outside, &pipes), agent, peer);
        assert_eq!(moved.unwrap(), (3_000_000, 20));
        assert_eq!(answer, b"after the half-close");
        assert!(received == expected);
        assert!(pipes.idle.borrow().len() <= 2);
    }
}
