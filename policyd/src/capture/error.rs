//! Why capture could not start.

use std::io;
use std::path::PathBuf;

use super::CgroupError;

/// Why capture could not start, or a running one could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call was refused for want of a capability.
    #[error(
        "not permitted to {what}: {source}; run as root, or grant CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_PTRACE and CAP_CHOWN"
    )]
    NotPermitted {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel lacks a part, or a system call failed for another reason.
    #[error("could not {what}: {source}; `policyd doctor` tells what this host lacks")]
    Unavailable {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused the programs or a map.
    #[error(
        "the kernel did not take {what}: {source}; policyd needs Linux 5.15 or newer with BTF (`policyd doctor` checks it)"
    )]
    Load {
        /// Which program or map.
        what: String,
        /// What aya said, the verifier's log included.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A cgroup could not be used.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Another process runs this instance.
    #[error("another policyd runs the instance `{instance}` (it holds the lock on {}); stop it, or set another `capture.instance`", path.display())]
    Running {
        /// The instance.
        instance: String,
        /// The directory that is locked.
        path: PathBuf,
    },
    /// The instance's name cannot be a directory's name.
    #[error("`{0}` cannot name an instance: use 1 to 64 letters, digits, `-` and `_`")]
    Instance(String),
}

impl Error {
    /// The process exit code for this error (sysexits.h): 77 not permitted, 69 unavailable, 78 configuration.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotPermitted { .. } => 77,
            Self::Load { source, .. } if denied(source.as_ref()) => 77,
            Self::Unavailable { .. } | Self::Load { .. } | Self::Running { .. } => 69,
            Self::Cgroup(error) => error.exit_code(),
            Self::Instance(_) => 78,
        }
    }

    /// The error of a system call that was to do `what` (a verb and its object).
    pub(super) fn system(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        if permission(&source) { Self::NotPermitted { what, source } } else { Self::Unavailable { what, source } }
    }

    /// The error of loading `what` into the kernel.
    pub(super) fn load(what: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Load { what: what.into(), source: Box::new(source) }
    }
}

fn permission(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES))
}

/// Whether the chain of causes begins with a refused system call. A program that the verifier rejects gives EACCES too,
/// so only EPERM counts.
fn denied(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error() == Some(libc::EPERM)) {
            return true;
        }
        next = error.source();
    }
    false
}
