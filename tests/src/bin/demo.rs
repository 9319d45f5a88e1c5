//! `cargo xtask demo`: the main job on real input, with a short narration of what to look at.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a demonstration: what fails ends it, and says so"
)]

use std::path::Path;
use std::time::Instant;

use policyd_tests::agent::{Outcome, Sdk, Step, Transcript, binary};
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::process::Running;
use policyd_tests::server::McpServer;
use policyd_tests::site::Site;
use policyd_tests::systems::{self, CONTEXTLAYER, PROMPTFAX, repository};
use policyd_tests::wait;
use policyd_tests::world::{World, hosts};
use serde_json::{Value, json};

const EVERYTHING: &str = "http://127.0.0.1:3000/mcp";

fn main() {
    let start = Instant::now();
    say("policyd: a policy between AI agents and the MCP servers they call.");
    say("Real servers under their real names, in a network namespace made for this; nothing leaves this machine.");
    let world = World::new();
    let servers = systems::ALL.map(|system| McpServer::start(&world, &system));
    let server = |name: &str| systems::ALL.iter().position(|system| system.name == name).map(|i| &servers[i]).unwrap();
    let _site = Site::start(&world);
    let _everything = everything(&world);

    exec(&world, server(PROMPTFAX.name));
    let daemon = Daemon::start(&world, &configuration(&world));
    daemon_polices(&daemon, server(CONTEXTLAYER.name));
    passing(&daemon);
    records(&daemon);
    metrics(&daemon);

    title("That was it");
    say(&format!("{:.0} seconds. Three commands to try next, as root:", start.elapsed().as_secs_f64()));
    say("");
    show("cargo build --package policyd && ./target/debug/policyd doctor");
    show(
        "./target/debug/policyd exec --server URL --write-policy starter.json -- YOUR-AGENT   # observes, refuses nothing",
    );
    show("./target/debug/policyd exec --server URL --policy starter.json -- YOUR-AGENT");
}

fn title(text: &str) {
    println!("\n\x1b[1m== {text}\x1b[0m");
}

fn say(text: &str) {
    println!("{text}");
}

fn show(text: impl AsRef<str>) {
    for line in text.as_ref().lines() {
        println!("    {line}");
    }
}

fn short(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).display().to_string()
}

fn everything(world: &World) -> Running {
    let mut command = world.inside();
    command.args(["env", "PORT=3000", "node"]);
    command.arg(repository().join(".cache/node/node_modules/@modelcontextprotocol/server-everything/dist/index.js"));
    command.arg("streamableHttp");
    let running = Running::start(command);
    wait::until("server-everything to listen", || {
        let connected = world.on_agents_side(|| std::net::TcpStream::connect("127.0.0.1:3000").is_ok());
        connected.join().is_ok_and(|connected| connected).then_some(())
    });
    running
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok(text) => format!("ok: {text}"),
        Outcome::Failed(text) => format!("isError: {text}"),
        Outcome::Error(code, message) => format!("error {code}: {message}"),
    }
}

/// The quick way: one command, no configuration.
fn exec(world: &World, server: &McpServer) {
    title("1. policyd exec: an unmodified Python agent (mcp 2.3.0) and https://promptfax.app/mcp");
    let policy = PROMPTFAX.policy();
    let url = PROMPTFAX.url();
    show(format!("$ policyd exec --policy {} --server {url} -- python client.py", short(&PROMPTFAX.policy())));
    let mut command = world.inside();
    command.arg(binary("policyd")).arg("exec").arg("--policy").arg(&policy).args(["--server", &url, "--"]);
    let transcript =
        Sdk::Python2.run(command, &url, &[Step::List, Step::call(PROMPTFAX.tool, 11), Step::call("send_fax", 1)]);
    let calls = transcript.calls(PROMPTFAX.tool);
    let tools: Vec<Value> = serde_json::from_str(PROMPTFAX.tools).expect("a list of tools");
    say(&format!("The server has {} tools; the agent is shown what it may call:", tools.len()));
    show(format!("tools/list → {}", transcript.list(0).join(", ")));
    say("Ten calls in a minute pass, the eleventh does not. This is what the agent's model reads:");
    let passed = calls.iter().filter(|call| matches!(call, Outcome::Ok(_))).count();
    show(format!("start_session, {passed} times → {}", outcome(&calls[0])));
    show(format!("start_session, once more → {}", outcome(calls.last().unwrap())));
    show(format!("send_fax → {}", outcome(&transcript.calls("send_fax")[0])));
    say(&format!(
        "The server itself executed {} calls. What policyd said on stderr, at the end:",
        server.calls().len()
    ));
    let told: Vec<&str> = transcript.finished.stderr.lines().collect();
    show(told[told.len().saturating_sub(12)..].join("\n"));
    assert_eq!((passed, server.calls().len()), (10, 10), "ten calls must pass and no more: {transcript:#?}");
}

