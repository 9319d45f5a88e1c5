//! Methods of every revision: what servers need to know (2026-07-28), answers that nobody asked for, batches (2025-03-26), and
//! lists of what may not be used. Real servers; real clients where there are any, bytes where none would send them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use policyd_tests::agent::{Outcome, Sdk, Step};
use policyd_tests::asking::Asking;
use policyd_tests::daemon::{Config, Daemon};
use policyd_tests::process::Running;
use policyd_tests::wait;
use policyd_tests::world::World;
use serde_json::{Value, json};

/// A daemon with one server and a grant for `anna` under `policy`.
fn daemon<'w>(world: &'w World, server: &Asking, policy: &str) -> Daemon<'w> {
    let policy = world.file("policy.json", policy);
    let config =
        Config::new().server("asking", &server.url()).grant("anna", &world.agent_cgroup("anna"), "asking", &policy);
    Daemon::start(world, &config)
}

/// What came back of a POST by `anna`.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// The messages of the body: of JSON, or of each event.
    fn messages(&self) -> Vec<Value> {
        let events = self.body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|text| !text.is_empty());
        let texts: Vec<&str> =
            if self.head.contains("text/event-stream") { events.collect() } else { vec![&self.body] };
        let values = texts.into_iter().map(|text| serde_json::from_str(text).unwrap_or_else(|_| panic!("{self:?}")));
        values.flat_map(|value| if let Value::Array(all) = value { all } else { vec![value] }).collect()
    }

    fn field(&self, name: &str) -> Option<String> {
        let prefix = format!("{name}: ");
        self.head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().starts_with(&prefix).then(|| line[prefix.len()..].into()))
    }
}

