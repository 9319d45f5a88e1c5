//! Every metric: name, help, labels and buckets together.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Error, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

/// From 1 µs to 10 ms: a decision is made of memory accesses and one `write(2)`.
const DECISION_BUCKETS: &[f64] = &[1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 1e-2];

/// From 1 ms to 5 min: a tool's work.
const REQUEST_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// From 10 µs to 100 ms: a transaction is some `write(2)`; a sync of the disk is rare.
const COMMIT_BUCKETS: &[f64] = &[1e-5, 2e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 2.5e-3, 1e-2, 1e-1];

/// The metrics that events count in. Labels come from fixed sets, from the configuration, or from a bounded set of tools.
pub(super) struct Metrics {
    pub decisions: IntCounterVec,
    pub decision_seconds: Histogram,
    pub request_seconds: HistogramVec,
    pub connections: IntCounterVec,
    pub active_connections: IntGaugeVec,
    pub refused: IntCounterVec,
    pub active_streams: IntGaugeVec,
    pub reloads: IntCounterVec,
    pub reload_successful: IntGauge,
    pub reload_time: Gauge,
    pub generation: IntGauge,
    pub upstream_errors: IntCounterVec,
    pub mints: IntCounter,
    pub audit_failures: IntCounter,
    pub malformed: IntCounterVec,
    pub discarded: IntCounterVec,
    pub state_commit_seconds: Histogram,
    pub state_failures: IntCounter,
    pub definitions_changed: IntCounterVec,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Result<Metrics, Error> {
        let metrics = Metrics {
            decisions: IntCounterVec::new(
                Opts::new(
                    "policyd_decisions_total",
                    "Messages decided. `tool` is empty for all but tools/call, and `other` for tools that neither a \
                     policy nor a server's list names; `rule` is the kind of rule that decided.",
                ),
                &["server", "tool", "decision", "rule"],
            )?,
            decision_seconds: Histogram::with_opts(
                HistogramOpts::new("policyd_decision_duration_seconds", "Time to decide one message.")
                    .buckets(DECISION_BUCKETS.to_vec()),
            )?,
            request_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "policyd_request_duration_seconds",
                    "Time from a message's decision to the end of its response.",
                )
                .buckets(REQUEST_BUCKETS.to_vec()),
                &["server"],
            )?,
            connections: IntCounterVec::new(
                Opts::new("policyd_connections_total", "Connections taken, by what was done with them."),
                &["route"],
            )?,
            active_connections: IntGaugeVec::new(
                Opts::new("policyd_active_connections", "Connections open now, by what is done with them."),
                &["route"],
            )?,
            refused: IntCounterVec::new(
                Opts::new("policyd_connections_refused_total", "Connections and streams refused, by cause."),
                &["cause"],
            )?,
            active_streams: IntGaugeVec::new(
                Opts::new("policyd_active_streams", "Streamed responses (SSE) open now."),
                &["server"],
            )?,
            reloads: IntCounterVec::new(
                Opts::new("policyd_reloads_total", "Times the configuration and its policies were read, by result."),
                &["result"],
            )?,
            reload_successful: IntGauge::new(
                "policyd_config_last_reload_successful",
                "Whether the configuration was taken when it was last read (1), or an older one stays in force (0).",
            )?,
            reload_time: Gauge::new(
                "policyd_config_last_reload_success_timestamp_seconds",
                "When the configuration in force was taken, in seconds since 1970.",
            )?,
            generation: IntGauge::new(
                "policyd_config_generation",
                "The number of the configuration in force, counted from the start.",
            )?,
            upstream_errors: IntCounterVec::new(
                Opts::new("policyd_upstream_errors_total", "Failures towards upstream servers, by kind."),
                &["server", "kind"],
            )?,
            mints: IntCounter::new("policyd_certificate_mints_total", "Leaf certificates made.")?,
            audit_failures: IntCounter::new(
                "policyd_audit_failures_total",
                "Audit records that could not be written, and failed syncs.",
            )?,
            malformed: IntCounterVec::new(
                Opts::new(
                    "policyd_malformed_total",
                    "Requests refused for their form, and messages of servers, by cause (docs/mcp.md).",
                ),
                &["cause"],
            )?,
            discarded: IntCounterVec::new(
                Opts::new(
                    "policyd_stdio_discarded_total",
                    "Lines of servers on stdio that were not passed on, because they are no messages or cannot be read, by \
                     cause.",
                ),
                &["server", "cause"],
            )?,
            state_commit_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "policyd_state_commit_duration_seconds",
                    "Time to have what a call adds to its counters stored, for the calls that need it.",
                )
                .buckets(COMMIT_BUCKETS.to_vec()),
            )?,
            state_failures: IntCounter::new(
                "policyd_state_failures_total",
                "Times the counters' store was found to fail, and failed to be mended.",
            )?,
            definitions_changed: IntCounterVec::new(
                Opts::new(
                    "policyd_tool_definitions_changed_total",
                    "Definitions of tools that a server listed after its first list, and that are other ones than before, by \
                     how: `new`, `changed`, or `not-kept` when it listed more tools than are kept.",
                ),
                &["server", "change"],
            )?,
        };
        for collector in metrics.collectors() {
            registry.register(collector)?;
        }
        // Series that alerts watch exist from the start, so that their first increase shows.
        for result in ["success", "failure"] {
            metrics.reloads.with_label_values(&[result]);
        }
        let build = IntGaugeVec::new(Opts::new("policyd_build_info", "The running build; always 1."), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))?;
        Ok(metrics)
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.decisions.clone()),
            Box::new(self.decision_seconds.clone()),
            Box::new(self.request_seconds.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.active_connections.clone()),
            Box::new(self.refused.clone()),
            Box::new(self.active_streams.clone()),
            Box::new(self.reloads.clone()),
            Box::new(self.reload_successful.clone()),
            Box::new(self.reload_time.clone()),
            Box::new(self.generation.clone()),
            Box::new(self.upstream_errors.clone()),
            Box::new(self.mints.clone()),
            Box::new(self.audit_failures.clone()),
            Box::new(self.malformed.clone()),
            Box::new(self.discarded.clone()),
            Box::new(self.state_commit_seconds.clone()),
            Box::new(self.state_failures.clone()),
            Box::new(self.definitions_changed.clone()),
        ]
    }
}

/// Reads the kernel programs' counters.
type ReadCounters = Box<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

/// The kernel programs' counters, read when they are scraped.
pub(super) struct KernelCounters {
    read: ReadCounters,
    empty: IntCounterVec,
}

impl KernelCounters {
    pub fn new(read: ReadCounters) -> Result<KernelCounters, Error> {
        Ok(KernelCounters { read, empty: Self::family()? })
    }

    fn family() -> Result<IntCounterVec, Error> {
        let opts = Opts::new("policyd_ebpf_events_total", "What the kernel programs did, as they count it.");
        IntCounterVec::new(opts, &["event"])
    }
}

impl Collector for KernelCounters {
    fn desc(&self) -> Vec<&Desc> {
        self.empty.desc()
    }

    /// Into a family of its own each time, so that two scrapes at once do not add up.
    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(family) = Self::family() else { return Vec::new() };
        for (event, count) in (self.read)() {
            family.with_label_values(&[event]).inc_by(count);
        }
        family.collect()
    }
}
