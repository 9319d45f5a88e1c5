//! The developer's tasks: `cargo xtask TASK`. One file per task.

mod bench;
mod conformance;
mod demo;
mod dist;
mod ebpf;
mod fuzz;
mod setup;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::Parser;

/// The developer's tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
enum Task {
    /// Write man pages and shell completions to target/dist
    Dist,
    /// Build the kernel programs into policyd-ebpf/prebuilt/, installing what is missing of the toolchain
    Ebpf(ebpf::Args),
    /// Run the public conformance suite directly and through policyd: every verdict must be the same
    Conformance(conformance::Args),
    /// Show the main job on real input: real servers, unmodified clients, policyd between them
    Demo,
    /// Run every test and check; --fast leaves out fuzzing, the kernel object and cargo deny
    Test(test::Args),
    /// Run the fuzz targets and compare all readers of JSON, for longer than the tests do
    Fuzz(fuzz::Args),
    /// Measure rate, latency, processor time and memory; writes BENCHMARKS.md
    Bench(bench::Args),
    /// Install what tests, demo and bench need
    Setup,
    /// Check what no compiler checks: file sizes, what the documents say
    Tidy,
}

fn main() -> ExitCode {
    let result = match Task::parse() {
        Task::Dist => dist::run(),
        Task::Ebpf(args) => ebpf::run(&args),
        Task::Conformance(args) => conformance::run(&args),
        Task::Demo => demo::run(),
        Task::Test(args) => test::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Setup => setup::run(),
        Task::Tidy => tidy::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
