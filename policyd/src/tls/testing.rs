//! What the tests of this module share.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::config::{Host, OtherPaths, Server};

/// A host from its text.
pub fn host(text: &str) -> Host {
    text.parse().map_or_else(|_| Host::Name(text.into()), Host::Address)
}

/// A server `https://HOST:PORT/mcp`, or `http://`.
pub fn server(tls: bool, name: &str, port: u16) -> Arc<Server> {
    Arc::new(Server {
        name: format!("server-{name}"),
        tls,
        host: host(name),
        port,
        path: "/mcp".into(),
        upstream: None,
        other_paths: OtherPaths::Pass,
    })
}

/// `https://` servers at port 443.
pub fn servers(names: &[&str]) -> Vec<Arc<Server>> {
    names.iter().map(|name| server(true, name, 443)).collect()
}

/// Serves TLS on loopback for as long as the test runs: answers every connection's first bytes with a short page.
pub fn serve(address: &str, config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let Ok(connection) = ServerConnection::new(config.clone()) else { continue };
            let mut stream = StreamOwned::new(connection, socket);
            // A client that rejects the certificate ends the connection here; the client's own verdict is what counts.
            if stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n");
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    address
}

/// Runs a program to its end. A machine that lacks it fails the test: a verifier that was not asked has not agreed.
pub fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null());
    command.output().unwrap_or_else(|error| panic!("`{program}` is needed (`cargo xtask setup` installs it): {error}"))
}
