//! A policy's text as a tree in which everything knows its place. Strict JSON (RFC 8259), for small documents.

use std::collections::HashMap;
use std::ops::Range;

use serde::de::IgnoredAny;

use crate::diagnostic::Diagnostic;

/// How deep a document may be nested.
const MAX_DEPTH: usize = 64;

/// No JSON.
const SYNTAX: &str = "syntax";
/// A key stands twice in one object.
const DUPLICATE_KEY: &str = "duplicate-key";

/// A value and its place in the text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub span: Range<usize>,
    pub json: Json,
}

/// A JSON value. A number is its text: `source[node.span]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool,
    Number,
    String(String),
    Array(Vec<Node>),
    Object(Vec<Member>),
}

/// A key of an object and what it holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub key: String,
    pub key_span: Range<usize>,
    pub value: Node,
}

impl Node {
    /// The place to show: of an array or object its opening bracket, not all of its lines.
    pub fn place(&self) -> Range<usize> {
        match self.json {
            Json::Array(_) | Json::Object(_) => self.span.start..self.span.start + 1,
            _ => self.span.clone(),
        }
    }

    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self.json {
            Json::Null => "null",
            Json::Bool => "a boolean",
            Json::Number => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }
}

/// Reads a document. Duplicate keys go into `problems` and the first one stays in the tree; a syntax error ends the
/// reading, with the problems found so far and itself.
pub(crate) fn parse(text: &str, problems: &mut Vec<Diagnostic>) -> Option<Node> {
    let mut parser = Parser { text, at: 0, counted: 0, line: 1, problems };
    match parser.document() {
        Ok(node) => Some(node),
        Err(problem) => {
            parser.problems.push(problem);
            None
        }
    }
}

