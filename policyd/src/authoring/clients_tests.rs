//! Real shapes of clients' configurations, there and back.

use proptest::prelude::*;

use super::*;

fn wrapper(policy: Option<&str>) -> Wrapper {
    Wrapper { policyd: "/usr/bin/policyd".into(), policy: policy.map(str::to_owned) }
}

fn there_and_back(text: &str, policy: Option<&str>) -> String {
    let (wrapped, outcomes) = wrap(text, &[], &wrapper(policy)).unwrap();
    let (again, already) = wrap(&wrapped, &[], &wrapper(None)).unwrap();
    assert_eq!(again, wrapped, "wrapped twice");
    assert!(already.iter().all(|outcome| outcome.done != Done::Changed));
    let (back, undone) = unwrap(&wrapped, &[]).unwrap();
    assert_eq!(back, text);
    assert_eq!(undone.iter().filter(|outcome| outcome.done == Done::Changed).count(), changed(&outcomes).len());
    wrapped
}

fn changed(outcomes: &[Outcome]) -> Vec<&str> {
    outcomes.iter().filter(|outcome| outcome.done == Done::Changed).map(|outcome| outcome.client.as_str()).collect()
}

#[test]
fn claude_and_cursor() {
    let text = r#"{
  "mcpServers": {
    "axint": { "command": "npx", "args": ["-y", "@axint/compiler"], "env": { "A": "b" } },
    "bare": { "command": "looking-glass" },
    "empty": {"command":"x","args":[]},
    "remote": { "url": "https://promptfax.app/mcp" },
    "odd": { "command": ["x"] }
  },
  "theme": "dark"
}
"#;
    let wrapped = there_and_back(text, None);
    let expected = r#"{
  "mcpServers": {
    "axint": { "command": "/usr/bin/policyd", "args": ["stdio", "--server", "axint", "--", "npx", "-y", "@axint/compiler"], "env": { "A": "b" } },
    "bare": { "command": "/usr/bin/policyd", "args": ["stdio", "--server=bare", "--", "looking-glass"] },
    "empty": {"command":"/usr/bin/policyd","args":["stdio", "--server", "empty", "--", "x"]},
    "remote": { "url": "https://promptfax.app/mcp" },
    "odd": { "command": ["x"] }
  },
  "theme": "dark"
}
"#;
    assert_eq!(wrapped, expected);
    let (_, outcomes) = wrap(text, &[], &wrapper(None)).unwrap();
    let done: Vec<_> = outcomes.iter().map(|outcome| outcome.done).collect();
    assert_eq!(done, [Done::Changed, Done::Changed, Done::Changed, Done::Url, Done::Unclear]);
    let (_, outcomes) = wrap(text, &["bare".into()], &wrapper(None)).unwrap();
    assert_eq!(changed(&outcomes), ["bare"]);
}

