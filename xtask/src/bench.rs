//! `cargo xtask bench`: builds the daemon as it is shipped and the tools to measure it with, and runs the comparison
//! (`tests/src/bench/`), which writes BENCHMARKS.md.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::setup;
use crate::shell::{self, cargo, command, quietly, root};

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
    let decision = if args.no_decision { None } else { Some(decision()? + "\n" + &instructions()?) };
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

/// Criterion's lines as a table. Its output is the interface: `NAME  time:   [LOW MIDDLE HIGH]`.
fn decision() -> Result<String> {
    println!("bench: the decision alone");
    let text = quietly(cargo(&["bench", "--package", "policyd", "--bench", "decide", "--", "--noplot"]))
        .context("the decision's benchmark")?;
    let mut table = String::from("| case | time |\n|---|---|\n");
    let mut name = "";
    for line in text.lines() {
        let (before, after) = match line.split_once("time:") {
            Some(parts) => parts,
            None => {
                // A long name stands on a line of its own, before its time.
                if !line.starts_with(' ') && !line.is_empty() {
                    name = line.trim();
                }
                continue;
            }
        };
        if !before.trim().is_empty() {
            name = before.trim();
        }
        let middle = after.trim().trim_matches(['[', ']']).split(' ').skip(2).take(2).collect::<Vec<_>>().join(" ");
        table += &format!("| {name} | {middle} |\n");
    }
    Ok(table)
}

/// The decision's instructions as a table: the same however busy the machine is. gungraun's output is the interface: the
/// name of a case on a line of its own, then `Instructions: NOW|BEFORE`.
fn instructions() -> Result<String> {
    setup::valgrind()?;
    println!("bench: the decision's instructions");
    let text = quietly(cargo(&["bench", "--package", "policyd", "--bench", "instructions", "--", "--nosummary"]))
        .context("the benchmark that counts instructions")?;
    let mut table = String::from("| case | instructions |\n|---|---|\n");
    let mut name = "";
    for line in text.lines() {
        if let Some(count) = line.trim().strip_prefix("Instructions:") {
            table += &format!("| {name} | {} |\n", count.split('|').next().unwrap_or_default().trim());
        } else if let Some((_, case)) = line.split_once("::decided ") {
            name = case.split(':').next().unwrap_or_default();
        }
    }
    Ok(table)
}
