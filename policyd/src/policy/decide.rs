//! One message, one decision. The only place where the right to forward is made.

use std::time::Duration;

use bytes::Bytes;
use rust_decimal::Decimal;
use smallvec::SmallVec;

use super::compiled::{Effect, Limit, Scope};
use super::path::{Found, Path};
use super::{
    CounterKey, CounterState, CounterStates, Counters, Decision, Denial, Grant, Policy, Refused, Reply, Reservation,
    Rule, ScopeKey, Time, Verdict, Want, exact,
};
use crate::config::OtherPaths;
use crate::mcp::json::Value;
use crate::mcp::method::{Nature, nature};
use crate::mcp::{Kind, Message};

/// Everything besides the message that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The grant in force; `None` denies with `no-grant`.
    pub grant: Option<&'a Grant>,
    /// The server's name.
    pub server: &'a str,
    /// The key of scope `session`: an MCP session that the server minted, or the agent's process.
    pub session: &'a str,
    /// Now.
    pub now: Time,
}

/// The right to forward exactly one message. Only [`decide`] makes it (invariant 1), and it carries the very bytes that
/// were judged (invariant 2).
///
/// Whoever is given one can forward its message once:
///
/// ```
/// fn forward(permit: policyd::policy::Permit) -> (bytes::Bytes, policyd::policy::Reservation) {
///     permit.redeem()
/// }
/// ```
///
/// Nobody else can make one:
///
/// ```compile_fail,E0451
/// let bytes = bytes::Bytes::from_static(b"{}");
/// let permit = policyd::policy::Permit { bytes, reservation: policyd::policy::Reservation::default() };
/// ```
#[derive(Debug)]
#[must_use = "an allowed message is to be forwarded, or its quota given back"]
pub struct Permit {
    bytes: Bytes,
    reservation: Reservation,
}

impl Permit {
    /// Takes the permit apart: the vetted bytes to forward, and the quota to give back if they are never sent whole.
    pub fn redeem(self) -> (Bytes, Reservation) {
        (self.bytes, self.reservation)
    }
}

/// The right to forward one request that carries no JSON-RPC. Only [`passage`] makes it:
///
/// ```compile_fail,E0451
/// let passage = policyd::policy::Passage { sealed: () };
/// ```
#[derive(Debug)]
#[must_use = "a request that may pass is to be forwarded"]
pub struct Passage {
    #[expect(dead_code, reason = "keeps others from making one")]
    sealed: (),
}

/// What a request without JSON-RPC is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The MCP endpoint: GET opens a stream of the server's messages, DELETE ends a session.
    Endpoint,
    /// Another path of the server's host, under the server's setting.
    OtherPath(OtherPaths),
}

/// Decides one request without JSON-RPC: the endpoint needs a grant, other paths (OAuth, `/.well-known`) only
/// `other_paths = "pass"`. Such requests are no part of a policy, so that observe mode changes nothing.
pub fn passage(grant: Option<&Grant>, target: Target) -> Result<Passage, Denial> {
    match (target, grant) {
        (Target::Endpoint, Some(_)) | (Target::OtherPath(OtherPaths::Pass), _) => Ok(Passage { sealed: () }),
        (Target::Endpoint, None) => Err(Denial::no_grant(Reply::Error)),
        (Target::OtherPath(OtherPaths::Refuse), _) => Err(Denial::other_path(Reply::Error)),
    }
}

/// Decides one message. What it reserves in `counters` is held by the permit; a denied call holds nothing.
pub fn decide(context: &Context<'_>, message: &Message<'_>, counters: &(impl Counters + ?Sized)) -> Verdict {
    let subject = match message.kind() {
        Kind::Request { method, .. } => Subject::request(method, message.tool()),
        Kind::Notification { method, .. } => Subject::notification(method),
        Kind::Response { .. } => Subject::Response,
    };
    let judgement = judge(context, &subject, |path| find(message.arguments(), path), counters);
    let Judgement { rule, refusal, reservation, counters } = judgement;
    let (decision, observed) = match refusal {
        Some(Refusal { denial, lifted: false }) => (Decision::Deny(denial), None),
        refusal => {
            let permit = Permit { bytes: message.bytes(), reservation };
            (Decision::Allow(permit), refusal.map(|refusal| refusal.denial))
        }
    };
    Verdict { decision, rule, observed, counters }
}

