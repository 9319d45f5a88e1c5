//! What counts as another definition, and what becomes of it.

use std::convert::Infallible;

use super::known::{BYTES, TEXT, TOOLS};
use super::*;
use crate::mcp::lists;
use crate::policy::Refused;

const HOUR: u64 = 3_600_000;

/// A list that is the last page, at a time; gives what is another one than before.
fn page(definitions: &Definitions, server: &str, tools: &str, is_last: bool, now: u64) -> Vec<Change> {
    let message = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":{tools}}}}}"#);
    let (mut parser, mut listed, mut changes) = (Parser::default(), Vec::new(), Vec::new());
    lists::filter(
        &mut parser,
        message.as_bytes(),
        |_, _| false,
        |tool| listed.extend(tool.map(|(name, tool)| (name.to_owned(), tool))),
    )
    .unwrap();
    let page = Page { server, tools: &listed, is_last, now };
    let Ok(()) = definitions.note::<Infallible>(&page, |all| {
        changes.extend_from_slice(all);
        Ok(())
    });
    changes
}

fn list(definitions: &Definitions, tools: &str, now: u64) -> Vec<Change> {
    page(definitions, "bank", tools, true, now)
}

fn tool(name: &str, description: &str) -> String {
    format!(r#"{{"name":"{name}","description":"{description}","inputSchema":{{"type":"object"}}}}"#)
}

fn kinds(changes: &[Change]) -> Vec<(&str, ChangeKind)> {
    changes.iter().map(|change| (&*change.tool, change.kind)).collect()
}

/// Accepts one tool.
fn accept(definitions: &Definitions, tool: &str) -> usize {
    try_accept(definitions, tool, None).unwrap()
}

#[derive(Debug, PartialEq)]
enum Failure {
    Store,
    Not(Unacceptable),
}

impl From<Refused> for Failure {
    fn from(_: Refused) -> Failure {
        Failure::Store
    }
}

impl From<Unacceptable> for Failure {
    fn from(why: Unacceptable) -> Failure {
        Failure::Not(why)
    }
}

fn try_accept(definitions: &Definitions, tool: &str, hash: Option<String>) -> Result<usize, Failure> {
    let which = Acceptance { server: Some("bank".into()), tool: Some(tool.into()), hash, all: false };
    definitions.accept(&which, |_| Ok(())).map(|accepted| accepted.len())
}

fn agrees(definitions: &Definitions, tool: &str, arguments: &str) -> Option<bool> {
    let mut parser = Parser::default();
    let arguments = parser.parse(arguments.as_bytes()).unwrap();
    Some(definitions.declared("bank", tool)?.check(Some(arguments)).is_ok())
}

#[test]
fn the_first_list_is_accepted_and_what_comes_later_waits() {
    let definitions = Definitions::default();
    assert_eq!(definitions.standing("bank", "a"), Standing::Unlisted);
    // Over two pages, by whatever agent.
    assert_eq!(
        kinds(&page(&definitions, "bank", &format!("[{}]", tool("a", "A")), false, 0)),
        [("a", ChangeKind::First)]
    );
    assert_eq!(kinds(&list(&definitions, &format!("[{}]", tool("b", "B")), 1)), [("b", ChangeKind::First)]);
    assert_eq!(list(&definitions, &format!("[{},{}]", tool("b", "B"), tool("a", "A")), 2), []);
    let spelled = r#"[{ "inputSchema" : {"type":"obj\u0065ct"}, "description":"A", "name":"a" }]"#;
    assert_eq!(list(&definitions, spelled, 3), [], "another spelling only");

    let changes = list(&definitions, &format!("[{},{}]", tool("a", "A, and more"), tool("c", "C")), HOUR);
    assert_eq!(kinds(&changes), [("a", ChangeKind::Changed), ("c", ChangeKind::New)]);
    assert_eq!(changes[0].fields.as_deref(), Some(&["description".to_owned()][..]));
    assert!(changes[0].old.is_some() && changes[0].old.as_ref() != Some(&changes[0].new));
    assert_eq!((changes[0].first_seen, changes[0].record), (0, Some(0)));
    assert_eq!((&changes[1].old, &changes[1].fields, changes[1].first_seen), (&None, &None, HOUR));
    let standing = |tool| definitions.standing("bank", tool);
    assert_eq!((standing("a"), standing("b"), standing("c")), (Standing::Changed, Standing::Accepted, Standing::New));
    // A name that some servers take for the tool's.
    assert_eq!(
        (standing("A"), standing("B"), standing("d")),
        (Standing::Changed, Standing::Unlisted, Standing::Unlisted)
    );
    assert_eq!(definitions.standing("other", "a"), Standing::Unlisted);

    assert_eq!((accept(&definitions, "a"), accept(&definitions, "a"), accept(&definitions, "c")), (1, 0, 1));
    assert_eq!((standing("a"), standing("c")), (Standing::Accepted, Standing::Accepted));
    // It is gone, and comes back as it was before.
    assert_eq!(list(&definitions, "[]", HOUR + 1), []);
    assert_eq!(kinds(&list(&definitions, &format!("[{}]", tool("a", "A")), HOUR + 2)), [("a", ChangeKind::Changed)]);
    assert_eq!(standing("a"), Standing::Changed);
}

#[test]
fn an_empty_list_is_a_first_list_too() {
    let definitions = Definitions::default();
    assert_eq!(list(&definitions, "[]", 0), []);
    assert_eq!(kinds(&list(&definitions, &format!("[{}]", tool("a", "late")), HOUR)), [("a", ChangeKind::New)]);
    assert_eq!(definitions.standing("bank", "a"), Standing::New);
}

/// Each name is looked up once for all that wait: were they compared with each other, this would not end.
#[test]
fn other_spellings_of_many_waiting_names_are_found() {
    let definitions = Definitions::default();
    list(&definitions, "[]", 0);
    let names: Vec<String> = (0..TOOLS).map(|n| format!("tool-{n}")).collect();
    let tools: Vec<String> = names.iter().map(|name| tool(name, "late")).collect();
    list(&definitions, &format!("[{}]", tools.join(",")), HOUR);
    for name in &names {
        assert_eq!(definitions.standing("bank", &name.to_uppercase()), Standing::New, "{name}");
        assert_eq!(definitions.standing("bank", &format!("{name}-other")), Standing::Unlisted);
    }
    assert_eq!(definitions.standing("bank", &"x".repeat(1 << 20)), Standing::Unclear);
    accept(&definitions, "tool-7");
    assert_eq!(definitions.standing("bank", "TOOL-7"), Standing::Unlisted);
}

#[test]
fn who_showed_another_definition_to_somebody_else_waits_still() {
    let definitions = Definitions::default();
    list(&definitions, &format!("[{}]", tool("a", "good")), 0);
    assert_eq!(list(&definitions, &format!("[{}]", tool("a", "bad")), HOUR).len(), 1);
    let back = list(&definitions, &format!("[{}]", tool("a", "good")), HOUR + 1);
    assert_eq!(kinds(&back), [("a", ChangeKind::Changed)], "each change is told");
    assert_eq!(definitions.standing("bank", "a"), Standing::Changed, "an agent has read the other one");
    let shown = definitions.shown(Some("bank"), Some("a")).unwrap().tools.remove(0);
    assert_eq!(shown.accepted.as_ref(), Some(&shown.listed));
    assert!(shown.pending.unwrap().text.unwrap().contains("bad"));
    assert_eq!(accept(&definitions, "a"), 1, "what is listed now is accepted");
    assert_eq!(definitions.standing("bank", "a"), Standing::Accepted);
    assert_eq!(kinds(&list(&definitions, &format!("[{}]", tool("a", "bad")), HOUR + 2)), [("a", ChangeKind::Changed)]);
}

#[test]
fn what_is_accepted_is_what_was_looked_at() {
    let definitions = Definitions::default();
    list(&definitions, &format!("[{}]", tool("a", "A")), 0);
    let looked_at = list(&definitions, &format!("[{}]", tool("a", "B")), 1).remove(0).new;
    let since = list(&definitions, &format!("[{}]", tool("a", "C")), 2).remove(0).new;
    let refused = try_accept(&definitions, "a", Some(looked_at));
    assert_eq!(refused, Err(Failure::Not(Unacceptable::Another { listed: since.clone() })));
    assert_eq!(try_accept(&definitions, "a", Some(since[..16].to_uppercase())), Ok(1));
    assert_eq!(try_accept(&definitions, "nothing", None), Err(Failure::Not(Unacceptable::NoSuchTool)));
    for which in [
        Acceptance::default(),
        Acceptance { tool: Some("a".into()), ..Acceptance::default() },
        Acceptance { server: Some("bank".into()), ..Acceptance::default() },
        Acceptance { all: true, tool: Some("a".into()), ..Acceptance::default() },
        Acceptance { server: Some("bank".into()), tool: Some("a".into()), hash: Some(String::new()), all: false },
        Acceptance { server: Some("bank".into()), tool: Some("a".into()), hash: Some(since[..15].into()), all: false },
    ] {
        assert_eq!(definitions.accept(&which, |_| Ok(())), Err(Failure::Not(Unacceptable::Senseless)), "{which:?}");
    }
    // Of all, or of a server.
    list(&definitions, &format!("[{},{}]", tool("a", "D"), tool("b", "D")), 3);
    page(&definitions, "other", "[]", true, 3);
    page(&definitions, "other", &format!("[{}]", tool("a", "D")), true, 4);
    let of = |server: Option<&str>| {
        let which = Acceptance { all: true, server: server.map(str::to_owned), ..Acceptance::default() };
        let mut told = 0;
        let accepted = definitions.accept::<Failure>(&which, |tools| {
            told = tools;
            Ok(())
        });
        assert_eq!(accepted.as_ref().unwrap().len(), told);
        told
    };
    assert_eq!((of(Some("other")), of(None), of(None)), (1, 2, 0));
    // Nothing is accepted that cannot be recorded.
    list(&definitions, &format!("[{}]", tool("a", "E")), 5);
    let which = Acceptance { all: true, ..Acceptance::default() };
    assert_eq!(definitions.accept(&which, |_| Err(Failure::Store)), Err(Failure::Store));
    assert_eq!(definitions.standing("bank", "a"), Standing::Changed);
}

#[test]
fn a_first_list_does_not_go_on_for_ever() {
    let definitions = Definitions::default();
    assert_eq!(
        kinds(&page(&definitions, "bank", &format!("[{}]", tool("a", "A")), false, 0)),
        [("a", ChangeKind::First)]
    );
    let later = page(&definitions, "bank", &format!("[{}]", tool("b", "B")), false, 60_001);
    assert_eq!(kinds(&later), [("b", ChangeKind::New)]);
    // A known tool that changes does so in the first list too.
    let definitions = Definitions::default();
    page(&definitions, "bank", &format!("[{}]", tool("a", "A")), false, 0);
    assert_eq!(
        kinds(&page(&definitions, "bank", &format!("[{}]", tool("a", "B")), false, 1)),
        [("a", ChangeKind::Changed)]
    );
    // An empty first list is one.
    let definitions = Definitions::default();
    assert_eq!(list(&definitions, "[]", 0), []);
    assert_eq!(kinds(&list(&definitions, &format!("[{}]", tool("a", "A")), 1)), [("a", ChangeKind::New)]);
}

#[test]
fn a_name_that_is_listed_twice_is_all_that_is_said_of_it() {
    let definitions = Definitions::default();
    let (good, bad) = (tool("a", "good"), tool("a", "bad"));
    assert_eq!(list(&definitions, &format!("[{good},{good}]"), 0).len(), 1);
    assert_eq!(agrees(&definitions, "a", "{}"), Some(true));
    assert_eq!(kinds(&list(&definitions, &format!("[{good},{bad}]"), 1)), [("a", ChangeKind::Changed)]);
    assert_eq!(agrees(&definitions, "a", "{}"), Some(false), "clients differ in which one they take");
    assert_eq!(list(&definitions, &format!("[{good},{bad}]"), 2), [], "which is no news then");
    assert_eq!(kinds(&list(&definitions, &format!("[{bad},{good}]"), 3)), [("a", ChangeKind::Changed)]);
}

#[test]
fn arguments_are_checked_against_what_was_listed_last() {
    let definitions = Definitions::default();
    let tools = |schema: &str| format!(r#"[{{"name":"pay","inputSchema":{schema}}},{{"name":"get"}}]"#);
    assert_eq!(agrees(&definitions, "pay", "{}"), None);
    list(&definitions, &tools(r#"{"maxProperties":1}"#), 0);
    assert_eq!(agrees(&definitions, "pay", r#"{"a":1,"b":2}"#), Some(false));
    let compiled = definitions.declared("bank", "pay").unwrap();
    list(&definitions, &tools(r#"{"maxProperties": 1}"#), 1);
    assert!(Arc::ptr_eq(&compiled, &definitions.declared("bank", "pay").unwrap()), "compiled once");
    list(&definitions, &tools(r#"{"maxProperties":2}"#), 2);
    assert_eq!(agrees(&definitions, "pay", r#"{"a":1,"b":2}"#), Some(true));
    assert_eq!(agrees(&definitions, "get", "{}"), Some(false), "nothing is declared");
    assert!(definitions.declared("other", "pay").is_none(), "another server's tool");
    // One that is too long for any use was declared, and is told from any other by its hash.
    let long = |letter: &str| tools(&format!(r#"{{"description":"{}"}}"#, letter.repeat(TEXT)));
    assert_eq!(kinds(&list(&definitions, &long("x"), 3)), [("pay", ChangeKind::Changed)]);
    assert_eq!(agrees(&definitions, "pay", "{}"), Some(false));
    let changes = list(&definitions, &long("y"), 4);
    assert_eq!((kinds(&changes), &changes[0].fields), (vec![("pay", ChangeKind::Changed)], &None));
}

#[test]
fn a_server_that_lists_without_end_is_bounded() {
    let definitions = Definitions::default();
    let many = |from: usize| {
        let tools: Vec<String> = (from..from + TOOLS).map(|number| tool(&format!("t{number}"), "x")).collect();
        format!("[{}]", tools.join(","))
    };
    let changes = list(&definitions, &many(0), 0);
    assert_eq!(changes.len(), TOOLS);
    assert_eq!(changes.iter().filter(|change| change.record.is_some()).count(), 1000, "records are bounded");
    assert_eq!(kinds(&list(&definitions, &many(5), 1)), [("t10000", ChangeKind::NotKept)], "told once");
    assert_eq!(list(&definitions, &many(TOOLS), 2), []);
    assert_eq!(definitions.standing("bank", "t10000"), Standing::Unclear);
    assert_eq!(definitions.standing("bank", "t0"), Standing::Accepted);
    assert_eq!(definitions.shown(None, None).unwrap().full, ["bank"]);
    let long = Definitions::default();
    let name = "x".repeat(2000);
    assert_eq!(list(&long, &format!("[{},{}]", tool(&name, "x"), tool("a", "A")), 0).len(), 2);
    assert_eq!((long.standing("bank", &name), long.standing("bank", "a")), (Standing::Unclear, Standing::Accepted));
    page(&definitions, "other", &format!("[{}]", tool("a", "A")), true, 3);
    assert_eq!(definitions.standing("other", "a"), Standing::Accepted, "another server has room");
    // What left records out is told with the next one.
    let next = list(&definitions, &format!("[{}]", tool("t0", "y")), HOUR);
    assert_eq!(next[0].record, Some(TOOLS as u64 - 1000 + 1));
}

#[test]
fn texts_are_bounded_in_all() {
    let definitions = Definitions::default();
    let long = "x".repeat(200 << 10);
    let tools: Vec<String> = (0..100).map(|number| tool(&format!("t{number}"), &long)).collect();
    list(&definitions, &format!("[{}]", tools.join(",")), 0);
    let state = definitions.known.read();
    let server = &state.servers["bank"];
    let sum: usize = server.tools.iter().map(|(name, tool)| tool.size(name)).sum();
    assert_eq!(sum, server.head.bytes);
    assert!(sum <= BYTES + (100 << 10) && server.tools.len() == 100);
    assert!(server.tools.values().any(|tool| tool.listed.text.is_none()));
}

#[test]
fn what_cannot_be_recorded_was_not_noted() {
    let definitions = Definitions::default();
    list(&definitions, "[]", 0);
    let text = format!("[{}]", tool("a", "A"));
    let mut parser = Parser::default();
    let tools: Vec<_> = parser.parse(text.as_bytes()).unwrap().items().map(|tool| ("a".to_owned(), tool)).collect();
    let page = Page { server: "bank", tools: &tools, is_last: true, now: 1 };
    assert_eq!(definitions.note(&page, |_| Err("full")), Err("full"));
    assert_eq!(definitions.standing("bank", "a"), Standing::Unlisted);
    assert_eq!(kinds(&list(&definitions, &text, 2)), [("a", ChangeKind::New)]);
}
