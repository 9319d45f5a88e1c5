//! The audit log: a `decision` record before each effect and an `outcome` record after it, as JSON Lines; and an `admin`
//! record before each change that somebody makes through the control socket.
//!
//! A worker owns a [`Recorder`]. Its [`decided`](Recorder::decided) writes the record from the deciding thread, with one
//! `write(2)` and no lock, and then counts and logs; if the record cannot be written, the call must be denied. What it
//! gives back writes the outcome, at the latest when it is dropped.

mod file;
mod json;
mod key;
mod log;
mod record;
mod recorder;
#[cfg(test)]
mod tests;

pub use key::Key;
pub use log::{Log, Writer};
pub use record::{Admin, Count, Definition};
pub use recorder::{Call, Outcome, Recorder};

use std::io;
use std::path::PathBuf;

/// A record could not be written: the call is denied with `audit-unavailable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit record cannot be written")]
pub struct Unavailable;

/// Why the audit log or its key could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log file.
    #[error("audit log `{path}` cannot be opened: {cause}")]
    Open {
        /// Its path.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A pipe, a directory, a socket.
    #[error("audit log `{path}` is not a regular file: give it a path of its own")]
    NotAFile {
        /// Its path.
        path: PathBuf,
    },
    /// The key file.
    #[error("audit key `{path}` cannot be read or made: {cause}")]
    Key {
        /// Its path.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The key file holds something else.
    #[error(
        "audit key `{path}` is not 32 bytes: move it away, and a new one is made (older records' HMACs then match no more)"
    )]
    NotAKey {
        /// Its path.
        path: PathBuf,
    },
    /// The key file can be read by others.
    #[error("audit key `{path}` can be read by others: `chmod 600` it, or move it away and a new one is made")]
    Exposed {
        /// Its path.
        path: PathBuf,
    },
    /// No random bytes for a new key or for call ids.
    #[error("the operating system gave no random bytes")]
    NoRandom,
    /// The thread that syncs could not be started.
    #[error("the audit log's thread cannot be started: {0}")]
    Thread(io::Error),
}
