//! What docs/mcp.md says of versions, methods and refusals is what the code knows: nothing is missing or invented.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use policyd::mcp::{Cause, Version, method};

/// The rows of the table in the section of this title: their cells.
fn table(title: &str) -> Vec<Vec<String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/mcp.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once(&format!("\n## {title}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// A column of code, each once.
fn column(rows: &[Vec<String>], index: usize) -> BTreeSet<String> {
    let words: BTreeSet<_> = rows.iter().map(|row| row[index].trim_matches('`').to_owned()).collect();
    assert_eq!(words.len(), rows.len(), "something is named twice");
    words
}

#[test]
fn all_versions_are_named() {
    assert_eq!(column(&table("Versions"), 0), Version::names().map(str::to_owned).collect());
}

#[test]
fn all_methods_are_named_with_their_nature() {
    let rows = table("Methods");
    assert_eq!(column(&rows, 0), method::all().map(str::to_owned).collect());
    for row in rows {
        let data = method::nature(row[0].trim_matches('`')) == method::Nature::Data;
        assert_eq!(row[1], if data { "yes" } else { "no" }, "{row:?}");
    }
}

#[test]
fn all_causes_are_named() {
    let rows = table("What is refused");
    assert_eq!(column(&rows, 2), Cause::ALL.iter().map(|cause| cause.word().to_owned()).collect());
    for row in rows {
        assert!(["error", "422", "421", "the response ends"].contains(&&*row[1]), "{row:?}");
    }
}