fn post(daemon: &Daemon<'_>, url: &str, fields: &[String], body: &Value) -> Answer {
    let mut curl = daemon.agent("anna");
    curl.args(["curl", "--silent", "--show-error", "--include", "--max-time", "10"]);
    for field in ["content-type: application/json", "accept: application/json, text/event-stream"] {
        curl.args(["--header", field]);
    }
    for field in fields {
        curl.args(["--header", field]);
    }
    let finished = Running::start({
        curl.args(["--data", &body.to_string(), url]);
        curl
    })
    .finish();
    let said = finished.stdout.replace('\r', "");
    let (head, body) = said.split_once("\n\n").unwrap_or((&said, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{finished:?}"));
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn decisions(daemon: &Daemon<'_>, is: impl Fn(&Value) -> bool) -> Vec<Value> {
    daemon.audit().into_iter().filter(|record| record["record"] == "decision" && is(record)).collect()
}

/// The outcomes of these decisions.
fn outcomes(daemon: &Daemon<'_>, decisions: &[Value]) -> Vec<Value> {
    wait::until("every outcome", || {
        let records = daemon.audit();
        let outcome = |call: &Value| records.iter().find(|r| r["record"] == "outcome" && r["call"] == *call).cloned();
        decisions.iter().map(|decision| outcome(&decision["call"])).collect()
    })
}

const NEEDS: &str = r#"{
    "version": "1", "default": "deny", "tools": { "*": {} }, "methods": {
        "elicitation/create": { "require": [ { "conditions": [
            { "path": "args.message", "op": "eq", "value": "Who are you?" } ] } ] },
        "sampling/createMessage": { "limits": [ { "counter": "samples", "window": "day", "max": 1 } ] }
    }
}"#;

fn needing_steps() -> [Step; 4] {
    [Step::Answer, Step::call("greet", 1), Step::call("write", 2), Step::call("look", 1)]
}

#[test]
fn what_a_server_needs_to_know_is_judged_by_method_for_a_python_client() {
    what_a_server_needs_to_know_is_judged_by_method(Sdk::Python2);
}

#[test]
fn what_a_server_needs_to_know_is_judged_by_method_for_a_rust_client() {
    what_a_server_needs_to_know_is_judged_by_method(Sdk::Rust);
}

fn what_a_server_needs_to_know_is_judged_by_method(sdk: Sdk) {
    let world = World::new();
    let server = Asking::needing(&world);
    let daemon = daemon(&world, &server, NEEDS);
    let transcript = sdk.run(daemon.agent("anna"), &server.url(), &needing_steps());
    assert_eq!(transcript.version(), "2026-07-28");
    // The server's state comes back as it was.
    assert_eq!(transcript.calls("greet"), [Outcome::Ok("accept Joe (state of greet)".to_owned())], "{transcript:#?}");
    // The second time, the only sample of the day is used.
    let [Outcome::Ok(first), Outcome::Error(-32001, second)] = &transcript.calls("write")[..] else {
        panic!("{transcript:#?}")
    };
    assert_eq!(first, "sampled, accept Joe (state of write)");
    assert!(second.starts_with("Denied by policy: rate limit reached for `sampling/createMessage`"), "{second}");
    let refused = "Denied by policy: `roots/list` is not allowed".to_owned();
    assert_eq!(transcript.calls("look"), [Outcome::Error(-32001, refused)], "{transcript:#?}");
    assert_eq!(transcript.asked().len(), 3, "{transcript:#?}");
    assert_eq!(server.said(), ["greet asks", "greet done", "write asks", "write done", "write asks", "look asks"]);

    let asked = decisions(&daemon, |record| record["direction"] == "to-agent");
    let said: Vec<_> = asked.iter().map(|r| (r["method"].as_str().unwrap(), r["decision"].as_str().unwrap())).collect();
    let (sampling, elicitation) = ("sampling/createMessage", "elicitation/create");
    let expected = [
        (elicitation, "allow"),
        (sampling, "allow"),
        (elicitation, "allow"),
        (sampling, "deny"),
        ("roots/list", "deny"),
    ];
    assert_eq!(said, expected);
    assert_eq!(asked[4]["rule"], "/default");
    assert!(outcomes(&daemon, &asked).iter().all(|outcome| outcome["status"] == 200), "{asked:#?}");
    // Each round of a call is a call, and no other answer was ever refused.
    assert_eq!(decisions(&daemon, |record| record["tool"] == "greet").len(), 2);
    assert_eq!(decisions(&daemon, |record| record["rule"] == "unasked"), <[Value; 0]>::default());
}

/// The agent sees nothing of a result of which one request is refused, so that the others use no quota.
#[test]
fn what_is_refused_with_others_gives_their_quota_back() {
    let world = World::new();
    let server = Asking::needing(&world);
    let policy = NEEDS.replace("Who are you?", "Who else?");
    let daemon = daemon(&world, &server, &policy);
    let transcript = Sdk::Python2.run(daemon.agent("anna"), &server.url(), &[Step::Answer, Step::call("write", 2)]);
    let refused = "Denied by policy: a `require` rule of `elicitation/create` is not met".to_owned();
    assert_eq!(transcript.calls("write"), vec![Outcome::Error(-32001, refused); 2], "{transcript:#?}");
    assert_eq!(transcript.asked(), <[&str; 0]>::default());
    let samples = decisions(&daemon, |record| record["method"] == "sampling/createMessage");
    assert_eq!(samples.len(), 2);
    for outcome in outcomes(&daemon, &samples) {
        assert_eq!(
            (&outcome["error"], &outcome["quota_returned"]),
            (&json!("response-refused"), &json!(true)),
            "{outcome}"
        );
    }
}

#[test]
fn a_subscription_is_a_request_like_others() {
    let world = World::new();
    let server = Asking::needing(&world);
    let policy = r#"{ "version": "1", "default": "deny", "methods": { "subscriptions/listen": { "deny_if": [ { "conditions": [
        { "path": "args.notifications.resourceSubscriptions[]", "op": "contains", "value": "draft" } ] } ] } } }"#;
    let daemon = daemon(&world, &server, policy);
    let listen = |uri: &str| {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": {
            "notifications": {"resourceSubscriptions": [uri]}, "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {}
            }
        }});
        let mut curl = daemon.agent("anna");
        curl.args(["curl", "--silent", "--show-error", "--no-buffer"]);
        for field in ["content-type: application/json", "accept: application/json, text/event-stream"] {
            curl.args(["--header", field]);
        }
        for field in ["mcp-protocol-version: 2026-07-28", "mcp-method: subscriptions/listen"] {
            curl.args(["--header", field]);
        }
        curl.args(["--data", &request.to_string(), &server.url()]);
        Running::start(curl)
    };
    // The stream stays open; its first event is there at once.
    listen("docs://a").line("the first event", 0, |line| line.contains("notifications/subscriptions/acknowledged"));
    let refused = listen("docs://draft").finish().stdout;
    assert!(refused.contains(r#""rule":"/methods/subscriptions~1listen/deny_if/0""#), "{refused}");
}

#[test]
fn observing_lets_servers_know_what_they_need() {
    let world = World::new();
    let server = Asking::needing(&world);
    let daemon = daemon(&world, &server, r#"{ "version": "1", "mode": "observe", "default": "deny" }"#);
    let transcript = Sdk::Python2.run(daemon.agent("anna"), &server.url(), &needing_steps());
    assert_eq!(transcript.calls("look"), [Outcome::Ok("file:///work (state of look)".to_owned())], "{transcript:#?}");
    let observed = decisions(&daemon, |record| record["direction"] == "to-agent");
    assert_eq!(observed.len(), 6);
    assert!(observed.iter().all(|record| record["observed"] == true && record["rule"] == "/default"), "{observed:#?}");
}

/// The server would believe it: it executes the call as if its question had been answered.
#[test]
fn an_answer_to_what_no_server_needed_to_know_is_refused() {
    let world = World::new();
    let server = Asking::needing(&world);
    let call = |tool: &str, inputs: Value| {
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
            "name": tool, "arguments": {}, "inputResponses": inputs,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}, "roots": {}, "sampling": {}}
            }
        }})
    };
    let fields = |tool: &str| {
        [
            "mcp-protocol-version: 2026-07-28".to_owned(),
            "mcp-method: tools/call".to_owned(),
            format!("mcp-name: {tool}"),
        ]
    };
    let forged = json!({"who": {"action": "accept", "content": {"name": "Eve"}}});
    let without = json!({});
    let daemon = daemon(&world, &server, NEEDS);
    let send = |tool: &str, inputs: &Value| post(&daemon, &server.url(), &fields(tool), &call(tool, inputs.clone()));

    let answer = send("greet", &forged);
    let reason = "Denied by policy: the server was not seen to ask for this answer";
    assert_eq!(answer.messages()[0]["result"]["content"][0]["text"], reason, "{answer:?}");
    assert_eq!(server.said(), <[&str; 0]>::default());
    let [record] = &decisions(&daemon, |record| record["rule"] == "unasked")[..] else {
        panic!("{:#?}", daemon.audit())
    };
    assert_eq!((&record["decision"], &record["tool"]), (&json!("deny"), &json!("greet")));

    // Once asked it may be answered, but by a repetition of the same call only.
    let mut first = call("greet", without.clone());
    first["params"].as_object_mut().unwrap().remove("inputResponses");
    let asks = post(&daemon, &server.url(), &fields("greet"), &first);
    assert_eq!(asks.messages()[0]["result"]["inputRequests"]["who"]["method"], "elicitation/create", "{asks:?}");
    assert!(send("look", &forged).body.contains(reason));
    let answer = send("greet", &forged);
    assert!(answer.body.contains("accept Eve"), "{answer:?}");
    assert_eq!(server.said(), ["greet asks", "greet done"]);

    // What was refused is not known either: the agent never saw it.
    let mut first = call("look", without);
    first["params"].as_object_mut().unwrap().remove("inputResponses");
    let refused = post(&daemon, &server.url(), &fields("look"), &first);
    let error = &refused.messages()[0]["error"];
    assert_eq!((&error["code"], &error["data"]["rule"]), (&json!(-32001), &json!("/default")), "{refused:?}");
    assert!(send("look", &json!({"roots": {"roots": [{"uri": "file:///"}]}})).body.contains(reason));
    assert_eq!(server.said(), ["greet asks", "greet done", "look asks"]);
}

