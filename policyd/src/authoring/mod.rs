//! What people who write policies need: warnings, tests, explanations, replays, layout, schema, import, clients' configurations. No I/O here; the
//! command line reads and prints.

pub(crate) mod cases;
pub(crate) mod clients;
pub(crate) mod explain;
pub mod format;
pub mod import;
pub(crate) mod jsonc;
pub(crate) mod lint;
pub(crate) mod reader;
pub(crate) mod replay;
pub(crate) mod schema;
pub(crate) mod simulation;
pub(crate) mod steps;
pub(crate) mod times;
pub(crate) mod tools;

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod reference;

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod testing;

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod world;
