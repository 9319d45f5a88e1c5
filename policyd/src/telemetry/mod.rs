//! Metrics, log lines and readiness: what policyd tells about itself while it works.
//!
//! A fact that can be observed is one struct in [`events`]; emitting it logs and counts, so that a log line and a
//! metric cannot disagree. Decisions and outcomes go through [`audit::Recorder`](crate::audit::Recorder), which writes
//! their record first. Nothing here ever holds arguments, tokens, cookies or keys.

pub mod events;
mod gauges;
mod handles;
mod health;
pub mod logs;
mod metrics;
mod process;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
mod tools;

use std::fmt;
use std::sync::Arc;

use prometheus::{Encoder, Registry, TextEncoder};

pub use events::{CallId, CallIds, Decided, Effect, Event, Finished, Refused};
pub use gauges::{ConnectionGuard, Route, StreamGuard};
pub use handles::Handles;
pub use health::{Condition, Health, Report, State};

use self::events::RepeatedLines;
use self::metrics::Metrics;
use self::tools::KnownTools;
use crate::state::ChangeKind;

/// The media type of [`Telemetry::text`].
pub const TEXT_FORMAT: &str = prometheus::TEXT_FORMAT;

/// Looks on while policyd works: the live lines and the summary of `policyd exec`.
///
/// Called on the thread that decides: an implementation must be quick and must not block.
pub trait Observer: Send + Sync {
    /// A message was decided, and its record is written.
    fn decided(&self, decided: &Decided<'_>) {
        let _ = decided;
    }

    /// A decided message came to its end.
    fn finished(&self, finished: &Finished<'_>) {
        let _ = finished;
    }

    /// A connection was refused.
    fn refused(&self, refused: &Refused<'_>) {
        let _ = refused;
    }
}

/// A daemon's metrics, readiness and observer. One per daemon; clones are handles to the same.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    registry: Registry,
    metrics: Metrics,
    tools: KnownTools,
    health: Health,
    refusals: RepeatedLines,
    observer: Option<Box<dyn Observer>>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("health", &self.0.health).finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Registers every metric in `registry`. Fails only if the registry already holds one of them.
    pub fn new(registry: Registry, observer: Option<Box<dyn Observer>>) -> Result<Telemetry, prometheus::Error> {
        let health = Health::default();
        let metrics = Metrics::register(&registry)?;
        process::register(&registry)?;
        health::register(&registry, &health)?;
        Ok(Telemetry(Arc::new(Inner {
            registry,
            metrics,
            tools: KnownTools::default(),
            health,
            refusals: RepeatedLines::default(),
            observer,
        })))
    }

    /// Logs and counts one fact.
    pub fn emit(&self, event: impl Event) {
        event.emit(self);
    }

    /// The named conditions behind `/readyz`.
    pub fn health(&self) -> &Health {
        &self.0.health
    }

    /// Handles of the metrics that every call touches, for one worker thread to own.
    pub fn handles(&self) -> Handles {
        Handles::new(self.clone())
    }

    /// Counts a connection of `route` as active until the guard is dropped, and as made for good.
    pub fn connection(&self, route: Route) -> ConnectionGuard {
        ConnectionGuard::new(&self.0.metrics, route)
    }

    /// Counts a streamed response of `server` as active until the guard is dropped.
    pub fn stream(&self, server: &str) -> StreamGuard {
        StreamGuard::new(&self.0.metrics, server)
    }

    /// Tools that a policy of `server` names exactly: they get a label of their own in metrics. At load and at reload.
    pub fn know_tools<'a>(&self, server: &str, names: impl IntoIterator<Item = &'a str>) {
        self.0.tools.named(server, names);
        for change in [ChangeKind::New, ChangeKind::Changed, ChangeKind::NotKept] {
            // Alerts watch it, and see an increase of what was there before only.
            self.0.metrics.definitions_changed.with_label_values(&[server, change.label()]);
        }
    }

    /// Tools that `server` itself listed. Bounded: from a thousand on, further names count as `other`.
    pub fn saw_tools<'a>(&self, server: &str, names: impl IntoIterator<Item = &'a str>) {
        self.0.tools.listed(server, names);
    }

    /// Lets the kernel programs' counters be read at every scrape: `read` gives each counter's name and value.
    /// They become `policyd_ebpf_events_total{event=NAME}`; the values must never fall.
    pub fn kernel_counters(
        &self,
        read: impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static,
    ) -> Result<(), prometheus::Error> {
        self.0.registry.register(Box::new(metrics::KernelCounters::new(Box::new(read))?))
    }

    /// All metrics in Prometheus' text format.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.0.registry.gather(), &mut text)?;
        Ok(text)
    }

    pub(crate) fn observer(&self) -> Option<&dyn Observer> {
        self.0.observer.as_deref()
    }
}
