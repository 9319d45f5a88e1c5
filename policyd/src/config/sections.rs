//! The sections that stand once in a file: `[capture]`, `[admin]`, `[audit]`, `[tls]`, `[limits]`, `[timeouts]`.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader::{self, Placed, Section};
use super::values;
use super::{Admin, Audit, Capture, Limits, Other, Shared, Timeouts};

/// `[capture]`; `missing` is where a file without one is told so.
pub(super) fn capture(root: &mut Section<'_, '_>) -> Capture {
    let mut capture = Capture::default();
    let Some(mut section) = root.section("capture") else {
        root.problems().missing(
            root.span(),
            "`[capture]` is missing: nothing would be captured",
            "add `[capture]` with `cgroups = [\"/system.slice/my-agent.service\"]`; `/` is everyone",
        );
        return capture;
    };
    if let Some((name, span)) = section.string("instance") {
        if is_instance(name) {
            capture.instance = name.to_owned();
        } else {
            section.problems().add_with_help(
                span,
                format!("`{name}` cannot name an instance"),
                "use up to 64 letters, digits, `-` and `_`",
            );
        }
    }
    cgroups(&mut section, &mut capture);
    if let Some(ports) = ports(&mut section) {
        capture.ports = ports;
    }
    capture.other =
        section.word("other", &[("pass", Other::Pass), ("refuse", Other::Refuse)], &["inspect"]).unwrap_or_default();
    capture.shared =
        section.word("shared", &[("refuse", Shared::Refuse), ("pass", Shared::Pass)], &[]).unwrap_or_default();
    section.finish(&["proxies", "exclude", "namespaces", "unknown_servers"]);
    capture
}

/// Whether `name` can name an instance: a folder below the bpf file system, which takes no dots.
pub fn is_instance(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    !name.is_empty() && name.len() <= 64 && name.bytes().all(plain)
}

fn cgroups(section: &mut Section<'_, '_>, capture: &mut Capture) {
    let help = "cgroups are paths below the cgroup2 mount, such as `/system.slice/my-agent.service`; `/` is everyone";
    let problems = section.problems();
    let Some(listed) = section.strings("cgroups") else {
        problems.missing(section.span(), "`capture.cgroups` is missing: nothing would be captured", help);
        return;
    };
    if listed.is_empty() {
        problems.add_with_help(section.span(), "`capture.cgroups` is empty: nothing would be captured", help);
    }
    for (path, span) in listed {
        match cgroup_path(path) {
            Ok(()) if capture.cgroups.iter().any(|known| known == path) => {
                problems.add(span, format!("the cgroup `{path}` is listed twice"));
            }
            Ok(()) => capture.cgroups.push(path.to_owned()),
            Err(message) => problems.add_with_help(span, message, help),
        }
    }
}

/// Checks the path of a cgroup as configurations write it.
pub(super) fn cgroup_path(path: &str) -> Result<(), String> {
    if path.starts_with("/sys/fs/cgroup") {
        return Err(format!("`{path}` names the mount, not the cgroup"));
    }
    if !path.starts_with('/') {
        return Err(format!("the cgroup `{path}` does not begin with `/`"));
    }
    if path != "/" && path.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!("the cgroup `{path}` contains an empty part, `.` or `..`, or ends with `/`"));
    }
    if path.contains(['\0', '\n']) {
        return Err("a cgroup's path cannot contain control characters".to_owned());
    }
    Ok(())
}

fn ports(section: &mut Section<'_, '_>) -> Option<Vec<u16>> {
    let value = section.any("ports")?;
    let problems = section.problems();
    let Some(array) = value.get_ref().as_array() else {
        let found = reader::describe(value.get_ref());
        problems.add(value.span(), format!("`capture.ports` must be an array of numbers, not {found}"));
        return None;
    };
    let mut ports = Vec::new();
    for element in array.iter() {
        match reader::integer(element.get_ref()).map(u16::try_from) {
            Some(Ok(port)) if port > 0 => {
                if ports.contains(&port) {
                    problems.add(element.span(), format!("port {port} is listed twice"));
                } else {
                    ports.push(port);
                }
            }
            _ => problems.add(element.span(), "a port is a number from 1 to 65535"),
        }
    }
    Some(ports)
}

