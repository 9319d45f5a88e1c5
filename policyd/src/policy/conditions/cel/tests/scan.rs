//! No text is so deep that reading it overflows the stack: an overflow would end all tests here.

use proptest::prelude::*;

use super::*;

/// What a lexer stumbles over: behind it, one reader is in a string and another one is not.
const STUMBLES: [&str; 21] = [
    "\"\n\" , \" + ",
    "1 + \"\r\" , \" + ",
    "'\n' , ' + ",
    "r'\n' , ' + ",
    "\"\\\n\" , \" + ",
    "\"\\q\" , \" + ",
    "\"\\400\" , \" + ",
    "\"\\u12\" , \" + ",
    "1 &\" + ",
    "1 |' + ",
    "1 =\" + ",
    "1 =' + ' + ",
    "size(rb\"\\\" \" , ",
    "size(xr\"\\\" \" , ",
    "size(1r\"\\\" \" , ",
    "[1.5r'\\' ' , ",
    "\"\"\" \" + ",
    "'''\\''' ' + ",
    "@' + ",
    "é\" + ",
    "`a' + ",
];

/// As large a part of a thread's default stack as is left in a daemon.
fn compiles(source: String) -> bool {
    let reading = thread::Builder::new().stack_size(2 << 20).spawn(move || Program::compile(&source).is_ok());
    reading.unwrap().join().unwrap()
}

#[test]
fn nothing_nests_unseen() {
    for stumble in STUMBLES {
        for nested in ["(", "[", "a[", "{1:", "-(", "(1]", "a ? "] {
            let deep = nested.repeat((SOURCE - stumble.len()) / nested.len());
            assert!(!compiles(format!("{stumble}{deep}")), "{stumble}");
        }
    }
}

#[test]
fn what_no_token_begins_with_is_refused_at_its_place() {
    for (source, place, what) in [
        ("args.x = 1", "=", "has a single `=`: equality is `==`"),
        ("args.x & true", "&", "has a single `&` or `|`: there are `&&` and `||`"),
        ("args.größe == 1", "ö", "has a character in it that stands only in strings"),
        ("args.x == \"a\n\"", "\"", "has a string that does not end"),
        ("args.x == 'a", "'", "has a string that does not end"),
        ("args.x == '''a''", "'", "has a string that does not end"),
        (r"args.x == 'a\d'", r"\", "has an escape in a string that the language does not have"),
        (r"args.x == '\ud83d\ude00'", r"\", "has an escape in a string that the language does not have"),
        (r"args.x == '\U00110000'", r"\", "has an escape in a string that the language does not have"),
        (r"args.x == '\u+041'", r"\", "has an escape in a string that the language does not have"),
        ("args.x == rb'a'", "'", "has a string right behind a word"),
        ("(args.x == 1]", "]", "has a bracket that closes none before it"),
        ("args.x == 1)", ")", "has a bracket that closes none before it"),
    ] {
        let bad = Program::compile(source).expect_err(source);
        assert_eq!((&source[bad.span], bad.message), (place, format!("this expression {what}")), "{source}");
    }
}

#[test]
fn every_form_of_a_string_is_read() {
    let arguments = r#"{"x":"a\\d'\n"}"#;
    for source in [
        r#"args.x == "a\\d'\n""#,
        r#"args.x == 'a\\d\'\n'"#,
        r#"args.x == "\x61\u005cd\U00000027\012""#,
        "args.x == r\"\"\"a\\d'\n\"\"\"",
        "args.x == R'''a\\d'\n'''",
        "args.x == '''a\\\\d'\n'''",
        "args.x in['a\\\\d\\'\\n']&&'a'in['a']",
        r#"args.x == r"a\d" + '\'' + "\n""#,
    ] {
        assert_eq!(evaluate(source, arguments), Some(true), "{source}");
    }
}

proptest! {
    #[test]
    fn no_text_is_too_deep_to_be_read(
        pieces in prop::collection::vec(prop_oneof![
            3 => prop::sample::select(&STUMBLES[..]).prop_map(str::to_owned),
            2 => "[\\\\\"'rRbB0-9xu\n\r .,()\\[\\]{}?:&|=!<>+*/%`é-]{1,6}",
            1 => prop::sample::select(&["(", "[", "{", "a(", "!(", "a ? ", "])", "''", "\"\"\""][..])
                .prop_map(|piece| piece.repeat(400)),
            1 => Just("true".to_owned()),
        ], 1..8),
    ) {
        compiles(pieces.concat());
    }
}
