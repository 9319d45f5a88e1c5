//! From a cgroup's id to its path and its systemd unit.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use moka::sync::Cache;

use super::Cgroup2;

/// Cgroups that are remembered. An id is never given twice until the next boot, and cgroups are never renamed.
const CGROUPS: u64 = 16_384;

/// What systemd puts processes into directly (systemd.unit(5)); slices only hold other units.
const UNITS: [&str; 2] = [".service", ".scope"];

/// A cgroup.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cgroup {
    /// Below the mount, beginning with `/`.
    pub path: String,
    /// The system unit that it belongs to.
    pub unit: Option<String>,
}

/// The host's cgroups by id.
#[derive(Debug)]
pub(super) struct Cgroups {
    mount: PathBuf,
    known: Cache<u64, Arc<Cgroup>>,
}

impl Cgroups {
    pub fn new(cgroup2: Cgroup2) -> Self {
        Self { mount: cgroup2.mount().to_owned(), known: Cache::new(CGROUPS) }
    }

    /// Whether `id` is known to have `path`.
    pub fn is_known(&self, id: u64, path: &str) -> bool {
        self.known.get(&id).is_some_and(|cgroup| cgroup.path == path)
    }

    /// The cgroup with this id. `pid`, a process that is probably in it, spares a walk through all of them.
    pub fn find(&self, id: u64, pid: u32) -> Option<Arc<Cgroup>> {
        if let Some(cgroup) = self.known.get(&id) {
            return Some(cgroup);
        }
        let directory = self.of_process(pid).filter(|directory| inode(directory) == Some(id));
        let directory = directory.or_else(|| walk(&self.mount, id))?;
        let below = directory.strip_prefix(&self.mount).ok()?.to_str()?;
        let cgroup = Arc::new(Cgroup { path: format!("/{below}"), unit: unit(&self.mount, below) });
        self.known.insert(id, Arc::clone(&cgroup));
        Some(cgroup)
    }

    /// The id of the cgroup that a process is in.
    pub fn id_of(&self, pid: u32) -> Option<u64> {
        inode(&self.of_process(pid)?)
    }

    fn of_process(&self, pid: u32) -> Option<PathBuf> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        Some(self.mount.join(path))
    }
}

/// The system unit of the cgroup `path` (relative to `mount`): the first service or scope on the way down from the root,
/// through slices only. What lies below a unit, or below a directory that was delegated, is named by whoever owns that.
fn unit(mount: &Path, path: &str) -> Option<String> {
    let mut directory = mount.to_owned();
    for part in path.split('/') {
        directory.push(part);
        if UNITS.iter().any(|suffix| part.ends_with(suffix)) {
            return Some(unescape(part).to_owned());
        }
        if !part.ends_with(".slice") || delegated(&directory) {
            return None;
        }
    }
    None
}

/// Whether somebody else than root makes the cgroups in `directory`: systemd gives delegated ones to their user.
fn delegated(directory: &Path) -> bool {
    fs::metadata(directory).map_or(true, |metadata| metadata.uid() != 0)
}

/// systemd puts `_` before names that the kernel would take for its own files.
fn unescape(name: &str) -> &str {
    name.strip_prefix('_').unwrap_or(name)
}

fn inode(directory: &Path) -> Option<u64> {
    fs::metadata(directory).ok().map(|metadata| metadata.ino())
}

/// The directory at or below `directory` whose inode is `id`.
fn walk(directory: &Path, id: u64) -> Option<PathBuf> {
    if inode(directory) == Some(id) {
        return Some(directory.to_owned());
    }
    let children = fs::read_dir(directory).ok()?.flatten();
    children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())).find_map(|child| walk(&child.path(), id))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn unit_of(path: &str) -> Option<String> {
        let mount = tempfile::tempdir().unwrap();
        fs::create_dir_all(mount.path().join(path)).unwrap();
        unit(mount.path(), path)
    }

    #[test]
    fn the_unit_is_the_first_one_from_the_root() {
        assert_eq!(unit_of("system.slice/agent.service").as_deref(), Some("agent.service"));
        assert_eq!(unit_of("system.slice/agent.service/payload").as_deref(), Some("agent.service"));
        assert_eq!(unit_of("system.slice/a.slice/_cgroup.service").as_deref(), Some("cgroup.service"));
        assert_eq!(unit_of("user.slice/user-1000.slice/session-3.scope").as_deref(), Some("session-3.scope"));
        assert_eq!(unit_of("system.slice"), None);
    }

    #[test]
    fn what_a_user_names_is_no_system_unit() {
        let user = "user.slice/user-1000.slice/user@1000.service/app.slice/agent.service";
        assert_eq!(unit_of(user).as_deref(), Some("user@1000.service"));
        assert_eq!(unit_of("policyd/agent.service"), None);
        let mount = tempfile::tempdir().unwrap();
        fs::create_dir_all(mount.path().join("own.slice/agent.service")).unwrap();
        std::os::unix::fs::chown(mount.path().join("own.slice"), Some(1000), None).unwrap();
        assert_eq!(unit(mount.path(), "own.slice/agent.service"), None);
    }
}
