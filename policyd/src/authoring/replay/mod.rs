//! What a policy would have decided about the calls of an audit log.
//!
//! The calls are judged anew, in the order of their times, on counters that begin empty. What a record does not say is
//! assumed to have been as the record has it, and counted: see [`Assumptions`].

mod record;
mod report;
mod seen;
#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::simulation::{self, Decision, Declared, Ruling, Simulation};
use crate::mcp::method::{Nature, nature};
use crate::policy::trace::{Step, Trace};
use crate::policy::{Direction, Now, Policy, Refused, Reservation, Rule, RuleKind, Time};
use crate::state::{Bounds, Memory, Selector};

pub(crate) use record::{Arguments, Decided, Record};
pub(crate) use report::{json, render};
use seen::Seen;

/// Which records are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub grant: Option<String>,
    pub server: Option<String>,
    /// In nanoseconds since 1970 in UTC. What came before is judged too, so that limits count it, but not reported.
    pub since: Option<u64>,
    pub until: Option<u64>,
}

/// The differences found so far.
#[derive(Debug)]
pub(crate) struct Replay {
    simulation: Simulation,
    filter: Filter,
    /// What the server lists is known.
    declared: bool,
    /// The time of the first record, and the latest.
    first: Option<u64>,
    latest: u64,
    held: Held,
    seen: Seen,
    groups: HashMap<Change, Group>,
    examples: usize,
    pub totals: Totals,
    grants: BTreeSet<String>,
    servers: BTreeSet<String>,
}

/// How a decision changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    /// The tool, or the method.
    pub name: String,
    pub recorded: (Decision, String),
    pub replayed: (Decision, String),
}

/// The calls of which a decision changes in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub calls: u64,
    /// Those of them about which something had to be assumed.
    pub assumed: u64,
    /// The first ones.
    pub examples: Vec<Example>,
}

/// A call whose decision changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Example {
    pub time: u64,
    pub call: String,
    pub grant: String,
    /// What the agent would be told.
    pub reason: Option<String>,
}

/// Numbers of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Decisions that were judged anew and reported on.
    pub judged: u64,
    /// Of these: another decision, or the same by another rule.
    pub changed: u64,
    pub moved: u64,
    /// Of these: something had to be assumed.
    pub assumed: u64,
    /// Judged before `since`, for the sake of the limits only.
    pub before: u64,
    /// Decisions that no policy made: malformed messages, callers without a grant, requests without a message …
    pub others: u64,
    /// Of other grants or servers, or too late.
    pub filtered: u64,
    /// Decisions of which the record does not say enough to judge anew: names that were cut off.
    pub untold: u64,
    /// Gaps in the log, and how many records are missing in them.
    pub gaps: u64,
    pub missed: u64,
    /// How often somebody set counters back, which was repeated here.
    pub resets: u64,
    /// Records that came already, and were left out.
    pub repeated: u64,
    /// Decisions that came more than [`LATE`] after a later one, and were judged at the time of that one.
    pub late: u64,
}

/// How many different changes are told apart; how many reservations wait for their outcome.
const MOST_GROUPS: usize = 10_000;
const MOST_HELD: usize = 65_536;
/// The method by which tools are called.
const CALL: &str = "tools/call";
/// How many counters there may be: logs have many sessions.
const MOST_COUNTERS: usize = 1 << 18;
/// Records are written a little out of order; what is later than this, in nanoseconds, is told.
const LATE: u64 = 1_000_000_000;

impl Totals {
    /// What the log leaves uncertain, in words.
    pub fn doubts(&self) -> Vec<String> {
        let doubts = [
            (self.assumed, "decision", "judged on assumptions"),
            (self.untold, "decision", "not told enough of"),
            (self.gaps, "gap", "in the log"),
            (self.late, "decision", "out of order"),
        ];
        let some = doubts.into_iter().filter(|(number, ..)| *number > 0);
        some.map(|(number, noun, what)| format!("{} {what}", report::count(number, noun))).collect()
    }
}

