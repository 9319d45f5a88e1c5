//! The address in a `bpf_sock_addr`, read and rewritten.

use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use aya_ebpf::programs::SockAddrContext;
use policyd_ebpf::{Address, mapped};

/// Where a socket call is aimed at.
#[derive(Clone, Copy)]
pub struct Destination {
    /// IPv4 in v4-mapped form.
    pub address: Address,
    /// Host byte order.
    pub port: u16,
}

/// The destination of an IPv4 call.
#[inline(always)]
pub fn destination4(ctx: &SockAddrContext) -> Destination {
    let addr = raw(ctx);
    // SAFETY: the context is the kernel's and lives as long as the program runs.
    let (ip, port) = unsafe { ((*addr).user_ip4, (*addr).user_port) };
    Destination { address: mapped(ip), port: host(port) }
}

/// The destination of an IPv6 call.
#[inline(always)]
pub fn destination6(ctx: &SockAddrContext) -> Destination {
    let addr = raw(ctx);
    // Word by word: the verifier refuses a copy of the whole ("dereference of modified ctx ptr").
    // SAFETY: as above.
    let (address, port) = unsafe {
        let ip = &raw const (*addr).user_ip6;
        let words = ip.cast::<u32>();
        (
            [
                words.read_volatile(),
                words.add(1).read_volatile(),
                words.add(2).read_volatile(),
                words.add(3).read_volatile(),
            ],
            (*addr).user_port,
        )
    };
    Destination { address, port: host(port) }
}

/// Rewrites an IPv4 address.
#[inline(always)]
pub fn set4(ctx: &SockAddrContext, to: &Destination) {
    let addr = raw(ctx);
    // SAFETY: as above; the verifier allows these writes.
    unsafe {
        (*addr).user_ip4 = to.address[3];
        (*addr).user_port = network(to.port);
    }
}

/// Rewrites an IPv6 address.
#[inline(always)]
pub fn set6(ctx: &SockAddrContext, to: &Destination) {
    let addr = raw(ctx);
    // SAFETY: as above; word by word as above.
    unsafe {
        let words = (&raw mut (*addr).user_ip6).cast::<u32>();
        words.write_volatile(to.address[0]);
        words.add(1).write_volatile(to.address[1]);
        words.add(2).write_volatile(to.address[2]);
        words.add(3).write_volatile(to.address[3]);
        (*addr).user_port = network(to.port);
    }
}

/// The socket. Never null in these programs.
#[inline(always)]
pub fn socket(ctx: &SockAddrContext) -> *mut bpf_sock {
    // SAFETY: as above.
    unsafe { (*raw(ctx)).__bindgen_anon_1.sk }
}

/// The socket's type and protocol.
#[inline(always)]
pub fn kind(ctx: &SockAddrContext) -> (u32, u32) {
    let addr = raw(ctx);
    // SAFETY: as above.
    unsafe { ((*addr).type_, (*addr).protocol) }
}

#[inline(always)]
fn raw(ctx: &SockAddrContext) -> *mut bpf_sock_addr {
    ctx.sock_addr
}

/// `user_port` is 16 bits in network byte order in a word of 32.
#[inline(always)]
fn host(port: u32) -> u16 {
    u16::from_be(port as u16)
}

#[inline(always)]
fn network(port: u16) -> u32 {
    u32::from(port.to_be())
}
