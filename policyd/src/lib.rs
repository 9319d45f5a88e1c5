//! policyd: a policy between AI agents and the MCP servers they call.
//!
//! The way of a call, in the order of the modules: [`capture`] → [`tls`] → [`proxy`] → [`mcp`] → [`policy`] (with the
//! counters of [`state`]) → [`audit`] and [`telemetry`] → [`proxy`] again. `ARCHITECTURE.md` draws it.

#![deny(unsafe_code)]

pub mod mcp;
