//! Agents: unmodified MCP SDK clients driven by a list of steps (`tests/clients/`, `src/bin/agent.rs`).

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::process::{Finished, Running};
use crate::systems::repository;

/// The SDKs, each in the version that `cargo xtask setup` installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// PyPI `mcp` 2.3.0.
    Python2,
    /// PyPI `mcp` 1.30.0.
    Python1,
    /// npm `@modelcontextprotocol/sdk` 1.32.2.
    TypeScript,
    /// crate `rmcp` 3.9.0 with reqwest, which offers HTTP/2.
    Rust,
}

impl Sdk {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Python2, Self::Python1, Self::TypeScript, Self::Rust];

    /// The command that drives this SDK; URL and steps are appended to it.
    pub fn command(self) -> Vec<PathBuf> {
        let cache = repository().join(".cache");
        let clients = repository().join("tests/clients");
        let needed = |path: PathBuf| {
            assert!(path.exists(), "{} is missing: run `cargo xtask setup`", path.display());
            path
        };
        let python = |version: &str| {
            vec![needed(cache.join(format!("mcp-{version}/bin/python"))), clients.join("python/client.py")]
        };
        match self {
            Self::Python2 => python("2.3.0"),
            Self::Python1 => python("1.30.0"),
            Self::TypeScript => {
                needed(cache.join("node/node_modules"));
                vec!["node".into(), clients.join("node/client.mjs")]
            }
            Self::Rust => vec![binary("agent"), "mcp".into()],
        }
    }

    /// Appends the client with its URL and steps to `prefix` (a world's `agent`, or `policyd exec … --`) and starts it.
    pub fn start(self, mut prefix: Command, url: &str, steps: &[Step]) -> Running {
        prefix.args(self.command()).arg(url).arg(Value::from_iter(steps.iter().map(Step::json)).to_string());
        Running::start(prefix)
    }

    /// Runs the client with a server that is a command, outside of every world, and waits for its end.
    pub fn over_stdio(self, server: &[String], steps: &[Step]) -> Transcript {
        self.run(Command::new("env"), &stdio_url(server), steps)
    }

    /// As [`Sdk::start`], and waits for its end.
    pub fn run(self, prefix: Command, url: &str, steps: &[Step]) -> Transcript {
        Transcript::of(self.start(prefix, url, steps).finish())
    }
}

/// What stands for a URL where the server is a command.
pub fn stdio_url(server: &[String]) -> String {
    format!("stdio:{}", json!(server))
}

/// A binary of this workspace, beside the one that runs; `POLICYD_BIN` names another policyd.
pub fn binary(name: &str) -> PathBuf {
    if name == "policyd"
        && let Some(path) = std::env::var_os("POLICYD_BIN")
    {
        return path.into();
    }
    let mut folder = std::env::current_exe().expect("a path of our own");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: build it, or run `cargo xtask test`", path.display());
    path
}

/// What a client is to do.
#[derive(Clone, Debug)]
pub enum Step {
    /// `tools/list`.
    List,
    /// `tools/call`, so many times, one after the other.
    Call(&'static str, Value, usize),
    /// `resources/read` of a URI (not rmcp).
    Read(&'static str),
    /// `prompts/get` (not rmcp).
    Prompt(&'static str),
    /// Answer what the server asks: sampling, elicitation, roots (Python and TypeScript).
    Answer,
    /// List resources, templates and prompts (Python and TypeScript).
    Offers,
    /// Say so and wait for a line on standard input.
    Wait,
}

impl Step {
    /// Calls `tool` without arguments, `times` times.
    pub fn call(tool: &'static str, times: usize) -> Self {
        Self::Call(tool, json!({}), times)
    }

    fn json(&self) -> Value {
        match self {
            Self::List => json!({"list": true}),
            Self::Call(tool, arguments, times) => json!({"call": tool, "arguments": arguments, "times": times}),
            Self::Read(uri) => json!({"read": uri}),
            Self::Prompt(name) => json!({"prompt": name}),
            Self::Answer => json!({"answer": true}),
            Self::Offers => json!({"offers": true}),
            Self::Wait => json!({"wait": true}),
        }
    }
}

/// How one call ended, as the SDK showed it to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A result, with its text.
    Ok(String),
    /// A result with `isError: true`, with its text: what the model reads.
    Failed(String),
    /// A JSON-RPC error.
    Error(i64, String),
}

impl Outcome {
    /// The result's text or the error's message.
    pub fn text(&self) -> &str {
        match self {
            Self::Ok(text) | Self::Failed(text) | Self::Error(_, text) => text,
        }
    }
}

/// All that a client said.
#[derive(Debug)]
pub struct Transcript {
    lines: Vec<Value>,
    /// How the client ended, with all it wrote.
    pub finished: Finished,
}

impl Transcript {
    /// Reads what a client wrote.
    pub fn of(finished: Finished) -> Self {
        let lines = finished.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Self { lines, finished }
    }

    /// The protocol version that the session speaks.
    ///
    /// # Panics
    /// When there was no session, with what the client said instead.
    pub fn version(&self) -> &str {
        self.lines
            .first()
            .and_then(|line| line["ready"].as_str())
            .unwrap_or_else(|| panic!("no session: {:#?}", self.finished))
    }

    /// The tools of the `n`-th list.
    ///
    /// # Panics
    /// When there is none, with what the client said instead.
    pub fn list(&self, n: usize) -> Vec<String> {
        let names = self.lines.iter().filter_map(|line| line["list"].as_array()).nth(n);
        let names = names.unwrap_or_else(|| panic!("no list: {:#?}", self.finished));
        names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }

    /// The outcomes of the calls of `tool`, in order.
    pub fn calls(&self, tool: &str) -> Vec<Outcome> {
        let calls = self.lines.iter().filter(|line| line["call"] == tool);
        calls.map(outcome).collect()
    }

    /// How reading the resource `uri` ended.
    pub fn read(&self, uri: &str) -> Vec<Outcome> {
        self.lines.iter().filter(|line| line["read"] == uri).map(outcome).collect()
    }

    /// How asking for the prompt `name` ended.
    pub fn prompt(&self, name: &str) -> Vec<Outcome> {
        self.lines.iter().filter(|line| line["prompt"] == name).map(outcome).collect()
    }

    /// What the server's other lists held.
    pub fn offers(&self) -> Vec<&str> {
        let offers = self.lines.iter().find_map(|line| line["offers"].as_array());
        let offers = offers.unwrap_or_else(|| panic!("no lists: {:#?}", self.finished));
        offers.iter().filter_map(Value::as_str).collect()
    }

    /// The methods of what the server asked, in order.
    pub fn asked(&self) -> Vec<&str> {
        self.lines.iter().filter_map(|line| line["asked"].as_str()).collect()
    }

    /// What ended the session, if something did.
    pub fn fatal(&self) -> Option<&str> {
        self.lines.last().and_then(|line| line["fatal"].as_str())
    }
}

/// How the call that `line` (one line of a client) tells of ended.
pub fn outcome(line: &Value) -> Outcome {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match &line["error"] {
        Value::Null if line["isError"] == true => Outcome::Failed(text(&line["text"])),
        Value::Null => Outcome::Ok(text(&line["text"])),
        error => Outcome::Error(error["code"].as_i64().unwrap_or_default(), text(&error["message"])),
    }
}
