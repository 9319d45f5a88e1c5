//! Facts besides decisions.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tracing::{error, info, warn};

use super::Event;
use crate::policy::RuleKind;
use crate::state::ChangeKind;
use crate::telemetry::Telemetry;
use crate::visible::visible;

/// A rule's kind as metrics and records label it.
pub fn kind_label(kind: RuleKind) -> &'static str {
    match kind {
        RuleKind::Tool => "tool",
        RuleKind::Method => "method",
        RuleKind::Default => "default",
        RuleKind::Hide => "hide",
        RuleKind::Action => "action",
        RuleKind::ToolChanges => "tool-changes",
        RuleKind::Arguments => "arguments",
        RuleKind::Require => "require",
        RuleKind::DenyIf => "deny-if",
        RuleKind::Approval => "approval",
        RuleKind::Limit => "limit",
        RuleKind::Protocol => "protocol",
        RuleKind::NoGrant => "no-grant",
        RuleKind::Malformed => "malformed",
        RuleKind::StateUnavailable => "state-unavailable",
        RuleKind::AuditUnavailable => "audit-unavailable",
        RuleKind::IdentityUnclear => "identity-unclear",
        RuleKind::UpstreamUntrusted => "upstream-untrusted",
        RuleKind::OtherPath => "other-paths",
        RuleKind::Unasked => "unasked",
        RuleKind::Batch => "batch",
    }
}

/// A connection or stream was refused before any message of it could be decided.
///
/// Log lines of one cause come at once the first time, then at most one in some seconds with the number left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refused<'a> {
    /// Why, in a word from a fixed set: it labels the metric.
    pub cause: &'static str,
    /// Where the agent wanted to go.
    pub destination: Option<SocketAddr>,
    /// The agent's process.
    pub pid: Option<u32>,
    /// Its effective user id.
    pub uid: Option<u32>,
    /// The name it asked for (SNI or Host).
    pub name: Option<&'a str>,
    /// What can be said besides.
    pub detail: Option<&'a str>,
}

impl Event for Refused<'_> {
    fn emit(self, telemetry: &Telemetry) {
        telemetry.0.metrics.refused.with_label_values(&[self.cause]).inc();
        if let Some(suppressed) = telemetry.0.refusals.admit(self.cause) {
            warn!(
                cause = self.cause,
                destination = self.destination.map(tracing::field::display),
                pid = self.pid,
                uid = self.uid,
                name = self.name,
                detail = self.detail,
                suppressed = (suppressed > 0).then_some(suppressed),
                "connection refused"
            );
        }
        if let Some(observer) = telemetry.observer() {
            observer.refused(&self);
        }
    }
}

/// A body was not a message. (Its denial is a [`Decided`](super::Decided) with the rule `malformed`.)
#[derive(Clone, Copy, Debug)]
pub struct Malformed {
    /// What was wrong, in a word from a fixed set.
    pub cause: &'static str,
}

impl Event for Malformed {
    fn emit(self, telemetry: &Telemetry) {
        telemetry.0.metrics.malformed.with_label_values(&[self.cause]).inc();
    }
}

/// A line on a command's stdout was not passed on to its client.
#[derive(Clone, Copy, Debug)]
pub struct Discarded<'a> {
    /// The server's name.
    pub server: &'a str,
    /// Why, in a word from a fixed set.
    pub cause: &'static str,
    /// The line's length in bytes. What stands in it may be secret.
    pub length: usize,
    /// What can be said besides.
    pub detail: &'a str,
}

impl Event for Discarded<'_> {
    fn emit(self, telemetry: &Telemetry) {
        telemetry.0.metrics.discarded.with_label_values(&[self.server, self.cause]).inc();
        // A server can print as much as it likes.
        if let Some(suppressed) = telemetry.0.refusals.admit(self.cause) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            let Self { server, cause, length, detail } = self;
            warn!(server, cause, length, detail, suppressed, "a line of the server's stdout is not passed on");
        }
    }
}

/// An upstream server could not be used.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamFailed<'a> {
    /// The server's name.
    pub server: &'a str,
    /// How, in a word from a fixed set: `connect`, `tls`, `untrusted`, `timeout`, `protocol`, …
    pub kind: &'static str,
    /// What the network or the TLS library said.
    pub detail: &'a str,
}

impl Event for UpstreamFailed<'_> {
    fn emit(self, telemetry: &Telemetry) {
        telemetry.0.metrics.upstream_errors.with_label_values(&[self.server, self.kind]).inc();
        // An agent can bring these about as often as it likes.
        if let Some(suppressed) = telemetry.0.refusals.admit(self.kind) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            warn!(server = self.server, kind = self.kind, detail = self.detail, suppressed, "upstream failed");
        }
    }
}

/// A request of a server was refused, and the server could not be told: it may wait for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Unanswered<'a> {
    /// The server's name.
    pub server: &'a str,
    /// Why, in a word from a fixed set.
    pub cause: &'static str,
    /// What can be said besides.
    pub detail: &'a str,
}

impl Event for Unanswered<'_> {
    fn emit(self, telemetry: &Telemetry) {
        // A server can bring these about as often as it likes.
        if let Some(suppressed) = telemetry.0.refusals.admit(self.cause) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            let Self { server, cause, detail } = self;
            warn!(server, cause, detail, suppressed, "a server was not told that its request is refused");
        }
    }
}

/// A leaf certificate was made.
#[derive(Clone, Copy, Debug)]
pub struct LeafMinted<'a> {
    /// For which server.
    pub server: &'a str,
}

