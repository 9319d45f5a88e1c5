//! Counters and everything else that outlives a policy. In memory for now: a restart forgets it.

mod memory;

pub use memory::{Bounds, Memory};
