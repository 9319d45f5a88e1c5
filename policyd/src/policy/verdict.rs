//! What a decision says: to the agent, to the records and to the metrics.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use smallvec::SmallVec;

use super::decide::Permit;

/// What was decided, and what the records and metrics say of it.
#[derive(Debug)]
pub struct Verdict {
    /// The effect.
    pub decision: Decision,
    /// The rule that decided: of a denial the rule that denied, of an allowed call the entry that applied.
    /// In observe mode the rule that would have denied, with `decision` an `Allow`.
    pub rule: Rule,
    /// In observe mode: what enforcing would have answered.
    pub observed: Option<Denial>,
    /// The limits that were asked, after the decision.
    pub counters: CounterStates,
}

impl Verdict {
    /// The verdict of a refusal that no policy decided, such as [`Denial::malformed`].
    pub fn deny(denial: Denial) -> Verdict {
        let rule = denial.rule.clone();
        Verdict { decision: Decision::Deny(denial), rule, observed: None, counters: CounterStates::new() }
    }
}

/// The counters of one decision; most calls ask four or fewer, and these are kept without an allocation.
pub type CounterStates = SmallVec<[CounterState; 4]>;

/// A limit's counter as a record shows it. The numbers print in plain decimal notation.
#[derive(Clone, Debug, PartialEq)]
pub struct CounterState {
    /// The counter's name in the policy; the rule's pointer for a `rate_limit`.
    pub counter: Arc<str>,
    /// What is used in the window, this call included if it was admitted.
    pub used: Decimal,
    /// The limit.
    pub max: Decimal,
}

/// The effect of a decision. (`Await` joins when approvals do.)
#[derive(Debug)]
pub enum Decision {
    /// The message may be forwarded.
    Allow(Permit),
    /// It may not.
    Deny(Denial),
}

/// A refusal, and how it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Denial {
    /// The rule that refused.
    pub rule: Rule,
    /// What the agent is told after `Denied by policy: `; also in the record. Of a hidden tool only in the record.
    pub reason: String,
    /// When trying again can help.
    pub retry_after: Option<Duration>,
    /// The form of the reply.
    pub reply: Reply,
}

impl Denial {
    /// A message that the strict parser refused.
    pub fn malformed(reason: impl Into<String>, reply: Reply) -> Denial {
        Denial::word(RuleKind::Malformed, reason, reply)
    }

    /// No audit record can be written.
    pub fn audit_unavailable(reply: Reply) -> Denial {
        Denial::word(RuleKind::AuditUnavailable, "the decision cannot be recorded; try again later", reply)
    }

    /// The caller's identity cannot be told for certain.
    pub fn identity_unclear(reply: Reply) -> Denial {
        Denial::word(RuleKind::IdentityUnclear, "the calling process cannot be identified", reply)
    }

    /// The server's certificate or address cannot be trusted; `reason` says which and why.
    pub fn upstream_untrusted(reason: impl Into<String>, reply: Reply) -> Denial {
        Denial::word(RuleKind::UpstreamUntrusted, reason, reply)
    }

    /// An answer that the server was not seen to ask for.
    pub fn unasked(reply: Reply) -> Denial {
        Denial::word(RuleKind::Unasked, "the server was not seen to ask for this answer", reply)
    }

    /// A message that could go on, had it not come in a batch with one that cannot.
    pub fn batch(reply: Reply) -> Denial {
        Denial::word(RuleKind::Batch, "another message of its batch is refused", reply)
    }

    /// No grant covers this caller and server.
    pub(crate) fn no_grant(reply: Reply) -> Denial {
        Denial::word(RuleKind::NoGrant, "no grant", reply)
    }

    /// The store of the counters cannot be asked.
    pub(super) fn state_unavailable(reply: Reply) -> Denial {
        Denial::word(RuleKind::StateUnavailable, "the limits cannot be checked; try again later", reply)
    }

