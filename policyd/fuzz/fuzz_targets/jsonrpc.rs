//! Whatever the strict parser accepts, serde_json reads the same; no bytes make it, the envelope or the list filter panic.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use policyd::mcp::json::{Kind, Parser, Value};
use policyd::mcp::{lists, sniff, vet};
use serde_json::Value as Reference;

fn same(ours: Value<'_>, theirs: &Reference) -> bool {
    match (ours.kind(), theirs) {
        (Kind::Null, Reference::Null) => true,
        (Kind::Bool, Reference::Bool(b)) => ours.as_bool() == Some(*b),
        (Kind::Number, Reference::Number(n)) => match n.is_i64() || n.is_u64() {
            true => ours.raw() == n.to_string(),
            false => ours.raw().parse::<f64>().is_ok_and(f64::is_finite),
        },
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

fuzz_target!(|data: &[u8]| {
    let mut parser = Parser::new();
    if let Ok(ours) = parser.parse(data) {
        let theirs: Reference = serde_json::from_slice(data).expect("what is accepted is JSON");
        assert!(same(ours, &theirs));
        sniff::is_json_rpc(ours);
    }
    let body = Bytes::copy_from_slice(data);
    match vet(&mut Parser::new(), &body) {
        Ok(message) => {
            assert_eq!(message.bytes(), body);
            // What is trimmed and made small into a call is one.
            let lenient =
                |method: &str| method.trim_matches(|c: char| c.is_whitespace() || c.is_control()).to_lowercase();
            let is_call = message.method().is_some_and(|method| lenient(method) == "tools/call");
            assert_eq!(is_call, message.tool().is_some());
        }
        Err(refused) => assert!(refused.at <= data.len()),
    }
    if let Ok(lists::Filtered::Edited { text, .. }) =
        lists::filter(&mut parser, data, |_, name| name.len() % 2 == 0, |_| ())
    {
        let again = lists::filter(&mut parser, text.as_bytes(), |_, name| name.len() % 2 == 0, |_| ());
        assert_eq!(again, Ok(lists::Filtered::Unchanged));
    }
});
