//! `[[server]]`

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use super::reader::{Placed, Section};
use super::{OtherPaths, Server, Url};

/// All `[[server]]`, in file order, those that are wrong left out and reported, and the names of all, so that a grant
/// for a server that is wrong in some other way is not reported too.
pub(super) fn servers<'t>(root: &mut Section<'t, '_>) -> (Vec<Arc<Server>>, Vec<&'t str>) {
    let mut servers: Vec<Arc<Server>> = Vec::new();
    let mut names: Vec<&'t str> = Vec::new();
    for mut section in root.sections("server") {
        let name = section.required("name", "`name` is what grants, metrics and records call it");
        if let Some((name, span)) = &name {
            if !is_name(name) {
                not_a_name(&section, name, span.clone());
            } else if names.contains(name) {
                section.problems().add(span.clone(), format!("the server `{name}` is defined twice"));
            }
            names.push(name);
        }
        let url = url(&mut section);
        let upstream = upstream(&mut section);
        let other_paths = section
            .word("other_paths", &[("pass", OtherPaths::Pass), ("refuse", OtherPaths::Refuse)], &[])
            .unwrap_or_default();
        if let (Some((name, _)), Some((url, span))) = (name, url) {
            if let Some(same) = servers.iter().find(|s| s.host == url.host && s.port == url.port) {
                section.problems().add_with_help(
                    span,
                    format!("`{name}` has the host and port of `{}`", same.name),
                    "servers are told apart by host and port; one entry polices every path of the host",
                );
            } else {
                let Url { tls, host, port, path } = url;
                servers.push(Arc::new(Server { name: name.to_owned(), tls, host, port, path, upstream, other_paths }));
            }
        }
        section.finish(&["client_cert", "client_key", "credentials", "headers", "resolve", "extra_roots"]);
    }
    (servers, names)
}

/// Names go into metrics' labels, records and one-line messages: short, printable, without spaces.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'[' | b']');
    name.len() <= 128 && name.bytes().all(plain)
}

pub(super) fn not_a_name(section: &Section<'_, '_>, name: &str, span: Range<usize>) {
    section.problems().add_with_help(
        span,
        format!("`{}` cannot be a name", name.escape_debug()),
        "use up to 128 letters, digits, `-`, `_`, `.` and `:`",
    );
}

fn url(section: &mut Section<'_, '_>) -> Option<Placed<Url>> {
    let (text, span) = section.required("url", "`url` is the MCP endpoint's, such as `https://promptfax.app/mcp`")?;
    match Url::parse(text) {
        Ok(url) => Some((url, span)),
        Err(error) => {
            match error.help {
                Some(help) => section.problems().add_with_help(span, error.message, help),
                None => section.problems().add(span, error.message),
            }
            None
        }
    }
}

fn upstream(section: &mut Section<'_, '_>) -> Option<SocketAddr> {
    let (text, span) = section.string("upstream")?;
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Some(address),
        _ => {
            let message = format!("`{text}` is not an address and port");
            let help = "write it as `192.0.2.1:443` or `[2001:db8::1]:443`; names are not looked up here";
            section.problems().add_with_help(span, message, help);
            None
        }
    }
}
