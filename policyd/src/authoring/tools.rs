//! What a server answered to `tools/list`, as people keep it: the result, the whole JSON-RPC response, the bare array, or
//! several pages of either, in an array or one after the other.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::Value;

use super::reader::member;
use crate::diagnostic::{Diagnostic, Report};
use crate::policy::document::{self, Json, Member, Node};
use crate::visible::visible;

/// A tool of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    pub name: String,
    /// The text of its `inputSchema`, as the server wrote it; `null` if it has none, as for the daemon.
    pub schema: String,
}

/// One answer to `tools/list`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub tools: Vec<Tool>,
    /// Where the next page is, if there is one.
    pub next: Option<String>,
}

/// Reads every page in a text. Of tools with the same name the last one counts, as for the daemon. `file` is the text's name
/// in the report.
///
/// # Errors
///
/// What is wrong with it, and where.
pub(crate) fn read(file: &str, text: &str) -> Result<Vec<Tool>, Report> {
    let mut problems = Vec::new();
    let pages = document::parse_many(text, &mut problems).filter(|_| problems.is_empty());
    let tools = pages.and_then(|pages| match every(&pages, text) {
        Ok(tools) => Some(tools),
        Err(problem) => {
            problems.push(*problem);
            None
        }
    });
    tools.ok_or_else(|| Report { file: file.to_owned(), source: text.to_owned(), diagnostics: problems })
}

/// Reads one page, in any of its wrappings.
///
/// # Errors
///
/// The first thing that is wrong with it, in words.
pub(crate) fn page(text: &str) -> Result<Page, String> {
    let mut problems = Vec::new();
    let node = document::parse(text, &mut problems);
    match (node, problems.into_iter().next()) {
        (Some(node), None) => of_node(&node, text).map_err(|problem| problem.message),
        (_, problem) => Err(problem.map_or(NO_TOOLS.to_owned(), |problem| problem.message)),
    }
}

/// As [`read`], of a part of the document `text`.
///
/// # Errors
///
/// As [`read`].
pub(super) fn listed(node: &Node, text: &str) -> Result<Vec<Tool>, Box<Diagnostic>> {
    every(std::slice::from_ref(node), text)
}

/// What a JSON-RPC error says, shortened.
pub(crate) fn refusal(error: &Value) -> String {
    let message = error.get("message").and_then(Value::as_str).unwrap_or("no message");
    let short = visible(&message.chars().take(200).collect::<String>());
    match error.get("code").and_then(Value::as_i64) {
        Some(code) => format!("{short} ({code})"),
        None => short,
    }
}

const NO_TOOLS: &str = "no list of tools stands here";

fn every(pages: &[Node], text: &str) -> Result<Vec<Tool>, Box<Diagnostic>> {
    if pages.is_empty() {
        return Err(no_tools(0..0));
    }
    let mut tools: Vec<Tool> = Vec::new();
    let mut places = HashMap::new();
    for page in pages {
        for tool in of_node(page, text)?.tools {
            match places.get(&tool.name) {
                Some(&index) => {
                    if let Some(first) = tools.get_mut(index) {
                        *first = tool;
                    }
                }
                None => {
                    places.insert(tool.name.clone(), tools.len());
                    tools.push(tool);
                }
            }
        }
    }
    Ok(tools)
}

fn of_node(node: &Node, text: &str) -> Result<Page, Box<Diagnostic>> {
    match &node.json {
        Json::Array(items) => Ok(Page { tools: list(items, text)?, next: None }),
        Json::Object(members) => of_object(node, members, text),
        _ => Err(no_tools(node.place())),
    }
}

fn of_object(node: &Node, members: &[Member], text: &str) -> Result<Page, Box<Diagnostic>> {
    if let Some(result) = member(members, "result") {
        return of_node(result, text);
    }
    match member(members, "tools").map(|tools| (tools, &tools.json)) {
        Some((_, Json::Array(items))) => {
            let next = member(members, "nextCursor").and_then(string).map(str::to_owned);
            Ok(Page { tools: list(items, text)?, next })
        }
        Some((tools, _)) => Err(no_tools(tools.place())),
        None => Err(match member(members, "error") {
            Some(error) => {
                let error: Value = raw(error, text).parse().unwrap_or_default();
                Box::new(Diagnostic::error(
                    node.place(),
                    format!("this is an error of the server: {}", refusal(&error)),
                ))
            }
            None => no_tools(node.place()),
        }),
    }
}

