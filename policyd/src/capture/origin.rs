//! What the kernel noted about a connect, as the daemon's own type.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// What the kernel noted when an agent called `connect`: whom it asked for, and who it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The address that the agent asked for. A v4-mapped IPv6 address is given as IPv4.
    pub destination: SocketAddr,
    /// Thread group (process) id in the initial PID namespace.
    pub tgid: u32,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// The caller's cgroup: the inode of its directory in cgroup2.
    pub cgroup: u64,
    /// The caller's network namespace (`SO_NETNS_COOKIE`).
    pub netns: u64,
    /// When `connect` was called, on CLOCK_BOOTTIME.
    pub connected_at: Duration,
}

impl From<policyd_ebpf::Origin> for Origin {
    fn from(origin: policyd_ebpf::Origin) -> Self {
        Self {
            destination: SocketAddr::new(address(origin.address), origin.port),
            tgid: origin.tgid,
            uid: origin.uid,
            cgroup: origin.cgroup,
            netns: origin.netns,
            connected_at: Duration::from_nanos(origin.time),
        }
    }
}

/// The kernel's four words in network byte order as an address, v4-mapped ones as IPv4.
fn address(words: policyd_ebpf::Address) -> IpAddr {
    let mut octets = [0; 16];
    for (octets, word) in octets.chunks_exact_mut(4).zip(words) {
        octets.copy_from_slice(&word.to_ne_bytes());
    }
    Ipv6Addr::from(octets).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_ipv4_and_others_stay() {
        let v4 = policyd_ebpf::mapped(u32::from_ne_bytes([192, 0, 2, 7]));
        assert_eq!(address(v4), IpAddr::from([192, 0, 2, 7]));
        let loopback = [0, 0, 0, u32::from_ne_bytes([0, 0, 0, 1])];
        assert_eq!(address(loopback), IpAddr::from(Ipv6Addr::LOCALHOST));
    }
}