#[test]
fn editors_with_comments() {
    let code = "\u{feff}{\r\n\t// servers\r\n\t\"servers\": {\r\n\t\t\"a b\": {\r\n\t\t\t\"type\": \"stdio\",\r\n\t\t\t\"args\": [ // first\r\n\t\t\t\t\"\\u0061\", /* x */\r\n\t\t\t],\r\n\t\t\t\"command\": \"C:\\\\x\", // last\r\n\t\t},\r\n\t},\r\n}";
    let wrapped = there_and_back(code, Some("/etc/p \"q\".json"));
    assert!(
        wrapped.contains(r#"["stdio", "--server", "a-b", "--policy", "/etc/p \"q\".json", "--", "C:\\x",  // first"#)
    );
    there_and_back(r#"{"mcp": {"servers": {"x": {"command": "x"}}}}"#, None);
    there_and_back(r#"{"context_servers": {"x": {"command": {"path": "x", "args": ["y"], "env": null}}}}"#, None);
    there_and_back(r#"{"context_servers": {"x": {"command": {"path": "x"}}}}"#, None);
    there_and_back(r#"{"projects": {"/a": {"mcpServers": {"x": {"command": "x", "args": [ ]}}}}}"#, None);
}

#[test]
fn what_an_editor_reformatted_is_undone_in_meaning() {
    let text = "{\"mcpServers\": {\"x\": {\"command\": \"policyd\",\n\"args\": [\n \"stdio\",\n \"--server\",\n \"x\",\n \"--\",\n \"npx\",\n \"-y\"\n]}}}";
    let (back, _) = unwrap(text, &[]).unwrap();
    assert_eq!(back, "{\"mcpServers\": {\"x\": {\"command\": \"npx\",\n\"args\": [\n \"-y\"\n]}}}");
    let text = "{\"mcpServers\": {\"x\": {\"command\": \"policyd\",\n\"args\": [\n \"stdio\", \"--server=x\", \"--\", \"npx\"\n], \"env\": {}}}}";
    assert_eq!(unwrap(text, &[]).unwrap().0, "{\"mcpServers\": {\"x\": {\"command\": \"npx\", \"env\": {}}}}");
}

#[test]
fn args_go_wherever_an_editor_put_them() {
    let made = r#"["stdio","--server=a","--","npx"]"#;
    for (before, after) in [
        (r#"{"args":ARGS,"command":"policyd"}"#, r#"{"command":"npx"}"#),
        ("{\n  \"args\": ARGS,\n  \"command\": \"policyd\"\n}", "{\n  \"command\": \"npx\"\n}"),
        (r#"{"args":ARGS/*,*/ , /* "args" */"command":"policyd"}"#, r#"{/*,*/ /* "args" */"command":"npx"}"#),
        (
            r#"{"env":{}, // a, b
            "args":ARGS,"command":"policyd",}"#,
            r#"{"env":{} // a, b
            ,"command":"npx",}"#,
        ),
        (r#"{"command":"policyd",/* "args" */"args":ARGS}"#, r#"{"command":"npx"/* "args" */}"#),
        (r#"{"command":"policyd" , "\u0061rgs" : ARGS}"#, r#"{"command":"npx" }"#),
    ] {
        let document = |entry: &str| format!(r#"{{"mcpServers":{{"a":{entry}}}}}"#);
        let (back, _) = unwrap(&document(&before.replace("ARGS", made)), &[]).unwrap();
        assert_eq!(back, document(after));
        jsonc::parse(&back).unwrap();
    }
}

#[test]
fn every_server_has_a_name_of_its_own_that_is_no_option() {
    let text = r#"{"mcpServers": {"@21st-dev/magic": {"command": "a"}, "a b": {"command": "a"}, "a-b": {"command": "a"},
        "a/b": {"command": "a", "args": []}, "--": {"command": "a"}, "é": {"command": "a"}},
        "projects": {"/p": {"mcpServers": {"a b": {"command": "a"}}}}}"#;
    let wrapped = there_and_back(text, None);
    let called = |text: &str| -> Vec<String> {
        let (_, outcomes) = wrap(text, &[], &wrapper(None)).unwrap();
        outcomes.into_iter().map(|outcome| outcome.server).collect()
    };
    assert_eq!(called(text), ["21st-dev-magic", "a-b-2", "a-b", "a-b-3", "server", "server-2", "a-b-2"]);
    assert_eq!(called(&wrapped), called(text));
    // One that is added gets none of theirs.
    let more = wrapped.replacen("{\"@21", "{\"a-b-2\": {\"command\": \"x\"}, \"@21", 1);
    assert_eq!(called(&more)[..4], ["a-b-2-2", "21st-dev-magic", "a-b-2", "a-b"]);
}

#[test]
fn nobody_elses_command_is_undone() {
    for args in [
        r#"["stdio"]"#,
        r#"["stdio", "--server", "x"]"#,
        r#"["exec", "--", "x"]"#,
        r#"["stdio", "x", "--", "y"]"#,
        "[]",
    ] {
        let text = format!(r#"{{"mcpServers": {{"x": {{"command": "policyd", "args": {args}}}}}}}"#);
        let (back, outcomes) = unwrap(&text, &[]).unwrap();
        assert_eq!((back, changed(&outcomes).len()), (text, 0));
    }
}

proptest! {
    #[test]
    fn whatever_stands_there_comes_back(
        command in "[a-z \"\\\\é]{0,8}",
        args in prop::option::of(prop::collection::vec("[a-z,\\[\\]\"-]{0,6}", 0..4)),
        pretty in any::<bool>(),
        args_first in any::<bool>(),
    ) {
        let mut entry = serde_json::Map::new();
        if let (Some(args), true) = (&args, args_first) {
            entry.insert("args".into(), args.clone().into());
        }
        entry.insert("command".into(), command.into());
        if let (Some(args), false) = (&args, args_first) {
            entry.insert("args".into(), args.clone().into());
        }
        let config = serde_json::json!({"mcpServers": {"a": entry}});
        let text = if pretty { format!("{config:#}") } else { config.to_string() };
        there_and_back(&text, None);
    }
}
