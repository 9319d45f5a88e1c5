//! Document → compiled policy → decision. Pure: no I/O, no clock, no async, no globals; time and counters are arguments.

mod compiled;
mod counters;
mod decide;
mod document;
mod exact;
mod grant;
mod limits;
mod load;
mod names;
mod path;
mod verdict;

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;

pub use compiled::Policy;
pub use counters::{CounterKey, Counters, Held, KeyBytes, Refused, Reservation, ScopeKey, Want};
pub use decide::{Context, Passage, Permit, Target, decide, passage};
pub use grant::{Grant, Who};
pub use limits::Time;
pub(crate) use limits::{History, Ticket};
pub use verdict::{CounterState, CounterStates, Decision, Denial, Reply, Rule, RuleKind, Verdict};