/// A session of `version` with the reference server: the fields that its requests have.
fn session(daemon: &Daemon<'_>, url: &str, version: &str) -> Vec<String> {
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}});
    let answer = post(daemon, url, &[], &hello);
    assert_eq!(answer.messages()[0]["result"]["protocolVersion"], version, "{answer:?}");
    let fields = vec![format!("mcp-session-id: {}", answer.field("mcp-session-id").unwrap())];
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(post(daemon, url, &fields, &ready).status, 202);
    fields
}

fn echo(id: u32, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "echo", "arguments": {"message": message}}})
}

fn sum(id: u32) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "get-sum", "arguments": {"a": 1, "b": 2}}})
}

#[test]
fn a_batch_goes_on_whole_if_each_of_its_messages_may() {
    let world = World::new();
    let server = Asking::everything(&world);
    let policy = r#"{ "version": "1", "default": "deny", "tools": { "echo": {
        "limits": [ { "counter": "echoes", "window": "day", "max": 3 } ] } } }"#;
    let daemon = daemon(&world, &server, policy);
    let fields = session(&daemon, &server.url(), "2025-03-26");
    let send = |batch: &Value| post(&daemon, &server.url(), &fields, batch);

    let list = json!({"jsonrpc": "2.0", "id": "l", "method": "tools/list"});
    let answer = send(&json!([echo(1, "one"), echo(2, "two"), list]));
    let mut messages = answer.messages();
    messages.sort_by_key(|message| message["id"].to_string());
    assert_eq!(messages.len(), 3, "{answer:?}");
    let tools = messages[0]["result"]["tools"].as_array().unwrap();
    assert_eq!((tools.len(), &tools[0]["name"]), (1, &json!("echo")));
    for (message, text) in messages[1..].iter().zip(["Echo: one", "Echo: two"]) {
        assert_eq!(message["result"]["content"][0]["text"], text, "{answer:?}");
    }
    let calls = decisions(&daemon, |record| record["tool"] == "echo");
    assert_eq!(calls.len(), 2);
    assert!(
        calls.iter().all(|record| record["decision"] == "allow" && record["protocol_version"] == "2025-03-26"),
        "{calls:#?}"
    );
    let ends = outcomes(&daemon, &calls);
    assert!(ends.iter().all(|end| end["status"] == 200 && end["error"].is_null()), "{ends:#?}");
    assert_eq!(ends.iter().filter(|end| end["bytes_out"] != 0).count(), 1, "{ends:#?}");

    // One that may not keeps the others back, which use no quota: the third echo is still to be had.
    for (refused, rule) in [
        (json!([echo(3, "three"), sum(4)]), "/default"),
        (json!([echo(3, "three"), echo(4, "four")]), "/tools/echo/limits/0"),
        (json!([echo(3, "three"), {"jsonrpc": "2.0", "id": 4, "method": "ping", "x": 1}]), "malformed"),
        (json!([echo(3, "three"), {"jsonrpc": "2.0", "id": 4, "result": {}}]), "unasked"),
        (json!([echo(3, "three"), {"jsonrpc": "2.0", "method": "tools/list"}]), "malformed"),
        (json!([echo(3, "three"), echo(3, "again")]), "malformed"),
        (json!([echo(3, "three"), [echo(4, "inside")]]), "malformed"),
        (json!([echo(3, "three"), {"jsonrpc": "2.0", "id": 4, "method": "initialize", "params": {}}]), "malformed"),
    ] {
        let before = daemon.audit().len();
        let answer = send(&refused);
        let messages = answer.messages();
        assert_eq!((answer.status, &messages[0]["id"]), (200, &json!(3)), "{answer:?}");
        assert!(answer.body.contains("another message of its batch is refused"), "{answer:?}");
        let records = daemon.audit()[before..].to_vec();
        let rules: Vec<_> =
            records.iter().filter(|r| r["record"] == "decision").map(|r| (&r["decision"], &r["rule"])).collect();
        assert_eq!(rules, [(&json!("deny"), &json!("batch")), (&json!("deny"), &json!(rule))], "{refused}");
    }
    let answer = send(&json!([echo(5, "three")]));
    assert_eq!(answer.messages()[0]["result"]["content"][0]["text"], "Echo: three", "{answer:?}");

    // Nothing to answer to.
    let stray = json!([{"jsonrpc": "2.0", "id": 9, "result": {}}, {"jsonrpc": "2.0", "id": 10, "result": {}}]);
    assert_eq!(send(&stray).status, 202);
    let many: Vec<Value> = (0..101).map(|id| json!({"jsonrpc": "2.0", "id": id, "method": "ping"})).collect();
    for batch in [json!([]), json!(many)] {
        let answer = send(&batch);
        assert_eq!(answer.status, 422, "{answer:?}");
    }
}

