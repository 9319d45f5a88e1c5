//! Network namespaces for tests.

use std::io;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Moves the calling thread, and what it starts from now on, into a new network namespace that has only a loopback
/// interface, which is up.
///
/// # Errors
///
/// The kernel's, or that there is no `ip` (iproute2).
pub fn enter_new() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("ip link set lo up: {status}"))) }
}
