//! Every request must be for the server that the connection was routed to.

use http::header::HOST;
use http::{HeaderMap, Uri};

use crate::config::Server;
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
}
