#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::tls::peek::{self, Peek, Peeked};

fn name(host: &str, port: Option<u16>) -> Option<Authority> {
    Some(Authority { host: Host::Name(host.into()), port })
}

fn address(host: &str, port: Option<u16>) -> Option<Authority> {
    Some(Authority { host: Host::Address(host.parse().unwrap()), port })
}

fn head(target: Option<Authority>, host: Option<Authority>) -> Head {
    Head { target, host, connect: false, upgrade: false }
}

#[test]
fn requests_tell_whom_they_are_for() {
    let a = || name("a.example", None);
    for (request, expected) in [
        ("POST /mcp HTTP/1.1\r\nHost: a.example\r\n\r\n", head(None, a())),
        ("POST /mcp HTTP/1.1\r\nhOsT:A.Example.\r\n\r\n{}", head(None, a())),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n", head(None, a())),
        ("GET / HTTP/1.1\nHost: a.example\n\n", head(None, a())),
        ("GET / HTTP/1.1\r\nHost: a.example:8080\r\n\r\n", head(None, name("a.example", Some(8080)))),
        ("GET / HTTP/1.1\r\nHost: a.example:\r\n\r\n", head(None, a())),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n\r\n", head(None, address("127.0.0.1", Some(3000)))),
        ("GET / HTTP/1.1\r\nHost: [::1]:3000\r\n\r\n", head(None, address("::1", Some(3000)))),
        ("GET / HTTP/1.1\r\nHost: [::ffff:127.0.0.1]\r\n\r\n", head(None, address("127.0.0.1", None))),
        ("GET / HTTP/1.0\r\n\r\n", head(None, None)),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", head(None, None)),
        ("GET http://b.example:81/x HTTP/1.1\r\nHost: a.example\r\n\r\n", head(name("b.example", Some(81)), a())),
        ("GET HTTPS://b.example?x HTTP/1.1\r\nHost: a.example\r\n\r\n", head(name("b.example", None), a())),
        ("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", head(None, a())),
        (
            "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n",
            Head { connect: true, ..head(name("b.example", Some(443)), name("b.example", Some(443))) },
        ),
        (
            "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            Head { upgrade: true, ..head(None, a()) },
        ),
    ] {
        assert_eq!(parse(request.as_bytes()), Parsed::Request(expected), "{request:?}");
        let end = request.find("\r\n\r\n{").map_or(request.len(), |end| end + 4);
        for end in 0..end {
            assert_eq!(parse(&request.as_bytes()[..end]), Parsed::NeedMore, "{request:?}, {end} bytes");
        }
    }
}

#[test]
fn ambiguous_requests_are_malformed() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\nhost: a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example/x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example:99999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example:+80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a.example\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\0\r\n\r\n",
        "GET http://user@b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a.example\r\n\r\n",
        "get / http/1.1\r\nHost: a.example\r\n\r\n",
    ] {
        assert!(
            matches!(parse(request.as_bytes()), Parsed::Malformed(_)),
            "{request:?}: {:?}",
            parse(request.as_bytes())
        );
    }
}

#[test]
fn other_protocols_are_not_held_up() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"EHLO there\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"AMQP\0\0\x09\x01",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\x10\x0e\0\x04MQTT",
        b"JRMI\0\x02K",
        b"GET /\r\n",
        b" GET / HTTP/1.1\r\n",
    ] {
        assert_eq!(parse(bytes), Parsed::NotHttp, "{bytes:?}");
    }
}

#[test]
fn prior_knowledge_of_http2_is_recognised() {
    let bytes = [PREFACE, &[0; 9]].concat();
    assert_eq!(parse(&bytes), Parsed::H2c);
    for end in 0..PREFACE.len() {
        assert_eq!(parse(&bytes[..end]), Parsed::NeedMore, "{end}");
    }
}

#[test]
fn an_endless_head_is_given_up() {
    let fields = [b"GET / HTTP/1.1\r\n", &b"a: b\r\n".repeat(300)[..]].concat();
    assert!(matches!(parse(&fields), Parsed::Malformed("more than 256 header fields")));
    let long = [&b"GET / HTTP/1.1\r\na: "[..], &vec![b'x'; MAX]].concat();
    assert_eq!(parse(&long[..MAX - 1]), Parsed::NeedMore);
    assert!(matches!(parse(&long), Parsed::Malformed(_)));
    let line = [&b"GET /"[..], &vec![b'x'; MAX]].concat();
    assert_eq!(parse(&line), Parsed::NotHttp);
}

#[test]
fn the_peek_tells_all_of_them_apart() {
    assert_eq!(peek::peek(b""), Peek::NeedMore);
    assert_eq!(peek::end(b""), Peeked::Silent);
    assert_eq!(peek::end(&[22, 3, 1]), Peeked::MalformedHello("cut off"));
    assert_eq!(peek::end(b"GET / HT"), Peeked::Other);
    assert_eq!(peek::peek(b"SSH-2.0-x\r\n"), Peek::Done(Peeked::Other));
    assert_eq!(peek::peek(PREFACE), Peek::Done(Peeked::H2c));
    assert!(matches!(peek::peek(b"GET / HTTP/1.1\r\n\r\n"), Peek::Done(Peeked::Http(_))));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        peek::peek(&bytes);
        peek::end(&bytes);
    }

    /// A verdict on a beginning is never taken back when more arrives.
    #[test]
    fn verdicts_stay(line in "[A-Z]{1,8} [!-~]{1,20} HTTP/1\\.[019]\r\n", fields in proptest::collection::vec("[A-Za-z-]{1,8}: ?[ -~]{0,20}\r\n", 0..6)) {
        let text = format!("{line}{}\r\n", fields.concat());
        let last = peek::peek(text.as_bytes());
        prop_assert_ne!(&last, &Peek::NeedMore);
        for end in 0..text.len() {
            let early = peek::peek(&text.as_bytes()[..end]);
            let malformed = |peek: &Peek| matches!(peek, Peek::Done(Peeked::MalformedRequest(_)));
            prop_assert!(early == Peek::NeedMore || early == last || malformed(&early) && malformed(&last));
        }
    }

    #[test]
    fn peeks_end_within_the_bound(byte: u8) {
        prop_assert_ne!(peek::peek(&vec![byte; peek::MAX]), Peek::NeedMore);
    }
}

/// Found by fuzzing: the beginning was no HTTP for its control character, the whole was malformed HTTP for its version.
#[test]
fn a_control_character_is_no_http_however_much_has_arrived() {
    let bytes = b"# \0PRI * HTTP/2.0\r\n\r";
    for end in 3..=bytes.len() {
        assert_eq!(peek::peek(&bytes[..end]), Peek::Done(Peeked::Other), "{end}");
    }
}
