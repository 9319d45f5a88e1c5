//! Where a connection goes. Pure: from what the client opened with and whom it asked the kernel for.
//!
//! The name routes, not the address: a name served by a CDN answers at every edge address. Addresses only tell that a
//! connection under another name aims at a configured server.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::capture::names::{Protected, canonical};
use crate::config::{Capture, Host, Other, Server, Shared};

use super::hello::Hello;
use super::peek::Peeked;
use super::request::Head;

/// What happens to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// It is opened and policed as this server's.
    Inspect(Arc<Server>),
    /// It is passed through, unread.
    Pass(Dial),
    /// It is closed, and counted under this cause.
    Refuse(Cause),
}

/// Where a passed connection is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dial {
    /// The address that the client asked for.
    Original,
    /// An address of this name by policyd's own resolution, at the port that the client asked for.
    Name(String),
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A configured server's address under a name that is not configured (`capture.shared = "refuse"`).
    ProtectedAddressOtherName,
    /// A configured server's address without any name: it cannot be told whom it is for.
    ProtectedAddressNoName,
    /// Neither TLS nor HTTP, at a configured server's address.
    ProtectedAddressOtherProtocol,
    /// Nothing was sent, at a configured server's address.
    ProtectedAddressSilent,
    /// `capture.other = "refuse"`, and no `[[allow]]` names it.
    NotAllowed,
    /// A ClientHello that is wrong or ambiguous: it might be read differently by the server.
    MalformedHello,
    /// A request head that is wrong or ambiguous.
    MalformedRequest,
    /// Plain HTTP to a server that is configured with `https://`.
    PlaintextToTlsServer,
    /// TLS to a server that is configured with `http://`.
    TlsToPlaintextServer,
    /// HTTP/2 without TLS to a configured server's address.
    H2cToServer,
    /// The outer name of an encrypted ClientHello that may hide a configured name.
    EchPublicName,
    /// A request whose target and Host field name different hosts, one of them configured.
    HostDisagrees,
}

impl Cause {
    /// Every cause, for metrics that begin at zero.
    pub const ALL: [Cause; 12] = [
        Cause::ProtectedAddressOtherName,
        Cause::ProtectedAddressNoName,
        Cause::ProtectedAddressOtherProtocol,
        Cause::ProtectedAddressSilent,
        Cause::NotAllowed,
        Cause::MalformedHello,
        Cause::MalformedRequest,
        Cause::PlaintextToTlsServer,
        Cause::TlsToPlaintextServer,
        Cause::H2cToServer,
        Cause::EchPublicName,
        Cause::HostDisagrees,
    ];

    /// The word for it in metrics and logs. Stable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::ProtectedAddressOtherName => "protected-address-other-name",
            Cause::ProtectedAddressNoName => "protected-address-no-name",
            Cause::ProtectedAddressOtherProtocol => "protected-address-other-protocol",
            Cause::ProtectedAddressSilent => "protected-address-silent",
            Cause::NotAllowed => "not-allowed",
            Cause::MalformedHello => "malformed-hello",
            Cause::MalformedRequest => "malformed-request",
            Cause::PlaintextToTlsServer => "plaintext-to-tls-server",
            Cause::TlsToPlaintextServer => "tls-to-plaintext-server",
            Cause::H2cToServer => "h2c-to-server",
            Cause::EchPublicName => "ech-public-name",
            Cause::HostDisagrees => "host-disagrees",
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Decides where a connection goes.
///
/// `destination` is the address that the client asked the kernel for; `allow` holds the names of `[[allow]]`, lower
/// case, which count only under `capture.other = "refuse"`.
///
/// For [`Peeked::Silent`] a `Pass` means that the upstream may be opened now, for servers that speak first. The client's
/// first bytes must still be classified and routed when they come; a `Refuse` then means to go on waiting for them.
pub fn route(
    peeked: &Peeked,
    destination: SocketAddr,
    servers: &[Arc<Server>],
    protected: &Protected,
    capture: &Capture,
    allow: &[String],
) -> Route {
    let router = Router { destination: canonical(destination), servers, protected, capture, allow };
    match peeked {
        Peeked::Tls(hello) => router.tls(hello),
        Peeked::Http(head) => router.http(head),
        Peeked::H2c => router.nameless(Cause::H2cToServer),
        Peeked::Other => router.nameless(Cause::ProtectedAddressOtherProtocol),
        Peeked::Silent => router.nameless(Cause::ProtectedAddressSilent),
        // Wherever it goes: what policyd cannot read, the server might, and find a configured name in it.
        Peeked::MalformedHello(_) => Route::Refuse(Cause::MalformedHello),
        Peeked::MalformedRequest(_) => Route::Refuse(Cause::MalformedRequest),
    }
}

struct Router<'a> {
    destination: SocketAddr,
    servers: &'a [Arc<Server>],
    protected: &'a Protected,
    capture: &'a Capture,
    allow: &'a [String],
}

