//! What is refused for its form: every row of the table, on every HTTP transport, against a real server of each SDK that
//! shows what it would have executed.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use policyd::mcp::Cause;
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::frames;
use policyd_tests::process::Running;
use policyd_tests::server::{McpServer, Options};
use policyd_tests::strictness::{JSON, Peer, Row, documented, rows};
use policyd_tests::systems::{System, WORKBENCH, repository};
use policyd_tests::volley::Plan;
use policyd_tests::wait;
use policyd_tests::world::{World, hosts};
use serde_json::Value;

const ALLOWING: &str = r#"{"version": "1", "default": "allow"}"#;

/// A server of an SDK without TLS, and what it has executed.
struct Server {
    peer: Peer,
    address: SocketAddr,
    notes: Notes,
}

enum Notes {
    File(PathBuf, #[expect(dead_code, reason = "killed when dropped")] Running),
    Server(McpServer),
}

impl Server {
    fn start(world: &World, peer: Peer) -> Self {
        let port = 3100 + peer as u16;
        let address = SocketAddr::from((hosts::WORKBENCH.v4(), port));
        let notes = world.file(&format!("executed-{peer:?}"), "");
        let cache = repository().join(".cache");
        let script = |name: &str| repository().join("tests/servers").join(name);
        let mut command = world.beside();
        match peer {
            Peer::Rust => {
                let options = Options { sessions: false, ..Options::default() };
                let server = McpServer::at(world, address, None, &any_tool(), options);
                return Self { peer, address, notes: Notes::Server(server) };
            }
            Peer::TypeScript => {
                command.arg("node").arg(script("executes.mjs")).arg(cache.join("node/node_modules"));
            }
            Peer::Python1 => {
                command.arg(cache.join("mcp-1.30.0/bin/python")).arg(script("executes.py"));
            }
            Peer::Python2 => {
                command.arg(cache.join("mcp-2.3.0/bin/python")).arg(script("executes.py"));
            }
        }
        command.arg(port.to_string()).arg(&notes);
        let mut running = Running::start(command);
        wait::until("the server to listen", || {
            assert!(!running.has_ended(), "the server ended: {:#?}", running.stderr());
            let connected = world.on_servers_side(move || TcpStream::connect(address).is_ok());
            connected.join().unwrap().then_some(())
        });
        Self { peer, address, notes: Notes::File(notes, running) }
    }

    fn executed(&self) -> Vec<String> {
        match &self.notes {
            Notes::File(path, _) => std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect(),
            Notes::Server(server) => server.calls().into_iter().map(|call| call.tool).collect(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}:{}{path}", hosts::WORKBENCH.name, self.address.port())
    }

    fn name(&self) -> String {
        format!("{:?}", self.peer).to_lowercase()
    }
}

/// A system whose tools are those of the rows.
fn any_tool() -> System {
    let tools = rows()
        .iter()
        .map(|row| serde_json::json!({"name": row.tool(), "inputSchema": {"type": "object"}}))
        .collect::<Vec<_>>();
    System { tools: Box::leak(serde_json::to_string(&tools).unwrap().into_boxed_str()), ..WORKBENCH }
}

fn post(host: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json, text/event-stream\r\nConnection: close\r\n\
         Content-Length: {}\r\n",
        body.len()
    );
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

fn tools(executed: &[String]) -> BTreeSet<String> {
    executed.iter().cloned().collect()
}

fn expected(rows: &[Row], peer: Peer) -> BTreeSet<String> {
    rows.iter().filter(|row| row.executed_by.contains(&peer)).map(Row::tool).collect()
}

/// The decisions on what agents sent, in order.
fn decisions(daemon: &Daemon<'_>) -> Vec<Value> {
    daemon.audit().into_iter().filter(|record| record["record"] == "decision").collect()
}

/// A refusal's reply must be one that clients survive, and say why; its record must say the same.
fn check(what: &str, causes: &[&str], reply: &str, record: &Value) {
    let status = reply.split(' ').nth(1).unwrap_or_default();
    // 400, 404 and 405 make clients fall back to an older protocol; `id: null` hangs them.
    assert!(matches!(status, "200" | "422"), "{what}: {reply}");
    assert!(!reply.contains(r#""id":null"#) && (status == "422" || reply.contains(r#""id":1"#)), "{what}: {reply}");
    let sentences = causes.iter().map(|word| sentence(word)).collect::<Vec<_>>();
    assert!(sentences.iter().any(|sentence| reply.contains(sentence)), "{what}: {reply} instead of {sentences:?}");
    assert_eq!((&record["decision"], &record["rule"]), (&"deny".into(), &"malformed".into()), "{what}: {record}");
    let reason = record["reason"].as_str().unwrap_or_default();
    assert!(sentences.iter().any(|sentence| reason.contains(sentence)), "{what}: {record} instead of {sentences:?}");
}

fn sentence(word: &str) -> &'static str {
    let cause = Cause::ALL.iter().find(|cause| cause.word() == word);
    cause.unwrap_or_else(|| panic!("no cause is called `{word}`")).sentence()
}

/// A way of the rows to a server.
struct Way<'a> {
    /// The endpoint's path.
    path: &'a str,
    /// How requests are written, given the host.
    write: fn(&str, &Row) -> Vec<u8>,
    /// What opens a stream whose `endpoint` event names the target of the others (HTTP+SSE).
    stream: bool,
    /// Whether the rows stand in batches.
    batch: bool,
}

const STREAMABLE: Way<'_> =
    Way { path: "/mcp", write: |host, row| post(host, "/mcp", &row.fields, &row.body), stream: false, batch: false };

/// Under the only revision that knows batches.
const BATCHES: Way<'_> = Way {
    write: |host, row| {
        let fields = [&row.fields[..], &[("mcp-protocol-version", "2025-03-26")]].concat();
        post(host, "/mcp", &fields, &[b"[", &row.body[..], b"]"].concat())
    },
    batch: true,
    ..STREAMABLE
};

const SSE: Way<'_> =
    Way { path: "/sse", write: |host, row| post(host, "TARGET", &row.fields, &row.body), stream: true, batch: false };

/// What opens a session of HTTP+SSE.
const OPENING: [&str; 2] = [
    r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"rows","version":"1"}}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
];

