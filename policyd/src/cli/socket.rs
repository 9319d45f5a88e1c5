//! One request through the control socket, and where that is.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;

use super::{exit, say};
use crate::config::Admin;
use crate::visible::visible;

/// A daemon that does not answer by then is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the daemon answers.
#[derive(Clone, Debug, Args)]
pub(super) struct At {
    /// The daemon's control socket (default: what its configuration says)
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// The daemon's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/policyd/policyd.toml", global = true)]
    config: PathBuf,
}

impl At {
    /// The socket's path, or the exit code after it was said why there is none.
    pub fn path(&self) -> Result<PathBuf, u8> {
        if let Some(path) = &self.socket {
            return Ok(path.clone());
        }
        configured(&self.config)?.ok_or_else(|| {
            say(format_args!("`{}` turns the control socket off (`admin.socket`)", self.config.display()));
            exit::UNAVAILABLE
        })
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(
        "no daemon answers at `{0}`: start it (`systemctl start policyd`), or name its socket with --socket",
        path.display()
    )]
    Nobody { path: PathBuf },
    #[error("`{0}` may not be used by this user: run this as root, or as a member of the group `policyd`", path.display())]
    NotPermitted { path: PathBuf },
    #[error("what answers at `{0}` makes no sense ({cause}): is it policyd's control socket?", path.display())]
    Broken { path: PathBuf, cause: String },
    #[error("{0}")]
    Refused(String),
    /// What is there is not what the request is about.
    #[error("{0}")]
    Conflict(String),
}

impl Failure {
    /// The exit code for it.
    pub fn code(&self) -> u8 {
        match self {
            Failure::NotPermitted { .. } => exit::NOT_PERMITTED,
            Failure::Nobody { .. } | Failure::Broken { .. } | Failure::Refused(_) => exit::UNAVAILABLE,
            Failure::Conflict(_) => exit::FAILED,
        }
    }
}

/// Asks and gives the answer.
pub(super) fn ask<T: DeserializeOwned>(path: &Path, method: &str, target: &str, body: &str) -> Result<T, Failure> {
    let broken = |cause: String| Failure::Broken { path: path.to_owned(), cause };
    let failed = |cause: io::Error| broken(cause.to_string());
    let mut stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::NotPermitted { path: path.to_owned() },
        _ => Failure::Nobody { path: path.to_owned() },
    })?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let length = body.len();
    let head = format!("{method} {target} HTTP/1.1\r\nhost: policyd\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).map_err(failed)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(failed)?;
    let (status, body) = read(&answer).ok_or_else(|| broken("no HTTP".to_owned()))?;
    if status == 200 {
        return serde_json::from_slice(body).map_err(|error| broken(error.to_string()));
    }
    let said: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let said = said.as_ref().and_then(|said| said["error"].as_str());
    // Names in it may be a server's.
    let said = said.map(visible);
    Err(match (said, status) {
        (None, _) => broken(format!("status {status}")),
        (Some(said), 409) => Failure::Conflict(said),
        (Some(said), _) => Failure::Refused(said),
    })
}

/// The socket that the configuration names, or the default where there is none. Nothing else in it is looked at.
fn configured(config: &Path) -> Result<Option<PathBuf>, u8> {
    let default = || Ok(Some(PathBuf::from(Admin::SOCKET)));
    let text = match std::fs::read_to_string(config) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return default(),
        Err(error) => {
            say(format_args!("`{}` cannot be read: {error}; name the socket with --socket", config.display()));
            return Err(exit::NOT_PERMITTED);
        }
    };
    let Ok(table) = text.parse::<toml::Table>() else {
        say(format_args!("`{0}` is bad: see `policyd run --check --config {0}`", config.display()));
        return Err(exit::CONFIG);
    };
    match table.get("admin").and_then(|admin| admin.get("socket")).and_then(|socket| socket.as_str()) {
        None => default(),
        Some("") => Ok(None),
        Some(path) => Ok(Some(config.parent().unwrap_or(Path::new("/")).join(path))),
    }
}

/// The status and the body. It ends with the connection.
fn read(answer: &[u8]) -> Option<(u16, &[u8])> {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(end) = head.parse(answer).ok()? else { return None };
    Some((head.code?, answer.get(end..)?))
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_where_the_configuration_says() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("policyd.toml");
        assert_eq!(configured(&config), Ok(Some(Admin::SOCKET.into())));
        for (text, expected) in [
            ("", Ok(Some(Admin::SOCKET.into()))),
            ("[admin]\nsocket = \"\"", Ok(None)),
            ("[admin]\nsocket = \"a.sock\"", Ok(Some(folder.path().join("a.sock")))),
            ("[admin", Err(exit::CONFIG)),
        ] {
            std::fs::write(&config, text).unwrap();
            assert_eq!(configured(&config), expected, "{text}");
        }
    }

    #[test]
    fn nobody_there_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let said = ask::<()>(&path, "GET", "/counters", "").unwrap_err().to_string();
        assert!(said.contains("systemctl start policyd") && said.contains("control.sock"), "{said}");
    }

    #[test]
    fn answers_are_read_to_their_end() {
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n{}"), Some((200, &b"{}"[..])));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nx"), None);
        assert_eq!(read(b"\x16\x03\x01"), None);
    }
}
