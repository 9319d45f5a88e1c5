//! The JSON Schema (2020-12) of policies, for editors: made of the loader's own tables of keys and words.
//!
//! It says what the shape of a document must be. What only the loader can tell (patterns that tie, counters that disagree,
//! regular expressions, CEL) `policyd policy check` says.

use serde_json::{Map, Value, json};

use crate::policy::conditions::path::WORDS;
use crate::policy::load::condition::{CONDITION, OPERATORS, Operator, TYPES};
use crate::policy::load::entry::{ACTIONS, ALL_TOOLS, METHOD, TOOL};
use crate::policy::load::limit::{ALIGNS, LIMIT, RATE_LIMIT, SCOPES};
use crate::policy::load::rules::{APPROVAL, CLAUSE};
use crate::policy::load::{CHANGES, DEFAULTS, DOCUMENT, MODES, REPLIES};
use crate::policy::reader::Keys;

/// Where the schema is published, for `"$schema"` and as its `$id`.
pub const ID: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/raw/main/deploy/policies/policy.schema.json");

/// The schema.
pub fn schema() -> Value {
    let mut document = object(&DOCUMENT, &["version", "default"], document_key);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "policyd policy",
        "description": "What agents may do with the tools of an MCP server.",
        "$defs": {
            "tool": object(&TOOL, &[], entry_key),
            "method": object(&METHOD, &[], entry_key),
            "rule": object(&CLAUSE, &["conditions"], rule_key),
            "approvalRule": object(&APPROVAL, &["conditions"], rule_key),
            "condition": condition(),
            "limit": object(&LIMIT, &["counter", "window", "max"], limit_key),
            "window": window(),
            "max": { "type": "number", "minimum": 0 },
            "path": path(),
            "name": { "type": "string", "minLength": 1 },
        },
    });
    if let (Some(document), Value::Object(head)) = (document.as_object_mut(), head) {
        document.extend(head);
    }
    document
}

/// The schema as it is published, with a line break at its end.
pub fn text() -> String {
    format!("{:#}\n", schema())
}

