//! How connections reach policyd: the kernel programs, the listeners that they redirect to, and who asked for what.
//!
//! [`Capture::start`] loads, attaches and pins; [`Acceptor`] yields redirected connections with their [`Origin`];
//! [`identity::Resolver`] says who is behind an origin; [`Handle::exempt`] keeps policyd's own upstream sockets out.

mod accept;
pub mod ancillary;
mod canary;
mod cgroup;
mod counters;
mod error;
mod events;
pub mod identity;
mod instance;
mod kernel;
mod listener;
pub mod names;
mod origin;
mod start;
mod sys;

pub use accept::{Acceptor, Handle, NotRedirected};
pub use canary::CanaryError;
pub use cgroup::{Cgroup2, CgroupError};
pub use counters::Counters;
pub use error::Error;
pub use events::{Events, Refusal};
pub use instance::{detach, remove_stale};
pub use origin::Origin;
pub use policyd_ebpf::{Cause, Counter};
pub use start::{Capture, Options, Pins};
