//! The socket at which `policyd stdio` hands its sessions over.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use nix::unistd::Gid;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::Inbox;
use crate::admin::Error;
use crate::admin::control;
use crate::audit::Recorder;
use crate::capture::Origin;
use crate::capture::identity::{Identity, Resolver};
use crate::config::Config;
use crate::diagnostic::did_you_mean;
use crate::policy::{CounterStates, Denial, Direction, Reply};
use crate::proxy::stdio::handover::{self, Answer, GREETING, Received};
use crate::proxy::stdio::{Session, socket};
use crate::proxy::worker::{Arrival, Shared};
use crate::telemetry::{Decided, Effect, Refused};

/// Callers that are listened to at once, before their sessions begin; more wait. Of one user only a part: the others must not
/// wait for somebody who hands nothing over.
const CALLERS: usize = 256;
const CALLERS_OF_USER: usize = CALLERS / 8;
/// How long a caller has to hand its session over.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait when the process is out of file descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// What it takes to take sessions.
#[derive(Clone)]
pub struct Desk {
    shared: Arc<Shared>,
    identities: Arc<Resolver>,
    workers: Arc<[Inbox]>,
    next: Arc<AtomicUsize>,
}

/// The running socket. Dropped: it is removed, and takes no more sessions. Those that were taken go on.
pub struct Socket {
    path: PathBuf,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Why a session is not taken.
struct Refusal {
    cause: &'static str,
    told: String,
    /// Recorded already, as a denial, and counted.
    denied: bool,
}

impl Refusal {
    fn new(cause: &'static str, told: impl Into<String>) -> Self {
        Self { cause, told: told.into(), denied: false }
    }
}

impl Desk {
    /// Takes sessions for `workers`.
    pub fn new(shared: &Arc<Shared>, identities: &Arc<Resolver>, workers: Vec<Inbox>) -> Self {
        let (shared, identities) = (Arc::clone(shared), Arc::clone(identities));
        Self { shared, identities, workers: workers.into(), next: Arc::default() }
    }

    /// Opens the socket that `config` asks for; none if no server of it is a command.
    ///
    /// # Errors
    ///
    /// [`Error::Socket`] and [`Error::Start`].
    pub fn open(&self, config: &Config) -> Result<Option<Socket>, Error> {
        let Some(path) = config.admin.stdio.as_ref().filter(|_| !config.commands.is_empty()) else { return Ok(None) };
        Socket::start(path, self.clone()).map(Some)
    }

    /// Listens to one caller.
    async fn listen(self, mut caller: UnixStream, recorder: Recorder) {
        let pid = caller.peer_cred().ok().and_then(|who| who.pid()).and_then(|pid| u32::try_from(pid).ok());
        let refusal = match timeout(PATIENCE, self.take(&mut caller, pid)).await {
            Ok(Ok(session)) => return self.begin(caller, session, &recorder).await,
            Ok(Err(refusal)) => refusal,
            Err(_) => Refusal::new("stdio-slow", "the session was not handed over in time"),
        };
        let detail = Some(refusal.told.as_str());
        self.shared.telemetry.emit(Refused { cause: refusal.cause, pid, detail, ..Refused::default() });
        answer(&mut caller, Some(refusal)).await;
    }

    async fn take(&self, caller: &mut UnixStream, pid: Option<u32>) -> Result<Taken, Refusal> {
        let unclear = |told: String| Refusal::new("identity-unclear", told);
        let pid = pid.filter(|pid| *pid != 0);
        let pid = pid.ok_or_else(|| unclear("the calling process is not of this PID namespace".to_owned()))?;
        let (origin, identity) = self.identities.of_process(pid).map_err(|error| unclear(error.to_string()))?;
        let broken = |error: io::Error| Refusal::new("stdio-handover", error.to_string());
        caller.write_all(format!("{GREETING}\n").as_bytes()).await.map_err(broken)?;
        let received = caller.async_io(Interest::READABLE, || handover::receive(&*caller)).await.map_err(broken)?;
        if received.pid != pid {
            return Err(unclear("another process handed the session over than the one that connected".to_owned()));
        }
        Ok(Taken { origin, identity, received })
    }

    /// Gives the session to a worker.
    async fn begin(&self, mut caller: UnixStream, taken: Taken, recorder: &Recorder) {
        let (pid, uid) = (Some(taken.identity.pid), Some(taken.identity.uid));
        match self.session(taken, recorder) {
            Ok(session) => {
                answer(&mut caller, None).await;
                let Ok(control) = caller.into_std() else { return };
                let at = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len().max(1);
                if let Some(worker) = self.workers.get(at) {
                    // A worker that is gone is one that has drained.
                    let _ = worker.send(Arrival::Stdio(session(control)));
                }
            }
            Err(refusal) => {
                if !refusal.denied {
                    let detail = Some(refusal.told.as_str());
                    self.shared.telemetry.emit(Refused {
                        cause: refusal.cause,
                        pid,
                        uid,
                        detail,
                        ..Refused::default()
                    });
                }
                answer(&mut caller, Some(refusal)).await;
            }
        }
    }

