//! The `policyd` program.

use std::process::ExitCode;

use policyd::cli;

fn main() -> ExitCode {
    cli::main(std::env::args_os())
}
