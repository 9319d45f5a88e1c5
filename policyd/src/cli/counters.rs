//! `policyd counters`: what the limits' counters of a running daemon hold, and setting them back to nothing.

pub(super) mod table;

use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::socket::{self, At};
use super::{exit, print, say};
use crate::state::{Listed, Selector};

/// What `--help` says beyond the first line.
pub const LONG: &str = "Show what the limits' counters of the running daemon hold, and set them back to nothing.\n\n\
    Asks the daemon through its control socket (`admin.socket` in its configuration), which root and the group \
    `policyd` may use. A reset is recorded in the audit log, with who asked for it, before it happens; if it cannot be \
    recorded, it does not happen.";

/// Arguments of `policyd counters`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = after_help())]
pub struct CountersArgs {
    #[command(flatten)]
    at: At,
    /// What to do
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Show counters, and what each window holds now
    #[command(after_long_help = after_help())]
    List {
        #[command(flatten)]
        which: Which,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Set counters back to nothing
    #[command(after_long_help = after_help())]
    Reset {
        #[command(flatten)]
        which: Which,
        /// Every counter
        #[arg(long, conflicts_with_all = ["scope", "grant", "server", "session", "counter"])]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Which counters: all that are given must agree.
#[derive(Clone, Debug, Default, Args)]
struct Which {
    /// `grant`, `session`, `server`, `host` or `global`
    #[arg(long, value_parser = ["grant", "session", "server", "host", "global"])]
    scope: Option<String>,
    /// The grant's name
    #[arg(long, value_name = "NAME")]
    grant: Option<String>,
    /// The server's name
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// The session's hash, as listed or, in full, as in the audit log
    #[arg(long, value_name = "HASH")]
    session: Option<String>,
    /// The counter's name; of a `rate_limit` the rule's pointer
    #[arg(long, value_name = "NAME")]
    counter: Option<String>,
}

fn after_help() -> String {
    format!(
        "Examples:\n  sudo policyd counters list\n  sudo policyd counters list --grant office-agent --json\n  \
         sudo policyd counters reset --grant office-agent --counter spend\n\n{}",
        exit::COUNTERS_TABLE
    )
}

/// The answer to `GET /counters`.
#[derive(Deserialize)]
struct Counters {
    counters: Vec<Listed>,
}

/// The answer to `POST /counters/reset`.
#[derive(Deserialize)]
struct Reset {
    reset: usize,
}

/// Does what is asked.
pub fn run(args: &CountersArgs) -> u8 {
    let path = match args.at.path() {
        Ok(path) => path,
        Err(code) => return code,
    };
    let done = match &args.command {
        Command::List { which, json } => socket::ask::<Counters>(&path, "GET", "/counters", "").map(|answer| {
            let selector = which.selector(false);
            let selected: Vec<Listed> = answer.counters.into_iter().filter(|one| selector.selects(one)).collect();
            let text = if *json {
                let object = serde_json::json!({ "counters": selected });
                format!("{object:#}\n")
            } else {
                table::table(&selected, SystemTime::now())
            };
            (text, exit::OK)
        }),
        Command::Reset { which, all, json } => {
            let selector = which.selector(*all);
            if selector.is_senseless() {
                say(
                    "say which counters to reset: --all, or one of --scope, --grant, --server, --session and --counter",
                );
                return exit::USAGE;
            }
            let body = serde_json::to_string(&selector).unwrap_or_default();
            socket::ask::<Reset>(&path, "POST", "/counters/reset", &body).map(|Reset { reset }| {
                // Of a host where nothing is counted all is reset; a name that nothing has is a mistake.
                let code = if reset == 0 && !*all { exit::FAILED } else { exit::OK };
                let text = match reset {
                    _ if *json => serde_json::json!({ "reset": reset }).to_string(),
                    0 if *all => "there are no counters".to_owned(),
                    0 => "no counter is like that: `policyd counters list` shows them".to_owned(),
                    1 => "1 counter reset".to_owned(),
                    count => format!("{count} counters reset"),
                };
                (text + "\n", code)
            })
        }
    };
    match done {
        Ok((text, code)) => print(&text, code),
        Err(failure) => {
            say(&failure);
            failure.code()
        }
    }
}

impl Which {
    fn selector(&self, all: bool) -> Selector {
        let Which { scope, grant, server, session, counter } = self.clone();
        Selector { all, scope, grant, server, session, counter }
    }
}