#[test]
fn no_batch_passes_where_none_was_agreed_on() {
    let world = World::new();
    let server = Asking::everything(&world);
    let daemon = daemon(&world, &server, r#"{ "version": "1", "default": "allow" }"#);
    let batch = json!([echo(1, "one"), sum(2)]);
    for version in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let mut fields = session(&daemon, &server.url(), version);
        // What a header says does not change what was agreed on.
        for _ in 0..2 {
            let answer = post(&daemon, &server.url(), &fields, &batch);
            assert_eq!(answer.status, 422, "{version}: {answer:?}");
            assert!(
                answer.body.contains("batches of messages are accepted only under revision 2025-03-26"),
                "{answer:?}"
            );
            fields.push("mcp-protocol-version: 2025-03-26".to_owned());
        }
    }
    assert_eq!(decisions(&daemon, |record| record["tool"].is_string()), <[Value; 0]>::default());
    // The server would have executed it.
    let fields = session(&daemon, &server.url(), "2025-03-26");
    let answer = post(&daemon, &server.url(), &fields, &batch);
    assert_eq!(answer.messages().len(), 2, "{answer:?}");
}

/// The result of a call comes later, under another method: it was counted when it was called.
#[test]
fn a_task_is_counted_once_and_its_methods_have_rules_of_their_own() {
    let world = World::new();
    let server = Asking::everything(&world);
    let policy = r#"{ "version": "1", "default": "deny",
        "tools": { "simulate-research-query": { "limits": [ { "counter": "c", "window": "day", "max": 1 } ] } },
        "methods": { "tasks/get": {}, "tasks/result": {}, "tasks/cancel": { "action": "deny" } } }"#;
    let daemon = daemon(&world, &server, policy);
    let fields = session(&daemon, &server.url(), "2025-11-25");
    let send = |id: u32, method: &str, params: Value| {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let answer = post(&daemon, &server.url(), &fields, &request);
        answer.messages().into_iter().find(|message| message["id"] == id).unwrap_or_else(|| panic!("{answer:?}"))
    };
    let call = json!({"name": "simulate-research-query", "arguments": {"topic": "bees"}, "task": {"ttl": 60000}});
    let made = send(1, "tools/call", call.clone());
    let task = json!({"taskId": made["result"]["task"]["taskId"].as_str().unwrap_or_else(|| panic!("{made}"))});
    assert_eq!(send(2, "tasks/get", task.clone())["result"]["status"], "working");
    let cancelled = send(3, "tasks/cancel", task.clone());
    assert_eq!(cancelled["error"]["data"]["rule"], "/methods/tasks~1cancel/action", "{cancelled}");
    let result = send(4, "tasks/result", task.clone());
    assert!(result["result"]["content"][0]["text"].as_str().unwrap().contains("bees"), "{result}");
    assert!(send(5, "tasks/list", json!({}))["result"]["tasks"].is_array());
    let again = send(6, "tools/call", call);
    assert!(again["result"]["content"][0]["text"].as_str().unwrap().contains("limit reached"), "{again}");
    let used =
        decisions(&daemon, |record| record["tool"] == "simulate-research-query" && record["decision"] == "allow");
    assert_eq!(used.len(), 1);
}

