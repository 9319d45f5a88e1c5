use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { head: 1024, fields: 10 };

/// What one connection's bytes are, read in pieces of `piece` bytes: all that may be passed on, and why no more is.
fn read(bytes: &[u8], piece: usize) -> (Vec<u8>, u64, Option<Cause>) {
    let mut framing = Framing::new(LIMITS);
    let (mut passed, mut heads, mut held) = (Vec::new(), 0, Vec::new());
    for piece in bytes.chunks(piece) {
        held.extend_from_slice(piece);
        let (released, cause) = match framing.advance(&held) {
            Ok(released) => (released, None),
            Err(misframed) => (misframed.released, Some(misframed.cause)),
        };
        passed.extend(held.drain(..released.bytes));
        heads += released.heads;
        if cause.is_some() {
            return (passed, heads, cause);
        }
    }
    (passed, heads, None)
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /mcp HTTP/1.1\r\nhost: a.example\r\n{fields}\r\n{body}")
}

#[test]
fn well_framed_requests_pass_one_after_another() {
    let get = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned();
    let length = post("Content-Length: 5\r\n", "{\n\r\n}");
    let chunks = post("transfer-encoding: Chunked\r\n", "5\r\nGET /\r\n00A\r\n0123456789\r\n0\r\n\r\n");
    let old = "GET / HTTP/1.0\r\n\r\n".to_owned();
    let all = [get, length, post("content-length: 0\r\n", ""), chunks, old].concat();
    for piece in [1, 2, 3, 7, 64, all.len()] {
        assert_eq!(read(all.as_bytes(), piece), (all.clone().into_bytes(), 5, None), "in pieces of {piece}");
    }
}

#[test]
fn what_readers_could_frame_differently_is_refused() {
    use Cause::{BadChunk, BadHead, BodyLength, HeadTooLarge, TransferEncoding};
    let chunked = |body: &str| post("transfer-encoding: chunked\r\n", body);
    let request = |line: &str| format!("{line}\r\nhost: a.example\r\n\r\n");
    for (bytes, cause, passes) in [
        (post("content-length: 3\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), BodyLength, false),
        (post("transfer-encoding: chunked\r\ncontent-length: 3\r\n", "0\r\n\r\n"), BodyLength, false),
        (post("content-length: 3\r\ncontent-length: 3\r\n", "abc"), BodyLength, false),
        (post("content-length: 3\r\ncontent-length: 4\r\n", "abcd"), BodyLength, false),
        (post("content-length: 3, 3\r\n", "abc"), BodyLength, false),
        (post("content-length: +3\r\n", "abc"), BodyLength, false),
        (post("content-length: -1\r\n", ""), BodyLength, false),
        (post("content-length: 0x3\r\n", "abc"), BodyLength, false),
        (post("content-length:\r\n", ""), BodyLength, false),
        (post("content-length: 18446744073709551619\r\n", "abc"), BodyLength, false),
        (post("transfer-encoding: xchunked\r\n", "0\r\n\r\n"), TransferEncoding, false),
        (post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"), TransferEncoding, false),
        (post("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"), TransferEncoding, false),
        (post("transfer-encoding: identity\r\n", "0\r\n\r\n"), TransferEncoding, false),
        (post("transfer-encoding: \"chunked\"\r\n", "0\r\n\r\n"), TransferEncoding, false),
        (post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), TransferEncoding, false),
        (post("transfer-encoding: \x0bchunked\r\n", "0\r\n\r\n"), BadHead, false),
        (post("transfer-encoding : chunked\r\n", "0\r\n\r\n"), BadHead, false),
        (post("transfer-encoding\t: chunked\r\n", "0\r\n\r\n"), BadHead, false),
        ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), TransferEncoding, false),
        (post("x: a\r\n b\r\n", ""), BadHead, false),
        (post("x: a\n", ""), BadHead, false),
        (post("x: a\rb\r\n", ""), BadHead, false),
        (post("x: a\0b\r\n", ""), BadHead, false),
        (post("x\0: a\r\n", ""), BadHead, false),
        (post(": a\r\n", ""), BadHead, false),
        (post("no colon\r\n", ""), BadHead, false),
        ("GET / HTTP/1.1\nhost: a.example\n\n".to_owned(), BadHead, false),
        ("GET / HTTP/1.1\r\nhost: a.example\r\n\n".to_owned(), BadHead, false),
        ("\r\nGET / HTTP/1.1\r\nhost: a.example\r\n\r\n".to_owned(), BadHead, false),
        (request("GET /"), BadHead, false),
        (request("GET  / HTTP/1.1"), BadHead, false),
        (request("GET / HTTP/1.1 "), BadHead, false),
        (request(" GET / HTTP/1.1"), BadHead, false),
        (request("GET /a b HTTP/1.1"), BadHead, false),
        (request("GET /\0 HTTP/1.1"), BadHead, false),
        (request("GET / HTTP/1.2"), BadHead, false),
        (request("GET / http/1.1"), BadHead, false),
        (request("PRI * HTTP/2.0"), BadHead, false),
        (request("GET <> HTTP/1.1"), BadHead, false),
        (post(&"x: y\r\n".repeat(10), ""), HeadTooLarge, false),
        (post(&format!("x: {}\r\n", "y".repeat(1024)), ""), HeadTooLarge, false),
        ("x".repeat(1025), HeadTooLarge, false),
        (chunked("3;a=b\r\nabc\r\n0\r\n\r\n"), BadChunk, true),
        (chunked("3 \r\nabc\r\n0\r\n\r\n"), BadChunk, true),
        (chunked(" 3\r\nabc\r\n0\r\n\r\n"), BadChunk, true),
        (chunked("0x3\r\nabc\r\n0\r\n\r\n"), BadChunk, true),
        (chunked("+3\r\nabc\r\n0\r\n\r\n"), BadChunk, true),
        (chunked("-3\r\nabc\r\n0\r\n\r\n"), BadChunk, true),
        (chunked("\r\nabc\r\n0\r\n\r\n"), BadChunk, true),
        (chunked("100000003\r\nabc\r\n0\r\n\r\n"), BadChunk, true),
        (chunked("3\nabc\r\n0\r\n\r\n"), BadChunk, true),
        (chunked("3\r\nabcd\r\n0\r\n\r\n"), BadChunk, true),
        (chunked("3\r\nabc\n0\r\n\r\n"), BadChunk, true),
        (chunked("3\r\nabc\r\n0\r\nx: y\r\n\r\n"), BadChunk, true),
        (chunked("3\r\nabc\r\n0\r\n\n"), BadChunk, true),
        (chunked("3\r\nabc\r\n0\n\n"), BadChunk, true),
    ] {
        for piece in [1, 5, bytes.len()] {
            let (passed, heads, found) = read(bytes.as_bytes(), piece);
            assert_eq!((found, heads), (Some(cause), u64::from(passes)), "{bytes:?} in pieces of {piece}");
            assert!(bytes.as_bytes().starts_with(&passed) && passed.is_empty() != passes, "{bytes:?}");
        }
    }
}

