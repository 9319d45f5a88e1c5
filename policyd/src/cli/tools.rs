//! `policyd tools`: what servers declare of their tools, what has changed in it since it was accepted, and accepting that.

mod diff;
mod leaves;
mod table;

use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::socket::{self, At, Failure};
use super::{exit, print, say};
use crate::state::{Acceptance, Accepted, Shown, Tools};
use crate::visible::{visible, visible_json};

/// What `--help` says beyond the first line.
pub const LONG: &str = "Show what servers declare of their tools, what has changed in it, and accept changes.\n\n\
    The first list of a server is accepted as it is. From then on a tool that is new, and one whose definition is another one \
    than the accepted, is recorded and counted, and refused where a policy says `\"tool_changes\": \"deny\"`, until it is \
    accepted here. An acceptance is recorded in the audit log, with who asked for it, before it happens.\n\n\
    What a server writes is shown such that nothing in it hides: a character that does not show is named, as in ⟨U+200B⟩.";

/// Arguments of `policyd tools`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = after_help())]
pub struct ToolsArgs {
    #[command(flatten)]
    at: At,
    /// What to do
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Show tools, and whether they are what was accepted
    #[command(after_long_help = after_help())]
    List {
        /// Only those of this server
        server: Option<String>,
        /// As JSON, with the definitions
        #[arg(long)]
        json: bool,
    },
    /// Show what has changed in a tool's definition since it was accepted, word by word
    #[command(after_long_help = after_help())]
    Diff {
        /// The server's name
        server: String,
        /// The tool's name
        tool: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Accept the definition of a tool that the server listed last
    #[command(after_long_help = after_help())]
    Accept {
        /// The server's name
        #[arg(required_unless_present = "all")]
        server: Option<String>,
        /// The tool's name
        #[arg(required_unless_present = "all")]
        tool: Option<String>,
        /// Only if this is the definition's hash, or 16 digits or more of its beginning
        #[arg(long, conflicts_with = "all")]
        hash: Option<String>,
        /// Every tool that waits: of SERVER, or of all servers
        #[arg(long, conflicts_with = "tool")]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

fn after_help() -> String {
    format!(
        "Examples:\n  sudo policyd tools list\n  sudo policyd tools diff promptfax send_fax\n  \
         sudo policyd tools accept promptfax send_fax --hash 3f2a91c4b07d55e6\n\n{}",
        exit::TOOLS_TABLE
    )
}

/// The answer to `POST /tools/accept`.
#[derive(Deserialize)]
struct Done {
    accepted: Vec<Accepted>,
}

/// Does what is asked.
pub fn run(args: &ToolsArgs) -> u8 {
    let path = match args.at.path() {
        Ok(path) => path,
        Err(code) => return code,
    };
    let shown = |server: Option<&str>, tool: Option<&str>| {
        let which = serde_json::json!({ "server": server, "tool": tool }).to_string();
        socket::ask::<Tools>(&path, "POST", "/tools", &which)
    };
    let done = match &args.command {
        Command::List { server, json } => shown(server.as_deref(), None).map(|tools| match json {
            true => json_text(&table::json(&tools)),
            false => table::table(&tools, SystemTime::now()),
        }),
        Command::Diff { server, tool, json } => shown(Some(server), Some(tool)).and_then(|tools| {
            let shown = tools.tools.into_iter().next().ok_or_else(|| no_such(server, tool))?;
            Ok(match json {
                true => json_text(&diff::json(&shown)),
                false => diff::render(&shown, colour()),
            })
        }),
        Command::Accept { server, tool, hash, all, json } => {
            let (server, tool, hash) = (server.clone(), tool.clone(), hash.clone());
            let which = Acceptance { server, tool, hash, all: *all };
            if which.is_senseless() {
                say("say which tool: SERVER and TOOL, or --all; of a hash 16 digits or more");
                return exit::USAGE;
            }
            let body = serde_json::to_string(&which).unwrap_or_default();
            socket::ask::<Done>(&path, "POST", "/tools/accept", &body).map(|Done { accepted }| match json {
                true => json_text(&accepted_json(&accepted)),
                false => accepted_text(&accepted),
            })
        }
    };
    match done {
        Ok(text) => print(&text, exit::OK),
        Err(failure) => {
            say(&failure);
            failure.code()
        }
    }
}

fn no_such(server: &str, tool: &str) -> Failure {
    let (server, tool) = (visible(server), visible(tool));
    Failure::Conflict(format!(
        "server `{server}` has not listed a tool `{tool}`; `policyd tools list` shows those that there are"
    ))
}

fn accepted_text(accepted: &[Accepted]) -> String {
    if accepted.is_empty() {
        return "nothing waits to be accepted\n".to_owned();
    }
    let line = |(server, tool, hash): &Accepted| {
        format!("accepted {} of {}, {}\n", visible(tool), visible(server), short(hash))
    };
    accepted.iter().map(line).collect()
}

fn accepted_json(accepted: &[Accepted]) -> serde_json::Value {
    let one = |(server, tool, hash): &Accepted| serde_json::json!({ "server": server, "tool": tool, "hash": hash });
    serde_json::json!({ "accepted": accepted.iter().map(one).collect::<Vec<_>>() })
}

fn json_text(value: &serde_json::Value) -> String {
    visible_json(&format!("{value:#}\n"))
}

/// Enough of a hash to tell definitions apart, also of a server that tries to make two alike.
fn short(hash: &str) -> &str {
    hash.get(..Acceptance::DIGITS).unwrap_or(hash)
}

/// What an operator has to look at: what waits, or what is listed.
fn text_of(shown: &Shown) -> Option<&str> {
    shown.pending.as_ref().unwrap_or(&shown.listed).text.as_deref()
}

/// A tool with these definitions: what was accepted, listed and not accepted.
#[cfg(test)]
fn sample(accepted: Option<&str>, listed: &str, pending: Option<&str>) -> Shown {
    use crate::state::Text;
    let state = match (accepted, pending) {
        (_, None) => "accepted",
        (None, Some(_)) => "new",
        (Some(_), Some(_)) => "changed",
    };
    let text = |text: &str| Text { hash: format!("{:0<64x}", text.len()), text: Some(text.to_owned()) };
    Shown {
        server: "bank".to_owned(),
        tool: "pay".to_owned(),
        state: state.to_owned(),
        first_seen: 1_000_000,
        changed: 1_000_000,
        accepted: accepted.map(text),
        listed: text(listed),
        pending: pending.map(text),
    }
}

/// Whether stdout is a terminal that wants colour (<https://no-color.org>).
fn colour() -> bool {
    use std::io::IsTerminal;
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
