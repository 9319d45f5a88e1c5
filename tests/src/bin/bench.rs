//! The benchmarks' processes, and the comparison that starts them: see `cargo xtask bench`.

use clap::Parser;
use policyd_tests::bench::{compare::Compare, load::Load, relay::Relay, upstream::Upstream};

#[derive(Parser)]
enum Bench {
    /// A server that answers every call alike.
    Upstream(Upstream),
    /// The load generator.
    Load(Load),
    /// A relay that only splices.
    Relay(Relay),
    /// Measures and writes the report.
    Compare(Compare),
}

fn main() -> anyhow::Result<()> {
    match Bench::parse() {
        Bench::Upstream(upstream) => upstream.run(),
        Bench::Load(load) => load.run(),
        Bench::Relay(relay) => relay.run(),
        Bench::Compare(compare) => compare.run(),
    }
}
