//! The public conformance suite, run directly and through policyd with a policy that allows everything: the verdict of
//! every check must be the same. `cargo xtask conformance`.
//!
//! The two columns have servers of their own, alike in everything but their address, so that neither sees what the other
//! left behind. Directly means outside of what policyd captures, on the same machine and at the same time.

#![expect(deprecated, reason = "older versions have sampling, roots and logging, and the suite tests them")]

pub mod fixtures;
pub mod report;
pub mod suite;
mod tasks;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::agent::binary;
use crate::daemon::{Config, Daemon};
use crate::process::Running;
use crate::server::Serving;
use crate::systems::repository;
use crate::wait;
use crate::world::{Host, World, hosts};
use fixtures::{Behaviour, Side};
use report::Pair;

/// What to run.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Conformance {
    /// Only the runs whose name contains this, such as `2025-11-25` or `https`
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Print every check, not only those that differ
    #[arg(long)]
    checks: bool,
    /// Keep what the suite wrote, in this folder
    #[arg(long, value_name = "FOLDER")]
    results: Option<PathBuf>,
}

/// A server under test, and the two addresses that it is reached by.
struct Target {
    name: &'static str,
    direct: String,
    through: String,
}

/// One start of the suite, to be made twice.
struct Run {
    name: String,
    direct: (Command, Vec<String>),
    through: (Command, Vec<String>),
}

const ALLOW: &str = r#"{"version": "1", "default": "allow"}"#;
/// The suite asks a server under a name that is not its own, and wants the server's answer.
const SHARED: &str = r#"shared = "pass""#;
/// The agent that the suite is when it runs through policyd.
const AGENT: &str = "suite";
/// The client under test.
const CLIENT: &str = "tests/clients/node22/conformance.mjs";
/// Two hosts for the fixtures behind TLS.
const TLS: [Host; 2] = [hosts::AXINT, hosts::WORKBENCH];

impl Conformance {
    /// Runs it all, prints the two columns, and tells whether every verdict was the same.
    pub fn run(&self) -> bool {
        let world = World::new();
        let _fixtures = fixtures(&world);
        let _everything = ["3003", "3004"].map(|port| everything(&world, port));
        let targets = targets();
        let policy = world.file("allow.json", ALLOW);
        let config = targets.iter().fold(Config::new().capture(SHARED), |config, target| {
            let name = target.name.replace(' ', "-");
            config.server(&name, &target.through).grant(&name, &world.agent_cgroup(AGENT), &name, &policy)
        });
        let daemon = Daemon::start(&world, &config);
        let results = self.results.clone().unwrap_or_else(|| world.path("results"));
        let mut runs = clients(&world, &policy);
        for target in &targets {
            for version in suite::VERSIONS {
                let arguments = |url: &str| [suite::all("server", version), vec!["--url".into(), url.into()]].concat();
                runs.push(Run {
                    name: format!("server, {version}, {}", target.name),
                    direct: (directly(&world), arguments(&target.direct)),
                    through: (daemon.agent(AGENT), arguments(&target.through)),
                });
            }
        }
        runs.retain(|run| run.name.contains(&self.only));
        let pairs = compared(&runs, &results);
        report::print(&pairs, self.checks)
    }
}

/// A command prefix for what policyd does not capture, that trusts the world's authority.
fn directly(world: &World) -> Command {
    let mut command = world.inside();
    command.env("NODE_EXTRA_CA_CERTS", world.path("test-root.pem"));
    command
}

