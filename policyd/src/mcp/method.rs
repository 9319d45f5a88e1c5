//! What the methods of MCP are for, in all revisions from 2024-11-05 to 2026-07-28 (schema.ts of each).

use super::fold;

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
    "notifications/tasks",
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

/// Whether some readers take `method` for another one that a revision of MCP defines: they do not mind case, cut off what
/// surrounds a word and does not show, or end it at NUL.
pub(super) fn is_variant(method: &str) -> bool {
    if known(method).is_some() {
        return false;
    }
    let ended = method.split('\0').find(|part| !part.is_empty()).unwrap_or_default();
    let bare = ended.trim_matches(|c: char| c.is_whitespace() || c.is_control() || is_invisible(c));
    all().any(|known| fold::folds_to(bare, known))
}

/// Marks without a width, and the byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Every method that a revision of MCP defines.
pub fn all() -> impl Iterator<Item = &'static str> {
    DATA.iter().chain(PLUMBING).copied()
}

/// The keys of `params` that `method` gives a meaning to, besides `_meta`.
pub(super) fn param_keys(method: &str) -> &'static [&'static str] {
    match method {
        "tools/call" => &["name", "arguments", "task", "inputResponses", "requestState"],
        "prompts/get" => &["name", "arguments", "inputResponses", "requestState"],
        "resources/read" => &["uri", "inputResponses", "requestState"],
        "resources/subscribe" | "resources/unsubscribe" => &["uri"],
        "subscriptions/listen" => &["notifications"],
        "completion/complete" => &["ref", "argument", "context"],
        "initialize" => &["protocolVersion", "capabilities", "clientInfo"],
        "logging/setLevel" => &["level"],
        "tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/update" => &["taskId", "inputResponses", "requestState"],
        "notifications/tasks" | "notifications/tasks/status" => &["taskId", "status", "inputRequests"],
        "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" | "tasks/list" => &["cursor"],
        "sampling/createMessage" => SAMPLING,
        "elicitation/create" => &["mode", "message", "requestedSchema", "url", "elicitationId", "task"],
        _ => &["inputResponses", "requestState"],
    }
}

/// The params of `sampling/createMessage`.
const SAMPLING: &[&str] = &[
    "messages",
    "modelPreferences",
    "systemPrompt",
    "includeContext",
    "temperature",
    "maxTokens",
    "stopSequences",
    "metadata",
    "tools",
    "toolChoice",
    "task",
];

/// The param that says what a request of `method` is about: its `name`, `uri` or `taskId`.
pub(super) fn subject_key(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => Some("uri"),
        "tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/update" | "notifications/tasks" => Some("taskId"),
        _ => None,
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

    #[test]
    fn variants_are_what_lenient_readers_take_for_a_method() {
        for method in [
            "tools/Call",
            "TOOLS/CALL",
            "tool\u{17f}/call",
            "ｔools/call",
            "tools/call ",
            "\ttools/call\r\n",
            "tools/call\u{0}",
            "tools/call\u{0}x",
            "\u{0}tools/call",
            "tools/call \u{0}",
            "\u{feff}tools/call",
            "tools/call\u{200b}",
            "tools/call\u{a0}",
            "Resources/Read",
            " ping",
            "notifications/Cancelled",
        ] {
            assert!(is_variant(method), "{method:?}");
        }
        for method in all().chain(["", " ", "\u{0}", "x", "tools/calls", "tools call", "acme/call", "notifications/x"])
        {
            assert!(!is_variant(method), "{method:?}");
        }
    }
}
