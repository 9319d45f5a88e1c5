//! `docs/policy/reference.md` says what is so: its examples load, its tables are what the engine decides, and it leaves out
//! nothing that the loader knows.
//!
//! Of its fenced blocks, `json policy` is a policy, `json tool` the entry of the tool `t`, `json condition` a condition,
//! asked once in a `require` and once in a `deny_if`; `json schema` declares the arguments of `t`; `json refused` does not
//! load, for the reasons in the `text` block behind it. A table below one of them, with the columns `call` and
//! `decision`, or `arguments`, `require` and `deny_if`, is done line by line.

use std::sync::Arc;

use super::world::{Caller, World, call};
use crate::mcp::json::Parser;
use crate::mcp::{reply, vet};
use crate::policy::conditions::path::WORDS;
use crate::policy::load::condition::{CONDITION, OPERATORS, TYPES};
use crate::policy::load::entry::{ALL_TOOLS, METHOD, TOOL};
use crate::policy::load::limit::{LIMIT, RATE_LIMIT, SCOPES};
use crate::policy::load::rules::{APPROVAL, CLAUSE};
use crate::policy::load::{CHANGES, DOCUMENT};
use crate::policy::reader::Keys;
use crate::policy::{Direction, Policy, Rule, RuleKind, Schema, Schemas, Standing};

const REFERENCE: &str = include_str!("../../../docs/policy/reference.md");

/// A fenced block, and the tables below it.
struct Block<'a> {
    line: usize,
    /// The headings that it stands under.
    chapter: &'a str,
    section: &'a str,
    info: &'a str,
    text: String,
    tables: Vec<Vec<Vec<&'a str>>>,
}

fn blocks() -> Vec<Block<'static>> {
    let (mut chapter, mut section, mut blocks) = ("", "", Vec::<Block<'_>>::new());
    let mut lines = REFERENCE.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            (chapter, section) = (heading, "");
        } else if let Some(heading) = line.strip_prefix("### ") {
            section = heading;
        } else if let Some(info) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            let text = body.join("\n") + "\n";
            blocks.push(Block { line: index + 1, chapter, section, info, text, tables: Vec::new() });
        } else if line.starts_with('|') {
            let mut table = vec![cells(line)];
            while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with('|')) {
                table.push(cells(line));
            }
            if let Some(block) = blocks.last_mut().filter(|block| (block.chapter, block.section) == (chapter, section))
            {
                block.tables.push(table);
            }
        }
    }
    blocks
}

/// A row's cells. `\|` is no border.
fn cells(line: &str) -> Vec<&str> {
    let mut cells = Vec::new();
    let inner = line.trim().trim_matches('|');
    let mut start = 0;
    for (at, _) in inner.match_indices('|') {
        if !inner[..at].ends_with('\\') {
            cells.push(inner[start..at].trim());
            start = at + 1;
        }
    }
    cells.push(inner[start..].trim());
    cells
}