    /// The session, but for the connection that it was handed over on.
    fn session(
        &self,
        taken: Taken,
        recorder: &Recorder,
    ) -> Result<impl FnOnce(std::os::unix::net::UnixStream) -> Session + use<>, Refusal> {
        let Taken { origin, identity, received: Received { hello, ends, .. } } = taken;
        let snapshot = self.shared.snapshot.load();
        let config = &snapshot.config;
        let server = config.commands.iter().find(|server| server.name == hello.server).cloned();
        let server = server.ok_or_else(|| Refusal::new("stdio-server", unknown(config, &hello.server)))?;
        if snapshot.grant(&server.name, &identity).is_none() {
            return Err(no_grant(&server.name, &identity, recorder));
        }
        let [a, b, c, d] = ends.map(socket);
        let ends = a.and_then(|a| Ok((a, b?, c?, d?)));
        let (from_client, to_client, to_server, from_server) =
            ends.map_err(|error| Refusal::new("stdio-handover", error.to_string()))?;
        let limits = &config.limits;
        let place = self.shared.admission.enter(origin.cgroup, limits.connections_per_agent, limits.connections);
        let place = place.map_err(|full| Refusal::new(full.word(), full.to_string()))?;
        Ok(move |control| Session {
            server,
            identity,
            origin,
            client: (from_client, to_client),
            command: (to_server, from_server),
            control,
            place: Some(place),
        })
    }
}

/// A session that was handed over.
struct Taken {
    origin: Origin,
    identity: Arc<Identity>,
    received: Received,
}

impl Socket {
    fn start(path: &Path, desk: Desk) -> Result<Socket, Error> {
        // Whoever may run a server may ask for its policy: who that is, is said by the grants.
        let listener = control::listen(path, Gid::from_raw(0), 0o666);
        let listener = listener.map_err(|cause| Error::Socket { path: path.to_owned(), key: "admin.stdio", cause })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
        let listener = {
            let _entered = runtime.enter();
            UnixListener::from_std(listener).map_err(Error::Start)?
        };
        let (stop, stopped) = watch::channel(false);
        let thread = thread::Builder::new()
            .name("stdio".to_owned())
            // The recorder is made here: it stays on its thread.
            .spawn(move || match Recorder::new(&desk.shared.telemetry, &desk.shared.audit) {
                Ok(recorder) => LocalSet::new().block_on(&runtime, accept(listener, desk, recorder, stopped)),
                Err(error) => tracing::error!(%error, "stdio sessions cannot be accepted"),
            })
            .map_err(Error::Start)?;
        Ok(Socket { path: path.to_owned(), stop, thread: Some(thread) })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Nobody is led to a socket that does not answer.
        let _ = fs::remove_file(&self.path);
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // Only fails if the thread panicked, and then there is nothing left to wait for.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: UnixListener, desk: Desk, recorder: Recorder, mut stopped: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CALLERS));
    let users: Rc<RefCell<HashMap<u32, usize>>> = Rc::default();
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((caller, _)) => {
                let Ok(uid) = caller.peer_cred().map(|who| who.uid()) else { continue };
                let (desk, recorder, users) = (desk.clone(), recorder.clone(), Rc::clone(&users));
                let open = users.borrow().get(&uid).copied().unwrap_or_default();
                if open >= CALLERS_OF_USER {
                    continue;
                }
                users.borrow_mut().insert(uid, open + 1);
                tokio::task::spawn_local(async move {
                    desk.listen(caller, recorder).await;
                    drop(permit);
                    let mut users = users.borrow_mut();
                    match users.get_mut(&uid) {
                        Some(open) if *open > 1 => *open -= 1,
                        _ => drop(users.remove(&uid)),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "stdio sessions cannot be accepted");
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
            }
        }
    }
}

/// What to say of a server that is not there.
fn unknown(config: &Config, name: &str) -> String {
    let name = name.escape_debug();
    let said = format!("the daemon's configuration has no server `{name}` with `transport = \"stdio\"`");
    match did_you_mean(&name.to_string(), config.commands.iter().map(|server| server.name.as_str())) {
        Some(like) => format!("{said}; did you mean `{like}`?"),
        None => said,
    }
}

/// Refuses a session that could not do anything, and that is recorded as its messages would be. Its command is not heard either:
/// what it listed would count for everybody.
fn no_grant(server: &str, identity: &Identity, recorder: &Recorder) -> Refusal {
    let started = Instant::now();
    let denial = Denial::no_grant(Reply::Drop);
    let decided = Decided {
        call: recorder.next_call(),
        at: SystemTime::now(),
        identity,
        grant: None,
        server,
        direction: Direction::ToServer,
        method: None,
        tool: None,
        effect: Effect::Deny,
        rule: &denial.rule,
        reason: Some(&denial.reason),
        observed: false,
        counters: &CounterStates::new(),
        session: None,
        protocol_version: None,
        arguments: None,
        took: started.elapsed(),
    };
    // It is refused whether that can be recorded or not.
    if let Ok(mut call) = recorder.decided(&decided) {
        call.outcome.ended = true;
    }
    let told = format!("no grant lets this process use `{server}` (see `[[grant]]` in the daemon's configuration)");
    Refusal { denied: true, ..Refusal::new("no-grant", told) }
}

async fn answer(caller: &mut UnixStream, refusal: Option<Refusal>) {
    let denied = refusal.as_ref().is_some_and(|refusal| refusal.denied);
    let mut line =
        serde_json::to_vec(&Answer { error: refusal.map(|refusal| refusal.told), denied }).unwrap_or_default();
    line.push(b'\n');
    // Whoever does not wait for the answer needs none.
    let _ = timeout(PATIENCE, caller.write_all(&line)).await;
}
