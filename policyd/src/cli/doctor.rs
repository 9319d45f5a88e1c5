//! `policyd doctor`: what this host lacks, and what to do about it.

mod checks;
mod store;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use super::{exit, say};

/// What `--help` says beyond the first line.
pub const LONG: &str = "Say what this host lacks, and prove that interception works.\n\n\
    Looks at the kernel, BTF, cgroup v2, bpffs, capabilities, the trust store, the clock, IPv6, the metrics port and the \
    counters' store, each with what to do. Then makes a connection from a cgroup of its own through the real kernel programs, and sees \
    whether it arrives. Leaves nothing behind. A warning does not keep policyd from working.";

/// Arguments of `policyd doctor`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_long_help = after_help()
)]
pub struct DoctorArgs {
    /// One JSON object on stdout instead of text
    #[arg(long)]
    pub json: bool,
    /// Where policyd keeps its state
    #[arg(long, value_name = "DIR", default_value = "/var/lib/policyd")]
    pub state_dir: PathBuf,
}

fn after_help() -> String {
    format!(
        "Examples:\n  sudo policyd doctor\n  sudo policyd doctor --json | jq '.checks[] | select(.status != \"ok\")'\n\n{}",
        exit::TABLE
    )
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// policyd works, but not in all ways.
    Warning,
    /// policyd cannot work: something is missing.
    Missing,
    /// policyd cannot work, or this check could not be made: a privilege is missing.
    Denied,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it went.
    pub status: Status,
    /// What was found, in a sentence.
    pub found: String,
    /// What to do, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// Makes all checks and prints them.
pub fn run(args: &DoctorArgs) -> u8 {
    let mut all = checks::host();
    let canary = checks::canary(&all);
    all.push(store::check(&args.state_dir));
    all.push(canary);
    let code = exit_code(&all);
    let text = if args.json { json(&all, code) } else { text(&all) };
    if let Err(error) = std::io::stdout().write_all(text.as_bytes()) {
        say(format_args!("the result cannot be written: {error}"));
    }
    code
}

/// 69 if something is missing, otherwise 77 if a privilege is, otherwise 0.
fn exit_code(checks: &[Check]) -> u8 {
    let any = |status| checks.iter().any(|check| check.status == status);
    if any(Status::Missing) {
        exit::UNAVAILABLE
    } else if any(Status::Denied) {
        exit::NOT_PERMITTED
    } else {
        exit::OK
    }
}

fn json(checks: &[Check], code: u8) -> String {
    let object = serde_json::json!({ "ok": code == exit::OK, "version": env!("CARGO_PKG_VERSION"), "checks": checks });
    format!("{object:#}\n")
}

fn text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for Check { name, status, found, fix } in checks {
        let word = match status {
            Status::Ok => "ok",
            Status::Warning => "warn",
            Status::Missing => "MISSING",
            Status::Denied => "DENIED",
        };
        let _ = writeln!(text, "{word:<8} {name:<width$}  {found}");
        if let Some(fix) = fix {
            let _ = writeln!(text, "{:<8} {:<width$}  → {fix}", "", "");
        }
    }
    text.push_str(match exit_code(checks) {
        exit::OK => "policyd works on this host\n",
        exit::NOT_PERMITTED => "policyd needs more privileges: run this as root\n",
        _ => "policyd cannot work on this host yet\n",
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, status: Status) -> Check {
        let fix = (status != Status::Ok).then(|| "do something".to_owned());
        Check { name, status, found: "found".into(), fix }
    }

    #[test]
    fn the_worst_decides_the_code() {
        let code = |statuses: &[Status]| exit_code(&statuses.iter().map(|s| check("x", *s)).collect::<Vec<_>>());
        assert_eq!(code(&[Status::Ok, Status::Warning]), 0);
        assert_eq!(code(&[Status::Ok, Status::Denied]), 77);
        assert_eq!(code(&[Status::Missing, Status::Denied]), 69);
    }

    #[test]
    fn text_and_json_tell_the_same() {
        let checks = [check("kernel", Status::Ok), check("bpffs", Status::Missing)];
        assert_eq!(
            text(&checks),
            "ok       kernel  found\n\
             MISSING  bpffs   found\n\
             \x20                → do something\n\
             policyd cannot work on this host yet\n"
        );
        let json: serde_json::Value = serde_json::from_str(&json(&checks, exit_code(&checks))).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!(json["checks"][1]["status"], "missing");
        assert_eq!(json["checks"][0].get("fix"), None);
    }
}
