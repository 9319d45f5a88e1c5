//! `policyd policy check`: everything that is wrong with policies, and what probably does not do what was meant.

use std::path::PathBuf;

use clap::Args;
use http::{HeaderName, HeaderValue};

use super::files::{self, Source, Tally, Unreadable, Wanted};
use super::server;
use crate::authoring::lint;
use crate::authoring::tools::{self, Tool};
use crate::cli::{exit, print, say};
use crate::config::Url;
use crate::diagnostic::{Diagnostic, Report, did_you_mean, printable_name};
use crate::policy::Policy;

/// What `--help` says beyond the first line.
pub(super) const LONG: &str = "Say everything that is wrong with policies, and what probably does not do what was meant.\n\n\
    Errors are what the daemon refuses to load. Warnings are what it loads and what hardly was meant: rules that can \
    never fire, patterns that match too much, lists of what is forbidden that are easily got around. With the tools of \
    the server it also says which rules match no tool, which tools no rule names, and which arguments do not exist or \
    have another type.\n\n\
    Needs no privileges and no daemon. Folders are walked: every `*.json` in them, but for `*.tests.json` and \
    `*.schema.json`.";

const CODES: &str = "\
Exit codes:
  0   nothing is wrong, or there are only warnings
  64  the command line is wrong
  65  a policy is bad, a file of --tools is no list of tools; with `--strict`: something is warned of
  66  a file cannot be read, a folder has no policy
  69  the server cannot be asked
  73  stdout cannot be written";

/// Arguments of `policyd policy check`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = after_help())]
pub struct CheckArgs {
    /// Policies, and folders of policies; `-` is stdin
    #[arg(value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
    /// Count warnings as errors
    #[arg(long)]
    strict: bool,
    /// One JSON object per line for each problem, for scripts
    #[arg(long)]
    json: bool,
    /// Say nothing of this kind of warning (the word in its brackets); can be given more than once
    #[arg(long, value_name = "CODE", value_parser = code)]
    allow: Vec<&'static str>,
    /// The answer to `tools/list` of the server that the policies are for; more than once for several pages
    #[arg(long, value_name = "FILE")]
    tools: Vec<PathBuf>,
    /// Ask this server for its tools
    #[arg(long, value_name = "URL", value_parser = url, conflicts_with = "tools")]
    server: Option<Url>,
    /// Send this header to the server, such as `Authorization: Bearer …`; can be given more than once
    #[arg(long, value_name = "NAME: VALUE", value_parser = header, requires = "server")]
    header: Vec<(HeaderName, HeaderValue)>,
}

fn after_help() -> String {
    let width = lint::CODES.iter().map(|(code, _)| code.len()).max().unwrap_or_default();
    let codes: Vec<String> = lint::CODES.iter().map(|(code, what)| format!("  {code:width$}  {what}")).collect();
    format!(
        "Examples:\n  policyd policy check policy.json\n  policyd policy check --strict /etc/policyd/policies\n  \
         policyd policy check --tools tools.json policy.json\n  \
         policyd policy check --server https://promptfax.app/mcp --header 'Authorization: Bearer …' policy.json\n  \
         git show HEAD:policy.json | policyd policy check --json -\n\n\
         Warnings, by their codes:\n{}\n\n{}",
        codes.join("\n"),
        CODES
    )
}

fn url(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|error| match error.help {
        Some(help) => format!("{} ({help})", error.message),
        None => error.message,
    })
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected `Name: value`")?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| "this is no header's name")?;
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| "this is no header's value")?;
    // It may be a credential, and must not stand in a message.
    value.set_sensitive(true);
    Ok((name, value))
}

fn code(text: &str) -> Result<&'static str, String> {
    let codes = || lint::CODES.iter().map(|(code, _)| *code);
    codes().find(|code| *code == text).ok_or_else(|| match did_you_mean(text, codes()) {
        Some(meant) => format!("no warning has this code; did you mean `{meant}`?"),
        None => "no warning has this code; `--help` lists them".to_owned(),
    })
}

