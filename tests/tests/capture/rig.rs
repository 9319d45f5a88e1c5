//! A captured cgroup, a server that its agents must not reach, and capture in between.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use policyd::capture::{Acceptor, Capture, Counter, Options, Origin, Pins};
use policyd_tests::cgroup::Cgroup;
use policyd_tests::fork::Agent;
use tokio::time::timeout;

/// How long anything may take that must happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct Rig {
    pub capture: Capture,
    pub acceptor: Acceptor,
    pub cgroup: Cgroup,
    /// The real server. Nothing may arrive here.
    pub server: TcpListener,
}

impl Rig {
    /// Captures connects to a real server on 127.0.0.1.
    pub fn new(name: &str) -> Self {
        Self::with_server(name, "127.0.0.1:0")
    }

    /// Captures connects to a real server on `address`.
    pub fn with_server(name: &str, address: &str) -> Self {
        let server = TcpListener::bind(address).unwrap();
        server.set_nonblocking(true).unwrap();
        let cgroup = Cgroup::new(name).unwrap();
        let capture = Capture::start(options(name, &cgroup, server.local_addr().unwrap().port())).unwrap();
        let acceptor = capture.acceptor().unwrap();
        Self { capture, acceptor, cgroup, server }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.local_addr().unwrap()
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.capture.counters().unwrap().get(counter)
    }

    /// An agent in the captured cgroup.
    pub fn agent(&self, life: impl FnOnce(&mut File)) -> Agent {
        Agent::spawn(Some(&self.cgroup), life).unwrap()
    }

    /// The next redirected connection; it is answered so that the agent knows whom it reached.
    pub async fn accept(&mut self) -> (TcpStream, Origin) {
        let accepted = timeout(PATIENCE, self.acceptor.accept()).await;
        let (mut stream, _, origin) = accepted.expect("no connection was redirected").unwrap();
        stream.write_all(b"policyd").unwrap();
        (stream, origin)
    }

    /// Nobody came to the real server.
    pub fn assert_server_untouched(&self) {
        let error = self.server.accept().expect_err("a connect was let out");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
}

pub fn options(name: &str, cgroup: &Cgroup, port: u16) -> Options {
    Options {
        instance: format!("test-{}-{name}", std::process::id()),
        cgroups: vec![cgroup.path().to_owned()],
        ports: [port].into(),
        all_ports: false,
        pins: Pins::UntilDrop,
    }
}

/// What whoever is behind `stream` says of himself.
pub fn who(mut stream: TcpStream) -> String {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 7];
    match stream.read_exact(&mut answer) {
        Ok(()) => String::from_utf8_lossy(&answer).into_owned(),
        Err(error) => error.kind().to_string(),
    }
}
