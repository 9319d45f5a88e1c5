//! The rules, in their order.

use std::time::Duration;

use rust_decimal::Decimal;
use smallvec::SmallVec;

use super::compiled::{Action, Clause, Effect, Entry, Limit, Rules, Scope, may_be_called};
use super::conditions::{Facts, Found};
use super::decide::{Context, Direction};
use super::schema::{Disagreement, Standing};
use super::trace::{ClauseKind, ClauseStep, LimitStep, Step, Trace};
use super::{
    CounterKey, CounterState, CounterStates, Counters, Denial, Grant, Policy, Refused, Reply, Reservation, Rule,
    ScopeKey, Want, exact,
};
use crate::mcp::json::Value;
use crate::mcp::method::{Nature, nature};
use crate::mcp::{Kind, Message};
use crate::visible::{is_plain_word, visible};

/// A message as far as a policy cares.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub subject: Subject<'a>,
    /// The arguments of a call, the params of another request.
    pub args: Option<Value<'a>>,
}

/// What a message is about.
#[derive(Debug)]
pub(crate) enum Subject<'a> {
    /// `tools/call`.
    Call(&'a str),
    /// Another request, or a notification, by its method.
    Method(&'a str, Nature, Reply),
    /// An answer to a request of the other side.
    Response,
    /// A message that makes no sense, and why.
    Malformed(String, Reply),
}

impl<'a> Request<'a> {
    /// What a vetted message asks.
    pub fn of(direction: Direction, message: &'a Message<'_>) -> Request<'a> {
        let tool = message.tool().filter(|_| direction == Direction::ToServer);
        let subject = match message.kind() {
            Kind::Request { .. } if tool.is_some() => Subject::Call(tool.unwrap_or_default()),
            Kind::Request { method, .. } => Subject::Method(method, nature(method), Reply::Error),
            Kind::Notification { method, .. } => Subject::notification(method),
            Kind::Response { .. } => Subject::Response,
        };
        let args = if tool.is_some() { message.arguments() } else { message.params() };
        Request { subject, args }
    }
}

impl<'a> Subject<'a> {
    /// Notifications have names of their own. Some servers run a request that comes without an id.
    fn notification(method: &'a str) -> Subject<'a> {
        if method.starts_with("notifications/") {
            return Subject::Method(method, Nature::Plumbing, Reply::Drop);
        }
        Subject::Malformed(format!("`{}` is no notification", shown(method)), Reply::Drop)
    }

    /// The form of a refusal that no policy chose.
    fn reply(&self) -> Reply {
        match self {
            Subject::Call(_) => Reply::Result,
            Subject::Response => Reply::Drop,
            Subject::Method(.., reply) | Subject::Malformed(_, reply) => *reply,
        }
    }
}

/// What was found: `refusal` where the rules refuse, and whether observing lifts it.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub rule: Rule,
    pub refusal: Option<Refusal>,
    pub reservation: Reservation,
    pub counters: CounterStates,
}

/// A refusal.
#[derive(Debug)]
pub(crate) struct Refusal {
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
}

/// Judges a message; `trace` is told of each step.
pub(crate) fn judge(
    context: &Context<'_>,
    request: &Request<'_>,
    counters: &(impl Counters + ?Sized),
    trace: &mut impl Trace,
) -> Judgement {
    let subject = &request.subject;
    let Some(grant) = context.grant else { return Judgement::refuse(Denial::no_grant(subject.reply())) };
    let policy = &*grant.policy;
    let facts = Facts {
        args: request.args,
        tool: match subject {
            Subject::Call(tool) => Some(tool),
            _ => None,
        },
        grant: &grant.name,
        server: context.server,
        identity: context.identity,
    };
    let call = |name, what, reply| Call { context, grant, policy, facts, name, what, reply };
    match subject {
        Subject::Malformed(reason, reply) => Judgement::refuse(Denial::malformed(reason.clone(), *reply)),
        Subject::Response => Judgement::allow(&policy.protocol_rule),
        Subject::Call(tool) => call(tool, "tool ", policy.deny_as).judge_tool(counters, trace),
        Subject::Method(method, nature, reply) => call(method, "", *reply).judge_method(*nature, counters, trace),
    }
}

