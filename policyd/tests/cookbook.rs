//! The cookbook's recipes: their policies are flawless, their tests pass, and their pages show what is tested.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn cookbook() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy/cookbook")
}

/// Runs `policyd policy …` in the cookbook's folder.
fn policy(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_policyd"));
    command.arg("policy").args(arguments).current_dir(cookbook()).env("NO_COLOR", "1").output().unwrap()
}

/// What was printed on both streams.
fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// The names of the recipes' folders.
fn recipes() -> BTreeSet<String> {
    let entries = fs::read_dir(cookbook()).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    let names: BTreeSet<String> = folders.map(|folder| folder.file_name().into_string().unwrap()).collect();
    assert!(names.len() >= 14, "{names:?}");
    names
}

fn read(recipe: &str, file: &str) -> String {
    let path = cookbook().join(recipe).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The targets of a page's relative links.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://"))
}

#[test]
fn the_policies_give_no_warning() {
    let output = policy(&["check", "--strict", "."]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

#[test]
fn the_tests_pass() {
    let output = policy(&["test", "."]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

#[test]
fn the_files_are_laid_out() {
    let output = policy(&["fmt", "--check", "."]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

#[test]
fn every_recipe_tests_its_own_policy_both_ways() {
    for recipe in recipes() {
        let tests: serde_json::Value = serde_json::from_str(&read(&recipe, "policy.tests.json")).unwrap();
        assert_eq!(tests["policy"], "policy.json", "{recipe}");
        let cases = tests["cases"].as_array().unwrap();
        let steps = |case: &serde_json::Value| case["steps"].as_array().cloned().unwrap_or_else(|| vec![case.clone()]);
        let steps: Vec<serde_json::Value> = cases.iter().flat_map(steps).collect();
        assert!(steps.iter().any(|step| step["expect"] == "allow"), "{recipe}: nothing is allowed");
        let mut denials = steps.iter().filter(|step| step["expect"] == "deny").peekable();
        assert!(denials.peek().is_some(), "{recipe}: nothing is denied");
        // A test that names no rule passes for the wrong reason.
        assert!(denials.all(|step| step["rule"].is_string()), "{recipe}: a denial without its rule");
    }
}

#[test]
fn every_page_shows_its_policy_and_stays_short() {
    for recipe in recipes() {
        let page = read(&recipe, "README.md");
        let shown = format!("\n```json\n{}```\n", read(&recipe, "policy.json"));
        assert!(page.contains(&shown), "{recipe}: the page shows another policy than `policy.json`");
        assert!(page.lines().count() < 80, "{recipe}: {} lines", page.lines().count());
        for part in ["# ", "\n**What the agent is told**", "\n**What this cannot stop**"] {
            let server = part.contains("agent is told") && page.contains("\n**What is told, and to whom**");
            assert!(page.contains(part) || server, "{recipe}: no `{}`", part.trim());
        }
    }
}

#[test]
fn the_index_names_every_recipe_and_links_lead_somewhere() {
    let index = fs::read_to_string(cookbook().join("README.md")).unwrap();
    let rows = index.lines().filter(|line| line.starts_with("| ["));
    let named: BTreeSet<String> = rows.filter_map(|row| links(row).next()).map(|to| to.replace('/', "")).collect();
    assert_eq!(named, recipes());
    let pages = recipes().into_iter().map(|recipe| (cookbook().join(&recipe), read(&recipe, "README.md")));
    for (folder, page) in pages.chain([(cookbook(), index)]) {
        for target in links(&page) {
            assert!(folder.join(target).exists(), "{}: `{target}`", folder.display());
        }
    }
}