/// `[[allow]]`
pub(super) fn allow(root: &mut Section<'_, '_>) -> Vec<String> {
    let mut hosts = Vec::new();
    for mut section in root.sections("allow") {
        if let Some((host, span)) = section.required("host", "`host` is a DNS name, such as `registry.npmjs.org`") {
            // The same reading as that of servers, so that both sides of a comparison agree.
            match super::Url::parse(&format!("https://{host}/")) {
                Ok(super::Url { host: super::Host::Name(name), port: 443, .. }) if !host.contains('/') => {
                    hosts.push(name)
                }
                _ => section.problems().add_with_help(
                    span,
                    format!("`{host}` is not a DNS name"),
                    "give the bare name, without scheme, port, path or `*`",
                ),
            }
        }
        section.finish(&[]);
    }
    hosts
}

/// `[admin]`
pub(super) fn admin(root: &mut Section<'_, '_>, folder: &Path) -> Admin {
    let mut admin = Admin::default();
    let Some(mut section) = root.section("admin") else { return admin };
    if let Some((text, span)) = section.string("listen") {
        if text.is_empty() {
            admin.listen = None;
        } else {
            match text.parse::<SocketAddr>() {
                Ok(address) => admin.listen = Some(address),
                Err(_) => section.problems().add_with_help(
                    span,
                    format!("`{text}` is not an address and port"),
                    "write it as `127.0.0.1:9464` or `[::1]:9464`; an empty string turns it off",
                ),
            }
        }
    }
    if let Some((path, _)) = section.string("socket") {
        admin.socket = (!path.is_empty()).then(|| folder.join(path));
    }
    if let Some((path, _)) = section.string("stdio") {
        admin.stdio = (!path.is_empty()).then(|| folder.join(path));
    }
    section.finish(&["tls", "control", "tokens"]);
    admin
}

/// `[audit]`
pub(super) fn audit(root: &mut Section<'_, '_>, folder: &Path, state_dir: &Path) -> Audit {
    let mut audit = Audit { path: Some(state_dir.join("audit.jsonl")), arguments: false };
    let Some(mut section) = root.section("audit") else { return audit };
    if let Some((path, _)) = section.string("path").filter(|placed| not_empty(&section, "audit.path", placed)) {
        audit.path = Some(folder.join(path));
    }
    audit.arguments = section.boolean("arguments").unwrap_or_default();
    section.finish(&["sinks", "syslog", "otlp", "rotate", "fail_open"]);
    audit
}

fn not_empty(section: &Section<'_, '_>, path: &str, placed: &Placed<&str>) -> bool {
    if placed.0.is_empty() {
        section.problems().add(placed.1.clone(), format!("`{path}` is empty"));
    }
    !placed.0.is_empty()
}

/// `[tls]`: the paths of the extra roots, made absolute, with their places.
pub(super) fn tls(root: &mut Section<'_, '_>, folder: &Path) -> Vec<Placed<PathBuf>> {
    let Some(mut section) = root.section("tls") else { return Vec::new() };
    let roots = section.strings("extra_roots").unwrap_or_default();
    section.finish(&["client_cert", "client_key", "min_version", "intermediate"]);
    roots.into_iter().map(|(path, span)| (folder.join(path), span)).collect()
}

