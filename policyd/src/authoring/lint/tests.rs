//! Each warning where it is meant, and nothing where it is not.

mod size;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

/// The codes of what is found, each with the text at its place.
fn found(text: &str, tools: Option<&[Tool]>) -> Vec<(&'static str, String)> {
    Policy::load("policy.json", text).unwrap_or_else(|report| panic!("{}", report.render(false)));
    let of = |problem: Diagnostic| (problem.code.unwrap(), text[problem.span].to_owned());
    lint(text, tools).into_iter().map(of).collect()
}

/// A policy with this entry for the tool `t`.
fn entry(entry: &str) -> String {
    format!(r#"{{"version":"1","default":"deny","tools":{{"t":{entry}}}}}"#)
}

/// The entry with one condition in one list.
fn asking(list: &str, condition: &str) -> String {
    entry(&format!(r#"{{"{list}":[{{"conditions":[{{{condition}}}]}}]}}"#))
}

/// Policies that deserve one warning each, with its place.
fn deserving() -> Vec<(&'static str, String, &'static str)> {
    let document = |members: &str| format!(r#"{{"version":"1",{members}}}"#);
    let require = |condition: &str| asking("require", condition);
    let deny = |condition: &str| asking("deny_if", condition);
    let limits = |limits: &str| entry(&format!(r#"{{"limits":[{limits}]}}"#));
    vec![
        ("unreachable-rule", entry(r#"{"action":"deny","deny_if":[]}"#), r#""deny_if""#),
        ("unreachable-rule", entry(r#"{"action":"deny","arguments":"declared"}"#), r#""arguments""#),
        ("unreachable-rule", entry(r#"{"deny_if":[{"conditions":[]}],"approve_if":[]}"#), r#""approve_if""#),
        (
            "unreachable-rule",
            entry(r#"{"deny_if":[{"conditions":[]},{"conditions":[{"path":"args.b","op":"exists"}]}]}"#),
            "{",
        ),
        (
            "unreachable-rule",
            entry(r#"{"approve_if":[{"conditions":[]},{"conditions":[{"path":"args.b","op":"exists"}]}]}"#),
            "{",
        ),
        (
            "unreachable-rule",
            document(r#""default":"deny","all_tools":{"deny_if":[{"conditions":[]}]},"tools":{"t":{"limits":[]}}"#),
            r#""limits""#,
        ),
        ("no-conditions", entry(r#"{"require":[{"conditions":[]}]}"#), "{"),
        ("ignored-key", entry(r#"{"reason":"no"}"#), r#""reason""#),
        (
            "contradiction",
            entry(
                r#"{"require":[{"conditions":[{"path":"args.a","op":"eq","value":1}]},{"conditions":[{"path":"args.a","op":"eq","value":2}]}]}"#,
            ),
            r#""args.a","op":"eq""#,
        ),
        (
            "contradiction",
            document(
                r#""default":"deny","all_tools":{"require":[{"conditions":[{"path":"args.a","op":"gte","value":10}]}]},
                "tools":{"t":{"require":[{"conditions":[{"path":"args.a","op":"lt","value":10.0}]}]}}"#,
            ),
            r#""args.a","op":"lt""#,
        ),
        (
            "contradiction",
            entry(
                r#"{"deny_if":[{"conditions":[{"path":"args.a","op":"in","value":[1,2]},{"path":"args.a","op":"gt","value":2}]}]}"#,
            ),
            r#""args.a","op":"gt""#,
        ),
        (
            "contradiction",
            entry(
                r#"{"require":[{"conditions":[{"path":"args.a","op":"exists","value":false},{"path":"args.a","op":"neq","value":"x"}]}]}"#,
            ),
            r#""args.a","op":"neq""#,
        ),
        (
            "contradiction",
            entry(
                r#"{"approve_if":[{"conditions":[{"path":"args.a","op":"eq","value":{"b":1,"c":[2]}},{"path":"args.a","op":"neq","value":{"c":[2.0],"b":1}}]}]}"#,
            ),
            r#""args.a","op":"neq""#,
        ),
        ("constant-condition", require(r#""path":"args.a","op":"in","value":[]"#), "[]"),
        ("constant-condition", deny(r#""path":"args.a","op":"contains","value":"""#), "\"\""),
        ("hidden-entry", document(r#""default":"deny","hide":["a.*"],"tools":{"a.b*":{}}"#), r#""a.b*""#),
        ("duplicate-hide", document(r#""default":"deny","hide":["a.b","a.*"]"#), r#""a.b""#),
        ("duplicate-hide", document(r#""default":"deny","hide":["a","b","a"]"#), r#""a""#),
        ("redundant-entry", document(r#""default":"allow","tools":{"a":{}}"#), r#""a""#),
        ("redundant-entry", entry(r#"{"action":"deny"}"#), r#""t""#),
        ("unknown-method", document(r#""default":"deny","methods":{"resource/read":{}}"#), r#""resource/read""#),
        ("blocked-protocol", document(r#""default":"allow","methods":{"*":{"action":"deny"}}"#), r#""*""#),
        ("zero-limit", limits(r#"{"counter":"c","window":"day","max":0}"#), "0"),
        ("zero-limit", limits(r#"{"counter":"c","window":"day","max":0.0,"increment_from":"args.n"}"#), "0.0"),
        (
            "unreachable-limit",
            limits(r#"{"counter":"c","window":"hour","max":5},{"counter":"c","window":"60s","max":5}"#),
            "{",
        ),
        (
            "unreachable-limit",
            limits(
                r#"{"counter":"c","window":"hour","max":5,"align":"calendar"},{"counter":"c","window":"day","max":5}"#,
            ),
            "{",
        ),
        (
            "unreachable-limit",
            document(
                r#""default":"deny","all_tools":{"limits":[{"counter":"c","window":"day","max":5}]},
                "tools":{"t":{"limits":[{"counter":"c","window":"day","max":5}]}}"#,
            ),
            "{",
        ),
        ("session-scope", limits(r#"{"counter":"c","window":"day","max":5,"scope":"session"}"#), r#""session""#),
        ("session-scope", entry(r#"{"rate_limit":"10/minute"}"#), r#""10/minute""#),
        ("unanchored-regex", require(r#""path":"args.a","op":"regex","value":"usd|eur""#), r#""usd|eur""#),
        ("unanchored-regex", require(r#""path":"args.a","op":"regex","value":"^usd|eur$""#), r#""^usd|eur$""#),
        ("unanchored-regex", require(r#""path":"args.a","op":"regex","value":"^usd""#), r#""^usd""#),
        ("unanchored-regex", require(r#""path":"args.a","op":"regex","value":"usd$""#), r#""usd$""#),
        ("unanchored-regex", require(r#""path":"args.a","op":"regex","value":"(?m)^usd$""#), r#""(?m)^usd$""#),
        ("large-regex", deny(r#""path":"args.a","op":"regex","value":"\\w{15}""#), r#""\\w{15}""#),
        ("no-lower-bound", require(r#""path":"args.a","op":"lte","value":10"#), r#""args.a","op":"lte""#),
        ("deny-by-place", deny(r#""path":"args.a","op":"under_path","value":"/etc""#), r#""under_path""#),
        (
            "deny-by-place",
            asking("approve_if", r#""path":"args.a","op":"host_in","value":"a.example""#),
            r#""host_in""#,
        ),
        ("text-for-path", require(r#""path":"args.file_path","op":"starts_with","value":"/data/""#), r#""/data/""#),
        ("text-for-path", deny(r#""path":"args.path","op":"starts_with","value":"/etc""#), r#""/etc""#),
        (
            "text-for-url",
            require(r#""path":"args.url","op":"starts_with","value":"https://example.com""#),
            r#""https://example.com""#,
        ),
        (
            "text-for-url",
            require(r#""path":"args.callback_url","op":"contains","value":"example.com""#),
            r#""example.com""#,
        ),
        (
            "text-for-url",
            deny(r#""path":"args.url","op":"contains","value":"169.254.169.254""#),
            r#""169.254.169.254""#,
        ),
        ("first-element-only", deny(r#""path":"args.to[0]","op":"eq","value":"x""#), r#""args.to[0]""#),
        (
            "missed-elements",
            entry(
                r#"{"require":[{"conditions":[{"path":"args.to[]","op":"exists"}]}],"deny_if":[{"conditions":[{"path":"args.to","op":"eq","value":"x"}]}]}"#,
            ),
            r#""args.to""#,
        ),
        ("forgeable-identity", require(r#""path":"identity.exe","op":"eq","value":"/bin/x""#), r#""identity.exe""#),
        ("forgeable-identity", deny(r#""path":"identity.exe","op":"eq","value":"/bin/x""#), r#""identity.exe""#),
        ("forgeable-identity", require(r#""path":"identity.pid","op":"eq","value":7"#), r#""identity.pid""#),
    ]
}

/// What is wrong, if there is not exactly this one warning.
fn differs(found: Vec<(&'static str, String)>, code: &'static str, place: &str, policy: &str) -> Option<String> {
    (found != [(code, place.to_owned())]).then(|| format!("expected {code} at {place}, found {found:?}: {policy}"))
}

#[test]
fn each_warning_stands_where_it_is_meant() {
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for (code, policy, place) in deserving() {
        wrong.extend(differs(found(&policy, None), code, place, &policy));
        seen.insert(code);
    }
    for (code, policy, place) in beside_tools() {
        let warnings = found(&policy, Some(&tools())).into_iter().filter(|(code, _)| *code != "unnamed-tools");
        wrong.extend(differs(warnings.collect(), code, place, &policy));
        seen.insert(code);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // These have tests of their own.
    seen.extend(["unnamed-tools", "counter-disagreement"]);
    assert_eq!(seen, CODES.iter().map(|(code, _)| *code).collect(), "each code has an example");
}

#[test]
fn what_may_well_be_meant_is_not_warned_of() {
    let document = |members: &str| format!(r#"{{"version":"1",{members}}}"#);
    let require = |condition: &str| asking("require", condition);
    let mut wrong = Vec::new();
    for policy in [
        document(r#""default":"deny""#),
        document(r#""default":"allow","tools":{"a*":{"action":"deny"},"ab":{}}"#),
        document(r#""default":"deny","tools":{"a*":{},"ab":{"action":"deny"}}"#),
        document(r#""default":"deny","hide":["a.b*"],"tools":{"a.*":{}}"#),
        document(r#""default":"deny","methods":{"x/special":{},"resources/*":{"limits":[]},"tasks/*":{}}"#),
        document(r#""default":"deny","methods":{"*":{}}"#),
        entry(r#"{"action":"deny","reason":"no"}"#),
        entry(r#"{"action":"require_approval","approve_if":[{"conditions":[],"timeout":"1h"}]}"#),
        entry(r#"{"deny_if":[{"conditions":[]}],"require":[{"conditions":[{"path":"args.b","op":"exists"}]}]}"#),
        entry(r#"{"limits":[{"counter":"c","window":"minute","max":5},{"counter":"c","window":"hour","max":50}]}"#),
        entry(r#"{"limits":[{"counter":"c","window":"hour","max":5},{"counter":"d","window":"minute","max":5}]}"#),
        entry(
            r#"{"limits":[{"counter":"c","window":"7m","max":5,"scope":"host"},{"counter":"c","window":"minute","max":2}]}"#,
        ),
        entry(r#"{"rate_limit":"10/minute","limits":[{"counter":"c","window":"day","max":100}]}"#),
        document(
            r#""default":"deny","all_tools":{"limits":[{"counter":"all","window":"day","max":100}]},"tools":{"t":{"rate_limit":"10/minute"}}"#,
        ),
        require(r#""path":"args.a","op":"regex","value":"^(usd|eur)$""#),
        require(r#""path":"args.a","op":"regex","value":"\\A[a-z]{1,200}\\z""#),
        asking("deny_if", r#""path":"args.a","op":"regex","value":"(?i)drop table""#),
        entry(
            r#"{"require":[{"conditions":[{"path":"args.a","op":"lte","value":10},{"path":"args.a","op":"gt","value":-5}]}]}"#,
        ),
        entry(
            r#"{"require":[{"conditions":[{"path":"args.a","op":"lte","value":10}]}],"deny_if":[{"conditions":[{"path":"args.a","op":"lt","value":0}]}]}"#,
        ),
        entry(r#"{"arguments":"declared","require":[{"conditions":[{"path":"args.a","op":"lte","value":10}]}]}"#),
        entry(
            r#"{"require":[{"conditions":[{"path":"args.a","op":"lte","value":10}]}],"limits":[{"counter":"c","window":"day","max":9,"increment_from":"args.a"}]}"#,
        ),
        require(r#""path":"args.a","op":"lt","value":0"#),
        require(r#""path":"args.path","op":"under_path","value":"/data""#),
        require(r#""path":"args.path","op":"starts_with","value":"docs/""#),
        require(r#""path":"args.command","op":"starts_with","value":"/deploy""#),
        require(r#""path":"args.url","op":"starts_with","value":"https://example.com/a""#),
        require(r#""path":"args.url","op":"contains","value":"utm_source""#),
        require(r#""path":"args.uri","op":"starts_with","value":"file:///data""#),
        require(r#""path":"args.uri","op":"starts_with","value":"memo://a.b""#),
        require(r#""path":"args.path","op":"starts_with","value":"/""#),
        asking("deny_if", r#""path":"args.path","op":"contains","value":"/../""#),
        require(r#""path":"identity.uid","op":"lt","value":1000"#),
        entry(r#"{"action":"deny","reason":"no"}"#),
        require(r#""path":"args.point[0]","op":"gte","value":0"#),
        asking("deny_if", r#""path":"args.point[0]","op":"lt","value":0"#),
        entry(
            r#"{"require":[{"conditions":[{"path":"identity.exe","op":"eq","value":"/bin/x"},{"path":"identity.uid","op":"eq","value":7}]}]}"#,
        ),
        // Each element by itself: different elements may meet different conditions, and an empty array meets all.
        entry(
            r#"{"require":[{"conditions":[{"path":"args.a[]","op":"eq","value":1}]},{"conditions":[{"path":"args.a[]","op":"eq","value":2}]}]}"#,
        ),
        entry(
            r#"{"deny_if":[{"conditions":[{"path":"args.a","op":"eq","value":1}]},{"conditions":[{"path":"args.a","op":"eq","value":2}]}]}"#,
        ),
        entry(
            r#"{"require":[{"conditions":[{"path":"args.a","op":"in","value":[1,2]},{"path":"args.a","op":"neq","value":1}]}]}"#,
        ),
        entry(
            r#"{"require":[{"conditions":[{"path":"args.a","op":"gte","value":5},{"path":"args.a","op":"lte","value":5}]}]}"#,
        ),
    ] {
        let found = found(&policy, None);
        wrong.extend((!found.is_empty()).then(|| format!("{found:?}: {policy}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(lint("{", None), [], "what does not load has errors enough");
    assert_eq!(lint(r#"{"version":"1","default":"deny","tools":{"t":{"reason":7}}}"#, None), []);
}

fn tool(name: &str, schema: Value) -> Tool {
    Tool { name: name.to_owned(), schema: schema.to_string() }
}

/// Schemas as servers write them: loose, with references, nullable, nested.
fn tools() -> Vec<Tool> {
    vec![
        tool(
            "send",
            json!({
                "type": "object",
                "properties": {
                    "to": { "type": "array", "items": { "type": "string" } },
                    "amount": { "anyOf": [{ "type": "integer" }, { "type": "null" }], "default": null },
                    "currency": { "type": "string", "enum": ["usd", "eur"] },
                    "order": { "$ref": "#/$defs/order" },
                    "options": { "type": "object", "additionalProperties": true },
                    "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                    "either": { "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] },
                    "anything": {},
                    "point": { "type": "array", "prefixItems": [{ "type": "number" }, { "type": "string" }] },
                },
                "$defs": {
                    "order": {
                        "allOf": [
                            { "type": "object", "properties": { "lines": { "type": "array", "items": { "$ref": "#/$defs/line" } } } },
                            { "properties": { "note": { "const": "gift" } } },
                        ],
                    },
                    "line": { "type": "object", "properties": { "price": { "type": "number" }, "inner": { "$ref": "#/$defs/line" } } },
                },
            }),
        ),
        tool("read", json!({ "type": "object", "properties": { "path": { "type": "string" } } })),
        tool("stat", json!({ "type": "object", "properties": { "path": { "type": "string" } } })),
        tool("open", json!({ "type": "object" })),
        tool("strange", Value::Null),
    ]
}

/// A policy with a condition on the tool `send`.
fn on_send(list: &str, condition: &str) -> String {
    format!(
        r#"{{"version":"1","default":"deny","tools":{{"send":{{"{list}":[{{"conditions":[{{{condition}}}]}}]}}}}}}"#
    )
}

fn beside_tools() -> Vec<(&'static str, String, &'static str)> {
    let document = |members: &str| format!(r#"{{"version":"1","default":"deny",{members}}}"#);
    let limit = r#"{"counter":"c","window":"day","max":5,"increment_from":"#;
    vec![
        ("no-such-tool", document(r#""tools":{"sand":{}}"#), r#""sand""#),
        ("no-such-tool", document(r#""tools":{"write*":{}}"#), r#""write*""#),
        ("no-such-tool", document(r#""hide":["delete"]"#), r#""delete""#),
        ("no-such-argument", on_send("deny_if", r#""path":"args.ammount","op":"gt","value":1"#), r#""args.ammount""#),
        ("no-such-argument", on_send("require", r#""path":"args.order.line","op":"exists""#), r#""args.order.line""#),
        ("no-such-argument", on_send("deny_if", r#""path":"args.order.lines[].prize","op":"gt","value":1"#), r#""args.order.lines[].prize""#),
        ("no-such-argument", document(&format!(r#""tools":{{"send":{{"limits":[{limit}"args.sum"}}]}}}}"#)), r#""args.sum""#),
        ("no-such-argument", document(r#""tools":{"[rs]*":{},"*":{"deny_if":[{"conditions":[{"path":"args.path","op":"eq","value":"x"}]}]},"s*":{"require":[{"conditions":[{"path":"args.path","op":"len_lte","value":9}]}]}}"#).replace(r#""[rs]*":{},"#, ""), r#""args.path""#),
        ("no-such-value", on_send("deny_if", r#""path":"args.currency","op":"in","value":["eur","ust"]"#), r#""ust""#),
        ("no-such-value", on_send("require", r#""path":"args.order.note","op":"eq","value":"gifts""#), r#""gifts""#),
        ("argument-type", on_send("deny_if", r#""path":"args.currency","op":"gt","value":1"#), r#""args.currency""#),
        ("argument-type", on_send("deny_if", r#""path":"args.to","op":"regex","value":"x""#), r#""args.to""#),
        ("argument-type", on_send("deny_if", r#""path":"args.amount","op":"eq","value":"1""#), r#""1""#),
        ("argument-type", on_send("deny_if", r#""path":"args.order.lines.price","op":"gt","value":1"#), r#""args.order.lines.price""#),
        ("argument-type", on_send("deny_if", r#""path":"args.currency[]","op":"eq","value":"usd""#), r#""args.currency[]""#),
        ("argument-type", on_send("deny_if", r#""path":"args.labels.a","op":"gt","value":1"#), r#""args.labels.a""#),
        ("argument-type", document(&format!(r#""tools":{{"send":{{"limits":[{limit}"args.currency"}}]}}}}"#)), r#""args.currency""#),
        ("missed-elements", on_send("deny_if", r#""path":"args.to","op":"eq","value":"x""#), r#""args.to""#),
        ("missed-elements", on_send("require", r#""path":"args.to","op":"in","value":["x"]"#), r#""args.to""#),
        ("missed-elements", on_send("deny_if", r#""path":"args.either","op":"eq","value":"x""#), r#""args.either""#),
    ]
}

#[test]
fn the_elements_of_an_array_are_advised_only_where_they_are_of_use() {
    for (condition, advice) in [
        (r#""path":"args.to","op":"regex","value":"x""#, "did you mean `args.to[]`?"),
        (
            r#""path":"args.order.lines","op":"regex","value":"x""#,
            "its elements are objects: `args.order.lines[].name` leads to what they call `name`",
        ),
        (
            r#""path":"args.order.lines","op":"eq","value":"x""#,
            "its elements are objects: `args.order.lines[].name` leads to what they call `name`",
        ),
        (
            r#""path":"args.to","op":"gt","value":1"#,
            "compare with `eq`, `in` or `type`, or with a path that leads to a number",
        ),
    ] {
        let problems = super::lint(&on_send("deny_if", condition), Some(&tools()));
        let helps: Vec<_> = problems.iter().filter_map(|problem| problem.help.as_deref()).collect();
        assert_eq!(helps, [advice], "{condition}");
    }
}

#[test]
fn programs_get_every_tool_that_no_entry_names() {
    let many: Vec<Tool> = (0..30).map(|index| tool(&format!("t{index}"), Value::Null)).collect();
    let problems = super::lint(r#"{"version":"1","default":"deny","tools":{"t0":{}}}"#, Some(&many));
    let [note] = problems.as_slice() else { panic!("{problems:?}") };
    assert_eq!((note.code, note.names.len(), note.names[28].as_str()), (Some("unnamed-tools"), 29, "t29"));
    assert!(note.message.ends_with("and 21 more") && note.help.is_some(), "{note:?}");
}

#[test]
fn schemas_that_leave_room_are_not_held_against_a_policy() {
    for condition in [
        r#""path":"args.to[]","op":"eq","value":"x""#,
        r#""path":"args.amount","op":"gt","value":1"#,
        r#""path":"args.amount","op":"eq","value":null"#,
        r#""path":"args.options.whatever.deep[0]","op":"gt","value":1"#,
        r#""path":"args.anything.deep","op":"gt","value":1"#,
        r#""path":"args.labels.a","op":"eq","value":"x""#,
        r#""path":"args.either[]","op":"eq","value":"x""#,
        r#""path":"args.point[5]","op":"gt","value":1"#,
        r#""path":"args.order.lines[].inner.inner.price","op":"gt","value":1"#,
        r#""path":"args.order.lines[0].price","op":"gt","value":1"#,
        r#""path":"args.to","op":"contains","value":"x""#,
        r#""path":"args.to","op":"type","value":"string""#,
        r#""path":"args.currency","op":"eq","value":"usd""#,
        r#""path":"identity.uid","op":"eq","value":0"#,
    ] {
        let policy = on_send("deny_if", condition);
        let codes: Vec<_> = found(&policy, Some(&tools())).into_iter().map(|(code, _)| code).collect();
        assert_eq!(codes, ["unnamed-tools"], "{policy}");
    }
    for name in ["open", "strange"] {
        let policy = on_send("deny_if", r#""path":"args.x.y[]","op":"gt","value":1"#).replace("send", name);
        assert_eq!(found(&policy, Some(&tools())).len(), 1, "{policy}");
    }
}

#[test]
fn tools_that_no_entry_names_are_told() {
    let told = |policy: &str| {
        let note = lint(policy, Some(&tools())).into_iter().find(|problem| problem.code == Some("unnamed-tools"));
        note.map(|note| note.message)
    };
    let policy =
        r#"{"version":"1","default":"allow","hide":["o*"],"tools":{"send":{"action":"deny"},"st*":{"action":"deny"}}}"#;
    assert_eq!(told(policy).as_deref(), Some("1 tool that no entry names is allowed: `read`"));
    let policy = r#"{"version":"1","default":"deny"}"#;
    let all = "5 tools that no entry names are denied: `send`, `read`, `stat`, `open` and `strange`";
    assert_eq!(told(policy).as_deref(), Some(all));
    assert_eq!(told(r#"{"version":"1","default":"deny","tools":{"*":{}}}"#), None);
}

/// A hostile server's schema costs no more than a bounded look at it.
#[test]
fn schemas_that_explode_are_unknown() {
    let mut defs = serde_json::Map::new();
    for depth in 0..30 {
        let next = json!({ "$ref": format!("#/$defs/d{}", depth + 1) });
        defs.insert(format!("d{depth}"), json!({ "allOf": [next, next], "anyOf": [next, next] }));
    }
    defs.insert("d30".to_owned(), json!({ "properties": { "a": { "type": "string" } } }));
    let explosive = json!({ "$ref": "#/$defs/d0", "$defs": defs });
    let circular = json!({ "$ref": "#" });
    let elsewhere = json!({ "$ref": "https://evil.example/schema.json" });
    for schema in [explosive, circular, elsewhere] {
        let policy = asking("deny_if", r#""path":"args.b","op":"gt","value":1"#);
        assert_eq!(found(&policy, Some(&[tool("t", schema)])), []);
    }
}

#[test]
fn policies_that_share_a_counter_must_agree() {
    let policy = |scope: &str, more: &str| {
        format!(
            r#"{{"version":"1","default":"deny","tools":{{"t":{{"limits":[{{"counter":"c","window":"day","max":5,"scope":"{scope}"{more}}}]}}}}}}"#
        )
    };
    let adds = r#","increment_from":"args.n""#;
    for (one, two, disagree) in [
        (policy("global", ""), policy("global", adds), true),
        (policy("host", adds), policy("host", r#","increment_from":"args.m""#), true),
        (policy("host", adds), policy("host", adds), false),
        (policy("host", adds), policy("host", r#","increment_from":"args[\"n\"]""#), false),
        (policy("host", adds), policy("global", ""), false),
        (policy("server", ""), policy("server", adds), false),
        (policy("grant", ""), policy("grant", adds), false),
    ] {
        let problems = across(&[("one.json", &one), ("two.json", &two)]);
        assert_eq!(problems[0], []);
        assert_eq!(
            problems[1].iter().map(|problem| problem.code).collect::<Vec<_>>(),
            vec![Some("counter-disagreement"); usize::from(disagree)]
        );
        if disagree {
            assert!(problems[1][0].message.contains("`one.json`"), "{}", problems[1][0].message);
        }
    }
}

/// What is shipped is an example to others.
#[test]
fn the_shipped_policies_deserve_no_warning_but_one() {
    let folder = format!("{}/../deploy/policies", env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".json") || name.ends_with(".tests.json") || name.ends_with(".schema.json") {
            continue;
        }
        let codes: Vec<_> = found(&text, None).into_iter().map(|(code, _)| code).collect();
        // `rate_limit` counts by session, as the pages say that these come from, and the warning says what that is worth.
        let expected: &[&str] = if name.ends_with(".rate-limit.json") { &["session-scope"] } else { &[] };
        assert_eq!(codes, expected, "{name}");
        seen += 1;
    }
    assert!(seen >= 15, "{seen}");
}

#[test]
fn tells_policies_from_other_documents() {
    for text in [
        r#"{"version":"1","default":"deny"}"#,
        r#"{"version":"1"}"#,
        r#"{"default":"deny","version":1}"#,
        r#"{"tools":{}}"#,
        "{",
        "",
    ] {
        assert!(is_policy(text), "{text}");
    }
    for text in ["[]", "7", "{}", r#"{"name":"x","version":"1.0.0"}"#, r#"{"tools":[]}"#, r#"{"$schema":"x"}"#] {
        assert!(!is_policy(text), "{text}");
    }
}
