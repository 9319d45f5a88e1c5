//! Handles of the metrics that every call touches: resolved once, then found without a lock or a string made.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::{Histogram, IntCounter};
use tracing::{debug, info};

use super::Telemetry;
use super::events::{Decided, Effect, Finished, kind_label};
use super::tools::OTHER;
use crate::policy::RuleKind;

/// One worker's handles. Bounded by the servers and the known tools.
#[derive(Debug)]
pub struct Handles {
    telemetry: Telemetry,
    decision_seconds: Histogram,
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Server {
    name: Arc<str>,
    /// The version of the known tools that `tools` holds; a name that is not among them counts as `other`.
    version: u64,
    request_seconds: Histogram,
    tools: HashMap<String, Decisions>,
    other: Decisions,
    none: Decisions,
}

/// The counters of one server and tool that were needed so far: a handful, so a list is the quickest map.
#[derive(Debug, Default)]
struct Decisions(Vec<(Effect, RuleKind, IntCounter)>);

impl Handles {
    pub(super) fn new(telemetry: Telemetry) -> Handles {
        let decision_seconds = telemetry.0.metrics.decision_seconds.clone();
        Handles { decision_seconds, servers: Vec::new(), telemetry }
    }

    /// The telemetry that these handles belong to.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Counts a decision, logs it and tells the observer. Gives the server's name to keep.
    pub fn decided(&mut self, decided: &Decided<'_>) -> Arc<str> {
        let index = self.server(decided.server);
        self.decision_counter(index, decided).inc();
        self.decision_seconds.observe(decided.took.as_secs_f64());
        log(decided);
        if let Some(observer) = self.telemetry.observer() {
            observer.decided(decided);
        }
        Arc::clone(&self.servers[index].name)
    }

    /// Counts an outcome and tells the observer.
    pub fn finished(&mut self, finished: &Finished<'_>) {
        let server = self.server(finished.server);
        self.servers[server].request_seconds.observe(finished.took.as_secs_f64());
        debug!(
            call = %finished.call,
            server = finished.server,
            status = finished.status,
            bytes_in = finished.bytes_in,
            bytes_out = finished.bytes_out,
            took = ?finished.took,
            returned = finished.returned,
            error = finished.error,
            "finished"
        );
        if let Some(observer) = self.telemetry.observer() {
            observer.finished(finished);
        }
    }

    fn decision_counter(&mut self, index: usize, decided: &Decided<'_>) -> &IntCounter {
        let (effect, kind) = (decided.effect, decided.rule.kind);
        let Handles { telemetry, servers, .. } = self;
        let server = &mut servers[index];
        let Some(tool) = decided.tool else {
            return server.none.get(telemetry, &server.name, "", effect, kind);
        };
        let version = telemetry.0.tools.version();
        if server.version != version {
            telemetry.0.tools.each(&server.name, |name| {
                if !server.tools.contains_key(name) {
                    server.tools.insert(name.to_owned(), Decisions::default());
                }
            });
            server.version = version;
        }
        match server.tools.get_mut(tool) {
            Some(decisions) => decisions.get(telemetry, &server.name, tool, effect, kind),
            None => server.other.get(telemetry, &server.name, OTHER, effect, kind),
        }
    }

    fn server(&mut self, name: &str) -> usize {
        if let Some(index) = self.servers.iter().position(|server| *server.name == *name) {
            return index;
        }
        self.servers.push(Server {
            name: name.into(),
            version: 0,
            request_seconds: self.telemetry.0.metrics.request_seconds.with_label_values(&[name]),
            tools: HashMap::new(),
            other: Decisions::default(),
            none: Decisions::default(),
        });
        self.servers.len() - 1
    }
}

impl Decisions {
    fn get(&mut self, telemetry: &Telemetry, server: &str, tool: &str, effect: Effect, kind: RuleKind) -> &IntCounter {
        let index = self.0.iter().position(|(e, k, _)| (*e, *k) == (effect, kind)).unwrap_or_else(|| {
            let labels = [server, tool, effect.label(), kind_label(kind)];
            self.0.push((effect, kind, telemetry.0.metrics.decisions.with_label_values(&labels)));
            self.0.len() - 1
        });
        &self.0[index].2
    }
}

fn log(decided: &Decided<'_>) {
    let Decided { grant, server, reason, .. } = *decided;
    let (method, tool) = (decided.method.map(excerpt), decided.tool.map(excerpt));
    let (call, pid, rule) = (decided.call, decided.identity.pid, &*decided.rule.pointer);
    match decided.effect {
        Effect::Deny => info!(%call, pid, grant, server, method, tool, rule, reason, "denied"),
        Effect::Allow if decided.observed => {
            info!(%call, pid, grant, server, method, tool, rule, reason, "allowed: observed only, enforcing would deny");
        }
        Effect::Allow => debug!(%call, pid, grant, server, method, tool, rule, "allowed"),
    }
}

/// The beginning of a text that the agent chose: enough to know it by.
fn excerpt(text: &str) -> &str {
    &text[..text.floor_char_boundary(256)]
}
