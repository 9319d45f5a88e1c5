//! The daemon's configuration: a spanned TOML tree → validated types, every error at once with its place in the file.
//!
//! serde stops at the first thing it dislikes, so the tree is walked by hand ([`reader`]): one run tells everything.

mod grants;
mod load;
mod reader;
mod sections;
mod servers;
#[cfg(test)]
mod tests;
mod url;
mod values;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use load::{ConfigError, ExitCode};
pub use sections::is_instance;
pub use servers::is_name;
pub use url::{Url, UrlError};

use crate::policy::Grant;

/// A validated configuration. Nothing in it needs checking again.
///
/// A reload makes a new one; [`digest`](Config::digest) tells whether anything changed. Servers and grants are behind
/// `Arc`, so that connections keep theirs while a new generation takes over.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the authority's keys and everything else that must survive a restart lie.
    pub state_dir: PathBuf,
    /// What is captured.
    pub capture: Capture,
    /// The MCP servers that are opened and policed, in file order.
    pub servers: Vec<Arc<Server>>,
    /// The MCP servers that are commands (`transport = "stdio"`), in file order.
    pub commands: Vec<Arc<Server>>,
    /// Who may use which server under which policy, in file order; the first that matches wins.
    pub grants: Vec<Arc<Grant>>,
    /// Host names let through under `capture.other = "refuse"`, lower case (`[[allow]] host = …`).
    pub allow: Vec<String>,
    /// Metrics and health.
    pub admin: Admin,
    /// The audit log.
    pub audit: Audit,
    /// Trust towards the upstream servers.
    pub tls: Tls,
    /// Bounds on what peers may make policyd hold.
    pub limits: Limits,
    /// How long policyd waits for whom.
    pub timeouts: Timeouts,
    /// The files that it was read from, absolute: the configuration itself first, then policies and extra roots.
    pub files: Vec<PathBuf>,
    /// SHA-256 over the names and contents of `files`: equal digests, equal configurations.
    pub digest: [u8; 32],
}

/// `[capture]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Names this daemon's pinned links and maps below `/sys/fs/bpf/policyd/`; default `default`.
    pub instance: String,
    /// The agents' cgroups: paths below the cgroup2 mount, beginning with `/`. `/` is everyone.
    pub cgroups: Vec<String>,
    /// TCP ports besides those of the servers; default 443 and 80.
    pub ports: Vec<u16>,
    /// What happens to connections that no server's name claims.
    pub other: Other,
    /// What happens to a protected address that is reached under another name, or none.
    pub shared: Shared,
}

/// `capture.other`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Other {
    /// Spliced through, unread.
    #[default]
    Pass,
    /// Refused, on all ports, but for the names of `[[allow]]`.
    Refuse,
}

/// `capture.shared`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shared {
    /// A protected address is reached only under a configured name.
    #[default]
    Refuse,
    /// Other names at a protected address pass; leaves domain fronting open.
    Pass,
}

/// `[[server]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name in grants, metrics and records.
    pub name: String,
    /// `https` (true) or `http`.
    pub tls: bool,
    /// The URL's host, lower case, without brackets or a trailing dot.
    pub host: Host,
    /// The URL's port, 443 or 80 by default.
    pub port: u16,
    /// The URL's path: the MCP endpoint, such as `/mcp`.
    pub path: String,
    /// Connect here instead of to the address that the agent asked for.
    pub upstream: Option<SocketAddr>,
    /// What happens to requests on this host that carry no JSON-RPC and are not aimed at `path`.
    pub other_paths: OtherPaths,
}

/// A server's host: a DNS name or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A DNS name, lower case, in its ASCII form.
    Name(String),
    /// An address, as in `http://127.0.0.1:3000/mcp`.
    Address(std::net::IpAddr),
}

/// `other_paths`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherPaths {
    /// Forwarded as they are: OAuth and `/.well-known` need it.
    #[default]
    Pass,
    /// Refused.
    Refuse,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where `/metrics`, `/healthz` and `/readyz` are served; default `127.0.0.1:9464`. `None` (`listen = ""`): nowhere.
    pub listen: Option<SocketAddr>,
    /// The control socket; default `/run/policyd/control.sock`. `None` (`socket = ""`): none.
    pub socket: Option<PathBuf>,
    /// Where `policyd stdio` hands its sessions over, open to every local user; default `/run/policyd/stdio.sock`. `None`
    /// (`stdio = ""`): nowhere.
    pub stdio: Option<PathBuf>,
}

impl Admin {
    /// The default of `admin.socket`.
    pub const SOCKET: &str = "/run/policyd/control.sock";
    /// The default of `admin.stdio`.
    pub const STDIO: &str = "/run/policyd/stdio.sock";
}

/// `[audit]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The JSON Lines file; default `STATE_DIR/audit.jsonl`. `None` only under `policyd exec` without `--audit`.
    pub path: Option<PathBuf>,
    /// Whether records hold the arguments themselves beside their HMAC; default false.
    pub arguments: bool,
}

/// `[tls]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM files with roots to trust upstream besides the system's.
    pub extra_roots: Vec<PathBuf>,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a JSON-RPC body; default 4 MiB.
    pub body: usize,
    /// Bytes of a request's or response's head; default 64 KiB.
    pub head: usize,
    /// Header fields of a request or response; default 100.
    pub headers: usize,
    /// Concurrent streams of one HTTP/2 connection; default 128.
    pub streams: u32,
    /// Open connections of one agent (cgroup); default 1024.
    pub connections_per_agent: usize,
    /// Open connections in all; default 16384.
    pub connections: usize,
    /// Bytes of a list response that must be filtered; default 16 MiB.
    pub list: usize,
    /// Bytes of one SSE event or JSON response that must be read; default 64 MiB.
    pub event: usize,
}

/// `[timeouts]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the upstream of a silent client is opened, for servers that speak first; default 3 s.
    pub peek: Duration,
    /// A TLS handshake, on either side; default 10 s.
    pub handshake: Duration,
    /// An upstream connect, over all addresses; default 10 s.
    pub connect: Duration,
    /// A request's body, and the first bytes of a silent connection to a protected address; default 30 s.
    pub request: Duration,
    /// The response's head from the server; default 300 s (tools take long).
    pub response: Duration,
    /// An idle kept-alive connection, on either side, a request head that does not become whole included; default 300 s.
    pub idle: Duration,
    /// Running calls after SIGTERM; default 30 s.
    pub drain: Duration,
}

impl Server {
    /// A server that is a command and so has no URL: what it is called is all that is known of it.
    pub fn command(name: &str) -> Self {
        let host = Host::Name(String::new());
        let (path, other_paths) = (String::new(), OtherPaths::Refuse);
        Self { name: name.to_owned(), tls: false, host, port: 0, path, upstream: None, other_paths }
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            instance: "default".to_owned(),
            cgroups: Vec::new(),
            ports: vec![443, 80],
            other: Other::default(),
            shared: Shared::default(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464)),
            socket: Some(PathBuf::from(Self::SOCKET)),
            stdio: Some(PathBuf::from(Self::STDIO)),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 4 << 20,
            head: 64 << 10,
            headers: 100,
            streams: 128,
            connections_per_agent: 1024,
            connections: 16_384,
            list: 16 << 20,
            event: 64 << 20,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            peek: Duration::from_secs(3),
            handshake: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            request: Duration::from_secs(30),
            response: Duration::from_secs(300),
            idle: Duration::from_secs(300),
            drain: Duration::from_secs(30),
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}
