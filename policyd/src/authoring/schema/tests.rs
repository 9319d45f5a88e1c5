//! The schema and the loader agree.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use jsonschema::Validator;
use proptest::prelude::*;

use super::*;
use crate::policy::Policy;
use crate::policy::reader::{MISSING_KEY, UNKNOWN_KEY, UNKNOWN_WORD, WRONG_TYPE};

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).expect("a schema")
}

fn published() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/policies/policy.schema.json")
}

/// A condition with each operator, each form of its value, each root of a path.
fn conditions() -> Vec<Value> {
    let operators = [
        ("eq", json!({"a": [1, null]})),
        ("neq", json!(null)),
        ("in", json!(["a", 1])),
        ("not_in", json!([])),
        ("lt", json!(1.5)),
        ("lte", json!(-1)),
        ("gt", json!(0)),
        ("gte", json!(1e3)),
        ("regex", json!("^a$")),
        ("contains", json!("x")),
        ("exists", json!(false)),
        ("len_lte", json!(3)),
        ("starts_with", json!("x")),
        ("under_path", json!("/data")),
        ("host_in", json!("example.com")),
        ("host_in", json!(["example.com", "example.org"])),
        ("type", json!("string")),
        ("type", json!(["string", "null"])),
    ];
    let path = "args.a[].b[0][\"c.d\"][\"\\\"]\"]";
    let tests = operators.into_iter().map(|(op, value)| json!({ "path": path, "op": op, "value": value }));
    tests.chain(WORDS.iter().map(|word| json!({ "path": word, "op": "exists" }))).collect()
}

/// A policy with these conditions.
fn asking(conditions: &[Value]) -> Value {
    let rule = json!({ "conditions": conditions, "on_deny": "no", "name": "n" });
    json!({ "version": "1", "default": "deny", "all_tools": { "require": [rule] } })
}

/// A policy with every other key, word and form of a value in it.
fn entries() -> Value {
    let rule = json!({ "conditions": [{ "path": "args.x", "op": "eq", "value": 1 }], "on_deny": "no", "name": "n" });
    let limit = |scope: &str| json!([{ "counter": "a", "window": "day", "max": 1, "scope": scope }]);
    json!({
        "$schema": ID,
        "version": "1",
        "description": "everything",
        "default": "deny",
        "mode": "observe",
        "deny_as": "error", "tool_changes": "deny",
        "hide": ["a", "b*"],
        "all_tools": { "require": [rule], "deny_if": [{ "conditions": [] }], "limits": limit("global") },
        "tools": {
            "t": {
                "action": "allow",
                "reason": "why",
                "arguments": "declared",
                "require": [rule, { "conditions": [] }],
                "deny_if": [rule],
                "approve_if": [{ "conditions": [], "timeout": "10m", "on_deny": "no", "name": "n" }],
                "limits": [
                    { "counter": "a", "window": "second", "max": 0.5, "scope": "server", "increment_from": "args.n[0]" },
                    { "counter": "b", "window": "6h", "max": 3, "align": "calendar", "on_deny": "later" },
                    { "counter": "c", "window": "090s", "max": 1e2, "align": "rolling" },
                ],
                "rate_limit": { "max": 10, "window": 60 },
            },
            "u.*": { "action": "require_approval", "rate_limit": "10/minute", "limits": limit("host") },
            "v/w": { "action": "deny", "reason": "no", "rate_limit": { "max": 1, "window": "2h" } },
            "x": {},
        },
        "methods": {
            "resources/read": {
                "limits": limit("session"), "rate_limit": "1/1s", "require": [], "deny_if": [], "approve_if": [],
            },
            "sampling/*": { "action": "deny", "reason": "no" },
        },
    })
}

/// Policies that together have everything in them.
fn corpus() -> Vec<Value> {
    let asking = conditions().into_iter().map(|condition| asking(&[condition]));
    asking.chain([entries()]).collect()
}

#[test]
fn what_is_published_is_what_the_loader_reads() {
    let text = fs::read_to_string(published()).unwrap_or_default();
    assert!(
        text == super::text(),
        "deploy/policies/policy.schema.json is not what the loader reads: `policyd policy schema` prints it anew"
    );
}

#[test]
fn it_is_a_schema_and_says_what_each_key_is_for() {
    jsonschema::meta::validate(&schema()).expect("a valid schema");
    fn walk(value: &Value, at: &str) {
        assert_ne!(value, &json!({}), "{at}: says nothing");
        if let Value::Object(object) = value {
            assert!(object.get("not") != Some(&json!({})), "{at}: a key of the loader that the schema does not know");
            for (key, property) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
                let inside_if = at.ends_with("/if") || at.ends_with("/then");
                let description = property.get("description").and_then(Value::as_str).unwrap_or_default();
                assert!(inside_if || !description.is_empty(), "{at}/{key}: no description");
            }
            object.iter().for_each(|(key, value)| walk(value, &format!("{at}/{key}")));
        }
        if let Value::Array(items) = value {
            items.iter().enumerate().for_each(|(index, item)| walk(item, &format!("{at}/{index}")));
        }
    }
    walk(&schema(), "");
}