/// The suite as a server: it starts the client itself, with the URL as the last argument. Through policyd, that is a script
/// that runs the client under `policyd exec` for that server.
fn clients(world: &World, policy: &Path) -> Vec<Run> {
    let program = format!("{} {}", suite::node().display(), repository().join(CLIENT).display());
    let exec = format!("{} exec --quiet --policy {} --server \"$1\" --", binary("policyd").display(), policy.display());
    // The suite starts all its clients at once; a lock for each column lets one after the other run.
    let script = |column: &str, prefix: &str| {
        let lock = world.path(&format!("{column}.lock"));
        let script = format!("#!/bin/sh\nexec flock {} {prefix} {program} \"$1\"\n", lock.display());
        format!("sh {}", world.file(&format!("{column}.sh"), script).display())
    };
    let (direct, through) = (script("direct", ""), script("through", &exec));
    let run = |version| {
        let arguments = |command: &str| {
            let more = ["--command", command, "--timeout", "600000"].map(str::to_owned);
            [suite::all("client", version), more.to_vec()].concat()
        };
        Run {
            name: format!("client, {version}, TypeScript"),
            direct: (world.inside(), arguments(&direct)),
            through: (world.inside(), arguments(&through)),
        }
    };
    suite::VERSIONS.map(run).into_iter().collect()
}

fn targets() -> [Target; 3] {
    let tls = TLS.map(|host| format!("https://{}/mcp", host.name));
    let [direct, through] = tls;
    [
        Target { name: "rmcp", direct: local(3001), through: local(3002) },
        Target { name: "rmcp https", direct, through },
        Target { name: "everything", direct: local(3003), through: local(3004) },
    ]
}

fn local(port: u16) -> String {
    format!("http://127.0.0.1:{port}/mcp")
}

fn fixtures(world: &World) -> Vec<Serving> {
    fn behaviour<'a>(hosts: &'a [&'a str]) -> Behaviour<'a> {
        Behaviour { hosts, sessions: true, page: 0 }
    }
    let local = [3001, 3002].map(|port| {
        fixtures::start(world, Side::Agents, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), None, behaviour(&[]))
    });
    let remote = TLS.map(|host| {
        let tls = world.authority.server(&[host.name]);
        fixtures::start(world, Side::Servers, (IpAddr::from(host.v4()), 443).into(), Some(tls), behaviour(&[host.name]))
    });
    local.into_iter().chain(remote).collect()
}

/// server-everything beside the agents: the suite tests what servers of this machine do about other names.
fn everything(world: &World, port: &str) -> Running {
    let mut command = world.inside();
    command.args(["env", &format!("PORT={port}"), "node"]);
    command.arg(repository().join(".cache/node/node_modules/@modelcontextprotocol/server-everything/dist/index.js"));
    command.arg("streamableHttp");
    let running = Running::start(command);
    let address = format!("127.0.0.1:{port}");
    wait::until("server-everything to listen", || {
        let address = address.clone();
        let connected = world.on_agents_side(move || TcpStream::connect(address).is_ok());
        connected.join().is_ok_and(|connected| connected).then_some(())
    });
    running
}

/// Makes the runs, two at once, and gives their verdicts in their order.
///
/// Some scenarios depend on time, and a busy machine then judges differently. So runs that differ are made once more, one
/// after the other, and that counts.
fn compared(runs: &[Run], results: &Path) -> Vec<Pair> {
    let indices = Mutex::new(0..runs.len());
    let first = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(index) = indices.lock().unwrap().next() else { return };
                    let pair = runs[index].make(&results.join(index.to_string()));
                    first.lock().unwrap().insert(index, pair);
                }
            });
        }
    });
    let pairs = first.into_inner().unwrap().into_iter();
    let again = pairs.map(|(index, pair)| {
        if pair.is_equal() {
            return pair;
        }
        println!("{}: differs, and is made again", pair.name);
        runs[index].make(&results.join(format!("{index}-again")))
    });
    again.collect()
}

impl Run {
    /// Both columns at once.
    fn make(&self, results: &Path) -> Pair {
        let half = |(command, arguments): &(Command, Vec<String>), column: &str| {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            suite::run(command, &results.join(column), &arguments)
        };
        std::thread::scope(|scope| {
            let direct = scope.spawn(|| half(&self.direct, "direct"));
            let through = half(&self.through, "through");
            Pair { name: self.name.clone(), direct: direct.join().expect("a suite that runs"), through }
        })
    }
}