/// Sampling goes out on one connection of HTTP+SSE, the answer comes on another.
#[test]
fn on_http_and_sse_an_answer_is_known_by_what_was_asked_on_the_stream() {
    let world = World::new();
    let server = Asking::everything_sse(&world);
    let policy = r#"{ "version": "1", "default": "deny", "tools": { "trigger-*": {}, "echo": {} },
        "methods": { "sampling/createMessage": {} } }"#;
    let daemon = daemon(&world, &server, policy);
    let steps = [
        Step::Answer,
        Step::List,
        Step::Call("trigger-sampling-request", json!({"prompt": "hi"}), 1),
        Step::call("trigger-elicitation-request", 1),
    ];
    let transcript = Sdk::TypeScript.run(daemon.agent("anna"), &server.url(), &steps);
    let sampled = transcript.calls("trigger-sampling-request");
    assert!(matches!(&sampled[..], [Outcome::Ok(text)] if text.contains("sampled")), "{transcript:#?}");
    assert_eq!(transcript.asked(), ["sampling/createMessage"]);
    assert_eq!(decisions(&daemon, |record| record["rule"] == "unasked"), <[Value; 0]>::default());
    // So does the list, whose request was posted elsewhere.
    let list = transcript.list(0);
    assert!(
        list.contains(&"echo".to_owned()) && list.iter().all(|n| n == "echo" || n.starts_with("trigger-")),
        "{list:?}"
    );
}

