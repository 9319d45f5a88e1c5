//! The command line: one file per subcommand.

pub mod ca;
pub mod counters;
pub mod detach;
pub mod doctor;
pub mod enter;
pub mod exec;
pub mod exit;
pub mod policy;
pub mod run;
mod socket;
pub mod stdio;
pub mod tools;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::diagnostic::printable;

/// A policy between AI agents and the MCP servers they call.
#[derive(Debug, Parser)]
#[command(
    name = "policyd",
    version,
    about,
    long_about = "A policy between AI agents and the MCP servers they call.\n\n\
        The kernel hands policyd the outbound connections of the agents it watches. It opens the ones that are aimed at \
        MCP servers, reads each JSON-RPC message, decides it against a policy, and forwards or refuses it. Neither side \
        is reconfigured; everything else passes through untouched.",
    after_long_help = const_format(),
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command under a policy, without any configuration
    #[command(long_about = exec::LONG)]
    Exec(exec::ExecArgs),
    /// Run a server that speaks over stdio under a policy, and put it into a client's configuration
    #[command(long_about = stdio::LONG)]
    Stdio(stdio::StdioArgs),
    /// Run the daemon
    #[command(long_about = run::LONG)]
    Run(run::RunArgs),
    /// Say what this host lacks, and prove that interception works
    #[command(long_about = doctor::LONG)]
    Doctor(doctor::DoctorArgs),
    /// The authority that inspected connections are certified by: hand out its root, make agents trust it
    #[command(after_long_help = exit::TABLE)]
    Ca(ca::CaArgs),
    /// Show what the limits' counters of the running daemon hold, and reset them
    #[command(long_about = counters::LONG)]
    Counters(counters::CountersArgs),
    /// Show what servers declare of their tools, what has changed in it, and accept changes
    #[command(long_about = tools::LONG)]
    Tools(tools::ToolsArgs),
    /// Check, test, explain, replay, lay out and import policies
    Policy(policy::PolicyArgs),
    /// Let the agents out: remove what an instance left in the kernel
    #[command(long_about = detach::LONG)]
    Detach(detach::DetachArgs),
    /// Enter a cgroup, drop privileges and become a command
    #[command(hide = true)]
    Enter(enter::EnterArgs),
}

const EXAMPLES: &str = "\
Examples:
  Watch what an agent calls, refuse nothing, and write a policy for it:
    sudo policyd exec --server https://promptfax.app/mcp --write-policy starter.json -- ./agent
  Run it under that policy:
    sudo policyd exec --server https://promptfax.app/mcp --policy starter.json -- ./agent
  Check the daemon's configuration, then run it:
    policyd run --config /etc/policyd/policyd.toml --check
    sudo policyd run --config /etc/policyd/policyd.toml";

fn const_format() -> String {
    format!("{EXAMPLES}\n\n{}\n\n`exec` ends with COMMAND's own code; see `policyd exec --help`.", exit::TABLE)
}

/// The whole command line, for man pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Reads the arguments, does what they say, and gives the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(usage_code(&error, &arguments));
        }
    };
    let code = match cli.command {
        Command::Ca(args) => return ca::run(&args),
        Command::Exec(args) => exec::run(args),
        Command::Stdio(args) => stdio::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Counters(args) => counters::run(&args),
        Command::Tools(args) => tools::run(&args),
        Command::Policy(args) => policy::run(&args),
        Command::Detach(args) => detach::run(&args),
        Command::Enter(args) => enter::run(&args),
    };
    ExitCode::from(code)
}

/// 0 for `--help` and `--version`; 64 for a wrong command line, which under `exec` counts among its own failures (125).
fn usage_code(error: &clap::Error, arguments: &[OsString]) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => exit::OK,
        _ if arguments.get(1).is_some_and(|command| command == "exec") => exit::EXEC_FAILED,
        _ => exit::USAGE,
    }
}

/// Writes one line of policyd's own to stderr. Whether it could be written changes nothing.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "policyd: {}", printable(&line.to_string()));
}

/// Writes to stdout and gives the exit code: `code`, or 73 if not all of it could be written, which is told. A reader that
/// has gone away, such as `head`, has seen enough.
fn print(text: &str, code: u8) -> u8 {
    let mut out = std::io::stdout().lock();
    written(&mut out, text).map_or(code, |error| {
        say(format_args!("stdout cannot be written: {error}"));
        exit::NOT_WRITTEN
    })
}

/// What went wrong that somebody has to know of.
fn written(out: &mut impl Write, text: &str) -> Option<std::io::Error> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.err().filter(|error| error.kind() != std::io::ErrorKind::BrokenPipe)
}

/// Whether a stream is a terminal that wants colour (<https://no-color.org>) and has it.
fn color(to: &impl IsTerminal) -> bool {
    let environment = |name| std::env::var_os(name);
    to.is_terminal()
        && environment("NO_COLOR").is_none_or(|value| value.is_empty())
        && environment("TERM").is_none_or(|terminal| terminal != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn only_a_reader_that_has_gone_is_no_failure() {
        struct Fails(std::io::ErrorKind);
        impl Write for Fails {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        use std::io::ErrorKind::{BrokenPipe, StorageFull};
        assert!(written(&mut Vec::new(), "text").is_none());
        assert!(written(&mut Fails(BrokenPipe), "text").is_none());
        assert_eq!(written(&mut Fails(StorageFull), "text").map(|error| error.kind()), Some(StorageFull));
    }
}
