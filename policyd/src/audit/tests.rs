use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use prometheus::Registry;
use serde_json::Value;

use super::*;
use crate::config;
use crate::policy::{CounterState, RuleKind};
use crate::state::{Change, ChangeKind};
use crate::telemetry::samples::{allowed, finished, identity, rule};
use crate::telemetry::{CallIds, Decided, Effect, Finished, Observer, State, Telemetry};

fn telemetry() -> Telemetry {
    Telemetry::new(Registry::new(), None).unwrap()
}

fn open(path: &Path, arguments: bool, telemetry: &Telemetry) -> Arc<Log> {
    let audit = config::Audit { path: Some(path.to_owned()), arguments };
    Log::open(&audit, &Key::ephemeral().unwrap(), telemetry).unwrap()
}

/// The lines of a log, each of which must be a JSON object.
fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
            assert!(value.is_object(), "{line}");
            value
        })
        .collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::yield_now();
    }
}

/// A file system with room for `size` bytes, unmounted when dropped. Needs root, as policyd does.
struct Tiny(tempfile::TempDir);

impl Tiny {
    fn new(size: &str) -> Tiny {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
        Tiny(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

#[test]
fn the_records_have_these_keys_in_this_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let log = open(&path, false, &telemetry());
    let (ids, identity) = (CallIds::new().unwrap(), identity());
    let limit = rule("/tools/search/limits/0", RuleKind::Limit);
    let counters =
        [CounterState { counter: "calls".into(), used: "10".parse().unwrap(), max: "10.50".parse().unwrap() }];
    let decided = Decided {
        effect: Effect::Deny,
        reason: Some("10 calls a minute"),
        counters: &counters,
        ..allowed(ids.next(), &identity, &limit)
    };
    let mut writer = log.writer();
    writer.decision(&decided).unwrap();
    assert!(writer.outcome(&finished(decided.call)));
    writer.flush().unwrap();

    let text = fs::read_to_string(&path).unwrap();
    let call = decided.call.to_string();
    let hmac = hex(log.key().arguments(decided.arguments.unwrap()).as_ref());
    let session = hex(&log.key().session(b"secret-session").as_ref()[..16]);
    let expected = format!(
        r#"{{"record":"decision","time":"2026-11-21T13:01:47.123456Z","call":"{call}","identity":{{"pid":4711,"uid":1000,"user":"joe","exe":"/usr/bin/python3","cgroup":"/system.slice/office-agent.service","unit":"office-agent.service"}},"grant":"office-agent","server":"promptfax","direction":"to-server","method":"tools/call","tool":"search","decision":"deny","rule":"/tools/search/limits/0","rule_kind":"limit","reason":"10 calls a minute","observed":false,"counters":[{{"counter":"calls","used":10,"max":10.50}}],"session":"{session}","protocol_version":"2025-11-25","arguments_hmac":"{hmac}","decision_us":1.500}}
{{"record":"outcome","time":"2026-11-21T13:01:47.123456Z","call":"{call}","server":"promptfax","status":200,"bytes_in":178,"bytes_out":512,"latency_us":1234,"quota_returned":false,"error":null}}
"#
    );
    assert_eq!(text, expected);
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o137, 0);
}

#[test]
fn a_definition_is_recorded_with_what_it_was_and_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let log = open(&path, false, &telemetry());
    let changed = Change {
        tool: "send\u{1b}fax".into(),
        kind: ChangeKind::Changed,
        old: Some("0a".into()),
        new: "0b".into(),
        fields: Some(vec!["description".into(), "title".into()]),
        first_seen: 1_000,
        record: Some(3),
    };
    let new = Change { kind: ChangeKind::New, old: None, fields: None, ..changed.clone() };
    let at = std::time::UNIX_EPOCH + Duration::from_secs(2);
    let record = |change, left_out| Definition { at, server: "fax", change, left_out };
    log.writer().definitions([record(&changed, 3), record(&new, 0)].into_iter()).unwrap();
    let expected = r#"{"record":"definition","time":"1970-01-01T00:00:02.000000Z","server":"fax","tool":"send\u001bfax","change":"changed","old":"0a","new":"0b","fields":["description","title"],"first_seen":"1970-01-01T00:00:01.000000Z","left_out":3}
{"record":"definition","time":"1970-01-01T00:00:02.000000Z","server":"fax","tool":"send\u001bfax","change":"new","old":null,"new":"0b","fields":null,"first_seen":"1970-01-01T00:00:01.000000Z","left_out":0}
"#;
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    // Without a record, nothing of it counts.
    let full = open(Path::new("/dev/full"), false, &telemetry());
    assert_eq!(full.writer().definitions([record(&new, 0)].into_iter()), Err(Unavailable));
}

fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    super::json::hex(&mut out, bytes);
    String::from_utf8(out).unwrap()
}

#[test]
fn whatever_an_agent_sends_every_line_is_a_record_and_no_secret_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let log = open(&path, false, &telemetry());
    let (ids, rule) = (CallIds::new().unwrap(), rule("/default", RuleKind::Default));
    let names: Vec<String> = (0..=0x2030).filter_map(char::from_u32).map(|c| format!("a{c}b\"\\{c}")).collect();
    let mut writer = log.writer();
    for name in &names {
        let mut identity = identity();
        identity.cgroup = format!("/{name}");
        identity.exe = Some(format!("/bin/{name}").into());
        let decided = Decided {
            tool: Some(name),
            method: Some(name),
            reason: Some(name),
            protocol_version: Some(name),
            ..allowed(ids.next(), &identity, &rule)
        };
        writer.decision(&decided).unwrap();
    }
    assert!(!fs::read_to_string(&path).unwrap().contains("secret"));
    let records = records(&path);
    assert_eq!(records.len(), names.len());
    for (record, name) in records.iter().zip(&names) {
        for key in ["tool", "method", "reason", "protocol_version"] {
            assert_eq!(record[key], name.as_str());
        }
        assert_eq!(record["identity"]["cgroup"], format!("/{name}"));
    }
}

#[test]
fn arguments_stand_in_records_only_where_the_operator_wants_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let log = open(&path, true, &telemetry());
    let (ids, identity, rule) = (CallIds::new().unwrap(), identity(), rule("/default", RuleKind::Default));
    let mut writer = log.writer();
    for arguments in [&b"{\"a\":\r\n 1.10}"[..], b"not json\n"] {
        let decided = Decided { arguments: Some(arguments), ..allowed(ids.next(), &identity, &rule) };
        writer.decision(&decided).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap().contains("\"arguments\":{\"a\":   1.10}"), "the digits are kept");
    let records = records(&path);
    assert_eq!(records[1]["arguments"], "not json\n");
}