/// Gives the exit code.
pub fn run(args: &CheckArgs) -> u8 {
    let tools = match tools(args) {
        Ok(tools) => tools,
        Err(code) => return code,
    };
    let (sources, mut unreadable) = files::gather(&args.files, Wanted::Policies);
    let (sources, others): (Vec<Source>, Vec<Source>) =
        sources.into_iter().partition(|source| !source.found || lint::is_policy(&source.text));
    if sources.is_empty() && unreadable.is_empty() {
        let name = args.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join("`, `");
        unreadable.push(Unreadable { name, why: "has no policies in it".to_owned() });
    }
    let reports = reports(args, &sources, tools.as_deref());
    let mut tally = Tally { files: sources.len(), ..Tally::default() };
    reports.iter().for_each(|report| tally.add(report));
    let code = match tally {
        _ if tally.errors > 0 || (args.strict && tally.warnings > 0) => exit::DATA,
        _ if !unreadable.is_empty() => exit::NO_INPUT,
        _ => exit::OK,
    };
    if args.json {
        return print(&json(&reports, &others, &unreadable), code);
    }
    let code = print(&text(args, &reports, &others, &tally), code);
    unreadable.iter().for_each(say);
    code
}

/// The tools of the server, if it was said where they stand; else the exit code.
fn tools(args: &CheckArgs) -> Result<Option<Vec<Tool>>, u8> {
    if let Some(url) = &args.server {
        let headers = args.header.iter().cloned().collect();
        return server::tools(url, &headers).map(Some).map_err(|error| {
            say(format_args!("the tools of `{}` are not known: {error}", url.authority()));
            exit::UNAVAILABLE
        });
    }
    let mut all: Option<Vec<Tool>> = None;
    for path in &args.tools {
        let source = files::read(path).map_err(|error| {
            say(error);
            exit::NO_INPUT
        })?;
        let more = tools::read(&source.name, &source.text).map_err(|report| {
            files::complain(&report);
            exit::DATA
        })?;
        all.get_or_insert_default().extend(more);
    }
    Ok(all)
}

/// One report per file, also for those with nothing wrong.
fn reports(args: &CheckArgs, sources: &[Source], tools: Option<&[Tool]>) -> Vec<Report> {
    let documents: Vec<(&str, &str)> =
        sources.iter().map(|source| (source.name.as_str(), source.text.as_str())).collect();
    let across = lint::across(&documents);
    let report = |(source, across): (&Source, Vec<Diagnostic>)| {
        let mut report = match Policy::load(&source.name, &source.text) {
            Err(report) => report,
            Ok(_) => {
                let mut diagnostics = lint::lint(&source.text, tools);
                diagnostics.extend(across);
                diagnostics.sort_by_key(|problem| (problem.span.start, problem.span.end));
                Report { file: source.name.clone(), source: source.text.clone(), diagnostics }
            }
        };
        report.diagnostics.retain(|problem| problem.code.is_none_or(|code| !args.allow.contains(&code)));
        report
    };
    sources.iter().zip(across).map(report).collect()
}

/// For people.
fn text(args: &CheckArgs, reports: &[Report], others: &[Source], tally: &Tally) -> String {
    let color = files::color();
    let mut out: String = reports.iter().map(|report| report.render_each(color)).collect();
    for other in others {
        out.push_str(&format!("`{}` was left out: it is no policy\n", printable_name(&other.name)));
    }
    let strict = if args.strict && tally.warnings > 0 { " (--strict counts them as errors)" } else { "" };
    out.push_str(&format!("{tally}{strict}\n"));
    out
}

/// For scripts: one object per line.
fn json(reports: &[Report], others: &[Source], unreadable: &[Unreadable]) -> String {
    let mut lines = Vec::new();
    for report in reports {
        lines.extend(files::json(report));
    }
    for other in others {
        let message = "left out: it is no policy";
        lines.push(
            serde_json::json!({ "file": other.name, "severity": "note", "code": "no-policy", "message": message }),
        );
    }
    lines.extend(unreadable.iter().map(files::json_unreadable));
    lines.iter().map(|line| format!("{line}\n")).collect()
}
