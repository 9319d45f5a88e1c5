//! `policyd policy fmt`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::exit;
use super::files::{self, Source, Wanted};
use crate::authoring::format::{self, Layout};
use crate::cli::{print, say};

mod replace;

pub(super) const LONG: &str = "\
Lay policies out canonically

Keys in the language's order, two spaces a level, on one line what fits into 100 characters. Tools, conditions and rules \
stay in your order, numbers and names as you wrote them; unknown keys stay too. A file that cannot be read as JSON, or \
has a key twice, is told of and left alone. Files are replaced whole or not at all, with their owner and mode.

Of folders, every policy (`*.json`) and test file (`*.tests.json`) is laid out; `-` is stdin, and goes to stdout.";

const EXAMPLES: &str = "\
Examples:
  policyd policy fmt policies/
  policyd policy fmt --check policies/     (for CI: what would change; exit code 1)
  policyd policy fmt - < draft.json";

const CODES: &str = "\
Exit codes (the highest that holds):
  0   all is laid out canonically, now
  1   with `--check`: something is not
  64  the command line is wrong
  65  a file is no JSON, or has a key twice
  66  a file cannot be read, a folder holds nothing to lay out
  73  a file, or stdout, cannot be written";

/// What `--help` ends with.
pub(super) fn after() -> String {
    format!("{EXAMPLES}\n\n{CODES}")
}

/// Arguments of `policyd policy fmt`.
#[derive(Clone, Debug, Args)]
pub struct FmtArgs {
    /// Change nothing; show what would change, and exit with 1 if anything would
    #[arg(long)]
    check: bool,
    /// With --check: one JSON object per line for each file that would change and each problem, for scripts
    #[arg(long, requires = "check")]
    json: bool,
    /// Policies, test files, folders, or `-`
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
}

/// Gives the exit code.
pub fn run(args: &FmtArgs) -> u8 {
    let (sources, unreadable) = files::gather(&args.files, Wanted::All);
    let mut code = exit::OK;
    for problem in &unreadable {
        match args.json {
            true => code = code.max(print_lines(&[files::json_unreadable(problem)], exit::NO_INPUT)),
            false => say(problem),
        }
        code = code.max(exit::NO_INPUT);
    }
    for source in &sources {
        code = code.max(lay_out(source, args));
    }
    code
}

fn lay_out(source: &Source, args: &FmtArgs) -> u8 {
    let check = args.check;
    let layout = if source.name.ends_with(files::TESTS) { Layout::Plain } else { Layout::Policy };
    let formatted = match format::format(&source.name, &source.text, layout) {
        Ok(formatted) => formatted,
        Err(report) if args.json => return print_lines(&files::json(&report), exit::DATA),
        Err(report) => {
            files::complain(&report);
            return exit::DATA;
        }
    };
    // What only lies beside the policies is none of ours.
    if source.found && layout == Layout::Policy && !format::is_policy(&source.text) {
        say(format_args!("`{}` is no policy and is left alone", source.name));
        return exit::OK;
    }
    let same = formatted == source.text;
    match &source.path {
        _ if check && same => exit::OK,
        _ if args.json => print_lines(&[not_laid_out(source, &formatted)], exit::FAILED),
        _ if check => print(&difference(&source.name, &source.text, &formatted), exit::FAILED),
        None => print(&formatted, exit::OK),
        Some(_) if same => exit::OK,
        Some(path) => replace(path, &source.text, &formatted),
    }
}

fn print_lines(lines: &[Value], code: u8) -> u8 {
    print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>(), code)
}

/// That a file would change, and where that begins.
fn not_laid_out(source: &Source, formatted: &str) -> Value {
    let same = lines(&source.text).iter().zip(lines(formatted)).take_while(|(old, new)| **old == *new).count();
    json!({
        "file": source.name, "line": 1 + same, "column": 1, "severity": "error", "code": "layout",
        "message": "this is not laid out canonically", "help": "`policyd policy fmt` lays it out",
    })
}

fn replace(path: &Path, old: &str, new: &str) -> u8 {
    match replace::replace(path, old.as_bytes(), new.as_bytes()) {
        Ok(()) => exit::OK,
        Err(error) => {
            say(format_args!("`{}` cannot be replaced: {error}", path.display()));
            exit::NOT_WRITTEN
        }
    }
}

/// What changes, as a unified diff of one piece: from the first line that differs to the last.
fn difference(name: &str, old: &str, new: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) = (lines(old), lines(new));
    let equal = |pair: &(&&str, &&str)| pair.0 == pair.1;
    let start = before.iter().zip(&after).take_while(equal).count();
    let rest = before.len().min(after.len()) - start;
    let end = before.iter().rev().zip(after.iter().rev()).take(rest).take_while(equal).count();
    let (removed, added) = (&before[start..before.len() - end], &after[start..after.len() - end]);
    // A piece without lines stands behind the line before it.
    let place = |lines: &[&str]| format!("{},{}", start + usize::from(!lines.is_empty()), lines.len());
    let mut text = format!("--- {name}\n+++ {name}\n@@ -{} +{} @@\n", place(removed), place(added));
    for (sign, line) in removed.iter().map(|line| ('-', line)).chain(added.iter().map(|line| ('+', line))) {
        text.push(sign);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
    text
}

/// With their ends, which may be all that differs.
fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_a_unified_diff() {
        assert_eq!(difference("p", "a\nb\nc\n", "a\nx\ny\nc\n"), "--- p\n+++ p\n@@ -2,1 +2,2 @@\n-b\n+x\n+y\n");
        assert_eq!(difference("p", "a\na\n", "a\n"), "--- p\n+++ p\n@@ -2,1 +1,0 @@\n-a\n");
        assert_eq!(
            difference("p", "{}", "{}\n"),
            "--- p\n+++ p\n@@ -1,1 +1,1 @@\n-{}\n\\ No newline at end of file\n+{}\n"
        );
    }
}
