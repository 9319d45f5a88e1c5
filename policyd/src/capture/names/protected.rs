//! The addresses of the configured servers. Pure but for the swap.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;

/// The addresses and ports at which configured servers answer, as far as policyd has resolved them, and the names under
/// which they may be hidden. Read on every connection without a lock, replaced as a whole.
#[derive(Debug, Default)]
pub struct Protected {
    current: ArcSwap<Set>,
}

#[derive(Debug, Default)]
struct Set {
    /// Address and port → the server's name in the configuration.
    addresses: HashMap<(IpAddr, u16), Arc<str>>,
    /// Ports at which a protected server listens on loopback.
    loopback: HashMap<u16, Arc<str>>,
    ech_public_names: HashSet<String>,
}

impl Protected {
    /// A set of these: address, port and the server's name each, and the ECH public names of the servers.
    pub fn new(
        addresses: impl IntoIterator<Item = (IpAddr, u16, Arc<str>)>,
        ech_public_names: impl IntoIterator<Item = String>,
    ) -> Protected {
        let protected = Protected::default();
        protected.replace(addresses, ech_public_names);
        protected
    }

    /// Puts another set in place of this one.
    pub fn replace(
        &self,
        addresses: impl IntoIterator<Item = (IpAddr, u16, Arc<str>)>,
        ech_public_names: impl IntoIterator<Item = String>,
    ) {
        let mut set = Set { ech_public_names: ech_public_names.into_iter().collect(), ..Set::default() };
        for (address, port, server) in addresses {
            let address = canonical(SocketAddr::new(address, port)).ip();
            if address.is_loopback() {
                set.loopback.entry(port).or_insert_with(|| server.clone());
            }
            set.addresses.entry((address, port)).or_insert(server);
        }
        self.current.store(Arc::new(set));
    }

    /// Whether a configured server answers there.
    pub fn covers(&self, address: SocketAddr) -> bool {
        self.current.load().server(address).is_some()
    }

    /// The name of the configured server that answers there; the first one where several share the address.
    pub fn server(&self, address: SocketAddr) -> Option<Arc<str>> {
        self.current.load().server(address).cloned()
    }

    /// Whether `name` (lower case) is the outer name under which a ClientHello may hide a protected name.
    pub fn is_ech_public_name(&self, name: &str) -> bool {
        self.current.load().ech_public_names.contains(name)
    }

    /// All addresses and ports, in order.
    pub fn addresses(&self) -> BTreeSet<(IpAddr, u16)> {
        self.current.load().addresses.keys().copied().collect()
    }
}

impl Set {
    fn server(&self, address: SocketAddr) -> Option<&Arc<str>> {
        let address = canonical(address);
        let (ip, port) = (address.ip(), address.port());
        self.addresses
            .get(&(ip, port))
            // A server on loopback mostly listens on every address: any loopback address reaches it.
            .or_else(|| if ip.is_loopback() { self.loopback.get(&port) } else { None })
            .or_else(|| self.addresses.get(&(IpAddr::V4(nat64(ip)?), port)))
    }
}

/// The address that a connect to `address` reaches: IPv4 for a v4-mapped one, loopback for the unspecified one (Linux
/// connects `0.0.0.0` and `::` to the host itself).
pub fn canonical(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The IPv4 address within one of the well-known NAT64 prefix, `64:ff9b::/96` (RFC 6052).
fn nat64(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V6(ip) if ip.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
            let [.., a, b, c, d] = ip.octets();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_protected_address_is_covered() {
        let entry = |ip: &str, port, name: &str| (ip.parse().unwrap(), port, Arc::from(name));
        let protected = Protected::new([entry("192.0.2.7", 443, "far"), entry("127.0.0.1", 3000, "near")], []);
        for (address, server) in [
            ("192.0.2.7:443", Some("far")),
            ("[::ffff:192.0.2.7]:443", Some("far")),
            ("[64:ff9b::192.0.2.7]:443", Some("far")),
            ("192.0.2.7:444", None),
            ("192.0.2.8:443", None),
            ("[64:ff9c::192.0.2.7]:443", None),
            ("127.0.0.1:3000", Some("near")),
            ("127.9.8.7:3000", Some("near")),
            ("0.0.0.0:3000", Some("near")),
            ("[::]:3000", Some("near")),
            ("[::1]:3000", Some("near")),
            ("127.0.0.1:443", None),
        ] {
            assert_eq!(protected.server(address.parse().unwrap()).as_deref(), server, "{address}");
        }
    }

    #[test]
    fn replacing_forgets_what_was_there() {
        let protected = Protected::new([("192.0.2.7".parse().unwrap(), 443, Arc::from("a"))], ["cover.example".into()]);
        assert!(protected.is_ech_public_name("cover.example"));
        protected.replace([], []);
        assert!(!protected.covers("192.0.2.7:443".parse().unwrap()));
        assert!(!protected.is_ech_public_name("cover.example"));
    }
}
