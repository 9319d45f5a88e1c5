//! The cgroup2 hierarchy as this host mounts it.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

/// Why a cgroup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// There is no cgroup2 mount.
    #[error("no cgroup2 mount in /proc/self/mountinfo; mount it: mount -t cgroup2 none /sys/fs/cgroup/unified")]
    NotMounted,
    /// The configuration names a cgroup that does not exist.
    #[error("no cgroup `{cgroup}` ({} does not exist); start what runs in it first, or name a slice above it", path.display())]
    Missing {
        /// The cgroup as the configuration names it.
        cgroup: String,
        /// Where it would be.
        path: PathBuf,
    },
    /// A path with `..`, or without a leading `/`.
    #[error("`{0}` is no cgroup path: it begins with `/`, counts from the cgroup2 mount and has no `..`")]
    Path(String),
    /// A file could not be read.
    #[error("could not read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl CgroupError {
    /// The process exit code for this error (sysexits.h).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotMounted => 69,
            Self::Missing { .. } | Self::Path(_) => 78,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => 77,
            Self::Io { .. } => 69,
        }
    }
}

/// The host's cgroup2 mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup2 {
    mount: PathBuf,
}

impl Cgroup2 {
    /// Finds the mount in `/proc/self/mountinfo`; on hybrid hosts it is not `/sys/fs/cgroup` itself.
    ///
    /// # Errors
    ///
    /// [`CgroupError::NotMounted`], or that the file cannot be read.
    pub fn find() -> Result<Self, CgroupError> {
        let mountinfo = read("/proc/self/mountinfo")?;
        let mount = mountinfo.lines().find_map(cgroup2_mount).ok_or(CgroupError::NotMounted)?;
        Ok(Self { mount })
    }

    /// The mount point.
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// The directory of `cgroup`, a path below the mount that begins with `/`.
    ///
    /// # Errors
    ///
    /// [`CgroupError::Path`], [`CgroupError::Missing`].
    pub fn directory(&self, cgroup: &str) -> Result<PathBuf, CgroupError> {
        let relative = cgroup.strip_prefix('/').ok_or_else(|| CgroupError::Path(cgroup.to_owned()))?;
        if Path::new(relative).components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(CgroupError::Path(cgroup.to_owned()));
        }
        let path = self.mount.join(relative);
        if path.is_dir() { Ok(path) } else { Err(CgroupError::Missing { cgroup: cgroup.to_owned(), path }) }
    }

    /// The calling process's own cgroup, a path below the mount that begins with `/`.
    ///
    /// # Errors
    ///
    /// That `/proc/self/cgroup` cannot be read or has no cgroup2 line.
    pub fn own(&self) -> Result<String, CgroupError> {
        let text = read("/proc/self/cgroup")?;
        text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned).ok_or(CgroupError::NotMounted)
    }
}

/// `cgroups` without those that lie below another one: what is attached above holds below.
pub(super) fn outermost<'a>(cgroups: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let all: BTreeSet<&str> = cgroups.into_iter().map(trimmed).collect();
    all.iter()
        .filter(|cgroup| !all.iter().any(|above| above != *cgroup && below(cgroup, above)))
        .map(|cgroup| (*cgroup).to_owned())
        .collect()
}

/// Whether `cgroup` is `above` or lies below it.
pub(super) fn below(cgroup: &str, above: &str) -> bool {
    let above = trimmed(above);
    above == "/" || cgroup.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn trimmed(cgroup: &str) -> &str {
    match cgroup.trim_end_matches('/') {
        "" => "/",
        cgroup => cgroup,
    }
}

/// The mount point in a line of mountinfo, if it is a cgroup2's whole hierarchy (proc_pid_mountinfo(5)).
fn cgroup2_mount(line: &str) -> Option<PathBuf> {
    let (mount, filesystem) = line.split_once(" - ")?;
    if !filesystem.starts_with("cgroup2 ") {
        return None;
    }
    mount.split(' ').nth(4).map(|path| PathBuf::from(unescape(path)))
}

/// Mountinfo writes space, tab, newline and backslash in octal.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

fn read(path: &str) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(|source| CgroupError::Io { path: path.into(), source })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_on_hybrid_hosts() {
        let line = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        assert_eq!(cgroup2_mount(line), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup2_mount("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"), None);
        assert_eq!(cgroup2_mount("1 2 0:3 / /a\\040b rw - cgroup2 none rw"), Some("/a b".into()));
    }

    #[test]
    fn only_the_outermost_are_attached_to() {
        assert_eq!(outermost(["/a/b", "/a", "/ab", "/a/"]), ["/a", "/ab"]);
        assert_eq!(outermost(["/a", "/"]), ["/"]);
        assert!(below("/a/b", "/a") && below("/a", "/a") && !below("/ab", "/a") && below("/x", "/"));
    }

    #[test]
    fn paths_do_not_leave_the_mount() {
        let cgroup2 = Cgroup2::find().unwrap();
        for path in ["a", "", "/../etc", "/a/../b"] {
            assert!(matches!(cgroup2.directory(path), Err(CgroupError::Path(_))), "{path}");
        }
        assert_eq!(cgroup2.directory("/").unwrap(), cgroup2.mount());
    }
}
