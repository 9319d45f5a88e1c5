//! What the methods of MCP are for, in all revisions from 2024-11-05 to 2026-07-28 (schema.ts of each).

/// What a method moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Nature {
    /// Keeps the protocol going: passes unless a policy names it.
    Plumbing,
    /// Carries data or has effects: follows a policy's `default` unless a policy names it.
    Data,
}

/// Request methods that keep the protocol going.
const PLUMBING: &[&str] = &[
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "subscriptions/listen",
    "logging/setLevel",
    "tasks/list",
    "tasks/cancel",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/message",
    "notifications/resources/updated",
    "notifications/resources/list_changed",
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/roots/list_changed",
    "notifications/subscriptions/acknowledged",
    "notifications/elicitation/complete",
    "notifications/tasks/status",
];

/// Methods that carry data.
const DATA: &[&str] = &[
    "tools/call",
    "resources/read",
    "prompts/get",
    "completion/complete",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
    "tasks/get",
    "tasks/result",
    "tasks/update",
];

/// What `method` is for. A method that no revision defines counts as carrying data.
pub fn nature(method: &str) -> Nature {
    if PLUMBING.contains(&method) { Nature::Plumbing } else { Nature::Data }
}

/// `method` as a label: itself if a revision of MCP defines it, `None` for anything else, so that labels are bounded.
pub fn known(method: &str) -> Option<&'static str> {
    // The most frequent one first.
    DATA.iter().chain(PLUMBING).find(|known| **known == method).copied()
}

/// The keys of `params` that `method` gives a meaning to, besides `_meta`.
pub(super) fn param_keys(method: &str) -> &'static [&'static str] {
    match method {
        "tools/call" => &["name", "arguments", "task", "inputResponses", "requestState"],
        "prompts/get" => &["name", "arguments", "inputResponses", "requestState"],
        "resources/read" => &["uri", "inputResponses", "requestState"],
        "resources/subscribe" | "resources/unsubscribe" => &["uri"],
        "completion/complete" => &["ref", "argument", "context"],
        "initialize" => &["protocolVersion", "capabilities", "clientInfo"],
        "tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/update" => &["taskId", "inputResponses"],
        "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" | "tasks/list" => &["cursor"],
        _ => &[],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_count_as_data() {
        assert_eq!(nature("tools/list"), Nature::Plumbing);
        for method in ["tools/call", "Tools/List", "notifications/x", "", "tools/list "] {
            assert_eq!(nature(method), Nature::Data, "{method}");
        }
        assert_eq!(known("ping"), Some("ping"));
        assert_eq!(known("x"), None);
    }
}