fn configuration(world: &World) -> Config {
    let policy = json!({"version": "1", "default": "allow", "hide": ["get-env"]});
    let hiding = world.file("everything.json", policy.to_string());
    let agent = world.agent_cgroup("office-agent");
    Config::new()
        .system(world, &CONTEXTLAYER, &CONTEXTLAYER.policy(), &["office-agent"])
        .server("everything", EVERYTHING)
        .grant("everything", &agent, "everything", &hiding)
}

/// The daemon, two servers, a TypeScript agent in a cgroup.
fn daemon_polices(daemon: &Daemon<'_>, server: &McpServer) {
    title("2. policyd run: a TypeScript agent (@modelcontextprotocol/sdk 1.32.2) and two servers");
    let run =
        |url: &str, steps: &[Step]| -> Transcript { Sdk::TypeScript.run(daemon.agent("office-agent"), url, steps) };
    let transcript = run(&CONTEXTLAYER.url(), &[Step::call(CONTEXTLAYER.tool, 11), Step::call(CONTEXTLAYER.other, 1)]);
    let calls = transcript.calls(CONTEXTLAYER.tool);
    say(&format!("{}, under its policy in deploy/policies/:", CONTEXTLAYER.url()));
    show(format!("start_session, the 10th → {}", outcome(&calls[9])));
    show(format!("start_session, the 11th → {}", outcome(&calls[10])));
    show(format!("{} → {}", CONTEXTLAYER.other, outcome(&transcript.calls(CONTEXTLAYER.other)[0])));
    assert_eq!(server.calls().len(), 10, "ten calls must pass and no more: {transcript:#?}");

    say(&format!("\nserver-everything on {EVERYTHING}, with `\"hide\": [\"get-env\"]`:"));
    let echo = Step::Call("echo", json!({"message": "hello"}), 1);
    let transcript = run(EVERYTHING, &[Step::List, echo, Step::call("get-env", 1)]);
    let list = transcript.list(0);
    show(format!("tools/list → {} …, and no get-env", list[..4].join(", ")));
    show(format!("echo → {}", outcome(&transcript.calls("echo")[0])));
    show(format!("get-env → {}", outcome(&transcript.calls("get-env")[0])));
    assert!(!list.iter().any(|tool| tool == "get-env"), "get-env must not be listed: {list:?}");
}

fn issuer(daemon: &Daemon<'_>, url: &str) -> String {
    let mut curl = daemon.agent("office-agent");
    curl.args(["curl", "--silent", "--verbose", "--output", "/dev/null", "--max-time", "20", url]);
    let finished = Running::start(curl).finish();
    let line = finished.stderr.lines().find_map(|line| line.split_once("issuer: "));
    line.unwrap_or_else(|| panic!("no certificate: {finished:#?}")).1.to_owned()
}

/// What is no MCP server is not opened.
fn passing(daemon: &Daemon<'_>) {
    title("3. Everything else passes through unread");
    say("The same agent asks an ordinary web site. The certificate that it sees is the site's own:");
    let site = format!("https://{}/", hosts::SITE.name);
    show(format!("{site}  issued by {}", issuer(daemon, &site)));
    say("And, for comparison, a server that a policy names:");
    show(format!("{}  issued by {}", CONTEXTLAYER.url(), issuer(daemon, &CONTEXTLAYER.url())));
}

fn records(daemon: &Daemon<'_>) {
    title("4. The audit log: a decision before the effect, an outcome after it, joined by the call's id");
    let records = wait::until("the denied call's outcome", || {
        let records = daemon.audit();
        let denied = records.iter().find(|record| record["decision"] == "deny" && record["rule_kind"] == "limit")?;
        let outcome = records.iter().find(|r| r["record"] == "outcome" && r["call"] == denied["call"])?;
        Some([denied.to_string(), outcome.to_string()])
    });
    for record in records {
        show(record);
    }
    say("Arguments are not in it, only a keyed hash of them.");
}

fn metrics(daemon: &Daemon<'_>) {
    title("5. The same in metrics (http://127.0.0.1:9464/metrics)");
    let text = daemon.metrics();
    let wanted = ["policyd_decisions_total{", "policyd_connections_total{"];
    for line in
        text.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)) && !line.contains("tool=\"\""))
    {
        show(line);
    }
}
