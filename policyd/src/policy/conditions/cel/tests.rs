mod reference;
mod scan;

use std::thread;

use super::*;
use crate::capture::identity::Identity;
use crate::mcp::json::Parser;

fn identity() -> Identity {
    Identity {
        uid: 1001,
        pid: 7,
        user: Some("ann".into()),
        cgroup: "/system.slice/a.service".into(),
        ..Identity::default()
    }
}

/// What `source` comes to for `arguments`, within so many steps.
fn evaluate_within(source: &str, arguments: &str, steps: u32) -> Result<bool, eval::Stop> {
    let program = Program::compile(source).unwrap_or_else(|bad| panic!("{source}: {bad:?}"));
    let mut parser = Parser::default();
    let args = Some(parser.parse(arguments.as_bytes()).expect(arguments));
    let identity = identity();
    let facts = Facts { args, tool: Some("pay"), grant: "office", server: "bank", identity: &identity };
    let result = eval::evaluate(&program.expr, &facts, steps);
    assert_eq!(result, eval::evaluate(&program.expr, &facts, steps), "{source}: the same call, another answer");
    result
}

fn evaluate(source: &str, arguments: &str) -> Option<bool> {
    evaluate_within(source, arguments, STEPS).ok()
}

const ARGUMENTS: &str = r#"{
    "amount": 20, "quantity": 3, "price": 9.99, "whole": 10.0, "power": 1e2, "big": 9007199254740993,
    "unsigned": 18446744073709551615, "long": 12345678901234567890123, "tiny": 1E-400, "odd": 0.1000000000000000055,
    "name": "größe", "escaped": "a\nb", "empty": "", "none": null, "yes": true,
    "list": [1, 2, 3], "mixed": [1, "x", null], "nested": {"a": {"b": [{"c": 5}]}}, "no_items": [],
    "items": [{"price": 10, "name": "pen"}, {"price": 250.5, "name": "ink"}], "a.b": 1,
    "Case": 1, "CASE": 2, "inner": {"Key": 1}
}"#;