/// An object with these keys and no others.
fn object(keys: &Keys, required: &[&str], of: fn(&str) -> (&'static str, Value)) -> Value {
    let property = |key: &&str| ((*key).to_owned(), described(of(key)));
    let properties: Map<String, Value> = keys.known.iter().map(property).collect();
    let mut object = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let (false, Some(object)) = (required.is_empty(), object.as_object_mut()) {
        object.insert("required".to_owned(), json!(required));
    }
    object
}

fn described((description, mut schema): (&'static str, Value)) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), description.into());
    }
    schema
}

fn document_key(key: &str) -> (&'static str, Value) {
    match key {
        "version" => ("The version of the language: \"1\".", json!({ "const": "1" })),
        "default" => (
            "What happens to a tool that no entry names, and to a method that carries data and that no entry names.",
            one_of(&DEFAULTS),
        ),
        "hide" => (
            "Names and patterns of tools that are removed from lists and answered like tools that do not exist. `*` matches any run of characters.",
            json!({ "type": "array", "items": { "$ref": "#/$defs/name" } }),
        ),
        "all_tools" => (
            "Rules for every call of a tool, besides the tool's own; they come right before those of the same kind.",
            object(&ALL_TOOLS, &[], entry_key),
        ),
        "tools" => (
            "Names and patterns of tools, each with its rules. `{}` allows a tool under `\"default\": \"deny\"`. An exact name beats a pattern, the longer literal part beats the shorter.",
            json!({
                "type": "object",
                "propertyNames": { "minLength": 1 },
                "additionalProperties": { "$ref": "#/$defs/tool" },
            }),
        ),
        "methods" => (
            "Rules for other requests, in both directions: `resources/read`, `prompts/get`, `sampling/createMessage` … with `args` = the request's params. Not named: what keeps the protocol going passes, what carries data follows `default`.",
            json!({
                "type": "object",
                "propertyNames": { "minLength": 1, "not": { "const": "tools/call" } },
                "additionalProperties": { "$ref": "#/$defs/method" },
            }),
        ),
        "mode" => (
            "`observe` decides, counts and records, but lets everything pass: for rolling a policy out.",
            one_of(&MODES),
        ),
        "deny_as" => (
            "How a denied call is answered: with a result that the model can read (the default), or with a JSON-RPC error.",
            one_of(&REPLIES),
        ),
        "tool_changes" => (
            "What becomes of a tool whose definition changes, or that is new, after the server's first list: `alert` (the default) warns, `deny` also refuses its calls until `policyd tools accept SERVER TOOL`, `allow` only records it.",
            one_of(&CHANGES),
        ),
        "description" => ("For people; ignored.", text_schema()),
        "$schema" => ("For editors; ignored.", text_schema()),
        _ => unknown(),
    }
}

fn entry_key(key: &str) -> (&'static str, Value) {
    match key {
        "action" => (
            "`deny` denies every call; `require_approval` waits for a person; `allow` (the default) leaves it to the rules.",
            one_of(&ACTIONS),
        ),
        "reason" => ("What the agent is told where `action` denies.", text_schema()),
        "arguments" => (
            "`declared`: the arguments must satisfy the `inputSchema` that the server last listed for the tool.",
            json!({ "const": "declared" }),
        ),
        "require" => ("Every rule must hold, or the call is denied.", rules("rule")),
        "deny_if" => ("If one of these rules holds, the call is denied.", rules("rule")),
        "approve_if" => ("If one of these rules holds, the call waits for a person.", rules("approvalRule")),
        "limits" => (
            "How much may be done within a time. All limits of a call are reserved together, or none.",
            json!({ "type": "array", "items": { "$ref": "#/$defs/limit" } }),
        ),
        "rate_limit" => (
            "Short for one limit on calls by session, on a counter of its own: `\"10/minute\"`, or `max` within `window` seconds. A new session begins at zero: only `limits` with the scope `grant` or wider bound an agent.",
            json!({ "anyOf": [
                { "type": "string", "pattern": rate() },
                object(&RATE_LIMIT, &["max", "window"], rate_key),
            ] }),
        ),
        _ => unknown(),
    }
}

fn rule_key(key: &str) -> (&'static str, Value) {
    match key {
        "conditions" => (
            "All of them must hold for the rule to hold; without any it always does.",
            json!({ "type": "array", "items": { "$ref": "#/$defs/condition" } }),
        ),
        "on_deny" => ("What the agent is told where this rule denies.", text_schema()),
        "name" => ("For people.", text_schema()),
        "timeout" => (
            "How long a person is waited for: `30s`, `10m`, `2h`.",
            json!({ "type": "string", "pattern": format!("^({WINDOW_WORDS}|{LENGTH})$") }),
        ),
        _ => unknown(),
    }
}

fn limit_key(key: &str) -> (&'static str, Value) {
    match key {
        "counter" => (
            "The counter's name. Limits with the same counter and scope share it, and must agree on `increment_from`.",
            json!({ "$ref": "#/$defs/name" }),
        ),
        "window" => ("In no interval of this length is more than `max` admitted.", json!({ "$ref": "#/$defs/window" })),
        "max" => ("The most that is admitted within the window.", json!({ "$ref": "#/$defs/max" })),
        "scope" => (
            "Who shares the counter: everyone under the grant (the default), the session, the server, this host, or all hosts. An agent can begin a new session at any time: only `grant` and wider bound it.",
            one_of(&SCOPES),
        ),
        "align" => (
            "`calendar`: the window is the UTC hour, day … that contains now, instead of the last so much time.",
            one_of(&ALIGNS),
        ),
        "increment_from" => (
            "The numeric argument that is added, exactly as written. Without it each call adds 1.",
            json!({ "type": "string", "pattern": format!("^args({STEP})+$") }),
        ),
        "on_deny" => ("What the agent is told where this limit denies.", text_schema()),
        _ => unknown(),
    }
}

fn rate_key(key: &str) -> (&'static str, Value) {
    match key {
        "max" => ("The most calls within the window.", json!({ "$ref": "#/$defs/max" })),
        "window" => (
            "Seconds, or a word or duration.",
            json!({ "anyOf": [{ "type": "number", "exclusiveMinimum": 0 }, { "$ref": "#/$defs/window" }] }),
        ),
        _ => unknown(),
    }
}

fn condition_key(key: &str) -> (&'static str, Value) {
    match key {
        "path" => (
            "What is looked at: `args.amount`, `args.items[].price`, `args.to[0]`, `args[\"a.b\"]`; or `grant.name`, `server.name`, `tool.name`, `identity.user` …",
            json!({ "$ref": "#/$defs/path" }),
        ),
        "op" => ("How it is compared with `value`.", operators()),
        "value" => ("What it is compared with.", json!({})),
        "cel" => (
            "A CEL expression over `args`, `grant`, `server`, `tool` and `identity` that gives true or false.",
            json!({ "type": "string", "minLength": 1 }),
        ),
        _ => unknown(),
    }
}

/// `{"path", "op", "value"}` or `{"cel"}`.
fn condition() -> Value {
    let mut condition = object(&CONDITION, &[], condition_key);
    let values: Vec<Value> = OPERATORS
        .iter()
        .map(|(word, op)| {
            json!({ "if": { "properties": { "op": { "const": word } }, "required": ["op"] },
                    "then": { "properties": { "value": described(value(*op)) } } })
        })
        .collect();
    let rest = json!({
        "if": { "required": ["cel"] },
        "then": { "maxProperties": 1 },
        "else": {
            "required": ["path", "op"],
            "if": { "properties": { "op": { "const": "exists" } } },
            "else": { "required": ["value"] },
        },
        "allOf": values,
    });
    if let (Some(condition), Value::Object(rest)) = (condition.as_object_mut(), rest) {
        condition.extend(rest);
    }
    condition
}

/// The operators, each with what it says.
fn operators() -> Value {
    let one = |(word, op): &(&str, Operator)| json!({ "const": word, "description": says(*op) });
    json!({ "type": "string", "oneOf": OPERATORS.iter().map(one).collect::<Vec<_>>() })
}

/// When an operator holds.
fn says(op: Operator) -> &'static str {
    match op {
        Operator::Eq => "equal, as JSON; numbers by their exact value",
        Operator::Neq => "not equal",
        Operator::In => "equal to one of an array",
        Operator::NotIn => "equal to none of an array",
        Operator::Lt => "a smaller number",
        Operator::Lte => "a number that is not greater",
        Operator::Gt => "a greater number",
        Operator::Gte => "a number that is not smaller",
        Operator::Regex => "a string in which the pattern is found; write `^…$` for the whole of it",
        Operator::Contains => "a string with this part, an array with this element, an object with this key",
        Operator::Exists => "there and not null; `false` inverts",
        Operator::LenLte => "at most so many characters, elements or members",
        Operator::StartsWith => "a string that begins so",
        Operator::UnderPath => "a file path that stays below a directory",
        Operator::HostIn => "a URL with one of these hosts",
        Operator::Type => "of one of these JSON types",
    }
}

