//! A bare relay: accepts, connects, splices. What a passed connection is measured against.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use clap::Args;
use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe;

/// Arguments of `bench relay`.
#[derive(Args)]
pub struct Relay {
    /// Where to listen.
    listen: SocketAddr,
    /// Where to connect.
    to: SocketAddr,
}

/// Bytes in flight in one direction.
const PIPE: usize = 1 << 20;

impl Relay {
    /// Relays until it is killed.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn run(self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.listen)?;
        println!("ready");
        for client in listener.incoming() {
            let client = client?;
            let server = TcpStream::connect(self.to)?;
            client.set_nodelay(true)?;
            server.set_nodelay(true)?;
            let (from, to) = (client.try_clone()?, server.try_clone()?);
            thread::spawn(move || copy(&from, &to));
            thread::spawn(move || copy(&server, &client));
        }
        Ok(())
    }
}

fn copy(from: &TcpStream, to: &TcpStream) -> nix::Result<()> {
    let (out, into) = pipe()?;
    fcntl(&into, FcntlArg::F_SETPIPE_SZ(PIPE as i32))?;
    loop {
        let mut held = splice(from, None, &into, None, PIPE, SpliceFFlags::SPLICE_F_MOVE)?;
        if held == 0 {
            to.shutdown(Shutdown::Write).ok();
            return Ok(());
        }
        while held > 0 {
            held -= splice(&out, None, to, None, held, SpliceFFlags::SPLICE_F_MOVE)?;
        }
    }
}
