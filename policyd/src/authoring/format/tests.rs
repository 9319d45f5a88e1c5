use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::authoring::world::World;
use crate::policy::Policy;
use crate::policy::load;

fn laid_out(text: &str) -> String {
    format("policy.json", text, Layout::Policy).unwrap_or_else(|report| panic!("{text}\n{}", report.render(false)))
}

#[test]
fn a_policy_is_laid_out() {
    let text = r#"{"tools":{"search":{},"create_charge":{"limits":[{"max":100000,"on_deny":"Daily budget spent.","counter":"spend",
        "increment_from":"args.amount","window":"day","scope":"grant"}],"approve_if":[{"timeout":"10m","conditions":
        [{"value":10000,"op":"gt","path":"args.amount"}]}],"deny_if":[{"conditions":[{"path":"args.amount","op":"gt","value":5.0E+4},
        {"op":"exists","path":"args.note"}],"zz":1,"aa":[1,2,[]]}],"require":[{"name":"currency","on_deny":"Only USD and EUR.","conditions":[{
        "path":"args.currency","op":"in","value":["usd","eur"]}]}]},"drop_table":{"reason":"Never\u0020from an \u0061gent.\u202e","action":"deny"},
        "start_session":{"rate_limit":{"window":60,"max":10}}},"$schema":"https://example.com/s.json","hide":["delete_account","admin.*"],
        "methods":{"prompts/get":{"action":"deny"}},"default":"deny","all_tools":{"limits":[{"counter":"calls","window":"minute","max":60}]},
        "version":"1","unknown":{"b":1,"a":null}}"#;
    insta::assert_snapshot!(laid_out(text), @r##"
    {
      "$schema": "https://example.com/s.json",
      "version": "1",
      "default": "deny",
      "hide": ["delete_account", "admin.*"],
      "all_tools": { "limits": [{ "counter": "calls", "window": "minute", "max": 60 }] },
      "tools": {
        "search": {},
        "create_charge": {
          "require": [
            {
              "conditions": [{ "path": "args.currency", "op": "in", "value": ["usd", "eur"] }],
              "on_deny": "Only USD and EUR.",
              "name": "currency"
            }
          ],
          "deny_if": [
            {
              "conditions": [
                { "path": "args.amount", "op": "gt", "value": 5.0E+4 },
                { "path": "args.note", "op": "exists" }
              ],
              "zz": 1,
              "aa": [1, 2, []]
            }
          ],
          "approve_if": [
            { "conditions": [{ "path": "args.amount", "op": "gt", "value": 10000 }], "timeout": "10m" }
          ],
          "limits": [
            {
              "counter": "spend",
              "window": "day",
              "max": 100000,
              "scope": "grant",
              "increment_from": "args.amount",
              "on_deny": "Daily budget spent."
            }
          ]
        },
        "drop_table": { "action": "deny", "reason": "Never from an agent.\u202e" },
        "start_session": { "rate_limit": { "max": 10, "window": 60 } }
      },
      "methods": {
        "prompts/get": { "action": "deny" }
      },
      "unknown": { "b": 1, "a": null }
    }
    "##);
}

#[test]
fn short_and_long_have_their_lines() {
    let words = |count: usize| (0..count).map(|_| "\"abcdefgh\"").collect::<Vec<_>>().join(",");
    for (text, expected) in [
        ("{}", "{}\n"),
        (" { \"version\" : \"1\" } ", "{\n  \"version\": \"1\"\n}\n"),
        ("{\"tools\":{}}", "{\n  \"tools\": {}\n}\n"),
        ("{\"hide\":[ ]}", "{\n  \"hide\": []\n}\n"),
        ("[1,2.50,-0]", "[\n  1,\n  2.50,\n  -0\n]\n"),
        ("1e400", "1e400\n"),
        ("\"\\/\\u00e9\\u0000\\u200b\\ud83d\\ude00\"", "\"/é\\u0000\\u200b😀\"\n"),
        ("{\"a\":[{},{}]}", "{\n  \"a\": [\n    {},\n    {}\n  ]\n}\n"),
    ] {
        assert_eq!(laid_out(text), expected, "{text}");
    }
    for count in 1..20 {
        let text = laid_out(&format!("{{\"hide\":[{}],\"mode\":\"observe\"}}", words(count)));
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= WIDTH, "{text}");
        // `  "hide": [` and `],` take twelve characters, a word and its comma twelve but for the last one's.
        assert_eq!(text.lines().count() == 4, 12 + 12 * count - 2 <= WIDTH, "{text}");
    }
}

