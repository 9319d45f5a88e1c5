//! What policyd refuses for its form: a row for each, whatever the transport that carries it.
//!
//! Each row's message calls the tool [`Row::tool`], which every peer would execute had it come well-formed; so what was
//! executed shows whether the bytes reached a server that takes them.

use crate::strictness::Peer::{Python1, Python2, Rust, TypeScript};
use crate::systems::repository;

/// The servers that the rows are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// npm `@modelcontextprotocol/sdk` 1.32.2 behind Express's JSON reader.
    TypeScript,
    /// PyPI `mcp` 1.30.0.
    Python1,
    /// PyPI `mcp` 2.3.0.
    Python2,
    /// crate `rmcp` 3.9.0.
    Rust,
}

/// A form that is refused.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is, in a word or two; unique.
    pub what: &'static str,
    /// The word of the cause in records and metrics.
    pub cause: &'static str,
    /// Header fields, in order; without a Content-Type it is JSON's.
    pub fields: Vec<(&'static str, &'static str)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the body alone is what is wrong, so that a line or an element of a batch could carry it.
    pub in_body: bool,
    /// Who executes it over Streamable HTTP when it reaches them.
    pub executed_by: &'static [Peer],
}

impl Row {
    /// The tool that the row's message calls.
    pub fn tool(&self) -> String {
        tool(self.what)
    }
}

fn tool(what: &str) -> String {
    what.replace(' ', "_")
}

/// JSON's media type.
pub const JSON: (&str, &str) = ("content-type", "application/json");

/// A message that every peer executes: what the rows are made of.
pub fn call(tool: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#)
}

/// A body that is wrong as it stands; `TOOL` in it becomes the row's tool.
fn body(what: &'static str, cause: &'static str, text: &str, executed_by: &'static [Peer]) -> Row {
    let body = text.replace("CALL", &call("TOOL")).replace("TOOL", &tool(what)).into_bytes();
    Row { what, cause, fields: vec![JSON], body, in_body: true, executed_by }
}

/// The same of bytes that are no text.
fn bytes(
    what: &'static str,
    cause: &'static str,
    make: impl FnOnce(String) -> Vec<u8>,
    executed_by: &'static [Peer],
) -> Row {
    Row { body: make(call(&tool(what))), ..body(what, cause, "", executed_by) }
}

/// A head that is wrong, before a good body.
fn head(
    what: &'static str,
    cause: &'static str,
    fields: &[(&'static str, &'static str)],
    executed_by: &'static [Peer],
) -> Row {
    Row { fields: fields.to_vec(), in_body: false, ..body(what, cause, "CALL", executed_by) }
}

const ALL: &[Peer] = &[TypeScript, Python1, Python2, Rust];
const PYTHON: &[Peer] = &[Python1, Python2];

/// Every row. `executed_by` was measured, and is measured again by each run of the test.
pub fn rows() -> Vec<Row> {
    let mut rows = text();
    rows.extend(envelope());
    rows.extend(heads());
    rows
}

/// What docs/mcp.md says of the reply to a cause.
pub fn documented(word: &str) -> String {
    let text = std::fs::read_to_string(repository().join("docs/mcp.md")).expect("a file of the repository");
    let row = text.lines().find(|line| line.ends_with(&format!("| `{word}` |"))).expect("a row for each cause");
    row.rsplit(" | ").nth(1).expect("a column before the cause").to_owned()
}

