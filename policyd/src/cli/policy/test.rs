//! `policyd policy test`

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::exit;
use super::files::{self, Source, Wanted, count};
use crate::authoring::cases::{self, CaseResult, Ran, Suite, Tools};
use crate::authoring::reader::Spanned;
use crate::authoring::simulation::Declared;
use crate::authoring::tools;
use crate::cli::{print, say};
use crate::diagnostic::{Diagnostic, Places, Report};
use crate::policy::Policy;

/// What `--help` says at its beginning.
pub const LONG: &str = "\
Run the test cases of policies.

A test file names its policy and holds cases: calls at given instants, and what the policy is to decide about each. Time \
is simulated: a case about a day takes no longer than one about a second. The calls are judged by the very code that \
judges them in the daemon, from the strict parser on.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
A test file, `promptfax.tests.json`:
  {
    \"$schema\": \"tests.schema.json\",
    \"policy\": \"promptfax.json\",
    \"cases\": [
      { \"name\": \"not named: denied\", \"call\": \"send_fax\", \"expect\": \"deny\", \"rule\": \"/default\" },
      { \"name\": \"ten a minute\", \"steps\": [
        { \"call\": \"start_session\", \"times\": 10, \"every\": \"1s\", \"expect\": \"allow\" },
        { \"call\": \"start_session\", \"at\": \"30s\", \"expect\": \"deny\", \"retry_after\": \"30s\" },
        { \"call\": \"start_session\", \"at\": \"1m\", \"expect\": \"allow\" } ] }
    ]
  }

Examples:
  Run every `*.tests.json` in a folder:
    policyd policy test policies/
  Run some cases, and write a report that CI systems read:
    policyd policy test --filter minute --junit report.xml promptfax.tests.json
  What a test file may hold, for editors:
    policyd policy test --schema > tests.schema.json

Exit codes:
  0   every case passed
  1   a case failed
  64  the command line is wrong
  65  a policy or a test file is bad
  66  a test file cannot be read, a folder has none
  73  the JUnit report, or stdout, cannot be written";

/// Arguments of `policyd policy test`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct TestArgs {
    /// Test files, or folders with `*.tests.json`
    #[arg(value_name = "FILE", required_unless_present = "schema")]
    files: Vec<PathBuf>,
    /// Run only the cases whose names contain TEXT
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Say what became of each case as JSON
    #[arg(long)]
    json: bool,
    /// Write a JUnit report to FILE too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print the JSON Schema of test files, and do nothing else
    #[arg(long, exclusive = true)]
    schema: bool,
}

/// A test file's suite that ran.
struct RanSuite {
    source: Arc<Source>,
    policy: String,
    cases: Vec<CaseResult>,
}

/// Gives the exit code.
pub fn run(args: &TestArgs) -> u8 {
    if args.schema {
        return print(&format!("{:#}\n", cases::schema()), exit::OK);
    }
    let (sources, unreadable) = files::gather(&args.files, Wanted::Tests);
    for problem in &unreadable {
        say(problem);
    }
    let mut bad = false;
    let mut ran = Vec::new();
    for source in sources.into_iter().map(Arc::new) {
        match run_file(&source, args.filter.as_deref()) {
            Ok(suites) => ran.extend(suites),
            Err(reports) => {
                reports.iter().for_each(files::complain);
                bad = true;
            }
        }
    }
    let all = || ran.iter().flat_map(|suite| &suite.cases);
    let failed = all().filter(|case| !case.failures.is_empty()).count();
    let passed = all().count() - failed;
    let code = print(&told(&ran, passed, failed, args.json), exit::OK);
    if let Some(path) = &args.junit {
        let suites: Vec<_> = ran.iter().map(RanSuite::for_junit).collect();
        if let Err(error) = fs::write(path, cases::junit(&suites)) {
            say(format_args!("`{}` cannot be written: {error}", path.display()));
            return exit::NOT_WRITTEN;
        }
    }
    match args.filter.as_deref() {
        _ if code != exit::OK => code,
        _ if bad => exit::DATA,
        _ if !unreadable.is_empty() => exit::NO_INPUT,
        _ if failed > 0 => exit::FAILED,
        Some(filter) if passed == 0 => {
            say(format_args!("no case's name contains `{filter}`"));
            exit::USAGE
        }
        _ => exit::OK,
    }
}

/// Runs the suites of one file, or says what is wrong with it or its policies.
fn run_file(source: &Arc<Source>, filter: Option<&str>) -> Result<Vec<RanSuite>, Vec<Report>> {
    let suites = cases::read(&source.name, &source.text).map_err(|report| vec![report])?;
    let (mut ran, mut reports) = (Vec::new(), Vec::new());
    for suite in &suites {
        match run_suite(source, suite, filter) {
            Ok(suite) => ran.push(suite),
            Err(report) if reports.contains(&report) => {}
            Err(report) => reports.push(report),
        }
    }
    if reports.is_empty() { Ok(ran) } else { Err(reports) }
}

fn run_suite(source: &Arc<Source>, suite: &Suite, filter: Option<&str>) -> Result<RanSuite, Report> {
    let policy = beside(source, &suite.policy)?;
    let name = policy.name.clone();
    let policy = Arc::new(Policy::load(&policy.name, &policy.text)?);
    let declared = match &suite.tools {
        None => Vec::new(),
        Some(Tools::Here(tools)) => tools.clone(),
        Some(Tools::File(path)) => {
            let dump = beside(source, path)?;
            tools::read(&dump.name, &dump.text)?
        }
    };
    let declared = Declared::from(&*declared);
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
    let cases = cases::run(suite, &policy, &declared, wanted);
    Ok(RanSuite { source: Arc::clone(source), policy: name, cases })
}

/// Reads a file that a test file names, relative to it.
fn beside(source: &Source, path: &Spanned<String>) -> Result<Source, Report> {
    let folder = source.path.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    files::read(&folder.join(&path.value)).map_err(|unreadable| Report {
        file: source.name.clone(),
        source: source.text.clone(),
        diagnostics: vec![
            Diagnostic::error(path.span.clone(), unreadable.to_string())
                .help("paths are relative to the folder of the test file"),
        ],
    })
}

/// What became of the cases.
fn told(ran: &[RanSuite], passed: usize, failed: usize, as_json: bool) -> String {
    if as_json {
        let of = |suite: &RanSuite| {
            let RanSuite { source, policy, cases } = suite;
            let places = Places::of(&source.text);
            cases.iter().map(|case| cases::json(&source.name, &places, policy, case)).collect::<Vec<_>>()
        };
        let cases: Vec<_> = ran.iter().flat_map(of).collect();
        return format!("{:#}\n", json!({ "passed": passed, "failed": failed, "cases": cases }));
    }
    let color = files::color();
    let mut shown = String::new();
    for RanSuite { source, cases, .. } in ran {
        let places = Places::of(&source.text);
        for case in cases {
            shown.push_str(&cases::render(&source.name, &places, case, color));
        }
    }
    shown.push_str(&format!("{} passed, {failed} failed\n", count(passed, "case")));
    shown
}

impl RanSuite {
    fn for_junit(&self) -> Ran<'_> {
        Ran { file: &self.source.name, source: &self.source.text, policy: &self.policy, cases: &self.cases }
    }
}