#[test]
fn keys_of_the_document_are_those_that_the_loader_knows() {
    let (mut ours, mut known) = (DOCUMENT.to_vec(), load::DOCUMENT.known.to_vec());
    ours.sort_unstable();
    known.sort_unstable();
    assert_eq!(ours, known);
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    let report = format("p.json", "{\"a\": 1,\n \"a\": 2,\n \"b\" 3}", Layout::Policy).unwrap_err();
    assert_eq!(
        report.to_string(),
        "p.json:2:2: duplicate key `a` (it stands on line 1 too)\np.json:3:6: expected `:`, found `3`"
    );
    for text in ["", "{", "{\"a\":1,}", "\u{feff}{}", "// no\n{}"] {
        assert!(format("p.json", text, Layout::Plain).is_err(), "{text}");
    }
}

#[test]
fn policies_are_told_from_other_documents() {
    for (text, is) in [
        (r#"{"version":"1","default":"deny"}"#, true),
        (r#"{"version":"2","tools":{}}"#, true),
        (r#"{"name":"x","version":"1"}"#, false),
        ("[]", false),
        ("{", false),
    ] {
        assert_eq!(is_policy(text), is, "{text}");
    }
}

#[test]
fn the_shipped_policies_are_laid_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/policies");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".json") && !name.ends_with(".schema.json") {
            let layout = if name.ends_with(".tests.json") { Layout::Plain } else { Layout::Policy };
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(format(name, &text, layout).unwrap(), text, "run `policyd policy fmt deploy/policies`");
            seen += 1;
        }
    }
    assert!(seen >= 15, "{seen}");
}

/// A document without its layout: keys in order, numbers as they are written, strings as they read.
fn meaning(text: &str) -> String {
    fn write(node: &Node, text: &str, out: &mut String) {
        match &node.json {
            Json::Null | Json::Bool | Json::Number => out.push_str(&text[node.span.clone()]),
            Json::String(string) => out.push_str(&format!("{string:?}")),
            Json::Array(elements) => {
                out.push('[');
                elements.iter().for_each(|element| (write(element, text, out), out.push(',')).1);
                out.push(']');
            }
            Json::Object(members) => {
                let mut members: Vec<&Member> = members.iter().collect();
                members.sort_by(|a, b| a.key.cmp(&b.key));
                out.push('{');
                for member in members {
                    out.push_str(&format!("{:?}:", member.key));
                    write(&member.value, text, out);
                    out.push(',');
                }
                out.push('}');
            }
        }
    }
    let (mut problems, mut out) = (Vec::new(), String::new());
    let node = document::parse(text, &mut problems).expect("a document");
    assert!(problems.is_empty());
    write(&node, text, &mut out);
    out
}

/// Any JSON, with the language's keys among others, numbers in all spellings and white space of all kinds.
fn json() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        prop::sample::select(vec![
            "tools",
            "methods",
            "all_tools",
            "limits",
            "require",
            "conditions",
            "value",
            "version"
        ]),
        prop::sample::select(vec!["rate_limit", "max", "name", "path", "op", "x", "", "a/b", "\\u0061b", "é"]),
    ];
    let space = "[ \n\t]{0,2}";
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,5})?([eE][-+]?[0-9]{1,3})?",
        "\"([a-z é\u{301}\u{202e}😀]|\\\\u[01][0-9a-f]{3}|\\\\n|\\\\\"|\\\\/){0,12}\"",
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        let member = (key.clone(), space, inner.clone());
        let object = prop::collection::vec(member, 0..6).prop_map(|members| {
            let mut seen = std::collections::HashSet::new();
            let members: Vec<String> = members
                .into_iter()
                .filter(|(key, ..)| seen.insert(*key))
                .map(|(key, space, value)| format!("{space}\"{key}\"{space}:{space}{value}"))
                .collect();
            format!("{{{}}}", members.join(","))
        });
        let array = prop::collection::vec((inner, space), 0..6).prop_map(|elements| {
            let elements: Vec<String> =
                elements.into_iter().map(|(value, space)| format!("{space}{value}{space}")).collect();
            format!("[{}]", elements.join(","))
        });
        prop_oneof![object, array]
    })
}

