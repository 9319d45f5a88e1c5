//! HTTP that two readers could read differently: what policyd refuses, and how, and that what it forwards is one
//! well-framed request of the bytes that it judged.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "smuggling/forms.rs"]
mod forms;
#[path = "smuggling/http2.rs"]
mod http2;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use policyd::mcp::Cause;
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::process::Running;
use policyd_tests::server::{McpServer, Options};
use policyd_tests::site::{ReadWrite, Site, read_head};
use policyd_tests::systems::WORKBENCH;
use policyd_tests::volley::Plan;
use policyd_tests::world::World;
use serde_json::Value;

use forms::{CALL, SMUGGLED, chunked, post, refused, request};

const POLICY: &str = r#"{"version": "1", "default": "deny", "tools": {"echo": {}}}"#;

/// The requests that a server read: each one's head and body.
type Recorded = Arc<Mutex<Vec<(String, String)>>>;

/// A server that records what it gets, byte for byte, and frames it by the plain rules.
struct Recorder {
    recorded: Recorded,
    _site: Site,
}

impl Recorder {
    fn start(world: &World) -> Self {
        let recorded = Recorded::default();
        let into = Arc::clone(&recorded);
        let tls = world.authority.server_with_alpn(&[WORKBENCH.host.name], &["http/1.1"]);
        let site = Site::at(world, (WORKBENCH.host.v4(), 443).into(), Some(tls), move |stream| {
            while let Some(head) = read_head(stream) {
                let head = String::from_utf8(head).unwrap();
                let body = read_body(stream, &head);
                into.lock().unwrap().push((head, body));
                let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
                    answer.len()
                )
                .unwrap();
                stream.flush().unwrap();
            }
        });
        Self { recorded, _site: site }
    }

    fn take(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.recorded.lock().unwrap())
    }
}

fn read_body(stream: &mut dyn ReadWrite, head: &str) -> String {
    let lower = head.to_ascii_lowercase();
    assert_eq!(
        lower.matches("\r\ncontent-length:").count() + lower.matches("\r\ntransfer-encoding:").count(),
        usize::from(!lower.starts_with("get ") && !lower.starts_with("options ")),
        "{head}"
    );
    let Some((_, rest)) = lower.split_once("\r\ncontent-length:") else { return String::new() };
    let length: usize = rest.split("\r\n").next().unwrap().trim().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

/// What was recorded but for the requests that stand, well-framed, behind the others.
fn unexpected(recorder: &Recorder) -> Vec<(String, String)> {
    recorder.take().into_iter().filter(|(head, _)| !head.starts_with("GET /smuggled ")).collect()
}

struct Scene<'w> {
    world: &'w World,
    daemon: Daemon<'w>,
    bundle: PathBuf,
}

impl<'w> Scene<'w> {
    fn new(world: &'w World, config: Config) -> Self {
        let policy = world.file("policy.json", POLICY);
        let daemon = Daemon::start(world, &config.system(world, &WORKBENCH, &policy, &["anna"]));
        let bundle = daemon.root();
        Self { world, daemon, bundle }
    }

    fn send(&self, h2: bool, requests: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let plan = Plan {
            address: (WORKBENCH.host.v4(), 443).into(),
            tls: Some((WORKBENCH.host.name, &self.bundle)),
            h2,
            first: None,
            requests,
            at_once: false,
            patience: Duration::from_secs(2),
        };
        plan.send(self.world, self.world.agent("anna"), "plan")
    }

    fn ask(&self, bytes: &[u8]) -> String {
        String::from_utf8(self.send(false, vec![bytes.to_vec()]).remove(0)).unwrap()
    }

    fn denied(&self) -> Vec<Value> {
        self.daemon.audit().into_iter().filter(|record| record["decision"] == "deny").collect()
    }

    fn counted(&self, word: &str) -> f64 {
        self.daemon.metric("policyd_malformed_total", &[&format!("cause=\"{word}\"")])
    }
}