#[test]
fn a_response_that_nobody_asked_for_is_dropped() {
    let world = World::new();
    let server = Asking::everything(&world);
    let response = json!({"jsonrpc": "2.0", "id": 1, "result": {"role": "assistant", "model": "m", "content": {"type": "text", "text": "x"}}});
    for (count, (policy, passes)) in [
        (r#"{ "version": "1", "default": "deny", "tools": { "echo": {} } }"#, false),
        (r#"{ "version": "1", "default": "deny", "mode": "observe" }"#, true),
        (r#"{ "version": "1", "default": "allow", "methods": { "roots/list": { "action": "deny" } } }"#, false),
        // Nothing that the server sends is read under it.
        (r#"{ "version": "1", "default": "allow" }"#, true),
    ]
    .into_iter()
    .enumerate()
    {
        let daemon = daemon(&world, &server, policy);
        let fields = session(&daemon, &server.url(), "2025-11-25");
        let answer = post(&daemon, &server.url(), &fields, &response);
        assert_eq!((answer.status, &*answer.body), (202, if passes { &*answer.body } else { "" }), "{answer:?}");
        let records = decisions(&daemon, |record| record["method"].is_null() && record["direction"] == "to-server");
        // The log is the one of all these daemons.
        assert_eq!(records.len(), count + 1, "{policy}: {records:#?}");
        let record = records.last().unwrap();
        assert_eq!(record["decision"], if passes { "allow" } else { "deny" }, "{policy}");
        assert_eq!(record["rule"] == "unasked", !policy.contains(r#""allow" }"#), "{policy}: {record}");
    }
}

#[test]
fn lists_leave_out_what_cannot_be_read() {
    let world = World::new();
    let server = Asking::needing(&world);
    let policy = |rest: &str| format!(r#"{{ "version": "1", "default": "deny", {rest} }}"#);
    let rules = r#""methods": {
        "resources/read": { "deny_if": [ { "conditions": [ { "path": "args.uri", "op": "contains", "value": "draft" } ] } ] },
        "prompts/get": { "require": [ { "conditions": [ { "path": "args.name", "op": "eq", "value": "short" } ] } ] } }"#;
    let all = ["docs://a", "docs://draft", "docs://{name}/page", "short", "long"];
    for (policy, offers) in [
        (policy(rules), &["docs://a", "docs://{name}/page", "short"][..]),
        (policy(r#""tools": { "*": {} }"#), &[]),
        (policy(&format!(r#""mode": "observe", {rules}"#)), &all),
    ] {
        let daemon = daemon(&world, &server, &policy);
        for sdk in [Sdk::Python2, Sdk::TypeScript] {
            let transcript = sdk.run(daemon.agent("anna"), &server.url(), &[Step::Offers, Step::Read("docs://a")]);
            assert_eq!(transcript.offers(), offers, "{sdk:?} {policy}");
            let may_read = offers.contains(&"docs://a");
            assert_eq!(matches!(&transcript.read("docs://a")[..], [Outcome::Ok(_)]), may_read, "{transcript:#?}");
        }
    }
}
