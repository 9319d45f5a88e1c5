//! The policies of `deploy/policies` do what the pages that they come from say.

use super::*;

/// The file's name, the tool it is about, and another tool of the same server.
const SYSTEMS: [(&str, &str, &str); 5] = [
    ("axint", "axint.session.start", "axint.session.end"),
    ("contextlayer", "start_session", "end_session"),
    ("looking-glass", "session_start", "session_stop"),
    ("waysway", "start_session", "search_hotels"),
    ("promptfax", "start_session", "send_fax"),
];

fn policy(file: &str) -> String {
    let path = format!("{}/../deploy/policies/{file}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).expect(&path)
}

#[test]
fn ten_calls_a_minute_for_each_grant() {
    for (file, tool, other) in SYSTEMS {
        let world = World::new(&policy(file));
        for call in 0..10 {
            assert_eq!(world.call(tool, f64::from(call)).reason(), "allowed", "{file}: call {call}");
        }
        let eleventh = world.call(tool, 30.0);
        assert_eq!(eleventh.reason(), format!("rate limit reached for tool `{tool}`; try again in 30 s"));
        assert_eq!(eleventh.rule, format!("/tools/{tool}/limits/0"));
        assert_eq!(world.call(other, 30.0).reason(), format!("tool `{other}` is not allowed"));
        assert!(world.unlists(other) && !world.unlists(tool), "{file}");

        let second = world.granted("second", &policy(file));
        for call in 0..10 {
            assert_eq!(second.call(tool, 30.0).reason(), "allowed", "{file}: the other agent's call {call}");
        }
        assert!(second.call(tool, 30.0).denied.is_some(), "{file}");

        // A rolling window: the first call leaves after a minute, and makes room for one.
        assert!(world.call(tool, 59.999).denied.is_some(), "{file}");
        assert_eq!(world.call(tool, 60.0).reason(), "allowed", "{file}");
        assert!(world.call(tool, 60.0).denied.is_some(), "{file}");
        for call in 0..10 {
            assert_eq!(world.call(tool, 120.0).reason(), "allowed", "{file}: call {call} after the window");
        }
    }
}

#[test]
fn a_rate_limit_block_limits_each_session() {
    for (file, tool, other) in SYSTEMS {
        let world = World::new(&policy(&format!("{file}.rate-limit")));
        let call = |session: &str, seconds: f64| {
            let judgement = world.judge(&tools_call(tool, "{}"), session, "server", seconds);
            (judgement.rule.pointer.to_string(), judgement.refusal.map(|refusal| refusal.denial.reason))
        };
        for session in ["first", "second"] {
            for _ in 0..10 {
                assert_eq!(call(session, 0.0), (format!("/tools/{tool}"), None), "{file}");
            }
            let reason = format!("rate limit reached for tool `{tool}`; try again in 60 s");
            assert_eq!(call(session, 0.0), (format!("/tools/{tool}/rate_limit"), Some(reason)), "{file}");
            assert_eq!(call(session, 60.0).1, None, "{file}: reset automatically");
        }
        assert!(world.call(other, 0.0).denied.is_some(), "{file}");
    }
}

#[test]
fn a_denied_tool_is_refused_with_its_reason_and_not_listed() {
    for (file, tool, other) in SYSTEMS {
        let world = World::new(&policy(&format!("{file}.deny")));
        let denied = world.call(tool, 0.0);
        assert_eq!(denied.reason(), format!("{tool} is not for agents."));
        assert_eq!(denied.rule, format!("/tools/{tool}/action"));
        assert!(world.call(other, 0.0).denied.is_some());
        assert!(world.unlists(tool) && world.unlists(other));
    }
}
