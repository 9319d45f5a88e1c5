//! `cargo xtask conformance`: the public conformance suite, directly and through policyd (`tests/src/conformance/`).

use std::path::PathBuf;

use anyhow::Result;

use crate::setup;
use crate::shell::{self, cargo, command, root};

/// What to run.
#[derive(clap::Args)]
pub struct Args {
    /// Passed on: `--only TEXT` chooses runs, `--checks` prints every check, `--results FOLDER` keeps what the suite wrote
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Sets up, builds, compares.
///
/// # Errors
/// When a verdict differs, or nothing was checked.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    shell::run(cargo(&["build", "--package", "policyd", "--package", "policyd-tests"]))?;
    compare(&args.arguments)
}

/// As [`run`], with what is set up and built.
///
/// # Errors
/// As [`run`].
pub fn compare(arguments: &[String]) -> Result<()> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let mut conformance = command(target.join("debug/conformance"), &[]);
    conformance.args(arguments);
    shell::run(conformance)
}