impl Replay {
    /// Of each change the first `examples` calls are kept. Without `declared`, what reads the servers' declarations is
    /// assumed to have decided as recorded.
    pub fn new(policy: Arc<Policy>, declared: Option<Declared>, filter: Filter, examples: usize) -> Replay {
        let memory = Memory::new(Bounds { counters: MOST_COUNTERS });
        Replay {
            declared: declared.is_some(),
            simulation: Simulation::with_memory(policy, declared.unwrap_or_default(), memory),
            filter,
            first: None,
            latest: 0,
            held: Held::default(),
            seen: Seen::default(),
            groups: HashMap::new(),
            examples,
            totals: Totals::default(),
            grants: BTreeSet::new(),
            servers: BTreeSet::new(),
        }
    }

    /// The next record. They come in the order of their times; one that is a little late counts as on time.
    pub fn record(&mut self, record: &Record) {
        let again = match record {
            Record::Decision(decided) => self.seen.again(decided.time, &decided.call),
            Record::Gap { time, .. } => self.seen.again(*time, ""),
            // To end a call twice changes nothing.
            _ => false,
        };
        if again {
            self.totals.repeated += 1;
            return;
        }
        match record {
            Record::Decision(decided) => self.decided(decided),
            Record::Outcome { call, returned, .. } => {
                if let Some(reservation) = self.held.take(call)
                    && *returned
                {
                    reservation.give_back();
                }
            }
            Record::Gap { missed, .. } => {
                self.totals.gaps += 1;
                self.totals.missed += missed;
            }
            // What became of the calls of a tool that changed, their own records say.
            Record::Definition { .. } => {}
            Record::Admin { time, reset } => {
                if let Some(selector) = reset
                    && self.filter.until.is_none_or(|until| *time < until)
                {
                    self.reset(selector);
                }
            }
        }
    }

    /// The changes, the most frequent first: other decisions before other rules.
    pub fn changes(&self) -> Vec<(&Change, &Group)> {
        let mut changes: Vec<_> = self.groups.iter().collect();
        changes.sort_by_key(|(change, group)| {
            (
                !change.is_another_decision(),
                u64::MAX - group.calls,
                &change.name,
                &change.recorded.1,
                &change.replayed.1,
            )
        });
        changes
    }

    /// What the daemon's counters forgot, these forget too.
    fn reset(&mut self, selector: &Selector) {
        self.totals.resets += 1;
        let reset = self.simulation.memory().reset(selector, |_| Ok::<_, Refused>(()));
        debug_assert!(reset.is_ok(), "a memory without a store refuses nothing");
    }

    fn decided(&mut self, decided: &Decided) {
        let Filter { grant, server, since, until } = &self.filter;
        let others = |wanted: &Option<String>, is: Option<&str>| wanted.as_deref().is_some_and(|name| is != Some(name));
        if others(grant, decided.caller.grant.as_deref())
            || others(server, Some(&decided.caller.server))
            || until.is_some_and(|until| decided.time >= until)
        {
            self.totals.filtered += 1;
            return;
        }
        if !is_policys(decided) {
            self.totals.others += 1;
            return;
        }
        if decided.is_cut() {
            self.totals.untold += 1;
            return;
        }
        let reported = since.is_none_or(|since| decided.time >= since);
        let arguments = match &decided.arguments {
            Arguments::Known(text) => Some(&**text),
            Arguments::None | Arguments::Unknown => None,
        };
        let method = decided.method.as_deref().unwrap_or_default();
        let body = match &decided.tool {
            Some(tool) => simulation::call(tool, arguments),
            // Without a name it would be none. Of a server's request the name is in `args`, which is not known.
            None if method == CALL => simulation::call("", None),
            None => simulation::request(method, None),
        };
        let mut assumptions = Assumptions {
            recorded: decided,
            // Of other requests the params are in no record.
            arguments: decided.tool.is_none() || decided.arguments == Arguments::Unknown,
            declared: !self.declared,
            assumed: false,
        };
        let now = self.now(decided.time);
        let ruling = self.simulation.decide(&decided.caller, decided.direction, &body, now, &mut assumptions);
        let assumed = assumptions.assumed;
        if matches!(ruling.rule.kind, RuleKind::StateUnavailable | RuleKind::Malformed) {
            self.totals.untold += 1;
            return;
        }
        if reported {
            self.compare(decided, &ruling, assumed);
        } else {
            self.totals.before += 1;
        }
        self.held.put(&decided.call, ruling.reservation);
    }

