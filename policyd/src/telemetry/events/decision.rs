//! A decision and its outcome: what the audit record, the metrics, the log line and an observer all say.

use std::time::{Duration, SystemTime};

use super::CallId;
use crate::capture::identity::Identity;
use crate::policy::{CounterState, Direction, Rule};

/// What was done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It may be forwarded.
    Allow,
    /// It was refused.
    Deny,
}

impl Effect {
    /// `allow` or `deny`, as records and metrics say it.
    pub fn label(self) -> &'static str {
        match self {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        }
    }
}

/// A message was decided, and nothing of the decision has happened yet.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    /// From [`Recorder::next_call`](crate::audit::Recorder::next_call).
    pub call: CallId,
    /// When, on the wall clock.
    pub at: SystemTime,
    /// Whose message it is.
    pub identity: &'a Identity,
    /// The grant in force, if any.
    pub grant: Option<&'a str>,
    /// The server's name.
    pub server: &'a str,
    /// Which way the message goes.
    pub direction: Direction,
    /// The method of a request or notification; `None` for a response and for what could not be parsed.
    pub method: Option<&'a str>,
    /// The tool of a `tools/call`.
    pub tool: Option<&'a str>,
    /// What is done.
    pub effect: Effect,
    /// The rule that decided.
    pub rule: &'a Rule,
    /// Why it was refused, or would have been.
    pub reason: Option<&'a str>,
    /// Observe mode lifted a denial: `effect` is [`Effect::Allow`], and `rule` and `reason` are the denial's.
    pub observed: bool,
    /// The counters that were asked.
    pub counters: &'a [CounterState],
    /// The MCP session's id as the client sent it. A bearer secret: it is only ever shown as a keyed hash.
    pub session: Option<&'a str>,
    /// The MCP protocol version that the client speaks.
    pub protocol_version: Option<&'a str>,
    /// The text of the arguments. Only ever shown as a keyed hash, unless `audit.arguments` says otherwise.
    pub arguments: Option<&'a [u8]>,
    /// How long the decision took.
    pub took: Duration,
}

/// A decided message came to its end.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// The decision's call id.
    pub call: CallId,
    /// When, on the wall clock.
    pub at: SystemTime,
    /// The server's name.
    pub server: &'a str,
    /// The HTTP status that the client got; `None` if it got none. Of a message of the server: of the response it came in.
    pub status: Option<u16>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body that were sent to the client.
    pub bytes_out: u64,
    /// From the decision to the end of the response.
    pub took: Duration,
    /// Whether the quota that was reserved was given back.
    pub returned: bool,
    /// What went wrong, in a word of policyd's own: `upstream-refused`, `client-gone`, …
    pub error: Option<&'static str>,
}
