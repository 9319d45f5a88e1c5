//! Document → compiled policy → decision. Pure: no I/O, no clock, no async, no globals; time and counters are arguments.

mod compiled;
pub(crate) mod conditions;
mod counters;
mod decide;
pub(crate) mod document;
pub(crate) mod exact;
mod grant;
mod instead;
pub(crate) mod judge;
mod limits;
pub(crate) mod load;
pub(crate) mod names;
pub(crate) mod reader;
mod schema;
mod shared;
pub(crate) mod trace;
mod verdict;

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;

pub(crate) use compiled::Scope;
pub use compiled::{Lister, Policy, ToolChanges};
pub use counters::{CounterKey, Counters, Held, Refused, Reservation, ScopeKey, Want};
pub use decide::{Answer, Context, Direction, Passage, Permit, Target, decide, passage};
pub use grant::{Grant, Who};
pub use instead::Instead;
pub(crate) use limits::History;
pub use limits::{Now, Ticket, Time, Window};
pub use schema::{Disagreement, Schema, Schemas, Standing};
pub use shared::{Conflict, Shared};
pub use verdict::{CounterState, CounterStates, Decision, Denial, Reply, Rule, RuleKind, Verdict};