/// What can stand in an operator's `value`.
fn value(op: Operator) -> (&'static str, Value) {
    let types: Vec<&str> = TYPES.iter().map(|(word, _)| *word).collect();
    match op {
        Operator::Eq | Operator::Neq => ("Any JSON value.", json!({})),
        Operator::In | Operator::NotIn => ("The values.", json!({ "type": "array" })),
        Operator::Lt | Operator::Lte | Operator::Gt | Operator::Gte => ("The bound.", json!({ "type": "number" })),
        Operator::Regex => (
            "A pattern in RE2's syntax: no look-around, no back-references. Not anchored: write `^…$`.",
            json!({ "type": "string" }),
        ),
        Operator::Contains => ("The part, element or key.", json!({})),
        Operator::Exists => {
            ("`true` (the default): present and not null. `false`: absent or null.", json!({ "type": "boolean" }))
        }
        Operator::LenLte => ("The greatest length.", json!({ "type": "integer", "minimum": 0 })),
        Operator::StartsWith => ("The beginning.", json!({ "type": "string" })),
        Operator::UnderPath => ("An absolute directory, or several.", texts()),
        Operator::HostIn => ("A host, or several.", texts()),
        Operator::Type => (
            "A type, or several.",
            json!({ "anyOf": [{ "enum": types }, { "type": "array", "items": { "enum": types } }] }),
        ),
    }
}

fn texts() -> Value {
    json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
}

fn rules(name: &str) -> Value {
    json!({ "type": "array", "items": { "$ref": format!("#/$defs/{name}") } })
}

fn text_schema() -> Value {
    json!({ "type": "string" })
}

fn one_of<T>(words: &[(&'static str, T)]) -> Value {
    json!({ "enum": words.iter().map(|(word, _)| *word).collect::<Vec<_>>() })
}

/// A key for which there is nothing here yet: it takes nothing, and a test says so.
fn unknown() -> (&'static str, Value) {
    ("", json!({ "not": {} }))
}

const WINDOW_WORDS: &str = "second|minute|hour|day";
/// A duration that is not zero.
const LENGTH: &str = "0*[1-9][0-9]*[smhd]";
/// A step of a path.
const STEP: &str = r#"\.[^.\[\]"]+|\[[0-9]*\]|\["([^"\\]|\\.)*"\]"#;

fn window() -> Value {
    json!({
        "type": "string",
        "pattern": format!("^({WINDOW_WORDS}|{LENGTH})$"),
        "examples": ["second", "minute", "hour", "day", "90s", "2h"],
    })
}

fn rate() -> String {
    format!("^[0-9]+/({WINDOW_WORDS}|{LENGTH})$")
}

fn path() -> Value {
    let words = WORDS.map(|word| word.replace('.', r"\.")).join("|");
    let examples: Vec<&str> = ["args.amount", "args.items[].price"].into_iter().chain(WORDS).collect();
    json!({
        "type": "string",
        "pattern": format!("^(args({STEP})+|{words})$"),
        "examples": examples,
    })
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
