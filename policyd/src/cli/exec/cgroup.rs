//! The cgroup of one `exec`.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A cgroup below policyd's own, so that whatever limits the caller limits COMMAND too, and so that the hooks of a daemon
/// that watches the caller run as well.
#[derive(Debug)]
pub struct ExecCgroup {
    directory: PathBuf,
}

/// A process that outlived COMMAND.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lingering {
    /// Process id.
    pub pid: u32,
    /// Its short name (`/proc/PID/comm`).
    pub name: String,
}

impl ExecCgroup {
    /// Makes the cgroup `name` in the directory of the parent cgroup. An empty one of that name, left by a crash, is used.
    ///
    /// # Errors
    ///
    /// The kernel's, or that one of that name has processes.
    pub fn make(parent: &Path, name: &str) -> io::Result<Self> {
        let cgroup = Self { directory: parent.join(name) };
        match fs::create_dir(&cgroup.directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !cgroup.populated()? => Ok(cgroup),
            Err(error) => Err(error),
            Ok(()) => Ok(cgroup),
        }
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits until no process is in it or below, at most for `patience`; gives whether it is empty. A program's children
    /// often end a moment after it.
    pub fn wait_empty(&self, patience: Duration) -> io::Result<bool> {
        let mut events = File::open(self.directory.join("cgroup.events"))?;
        let deadline = Instant::now() + patience;
        loop {
            let mut text = String::new();
            events.rewind()?;
            events.read_to_string(&mut text)?;
            let left = deadline.saturating_duration_since(Instant::now());
            if !is_populated(&text) || left.is_zero() {
                return Ok(!is_populated(&text));
            }
            // The file tells of a change by POLLPRI (cgroup-v2.rst, "[Un]populated Notification").
            let mut watched = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut watched, timeout) {
                Err(nix::Error::EINTR) | Ok(_) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The processes in it and below.
    pub fn lingering(&self) -> io::Result<Vec<Lingering>> {
        let mut found = Vec::new();
        let mut open = vec![self.directory.clone()];
        while let Some(directory) = open.pop() {
            for line in fs::read_to_string(directory.join("cgroup.procs"))?.lines() {
                let Ok(pid) = line.parse::<u32>() else { continue };
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                found.push(Lingering { pid, name: name.trim_end().to_owned() });
            }
            for entry in fs::read_dir(&directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                }
            }
        }
        Ok(found)
    }

    /// Removes it, with empty cgroups that COMMAND made below it.
    pub fn remove(self) -> io::Result<()> {
        remove(&self.directory)
    }

    fn populated(&self) -> io::Result<bool> {
        Ok(is_populated(&fs::read_to_string(self.directory.join("cgroup.events"))?))
    }
}

fn is_populated(events: &str) -> bool {
    !events.lines().any(|line| line == "populated 0")
}

fn remove(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::capture::Cgroup2;

    fn make(name: &str) -> ExecCgroup {
        let cgroups = Cgroup2::find().unwrap();
        ExecCgroup::make(cgroups.mount(), &format!("policyd-test-{name}-{}", std::process::id())).unwrap()
    }

    #[test]
    fn a_process_is_seen_until_it_ends() {
        let cgroup = make("seen");
        assert!(cgroup.wait_empty(Duration::ZERO).unwrap());
        // It reads its input and so lives until the test lets it go.
        let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        fs::write(cgroup.directory().join("cgroup.procs"), cat.id().to_string()).unwrap();
        assert!(!cgroup.wait_empty(Duration::from_millis(20)).unwrap());
        assert_eq!(cgroup.lingering().unwrap(), [Lingering { pid: cat.id(), name: "cat".into() }]);
        drop(cat.stdin.take());
        // Not reaped yet: a zombie counts as gone.
        assert!(cgroup.wait_empty(Duration::from_secs(20)).unwrap());
        cat.wait().unwrap();
        let directory = cgroup.directory().to_owned();
        cgroup.remove().unwrap();
        assert!(!directory.exists());
    }

    #[test]
    fn one_that_a_crash_left_is_used_again_and_nested_ones_go_too() {
        let first = make("left");
        fs::create_dir(first.directory().join("below")).unwrap();
        let again = make("left");
        assert_eq!(first.directory(), again.directory());
        again.remove().unwrap();
        assert!(!first.directory().exists());
    }
}
