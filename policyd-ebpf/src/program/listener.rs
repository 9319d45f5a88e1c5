//! Is policyd there?

use core::ffi::c_void;

use aya_ebpf::bindings::{
    bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
};
use aya_ebpf::helpers::generated::{bpf_sk_lookup_tcp, bpf_sk_release};
use policyd_ebpf::TOKEN_LISTENER;

use super::maps::LISTENER_TOKEN;
use super::storage;

/// 127.0.0.1 in network byte order.
pub const LOOPBACK4: u32 = 0x7f00_0001_u32.to_be();
/// The last word of ::1 in network byte order.
pub const LOOPBACK6: u32 = 1_u32.to_be();
/// The namespace of the context's socket.
const CURRENT_NETNS: u64 = -1_i64 as u64;

/// Whether the socket that listens on 127.0.0.1:`port` is policyd's.
#[inline(always)]
pub fn alive4(ctx: *mut c_void, port: u16) -> bool {
    let ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
        saddr: LOOPBACK4,
        daddr: LOOPBACK4,
        sport: 0,
        dport: port.to_be(),
    };
    alive(ctx, bpf_sock_tuple { __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 { ipv4 } }, size_of_val(&ipv4) as u32)
}

/// Whether the socket that listens on [::1]:`port` is policyd's.
#[inline(always)]
pub fn alive6(ctx: *mut c_void, port: u16) -> bool {
    let loopback = [0, 0, 0, LOOPBACK6];
    let ipv6 =
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 { saddr: loopback, daddr: loopback, sport: 0, dport: port.to_be() };
    alive(ctx, bpf_sock_tuple { __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 { ipv6 } }, size_of_val(&ipv6) as u32)
}

#[inline(always)]
fn alive(ctx: *mut c_void, mut tuple: bpf_sock_tuple, size: u32) -> bool {
    // SAFETY: the helper reads `size` bytes of the tuple; the socket is released below.
    let sk = unsafe { bpf_sk_lookup_tcp(ctx, &raw mut tuple, size, CURRENT_NETNS, 0) };
    if sk.is_null() {
        return false;
    }
    let token = storage::read(&LISTENER_TOKEN, sk);
    // SAFETY: not null, and looked up above.
    unsafe { bpf_sk_release(sk.cast()) };
    token == Some(TOKEN_LISTENER)
}
