//! `policyd policy import`

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{exit, files};
use crate::authoring::import::{self, Scope};
use crate::cli::{print, say};
use crate::diagnostic::Report;

pub(super) const LONG: &str = "\
Make a policy of another tool's: PolicyLayer Intercept's YAML

What decides the same here is carried over: tools, rules, conditions, counters and rate limits (with their calendar \
windows), hidden tools, the default, on_deny. Whatever cannot be carried over exactly is an error with its place, and \
then nothing is written: approvals and payment budgets, conditions on counters that another rule counts, comparisons \
with lists, names with `*` in them, YAML that readers take for different things (anchors, merge keys, octal numbers, \
duplicate keys).

Where an edge differs, a note says so, and it is on the side of refusing: the text \"5\" is not the number 5; null is \
refused by neq and not_in; a call that the server answers with an error has used its limits. But for one: numbers are \
compared exactly, where the other tool rounds them to about 15 digits; with longer ones either may allow what the other \
refuses.

What always differs: the words before a reason; that lists leave out what is always denied; that calls of hidden tools \
get the error of an unknown tool; that arguments with the same key twice, or in two spellings of case, are refused; \
which of several rules that refuse a call gives the reason (first those of all tools). Comments are not carried over.";

const EXAMPLES: &str = "\
Examples:
  policyd policy import intercept.yaml -o policies/stripe.json
  policyd policy import intercept.yaml --scope grant | policyd policy check -";

const CODES: &str = "\
Exit codes:
  0   the policy is written
  64  the command line is wrong
  65  something cannot be carried over
  66  the file cannot be read
  73  the policy cannot be written: the file exists, or stdout fails";

/// What `--help` ends with.
pub(super) fn after() -> String {
    format!("{EXAMPLES}\n\n{CODES}")
}

/// Arguments of `policyd policy import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// Write the policy to this file, which must not exist yet, and not to stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Whose calls a counter adds up
    #[arg(long, value_enum, default_value = "server")]
    scope: Scope,
    /// On stderr one JSON object per line for each problem, for scripts
    #[arg(long)]
    json: bool,
    /// The YAML, or `-` for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Gives the exit code.
pub fn run(args: &ImportArgs) -> u8 {
    let source = match files::read(&args.file) {
        Ok(source) => source,
        Err(problem) => {
            say(problem);
            return exit::NO_INPUT;
        }
    };
    let imported = match import::import(&source.name, &source.text, args.scope) {
        Ok(imported) => imported,
        Err(report) => {
            complain(args, &report);
            return exit::DATA;
        }
    };
    if !imported.notes.diagnostics.is_empty() {
        complain(args, &imported.notes);
    }
    let Some(path) = &args.output else {
        return print(&imported.policy, exit::OK);
    };
    match write(path, &imported.policy) {
        Ok(()) => exit::OK,
        Err(error) => {
            let exists = error.kind() == ErrorKind::AlreadyExists;
            let help = if exists { "; remove it, or name another file" } else { "" };
            say(format_args!("`{}` cannot be written: {error}{help}", path.display()));
            exit::NOT_WRITTEN
        }
    }
}

/// Says what is wrong, or worth knowing. Stdout is the policy's.
fn complain(args: &ImportArgs, report: &Report) {
    match args.json {
        true => {
            let lines: String = files::json(report).iter().map(|line| format!("{line}\n")).collect();
            let _ = std::io::stderr().write_all(lines.as_bytes());
        }
        false => files::complain(report),
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = std::fs::remove_file(path);
    }
    written
}