#[test]
fn what_could_be_framed_differently_is_refused_and_nothing_behind_it_is_read() {
    let world = World::new();
    let recorder = Recorder::start(&world);
    let scene = Scene::new(&world, Config::new());
    let forms = refused();
    let answers = scene.send(false, forms.iter().map(|(_, bytes, ..)| bytes.clone().into_bytes()).collect());
    assert_eq!(unexpected(&recorder), []);
    let denied = scene.denied();
    assert_eq!(denied.len(), forms.len(), "{denied:#?}");
    for (((what, _, status, word), answer), record) in forms.iter().zip(&answers).zip(&denied) {
        let answer = String::from_utf8_lossy(answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        let sentence = Cause::ALL.iter().find(|cause| cause.word() == *word).unwrap().sentence();
        assert_eq!(record["rule"], "malformed", "{what}: {record}");
        let said = record["reason"].as_str().unwrap();
        assert!(answer.contains(said), "{what}: {answer} instead of {said}");
        assert!(said.starts_with(sentence) || *word == "misdirected", "{what}: {said} instead of {sentence}");
        assert!(scene.counted(word) >= 1.0, "{what}: no metric for `{word}`");
        // Nothing behind what cannot be framed is a request: there is one answer.
        if !matches!(*word, "misdirected" | "upgrade") {
            assert_eq!(
                answer.matches("HTTP/1.1 4").count() + answer.matches("HTTP/1.1 2").count(),
                1,
                "{what}: {answer}"
            );
        }
    }
}

#[test]
fn what_was_well_framed_before_is_answered_first() {
    let world = World::new();
    let recorder = Recorder::start(&world);
    let scene = Scene::new(&world, Config::new());
    let good = post(&format!("content-length: {}\r\n", CALL.len()), CALL).replace(SMUGGLED, "");
    let bad = post(&format!("content-length: {0}\r\ncontent-length: {0}\r\n", CALL.len()), CALL);
    let answer = scene.ask([&good[..], &good, &bad, &good].concat().as_bytes());
    let statuses: Vec<_> =
        answer.lines().filter_map(|line| line.split_once("HTTP/1.1 ")).map(|(_, rest)| &rest[..3]).collect();
    assert_eq!(statuses, ["200", "200", "422"], "{answer}");
    assert_eq!(recorder.take().len(), 2);
    assert_eq!(scene.denied().len(), 1);
}

#[test]
fn bodies_that_do_not_arrive_are_refused() {
    let world = World::new();
    let recorder = Recorder::start(&world);
    let scene = Scene::new(&world, Config::new().section("[limits]\nbody = \"4KiB\"\n\n[timeouts]\nrequest = \"1s\""));
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(5000));
    let cases = [
        ("too long, as it says", post(&format!("content-length: {}\r\n", huge.len()), &huge), "too-large"),
        ("too long, in chunks", chunked(&format!("{:x}\r\n{huge}\r\n0\r\n\r\n", huge.len())), "too-large"),
        ("too slow", post("content-length: 5000\r\n", CALL), "slow-body"),
        ("too slow, in chunks", chunked("5\r\n{").replace(SMUGGLED, ""), "slow-body"),
    ];
    let answers = scene.send(false, cases.iter().map(|(_, bytes, _)| bytes.clone().into_bytes()).collect());
    for ((what, _, word), answer) in cases.iter().zip(&answers) {
        let answer = String::from_utf8_lossy(answer);
        assert!(answer.starts_with("HTTP/1.1 422 "), "{what}: {answer}");
        assert!(scene.counted(word) >= 1.0, "{what}: no metric for `{word}`");
    }
    assert_eq!(scene.denied().len(), cases.len());
    assert_eq!(unexpected(&recorder), []);
}

