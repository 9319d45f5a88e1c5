//! The test files and the schema of `deploy/policies`.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// The repository's `deploy/policies`.
fn policies() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/policies")
}

#[test]
fn the_shipped_policies_pass_their_tests_and_each_has_some() {
    let mut tested = Vec::new();
    for entry in fs::read_dir(policies()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".tests.json") {
            continue;
        }
        for suite in read(&name, &fs::read_to_string(&path).unwrap()).unwrap() {
            let text = fs::read_to_string(policies().join(&suite.policy.value)).unwrap();
            let policy = Arc::new(Policy::load(&suite.policy.value, &text).unwrap());
            for case in run(&suite, &policy, &Declared::default(), |_| true) {
                assert_eq!(case.failures, [], "{name}: {}: {}", suite.policy.value, case.name);
            }
            assert!(!suite.cases.is_empty());
            tested.push(suite.policy.value);
        }
    }
    tested.sort();
    let mut shipped: Vec<String> = ["axint", "contextlayer", "looking-glass", "promptfax", "waysway"]
        .iter()
        .flat_map(|system| ["", ".deny", ".rate-limit"].map(|variant| format!("{system}{variant}.json")))
        .collect();
    shipped.sort();
    assert_eq!(tested, shipped);
}

#[test]
fn the_published_schema_is_the_programs() {
    let published = fs::read_to_string(policies().join("tests.schema.json")).unwrap();
    assert!(
        published == format!("{:#}\n", schema()),
        "write it anew: policyd policy test --schema > deploy/policies/tests.schema.json"
    );
}

fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

#[test]
fn the_schema_and_the_reader_agree() {
    let validator = validator();
    let case = |case: &str| format!(r#"{{ "policy": "p", "cases": [ {case} ] }}"#);
    let step = |step: &str| case(&format!(r#"{{ "name": "n", "steps": [ {step} ] }}"#));
    let both = |text: String, good: bool| {
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read("t", &text).is_ok(), good, "the reader: {text}");
        assert_eq!(validator.is_valid(&value), good, "the schema: {text}");
    };
    for system in ["axint", "contextlayer", "looking-glass", "promptfax", "waysway"] {
        both(fs::read_to_string(policies().join(format!("{system}.tests.json"))).unwrap(), true);
    }
    both(
        r#"{ "description": "d", "$schema": "s", "grant": null, "suites": [
            { "policy": "p", "cases": [ { "name": "n", "call": "a", "expect": "allow" } ] } ] }"#
            .to_owned(),
        true,
    );
    for bad in [
        "{}",
        r#"{ "suites": [] }"#,
        r#"{ "policy": "p", "cases": [] }"#,
        r#"{ "policy": "p" }"#,
        r#"{ "cases": [] }"#,
        r#"{ "policy": "p", "cases": {} }"#,
        r#"{ "policy": "p", "cases": [], "suites": [] }"#,
        r#"{ "suites": [ { "policy": "p" } ] }"#,
        r#"{ "suites": [ { "policy": "p", "cases": [], "suites": [] } ] }"#,
        r#"{ "suites": [], "sweets": 1 }"#,
        "[]",
    ] {
        both(bad.to_owned(), false);
    }
    for (good, bad) in [
        (r#""call": "a", "expect": "deny""#, r#""call": "a""#),
        (r#""call": "a", "args": {}, "expect": "deny""#, r#""call": "a", "args": [], "expect": "deny""#),
        (r#""call": "a", "each": [{}], "expect": "deny""#, r#""call": "a", "each": [], "expect": "deny""#),
        (r#""call": "a", "expect": "approve""#, r#""call": "a", "each": [{}], "args": {}, "expect": "deny""#),
        (r#""method": "a", "expect": "allow""#, r#""method": "tools/call", "expect": "allow""#),
        (r#""method": "a", "params": {}, "expect": "allow""#, r#""method": "a", "args": {}, "expect": "allow""#),
        (r#""message": "", "expect": "deny""#, r#""message": 1, "expect": "deny""#),
        (r#""message": {}, "expect": "deny""#, r#""message": {}, "call": "a", "expect": "deny""#),
        (r#""lists": ["a"]"#, r#""lists": ["a"], "expect": "allow""#),
        (r#""hides": []"#, r#""hides": "a""#),
        (r#""lists": [], "hides": []"#, r#""lists": [], "call": "a", "expect": "deny""#),
        (r#""call": "a", "expect": "deny", "times": 3"#, r#""call": "a", "expect": "deny", "times": 0"#),
        (r#""call": "a", "expect": "deny", "every": "1m30s""#, r#""call": "a", "expect": "deny", "every": "30s1m""#),
        (
            r#""call": "a", "expect": "deny", "retry_after": "never""#,
            r#""call": "a", "expect": "deny", "retry_after": "soon""#,
        ),
        (
            r#""call": "a", "expect": "deny", "counters": {"c": 1}"#,
            r#""call": "a", "expect": "deny", "counters": {"c": "1"}"#,
        ),
        (r#""call": "a", "expect": "deny", "from": "agent""#, r#""call": "a", "expect": "deny", "from": "me""#),
        (r#""call": "a", "expect": "deny", "unsent": true"#, r#""call": "a", "expect": "deny", "unsent": 1"#),
        (r#""call": "a", "expect": "deny", "grant": null"#, r#""call": "a", "expect": "deny", "server": null"#),
        (
            r#""call": "a", "expect": "deny", "identity": {"uid": 0}"#,
            r#""call": "a", "expect": "deny", "identity": {"uid": "0"}"#,
        ),
        (r#""call": "a", "expect": "deny", "description": """#, r#""call": "a", "expect": "deny", "comment": """#),
        (r#""call": "a", "expect": "deny", "rule": """#, r#""call": "", "expect": "deny""#),
    ] {
        both(step(&format!("{{ {good} }}")), true);
        both(step(&format!("{{ {bad} }}")), false);
        both(case(&format!(r#"{{ "name": "n", {good} }}"#)), true);
        both(case(&format!(r#"{{ "name": "n", {bad} }}"#)), false);
        both(case(&format!("{{ {good} }}")), false);
        both(case(&format!(r#"{{ "name": "n", "steps": [], {good} }}"#)), false);
    }
}

#[test]
fn every_key_is_explained() {
    fn check(value: &Value, path: &str) {
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            for (key, property) in properties.iter().filter(|(_, property)| property.is_object()) {
                let description = property["description"].as_str().unwrap_or_default();
                assert!(!description.is_empty(), "{path}/{key} says nothing");
            }
        }
        if let Some(members) = value.as_object() {
            members.iter().for_each(|(key, inner)| check(inner, &format!("{path}/{key}")));
        }
    }
    check(&schema(), "");
}

proptest! {
    /// Whatever the reader takes, the schema takes: editors underline nothing that runs.
    #[test]
    fn nothing_that_is_read_offends_the_schema(cut in 0..3000usize, instead in "[\\[\\]{}\",: a-z0-9]{0,4}") {
        let whole = fs::read_to_string(policies().join("promptfax.tests.json")).unwrap();
        let cut = whole.floor_char_boundary(cut.min(whole.len()));
        let (before, after) = whole.split_at(cut);
        let text = format!("{before}{instead}{}", after.get(instead.len()..).unwrap_or_default());
        if read("t", &text).is_ok() {
            prop_assert!(validator().is_valid(&serde_json::from_str(&text).unwrap()), "{}", text);
        }
    }
}
