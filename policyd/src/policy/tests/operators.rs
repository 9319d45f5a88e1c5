//! Every operator against every kind of argument in every list. The expectations are those of the language's description
//! ("Conditions", "Undecidable conditions"), not of the code.

use super::*;

/// What a condition counts as in `require`, `deny_if` and `approve_if`, in this order: `+` holds, `-` does not.
type Counts = &'static str;

/// Decidable, and so the same in every list.
const HOLDS: Counts = "+++";
const HOLDS_NOT: Counts = "---";
/// Undecidable: the way that refuses.
const WRONG: Counts = "-++";
/// Absent: the `require` fails, the others do not hold; `neq` and `not_in` do.
const ABSENT: Counts = "---";
const ABSENT_NEGATED: Counts = "-++";
/// No element at all: a `require` is satisfied, nothing is forbidden.
const NO_ELEMENT: Counts = "+--";

struct Row {
    /// `op` and `value`.
    op: &'static str,
    absent: Counts,
    null: Counts,
    /// A value of another type than the operator is made for.
    wrong: (&'static str, Counts),
    /// An empty array as the value itself.
    empty: Counts,
    holds: &'static [&'static str],
    holds_not: &'static [&'static str],
    /// The path leads into something that has no members.
    mismatch: Counts,
    /// There is a member that some readers take for the one that is meant.
    unclear: Counts,
}

/// An operator for which null and other types are undecidable.
const STRICT: Row = Row {
    op: "",
    absent: ABSENT,
    null: WRONG,
    wrong: ("7", WRONG),
    empty: WRONG,
    holds: &[],
    holds_not: &[],
    mismatch: WRONG,
    unclear: WRONG,
};