#[test]
fn says_what_the_language_says() {
    for (source, expected) in [
        // Arithmetic.
        ("args.amount * args.quantity < 1000", Some(true)),
        ("args.amount * args.quantity == 60", Some(true)),
        ("args.amount / 7 == 2 && args.amount % 7 == 6 && -args.amount / 7 == -2", Some(true)),
        ("args.amount - 21 == -1", Some(true)),
        ("double(args.amount) * args.price < 200.0", Some(true)),
        ("args.amount * args.price < 200.0", None),
        ("args.amount * 2.0 < 200.0", None),
        ("args.amount / 0 == 1", None),
        ("args.amount % 0 == 1", None),
        ("args.price / 0.0 > 1.0", None),
        ("0.0 / 0.0 == 0.0", None),
        ("9223372036854775807 + args.amount > 0", None),
        ("-9223372036854775808 / -1 > 0", None),
        ("-(-9223372036854775808 + 0) > 0", None),
        ("-9223372036854775808 % -1 == 0", None),
        ("1u - 2u < 0u", None),
        ("args.unsigned - 1u == 18446744073709551614u", Some(true)),
        ("args.none + 1 == 1", None),
        ("args.yes + 1 == 1", None),
        ("args.price % 2.0 == 1.0", None),
        // Numbers by value.
        ("args.whole + 1 == 11", Some(true)),
        ("args.power + 1 == 101", Some(true)),
        ("args.big == 9007199254740993 && args.big != 9007199254740992", Some(true)),
        ("args.big > 9007199254740992.0", Some(true)),
        ("double(args.big) > 1.0", None),
        ("args.long > 1", None),
        ("args.tiny > 0.0", None),
        ("args.odd > 0.0", None),
        ("args.price == 9.99 && args.price < 10", Some(true)),
        ("args.unsigned > args.amount", Some(true)),
        // Comparison.
        ("'a' < 'b' && false < true", Some(true)),
        ("args.name > 1", None),
        ("args.name == 1", Some(false)),
        ("args.name != 1", Some(true)),
        ("args.none == null", Some(true)),
        ("args.list == [1, 2.0, 3u]", Some(true)),
        ("args.list == [1, 2]", Some(false)),
        ("[1, 2, 3] == args.list", Some(true)),
        ("args.nested == {'a': {'b': [{'c': 5}]}}", Some(true)),
        ("args.nested == {'a': {'b': [{'c': 6}]}}", Some(false)),
        ("args.nested == args.nested && args.list == args.list", Some(true)),
        ("args.list < args.list", None),
        // Logic: one decisive side is enough.
        ("true || args.absent == 1", Some(true)),
        ("args.absent == 1 || true", Some(true)),
        ("args.absent == 1 && false", Some(false)),
        ("args.absent == 1 || false", None),
        ("args.absent == 1 && true", None),
        ("args.amount || true", Some(true)),
        ("args.amount || false", None),
        ("!args.yes", Some(false)),
        ("!args.amount", None),
        ("args.yes ? args.amount == 20 : args.absent", Some(true)),
        ("args.none ? true : false", None),
        // Members.
        ("args.absent == null", None),
        ("has(args.absent)", Some(false)),
        ("has(args.none)", Some(true)),
        ("has(args.absent.x)", None),
        ("has(args.amount.x)", None),
        ("has(args.nested.a.b)", Some(true)),
        ("args.nested.a.b[0].c == 5", Some(true)),
        ("args['a.b'] == 1", Some(true)),
        ("args.list[2] == 3 && args.list[2u] == 3", Some(true)),
        ("args.list[3] == 3", None),
        ("args.list[-1] == 3", None),
        ("args.list[1.0] == 2", Some(true)),
        ("args.list[1.5] == 2", None),
        ("args.list['1'] == 2", None),
        ("args.name[0] == 'g'", None),
        ("'amount' in args && !('absent' in args)", Some(true)),
        ("{'usd': 100, 'eur': 90}['eur'] == 90", Some(true)),
        ("{'usd': 100, 'eur': 90}[args.name] == 90", None),
        // A key that some readers take for another.
        ("args.case == 1", None),
        ("args.Case == 1", None),
        ("has(args.case)", None),
        ("'case' in args", None),
        ("args['CASE'] == 1", None),
        ("args.inner.key == 1", None),
        ("args.inner.Key == 1", Some(true)),
        // Lists and macros.
        ("args.amount in [10, 20, 30]", Some(true)),
        ("args.amount in [10, args.absent, 20]", None),
        ("args.amount in args.list", Some(false)),
        ("'x' in args.mixed && null in args.mixed", Some(true)),
        ("1 in args.amount", None),
        ("1 in args", Some(false)),
        ("null in args", None),
        ("size(args.list) == 3 && args.list.size() == 3 && size(args.nested) == 1", Some(true)),
        ("size(args.name) == 5 && size(args.empty) == 0", Some(true)),
        ("size({'a': 1}) == 1 && size(args) > 10", Some(true)),
        ("size(args.amount) == 1", None),
        ("args.items.all(i, i.price < 300)", Some(true)),
        ("args.items.all(i, i.price < 100)", Some(false)),
        ("args.items.exists(i, i.name == 'ink')", Some(true)),
        ("args.items.exists_one(i, i.price > 5)", Some(false)),
        ("args.items.exists_one(i, i.price > 100)", Some(true)),
        ("args.items.map(i, i.name) == ['pen', 'ink']", Some(true)),
        ("args.items.map(i, i.price > 100, i.name) == ['ink']", Some(true)),
        ("args.items.filter(i, i.price > 100).size() == 1", Some(true)),
        ("args.list.map(x, args.list.map(y, x * y)) == [[1,2,3],[2,4,6],[3,6,9]]", Some(true)),
        ("args.no_items.all(i, i.absent)", Some(true)),
        ("args.no_items.exists(i, true)", Some(false)),
        ("args.mixed.all(x, x > 0)", None),
        ("args.mixed.exists(x, x > 0)", Some(true)),
        ("args.mixed.all(x, x < 0)", Some(false)),
        ("args.mixed.exists_one(x, x > 0)", None),
        ("args.amount.all(x, true)", None),
        ("args.nested.all(key, key == 'a')", Some(true)),
        ("{'a': 1}.exists(key, key == 'a')", Some(true)),
        ("args.list + [4] == [1, 2, 3, 4]", Some(true)),
        ("(args.list + args.list).size() == 6", Some(true)),
        // Strings.
        ("args.name + '!' == 'größe!'", Some(true)),
        ("args.name.startsWith('gr') && args.name.endsWith('ße') && args.name.contains('ö')", Some(true)),
        ("args.escaped == 'a\\nb' && args.escaped.contains('\\n')", Some(true)),
        ("args.name.matches('^gr.*e$')", Some(true)),
        ("matches(args.name, r'^\\w+$')", Some(true)),
        ("args.amount.matches('2')", None),
        ("args.amount.contains('2')", None),
        // Conversions.
        ("int('42') == 42 && int(3.9) == 3 && int(-3.9) == -3 && int(7u) == 7", Some(true)),
        ("int('x') == 1", None),
        ("int('+1') == 1", None),
        ("int(1e19) == 1", None),
        ("int(args.none) == 0", None),
        ("uint(3) == 3u && uint('3') == 3u", Some(true)),
        ("uint(-1) == 1u", None),
        ("double('1.5') == 1.5 && double(3) == 3.0", Some(true)),
        ("double('NaN') < 1.0", None),
        ("double('inf') > 1.0", None),
        ("double('-Infinity') < 1.0", None),
        ("string(42) == '42' && string(true) == 'true' && string('a') == 'a' && string(7u) == '7'", Some(true)),
        ("string(1.5) == '1.5'", None),
        ("bool('true') && !bool('false') && bool(true)", Some(true)),
        ("bool('TRUE')", None),
        ("bool(1)", None),
        // What policyd knows itself.
        ("grant.name == 'office' && server.name == 'bank' && tool.name == 'pay'", Some(true)),
        ("identity.uid == 1001 && identity.pid == 7 && identity.user == 'ann'", Some(true)),
        ("identity.cgroup.startsWith('/system.slice/')", Some(true)),
        ("identity.unit == 'x'", None),
        ("has(identity.unit)", Some(false)),
        ("has(identity.user) && has(grant.name)", Some(true)),
        // Not a boolean after all.
        ("args.amount", None),
        ("args.yes ? args.amount : args.yes", None),
        ("args.yes", Some(true)),
    ] {
        assert_eq!(evaluate(source, ARGUMENTS), expected, "{source}");
    }
}