/// Bytes that are nearly HTTP: pieces of requests, right and wrong.
fn nearly_http() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "GET / HTTP/1.1",
        "POST /mcp HTTP/1.1",
        "GET /x HTTP/1.0",
        "host: a",
        "content-length: 3",
        "content-length: 0",
        "Content-Length:5",
        "transfer-encoding: chunked",
        "Transfer-Encoding:\tchunked ",
        "x: y",
        "\r\n",
        "\r\n",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        "\0",
        ":",
        ";a",
        "3",
        "0",
        "a",
        "0\r\n\r\n",
        "3\r\nabc\r\n",
        "abc",
        "\u{e9}",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    ]);
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat().into_bytes())
}

/// The same requests by another reader, httparse, which knows nothing of bodies: how many there are, if all is whole.
fn reference(mut bytes: &[u8]) -> u64 {
    let mut count = 0;
    while !bytes.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 10];
        let mut request = Request::new(&mut fields);
        let Ok(Status::Complete(head)) = request.parse(bytes) else { return count };
        count += 1;
        let field = |name: &str| request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        let chunked = field("transfer-encoding").is_some();
        let length: usize =
            field("content-length").map_or(0, |field| std::str::from_utf8(field.value).unwrap().parse().unwrap());
        bytes = &bytes[head..];
        if chunked {
            loop {
                let Ok(Status::Complete((digits, size))) = httparse::parse_chunk_size(bytes) else { return count };
                let end = digits + usize::try_from(size).unwrap() + 2;
                if bytes.len() < end {
                    return count;
                }
                assert_eq!(&bytes[end - 2..end], b"\r\n");
                bytes = &bytes[end..];
                if size == 0 {
                    break;
                }
            }
        } else {
            bytes = &bytes[length.min(bytes.len())..];
        }
    }
    count
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn pieces_change_nothing(bytes in nearly_http(), piece in 1_usize..20) {
        prop_assert_eq!(read(&bytes, piece), read(&bytes, bytes.len().max(1)));
    }

    #[test]
    fn what_passes_is_read_the_same_by_another_reader(bytes in nearly_http()) {
        let (passed, heads, _) = read(&bytes, bytes.len().max(1));
        prop_assert_eq!(reference(&passed), heads, "{:?}", String::from_utf8_lossy(&passed));
    }
}
