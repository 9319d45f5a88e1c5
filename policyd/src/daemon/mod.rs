//! The daemon: its parts put together, its threads, reload and drain.
//!
//! Threads: one per core for connections ([`Worker`]), one that accepts and identifies, one for `/metrics` and health
//! ([`Admin`]), and the keepers of the audit log and of the counters.

mod accept;
mod alone;
mod cgroups;
mod error;
mod stdio;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use prometheus::Registry;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};

pub use alone::{Alone, alone};
pub use error::{ReloadError, StartError};

use crate::admin::Admin;
use crate::admin::control::{Control, Controlled};
use crate::audit::{self, Log, Recorder};
use crate::capture::identity::Resolver;
use crate::capture::names::Names;
use crate::capture::{self, Capture, Cgroup2, Pins};
use crate::config::{Config, Other};
use crate::mcp::pending::Pending;
use crate::mcp::session::Sessions;
use crate::proxy::admission::Admission;
use crate::proxy::worker::{Arrival, Phase, Shared, Snapshot, Worker};
use crate::state::{Bounds, Clock, Definitions, Keeper, Memory, Store};
use crate::telemetry::events::Reloaded;
use crate::telemetry::{Observer, Telemetry};
use crate::tls::authority::Authority;
use crate::tls::leaf::Leaves;
use crate::tls::upstream::Upstream;

/// What the daemon is started with.
pub struct Options {
    /// The configuration; under `policyd exec` its `capture.cgroups` is the command's cgroup.
    pub config: Config,
    /// The authority: the state folder's, or one for this run only.
    pub authority: Authority,
    /// Keys the hashes of arguments and sessions in the audit log.
    pub audit_key: audit::Key,
    /// What becomes of capture when the daemon ends.
    pub pins: Pins,
    /// Whether the limits' counters outlive the daemon, in its state folder.
    pub keep_counters: bool,
    /// Is told of each decision.
    pub observer: Option<Box<dyn Observer>>,
}

/// A daemon at work. Dropping it ends everything at once.
pub struct Daemon {
    shared: Arc<Shared>,
    authority: Arc<Authority>,
    capture: Arc<Capture>,
    phase: watch::Sender<Phase>,
    reloading: Arc<Mutex<()>>,
    stop_accepting: Option<oneshot::Sender<()>>,
    workers: Vec<JoinHandle<()>>,
    /// What the socket of `policyd stdio` needs, and the socket, if a server is a command.
    hand_over: stdio::Desk,
    stdio: Mutex<Option<stdio::Socket>>,
    _control: Option<Control>,
    // After the workers: it writes what their calls really used.
    _keeper: Option<Keeper>,
    // Last: what is told of the end can still be scraped.
    _admin: Option<Admin>,
}

/// Sessions that are remembered per server; the least recently used are forgotten first.
const SESSIONS: usize = 100_000;

/// What servers asked that is remembered for each until it is answered.
const PENDING: usize = 10_000;

/// How long the canary's connection may take.
const CANARY_PATIENCE: Duration = Duration::from_secs(5);

