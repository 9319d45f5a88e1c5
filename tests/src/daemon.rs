//! policyd itself: `policyd run` in the agents' namespace, and what it tells about itself.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::agent::binary;
use crate::process::{Finished, Running};
use crate::systems::System;
use crate::wait;
use crate::world::World;

/// Where the admin endpoints stand in each world: its namespace is its own.
const ADMIN: &str = "127.0.0.1:9464";

/// The configuration of a daemon, as a person would write it.
#[derive(Clone, Debug, Default)]
pub struct Config {
    capture: String,
    sections: String,
    servers: String,
    grants: String,
}

impl Config {
    /// A configuration without servers or grants.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `[[server]]` with this name and URL.
    pub fn server(self, name: &str, url: &str) -> Self {
        self.server_with(name, url, "")
    }

    /// Adds `[[server]]` that is a command.
    pub fn command(mut self, name: &str) -> Self {
        self.servers += &format!("\n[[server]]\nname = \"{name}\"\ntransport = \"stdio\"\n");
        self
    }

    /// Adds `[[server]]` with more lines of TOML.
    pub fn server_with(mut self, name: &str, url: &str, more: &str) -> Self {
        self.servers += &format!("\n[[server]]\nname = \"{name}\"\nurl = \"{url}\"\n{more}\n");
        self
    }

    /// Adds `[[grant]]` for a cgroup.
    pub fn grant(mut self, name: &str, cgroup: &str, server: &str, policy: &Path) -> Self {
        self.grants += &format!(
            "\n[[grant]]\nname = \"{name}\"\nwho = {{ cgroup = \"{cgroup}\" }}\nserver = \"{server}\"\npolicy = \"{}\"\n",
            policy.display()
        );
        self
    }

    /// Adds `system` and a grant named after each of `agents` for it under `policy`.
    pub fn system(self, world: &World, system: &System, policy: &Path, agents: &[&str]) -> Self {
        let with_server = self.server(system.name, &system.url());
        agents.iter().fold(with_server, |config, agent| {
            let name = format!("{agent}-{}", system.name);
            config.grant(&name, &world.agent_cgroup(agent), system.name, policy)
        })
    }

    /// Adds lines to `[capture]`.
    pub fn capture(mut self, lines: &str) -> Self {
        self.capture += &format!("{lines}\n");
        self
    }

    /// Adds whole sections.
    pub fn section(mut self, text: &str) -> Self {
        self.sections += &format!("\n{text}\n");
        self
    }

    fn text(&self, world: &World) -> String {
        let audit = if self.sections.contains("[audit]") {
            String::new()
        } else {
            format!("[audit]\npath = \"{}\"\n", world.path("audit.jsonl").display())
        };
        format!(
            "state_dir = \"{}\"\n\n[capture]\ninstance = \"default\"\ncgroups = [\"{}\"]\n{}\n[admin]\nlisten = \"{ADMIN}\"\n\
             socket = \"{}\"\nstdio = \"{}\"\n\n{audit}{}{}{}",
            world.path("state").display(),
            world.cgroup(),
            self.capture,
            world.path("control.sock").display(),
            world.path("stdio.sock").display(),
            self.sections,
            self.servers,
            self.grants
        )
    }
}

/// A running `policyd run`; killed when dropped.
pub struct Daemon<'w> {
    world: &'w World,
    running: Running,
    config: PathBuf,
}

impl<'w> Daemon<'w> {
    /// Writes the configuration, starts the daemon and waits until it is ready.
    pub fn start(world: &'w World, config: &Config) -> Self {
        Self::start_under(world, config, &[])
    }

    /// As [`Daemon::start`], through the command `under`, such as one that takes capabilities away.
    pub fn start_under(world: &'w World, config: &Config, under: &[&str]) -> Self {
        Self::start_as(world, config, under, &[])
    }

    /// As [`Daemon::start`], through the command `under` and with more arguments.
    pub fn start_as(world: &'w World, config: &Config, under: &[&str], more: &[&str]) -> Self {
        let path = world.file("policyd.toml", config.text(world));
        let mut daemon = Self::launch(world, path, under, more);
        wait::until("policyd to be ready", || {
            assert!(!daemon.running.has_ended(), "policyd ended: {:#?}", daemon.running.stderr());
            daemon.get("/readyz").is_some_and(|(status, _)| status == 200).then_some(())
        });
        daemon
    }

