//! Every request must be for the server that the connection was routed to.

use std::sync::Arc;

use http::header::HOST;
use http::{HeaderMap, Uri};

use crate::config::{Capture, Server, Shared};
use crate::tls::request;

/// Why a request's authority is not the route's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// No `Host` or `:authority`, an unreadable one, or several.
    #[error("the request does not say clearly which host it is for")]
    Unclear,
    /// Another host than the one that the connection was opened for: the policy of A would judge a call to B.
    #[error("the request is for another host than the connection it came on")]
    Other,
}

/// Checks that the target's authority, `:authority` and `Host`, as far as they are given, all name `server`.
pub fn agrees(server: &Server, target: &Uri, fields: &HeaderMap) -> Result<(), AuthorityError> {
    let mut hosts = fields.get_all(HOST).iter();
    let named = match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            is(server, host.as_bytes())?;
            true
        }
        (None, _) => false,
        (Some(_), Some(_)) => return Err(AuthorityError::Unclear),
    };
    match target.authority() {
        Some(authority) => {
            is(server, authority.as_str().as_bytes())?;
            // An absolute target also names a scheme, and servers have chosen virtual hosts by it.
            match target.scheme_str() {
                Some(scheme) if scheme != if server.tls { "https" } else { "http" } => Err(AuthorityError::Other),
                _ => Ok(()),
            }
        }
        None if named => Ok(()),
        None => Err(AuthorityError::Unclear),
    }
}

/// Whether a request that does not name `server` goes on as one to it all the same: plain HTTP has no name but `Host`, the
/// connection leads to the server's own address, and `capture.shared = "pass"` says that names there may be others. On a
/// connection of its own it would pass unread; here it is policed. What names a configured server has to go to that one.
pub fn passes(server: &Server, capture: &Capture, servers: &[Arc<Server>], target: &Uri, fields: &HeaderMap) -> bool {
    let mut hosts = fields.get_all(HOST).iter();
    let (Some(host), None, None) = (hosts.next(), hosts.next(), target.authority()) else { return false };
    let unclaimed = |named: request::Authority| servers.iter().all(|server| server.host != named.host);
    !server.tls && capture.shared == Shared::Pass && request::authority(host.as_bytes()).is_some_and(unclaimed)
}

fn is(server: &Server, authority: &[u8]) -> Result<(), AuthorityError> {
    let authority = request::authority(authority).ok_or(AuthorityError::Unclear)?;
    let default = if server.tls { 443 } else { 80 };
    if authority.host == server.host && authority.port.unwrap_or(default) == server.port {
        Ok(())
    } else {
        Err(AuthorityError::Other)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::config::Host;

    fn server(host: Host, tls: bool, port: u16) -> Server {
        Server {
            name: "s".into(),
            tls,
            host,
            port,
            path: "/mcp".into(),
            upstream: None,
            other_paths: Default::default(),
        }
    }

    fn check(server: &Server, target: &str, hosts: &[&str]) -> Result<(), AuthorityError> {
        let fields = hosts.iter().map(|host| (HOST, host.parse().unwrap())).collect();
        agrees(server, &target.parse().unwrap(), &fields)
    }

    #[test]
    fn all_names_in_a_request_are_the_routes() {
        use AuthorityError::{Other, Unclear};
        let named = server(Host::Name("promptfax.app".into()), true, 443);
        let address = server(Host::Address([127, 0, 0, 1].into()), false, 3000);
        let six = server(Host::Address(std::net::Ipv6Addr::LOCALHOST.into()), false, 80);
        for (server, target, hosts, expected) in [
            (&named, "/mcp", &["promptfax.app"][..], Ok(())),
            (&named, "/mcp", &["PromptFax.app:443"], Ok(())),
            (&named, "/mcp", &["promptfax.app."], Ok(())),
            (&named, "/mcp", &["promptfax.app:444"], Err(Other)),
            // RFC 3986 §3.2.3: an empty port is the default.
            (&named, "/mcp", &["promptfax.app:"], Ok(())),
            (&named, "/mcp", &["promptfax.app:99999"], Err(Unclear)),
            (&named, "/mcp", &["user@promptfax.app"], Err(Unclear)),
            (&named, "/mcp", &["evil.example"], Err(Other)),
            (&named, "/mcp", &["promptfax.app", "promptfax.app"], Err(Unclear)),
            (&named, "/mcp", &[], Err(Unclear)),
            (&named, "/mcp", &[""], Err(Unclear)),
            (&named, "https://promptfax.app/mcp", &[], Ok(())),
            (&named, "http://promptfax.app:443/mcp", &[], Err(Other)),
            (&named, "https://promptfax.app/mcp", &["evil.example"], Err(Other)),
            (&named, "https://evil.example/mcp", &["promptfax.app"], Err(Other)),
            (&address, "/mcp", &["127.0.0.1:3000"], Ok(())),
            (&address, "/mcp", &["127.0.0.1"], Err(Other)),
            (&address, "/mcp", &["localhost:3000"], Err(Other)),
            (&six, "/", &["[::1]"], Ok(())),
            (&six, "/", &["[::2]"], Err(Other)),
        ] {
            assert_eq!(check(server, target, hosts), expected, "{target} {hosts:?} on {:?}", server.host);
        }
    }
    #[test]
    fn another_name_goes_on_only_over_plain_http_where_addresses_are_shared_and_nobody_claims_it() {
        let plain = server(Host::Address([127, 0, 0, 1].into()), false, 3000);
        let tls = server(Host::Address([127, 0, 0, 1].into()), true, 3000);
        let other = server(Host::Name("claimed.example".into()), true, 443);
        let servers = [Arc::new(plain.clone()), Arc::new(other)];
        for (server, shared, target, hosts, expected) in [
            (&plain, Shared::Pass, "/mcp", &["evil.example"][..], true),
            (&plain, Shared::Refuse, "/mcp", &["evil.example"], false),
            (&tls, Shared::Pass, "/mcp", &["evil.example"], false),
            (&plain, Shared::Pass, "/mcp", &["claimed.example"], false),
            (&plain, Shared::Pass, "/mcp", &["CLAIMED.example.:8080"], false),
            (&plain, Shared::Pass, "/mcp", &["127.0.0.1:3001"], false),
            (&plain, Shared::Pass, "http://evil.example/mcp", &["evil.example"], false),
            (&plain, Shared::Pass, "/mcp", &["evil.example", "evil.example"], false),
            (&plain, Shared::Pass, "/mcp", &["user@evil.example"], false),
            (&plain, Shared::Pass, "/mcp", &[], false),
        ] {
            let capture = Capture { shared, ..Capture::default() };
            let fields = hosts.iter().map(|host| (HOST, host.parse().unwrap())).collect();
            let found = passes(server, &capture, &servers, &target.parse().unwrap(), &fields);
            assert_eq!(found, expected, "{target} {hosts:?} {shared:?}");
        }
    }
}
