//! `policyd policy explain`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::{ArgGroup, Args, ValueEnum};
use serde::de::IgnoredAny;

use super::exit;
use super::failure::{self, Failure};
use super::files::{self, Unreadable};
use crate::authoring::explain::{self, Question};
use crate::authoring::simulation::{self, Caller, Simulation};
use crate::authoring::times;
use crate::capture::identity::Identity;
use crate::cli::print;
use crate::policy::{Direction, Policy};

/// What `--help` says at its beginning.
pub const LONG: &str = "\
Show what a policy does with one call, step by step.

Every step in its order, with what stood where conditions looked and what the limits' counters held; the one that decided \
is marked. The call is judged by the very code that judges it in the daemon: the rule that is named is the one that the \
audit record names.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  What becomes of a call:
    policyd policy explain policy.json --tool create_charge --args '{\"amount\": 60000}'
  The eleventh call in ten seconds, with arguments from a file:
    policyd policy explain policy.json --tool search --args @arguments.json --after 10 --every 1s
  Another request, as a program would want it:
    policyd policy explain policy.json --json --method resources/read --params '{\"uri\": \"x\"}'

Exit codes:
  0   whatever was decided
  64  the command line is wrong
  65  the policy or the file of --tools is bad
  66  a file cannot be read
  73  stdout cannot be written";

/// Arguments of `policyd policy explain`.
#[derive(Clone, Debug, Args)]
#[command(
    after_long_help = EXAMPLES,
    group = ArgGroup::new("what").required(true).args(["tool", "method", "message"])
)]
pub struct ExplainArgs {
    /// The policy; `-` is stdin
    #[arg(value_name = "FILE")]
    policy: PathBuf,
    /// The tool that is called
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// The call's arguments: JSON, `@FILE` or `-` (stdin)
    #[arg(long, value_name = "JSON", requires = "tool", conflicts_with_all = ["method", "message"], allow_hyphen_values = true)]
    args: Option<String>,
    /// Another request's method
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// The request's params: JSON, `@FILE` or `-` (stdin)
    #[arg(long, value_name = "JSON", requires = "method", conflicts_with_all = ["tool", "message"], allow_hyphen_values = true)]
    params: Option<String>,
    /// A whole message: its text, `@FILE` or `-` (stdin)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    message: Option<String>,
    /// Who sends it
    #[arg(long, value_name = "SIDE", value_enum, default_value = "agent")]
    from: Side,
    /// The grant's name
    #[arg(long, value_name = "NAME", default_value = "agent")]
    grant: String,
    /// The server's name
    #[arg(long, value_name = "NAME", default_value = "server")]
    server: String,
    /// The session
    #[arg(long, value_name = "ID", default_value = "session")]
    session: String,
    /// Facts about the caller: user, uid, pid, unit, cgroup, exe
    #[arg(long, value_name = "FACT=VALUE,…", value_parser = fact, value_delimiter = ',')]
    identity: Vec<Fact>,
    /// When (RFC 3339); without it now
    #[arg(long, value_name = "TIME", value_parser = instant)]
    at: Option<u64>,
    /// How often the same came before
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    after: u64,
    /// How far apart, such as `1s`; without it all come at once
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "after")]
    every: Option<u64>,
    /// What the server lists, for `"arguments": "declared"`: a dump of `tools/list`
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Who sends a message.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Side {
    Agent,
    Server,
}

/// One fact of an identity.
#[derive(Clone, Debug)]
enum Fact {
    User(String),
    Uid(u32),
    Pid(u32),
    Unit(String),
    Cgroup(String),
    Exe(PathBuf),
}

/// Gives the exit code.
pub fn run(args: &ExplainArgs) -> u8 {
    match explanation(args) {
        Ok(text) => print(&text, exit::OK),
        Err(failure) => failure.tell(),
    }
}

fn explanation(args: &ExplainArgs) -> Result<String, Failure> {
    let policy = files::read(&args.policy)?;
    let policy = Policy::load(&policy.name, &policy.text)?;
    let mut simulation =
        Simulation::new(Arc::new(policy), failure::declared(args.tools.as_deref())?.unwrap_or_default());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let question = Question {
        caller: Caller {
            grant: Some(args.grant.clone()),
            server: args.server.clone(),
            session: args.session.clone(),
            identity: identity(&args.identity),
        },
        direction: match args.from {
            Side::Agent => Direction::ToServer,
            Side::Server => Direction::ToAgent,
        },
        body: body(args)?,
        at: args.at.unwrap_or_else(|| u64::try_from(now()).unwrap_or(u64::MAX)),
        after: args.after,
        every: args.every.unwrap_or(0),
    };
    let explanation = explain::explain(&mut simulation, question);
    Ok(match args.json {
        true => format!("{:#}\n", explain::json(&explanation)),
        false => explain::render(&explanation, files::color()),
    })
}

fn body(args: &ExplainArgs) -> Result<Bytes, Failure> {
    if let Some(message) = &args.message {
        return Ok(Bytes::from(text(message)?));
    }
    let json = |option: &str, value: &Option<String>| -> Result<Option<String>, Failure> {
        let Some(value) = value else { return Ok(None) };
        let text = text(value)?;
        match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => Ok(Some(text)),
            Err(error) => Err(Failure::Usage(format!("`{option}` is not JSON: {error}"))),
        }
    };
    let (arguments, params) = (json("--args", &args.args)?, json("--params", &args.params)?);
    Ok(match (&args.tool, &args.method) {
        (Some(tool), _) => simulation::call(tool, arguments.as_deref()),
        (None, method) => simulation::request(method.as_deref().unwrap_or_default(), params.as_deref()),
    })
}

/// The text itself, or what stands in `@FILE` or on stdin.
fn text(value: &str) -> Result<String, Unreadable> {
    let path = match value.strip_prefix('@') {
        Some(path) => Path::new(path),
        None if value == "-" => Path::new("-"),
        None => return Ok(value.to_owned()),
    };
    Ok(files::read(path)?.text)
}

fn identity(facts: &[Fact]) -> Identity {
    let mut identity = Caller::default().identity;
    for fact in facts.iter().cloned() {
        match fact {
            Fact::User(user) => identity.user = Some(user),
            Fact::Uid(uid) => identity.uid = uid,
            Fact::Pid(pid) => identity.pid = pid,
            Fact::Unit(unit) => identity.unit = Some(unit),
            Fact::Cgroup(cgroup) => identity.cgroup = cgroup,
            Fact::Exe(exe) => identity.exe = Some(exe),
        }
    }
    identity
}

fn fact(text: &str) -> Result<Fact, String> {
    let (name, value) = text.split_once('=').ok_or("expected FACT=VALUE, such as `user=ann`")?;
    let number = || value.parse().map_err(|_| format!("`{value}` is no number"));
    Ok(match name {
        "user" => Fact::User(value.to_owned()),
        "uid" => Fact::Uid(number()?),
        "pid" => Fact::Pid(number()?),
        "unit" => Fact::Unit(value.to_owned()),
        "cgroup" => Fact::Cgroup(value.to_owned()),
        "exe" => Fact::Exe(value.into()),
        other => return Err(format!("there is no fact `{other}`: user, uid, pid, unit, cgroup or exe")),
    })
}

fn instant(text: &str) -> Result<u64, String> {
    times::instant(text).ok_or_else(|| "expected a date and time such as `2026-01-01T09:30:00Z`".to_owned())
}

fn duration(text: &str) -> Result<u64, String> {
    times::duration(text).ok_or_else(|| "expected a duration such as `90s`, `1m30s` or `250ms`".to_owned())
}