/// A call of a tool, or another request, and what its rules can ask about.
struct Call<'a> {
    context: &'a Context<'a>,
    grant: &'a Grant,
    policy: &'a Policy,
    facts: Facts<'a>,
    /// The name of the tool or method.
    name: &'a str,
    /// What comes before the name in a reason.
    what: &'static str,
    reply: Reply,
}

impl Call<'_> {
    fn judge_tool(&self, counters: &(impl Counters + ?Sized), trace: &mut impl Trace) -> Judgement {
        let policy = self.policy;
        let hidden = policy.hide.find(self.name);
        trace.step(Step::Hide(hidden));
        if let Some(rule) = hidden {
            let denial =
                Denial { reply: Reply::UnknownTool, ..self.denial(rule, format!("{} is hidden", self.subject())) };
            return self.deny(denial);
        }
        let entry = policy.tools.find(self.name);
        trace.step(Step::Entry(entry.map(|entry| &entry.rule)));
        match entry {
            None if policy.default == Effect::Deny => self.deny_by(&policy.default_rule, None, || self.not_allowed()),
            entry => self.judge_entry(entry, Some(&policy.all_tools), counters, trace),
        }
    }

    fn judge_method(&self, nature: Nature, counters: &(impl Counters + ?Sized), trace: &mut impl Trace) -> Judgement {
        let policy = self.policy;
        let entry = policy.methods.find(self.name);
        trace.step(Step::Entry(entry.map(|entry| &entry.rule)));
        match (entry, nature, policy.default) {
            (Some(_), ..) => self.judge_entry(entry, None, counters, trace),
            (None, Nature::Plumbing, _) => Judgement::allow(&policy.protocol_rule),
            (None, Nature::Data, Effect::Allow) => Judgement::allow(&policy.default_rule),
            (None, Nature::Data, Effect::Deny) => self.deny_by(&policy.default_rule, None, || self.not_allowed()),
        }
    }

    /// `entry`, or what `default` allows; `all` before it in each kind of rule.
    fn judge_entry<'a>(
        &self,
        entry: Option<&'a Entry>,
        all: Option<&'a Rules>,
        counters: &(impl Counters + ?Sized),
        trace: &mut impl Trace,
    ) -> Judgement {
        let own = entry.map(|entry| &entry.rules);
        if let Some(refused) = entry.and_then(|entry| self.action(entry, trace)) {
            return refused;
        }
        // What comes before an entry's rules holds for every tool, and for nothing but tools.
        if let Some(refused) = all.and_then(|_| self.changes(trace)) {
            return refused;
        }
        if let Some(refused) = entry.and_then(|entry| self.declared(entry, trace)) {
            return refused;
        }
        for (kind, clauses) in [
            (ClauseKind::Require, all.map(|all| &all.require)),
            (ClauseKind::Require, own.map(|own| &own.require)),
            (ClauseKind::DenyIf, all.map(|all| &all.deny_if)),
            (ClauseKind::DenyIf, own.map(|own| &own.deny_if)),
            (ClauseKind::ApproveIf, own.map(|own| &own.approve_if)),
        ] {
            for clause in clauses.into_iter().flatten() {
                if let Some(refused) = self.clause(clause, kind, trace) {
                    return refused;
                }
            }
        }
        if let Some(Entry { action: Action::RequireApproval { rule }, .. }) = entry {
            trace.step(Step::RequireApproval(rule));
            return self.deny(self.denial(rule, NEEDS_APPROVAL.to_owned()));
        }
        let rule = entry.map_or(&self.policy.default_rule, |entry| &entry.rule);
        let limits = |rules: Option<&'a Rules>| rules.map_or(&[][..], |rules| &rules.limits);
        self.reserve(rule, limits(all).iter().chain(limits(own)), counters, trace)
    }

    /// `action: "deny"`
    fn action(&self, entry: &Entry, trace: &mut impl Trace) -> Option<Judgement> {
        let Action::Deny { rule, reason } = &entry.action else { return None };
        trace.step(Step::Deny(rule));
        Some(self.deny_by(rule, reason.as_deref(), || self.not_allowed()))
    }

    /// `tool_changes: "deny"`
    fn changes(&self, trace: &mut impl Trace) -> Option<Judgement> {
        if !self.policy.refuses_changes() {
            return None;
        }
        let rule = &self.policy.changes_rule;
        let standing = match trace.assumes(rule, || false) {
            None => self.context.schemas.standing(self.context.server, self.name),
            Some(true) => Standing::Changed,
            Some(false) => Standing::Accepted,
        };
        trace.step(Step::Changes(rule, standing));
        if may_be_called(standing) {
            return None;
        }
        Some(self.deny_by(rule, None, || {
            let (subject, what) = (self.subject(), "and nobody has accepted it");
            let (server, tool) = (word(self.context.server, "SERVER"), word(self.name, "TOOL"));
            let look = format!("an operator can look at it with `policyd tools diff {server} {tool}`");
            match standing {
                Standing::New => format!("{subject} is new on this server, {what}: {look}"),
                Standing::Unclear => format!("whether the definition of {subject} has changed cannot be told now"),
                _ => format!("the definition of {subject} has changed, {what}: {look}"),
            }
        }))
    }

    /// `arguments: "declared"`
    fn declared(&self, entry: &Entry, trace: &mut impl Trace) -> Option<Judgement> {
        let rule = entry.declared.as_ref()?;
        match trace.assumes(rule, || true) {
            Some(true) => return Some(self.deny_by(rule, None, || self.not_allowed())),
            Some(false) => return None,
            None => {}
        }
        let Some(schema) = self.context.schemas.declared(self.context.server, self.name) else {
            trace.step(Step::Declared(rule, None));
            let reason = || {
                format!(
                    "the server has not listed {}, so that its arguments cannot be checked; list the tools first",
                    self.subject()
                )
            };
            return Some(self.deny_by(rule, None, reason));
        };
        let checked = schema.check(self.facts.args);
        trace.step(Step::Declared(rule, Some(checked.as_ref().map(|&()| ()))));
        let disagreement: Disagreement = checked.err()?;
        Some(
            self.deny_by(rule, None, || {
                format!("the arguments of {} are not as declared: {disagreement}", self.subject())
            }),
        )
    }

    fn clause(&self, clause: &Clause, kind: ClauseKind, trace: &mut impl Trace) -> Option<Judgement> {
        let holds = match trace.assumes(&clause.rule, || clause.reads_arguments()) {
            None => clause.holds(kind.sense(), &self.facts),
            Some(refuses) => {
                clause.holds_as_far_as_known(kind.sense(), &self.facts) && refuses == (kind != ClauseKind::Require)
            }
        };
        trace.step(Step::Clause(ClauseStep::new(clause, kind, &self.facts, holds)));
        let own = clause.on_deny.as_deref();
        match (kind, holds) {
            (ClauseKind::Require, true) | (ClauseKind::DenyIf | ClauseKind::ApproveIf, false) => None,
            (ClauseKind::Require, false) => {
                Some(self.deny_by(&clause.rule, own, || format!("a `require` rule of {} is not met", self.subject())))
            }
            (ClauseKind::DenyIf, true) => Some(
                self.deny_by(&clause.rule, own, || format!("a `deny_if` rule of {} forbids this call", self.subject())),
            ),
            (ClauseKind::ApproveIf, true) => Some(self.deny(self.denial(&clause.rule, NEEDS_APPROVAL.to_owned()))),
        }
    }

    fn reserve<'l>(
        &self,
        rule: &Rule,
        limits: impl Iterator<Item = &'l Limit> + Clone,
        counters: &(impl Counters + ?Sized),
        trace: &mut impl Trace,
    ) -> Judgement {
        let mut wants: SmallVec<[Want<'_>; 4]> = SmallVec::new();
        let mut uncountable = None;
        // Each want is written where it stays: they are large.
        wants.extend(limits.clone().map_while(|limit| {
            let amount = match trace.assumes(&limit.rule, || limit.amount.is_some()) {
                None => self.amount(limit),
                Some(refuses) => Some(Decimal::ZERO).filter(|_| !refuses),
            };
            let counter = CounterKey { scope: self.scope_key(limit.scope), name: &limit.counter, own: limit.own };
            let Some(amount) = amount else {
                uncountable = Some((limit, counter));
                return None;
            };
            let Limit { window, max, .. } = *limit;
            Some(Want { counter, window, windows: &limit.windows, max, amount, used: Decimal::ZERO })
        }));
        if let Some((limit, counter)) = uncountable {
            trace.step(Step::Limit(LimitStep::uncountable(limit, counter)));
            let default = || format!("the amount that limits {} is missing or cannot be counted", self.subject());
            return self.deny_by(&limit.rule, limit.on_deny.as_deref(), default);
        }
        if wants.is_empty() {
            return Judgement::allow(rule);
        }
        let reserved = counters.reserve(&mut wants, self.context.now);
        for (index, (limit, want)) in limits.clone().zip(&wants).enumerate() {
            let exhausted = match reserved {
                Err(Refused::Exhausted(first, retry_after)) if first == index => Some(retry_after),
                _ => None,
            };
            trace.step(Step::Limit(LimitStep::asked(limit, want, exhausted)));
        }
        let states = limits.clone().zip(&wants).map(|(limit, want)| CounterState {
            counter: limit.counter.clone(),
            used: want.used,
            max: limit.max,
        });
        match reserved {
            Ok(reservation) => Judgement { reservation, counters: states.collect(), ..Judgement::allow(rule) },
            Err(Refused::Exhausted(index, retry_after)) => {
                let Some(limit) = limits.clone().nth(index) else {
                    return Judgement::refuse(Denial::state_unavailable(self.reply));
                };
                let denial = self.denial(&limit.rule, self.exhausted(limit, retry_after));
                Judgement { counters: states.collect(), ..self.deny(Denial { retry_after, ..denial }) }
            }
            Err(Refused::Unavailable) => Judgement::refuse(Denial::state_unavailable(self.reply)),
        }
    }

    /// What the call adds to a limit's counter; `None` if that cannot be counted.
    fn amount(&self, limit: &Limit) -> Option<Decimal> {
        let Some(path) = &limit.amount else { return Some(Decimal::ONE) };
        match path.find(&self.facts) {
            Found::Json(value) => exact::parse(value.as_number()?).filter(|amount| !amount.is_sign_negative()),
            _ => None,
        }
    }

    fn scope_key(&self, scope: Scope) -> ScopeKey<'_> {
        let (grant, server, session) = (&*self.grant.name, self.context.server, self.context.session);
        match scope {
            Scope::Grant => ScopeKey::Grant { grant, server },
            Scope::Session => ScopeKey::Session { grant, server, session },
            Scope::Server => ScopeKey::Server(server),
            Scope::Host => ScopeKey::Host,
            Scope::Global => ScopeKey::Global,
        }
    }

    /// What the policy denies: by its own words, or ours.
    fn deny_by(&self, rule: &Rule, words: Option<&str>, default: impl FnOnce() -> String) -> Judgement {
        self.deny(self.denial(rule, words.map_or_else(default, str::to_owned)))
    }

    fn denial(&self, rule: &Rule, reason: String) -> Denial {
        Denial { rule: rule.clone(), reason, retry_after: None, reply: self.reply }
    }

    fn deny(&self, denial: Denial) -> Judgement {
        let allow = Judgement::allow(&denial.rule);
        Judgement { refusal: Some(Refusal { denial, lifted: self.policy.observe }), ..allow }
    }

    fn not_allowed(&self) -> String {
        format!("{} is not allowed", self.subject())
    }

    /// What the call is about, in a reason.
    fn subject(&self) -> String {
        format!("{}`{}`", self.what, shown(self.name))
    }

    /// What the agent is told of an exhausted limit: the policy's words or ours, and when to try again.
    fn exhausted(&self, limit: &Limit, retry_after: Option<Duration>) -> String {
        let mut reason = match (&limit.on_deny, &limit.amount) {
            (Some(text), _) => text.to_string(),
            (None, None) => format!("rate limit reached for {}", self.subject()),
            (None, Some(_)) => format!("limit reached for {}", self.subject()),
        };
        if let Some(wait) = retry_after {
            // Rounded up: a client that waits as long as it is told does not come too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let join = if reason.ends_with(['.', '!', '?']) { " Try" } else { "; try" };
            reason.push_str(&format!("{join} again in {seconds} s"));
        }
        reason
    }
}

/// A name as a part of a command that somebody may copy; what a shell could take for more than a word is not named.
fn word<'a>(name: &'a str, instead: &'a str) -> &'a str {
    if is_plain_word(name) { name } else { instead }
}

/// What the agent is told of a call that a person has to allow.
const NEEDS_APPROVAL: &str = "needs approval";

/// A name that the agent chose, short and printable.
fn shown(name: &str) -> String {
    const LONGEST: usize = 128;
    let mut shown = visible(&name.chars().take(LONGEST).collect::<String>());
    if name.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
