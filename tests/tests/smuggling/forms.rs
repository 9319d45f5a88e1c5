//! HTTP/1.1 that is refused, byte for byte.

/// A call that the policy allows.
pub const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#;
/// What a server that frames the bytes before it differently takes for a request.
pub const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: workbench.example\r\nconnection: close\r\n\r\n";

/// A POST of `body` to the endpoint with more header lines, and a request behind it.
pub fn post(lines: &str, body: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nhost: workbench.example\r\ncontent-type: application/json\r\n{lines}\r\n{body}{SMUGGLED}"
    )
}

pub fn chunked(body: &str) -> String {
    post("transfer-encoding: chunked\r\n", body)
}

/// A good call, and a request behind it, with another request line and Host.
pub fn request(line: &str, host: &str) -> String {
    let length = CALL.len();
    format!("{line}\r\n{host}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{CALL}{SMUGGLED}")
}

/// Forms of HTTP/1.1 that are refused: what, the bytes, the status, the cause's word.
pub fn refused() -> Vec<(&'static str, String, u16, &'static str)> {
    let n = CALL.len();
    let length = format!("content-length: {n}\r\n");
    let one = format!("{n:x}\r\n{CALL}\r\n0\r\n\r\n");
    let host = "host: workbench.example\r\n";
    let te = |value: &str| post(&format!("transfer-encoding:{value}\r\n"), &one);
    vec![
        ("a length beside chunks", post(&format!("{length}transfer-encoding: chunked\r\n"), &one), 422, "body-length"),
        ("chunks beside a length", post(&format!("transfer-encoding: chunked\r\n{length}"), &one), 422, "body-length"),
        ("two equal lengths", post(&length.repeat(2), CALL), 422, "body-length"),
        ("two different lengths", post(&format!("content-length: 0\r\n{length}"), CALL), 422, "body-length"),
        ("a list of lengths", post(&format!("content-length: {n}, {n}\r\n"), CALL), 422, "body-length"),
        ("a signed length", post(&format!("content-length: +{n}\r\n"), CALL), 422, "body-length"),
        ("a length in hexadecimal", post(&format!("content-length: 0x{n:x}\r\n"), CALL), 422, "body-length"),
        ("xchunked", te(" xchunked"), 422, "transfer-encoding"),
        ("chunked, identity", te(" chunked, identity"), 422, "transfer-encoding"),
        ("gzip, chunked", te(" gzip, chunked"), 422, "transfer-encoding"),
        ("identity", te(" identity"), 422, "transfer-encoding"),
        ("two codings", te(" chunked\r\ntransfer-encoding: identity"), 422, "transfer-encoding"),
        ("a vertical tab", te("\x0bchunked"), 422, "bad-head"),
        ("HTTP/1.0 in chunks", chunked(&one).replacen("HTTP/1.1", "HTTP/1.0", 1), 422, "transfer-encoding"),
        ("a space before the colon", post(&format!("transfer-encoding : chunked\r\n{length}"), &one), 422, "bad-head"),
        ("an obsolete fold", post(&format!("x: a\r\n b\r\n{length}"), CALL), 422, "bad-head"),
        ("a bare LF", post(&format!("x: a\n{length}"), CALL), 422, "bad-head"),
        ("a bare CR", post(&format!("x: a\rb: c\r\n{length}"), CALL), 422, "bad-head"),
        ("NUL in a value", post(&format!("x: a\0b\r\n{length}"), CALL), 422, "bad-head"),
        ("NUL in a name", post(&format!("x\0: a\r\n{length}"), CALL), 422, "bad-head"),
        ("a line without a colon", post(&format!("x\r\n{length}"), CALL), 422, "bad-head"),
        ("an empty line first", format!("\r\n{}", post(&length, CALL)), 422, "bad-head"),
        ("HTTP/0.9", "GET /mcp\r\n\r\n".to_owned(), 422, "bad-head"),
        ("HTTP/2 in a line", request("POST /mcp HTTP/2.0", host), 422, "bad-head"),
        ("two spaces", request("POST  /mcp HTTP/1.1", host), 422, "bad-head"),
        ("a space in the target", request("POST /mcp x HTTP/1.1", host), 422, "bad-head"),
        ("NUL in the target", request("POST /mcp\0 HTTP/1.1", host), 422, "bad-head"),
        ("too many fields", post(&format!("{}{length}", "x: y\r\n".repeat(200)), CALL), 422, "head-too-large"),
        ("a long field", post(&format!("x: {}\r\n{length}", "y".repeat(70_000)), CALL), 422, "head-too-large"),
        ("a chunk extension", chunked(&format!("{n:x};a=b\r\n{CALL}\r\n0\r\n\r\n")), 422, "bad-chunk"),
        ("a trailer", chunked(&format!("{n:x}\r\n{CALL}\r\n0\r\nhost: other.example\r\n\r\n")), 422, "bad-chunk"),
        ("a size in 0x", chunked(&format!("0x{n:x}\r\n{CALL}\r\n0\r\n\r\n")), 422, "bad-chunk"),
        ("a signed size", chunked(&format!("+{n:x}\r\n{CALL}\r\n0\r\n\r\n")), 422, "bad-chunk"),
        ("a space before the size", chunked(&format!(" {n:x}\r\n{CALL}\r\n0\r\n\r\n")), 422, "bad-chunk"),
        ("a space behind the size", chunked(&format!("{n:x} \r\n{CALL}\r\n0\r\n\r\n")), 422, "bad-chunk"),
        ("a size that overflows", chunked(&format!("100000000000000{n:x}\r\n{CALL}\r\n0\r\n\r\n")), 422, "bad-chunk"),
        ("a chunk longer than its size", chunked(&format!("1\r\n{CALL}\r\n0\r\n\r\n")), 422, "bad-chunk"),
        ("a bare LF behind the size", chunked(&format!("{n:x}\n{CALL}\r\n0\r\n\r\n")), 422, "bad-chunk"),
        ("a bare LF at the end", chunked(&format!("{n:x}\r\n{CALL}\r\n0\n\n")), 422, "bad-chunk"),
        ("no Host", request("POST /mcp HTTP/1.1", ""), 421, "misdirected"),
        ("an empty Host", request("POST /mcp HTTP/1.1", "host:\r\n"), 421, "misdirected"),
        ("two Hosts", request("POST /mcp HTTP/1.1", &host.repeat(2)), 421, "misdirected"),
        ("another Host", request("POST /mcp HTTP/1.1", "host: other.example\r\n"), 421, "misdirected"),
        ("another target", request("POST https://other.example/mcp HTTP/1.1", host), 421, "misdirected"),
        ("another scheme", request("POST http://workbench.example/mcp HTTP/1.1", host), 421, "misdirected"),
        ("a user in the target", request("POST https://a@workbench.example/mcp HTTP/1.1", host), 421, "misdirected"),
        ("CONNECT", format!("CONNECT workbench.example:443 HTTP/1.1\r\n{host}\r\n{SMUGGLED}"), 422, "upgrade"),
        (
            "WebSocket",
            format!(
                "GET /mcp HTTP/1.1\r\n{host}connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n{SMUGGLED}"
            ),
            422,
            "upgrade",
        ),
        (
            "another upgrade",
            format!("GET /mcp HTTP/1.1\r\n{host}connection: upgrade\r\nupgrade: h2c, websocket\r\n\r\n{SMUGGLED}"),
            422,
            "upgrade",
        ),
    ]
}
