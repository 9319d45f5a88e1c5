//! What is open now: counted while a guard lives.

use prometheus::IntGauge;

use super::metrics::Metrics;

/// What is done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Opened and decided message by message.
    Inspect,
    /// Spliced through, unread.
    Pass,
    /// No connection: a session with a command, decided message by message.
    Stdio,
}

impl Route {
    /// `inspect`, `pass` or `stdio`, as metrics label it.
    pub fn label(self) -> &'static str {
        match self {
            Route::Inspect => "inspect",
            Route::Pass => "pass",
            Route::Stdio => "stdio",
        }
    }
}

/// A connection that is open.
#[derive(Debug)]
pub struct ConnectionGuard(IntGauge);

impl ConnectionGuard {
    pub(super) fn new(metrics: &Metrics, route: Route) -> ConnectionGuard {
        metrics.connections.with_label_values(&[route.label()]).inc();
        let gauge = metrics.active_connections.with_label_values(&[route.label()]);
        gauge.inc();
        ConnectionGuard(gauge)
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A streamed response that is open.
#[derive(Debug)]
pub struct StreamGuard(IntGauge);

impl StreamGuard {
    pub(super) fn new(metrics: &Metrics, server: &str) -> StreamGuard {
        let gauge = metrics.active_streams.with_label_values(&[server]);
        gauge.inc();
        StreamGuard(gauge)
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
