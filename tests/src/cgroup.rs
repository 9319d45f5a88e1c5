//! Cgroups for tests: made under the cgroup2 mount with a name of their own, removed at the end.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

use policyd::capture::Cgroup2;

/// A cgroup that goes when it is dropped. Whatever still runs in it is killed then.
#[derive(Debug)]
pub struct Cgroup {
    path: String,
    directory: PathBuf,
}

impl Cgroup {
    /// A new one below the root.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn new(name: &str) -> io::Result<Self> {
        Self::below("", name)
    }

    /// A new one in this one.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn child(&self, name: &str) -> io::Result<Self> {
        Self::below(&self.path, name)
    }

    fn below(parent: &str, name: &str) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mount = Cgroup2::find().map_err(io::Error::other)?.mount().to_owned();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = format!("{parent}/policyd-test-{}-{number}-{name}", std::process::id());
        let directory = mount.join(&path[1..]);
        fs::create_dir(&directory)?;
        Ok(Self { path, directory })
    }

    /// The path below the mount, beginning with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its directory.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Moves the calling process into it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn enter(&self) -> io::Result<()> {
        fs::write(self.directory.join("cgroup.procs"), "0")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Linux 5.14.
        let _ = fs::write(self.directory.join("cgroup.kill"), "1");
        // Killed processes leave when the kernel comes to it.
        let deadline = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.directory).is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
            && Instant::now() < deadline
        {
            std::thread::yield_now();
        }
    }
}
