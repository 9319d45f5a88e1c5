//! Strict JSON-RPC and what MCP says in it. Pure: no I/O, no clock, no async, no globals.
//!
//! [`vet`] reads what an agent sends; [`headers`] what its HTTP head may say of it; [`sniff`] finds messages where none are
//! expected; [`framing`] says where requests begin and end. [`sse`] frames what a server answers, [`lists`] filters its lists,
//! [`requests`] finds what it asks itself; [`reply`] is what policyd answers. [`definition`] compares what is said of tools;
//! [`pending`] knows what was asked, [`session`] who agreed on what.

pub mod batch;
mod cause;
pub mod definition;
mod fold;
pub mod framing;
pub mod headers;
pub mod json;
pub mod lists;
mod message;
pub mod method;
pub mod pending;
mod recent;
pub mod reply;
pub mod requests;
pub mod session;
pub mod skim;
pub mod sniff;
pub mod sse;
mod version;

pub use cause::Cause;
pub(crate) use fold::{folded, is_variant};
pub use message::{Id, Kind, Malformed, Message, answered, refuse, vet, vet_input};
pub use version::{Version, agreed_version};