impl Router<'_> {
    fn tls(&self, hello: &Hello) -> Route {
        // A server that is configured by its address is asked for without a name.
        let host = match &hello.sni {
            Some(name) => Host::Name(name.clone()),
            None => Host::Address(self.destination.ip()),
        };
        if let Some(server) = self.server(&host) {
            return if server.tls { Route::Inspect(server.clone()) } else { refuse(Cause::TlsToPlaintextServer) };
        }
        if hello.ech && hello.sni.as_deref().is_some_and(|name| self.protected.is_ech_public_name(name)) {
            return refuse(Cause::EchPublicName);
        }
        self.other(hello.sni.as_deref())
    }

    fn http(&self, head: &Head) -> Route {
        let hosts = [&head.target, &head.host].map(|authority| authority.as_ref().map(|authority| &authority.host));
        let claimed = match hosts {
            [Some(target), Some(host)] if target != host => {
                // HTTP/1.1 servers go by the target, sloppy ones by Host: nobody can say whom it is for.
                let ours =
                    hosts.into_iter().flatten().any(|host| self.server(host).is_some() || self.shuns_plain(host));
                if ours || self.protected.covers(self.destination) || self.capture.other == Other::Refuse {
                    return refuse(Cause::HostDisagrees);
                }
                Some(target)
            }
            [target, host] => target.or(host),
        };
        if let Some(host) = claimed {
            match self.server(host) {
                Some(server) if !server.tls => return Route::Inspect(server.clone()),
                Some(_) => return refuse(Cause::PlaintextToTlsServer),
                None if self.shuns_plain(host) => return refuse(Cause::PlaintextToTlsServer),
                None => {}
            }
        }
        let name = match claimed {
            Some(Host::Name(name)) => Some(name.clone()),
            // Another address in Host than the one asked for is a name like any other.
            Some(Host::Address(address)) if *address != self.destination.ip() => Some(address.to_string()),
            Some(Host::Address(_)) | None => None,
        };
        self.other(name.as_deref())
    }

    /// The server of that name at the port asked for. An address counts only if it is the one asked for.
    fn server(&self, host: &Host) -> Option<&Arc<Server>> {
        if let Host::Address(address) = host
            && *address != self.destination.ip()
        {
            return None;
        }
        self.servers.iter().find(|server| server.host == *host && server.port == self.destination.port())
    }

    /// Whether plain HTTP to `host` at port 80 walks around a server at `https://host` (port 443): many answer on both.
    fn shuns_plain(&self, host: &Host) -> bool {
        let twin = |server: &Arc<Server>| server.tls && server.port == 443 && server.host == *host;
        let configured = |server: &Arc<Server>| !server.tls && server.port == 80 && server.host == *host;
        self.destination.port() == 80 && self.servers.iter().any(twin) && !self.servers.iter().any(configured)
    }

    /// A connection that no configured server's name claims, under a name of its own or none.
    fn other(&self, name: Option<&str>) -> Route {
        if self.protected.covers(self.destination) {
            match (name, self.capture.shared) {
                (None, _) => return refuse(Cause::ProtectedAddressNoName),
                (Some(_), Shared::Refuse) => return refuse(Cause::ProtectedAddressOtherName),
                (Some(_), Shared::Pass) => {}
            }
        }
        match (self.capture.other, name) {
            (Other::Pass, _) => Route::Pass(Dial::Original),
            (Other::Refuse, Some(name)) if self.allow.iter().any(|allowed| allowed == name) => {
                Route::Pass(Dial::Name(name.to_owned()))
            }
            (Other::Refuse, _) => refuse(Cause::NotAllowed),
        }
    }

    /// A connection that cannot name anything; refused with `cause` at a configured server's address.
    fn nameless(&self, cause: Cause) -> Route {
        if self.protected.covers(self.destination) {
            return refuse(cause);
        }
        match self.capture.other {
            Other::Pass => Route::Pass(Dial::Original),
            Other::Refuse => refuse(Cause::NotAllowed),
        }
    }
}

const fn refuse(cause: Cause) -> Route {
    Route::Refuse(cause)
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
