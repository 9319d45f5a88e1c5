//! `cargo xtask bench`: builds the daemon as it is shipped and the tools to measure it with, and runs the comparison
//! (`tests/src/bench/`), which writes BENCHMARKS.md.

mod decision;

use std::path::PathBuf;

use anyhow::Result;

use crate::setup;
use crate::shell::{self, cargo, command, root};

/// How long to measure.
#[derive(clap::Args)]
pub struct Args {
    /// Rounds of every measurement
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds of each round
    #[arg(long, default_value_t = 3000)]
    millis: u64,
    /// Leave out the decision alone (criterion, and valgrind's count of instructions)
    #[arg(long)]
    no_decision: bool,
}

/// Sets up, builds, measures.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    shell::run(cargo(&["build", "--release", "--package", "policyd", "--bin", "policyd"]))?;
    // The load generator's own speed matters little; what matters is that it builds quickly and is optimized.
    shell::run(cargo(&["build", "--profile", "tools", "--package", "policyd-tests", "--bin", "bench"]))?;
    let decision = if args.no_decision { None } else { Some(decision::section()?) };
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let mut bench = command(target.join("tools/bench"), &["compare"]);
    bench.env("POLICYD_BIN", target.join("release/policyd"));
    bench.args(["--rounds", &args.rounds.to_string(), "--millis", &args.millis.to_string()]);
    bench.arg("--out").arg(root().join("BENCHMARKS.md"));
    if let Some(decision) = decision {
        bench.args(["--decision", &decision]);
    }
    shell::run(bench)
}