/// Sends the rows to the server directly, then through policyd, which lets none of them through; gives what the server
/// executed of them directly, and how policyd replied.
fn both_ways(world: &World, server: &Server, way: &Way<'_>, rows: &[Row]) -> (BTreeSet<String>, Vec<String>) {
    let host = format!("{}:{}", hosts::WORKBENCH.name, server.address.port());
    let opening: &[&str] = if way.stream { &OPENING } else { &[] };
    let opening = opening.iter().map(|text| post(&host, "TARGET", &[JSON], text.as_bytes())).collect::<Vec<_>>();
    let opened = opening.len();
    let requests = opening.into_iter().chain(rows.iter().map(|row| (way.write)(&host, row))).collect();
    let get = format!("GET {} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n", way.path);
    let directly = Plan {
        address: server.address,
        tls: None,
        h2: false,
        first: way.stream.then(|| get.into_bytes()),
        requests,
        // A session must be open before the rest is sent.
        at_once: !way.stream,
        patience: Duration::from_millis(500),
    };
    directly.send(world, world.beside(), "plan");
    let direct = server.executed();

    let policy = world.file("policy.json", ALLOWING);
    let (name, url) = (server.name(), server.url(way.path));
    let config = Config::new().server(&name, &url).grant("anna", &world.agent_cgroup("anna"), &name, &policy);
    let daemon = Daemon::start(world, &config);
    let through = Plan { at_once: false, patience: Duration::from_secs(5), ..directly };
    let answers = through.send(world, world.agent("anna"), "plan");
    assert_eq!(server.executed()[direct.len()..], [] as [String; 0], "{name} executed what was to be refused");
    let mut records = decisions(&daemon);
    // The stream of HTTP+SSE is a decision of its own.
    records.retain(|record| record["method"] != "GET");
    assert_eq!(records.len(), opened + rows.len(), "{records:#?}");
    let replies: Vec<_> = answers[opened..].iter().map(|answer| String::from_utf8_lossy(answer).into_owned()).collect();
    for ((row, reply), record) in rows.iter().zip(&replies).zip(&records[opened..]) {
        // Within an array, what breaks the text may break it in another way.
        let causes = if way.batch { vec![row.cause, "batch", "syntax", "not-utf8"] } else { vec![row.cause] };
        check(&format!("{name}: {}", row.what), &causes, reply, record);
    }
    let counted = daemon.metric("policyd_malformed_total", &[]);
    assert_eq!(counted as usize, rows.len(), "{}", daemon.metrics());
    (tools(&direct), replies)
}

fn streamable(peer: Peer) {
    let world = World::new();
    let server = Server::start(&world, peer);
    let rows = rows();
    let (direct, replies) = both_ways(&world, &server, &STREAMABLE, &rows);
    for row in &rows {
        let mut same = rows.iter().zip(&replies).filter(|(other, _)| other.cause == row.cause);
        // Some rows of a cause have no id that could be read for certain.
        let is_error = same.any(|(_, reply)| reply.starts_with("HTTP/1.1 200"));
        assert_eq!(documented(row.cause), if is_error { "error" } else { "422" }, "{}", row.cause);
    }
    assert_eq!(direct, expected(&rows, peer), "what {peer:?} executes has changed");
}

/// As elements of batches, and over HTTP+SSE, the peers execute more or less of the same: `some` of it in any case.
fn otherwise(peer: Peer, way: &Way<'_>, some: &[&str]) {
    let world = World::new();
    let server = Server::start(&world, peer);
    let mut rows = rows();
    // Elsewhere than at the endpoint, what is no message may pass.
    rows.retain(|row| !way.stream || !matches!(row.cause, "empty" | "not-an-object"));
    // An array of nothing, and what is no element at all.
    rows.retain(|row| !way.batch || (row.in_body && row.cause != "empty"));
    let (direct, _) = both_ways(&world, &server, way, &rows);
    for tool in some {
        assert!(direct.contains(*tool), "{peer:?} executed only {direct:?}");
    }
}

