//! policyd: a policy between AI agents and the MCP servers they call.
//!
//! The way of a call, in the order of the modules: [`capture`] → [`tls`] → [`proxy`] → [`mcp`] → [`policy`] (with the
//! counters of [`state`]) → [`audit`] and [`telemetry`] → [`proxy`] again. `ARCHITECTURE.md` draws it.

#![deny(unsafe_code)]

pub mod admin;
pub mod audit;
pub mod authoring;
#[expect(
    unsafe_code,
    reason = "BPF system calls and sockets that have no safe wrapper; each block says why it is sound"
)]
pub mod capture;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod diagnostic;
pub mod mcp;
pub mod policy;
pub mod proxy;
pub mod state;
pub mod telemetry;
pub mod tls;
mod visible;
