//! The hosts as a policy writes them.

use core::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use super::{Address, is_name};

/// One host of a policy.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub name: Name,
    /// `None`: the scheme's own.
    pub port: Option<u16>,
}

/// Which hosts an entry stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Exact(Box<str>),
    /// `*.example.com`: every name below, at any depth; not the name itself. Kept with its first dot.
    Below(Box<str>),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

/// What is wrong, and what to do.
type Bad = (String, Option<String>);

impl Entry {
    /// Reads `example.com`, `*.example.com`, `192.0.2.1`, `2001:db8::1` or `[2001:db8::1]`, with a `:port` perhaps.
    pub fn parse(text: &str) -> Result<Entry, Bad> {
        if let Ok(address) = text.parse() {
            return Ok(Entry { name: v6(text, address)?, port: None });
        }
        refuse_urls(text)?;
        let (host, port) = split(text)?;
        if let Some(inner) = host.strip_prefix('[') {
            let address = inner.strip_suffix(']').and_then(|inner| inner.parse().ok());
            let address =
                address.ok_or_else(|| bad(format!("`{text}` is no IPv6 address"), "such as `[2001:db8::1]:8443`"))?;
            return Ok(Entry { name: v6(text, address)?, port });
        }
        if let Ok(address) = host.parse() {
            return Ok(Entry { name: Name::V4(address), port });
        }
        let (below, name) = match host.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, host),
        };
        if name.contains('*') {
            let help = "a `*` stands for whole labels at the beginning, as in `*.example.com`";
            return Err(bad(format!("the host `{text}` has a `*` that is not its first label"), help));
        }
        checked(text, name)?;
        let name = if below { Name::Below(format!(".{name}").into()) } else { Name::Exact(name.into()) };
        Ok(Entry { name, port })
    }
}

impl Name {
    /// Whether `address` is one of the hosts that it stands for.
    pub fn is(&self, address: &Address) -> bool {
        match (self, address) {
            (Name::Exact(name), Address::Name(other)) => **name == *other,
            (Name::Below(end), Address::Name(other)) => other.len() > end.len() && other.ends_with(&**end),
            (Name::V4(this), Address::V4(other)) => this == other,
            (Name::V6(this), Address::V6(other)) => this == other,
            _ => false,
        }
    }
}

fn bad(message: String, help: impl Into<String>) -> Bad {
    (message, Some(help.into()))
}

/// An IPv6 address that is not an IPv4 one in other clothes.
fn v6(text: &str, address: Ipv6Addr) -> Result<Name, Bad> {
    match address.to_ipv4_mapped() {
        Some(inner) => Err(bad(format!("`{text}` is an IPv4 address in an IPv6 one"), format!("write `{inner}`"))),
        None => Ok(Name::V6(address)),
    }
}

/// Whatever a host does not have.
fn refuse_urls(text: &str) -> Result<(), Bad> {
    let host_of = |text: &str| Some(format!("write its host, `{}`", Url::parse(text).ok()?.host_str()?));
    let alone = || Some("write the host alone, such as `example.com`, or `example.com:8443`".to_owned());
    if text.contains("://") {
        return Err((format!("`{text}` is a URL, not a host"), host_of(text).or_else(alone)));
    }
    if text.contains(['/', '\\']) {
        let network = text.split_once('/').is_some_and(|(_, bits)| bits.parse::<u8>().is_ok());
        let what = if network { "a network" } else { "a path" };
        return Err((format!("the host `{text}` has {what} in it"), alone()));
    }
    if text.contains(['@', '?', '#', '%']) || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err((format!("the host `{}` has a character that no host has", text.escape_debug()), alone()));
    }
    Ok(())
}

/// The host and its port.
fn split(text: &str) -> Result<(&str, Option<u16>), Bad> {
    let inside = text.rfind(']').unwrap_or(0);
    let Some(colon) = text.get(inside..).and_then(|rest| rest.rfind(':')) else { return Ok((text, None)) };
    let (host, port) = text.split_at_checked(inside + colon).unwrap_or((text, ""));
    let digits = port.strip_prefix(':').unwrap_or_default();
    let canonical = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(port) if canonical => Ok((host, Some(port))),
        _ => Err(bad(format!("`{digits}` in `{text}` is no port"), "a number from 1 to 65535, or no colon")),
    }
}

/// Whether `name` is written as it stands in a URL that was read.
fn checked(text: &str, name: &str) -> Result<(), Bad> {
    let instead = |host: &str| format!("write `{}`", text.replacen(name, host, 1));
    if name.is_empty() || name.split('.').any(str::is_empty) {
        let help = name.strip_suffix('.').filter(|name| !name.is_empty()).map(instead);
        return Err((format!("the host `{text}` has an empty label"), help));
    }
    match Host::parse(name) {
        Ok(Host::Domain(ascii)) if ascii == name && is_name(name) => Ok(()),
        Ok(Host::Domain(ascii)) if !is_name(&ascii) => Err(bad(
            format!("`{text}` is no host's name"),
            "labels of letters, digits, `-` and `_`, with dots between them",
        )),
        Ok(Host::Domain(ascii)) => {
            let what = if name.is_ascii() { "in lower case" } else { "in its ASCII form" };
            Err(bad(format!("the host `{text}` must be written {what}"), instead(&ascii)))
        }
        Ok(Host::Ipv4(address)) => {
            Err(bad(format!("`{text}` is an address in an odd notation"), instead(&address.to_string())))
        }
        Ok(Host::Ipv6(_)) | Err(_) => Err(bad(
            format!("`{text}` is no host's name"),
            "labels of letters, digits, `-` and `_`, with dots between them",
        )),
    }
}
