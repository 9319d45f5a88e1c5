//! The upstream server of the benchmarks: it answers every request with the same small JSON-RPC result, or, for a GET,
//! with as many bytes as its path names. As little else as possible, so that the relays are what is measured.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Arguments of `bench upstream`.
#[derive(Args)]
pub struct Upstream {
    /// Where to listen.
    address: SocketAddr,
    /// A certificate for TLS; without one, plain TCP.
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// Its key.
    #[arg(long)]
    key: Option<PathBuf>,
}

const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"the answer of the tool"}],"isError":false}}"#;

impl Upstream {
    /// Serves until it is killed.
    ///
    /// # Errors
    /// When it cannot listen or the certificate cannot be read.
    pub fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            let acceptor = match (&self.certificate, &self.key) {
                (Some(certificate), Some(key)) => {
                    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
                    let key = PrivateKeyDer::from_pem_file(key)?;
                    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                    let mut config = ServerConfig::builder_with_provider(provider)
                        .with_safe_default_protocol_versions()?
                        .with_no_client_auth()
                        .with_single_cert(chain, key)?;
                    config.alpn_protocols = vec![b"http/1.1".to_vec()];
                    Some(TlsAcceptor::from(Arc::new(config)))
                }
                _ => None,
            };
            let listener = TcpListener::bind(self.address).await.with_context(|| format!("{}", self.address))?;
            println!("ready");
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A connection that ends is the client's business.
                    match acceptor {
                        None => serve(stream).await.ok(),
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => serve(stream).await.ok(),
                            Err(_) => None,
                        },
                    }
                });
            }
        })
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{RESULT}",
        RESULT.len()
    );
    let mut buffer = Vec::with_capacity(16 * 1024);
    let mut scratch = vec![0; 16 * 1024];
    loop {
        let whole = super::message(&mut stream, &mut buffer, &mut scratch).await?;
        if buffer.starts_with(b"GET /") {
            return download(stream, &buffer).await;
        }
        stream.write_all(answer.as_bytes()).await?;
        buffer.drain(..whole);
    }
}

/// Sends bytes until the client has enough of them.
async fn download(mut stream: impl AsyncWrite + Unpin, head: &[u8]) -> std::io::Result<()> {
    if head.starts_with(b"GET /endless ") {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\r\n").await?;
        let block = vec![0x5a; 256 * 1024];
        loop {
            stream.write_all(&block).await?;
        }
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await
}
