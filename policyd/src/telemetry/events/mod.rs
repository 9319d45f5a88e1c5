//! One struct per observable fact. Emitting it logs and counts.

mod call_id;
mod decision;
mod facts;
mod repeated;

pub use call_id::{CallId, CallIds};
pub use decision::{Decided, Effect, Finished};
pub use facts::{
    AuditFailed, AuditRecovered, DefinitionChanged, Discarded, LeafMinted, Malformed, Refused, Reloaded,
    StateCommitted, StateFailed, StateReady, Unanswered, UpstreamFailed, kind_label,
};
pub(super) use repeated::RepeatedLines;

use super::Telemetry;

/// A fact that [`Telemetry::emit`] takes.
pub trait Event {
    /// Logs it and counts it.
    fn emit(self, telemetry: &Telemetry);
}