/// As [`parse`], of any number of values one after the other.
pub(crate) fn parse_many(text: &str, problems: &mut Vec<Diagnostic>) -> Option<Vec<Node>> {
    let mut parser = Parser { text, at: 0, counted: 0, line: 1, problems };
    let mut nodes = Vec::new();
    let read = parser.start().and_then(|()| {
        while parser.at < text.len() {
            nodes.push(parser.value(0)?);
            parser.space();
        }
        Ok(())
    });
    match read {
        Ok(()) => Some(nodes),
        Err(problem) => {
            parser.problems.push(problem);
            None
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// The place up to which lines were counted, and the line that it stands on.
    counted: usize,
    line: usize,
    problems: &'a mut Vec<Diagnostic>,
}

impl Parser<'_> {
    fn start(&mut self) -> Result<(), Diagnostic> {
        if self.text.starts_with('\u{feff}') {
            return Err(problem(0..'\u{feff}'.len_utf8(), "the file begins with a byte order mark")
                .help("save it as UTF-8 without a byte order mark"));
        }
        self.space();
        Ok(())
    }

    fn document(&mut self) -> Result<Node, Diagnostic> {
        self.start()?;
        let node = self.value(0)?;
        self.space();
        if self.at < self.text.len() {
            return Err(self.unexpected("the end of the file"));
        }
        Ok(node)
    }

    fn value(&mut self, depth: usize) -> Result<Node, Diagnostic> {
        self.space();
        let start = self.at;
        if depth > MAX_DEPTH {
            return Err(problem(self.here(), "the document is nested too deeply"));
        }
        let json = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Json::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'a'..=b'z' | b'A'..=b'Z') => self.word()?,
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Node { span: start..self.at, json })
    }

    fn object(&mut self, depth: usize) -> Result<Json, Diagnostic> {
        self.at += 1;
        let mut members: Vec<Member> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        self.space();
        if self.skip(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a key in double quotes"));
            }
            let start = self.at;
            let line = self.line();
            let key = self.string()?;
            let key_span = start..self.at;
            self.space();
            if !self.skip(b':') {
                return Err(self.unexpected("`:`"));
            }
            let value = self.value(depth + 1)?;
            if let Some(line) = lines.get(&key) {
                let problem = problem(key_span, format!("duplicate key `{key}`")).code(DUPLICATE_KEY);
                self.problems.push(problem.help(format!("it stands on line {line} too")));
            } else {
                lines.insert(key.clone(), line);
                members.push(Member { key, key_span, value });
            }
            self.space();
            if self.skip(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.skip(b',') {
                return Err(self.unexpected("`,` or `}`"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, Diagnostic> {
        self.at += 1;
        let mut elements = Vec::new();
        self.space();
        if self.skip(b']') {
            return Ok(Json::Array(elements));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            self.space();
            if self.skip(b']') {
                return Ok(Json::Array(elements));
            }
            if !self.skip(b',') {
                return Err(self.unexpected("`,` or `]`"));
            }
        }
    }

    fn string(&mut self) -> Result<String, Diagnostic> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break self.at += 1,
                // Whatever follows a backslash is no end of the string; serde_json judges the escape below.
                Some(b'\\') => self.at += 1 + self.rest().chars().nth(1).map_or(0, char::len_utf8),
                Some(_) => self.at += 1,
                None => return Err(problem(start..start + 1, "this string has no end")),
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        serde_json::from_str(text).map_err(|_| {
            let mut problem = problem(start..self.at, "this string is not valid JSON");
            problem.help = Some("escape control characters, `\"` and `\\`, and write surrogates in pairs".to_owned());
            problem
        })
    }

    fn number(&mut self) -> Result<Json, Diagnostic> {
        let start = self.at;
        self.at += self.run(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        let text = self.text.get(start..self.at).unwrap_or_default();
        // The grammar only; the value is read from the text where it is needed.
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Ok(Json::Number),
            Err(_) => Err(problem(start..self.at, "this is not a JSON number")),
        }
    }

    fn word(&mut self) -> Result<Json, Diagnostic> {
        let start = self.at;
        self.at += self.run(|byte| byte.is_ascii_alphanumeric());
        match self.text.get(start..self.at).unwrap_or_default() {
            "null" => Ok(Json::Null),
            "true" | "false" => Ok(Json::Bool),
            word => Err(problem(start..self.at, format!("`{word}` is not a JSON value"))),
        }
    }

    /// The line of this place. A long document is counted once, not for each of its keys.
    fn line(&mut self) -> usize {
        let passed = self.text.as_bytes().get(self.counted..self.at).unwrap_or_default();
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count();
        self.counted = self.at;
        self.line
    }

    fn space(&mut self) {
        self.at += self.run(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    /// How many bytes from here on are `such`, which must hold for ASCII only.
    fn run(&self, such: impl Fn(u8) -> bool) -> usize {
        self.rest().bytes().take_while(|&byte| such(byte)).count()
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn here(&self) -> Range<usize> {
        self.at..self.at + self.rest().chars().next().map_or(0, char::len_utf8)
    }

    fn unexpected(&self, wanted: &str) -> Diagnostic {
        let found = self.rest().chars().next().map_or("the end of the file".to_owned(), |c| format!("`{c}`"));
        problem(self.here(), format!("expected {wanted}, found {found}"))
    }
}

fn problem(span: Range<usize>, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(span, message).code(SYNTAX)
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<Diagnostic>) {
        let mut problems = Vec::new();
        (parse(text, &mut problems), problems)
    }

    #[test]
    fn keys_are_compared_after_unescaping() {
        let (node, problems) = read("{\"a\": 1,\n \"\\u0061\": 2}");
        assert!(matches!(node.expect("a tree").json, Json::Object(members) if members.len() == 1));
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].message, "duplicate key `a`");
        assert_eq!(problems[0].span, 10..18);
    }

    #[test]
    fn a_syntax_error_has_its_place() {
        for (text, message, span) in [
            ("", "expected a value, found the end of the file", 0..0),
            ("{\"a\" 1}", "expected `:`, found `1`", 5..6),
            ("{\"a\": 1,}", "expected a key in double quotes, found `}`", 8..9),
            ("[1 2]", "expected `,` or `]`, found `2`", 3..4),
            ("{} x", "expected the end of the file, found `x`", 3..4),
            ("[01]", "this is not a JSON number", 1..3),
            ("[+1]", "expected a value, found `+`", 1..2),
            ("[NaN]", "`NaN` is not a JSON value", 1..4),
            ("[\"\\ud800\"]", "this string is not valid JSON", 1..9),
            ("[\"a\nb\"]", "this string is not valid JSON", 1..6),
            ("[\"ab", "this string has no end", 1..2),
            ("\u{feff}{}", "the file begins with a byte order mark", 0..3),
            ("{\u{e9}}", "expected a key in double quotes, found `é`", 1..3),
        ] {
            let (node, problems) = read(text);
            assert_eq!(node, None, "{text}");
            assert_eq!((problems[0].message.as_str(), problems[0].span.clone()), (message, span), "{text}");
        }
        assert!(read(&"[".repeat(100_000)).0.is_none(), "bounded depth");
    }

    proptest! {
        /// On the same texts both say yes or no, but for what is meant to differ: depth and duplicate keys.
        #[test]
        fn accepts_what_serde_json_accepts(text in "[\\[\\]{}\",:01eE.+\\-ntrufalse\\\\ \u{e9}]{0,24}") {
            let (node, _) = read(&text);
            prop_assert_eq!(node.is_some(), serde_json::from_str::<IgnoredAny>(&text).is_ok());
        }
    }
}
