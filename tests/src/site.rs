//! Hosts that are no MCP servers: an ordinary web site, and peers that misbehave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::world::{World, hosts};

/// Something that listens in the servers' namespace, one thread per connection, until its world ends with the test.
pub struct Site {
    connections: Arc<AtomicUsize>,
}

impl Site {
    /// An ordinary HTTPS site at [`hosts::SITE`] that answers every request with one line.
    pub fn start(world: &World) -> Self {
        let tls = world.authority.server_with_alpn(&[hosts::SITE.name], &["http/1.1"]);
        Self::at(world, (hosts::SITE.v4(), 443).into(), Some(tls), |stream| {
            if read_head(stream).is_none() {
                return;
            }
            let page = "the site itself\n";
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}", page.len()).ok();
        })
    }

    /// Runs `peer` on every connection to `address`, after the TLS handshake if there is one.
    pub fn at(
        world: &World,
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        peer: impl Fn(&mut dyn ReadWrite) + Send + Sync + 'static,
    ) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let (ready, is_ready) = mpsc::channel();
        let peer = Arc::new(peer);
        world.on_servers_side(move || {
            let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
            ready.send(()).ok();
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::Relaxed);
                let (tls, peer) = (tls.clone(), Arc::clone(&peer));
                std::thread::spawn(move || converse(stream, tls, &*peer));
            }
        });
        is_ready.recv().expect("a site that starts");
        Self { connections }
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// What a peer speaks through.
pub trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

fn converse(mut stream: TcpStream, tls: Option<Arc<ServerConfig>>, peer: &dyn Fn(&mut dyn ReadWrite)) {
    match tls {
        None => peer(&mut stream),
        Some(config) => {
            let connection = ServerConnection::new(config).expect("a sound configuration");
            let mut stream = StreamOwned::new(connection, stream);
            peer(&mut stream);
            stream.conn.send_close_notify();
            stream.flush().ok();
        }
    }
}

/// Reads an HTTP/1.1 request's head, up to its empty line; `None` when the connection ends before it.
pub fn read_head(stream: &mut dyn ReadWrite) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(head)
}
