//! What reading one call costs: a `tools/call` of 178 bytes, and one of 2 KiB with 27 small objects. Goals: 0.3 µs and 2.5 µs.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use policyd::mcp::framing::{Framing, Limits};
use policyd::mcp::json::Parser;
use policyd::mcp::{method, vet};

fn call(arguments: &str) -> Bytes {
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":12345,"method":"tools/call","params":{{"name":"create_charge","arguments":{arguments}}}}}"#
    ))
}

fn small() -> Bytes {
    call(r#"{"amount":1999,"currency":"usd","customer":"cus_9s6XKzkNRiz8i3","description":"Order 6735"}"#)
}

fn dense() -> Bytes {
    let item = |i: usize| format!(r#"{{"sku":"item-{i:04}","quantity":{i},"price":{i}.99,"gift":false,"note":null}}"#);
    let items: Vec<_> = (0..27).map(item).collect();
    call(&format!(r#"{{"currency":"usd","items":[{}]}}"#, items.join(",")))
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("vet");
    for (name, body) in [("178 B", small()), ("2 KiB", dense())] {
        let mut parser = Parser::new();
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{name} ({} bytes)", body.len()), |bencher| {
            bencher.iter(|| {
                let message = vet(&mut parser, &body).ok();
                message.map(|m| (m.tool().map(str::len), m.method().map(method::nature)))
            });
        });
    }
    group.finish();
}

/// What it costs to see where a request begins and ends: a call with eleven header fields, and uploads of 1 MiB.
fn framing(criterion: &mut Criterion) {
    let head = "POST /mcp HTTP/1.1\r\nHost: mcp.example\r\nAccept: application/json, text/event-stream\r\n\
        Content-Type: application/json\r\nUser-Agent: python-httpx/0.28.1\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
        Connection: keep-alive\r\nMCP-Protocol-Version: 2025-11-25\r\n\
        Mcp-Session-Id: 0d8ae1f7-3c10-4d4b-a6a1-0f4d2c4ad9a1\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef\r\n";
    let whole = |body: &[u8]| [format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
    let upload = vec![b'x'; 1 << 20];
    let mut chunks = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in upload.chunks(8192) {
        chunks.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    chunks.extend(b"0\r\n\r\n");
    let mut group = criterion.benchmark_group("framing");
    for (name, bytes) in [("call", whole(&small())), ("1 MiB", whole(&upload)), ("1 MiB in chunks", chunks)] {
        let mut framing = Framing::new(Limits { head: 64 * 1024, fields: 100 });
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| framing.advance(&bytes)));
    }
    group.finish();
}

criterion_group!(benches, parse, framing);
criterion_main!(benches);