impl Block<'_> {
    /// The rows of the tables that are done.
    fn rows(&self) -> impl Iterator<Item = &Vec<&str>> {
        let done = |table: &&Vec<Vec<&str>>| matches!(table[0][0], "call" | "arguments");
        self.tables.iter().filter(done).flat_map(|table| table.iter().skip(2))
    }

    fn policies(&self) -> Vec<String> {
        let tool = |entry: &str| format!(r#"{{"version":"1","default":"deny","tools":{{"t":{entry}}}}}"#);
        let rule = |key: &str| tool(&format!(r#"{{"{key}":[{{"conditions":[{}]}}]}}"#, self.text));
        match self.info {
            "json policy" => vec![self.text.clone()],
            "json tool" => vec![tool(&self.text)],
            "json condition" => vec![rule("require"), rule("deny_if")],
            _ => Vec::new(),
        }
    }
}

/// What the server declares of the tool `t`; its other tools are what their names say.
struct Declared(Option<Arc<Schema>>);

impl Schemas for Declared {
    fn declared(&self, _: &str, tool: &str) -> Option<Arc<Schema>> {
        self.0.clone().filter(|_| tool == "t")
    }

    fn standing(&self, _: &str, tool: &str) -> Standing {
        match tool {
            "changed" => Standing::Changed,
            "new" => Standing::New,
            "unlisted" => Standing::Unlisted,
            _ => Standing::Accepted,
        }
    }
}

#[test]
fn every_example_does_what_it_says() {
    let (blocks, mut done, mut declared) = (blocks(), 0, Declared(None));
    let mut wrong = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let mut compare = |what: &str, told: &str, is: &str| {
            if told != is {
                wrong.push(format!("docs/policy/reference.md:{}: {what}\n  told: {told}\n    is: {is}", block.line));
            }
        };
        match block.info {
            "json schema" => declared = Declared(Some(Arc::new(Schema::new(&block.text)))),
            "json refused" => match Policy::load("policy.json", &block.text) {
                Ok(_) => compare("a refused policy", &blocks[index + 1].text, "it loads"),
                Err(report) => compare("a refused policy", &blocks[index + 1].text, &format!("{report}\n")),
            },
            "json policy" | "json tool" | "json condition" => {
                let worlds: Vec<World> = block.policies().iter().map(|policy| World::new(policy)).collect();
                for row in block.rows() {
                    match (&**row, &*worlds) {
                        ([arguments, require, deny_if], [first, second]) => {
                            for (sense, told, world) in [("require", require, first), ("deny_if", deny_if, second)] {
                                let allowed = world.call("t", code(arguments), 0.0).allowed;
                                let is = if allowed { "passes" } else { "refused" };
                                compare(&format!("{arguments} in a `{sense}`"), first_word(told), is);
                            }
                        }
                        ([asked, decision], [world]) => {
                            let is_asked = ["declared", "tool_changes"].iter().any(|word| block.text.contains(word));
                            let declared: &dyn Schemas = if is_asked { &declared } else { &() };
                            compare(asked, decision, &decided(world, asked, decision, declared));
                        }
                        _ => panic!("{row:?}"),
                    }
                    done += 1;
                }
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(done > 250, "{done}");
}

/// What becomes of a call, told in as much detail as `like`.
fn decided(world: &World, asked: &str, like: &str, schemas: &dyn Schemas) -> String {
    let (kind, rest) = asked.split_once('`').unwrap();
    let (what, rest) = rest.split_once('`').unwrap();
    let (name, params) = what.split_once(' ').unwrap_or((what, "{}"));
    let mut caller = Caller { schemas, ..Caller::default() };
    for part in rest.split(", ").filter(|part| !part.is_empty()) {
        match part.split_once(' ').unwrap() {
            ("at", time) => caller.seconds = time.strip_suffix(" s").unwrap().parse().unwrap(),
            ("grant", name) => caller.grant = code(name),
            ("server", name) => caller.server = code(name),
            ("session", name) => caller.session = code(name),
            other => panic!("{other:?}"),
        }
    }
    let outcome = match kind.trim() {
        "" => world.request("tools/call", &call(name, params), &caller),
        "request" => world.request(name, params, &caller),
        "server's" => {
            caller.direction = Direction::ToAgent;
            world.request(name, params, &caller)
        }
        "list" => return if world.unlists(name, schemas) { "left out".to_owned() } else { "listed".to_owned() },
        other => panic!("{other}"),
    };
    let verb = match (outcome.allowed, outcome.lifted) {
        (true, _) => "allowed",
        (false, false) => "denied",
        (false, true) => "let pass, recorded as denied",
    };
    let rule = format!("{verb} by `{}`", outcome.rule);
    match like {
        _ if like.contains("`: ") => format!("{rule}: {}", outcome.reason),
        _ if like.contains(" by ") => rule,
        _ => verb.to_owned(),
    }
}

fn code(cell: &str) -> &str {
    cell.split('`').nth(1).unwrap_or_else(|| panic!("no code in {cell}"))
}

fn first_word(cell: &str) -> &str {
    cell.split([' ', ',', ':']).next().unwrap_or_default()
}

/// The sections of a chapter whose heading names `word`, with their blocks.
fn sections<'b>(blocks: &'b [Block<'b>], chapter: &str, word: &str) -> Vec<&'b Block<'b>> {
    let named = |heading: &str| heading.split('`').skip(1).step_by(2).any(|name| name == word);
    let found: Vec<_> = blocks.iter().filter(|block| block.chapter == chapter && named(block.section)).collect();
    assert!(!found.is_empty(), "no section of `{chapter}` is about `{word}`");
    found
}

/// Whether some example has a text in it, and says what comes of it.
fn shown(blocks: &[&Block<'_>], text: &str, of: &str) {
    let plain = |text: &str| text.replace(' ', "");
    let has = |block: &&&Block<'_>| plain(&block.text).contains(&plain(text)) && block.rows().next().is_some();
    assert!(blocks.iter().find(has).is_some(), "no example of {of} has {text} in it and says what it does");
}

#[test]
fn nothing_is_left_out() {
    let blocks = blocks();
    let keys = |chapter: &str, keys: &Keys| {
        for key in keys.known {
            let about = sections(&blocks, chapter, key);
            if !matches!(*key, "description" | "$schema") {
                shown(&about, &format!("\"{key}\":"), &format!("`{key}`"));
            }
        }
    };
    keys("The document", &DOCUMENT);
    keys("The rules of a tool", &TOOL);
    keys("A rule with conditions", &CLAUSE);
    keys("A rule with conditions", &APPROVAL);
    keys("Conditions", &CONDITION);
    keys("Limits", &LIMIT);
    let within = |chapter: &str, section: &str, texts: &[String]| {
        let about = sections(&blocks, chapter, section);
        texts.iter().for_each(|text| shown(&about, text, section));
    };
    let as_keys = |keys: &Keys| keys.known.iter().map(|key| format!("\"{key}\":")).collect::<Vec<_>>();
    within("The document", "all_tools", &as_keys(&ALL_TOOLS));
    within("The document", "methods", &as_keys(&METHOD));
    within("The rules of a tool", "rate_limit", &as_keys(&RATE_LIMIT));
    let as_words =
        |key: &str, words: &[&str]| words.iter().map(|word| format!("\"{key}\":\"{word}\"")).collect::<Vec<_>>();
    within("The document", "default", &as_words("default", &["allow", "deny"]));
    within("The document", "mode", &as_words("mode", &["enforce", "observe"]));
    within("The document", "deny_as", &as_words("deny_as", &["result", "error"]));
    within("The document", "tool_changes", &as_words("tool_changes", &CHANGES.map(|(word, _)| word)));
    within("The rules of a tool", "action", &as_words("action", &["allow", "deny", "require_approval"]));
    within("Limits", "window", &as_words("window", &["second", "minute", "hour", "day"]));
    within("Limits", "align", &as_words("align", &["rolling", "calendar"]));
    within("Limits", "scope", &as_words("scope", &SCOPES.map(|(word, _)| word)));
    within("Operators", "type", &TYPES.map(|(word, _)| format!("\"{word}\"")));
    for word in WORDS {
        shown(&sections(&blocks, "Paths", word), &format!("\"path\":\"{word}\""), word);
    }
}

#[test]
fn every_operator_is_shown_both_ways() {
    let blocks = blocks();
    for (word, _) in OPERATORS {
        let op = format!("\"op\": \"{word}\"");
        let about = sections(&blocks, "Operators", word);
        let rows: Vec<_> =
            about.iter().filter(|block| block.text.contains(&op)).flat_map(|block| block.rows()).collect();
        for (column, sense) in [(1, "require"), (2, "deny_if")] {
            for outcome in ["passes", "refused"] {
                assert!(rows.iter().any(|row| first_word(row[column]) == outcome), "`{word}`: {sense} {outcome}");
            }
        }
    }
}

#[test]
fn every_word_for_a_rule_is_told() {
    let kinds = [
        RuleKind::NoGrant,
        RuleKind::Malformed,
        RuleKind::StateUnavailable,
        RuleKind::AuditUnavailable,
        RuleKind::IdentityUnclear,
        RuleKind::UpstreamUntrusted,
        RuleKind::OtherPath,
        RuleKind::Unasked,
        RuleKind::Batch,
        RuleKind::Default,
    ];
    let chapter = REFERENCE.split("\n## ").find(|chapter| chapter.starts_with("What is told of a decision")).unwrap();
    for kind in kinds {
        let row = format!("\n| `{}` |", Rule::word(kind).pointer);
        assert!(chapter.contains(&row), "{row}");
    }
    // Another kind is a place in the policy, or needs a line above.
    match kinds[0] {
        RuleKind::Tool | RuleKind::Method | RuleKind::Default | RuleKind::Hide | RuleKind::Action => {}
        RuleKind::ToolChanges
        | RuleKind::Arguments
        | RuleKind::Require
        | RuleKind::DenyIf
        | RuleKind::Approval
        | RuleKind::Limit => {}
        RuleKind::Protocol | RuleKind::NoGrant | RuleKind::Malformed | RuleKind::StateUnavailable => {}
        RuleKind::AuditUnavailable | RuleKind::IdentityUnclear | RuleKind::UpstreamUntrusted | RuleKind::OtherPath => {}
        RuleKind::Unasked | RuleKind::Batch => {}
    }
}

#[test]
fn the_replies_are_those_that_are_sent() {
    let (mut parser, body) = (Parser::default(), r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#.into());
    let message = vet(&mut parser, &body).unwrap();
    let id = message.id().unwrap();
    let wait = std::time::Duration::from_secs(42);
    let sent = [
        reply::denied_call(id, "Only USD and EUR.", None),
        reply::denied_request(
            id,
            "/tools/pay/limits/0",
            "rate limit reached for tool `pay`; try again in 42 s",
            Some(wait),
        ),
        reply::unknown_tool(id, "drop_table"),
    ];
    let compact = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
    let blocks = blocks();
    let told: Vec<_> = blocks.iter().filter(|block| block.info == "json reply").collect();
    assert_eq!(told.len(), sent.len());
    for (block, sent) in told.iter().zip(&sent) {
        assert_eq!(compact(block.text.as_bytes()), compact(sent), "docs/policy/reference.md:{}", block.line);
    }
}
