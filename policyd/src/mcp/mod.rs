//! Strict JSON-RPC and what MCP says in it. Pure: no I/O, no clock, no async, no globals.
//!
//! [`vet`] reads what an agent sends; [`headers`] what its HTTP head may say of it; [`sniff`] finds messages where none are
//! expected. [`sse`] frames what a server answers, [`lists`] filters its tool lists, [`reply`] is what policyd answers itself.

mod cause;
mod fold;
pub mod headers;
pub mod json;
pub mod lists;
mod message;
pub mod method;
pub mod reply;
pub mod session;
pub mod sniff;
pub mod sse;
mod version;

pub use cause::Cause;
pub use message::{Id, Kind, Malformed, Message, vet};
pub use version::Version;
