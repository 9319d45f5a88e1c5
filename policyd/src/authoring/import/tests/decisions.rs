//! What is decided here and there, side by side: a model of the other proxy's engine, written from its description, and
//! the imported policy. Nothing may pass here that is refused there, and what is refused here must be one of the edges.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::authoring::world::World;

/// Go's `%v`.
fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            if number != 0.0 && !(1e-4..1e21).contains(&number.abs()) {
                format!("{number:e}")
            } else {
                number.to_string()
            }
        }
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(printed).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let members: Vec<String> = members.iter().map(|(key, value)| format!("{key}:{}", printed(value))).collect();
            format!("map[{}]", members.join(" "))
        }
    }
}

fn equal(actual: &Value, expected: &Value) -> bool {
    match (actual.as_f64(), expected.as_f64()) {
        (Some(one), Some(two)) => one == two,
        _ => printed(actual) == printed(expected),
    }
}

/// Whether a condition holds there.
fn holds(arguments: &Value, path: &str, op: &str, expected: &Value) -> bool {
    let mut actual = Some(arguments);
    for name in path.split('.').skip(1) {
        actual = actual.and_then(Value::as_object).and_then(|object| object.get(name));
    }
    if op == "exists" {
        return actual.is_some_and(|value| !value.is_null()) == expected.as_bool().unwrap();
    }
    let Some(actual) = actual else { return false };
    let compare = |then: fn(&f64, &f64) -> bool| match (actual.as_f64(), expected.as_f64()) {
        (Some(one), Some(two)) => then(&one, &two),
        _ => false,
    };
    let is_in = || expected.as_array().unwrap().iter().any(|item| equal(actual, item));
    match op {
        "eq" => equal(actual, expected),
        "neq" => !equal(actual, expected),
        "in" => is_in(),
        "not_in" => !is_in(),
        "lt" => compare(f64::lt),
        "lte" => compare(f64::le),
        "gt" => compare(f64::gt),
        "gte" => compare(f64::ge),
        "contains" => match (actual, expected) {
            (Value::String(text), Value::String(part)) => text.contains(&**part),
            (Value::Array(items), part) => items.iter().any(|item| equal(item, part)),
            _ => false,
        },
        // ASCII, as there.
        "regex" => actual.as_str().is_some_and(|text| {
            regex::bytes::RegexBuilder::new(expected.as_str().unwrap())
                .unicode(false)
                .build()
                .unwrap()
                .is_match(text.as_bytes())
        }),
        _ => panic!("{op}"),
    }
}

fn value() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "5",
        "5.0",
        "0.5",
        "-1",
        "100",
        "\"5\"",
        "\"5.0\"",
        "\"true\"",
        "\"<nil>\"",
        "\"\"",
        "\"a\"",
        "\"ab\"",
        "\"[a]\"",
        "\"x1\"",
        "\"٣\"",
    ])
}

fn argument() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => value().prop_map(str::to_owned),
        1 => prop::collection::vec(value(), 0..3).prop_map(|values| format!("[{}]", values.join(","))),
        1 => value().prop_map(|value| format!("{{\"a\":{value},\"5\":1}}")),
    ]
}