/// `[limits]`
pub(super) fn limits(root: &mut Section<'_, '_>) -> Limits {
    let mut limits = Limits::default();
    let Some(mut section) = root.section("limits") else { return limits };
    // The bounds on both sides are those within which the daemon still works: an MCP `initialize` fits into 1 KiB, and
    // beyond the upper ones a handful of peers could fill the memory.
    let bytes = |section: &mut Section<'_, '_>, key, most: u64, into: &mut usize| {
        if let Some(value) = size(section, key, 1 << 10..most + 1) {
            *into = value;
        }
    };
    bytes(&mut section, "body", 64 << 20, &mut limits.body);
    bytes(&mut section, "head", 1 << 20, &mut limits.head);
    bytes(&mut section, "list", 256 << 20, &mut limits.list);
    bytes(&mut section, "event", 1 << 30, &mut limits.event);
    let count = |section: &mut Section<'_, '_>, key, range| -> Option<usize> {
        section.integer(key, range).and_then(|n| usize::try_from(n).ok())
    };
    if let Some(n) = count(&mut section, "headers", 10..10_001) {
        limits.headers = n;
    }
    if let Some(n) = count(&mut section, "streams", 1..65_536).and_then(|n| u32::try_from(n).ok()) {
        limits.streams = n;
    }
    if let Some(n) = count(&mut section, "connections_per_agent", 1..1_000_001) {
        limits.connections_per_agent = n;
    }
    if let Some(n) = count(&mut section, "connections", 1..1_000_001) {
        limits.connections = n;
    }
    section.finish(&[]);
    limits
}

/// A size in bytes: an integer, or a string with a unit.
fn size(section: &mut Section<'_, '_>, key: &'static str, range: Range<u64>) -> Option<usize> {
    let value = section.any(key)?;
    let (problems, path) = (section.problems(), section.path(key));
    let help = "write a number of bytes, or a string such as \"4MiB\"";
    let read = match (reader::integer(value.get_ref()), value.get_ref().as_str()) {
        (Some(number), _) => u64::try_from(number).map_err(|_| format!("`{number}` is not a size")),
        (None, Some(text)) => values::size(text),
        (None, None) => Err(format!("`{path}` must be a size, not {}", reader::describe(value.get_ref()))),
    };
    match read {
        Ok(bytes) if range.contains(&bytes) => usize::try_from(bytes).ok(),
        Ok(bytes) => {
            let (least, most) = (range.start, range.end - 1);
            problems.add(value.span(), format!("`{path}` must be from {least} to {most} bytes, not {bytes}"));
            None
        }
        Err(message) => {
            problems.add_with_help(value.span(), message, help);
            None
        }
    }
}

/// `[timeouts]`
pub(super) fn timeouts(root: &mut Section<'_, '_>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let Some(mut section) = root.section("timeouts") else { return timeouts };
    for (key, into) in [
        ("peek", &mut timeouts.peek),
        ("handshake", &mut timeouts.handshake),
        ("connect", &mut timeouts.connect),
        ("request", &mut timeouts.request),
        ("response", &mut timeouts.response),
        ("idle", &mut timeouts.idle),
        ("drain", &mut timeouts.drain),
    ] {
        // Only draining may be given up at once; everything else would fail every call.
        let least = if key == "drain" { Duration::ZERO } else { Duration::from_millis(1) };
        if let Some(value) = duration(&mut section, key, least) {
            *into = value;
        }
    }
    section.finish_with(&[], |key| (key == "drain_timeout").then_some("drain"));
    timeouts
}

fn duration(section: &mut Section<'_, '_>, key: &'static str, least: Duration) -> Option<Duration> {
    const MOST: Duration = Duration::from_secs(86_400);
    let value = section.any(key)?;
    let (problems, path) = (section.problems(), section.path(key));
    let help = "write a string with a unit, such as \"30s\" or \"5m\"";
    let Some(text) = value.get_ref().as_str() else {
        let message = format!("`{path}` must be a duration, not {}", reader::describe(value.get_ref()));
        problems.add_with_help(value.span(), message, help);
        return None;
    };
    match values::duration(text) {
        Ok(duration) if (least..=MOST).contains(&duration) => Some(duration),
        Ok(_) => {
            problems.add(value.span(), format!("`{path}` must be more than zero and at most a day"));
            None
        }
        Err(message) => {
            problems.add_with_help(value.span(), message, help);
            None
        }
    }
}
