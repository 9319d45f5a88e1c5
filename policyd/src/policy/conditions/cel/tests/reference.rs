//! The crate's own interpreter says the same.

use proptest::prelude::*;

use super::*;

/// Expressions over a few arguments, of which both interpreters must say the same: mostly of the right type, at times not.
mod expressions {
    use proptest::prelude::*;
    use proptest::sample::select;
    use proptest::strategy::Union;

    type Texts = BoxedStrategy<String>;

    fn one(of: &'static [&'static str]) -> Texts {
        select(of).prop_map(str::to_owned).boxed()
    }

    fn two(a: Texts, operators: &'static [&'static str], b: Texts) -> Texts {
        (a, select(operators), b).prop_map(|(a, op, b)| format!("({a} {op} {b})")).boxed()
    }

    /// One of `kind`, once in a while something else.
    fn mostly(kind: fn(u32) -> Texts, depth: u32) -> Texts {
        let any = Union::new([
            numbers(0),
            texts(0),
            lists(0),
            one(&["null", "true", "args.o", "args.absent", "{'a': 1, 'k': 2}"]),
        ]);
        Union::new_weighted(vec![(30, kind(depth)), (1, any.boxed())]).boxed()
    }

    fn numbers(depth: u32) -> Texts {
        let leaf = one(&[
            "0",
            "1",
            "3",
            "-2",
            "7u",
            "0u",
            "2.5",
            "-0.5",
            "1.0",
            "9223372036854775807",
            "args.i",
            "args.j",
            "args.d",
            "x",
            "args.o.k",
            "args.l[1]",
        ]);
        let Some(less) = depth.checked_sub(1) else { return leaf };
        let inner = || mostly(numbers, less);
        let whole = || one(&["1", "3", "args.i", "args.j", "-2", "x"]);
        Union::new([
            leaf,
            // A double that is not finite is an error here alone.
            two(inner(), &["+", "-", "*"], inner()),
            two(whole(), &["+", "-", "*", "/", "%"], whole()),
            inner().prop_map(|a| format!("-({a})")).boxed(),
            (select(&["int", "uint"][..]), inner()).prop_map(|(name, a)| format!("{name}({a})")).boxed(),
            whole().prop_map(|a| format!("double({a})")).boxed(),
            mostly(lists, less).prop_map(|a| format!("size({a})")).boxed(),
            mostly(texts, less).prop_map(|a| format!("size({a})")).boxed(),
            (mostly(lists, less), inner()).prop_map(|(a, b)| format!("({a})[{b}]")).boxed(),
            (booleans(less), inner(), inner()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")).boxed(),
        ])
        .boxed()
    }

    fn texts(depth: u32) -> Texts {
        let leaf = one(&["''", "'a'", "'ab'", "args.s", "args.t", "args.m[1]", "'ö'"]);
        let Some(less) = depth.checked_sub(1) else { return leaf };
        Union::new([leaf, two(mostly(texts, less), &["+"], mostly(texts, less))]).boxed()
    }

    fn lists(depth: u32) -> Texts {
        let leaf = one(&["[]", "[1, 2, 3]", "args.l", "args.m", "args.o.a"]);
        let Some(less) = depth.checked_sub(1) else { return leaf };
        let items = prop::collection::vec(mostly(numbers, less), 0..4);
        Union::new([
            leaf,
            items.prop_map(|items| format!("[{}]", items.join(", "))).boxed(),
            // The crate adds a map to a list; the language does not.
            two(lists(less), &["+"], lists(less)),
            (lists(less), "[yz]", booleans(less)).prop_map(|(a, y, b)| format!("{a}.filter({y}, {b})")).boxed(),
            (lists(less), "[yz]", mostly(numbers, less)).prop_map(|(a, y, b)| format!("{a}.map({y}, {b})")).boxed(),
            (lists(less), booleans(less)).prop_map(|(a, b)| format!("{a}.map(w, {b}, w)")).boxed(),
        ])
        .boxed()
    }

    /// Of the type that an expression must have.
    pub fn booleans(depth: u32) -> Texts {
        let leaf =
            one(&["true", "false", "args.b", "has(args.i)", "has(args.absent)", "has(args.o.k)", "args.n == null"]);
        let Some(less) = depth.checked_sub(1) else { return leaf };
        let inner = || mostly(booleans, less);
        let folding = select(&["all", "exists", "exists_one"][..]);
        let method = select(&["contains", "startsWith", "endsWith"][..]);
        Union::new([
            leaf,
            two(inner(), &["&&", "||", "==", "!="], inner()),
            two(mostly(numbers, less), &["==", "!=", "<", "<=", ">", ">="], mostly(numbers, less)),
            two(mostly(texts, less), &["==", "!=", "<", "<=", ">", ">="], mostly(texts, less)),
            two(mostly(lists, less), &["==", "!="], mostly(lists, less)),
            two(mostly(numbers, less), &["in"], mostly(lists, less)),
            two(mostly(texts, less), &["in"], one(&["args", "args.o", "{'a': 1}", "args.m"])),
            (mostly(texts, less), method, mostly(texts, less)).prop_map(|(a, m, b)| format!("({a}).{m}({b})")).boxed(),
            (lists(less), folding, "[yz]", inner()).prop_map(|(a, kind, y, b)| format!("{a}.{kind}({y}, {b})")).boxed(),
            (lists(less), "[>=<]", numbers(0))
                .prop_map(|(a, op, b)| format!("{a}.exists(v, v {} {b})", op.replace('=', "==")))
                .boxed(),
            inner().prop_map(|a| format!("!({a})")).boxed(),
            (inner(), inner(), inner()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")).boxed(),
        ])
        .boxed()
    }
}

/// What the crate's own interpreter says: a boolean, or nothing.
fn reference(source: &str) -> Option<bool> {
    use cel::objects::{Key, Map, Value};
    let list = |items: Vec<Value>| Value::List(items.into());
    let map = |entries: Vec<(&str, Value)>| {
        let entries: std::collections::HashMap<Key, Value> =
            entries.into_iter().map(|(key, value)| (Key::from(key), value)).collect();
        Value::Map(Map { map: std::sync::Arc::new(entries) })
    };
    let text = |text: &str| Value::String(std::sync::Arc::new(text.to_owned()));
    let args = map(vec![
        ("i", Value::Int(3)),
        ("j", Value::Int(-7)),
        ("d", Value::Float(2.5)),
        ("s", text("ab")),
        ("t", text("")),
        ("n", Value::Null),
        ("b", Value::Bool(true)),
        ("l", list(vec![Value::Int(1), Value::Int(2), Value::Float(2.5)])),
        ("m", list(vec![Value::Int(1), text("a"), Value::Null, Value::Bool(false)])),
        ("o", map(vec![("k", Value::Int(3)), ("a", list(vec![]))])),
    ]);
    let mut context = cel::Context::default();
    context.add_variable_from_value("args", args);
    match cel::Program::compile(source).ok()?.execute(&context) {
        Ok(Value::Bool(value)) => Some(value),
        _ => None,
    }
}

const REFERENCE_ARGUMENTS: &str = r#"{"i":3,"j":-7,"d":2.5,"s":"ab","t":"","n":null,"b":true,"l":[1,2,2.5],
    "m":[1,"a",null,false],"o":{"k":3,"a":[]}}"#;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_crates_interpreter(body in expressions::booleans(3)) {
        let source = format!("[args.i].exists(x, {body})");
        // Too deep, at times.
        if Program::compile(&source).is_ok() {

            prop_assert_eq!(evaluate(&source, REFERENCE_ARGUMENTS), reference(&source), "{}", source);
        }
    }

    #[test]
    fn no_text_panics(source in ".{0,60}", tokens in prop::collection::vec(prop::sample::select(&[
        "args", ".", "x", "(", ")", "[", "]", "{", "}", "==", "'a'", "1", "?", ":", ",", "all", "has", "!", "-", "&&", "in", "\"", "r'", "//", "\n", "ö",
    ][..]), 0..20)) {
        for source in [source, tokens.concat()] {
            match Program::compile(&source) {
                Ok(_) => { evaluate(&source, ARGUMENTS); }
                Err(bad) => prop_assert!(source.get(bad.span.clone()).is_some(), "{bad:?}"),
            }
        }
    }
}