#[test]
fn a_full_disk_denies_and_recovers_and_every_line_stays_a_record() {
    let disk = Tiny::new("64k");
    let path = disk.path("audit.jsonl");
    let telemetry = telemetry();
    let log = open(&path, false, &telemetry);
    fs::write(disk.path("ballast"), [0; 20_000]).unwrap();

    let (written, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let fill = || {
        let (ids, identity, rule) = (CallIds::new().unwrap(), identity(), rule("/default", RuleKind::Default));
        let mut writer = log.writer();
        let mut failures = 0;
        // Records of many lengths, so that the last that fits is cut anywhere.
        for size in (0..).map(|round| round * 37 % 700) {
            let tool = "t".repeat(size);
            let decided = Decided { tool: Some(&tool), ..allowed(ids.next(), &identity, &rule) };
            match writer.decision(&decided) {
                Ok(()) => written.fetch_add(1, Ordering::Relaxed),
                Err(Unavailable) => {
                    failures += 1;
                    refused.fetch_add(1, Ordering::Relaxed)
                }
            };
            if failures == 20 {
                break;
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(fill))));
    assert_eq!(telemetry.health().report().conditions["audit"].state, State::Failed);

    fs::remove_file(disk.path("ballast")).unwrap();
    until("recovery", || telemetry.health().ready());
    let (ids, identity, rule) = (CallIds::new().unwrap(), identity(), rule("/default", RuleKind::Default));
    let last = allowed(ids.next(), &identity, &rule);
    log.writer().decision(&last).unwrap();

    let records = records(&path);
    let count = |kind: &str| records.iter().filter(|record| record["record"] == kind).count() as u64;
    assert_eq!(count("decision"), written.load(Ordering::Relaxed) + 1, "what was admitted stands in the log, once");
    assert_eq!(records.last().unwrap()["call"], last.call.to_string());
    let missed: u64 = records.iter().filter_map(|record| record["missed"].as_u64()).sum();
    assert_eq!(missed, refused.load(Ordering::Relaxed), "gap records account for what is missing");
    let text = String::from_utf8(telemetry.text().unwrap()).unwrap();
    assert!(text.contains(&format!("policyd_audit_failures_total {missed}\n")), "{text}");
}

#[test]
fn a_device_that_is_always_full_denies() {
    let telemetry = telemetry();
    let log = open(Path::new("/dev/full"), false, &telemetry);
    let (ids, identity, rule) = (CallIds::new().unwrap(), identity(), rule("/default", RuleKind::Default));
    let mut writer = log.writer();
    assert_eq!(writer.decision(&allowed(ids.next(), &identity, &rule)), Err(Unavailable));
    writer.outcome(&finished(ids.next()));
    assert_eq!(writer.flush(), Err(Unavailable));
    assert!(!telemetry.health().ready());
}

#[test]
fn a_log_that_was_moved_removed_or_rotated_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("audit.jsonl"), dir.path().join("audit.jsonl.1"));
    let log = open(&path, false, &telemetry());
    let (ids, identity, rule) = (CallIds::new().unwrap(), identity(), rule("/default", RuleKind::Default));
    let mut writer = log.writer();
    writer.decision(&allowed(ids.next(), &identity, &rule)).unwrap();

    fs::rename(&path, &moved).unwrap();
    log.reopen();
    writer.decision(&allowed(ids.next(), &identity, &rule)).unwrap();
    assert_eq!((records(&moved).len(), records(&path).len()), (1, 1), "from the next record on");

    fs::remove_file(&path).unwrap();
    until("a new file", || path.exists());
    writer.decision(&allowed(ids.next(), &identity, &rule)).unwrap();
    assert_eq!(records(&path).len(), 1);

    fs::rename(&path, &moved).unwrap();
    fs::write(&path, "").unwrap();
    until("a record in the replaced file", || {
        writer.decision(&allowed(ids.next(), &identity, &rule)).unwrap();
        !records(&path).is_empty()
    });
}

#[derive(Default)]
struct Seen {
    decided: Mutex<Vec<(String, String)>>,
    finished: Mutex<Vec<(Option<u16>, Option<&'static str>)>>,
}

impl Observer for Arc<Seen> {
    fn decided(&self, decided: &Decided<'_>) {
        let seen = (decided.effect.label().to_owned(), decided.rule.pointer.to_string());
        self.decided.lock().unwrap().push(seen);
    }

    fn finished(&self, finished: &Finished<'_>) {
        self.finished.lock().unwrap().push((finished.status, finished.error));
    }
}

#[test]
fn records_metrics_and_observer_agree_and_a_dropped_call_has_an_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let seen = Arc::new(Seen::default());
    let telemetry = Telemetry::new(Registry::new(), Some(Box::new(Arc::clone(&seen)))).unwrap();
    telemetry.know_tools("promptfax", ["search"]);
    let recorder = Recorder::new(&telemetry, &open(&path, false, &telemetry)).unwrap();
    let (identity, tool) = (identity(), rule("/tools/search", RuleKind::Tool));
    for round in 0..10 {
        let call = recorder.decided(&allowed(recorder.next_call(), &identity, &tool)).unwrap();
        match round {
            0 => drop(call),
            _ => call.finish(Outcome { status: Some(200), ..Outcome::default() }),
        }
    }
    let default = rule("/default", RuleKind::Default);
    let denied =
        Decided { tool: Some("made-up"), effect: Effect::Deny, ..allowed(recorder.next_call(), &identity, &default) };
    drop(recorder.decided(&denied).unwrap());

