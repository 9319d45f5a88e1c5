//! `[[server]]`

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use super::reader::{Placed, Section};
use super::{OtherPaths, Server, Url};

/// Keys that the language has and this version does not.
const LATER: &[&str] = &["client_cert", "client_key", "credentials", "headers", "resolve", "extra_roots"];

/// What the `[[server]]` of a file say.
#[derive(Default)]
pub(super) struct Servers<'t> {
    /// Those with a URL, in file order; wrong ones are left out and reported.
    pub servers: Vec<Arc<Server>>,
    /// Those that are commands.
    pub commands: Vec<Arc<Server>>,
    /// The names of all, so that a grant for a server that is wrong in some other way is not reported too.
    pub names: Vec<&'t str>,
}

/// `transport`
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Http,
    Stdio,
}

/// All `[[server]]`.
pub(super) fn servers<'t>(root: &mut Section<'t, '_>) -> Servers<'t> {
    let Servers { mut servers, mut commands, mut names } = Servers::default();
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
        let transports = [("http", Transport::Http), ("stdio", Transport::Stdio)];
        if section.word("transport", &transports, &[]) == Some(Transport::Stdio) {
            command(&mut section);
            if let Some((name, _)) = name {
                commands.push(Arc::new(Server::command(name)));
            }
            section.finish(LATER);
            continue;
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
        section.finish(LATER);
    }
    Servers { servers, commands, names }
}

/// A server that is a command: `policyd stdio` is told which.
fn command(section: &mut Section<'_, '_>) {
    for key in ["url", "upstream", "other_paths"] {
        if let Some(value) = section.any(key) {
            section.problems().add_with_help(
                value.span(),
                format!("a server with `transport = \"stdio\"` has no `{key}`"),
                "it is a command, which `policyd stdio --server NAME -- COMMAND` runs",
            );
        }
    }
}

/// Names go into metrics' labels, records and one-line messages: short, printable, without spaces.
pub fn is_name(name: &str) -> bool {
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
