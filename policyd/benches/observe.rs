//! What telling of one call costs: the metrics of a decision, and its record with its `write(2)`.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, SystemTime};

use criterion::Criterion;
use policyd::audit::{Key, Log, Outcome, Recorder};
use policyd::capture::identity::Identity;
use policyd::config;
use policyd::policy::{Direction, Rule, RuleKind};
use policyd::telemetry::{CallId, CallIds, Decided, Effect, Telemetry};
use prometheus::Registry;

fn decided<'a>(call: CallId, identity: &'a Identity, rule: &'a Rule) -> Decided<'a> {
    Decided {
        call,
        at: SystemTime::now(),
        identity,
        grant: Some("office-agent"),
        server: "promptfax",
        direction: Direction::ToServer,
        method: Some("tools/call"),
        tool: Some("search"),
        effect: Effect::Allow,
        rule,
        reason: None,
        observed: false,
        counters: &[],
        session: Some("0123456789abcdef0123456789abcdef"),
        protocol_version: Some("2025-11-25"),
        arguments: Some(br#"{"query":"the quick brown fox","limit":10}"#),
        took: Duration::from_nanos(900),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = Telemetry::new(Registry::new(), None)?;
    telemetry.know_tools("promptfax", ["search"]);
    let identity = Identity {
        pid: 4711,
        uid: 1000,
        user: Some("joe".to_owned()),
        exe: Some("/usr/bin/python3".into()),
        cgroup: "/system.slice/office-agent.service".to_owned(),
        unit: Some("office-agent.service".to_owned()),
        ..Identity::default()
    };
    let rule = Rule { pointer: "/tools/search".into(), kind: RuleKind::Tool };
    let ids = CallIds::new()?;
    let dir = tempfile::tempdir()?;
    let audit = config::Audit { path: Some(dir.path().join("audit.jsonl")), arguments: false };
    let log = Log::open(&audit, &Key::ephemeral()?, &telemetry)?;
    let mut criterion = Criterion::default().configure_from_args();

    let mut handles = telemetry.handles();
    criterion.bench_function("decision metrics", |bench| {
        let decided = decided(ids.next(), &identity, &rule);
        bench.iter(|| handles.decided(black_box(&decided)));
    });

    let mut writer = log.writer();
    criterion.bench_function("decision record", |bench| {
        bench.iter(|| writer.decision(black_box(&decided(ids.next(), &identity, &rule))));
    });

    let recorder = Recorder::new(&telemetry, &log)?;
    criterion.bench_function("whole call: both records, all metrics", |bench| {
        bench.iter(|| {
            let call = recorder.decided(black_box(&decided(recorder.next_call(), &identity, &rule)));
            if let Ok(call) = call {
                call.finish(Outcome { status: Some(200), bytes_in: 178, bytes_out: 512, ..Outcome::default() });
            }
        });
    });
    criterion.final_summary();
    Ok(())
}
