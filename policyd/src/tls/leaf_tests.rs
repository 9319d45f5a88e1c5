#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection, SupportedProtocolVersion,
};

use super::*;
use crate::tls::testing::{host, servers};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn leaves(names: &[&str]) -> Leaves {
    Leaves::new(Arc::new(Authority::ephemeral(&servers(names)).unwrap()))
}

fn client(leaves: &Leaves, alpn: &[&str], version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(leaves.authority.root().clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(crate::tls::provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A handshake in memory; gives how it went and what was agreed on.
fn handshake(
    client: &Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: &str,
) -> Result<(HandshakeKind, Option<Vec<u8>>), rustls::Error> {
    let mut client = ClientConnection::new(client.clone(), ServerName::try_from(name.to_owned()).unwrap())?;
    let mut server = ServerConnection::new(server)?;
    let mut wire = Vec::new();
    while client.wants_write() || server.wants_write() {
        wire.clear();
        client.write_tls(&mut wire).unwrap();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    assert_eq!(client.alpn_protocol(), server.alpn_protocol());
    Ok((client.handshake_kind().unwrap(), client.alpn_protocol().map(<[u8]>::to_vec)))
}

#[test]
fn clients_accept_the_leaf_and_resume() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (name, alpn) in [("a.example", Some("h2")), ("a.example", None), ("127.0.0.1", Some("http/1.1"))] {
            let leaves = leaves(&["a.example", "127.0.0.1"]);
            let client = client(&leaves, &["h2", "http/1.1"], version);
            let selected: Vec<_> = alpn.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
            let config = || leaves.server_config(&host(name), &selected).unwrap();
            let (kind, agreed) = handshake(&client, config(), name).unwrap();
            assert_eq!((kind, agreed.as_deref()), (HandshakeKind::Full, alpn.map(str::as_bytes)), "{version:?}");
            let (kind, _) = handshake(&client, config(), name).unwrap();
            assert_eq!(kind, HandshakeKind::Resumed, "{name} {alpn:?} {version:?}");
        }
    }
}

#[test]
fn one_leaf_serves_all_protocol_lists() {
    let leaves = leaves(&["a.example", "b.example"]);
    let config = |name: &str, alpn: &[&[u8]]| {
        let alpn: Vec<_> = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        leaves.server_config(&host(name), &alpn).unwrap()
    };
    let first = config("a.example", &[b"h2"]);
    assert!(Arc::ptr_eq(&first, &config("a.example", &[b"h2"])));
    assert!(!Arc::ptr_eq(&first, &config("a.example", &[])));
    assert_eq!(leaves.minted(), 1);
    config("b.example", &[]);
    assert_eq!(leaves.minted(), 2);
}

#[test]
fn concurrent_first_uses_mint_once() {
    let leaves = leaves(&["a.example"]);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| leaves.server_config(&host("a.example"), &[]).unwrap());
        }
    });
    assert_eq!(leaves.minted(), 1);
}

#[test]
fn leaves_are_renewed_before_they_end_and_when_the_clock_is_set_back() {
    let leaves = leaves(&["a.example"]);
    let now = SystemTime::now();
    let at = |at| leaves.server_config_at(&host("a.example"), &[], at).unwrap();
    let first = at(now);
    assert!(Arc::ptr_eq(&first, &at(now + 4 * DAY)));
    let second = at(now + 6 * DAY);
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&second, &at(now + 6 * DAY)));
    assert!(!Arc::ptr_eq(&second, &at(now)));
    assert_eq!(leaves.minted(), 3);
}

#[test]
fn a_reload_ends_the_leaves_of_servers_that_went() {
    let leaves = leaves(&["a.example", "b.example"]);
    let before = leaves.server_config(&host("a.example"), &[]).unwrap();
    leaves.server_config(&host("b.example"), &[]).unwrap();
    leaves.authority.certify(&servers(&["a.example"])).unwrap();
    assert!(!Arc::ptr_eq(&before, &leaves.server_config(&host("a.example"), &[]).unwrap()));
    let gone = leaves.server_config(&host("b.example"), &[]).unwrap_err();
    assert_eq!(gone.to_string(), "no `https://` server is configured for `b.example`");
}
