//! Capture with the real programs, in real cgroups and namespaces. Needs root; `cargo nextest run -p policyd-tests
//! --test capture` (a process per test: these fork).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "capture/closed.rs"]
mod closed;
#[path = "capture/killed.rs"]
mod killed;
#[path = "capture/odd.rs"]
mod odd;
#[path = "capture/redirect.rs"]
mod redirect;
#[path = "capture/rig.rs"]
mod rig;
#[path = "capture/udp.rs"]
mod udp;