#[test]
fn what_is_forwarded_is_one_request_of_the_judged_bytes() {
    let world = World::new();
    let recorder = Recorder::start(&world);
    let scene = Scene::new(&world, Config::new());
    let n = CALL.len();
    let host = "host: workbench.example\r\n";
    let small = CALL.as_bytes().iter().map(|byte| format!("1\r\n{}\r\n", char::from(*byte))).collect::<String>();
    // What, the bytes, and the target that the server gets.
    let cases = [
        ("a length", post(&format!("content-length: {n}\r\n"), CALL), "/mcp"),
        ("chunks", chunked(&format!("{n:x}\r\n{CALL}\r\n0\r\n\r\n")), "/mcp"),
        ("chunks of one byte", chunked(&format!("{small}0\r\n\r\n")), "/mcp"),
        ("zeros before the size", chunked(&format!("000{n:X}\r\n{CALL}\r\n0\r\n\r\n")), "/mcp"),
        (
            "a tab around the coding",
            post("transfer-encoding:\tchunked \r\n", &format!("{n:x}\r\n{CALL}\r\n0\r\n\r\n")),
            "/mcp",
        ),
        ("an absolute target", request("POST https://workbench.example/mcp HTTP/1.1", host), "/mcp"),
        ("HTTP/1.0", request("POST /mcp HTTP/1.0", &format!("{host}connection: keep-alive\r\n")), "/mcp"),
        (
            "a field for one hop",
            post(&format!("connection: x-hop\r\nx-hop: a\r\ncontent-length: {n}\r\n"), CALL),
            "/mcp",
        ),
        (
            "h2c",
            post(
                &format!(
                    "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\ncontent-length: {n}\r\n"
                ),
                CALL,
            ),
            "/mcp",
        ),
        ("a dot", request("POST /mcp/. HTTP/1.1", host), "/mcp/."),
        ("two dots", request("POST /mcp/../mcp HTTP/1.1", host), "/mcp/../mcp"),
        ("two slashes", request("POST //mcp HTTP/1.1", host), "//mcp"),
        ("an encoded letter", request("POST /%6dcp HTTP/1.1", host), "/%6dcp"),
        ("an encoded slash", request("POST /mcp%2f HTTP/1.1", host), "/mcp%2f"),
        ("an encoded NUL", request("POST /mcp%00 HTTP/1.1", host), "/mcp%00"),
        ("a parameter", request("POST /mcp;x HTTP/1.1", host), "/mcp;x"),
        ("capitals", request("POST /MCP HTTP/1.1", host), "/MCP"),
        ("a query", request("POST /mcp?x=/../y HTTP/1.1", host), "/mcp?x=/../y"),
        ("another method", request("PUT /mcp HTTP/1.1", host), "/mcp"),
    ];
    for (what, bytes, target) in &cases {
        let answer = scene.ask(bytes.as_bytes());
        assert_eq!(
            answer.matches("HTTP/1.1 200").count() + answer.matches("HTTP/1.0 200").count(),
            2,
            "{what}: {answer}"
        );
        let recorded = recorder.take();
        let [(head, body), (behind, _)] = &recorded[..] else { panic!("{what}: {recorded:#?}") };
        assert_eq!(head.split(' ').nth(1), Some(*target), "{what}: {head}");
        assert!(body == CALL && behind.starts_with("GET /smuggled "), "{what}: {recorded:#?}");
        let head = head.to_ascii_lowercase();
        assert!(
            head.contains(&format!("\r\ncontent-length: {n}\r\n")) && !head.contains("transfer-encoding"),
            "{what}: {head}"
        );
        for hop in ["x-hop", "upgrade", "http2-settings", "connection: x"] {
            assert!(!head.contains(hop), "{what}: {head}");
        }
        // The same with a tool that is denied reaches nobody, wherever it is aimed.
        let denied = bytes.replace("echo", "hold").replace(SMUGGLED, "");
        if *what != "chunks of one byte" {
            let denied = denied.replacen("HTTP/1.1\r\n", "HTTP/1.1\r\nconnection: close\r\n", 1);
            let answer = scene.ask(denied.as_bytes());
            assert!(answer.contains("Denied by policy"), "{what}: {answer}");
            assert_eq!(recorder.take(), [], "{what}");
        }
    }
    let everything = format!("OPTIONS * HTTP/1.1\r\n{host}connection: close\r\n\r\n");
    assert!(scene.ask(everything.as_bytes()).contains(" 200 "));
    assert!(matches!(&recorder.take()[..], [(head, _)] if head.starts_with("OPTIONS * HTTP/1.1\r\n")));
}

