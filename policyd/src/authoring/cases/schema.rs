//! The JSON Schema of test files, for editors. Published as `deploy/policies/tests.schema.json`.

use serde_json::{Map, Value, json};

use super::read::{CASE, DECISIONS, FILE, IDENTITY, MOST_TIMES, SENDERS, SHORT_CASE, STEP, SUITE};
use crate::authoring::reader::Keys;

/// The schema (draft 2020-12).
pub(crate) fn schema() -> Value {
    let mut file = object(&FILE, &[]);
    file["oneOf"] = json!([
        { "required": ["policy", "cases"], "properties": { "suites": false } },
        { "required": ["suites"], "properties": { "policy": false, "cases": false } },
    ]);
    let mut short = object(&SHORT_CASE, &["name"]);
    short["properties"]["steps"] = json!(false);
    action(&mut short);
    let mut step = object(&STEP, &[]);
    action(&mut step);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tests of policyd's policies",
        "description": "Cases over time: calls at given instants, and what a policy is to decide about each. \
                        `policyd policy test FILE` runs them.",
        "$defs": {
            "suite": object(&SUITE, &["policy", "cases"]),
            "case": {
                "if": { "type": "object", "required": ["steps"] },
                "then": object(&CASE, &["name", "steps"]),
                "else": short,
            },
            "step": step,
        },
    });
    if let (Value::Object(schema), Value::Object(file)) = (&mut schema, file) {
        schema.extend(file);
    }
    schema
}

/// An object with these keys and no others.
fn object(keys: &Keys, required: &[&str]) -> Value {
    let properties: Map<String, Value> = keys.known.iter().map(|key| ((*key).to_owned(), property(key))).collect();
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}

/// Exactly one thing is done, and what is done has its keys.
fn action(step: &mut Value) {
    let without = |keys: &[&str]| -> Value {
        keys.iter().map(|key| ((*key).to_owned(), Value::Bool(false))).collect::<Map<_, _>>().into()
    };
    let call = without(&["method", "params", "message", "lists", "hides"]);
    let method = without(&["call", "args", "each", "message", "lists", "hides"]);
    let message = without(&["call", "args", "each", "method", "params", "lists", "hides"]);
    let lists = without(&[
        "call",
        "args",
        "each",
        "method",
        "params",
        "message",
        "from",
        "times",
        "every",
        "unsent",
        "expect",
        "rule",
        "reason",
        "reason_contains",
        "retry_after",
        "counters",
    ]);
    step["oneOf"] = json!([
        { "required": ["call", "expect"], "properties": call, "not": { "required": ["args", "each"] } },
        { "required": ["method", "expect"], "properties": method },
        { "required": ["message", "expect"], "properties": message },
        { "anyOf": [{ "required": ["lists"] }, { "required": ["hides"] }], "properties": lists },
    ]);
}

const DURATION: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";

/// What a key holds; it means the same wherever it stands.
fn property(key: &str) -> Value {
    let words = |words: Vec<&str>| json!({ "enum": words });
    let text = || json!({ "type": "string" });
    let name = || json!({ "type": "string", "minLength": 1 });
    let duration = || json!({ "type": "string", "minLength": 2, "pattern": DURATION });
    let (mut schema, description) = match key {
        "$schema" => (text(), "Where editors find this schema."),
        "description" => (text(), "For people; not looked at."),
        "policy" => (name(), "The policy's path, relative to this file."),
        "tools" => (
            json!({ "anyOf": [
                name(),
                { "type": "array", "items": { "type": "object", "required": ["name", "inputSchema"] } },
                { "type": "object" },
            ] }),
            "What the server lists, for `\"arguments\": \"declared\"`: the path of a `tools/list` dump, relative to this \
             file, or the tools themselves. Without it the server has listed nothing.",
        ),
        "start" => (text(), "When a case begins (RFC 3339). Without it 2026-01-01T00:00:00Z."),
        "grant" => (
            json!({ "type": ["string", "null"], "minLength": 1 }),
            "The grant's name; `null`: no grant covers the caller. Without it `agent`.",
        ),
        "server" => (name(), "The server's name. Without it `server`."),
        "session" => (name(), "The key of scope `session`. Without it `session`."),
        "identity" => (object(&IDENTITY, &[]), "Facts about the caller, as `identity.*` reads them."),
        "pid" | "uid" => (json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }), "1000 without it."),
        "user" | "exe" | "unit" => (json!({ "type": ["string", "null"] }), "`null`, or left out: not known."),
        "cgroup" => (text(), "`/` without it."),
        "cases" => (
            json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/case" } }),
            "Each begins with counters that nobody has used.",
        ),
        "suites" => (
            json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/suite" } }),
            "Cases of several policies. What stands beside them holds for all that do not say otherwise.",
        ),
        "name" => (name(), "What the case shows, in a few words."),
        "steps" => (
            json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/step" } }),
            "What happens, in the order of time.",
        ),
        "call" => (name(), "Calls this tool."),
        "args" => (json!({ "type": "object" }), "The call's arguments. Without them the call has none."),
        "each" => (
            json!({ "type": "array", "minItems": 1, "items": { "type": "object" } }),
            "Several calls, each with these arguments, that all come to the same.",
        ),
        "method" => (
            json!({ "type": "string", "minLength": 1, "not": { "const": "tools/call" } }),
            "Sends another request, or a notification (`notifications/…`).",
        ),
        "params" => (json!({ "type": "object" }), "The params of `method`."),
        "message" => (
            json!({ "type": ["string", "object"] }),
            "Sends these bytes: for messages that are malformed, or have an unusual form.",
        ),
        "from" => (words(SENDERS.iter().map(|(word, _)| *word).collect()), "Who sends it. Without it the agent."),
        "lists" => (
            json!({ "type": "array", "items": name() }),
            "Tools that the caller's list shows, if the server has them. In observe mode lists show everything.",
        ),
        "hides" => (json!({ "type": "array", "items": name() }), "Tools that the caller's list leaves out."),
        "at" => (
            text(),
            "When: since the case's start (`0s`, `1m30s`), since the end of the step before (`+10s`), or a date and time \
             (RFC 3339). Without it together with the step before.",
        ),
        "times" => (
            json!({ "type": "integer", "minimum": 1, "maximum": MOST_TIMES }),
            "How often, all with the same expectation; `retry_after` and `counters` are those of the last.",
        ),
        "every" => (duration(), "How far apart they are. Without it all come at once."),
        "unsent" => (
            json!({ "type": "boolean" }),
            "The server cannot be reached: what the call used of its limits is given back.",
        ),
        "expect" => (
            words(DECISIONS.iter().map(|(word, _)| *word).collect()),
            "What the policy decides; of a policy in observe mode, what it would decide.",
        ),
        "rule" => (text(), "The rule that decides, as audit records name it: `/tools/send/limits/0`, `/default`."),
        "reason" => (text(), "What the agent is told, exactly."),
        "reason_contains" => (text(), "A part of what the agent is told."),
        "retry_after" => {
            (json!({ "anyOf": [{ "const": "never" }, duration()] }), "When trying again can help; `never`.")
        }
        "counters" => (
            json!({ "type": "object", "additionalProperties": { "type": "number" } }),
            "What counters hold in their windows afterwards, by name; a `rate_limit`'s by its rule.",
        ),
        _ => (json!({}), ""),
    };
    if let Value::Object(schema) = &mut schema {
        schema.insert("description".to_owned(), description.into());
    }
    schema
}