/// A message as far as a policy cares.
#[derive(Debug)]
pub(super) enum Subject<'a> {
    /// `tools/call`.
    Call(&'a str),
    /// Plumbing: a request or a notification.
    Plumbing,
    /// Another request.
    Data(&'a str),
    /// An answer to a request of the server.
    Response,
    /// A message that makes no sense, and why.
    Malformed(String, Reply),
}

impl<'a> Subject<'a> {
    pub(super) fn request(method: &'a str, tool: Option<&'a str>) -> Subject<'a> {
        match (method, tool) {
            ("tools/call", Some(tool)) => Subject::Call(tool),
            ("tools/call", None) => Subject::Malformed("the call names no tool".to_owned(), Reply::Error),
            _ if nature(method) == Nature::Plumbing => Subject::Plumbing,
            _ => Subject::Data(method),
        }
    }

    /// Notifications have names of their own. Some servers run a request that comes without an id.
    pub(super) fn notification(method: &'a str) -> Subject<'a> {
        if method.starts_with("notifications/") {
            return Subject::Plumbing;
        }
        Subject::Malformed(format!("`{}` is no notification", shown(method)), Reply::Drop)
    }

    /// The form of a refusal that no policy chose.
    fn reply(&self) -> Reply {
        match self {
            Subject::Call(_) => Reply::Result,
            Subject::Data(_) | Subject::Plumbing => Reply::Error,
            Subject::Response => Reply::Drop,
            Subject::Malformed(_, reply) => *reply,
        }
    }
}

/// What was found: `refusal` where the rules refuse, and whether observing lifts it.
#[derive(Debug)]
pub(super) struct Judgement {
    pub rule: Rule,
    pub refusal: Option<Refusal>,
    pub reservation: Reservation,
    pub counters: CounterStates,
}

/// A refusal.
#[derive(Debug)]
pub(super) struct Refusal {
    pub denial: Denial,
    /// Observe mode lets the message pass all the same.
    pub lifted: bool,
}

impl Judgement {
    fn allow(rule: &Rule) -> Judgement {
        Judgement {
            rule: rule.clone(),
            refusal: None,
            reservation: Reservation::default(),
            counters: CounterStates::new(),
        }
    }

    /// What stands outside of the policy, and so outside of its mode.
    fn refuse(denial: Denial) -> Judgement {
        Judgement { refusal: Some(Refusal { denial: denial.clone(), lifted: false }), ..Judgement::allow(&denial.rule) }
    }

    /// What the policy denies.
    fn deny(policy: &Policy, rule: &Rule, reason: String, reply: Reply) -> Judgement {
        let denial = Denial { rule: rule.clone(), reason, retry_after: None, reply };
        Judgement { refusal: Some(Refusal { denial, lifted: policy.observe }), ..Judgement::allow(rule) }
    }
}

/// The rules, in their order. `find` looks into the call's arguments.
pub(super) fn judge<'a>(
    context: &Context<'_>,
    subject: &Subject<'_>,
    find: impl Fn(&Path) -> Found<'a>,
    counters: &(impl Counters + ?Sized),
) -> Judgement {
    let Some(grant) = context.grant else {
        let reply = match subject {
            Subject::Plumbing => Reply::Error,
            other => other.reply(),
        };
        return Judgement::refuse(Denial::no_grant(reply));
    };
    let policy = &*grant.policy;
    match subject {
        Subject::Malformed(reason, reply) => Judgement::refuse(Denial::malformed(reason.clone(), *reply)),
        Subject::Plumbing | Subject::Response => Judgement::allow(&policy.protocol_rule),
        Subject::Data(_) if policy.default == Effect::Allow => Judgement::allow(&policy.default_rule),
        Subject::Data(method) => {
            let reason = format!("`{}` is not allowed", shown(method));
            Judgement::deny(policy, &policy.default_rule, reason, Reply::Error)
        }
        Subject::Call(tool) => judge_call(context, grant, tool, find, counters),
    }
}