    let records = records(&path);
    let calls = |kind: &str| -> Vec<&Value> {
        records.iter().filter(|record| record["record"] == kind).map(|record| &record["call"]).collect()
    };
    assert_eq!(calls("decision"), calls("outcome"), "one of each, joined by the call");
    assert_eq!(calls("decision").len(), 11);
    assert_eq!(records[1]["error"], "abandoned");
    let text = String::from_utf8(telemetry.text().unwrap()).unwrap();
    for line in [
        r#"policyd_decisions_total{decision="allow",rule="tool",server="promptfax",tool="search"} 10"#,
        r#"policyd_decisions_total{decision="deny",rule="default",server="promptfax",tool="other"} 1"#,
        "policyd_decision_duration_seconds_count 11",
        r#"policyd_request_duration_seconds_count{server="promptfax"} 11"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert_eq!(seen.decided.lock().unwrap().len(), 11);
    assert_eq!(seen.finished.lock().unwrap()[0], (None, Some("abandoned")));
}

#[test]
fn what_cannot_be_recorded_counts_as_denied() {
    let seen = Arc::new(Seen::default());
    let telemetry = Telemetry::new(Registry::new(), Some(Box::new(Arc::clone(&seen)))).unwrap();
    let recorder = Recorder::new(&telemetry, &open(Path::new("/dev/full"), false, &telemetry)).unwrap();
    let (identity, tool) = (identity(), rule("/tools/search", RuleKind::Tool));
    assert!(recorder.decided(&allowed(recorder.next_call(), &identity, &tool)).is_err());
    let text = String::from_utf8(telemetry.text().unwrap()).unwrap();
    let line = r#"policyd_decisions_total{decision="deny",rule="audit-unavailable",server="promptfax",tool="other"} 1"#;
    assert!(text.contains(line) && !text.contains(r#"decision="allow""#), "{text}");
    assert_eq!(*seen.decided.lock().unwrap(), [("deny".to_owned(), "audit-unavailable".to_owned())]);
}

#[test]
fn without_a_path_nothing_is_written_and_nothing_denied() {
    let telemetry = telemetry();
    let audit = config::Audit { path: None, arguments: false };
    let log = Log::open(&audit, &Key::ephemeral().unwrap(), &telemetry).unwrap();
    let recorder = Recorder::new(&telemetry, &log).unwrap();
    let (identity, tool) = (identity(), rule("/tools/search", RuleKind::Tool));
    drop(recorder.decided(&allowed(recorder.next_call(), &identity, &tool)).unwrap());
    assert!(telemetry.health().ready());
}

#[test]
fn times_are_rfc_3339() {
    use std::time::UNIX_EPOCH;
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00.000000Z"),
        (951_782_400, "2000-02-29T00:00:00.000000Z"),
        (951_868_800, "2000-03-01T00:00:00.000000Z"),
        (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
        (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
    ] {
        let text = record::rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(std::str::from_utf8(&text).unwrap(), expected);
    }
}

#[test]
fn outcomes_wait_for_the_next_decision_and_go_out_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let telemetry = telemetry();
    let log = open(&path, false, &telemetry);
    let ids = CallIds::new().unwrap();
    let mut writer = log.writer();
    assert!(writer.outcome(&finished(ids.next())), "the first that waits");
    assert!(!writer.outcome(&finished(ids.next())));
    assert_eq!(records(&path).len(), 0);
    let identity = identity();
    let rule = rule("/default", RuleKind::Default);
    writer.decision(&allowed(ids.next(), &identity, &rule)).unwrap();
    let kinds: Vec<String> = records(&path).iter().map(|record| record["record"].to_string()).collect();
    assert_eq!(kinds, [r#""outcome""#, r#""outcome""#, r#""decision""#]);
    writer.outcome(&finished(ids.next()));
    drop(writer);
    assert_eq!(records(&path).len(), 4, "nothing is lost with the writer");
}
