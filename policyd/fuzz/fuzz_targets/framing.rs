//! However a connection's bytes are cut, the same of them pass; and another reader, httparse, finds the same requests in them.
#![no_main]

use httparse::Status;
use libfuzzer_sys::fuzz_target;
use policyd::mcp::framing::{Framing, Limits};

const LIMITS: Limits = Limits { head: 4096, fields: 16 };

/// What passes of `bytes`, read in pieces: how many bytes, how many heads, whether something was refused.
fn pass(bytes: &[u8], piece: usize) -> (usize, u64, bool) {
    let mut framing = Framing::new(LIMITS);
    let (mut passed, mut heads) = (0, 0);
    for end in (piece..bytes.len()).step_by(piece).chain([bytes.len()]) {
        let (released, refused) = match framing.advance(&bytes[passed..end]) {
            Ok(released) => (released, false),
            Err(misframed) => (misframed.released, true),
        };
        passed += released.bytes;
        heads += released.heads;
        if refused {
            return (passed, heads, true);
        }
    }
    (passed, heads, false)
}

/// The requests that httparse finds, in bytes that are cut off anywhere in a body.
fn reference(mut bytes: &[u8]) -> u64 {
    let mut count = 0;
    while !bytes.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut fields);
        let Ok(Status::Complete(head)) = request.parse(bytes) else { panic!("a head that httparse does not read") };
        count += 1;
        let field = |name: &str| request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        let length = field("content-length").map_or(0, |field| {
            std::str::from_utf8(field.value).expect("digits").parse().expect("a length")
        });
        let chunked = field("transfer-encoding").is_some();
        bytes = &bytes[head..];
        if !chunked {
            bytes = &bytes[bytes.len().min(length)..];
            continue;
        }
        loop {
            let Ok(Status::Complete((digits, size))) = httparse::parse_chunk_size(bytes) else { return count };
            let end = digits + usize::try_from(size).expect("64 bits") + 2;
            let Some(rest) = bytes.get(end..) else { return count };
            assert_eq!(&bytes[end - 2..end], b"\r\n");
            bytes = rest;
            if size == 0 {
                break;
            }
        }
    }
    count
}

fuzz_target!(|data: &[u8]| {
    let Some((&piece, bytes)) = data.split_first() else { return };
    let whole = pass(bytes, bytes.len().max(1));
    assert_eq!(pass(bytes, usize::from(piece).max(1)), whole);
    let (passed, heads, _) = whole;
    assert_eq!(reference(&bytes[..passed]), heads);
});
