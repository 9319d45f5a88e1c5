//! The comparison: direct, nginx, policyd, in interleaved rounds of random order on the same machine at the same time.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::proc;
use super::report::{self, Idle, Measured, Rounds};
use crate::agent::binary;
use crate::daemon::{Config, Daemon};
use crate::process::Running;
use crate::systems::WORKBENCH;
use crate::world::{World, hosts};

/// Arguments of `bench compare`.
#[derive(Args)]
pub struct Compare {
    /// Where to write the tables.
    #[arg(long)]
    out: PathBuf,
    /// Rounds of every measurement.
    #[arg(long, default_value_t = 5)]
    pub(super) rounds: usize,
    /// Milliseconds of each round.
    #[arg(long, default_value_t = 3000)]
    millis: u64,
    /// What the report says of the decision alone, measured elsewhere.
    #[arg(long)]
    decision: Option<String>,
}

/// The ways that a call can take.
pub const WAYS: [&str; 3] = ["direct", "nginx", "policyd"];

const POLICY: &str = r#"{"version": "1", "default": "deny", "tools": {"echo": {"limits": [
    {"counter": "calls", "window": "minute", "max": 1000000000, "scope": "grant"},
    {"counter": "daily", "window": "day", "max": 1000000000, "scope": "grant"}]}}}"#;

/// Connections of the memory measurement.
const IDLE: usize = 1000;

pub(super) struct Place {
    world: World,
    certificate: PathBuf,
    key: PathBuf,
}

impl Compare {
    /// Measures everything and writes the report.
    ///
    /// # Errors
    /// When the report cannot be written. What cannot be measured panics, and says why.
    pub fn run(self) -> anyhow::Result<()> {
        let place = Place::new();
        let _upstreams = place.upstreams();
        let mut calls = Vec::new();
        for body in [178, 2048] {
            eprintln!("bench: tools/call, {body} bytes, {} rounds of {} ms", self.rounds, self.millis);
            calls.push((body, self.calls(&place, body)));
        }
        eprintln!("bench: counters that outlive the daemon");
        let stored = self.stored(178);
        eprintln!("bench: throughput of a passed connection");
        let passed = self.passed(&place);
        eprintln!("bench: memory");
        let idle = place.memory();
        let text = report::write(&calls, &stored, &passed, &idle, self.decision.as_deref());
        println!("{text}");
        fs::write(&self.out, text)?;
        Ok(())
    }

    fn calls(&self, place: &Place, body: usize) -> Rounds {
        let nginx = place.nginx();
        let daemon = place.daemon();
        let workers = proc::family(nginx.pid());
        let mut rounds = Rounds::new(&WAYS);
        for round in 0..=self.rounds {
            for way in shuffled(WAYS.len()) {
                let pids = match WAYS[way] {
                    "nginx" => workers.clone(),
                    "policyd" => vec![daemon.pid()],
                    _ => Vec::new(),
                };
                let before = proc::cpu(&pids);
                let said = place.load(WAYS[way], &daemon, &self.arguments("call", body));
                let cpu = proc::cpu(&pids) - before;
                assert_eq!(
                    said["errors"],
                    0,
                    "{}: a run with errors is no result: {said}\n{}",
                    WAYS[way],
                    daemon.log()
                );
                // The first round only warms up: caches, pools, the minted leaf.
                if round > 0 {
                    rounds.add(way, Measured::calls(&said, cpu));
                }
            }
        }
        rounds
    }

