//! `cargo xtask dist`: man pages and shell completions, from the command line's own description.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use clap_complete::Shell;

/// Writes `target/dist/man/*.1` and `target/dist/completions/*`.
pub fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let dist = target.join("dist");
    let (man, completions) = (dist.join("man"), dist.join("completions"));
    for folder in [&man, &completions] {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    // One page for each subcommand, named and linked as `policyd-run(1)`; hidden ones have none.
    clap_mangen::generate_to(policyd::cli::command(), &man).context("the man pages cannot be written")?;
    for shell in Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut policyd::cli::command(), "policyd", &completions)
            .with_context(|| format!("the completions for {shell} cannot be written"))?;
    }
    println!("man pages:   {}\ncompletions: {}", man.display(), completions.display());
    Ok(())
}