fn judge_call<'a>(
    context: &Context<'_>,
    grant: &Grant,
    tool: &str,
    find: impl Fn(&Path) -> Found<'a>,
    counters: &(impl Counters + ?Sized),
) -> Judgement {
    let policy = &*grant.policy;
    if let Some(rule) = policy.hide.find(tool) {
        let reason = format!("tool `{}` is hidden", shown(tool));
        return Judgement::deny(policy, rule, reason, Reply::UnknownTool);
    }
    let not_allowed = || format!("tool `{}` is not allowed", shown(tool));
    let entry = policy.tools.find(tool);
    let (rule, own_limits) = match entry {
        Some(entry) => {
            if let Some(deny) = &entry.deny {
                let reason = deny.reason.as_deref().map_or_else(not_allowed, str::to_owned);
                return Judgement::deny(policy, &deny.rule, reason, policy.deny_as);
            }
            (&entry.rule, &*entry.limits)
        }
        None if policy.default == Effect::Deny => {
            return Judgement::deny(policy, &policy.default_rule, not_allowed(), policy.deny_as);
        }
        None => (&policy.default_rule, &[][..]),
    };

    let limits: SmallVec<[&Limit; 4]> = policy.all_limits.iter().chain(own_limits).collect();
    if limits.is_empty() {
        return Judgement::allow(rule);
    }
    let mut wants: SmallVec<[Want<'_>; 4]> = SmallVec::new();
    for limit in &limits {
        let amount = match limit.amount.as_ref().map(&find) {
            None => Some(Decimal::ONE),
            Some(Found::Number(text)) => exact::parse(text).filter(|amount| !amount.is_sign_negative()),
            Some(Found::Absent | Found::Other) => None,
        };
        let Some(amount) = amount else {
            let default = || format!("the amount that limits tool `{}` is missing or cannot be counted", shown(tool));
            let reason = limit.on_deny.as_deref().map_or_else(default, str::to_owned);
            return Judgement::deny(policy, &limit.rule, reason, policy.deny_as);
        };
        wants.push(Want {
            counter: CounterKey { scope: limit.scope.key(grant, context), name: &limit.counter, own: limit.own },
            window: limit.window,
            max: limit.max,
            amount,
            used: Decimal::ZERO,
        });
    }
    let reserved = counters.reserve(&mut wants, context.now);
    let states = limits.iter().zip(&wants).map(|(limit, want)| CounterState {
        counter: limit.counter.clone(),
        used: want.used,
        max: limit.max,
    });
    match reserved {
        Ok(reservation) => Judgement { reservation, counters: states.collect(), ..Judgement::allow(rule) },
        Err(Refused::Exhausted(index, retry_after)) => {
            let Some(limit) = limits.get(index) else {
                return Judgement::refuse(Denial::state_unavailable(policy.deny_as));
            };
            let denial = Denial {
                rule: limit.rule.clone(),
                reason: exhausted(limit, tool, retry_after),
                retry_after,
                reply: policy.deny_as,
            };
            Judgement {
                refusal: Some(Refusal { denial, lifted: policy.observe }),
                counters: states.collect(),
                ..Judgement::allow(&limit.rule)
            }
        }
        Err(Refused::Unavailable) => Judgement::refuse(Denial::state_unavailable(policy.deny_as)),
    }
}

impl Scope {
    fn key<'a>(self, grant: &'a Grant, context: &Context<'a>) -> ScopeKey<'a> {
        let (grant, server, session) = (&*grant.name, context.server, context.session);
        match self {
            Scope::Grant => ScopeKey::Grant { grant, server },
            Scope::Session => ScopeKey::Session { grant, server, session },
            Scope::Server => ScopeKey::Server(server),
            Scope::Host => ScopeKey::Host,
            Scope::Global => ScopeKey::Global,
        }
    }
}

/// What the agent is told of an exhausted limit: the policy's words or ours, and when to try again.
fn exhausted(limit: &Limit, tool: &str, retry_after: Option<Duration>) -> String {
    let mut reason = match (&limit.on_deny, &limit.amount) {
        (Some(text), _) => text.to_string(),
        (None, None) => format!("rate limit reached for tool `{}`", shown(tool)),
        (None, Some(_)) => format!("limit reached for tool `{}`", shown(tool)),
    };
    if let Some(wait) = retry_after {
        // Rounded up: a client that waits as long as it is told does not come too early.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let join = if reason.ends_with(['.', '!', '?']) { " Try" } else { "; try" };
        reason.push_str(&format!("{join} again in {seconds} s"));
    }
    reason
}

/// A name that the agent chose, short and printable.
fn shown(name: &str) -> String {
    const LONGEST: usize = 128;
    let mut shown: String = name.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if name.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// What stands at a path of a call's arguments.
fn find<'a>(arguments: Option<Value<'a>>, path: &Path) -> Found<'a> {
    let Some(value) = path.keys().try_fold(arguments, |value, key| Some(value?.get(key))).flatten() else {
        return Found::Absent;
    };
    value.as_number().map_or(Found::Other, Found::Number)
}