impl Event for LeafMinted<'_> {
    fn emit(self, telemetry: &Telemetry) {
        telemetry.0.metrics.mints.inc();
        tracing::debug!(server = self.server, "leaf certificate minted");
    }
}

/// The configuration and its policies were read again. Sets the condition `reload`.
#[derive(Clone, Copy, Debug)]
pub struct Reloaded<'a> {
    /// The number of the configuration now in force, from 1 on.
    pub generation: u64,
    /// Why the new one was not taken: the old one stays in force.
    pub error: Option<&'a str>,
}

impl Event for Reloaded<'_> {
    fn emit(self, telemetry: &Telemetry) {
        let metrics = &telemetry.0.metrics;
        let result = if self.error.is_some() { "failure" } else { "success" };
        metrics.reloads.with_label_values(&[result]).inc();
        metrics.reload_successful.set(i64::from(self.error.is_none()));
        metrics.generation.set(i64::try_from(self.generation).unwrap_or(i64::MAX));
        match self.error {
            None => {
                metrics.reload_time.set(unix_now());
                info!(generation = self.generation, "configuration in force");
                telemetry.health().good("reload", format!("generation {} is in force", self.generation));
            }
            Some(error) => {
                error!(
                    generation = self.generation,
                    error, "reload failed; the configuration before it stays in force"
                );
                let detail = format!("the last reload failed, generation {} stays in force: {error}", self.generation);
                telemetry.health().degraded("reload", detail);
            }
        }
    }
}

/// Seconds since 1970, for gauges that hold a time.
fn unix_now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Audit records cannot be written: every call is denied until they can. Sets the condition `audit`.
#[derive(Clone, Copy, Debug)]
pub struct AuditFailed<'a> {
    /// What the operating system said.
    pub error: &'a str,
    /// Whether it worked until now: said aloud once, then only counted.
    pub first: bool,
}

impl Event for AuditFailed<'_> {
    fn emit(self, telemetry: &Telemetry) {
        telemetry.0.metrics.audit_failures.inc();
        if self.first {
            error!(error = self.error, "audit records cannot be written; calls are denied until they can");
            telemetry.health().failed("audit", format!("records cannot be written: {}", self.error));
        }
    }
}

/// What a call adds to its counters was written to the store, or could not be.
#[derive(Clone, Copy, Debug)]
pub struct StateCommitted {
    /// How long it took.
    pub took: Duration,
}

impl Event for StateCommitted {
    fn emit(self, telemetry: &Telemetry) {
        telemetry.0.metrics.state_commit_seconds.observe(self.took.as_secs_f64());
    }
}

/// Counters cannot be stored: every call that needs it is denied. Sets the condition `state`.
#[derive(Clone, Copy, Debug)]
pub struct StateFailed<'a> {
    /// What is wrong, where, and what to do.
    pub error: &'a str,
    /// Whether it worked until now: said aloud once, then only counted.
    pub first: bool,
}

impl Event for StateFailed<'_> {
    fn emit(self, telemetry: &Telemetry) {
        telemetry.0.metrics.state_failures.inc();
        if self.first {
            error!(
                error = self.error,
                "counters cannot be stored; calls that a limit holds for are denied until they can"
            );
        }
        telemetry.health().failed("state", format!("counters cannot be stored: {}", self.error));
    }
}

/// Counters are stored, from the start or again.
#[derive(Clone, Copy, Debug)]
pub struct StateReady<'a> {
    /// In which file.
    pub path: &'a Path,
    /// Whether they could not be.
    pub again: bool,
}

impl Event for StateReady<'_> {
    fn emit(self, telemetry: &Telemetry) {
        if self.again {
            warn!(path = %self.path.display(), "counters are stored again");
        }
        telemetry.health().good("state", format!("counters are stored in `{}`", self.path.display()));
    }
}

/// The longest text of a server's that a log line holds, in characters.
const LONGEST: usize = 128;

/// A server listed another definition of a tool than before, or a tool that was not in its first list.
#[derive(Clone, Copy, Debug)]
pub struct DefinitionChanged<'a> {
    /// The server's name.
    pub server: &'a str,
    /// The tool's name, as the server chose it.
    pub tool: &'a str,
    /// In which way.
    pub change: ChangeKind,
    /// The keys of the definition that differ.
    pub fields: &'a [String],
    /// A policy of the server wants to be told (`tool_changes` is not `allow`).
    pub alert: bool,
}

impl Event for DefinitionChanged<'_> {
    fn emit(self, telemetry: &Telemetry) {
        let Self { server, tool, change, fields, alert } = self;
        if change == ChangeKind::First {
            return;
        }
        telemetry.0.metrics.definitions_changed.with_label_values(&[server, change.label()]).inc();
        // A server can bring these about as often as it likes.
        if alert && let Some(suppressed) = telemetry.0.refusals.admit(change.label()) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            let short = |text: &str| visible(&text.chars().take(LONGEST).collect::<String>());
            let (tool, fields) = (short(tool), short(&fields.join(", ")));
            let change = change.label();
            warn!(server, tool, change, fields, suppressed, "a tool's definition is another one than before");
        }
    }
}

/// Audit records can be written again.
#[derive(Clone, Copy, Debug)]
pub struct AuditRecovered {
    /// How many records were lost between.
    pub missed: u64,
}

impl Event for AuditRecovered {
    fn emit(self, telemetry: &Telemetry) {
        warn!(missed = self.missed, "audit records can be written again");
        telemetry.health().good("audit", "records are written");
    }
}