#[test]
fn no_row_reaches_a_typescript_server() {
    streamable(Peer::TypeScript);
}

#[test]
fn no_row_reaches_a_python_server() {
    streamable(Peer::Python1);
}

#[test]
fn no_row_reaches_a_python_2_server() {
    streamable(Peer::Python2);
}

#[test]
fn no_row_reaches_a_rust_server() {
    streamable(Peer::Rust);
}

#[test]
fn no_row_reaches_a_typescript_server_over_sse() {
    otherwise(Peer::TypeScript, &SSE, &["a_name_twice", "70_levels"]);
}

#[test]
fn no_row_reaches_a_python_server_over_sse() {
    otherwise(Peer::Python1, &SSE, &["a_name_twice", "NaN"]);
}

#[test]
fn no_row_reaches_a_python_2_server_over_sse() {
    otherwise(Peer::Python2, &SSE, &["a_name_twice", "NaN"]);
}

#[test]
fn no_row_reaches_a_typescript_server_in_a_batch() {
    otherwise(Peer::TypeScript, &BATCHES, &["a_name_twice", "70_levels"]);
}

#[test]
fn no_row_reaches_a_server_over_http2() {
    let world = World::new();
    let server = McpServer::with(&world, &any_tool(), Options { sessions: false, ..Options::default() });
    let rows = rows();
    let accept = ("accept", "application/json, text/event-stream");
    let write = |row: &Row| {
        let fields: Vec<_> = [accept].into_iter().chain(row.fields.iter().copied()).collect();
        frames::post(WORKBENCH.host.name, "/mcp", &fields, &row.body)
    };
    let roots = world.path("test-root.pem");
    let directly = Plan {
        address: (WORKBENCH.host.v4(), 443).into(),
        tls: Some((WORKBENCH.host.name, &roots)),
        h2: true,
        first: None,
        requests: rows.iter().map(write).collect(),
        at_once: true,
        patience: Duration::from_millis(500),
    };
    directly.send(&world, world.beside(), "plan");
    let direct: Vec<_> = server.calls().into_iter().map(|call| call.tool).collect();
    assert_eq!(tools(&direct), expected(&rows, Peer::Rust));
    assert!(server.seen().iter().all(|seen| seen.h2));

    let seen = server.seen().len();
    let policy = world.file("policy.json", ALLOWING);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    let bundle = daemon.root();
    let through = Plan {
        tls: Some((WORKBENCH.host.name, &bundle)),
        at_once: false,
        patience: Duration::from_secs(5),
        ..directly
    };
    let answers = through.send(&world, world.agent("anna"), "plan");
    assert_eq!(server.seen().len(), seen, "something reached the server");
    let records = decisions(&daemon);
    assert_eq!(records.len(), rows.len(), "{records:#?}");
    for ((row, answer), record) in rows.iter().zip(&answers).zip(&records) {
        let answer = frames::answer(answer);
        // The status stands in a compressed block; an error of JSON-RPC comes with 200, plain text with 422.
        let status = if answer.body.starts_with('{') { 200 } else { 422 };
        let reply = format!("HTTP/2 {status} \r\n\r\n{}", answer.body);
        assert!(answer.head && answer.error.is_none(), "{}: {answer:?}", row.what);
        check(row.what, &[row.cause], &reply, record);
    }
}

/// Causes that no row can have: what HTTP itself frames, huge, slow and broken bodies (all in `smuggling.rs`), batches that were
/// agreed on and answers in requests (`methods.rs`), what only a server can send (`mcp::lists`, `mcp::requests`), and lines
/// (`stdio.rs`).
const ELSEWHERE: [&str; 20] = [
    "bad-head",
    "head-too-large",
    "body-length",
    "transfer-encoding",
    "bad-chunk",
    "broken-body",
    "slow-body",
    "too-large",
    "upgrade",
    "misdirected",
    "empty-batch",
    "long-batch",
    "batched-initialize",
    "repeated-id",
    "bad-inputs",
    "many-inputs",
    "bad-tool-list",
    "bad-list",
    "carriage-return",
    "line-too-long",
];

#[test]
fn every_cause_has_a_row() {
    let rows = rows();
    let shown: BTreeSet<&str> = rows.iter().map(|row| row.cause).chain(ELSEWHERE).chain(["batch"]).collect();
    let all: BTreeSet<&str> = Cause::ALL.iter().map(|cause| cause.word()).collect();
    assert_eq!(shown, all);
    let names: BTreeSet<String> = rows.iter().map(Row::tool).collect();
    assert_eq!(names.len(), rows.len(), "two rows have one name");
}
