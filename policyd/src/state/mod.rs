//! Counters, what servers declare, and everything else that outlives a policy.

mod clock;
mod counter;
mod definitions;
mod list;
mod memory;
mod reserve;
mod store;

pub use clock::Clock;
pub use definitions::{Acceptance, Accepted, Change, ChangeKind, Definitions, Page, Shown, Text, Tools, Unacceptable};
pub use list::{Listed, SESSION, Selector, Used};
pub use memory::{Bounds, Memory};
pub use store::{Error, FILE, Keeper, Store, examine, writer};