#[test]
fn without_arguments_there_is_an_empty_map() {
    let program = Program::compile("has(args.x) || size(args) == 0").unwrap();
    let identity = identity();
    let facts = Facts { args: None, tool: None, grant: "g", server: "s", identity: &identity };
    assert_eq!(program.evaluate(&facts), Some(true));
    assert_eq!(Program::compile("tool.name == 'x'").unwrap().evaluate(&facts), None);
    assert_eq!(Program::compile("has(tool.name)").unwrap().evaluate(&facts), Some(false));
}

#[test]
fn knows_whether_it_reads_arguments() {
    assert!(Program::compile("args.x == 1").unwrap().reads_arguments());
    assert!(Program::compile("[1].exists(x, x == args.y)").unwrap().reads_arguments());
    assert!(!Program::compile("grant.name == 'args' || identity.uid == 0").unwrap().reads_arguments());
}

#[test]
fn says_what_is_wrong_and_where() {
    for (source, place, message) in [
        ("", "", "this expression is empty"),
        ("args.x ==", "", "this expression cannot be read: mismatched input '<EOF>'"),
        ("'größe' == == 1", "=", "this expression cannot be read: extraneous input '=='"),
        ("arg.x == 1", "arg", "there is no `arg`: did you mean `args`?"),
        ("amount < 5", "amount", "there is no `amount`: arguments are written `args.amount`"),
        ("grant == 'x'", "grant", "`grant` is no value: there is `grant.name`"),
        ("tool.nam == 'x'", ".", "there is no `tool.nam`: there is `tool.name`"),
        ("args.x.startWith('a')", "startWith", "there is no function `startWith`: did you mean `startsWith`?"),
        ("timestamp(args.x) > timestamp('2026-01-01T00:00:00Z')", "timestamp", "`timestamp` is not supported here"),
        (
            "startsWith(args.x, 'a')",
            "startsWith",
            "`startsWith` is used in another way: see `startsWith` among the functions of conditions",
        ),
        ("size(args.x, 1) == 1", "(", "this function takes 1 values, not 2"),
        ("args.x.matches(args.y)", ".", "the pattern of `matches` must be a literal"),
        ("args.x.matches('(')", "'('", "this pattern cannot be used: unclosed group"),
        ("args.x.matches('(a{500}){500}')", "'(a{500}){500}'", "this pattern cannot be used: it takes too much memory"),
        ("args.x == b'a'", "b'a'", "there are no bytes here: write a string"),
        ("{1: 2} == args.x", "1", "a key of a map must be a literal string"),
        ("{'a': 2, 'a': 3} == args.x", "'a'", "this map has a key twice"),
        ("args.l.all(args, true)", "(", "`args` stands for something already: choose another name"),
        ("args.l.all(x, args.l.all(x, true))", "(", "`x` stands for something already: choose another name"),
        ("args.l.all(x.y, true)", ".", "this expression cannot be read: argument must be a simple name"),
        ("1 + 1", "1 + 1", "this expression does not come to true or false"),
        ("args.l.map(x, x)", "args.l.map(x, x)", "this expression does not come to true or false"),
        ("Point{x: 1} == args.p", "{", "there are no message types here: write a map, `{\"key\": …}`"),
        ("args.x == 1e999", "1", "this expression cannot be read: invalid double literal"),
        ("args.x == 9223372036854775808", "9", "this expression cannot be read: invalid int literal"),
    ] {
        let bad = Program::compile(source).expect_err(source);
        assert_eq!((source.get(bad.span.clone()), bad.message.as_str()), (Some(place), message), "{source}");
    }
}

