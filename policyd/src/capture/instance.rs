//! An instance's directory in bpffs: its lock, its pins, and how they go.
//!
//! ```text
//! /sys/fs/bpf/policyd/INSTANCE/links/HOOK-CGROUPID    keep the programs attached when policyd is gone
//! /sys/fs/bpf/policyd/INSTANCE/maps/NAME              for `bpftool map dump pinned`
//! ```

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{FsType, statfs};

use super::{Cgroup2, Error, sys};

const BPFFS: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC` of linux/magic.h.
const BPFFS_MAGIC: FsType = FsType(0xcafe_4a11);
const EXEC_PREFIX: &str = "exec-";

/// An instance that this process alone runs.
#[derive(Debug)]
pub(super) struct Instance {
    directory: PathBuf,
    /// Unlocked when the process ends, however it ends.
    _lock: Flock<File>,
}

impl Instance {
    /// Makes the instance's directory, mounting bpffs where it is not, and locks it.
    pub fn lock(name: &str) -> Result<Self, Error> {
        let directory = directory(name)?;
        mount_bpffs()?;
        loop {
            for part in [PathBuf::new(), "links".into(), "maps".into()] {
                make(&directory.join(part))?;
            }
            let Some(lock) = try_lock(&directory)? else {
                return Err(Error::Running { instance: name.to_owned(), path: directory });
            };
            // A detach between making and locking would leave a lock on a directory that nobody else sees.
            if same(&lock, &directory) && directory.join("links").is_dir() && directory.join("maps").is_dir() {
                return Ok(Self { directory, _lock: lock });
            }
        }
    }

    /// Where links are pinned.
    pub fn links(&self) -> PathBuf {
        self.directory.join("links")
    }

    /// Where maps are pinned.
    pub fn maps(&self) -> PathBuf {
        self.directory.join("maps")
    }

    /// Removes all pins, connects first: while they are still redirected the rest must work.
    pub fn remove(&self) -> Result<(), Error> {
        let mut links = entries(&self.links())?;
        links.sort_by_key(|name| !name.starts_with("connect"));
        for name in links {
            end_link(&self.links().join(name))?;
        }
        for name in entries(&self.maps())? {
            unlink(&self.maps().join(name))?;
        }
        Ok(())
    }

    /// Whether an agents' cgroup still holds processes.
    fn populated(&self, cgroup2: &Cgroup2) -> Result<bool, Error> {
        // Not the other links' cgroups: some of those are policyd's own.
        let agents = entries(&self.links())?;
        let ids: Vec<u64> = agents.iter().filter_map(|name| name.strip_prefix("connect4-")?.parse().ok()).collect();
        Ok(any_populated(cgroup2.mount(), &ids))
    }
}

impl Drop for Instance {
    /// A directory without pins, because the start failed or they were removed, goes; others stay.
    fn drop(&mut self) {
        for directory in [self.links(), self.maps(), self.directory.clone()] {
            // Not empty, or gone already.
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Removes the pins of `instance`: its agents are captured no more, and what was refused is let out.
///
/// # Errors
///
/// [`Error::Running`] while a daemon runs it.
pub fn detach(instance: &str) -> Result<(), Error> {
    if !directory(instance)?.is_dir() {
        return Ok(());
    }
    Instance::lock(instance)?.remove()
}

/// Removes the pins of `exec-…` instances that nobody runs any more and whose commands have ended; gives their names.
/// A command that has outlived its `policyd exec` stays refused.
///
/// # Errors
///
/// That bpffs or the cgroups cannot be read.
pub fn remove_stale() -> Result<Vec<String>, Error> {
    let all = Path::new(BPFFS).join("policyd");
    if !all.is_dir() {
        return Ok(Vec::new());
    }
    let cgroup2 = Cgroup2::find()?;
    let mut removed = Vec::new();
    for name in entries(&all)?.into_iter().filter(|name| name.starts_with(EXEC_PREFIX)) {
        let instance = match Instance::lock(&name) {
            Ok(instance) => instance,
            Err(Error::Running { .. } | Error::Instance(_)) => continue,
            Err(error) => return Err(error),
        };
        if !instance.populated(&cgroup2)? {
            instance.remove()?;
            removed.push(name);
        }
    }
    Ok(removed)
}

fn directory(instance: &str) -> Result<PathBuf, Error> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if instance.is_empty() || instance.len() > 64 || !instance.bytes().all(good) {
        return Err(Error::Instance(instance.to_owned()));
    }
    Ok(Path::new(BPFFS).join("policyd").join(instance))
}

/// Mounts bpffs where the host has not. Locked, or two daemons that start at once would mount one over the other's pins.
fn mount_bpffs() -> Result<(), Error> {
    let failed = |error: io::Error| Error::system(format!("mount bpffs on {BPFFS}"), error);
    if is_bpffs()? {
        return Ok(());
    }
    let lock = File::open(BPFFS).map_err(failed)?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))?;
    if is_bpffs()? {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpffs"), BPFFS, Some("bpf"), flags, Some("mode=700")).map_err(|errno| failed(errno.into()))
}

fn is_bpffs() -> Result<bool, Error> {
    let stat = statfs(BPFFS).map_err(|errno| Error::system(format!("look at {BPFFS}"), errno.into()))?;
    Ok(stat.filesystem_type() == BPFFS_MAGIC)
}

fn make(directory: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| Error::system(format!("make {}", directory.display()), error))
}

/// `None` when another process holds the lock.
fn try_lock(directory: &Path) -> Result<Option<Flock<File>>, Error> {
    let failed = |error: io::Error| Error::system(format!("lock {}", directory.display()), error);
    match File::open(directory) {
        Ok(file) => match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(failed(errno.into())),
        },
        Err(error) => Err(failed(error)),
    }
}

fn same(open: &File, path: &Path) -> bool {
    match (open.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(path)) => open.ino() == path.ino() && open.dev() == path.dev(),
        _ => false,
    }
}

/// The names in a directory.
pub(super) fn entries(directory: &Path) -> Result<Vec<String>, Error> {
    let failed = |error| Error::system(format!("list {}", directory.display()), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// Ends the link that is pinned at `pin`, and removes the pin.
pub(super) fn end_link(pin: &Path) -> Result<(), Error> {
    sys::open_pinned(pin)
        .and_then(|link| sys::link_detach(link.as_fd()))
        .map_err(|error| Error::system(format!("end the link {}", pin.display()), error))?;
    unlink(pin)
}

/// Removes a pin; that it is not there is as good.
pub(super) fn unlink(pin: &Path) -> Result<(), Error> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::system(format!("remove {}", pin.display()), error))
        }
        _ => Ok(()),
    }
}

/// Whether a cgroup at or below `directory` with one of these ids holds processes.
fn any_populated(directory: &Path, ids: &[u64]) -> bool {
    let wanted = fs::metadata(directory).is_ok_and(|metadata| ids.contains(&metadata.ino()));
    if wanted && populated(directory) {
        return true;
    }
    let Ok(children) = fs::read_dir(directory) else { return false };
    let mut children = children.flatten().filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir()));
    children.any(|child| any_populated(&child.path(), ids))
}

/// The root has no such file, and always holds processes.
fn populated(directory: &Path) -> bool {
    let events = fs::read_to_string(directory.join("cgroup.events"));
    events.map_or(true, |events| events.lines().any(|line| line == "populated 1"))
}
