//! Any JSON as an argument, against every operator in every sense: no panic, and what a `require` lets pass, a `deny_if` of
//! the same condition refuses.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use policyd::policy::Grant;
use policyd_fuzz::{allowed, call, grant};

const OPERATORS: [&str; 40] = [
    r#""eq", "value": null"#,
    r#""eq", "value": true"#,
    r#""eq", "value": 0.1"#,
    r#""eq", "value": "a""#,
    r#""eq", "value": [1, "a", null, [2]]"#,
    r#""eq", "value": { "a": 1, "b": [{}] }"#,
    r#""neq", "value": null"#,
    r#""neq", "value": 1e2"#,
    r#""neq", "value": "a""#,
    r#""in", "value": []"#,
    r#""in", "value": ["a", "b", 1, null, false, [], {}]"#,
    r#""in", "value": [0, 1e400, -1e-400, 12345678901234567890123]"#,
    r#""not_in", "value": ["a", 1]"#,
    r#""not_in", "value": [null]"#,
    r#""lt", "value": 10"#,
    r#""lte", "value": -0.0"#,
    r#""gt", "value": 9007199254740993"#,
    r#""gte", "value": 1e-7"#,
    r#""regex", "value": "^[a-z]+(-[0-9]{1,3})?$""#,
    r#""regex", "value": "(?i)drop\\s+table|\\bß""#,
    r#""regex", "value": """#,
    r#""contains", "value": "a""#,
    r#""contains", "value": """#,
    r#""contains", "value": 1.0"#,
    r#""contains", "value": null"#,
    r#""contains", "value": ["a"]"#,
    r#""contains", "value": { "a": null }"#,
    r#""exists""#,
    r#""exists", "value": false"#,
    r#""len_lte", "value": 0"#,
    r#""len_lte", "value": 5"#,
    r#""starts_with", "value": "a""#,
    r#""starts_with", "value": "é""#,
    r#""type", "value": ["null", "boolean"]"#,
    r#""type", "value": ["number", "object"]"#,
    r#""type", "value": "integer""#,
    r#""type", "value": ["string", "array"]"#,
    r#""under_path", "value": ["/a", "/srv/data"]"#,
    r#""under_path", "value": "/""#,
    r#""host_in", "value": ["a.example", "*.b.example", "127.0.0.1", "::1", "c:81"]"#,
];

/// To one place, so that a condition is asked exactly once; and to many.
const SINGLE: [&str; 4] = ["args.a", "args.a.b", "args.a[0]", "args[\\\"a.b\\\"].c"];
const MANY: [&str; 3] = ["args.a[]", "args.a[].b", "args.a[][]"];

/// The tool of each condition in each list, and whether its path leads to one place.
static GRANT: LazyLock<(Grant, Vec<(String, bool)>)> = LazyLock::new(|| {
    let (mut tools, mut names) = (Vec::new(), Vec::new());
    for (path, single) in SINGLE.into_iter().map(|path| (path, true)).chain(MANY.map(|path| (path, false))) {
        for op in OPERATORS {
            let name = format!("t{}", names.len());
            for list in ["require", "deny_if", "approve_if"] {
                tools.push(format!(
                    r#""{list}.{name}": {{ "{list}": [ {{ "conditions": [ {{ "path": "{path}", "op": {op} }} ] }} ] }}"#
                ));
            }
            names.push((name, single));
        }
    }
    (grant(&format!(r#"{{ "version": "1", "default": "deny", "tools": {{ {} }} }}"#, tools.join(","))), names)
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(arguments) = std::str::from_utf8(bytes) else { return };
    let (grant, names) = &*GRANT;
    for (name, single) in names {
        let asked = |list: &str| allowed(grant, &call(&format!("{list}.{name}"), arguments));
        let Some(require) = asked("require") else { return };
        let deny_if = asked("deny_if");
        assert_eq!(deny_if, asked("approve_if"), "{name}: both lists ask alike");
        assert!(!(*single && require && deny_if == Some(true)), "{name}: it holds and does not");
    }
});
