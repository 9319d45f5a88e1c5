//! `cgroup_skb/egress`: no datagrams to captured ports from connected sockets either, not even from those that were
//! connected before the programs were attached.

use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use policyd_ebpf::Counter;

use super::count::count;
use super::maps::CAPTURED_PORTS;

const PASS: i32 = 1;
const DROP: i32 = 0;

const IPPROTO_UDP: u8 = 17;
const IPPROTO_UDPLITE: u8 = 136;
/// IPv6 extension headers that may stand before UDP (RFC 8200, 4.1).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
/// More extension headers than this before UDP, and the packet is dropped: nobody sends that honestly.
const EXTENSIONS: usize = 6;

/// Packets that leave, beginning with the IP header.
#[cgroup_skb(egress)]
pub fn egress(ctx: SkBuffContext) -> i32 {
    let Ok(first) = ctx.load::<u8>(0) else { return PASS };
    let port = if first >> 4 == 4 { port4(&ctx, first) } else { port6(&ctx) };
    match port {
        Udp::Not => PASS,
        Udp::To(port) if CAPTURED_PORTS.get_ptr(port).is_none() => PASS,
        Udp::To(_) | Udp::Hidden => {
            count(Counter::UdpDropped);
            DROP
        }
    }
}

/// What the packet is as far as UDP goes.
enum Udp {
    Not,
    To(u16),
    Hidden,
}

#[inline(always)]
fn port4(ctx: &SkBuffContext, first: u8) -> Udp {
    let (Ok(protocol), Ok(fragment)) = (ctx.load::<u8>(9), ctx.load::<u16>(6)) else { return Udp::Not };
    // A later fragment has no ports; its first one was dropped, so it can never be put together again.
    if u16::from_be(fragment) & 0x1fff != 0 {
        return Udp::Not;
    }
    udp(ctx, protocol, usize::from(first & 0xf) * 4)
}

#[inline(always)]
fn port6(ctx: &SkBuffContext) -> Udp {
    let Ok(mut header) = ctx.load::<u8>(6) else { return Udp::Not };
    let mut offset = 40;
    for _ in 0..EXTENSIONS {
        let length = match header {
            HOP_BY_HOP | ROUTING | DESTINATION => match ctx.load::<u8>(offset + 1) {
                Ok(length) => (usize::from(length) + 1) * 8,
                Err(_) => return Udp::Not,
            },
            FRAGMENT => match ctx.load::<u16>(offset + 2) {
                Ok(field) if u16::from_be(field) & 0xfff8 == 0 => 8,
                _ => return Udp::Not,
            },
            _ => return udp(ctx, header, offset),
        };
        let Ok(next) = ctx.load::<u8>(offset) else { return Udp::Not };
        header = next;
        offset += length;
    }
    Udp::Hidden
}

#[inline(always)]
fn udp(ctx: &SkBuffContext, protocol: u8, offset: usize) -> Udp {
    if protocol != IPPROTO_UDP && protocol != IPPROTO_UDPLITE {
        return Udp::Not;
    }
    match ctx.load::<u16>(offset + 2) {
        Ok(port) => Udp::To(u16::from_be(port)),
        Err(_) => Udp::Hidden,
    }
}