#[test]
fn what_is_too_long_or_too_deep_is_refused_before_it_is_read() {
    let long = format!("args.x == '{}'", "a".repeat(SOURCE));
    let chain = |link: &str| format!("args{link} == 1", link = link.repeat(257));
    let brackets = format!("{}true{}", "(".repeat(11), ")".repeat(11));
    let lists = format!("{}1{} == 1", "[".repeat(11), "]".repeat(11));
    let conditionals = format!("{}true", "true ? true : ".repeat(11));
    let levels = format!("args{} == 1", ".a".repeat(DEPTH));
    let sum = format!("1{} > 0", " + 1".repeat(DEPTH));
    for (source, message) in [
        (long, "this expression is longer than 4096 bytes"),
        (chain("+1"), "this expression has more than 256 operators"),
        (chain("[0]"), "this expression has more than 256 operators"),
        (chain(".a"), "this expression has more than 256 operators"),
        (chain(" in a"), "this expression has more than 256 operators"),
        (chain("==a"), "this expression has more than 256 operators"),
        (brackets, "this expression has more than 10 brackets and conditionals in each other"),
        (lists, "this expression has more than 10 brackets and conditionals in each other"),
        (conditionals, "this expression has more than 10 brackets and conditionals in each other"),
        (levels, "this expression has more than 32 levels"),
        (sum, "this expression has more than 32 levels"),
    ] {
        let bad = Program::compile(&source).expect_err(&source);
        assert_eq!(bad.message, message);
        assert!(source.get(bad.span).is_some());
    }
    // What stands in strings and comments nests nothing.
    let text = "(".repeat(100);
    assert_eq!(evaluate(&format!("args.x != '{text}' && args.x != r\"\\\" // {text}"), r#"{"x":1}"#), Some(true));
    assert_eq!(
        evaluate(&format!("args.x == \"\"\"{text}\"\\\"\"\"\""), &format!(r#"{{"x":"{text}\"\""}}"#)),
        Some(true)
    );
}

/// The deepest expressions that are let through, of each kind that nests.
fn deepest() -> Vec<String> {
    let nested = |open: &str, inner: &str, close: &str, levels: usize| {
        format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
    };
    vec![
        nested("(", "true", ")", 10),
        nested("!(", "true", ")", 10),
        format!("{} == [1]", nested("[", "1", "]", 10)),
        format!("{} == {{'a': 1}}", nested("{'a': ", "1", "}", 10)),
        format!("{}true", "true ? true : ".repeat(10)),
        format!("{}true{}", "true ? (".repeat(5), ") : false".repeat(5)),
        format!("1{} > 0", " + 1".repeat(DEPTH - 3)),
        format!("has(args{})", ".a".repeat(DEPTH - 2)),
        format!("true{}", " && true".repeat(120)),
        format!("true{}", " || args.x == 1".repeat(60)),
        (0..7).fold("true".to_owned(), |body, level| format!("[1].all(x{level}, {body})")),
        format!("size({}) == 1", nested("string(", "1", ")", 9)),
        format!("args.x{} == 1", "[0]".repeat(28)),
    ]
}

#[test]
fn the_deepest_expressions_need_little_stack() {
    for source in deepest() {
        // Reading takes what a thread has by default, in a debug build; evaluating, a fraction of it.
        let reading = thread::Builder::new().stack_size(2 << 20);
        let program = reading.spawn(move || Program::compile(&source).map_err(|bad| format!("{source}: {bad:?}")));
        let program = program.unwrap().join().unwrap().unwrap();
        let arguments = format!(r#"{{"x":{}1{}}}"#, "[".repeat(62), "]".repeat(62));
        let evaluating = thread::Builder::new().stack_size(256 << 10).spawn(move || {
            let mut parser = Parser::default();
            let args = Some(parser.parse(arguments.as_bytes()).unwrap());
            let identity = identity();
            let facts = Facts { args, tool: None, grant: "g", server: "s", identity: &identity };
            let _ = program.evaluate(&facts);
        });
        evaluating.unwrap().join().unwrap();
    }
}

#[test]
fn the_longest_chains_are_read_within_a_default_stack() {
    for link in ["+1", "*1", "[0]", ".a", " in a", "==a", "<a", "&&a", "||a", ".a()", ".a(b)", "-1"] {
        for source in
            [format!("a{}", link.repeat(256)), format!("{}a", "-".repeat(256)), format!("{}a", "!".repeat(256))]
        {
            let reading = thread::Builder::new().stack_size(2 << 20).spawn(move || Program::compile(&source).is_err());
            assert!(reading.unwrap().join().unwrap(), "{link}");
        }
    }
}

#[test]
fn deep_values_are_compared_within_little_stack() {
    let arguments = format!(r#"{{"x":{0}1{1},"y":{0}1{1}}}"#, "[".repeat(62), "]".repeat(62));
    let equal = thread::Builder::new().stack_size(256 << 10).spawn(move || evaluate("args.x == args.y", &arguments));
    assert_eq!(equal.unwrap().join().unwrap(), Some(true));
}

#[test]
fn no_evaluation_goes_beyond_its_steps() {
    let numbers = |count: usize| format!(r#"{{"l":[{}0]}}"#, "1,".repeat(count - 1));
    let text = |length: usize| format!(r#"{{"l":[1,2,3,4,5,6,7,8,9,10],"s":"{}"}}"#, "a".repeat(length));
    let wide = |count: usize| {
        let members: Vec<_> = (0..count).map(|n| format!(r#""k{n}":{n}"#)).collect();
        format!(r#"{{{},"l":[{}0]}}"#, members.join(","), "1,".repeat(1000))
    };
    // Each triples what it starts from.
    let tripled = format!("['abc']{}.all(x, x != '')", ".map(x, x + x + x)".repeat(27));
    let lists = format!("[[1]]{}.all(x, size(x) > 0)", ".map(x, x + x + x)".repeat(27));
    let pairs = format!("[1]{}.all(x, true)", ".map(x, [x, x])".repeat(27));
    for (source, arguments) in [
        ("args.l.all(a, args.l.all(b, args.l.all(c, args.l.all(d, true))))", numbers(50)),
        ("args.l.map(a, args.l.map(b, args.l)).size() == 1", numbers(500)),
        ("args.l.all(a, a + 5 in args.l || true)", numbers(2000)),
        ("args.l.all(a, args.l == args.l)", numbers(2000)),
        ("args.l.all(a, args.l[1999] >= 0)", numbers(2000)),
        ("args.l.all(a, size(args.l) > 0)", numbers(2000)),
        ("args.l.all(a, size(args.l + args.l) > 0)", numbers(500)),
        ("args.l.all(a, has(args.x) || true)", wide(1000)),
        ("args.l.all(a, args == args)", wide(1000)),
        ("args.l.all(a, args.s.matches('(a*)*b') || true)", text(100_000)),
        // The larger the automaton, the dearer a byte.
        ("args.s.matches('[ab]*a[ab]{300}c')", text(50_000)),
        ("args.l.all(a, args.s.contains('b') || true)", text(1 << 20)),
        ("args.l.all(a, args.s == args.s + '')", text(1 << 20)),
        ("args.l.all(a, args.s + args.s != '')", text(1 << 20)),
        ("args.l.all(a, size(args.s) > 0)", text(1 << 20)),
        ("args.l.all(a, int(args.s) > 0 || true)", text(1 << 20)),
        (tripled.as_str(), numbers(1)),
        (lists.as_str(), numbers(1)),
    ] {
        assert_eq!(evaluate_within(source, &arguments, STEPS), Err(eval::Stop::Steps), "{source}");
    }
    assert_eq!(evaluate(&pairs, "{}"), Some(true));
    // And an ordinary long list is within them.
    assert_eq!(evaluate("args.l.all(a, a >= 0 && a < 10)", &numbers(8000)), Some(true));
}

#[test]
fn no_error_hides_that_the_steps_are_used_up() {
    for steps in 0..200 {
        for source in ["[1, 2, 3].all(x, x > 0) || true", "true ? [1].exists(x, x > 1) || [2, 3].all(y, y > 1) : false"]
        {
            let result = evaluate_within(source, "{}", steps);
            assert!(matches!(result, Ok(true) | Err(eval::Stop::Steps)), "{steps} {result:?}");
        }
    }
}