impl Daemon {
    /// Starts everything and proves interception with a canary connection. Blocks until connections are served.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running or attached then, except pins of an earlier run.
    pub fn start(options: Options) -> Result<Daemon, StartError> {
        let Options { config, authority, audit_key, pins, keep_counters, observer } = options;
        let telemetry = Telemetry::new(Registry::new(), observer)?;
        for condition in ["canary", "names"] {
            telemetry.health().expect(condition);
        }
        let authority = Arc::new(authority);
        let log = Log::open(&config.audit, &audit_key, &telemetry)?;
        let clock = Arc::new(Clock::default());
        let (counters, keeper) = if keep_counters {
            let store = Store::new(&config.state_dir, &audit_key, &telemetry);
            let counters = Arc::new(Memory::stored(Bounds::default(), store));
            let keeper = Keeper::start(Arc::clone(&counters), Arc::clone(&clock))?;
            (counters, Some(keeper))
        } else {
            (Arc::default(), None)
        };
        let upstream = Upstream::new(&config.tls)?;
        for warning in upstream.warnings() {
            tracing::warn!("system trust store: {warning}");
        }
        let capture = Arc::new(Capture::start(capture::Options {
            instance: config.capture.instance.clone(),
            cgroups: config.capture.cgroups.clone(),
            ports: ports(&config),
            all_ports: config.capture.other == Other::Refuse,
            pins,
        })?);
        let names = Arc::new(Names::new(&config.servers));
        let admin = config.admin.listen.map(|address| Admin::start(address, telemetry.clone())).transpose()?;
        know_tools(&telemetry, &config);
        let kernel = capture.handle();
        telemetry.kernel_counters(move || {
            let counters = kernel.counters().unwrap_or_default();
            counters.iter().chain([("dialled", kernel.dialled())]).collect()
        })?;
        let identities = Arc::new(Resolver::new().map_err(capture::Error::from)?);
        let definitions = Definitions::beside(&counters);
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(Snapshot { generation: 1, config, upstream }),
            leaves: Leaves::new(Arc::clone(&authority)),
            capture: Some(capture.handle()),
            protected: names.protected(),
            names,
            audit: Arc::clone(&log),
            counters,
            clock,
            definitions,
            sessions: Mutex::new(Sessions::new(SESSIONS)),
            pending: Mutex::new(Pending::new(PENDING)),
            telemetry,
            admission: Admission::default(),
            minted: Default::default(),
        });
        let control = shared.snapshot.load().config.admin.socket.clone();
        let control = control.map(|path| {
            let (counters, clock) = (Arc::clone(&shared.counters), Arc::clone(&shared.clock));
            let definitions = shared.definitions.clone();
            Control::start(&path, Controlled { counters, clock, definitions, audit: Arc::clone(&log) })
        });
        let control = control.transpose()?;
        let (phase, phases) = watch::channel(Phase::Serve(1));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (workers, inboxes) = start_workers(cores, &shared, &log, &phases)?;
        let reloading = Arc::default();
        let hand_over = stdio::Desk::new(&shared, &identities, inboxes.clone());
        let stdio = hand_over.open(&shared.snapshot.load().config)?;
        let stop_accepting = accept::start(&shared, &capture, &reloading, &identities, inboxes, CANARY_PATIENCE)?;
        shared.telemetry.emit(Reloaded { generation: 1, error: None });
        Ok(Daemon {
            shared,
            authority,
            capture,
            phase,
            reloading,
            stop_accepting: Some(stop_accepting),
            workers,
            hand_over,
            stdio: Mutex::new(stdio),
            _control: control,
            _keeper: keeper,
            _admin: admin,
        })
    }

    /// Puts a new configuration in force: messages that arrive from now on are decided by it, no counter is lost, and
    /// streams whose grant is gone end.
    ///
    /// # Errors
    ///
    /// [`ReloadError`]: the old configuration stays in force, and the log, a metric and `/readyz` say so.
    pub fn reload(&self, config: Config) -> Result<(), ReloadError> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.shared.snapshot.load_full();
        match self.replace(&before, config) {
            Ok(generation) => {
                self.shared.telemetry.emit(Reloaded { generation, error: None });
                Ok(())
            }
            Err(error) => {
                self.reload_failed(&error.to_string());
                Err(error)
            }
        }
    }

    /// Notes that a new configuration could not be read: the old one stays in force.
    pub fn reload_failed(&self, error: &str) {
        let generation = self.shared.snapshot.load().generation;
        self.shared.telemetry.emit(Reloaded { generation, error: Some(error) });
    }

    /// Opens the audit log's path anew, after it was rotated.
    pub fn reopen_log(&self) {
        self.shared.audit.reopen();
    }

    /// The authority's root certificate as PEM.
    pub fn root_pem(&self) -> &str {
        self.authority.root_pem()
    }

    /// Drains: takes no new connections, ends streams, and lets running calls finish within `patience`. What was pinned
    /// becomes of capture then, `pins` says.
    pub fn stop(mut self, patience: Duration, pins: Pins) {
        self.capture.set_pins(pins);
        if let Some(stop) = self.stop_accepting.take() {
            let _ = stop.send(());
        }
        drop(self.stdio.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.shared.telemetry.health().failed("drain", "no new connections are taken; running calls may finish");
        self.phase.send_replace(Phase::Drain);
        let deadline = Instant::now() + patience;
        for worker in std::mem::take(&mut self.workers) {
            // A thread cannot be waited for with a deadline; what is not done by then ends with the process.
            while !worker.is_finished() && Instant::now() < deadline {
                thread::park_timeout(Duration::from_millis(5));
            }
            if worker.is_finished() {
                let _ = worker.join();
            } else {
                tracing::warn!(
                    open = self.shared.admission.open(),
                    "calls were still running when the time to drain was over"
                );
            }
        }
    }

    fn replace(&self, before: &Snapshot, config: Config) -> Result<u64, ReloadError> {
        error::same_where_it_must_be(&before.config, &config)?;
        let upstream = Upstream::new(&config.tls)?;
        // Wider before narrower: while both sets differ, nothing that either captures is let out.
        let (old, new) = (ports(&before.config), ports(&config));
        let all_ports = config.capture.other == Other::Refuse;
        self.capture.set_ports(&old.union(&new).copied().collect(), all_ports)?;
        self.capture.set_cgroups(&config.capture.cgroups)?;
        self.authority.certify(&config.servers)?;
        let mut stdio = self.stdio.lock().unwrap_or_else(PoisonError::into_inner);
        if stdio.is_none() {
            *stdio = self.hand_over.open(&config)?;
        }
        drop(stdio);
        // From here on nothing fails: the new configuration is in force.
        self.shared.names.set_servers(&config.servers);
        know_tools(&self.shared.telemetry, &config);
        let generation = before.generation + 1;
        self.shared.snapshot.store(Arc::new(Snapshot { generation, config, upstream }));
        self.phase.send_replace(Phase::Serve(generation));
        if let Err(error) = self.capture.set_ports(&new, all_ports) {
            tracing::warn!(%error, "ports that are no longer configured stay captured until the next reload");
        }
        Ok(generation)
    }
}

