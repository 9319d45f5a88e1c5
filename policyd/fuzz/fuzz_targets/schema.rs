//! Any text as a tool's declared schema, over any arguments: they agree or not, the same each time. The first line is the
//! schema, the rest the arguments.

#![no_main]

use libfuzzer_sys::fuzz_target;
use policyd::mcp::json::Parser;
use policyd::policy::Schema;

fuzz_target!(|text: &str| {
    let (schema, arguments) = text.split_once('\n').unwrap_or((text, "{}"));
    let mut parser = Parser::default();
    let Ok(arguments) = parser.parse(arguments.as_bytes()) else { return };
    let first = Schema::new(schema).check(Some(arguments));
    assert_eq!(first, Schema::new(schema).check(Some(arguments)), "the same arguments, another answer");
    if let Err(disagreement) = first {
        assert!(disagreement.to_string().len() < 1024, "{disagreement}");
    }
});
