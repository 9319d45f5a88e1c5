#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use proptest::prelude::*;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// The first flight of a rustls client.
fn rustls_hello(name: &str, alpn: &[&str]) -> Vec<u8> {
    let mut config = ClientConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// The handshake message of a hello in one record, cut into records of `size` bytes.
fn refragment(hello: &[u8], size: usize) -> Vec<u8> {
    hello[5..].chunks(size).flat_map(record).collect()
}

fn record(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[HANDSHAKE, 3, 1, length[0], length[1]], payload].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    [&kind.to_be_bytes()[..], &length.to_be_bytes(), content].concat()
}

fn name_entry(kind: u8, name: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(name.len()).unwrap().to_be_bytes(), name].concat()
}

fn server_names(entries: &[Vec<u8>]) -> Vec<u8> {
    let list = entries.concat();
    extension(SERVER_NAME, &[&u16::try_from(list.len()).unwrap().to_be_bytes()[..], &list].concat())
}

/// A hand-made hello with these extensions.
fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = extensions.concat();
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, 0x13, 1, 1, 0]);
    body.extend_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&extensions);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    record(&[&[CLIENT_HELLO, length[1], length[2], length[3]], &body[..]].concat())
}

fn with_name(name: &str) -> Parsed {
    parse(&hello(&[server_names(&[name_entry(0, name.as_bytes())])]))
}

fn is_malformed(parsed: &Parsed) -> bool {
    matches!(parsed, Parsed::Malformed(_))
}

/// First flights as these clients sent them, captured on a loopback socket.
const CAPTURED: [(&str, &[u8], &[&str], bool); 4] = [
    ("OpenSSL 3.0 s_client", include_bytes!("fixtures/openssl.hello"), &["h2", "http/1.1"], true),
    ("curl 7.88", include_bytes!("fixtures/curl.hello"), &["h2", "http/1.1"], true),
    ("Python 3.11 ssl", include_bytes!("fixtures/python.hello"), &["http/1.1"], true),
    ("Node.js 20 tls", include_bytes!("fixtures/node.hello"), &["http/1.1"], true),
];

#[test]
fn hellos_of_real_clients_are_read_whole_or_not_at_all() {
    let ours = rustls_hello("mcp.example.com", &["h2", "http/1.1"]);
    let all = CAPTURED.iter().map(|(client, bytes, alpn, tls13)| (*client, *bytes, *alpn, *tls13));
    for (client, bytes, alpn, tls13) in all.chain([("rustls", &ours[..], &["h2", "http/1.1"][..], true)]) {
        let whole = parse(bytes);
        let Parsed::Hello(read) = &whole else { panic!("{client}: {whole:?}") };
        assert_eq!(read.sni.as_deref(), Some("mcp.example.com"), "{client}");
        assert_eq!(read.alpn, alpn.iter().map(|protocol| protocol.as_bytes()).collect::<Vec<_>>(), "{client}");
        assert_eq!(read.versions.contains(&0x0304), tls13, "{client}");
        assert!(!read.ech, "{client}");
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Parsed::NeedMore, "{client}, {end} bytes");
        }
        for size in [1, 2, 3, 4, 5, 7, 64, 255] {
            let fragmented = refragment(bytes, size);
            assert_eq!(parse(&fragmented), whole, "{client}, records of {size}");
            for end in 0..fragmented.len() {
                assert_eq!(parse(&fragmented[..end]), Parsed::NeedMore, "{client}, records of {size}, {end} bytes");
            }
        }
    }
}

#[test]
fn what_follows_the_hello_does_not_change_it() {
    let bytes = rustls_hello("mcp.example.com", &[]);
    let more = [&bytes[..], &[20, 3, 3, 0, 1, 1]].concat();
    assert_eq!(parse(&more), parse(&bytes));
}

#[test]
fn names_are_normalised() {
    for (name, sni) in [
        ("mcp.example.com", Some("mcp.example.com")),
        ("MCP.Example.COM", Some("mcp.example.com")),
        ("mcp.example.com.", Some("mcp.example.com")),
        ("under_score.example", Some("under_score.example")),
        ("xn--mnchen-3ya.example", Some("xn--mnchen-3ya.example")),
        ("localhost", Some("localhost")),
        ("127.0.0.1", None),
        ("::1", None),
    ] {
        let Parsed::Hello(hello) = with_name(name) else { panic!("{name}") };
        assert_eq!(hello.sni.as_deref(), sni, "{name}");
    }
}

#[test]
fn what_is_no_name_is_malformed() {
    let long = "a".repeat(64);
    let names =
        ["", ".", "a..b", "mcp.example.com..", "*.example.com", "a b", "a\0.example", "münchen.example", "-a.b", &long];
    for name in names {
        assert!(is_malformed(&with_name(name)), "{name:?}");
    }
    assert!(is_malformed(&parse(&hello(&[server_names(&[name_entry(0, b"\xff\xfe")])]))));
}