/// A policy that loads, with its keys in any order.
fn policy() -> impl Strategy<Value = String> {
    let number = prop::sample::select(vec!["0", "1", "1.0", "2", "0.1", "1e1", "12345678901234567890"]);
    let condition = prop_oneof![
        (prop::sample::select(vec!["gt", "lte", "eq", "neq"]), number.clone())
            .prop_map(|(op, value)| format!(r#"{{"value":{value},"path":"args.n","op":"{op}"}}"#)),
        prop::sample::select(vec![
            r#"{"op":"in","value":["a","\u0062"],"path":"args.s"}"#.to_owned(),
            r#"{"path":"args.s","value":"^\\w+$","op":"regex"}"#.to_owned(),
            r#"{"op":"exists","path":"args.n"}"#.to_owned(),
        ]),
    ];
    let clauses = prop::collection::vec(prop::collection::vec(condition, 0..3), 0..3).prop_map(|clauses| {
        let clause = |(index, conditions): (usize, &Vec<String>)| {
            format!(r#"{{"on_deny":"no {index}","name":"\u006e{index}","conditions":[{}]}}"#, conditions.join(","))
        };
        clauses.iter().enumerate().map(clause).collect::<Vec<_>>().join(",")
    });
    let limits = prop::collection::vec((0..2, number), 0..3).prop_map(|limits| {
        let limit =
            |(counter, max): &(i32, &str)| format!(r#"{{"max":{max},"counter":"c{counter}","window":"minute"}}"#);
        limits.iter().map(limit).collect::<Vec<_>>().join(",")
    });
    let entry = (clauses.clone(), clauses, limits, any::<bool>()).prop_map(|(require, deny_if, limits, turn)| {
        let mut members =
            [format!("\"require\":[{require}]"), format!("\"deny_if\":[{deny_if}]"), format!("\"limits\":[{limits}]")];
        if turn {
            members.reverse();
        }
        format!("{{{}}}", members.join(","))
    });
    (entry.clone(), entry, prop::sample::select(vec!["allow", "deny"])).prop_map(|(all, own, default)| {
        format!(
            r#"{{"tools":{{"t":{own},"u*":{{}}}},"default":"{default}","all_tools":{all},"hide":["h"],"version":"1"}}"#
        )
    })
}

proptest! {
    #[test]
    fn keeps_what_is_said_and_is_done_at_once(text in json(), plain in any::<bool>()) {
        let layout = if plain { Layout::Plain } else { Layout::Policy };
        let once = format("p", &text, layout).expect("it is JSON");
        prop_assert_eq!(meaning(&once), meaning(&text));
        prop_assert_eq!(&format("p", &once, layout).expect("it still is"), &once);
        for line in once.lines() {
            // A key and one value are the least that a line can hold.
            let divisible = line.chars().count() > WIDTH && line.trim_end_matches(',').ends_with([']', '}'])
                && !line.trim_end_matches(',').ends_with(['[', '{']) && line.contains(", ");
            prop_assert!(!divisible, "{}", line);
        }
    }

    #[test]
    fn keeps_what_is_decided(
        text in policy(),
        calls in prop::collection::vec((0..4_usize, 0..6_usize, 0..40_u32), 1..12),
    ) {
        let after = laid_out(&text);
        prop_assert!(Policy::load("p", &text).is_ok(), "{}", text);
        let (one, two) = (World::new(&text), World::new(&after));
        let arguments = ["{}", r#"{"n":1}"#, r#"{"n":0.1,"s":"b"}"#, r#"{"n":"x","s":"a b"}"#, r#"{"s":null}"#, r#"{"n":12}"#];
        for (tool, argument, second) in calls {
            let tool = ["t", "ux", "h", "other"][tool];
            let call = |world: &World| world.call(tool, arguments[argument], f64::from(second));
            prop_assert_eq!(call(&one), call(&two), "{}", after);
            prop_assert_eq!(one.unlists(tool, &()), two.unlists(tool, &()));
        }
    }
}
