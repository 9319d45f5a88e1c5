//! What a daemon's workers share, and what each has of its own.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use super::agent::Protocols;
use super::connection::{self, Captured};
use super::pool::Pool;
use super::splice::Pipes;
use super::stdio;
use super::streams::Streams;
use crate::audit;
use crate::capture::identity::Identity;
use crate::capture::names::{Names, Protected};
use crate::capture::{self, Origin};
use crate::config::Config;
use crate::mcp::Version;
use crate::mcp::json::Parser;
use crate::mcp::pending::{Pending, Question};
use crate::mcp::session::Sessions;
use crate::policy::Grant;
use crate::state::{Clock, Definitions, Memory};
use crate::telemetry::Telemetry;
use crate::tls::leaf::Leaves;
use crate::tls::peek::Peeked;
use crate::tls::route::{self, Route};
use crate::tls::upstream::Upstream;

/// The configuration in force and what was made of it. Replaced whole by a reload; a message is decided by the one that
/// is in force when it arrives.
pub struct Snapshot {
    /// Counts reloads; connections look their grant up again when it has changed.
    pub generation: u64,
    /// The configuration.
    pub config: Config,
    /// Trust towards the servers.
    pub upstream: Upstream,
}

/// What all workers of a daemon share.
pub struct Shared {
    /// The configuration in force.
    pub snapshot: ArcSwap<Snapshot>,
    /// The certificates that agents are shown.
    pub leaves: Leaves,
    /// Exempts upstream sockets; `None` where nothing is captured.
    pub capture: Option<capture::Handle>,
    /// Resolves names.
    pub names: Arc<Names>,
    /// The addresses of the configured servers.
    pub protected: Arc<Protected>,
    /// The limits' counters. They outlive every reload, and where there is a store the process.
    pub counters: Arc<Memory>,
    /// The clocks that they go by.
    pub clock: Arc<Clock>,
    /// What servers declare of their tools.
    pub definitions: Definitions,
    /// The sessions that servers have minted.
    pub sessions: Mutex<Sessions>,
    /// What servers asked and agents were let see.
    pub pending: Mutex<Pending>,
    /// The audit log.
    pub audit: Arc<audit::Log>,
    /// Logs and metrics.
    pub telemetry: Telemetry,
    /// Bounds on open connections.
    pub admission: Admission,
    /// How many of the leaves that were minted have been told of.
    pub minted: AtomicU64,
}

/// What a worker is given to serve.
pub enum Arrival {
    /// A captured connection.
    Connection(Captured),
    /// A session with a server that is a command.
    Stdio(stdio::Session),
}

/// What a worker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Serve; the number is the snapshot's generation.
    Serve(u64),
    /// End streams, finish running calls, take no new ones.
    Drain,
}

/// One thread's part: nothing in it is shared or locked.
pub struct Worker {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// The strict parser with its reused list of nodes.
    pub parser: RefCell<Parser>,
    /// Writes decisions and outcomes, and counts them.
    pub recorder: audit::Recorder,
    /// Pipes for passed connections.
    pub pipes: Pipes,
    /// Idle upstream connections.
    pub pool: Pool,
    /// Which protocol servers select.
    pub protocols: Protocols,
    /// Open response streams.
    pub streams: Streams,
    /// Tells when to drain.
    pub phase: watch::Receiver<Phase>,
}

/// How often idle upstream connections, and what else is kept for a while, are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

// === impl Worker ===

impl Worker {
    /// Runs a worker on the current thread's local runtime until it has drained: serves the connections that come
    /// through `inbox`.
    pub async fn run(
        shared: Arc<Shared>,
        recorder: audit::Recorder,
        mut inbox: mpsc::UnboundedReceiver<Arrival>,
        phase: watch::Receiver<Phase>,
    ) {
        let worker = Rc::new(Worker {
            shared,
            parser: RefCell::default(),
            recorder,
            pipes: Pipes::default(),
            pool: Pool::default(),
            protocols: Protocols::default(),
            streams: Streams::default(),
            phase: phase.clone(),
        });
        let outcomes = Rc::new(Notify::new());
        worker.recorder.defer_outcomes({
            let outcomes = Rc::clone(&outcomes);
            move || outcomes.notify_one()
        });
        let tasks = TaskTracker::new();
        let mut phase = phase;
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                arrived = inbox.recv() => match arrived {
                    Some(Arrival::Connection(captured)) => {
                        tasks.spawn_local(connection::run(Rc::clone(&worker), captured));
                    }
                    Some(Arrival::Stdio(session)) => {
                        tasks.spawn_local(stdio::run(Rc::clone(&worker), session));
                    }
                    None => break,
                },
                changed = phase.changed() => {
                    let now = *phase.borrow_and_update();
                    match (changed, now) {
                        (Ok(()), Phase::Serve(_)) => worker.streams.revise(),
                        _ => break,
                    }
                }
                () = outcomes.notified() => {
                    // What else is ready in this turn may bring more of them, or a decision to write them with.
                    tokio::task::yield_now().await;
                    worker.recorder.flush();
                }
                _ = sweep.tick() => {
                    let idle = worker.shared.snapshot.load().config.timeouts.idle;
                    worker.pool.sweep(Instant::now(), idle);
                    worker.protocols.sweep();
                }
            }
        }
        worker.streams.drain();
        tasks.close();
        let mut drained = std::pin::pin!(tasks.wait());
        loop {
            tokio::select! {
                () = &mut drained => break,
                () = outcomes.notified() => worker.recorder.flush(),
            }
        }
        worker.recorder.flush();
    }

    /// Where a connection goes under `snapshot`.
    pub fn route(&self, snapshot: &Snapshot, peeked: &Peeked, origin: &Origin) -> Route {
        let config = &snapshot.config;
        route::route(
            peeked,
            origin.destination,
            &config.servers,
            &self.shared.protected,
            &config.capture,
            &config.allow,
        )
    }
}

// === impl Shared ===

impl Shared {
    /// Whether `server` minted the session `id`: one that an agent made up counts as its process.
    pub fn knows_session(&self, server: &str, id: &str) -> bool {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).knows(server, id)
    }

    /// Forgets a session that `server` has ended.
    pub fn end_session(&self, server: &str, id: &str) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).end(server, id);
    }

    /// Notes the revision that `server` agreed on with `owner`: a session that it minted, or a process.
    pub fn agree(&self, server: &str, owner: &str, version: Version) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).agree(server, owner, version);
    }

    /// The revision that `server` agreed on with `owner`, as far as that was seen.
    pub fn agreed(&self, server: &str, owner: &str) -> Option<Version> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).agreed(server, owner)
    }

    /// Notes what `server` asks, before the agent sees it.
    pub fn asked(&self, server: &str, question: &Question) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).asked(server, question);
    }

    /// Whether `server` asked what an agent answers.
    pub fn answered(&self, server: &str, question: &Question) -> bool {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).answered(server, question)
    }

    /// Notes a session that `server` minted.
    pub fn learn_session(&self, server: &str, id: &str) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).learn(server, id);
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// The first grant, in file order, that gives `identity` the use of `server`.
    pub fn grant(&self, server: &str, identity: &Identity) -> Option<&Arc<Grant>> {
        self.config.grants.iter().find(|grant| grant.server == server && grant.who.matches(identity))
    }
}
