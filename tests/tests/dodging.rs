//! A server that wants its hidden tools seen: whatever the form of its answers, no client may read them out of one.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::raw::{self, Target};
use policyd_tests::site::{Site, read_head};
use policyd_tests::systems::WORKBENCH;
use policyd_tests::wait;
use policyd_tests::world::World;

const DENYING: &str = r#"{"version": "1", "default": "deny", "tools": {"echo": {}}}"#;
const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
const TOOLS: &str =
    r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"echo"},{"name":"delete_account","description":"d"}]}}"#;

/// Answers each request with the next of `answers`, and ends the connection.
fn serve(world: &World, answers: Vec<String>) -> Site {
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    let tls = world.authority.server_with_alpn(&[WORKBENCH.host.name], &["http/1.1"]);
    Site::at(world, (WORKBENCH.host.v4(), 443).into(), Some(tls), move |stream| {
        let Some(head) = read_head(stream) else { return };
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).ok();
        let answer = answers.lock().unwrap().pop_front().unwrap();
        stream.write_all(answer.as_bytes()).ok();
        stream.flush().ok();
    })
}

fn answer(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{fields}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn ask(world: &World, daemon: &Daemon<'_>, request: &str) -> String {
    let bundle = daemon.root();
    let target = Target { address: (WORKBENCH.host.v4(), 443).into(), sni: Some(WORKBENCH.host.name), roots: &bundle };
    let answer = raw::exchange(world, "anna", target, request.as_bytes());
    assert!(!answer.stdout.is_empty(), "no answer: {answer:?}\n{}", daemon.log());
    answer.stdout
}

fn post(body: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nhost: workbench.example\r\ncontent-type: application/json\r\nconnection: close\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: workbench.example\r\naccept: text/event-stream\r\nconnection: close\r\n\r\n")
}

#[test]
fn no_form_of_an_answer_shows_a_hidden_tool() {
    let world = World::new();
    let event = format!("data: {TOOLS}\n\n");
    let twice = TOOLS.replace(r#""result""#, r#""result":{},"result""#);
    let cases = [
        ("JSON", post(LIST), answer("content-type: application/json", TOOLS)),
        ("events", post(LIST), answer("content-type: text/event-stream", &event)),
        ("an event without its end", post(LIST), answer("content-type: text/event-stream", &format!("data: {TOOLS}"))),
        ("an event without its blank line", get("/mcp"), answer("content-type: text/event-stream", event.trim_end())),
        ("two types", post(LIST), answer("content-type: text/plain\r\ncontent-type: text/event-stream", &event)),
        ("a type in a parameter", post(LIST), answer("content-type: text/plain; a=text/event-stream", &event)),
        ("a type with a tail", post(LIST), answer("content-type: text/event-streams", &event)),
        ("both types", post(LIST), answer("content-type: application/json, text/event-stream", &event)),
        ("nearly JSON", post(LIST), answer("content-type: application/jsonfoo", &twice)),
        ("no type", post(LIST), answer("x-a: b", &twice)),
        ("a stream on another path", get("/mcp/"), answer("content-type: text/event-stream", &event)),
        ("an encoding", get("/sse"), answer("content-type: text/event-stream\r\ncontent-encoding: gzip", &event)),
    ];
    let _server = serve(&world, cases.iter().map(|(_, _, answer)| answer.clone()).collect());
    let policy = world.file("policy.json", DENYING);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    for (what, request, _) in &cases {
        let answer = ask(&world, &daemon, request);
        assert!(!answer.contains("delete_account"), "{what}: {answer}");
    }
}

#[test]
fn what_is_no_message_passes_unchanged() {
    let world = World::new();
    let stream = "event: endpoint\ndata: /messages?sessionId=1\n\ndata: [DONE]\n\n: ping\n\n";
    let cases = [
        ("the endpoint of HTTP+SSE", get("/sse"), answer("content-type: text/event-stream", stream), stream),
        ("the same at the declared endpoint", get("/mcp"), answer("content-type: text/event-stream", stream), stream),
        ("a text", post(LIST), answer("content-type: text/plain", "Accepted"), "Accepted"),
        ("JSON elsewhere", get("/rest"), answer("content-type: application/json", "{\"a\":1,\"a\":2}"), "\"a\":2}"),
    ];
    let _server = serve(&world, cases.iter().map(|(_, _, answer, _)| answer.clone()).collect());
    let policy = world.file("policy.json", DENYING);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    for (what, request, _, expected) in &cases {
        let answer = ask(&world, &daemon, request);
        for part in expected.trim_end().split("\n\n") {
            assert!(answer.contains(part), "{what}: {answer}");
        }
    }
}

#[test]
fn an_empty_answer_is_a_whole_one_in_the_records() {
    let world = World::new();
    let empty = "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned();
    let _server = serve(&world, vec![empty]);
    let policy = world.file("policy.json", DENYING);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    let allowed = post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let dropped = post(r#"{"jsonrpc":"2.0","method":"tools/list"}"#);
    for request in [allowed, dropped] {
        let answer = ask(&world, &daemon, &request);
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }
    let outcomes = wait::until("both outcomes", || {
        let outcomes: Vec<_> = daemon.audit().into_iter().filter(|record| record["record"] == "outcome").collect();
        (outcomes.len() == 2).then_some(outcomes)
    });
    for outcome in outcomes {
        assert_eq!((&outcome["status"], &outcome["error"]), (&202.into(), &serde_json::Value::Null), "{outcome}");
    }
}
