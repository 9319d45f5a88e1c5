//! The decision alone: a `tools/call` against a realistic policy, among few tools and among many.
//!
//! `cargo bench -p policyd --bench decide`. It fails if deciding a call that is allowed takes memory from the allocator.

#![expect(clippy::panic, reason = "a benchmark that cannot run has no result")]

#[path = "realistic/allocations.rs"]
mod allocations;
mod realistic;

use std::hint::black_box;
use std::process::ExitCode;

use bytes::Bytes;
use criterion::Criterion;
use policyd::mcp::json::Parser;
use policyd::mcp::{Message, vet};
use realistic::{Named, World, call};

/// What is measured: a name, how the policy names the tool, how many other tools and patterns there are.
const CASES: [(&str, Named, usize, usize); 4] = [
    ("10 tools", Named::Exactly, 10, 0),
    ("10 tools and 10 patterns", Named::ByPattern, 10, 10),
    ("10,000 tools and 1,000 patterns, an exact name", Named::Exactly, 10_000, 1000),
    ("10,000 tools and 1,000 patterns, a pattern", Named::ByPattern, 10_000, 1000),
];

fn read<'a>(parser: &'a mut Parser, body: &'a Bytes) -> Message<'a> {
    vet(parser, body).unwrap_or_else(|malformed| panic!("{malformed:?}"))
}

fn main() -> ExitCode {
    let body = call();
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("6 conditions, 3 limits, 2 KiB");
    for (name, named, tools, patterns) in CASES {
        let mut world = World::new(named, tools, patterns);
        let mut parser = Parser::default();
        let message = read(&mut parser, &body);
        world.settle(&message);
        let taken = allocations::during(|| world.settle(&message));
        if taken > 0 {
            eprintln!("{name}: allowed calls asked for memory {taken} times; it must be never");
            return ExitCode::FAILURE;
        }
        group.bench_function(format!("{name}: decided"), |bencher| bencher.iter(|| world.judge(black_box(&message))));
    }
    let mut world = World::new(Named::Exactly, 10, 0);
    let mut parser = Parser::default();
    group.bench_function("10 tools: read and decided", |bencher| {
        bencher.iter(|| world.judge(&read(&mut parser, black_box(&body))));
    });
    group.finish();
    criterion.final_summary();
    ExitCode::SUCCESS
}