#[test]
fn takes_every_policy_that_the_loader_takes() {
    let validator = validator();
    let mut seen = 0;
    for entry in fs::read_dir(published().parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".json") || name.ends_with(".tests.json") || name.ends_with(".schema.json") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        Policy::load(&name, &text).expect(&name);
        validator.validate(&serde_json::from_str(&text).unwrap()).expect(&name);
        seen += 1;
    }
    assert!(seen >= 15, "{seen}");
    for policy in corpus() {
        Policy::load("example", &policy.to_string()).expect("loads");
        validator.validate(&policy).expect("validates");
    }
    let cel = json!({ "version": "1", "default": "deny", "tools": { "t": { "require": [{ "conditions": [{ "cel": "true" }] }] } } });
    validator.validate(&cel).expect("validates");
}

/// The corpus names every key and word that there is, so that the tests with it leave none out.
#[test]
fn the_corpus_is_whole() {
    let mut words = BTreeSet::new();
    fn walk(value: &Value, words: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                words.extend(object.keys().cloned());
                object.values().for_each(|value| walk(value, words));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, words)),
            Value::String(text) => {
                words.insert(text.clone());
            }
            _ => {}
        }
    }
    corpus().iter().for_each(|policy| walk(policy, &mut words));
    let keys = [&DOCUMENT, &ALL_TOOLS, &TOOL, &METHOD, &CLAUSE, &APPROVAL, &CONDITION, &LIMIT, &RATE_LIMIT];
    let keys = keys.into_iter().flat_map(|keys| keys.known).copied().filter(|key| *key != "cel");
    let operators = OPERATORS.iter().map(|(word, _)| *word);
    let scopes = SCOPES.iter().map(|(word, _)| *word).filter(|word| *word != "grant");
    let actions = ACTIONS.iter().map(|(word, _)| *word);
    for word in keys.chain(operators).chain(scopes).chain(actions).chain(WORDS) {
        assert!(words.contains(word), "{word}");
    }
}

/// What the loader says of a document: whether it loads, and whether its shape is wrong.
fn loader(document: &Value) -> (bool, bool) {
    match Policy::load("p", &document.to_string()) {
        Ok(_) => (true, false),
        Err(report) => {
            let of_shape = [UNKNOWN_KEY, MISSING_KEY, WRONG_TYPE, UNKNOWN_WORD];
            (false, report.diagnostics.iter().any(|problem| problem.code.is_some_and(|code| of_shape.contains(&code))))
        }
    }
}

/// What the schema takes, the loader may still refuse for what only it can tell; never for the shape.
fn agree(validator: &Validator, document: &Value) -> Result<(), String> {
    let (loads, misshapen) = loader(document);
    match validator.validate(document) {
        Ok(()) if misshapen => {
            Err(format!("only the loader refuses it: {}", Policy::load("p", &document.to_string()).unwrap_err()))
        }
        Err(error) if loads => Err(format!("only the schema refuses it: {error} at {}", error.instance_path())),
        _ => Ok(()),
    }
}

/// JSON Pointers to every value.
fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| pointers(value, &format!("{at}/{}", escaped(key)), into))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| pointers(item, &format!("{at}/{i}"), into))
        }
        _ => {}
    }
}

fn others() -> [Value; 12] {
    [
        json!(null),
        json!(true),
        json!(7),
        json!(-1),
        json!(0.5),
        json!(""),
        json!("deny"),
        json!("10/minute"),
        json!("args.x"),
        json!([]),
        json!(["a"]),
        json!({}),
    ]
}

/// Documents with one mistake at `place` of a policy: another value, a key left out, misspelt or one too many.
fn mistakes(policy: &Value, place: &str) -> Vec<Value> {
    let mut values = others().to_vec();
    if let Some(Value::Object(object)) = policy.pointer(place) {
        let mut extra = object.clone();
        extra.insert("zzz".to_owned(), json!({}));
        values.push(Value::Object(extra));
        for key in object.keys() {
            let mut object = object.clone();
            let value = object.remove(key).unwrap();
            values.push(Value::Object(object.clone()));
            object.insert(format!("{key}_"), value);
            values.push(Value::Object(object));
        }
    }
    let document = |value| {
        let mut document = policy.clone();
        *document.pointer_mut(place).unwrap() = value;
        document
    };
    values.into_iter().map(document).collect()
}

#[test]
fn each_single_mistake_is_one_for_both() {
    let validator = validator();
    let (mut wrong, mut disagreements) = (0, Vec::new());
    for (index, policy) in corpus().iter().enumerate() {
        let mut places = Vec::new();
        pointers(policy, "", &mut places);
        // What stands around the conditions is looked at once.
        places.retain(|place| index == 0 || policy.get("tools").is_some() || place.contains("/conditions/"));
        for place in places {
            for document in mistakes(policy, &place) {
                wrong += usize::from(!loader(&document).0);
                disagreements.extend(agree(&validator, &document).err().map(|why| format!("{place}: {why}")));
            }
        }
    }
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
    assert!(wrong > 1500, "{wrong} wrong documents");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Several mistakes at once, and parts of the policy in places that are not theirs.
    #[test]
    fn mixed_up_policies_are_wrong_for_both(swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4)) {
        let (validator, whole) = (validator(), entries());
        let mut document = whole.clone();
        let mut sources = Vec::new();
        pointers(&whole, "", &mut sources);
        for (from, to) in swaps {
            let part = whole.pointer(from.get::<String>(&sources)).cloned().unwrap();
            let mut places = Vec::new();
            pointers(&document, "", &mut places);
            *document.pointer_mut(to.get::<String>(&places)).unwrap() = part;
        }
        let agreed = agree(&validator, &document);
        prop_assert!(agreed.is_ok(), "{agreed:?}");
    }
}
