//! `getpeername4` and `getpeername6`: the application sees the peer that it asked for.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use super::maps::CLI;
use super::sockaddr::{Destination, set4, set6, socket};
use super::storage;

/// The only answer that the kernel takes here.
const PROCEED: i32 = 1;

/// IPv4 sockets.
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    if let Some(asked) = asked(&ctx) {
        set4(&ctx, &asked);
    }
    PROCEED
}

/// IPv6 sockets; those with a v4-mapped peer get it back v4-mapped.
#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    if let Some(asked) = asked(&ctx) {
        set6(&ctx, &asked);
    }
    PROCEED
}

#[inline(always)]
fn asked(ctx: &SockAddrContext) -> Option<Destination> {
    let sk = socket(ctx);
    if sk.is_null() {
        return None;
    }
    let origin = storage::read(&CLI, sk)?;
    Some(Destination { address: origin.address, port: origin.port })
}
