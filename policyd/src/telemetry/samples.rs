//! Decisions and outcomes for tests.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{CallId, Decided, Effect, Finished};
use crate::capture::identity::Identity;
use crate::policy::{Direction, Rule, RuleKind};

/// 2026-11-21T13:01:47.123456Z.
pub fn time() -> SystemTime {
    UNIX_EPOCH + Duration::new(1_795_266_107, 123_456_789)
}

/// An agent.
pub fn identity() -> Identity {
    Identity {
        pid: 4711,
        uid: 1000,
        user: Some("joe".to_owned()),
        exe: Some("/usr/bin/python3".into()),
        cgroup: "/system.slice/office-agent.service".to_owned(),
        unit: Some("office-agent.service".to_owned()),
        ..Identity::default()
    }
}

/// A rule.
pub fn rule(pointer: &str, kind: RuleKind) -> Rule {
    Rule { pointer: pointer.into(), kind }
}

/// An allowed call of `search`.
pub fn allowed<'a>(call: CallId, identity: &'a Identity, rule: &'a Rule) -> Decided<'a> {
    Decided {
        call,
        at: time(),
        identity,
        grant: Some("office-agent"),
        server: "promptfax",
        direction: Direction::ToServer,
        method: Some("tools/call"),
        tool: Some("search"),
        effect: Effect::Allow,
        rule,
        reason: None,
        observed: false,
        counters: &[],
        session: Some("secret-session"),
        protocol_version: Some("2025-11-25"),
        arguments: Some(br#"{"token":"secret-token"}"#),
        took: Duration::from_nanos(1_500),
    }
}

/// Its end.
pub fn finished(call: CallId) -> Finished<'static> {
    Finished {
        call,
        at: time(),
        server: "promptfax",
        status: Some(200),
        bytes_in: 178,
        bytes_out: 512,
        took: Duration::from_micros(1_234),
        returned: false,
        error: None,
    }
}
