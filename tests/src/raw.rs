//! A client that sends bytes as they are: what no well-behaved library would send.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::agent::binary;
use crate::process::{Finished, Running};
use crate::world::World;

/// Arguments of `agent raw`.
#[derive(Args)]
pub struct Raw {
    /// Where to connect: an address and a port.
    address: SocketAddr,
    /// Speak TLS with this server name.
    #[arg(long)]
    sni: Option<String>,
    /// PEM file of the roots to trust.
    #[arg(long, default_value = "/etc/ssl/certs/ca-certificates.crt")]
    roots: PathBuf,
    /// Keep silent until a line `go` comes on standard input; the rest of it is sent.
    #[arg(long)]
    wait: bool,
    /// Stop reading after so many seconds without a byte.
    #[arg(long, default_value_t = 10)]
    patience: u64,
}

impl Raw {
    /// Connects, sends standard input, prints what comes back until the other side ends it.
    ///
    /// # Errors
    /// When it cannot connect or the handshake fails. A reset while reading is an end like any other.
    pub fn run(self) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(self.address).context("connect")?;
        stream.set_read_timeout(Some(Duration::from_secs(self.patience)))?;
        let mut input = std::io::stdin();
        if self.wait {
            println!("connected");
            let mut line = [0; 3];
            input.read_exact(&mut line)?;
        }
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes)?;
        match &self.sni {
            None => talk(&mut stream, &bytes),
            Some(name) => {
                let config = Arc::new(config(&self.roots)?);
                let name = ServerName::try_from(name.clone())?;
                let mut connection = ClientConnection::new(config, name)?;
                connection.complete_io(&mut stream).context("handshake")?;
                talk(&mut StreamOwned::new(connection, stream), &bytes)
            }
        }
    }
}

/// A client that trusts the roots of a PEM file.
///
/// # Errors
/// When the file cannot be read.
pub fn config(file: &Path) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(file)? {
        // A bundle may hold roots that rustls does not take; the others do.
        roots.add(root?).ok();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn talk(stream: &mut (impl Read + Write), bytes: &[u8]) -> anyhow::Result<()> {
    // The other side may refuse before it has read everything: what it says then still counts.
    let sent = stream.write_all(bytes).and_then(|()| stream.flush());
    let mut buffer = [0; 16 * 1024];
    let mut out = std::io::stdout();
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => out.write_all(&buffer[..n]).and_then(|()| out.flush())?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                eprintln!("read: {error}");
                break;
            }
        }
    }
    if let Err(error) = sent {
        eprintln!("write: {error}");
    }
    Ok(())
}

/// The far end of a raw exchange.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Where to connect.
    pub address: SocketAddr,
    /// The server name to speak TLS with; without one, plain TCP.
    pub sni: Option<&'a str>,
    /// PEM file of the roots to trust.
    pub roots: &'a Path,
}

/// Sends `bytes` from the agent cgroup `agent` and gives what came back, up to the end or five silent seconds.
pub fn exchange(world: &World, agent: &str, target: Target<'_>, bytes: &[u8]) -> Finished {
    let mut running = start(world, agent, target, &[]);
    running.write(bytes);
    running.finish()
}

/// Starts `agent raw` with more `arguments`, and leaves its standard input open.
pub fn start(world: &World, agent: &str, target: Target<'_>, arguments: &[&str]) -> Running {
    let mut command = world.agent(agent);
    command.arg(binary("agent")).arg("raw").arg(target.address.to_string()).args(["--patience", "5"]).args(arguments);
    if let Some(sni) = target.sni {
        command.args(["--sni", sni, "--roots"]).arg(target.roots);
    }
    Running::start(command)
}
