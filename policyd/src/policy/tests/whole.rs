//! From the bytes of a message to the bytes of the permit.

use super::*;
use crate::mcp::json::Parser;
use crate::mcp::vet;

/// Vets and decides, in session `s` at second 0.
fn decide_bytes(world: &World, body: &'static str) -> Verdict {
    let (mut parser, body) = (Parser::default(), Bytes::from_static(body.as_bytes()));
    let message = vet(&mut parser, &body).unwrap_or_else(|malformed| panic!("{body:?}: {malformed}"));
    let context = Context {
        grant: Some(&world.grant),
        server: "server",
        session: "s",
        identity: &identity(),
        schemas: &(),
        now: Now::default(),
    };
    decide(&context, Direction::ToServer, &message, &*world.memory)
}

const PAY: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"p\u0061y","arguments":{"o":{"n":0.70}}}}"#;

fn policy(mode: &str) -> String {
    format!(
        r#"{{ "version": "1", "default": "deny", "mode": "{mode}", "tools": {{ "pay": {{ "limits": [
            {{ "counter": "spend", "window": "day", "max": 1, "increment_from": "args.o.n" }} ] }} }} }}"#
    )
}

#[test]
fn a_permit_carries_the_bytes_that_were_judged_and_the_quota() {
    let world = World::new(&policy("enforce"));
    let verdict = decide_bytes(&world, PAY);
    assert_eq!((&*verdict.rule.pointer, verdict.rule.kind), ("/tools/pay", RuleKind::Tool));
    assert_eq!(verdict.counters[0].used.to_string(), "0.7");
    let Decision::Allow(permit) = verdict.decision else { panic!("denied") };
    let (bytes, reservation) = permit.redeem();
    assert_eq!(bytes, PAY);

    let Decision::Deny(denial) = decide_bytes(&world, PAY).decision else { panic!("there is no quota") };
    assert_eq!(&*denial.rule.pointer, "/tools/pay/limits/0");
    reservation.give_back();
    let Decision::Allow(permit) = decide_bytes(&world, PAY).decision else { panic!("the quota was given back") };
    drop(permit);
    assert!(matches!(decide_bytes(&world, PAY).decision, Decision::Deny(_)), "a permit that is dropped has used it");
}

#[test]
fn observing_lets_pass_and_says_what_enforcing_would_do() {
    let world = World::new(&policy("observe"));
    assert_eq!(decide_bytes(&world, PAY).observed, None);
    let verdict = decide_bytes(&world, PAY);
    assert_eq!(&*verdict.observed.expect("observed").reason, "limit reached for tool `pay`; try again in 86400 s");
    assert_eq!(&*verdict.rule.pointer, "/tools/pay/limits/0");
    let Decision::Allow(permit) = verdict.decision else { panic!("observed") };
    let (bytes, reservation) = permit.redeem();
    assert!(bytes == PAY && reservation.is_empty());
}

#[test]
fn other_messages_have_their_places() {
    let world = World::new(&policy("enforce"));
    for (body, rule, allowed) in [
        (r#"{"jsonrpc":"2.0","id":"a","method":"tools/list"}"#, "", true),
        (r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#, "", true),
        (r#"{"jsonrpc":"2.0","id":3,"result":{"roots":[]}}"#, "", true),
        (r#"{"jsonrpc":"2.0","id":3,"method":"resources/read","params":{"uri":"file:///x"}}"#, "/default", false),
        (r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"other"}}"#, "/default", false),
        (r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"pay"}}"#, "/tools/pay/limits/0", false),
    ] {
        let verdict = decide_bytes(&world, body);
        assert_eq!(&*verdict.rule.pointer, rule, "{body}");
        assert_eq!(matches!(verdict.decision, Decision::Allow(_)), allowed, "{body}");
    }
}
