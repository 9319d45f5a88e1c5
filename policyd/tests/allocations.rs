//! Deciding a call that is allowed takes no memory from the allocator, once the limits' windows have filled.

#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../benches/realistic/allocations.rs"]
mod allocations;
#[path = "../benches/realistic/mod.rs"]
mod realistic;

use policyd::mcp::json::Parser;
use policyd::mcp::vet;
use realistic::{Named, World, call};

#[test]
fn an_allowed_call_takes_no_memory() {
    let body = call();
    for (named, tools, patterns) in [(Named::Exactly, 10, 0), (Named::ByPattern, 100, 1000)] {
        let mut parser = Parser::default();
        let message = vet(&mut parser, &body).expect("a call");
        let mut world = World::new(named, tools, patterns);
        world.settle(&message);
        assert_eq!(allocations::during(|| world.settle(&message)), 0, "{named:?}");
    }
    assert_eq!(allocations::during(|| drop(Box::new(1))), 1, "the count counts");
}
