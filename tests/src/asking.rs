//! Real servers that ask their clients for something (sampling, elicitation, roots), or change their tools, without TLS at the
//! workbench's host.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Running;
use crate::systems::repository;
use crate::wait;
use crate::world::{World, hosts};

/// A running server; killed when dropped.
pub struct Asking {
    running: Running,
    port: u16,
    path: &'static str,
}

impl Asking {
    /// npm `@modelcontextprotocol/server-everything` over Streamable HTTP.
    pub fn everything(world: &World) -> Self {
        Self::node(world, "streamableHttp", 3000, "/mcp")
    }

    /// The same over HTTP+SSE of 2024-11-05: its messages are posted to `/message`.
    pub fn everything_sse(world: &World) -> Self {
        Self::node(world, "sse", 3001, "/sse")
    }

    /// PyPI `mcp` 1.30.0 with `tests/servers/asks.py`.
    pub fn python(world: &World) -> Self {
        let python = cached("mcp-1.30.0/bin/python");
        let mut command = world.beside();
        command.arg(python).arg(repository().join("tests/servers/asks.py")).arg("3002");
        Self::start(world, command, 3002, "/mcp")
    }

    /// PyPI `mcp` 1.30.0 with `tests/servers/changes.py`: over `streamable-http` or `sse`, its tools are what `file` says.
    pub fn changing(world: &World, transport: &str, file: &Path) -> Self {
        let python = cached("mcp-1.30.0/bin/python");
        let mut command = world.beside();
        command.arg(python).arg(repository().join("tests/servers/changes.py")).args(["3003", transport]).arg(file);
        Self::start(world, command, 3003, if transport == "sse" { "/sse" } else { "/mcp" })
    }

    /// PyPI `mcp` 2.3.0 with `tests/servers/needs.py`: what it asks stands in results (2026-07-28).
    pub fn needing(world: &World) -> Self {
        let python = cached("mcp-2.3.0/bin/python");
        let mut command = world.beside();
        command.arg(python).arg(repository().join("tests/servers/needs.py")).arg("3004");
        Self::start(world, command, 3004, "/mcp")
    }

    /// `tests/servers/tour.py` with the Python environment `environment`, such as `mcp-2.3.0`.
    pub fn tour(world: &World, environment: &str) -> Self {
        let mut command = world.beside();
        command.arg(cached(&format!("{environment}/bin/python"))).arg(repository().join("tests/servers/tour.py"));
        command.arg("3003");
        Self::start(world, command, 3003, "/mcp")
    }

    fn node(world: &World, transport: &str, port: u16, path: &'static str) -> Self {
        let mut command = world.beside();
        command.args(["env", &format!("PORT={port}"), "node"]);
        command.arg(cached("node/node_modules/@modelcontextprotocol/server-everything/dist/index.js")).arg(transport);
        Self::start(world, command, port, path)
    }

    fn start(world: &World, command: Command, port: u16, path: &'static str) -> Self {
        let mut running = Running::start(command);
        wait::until("the server to listen", || {
            assert!(!running.has_ended(), "the server ended: {:#?}", running.stderr());
            let address = (hosts::WORKBENCH.v4(), port);
            let connected = world.on_agents_side(move || TcpStream::connect(address).is_ok());
            connected.join().expect("a thread that does not panic").then_some(())
        });
        Self { running, port, path }
    }

    /// What it wrote on standard output.
    pub fn said(&self) -> Vec<String> {
        self.running.stdout()
    }

    /// Its endpoint.
    pub fn url(&self) -> String {
        format!("http://{}:{}{}", hosts::WORKBENCH.name, self.port, self.path)
    }
}

fn cached(path: &str) -> PathBuf {
    let path = repository().join(".cache").join(path);
    assert!(path.exists(), "{} is missing: run `cargo xtask setup`", path.display());
    path
}
