//! One session of a command, served without a daemon: nothing is captured, and nothing outlives it.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use prometheus::Registry;
use tokio::sync::watch;

use super::{StartError, know_tools, start_workers};
use crate::audit::{self, Log};
use crate::capture::names::Names;
use crate::config::Config;
use crate::mcp::pending::Pending;
use crate::mcp::session::Sessions;
use crate::proxy::admission::Admission;
use crate::proxy::stdio::Session;
use crate::proxy::worker::{Arrival, Phase, Shared, Snapshot};
use crate::state::{Definitions, Memory};
use crate::telemetry::{Observer, Telemetry};
use crate::tls::authority::Authority;
use crate::tls::leaf::Leaves;
use crate::tls::upstream::Upstream;

/// A session that is served without a daemon. Dropped, it ends.
pub struct Alone {
    _phase: watch::Sender<Phase>,
    _worker: JoinHandle<()>,
}

/// Serves `session` under `config` on a thread of its own. Limits are counted in memory.
///
/// # Errors
///
/// [`StartError`]: the audit log, and what the host lacks.
pub fn alone(
    config: Config,
    session: Session,
    audit_key: &audit::Key,
    observer: Option<Box<dyn Observer>>,
) -> Result<Alone, StartError> {
    let telemetry = Telemetry::new(Registry::new(), observer)?;
    let log = Log::open(&config.audit, audit_key, &telemetry)?;
    know_tools(&telemetry, &config);
    let names = Arc::new(Names::new(&[]));
    let counters: Arc<Memory> = Arc::default();
    let shared = Arc::new(Shared {
        leaves: Leaves::new(Arc::new(Authority::ephemeral(&[])?)),
        capture: None,
        protected: names.protected(),
        names,
        audit: Arc::clone(&log),
        definitions: Definitions::beside(&counters),
        counters,
        clock: Arc::default(),
        sessions: Mutex::new(Sessions::new(0)),
        pending: Mutex::new(Pending::new(0)),
        telemetry,
        admission: Admission::default(),
        minted: Default::default(),
        snapshot: ArcSwap::from_pointee(Snapshot { generation: 1, upstream: Upstream::new(&config.tls)?, config }),
    });
    let (phase, phases) = watch::channel(Phase::Serve(1));
    let (mut workers, inboxes) = start_workers(1, &shared, &log, &phases)?;
    let (Some(worker), Some(inbox)) = (workers.pop(), inboxes.into_iter().next()) else {
        return Err(StartError::Thread(std::io::ErrorKind::Other.into()));
    };
    // It has just been started. When its inbox closes it finishes what it has, and ends.
    let _ = inbox.send(Arrival::Stdio(session));
    Ok(Alone { _phase: phase, _worker: worker })
}
