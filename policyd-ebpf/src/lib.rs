//! What the kernel programs and the daemon say to each other: the values in the maps, byte for byte.
//!
//! Every type is `repr(C)` with its padding written out and its size asserted, because the verifier refuses to copy
//! uninitialised padding out of a program and because both sides are compiled by different compilers' back ends.
//! Addresses are kept as IPv6, IPv4 in its v4-mapped form (RFC 4291, 2.5.5.2): one type serves both families, and a
//! v4-mapped connect equals the IPv4 connect that it is.
//!
//! Minimum kernel: 5.15 (`bpf_get_netns_cookie` in sockops programs).

#![cfg_attr(not(feature = "user"), no_std)]

#[cfg(feature = "user")]
mod user;

/// An IPv6 address, or an IPv4 one in v4-mapped form; four words in network byte order, as the kernel holds them.
pub type Address = [u32; 4];

/// The third word of a v4-mapped address, `::ffff:a.b.c.d`, in network byte order.
pub const MAPPED: u32 = 0xffff_u32.to_be();

/// `address` (network byte order) in v4-mapped form.
#[inline(always)]
pub const fn mapped(address: u32) -> Address {
    [0, 0, MAPPED, address]
}

/// Whether `address` is IPv4 in v4-mapped form.
#[inline(always)]
pub const fn is_v4(address: &Address) -> bool {
    address[0] == 0 && address[1] == 0 && address[2] == MAPPED
}

/// Who asked for what: noted by the connect programs, read by the daemon from the accepted socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The address that was asked for.
    pub address: Address,
    /// The port that was asked for, in host byte order.
    pub port: u16,
    /// Always 0.
    pub _pad: [u8; 2],
    /// Thread group id in the initial PID namespace.
    pub tgid: u32,
    /// Real user id in the initial user namespace (`bpf_get_current_uid_gid`).
    pub uid: u32,
    /// Always 0.
    pub _pad2: [u8; 4],
    /// Inode of the caller's cgroup2 directory.
    pub cgroup: u64,
    /// The socket's network namespace, `SO_NETNS_COOKIE`.
    pub netns: u64,
    /// When `connect` was called: nanoseconds on `CLOCK_BOOTTIME`.
    pub time: u64,
}

/// The four-tuple of a redirected connection: how the accepting side finds what the connecting side noted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuple {
    /// Network namespace cookie.
    pub netns: u64,
    /// The connecting side's address.
    pub source: Address,
    /// The connecting side's port, in host byte order.
    pub source_port: u16,
    /// The listener's port, in host byte order. Its address is always the loopback's.
    pub listener_port: u16,
    /// Always 0.
    pub _pad: [u8; 4],
}

/// policyd's listeners in one network namespace. Ports are in host byte order; 0 means that there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// Port on 127.0.0.1.
    pub port4: u16,
    /// Port on ::1.
    pub port6: u16,
}

/// What the programs need to know besides the maps.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The daemon's thread group id in the initial PID namespace. Marks the sockets that it makes.
    pub daemon: u32,
    /// Not 0: TCP connects to every port are captured (`capture.other = "refuse"`).
    pub all_ports: u32,
}

/// A connect that was refused, with what it was refused for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Who asked for what.
    pub origin: Origin,
    /// A [`Cause`].
    pub cause: u32,
    /// Always 0.
    pub _pad: [u8; 4],
}

/// Why a connect was refused.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// policyd has no listener in the caller's network namespace.
    Namespace = 0,
    /// The namespace has a listener, but none for the address family.
    Family = 1,
    /// The listener's port is closed, or someone else's socket holds it: policyd is not running.
    Listener = 2,
    /// The kernel had no memory to note the origin.
    Memory = 3,
}

impl Cause {
    /// The cause that `value` stands for.
    pub const fn from_u32(value: u32) -> Option<Self> {
        match value {
            0 => Some(Self::Namespace),
            1 => Some(Self::Family),
            2 => Some(Self::Listener),
            3 => Some(Self::Memory),
            _ => None,
        }
    }
}

/// The places in the per-CPU array of counters.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Connects that were redirected to policyd.
    Redirected = 0,
    /// Connects that were refused for [`Cause::Namespace`]; the other causes follow in their order.
    RefusedNamespace = 1,
    /// Connects that were refused for [`Cause::Family`].
    RefusedFamily = 2,
    /// Connects that were refused for [`Cause::Listener`].
    RefusedListener = 3,
    /// Connects that were refused for [`Cause::Memory`].
    RefusedMemory = 4,
    /// UDP datagrams to a captured port that were dropped.
    UdpDropped = 5,
    /// Connects of policyd's own sockets that were let out to a captured port.
    Exempted = 6,
    /// Refused connects for which the ring buffer had no room.
    EventsLost = 7,
    /// Redirected connections whose origin reached the accepted socket.
    Accepted = 8,
}

/// How many counters there are.
pub const COUNTERS: u32 = 9;

/// `TOKEN` value: set by the daemon through the map's file descriptor. Always exempt.
pub const TOKEN_UPSTREAM: u32 = 1;
/// `TOKEN` value: set by the `sock_create` program for a socket that the daemon's process made. Exempt only while the
/// daemon's own listener is alive, so that a process with a dead daemon's id gains nothing.
pub const TOKEN_OWN: u32 = 2;
/// `LISTENER_TOKEN` value: the socket is policyd's listener.
pub const TOKEN_LISTENER: u32 = 1;

const _: () = {
    assert!(size_of::<Origin>() == 56);
    assert!(size_of::<Tuple>() == 32);
    assert!(size_of::<Listener>() == 4);
    assert!(size_of::<Settings>() == 8);
    assert!(size_of::<Refused>() == 64);
    assert!(Counter::Accepted as u32 + 1 == COUNTERS);
    assert!(Counter::RefusedNamespace as u32 + Cause::Memory as u32 == Counter::RefusedMemory as u32);
};
