//! `cargo xtask conformance`: the public conformance suite, directly and through policyd.

use std::process::ExitCode;

use clap::Parser;
use policyd_tests::conformance::Conformance;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    conformance: Conformance,
}

fn main() -> ExitCode {
    if Arguments::parse().conformance.run() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