fn list(items: &[Node], text: &str) -> Result<Vec<Tool>, Box<Diagnostic>> {
    let mut tools = Vec::new();
    for item in items {
        let members: &[Member] = match &item.json {
            Json::Object(members) => members,
            _ => &[],
        };
        match member(members, "name").and_then(string) {
            Some(name) => {
                let schema = member(members, "inputSchema").map_or("null", |schema| raw(schema, text));
                tools.push(Tool { name: name.to_owned(), schema: schema.to_owned() });
            }
            // An array of pages.
            None if ["tools", "result", "error"].iter().any(|key| member(members, key).is_some()) => {
                tools.extend(of_object(item, members, text)?.tools);
            }
            None => {
                let message = match item.json {
                    Json::Object(_) => "this tool has no `name`".to_owned(),
                    _ => format!("a tool must be an object, found {}", item.kind()),
                };
                return Err(Box::new(Diagnostic::error(item.place(), message)));
            }
        }
    }
    Ok(tools)
}

fn string(node: &Node) -> Option<&str> {
    match &node.json {
        Json::String(text) => Some(text),
        _ => None,
    }
}

fn raw<'a>(node: &Node, text: &'a str) -> &'a str {
    text.get(node.span.clone()).unwrap_or_default()
}

fn no_tools(span: Range<usize>) -> Box<Diagnostic> {
    let help = "expected `{\"tools\": […]}`, a response to `tools/list`, or an array of tools";
    Box::new(Diagnostic::error(span, NO_TOOLS).help(help.to_owned()))
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn reads_every_wrapping() {
        for text in [
            r#"{"tools":[{"name":"a","inputSchema":{ "maximum": 1.0 }},{"name":"b"}]}"#,
            r#"[{"name":"a","inputSchema":{ "maximum": 1.0 }},{"name":"b"}]"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","inputSchema":{ "maximum": 1.0 }},{"name":"b"}]}}"#,
            "{\"tools\":[{\"name\":\"a\",\"inputSchema\":{ \"maximum\": 1.0 }}],\"nextCursor\":\"1\"}\n{\"tools\":[{\"name\":\"b\"}]}\n",
            r#"[{"tools":[{"name":"a","inputSchema":{ "maximum": 1.0 }}]},{"result":{"tools":[{"name":"b"}]}}]"#,
            r#"{"package":"x","licence":"MIT","tools":[{"name":"a"},{"name":"b"},{"name":"a","inputSchema":{ "maximum": 1.0 }}]}"#,
        ] {
            let tool = |name: &str, schema: &str| Tool { name: name.to_owned(), schema: schema.to_owned() };
            let tools = read("dump.json", text).unwrap_or_else(|report| panic!("{report}"));
            assert_eq!(tools, [tool("a", "{ \"maximum\": 1.0 }"), tool("b", "null")], "{text}");
        }
        assert_eq!(read("dump.json", r#"{"tools":[]}"#), Ok(vec![]));
    }

    #[test]
    fn a_page_says_where_the_next_one_is() {
        let next = |text| page(text).unwrap().next;
        assert_eq!(next(r#"{"result":{"tools":[],"nextCursor":""}}"#).as_deref(), Some(""));
        assert_eq!(next(r#"{"result":{"tools":[],"nextCursor":null}}"#), None);
        assert_eq!(page(r#"{"result":{}}"#), Err(NO_TOOLS.to_owned()));
        assert_eq!(page("{"), Err("expected a key in double quotes, found the end of the file".to_owned()));
    }

    #[test]
    fn says_what_else_a_text_is() {
        let nothing = "no list of tools stands here (expected `{\"tools\": […]}`, a response to `tools/list`, or an array of tools)";
        for (text, message) in [
            ("", format!("1:1: {nothing}")),
            ("{}", format!("1:1: {nothing}")),
            (r#"{"tools":{"a":{}}}"#, format!("1:10: {nothing}")),
            ("\n7", format!("2:1: {nothing}")),
            ("{", "1:2: expected a key in double quotes, found the end of the file".to_owned()),
            (r#"[{"title":"x"}]"#, "1:2: this tool has no `name`".to_owned()),
            (r#"["x"]"#, "1:2: a tool must be an object, found a string".to_owned()),
            (r#"{"tools":[]} {"tools":1}"#, format!("1:23: {nothing}")),
            (r#"{"tools":[],"tools":[]}"#, "1:13: duplicate key `tools` (it stands on line 1 too)".to_owned()),
            (
                r#"{"id":1,"error":{"code":-32001,"message":"no\nway"}}"#,
                "1:1: this is an error of the server: no⟨U+000A⟩way (-32001)".to_owned(),
            ),
        ] {
            assert_eq!(
                read("dump.json", text).unwrap_err().to_string().trim_end(),
                format!("dump.json:{message}"),
                "{text}"
            );
        }
    }
}
