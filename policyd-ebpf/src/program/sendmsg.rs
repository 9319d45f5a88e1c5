//! `sendmsg4` and `sendmsg6`: no datagrams to captured ports (QUIC) from unconnected sockets.
//!
//! Only data is refused. UDP *connect* goes through: resolvers connect without sending to learn which source address
//! they would get, and sort a name's addresses by it (RFC 6724).

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use policyd_ebpf::Counter;

use super::count::count;
use super::maps::CAPTURED_PORTS;
use super::sockaddr::{Destination, destination4, destination6};

/// Datagrams to IPv4 addresses, v4-mapped ones included.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    judge(&destination4(&ctx))
}

/// Datagrams to IPv6 addresses.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    judge(&destination6(&ctx))
}

/// 1 goes on, 0 fails with EPERM.
#[inline(always)]
fn judge(destination: &Destination) -> i32 {
    if CAPTURED_PORTS.get_ptr(destination.port).is_none() {
        return 1;
    }
    count(Counter::UdpDropped);
    0
}