fn condition() -> impl Strategy<Value = (&'static str, &'static str, String)> {
    let path = prop::sample::select(vec!["args.x", "args.y", "args.x.a", "args.z"]);
    let operand = prop_oneof![
        (prop::sample::select(vec!["eq", "neq", "contains"]), value().prop_map(str::to_owned)),
        (
            prop::sample::select(vec!["in", "not_in"]),
            prop::collection::vec(value(), 0..3).prop_map(|values| format!("[{}]", values.join(", ")))
        ),
        (
            prop::sample::select(vec!["lt", "lte", "gt", "gte"]),
            prop::sample::select(vec!["5", "0.5", "-1", "100"]).prop_map(str::to_owned)
        ),
        (Just("exists"), prop::sample::select(vec!["true", "false"]).prop_map(str::to_owned)),
        (
            Just("regex"),
            prop::sample::select(vec![r#""^\\w+$""#, r#""\\d""#, r#""^a|5$""#, r#""\\bab\\b""#])
                .prop_map(str::to_owned)
        ),
    ];
    (path, operand).prop_map(|(path, (op, value))| (path, op, value))
}

/// Whether two arguments differ in type only, one is null, or `exists` asks for what is in no object: the edges at which more
/// is refused here.
fn edge(arguments: &Value, path: &str, op: &str, expected: &Value) -> bool {
    let mut actual = Some(arguments);
    for name in path.split('.').skip(1) {
        if op == "exists" && actual.is_some_and(|value| !value.is_object() && !value.is_null()) {
            return true;
        }
        actual = actual.and_then(Value::as_object).and_then(|object| object.get(name));
    }
    let Some(actual) = actual else { return false };
    let alike = |one: &Value, two: &Value| {
        // `5.0` is printed as `5` there, and a text of it is that number's twin here.
        let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
        std::mem::discriminant(one) != std::mem::discriminant(two)
            && (printed(one) == printed(two) || number(one).is_some() && number(one) == number(two))
    };
    let expected: Vec<&Value> = expected.as_array().map_or(vec![expected], |items| items.iter().collect());
    let actual: Vec<&Value> = match (op, actual.as_array()) {
        ("contains", Some(items)) => items.iter().collect(),
        _ => vec![actual],
    };
    matches!(op, "eq" | "neq" | "in" | "not_in" | "contains")
        && (actual.iter().any(|value| value.is_null())
            || actual.iter().any(|one| expected.iter().any(|two| alike(one, two))))
}

proptest! {
    #[test]
    fn nothing_passes_that_is_refused_there(
        conditions in prop::collection::vec(condition(), 1..4),
        x in argument(),
        y in argument(),
    ) {
        let lines: Vec<String> = conditions
            .iter()
            .map(|(path, op, value)| format!("          - {{ path: {path}, op: {op}, value: {value} }}\n"))
            .collect();
        let yaml = format!("version: '1'\ntools:\n  t:\n    rules:\n      - name: n\n        conditions:\n{}", lines.concat());
        match import("p", &yaml, Scope::Server) {
            // Only texts that look like Go's lists are refused among these.
            Err(report) => prop_assert!(report.diagnostics.iter().all(|problem| problem.message == "this text cannot be carried over"), "{}", report),
            Ok(imported) => {
                let arguments = format!(r#"{{"x":{x},"y":{y}}}"#);
                let here = World::new(&imported.policy).call("t", &arguments, 0.0).allowed;
                let arguments: Value = serde_json::from_str(&arguments).unwrap();
                let conditions: Vec<(&str, &str, Value)> = conditions
                    .iter()
                    .map(|(path, op, value)| (*path, *op, serde_json::from_str(value).unwrap()))
                    .collect();
                let there = conditions.iter().all(|(path, op, value)| holds(&arguments, path, op, value));
                prop_assert!(there || !here, "passes: {} {}", yaml, arguments);
                let edge = conditions.iter().any(|(path, op, value)| edge(&arguments, path, op, value));
                prop_assert!(here || !there || edge, "refused: {} {} {}", yaml, imported.policy, arguments);
            }
        }
    }

    /// Counters: the same calls at the same times, one after the other.
    #[test]
    fn counts_as_there(
        rate in 1..6_i64,
        bound in 0..20_i64,
        strict in any::<bool>(),
        increment in 1..4_i64,
        all in 1..12_i64,
        calls in prop::collection::vec((0..3_usize, 0..8_i64, 0.0..40.0_f64), 1..40),
    ) {
        let op = if strict { "lt" } else { "lte" };
        let yaml = format!(
            "version: '1'\ntools:\n  rated: {{ rules: [{{ name: n, rate_limit: {rate}/minute }}] }}\n  \
             stepped: {{ rules: [{{ name: n, conditions: [{{ path: state.stepped.c, op: {op}, value: {bound} }}], \
             state: {{ counter: c, window: hour, increment: {increment} }} }}] }}\n  \
             summed: {{ rules: [{{ name: n, conditions: [{{ path: state.summed.c, op: {op}, value: {bound} }}], \
             state: {{ counter: c, window: day, increment_from: args.n }} }}] }}\n  \
             '*': {{ rules: [{{ name: n, rate_limit: {all}/hour }}] }}\n"
        );
        let Ok(imported) = import("p", &yaml, Scope::Server) else {
            prop_assert!(strict && bound == 0, "{}", yaml);
            return Ok(());
        };
        let world = World::new(&imported.policy);
        let most = bound - i64::from(strict);
        // What each counter holds, and of which of its windows.
        let mut counters: HashMap<&str, (i64, i64)> = HashMap::new();
        // Close to midnight, so that the windows turn.
        let mut now = 86_400.0 - 300.0;
        for (tool, amount, pause) in calls {
            now += pause;
            let seconds = now as i64;
            let (tool, window, adds, limit) = [
                ("rated", 60, 1, rate),
                ("stepped", 3600, increment, most),
                ("summed", 86_400, amount, most),
            ][tool];
            let wanted = [(tool, window, adds, limit), ("*", 3600, 1, all)];
            let used = |counters: &HashMap<&str, (i64, i64)>, name: &str, window: i64| {
                counters.get(name).filter(|(_, of)| *of == seconds / window).map_or(0, |(used, _)| *used)
            };
            let before = used(&counters, tool, window);
            let there = (!strict || tool == "rated" || before < bound)
                && wanted.iter().all(|(name, window, adds, limit)| used(&counters, name, *window) + adds <= *limit);
            if there {
                for (name, window, adds, _) in wanted {
                    let sum = used(&counters, name, window) + adds;
                    counters.insert(name, (sum, seconds / window));
                }
            }
            let here = world.call(tool, &format!("{{\"n\":{amount}}}"), now).allowed;
            prop_assert_eq!(here, there, "{} at {}\n{}", tool, now, imported.policy);
        }
    }
}
