use std::fmt::Write as _;
use std::thread;

use proptest::prelude::*;

use super::*;

/// What checking `arguments` against `schema` says.
fn check(schema: &str, arguments: &str) -> Result<(), Disagreement> {
    let mut parser = Parser::default();
    Schema::new(schema).check(Some(parser.parse(arguments.as_bytes()).expect(arguments)))
}

/// The same, as the agent is told of it.
fn said(schema: &str, arguments: &str) -> String {
    check(schema, arguments).map_or_else(|disagreement| disagreement.to_string(), |()| "agrees".to_owned())
}

const SEVEN: &str = r#""$schema":"http://json-schema.org/draft-07/schema#""#;

#[test]
fn each_keyword_says_where_and_what() {
    for (schema, arguments, expected) in [
        (r#"true"#, "{}", "agrees"),
        (r#"{}"#, "{}", "agrees"),
        (r#"false"#, "{}", "not allowed"),
        (r#"{"type":"object"}"#, "{}", "agrees"),
        (r#"{"properties":{"a":{"type":"integer"}}}"#, r#"{"a":1.0}"#, "agrees"),
        (r#"{"properties":{"a":{"type":"integer"}}}"#, r#"{"a":1e2}"#, "agrees"),
        (r#"{"properties":{"a":{"type":"integer"}}}"#, r#"{"a":1.5}"#, "not of the declared type (`type`) at `/a`"),
        (r#"{"properties":{"a":{"type":["string","null"]}}}"#, r#"{"a":null}"#, "agrees"),
        (
            r#"{"properties":{"a":{"type":["string","null"]}}}"#,
            r#"{"a":[]}"#,
            "not of the declared type (`type`) at `/a`",
        ),
        (r#"{"properties":{"a":{"enum":["x",1]}}}"#, r#"{"a":1.0}"#, "agrees"),
        (r#"{"properties":{"a":{"enum":["x",1]}}}"#, r#"{"a":"y"}"#, "not one of the declared values (`enum`) at `/a`"),
        (r#"{"properties":{"a":{"const":{"k":[1]}}}}"#, r#"{"a":{"k":[1]}}"#, "agrees"),
        (r#"{"properties":{"a":{"const":1}}}"#, r#"{"a":2}"#, "not the declared value (`const`) at `/a`"),
        (r#"{"properties":{"a":{"minimum":1}}}"#, r#"{"a":0.9999}"#, "too small a number (`minimum`) at `/a`"),
        (
            r#"{"properties":{"a":{"exclusiveMaximum":1}}}"#,
            r#"{"a":1}"#,
            "too large a number (`exclusiveMaximum`) at `/a`",
        ),
        (r#"{"properties":{"a":{"multipleOf":0.01}}}"#, r#"{"a":0.07}"#, "agrees"),
        (
            r#"{"properties":{"a":{"multipleOf":0.01}}}"#,
            r#"{"a":0.075}"#,
            "not a multiple of what is declared (`multipleOf`) at `/a`",
        ),
        (r#"{"properties":{"a":{"maxLength":2}}}"#, r#"{"a":"öü"}"#, "agrees"),
        (r#"{"properties":{"a":{"maxLength":2}}}"#, r#"{"a":"abc"}"#, "too long a string (`maxLength`) at `/a`"),
        (r#"{"properties":{"a":{"pattern":"^[a-z]+$"}}}"#, r#"{"a":"abc"}"#, "agrees"),
        (
            r#"{"properties":{"a":{"pattern":"^[a-z]+$"}}}"#,
            r#"{"a":"abc\n"}"#,
            "not of the declared form (`pattern`) at `/a`",
        ),
        (
            r#"{"properties":{"a":{"pattern":"^\\d+$"}}}"#,
            r#"{"a":"٣"}"#,
            "not of the declared form (`pattern`) at `/a`",
        ),
        (r#"{"required":["a"]}"#, r#"{"b":1}"#, "a required argument is missing (`required`) at `/a`"),
        (r#"{"dependentRequired":{"a":["b"]}}"#, r#"{"a":1}"#, "a required argument is missing (`required`) at `/b`"),
        (
            r#"{"additionalProperties":false,"properties":{"a":true}}"#,
            r#"{"a":1,"b":2}"#,
            "an argument that is not declared (`additionalProperties`) at `/b`",
        ),
        (
            r#"{"patternProperties":{"^x-":{"type":"string"}}}"#,
            r#"{"x-a":1}"#,
            "not of the declared type (`type`) at `/x-a`",
        ),
        (r#"{"propertyNames":{"maxLength":1}}"#, r#"{"ab":1}"#, "too long a string (`maxLength`)"),
        (
            r#"{"properties":{"a":{"items":{"type":"string"}}}}"#,
            r#"{"a":["x",1]}"#,
            "not of the declared type (`type`) at `/a/1`",
        ),
        (r#"{"properties":{"a":{"prefixItems":[true],"items":false}}}"#, r#"{"a":[1,2]}"#, "not allowed at `/a/1`"),
        (
            r#"{"properties":{"a":{"uniqueItems":true}}}"#,
            r#"{"a":[1,{"b":1,"c":2},1.0]}"#,
            "an element twice (`uniqueItems`) at `/a/2`",
        ),
        (
            r#"{"properties":{"a":{"contains":{"const":1}}}}"#,
            r#"{"a":[2]}"#,
            "lacks an element that is declared (`contains`) at `/a`",
        ),
        (r#"{"properties":{"a":{"minItems":2}}}"#, r#"{"a":[2]}"#, "too few elements (`minItems`) at `/a`"),
        (r#"{"maxProperties":1}"#, r#"{"a":1,"b":2}"#, "too many members (`maxProperties`)"),
        (
            r#"{"anyOf":[{"required":["a"]},{"required":["b"]}]}"#,
            r#"{"c":1}"#,
            "none of the declared alternatives (`anyOf`)",
        ),
        (
            r#"{"oneOf":[{"required":["a"]},{"required":["b"]}]}"#,
            r#"{"a":1,"b":2}"#,
            "more than one of the declared alternatives (`oneOf`)",
        ),
        (r#"{"not":{"required":["a"]}}"#, r#"{"a":1}"#, "what must not be (`not`)"),
        (
            r#"{"if":{"required":["a"]},"then":{"required":["b"]}}"#,
            r#"{"a":1}"#,
            "a required argument is missing (`required`) at `/b`",
        ),
        (
            r##"{"$defs":{"p":{"minimum":0}},"properties":{"a":{"$ref":"#/$defs/p"}}}"##,
            r#"{"a":-1}"#,
            "too small a number (`minimum`) at `/a`",
        ),
        (
            r##"{"$defs":{"p":{"$anchor":"p","minimum":0}},"properties":{"a":{"$ref":"#p"}}}"##,
            r#"{"a":-1}"#,
            "too small a number (`minimum`) at `/a`",
        ),
        (r#"{"properties":{"a":true},"unevaluatedProperties":false}"#, r#"{"a":1,"b":1}"#, "not allowed at `/b`"),
        (r#"{"properties":{"a":{"format":"email"}}}"#, r#"{"a":"no"}"#, "agrees"),
    ] {
        assert_eq!(said(schema, arguments), expected, "{schema} {arguments}");
    }
}

#[test]
fn drafts_differ_where_they_do() {
    let reference = |schema: &str| {
        format!(r##"{{{schema}"$defs":{{"p":true}},"properties":{{"a":{{"$ref":"#/$defs/p","minimum":5}}}}}}"##)
    };
    assert_eq!(said(&reference(&format!("{SEVEN},")), r#"{"a":1}"#), "agrees");
    assert_eq!(said(&reference(""), r#"{"a":1}"#), "too small a number (`minimum`) at `/a`");
    let tuple =
        format!(r#"{{{SEVEN},"properties":{{"a":{{"items":[{{"type":"string"}}],"additionalItems":false}}}}}}"#);
    assert_eq!(said(&tuple, r#"{"a":["x",2]}"#), "not allowed at `/a/1`");
    assert_eq!(said(&format!(r#"{{{SEVEN},"unevaluatedProperties":false}}"#), r#"{"a":1}"#), "agrees");
    let dependency = r#""dependencies":{"a":["b"]}}"#;
    assert_eq!(said(&format!("{{{dependency}"), r#"{"a":1}"#), "a required argument is missing (`required`) at `/b`");
}

#[test]
fn numbers_keep_all_their_digits() {
    let schema = |keyword: &str| format!(r#"{{"properties":{{"a":{{{keyword}}}}}}}"#);
    for (keyword, number, agrees) in [
        (r#""const":9007199254740993"#, "9007199254740993", true),
        (r#""const":9007199254740993"#, "9007199254740992", false),
        (r#""maximum":9007199254740992"#, "9007199254740993", false),
        (r#""maximum":12345678901234567890123"#, "12345678901234567890124", false),
        (r#""maximum":12345678901234567890123"#, "12345678901234567890123", true),
        (r#""maximum":0.1"#, "0.1000000000000000055", false),
        (r#""maximum":1"#, "1e300", false),
        (r#""multipleOf":3"#, "12345678901234567890123456", true),
        (r#""multipleOf":3"#, "1e40", false),
        (r#""type":"integer""#, "1e300", true),
        (r#""enum":[0]"#, "-0.0", true),
    ] {
        assert_eq!(check(&schema(keyword), &format!(r#"{{"a":{number}}}"#)).is_ok(), agrees, "{keyword} {number}");
    }
}

#[test]
fn a_name_that_readers_take_for_a_declared_one_does_not_agree() {
    let schema = r#"{"properties":{"amount":{"maximum":5}}}"#;
    assert_eq!(said(schema, r#"{"Amount":9}"#), "a name that some readers take for a declared one at `/Amount`");
    assert_eq!(said(r#"{"properties":{"amount":true,"Amount":true}}"#, r#"{"Amount":9,"amount":1}"#), "agrees");
    assert_eq!(said(schema, r#"{"other":9}"#), "agrees");
}

#[test]
fn no_value_and_no_constant_is_told_and_names_are_short() {
    let told = said(r#"{"additionalProperties":{"const":"the secret"}}"#, r#"{"a":"the argument"}"#);
    assert_eq!(told, "not the declared value (`const`) at `/a`");
    let name = "`/~\\n\u{202e}ö".to_owned() + &"n".repeat(500);
    let told = said(r#"{"additionalProperties":false}"#, &format!(r#"{{"{name}":1}}"#));
    assert_eq!(
        told,
        format!(
            r"an argument that is not declared (`additionalProperties`) at `/\u{{60}}~1~0\u{{a}}\u{{202e}}\u{{f6}}{}…`",
            "n".repeat(34)
        )
    );
    let deep = format!("{}1{}", r#"{"aaaaaaaaaa":"#.repeat(50), "}".repeat(50));
    let schema = r##"{"additionalProperties":{"$ref":"#"},"type":"object"}"##;
    let told = said(schema, &deep);
    assert!(told.len() < 320 && told.contains("/aaaaaaaaaa/…"), "{told}");
}

#[test]
fn what_cannot_be_used_agrees_with_nothing() {
    let long = format!(r#"{{"description":"{}"}}"#, "x".repeat(compile::TEXT));
    let mut wide = String::from(r#"{"allOf":[true"#);
    for _ in 0..10_001 {
        wide.push_str(",{}");
    }
    wide.push_str("]}");
    let patterns: Vec<_> = (0..65).map(|n| format!(r#""{n}":true"#)).collect();
    let patterns = format!(r#"{{"patternProperties":{{{}}}}}"#, patterns.join(","));
    for (schema, why) in [
        (long.as_str(), "it is longer than 256 KiB"),
        (&wide, "it has more than 10,000 subschemas"),
        (&patterns, "it has too many patterns"),
        ("", "it is not strict JSON, or nests too deep"),
        (&"[".repeat(100), "it is not strict JSON, or nests too deep"),
        (r#"{"type":"object","type":"string"}"#, "it is not strict JSON, or nests too deep"),
        ("null", "a subschema is neither an object nor a boolean"),
        (r#"{"properties":{"a":1}}"#, "a subschema is neither an object nor a boolean"),
        (r#"{"$schema":"http://json-schema.org/draft-04/schema#"}"#, "its `$schema` is neither draft 7 nor 2020-12"),
        (r#"{"$ref":"https://example.com/x"}"#, "it refers to something outside of itself"),
        (r#"{"$ref":"file:///etc/passwd"}"#, "it refers to something outside of itself"),
        (r#"{"$ref":"other.json#/a"}"#, "it refers to something outside of itself"),
        (r##"{"$ref":"#/absent"}"##, "it refers to something that it does not have"),
        (r##"{"$ref":"#/%zz"}"##, "it refers to something that it does not have"),
        (r#"{"properties":{"a":{"$id":"https://example.com/x"}}}"#, "it has an `$id` inside of it"),
        (
            r#"{"properties":{"a":{"pattern":"(?=a)"}}}"#,
            "a pattern in it is too large, has what takes more than linear time, or is read differently by readers",
        ),
        (
            r#"{"properties":{"a":{"pattern":"(a{900}){900}"}}}"#,
            "a pattern in it is too large, has what takes more than linear time, or is read differently by readers",
        ),
        (r#"{"required":"a"}"#, "required names must be an array"),
        (r#"{"minLength":-1}"#, "a size in it is no whole number within 64 bits"),
        (r#"{"minimum":"1"}"#, "a bound of numbers is no number"),
        (r#"{"exclusiveMinimum":true}"#, "a bound of numbers is no number"),
        (r#"{"multipleOf":0}"#, "`multipleOf` must be a number above 0"),
        (r#"{"type":"any"}"#, "`type` must name JSON types"),
        (r#"{"items":[1]}"#, "a subschema is neither an object nor a boolean"),
    ] {
        let shown: String = schema.chars().take(80).collect();
        assert_eq!(check(schema, "{}"), Err(Disagreement::Unusable(why)), "{shown}");
    }
}

/// Schemas and arguments that would take exponential or quadratic time, or endless.
fn hostile() -> Vec<(String, String)> {
    let mut doubling = r##"{"$ref":"#/$defs/d0","$defs":{"##.to_owned();
    for level in 0..60 {
        let next = level + 1;
        write!(doubling, r##""d{level}":{{"allOf":[{{"$ref":"#/$defs/d{next}"}},{{"$ref":"#/$defs/d{next}"}}]}},"##)
            .unwrap();
    }
    doubling.push_str(r#""d60":{"type":"object"}}}"#);
    let alternatives = doubling.replace("allOf", "oneOf");
    let unevaluated = doubling.replace("allOf", "anyOf").replacen('{', r#"{"unevaluatedProperties":true,"#, 1);
    let twice = r##"{"properties":{"a":{"allOf":[{"$ref":"#"},{"$ref":"#"}]}}}"##.to_owned();
    let deep = format!("{}1{}", r#"{"a":"#.repeat(60), "}".repeat(60));
    let numbers =
        |count: usize| format!(r#"{{"a":[{}]}}"#, (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    let members =
        |count: usize| format!("{{{}}}", (0..count).map(|n| format!(r#""k{n}":{n}"#)).collect::<Vec<_>>().join(","));
    let many_names: Vec<_> = (0..2000).map(|n| format!(r#""n{n}""#)).collect();
    let text = format!(r#"{{"a":"{}"}}"#, "a".repeat(1 << 20));
    vec![
        (doubling, members(1)),
        (alternatives, members(1)),
        (unevaluated, members(1)),
        (twice, deep),
        (r##"{"$ref":"#"}"##.to_owned(), "{}".to_owned()),
        (r##"{"allOf":[{"$ref":"#"},{"$ref":"#"}]}"##.to_owned(), "{}".to_owned()),
        (r##"{"not":{"$ref":"#"}}"##.to_owned(), "{}".to_owned()),
        (r#"{"properties":{"a":{"uniqueItems":true}}}"#.to_owned(), numbers(20_000)),
        (r#"{"properties":{"a":{"pattern":"(a*)*b"}}}"#.to_owned(), text),
        (
            format!(r#"{{"allOf":[{}]}}"#, vec![r#"{"propertyNames":{"pattern":"x"}}"#; 60].join(",")),
            members(20_000).replace('k', "x"),
        ),
        (r#"{"properties":{"a":true}}"#.to_owned(), format!(r#"{{"{}":1}}"#, "é".repeat(500_000))),
        (format!(r#"{{"anyOf":[{{"required":[{}]}}]}}"#, many_names.join(",")), members(5_000).replace('k', "n")),
    ]
}

#[test]
fn no_check_goes_beyond_its_steps() {
    for (schema, arguments) in hostile() {
        let shown: String = schema.chars().take(80).collect();
        assert_eq!(check(&schema, &arguments), Err(Disagreement::TooCostly), "{shown}");
    }
}

/// A key is compared with all declared names at once.
#[test]
fn many_names_make_a_key_no_dearer() {
    let members = |name: &str, value: &str| {
        let members: Vec<_> = (0..5_000).map(|n| format!(r#""{name}{n}":{value}"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    let schema = format!(r#"{{"properties":{}}}"#, members("né", "true"));
    assert_eq!(check(&schema, &members("ké", "0")), Ok(()));
    let variant = check(&schema, r#"{"NÉ4999":0}"#);
    assert!(matches!(variant, Err(Disagreement::Invalid { .. })), "{variant:?}");
}

#[test]
fn checks_and_schemas_need_little_stack() {
    let nested = format!("{}true{}", r#"{"properties":{"a":"#.repeat(31), "}}".repeat(31));
    let tree = r##"{"type":"object","additionalProperties":{"anyOf":[{"type":"number"},{"$ref":"#"}]}}"##.to_owned();
    let deep = format!("{}1{}", r#"{"a":"#.repeat(40), "}".repeat(40));
    let same = format!(r#"{{"a":[{0}1{1},{0}1{1}]}}"#, "[".repeat(60), "]".repeat(60));
    let unique = r#"{"properties":{"a":{"uniqueItems":true}}}"#.to_owned();
    let cases = [(nested, deep.clone(), true), (tree, deep.clone(), true), (unique, same, false)];
    let hostile = hostile().into_iter().map(|(schema, arguments)| (schema, arguments, false));
    for (schema, arguments, agrees) in cases.into_iter().chain(hostile) {
        let small = thread::Builder::new().stack_size(1 << 20);
        let shown: String = schema.chars().take(80).collect();
        let checked = small.spawn(move || check(&schema, &arguments)).unwrap().join().unwrap();
        assert_eq!(checked.is_ok(), agrees, "{shown} {checked:?}");
    }
}

#[test]
fn absent_arguments_are_an_empty_object() {
    assert_eq!(Schema::new(r#"{"type":"object"}"#).check(None), Ok(()));
    assert!(Schema::new(r#"{"required":["a"]}"#).check(None).is_err());
}

/// Schemas that the reference implementation reads too, over values of a few kinds.
fn schemas() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("true".to_owned()),
        Just("false".to_owned()),
        prop::sample::select(&["object", "array", "string", "integer", "number", "null", "boolean"][..])
            .prop_map(|name| format!(r#"{{"type":"{name}"}}"#)),
        (-2..4i32).prop_map(|n| format!(r#"{{"minimum":{n}}}"#)),
        (-2..4i32).prop_map(|n| format!(r#"{{"exclusiveMaximum":{n}}}"#)),
        (0..4u32).prop_map(|n| format!(r#"{{"minLength":{n},"maxItems":{n},"minProperties":{n}}}"#)),
        "[ab]".prop_map(|c| format!(r#"{{"pattern":"^{c}"}}"#)),
        "[ab]".prop_map(|c| format!(r#"{{"required":["{c}"]}}"#)),
        Just(r#"{"enum":[1,"a",null,[1],{"a":1}]}"#.to_owned()),
        Just(r#"{"uniqueItems":true}"#.to_owned()),
        Just(r#"{"multipleOf":0.5}"#.to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let list = || prop::collection::vec(inner.clone(), 1..3).prop_map(|list| list.join(","));
        let several = prop::sample::select(&["allOf", "anyOf", "oneOf", "prefixItems"][..]);
        let one = prop::sample::select(
            &[
                "not",
                "items",
                "additionalProperties",
                "contains",
                "propertyNames",
                "unevaluatedProperties",
                "unevaluatedItems",
            ][..],
        );
        prop_oneof![
            (several, list()).prop_map(|(name, list)| format!(r#"{{"{name}":[{list}]}}"#)),
            (one.clone(), inner.clone()).prop_map(|(name, inner)| format!(r#"{{"{name}":{inner}}}"#)),
            (inner.clone(), one, inner.clone())
                .prop_map(|(a, name, b)| format!(r#"{{"properties":{{"a":{a}}},"{name}":{b}}}"#)),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!(r#"{{"if":{a},"then":{b},"else":{c}}}"#)),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| format!(r#"{{"patternProperties":{{"^a":{a}}},"dependentSchemas":{{"b":{b}}}}}"#)),
            (list(), inner.clone()).prop_map(|(list, b)| {
                format!(r#"{{"allOf":[{list}],"unevaluatedProperties":{b},"unevaluatedItems":{b}}}"#)
            }),
        ]
    })
}

fn values() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![Just("null".to_owned()), Just("true".to_owned()), "-?[0-3](\\.[05])?", "\"[ab]{0,3}\"",];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::btree_map("a|b|ab", inner, 0..3).prop_map(|members| {
                let members: Vec<_> = members.into_iter().map(|(key, value)| format!(r#""{key}":{value}"#)).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_reference(schema in schemas(), value in values()) {
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let reference = jsonschema::draft202012::is_valid(&read(&schema), &read(&value));
        let ours = check(&schema, &value);
        prop_assert!(!matches!(ours, Err(Disagreement::Unusable(_) | Disagreement::TooCostly)), "{:?}", ours);
        prop_assert_eq!(ours.is_ok(), reference, "{} {}", schema, value);
    }

    #[test]
    fn no_schema_panics(schema in "\\PC{0,80}", tokens in prop::collection::vec(prop::sample::select(&[
        "{", "}", "[", "]", ":", ",", "\"$ref\"", "\"#\"", "\"#/$defs/a\"", "\"$defs\"", "\"a\"", "\"items\"", "\"anyOf\"", "1", "true", "-1e9",
    ][..]), 0..24)) {
        for schema in [schema, tokens.concat()] {
            let _ = check(&schema, r#"{"a":[1,"x"]}"#);
        }
    }
}
