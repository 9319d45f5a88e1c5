//! Audit records and metrics: they join, they agree with what the client saw, and without them nothing is forwarded.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::HashSet;
use std::process::{Command, Stdio};

use policyd_tests::agent::{Outcome, Sdk, Step, Transcript};
use policyd_tests::daemon::{Config, Daemon, audit};
use policyd_tests::process::Running;
use policyd_tests::server::McpServer;
use policyd_tests::systems::{PROMPTFAX, WORKBENCH};
use policyd_tests::wait;
use policyd_tests::world::World;
use serde_json::json;

#[test]
fn decisions_and_outcomes_join_and_agree_with_metrics_and_client() {
    let world = World::new();
    let _server = McpServer::start(&world, &PROMPTFAX);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &PROMPTFAX, &PROMPTFAX.policy(), &["anna"]));
    let secret = "a secret that no record may hold";
    let steps = [
        Step::Call("start_session", json!({"hostType": secret}), 12),
        Step::call("send_fax", 1),
        Step::call("a tool nobody has heard of", 1),
    ];
    let transcript = Sdk::Python1.run(daemon.agent("anna"), &PROMPTFAX.url(), &steps);
    assert_eq!(transcript.calls("start_session").len(), 12, "{transcript:#?}");
    let records = wait::until("every outcome", || {
        let mut records = daemon.audit();
        records.retain(|record| record["record"] != "definition");
        let of = |kind: &str| records.iter().filter(|record| record["record"] == kind).count();
        (of("decision") > 0 && of("decision") == of("outcome")).then_some(records)
    });

    let mut decided = HashSet::new();
    let mut finished = HashSet::new();
    for record in &records {
        let call = record["call"].as_str().unwrap().to_owned();
        if record["record"] == "decision" {
            assert!(!finished.contains(&call), "an outcome before its decision: {record}");
            assert!(decided.insert(call), "two decisions of one call: {record}");
        } else {
            assert!(decided.contains(&call), "an outcome without a decision: {record}");
            assert!(finished.insert(call), "two outcomes of one call: {record}");
        }
    }
    let count = |tool: &str, decision: &str| {
        let matching = |record: &&_| {
            let record: &serde_json::Value = record;
            record["record"] == "decision" && record["tool"] == tool && record["decision"] == decision
        };
        records.iter().filter(matching).count()
    };
    let calls = transcript.calls("start_session");
    let passed = calls.iter().filter(|call| matches!(call, Outcome::Ok(_))).count();
    assert_eq!((count("start_session", "allow"), count("start_session", "deny")), (10, 2));
    assert_eq!(passed, 10);
    let metric = |labels: &[&str]| daemon.metric("policyd_decisions_total", labels);
    assert_eq!(metric(&["tool=\"start_session\"", "decision=\"allow\""]), 10.0);
    assert_eq!(metric(&["tool=\"start_session\"", "decision=\"deny\""]), 2.0);
    assert_eq!(metric(&["tool=\"other\"", "decision=\"deny\""]), 1.0, "{}", daemon.metrics());
    assert!(!daemon.metrics().contains("heard of"));

    let denial = records.iter().find(|r| r["tool"] == "start_session" && r["decision"] == "deny").unwrap();
    assert_eq!(denial["rule"], "/tools/start_session/limits/0");
    assert_eq!(denial["grant"], "anna-promptfax");
    assert_eq!(denial["server"], "promptfax");
    assert_eq!(denial["identity"]["uid"], 0);
    assert_eq!(denial["identity"]["cgroup"], world.agent_cgroup("anna"));
    assert!(denial["arguments_hmac"].is_string() && denial.get("arguments").is_none(), "{denial}");
    let text = std::fs::read_to_string(world.path("audit.jsonl")).unwrap();
    assert!(!text.contains(secret) && !daemon.log().contains(secret) && !daemon.metrics().contains(secret));
}

