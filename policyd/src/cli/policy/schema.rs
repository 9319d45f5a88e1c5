//! `policyd policy schema`: the JSON Schema of policies.

use clap::Args;

use crate::authoring::schema;
use crate::cli::{exit, print};

/// What `--help` says beyond the first line.
pub(super) const LONG: &str = "Print the JSON Schema (2020-12) of policies, for editors.\n\n\
    It knows every key, operator and word, and says what each is for; what only the loader can tell, `policyd policy \
    check` says. A policy names it by `\"$schema\"`, or the editor is told to which files it belongs.";

/// Arguments of `policyd policy schema`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = after_help())]
pub struct SchemaArgs {}

fn after_help() -> String {
    let example = "\"json.schemas\": [{ \"fileMatch\": [\"policies/*.json\"], \"url\": \"./policy.schema.json\" }]";
    format!(
        "Examples:\n  policyd policy schema > policy.schema.json\n  VS Code's settings: {example}\n\nExit codes:\n  \
         0   it is printed\n  64  the command line is wrong\n  73  stdout cannot be written"
    )
}

/// Gives the exit code.
pub fn run(_: &SchemaArgs) -> u8 {
    print(&schema::text(), exit::OK)
}
