//! `cargo xtask tidy`: what no compiler checks. Files that hold two things, documents that say what is not so.

use std::path::Path;
use std::{fs, iter};

use anyhow::{Context as _, Result, bail};

use crate::shell::{command, quietly, root};

/// Lines from which a file tells that it holds two things.
const LONG: usize = 500;

/// Checks everything, says everything.
///
/// # Errors
/// When something is wrong. Long files are warned of only.
pub fn run() -> Result<()> {
    let files = quietly(command("git", &["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let files: Vec<&str> = files.lines().filter(|file| root().join(file).is_file()).collect();
    for warning in long_files(&files)? {
        println!("warning: {warning}");
    }
    let mut wrong = unfinished(&files)?;
    wrong.extend(impure(&files)?);
    wrong.extend(architecture(&files)?);
    wrong.extend(readme()?);
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{}", wrong.join("\n"))
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(root().join(file)).with_context(|| format!("read {file}"))
}

fn rust<'a>(files: &[&'a str]) -> impl Iterator<Item = &'a str> {
    files.iter().copied().filter(|file| file.ends_with(".rs")).collect::<Vec<_>>().into_iter()
}

fn long_files(files: &[&str]) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for file in rust(files) {
        let lines = read(file)?.lines().count();
        if lines > LONG {
            warnings.push(format!("{file} has {lines} lines: does it hold two things?"));
        }
    }
    Ok(warnings)
}

/// Rooms that neither do I/O nor look at a clock (ARCHITECTURE.md, invariant 3), and what none of their files may name.
const PURE: [&str; 2] = ["policyd/src/mcp/", "policyd/src/policy/"];
const IMPURE: [&str; 9] = [
    "std::fs",
    "std::io",
    "std::net",
    "std::env",
    "tokio::",
    "async fn",
    "Instant::now",
    "SystemTime::now",
    "thread_local!",
];

/// Code of the pure rooms, tests apart, that could do I/O or read a clock.
fn impure(files: &[&str]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let pure = rust(files).filter(|file| PURE.iter().any(|room| file.starts_with(room)));
    for file in pure.filter(|file| !file.contains("test")) {
        let text = read(file)?;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            if let Some(name) = IMPURE.iter().find(|name| line.contains(**name)) {
                wrong.push(format!("{file}:{}: `{name}` in a module that must be pure", number + 1));
            }
        }
    }
    Ok(wrong)
}

/// Marks of work that was left for later.
fn unfinished(files: &[&str]) -> Result<Vec<String>> {
    let marks = ["TO", "FIX", "XX"].into_iter().zip(["DO", "ME", "X"]).map(|(a, b)| format!("{a}{b}"));
    let marks: Vec<String> = marks.chain(iter::once(format!("#[ig{}", "nore"))).collect();
    let mut wrong = Vec::new();
    for file in rust(files) {
        for (number, line) in read(file)?.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(mark.as_str())) {
                wrong.push(format!("{file}:{}: `{mark}`: finish it, or make it an issue", number + 1));
            }
        }
    }
    Ok(wrong)
}

/// Every room of the daemon stands in ARCHITECTURE.md.
fn architecture(files: &[&str]) -> Result<Vec<String>> {
    let Ok(text) = read("ARCHITECTURE.md") else {
        return Ok(vec!["ARCHITECTURE.md is missing".to_owned()]);
    };
    let mut rooms: Vec<&str> = rust(files)
        .filter_map(|file| file.strip_prefix("policyd/src/"))
        .filter_map(|file| file.split_once('/').map(|(room, _)| room))
        .collect();
    rooms.dedup();
    let missing = rooms.into_iter().filter(|room| !text.contains(room));
    Ok(missing.map(|room| format!("ARCHITECTURE.md does not name policyd/src/{room}")).collect())
}

/// README's commands exist: each `cargo xtask TASK` is a task, each file that it links to is there.
fn readme() -> Result<Vec<String>> {
    let Ok(text) = read("README.md") else {
        return Ok(vec!["README.md is missing".to_owned()]);
    };
    let mut wrong = Vec::new();
    let tasks = read("xtask/src/main.rs")?.to_lowercase();
    for task in text.split("cargo xtask ").skip(1) {
        let task: String = task.chars().take_while(char::is_ascii_alphabetic).collect();
        if !task.is_empty() && !tasks.contains(&format!("    {task}")) {
            wrong.push(format!("README.md names `cargo xtask {task}`, which does not exist"));
        }
    }
    for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(link, _)| link)) {
        let file = link.split('#').next().unwrap_or_default();
        if !file.is_empty() && !file.contains("://") && !Path::new(&root()).join(file).exists() {
            wrong.push(format!("README.md links to {file}, which does not exist"));
        }
    }
    for first in ["cargo xtask demo", "cargo xtask test"] {
        if !text.contains(first) {
            wrong.push(format!("README.md does not name `{first}`"));
        }
    }
    Ok(wrong)
}
