//! How many instructions a decision takes, by valgrind: the same on every run, however busy the machine is.
//!
//! `cargo bench -p policyd --bench instructions`; it needs `valgrind` and `gungraun-runner`.

#![expect(clippy::panic, reason = "a benchmark that cannot run has no result")]
#![expect(missing_docs, reason = "the macros make items of their own")]

mod realistic;

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use policyd::mcp::json::Parser;
use policyd::mcp::{Message, vet};
use realistic::{Named, World, call};

/// A world in which many calls have been decided, and the next one.
fn settled(named: Named, tools: usize, patterns: usize) -> (World, Message<'static>) {
    // Kept to the end of the process: a benchmark's argument cannot borrow.
    let (parser, body) = (Box::leak(Box::new(Parser::default())), Box::leak(Box::new(call())));
    let message = vet(parser, body).unwrap_or_else(|malformed| panic!("{malformed:?}"));
    let mut world = World::new(named, tools, patterns);
    world.settle(&message);
    (world, message)
}

#[library_benchmark]
#[bench::few_exactly(settled(Named::Exactly, 10, 0))]
#[bench::few_by_pattern(settled(Named::ByPattern, 10, 10))]
#[bench::many_exactly(settled(Named::Exactly, 10_000, 1000))]
#[bench::many_by_pattern(settled(Named::ByPattern, 10_000, 1000))]
fn decided((mut world, message): (World, Message<'static>)) -> World {
    drop(black_box(world.judge(black_box(&message))));
    world
}

library_benchmark_group!(name = decisions, benchmarks = decided);
main!(library_benchmark_groups = decisions);