    /// A request outside of the MCP endpoint that `other_paths = "refuse"` refuses.
    pub(super) fn other_path(reply: Reply) -> Denial {
        Denial::word(RuleKind::OtherPath, "only the MCP endpoint of this server may be used", reply)
    }

    fn word(kind: RuleKind, reason: impl Into<String>, reply: Reply) -> Denial {
        Denial { rule: Rule::word(kind), reason: reason.into(), retry_after: None, reply }
    }
}

/// The form of a refusal's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A tool result with `isError: true`.
    Result,
    /// JSON-RPC error -32001 with `data.rule`; to a request without a JSON-RPC body, plain text.
    Error,
    /// JSON-RPC error -32602 `Unknown tool: NAME`, no `data`: a hidden tool.
    UnknownTool,
    /// JSON-RPC error -32020 with HTTP status 400: what 2026-07-28 has servers and intermediaries say of headers that
    /// disagree with the body, and what its clients understand.
    HeaderMismatch,
    /// Nothing: a notification or a response is dropped with 202.
    Drop,
}

/// Names a rule: a JSON Pointer into the policy, or one of the words of the policy language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `/tools/create_charge/limits/0`, `/default`, `/hide/1`, `no-grant`, … Empty for protocol plumbing.
    pub pointer: Arc<str>,
    /// The kind, for metrics.
    pub kind: RuleKind,
}

impl Rule {
    /// The rule of a kind that has a word instead of a place in a policy. Empty for the kinds that have none.
    pub fn word(kind: RuleKind) -> Rule {
        let pointer = match kind {
            RuleKind::NoGrant => "no-grant",
            RuleKind::Malformed => "malformed",
            RuleKind::StateUnavailable => "state-unavailable",
            RuleKind::AuditUnavailable => "audit-unavailable",
            RuleKind::IdentityUnclear => "identity-unclear",
            RuleKind::UpstreamUntrusted => "upstream-untrusted",
            RuleKind::OtherPath => "other-paths",
            RuleKind::Unasked => "unasked",
            RuleKind::Batch => "batch",
            RuleKind::Default => "/default",
            RuleKind::Tool
            | RuleKind::Method
            | RuleKind::Hide
            | RuleKind::Action
            | RuleKind::ToolChanges
            | RuleKind::Arguments
            | RuleKind::Require
            | RuleKind::DenyIf
            | RuleKind::Approval
            | RuleKind::Limit
            | RuleKind::Protocol => "",
        };
        Rule { pointer: Arc::from(pointer), kind }
    }

    /// The rule at a JSON Pointer.
    pub(super) fn at(pointer: String, kind: RuleKind) -> Rule {
        Rule { pointer: Arc::from(pointer), kind }
    }
}

/// The kinds of rules, as metrics label them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleKind {
    /// A tool's entry allowed it.
    Tool,
    /// A method's entry allowed it.
    Method,
    /// `default`.
    Default,
    /// `hide`.
    Hide,
    /// `action: "deny"`.
    Action,
    /// `tool_changes: "deny"`.
    ToolChanges,
    /// `arguments: "declared"`.
    Arguments,
    /// `require`.
    Require,
    /// `deny_if`.
    DenyIf,
    /// `approve_if` or `action: "require_approval"`.
    Approval,
    /// `limits`, `rate_limit` or `all_tools.limits`.
    Limit,
    /// Protocol plumbing: no rule was asked.
    Protocol,
    /// `no-grant`.
    NoGrant,
    /// `malformed`.
    Malformed,
    /// `state-unavailable`.
    StateUnavailable,
    /// `audit-unavailable`.
    AuditUnavailable,
    /// `identity-unclear`.
    IdentityUnclear,
    /// `upstream-untrusted`.
    UpstreamUntrusted,
    /// The server's `other_paths = "refuse"`.
    OtherPath,
    /// `unasked`.
    Unasked,
    /// `batch`.
    Batch,
}
