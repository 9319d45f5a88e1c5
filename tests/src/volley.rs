//! A client that sends many requests as they are, each on a connection of its own, from one process.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};

use crate::agent::binary;
use crate::frames;
use crate::process::Running;
use crate::raw;
use crate::world::World;

/// Arguments of `agent volley`.
#[derive(Args)]
pub struct Volley {
    /// A file with a [`Plan`] in JSON.
    plan: PathBuf,
}

/// Whom to send to, and what.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Where to connect.
    pub address: SocketAddr,
    /// The server name to speak TLS with, and the roots to trust.
    pub tls: Option<(&'a str, &'a Path)>,
    /// Offer HTTP/2 alone in TLS: the requests are frames then.
    pub h2: bool,
    /// What to send first, on a connection that is kept until the end (a GET of HTTP+SSE, say). What it answers up to
    /// the first line with `data:` names the target of the others: `TARGET` in them.
    pub first: Option<Vec<u8>>,
    /// What to send.
    pub requests: Vec<Vec<u8>>,
    /// Send many at once: some servers never answer some of them.
    pub at_once: bool,
    /// How long to wait for an answer that does not come.
    pub patience: Duration,
}

impl Plan<'_> {
    /// Sends it all through `command` (a world's `agent`, or `beside` for the servers' side) and gives each answer, up to
    /// where the other side ended it or fell silent.
    ///
    /// # Panics
    /// When a connection cannot be made.
    pub fn send(&self, world: &World, mut command: Command, name: &str) -> Vec<Vec<u8>> {
        let plan = json!({
            "address": self.address.to_string(),
            "sni": self.tls.map(|(name, _)| name),
            "roots": self.tls.map(|(_, roots)| roots),
            "h2": self.h2,
            "first": self.first.as_deref().map(hex),
            "requests": self.requests.iter().map(|request| hex(request)).collect::<Vec<_>>(),
            "at_once": self.at_once,
            "patience": self.patience.as_millis() as u64,
        });
        command.arg(binary("agent")).arg("volley").arg(world.file(name, plan.to_string()));
        let finished = Running::start(command).finish();
        assert!(finished.status.success(), "{finished:?}");
        let answers: Vec<Vec<u8>> = finished.stdout.lines().map(|line| unhex(line).expect("hex")).collect();
        assert_eq!(answers.len(), self.requests.len(), "{finished:?}");
        answers
    }
}

impl Volley {
    /// Sends the plan's requests one after another; prints a line for each answer, in hex.
    ///
    /// # Errors
    /// When it cannot connect.
    pub fn run(self) -> anyhow::Result<()> {
        let plan: Value = serde_json::from_str(&std::fs::read_to_string(self.plan)?)?;
        let text = |key: &str| plan[key].as_str();
        let address: SocketAddr = text("address").context("address")?.parse()?;
        let patience = Duration::from_millis(plan["patience"].as_u64().context("patience")?);
        let tls = match (text("sni"), text("roots")) {
            (Some(name), Some(roots)) => {
                let mut config = raw::config(Path::new(roots))?;
                if plan["h2"] == true {
                    config.alpn_protocols = vec![b"h2".to_vec()];
                }
                Some((name.to_owned(), Arc::new(config)))
            }
            _ => None,
        };
        let mut target = String::new();
        let mut kept = None;
        if let Some(first) = text("first") {
            let mut stream = connect(address, tls.as_ref(), patience)?;
            stream.write_all(&unhex(first)?)?;
            stream.flush()?;
            target = endpoint(&mut stream)?;
            kept = Some(stream);
        }
        let requests = plan["requests"].as_array().context("requests")?;
        let send = &|request: &Value| {
            let request = replace(&unhex(request.as_str().context("hex")?)?, b"TARGET", target.as_bytes());
            exchange(address, tls.as_ref(), patience, &request, plan["h2"] == true)
        };
        let share = if plan["at_once"] == true { requests.len().div_ceil(16).max(1) } else { requests.len().max(1) };
        std::thread::scope(|scope| {
            let threads: Vec<_> = requests
                .chunks(share)
                .map(|share| scope.spawn(move || share.iter().map(send).collect::<anyhow::Result<Vec<_>>>()))
                .collect();
            for thread in threads {
                for answer in thread.join().expect("a thread that does not panic")? {
                    println!("{}", hex(&answer));
                }
            }
            anyhow::Ok(())
        })?;
        drop(kept);
        Ok(())
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn connect(
    address: SocketAddr,
    tls: Option<&(String, Arc<ClientConfig>)>,
    patience: Duration,
) -> anyhow::Result<Box<dyn Stream>> {
    let mut stream = TcpStream::connect(address).context("connect")?;
    stream.set_read_timeout(Some(patience))?;
    Ok(match tls {
        None => Box::new(stream),
        Some((name, config)) => {
            let mut connection = ClientConnection::new(Arc::clone(config), ServerName::try_from(name.clone())?)?;
            connection.complete_io(&mut stream).context("handshake")?;
            Box::new(StreamOwned::new(connection, stream))
        }
    })
}

fn exchange(
    address: SocketAddr,
    tls: Option<&(String, Arc<ClientConfig>)>,
    patience: Duration,
    request: &[u8],
    h2: bool,
) -> anyhow::Result<Vec<u8>> {
    let mut stream = connect(address, tls, patience)?;
    // The other side may refuse before it has read everything: what it says then still counts.
    stream.write_all(request).and_then(|()| stream.flush()).ok();
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while !(h2 && frames::is_over(&answer)) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A reset, or silence: an end like any other.
            Err(_) => break,
        }
    }
    Ok(answer)
}

/// What the `endpoint` event of HTTP+SSE names.
fn endpoint(stream: &mut dyn Stream) -> anyhow::Result<String> {
    let mut read = Vec::new();
    let mut byte = [0];
    loop {
        if stream.read(&mut byte)? == 0 {
            bail!("no endpoint: {}", String::from_utf8_lossy(&read));
        }
        read.push(byte[0]);
        let text = String::from_utf8_lossy(&read);
        if let Some((_, rest)) = text.split_once("data: ")
            && let Some((target, _)) = rest.split_once(['\r', '\n'])
        {
            return Ok(target.to_owned());
        }
    }
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match bytes.windows(from.len()).position(|window| window == from) {
        Some(at) => [&bytes[..at], to, &bytes[at + from.len()..]].concat(),
        None => bytes.to_vec(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> anyhow::Result<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}
