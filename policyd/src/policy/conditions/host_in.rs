//! `host_in`: the host of a URL, as far as the text alone can tell.
//!
//! Those who open a URL do not read it alike: by RFC 3986, by the WHATWG's standard, by habits that are older than both. So
//! a host is believed only where all of them agree on it. Where they might not, the URL is undecidable, which refuses: a
//! `require` fails, a `deny_if` holds.
//!
//! What a text cannot tell: which address the name leads to, now or at the next look-up (DNS rebinding), and where the
//! server of that host redirects to.

use core::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use super::BadValue;

mod entry;
#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;

use entry::Entry;

/// The hosts of a `host_in`.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Hosts(Box<[Entry]>);

/// The schemes whose URLs have a host that this operator knows, and their ports.
const SCHEMES: [(&str, u16); 4] = [("https", 443), ("http", 80), ("wss", 443), ("ws", 80)];

/// Where a URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    host: Address,
    port: u16,
    /// Whether that is the scheme's own.
    default_port: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    /// In lower case.
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl Hosts {
    /// Reads the operator's `value`: names, `*.` and a name, addresses; a port perhaps.
    ///
    /// # Errors
    ///
    /// The first one that is none of these, with what to write instead.
    pub fn parse(hosts: &[&str]) -> Result<Hosts, BadValue> {
        let entry = |(index, text): (usize, &&str)| {
            Entry::parse(text).map_err(|(message, help)| BadValue { index, message, help })
        };
        hosts.iter().enumerate().map(entry).collect::<Result<_, _>>().map(Hosts)
    }

    /// Whether the host of `url` is one of them; `None`: it depends on who reads it.
    ///
    /// A host without a port stands for the scheme's own port. Another port of the same host is undecidable: it was
    /// neither meant nor excluded.
    pub fn hold(&self, url: &str) -> Option<bool> {
        let target = Target::of(url)?;
        let mut undecided = target.host.embeds_another();
        for entry in &self.0 {
            if entry.name.is(&target.host) {
                if entry.port.map_or(target.default_port, |port| port == target.port) {
                    return Some(true);
                }
                undecided = true;
            }
        }
        (!undecided).then_some(false)
    }
}

impl Target {
    /// Where all readers say that `text` leads; `None`: they do not agree, or it is no URL of these [`SCHEMES`].
    fn of(text: &str) -> Option<Target> {
        // Some cut these out before they read, some after, some take the backslash for a slash.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let (_, default) = SCHEMES.into_iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end)?;
        // To those who look for a slash only, the authority goes on: `http://a?@b/`.
        let until_slash = rest.split('/').next().unwrap_or_default();
        if until_slash.contains(['@', ':', '.', '%', '[', ']']) || !until_slash.is_ascii() {
            return None;
        }
        let (host, port) = split_port(authority)?;
        let (port, default_port) = (port.unwrap_or(default), port.is_none_or(|port| port == default));
        let target = Target { host: Address::parse(host)?, port, default_port };
        target.agrees(&Url::parse(text).ok()?).then_some(target)
    }

    /// Whether the WHATWG's parser reads the same.
    fn agrees(&self, url: &Url) -> bool {
        let host = match (url.host(), &self.host) {
            (Some(Host::Domain(theirs)), Address::Name(ours)) => theirs == ours,
            (Some(Host::Ipv4(theirs)), Address::V4(ours)) => theirs == *ours,
            (Some(Host::Ipv6(theirs)), Address::V6(ours)) => theirs == *ours,
            _ => false,
        };
        host && url.port_or_known_default() == Some(self.port) && url.username().is_empty() && url.password().is_none()
    }
}

/// Splits `host:port` and `[address]:port`; `None` where a port is empty, too large, or written as no one would.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end = match authority.starts_with('[') {
        true => authority.find(']')? + 1,
        false => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(end)?;
    if port.is_empty() {
        return Some((host, None));
    }
    let digits = port.strip_prefix(':')?;
    let canonical = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    Some((host, Some(digits.parse().ok().filter(|_| canonical)?)))
}

impl Address {
    /// Reads the host of a URL. `None`: one that is read in more than one way.
    fn parse(host: &str) -> Option<Address> {
        if let Some(inner) = host.strip_prefix('[') {
            return inner.strip_suffix(']')?.parse().ok().map(Address::V6);
        }
        // `parse` takes four decimal numbers without leading zeros, and nothing else.
        if let Ok(address) = host.parse() {
            return Some(Address::V4(address));
        }
        let name = host.to_ascii_lowercase();
        is_name(&name).then_some(Address::Name(name))
    }

    /// Whether it is an IPv6 address that routers, gateways or systems may take for the IPv4 address in it.
    fn embeds_another(&self) -> bool {
        let Address::V6(address) = self else { return false };
        match address.segments() {
            // Loopback and the unspecified address; then RFC 4291, section 2.5.5: IPv4-compatible.
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => false,
            [0, 0, 0, 0, 0, 0, ..] => true,
            // IPv4-mapped; IPv4-translated (RFC 2765).
            [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => true,
            // NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056), Teredo (RFC 4380).
            [0x64, 0xff9b, ..] | [0x2002, ..] | [0x2001, 0, ..] => true,
            // ISATAP (RFC 5214).
            [_, _, _, _, 0 | 0x200, 0x5efe, ..] => true,
            _ => false,
        }
    }
}

/// Whether it is a host's name in lower case: labels of letters, digits, `-` and `_`, the last of them no number.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        let within = label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        within && !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    name.len() <= 253 && name.split('.').all(label) && !number
}
