#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::Tls;
use crate::tls::testing::host;

const SOON: Duration = Duration::from_secs(10);

/// Somebody else's authority, and an [`Upstream`] that trusts it.
struct World {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    upstream: Upstream,
    _folder: tempfile::TempDir,
}

#[derive(Default)]
struct Peer {
    expired: bool,
    future: bool,
    strange: bool,
    wants_certificate: bool,
    alpn: Vec<Vec<u8>>,
    version: Option<&'static SupportedProtocolVersion>,
}

fn authority(name: &str) -> (Issuer<'static, KeyPair>, CertificateDer<'static>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    (Issuer::new(params, key), certificate.der().clone(), certificate.pem())
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, root, pem) = authority("theirs");
    let file = folder.path().join("root.pem");
    std::fs::write(&file, pem).unwrap();
    let upstream = Upstream::new(&Tls { extra_roots: vec![file] }).unwrap();
    World { issuer, root, upstream, _folder: folder }
}

impl World {
    /// A server at `name`, which greets everyone. Ends with the test's runtime.
    async fn serve(&self, name: &str, peer: Peer) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(if peer.future { 4000 } else { 2020 }, 1, 1);
        params.not_after = rcgen::date_time_ymd(if peer.expired { 2021 } else { 4001 }, 1, 1);
        let stranger = authority("a stranger's").0;
        let issuer = if peer.strange { &stranger } else { &self.issuer };
        let certificate = params.signed_by(&key, issuer).unwrap().der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let versions = peer.version.map_or(rustls::ALL_VERSIONS.to_vec(), |version| vec![version]);
        let builder =
            ServerConfig::builder_with_provider(crate::tls::provider()).with_protocol_versions(&versions).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crate::tls::provider()).build();
        let builder = match peer.wants_certificate {
            true => builder.with_client_cert_verifier(verifier.unwrap()),
            false => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = peer.alpn;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(socket).await {
                    let _ = stream.write_all(b"hello").await;
                    let _ = stream.shutdown().await;
                }
            }
        });
        address
    }

    async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
        alpn: &[&str],
    ) -> Result<TlsStream<TcpStream>, UpstreamTlsError> {
        let alpn: Vec<_> = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self.upstream.connect(TcpStream::connect(address).await.unwrap(), &host(name), &alpn, SOON).await
    }
}

#[tokio::test]
async fn trusted_servers_are_reached_and_select_the_protocol() {
    let world = world();
    for (name, offered, supported, selected) in [
        ("up.example", &["h2", "http/1.1"][..], &["h2"][..], Some("h2")),
        ("up.example", &["http/1.1"], &["h2", "http/1.1"], Some("http/1.1")),
        ("up.example", &["http/1.1"], &[], None),
        ("127.0.0.1", &[], &["h2"], None),
    ] {
        let alpn = supported.iter().map(|protocol: &&str| protocol.as_bytes().to_vec()).collect();
        let address = world.serve(name, Peer { alpn, ..Peer::default() }).await;
        let mut stream = world.connect(address, name, offered).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), selected.map(str::as_bytes));
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
    }
}

#[tokio::test]
async fn sessions_are_resumed() {
    let world = world();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let address = world.serve("up.example", Peer { version: Some(version), ..Peer::default() }).await;
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut stream = world.connect(address, "up.example", &[]).await.unwrap();
            // Tickets arrive with the data.
            stream.read_to_end(&mut Vec::new()).await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
        }
        assert_eq!(kinds[1], HandshakeKind::Resumed, "{version:?}");
    }
}

#[tokio::test]
async fn untrusted_certificates_are_refused_with_the_reason() {
    let world = world();
    for (name, peer, cause) in [
        ("up.example", Peer { expired: true, ..Peer::default() }, "it has expired"),
        ("up.example", Peer { future: true, ..Peer::default() }, "it is not valid yet"),
        ("up.example", Peer { strange: true, ..Peer::default() }, "its issuer is unknown"),
        ("other.example", Peer::default(), "it is for another name"),
        ("127.0.0.1", Peer::default(), "it is for another name"),
    ] {
        let address = world.serve(name, peer).await;
        let error = world.connect(address, "up.example", &[]).await.unwrap_err();
        assert_eq!(error.as_str(), "untrusted");
        assert!(error.to_string().contains(cause), "{error}");
        assert!(error.to_string().contains("up.example"), "{error}");
    }
}

#[tokio::test]
async fn a_wanted_client_certificate_is_named_in_both_versions() {
    let world = world();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let peer = Peer { wants_certificate: true, version: Some(version), ..Peer::default() };
        let address = world.serve("up.example", peer).await;
        let error = match world.connect(address, "up.example", &[]).await {
            Err(error) => error,
            Ok(mut stream) => {
                let refused = stream.read(&mut [0; 8]).await.unwrap_err();
                UpstreamTlsError::of_established(&host("up.example"), &refused).unwrap()
            }
        };
        assert_eq!(error.as_str(), "client-certificate", "{version:?}: {error}");
        assert!(error.to_string().contains("`client_cert` of `[[server]]` is not supported yet"), "{error}");
    }
}

#[tokio::test]
async fn servers_that_speak_no_tls_break_off_or_stay_silent_are_told_apart() {
    let world = world();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut plain, _) = listener.accept().await.unwrap();
        plain.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let (mut broken, _) = listener.accept().await.unwrap();
        broken.read_exact(&mut [0; 100]).await.unwrap();
        drop(broken);
        let (silent, _) = listener.accept().await.unwrap();
        (plain, silent)
    });
    assert_eq!(world.connect(address, "up.example", &[]).await.unwrap_err().as_str(), "tls");
    assert_eq!(world.connect(address, "up.example", &[]).await.unwrap_err().as_str(), "io");
    let socket = TcpStream::connect(address).await.unwrap();
    let silent = world.upstream.connect(socket, &host("up.example"), &[], Duration::from_millis(50)).await;
    assert_eq!(silent.unwrap_err().as_str(), "timeout");
    server.await.unwrap();
}

#[test]
fn unusable_extra_roots_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("extra.pem");
    let new = || Upstream::new(&Tls { extra_roots: vec![file.clone()] }).map(|_| ()).unwrap_err();
    assert!(matches!(new(), RootsError::Read { .. }));
    std::fs::write(&file, "no certificate").unwrap();
    assert!(matches!(new(), RootsError::NoCertificate(_)));
}
