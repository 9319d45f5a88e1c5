//! TLS towards the upstream servers: their certificates are verified for their real names, always.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, DnsName, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{self, Host};

/// Protocol lists for which a configuration is kept. Clients choose them, so there is a bound.
const MAX_CONFIGS: u64 = 64;
/// Sessions kept for resumption, per protocol list.
const SESSIONS: usize = 256;

/// Why an upstream TLS connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamTlsError {
    /// The server's certificate is not trusted for its name.
    #[error("the certificate of `{host}` is not trusted: {cause}")]
    Untrusted {
        /// The server.
        host: String,
        /// What is wrong with it, in words.
        cause: String,
    },
    /// The server wants a certificate of the client.
    #[error("`{host}` wants a client certificate, and the setting `client_cert` of `[[server]]` is not supported yet")]
    ClientCertificate {
        /// The server.
        host: String,
    },
    /// The two sides cannot agree, or the server does not speak TLS.
    #[error("the TLS handshake with `{host}` failed: {cause}")]
    Protocol {
        /// The server.
        host: String,
        /// What went wrong, in words.
        cause: String,
    },
    /// The connection broke.
    #[error("the connection to `{host}` broke during the TLS handshake: {source}")]
    Io {
        /// The server.
        host: String,
        /// How.
        source: io::Error,
    },
    /// It took too long.
    #[error("the TLS handshake with `{host}` took longer than {} s", within.as_secs_f32())]
    Timeout {
        /// The server.
        host: String,
        /// The time that it had.
        within: Duration,
    },
}

impl UpstreamTlsError {
    /// The word for it in metrics. Stable.
    pub const fn as_str(&self) -> &'static str {
        match self {
            UpstreamTlsError::Untrusted { .. } => "untrusted",
            UpstreamTlsError::ClientCertificate { .. } => "client-certificate",
            UpstreamTlsError::Protocol { .. } => "tls",
            UpstreamTlsError::Io { .. } => "io",
            UpstreamTlsError::Timeout { .. } => "timeout",
        }
    }

    /// What an error of an established connection says about the handshake, if it is about it.
    ///
    /// In TLS 1.3 a server refuses a client (for want of a certificate, mostly) only after the client has finished its
    /// own side, so that the refusal arrives with the first read.
    pub fn of_established(host: &Host, error: &io::Error) -> Option<UpstreamTlsError> {
        let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        Some(classify(&spell(host), tls, false))
    }
}

/// A certificate store that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// A file of `tls.extra_roots` cannot be read.
    #[error("`tls.extra_roots`: {} cannot be read: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// A file of `tls.extra_roots` holds no certificate that could be a root.
    #[error("`tls.extra_roots`: {} holds no usable PEM certificate", .0.display())]
    NoCertificate(PathBuf),
    /// The TLS library refuses the configuration.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// How policyd speaks TLS to upstream servers.
#[derive(Debug)]
pub struct Upstream {
    roots: Arc<RootCertStore>,
    configs: Cache<Vec<Vec<u8>>, Arc<ClientConfig>>,
    asked: Arc<NoteRequest>,
    /// What the system's store had to say while it was read.
    warnings: Vec<String>,
}

// === impl Upstream ===

impl Upstream {
    /// Trusts the system's roots (or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` of policyd's own environment name) and
    /// `tls.extra_roots`.
    ///
    /// # Errors
    ///
    /// If a file of `tls.extra_roots` is unusable. A system store with faults gives [`warnings`](Upstream::warnings).
    pub fn new(tls: &config::Tls) -> Result<Upstream, RootsError> {
        let native = rustls_native_certs::load_native_certs();
        let mut warnings: Vec<String> = native.errors.iter().map(ToString::to_string).collect();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(native.certs);
        for path in &tls.extra_roots {
            let (added, _) = roots.add_parsable_certificates(read_roots(path)?);
            if added == 0 {
                return Err(RootsError::NoCertificate(path.clone()));
            }
        }
        if roots.is_empty() {
            warnings.push("no root certificate was found: no `https://` server will be trusted".into());
        }
        let upstream = Upstream {
            roots: Arc::new(roots),
            configs: Cache::new(MAX_CONFIGS),
            asked: Arc::new(NoteRequest),
            warnings,
        };
        // What can go wrong with a configuration goes wrong now.
        upstream.config(&[])?;
        Ok(upstream)
    }

