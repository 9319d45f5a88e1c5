//! Large documents: were loading not about linear in their size, these would take minutes.

use super::problems;

/// A document with these tools, one a line.
fn document(tools: impl Iterator<Item = String>) -> String {
    let tools = tools.map(|tool| format!("\"{tool}\": {{}}")).collect::<Vec<_>>().join(",\n");
    format!("{{\"version\":\"1\",\"default\":\"deny\",\"tools\":{{\n{tools}}}}}")
}

#[test]
fn ten_thousand_tools_load() {
    assert_eq!(problems(&document((0..10_000).map(|n| format!("server.group.tool_{n}")))), "loads");
}

#[test]
fn ten_thousand_patterns_load() {
    // All of one length in each half, so that each is compared with all others of it that can match the same.
    let patterns = (0..10_000).map(|n| match n % 2 {
        0 => format!("group_{n:05}.*"),
        _ => format!("*.action_{n:05}"),
    });
    // The halves differ in length, or each would tie with each.
    assert_eq!(problems(&document(patterns)), "loads");
}

#[test]
fn ten_thousand_patterns_that_all_tie_are_a_bounded_report() {
    let report = problems(&document((0..10_000).map(|n| format!("*_{n:05}_*"))));
    let lines = report.lines().count();
    assert!((1..=1000).contains(&lines), "{lines}");
    assert!(report.contains("can match the same tool"));
}

#[test]
fn a_duplicate_far_down_names_the_line_of_the_first() {
    let tools = (0..5000).map(|n| format!("tool_{n}")).chain(["tool_4000".to_owned(), "tool_17".to_owned()]);
    let report = problems(&document(tools));
    assert_eq!(
        report,
        "p:5002:1: duplicate key `tool_4000` (it stands on line 4002 too)\n\
         p:5003:1: duplicate key `tool_17` (it stands on line 19 too)"
    );
}
