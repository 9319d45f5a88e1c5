//! Any text as a path and as a URL: what holds, holds for readers that know nothing of these operators.

#![no_main]

use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use policyd::policy::Grant;
use policyd_fuzz::{allowed, call, grant};
use url::Url;

static GRANT: LazyLock<Grant> = LazyLock::new(|| {
    let tool = |list: &str, op: &str, value: &str| {
        format!(
            r#""{list}.{op}": {{ "{list}": [ {{ "conditions": [ {{ "path": "args.x", "op": "{op}", "value": {value} }} ] }} ] }}"#
        )
    };
    let tools: Vec<String> = ["require", "deny_if"]
        .into_iter()
        .flat_map(|list| {
            [
                tool(list, "under_path", r#""/srv/data""#),
                tool(list, "host_in", r#"["good.example", "*.wild.example", "127.0.0.1", "::1"]"#),
            ]
        })
        .collect();
    grant(&format!(r#"{{ "version": "1", "default": "deny", "tools": {{ {} }} }}"#, tools.join(",")))
});

/// As POSIX resolves a path without links; `None`: not absolute.
fn resolved(path: &str) -> Option<PathBuf> {
    let mut resolved = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::ParentDir => {
                resolved.pop();
            }
            other => resolved.push(other),
        }
    }
    resolved.has_root().then_some(resolved)
}

/// Percent-decodes once, as the simplest of servers do.
fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.as_bytes();
    while let Some((&first, rest)) = bytes.split_first() {
        let escape = rest.get(..2).filter(|_| first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let escape = escape.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                bytes = &rest[2..];
            }
            None => {
                out.push(first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The host by RFC 3986, appendix B; userinfo and port cut off at the last `@` and the first `:`.
fn by_rfc(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = if host.starts_with('[') { host.split_inclusive(']').next()? } else { host.split(':').next()? };
    Some(host.to_ascii_lowercase())
}

fn is_wanted(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).and_then(|host| host.parse().ok());
    matches!(host, "good.example" | "127.0.0.1")
        || host.ends_with(".wild.example")
        || address == Some(std::net::Ipv6Addr::LOCALHOST)
}

fuzz_target!(|text: &str| {
    let arguments = serde_json::json!({ "x": text }).to_string();
    let asked = |tool: &str| allowed(&GRANT, &call(tool, &arguments));
    let Some(inside) = asked("require.under_path") else { return };
    let outside = asked("deny_if.under_path") == Some(true);
    assert!(!(inside && outside), "{text:?} is inside and outside");
    let once = decoded(text);
    for read in [text, &once, &decoded(&once)] {
        let is_below = resolved(read).is_some_and(|path| path.starts_with("/srv/data"));
        assert!(!inside || is_below, "{text:?} holds, but is read as {read:?}");
        assert!(!outside || !is_below, "{text:?} does not hold, but is read as {read:?}");
    }

    let good = asked("require.host_in") == Some(true);
    let bad = asked("deny_if.host_in") == Some(true);
    assert!(!(good && bad), "{text:?} leads there and elsewhere");
    if good || bad {
        let url = Url::parse(text).expect("the other reader reads it too");
        let hosts = [url.host_str().map(str::to_owned), by_rfc(text)].map(|host| host.expect("it has a host"));
        for host in hosts {
            assert_eq!(is_wanted(&host), good, "{text:?}: {host:?}");
        }
        assert!(url.username().is_empty() && url.password().is_none(), "{text:?}");
    }
});
