//! Servers that are commands, and `policyd stdio` before them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::agent::binary;
use crate::daemon;
use crate::process::Running;
use crate::systems::{System, repository};

/// A folder for one test, with a server's command in it.
pub struct Place {
    folder: TempDir,
}

impl Place {
    /// An empty one.
    pub fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("policyd-test-").tempdir().expect("a temporary folder") }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a policy.
    pub fn policy(&self, text: &str) -> PathBuf {
        let path = self.path("policy.json");
        std::fs::write(&path, text).expect("a file in a folder of ours");
        path
    }

    /// The command of `tests/servers/tools.py` (PyPI `mcp` 1.30.0) with the tools of `system`.
    pub fn tools(&self, system: &System) -> Vec<String> {
        let tools = self.path("tools.json");
        std::fs::write(&tools, system.tools).expect("a file in a folder of ours");
        let script = repository().join("tests/servers/tools.py");
        words(&[&cached("mcp-1.30.0/bin/python"), &script, &tools, &self.path("calls")])
    }

    /// The tools that the server was made to call, in order.
    pub fn calls(&self) -> Vec<String> {
        daemon::audit(&self.path("calls"))
            .iter()
            .map(|call| call["tool"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// The command of `tests/servers/executes.py` (PyPI `mcp` 1.30.0).
    pub fn executes(&self) -> Vec<String> {
        let script = repository().join("tests/servers/executes.py");
        words(&[&cached("mcp-1.30.0/bin/python"), &script, Path::new("stdio"), &self.path("executed")])
    }

    /// The tools that [`Place::executes`] has executed.
    pub fn executed(&self) -> BTreeSet<String> {
        let notes = std::fs::read_to_string(self.path("executed")).unwrap_or_default();
        notes.lines().map(str::to_owned).collect()
    }

    /// `policyd stdio` before `server`, without a daemon; its records go to [`Place::audit`].
    pub fn alone(&self, name: &str, policy: &Path, server: &[String]) -> Vec<String> {
        let audit = self.path("audit.jsonl");
        let policyd = binary("policyd");
        let mut command =
            words(&[&policyd, "stdio".as_ref(), "--server".as_ref(), name.as_ref(), "--policy".as_ref(), policy]);
        command.extend(words(&["--audit".as_ref(), &audit, "--".as_ref()]));
        command.extend_from_slice(server);
        command
    }

    /// `policyd stdio` before `server`, with the daemon that listens at `socket`.
    pub fn handed_over(name: &str, socket: &Path, server: &[String]) -> Vec<String> {
        let policyd = binary("policyd");
        let name = Path::new(name);
        let mut command = words(&[&policyd, "stdio".as_ref(), "--server".as_ref(), name, "--socket".as_ref(), socket]);
        command.push("--".to_owned());
        command.extend_from_slice(server);
        command
    }

    /// The audit records so far.
    pub fn audit(&self) -> Vec<Value> {
        daemon::audit(&self.path("audit.jsonl"))
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

/// The command of npm `@modelcontextprotocol/server-everything` over stdio.
pub fn everything() -> Vec<String> {
    let script = cached("node/node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    words(&["node".as_ref(), &script, "stdio".as_ref()])
}

/// Starts a command whose lines the test writes and reads itself.
pub fn start(words: &[String]) -> Running {
    start_under(Command::new("env"), words)
}

/// As [`start`], through a command such as a world's agent.
pub fn start_under(mut prefix: Command, words: &[String]) -> Running {
    prefix.args(words);
    Running::start(prefix)
}

/// A request's line.
pub fn request(id: &str, method: &str, params: &Value) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}\n").into_bytes()
}

/// The lines that begin a session.
pub fn hello() -> Vec<u8> {
    let params = serde_json::json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}
    });
    let mut lines = request("0", "initialize", &params);
    lines.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n");
    lines
}

/// The line of the answer to `id`, when it has come.
pub fn answer(running: &mut Running, id: &str) -> Value {
    let id: Value = serde_json::from_str(id).expect("an id");
    let answers = |line: &str| {
        serde_json::from_str::<Value>(line).is_ok_and(|message| message["id"] == id && message.get("method").is_none())
    };
    let (_, line) = running.line(&format!("the answer to {id}"), 0, answers);
    serde_json::from_str(&line).expect("JSON")
}

fn words(paths: &[&Path]) -> Vec<String> {
    paths.iter().map(|path| path.to_str().expect("a path in UTF-8").to_owned()).collect()
}

fn cached(path: &str) -> PathBuf {
    let path = repository().join(".cache").join(path);
    assert!(path.exists(), "{} is missing: run `cargo xtask setup`", path.display());
    path
}
