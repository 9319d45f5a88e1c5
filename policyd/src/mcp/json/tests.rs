use proptest::prelude::*;
use serde_json::Value as Reference;

use super::*;

fn parse(text: &[u8]) -> Result<(), (Cause, usize)> {
    Parser::new().parse(text).map(|_| ()).map_err(|e| (e.cause, e.at))
}

/// Whether both readers see the same structure, strings and numbers.
fn same(ours: Value<'_>, theirs: &Reference) -> bool {
    match (ours.kind(), theirs) {
        (Kind::Null, Reference::Null) => true,
        (Kind::Bool, Reference::Bool(b)) => ours.as_bool() == Some(*b),
        (Kind::Number, Reference::Number(n)) => same_number(ours.raw(), n),
        (Kind::String, Reference::String(s)) => ours.is_str(s),
        (Kind::Array, Reference::Array(items)) => {
            ours.items().count() == items.len() && ours.items().zip(items).all(|(a, b)| same(a, b))
        }
        (Kind::Object, Reference::Object(members)) => {
            ours.entries().count() == members.len()
                && ours.entries().all(|(k, v)| k.as_str().and_then(|k| members.get(&*k)).is_some_and(|m| same(v, m)))
        }
        _ => false,
    }
}

fn same_number(text: &str, theirs: &serde_json::Number) -> bool {
    if theirs.is_i64() || theirs.is_u64() {
        return text == theirs.to_string() || text == "-0";
    }
    let (ours, theirs) = (text.parse::<f64>().unwrap(), theirs.as_f64().unwrap());
    // Without its `float_roundtrip` feature, serde_json may be off by the last bit.
    (ours - theirs).abs() <= ours.abs() * 1e-14 || (ours - theirs).abs() < 1e-300
}

fn agree(text: &[u8]) {
    let mut parser = Parser::new();
    if let Ok(ours) = parser.parse(text) {
        let theirs: Reference =
            serde_json::from_slice(text).unwrap_or_else(|e| panic!("{e}: {:?}", String::from_utf8_lossy(text)));
        assert!(same(ours, &theirs), "{:?}", String::from_utf8_lossy(text));
    }
}