    fn passed(&self, place: &Place) -> Rounds {
        let daemon = place.daemon();
        let relay = place.relay();
        let ways = ["splice relay", "policyd"];
        let pids = [relay.pid(), daemon.pid()];
        let mut rounds = Rounds::new(&ways);
        for round in 0..=self.rounds {
            for way in shuffled(ways.len()) {
                let before = proc::cpu(&pids[way..=way]);
                let address = ["127.0.0.1:7000".to_owned(), format!("{}:80", hosts::SITE.v4())];
                let mut command = if way == 0 { place.world.inside() } else { daemon.agent("office-agent") };
                command.arg(binary("bench")).args(["load", "download", &address[way], "--name", hosts::SITE.name]);
                command.args(["--connections", "1", "--millis", &self.millis.to_string()]);
                let said = said(command);
                assert_eq!(said["errors"], 0, "{}: {said}\n{}", ways[way], daemon.log());
                if round > 0 {
                    rounds.add(way, Measured::download(&said, proc::cpu(&pids[way..=way]) - before));
                }
            }
        }
        rounds
    }

    pub(super) fn arguments(&self, work: &str, body: usize) -> Vec<String> {
        let (body, millis) = (body.to_string(), self.millis.to_string());
        [work, "--body", &body, "--millis", &millis].map(str::to_owned).to_vec()
    }
}

/// The numbers below `count` in random order (by the address-space layout's randomness, which is plenty for this).
pub(super) fn shuffled(count: usize) -> Vec<usize> {
    use std::hash::{BuildHasher, RandomState};
    let state = RandomState::new();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|number| state.hash_one(number));
    order
}

fn said(command: Command) -> Value {
    let what = format!("{command:?}");
    let finished = Running::start(command).finish_within(Duration::from_secs(120));
    let line = finished.stdout.lines().last().and_then(|line| serde_json::from_str(line).ok());
    line.unwrap_or_else(|| panic!("{what}: {finished:#?}"))
}

impl Place {
    pub(super) fn new() -> Self {
        let world = World::new();
        let (certificate, key) = world.authority.pem_pair(&[WORKBENCH.host.name, hosts::SITE.name]);
        let certificate = world.file("server.pem", certificate);
        let key = world.file("server.key", key);
        Self { world, certificate, key }
    }

    /// The servers: the workbench over TLS, the site over TLS and plain.
    pub(super) fn upstreams(&self) -> Vec<Running> {
        let start = |address: String, tls: bool| {
            let mut command = self.world.beside();
            command.arg(binary("bench")).args(["upstream", &address]);
            if tls {
                command.arg("--certificate").arg(&self.certificate).arg("--key").arg(&self.key);
            }
            let mut running = Running::start(many_files(command));
            running.line("ready", 0, |line| line == "ready");
            running
        };
        let (workbench, site) = (WORKBENCH.host.v4(), hosts::SITE.v4());
        vec![
            start(format!("{workbench}:443"), true),
            start(format!("{site}:443"), true),
            start(format!("{site}:80"), false),
        ]
    }

    fn relay(&self) -> Running {
        let mut command = self.world.inside();
        command.arg(binary("bench")).args(["relay", "127.0.0.1:7000", &format!("{}:80", hosts::SITE.v4())]);
        let mut running = Running::start(command);
        running.line("ready", 0, |line| line == "ready");
        running
    }

