//! The URL of an MCP server, taken apart without leniency: two readings of one URL would be a way around. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Host;

/// An `http` or `https` URL without userinfo, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `https` (true) or `http`.
    pub tls: bool,
    /// The host, lower case, without brackets or a trailing dot.
    pub host: Host,
    /// The port, 443 or 80 by default.
    pub port: u16,
    /// The path, beginning with `/`.
    pub path: String,
}

/// What is wrong with a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UrlError {
    /// Lower case, no full stop, user input in backticks.
    pub message: String,
    /// What to write instead, where it can be said.
    pub help: Option<String>,
}

impl Url {
    /// Reads `text`. RFC 3986 decides what the parts are; what is refused beyond it is refused because an MCP endpoint
    /// has no use for it or because other readers are known to disagree about it.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic()) {
            let message = format!("the URL contains {}", odd.escape_default());
            return Err(UrlError { message, help: Some("write international names as `xn--…`".to_owned()) });
        }
        let (tls, rest) = scheme(text)?;
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(helped("a server's URL cannot carry a user or password", "remove everything up to the `@`"));
        }
        let (host, port) = authority_parts(authority)?;
        let port = match port {
            Some(digits) => parse_port(digits)?,
            None if tls => 443,
            None => 80,
        };
        Ok(Self { tls, host: parse_host(host)?, port, path: parse_path(path)? })
    }

    /// `host`, with `:port` where it is not the scheme's own: a name for people.
    pub fn authority(&self) -> String {
        let default = if self.tls { 443 } else { 80 };
        if self.port == default { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

fn wrong(message: impl Into<String>) -> UrlError {
    UrlError { message: message.into(), help: None }
}

fn helped(message: impl Into<String>, help: impl Into<String>) -> UrlError {
    UrlError { message: message.into(), help: Some(help.into()) }
}

fn scheme(text: &str) -> Result<(bool, &str), UrlError> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(helped(format!("`{text}` is not a URL"), format!("write `https://{text}`")));
    };
    if scheme.eq_ignore_ascii_case("https") {
        Ok((true, rest))
    } else if scheme.eq_ignore_ascii_case("http") {
        Ok((false, rest))
    } else {
        Err(helped(format!("`{scheme}` is not a scheme of MCP servers"), "use `https` or `http`"))
    }
}

/// Splits `host:port`; the host keeps its brackets.
fn authority_parts(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    if let Some(inside) = authority.strip_prefix('[') {
        let Some(close) = inside.find(']') else {
            return Err(wrong(format!("`{authority}` has no closing `]`")));
        };
        let (host, after) = authority.split_at(close + 2);
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(wrong(format!("`{after}` after the address is neither a port nor a path"))),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(helped(
            format!("`{authority}` is not a host"),
            format!("put IPv6 addresses in brackets: `[{authority}]`"),
        )),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

fn parse_port(digits: &str) -> Result<u16, UrlError> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match digits.parse::<u16>() {
        Ok(0) => Err(wrong("port 0 cannot be connected to")),
        Ok(port) if plain => Ok(port),
        _ => Err(helped(format!("`{digits}` is not a port"), "ports are numbers from 1 to 65535")),
    }
}

fn parse_host(host: &str) -> Result<Host, UrlError> {
    if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_| wrong(format!("`{address}` is not an IPv6 address")))?;
        // The kernel side gives v4-mapped destinations as IPv4, so they are compared as IPv4 everywhere.
        return reachable(address.to_canonical());
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return reachable(IpAddr::V4(address));
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if name.is_empty() {
        return Err(wrong("the URL names no host"));
    }
    let label = |l: &str| {
        let inner = l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        inner && !l.is_empty() && l.len() <= 63 && !l.starts_with('-') && !l.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(wrong(format!("`{host}` is not a host name")));
    }
    // `127.1`, `0x7f000001`, `2130706433`: resolvers read them as addresses (inet_aton), comparisons as names.
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
    if hex || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(helped(format!("`{host}` is an address in an odd notation"), "write it as `192.0.2.1`"));
    }
    Ok(Host::Name(name))
}

fn reachable(address: IpAddr) -> Result<Host, UrlError> {
    if address.is_unspecified() || address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(wrong(format!("`{address}` is not the address of one host")));
    }
    Ok(Host::Address(address))
}

fn parse_path(path: &str) -> Result<String, UrlError> {
    if let Some(at) = path.find(['?', '#', '\\']) {
        let message = match path.as_bytes().get(at) {
            Some(b'?') => "a server's URL cannot carry a query",
            Some(b'#') => "a server's URL cannot carry a fragment",
            _ => "a server's URL cannot contain `\\`",
        };
        return Err(helped(message, "servers are told apart by host and port; the path is the MCP endpoint's"));
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(wrong(format!("the path `{path}` contains `.` or `..`")));
    }
    Ok(if path.is_empty() { "/".to_owned() } else { path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_what_rfc_3986_says() {
        let url = Url::parse("HTTPS://PromptFax.App.:8443/mcp").unwrap();
        assert_eq!(url, Url { tls: true, host: Host::Name("promptfax.app".into()), port: 8443, path: "/mcp".into() });
        let url = Url::parse("http://127.0.0.1:3000/mcp").unwrap();
        assert_eq!((url.host.to_string().as_str(), url.port, url.tls), ("127.0.0.1", 3000, false));
        let url = Url::parse("https://[2001:DB8::1]").unwrap();
        assert_eq!((url.to_string().as_str(), url.port), ("https://[2001:db8::1]/", 443));
        let url = Url::parse("http://[::ffff:192.0.2.7]/").unwrap();
        assert_eq!(url.host, Host::Address("192.0.2.7".parse().unwrap()));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (text, word) in [
            ("promptfax.app/mcp", "not a URL"),
            ("ftp://a.example/", "scheme"),
            ("https://user:secret@a.example/", "user or password"),
            ("https://a.example/mcp?x=1", "query"),
            ("https://a.example/mcp#x", "fragment"),
            ("https://a.example?x", "query"),
            ("https://a.example\\@b.example/", "`\\`"),
            ("https://a.example:0/", "port 0"),
            ("https://a.example:65536/", "not a port"),
            ("https://a.example:+80/", "not a port"),
            ("https://a.example:/", "not a port"),
            ("https://::1/", "not a host"),
            ("https://[::1/", "closing"),
            ("https://[::1]x/", "neither"),
            ("https://[fe80::1%eth0]/", "not an IPv6"),
            ("https://127.1/", "odd notation"),
            ("https://0x7f000001/", "odd notation"),
            ("https://2130706433/", "odd notation"),
            ("https://0.0.0.0/", "one host"),
            ("https://[::]/", "one host"),
            ("https:///mcp", "no host"),
            ("https://a..example/", "not a host name"),
            ("https://-a.example/", "not a host name"),
            ("https://a.example/x/../mcp", "`..`"),
            ("https://bücher.example/", "contains"),
            ("https://a.example/m cp", "contains"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(error.message.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_does_not_show_in_the_message() {
        let error = Url::parse("https://user:secret@a.example/").unwrap_err();
        assert!(!format!("{error:?}").contains("secret"));
    }
}