#[test]
fn ambiguous_hellos_are_malformed() {
    let (a, b) = (name_entry(0, b"a.example"), name_entry(0, b"b.example"));
    let alpn = |list: &[u8]| extension(ALPN, &[&[0, u8::try_from(list.len()).unwrap()], list].concat());
    let mut trailing = server_names(std::slice::from_ref(&a));
    trailing[3] += 1;
    trailing.push(0);
    for (what, extensions) in [
        ("two names", vec![server_names(&[a.clone(), b.clone()])]),
        ("the extension twice", vec![server_names(std::slice::from_ref(&a)), server_names(std::slice::from_ref(&b))]),
        ("an unknown extension twice", vec![extension(0x7777, b""), extension(0x7777, b"x")]),
        ("no name", vec![server_names(&[])]),
        ("another type of name", vec![server_names(&[name_entry(1, b"a.example")])]),
        ("bytes after the list", vec![trailing]),
        ("an empty protocol", vec![alpn(&[0])]),
        ("no protocol", vec![alpn(&[])]),
        ("a protocol cut off", vec![alpn(&[3, b'h', b'2'])]),
        ("no version", vec![extension(SUPPORTED_VERSIONS, &[0])]),
        ("half a version", vec![extension(SUPPORTED_VERSIONS, &[1, 3])]),
    ] {
        assert!(is_malformed(&parse(&hello(&extensions))), "{what}");
    }
}

#[test]
fn ech_and_its_forerunner_are_seen() {
    for kind in [ENCRYPTED_CLIENT_HELLO, ENCRYPTED_SERVER_NAME] {
        let Parsed::Hello(read) = parse(&hello(&[extension(kind, &[0; 40])])) else { panic!() };
        assert!(read.ech);
    }
}

#[test]
fn a_hello_without_extensions_offers_its_legacy_version() {
    let mut bytes = hello(&[]);
    bytes.truncate(bytes.len() - 2);
    bytes[4] -= 2;
    bytes[8] -= 2;
    assert_eq!(parse(&bytes), Parsed::Hello(Hello { versions: vec![0x0303], ..Hello::default() }));
}

#[test]
fn records_that_only_some_servers_take_are_malformed() {
    let good = rustls_hello("mcp.example.com", &[]);
    let edit = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    for (what, bytes) in [
        ("another major version", edit(1, 5)),
        ("an alert first", [&[21, 3, 1, 0, 2, 1, 0], &good[..]].concat()),
        ("a change of ciphers first", [&[20, 3, 3, 0, 1, 1], &good[..]].concat()),
        ("application data first", [&[23, 3, 3, 0, 1, 1], &good[..]].concat()),
        ("an empty record first", [&[22, 3, 1, 0, 0], &good[..]].concat()),
        ("another handshake message", edit(5, 2)),
        ("a longer body than the message", edit(8, good[8] - 1)),
        ("a huge record", [&[22, 3, 1, 0x40, 1], &good[5..]].concat()),
        ("a huge message", edit(6, 2)),
    ] {
        assert!(is_malformed(&parse(&bytes)), "{what}: {:?}", parse(&bytes));
    }
    let halves = refragment(&good, good.len() / 2);
    let second = 5 + good.len() / 2;
    let between = [&halves[..second], &[21, 3, 1, 0, 2, 1, 0], &halves[second..]].concat();
    assert!(is_malformed(&parse(&between)), "an alert between two fragments");
}

#[test]
fn other_protocols_are_told_from_tls_at_once() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x", &[0x80, 46, 1, 3, 1], &[0], &[22, 9, 9, 9, 9, 9, 9]] {
        assert_eq!(parse(bytes), Parsed::NotTls, "{bytes:?}");
    }
}

#[test]
fn an_endless_hello_is_given_up() {
    let mut bytes = Vec::new();
    let mut first = vec![CLIENT_HELLO, 0, 0xff, 0xff];
    first.resize(100, 0);
    bytes.extend(record(&first));
    while bytes.len() < MAX {
        assert_eq!(parse(&bytes), Parsed::NeedMore);
        bytes.extend(record(&[0]).repeat(500));
    }
    assert!(is_malformed(&parse(&bytes)));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        parse(&bytes);
        let framed = [&[CLIENT_HELLO, 0, u8::try_from(bytes.len() >> 8).unwrap(), u8::try_from(bytes.len() & 255).unwrap()], &bytes[..]].concat();
        prop_assert!(parse(&record(&framed)) != Parsed::NotTls);
    }

    /// However the network and the client cut it, the same is read; and no beginning is read as something else.
    #[test]
    fn damage_and_fragments_agree(at in 5_usize..400, byte: u8, size in 1_usize..300) {
        let mut bytes = rustls_hello("mcp.example.com", &["h2"]);
        let at = at.min(bytes.len() - 1);
        bytes[at] = byte;
        let whole = parse(&bytes);
        let fragmented = parse(&refragment(&bytes, size));
        prop_assert_eq!(is_malformed(&whole), is_malformed(&fragmented));
        if let Parsed::Hello(_) = whole {
            prop_assert_eq!(whole, fragmented);
        }
    }
}
