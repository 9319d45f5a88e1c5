//! The tools as a person or a program reads them.

use std::fmt::Write as _;
use std::time::SystemTime;

use serde_json::Value;

use super::leaves::hides;
use super::{short, text_of};
use crate::cli::counters::table::ago;
use crate::state::{Shown, Tools};
use crate::visible::visible;

const TITLES: [&str; 7] = ["SERVER", "TOOL", "STATE", "HASH", "FIRST SEEN", "CHANGED", "HIDES"];

/// The longest name that is shown whole, in characters.
const LONGEST: usize = 64;

/// One line per tool.
pub(super) fn table(tools: &Tools, now: SystemTime) -> String {
    let mut text = String::new();
    if tools.tools.is_empty() {
        text.push_str("no tools: no server has listed any yet\n");
    } else {
        let mut lines = vec![TITLES.map(str::to_owned)];
        lines.extend(tools.tools.iter().map(|shown| line(shown, now)));
        let mut widths = [0; TITLES.len()];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for line in lines {
            let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            let _ = writeln!(text, "{}", cells.join("  ").trim_end());
        }
    }
    for server in &tools.full {
        let _ = writeln!(text, "{} has listed more tools than are kept: the others are not shown", visible(server));
    }
    text
}

fn line(shown: &Shown, now: SystemTime) -> [String; TITLES.len()] {
    let name = |name: &str| {
        let whole: String = name.chars().take(LONGEST).collect();
        visible(&whole) + if whole.len() < name.len() { "…" } else { "" }
    };
    let since = |milliseconds: u64| ago(milliseconds as f64 / 1e3, now);
    let hides = hidden_in(shown);
    [
        name(&shown.server),
        name(&shown.tool),
        shown.state.clone(),
        short(&shown.pending.as_ref().unwrap_or(&shown.listed).hash).to_owned(),
        since(shown.first_seen),
        if shown.changed == shown.first_seen { "-".to_owned() } else { since(shown.changed) },
        if hides.is_empty() { "-".to_owned() } else { hides.join(", ") },
    ]
}

/// What hides in a tool's definition, in words.
fn hidden_in(shown: &Shown) -> Vec<String> {
    text_of(shown).map(hides).unwrap_or_default()
}

/// For programs: the definitions too.
pub(super) fn json(tools: &Tools) -> Value {
    let one = |shown: &Shown| {
        let mut value = serde_json::to_value(shown).unwrap_or_default();
        if let Some(members) = value.as_object_mut() {
            members.insert("hides".to_owned(), hidden_in(shown).into());
        }
        value
    };
    serde_json::json!({ "tools": tools.tools.iter().map(one).collect::<Vec<_>>(), "full": tools.full })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::sample;
    use super::*;

    #[test]
    fn a_line_per_tool() {
        let (old, new) = (r#"{"description":"Pays.","name":"pay"}"#, r#"{"description":"Pays.\u200b","name":"pay"}"#);
        let changed = Shown { changed: 5_000_000, ..sample(Some(old), new, Some(new)) };
        let plain = Shown { tool: "get\u{1b}[2J".to_owned(), ..sample(Some(old), old, None) };
        let long = Shown { tool: "x".repeat(70), ..sample(None, old, Some(old)) };
        let tools = Tools { tools: vec![changed, plain, long], full: vec!["bank".to_owned()] };
        insta::assert_snapshot!(table(&tools, UNIX_EPOCH + Duration::from_secs(10_000)), @"
        SERVER  TOOL                                                               STATE     HASH              FIRST SEEN  CHANGED  HIDES
        bank    pay                                                                changed   2a00000000000000  2h ago      83m ago  1 invisible character
        bank    get⟨U+001B⟩[2J                                                     accepted  2400000000000000  2h ago      -        -
        bank    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…  new       2400000000000000  2h ago      -        -
        bank has listed more tools than are kept: the others are not shown
        ");
        let none = Tools { tools: Vec::new(), full: Vec::new() };
        assert_eq!(table(&none, UNIX_EPOCH), "no tools: no server has listed any yet\n");
        assert_eq!(json(&tools)["tools"][0]["hides"], serde_json::json!(["1 invisible character"]));
    }
}