#[test]
fn metrics_pass_promtool() {
    let world = World::new();
    let _server = McpServer::start(&world, &WORKBENCH);
    let policy = world.file("policy.json", r#"{"version": "1", "default": "deny", "tools": {"echo": {}}}"#);
    let daemon = Daemon::start(&world, &Config::new().system(&world, &WORKBENCH, &policy, &["anna"]));
    Sdk::Python2.run(daemon.agent("anna"), &WORKBENCH.url(), &[Step::call("echo", 1), Step::call("fail", 1)]);
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stderr(Stdio::piped());
    let mut promtool = Running::start(promtool);
    promtool.write(daemon.metrics().as_bytes());
    let verdict = promtool.finish();
    assert!(verdict.status.success(), "{verdict:?}");
    assert_eq!(verdict.stdout + &verdict.stderr, "");
}

#[test]
fn arguments_stand_in_records_only_where_the_operator_says_so() {
    let world = World::new();
    let _server = McpServer::start(&world, &WORKBENCH);
    let policy = world.file("policy.json", r#"{"version": "1", "default": "allow"}"#);
    let path = world.path("audit.jsonl");
    let section = format!("[audit]\npath = \"{}\"\narguments = true", path.display());
    let config = Config::new().section(&section).system(&world, &WORKBENCH, &policy, &["anna"]);
    let daemon = Daemon::start(&world, &config);
    let steps = [Step::Call("echo", json!({"message": "seen"}), 1)];
    Sdk::Python2.run(daemon.agent("anna"), &WORKBENCH.url(), &steps);
    let records = audit(&path);
    let record = records.iter().find(|record| record["tool"] == "echo").unwrap();
    assert_eq!(record["arguments"], json!({"message": "seen"}));
}

#[test]
fn a_full_disk_denies_calls_until_there_is_room() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let policy = world.file("policy.json", r#"{"version": "1", "default": "allow"}"#);
    let small = world.path("small");
    std::fs::create_dir(&small).unwrap();
    let mut mount = world.inside();
    mount.args(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&small);
    assert!(Running::start(mount).finish().status.success());
    let section = format!("[audit]\npath = \"{}\"", small.join("audit.jsonl").display());
    let config = Config::new().section(&section).system(&world, &WORKBENCH, &policy, &["anna"]);
    let daemon = Daemon::start(&world, &config);
    // Twenty: the file's last page still takes the records of some of them.
    let steps = [Step::call("echo", 1), Step::Wait, Step::call("echo", 20), Step::Wait, Step::call("echo", 1)];
    let mut client = Sdk::TypeScript.start(daemon.agent("anna"), &WORKBENCH.url(), &steps);
    let (line, _) = client.line("the first wait", 0, |line| line.contains("wait"));

    let ballast = small.join("ballast");
    let mut fill = world.inside();
    fill.args(["dd", "if=/dev/zero", "bs=1k", &format!("of={}", ballast.display())]);
    Running::start(fill).finish();
    client.write(b"\n");
    let (_, _) = client.line("the second wait", line + 1, |line| line.contains("wait"));
    let executed = server.count("echo");
    assert!(daemon.metric("policyd_audit_failures_total", &[]) >= 1.0, "{}", daemon.metrics());

    let mut free = world.inside();
    free.arg("rm").arg(&ballast);
    assert!(Running::start(free).finish().status.success());
    client.write(b"\n");
    let transcript = Transcript::of(client.finish());
    let calls = transcript.calls("echo");
    assert_eq!(calls.len(), 22, "{transcript:#?}");
    let ok = |calls: &[Outcome]| calls.iter().filter(|call| matches!(call, Outcome::Ok(_))).count();
    assert!(!matches!(calls[20], Outcome::Ok(_)), "a call without its record was let through: {calls:?}");
    assert_eq!((ok(&calls[..1]), ok(&calls[21..])), (1, 1), "{calls:?}");
    assert_eq!((executed, server.count("echo")), (ok(&calls[..21]), ok(&calls)));
    let denied = calls[20].text();
    assert!(denied.contains("recorded"), "{denied}");
}

#[test]
fn a_notification_that_cannot_be_recorded_is_dropped_as_quietly_as_any() {
    let world = World::new();
    let server = McpServer::start(&world, &WORKBENCH);
    let policy = world.file("policy.json", r#"{"version": "1", "default": "allow"}"#);
    let config = Config::new().section("[audit]\npath = \"/dev/full\"").system(&world, &WORKBENCH, &policy, &["anna"]);
    let daemon = Daemon::start(&world, &config);
    let status = |body: &str| {
        let mut curl = daemon.agent("anna");
        curl.args(["curl", "--silent", "--show-error", "--write-out", " %{http_code}", "--data", body]);
        curl.args(["--header", "content-type: application/json", &WORKBENCH.url()]);
        Running::start(curl).finish().stdout
    };
    // SDKs take anything but a success for the end of their session.
    assert_eq!(status(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), " 202");
    let answer = status(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    assert!(answer.contains("audit-unavailable") && answer.ends_with(" 200"), "{answer}");
    assert_eq!(server.seen(), []);
}
