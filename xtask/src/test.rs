//! `cargo xtask test`: everything that must hold, and a summary of it. What `.ci/run` calls.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::shell::{cargo, command};
use crate::{conformance, demo, fuzz, setup, tidy};

/// How long each fuzz target runs, and how long all readers are compared.
const FUZZ_SECONDS: u32 = 20;
const READERS_SECONDS: u32 = 30;

/// What to leave out.
#[derive(clap::Args)]
pub struct Args {
    /// Leave out fuzzing, the kernel object's rebuild and cargo deny
    #[arg(long)]
    fast: bool,
}

/// Tests that passed and failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Those that passed.
    pub passed: usize,
    /// Those that failed.
    pub failed: usize,
}

struct Step {
    name: &'static str,
    result: Result<Count>,
    took: Duration,
}

/// Runs every step, also after one has failed, and sums up.
///
/// # Errors
/// When any step failed.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    let mut steps = Vec::new();
    let mut step = |name, work: &dyn Fn() -> Result<Count>| {
        println!("\n== {name}");
        let start = Instant::now();
        let result = work();
        if let Err(error) = &result {
            println!("{error:#}");
        }
        let failed = result.is_err();
        steps.push(Step { name, result, took: start.elapsed() });
        !failed
    };
    // The formatting is the cheapest to know; the build is what all that follows stands on.
    step("format", &|| one(cargo(&["fmt", "--all", "--check"])));
    if step("build", &|| one(cargo(&["build", "--package", "policyd", "--package", "policyd-tests"]))) {
        step("tests", &tests);
        step("conformance", &|| conformance::compare(&[]).map(|()| Count { passed: 1, failed: 0 }));
        step("demo", &|| demo::run().map(|()| Count { passed: 1, failed: 0 }));
        step("documentation's examples", &|| count(cargo(&["test", "--quiet", "--package", "policyd", "--doc"])));
    }
    step("clippy", &|| one(cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])));
    step("tidy", &|| tidy::run().map(|()| Count { passed: 1, failed: 0 }));
    if !args.fast {
        step("supply chain", &|| one(cargo(&["deny", "--log-level", "error", "check", "bans", "licenses", "sources"])));
        step("kernel object", &|| one(command(std::env::current_exe()?, &["ebpf", "--check"])));
        step("fuzz", &|| fuzz::targets(FUZZ_SECONDS, None));
        step("readers", &|| fuzz::readers(READERS_SECONDS, None));
    }
    sum_up(&steps)
}

fn sum_up(steps: &[Step]) -> Result<()> {
    println!();
    let mut all = Count::default();
    for step in steps {
        let (word, count) = match &step.result {
            Ok(count) => (if count.failed == 0 { "ok" } else { "FAILED" }, *count),
            Err(_) => ("FAILED", Count { passed: 0, failed: 1 }),
        };
        println!(
            "{:24} {word:7} {:4} passed {:4} failed {:6.1} s",
            step.name,
            count.passed,
            count.failed,
            step.took.as_secs_f64()
        );
        all.passed += count.passed;
        all.failed += count.failed;
    }
    println!("\n{} passed, {} failed", all.passed, all.failed);
    if all.failed > 0 {
        bail!("not everything passed");
    }
    Ok(())
}

/// A step that passes or fails as a whole.
pub fn one(command: Command) -> Result<Count> {
    let (succeeded, _) = tee(command)?;
    Ok(if succeeded { Count { passed: 1, failed: 0 } } else { Count { passed: 0, failed: 1 } })
}

fn tests() -> Result<Count> {
    count(cargo(&["nextest", "run", "--workspace", "--no-fail-fast", "--color", "never"]))
}

/// Runs tests and counts them by what the runner says; a runner that fails without a failed test counts as one.
fn count(command: Command) -> Result<Count> {
    let (succeeded, output) = tee(command)?;
    let mut count = Count::default();
    for line in output.lines().filter(|line| line.contains("Summary [") || line.starts_with("test result:")) {
        count.passed += number_before(line, "passed");
        count.failed += number_before(line, "failed") + number_before(line, "timed out");
    }
    if !succeeded && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// The number that stands before `word`, as in `12 passed`; 0 when there is none.
fn number_before(line: &str, word: &str) -> usize {
    let before = line.split_once(&format!(" {word}")).map(|(before, _)| before);
    before.and_then(|text| text.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).unwrap_or(0)
}

/// Runs `command`, shows what it says as it says it, and gives that too.
pub fn tee(mut command: Command) -> Result<(bool, String)> {
    let (reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    // The command holds the writing ends of the pipe: without this, the reading below would never end.
    drop(command);
    let mut output = String::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        output.push_str(&line);
        output.push('\n');
    }
    Ok((child.wait()?.success(), output))
}

#[cfg(test)]
mod tests {
    use super::number_before;

    #[test]
    fn numbers_are_read_from_summaries() {
        let line = "     Summary [  17.8s] 12 tests run: 9 passed (1 slow), 2 failed, 1 timed out, 3 skipped";
        assert_eq!(number_before(line, "passed"), 9);
        assert_eq!(number_before(line, "failed"), 2);
        assert_eq!(number_before(line, "timed out"), 1);
        assert_eq!(number_before("test result: ok. 3 passed; 0 failed; 0 ignored", "failed"), 0);
        assert_eq!(number_before("nothing", "passed"), 0);
    }
}
