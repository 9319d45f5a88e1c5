//! `policyd policy`: writing, checking, testing and changing policies. Needs no privileges and no daemon.

mod check;
mod explain;
mod failure;
mod files;
mod fmt;
mod import;
mod replay;
mod schema;
mod server;
mod test;

use clap::{Args, Subcommand};

use super::exit;

/// Arguments of `policyd policy`.
#[derive(Debug, Args)]
#[command(after_long_help = exit::POLICY_TABLE)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: Command,
}

/// What is done with policies.
#[derive(Debug, Subcommand)]
enum Command {
    /// Say everything that is wrong with policies, and what probably does not do what was meant
    #[command(long_about = check::LONG)]
    Check(check::CheckArgs),
    /// Run the test cases of policies
    #[command(long_about = test::LONG)]
    Test(test::TestArgs),
    /// Show what a policy does with one call, step by step
    #[command(long_about = explain::LONG)]
    Explain(explain::ExplainArgs),
    /// Show what a policy would have decided about the calls of an audit log
    #[command(long_about = replay::LONG)]
    Replay(replay::ReplayArgs),
    /// Print the JSON Schema of policies, for editors
    #[command(long_about = schema::LONG)]
    Schema(schema::SchemaArgs),
    /// Lay policies out canonically
    #[command(long_about = fmt::LONG, after_long_help = fmt::after())]
    Fmt(fmt::FmtArgs),
    /// Make a policy of another tool's
    #[command(long_about = import::LONG, after_long_help = import::after())]
    Import(import::ImportArgs),
}

/// Does what the arguments say; gives the exit code.
pub fn run(args: &PolicyArgs) -> u8 {
    match &args.command {
        Command::Check(args) => check::run(args),
        Command::Test(args) => test::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Fmt(args) => fmt::run(args),
        Command::Import(args) => import::run(args),
    }
}
