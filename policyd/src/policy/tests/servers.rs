//! What a server asks of the agent.

use super::*;
use crate::mcp::Id;

/// The rule that decides a server's message, and the denial if there is one.
fn decide_for_agent(world: &World, body: &str) -> (String, Option<Denial>) {
    let (mut parser, body) = (Parser::default(), Bytes::from(body.to_owned()));
    let message = vet(&mut parser, &body).unwrap_or_else(|malformed| panic!("{body:?}: {malformed}"));
    let context = Context {
        grant: Some(&world.grant),
        server: "server",
        session: "s",
        identity: &identity(),
        schemas: &(),
        now: Now::default(),
    };
    let verdict = decide(&context, Direction::ToAgent, &message, &*world.memory);
    let denial = match verdict.decision {
        Decision::Allow(permit) => {
            assert_eq!(permit.redeem().0, body);
            None
        }
        Decision::Deny(denial) => Some(denial),
    };
    (verdict.rule.pointer.to_string(), denial)
}

fn request(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
}

#[test]
fn requests_of_a_server_follow_methods_and_default() {
    let world = World::new(
        r#"{ "version": "1", "default": "deny", "tools": { "*": {} }, "methods": {
            "sampling/*": { "deny_if": [ { "conditions": [ { "path": "args.maxTokens", "op": "gt", "value": 100 } ] } ],
                            "limits": [ { "counter": "samples", "window": "hour", "max": 1 } ] },
            "elicitation/create": { "action": "require_approval" },
            "notifications/message": { "action": "deny" } } }"#,
    );
    for (body, rule, reason) in [
        (request("ping", "{}"), "", None),
        (request("sampling/createMessage", r#"{"maxTokens":100}"#), "/methods/sampling~1*", None),
        (
            request("sampling/createMessage", r#"{"maxTokens":1e3}"#),
            "/methods/sampling~1*/deny_if/0",
            Some("a `deny_if` rule of `sampling/createMessage` forbids this call"),
        ),
        (
            request("sampling/createMessage", r#"{"maxTokens":1}"#),
            "/methods/sampling~1*/limits/0",
            Some("rate limit reached for `sampling/createMessage`; try again in 3600 s"),
        ),
        (request("elicitation/create", "{}"), "/methods/elicitation~1create/action", Some("needs approval")),
        (request("roots/list", "{}"), "/default", Some("`roots/list` is not allowed")),
        // No tool of an agent's: it has none that its server could call.
        (request("tools/call", r#"{"name":"x"}"#), "/default", Some("`tools/call` is not allowed")),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned(), "", None),
        (r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#.to_owned(), "", None),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/message"}"#.to_owned(),
            "/methods/notifications~1message/action",
            Some("`notifications/message` is not allowed"),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"sampling/createMessage"}"#.to_owned(),
            "malformed",
            Some("`sampling/createMessage` is no notification"),
        ),
    ] {
        let (decided_by, denial) = decide_for_agent(&world, &body);
        assert_eq!(decided_by, rule, "{body}");
        assert_eq!(denial.as_ref().map(|denial| &*denial.reason), reason, "{body}");
    }
}

#[test]
fn policies_that_cannot_refuse_a_server_say_so() {
    for (policy, judges) in [
        (r#"{ "version": "1", "default": "allow", "hide": ["x"], "tools": { "y": { "action": "deny" } } }"#, false),
        (r#"{ "version": "1", "default": "allow", "methods": { "roots/list": {} } }"#, true),
        (r#"{ "version": "1", "default": "deny" }"#, true),
        (r#"{ "version": "1", "default": "deny", "mode": "observe" }"#, true),
    ] {
        assert_eq!(World::new(policy).grant.policy.judges_servers(), judges, "{policy}");
    }
    let names = World::new(r#"{ "version": "1", "default": "deny", "methods": { "notifications/r*": {} } }"#);
    assert!(names.grant.policy.names_method("notifications/resources/updated"));
    assert!(!names.grant.policy.names_method("notifications/message"));
}

#[test]
fn an_answer_in_the_agents_stead_says_the_denial_and_nothing_else() {
    let world = World::new(r#"{ "version": "1", "default": "deny" }"#);
    let (_, denial) = decide_for_agent(&world, &request("roots/list", "{}"));
    let answer = Answer::refusing(Id(r#""a-1""#), &denial.expect("denied"));
    let expected = concat!(
        r#"{"jsonrpc":"2.0","id":"a-1","error":{"code":-32001,"message":"Denied by policy: `roots/list` is not allowed","#,
        r#""data":{"rule":"/default"}}}"#
    );
    assert_eq!(answer.into_bytes(), expected);
}
