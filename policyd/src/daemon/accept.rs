//! The thread that takes redirected connections, says whose they are, and deals them out to the workers.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Inbox, StartError, cgroups};
use crate::capture::identity::Resolver;
use crate::capture::{Acceptor, Capture, Cause, Events, Origin};
use crate::proxy::connection::Captured;
use crate::proxy::worker::{Arrival, Shared};
use crate::telemetry::Refused;

/// How long to wait when the process is out of file descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// Starts the thread, which proves interception first. Blocks until that has been shown; gives what ends it.
pub fn start(
    shared: &Arc<Shared>,
    capture: &Arc<Capture>,
    reloading: &Arc<Mutex<()>>,
    identities: &Arc<Resolver>,
    inboxes: Vec<Inbox>,
    patience: Duration,
) -> Result<oneshot::Sender<()>, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
    let (mut acceptor, events) = {
        let _entered = runtime.enter();
        (capture.acceptor()?, capture.events()?)
    };
    let (stop, stopped) = oneshot::channel();
    // Proven on the thread itself: the caller may be inside an event loop of its own.
    let (prove, proven) = std::sync::mpsc::channel();
    let health = shared.telemetry.health().clone();
    let (shared, reloading, identities) = (Arc::clone(shared), Arc::clone(reloading), Arc::clone(identities));
    let capture = Arc::downgrade(capture);
    thread::Builder::new()
        .name("accept".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                let canary = acceptor.canary(patience).await;
                let works = canary.is_ok();
                if prove.send(canary).is_err() || !works {
                    return;
                }
                tokio::select! {
                    () = deal(&shared, &identities, acceptor, &inboxes) => {}
                    () = tell_refusals(&shared, events) => {}
                    () = watch_names(&shared) => {}
                    () = cgroups::watch(&shared, &capture, &reloading) => {}
                    _ = stopped => {}
                }
            });
        })
        .map_err(StartError::Thread)?;
    proven.recv().map_err(|_| StartError::Thread(io::ErrorKind::BrokenPipe.into()))??;
    health.good("canary", "a connection was captured at the start");
    Ok(stop)
}

/// Accepts for ever, round-robin over the workers.
async fn deal(shared: &Shared, identities: &Resolver, mut acceptor: Acceptor, inboxes: &[Inbox]) {
    let mut workers = inboxes.iter().cycle();
    loop {
        match acceptor.accept().await {
            Ok((stream, _, origin)) => {
                if let (Some(captured), Some(worker)) = (take(shared, identities, stream, origin), workers.next()) {
                    // A worker that is gone is one that has drained.
                    let _ = worker.send(Arrival::Connection(captured));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "connections cannot be accepted");
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
            }
        }
    }
}

/// Says whose connection it is and gives it a place; refuses it otherwise.
fn take(shared: &Shared, identities: &Resolver, stream: std::net::TcpStream, origin: Origin) -> Option<Captured> {
    let refuse = |cause, detail: &str| {
        shared.telemetry.emit(Refused {
            cause,
            destination: Some(origin.destination),
            pid: Some(origin.tgid),
            uid: Some(origin.uid),
            name: None,
            detail: Some(detail),
        });
        None
    };
    let identity = match identities.resolve(&origin) {
        Ok(identity) => identity,
        Err(error) => return refuse("identity-unclear", &error.to_string()),
    };
    let limits = shared.snapshot.load();
    let limits = &limits.config.limits;
    let place = match shared.admission.enter(origin.cgroup, limits.connections_per_agent, limits.connections) {
        Ok(place) => place,
        Err(full) => return refuse(full.word(), &full.to_string()),
    };
    match stream.set_nodelay(true) {
        // Registered with a runtime by the worker that gets it.
        Ok(()) => Some(Captured { stream, origin, identity, place }),
        Err(error) => refuse("broken", &error.to_string()),
    }
}

/// Tells of the connects that the kernel programs refused.
async fn tell_refusals(shared: &Shared, events: Option<Events>) {
    let Some(mut events) = events else { return std::future::pending().await };
    while let Ok(refusal) = events.next().await {
        shared.telemetry.emit(Refused {
            cause: word(refusal.cause),
            destination: Some(refusal.origin.destination),
            pid: Some(refusal.origin.tgid),
            uid: Some(refusal.origin.uid),
            name: None,
            detail: Some(explain(refusal.cause)),
        });
    }
    std::future::pending().await
}

/// The cause of a refused connect in metrics and logs.
fn word(cause: Cause) -> &'static str {
    match cause {
        Cause::Namespace => "other-namespace",
        Cause::Family => "no-listener-for-family",
        Cause::Listener => "listener-lost",
        Cause::Memory => "kernel-memory",
    }
}

/// What can be done about it.
fn explain(cause: Cause) -> &'static str {
    match cause {
        Cause::Namespace => "the process is in another network namespace than policyd, which has no listener there",
        Cause::Family => "policyd has no listener of this address family: the host's loopback has no such address",
        Cause::Listener => "policyd's listener was not there, or another program holds its port",
        Cause::Memory => "the kernel had no memory to note who connected",
    }
}

/// Keeps the servers' names resolved, and tells how it stands.
async fn watch_names(shared: &Shared) {
    let health = shared.telemetry.health();
    shared
        .names
        .run(|statuses| {
            let failing: Vec<_> =
                statuses.iter().filter(|status| status.error.is_some()).map(|status| &*status.name).collect();
            if failing.is_empty() {
                health.good("names", "every server's name is resolved");
            } else {
                health.degraded("names", format!("not resolved: {}", failing.join(", ")));
            }
        })
        .await;
}