/// Proves interception on this host: loads the kernel programs, captures a cgroup made for it, and lets a child process
/// connect. Leaves nothing behind.
///
/// # Errors
///
/// What of it did not work.
pub fn canary() -> Result<(), StartError> {
    let cgroups = Cgroup2::find().map_err(capture::Error::from)?;
    let own = cgroups.own().map_err(capture::Error::from)?;
    let name = format!("policyd-canary-{}", std::process::id());
    let directory = cgroups.directory(&own).map_err(capture::Error::from)?.join(&name);
    std::fs::create_dir(&directory).map_err(StartError::CanaryCgroup)?;
    let proven = prove(format!("{}/{name}", own.trim_end_matches('/')), &name);
    // The canary's child has ended: the cgroup is empty.
    let _ = std::fs::remove_dir(&directory);
    proven
}

fn prove(cgroup: String, instance: &str) -> Result<(), StartError> {
    let capture = Capture::start(capture::Options {
        instance: instance.to_owned(),
        cgroups: vec![cgroup],
        ports: BTreeSet::from([443]),
        all_ports: false,
        pins: Pins::UntilDrop,
    })?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
    let mut acceptor = {
        let _entered = runtime.enter();
        capture.acceptor()?
    };
    Ok(runtime.block_on(acceptor.canary(CANARY_PATIENCE))?)
}

/// The captured ports: those of `capture.ports`, and every server's.
fn ports(config: &Config) -> BTreeSet<u16> {
    config.capture.ports.iter().copied().chain(config.servers.iter().map(|server| server.port)).collect()
}

/// The tools that policies name get labels of their own in metrics.
fn know_tools(telemetry: &Telemetry, config: &Config) {
    for grant in &config.grants {
        telemetry.know_tools(&grant.server, grant.policy.named_tools());
    }
}

type Inbox = mpsc::UnboundedSender<Arrival>;

/// `count` workers, each on a runtime of its own.
fn start_workers(
    count: usize,
    shared: &Arc<Shared>,
    log: &Arc<Log>,
    phases: &watch::Receiver<Phase>,
) -> Result<(Vec<JoinHandle<()>>, Vec<Inbox>), StartError> {
    let mut workers = Vec::with_capacity(count);
    let mut inboxes = Vec::with_capacity(count);
    for number in 0..count {
        let (inbox, connections) = mpsc::unbounded_channel();
        let (shared, log, phases) = (Arc::clone(shared), Arc::clone(log), phases.clone());
        let worker = thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                // Made here: a local runtime stays on its thread.
                let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
                match (runtime, Recorder::new(&shared.telemetry, &log)) {
                    (Ok(runtime), Ok(recorder)) => runtime.block_on(Worker::run(shared, recorder, connections, phases)),
                    (Err(error), _) => tracing::error!(%error, "a worker could not start"),
                    (_, Err(error)) => tracing::error!(%error, "a worker could not start"),
                }
            })
            .map_err(StartError::Thread)?;
        workers.push(worker);
        inboxes.push(inbox);
    }
    Ok((workers, inboxes))
}