    fn daemon(&self) -> Daemon<'_> {
        self.daemon_with(POLICY, &[])
    }

    /// A daemon under `policy`, with more arguments.
    pub(super) fn daemon_with(&self, policy: &str, more: &[&str]) -> Daemon<'_> {
        let policy = self.world.file("policy.json", policy);
        let config = Config::new().section("[limits]\nconnections_per_agent = 4096").system(
            &self.world,
            &WORKBENCH,
            &policy,
            &["office-agent"],
        );
        Daemon::start_as(&self.world, &config, &[], more)
    }

    /// Debian's nginx as a TLS relay: kept-alive upstream connections, the upstream's certificate verified, no log.
    fn nginx(&self) -> Nginx {
        let root = self.world.path("nginx");
        fs::create_dir_all(&root).expect("a folder in a folder of ours");
        let at = root.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {at}/{name};"))
            .join("\n    ");
        let text = format!(
            "daemon off;\nworker_processes 2;\nuser root;\npid {at}/pid;\nerror_log {at}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n    access_log off;\n    {temporary}\n    \
             upstream mcp {{ server {upstream}:443; keepalive 64; keepalive_requests 100000000; }}\n    \
             server {{\n        listen 127.0.0.1:8443 ssl;\n        keepalive_requests 100000000;\n        \
             ssl_certificate {certificate};\n        ssl_certificate_key {key};\n        ssl_protocols TLSv1.3;\n        \
             client_body_buffer_size 64k;\n        \
             location / {{\n            proxy_pass https://mcp;\n            proxy_http_version 1.1;\n            \
             proxy_set_header Connection \"\";\n            proxy_set_header Host $host;\n            \
             proxy_ssl_server_name on;\n            proxy_ssl_name {name};\n            proxy_ssl_verify on;\n            \
             proxy_ssl_protocols TLSv1.3;\n            proxy_ssl_trusted_certificate {root};\n        }}\n    }}\n}}\n",
            upstream = WORKBENCH.host.v4(),
            name = WORKBENCH.host.name,
            certificate = self.certificate.display(),
            key = self.key.display(),
            root = self.world.path("test-root.pem").display(),
        );
        let file = self.world.file("nginx/nginx.conf", text);
        let mut command = self.world.inside();
        command.args(["nginx", "-c"]).arg(file);
        let nginx = Nginx(Some(Running::start(command)));
        crate::wait::until("nginx's workers", || (proc::family(nginx.pid()).len() == 3).then_some(()));
        nginx
    }

    /// Runs the load generator the way `way`.
    pub(super) fn load(&self, way: &str, daemon: &Daemon<'_>, arguments: &[String]) -> Value {
        let (work, arguments) = arguments.split_first().expect("a kind of work");
        let relayed = format!("{}:443", WORKBENCH.host.v4());
        let (command, address, roots) = match way {
            "policyd" => (daemon.agent("office-agent"), relayed, daemon.root()),
            "nginx" => (self.world.inside(), "127.0.0.1:8443".to_owned(), self.world.path("test-root.pem")),
            _ => (self.world.inside(), relayed, self.world.path("test-root.pem")),
        };
        let mut command = command;
        command.arg(binary("bench")).args(["load", work, &address, "--name", WORKBENCH.host.name]);
        command.args(arguments).arg("--roots").arg(roots);
        said(command)
    }

    /// Resident sizes: idle, and with idle connections of either kind.
    fn memory(&self) -> Idle {
        let measure = |address: String, name: &str, roots: &dyn Fn(&Daemon<'_>) -> PathBuf| {
            let daemon = self.daemon();
            let empty = proc::resident(daemon.pid());
            let mut command = daemon.agent("office-agent");
            command.arg(binary("bench")).args(["load", "idle", &address, "--name", name, "--roots"]);
            command.arg(roots(&daemon)).args(["--connections", &IDLE.to_string()]);
            let mut clients = Running::start(many_files(command));
            clients.line("the connections", 0, |line| line.contains("idle"));
            let full = proc::resident(daemon.pid());
            (empty, (full.saturating_sub(empty)) as f64 / IDLE as f64)
        };
        let inspected =
            measure(format!("{}:443", WORKBENCH.host.v4()), WORKBENCH.host.name, &|daemon: &Daemon<'_>| daemon.root());
        let own = |_: &Daemon<'_>| self.world.path("test-root.pem");
        let passed = measure(format!("{}:443", hosts::SITE.v4()), hosts::SITE.name, &own);
        Idle { resident: inspected.0, inspected: inspected.1, passed: passed.1 }
    }
}

/// `command` under a shell that may open many files.
fn many_files(command: Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -n $(ulimit -H -n); exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(key, value);
        }
    }
    shell
}

/// nginx. Its workers outlive a master that is killed, so it has to be asked.
struct Nginx(Option<Running>);

impl Nginx {
    fn pid(&self) -> u32 {
        self.0.as_ref().map_or(0, Running::pid)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running.signal(Signal::SIGTERM);
            running.finish();
        }
    }
}