/// Wrong JSON text.
fn text() -> Vec<Row> {
    let nested = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"TOOL","arguments":{{"a":{}{}}}}}}}"#,
        "[".repeat(70),
        "]".repeat(70)
    );
    let with = |argument: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"TOOL","arguments":{{"a":{argument}}}}}}}"#
        )
    };
    vec![
        body("no body", "empty", "", &[]),
        body("white space", "empty", " \r\n\t", &[]),
        bytes("UTF-16", "syntax", |text| text.encode_utf16().flat_map(u16::to_le_bytes).collect(), &[Python1]),
        bytes("UTF-16 with a mark", "byte-order-mark", |text| utf16_marked(&text), &[Python1]),
        bytes("UTF-32 with a mark", "byte-order-mark", |text| utf32_marked(&text), &[Python1]),
        bytes(
            "UTF-8 with a mark",
            "byte-order-mark",
            |text| [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            &[TypeScript, Python1],
        ),
        bytes("invalid UTF-8", "not-utf8", |text| splice(&text, b"\xff"), &[TypeScript]),
        bytes("overlong UTF-8", "not-utf8", |text| splice(&text, b"\xc0\xaf"), &[TypeScript]),
        bytes("WTF-8", "lone-surrogate", |text| splice(&text, b"\xed\xa0\x80"), &[TypeScript, Python1]),
        body("a comment", "syntax", "/* */CALL", &[]),
        body("NaN", "syntax", &with("NaN"), PYTHON),
        body("Infinity", "syntax", &with("Infinity"), PYTHON),
        body("minus Infinity", "bad-number", &with("-Infinity"), PYTHON),
        body("a trailing comma", "syntax", &with("[1,]"), &[]),
        body("single quotes", "syntax", "{'jsonrpc':'2.0','id':1,'method':'tools/call','params':{'name':'TOOL'}}", &[]),
        body(
            "cut short",
            "truncated",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"TOOL"}"#,
            &[],
        ),
        body("two messages", "trailing-bytes", "CALLCALL", &[]),
        body("bytes behind it", "trailing-bytes", "CALL\0", &[]),
        body("70 levels", "too-deep", &nested, ALL),
        body("a control character", "control-character", &with("\"\u{1}\""), &[]),
        body("a line end in a string", "control-character", &with("\"\r\""), &[]),
        body("a bad escape", "bad-escape", &with(r#""\x41""#), &[]),
        body("half a pair", "lone-surrogate", &with(r#""\ud800""#), &[TypeScript, Python1]),
        body("half a pair in a key", "lone-surrogate", &with(r#"{"\udc00":1}"#), &[TypeScript]),
        body("leading zero", "bad-number", &with("01"), &[]),
        body("leading plus", "syntax", &with("+1"), &[]),
        body("no digit after the point", "bad-number", &with("1."), &[]),
        body("beyond a double", "number-range", &with("1e999"), &[TypeScript, Python1, Python2]),
        body(
            "a name twice",
            "duplicate-key",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"harmless","name":"TOOL"}}"#,
            &[TypeScript, Python1, Python2],
        ),
        body(
            "a name twice by an escape",
            "duplicate-key",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"harmless","n\u0061me":"TOOL"}}"#,
            &[TypeScript, Python1, Python2],
        ),
        body("an argument twice", "duplicate-key", &with(r#"1,"a":2"#), ALL),
        body("a deep argument twice", "duplicate-key", &with(r#"[{"b":{"c":1,"c":2}}]"#), ALL),
        body("NUL in a key", "nul-in-key", &with(r#"1,"b\u0000":2"#), ALL),
    ]
}

/// JSON that is no strict JSON-RPC.
fn envelope() -> Vec<Row> {
    let params = r#""params":{"name":"TOOL","arguments":{}}"#;
    let top = |rest: &str| format!(r#"{{"jsonrpc":"2.0",{rest}}}"#);
    vec![
        body("a string", "not-an-object", r#""TOOL""#, &[]),
        body(
            "a number for a version",
            "jsonrpc-version",
            &format!(r#"{{"jsonrpc":2.0,"id":1,"method":"tools/call",{params}}}"#),
            &[],
        ),
        body("no version", "jsonrpc-version", &format!(r#"{{"id":1,"method":"tools/call",{params}}}"#), &[]),
        body(
            "version 1.0",
            "jsonrpc-version",
            &format!(r#"{{"jsonrpc":"1.0","id":1,"method":"tools/call",{params}}}"#),
            &[],
        ),
        body(
            "an unknown member",
            "unknown-key",
            &top(&format!(r#""id":1,"method":"tools/call",{params},"x":1"#)),
            &[Python1, Python2, Rust],
        ),
        body(
            "a method in capitals",
            "key-variant",
            &top(&format!(r#""id":1,"method":"ping","METHOD":"tools/call",{params}"#)),
            &[],
        ),
        body(
            "a name in capitals",
            "key-variant",
            &top(r#""id":1,"method":"tools/call","params":{"name":"TOOL","Name":"x"}"#),
            ALL,
        ),
        body(
            "a folded name",
            "key-variant",
            &top(r#""id":1,"method":"tools/call","params":{"name":"TOOL","argument\u017f":{}}"#),
            ALL,
        ),
        body(
            "a call and its result",
            "hybrid",
            &top(&format!(r#""id":1,"method":"tools/call",{params},"result":{{}}"#)),
            PYTHON,
        ),
        body(
            "a call and an error",
            "hybrid",
            &top(&format!(r#""id":1,"method":"tools/call",{params},"error":{{"code":1,"message":""}}"#)),
            &[],
        ),
        body("result and error", "hybrid", &top(r#""id":1,"result":{},"error":{"code":1,"message":""}"#), &[]),
        body("neither", "no-kind", &top(&format!(r#""id":1,{params}"#)), &[]),
        body(
            "a fractional id",
            "bad-id",
            &top(&format!(r#""id":1.0,"method":"tools/call",{params}"#)),
            &[TypeScript, Rust],
        ),
        body("an id of null", "bad-id", &top(&format!(r#""id":null,"method":"tools/call",{params}"#)), &[]),
        body("an id of true", "bad-id", &top(&format!(r#""id":true,"method":"tools/call",{params}"#)), &[]),
        body("an array for an id", "bad-id", &top(&format!(r#""id":[1],"method":"tools/call",{params}"#)), &[]),
        body("a response without id", "missing-id", &top(r#""result":{}"#), &[]),
        body("a number for a method", "bad-method", &top(&format!(r#""id":1,"method":1,{params}"#)), &[]),
        body("an empty method", "bad-method", &top(&format!(r#""id":1,"method":"",{params}"#)), &[]),
        body("a call in capitals", "method-variant", &top(&format!(r#""id":1,"method":"Tools/Call",{params}"#)), &[]),
        body("a call with a space", "method-variant", &top(&format!(r#""id":1,"method":"tools/call ",{params}"#)), &[]),
        body(
            "an array for params",
            "params-not-object",
            &top(r#""id":1,"method":"tools/call","params":["TOOL",{}]"#),
            &[],
        ),
        body("null for params", "params-not-object", &top(r#""id":1,"method":"tools/call","params":null"#), &[]),
        body(
            "an array for arguments",
            "arguments-not-object",
            &top(r#""id":1,"method":"tools/call","params":{"name":"TOOL","arguments":[]}"#),
            &[],
        ),
        body(
            "null for arguments",
            "arguments-not-object",
            &top(r#""id":1,"method":"tools/call","params":{"name":"TOOL","arguments":null}"#),
            &[Python1, Python2, Rust],
        ),
        body(
            "a string for meta",
            "meta-not-object",
            &top(r#""id":1,"method":"tools/call","params":{"name":"TOOL","_meta":"x"}"#),
            &[],
        ),
        body("a string for a result", "result-not-object", &top(r#""id":1,"result":"x""#), &[]),
        body("a call without id", "call-without-id", &top(&format!(r#""method":"tools/call",{params}"#)), &[]),
        body("a number for a name", "bad-tool-name", &top(r#""id":1,"method":"tools/call","params":{"name":1}"#), &[]),
        body("no name", "bad-tool-name", &top(r#""id":1,"method":"tools/call","params":{}"#), &[]),
    ]
}

/// Heads that say something else of a good body.
fn heads() -> Vec<Row> {
    let gzip = |what, fields: &[_], executed_by| Row {
        body: gzip(call(&tool(what)).as_bytes()),
        ..head(what, "content-encoding", fields, executed_by)
    };
    let utf16 = |what, charset, executed_by| Row {
        body: call(&tool(what)).encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ..head(what, "media-type-parameter", &[("content-type", charset)], executed_by)
    };
    vec![
        head("no media type", "media-type", &[], &[]),
        head("plain text", "media-type", &[("content-type", "text/plain")], &[]),
        head("a media type with a tail", "media-type", &[("content-type", "application/jsonfoo")], &[]),
        head("a media type with a suffix", "media-type", &[("content-type", "application/vnd.api+json")], &[]),
        head("two media types in one", "media-type", &[("content-type", "application/json, text/plain")], PYTHON),
        head(
            "latin-1",
            "media-type-parameter",
            &[("content-type", "application/json; charset=iso-8859-1")],
            &[Python1, Python2, Rust],
        ),
        head("a parameter", "media-type-parameter", &[("content-type", "application/json; x=y")], ALL),
        utf16("UTF-16 by its charset", "application/json; charset=utf-16le", &[TypeScript, Python1]),
        gzip("gzip", &[JSON, ("content-encoding", "gzip")], &[TypeScript]),
        head("plain called gzip", "content-encoding", &[JSON, ("content-encoding", "gzip")], &[Python1, Python2, Rust]),
        head(
            "an unknown coding",
            "content-encoding",
            &[JSON, ("content-encoding", "x-mine")],
            &[Python1, Python2, Rust],
        ),
        head("two media types", "repeated-header", &[JSON, ("content-type", "text/plain")], &[Python1, Python2, Rust]),
        head("two sessions", "repeated-header", &[JSON, ("mcp-session-id", "a"), ("mcp-session-id", "b")], ALL),
        head(
            "two versions",
            "repeated-header",
            &[JSON, ("mcp-protocol-version", "2025-06-18"), ("mcp-protocol-version", "2025-03-26")],
            &[Python1, Python2, Rust],
        ),
        head("an underscore", "header-variant", &[JSON, ("mcp_session_id", "a")], ALL),
        head("another method", "header-mismatch", &[JSON, ("mcp-method", "tools/list")], ALL),
        head("another name", "header-mismatch", &[JSON, ("mcp-name", "harmless")], ALL),
        head("a bad name", "bad-header-value", &[JSON, ("mcp-name", "=?base64?x?=")], ALL),
    ]
}

fn utf16_marked(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

fn utf32_marked(text: &str) -> Vec<u8> {
    ['\u{feff}'].into_iter().chain(text.chars()).flat_map(|c| u32::from(c).to_le_bytes()).collect()
}

/// `text` with an argument that holds `bytes`.
fn splice(text: &str, bytes: &[u8]) -> Vec<u8> {
    let (before, after) = text.split_once("\"arguments\":{").expect("a call");
    [before.as_bytes(), b"\"arguments\":{\"a\":\"", bytes, b"\"", after.as_bytes()].concat()
}

/// One stored block (RFC 1951, 3.2.4; RFC 1952).
fn gzip(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("a short message");
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    [
        &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1][..],
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
        data,
        &(!crc).to_le_bytes(),
        &u32::from(length).to_le_bytes(),
    ]
    .concat()
}
