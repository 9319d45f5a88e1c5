//! `sockops`: carries the origin from the connecting socket to the accepted one.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
    BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE, bpf_sock,
};
use aya_ebpf::helpers::generated::bpf_get_netns_cookie;
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;
use policyd_ebpf::{Address, Counter, Tuple, mapped};

use super::count::count;
use super::maps::{CLI, SRV, TUPLE};
use super::storage;

const AF_INET: u32 = 2;

/// The answer to operations that want one: the kernel's own choice.
const DEFAULT: u32 = u32::MAX;

/// TCP life-cycle events. Runs for the agents' sockets and for policyd's; doing it twice changes nothing.
#[sock_ops]
pub fn tcp_event(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(&ctx),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => accepted(&ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => closed(&ctx),
        _ => {}
    }
    ctx.set_reply(DEFAULT);
    1
}

/// A SYN is about to leave: the source port is known.
#[inline(always)]
fn connecting(ctx: &SockOpsContext) {
    let sk = socket(ctx);
    if sk.is_null() {
        return;
    }
    let tuple = as_client(ctx);
    match storage::read(&CLI, sk) {
        Some(origin) => {
            // Without this entry the connection has no origin and the daemon closes it: nothing to handle here.
            let _ = TUPLE.insert(tuple, origin, 0);
            let _ = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
        }
        // Someone dials this address himself: what an earlier connection left there is not his.
        None => {
            let _ = TUPLE.remove(tuple);
        }
    }
}

/// A handshake is complete on the listening side.
#[inline(always)]
fn accepted(ctx: &SockOpsContext) {
    let sk = socket(ctx);
    if sk.is_null() {
        return;
    }
    let tuple = as_server(ctx);
    // SAFETY: the value is copied at once; only the connecting side writes it, before its SYN.
    let Some(origin) = unsafe { TUPLE.get(tuple) }.copied() else { return };
    if storage::write(&SRV, sk, &origin) {
        count(Counter::Accepted);
    }
    let _ = TUPLE.remove(tuple);
}

/// A connecting socket closes; if nobody accepted it, its entry goes with it.
#[inline(always)]
fn closed(ctx: &SockOpsContext) {
    let sk = socket(ctx);
    if !sk.is_null() && storage::read(&CLI, sk).is_some() {
        let _ = TUPLE.remove(as_client(ctx));
    }
}

/// The connection as its connecting side sees it.
#[inline(always)]
fn as_client(ctx: &SockOpsContext) -> Tuple {
    Tuple {
        netns: netns(ctx),
        source: local(ctx),
        source_port: ctx.local_port() as u16,
        listener_port: remote_port(ctx),
        _pad: [0; 4],
    }
}

/// The same connection as its accepting side sees it.
#[inline(always)]
fn as_server(ctx: &SockOpsContext) -> Tuple {
    Tuple {
        netns: netns(ctx),
        source: remote(ctx),
        source_port: remote_port(ctx),
        listener_port: ctx.local_port() as u16,
        _pad: [0; 4],
    }
}

#[inline(always)]
fn socket(ctx: &SockOpsContext) -> *mut bpf_sock {
    // SAFETY: the context is the kernel's and lives as long as the program runs.
    unsafe { (*ctx.ops).__bindgen_anon_2.sk }
}

#[inline(always)]
fn netns(ctx: &SockOpsContext) -> u64 {
    // SAFETY: the helper takes the context.
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}

/// `remote_port` is 16 bits in network byte order, in the upper half of the word where the machine is little-endian.
#[inline(always)]
fn remote_port(ctx: &SockOpsContext) -> u16 {
    u32::from_be(ctx.remote_port()) as u16
}

#[inline(always)]
fn local(ctx: &SockOpsContext) -> Address {
    if ctx.family() == AF_INET {
        return mapped(ctx.local_ip4());
    }
    // SAFETY: word by word, as the verifier insists.
    unsafe { words(&raw const (*ctx.ops).local_ip6) }
}

#[inline(always)]
fn remote(ctx: &SockOpsContext) -> Address {
    if ctx.family() == AF_INET {
        return mapped(ctx.remote_ip4());
    }
    // SAFETY: word by word, as the verifier insists.
    unsafe { words(&raw const (*ctx.ops).remote_ip6) }
}

#[inline(always)]
unsafe fn words(address: *const Address) -> Address {
    let words = address.cast::<u32>();
    // SAFETY: the caller passes a field of the context.
    unsafe {
        [
            words.read_volatile(),
            words.add(1).read_volatile(),
            words.add(2).read_volatile(),
            words.add(3).read_volatile(),
        ]
    }
}
