//! `policyd stdio`: a server that is a command, under a policy; and the clients' configurations that name such servers.

mod alone;
mod ends;
mod serve;
mod wrap;

use std::ffi::OsString;
use std::path::PathBuf;

use super::exit;
use crate::config::Admin;

/// What `--help` says beyond the first line.
pub const LONG: &str = "Run a server that speaks over stdio under a policy.\n\n\
    Stands where a client's configuration names the server's command: `policyd stdio --server NAME -- COMMAND` instead of \
    COMMAND. Each line on stdin is vetted and decided as a request's body is; refused ones are answered, allowed ones reach \
    COMMAND as they came. Each message on COMMAND's stdout is decided and filtered likewise; what is no message there is \
    not passed on, and told on stderr. COMMAND's stderr, exit code and signals are its own.\n\n\
    With a running daemon, grants, policies, counters, records and metrics are the daemon's; NAME is a `[[server]]` of its \
    configuration with `transport = \"stdio\"`. With --policy no daemon is asked: limits are counted in memory, from the \
    start of COMMAND to its end.\n\n\
    Nothing makes an agent use it: whoever may run COMMAND can run it without policyd.";

/// Arguments of `policyd stdio`.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_long_help = after_help())]
pub struct StdioArgs {
    /// What to do instead of running a command
    #[command(subcommand)]
    pub action: Option<Action>,
    /// The session
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What else there is to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Action {
    /// Have the servers in a client's configuration run by `policyd stdio`
    #[command(long_about = wrap::LONG)]
    Wrap(wrap::WrapArgs),
    /// Have them run as they were before `wrap`, byte for byte
    Unwrap(wrap::UnwrapArgs),
}

/// A session's arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// What the daemon's configuration, counters, records and metrics call the server
    #[arg(long, value_name = "NAME", required = true, value_parser = name)]
    pub server: Option<String>,
    /// Use this policy, and no daemon
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Write audit records to this file (JSON Lines, appended)
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub audit: Option<PathBuf>,
    /// Tell each decision on stderr
    #[arg(long, short, requires = "policy")]
    pub verbose: bool,
    /// Where the daemon listens
    #[arg(long, value_name = "PATH", default_value = Admin::STDIO, conflicts_with = "policy")]
    pub socket: PathBuf,
    /// The server's command, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

fn after_help() -> String {
    format!(
        "Examples:\n  \
         policyd stdio --server axint -- npx -y @axint/compiler axint-mcp\n  \
         policyd stdio --server axint --policy axint.json --audit axint.jsonl -- npx -y @axint/compiler axint-mcp\n  \
         policyd stdio wrap ~/.cursor/mcp.json\n\n{}",
        exit::STDIO_TABLE
    )
}

fn name(text: &str) -> Result<String, String> {
    if !text.is_empty() && crate::config::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("use up to 128 letters, digits, `-`, `_`, `.` and `:`".to_owned())
    }
}

/// Does what the arguments say, and gives the exit code.
pub fn run(args: &StdioArgs) -> u8 {
    match &args.action {
        Some(Action::Wrap(args)) => wrap::wrap(args),
        Some(Action::Unwrap(args)) => wrap::unwrap(args),
        None => serve::run(&args.serve),
    }
}
