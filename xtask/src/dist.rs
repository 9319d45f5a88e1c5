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
    for page in fs::read_dir(&man).context("the man pages cannot be listed")? {
        let page = page.context("the man pages cannot be listed")?.path();
        let text = fs::read_to_string(&page).with_context(|| format!("{} cannot be read", page.display()))?;
        fs::write(&page, unfilled(&text)).with_context(|| format!("{} cannot be written", page.display()))?;
    }
    for shell in Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut policyd::cli::command(), "policyd", &completions)
            .with_context(|| format!("the completions for {shell} cannot be written"))?;
    }
    println!("man pages:   {}\ncompletions: {}", man.display(), completions.display());
    Ok(())
}

/// A page whose examples and tables stay in the lines that they are written in.
fn unfilled(page: &str) -> String {
    let Some((before, extra)) = page.split_once("\n.SH EXTRA\n") else { return page.to_owned() };
    let (extra, after) = match extra.find("\n.SH ") {
        Some(end) => extra.split_at(end),
        None => (extra.trim_end(), "\n"),
    };
    format!("{before}\n.SH EXTRA\n.nf\n{extra}\n.fi{after}")
}

#[cfg(test)]
mod tests {
    use super::unfilled;

    #[test]
    fn examples_keep_their_lines() {
        let page = ".SH NAME\na\n.SH EXTRA\nExamples:\n  a b\n.SH VERSION\nv1\n";
        assert_eq!(unfilled(page), ".SH NAME\na\n.SH EXTRA\n.nf\nExamples:\n  a b\n.fi\n.SH VERSION\nv1\n");
        assert_eq!(unfilled(".SH EXTRA"), ".SH EXTRA");
        assert_eq!(unfilled("a\n.SH EXTRA\nb\n"), "a\n.SH EXTRA\n.nf\nb\n.fi\n");
    }
}
