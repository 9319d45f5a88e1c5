//! What it costs that counters outlive the daemon: two daemons at once, of which one keeps its counters in memory only,
//! in interleaved rounds of random order.

use super::compare::{Compare, Place, shuffled};
use super::proc;
use super::report::{Measured, Rounds};

/// The ways that counters can be kept.
const WAYS: [&str; 2] = ["in memory", "stored"];

/// One window is short, so that transactions come as often as calls at full speed can bring them about: a 64th of it each.
const POLICY: &str = r#"{"version": "1", "default": "deny", "tools": {"echo": {"limits": [
    {"counter": "calls", "window": "second", "max": 100000, "scope": "grant"},
    {"counter": "daily", "window": "day", "max": 1000000000, "scope": "grant"}]}}}"#;

impl Compare {
    /// Measures both ways.
    pub(super) fn stored(&self, body: usize) -> Rounds {
        let places = [Place::new(), Place::new()];
        let _upstreams = places.each_ref().map(Place::upstreams);
        let daemons = [places[0].daemon_with(POLICY, &["--forget-counters"]), places[1].daemon_with(POLICY, &[])];
        let mut rounds = Rounds::new(&WAYS);
        for round in 0..=self.rounds {
            for way in shuffled(WAYS.len()) {
                let daemon = &daemons[way];
                let before = proc::cpu(&[daemon.pid()]);
                let said = places[way].load("policyd", daemon, &self.arguments("call", body));
                let cpu = proc::cpu(&[daemon.pid()]) - before;
                assert_eq!(said["errors"], 0, "{}: {said}\n{}", WAYS[way], daemon.log());
                if round > 0 {
                    rounds.add(way, Measured::calls(&said, cpu));
                }
            }
        }
        let commits = |way: usize| daemons[way].metric("policyd_state_commit_duration_seconds_count", &[]);
        assert!(commits(0) == 0.0 && commits(1) > 0.0, "the store was not used as it should be");
        rounds
    }
}