    /// The clocks at a record's time; they never run back.
    fn now(&mut self, time: u64) -> Now {
        self.totals.late += u64::from(time.saturating_add(LATE) < self.latest);
        self.latest = self.latest.max(time);
        let first = *self.first.get_or_insert(time);
        Now { time: Time(self.latest.saturating_sub(first)), utc: self.latest }
    }

    fn compare(&mut self, decided: &Decided, ruling: &Ruling, assumed: bool) {
        self.totals.judged += 1;
        self.totals.assumed += u64::from(assumed);
        let grant = decided.caller.grant.clone().unwrap_or_default();
        for (names, name) in [(&mut self.grants, &grant), (&mut self.servers, &decided.caller.server)] {
            if !names.contains(name) {
                names.insert(name.clone());
            }
        }
        if decided.decision == ruling.decision && *decided.rule == *ruling.rule.pointer {
            return;
        }
        let mut change = Change {
            name: decided.name().to_owned(),
            recorded: (decided.decision, decided.rule.clone()),
            replayed: (ruling.decision, ruling.rule.pointer.to_string()),
        };
        if change.is_another_decision() {
            self.totals.changed += 1;
        } else {
            self.totals.moved += 1;
        }
        // Names are the agents' choice.
        if self.groups.len() >= MOST_GROUPS && !self.groups.contains_key(&change) {
            change.name = "(others)".to_owned();
            change.recorded.1 = "several rules".to_owned();
        }
        let group = self.groups.entry(change).or_default();
        group.calls += 1;
        group.assumed += u64::from(assumed);
        if group.examples.len() < self.examples {
            let reason = ruling.reason().map(str::to_owned);
            group.examples.push(Example { time: decided.time, call: decided.call.clone(), grant, reason });
        }
    }
}

impl Change {
    /// Whether not only the rule is another one.
    pub fn is_another_decision(&self) -> bool {
        self.recorded.0 != self.replayed.0
    }
}

/// Whether a policy decided: what stands outside of policies, no policy changes.
fn is_policys(decided: &Decided) -> bool {
    match &*decided.rule_kind {
        "no-grant" | "malformed" | "state-unavailable" | "audit-unavailable" | "identity-unclear"
        | "upstream-untrusted" | "other-paths" | "unasked" | "batch" => false,
        // Responses, and HTTP requests that carry no message, which have HTTP's methods.
        "protocol" => decided
            .method
            .as_deref()
            .is_some_and(|method| nature(method) == Nature::Plumbing || method.starts_with("notifications/")),
        // An agent that calls no tool by its name sent no message.
        _ => {
            let calls = decided.method.as_deref() == Some(CALL);
            decided.caller.grant.is_some()
                && (decided.tool.is_some() || !calls || decided.direction == Direction::ToAgent)
        }
    }
}

/// What a record does not say is taken to have been such that each rule that depends on it decided as recorded.
struct Assumptions<'r> {
    recorded: &'r Decided,
    /// The arguments are not known.
    arguments: bool,
    /// What the server declared is not known.
    declared: bool,
    /// Whether anything was assumed.
    assumed: bool,
}

impl Trace for Assumptions<'_> {
    fn step(&mut self, _: Step<'_>) {}

    fn assumes(&mut self, rule: &Rule, reads_arguments: impl FnOnce() -> bool) -> Option<bool> {
        let unknown = (self.arguments && reads_arguments())
            || (self.declared && rule.kind == RuleKind::Arguments)
            || rule.kind == RuleKind::ToolChanges;
        self.assumed |= unknown;
        let refused = self.recorded.decision != Decision::Allow && self.recorded.rule == *rule.pointer;
        unknown.then_some(refused)
    }
}

/// What calls hold whose outcomes have not come.
#[derive(Debug, Default)]
struct Held {
    reservations: HashMap<String, Reservation>,
    order: VecDeque<String>,
}

impl Held {
    fn put(&mut self, call: &str, reservation: Reservation) {
        if reservation.is_empty() {
            return;
        }
        // The oldest is taken to have used what it held. Those that were taken already are passed over.
        while self.order.len() >= MOST_HELD
            && let Some(oldest) = self.order.pop_front()
        {
            self.reservations.remove(&oldest);
        }
        self.order.push_back(call.to_owned());
        self.reservations.insert(call.to_owned(), reservation);
    }

    fn take(&mut self, call: &str) -> Option<Reservation> {
        self.reservations.remove(call)
    }
}
