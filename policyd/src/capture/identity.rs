//! Who a connection belongs to, as the kernel says it.

mod unit;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use moka::sync::Cache;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Uid, User};

use self::unit::Cgroups;
use super::{Cgroup2, CgroupError, Origin};

/// Processes that are remembered.
const PROCESSES: u64 = 16_384;
/// Users that are remembered, and for how long: a name may be given to another id.
const USERS: u64 = 1024;
const USERS_FOR: Duration = Duration::from_secs(60);

/// The facts about an agent's process that grants match on and audit records name.
///
/// Resolved from an [`Origin`] off the hot path and cached per process and cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// When the process started, in clock ticks since boot (`/proc/PID/stat`, field 22): with `pid`, a process for good.
    /// 0 when the process has ended before it was looked at; what the kernel noted at the connect is known all the same.
    pub started: u64,
    /// Real user id: a program with the set-user-id bit counts as whoever started it.
    pub uid: u32,
    /// The user's name, where the host knows one.
    pub user: Option<String>,
    /// The executable's path in policyd's own mount namespace; `None` where it cannot be told or lies in another one.
    pub exe: Option<PathBuf>,
    /// The cgroup's path below the cgroup2 mount, beginning with `/`.
    pub cgroup: String,
    /// The systemd *system* unit, read from the cgroup path from its root down, never below a delegated cgroup.
    pub unit: Option<String>,
    /// Network namespace cookie.
    pub netns: u64,
}

/// Why nobody can be named: the connection is refused.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// The process that connected has ended and its id belongs to a later one.
    #[error("process {0} started after the connect: its id was reused")]
    ReusedPid(u32),
    /// The cgroup has gone.
    #[error("the cgroup {0} of process {1} cannot be found")]
    Cgroup(u64, u32),
    /// `/proc` could not be read.
    #[error("process {pid} could not be looked at: {source}")]
    Proc {
        /// The process.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Resolves origins. Share one (`Arc`) between all threads.
#[derive(Debug)]
pub struct Resolver {
    cgroups: Cgroups,
    /// policyd's own mount namespace: a path means the same file only there.
    mount_namespace: Option<PathBuf>,
    processes: Cache<(u32, u64), Arc<Identity>>,
    users: Cache<u32, Option<String>>,
}

impl Resolver {
    /// A resolver with empty caches.
    ///
    /// # Errors
    ///
    /// That there is no cgroup2 mount.
    pub fn new() -> Result<Self, CgroupError> {
        Ok(Self {
            cgroups: Cgroups::new(Cgroup2::find()?),
            mount_namespace: fs::read_link("/proc/self/ns/mnt").ok(),
            processes: Cache::new(PROCESSES),
            users: Cache::builder().max_capacity(USERS).time_to_live(USERS_FOR).build(),
        })
    }

    /// Who is behind `origin`. Blocks for a few reads of `/proc`; once per connection.
    ///
    /// # Errors
    ///
    /// [`Unknown`]: the connection must be refused.
    pub fn resolve(&self, origin: &Origin) -> Result<Arc<Identity>, Unknown> {
        let pid = origin.tgid;
        let process =
            Process::look(pid, self.mount_namespace.as_deref()).map_err(|source| Unknown::Proc { pid, source })?;
        if process.as_ref().is_some_and(|process| ticks(process.started) > origin.connected_at) {
            return Err(Unknown::ReusedPid(pid));
        }
        let (started, exe) = process.map_or((0, None), |process| (process.started, process.exe));
        if let Some(known) = self.processes.get(&(pid, started))
            && known.exe == exe
            && known.uid == origin.uid
            && known.netns == origin.netns
            && self.cgroups.is_known(origin.cgroup, &known.cgroup)
        {
            return Ok(known);
        }
        let cgroup = self.cgroups.find(origin.cgroup, pid).ok_or(Unknown::Cgroup(origin.cgroup, pid))?;
        let identity = Arc::new(Identity {
            pid,
            started,
            uid: origin.uid,
            user: self.user(origin.uid),
            exe,
            cgroup: cgroup.path.clone(),
            unit: cgroup.unit.clone(),
            netns: origin.netns,
        });
        self.processes.insert((pid, started), Arc::clone(&identity));
        Ok(identity)
    }

    /// Who the process `pid` is, for what does not come as a connection; its network namespace is not looked at. Whoever gave
    /// the id has to prove that the process still lives after this: ids come round again.
    ///
    /// # Errors
    ///
    /// [`Unknown`]: nothing may be done for it.
    pub fn of_process(&self, pid: u32) -> Result<(Origin, Arc<Identity>), Unknown> {
        let proc = |source| Unknown::Proc { pid, source };
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_err(|errno| proc(errno.into()))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(proc)?;
        let uid = real_uid(&status).ok_or_else(|| proc(io::Error::other("its status file cannot be read")))?;
        let cgroup = self.cgroups.id_of(pid).ok_or(Unknown::Cgroup(0, pid))?;
        let destination = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let origin = Origin { destination, tgid: pid, uid, cgroup, netns: 0, connected_at: now.into() };
        Ok((origin, self.resolve(&origin)?))
    }

    fn user(&self, uid: u32) -> Option<String> {
        self.users.get_with(uid, || User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name))
    }
}

/// What `/proc` says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    /// Clock ticks since boot.
    started: u64,
    exe: Option<PathBuf>,
}

impl Process {
    /// `None` when it has ended.
    fn look(pid: u32, mount_namespace: Option<&Path>) -> io::Result<Option<Self>> {
        let Some(started) = started(pid)? else { return Ok(None) };
        let exe = exe(pid, mount_namespace);
        // The id may have passed to another process between the two.
        match self::started(pid)? {
            Some(still) if still == started => Ok(Some(Self { started, exe })),
            _ => Ok(None),
        }
    }
}

/// When the process started; `None` when there is none.
fn started(pid: u32) -> io::Result<Option<u64>> {
    let stat = match fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        // ESRCH: it ended between open and read.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    parse_started(&stat).map(Some).ok_or_else(|| io::Error::other("its stat file cannot be read"))
}

/// Field 22 of proc_pid_stat(5). The second field, in parentheses, is the process's own choice and may hold anything.
fn parse_started(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// The first of the ids in the line `Uid` of proc_pid_status(5).
fn real_uid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().next()?.parse().ok()
}

/// The executable's path, if it names the same file for policyd.
fn exe(pid: u32, mount_namespace: Option<&Path>) -> Option<PathBuf> {
    let namespace = fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()?;
    if Some(namespace.as_path()) != mount_namespace {
        return None;
    }
    let link = format!("/proc/{pid}/exe");
    let path = fs::read_link(&link).ok()?;
    // A replaced or removed executable, or a process in another root: the path is another file's, or nobody's.
    let (running, named) = (fs::metadata(&link).ok()?, fs::metadata(&path).ok()?);
    (running.ino() == named.ino() && running.dev() == named.dev()).then_some(path)
}

/// Clock ticks since boot as a duration. `USER_HZ` is 100 on every architecture that Rust runs on.
fn ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(10))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
