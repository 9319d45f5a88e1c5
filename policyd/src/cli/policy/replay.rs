//! `policyd policy replay`

mod logs;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use self::logs::Logs;
use super::exit;
use super::failure::{self, Failure};
use super::files::{self, Unreadable, count};
use crate::authoring::replay::{self, Filter, Replay};
use crate::authoring::times;
use crate::cli::{print, say};
use crate::policy::Policy;

/// What `--help` says at its beginning.
pub const LONG: &str = "\
Show what a policy would have decided about the calls of an audit log.

The calls are judged anew in the order of their times, with counters that begin empty, by the very code that judges them in \
the daemon. What changes is shown by tool and rule: other decisions first, then the same decisions by other rules.

Records have a call's arguments only where `audit.arguments = true`. Without them, each rule that reads arguments is taken \
to decide as recorded, limits with `increment_from` count nothing, and the report says of how many calls that is so. Params \
of other requests are in no record. A session is known by its hash; calls without one count by their process. Calls from \
before the log's beginning count nowhere. What servers asked of agents is in the log only as far as the policy of that \
time had rules for it. Where counters were reset (`policyd counters reset`), these are too, but for one of a process, which \
the log does not name.

Rules are matched by their pointers, such as `/tools/pay/deny_if/0`: what is assumed of a rule is what the record says of the \
rule with this pointer. Where rules have been inserted or moved within their list since, the assumptions are about other \
rules, and the same decision is reported as one by another rule: replay a log with arguments, or add rules at the end of \
their list. A log in which everything had to be assumed shows no difference: `--fail-on-difference` alone passes on it, \
with `--strict` it does not.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  policyd policy replay new.json /var/log/policyd/audit.jsonl
  What the last day's calls of one grant would have met, in a pipeline that stops where anything changes:
    policyd policy replay new.json audit.jsonl.1 audit.jsonl --grant office-agent \\
      --since 2026-11-20T00:00:00Z --fail-on-difference --strict
  A compressed log:
    zcat audit.jsonl.2.gz | policyd policy replay new.json -

Exit codes:
  0   whatever was found
  1   with `--fail-on-difference`: a decision changes, or none was judged
  64  the command line is wrong
  65  the policy or the file of --tools is bad; with `--strict`: the log leaves something uncertain
  66  a file cannot be read
  73  stdout cannot be written";

/// Arguments of `policyd policy replay`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct ReplayArgs {
    /// The policy
    #[arg(value_name = "FILE")]
    policy: PathBuf,
    /// Audit logs, in any order; `-` is stdin
    #[arg(value_name = "AUDIT", required = true)]
    logs: Vec<PathBuf>,
    /// Only calls under this grant
    #[arg(long, value_name = "NAME")]
    grant: Option<String>,
    /// Only calls to this server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Report only what came at this time (RFC 3339) or later; what came before still counts towards limits
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<u64>,
    /// Only what came before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<u64>,
    /// What the server lists, for `"arguments": "declared"`: a dump of `tools/list`
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// How many calls are shown of each change
    #[arg(long, value_name = "N", default_value_t = 3)]
    examples: usize,
    /// End with 1 if a decision changes, or if no decision was judged
    #[arg(long)]
    fail_on_difference: bool,
    /// End with 65 if a line cannot be read, anything had to be assumed, a record does not say enough, records are
    /// missing (gaps), or decisions are out of order
    #[arg(long)]
    strict: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Gives the exit code.
pub fn run(args: &ReplayArgs) -> u8 {
    match replayed(args) {
        Ok(code) => code,
        Err(failure) => failure.tell(),
    }
}

fn replayed(args: &ReplayArgs) -> Result<u8, Failure> {
    let policy = files::read(&args.policy)?;
    let policy = Arc::new(Policy::load(&policy.name, &policy.text)?);
    let declared = failure::declared(args.tools.as_deref())?;
    let filter =
        Filter { grant: args.grant.clone(), server: args.server.clone(), since: args.since, until: args.until };
    let mut replay = Replay::new(policy, declared, filter, args.examples);
    let mut logs = Logs::open(&args.logs)?;
    let mut progress = Progress::new();
    while let Some(record) = logs.next()? {
        replay.record(&record);
        progress.step();
    }
    progress.end();

    let text = if args.json { json(&replay, &logs) } else { text(&replay, &logs) };
    Ok(print(&text, code(args, &replay, &logs)))
}

/// The exit code; where it is not 0, why is told.
fn code(args: &ReplayArgs, replay: &Replay, logs: &Logs) -> u8 {
    let (totals, bad) = (&replay.totals, logs.bad_lines());
    let mut doubts = totals.doubts();
    if bad > 0 {
        doubts.push(format!("{} that cannot be read", lines(bad)));
    }
    if args.strict && !doubts.is_empty() {
        say(format_args!("--strict: {}", doubts.join(", ")));
        return exit::DATA;
    }
    if args.fail_on_difference && totals.judged == 0 {
        say("--fail-on-difference: no decision was judged, so nothing is known");
        return exit::FAILED;
    }
    if args.fail_on_difference && totals.changed > 0 { exit::FAILED } else { exit::OK }
}

fn json(replay: &Replay, logs: &Logs) -> String {
    let mut value = replay::json(replay);
    if let Value::Object(members) = &mut value {
        members.insert("bad_lines".to_owned(), logs.bad_lines().into());
        members.insert("torn_lines".to_owned(), logs.torn_lines().into());
    }
    format!("{value:#}\n")
}

fn text(replay: &Replay, logs: &Logs) -> String {
    let mut text = replay::render(replay, files::color());
    if logs.bad_lines() > 0 {
        text.push_str(&format!("  {} could not be read\n", lines(logs.bad_lines())));
    }
    if logs.torn_lines() > 0 {
        text.push_str(&format!("  {} at the end torn off\n", count(logs.torn_lines(), "line")));
    }
    text
}

fn lines(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "line")
}

/// How far it is, on a terminal.
struct Progress {
    shown: bool,
    records: u64,
    since: Instant,
}

impl Progress {
    fn new() -> Progress {
        Progress { shown: std::io::stderr().is_terminal(), records: 0, since: Instant::now() }
    }

    fn step(&mut self) {
        self.records += 1;
        // The clock is looked at now and then only.
        if self.shown && self.records.is_multiple_of(4096) && self.since.elapsed() > Duration::from_millis(200) {
            self.since = Instant::now();
            let _ = write!(std::io::stderr(), "\r{} records ", self.records);
        }
    }

    fn end(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
        }
    }
}

fn instant(text: &str) -> Result<u64, String> {
    times::instant(text).ok_or_else(|| "expected a date and time such as `2026-01-01T09:30:00Z`".to_owned())
}
