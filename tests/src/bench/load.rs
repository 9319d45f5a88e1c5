//! The load generator: `tools/call` over kept-alive connections, downloads, and idle connections.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What the connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// One `tools/call` after the other.
    Call,
    /// Read an endless answer.
    Download,
    /// One call (or one handshake, where the server is passed), then nothing until standard input ends.
    Idle,
}

/// Arguments of `bench load`. Prints one JSON object.
#[derive(Args)]
pub struct Load {
    /// What the connections do.
    work: Work,
    /// Where to connect.
    address: SocketAddr,
    /// The name for SNI and `host`.
    #[arg(long)]
    name: String,
    /// PEM file of the roots to trust; without it, plain TCP.
    #[arg(long)]
    roots: Option<PathBuf>,
    /// Connections at once.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Bytes of a call's body.
    #[arg(long, default_value_t = 178)]
    body: usize,
    /// How long, in milliseconds.
    #[arg(long, default_value_t = 3000)]
    millis: u64,
}

/// The body of a call, of exactly `bytes` bytes where that is possible (150 at least).
pub fn body(bytes: usize) -> String {
    let plain = |filler: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"{filler}"}}}}}}"#
        )
    };
    if bytes < 1024 {
        return plain(&"m".repeat(bytes.saturating_sub(plain("").len())));
    }
    // Dense: many small objects, as performance.md measured with.
    let dense = |count: usize, filler: &str| {
        let items = (0..count).map(|n| format!(r#"{{"id":{n},"name":"item {n}","price":"{n}.50","tags":["a","b"]}}"#));
        let items = items.collect::<Vec<_>>().join(",");
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"items":[{items}],"note":"{filler}"}}}}}}"#
        )
    };
    let count = (1..).find(|count| dense(count + 1, "").len() > bytes).unwrap_or(1);
    dense(count, &"n".repeat(bytes.saturating_sub(dense(count, "").len())))
}

#[derive(Default)]
struct Tally {
    micros: Vec<u32>,
    bytes: u64,
    errors: u64,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl Load {
    /// Connects everything first, then works for the stated time.
    ///
    /// # Errors
    /// When a connection cannot be made.
    pub fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, self.work())
    }

    async fn work(self) -> anyhow::Result<()> {
        let connector = self.roots.as_ref().map(connector).transpose()?;
        let mut streams = Vec::with_capacity(self.connections);
        for number in 0..self.connections {
            streams.push(self.connect(connector.as_ref()).await.with_context(|| format!("connection {number}"))?);
        }
        let request: Arc<[u8]> = self.request().into_bytes().into();
        if self.work == Work::Idle {
            return idle(streams, &request).await;
        }
        let start = Instant::now();
        let end = start + Duration::from_millis(self.millis);
        let mut tasks = tokio::task::JoinSet::new();
        for stream in streams {
            let request = Arc::clone(&request);
            match self.work {
                Work::Download => tasks.spawn_local(download(stream, request, end)),
                _ => tasks.spawn_local(call(stream, request, end)),
            };
        }
        let mut all = Tally::default();
        while let Some(tally) = tasks.join_next().await {
            let tally = tally?;
            all.micros.extend(tally.micros);
            all.bytes += tally.bytes;
            all.errors += tally.errors;
        }
        let seconds = start.elapsed().as_secs_f64();
        all.micros.sort_unstable();
        let at = |share: usize| all.micros.get(all.micros.len() * share / 1000).copied().unwrap_or(0);
        println!(
            "{}",
            json!({
                "requests": all.micros.len(), "seconds": seconds, "errors": all.errors, "bytes": all.bytes,
                "p50": at(500), "p90": at(900), "p99": at(990), "p999": at(999),
            })
        );
        Ok(())
    }

    async fn connect(&self, connector: Option<&TlsConnector>) -> anyhow::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(match connector {
            None => Box::new(stream),
            Some(connector) => {
                let name = ServerName::try_from(self.name.clone())?;
                Box::new(connector.connect(name, stream).await?)
            }
        })
    }

    fn request(&self) -> String {
        let name = &self.name;
        if self.work == Work::Download {
            return format!("GET /endless HTTP/1.1\r\nhost: {name}\r\n\r\n");
        }
        let body = body(self.body);
        format!(
            "POST /mcp HTTP/1.1\r\nhost: {name}\r\ncontent-type: application/json\r\n\
             accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-06-18\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

fn connector(roots: &PathBuf) -> anyhow::Result<TlsConnector> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(roots)? {
        store.add(root?).ok();
    }
    ensure!(!store.is_empty(), "no roots in {}", roots.display());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn call(mut stream: Box<dyn Stream>, request: Arc<[u8]>, end: Instant) -> Tally {
    let mut tally = Tally::default();
    let mut buffer = Vec::with_capacity(16 * 1024);
    let mut scratch = vec![0; 16 * 1024];
    while Instant::now() < end {
        let start = Instant::now();
        match exchange(&mut stream, &request, &mut buffer, &mut scratch).await {
            Ok(true) => tally.micros.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX)),
            Ok(false) => tally.errors += 1,
            Err(_) => {
                tally.errors += 1;
                break;
            }
        }
    }
    tally
}

/// One call; whether its answer is the server's own result.
async fn exchange(
    stream: &mut Box<dyn Stream>,
    request: &[u8],
    buffer: &mut Vec<u8>,
    scratch: &mut [u8],
) -> std::io::Result<bool> {
    stream.write_all(request).await?;
    let whole = super::message(stream, buffer, scratch).await?;
    let fine =
        buffer.starts_with(b"HTTP/1.1 200") && super::find(&buffer[..whole], b"the answer of the tool").is_some();
    buffer.drain(..whole);
    Ok(fine)
}

async fn download(mut stream: Box<dyn Stream>, request: Arc<[u8]>, end: Instant) -> Tally {
    let mut tally = Tally::default();
    let mut scratch = vec![0; 1 << 20];
    if stream.write_all(&request).await.is_err() {
        tally.errors += 1;
    }
    while Instant::now() < end {
        match stream.read(&mut scratch).await {
            Ok(0) | Err(_) => {
                tally.errors += 1;
                break;
            }
            Ok(read) => tally.bytes += read as u64,
        }
    }
    tally
}

async fn idle(mut streams: Vec<Box<dyn Stream>>, request: &[u8]) -> anyhow::Result<()> {
    let mut buffer = Vec::new();
    let mut scratch = vec![0; 16 * 1024];
    for stream in &mut streams {
        ensure!(exchange(stream, request, &mut buffer, &mut scratch).await?, "an idle connection's only call failed");
    }
    println!("{}", json!({"idle": streams.len()}));
    // Held until nobody needs them: nothing else runs on this thread that a blocking read could hold up.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(streams);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::body;

    #[test]
    fn bodies_have_the_size_that_they_say() {
        for bytes in [178, 2048] {
            let body = body(bytes);
            assert_eq!(body.len(), bytes);
            serde_json::from_str::<serde_json::Value>(&body).unwrap();
        }
    }
}