    /// What was wrong with the system's certificate store, for the log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Makes `io`, a connection to the server, a TLS connection, with `host` verified and `alpn` offered. What the server
    /// selected is in the stream (`get_ref().1.alpn_protocol()`).
    ///
    /// # Errors
    ///
    /// See [`UpstreamTlsError`]; the handshake may take as long as `within`.
    pub async fn connect<IO>(
        &self,
        io: IO,
        host: &Host,
        alpn: &[Vec<u8>],
        within: Duration,
    ) -> Result<TlsStream<IO>, UpstreamTlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let spelled = spell(host);
        let protocol = |cause: String| UpstreamTlsError::Protocol { host: spelled.clone(), cause };
        let name = match host {
            Host::Name(name) => {
                ServerName::DnsName(DnsName::try_from(name.clone()).map_err(|error| protocol(error.to_string()))?)
            }
            Host::Address(address) => ServerName::IpAddress((*address).into()),
        };
        let config = self.config(alpn).map_err(|error| protocol(error.to_string()))?;
        let handshake = ASKED.scope(Cell::new(false), async {
            let connected = TlsConnector::from(config).connect(name, io).await;
            (connected, ASKED.with(Cell::get))
        });
        match tokio::time::timeout(within, handshake).await {
            Ok((Ok(stream), _)) => Ok(stream),
            Ok((Err(source), asked)) => Err(match source.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(error) => classify(&spelled, error, asked),
                None => UpstreamTlsError::Io { host: spelled, source },
            }),
            Err(_) => Err(UpstreamTlsError::Timeout { host: spelled, within }),
        }
    }

    fn config(&self, alpn: &[Vec<u8>]) -> Result<Arc<ClientConfig>, rustls::Error> {
        let config = self.configs.try_get_with_by_ref(alpn, || {
            let mut config = ClientConfig::builder_with_provider(super::provider())
                .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
                .with_root_certificates(self.roots.clone())
                .with_client_cert_resolver(self.asked.clone());
            config.alpn_protocols = alpn.to_vec();
            config.resumption = Resumption::in_memory_sessions(SESSIONS);
            Ok(Arc::new(config))
        });
        config.map_err(|error: Arc<rustls::Error>| (*error).clone())
    }
}

fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let error = |error: rustls::pki_types::pem::Error| RootsError::Read {
        path: path.to_owned(),
        cause: match error {
            rustls::pki_types::pem::Error::Io(error) => error.to_string(),
            error => error.to_string(),
        },
    };
    CertificateDer::pem_file_iter(path).map_err(error)?.collect::<Result<_, _>>().map_err(error)
}

fn spell(host: &Host) -> String {
    match host {
        Host::Name(name) => name.clone(),
        Host::Address(address) => address.to_string(),
    }
}

tokio::task_local! {
    /// Whether the server of the handshake that this task is in has asked for a client certificate.
    static ASKED: Cell<bool>;
}

/// Has no client certificate, and notes that one was asked for: a server without it mostly fails with a mere
/// `handshake_failure`. One for all connections: rustls resumes sessions only under the resolver that they began with.
#[derive(Debug)]
struct NoteRequest;

impl ResolvesClientCert for NoteRequest {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        let _ = ASKED.try_with(|asked| asked.set(true));
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// `asked`: whether the server has asked for a client certificate.
fn classify(host: &str, error: &rustls::Error, asked: bool) -> UpstreamTlsError {
    let host = host.to_owned();
    match error {
        rustls::Error::InvalidCertificate(cause) => UpstreamTlsError::Untrusted { host, cause: explain(cause) },
        rustls::Error::NoCertificatesPresented => {
            UpstreamTlsError::Untrusted { host, cause: "it presented none".into() }
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            UpstreamTlsError::ClientCertificate { host }
        }
        rustls::Error::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::BadCertificate | AlertDescription::AccessDenied,
        ) if asked => UpstreamTlsError::ClientCertificate { host },
        rustls::Error::InvalidMessage(_) => {
            UpstreamTlsError::Protocol { host, cause: format!("it does not speak TLS there ({error})") }
        }
        error => UpstreamTlsError::Protocol { host, cause: error.to_string() },
    }
}

fn explain(error: &CertificateError) -> String {
    let cause = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet",
        CertificateError::Revoked => "it was revoked",
        CertificateError::UnknownIssuer => "its issuer is unknown (add the root to `tls.extra_roots` if it is yours)",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "it is for another name",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => "it is not for servers",
        CertificateError::BadSignature => "its signature is wrong",
        CertificateError::BadEncoding => "it is malformed",
        _ => return error.to_string(),
    };
    match error {
        // These carry dates or names; the others repeat what was said.
        CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYetContext { .. }
        | CertificateError::NotValidForNameContext { .. } => format!("{cause} ({error})"),
        _ => cause.to_owned(),
    }
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
