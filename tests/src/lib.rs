//! The end-to-end harness: network namespaces made for one test, real MCP servers in one of them, policyd and unmodified
//! SDK clients in the other.
//!
//! A [`World`](world::World) is the place; [`server`], [`asking`] and [`site`] are what stands in its servers' namespace,
//! [`daemon`] runs policyd in its agents' namespace, and [`agent`] runs the clients there, in cgroups of their own.
//! Everything needs root and nothing leaves the namespaces.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test harness: what cannot be set up ends the test with its reason"
)]

pub mod agent;
pub mod asking;
pub mod authority;
pub mod bench;
pub mod cgroup;
pub mod conformance;
pub mod daemon;
pub mod flood;
pub mod fork;
pub mod frames;
pub mod messages;
pub mod netns;
pub mod process;
pub mod raw;
pub mod readers;
pub mod sdk;
pub mod server;
pub mod site;
pub mod stdio;
pub mod strictness;
pub mod systems;
pub mod volley;
pub mod wait;
pub mod world;
