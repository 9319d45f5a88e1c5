//! Why the daemon does not start, or not reload.

use std::io;

use crate::config::Config;
use crate::tls::authority::AuthorityError;
use crate::tls::upstream::RootsError;
use crate::{admin, audit, capture, state};

/// Why the daemon could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel side.
    #[error(transparent)]
    Capture(#[from] capture::Error),
    /// Interception could not be proven.
    #[error("interception does not work: {0}")]
    Canary(#[from] capture::CanaryError),
    /// The cgroup that the canary needs.
    #[error("a cgroup for the canary cannot be made: {0}")]
    CanaryCgroup(io::Error),
    /// The authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The audit log or its key.
    #[error(transparent)]
    Audit(#[from] audit::Error),
    /// The counters' store.
    #[error(transparent)]
    State(#[from] state::Error),
    /// Trust towards servers.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The admin endpoints.
    #[error(transparent)]
    Admin(#[from] admin::Error),
    /// The metrics could not be registered.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A thread or its event loop could not be made.
    #[error("a thread cannot be started: {0}")]
    Thread(io::Error),
}

impl StartError {
    /// The exit code that says it (sysexits.h): 77 for a missing privilege, 78 for a configuration that names what this
    /// host does not have, 69 for what the host lacks.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Capture(error) => error.exit_code(),
            Self::Authority(error) if error.is_permission() => 77,
            Self::Roots(_) => 78,
            _ => 69,
        }
    }
}

/// Why a good configuration could not be put in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A setting that only a restart can change.
    #[error(
        "`{0}` cannot be changed while the daemon runs: restart it (agents' connects are refused meanwhile, not let out)"
    )]
    NeedsRestart(&'static str),
    /// The kernel side.
    #[error(transparent)]
    Capture(#[from] capture::Error),
    /// The intermediate for the new servers.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Trust towards servers.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The socket of `policyd stdio`, which the first server that is a command needs.
    #[error(transparent)]
    Admin(#[from] admin::Error),
}

/// Refuses changes that only a restart can make.
pub fn same_where_it_must_be(before: &Config, after: &Config) -> Result<(), ReloadError> {
    let changed = [
        ("state_dir", before.state_dir != after.state_dir),
        ("capture.instance", before.capture.instance != after.capture.instance),
        ("admin", before.admin != after.admin),
        ("audit", before.audit != after.audit),
    ];
    match changed.into_iter().find(|(_, changed)| *changed) {
        Some((setting, _)) => Err(ReloadError::NeedsRestart(setting)),
        None => Ok(()),
    }
}
