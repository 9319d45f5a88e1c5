//! The agents' cgroups while the daemon runs: one that is removed and made again, as systemd does when a unit restarts, is
//! another one to the kernel, and is captured anew as soon as it appears.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::StreamExt;
use inotify::{Inotify, WatchMask, Watches};

use crate::capture::{Capture, Cgroup2};
use crate::proxy::worker::Shared;

/// Watches for ever. `reloading` is held while the captured cgroups are changed, here and by a reload.
pub async fn watch(shared: &Shared, capture: &Weak<Capture>, reloading: &Arc<Mutex<()>>) {
    if let Err(error) = try_watch(shared, capture, reloading).await {
        let detail = format!("cannot be watched ({error}): reload after one was made anew");
        shared.telemetry.health().degraded("cgroups", detail);
    }
    std::future::pending().await
}

async fn try_watch(shared: &Shared, capture: &Weak<Capture>, reloading: &Arc<Mutex<()>>) -> io::Result<()> {
    let mount = Cgroup2::find().map_err(io::Error::other)?.mount().to_owned();
    let inotify = Inotify::init()?;
    let mut watches = inotify.watches();
    let mut events = inotify.into_event_stream([0; 4096])?;
    let mut captured = Vec::new();
    loop {
        {
            let _reloading = reloading.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(capture) = capture.upgrade() else { return Ok(()) };
            let cgroups = shared.snapshot.load().config.capture.cgroups.clone();
            // Watched before it is looked, so that nothing appears in between.
            follow(&mut watches, &mount, &cgroups);
            let now = identities(&mount, &cgroups);
            let health = shared.telemetry.health();
            if let Some(gone) = now.iter().find(|(_, id)| id.is_none()) {
                health.degraded("cgroups", format!("{} does not exist: it is captured when it appears", gone.0));
            } else if now != captured {
                match capture.set_cgroups(&cgroups) {
                    Ok(()) => {
                        health.good("cgroups", format!("captured: {}", cgroups.join(", ")));
                        captured = now;
                    }
                    Err(error) => health.degraded("cgroups", error.to_string()),
                }
            }
        }
        // Which event it was does not matter: the cgroups are looked at, and few of them.
        if events.next().await.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Watches the folders that a cgroup's own appears in: all of those above it that there are.
fn follow(watches: &mut Watches, mount: &Path, cgroups: &[String]) {
    let above: BTreeSet<PathBuf> = cgroups
        .iter()
        .flat_map(|cgroup| {
            let path = mount.join(cgroup.trim_start_matches('/'));
            path.ancestors()
                .skip(1)
                .take_while(|folder| folder.starts_with(mount))
                .map(Path::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    for folder in above {
        // One that is not there is found when it is made in the one above it. Watching one again changes nothing.
        let _ = watches.add(folder, WatchMask::CREATE | WatchMask::DELETE | WatchMask::ONLYDIR);
    }
}

/// The cgroups with the ids that they have now: the inodes of their folders.
fn identities(mount: &Path, cgroups: &[String]) -> Vec<(String, Option<u64>)> {
    let id = |cgroup: &String| std::fs::metadata(mount.join(cgroup.trim_start_matches('/'))).ok().map(|it| it.ino());
    cgroups.iter().map(|cgroup| (cgroup.clone(), id(cgroup))).collect()
}
