//! A server that wants its hidden tools seen, or what it asks: whatever the form of its answers, no client may read them out of
//! one.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
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
    serve_and_hear(world, answers, Told::default())
}

/// What the server was told in the agent's stead: head and body.
type Told = Arc<Mutex<Vec<(String, String)>>>;

/// As [`serve`]; denials go to `told`.
fn serve_and_hear(world: &World, answers: Vec<String>, told: Told) -> Site {
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    let tls = world.authority.server_with_alpn(&[WORKBENCH.host.name], &["http/1.1"]);
    Site::at(world, (WORKBENCH.host.v4(), 443).into(), Some(tls), move |stream| {
        let Some(head) = read_head(stream) else { return };
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).ok();
        let body = String::from_utf8(body).unwrap();
        if body.contains("-32001") {
            told.lock().unwrap().push((head, body));
            stream.write_all(b"HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").ok();
            return;
        }
        let answer = answers.lock().unwrap().pop_front().unwrap();
        stream.write_all(answer.as_bytes()).ok();
        stream.flush().ok();
    })
}

fn answer(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{fields}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn ask(world: &World, daemon: &Daemon<'_>, request: &str) -> String {
    let answer = ask_anything(world, daemon, request);
    assert!(!answer.is_empty(), "no answer: {}", daemon.log());
    answer
}

/// Empty where policyd breaks the response off.
fn ask_anything(world: &World, daemon: &Daemon<'_>, request: &str) -> String {
    let bundle = daemon.root();
    let target = Target { address: (WORKBENCH.host.v4(), 443).into(), sni: Some(WORKBENCH.host.name), roots: &bundle };
    raw::exchange(world, "anna", target, request.as_bytes()).stdout
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
        ("UTF-7", post(LIST), answer("content-type: text/event-stream; charset=utf-7", &event.replace('{', "+AHs-"))),
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
fn observing_lets_pass_what_cannot_be_read_and_records_it() {
    let world = World::new();
    let twice = TOOLS.replace(r#""result""#, r#""result":{},"result""#);
    let event = format!("data: {TOOLS}\n\n");
    let cases = [
        ("a key twice", answer("content-type: application/json", &twice)),
        ("a key twice in an event", answer("content-type: text/event-stream", &format!("data: {twice}\n\n"))),
        (
            "lines that end elsewhere",
            answer("content-type: text/event-stream", &format!(": x\u{2028}data: {{}}\n{event}")),
        ),
        ("both types", answer("content-type: application/json, text/event-stream", &event)),
        ("an encoding", answer("content-type: text/event-stream\r\ncontent-encoding: x", &event)),
        ("what can be read", answer("content-type: application/json", TOOLS)),
    ];
    let _server = serve(&world, cases.iter().map(|(_, answer)| answer.clone()).collect());
    let policy = world.file("policy.json", DENYING.replacen('{', r#"{"mode": "observe", "#, 1));
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    for (index, (what, _)) in cases.iter().enumerate() {
        let answer = ask(&world, &daemon, &post(LIST));
        assert!(answer.contains("delete_account"), "{what}: {answer}");
        let records = daemon.audit();
        let observed = records.iter().filter(|record| record["rule"] == "malformed").inspect(|record| {
            assert_eq!(record["decision"], "allow", "{record}");
            assert_eq!(record["observed"], true, "{record}");
            assert_eq!(record["direction"], "to-agent", "{record}");
        });
        assert_eq!(observed.count(), (index + 1).min(cases.len() - 1), "{what}: {records:#?}");
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

const WHISPER: &str =
    r#"{"jsonrpc":"2.0","id":"s-1","method":"sampling/createMessage","params":{"systemPrompt":"whisper"}}"#;
const PROGRESS: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;

#[test]
fn no_form_of_an_answer_carries_a_refused_request() {
    let world = World::new();
    let json = |body: &str| answer("content-type: application/json", body);
    let events = |body: &str| answer("content-type: text/event-stream", body);
    let event = format!("data: {WHISPER}\n\n");
    let variant = WHISPER.replace("method", "Method");
    // Whether the request's id is certain, so that the server hears of it.
    let cases = [
        ("JSON", post(LIST), json(WHISPER), true),
        ("events", post(LIST), events(&event), true),
        ("a stream", get("/mcp"), events(&event), true),
        ("an event without its end", get("/mcp"), events(event.trim_end()), true),
        ("an event of another type", get("/mcp"), events(&format!("event: x\n{event}")), true),
        ("an event in two lines", get("/mcp"), events(&event.replace(",\"method", ",\ndata: \"method")), true),
        ("lines that end in CR", get("/mcp"), events(&event.replace('\n', "\r")), true),
        ("a batch", post(LIST), json(&format!("[{RESULT},{WHISPER}]")), true),
        ("a batch in an event", get("/mcp"), events(&format!("data: [{WHISPER}]\n\n")), true),
        ("an escaped key", get("/mcp"), events(&event.replace("\"method", "\"\\u006dethod")), true),
        ("an escaped method", get("/mcp"), events(&event.replace("sampling/", "samplin\\u0067\\/")), true),
        ("more members than there are", get("/mcp"), events(&event.replace("\"id\"", "\"x\":1,\"id\"")), true),
        ("a key for lenient readers", get("/mcp"), events(&format!("data: {variant}\n\n")), false),
        ("a key twice", get("/mcp"), events(&event.replace("\"method", "\"method\":\"ping\",\"method")), false),
        ("an answer as well", get("/mcp"), events(&event.replace("\"params", "\"result\":{},\"params")), true),
        ("without an id", get("/mcp"), events(&event.replace("\"id\":\"s-1\",", "")), false),
        ("a stream that may be one elsewhere", get("/mcp/"), events(&event), false),
        ("a mark before it", post(LIST), json(&format!("\u{feff}{WHISPER}")), false),
        ("text", post(LIST), answer("content-type: text/plain", WHISPER), true),
    ];
    let told = Told::default();
    let answers = cases.iter().map(|(_, _, answer, _)| answer.clone()).collect();
    let _server = serve_and_hear(&world, answers, Arc::clone(&told));
    let policy = world.file("policy.json", DENYING);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    for (what, request, _, certain) in &cases {
        let answer = ask_anything(&world, &daemon, request);
        assert!(!answer.contains("whisper"), "{what}: {answer}");
        if *certain {
            wait::until(what, || (told.lock().unwrap().len() == 1).then_some(()));
            let (head, body) = told.lock().unwrap().remove(0);
            assert!(head.starts_with("post /mcp http/1.1"), "{what}: {head}");
            assert!(body.starts_with(r#"{"jsonrpc":"2.0","id":"s-1","error":{"code":-32001,"#), "{what}: {body}");
        }
    }
    assert_eq!(*told.lock().unwrap(), []);
    let denied = |record: &&serde_json::Value| record["direction"] == "to-agent" && record["decision"] == "deny";
    assert_eq!(daemon.audit().iter().filter(denied).count(), cases.len() - 2, "{:#?}", daemon.audit());
}

#[test]
fn no_form_of_a_result_carries_a_refused_request() {
    let world = World::new();
    let json = |body: &str| answer("content-type: application/json", body);
    let events = |body: &str| answer("content-type: text/event-stream", &format!("data: {body}\n\n"));
    let asks = r#"{"a":{"method":"ping"},"k":{"method":"sampling/createMessage","params":{"systemPrompt":"whisper"}}}"#;
    let result = |rest: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{rest}}}}}"#);
    let needs = result(&format!(r#""resultType":"input_required","inputRequests":{asks},"requestState":"s""#));
    let task = result(&format!(r#""taskId":"t","status":"input_required","inputRequests":{asks}"#));
    let done = result(&format!(r#""taskId":"t","status":"completed","result":{{"inputRequests":{asks}}}"#));
    let told = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/tasks","params":{{"taskId":"t","inputRequests":{asks}}}}}"#
    );
    let url = concat!(
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","data":{"elicitations":["#,
        r#"{"mode":"url","elicitationId":"e","url":"https://whisper.example","message":"m"}]}}}"#
    );
    // Whether the agent gets an error in its place.
    let cases = [
        ("a result", post(LIST), json(&needs), true),
        ("a result in an event", post(LIST), events(&needs), true),
        ("a result on another stream", get("/mcp"), events(&needs), true),
        ("a result of no type", post(LIST), json(&needs.replace(r#""resultType":"input_required","#, "")), true),
        ("one of a batch", post(LIST), json(&format!("[{needs}]")), true),
        ("an escaped key", post(LIST), json(&needs.replace("inputReq", "inpu\\u0074Req")), true),
        ("an escaped method", post(LIST), json(&needs.replace("sampling/", "samplin\\u0067\\/")), true),
        ("a task", post(LIST), json(&task), true),
        ("a task's result", post(LIST), json(&done), true),
        ("what is told of a task", post(LIST), events(&told), false),
        ("a method with more to it", post(LIST), json(&needs.replace(r#""params""#, r#""x":1,"params""#)), true),
        ("a method for lenient readers", post(LIST), json(&needs.replace("sampling/create", "Sampling/Create")), true),
        ("a key for lenient readers", post(LIST), json(&needs.replace("inputRequests", "InputRequests")), false),
        ("a result for lenient readers", post(LIST), json(&needs.replace(r#""result""#, r#""Result""#)), false),
        ("a list of requests", post(LIST), json(&needs.replace(asks, &format!("[{asks}]"))), false),
        ("a key twice", post(LIST), json(&needs.replace(r#""requestState""#, r#""inputRequests""#)), false),
        ("a result without an id", post(LIST), json(&needs.replace(r#""id":1,"#, "")), false),
        ("elicitations in an error", post(LIST), json(url), true),
        ("elicitations in an event", post(LIST), events(url), true),
        ("elicitations for lenient readers", post(LIST), json(&url.replace("elicitations", "Elicitations")), false),
    ];
    let _server = serve(&world, cases.iter().map(|(_, _, answer, _)| answer.clone()).collect());
    let policy = world.file("policy.json", DENYING);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    for (what, request, _, replaced) in &cases {
        let answer = ask_anything(&world, &daemon, request);
        assert!(!answer.contains("whisper"), "{what}: {answer}");
        let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Denied by policy: "#;
        assert_eq!(answer.contains(error), *replaced, "{what}: {answer}");
    }
}

#[test]
fn what_is_left_of_a_stream_keeps_its_bytes_and_its_ids() {
    let world = World::new();
    let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
    let stream = format!(
        "id: a\nevent: message\ndata: {ping}\n\nid: b\nretry: 10\ndata: {WHISPER}\n\ndata: {WHISPER}\n\n\
         id: c\r\ndata:{PROGRESS}\r\n\r\nid: d\ndata: [{PROGRESS}, {WHISPER}, {RESULT}]\n\n: kept\n\n"
    );
    // Each event is a chunk of its own.
    let expected = [
        format!("id: a\nevent: message\ndata: {ping}\n\n\r\n"),
        "\r\nid: b\nretry: 10\ndata:\n\n\r\n".to_owned(),
        format!("\r\nid: c\r\ndata:{PROGRESS}\r\n\r\n\r\n"),
        format!("\r\nevent: message\nid: d\ndata: [{PROGRESS},{RESULT}]\n\n\r\n"),
        "\r\n: kept\n\r\n".to_owned(),
    ];
    let _server = serve(&world, vec![answer("content-type: text/event-stream", &stream)]);
    let policy = world.file("policy.json", DENYING);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    let answer = ask(&world, &daemon, &get("/mcp"));
    for event in expected {
        assert!(answer.contains(&event), "{event:?} is not in {answer:?}");
    }
    assert_eq!(answer.matches("data:").count(), 4, "{answer}");
    assert!(!answer.contains("whisper"), "{answer}");
}

#[test]
fn a_notification_that_a_policy_names_is_dropped_and_others_are_not_recorded() {
    let world = World::new();
    let message = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"whisper"}}"#;
    let stream = format!("data: {message}\n\ndata: {PROGRESS}\n\n");
    let _server = serve(&world, vec![answer("content-type: text/event-stream", &stream)]);
    let policy = r#"{"version": "1", "default": "allow", "methods": {"notifications/message": {"action": "deny"}}}"#;
    let policy = world.file("policy.json", policy);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    let answer = ask(&world, &daemon, &get("/mcp"));
    assert!(answer.contains(PROGRESS) && !answer.contains("whisper"), "{answer}");
    let records: Vec<_> = daemon.audit().into_iter().filter(|record| record["direction"] == "to-agent").collect();
    let [record] = &records[..] else { panic!("{records:#?}") };
    assert_eq!(record["rule"], "/methods/notifications~1message/action");
}

#[test]
fn a_server_that_asks_without_end_is_refused_without_end() {
    const ASKED: usize = 2000;
    let world = World::new();
    let stream = format!("{}data: {RESULT}\n\n", format!("data: {WHISPER}\n\n").repeat(ASKED));
    let told = Told::default();
    let answers = vec![answer("content-type: text/event-stream", &stream)];
    let _server = serve_and_hear(&world, answers, Arc::clone(&told));
    let policy = world.file("policy.json", DENYING);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    let answer = ask(&world, &daemon, &get("/mcp"));
    assert!(answer.contains(RESULT) && !answer.contains("whisper"), "{answer}");
    let outcomes = wait::until("every outcome", || {
        let records = daemon.audit();
        let asked: Vec<_> = records.iter().filter(|record| record["direction"] == "to-agent").collect();
        let outcome = |call: &serde_json::Value| {
            records.iter().find(|record| record["record"] == "outcome" && record["call"] == *call).cloned()
        };
        let outcomes: Option<Vec<_>> = asked.iter().map(|record| outcome(&record["call"])).collect();
        outcomes.filter(|outcomes| outcomes.len() == ASKED)
    });
    let unanswered = outcomes.iter().filter(|outcome| outcome["error"] == "unanswered").count();
    assert_eq!(told.lock().unwrap().len() + unanswered, ASKED);
    assert!(unanswered > 0 && daemon.log().contains("was not told"), "{unanswered}");
}

#[test]
fn an_open_stream_follows_the_policy_that_is_reloaded() {
    let world = World::new();
    let (opened, was_opened) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let channels = Mutex::new((opened, may_go_on));
    let encoded = Arc::new(AtomicBool::new(false));
    let is_encoded = Arc::clone(&encoded);
    let tls = world.authority.server_with_alpn(&[WORKBENCH.host.name], &["http/1.1"]);
    let _server = Site::at(&world, (WORKBENCH.host.v4(), 443).into(), Some(tls), move |stream| {
        let head = read_head(stream).unwrap_or_default();
        if head.starts_with(b"POST") {
            return;
        }
        let channels = channels.lock().unwrap();
        let events = format!("data: {WHISPER}\n\ndata: {TOOLS}\n\n");
        let encoding = if is_encoded.load(Ordering::Relaxed) { "content-encoding: odd\r\n" } else { "" };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n";
        stream.write_all(format!("{head}{encoding}\r\n: first\n{events}").as_bytes()).ok();
        stream.flush().ok();
        channels.0.send(()).unwrap();
        channels.1.recv().ok();
        stream.write_all(format!(": second\n\n{events}").as_bytes()).ok();
        stream.flush().ok();
        // Only policyd ends a stream that it does not read.
        channels.1.recv().ok();
    });
    let policy = |text: &str| world.file("policy.json", format!(r#"{{"version": "1", "default": "allow", {text}}}"#));
    let path = policy(r#""methods": {"sampling/createMessage": {}}"#);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &path, &["anna"]));
    let bundle = daemon.root();
    let target = Target { address: (WORKBENCH.host.v4(), 443).into(), sni: Some(WORKBENCH.host.name), roots: &bundle };
    let reload = |text: &str| {
        let reloads = || daemon.metric("policyd_reloads_total", &["result=\"success\""]);
        let before = reloads();
        policy(text);
        wait::until("the reload", || (reloads() > before).then_some(()));
    };
    let open = || {
        let mut client = raw::start(&world, "anna", target, &[]);
        client.write(get("/mcp").as_bytes());
        client.close_stdin();
        was_opened.recv().unwrap();
        client.line("the tools", 0, |line| line.contains("delete_account"));
        client
    };
    let hiding = r#""hide": ["delete_account"], "methods": {"sampling/createMessage": {"action": "deny"}}"#;

    let client = open();
    reload(hiding);
    go_on.send(()).unwrap();
    go_on.send(()).unwrap();
    let said = client.finish().stdout;
    let (before, after) = said.split_once(": second").unwrap_or_else(|| panic!("{said}"));
    assert!(before.contains("whisper") && before.contains("delete_account"), "{said}");
    assert!(after.contains("echo") && !after.contains("whisper") && !after.contains("delete_account"), "{said}");

    // One that is read for what it lists only is read for more from now on.
    reload(r#""description": "no rules""#);
    let client = open();
    reload(hiding);
    go_on.send(()).unwrap();
    go_on.send(()).unwrap();
    let said = client.finish().stdout;
    let (before, after) = said.split_once(": second").unwrap_or_else(|| panic!("{said}"));
    assert!(before.contains("whisper") && before.contains("delete_account"), "{said}");
    assert!(after.contains("echo") && !after.contains("whisper") && !after.contains("delete_account"), "{said}");

    // Of one in an encoding nothing can be read: it ends, and the client opens another.
    encoded.store(true, Ordering::Relaxed);
    reload(r#""description": "no rules""#);
    let client = open();
    reload(hiding);
    let ended = client.finish();
    assert!(!ended.stdout.contains("second") && !ended.stderr.contains("read:"), "{ended:?}");
    drop(go_on);
}

#[test]
fn an_answer_in_events_follows_the_policy_that_is_reloaded() {
    let world = World::new();
    let (opened, was_opened) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let channels = Mutex::new((opened, may_go_on));
    let tls = world.authority.server_with_alpn(&[WORKBENCH.host.name], &["http/1.1"]);
    let _server = Site::at(&world, (WORKBENCH.host.v4(), 443).into(), Some(tls), move |stream| {
        let head = String::from_utf8(read_head(stream).unwrap_or_default()).unwrap().to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).ok();
        let body = String::from_utf8(body).unwrap();
        if body.contains("-32001") {
            return;
        }
        let channels = channels.lock().unwrap();
        let media = if body.contains("odd") { "application/json, text/event-stream" } else { "text/event-stream" };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {media}\r\nconnection: close\r\n\r\n");
        stream.write_all(format!("{head}: first\ndata: {WHISPER}\n\n").as_bytes()).ok();
        stream.flush().ok();
        channels.0.send(()).unwrap();
        channels.1.recv().ok();
        stream.write_all(format!(": second\n\ndata: {WHISPER}\n\ndata: {TOOLS}\n\n").as_bytes()).ok();
        stream.flush().ok();
        // Only policyd ends a stream that it does not read.
        channels.1.recv().ok();
    });
    let policy = |text: &str| world.file("policy.json", format!(r#"{{"version": "1", "default": "allow", {text}}}"#));
    let plain = r#""description": "no rules""#;
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy(plain), &["anna"]));
    let bundle = daemon.root();
    let target = Target { address: (WORKBENCH.host.v4(), 443).into(), sni: Some(WORKBENCH.host.name), roots: &bundle };
    let reload = |text: &str| {
        let reloads = || daemon.metric("policyd_reloads_total", &["result=\"success\""]);
        let before = reloads();
        policy(text);
        wait::until("the reload", || (reloads() > before).then_some(()));
    };
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;
    let call = |tool: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#)
    };
    let listen = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{}}"#.to_owned();
    for (message, is_read) in
        [(listen, false), (call("echo"), false), (call("odd"), false), (initialize.to_owned(), true)]
    {
        let mut client = raw::start(&world, "anna", target, &[]);
        client.write(post(&message).as_bytes());
        client.close_stdin();
        was_opened.recv().unwrap();
        client.line("the first event", 0, |line| line.contains("whisper"));
        reload(r#""hide": ["delete_account"], "methods": {"sampling/createMessage": {"action": "deny"}}"#);
        if is_read {
            go_on.send(()).unwrap();
            go_on.send(()).unwrap();
        }
        let ended = client.finish();
        assert!(is_read || !ended.stderr.contains("read:"), "{message}: {ended:?}");
        let said = ended.stdout;
        let (_, after) = said.split_once("first").unwrap_or_else(|| panic!("{message}: {said}"));
        assert_eq!(after.contains("second"), is_read, "{message}: {said}");
        assert!(after.matches("whisper").count() == 1 && !after.contains("delete_account"), "{message}: {said}");
        assert_eq!(after.contains("echo"), is_read, "{message}: {said}");
        if !is_read {
            go_on.send(()).unwrap();
            go_on.send(()).unwrap();
        }
        reload(plain);
    }
}
