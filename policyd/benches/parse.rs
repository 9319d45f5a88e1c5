//! What reading one call costs: a `tools/call` of 178 bytes, and one of 2 KiB with 27 small objects. Goals: 0.3 µs and 2.5 µs.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
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

criterion_group!(benches, parse);
criterion_main!(benches);