#[test]
fn refuses_what_readers_disagree_on() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let cases: Vec<(Vec<u8>, Cause, usize)> = [
        (&b""[..], Cause::Empty, 0),
        (b" \n", Cause::Empty, 2),
        (b"\xef\xbb\xbf{}", Cause::ByteOrderMark, 0),
        (b"\xff\xfe{\0", Cause::ByteOrderMark, 0),
        (b"{\0", Cause::Syntax, 1),
        (b"\"a\xff\"", Cause::NotUtf8, 2),
        (b"\"\xc0\xaf\"", Cause::NotUtf8, 1),
        (b"\"\xed\xa0\x80\"", Cause::LoneSurrogate, 1),
        (br#""\ud800""#, Cause::LoneSurrogate, 1),
        (br#""\udc00\ud800""#, Cause::LoneSurrogate, 1),
        (br#""\ud800\u0041""#, Cause::LoneSurrogate, 1),
        (br#""x\ud83d\n""#, Cause::LoneSurrogate, 2),
        (b"\"a\tb\"", Cause::ControlCharacter, 2),
        (b"\"0123456789\n\"", Cause::ControlCharacter, 11),
        (br#""\x""#, Cause::BadEscape, 1),
        (br#""\u12g4""#, Cause::BadEscape, 1),
        (br#""\u+123""#, Cause::BadEscape, 1),
        (br#""\u12"#, Cause::Truncated, 1),
        (b"\"abc", Cause::Truncated, 4),
        (b"\"abc\\", Cause::Truncated, 4),
        (b"{\"a\":1", Cause::Truncated, 6),
        (b"[1,", Cause::Truncated, 3),
        (b"tru", Cause::Truncated, 3),
        (b"-", Cause::Truncated, 0),
        (b"NaN", Cause::Syntax, 0),
        (b"Infinity", Cause::Syntax, 0),
        (b"[-Infinity]", Cause::BadNumber, 1),
        (b"nan", Cause::Syntax, 0),
        (b"01", Cause::BadNumber, 0),
        (b"-01", Cause::BadNumber, 0),
        (b"1.", Cause::BadNumber, 0),
        (b"1.e5", Cause::BadNumber, 0),
        (b"1e", Cause::BadNumber, 0),
        (b"1e+", Cause::BadNumber, 0),
        (b".5", Cause::Syntax, 0),
        (b"+1", Cause::Syntax, 0),
        (b"1e999", Cause::NumberRange, 0),
        (b"[1,-1e309]", Cause::NumberRange, 3),
        (b"0x10", Cause::TrailingBytes, 1),
        (b"{}{}", Cause::TrailingBytes, 2),
        (b"{} x", Cause::TrailingBytes, 3),
        (b"{}\0", Cause::TrailingBytes, 2),
        (b"[1,]", Cause::Syntax, 3),
        (b"{\"a\":1,}", Cause::Syntax, 7),
        (b"{,}", Cause::Syntax, 1),
        (b"[,1]", Cause::Syntax, 1),
        (b"{a:1}", Cause::Syntax, 1),
        (b"{'a':1}", Cause::Syntax, 1),
        (b"{\"a\" 1}", Cause::Syntax, 5),
        (b"[1 2]", Cause::Syntax, 3),
        (b"[1}", Cause::Syntax, 2),
        (b"{\"a\":1]", Cause::Syntax, 6),
        (b"/**/1", Cause::Syntax, 0),
        (b"\x0c1", Cause::Syntax, 0),
        (b"\xc2\xa01", Cause::Syntax, 0),
        (br#"{"a":1,"a":2}"#, Cause::DuplicateKey, 7),
        (br#"{"a":1,"\u0061":2}"#, Cause::DuplicateKey, 7),
        (br#"{"x":[{"\n":1,"\u000a":2}]}"#, Cause::DuplicateKey, 14),
        (br#"{"":1,"":2}"#, Cause::DuplicateKey, 6),
        (br#"{"a\u0000":1}"#, Cause::NulInKey, 1),
    ]
    .into_iter()
    .map(|(text, cause, at)| (text.to_vec(), cause, at))
    .chain([(deep(65).into_bytes(), Cause::TooDeep, 64)])
    .collect();
    for (text, cause, at) in cases {
        assert_eq!(parse(&text), Err((cause, at)), "{:?}", String::from_utf8_lossy(&text));
    }
    assert_eq!(parse(deep(64).as_bytes()), Ok(()));
}

#[test]
fn a_refusal_never_spoils_the_next_text() {
    let mut parser = Parser::new();
    assert!(parser.parse(b"[[[{\"a\":").is_err());
    let value = parser.parse(br#"{"a":[1,"\u00e9\ud83d\ude00/"],"b":{}}"#).unwrap();
    assert_eq!(value.get("a").unwrap().items().nth(1).unwrap().as_str().unwrap(), "é😀/");
    assert_eq!(value.get("b").unwrap().raw(), "{}");
    assert!(value.get("c").is_none() && value.items().next().is_none());
}

#[test]
fn a_huge_text_does_not_hold_its_memory() {
    let mut parser = Parser::new();
    parser.parse(format!("[{}0]", "0,".repeat(100_000)).as_bytes()).unwrap();
    assert!(parser.nodes.capacity() > 100_000);
    parser.parse(b"1").unwrap();
    assert!(parser.nodes.capacity() < 1_000);
}

#[test]
fn numbers_keep_their_text() {
    let mut parser = Parser::new();
    let value = parser.parse(b"[12345678901234567890123, 1.10, -0, 1E5]").unwrap();
    let texts: Vec<_> = value.items().map(|v| (v.as_number().unwrap(), v.as_integer().is_some())).collect();
    assert_eq!(texts, [("12345678901234567890123", true), ("1.10", false), ("-0", true), ("1E5", false)]);
}

#[test]
fn duplicates_among_many_keys_are_found_wherever_they_are() {
    for count in [2_usize, 7, 8, 9, 10, 500] {
        let distinct: Vec<String> = (0..count).map(|i| format!("\"k{i}\":{i}")).collect();
        assert_eq!(parse(format!("{{{}}}", distinct.join(",")).as_bytes()), Ok(()), "{count}");
        for again in ["\"k0\":1", "\"\\u006b0\":1"] {
            let text = format!("{{{},{again}}}", distinct.join(","));
            let at = text.len() - again.len() - 1;
            assert_eq!(parse(text.as_bytes()), Err((Cause::DuplicateKey, at)), "{count} {again}");
        }
    }
}

/// Comparing each key with each would take minutes here.
#[test]
fn a_huge_object_takes_no_quadratic_time() {
    for prefix in ["", "\\u0061"] {
        let keys: Vec<String> = (0..300_000).map(|i| format!("\"{prefix}{i}\":0")).collect();
        assert_eq!(parse(format!("{{{}}}", keys.join(",")).as_bytes()), Ok(()));
    }
}

#[test]
fn strings_of_every_length_end_where_they_end() {
    for length in 0..40 {
        for tail in ["", "\\n", "é", "\\u0000"] {
            let text = format!("[\"{}{tail}\",1]", "x".repeat(length));
            let mut parser = Parser::new();
            let value = parser.parse(text.as_bytes()).unwrap();
            assert_eq!(value.items().count(), 2);
            agree(text.as_bytes());
        }
    }
}

/// JSON texts with odd spellings: white space, escapes, number forms, repeated keys.
fn json() -> impl Strategy<Value = String> {
    let key =
        prop_oneof!["[a-c]", Just("\\u0061".to_owned()), Just("\\ud83d\\ude00".to_owned()), ".{0,12}".prop_map(quoted)];
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just(" false ".to_owned()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        any::<i64>().prop_map(|n| n.to_string()),
        ".{0,40}".prop_map(|s| format!("\"{}\"", quoted(s))),
        key.clone().prop_map(|k| format!("\"{k}\"")),
    ];
    scalar.prop_recursive(6, 64, 12, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..12).prop_map(|items| format!("[{}]", items.join(" , "))),
            prop::collection::vec((key.clone(), inner), 0..12).prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn quoted(text: String) -> String {
    let json = serde_json::to_string(&text).unwrap();
    json[1..json.len() - 1].to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_serde_json_reads_the_same(text in json()) {
        agree(text.as_bytes());
    }

    #[test]
    fn so_it_is_after_any_mutation(text in json(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.remove(at); } else { bytes[at] = byte; }
        agree(&bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        agree(&bytes);
        let _ = Parser::new().parse_grammar(&bytes);
    }

    #[test]
    fn json_like_bytes_never_panic(bytes in "[\\[\\]{}:,\"\\\\ud08aetrufalsn.0-9 -]{0,40}") {
        agree(bytes.as_bytes());
        if let Ok(value) = Parser::new().parse_grammar(bytes.as_bytes()) {
            for (key, value) in value.entries() { let _ = (key.as_str(), value.as_str()); }
        }
    }
}
