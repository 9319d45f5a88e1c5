//! Large policies and long lists of tools: were each entry compared with each other one, these would take minutes.

use super::*;

fn entries(count: usize, entry: &str) -> String {
    (0..count).map(|n| format!("\"tool_{n}\": {entry}")).collect::<Vec<_>>().join(",\n")
}

#[test]
fn fifty_thousand_entries_are_looked_through() {
    let text = format!(r#"{{"version":"1","default":"deny","tools":{{{}}}}}"#, entries(50_000, "{}"));
    assert_eq!(found(&text, None), []);
}

#[test]
fn two_thousand_entries_beside_two_thousand_tools() {
    let entry = r#"{"deny_if":[{"conditions":[{"path":"args.a","op":"eq","value":"x"}]}]}"#;
    let text = format!(r#"{{"version":"1","default":"deny","tools":{{{}}}}}"#, entries(2000, entry));
    let tool = |n| Tool { name: format!("tool_{n}"), schema: r#"{"properties":{"b":{"type":"string"}}}"#.to_owned() };
    let tools: Vec<Tool> = (0..2000).map(tool).collect();
    assert_eq!(found(&text, Some(&tools)).len(), 2000);
}

#[test]
fn a_tool_that_is_listed_twice_is_one() {
    let tool = || Tool { name: "t".to_owned(), schema: "{}".to_owned() };
    let problems = lint(r#"{"version":"1","default":"deny","tools":{"tt":{}}}"#, Some(&[tool(), tool()]));
    let told: Vec<_> = problems.iter().map(|problem| &*problem.message).collect();
    assert_eq!(told, ["1 tool that no entry names is denied: `t`", "the server has no tool `tt`"]);
}