/// JSON equality is decidable for every type but null.
const EQUALITY: Row = Row { wrong: ("7", HOLDS_NOT), empty: HOLDS_NOT, ..STRICT };
const INEQUALITY: Row = Row { absent: ABSENT_NEGATED, wrong: ("7", HOLDS), empty: HOLDS, ..STRICT };
const COMPARISON: Row = Row { wrong: (r#""5""#, WRONG), ..STRICT };
/// `type` and `exists` are decidable of every value, unless the path goes into another container, or it is unclear which member
/// is meant.
const DECIDABLE: Row = Row { null: HOLDS_NOT, wrong: ("7", HOLDS_NOT), empty: HOLDS_NOT, ..STRICT };

const ROWS: &[Row] = &[
    Row {
        op: r#""eq", "value": "a""#,
        holds: &[r#""a""#, r#""\u0061""#],
        holds_not: &[r#""A""#, r#""""#, r#"["a"]"#, r#"{"a":"a"}"#, "true"],
        ..EQUALITY
    },
    Row {
        op: r#""eq", "value": 1"#,
        wrong: (r#""1""#, HOLDS_NOT),
        holds: &["1", "1.0", "10e-1", "0.1e1"],
        holds_not: &["1.0000000000000000000001", "-1", "true", "[1]"],
        ..EQUALITY
    },
    Row {
        op: r#""eq", "value": null"#,
        null: HOLDS,
        holds: &["null"],
        holds_not: &["0", "false", r#""""#, "{}", r#""null""#],
        ..EQUALITY
    },
    Row {
        op: r#""eq", "value": { "a": [1, null], "b": {} }"#,
        holds: &[r#"{"a":[1,null],"b":{}}"#, r#"{"b":{},"a":[1.0,null]}"#],
        holds_not: &[
            r#"{"a":[1,null]}"#,
            r#"{"a":[null,1],"b":{}}"#,
            r#"{"a":[1,null],"b":{},"c":1}"#,
            r#"{"a":[1],"b":{}}"#,
        ],
        ..EQUALITY
    },
    Row { op: r#""eq", "value": []"#, empty: HOLDS, holds: &["[]"], holds_not: &["[[]]", "{}", "[null]"], ..EQUALITY },
    Row {
        op: r#""neq", "value": "a""#,
        holds: &[r#""b""#, r#""A""#, r#"["a"]"#],
        holds_not: &[r#""a""#],
        ..INEQUALITY
    },
    Row {
        op: r#""neq", "value": null"#,
        null: HOLDS_NOT,
        holds: &["0", "false", r#""""#],
        holds_not: &["null"],
        ..INEQUALITY
    },
    Row {
        op: r#""in", "value": ["a", 5.0, true, [1], { "k": "v" }]"#,
        holds: &[r#""a""#, "5", "true", "[1.0]", r#"{"k":"v"}"#],
        holds_not: &[r#""b""#, "6", "false", "[2]", r#"{"k":"w"}"#, r#""5""#],
        ..EQUALITY
    },
    Row { op: r#""in", "value": ["a", null]"#, null: HOLDS, holds: &["null", r#""a""#], holds_not: &["0"], ..EQUALITY },
    Row { op: r#""in", "value": []"#, holds: &[], holds_not: &["0", r#""""#, "[]"], ..EQUALITY },
    Row {
        op: r#""not_in", "value": ["a", 5]"#,
        holds: &[r#""b""#, "6", r#"["a"]"#],
        holds_not: &[r#""a""#, "5.00"],
        ..INEQUALITY
    },
    Row { op: r#""not_in", "value": [null]"#, null: HOLDS_NOT, holds: &["0"], holds_not: &["null"], ..INEQUALITY },
    Row {
        op: r#""lt", "value": 0.3"#,
        holds: &["0.2", "0.29999999999999999999999", "-1e300", "0", "-0"],
        holds_not: &["0.3", "0.30", "0.30000000000000000000001", "1E+2"],
        ..COMPARISON
    },
    Row { op: r#""lte", "value": 5"#, holds: &["5", "5.000", "4"], holds_not: &["5.1", "51e-1"], ..COMPARISON },
    Row {
        op: r#""gt", "value": 9007199254740992"#,
        holds: &["9007199254740993", "9007199254740992.1", "1e300"],
        holds_not: &["9007199254740992", "9007199254740991", "-9e99"],
        ..COMPARISON
    },
    Row {
        op: r#""gte", "value": -1e-400"#,
        holds: &["-0", "0", "-1e-401"],
        holds_not: &["-1e-399", "-1"],
        ..COMPARISON
    },
    Row {
        op: r#""regex", "value": "^[a-c]+$""#,
        holds: &[r#""abc""#, r#""\u0061b""#],
        holds_not: &[r#""abd""#, r#""""#, r#""a\nb""#],
        ..STRICT
    },
    Row { op: r#""regex", "value": "b""#, holds: &[r#""abc""#], holds_not: &[r#""ac""#], ..STRICT },
    Row {
        op: r#""contains", "value": "a""#,
        empty: HOLDS_NOT,
        holds: &[r#""xay""#, r#"["b","a"]"#, r#"{"a":null}"#],
        holds_not: &[r#""xy""#, r#"["ab",["a"]]"#, r#"{"b":"a"}"#, "{}"],
        ..STRICT
    },
    Row {
        op: r#""contains", "value": 1"#,
        wrong: (r#""1""#, WRONG),
        empty: HOLDS_NOT,
        holds: &["[0,1.0]"],
        holds_not: &["[10]", r#"["1"]"#],
        ..STRICT
    },
    Row {
        op: r#""contains", "value": null"#,
        wrong: ("{}", WRONG),
        empty: HOLDS_NOT,
        holds: &["[null]"],
        holds_not: &["[0]"],
        ..STRICT
    },
    Row {
        op: r#""exists""#,
        wrong: ("7", HOLDS),
        empty: HOLDS,
        holds: &["0", "false", r#""""#, "{}"],
        holds_not: &["null"],
        ..DECIDABLE
    },
    Row {
        op: r#""exists", "value": false"#,
        absent: HOLDS,
        null: HOLDS,
        holds: &["null"],
        holds_not: &["0", "false", r#""""#, "[]"],
        ..DECIDABLE
    },
    Row {
        op: r#""len_lte", "value": 2"#,
        empty: HOLDS,
        holds: &[r#""ab""#, r#""\u00e9\ud83d\ude00""#, "[1,2]", r#"{"a":1,"b":2}"#, r#""""#],
        holds_not: &[r#""abc""#, "[1,2,3]", r#"{"a":1,"b":2,"c":3}"#],
        ..STRICT
    },
    Row {
        op: r#""starts_with", "value": "ab""#,
        holds: &[r#""ab""#, r#""abc""#],
        holds_not: &[r#""a""#, r#""xab""#, r#""AB""#],
        ..STRICT
    },
    Row {
        op: r#""under_path", "value": "/srv/data""#,
        holds: &[r#""/srv/data/x""#, r#""/srv/data""#],
        holds_not: &[r#""/etc/passwd""#, r#""/srv/database""#],
        ..STRICT
    },
    // Readers differ on these: as undecidable as a value of the wrong type.
    Row { op: r#""under_path", "value": ["/srv/data"]"#, wrong: (r#""/srv/data/%2e%2e/x""#, WRONG), ..STRICT },
    Row { op: r#""under_path", "value": "/srv/data""#, wrong: (r#""data/x""#, WRONG), ..STRICT },
    Row {
        op: r#""host_in", "value": ["a.example", "*.b.example"]"#,
        holds: &[r#""https://a.example/x""#, r#""http://c.b.example:80""#],
        holds_not: &[r#""https://b.example/""#, r#""https://a.example.evil/""#],
        ..STRICT
    },
    Row { op: r#""host_in", "value": "a.example""#, wrong: (r#""https://a.example@b.example/""#, WRONG), ..STRICT },
    Row { op: r#""host_in", "value": "a.example""#, wrong: (r#""a.example""#, WRONG), ..STRICT },
    Row { op: r#""type", "value": "string""#, holds: &[r#""a""#, r#""""#], holds_not: &["true", "{}"], ..DECIDABLE },
    Row {
        op: r#""type", "value": ["null", "array"]"#,
        null: HOLDS,
        empty: HOLDS,
        holds: &["null", "[1]"],
        holds_not: &[r#""a""#, "0"],
        ..DECIDABLE
    },
    Row {
        op: r#""type", "value": "integer""#,
        wrong: (r#""7""#, HOLDS_NOT),
        holds: &["7", "7.0", "1e2", "-0"],
        holds_not: &["7.5", "1e-1"],
        ..DECIDABLE
    },
    Row {
        op: r#""type", "value": "number""#,
        wrong: (r#""7""#, HOLDS_NOT),
        holds: &["7.5", "1e-400"],
        holds_not: &["true"],
        ..DECIDABLE
    },
    Row { op: r#""type", "value": ["object", "boolean"]"#, holds: &["{}", "false"], holds_not: &["0"], ..DECIDABLE },
];

const LISTS: [&str; 3] = ["require", "deny_if", "approve_if"];

/// One tool for each list, with one condition.
fn world(path: &str, op: &str) -> World {
    let path = serde_json::to_string(path).expect("a string");
    let tools = LISTS.map(|list| {
        format!(r#""{list}": {{ "{list}": [ {{ "conditions": [ {{ "path": {path}, "op": {op} }} ] }} ] }}"#)
    });
    World::new(&format!(r#"{{ "version": "1", "default": "deny", "tools": {{ {} }} }}"#, tools.join(", ")))
}

/// What the condition counts as in each list.
fn counts(world: &World, arguments: &str) -> String {
    let holds = |list: &str| {
        let outcome = world.call_with(list, arguments, 0.0);
        let rule = outcome.denied.as_ref().map(|denial| &*denial.rule.pointer);
        assert!(rule.is_none_or(|rule| rule == format!("/tools/{list}/{list}/0")), "{rule:?}");
        assert!(list != "approve_if" || rule.is_none() || outcome.reason() == "needs approval");
        // A `require` that holds lets pass, the others refuse.
        if rule.is_none() == (list == "require") { "+" } else { "-" }
    };
    LISTS.map(holds).concat()
}

#[test]
fn every_operator_counts_as_described() {
    for row in ROWS {
        let one = world("args.x", row.op);
        let check = |arguments: &str, expected: Counts| {
            assert_eq!(counts(&one, arguments), expected, "{}: {arguments}", row.op);
        };
        check("{}", row.absent);
        check(r#"{"y":1}"#, row.absent);
        check(r#"{"x":null}"#, row.null);
        check(&format!(r#"{{"x":{}}}"#, row.wrong.0), row.wrong.1);
        check(r#"{"x":[]}"#, row.empty);
        for value in row.holds {
            check(&format!(r#"{{"x":{value}}}"#), HOLDS);
            // A reader that does not care about case might see either.
            check(&format!(r#"{{"x":{value},"X":{value}}}"#), row.unclear);
            check(&format!(r#"{{"X":{value}}}"#), row.unclear);
        }
        for value in row.holds_not {
            check(&format!(r#"{{"x":{value}}}"#), HOLDS_NOT);
            check(&format!(r#"{{"X":{value}}}"#), row.unclear);
        }

        let inner = world("args.x.y", row.op);
        for arguments in ["{}", r#"{"x":{}}"#, r#"{"x":null}"#] {
            assert_eq!(counts(&inner, arguments), row.absent, "{}: {arguments}", row.op);
        }
        for arguments in [r#"{"x":"y"}"#, r#"{"x":[{"y":1}]}"#, r#"{"x":7}"#] {
            assert_eq!(counts(&inner, arguments), row.mismatch, "{}: {arguments}", row.op);
        }
    }
}

#[test]
fn every_operator_is_asked_of_every_element() {
    for row in ROWS {
        let each = world("args.x[]", row.op);
        let check = |arguments: &str, expected: &str| {
            assert_eq!(counts(&each, arguments), expected, "{}: {arguments}", row.op);
        };
        check(r#"{"x":[]}"#, NO_ELEMENT);
        check("{}", row.absent);
        check(r#"{"x":null}"#, row.absent);
        check(r#"{"x":{}}"#, row.mismatch);
        check(r#"{"x":"a"}"#, row.mismatch);
        for value in row.holds {
            check(&format!(r#"{{"x":[{value}]}}"#), HOLDS);
            check(&format!(r#"{{"x":[{value},{value}]}}"#), HOLDS);
            for other in row.holds_not {
                // Not for every element; for any.
                check(&format!(r#"{{"x":[{value},{other}]}}"#), "-++");
                check(&format!(r#"{{"x":[{other},{value}]}}"#), "-++");
            }
        }
        for value in row.holds_not {
            check(&format!(r#"{{"x":[{value}]}}"#), HOLDS_NOT);
        }
    }
}

#[test]
fn every_operator_has_its_rows() {
    let names = crate::policy::load::condition::OPERATORS.iter().map(|(name, _)| *name);
    for name in names {
        let rows = ROWS.iter().filter(|row| row.op.starts_with(&format!("\"{name}\"")));
        assert!(rows.clone().any(|row| !row.holds.is_empty()), "{name}");
        assert!(rows.clone().any(|row| !row.holds_not.is_empty()), "{name}");
    }
}

#[test]
fn paths_lead_where_they_say() {
    for (path, arguments, expected) in [
        ("args.a[0]", r#"{"a":[1,2]}"#, HOLDS),
        ("args.a[1]", r#"{"a":[1,2]}"#, HOLDS_NOT),
        ("args.a[2]", r#"{"a":[1,2]}"#, ABSENT),
        ("args.a[0]", r#"{"a":[]}"#, ABSENT),
        ("args.a[0]", r#"{"a":null}"#, ABSENT),
        ("args.a[0]", r#"{"a":{"0":1}}"#, WRONG),
        ("args.a[0]", r#"{"a":"1"}"#, WRONG),
        (r#"args["a.b"]"#, r#"{"a.b":1,"a":{"b":2}}"#, HOLDS),
        ("args.a.b", r#"{"a.b":1,"a":{"b":2}}"#, HOLDS_NOT),
        (r#"args["a.b"]"#, r#"{"a":{"b":1}}"#, ABSENT),
        (r#"args["A.b"]"#, r#"{"a.b":1}"#, WRONG),
        (r#"args[""]"#, r#"{"":1}"#, HOLDS),
        ("args.a[].b", r#"{"a":[{"b":1},{"b":1}]}"#, HOLDS),
        ("args.a[].b", r#"{"a":[{"b":1},{"b":2}]}"#, "-++"),
        ("args.a[].b", r#"{"a":[{"b":2},{}]}"#, HOLDS_NOT),
        ("args.a[].b", r#"{"a":[{"b":1},{}]}"#, "-++"),
        ("args.a[].b", r#"{"a":[{"b":1},7]}"#, "-++"),
        ("args.a[].b", r#"{"a":[{"b":2},7]}"#, WRONG),
        ("args.a[].b", r#"{"a":[{"b":2,"B":2}]}"#, WRONG),
        ("args.a[].b", r#"{"a":[null]}"#, ABSENT),
        ("args.a[].b", r#"{"a":[]}"#, NO_ELEMENT),
        ("args.a[].b[]", r#"{"a":[{"b":[]},{"b":[]}]}"#, NO_ELEMENT),
        ("args.a[].b[]", r#"{"a":[{"b":[1]},{"b":[]}]}"#, HOLDS),
        ("args.a[][1]", r#"{"a":[[0,1],[2,1]]}"#, HOLDS),
        ("args.a[][1]", r#"{"a":[[0,1],[2]]}"#, "-++"),
    ] {
        assert_eq!(counts(&world(path, r#""eq", "value": 1"#), arguments), expected, "{path} in {arguments}");
    }
    // An element that is missing is not the value that was asked for.
    let neq = world("args.a[].b", r#""neq", "value": 1"#);
    assert_eq!(counts(&neq, r#"{"a":[{"b":1},{}]}"#), "-++");
    assert_eq!(counts(&neq, r#"{"a":[{"b":1}]}"#), HOLDS_NOT);
}

#[test]
fn what_policyd_knows_itself_is_asked_alike() {
    for (path, op, expected) in [
        ("grant.name", r#""eq", "value": "office""#, HOLDS),
        ("grant.name", r#""neq", "value": "office""#, HOLDS_NOT),
        ("server.name", r#""in", "value": ["server"]"#, HOLDS),
        ("tool.name", r#""regex", "value": "^(require|deny_if|approve_if)$""#, HOLDS),
        ("tool.name", r#""len_lte", "value": 3"#, HOLDS_NOT),
        ("identity.uid", r#""eq", "value": 1000.0"#, HOLDS),
        ("identity.uid", r#""lt", "value": 1000"#, HOLDS_NOT),
        ("identity.uid", r#""type", "value": "integer""#, HOLDS),
        ("identity.uid", r#""regex", "value": "1000""#, WRONG),
        ("identity.user", r#""starts_with", "value": "an""#, HOLDS),
        ("identity.user", r#""gt", "value": 1"#, WRONG),
        ("identity.cgroup", r#""under_path", "value": "/agents""#, HOLDS),
        ("identity.unit", r#""eq", "value": "x.service""#, ABSENT),
        ("identity.unit", r#""neq", "value": "x.service""#, ABSENT_NEGATED),
        ("identity.exe", r#""exists", "value": false"#, HOLDS),
    ] {
        assert_eq!(counts(&world(path, op), "{}"), expected, "{path} {op}");
    }
}

#[test]
fn a_wrong_value_is_shown_where_it_stands() {
    let condition = |op: &str, value: &str| {
        let policy = format!(
            r#"{{ "version": "1", "default": "deny", "tools": {{ "t": {{ "require": [ {{ "conditions": [ {{ "path": "args.x", "op": "{op}",
"value": {value} }} ] }} ] }} }} }}"#
        );
        Policy::load("p", &policy).map_or_else(|report| report.to_string(), |_| "loads".to_owned())
    };
    for (op, value, expected) in [
        (
            "host_in",
            r#"["a.example", "https://b.example/x"]"#,
            "p:2:24: `https://b.example/x` is a URL, not a host (write its host, `b.example`)",
        ),
        ("host_in", r#""a.example""#, "loads"),
        ("under_path", r#"["/a", "/b"]"#, "loads"),
        (
            "under_path",
            r#""data""#,
            "p:2:10: the directory `data` must be absolute (write it plainly, such as `/srv/data`)",
        ),
        (
            "under_path",
            r#"["/a", "/b/../c"]"#,
            "p:2:17: the directory `/b/../c` must be written without `//`, `.` and `..` (write `/c`)",
        ),
        ("under_path", "7", "p:2:10: expected an array, found a number"),
        (
            "regex",
            r#""(""#,
            "p:2:10: this pattern cannot be read: unclosed group (RE2 syntax: no look-around, no back-references; in JSON a \
             backslash is written twice)",
        ),
        (
            "regex",
            r#""\\w{1000}""#,
            "p:2:10: this pattern takes too much memory (large repetitions such as `{1000}` cost the most; `len_lte` bounds a \
             length)",
        ),
    ] {
        assert_eq!(condition(op, value), expected, "{op} {value}");
    }
}
