//! `"arguments": "declared"`: what a real server lists decides what a real client may call it with.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use policyd_tests::agent::{Outcome, Sdk, Step, Transcript};
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::server::{McpServer, Options};
use policyd_tests::systems::{System, WORKBENCH};
use policyd_tests::world::World;
use serde_json::{Value, json};

const POLICY: &str = r#"{"version": "1", "default": "allow", "tools": {"charge": {"arguments": "declared"}}}"#;

/// A payment server; amounts up to `maximum`.
fn bank(maximum: u32) -> System {
    let definition = json!([
        {"name": "charge", "inputSchema": {
            "type": "object",
            "properties": {
                "amount": {"type": "integer", "minimum": 1, "maximum": maximum},
                "currency": {"enum": ["usd", "eur"]},
                "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
            },
            "required": ["amount"],
            "additionalProperties": false,
            "$defs": {"item": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string", "pattern": "^[A-Z]{3}$"}}}},
        }},
        {"name": "other", "inputSchema": {"type": "object"}},
    ]);
    System { tools: String::leak(definition.to_string()), ..WORKBENCH }
}

fn charge(arguments: Value) -> Step {
    Step::Call("charge", arguments, 1)
}

fn charges(transcript: &Transcript) -> Vec<String> {
    let text = |outcome: Outcome| match outcome {
        Outcome::Ok(text) => text,
        Outcome::Failed(text) => text.strip_prefix("Denied by policy: ").unwrap().to_owned(),
        Outcome::Error(code, text) => panic!("{code} {text}"),
    };
    transcript.calls("charge").into_iter().map(text).collect()
}

fn declared(options: Options, sdk: Sdk) {
    let world = World::new();
    let system = bank(100);
    let server = McpServer::with(&world, &system, options);
    let policy = world.file("declared.json", POLICY);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &system, &policy, &["anna", "bert"]));
    let steps = [
        charge(json!({"amount": 5})),
        Step::List,
        charge(json!({"amount": 5, "currency": "eur", "items": [{"sku": "ABC"}]})),
        charge(json!({"amount": 500})),
        charge(json!({"amount": "5"})),
        charge(json!({"currency": "usd"})),
        charge(json!({"amount": 5, "currency": "very secret"})),
        charge(json!({"amount": 5, "items": [{"sku": "ABC"}, {"sku": "abc"}]})),
        charge(json!({"amount": 5, "to": "elsewhere"})),
        charge(json!({"amount": 5, "Amount": 500})),
        Step::call("other", 1),
    ];
    let transcript = sdk.run(daemon.agent("anna"), &system.url(), &steps);
    assert_eq!(
        charges(&transcript),
        [
            "the server has not listed tool `charge`, so that its arguments cannot be checked; list the tools first",
            "charge: done",
            "the arguments of tool `charge` are not as declared: too large a number (`maximum`) at `/amount`",
            "the arguments of tool `charge` are not as declared: not of the declared type (`type`) at `/amount`",
            "the arguments of tool `charge` are not as declared: a required argument is missing (`required`) at `/amount`",
            "the arguments of tool `charge` are not as declared: not one of the declared values (`enum`) at `/currency`",
            "the arguments of tool `charge` are not as declared: not of the declared form (`pattern`) at `/items/1/sku`",
            "the arguments of tool `charge` are not as declared: an argument that is not declared \
             (`additionalProperties`) at `/to`",
            "the arguments of tool `charge` are not as declared: a name that some readers take for a declared one at \
             `/Amount`",
        ]
    );
    assert_eq!(transcript.calls("other"), [Outcome::Ok("other: done".to_owned())]);
    assert_eq!(server.count("charge"), 1, "{:#?}", server.calls());
    let denied: Vec<_> =
        daemon.audit().into_iter().filter(|record| record["rule"] == "/tools/charge/arguments").collect();
    assert_eq!(denied.len(), 8, "{denied:#?}");

    // Another agent of the same server need not ask again, and what the server lists later counts for both.
    let second = sdk.run(daemon.agent("bert"), &system.url(), &[charge(json!({"amount": 100}))]);
    assert_eq!(charges(&second), ["charge: done"]);
    drop(server);
    let system = bank(10);
    let server = McpServer::with(&world, &system, Options::default());
    let steps =
        [charge(json!({"amount": 100})), Step::List, charge(json!({"amount": 100})), charge(json!({"amount": 10}))];
    let changed = sdk.run(daemon.agent("bert"), &system.url(), &steps);
    let denial = "the arguments of tool `charge` are not as declared: too large a number (`maximum`) at `/amount`";
    assert_eq!(charges(&changed), ["charge: done", denial, "charge: done"]);
    let after = sdk.run(daemon.agent("anna"), &system.url(), &[charge(json!({"amount": 100}))]);
    assert_eq!(charges(&after), [denial]);
    assert_eq!(server.count("charge"), 2);
}

#[test]
fn arguments_must_be_as_listed_in_sse() {
    declared(Options::default(), Sdk::Python1);
}

#[test]
fn arguments_must_be_as_listed_in_json_and_across_pages() {
    declared(Options { sessions: false, json: true, page: 1 }, Sdk::Rust);
}
