//! Readiness: named conditions, each set by the part that knows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Registry};
use serde::Serialize;

/// How a condition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing is known yet; not ready.
    Waiting,
    /// As it should be.
    Good,
    /// Not as it should be, but policyd does its work: ready.
    Degraded,
    /// Not ready.
    Failed,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// How it stands.
    pub state: State,
    /// What a person should know.
    pub detail: String,
    /// Since when it stands so, in seconds since 1970.
    pub since: u64,
}

/// Everything `/readyz` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether no condition is waiting or failed.
    pub ready: bool,
    /// The conditions by name.
    pub conditions: BTreeMap<&'static str, Condition>,
}

/// The named conditions of a daemon. Clones share them.
#[derive(Clone, Default)]
pub struct Health(Arc<RwLock<BTreeMap<&'static str, Condition>>>);

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report().fmt(f)
    }
}

impl Health {
    /// Announces a condition: not ready until another call says so.
    pub fn expect(&self, name: &'static str) {
        self.set(name, State::Waiting, "not known yet".to_owned());
    }

    /// All is well with `name`.
    pub fn good(&self, name: &'static str, detail: impl Into<String>) {
        self.set(name, State::Good, detail.into());
    }

    /// Something is wrong with `name`, but policyd does its work.
    pub fn degraded(&self, name: &'static str, detail: impl Into<String>) {
        self.set(name, State::Degraded, detail.into());
    }

    /// Without `name` policyd is not ready.
    pub fn failed(&self, name: &'static str, detail: impl Into<String>) {
        self.set(name, State::Failed, detail.into());
    }

    /// Takes a condition out.
    pub fn forget(&self, name: &'static str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Whether no condition is waiting or failed.
    pub fn ready(&self) -> bool {
        ready(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// All conditions as they are now.
    pub fn report(&self) -> Report {
        let conditions = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        Report { ready: ready(&conditions), conditions }
    }

    fn set(&self, name: &'static str, state: State, detail: String) {
        let mut conditions = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let since = match conditions.get(name) {
            Some(before) if before.state == state => before.since,
            _ => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        };
        conditions.insert(name, Condition { state, detail, since });
    }
}

fn ready(conditions: &BTreeMap<&'static str, Condition>) -> bool {
    conditions.values().all(|condition| matches!(condition.state, State::Good | State::Degraded))
}

/// Registers `policyd_ready`, read when it is scraped.
pub(super) fn register(registry: &Registry, health: &Health) -> Result<(), prometheus::Error> {
    let gauge = IntGauge::new("policyd_ready", "Whether /readyz says ready (1) or not (0).")?;
    registry.register(Box::new(Ready { health: health.clone(), gauge }))
}

struct Ready {
    health: Health,
    gauge: IntGauge,
}

impl Collector for Ready {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(i64::from(self.health.ready()));
        self.gauge.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_and_failed_conditions_are_not_ready_and_degraded_ones_are() {
        let health = Health::default();
        assert!(health.ready(), "nothing was announced");
        health.expect("canary");
        assert!(!health.ready());
        health.good("canary", "intercepted");
        health.degraded("reload", "the last reload failed");
        assert!(health.ready());
        health.failed("audit", "no space left on device");
        assert!(!health.ready());
        let report = health.report();
        assert_eq!(report.conditions.len(), 3);
        assert_eq!(report.conditions["audit"].detail, "no space left on device");
        health.forget("audit");
        assert!(health.ready());
    }
}
