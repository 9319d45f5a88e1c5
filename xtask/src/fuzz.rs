//! `cargo xtask fuzz`: the fuzz targets, and all readers of JSON compared, for longer than CI has time for.

use anyhow::{Context as _, Result, bail};

use crate::setup;
use crate::shell::{cargo, command, quietly, root};
use crate::test::{Count, one, tee};

/// The comparison of readers, as a target.
const READERS: &str = "readers";

/// What to run.
#[derive(clap::Args)]
pub struct Args {
    /// Run only this: a target of policyd/fuzz, or `readers`, which compares what policyd, serde_json, Python and Node read
    target: Option<String>,
    /// How long each runs, in seconds
    #[arg(long, default_value_t = 300)]
    seconds: u32,
    /// Repeats a run of `readers`
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the targets one after another.
///
/// # Errors
/// When one of them found something.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    let only = args.target.as_deref();
    let mut failed = 0;
    if only != Some(READERS) {
        failed += targets(args.seconds, only)?.failed;
    }
    if only.is_none_or(|only| only == READERS) {
        failed += readers(args.seconds, args.seed)?.failed;
    }
    if failed > 0 {
        bail!("something was found");
    }
    Ok(())
}

/// Compares what all readers read in messages that policyd accepts (`tests/src/readers.rs`). It says its seed.
///
/// # Errors
/// When it cannot be started.
pub fn readers(seconds: u32, seed: Option<u64>) -> Result<Count> {
    let seconds = seconds.to_string();
    let mut run =
        cargo(&["run", "--quiet", "--package", "policyd-tests", "--bin", READERS, "--", "--seconds", &seconds]);
    if let Some(seed) = seed {
        run.args(["--seed", &seed.to_string()]);
    }
    one(run)
}

/// Builds all fuzz targets at once, so that they share one build of the daemon, and runs each for a while. Without an
/// address sanitizer: what is fuzzed has no unsafe code, and the build takes half the time.
pub fn targets(seconds: u32, only: Option<&str>) -> Result<Count> {
    let folder = root().join("policyd/fuzz");
    let nightly = |arguments: &[&str]| {
        let mut command = command("rustup", &["run", "nightly", "cargo", "fuzz"]);
        // The toolchain of the process that runs us must not choose for the one that it starts.
        command.args(arguments).current_dir(root().join("policyd")).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        command
    };
    let targets = quietly(nightly(&["list"])).with_context(|| format!("list the targets of {}", folder.display()))?;
    let targets: Vec<_> = targets.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if let Some(only) = only.filter(|only| !targets.contains(only)) {
        bail!("there is no fuzz target `{only}`; there are {}, {READERS}", targets.join(", "));
    }
    let mut build = nightly(&["build", "--sanitizer", "none"]);
    build.args(only);
    let (built, _) = tee(build)?;
    if !built {
        bail!("the fuzz targets do not build");
    }
    let seconds = format!("-max_total_time={seconds}");
    let mut count = Count::default();
    for target in targets.into_iter().filter(|target| only.is_none_or(|only| only == *target)) {
        let mut run = nightly(&["run", "--sanitizer", "none", target]);
        // What it finds goes to the first folder; what it starts from stands in the second one too.
        let (corpus, seeds) = (folder.join("corpus").join(target), folder.join("seeds").join(target));
        std::fs::create_dir_all(&corpus).with_context(|| format!("create {}", corpus.display()))?;
        run.arg(&corpus).args(seeds.is_dir().then_some(&seeds));
        run.args(["--", &seconds, "-verbosity=0", "-print_final_stats=0"]);
        match quietly(run) {
            Ok(_) => count.passed += 1,
            Err(error) => {
                println!("{target}: {error:#}");
                count.failed += 1;
            }
        }
    }
    Ok(count)
}
