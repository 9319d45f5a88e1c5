//! The first bytes of a connection: no panic, an end within the bound, and no verdict that more bytes take back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use policyd::tls::ech;
use policyd::tls::peek::{self, Peek, Peeked};

fuzz_target!(|bytes: &[u8]| {
    let last = peek::peek(bytes);
    assert!(last != Peek::NeedMore || bytes.len() < peek::MAX);
    peek::end(bytes);
    ech::public_names(bytes);
    // What was read of a beginning is read of the whole, whatever follows.
    let half = peek::peek(&bytes[..bytes.len() / 2]);
    match &half {
        Peek::Done(Peeked::Tls(_) | Peeked::Http(_) | Peeked::H2c | Peeked::Other) => assert_eq!(half, last),
        Peek::Done(Peeked::MalformedHello(_)) => assert!(matches!(last, Peek::Done(Peeked::MalformedHello(_)))),
        Peek::Done(Peeked::MalformedRequest(_)) => assert!(matches!(last, Peek::Done(Peeked::MalformedRequest(_)))),
        Peek::Done(Peeked::Silent) | Peek::NeedMore => {}
    }
});