    /// As [`Daemon::start`], of a daemon that cannot serve yet: waits until it answers.
    pub fn start_unready(world: &'w World, config: &Config) -> Self {
        let path = world.file("policyd.toml", config.text(world));
        let mut daemon = Self::launch(world, path, &[], &[]);
        wait::until("policyd to take connections", || {
            assert!(!daemon.running.has_ended(), "policyd ended: {:#?}", daemon.running.stderr());
            daemon.get("/readyz").is_some_and(|(_, text)| text.contains("was captured")).then_some(())
        });
        daemon
    }

    fn launch(world: &'w World, config: PathBuf, under: &[&str], more: &[&str]) -> Self {
        let mut command = world.inside();
        command.args(under).arg(binary("policyd")).arg("run").arg("--config").arg(&config).args(more);
        Self { world, running: Running::start(command), config }
    }

    /// Runs `policyd run` with this configuration and gives how it ended.
    pub fn fails(world: &World, config: &Config) -> Finished {
        let path = world.file("policyd.toml", config.text(world));
        Daemon::launch(world, path, &[], &[]).running.finish()
    }

    /// Replaces the configuration's file.
    pub fn rewrite(&self, config: &Config) {
        fs::write(&self.config, config.text(self.world)).expect("a file in a folder of ours");
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.running.stderr().join("\n")
    }

    /// Waits for its end.
    pub fn finish(self) -> Finished {
        self.running.finish()
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(self) {
        self.signal(Signal::SIGKILL);
        self.running.finish();
    }

    /// GET of the admin endpoint: status and body; `None` when nobody answers.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {ADMIN}\r\nconnection: close\r\n\r\n");
        let asked = self.world.on_agents_side(move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(ADMIN)?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        let answer = asked.join().expect("a thread that does not panic").ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        Some((status, body.to_owned()))
    }

    /// The metrics in the text format.
    pub fn metrics(&self) -> String {
        self.get("/metrics").expect("metrics").1
    }

    /// The sum of the samples of `name` whose labels hold all of `labels` (such as `decision="deny"`).
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics();
        let samples = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (set, value) = rest.rsplit_once(' ')?;
            let named = set.is_empty() || set.starts_with('{');
            (named && labels.iter().all(|label| set.contains(label))).then(|| value.parse::<f64>().ok())?
        });
        samples.sum()
    }

    /// The audit records so far.
    pub fn audit(&self) -> Vec<Value> {
        audit(&self.world.path("audit.jsonl"))
    }

    /// A file that holds policyd's root.
    pub fn root(&self) -> PathBuf {
        let path = self.world.path("policyd-root.pem");
        let mut command = self.policyd(&["ca", "export", "--output"]);
        command.arg(&path).arg("--state-dir").arg(self.world.path("state"));
        run(command);
        path
    }

    /// A command prefix for the agent `agent` that trusts policyd, with the variables of `policyd ca env`.
    pub fn agent(&self, agent: &str) -> Command {
        let mut command = self.world.agent(agent);
        for (key, value) in self.trust() {
            command.env(key, value);
        }
        command
    }

    fn trust(&self) -> Vec<(String, String)> {
        let mut command = self.policyd(&["ca", "env", "--json", "--state-dir"]);
        command.arg(self.world.path("state"));
        let said: serde_json::Map<String, Value> = serde_json::from_str(&run(command)).expect("a JSON object");
        said.into_iter().map(|(key, value)| (key, value.as_str().unwrap_or_default().to_owned())).collect()
    }

    /// Runs `policyd counters` with the daemon's control socket.
    pub fn counters(&self, arguments: &[&str]) -> Finished {
        let mut command = self.policyd(&["counters", "--config"]);
        command.arg(&self.config).args(arguments);
        Running::start(command).finish()
    }

    /// Runs `policyd tools` with the daemon's control socket.
    pub fn tools(&self, arguments: &[&str]) -> Finished {
        let mut command = self.policyd(&["tools", "--config"]);
        command.arg(&self.config).args(arguments);
        Running::start(command).finish()
    }

    fn policyd(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.inside();
        command.arg(binary("policyd")).args(arguments);
        command
    }
}

/// Reads a file of JSON Lines.
///
/// # Panics
/// When a line is not JSON.
pub fn audit(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn run(command: Command) -> String {
    let what = format!("{command:?}");
    let finished = Running::start(command).finish();
    assert!(finished.status.success(), "{what}: {finished:#?}");
    finished.stdout
}
