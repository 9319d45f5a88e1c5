//! `cargo xtask demo`: builds the daemon and the demonstration, and runs it (`tests/src/bin/demo.rs`).

use anyhow::Result;

use crate::setup;
use crate::shell::{self, cargo, command, root};

/// Sets up, builds, shows.
pub fn run() -> Result<()> {
    setup::run()?;
    shell::run(cargo(&["build", "--quiet", "--package", "policyd", "--package", "policyd-tests"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    shell::run(command(target.join("debug/demo"), &[]))
}
