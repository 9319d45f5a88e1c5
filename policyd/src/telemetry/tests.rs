use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::events::{
    AuditFailed, AuditRecovered, DefinitionChanged, LeafMinted, Malformed, Refused, Reloaded, UpstreamFailed,
};
use super::samples::{allowed, finished, identity, rule};
use super::*;
use crate::policy::RuleKind;
use crate::state::ChangeKind;

/// Emits every event there is, so that every metric has a series.
fn busy() -> Telemetry {
    let telemetry = Telemetry::new(Registry::new(), None).unwrap();
    telemetry.kernel_counters(|| vec![("redirected", 7), ("passed", 3)]).unwrap();
    telemetry.emit(Refused { cause: "name-missing", name: Some("promptfax.app"), ..Refused::default() });
    telemetry.emit(Malformed { cause: "duplicate-key" });
    telemetry.emit(UpstreamFailed { server: "promptfax", kind: "connect", detail: "connection refused" });
    telemetry.emit(LeafMinted { server: "promptfax" });
    telemetry.emit(Reloaded { generation: 1, error: None });
    telemetry.emit(Reloaded { generation: 1, error: Some("policies/promptfax.json:1:1: …") });
    telemetry.emit(AuditFailed { error: "no space left on device", first: true });
    telemetry.emit(AuditRecovered { missed: 1 });
    telemetry.know_tools("promptfax", []);
    for change in [ChangeKind::First, ChangeKind::Changed] {
        let fields = ["description".to_owned()];
        let changed =
            DefinitionChanged { server: "promptfax", tool: "send\u{1b}fax", change, fields: &fields, alert: true };
        telemetry.emit(changed);
    }
    let (mut handles, identity, ids) = (telemetry.handles(), identity(), CallIds::new().unwrap());
    let (tool, default) = (rule("/tools/search", RuleKind::Tool), rule("/default", RuleKind::Default));
    handles.decided(&allowed(ids.next(), &identity, &tool));
    let denied = Decided { effect: Effect::Deny, ..allowed(ids.next(), &identity, &default) };
    handles.decided(&denied);
    handles.decided(&Decided { observed: true, ..allowed(ids.next(), &identity, &default) });
    handles.finished(&finished(denied.call));
    telemetry
}

fn text(telemetry: &Telemetry) -> String {
    String::from_utf8(telemetry.text().unwrap()).unwrap()
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let telemetry = busy();
    let _open =
        (telemetry.connection(Route::Inspect), telemetry.connection(Route::Pass), telemetry.stream("promptfax"));
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is needed: apt install prometheus");
    promtool.stdin.take().unwrap().write_all(text(&telemetry).as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_shipped_alerts_hold_in_their_tests_and_watch_metrics_that_exist() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus");
    for arguments in [["check", "config", "prometheus.yml"], ["test", "rules", "policyd.tests.yml"]] {
        let output = Command::new("promtool").args(arguments).current_dir(folder).output();
        let output = output.expect("promtool is needed: apt install prometheus");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let rules = std::fs::read_to_string(format!("{folder}/policyd.rules.yml")).unwrap();
    let metrics = text(&busy());
    let names: Vec<&str> = rules
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("policyd_"))
        .collect();
    assert!(names.len() > 5);
    for name in names {
        assert!(metrics.contains(&format!("# TYPE {name} ")), "no metric is called {name}");
    }
}

#[test]
fn every_fact_is_counted() {
    let text = text(&busy());
    for line in [
        r#"policyd_connections_refused_total{cause="name-missing"} 1"#,
        r#"policyd_malformed_total{cause="duplicate-key"} 1"#,
        r#"policyd_upstream_errors_total{kind="connect",server="promptfax"} 1"#,
        "policyd_certificate_mints_total 1",
        r#"policyd_reloads_total{result="success"} 1"#,
        r#"policyd_reloads_total{result="failure"} 1"#,
        "policyd_config_last_reload_successful 0",
        "policyd_config_generation 1",
        "policyd_audit_failures_total 1",
        r#"policyd_ebpf_events_total{event="redirected"} 7"#,
        r#"policyd_tool_definitions_changed_total{change="changed",server="promptfax"} 1"#,
        r#"policyd_tool_definitions_changed_total{change="new",server="promptfax"} 0"#,
        "policyd_ready 1",
        r#"policyd_decisions_total{decision="allow",rule="default",server="promptfax",tool="other"} 1"#,
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} is not in\n{text}");
    }
}

#[test]
fn kernel_counters_do_not_add_up_over_scrapes() {
    let telemetry = busy();
    let first = text(&telemetry);
    assert_eq!(first.lines().filter(|line| line.contains("ebpf_events_total{")).count(), 2);
    assert!(text(&telemetry).contains(r#"{event="passed"} 3"#));
}

#[test]
fn guards_count_while_they_live() {
    let telemetry = Telemetry::new(Registry::new(), None).unwrap();
    let (one, two, stream) =
        (telemetry.connection(Route::Inspect), telemetry.connection(Route::Inspect), telemetry.stream("s"));
    drop(one);
    assert!(text(&telemetry).contains("policyd_active_connections{route=\"inspect\"} 1\n"));
    drop((two, stream));
    let text = text(&telemetry);
    for line in [
        "policyd_active_connections{route=\"inspect\"} 0\n",
        "policyd_connections_total{route=\"inspect\"} 2\n",
        "policyd_active_streams{server=\"s\"} 0\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn names_that_agents_make_up_do_not_make_series() {
    let telemetry = Telemetry::new(Registry::new(), None).unwrap();
    telemetry.know_tools("promptfax", ["search"]);
    let (mut handles, identity, ids) = (telemetry.handles(), identity(), CallIds::new().unwrap());
    let default = rule("/default", RuleKind::Default);
    let mut call = |tool: &str| {
        handles.decided(&Decided { tool: Some(tool), ..allowed(ids.next(), &identity, &default) });
    };
    (0..10_000).for_each(|number| call(&format!("made-up-{number}")));
    call("search");
    call("late");
    telemetry.saw_tools("promptfax", ["late"]);
    call("late");
    let text = text(&telemetry);
    let counts = |tool: &str, count: u64| {
        let line = format!(r#"decision="allow",rule="default",server="promptfax",tool="{tool}"}} {count}"#);
        assert!(text.contains(&line), "{line} is not in\n{text}");
    };
    counts("other", 10_001);
    counts("search", 1);
    counts("late", 1);
    assert_eq!(text.lines().filter(|line| line.starts_with("policyd_decisions_total{")).count(), 3);
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_log_tells_of_denials_and_of_no_secret() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let telemetry = tracing::subscriber::with_default(subscriber, busy);
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!log.contains("secret") && !text(&telemetry).contains("secret"), "{log}");
    let denied: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["fields"]["message"] == "denied")
        .collect();
    let [denied] = &denied[..] else { panic!("{log}") };
    assert_eq!(denied["level"], "INFO");
    for (key, value) in [("rule", "/default"), ("tool", "search"), ("grant", "office-agent"), ("server", "promptfax")] {
        assert_eq!(denied["fields"][key], value);
    }
}