#[test]
fn a_streamed_upload_that_is_misframed_does_not_end_well() {
    let world = World::new();
    let received = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&received);
    let tls = world.authority.server_with_alpn(&[WORKBENCH.host.name], &["http/1.1"]);
    let site = Site::at(&world, (WORKBENCH.host.v4(), 443).into(), Some(tls), move |stream| {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            into.lock().unwrap().extend_from_slice(&buffer[..read]);
        }
    });
    let scene = Scene::new(&world, Config::new());
    let upload = format!(
        "POST /upload HTTP/1.1\r\nhost: workbench.example\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n\
         c\r\nplain text, \r\n5;x\r\nmore.\r\n0\r\n\r\n{SMUGGLED}"
    );
    let answer = scene.ask(upload.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    // What may have been sent of it is no whole request, and nothing stands behind it.
    let received = String::from_utf8(received.lock().unwrap().clone()).unwrap();
    assert!(!received.contains("0\r\n\r\n") && !received.contains("smuggled"), "{received}");
    assert!(site.connections() <= 1);
}

#[test]
fn a_request_in_clear_text_is_refused_as_one_in_tls() {
    let world = World::new();
    let address = (WORKBENCH.host.v4(), 8080).into();
    let server = McpServer::at(&world, address, None, &WORKBENCH, Options { sessions: false, ..Options::default() });
    let policy = world.file("policy.json", POLICY);
    let config = Config::new().server("plain", "http://workbench.example:8080/mcp").grant(
        "anna",
        &world.agent_cgroup("anna"),
        "plain",
        &policy,
    );
    let _daemon = Daemon::start(&world, &config);
    // Here the scheme is the right one.
    let forms: Vec<_> = refused()
        .into_iter()
        .filter(|(what, ..)| *what != "another scheme")
        .map(|(what, bytes, ..)| (what, bytes.replace("workbench.example", "workbench.example:8080")))
        .collect();
    let requests = forms.iter().map(|(_, bytes)| bytes.clone().into_bytes()).collect();
    let patience = Duration::from_secs(2);
    let plan = Plan { address, tls: None, h2: false, first: None, requests, at_once: true, patience };
    for ((what, _), answer) in forms.iter().zip(plan.send(&world, world.agent("anna"), "plan")) {
        let answer = String::from_utf8_lossy(&answer).into_owned();
        // Where the first request says whom it is for, it must: else the connection is closed at once.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 42"), "{what}: {answer}");
    }
    assert_eq!(server.seen().into_iter().filter(|seen| seen.path != "/smuggled").collect::<Vec<_>>(), []);
}

#[test]
fn a_websocket_client_is_told_that_it_is_refused() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let scene = Scene::new(&world, Config::new());
    let script = r#"
        const socket = new WebSocket("wss://workbench.example/mcp", "mcp");
        socket.onopen = () => { console.log("open"); process.exit(); };
        socket.onerror = () => { console.log("refused"); process.exit(); };
        socket.onclose = () => console.log("closed");
    "#;
    let mut node = scene.daemon.agent("anna");
    node.args(["node", "--no-warnings", "--experimental-websocket", "--eval", script]);
    let finished = Running::start(node).finish();
    assert!(finished.stdout.starts_with("refused"), "{finished:?}");
    let denied = scene.denied();
    let [record] = &denied[..] else { panic!("{denied:#?}") };
    assert_eq!((&record["rule"], &record["reason"]), (&"malformed".into(), &Cause::Upgrade.sentence().into()));
    assert_eq!(scene.counted("upgrade"), 1.0);
    assert_eq!(server.seen(), []);
}
