//! What can be wrong with a store.

use std::io;
use std::path::PathBuf;

use nix::sys::statvfs::statvfs;

/// Why a store cannot be used. Says what to do, where there is something to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be made or opened.
    #[error("`{path}` cannot be opened: {cause}")]
    Open {
        /// The store's file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Another daemon has it.
    #[error("`{path}` belongs to another policyd that is running: give each its own `state_dir`")]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// Somebody else holds its lock.
    #[error("`{path}` is locked by another program: end whatever has it open for writing")]
    Locked {
        /// The store's file.
        path: PathBuf,
    },
    /// There is no room for what has to be written.
    #[error("`{path}` cannot grow, the disk is full: make room")]
    Full {
        /// The store's file.
        path: PathBuf,
    },
    /// Its contents make no sense.
    #[error("`{path}` is damaged ({cause}): move it away and a new one is made, from which on all limits count anew")]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// It is a database, but no store.
    #[error("`{path}` is a database of another program: move it away, or choose another `state_dir`")]
    Foreign {
        /// The store's file.
        path: PathBuf,
    },
    /// It was written by a newer policyd.
    #[error(
        "`{path}` has the format {found}, this policyd knows {known}: run the newer one, or move the file away, after which all \
         limits count anew"
    )]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// It was moved, removed or replaced while it was in use.
    #[error("`{path}` was moved, removed or replaced")]
    Moved {
        /// The store's file.
        path: PathBuf,
    },
    /// What was written may not have reached the disk.
    #[error("`{path}` cannot be written to the disk: {cause}")]
    Sync {
        /// The store's file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Anything else.
    #[error("`{path}`: {cause}")]
    Other {
        /// The store's file.
        path: PathBuf,
        /// What SQLite said.
        cause: rusqlite::Error,
    },
    /// The thread that looks after it.
    #[error("the state's thread cannot be started: {0}")]
    Thread(io::Error),
    /// It has been closed.
    #[error("policyd is ending")]
    Closed,
}

impl Error {
    /// Of what the operating system said about the store at `path`.
    pub(super) fn open(path: &std::path::Path, cause: io::Error) -> Error {
        let path = path.to_owned();
        if cause.kind() == io::ErrorKind::StorageFull { Error::Full { path } } else { Error::Open { path, cause } }
    }

    /// Of what SQLite said about the store at `path`.
    pub(super) fn of(path: &std::path::Path, cause: rusqlite::Error) -> Error {
        use rusqlite::ErrorCode as Code;
        let path = path.to_owned();
        match cause.sqlite_error_code() {
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Error::Locked { path },
            Some(Code::DiskFull) => Error::Full { path },
            Some(Code::DatabaseCorrupt | Code::NotADatabase | Code::ConstraintViolation | Code::TypeMismatch) => {
                Error::Damaged { path, cause: cause.to_string() }
            }
            // A table or column is missing, or holds something else.
            None => Error::Damaged { path, cause: cause.to_string() },
            Some(Code::Unknown) => Error::Damaged { path, cause: cause.to_string() },
            // What cannot be made beside the database for want of room is told as any other mishap.
            Some(_) if statvfs(path.parent().unwrap_or(&path)).is_ok_and(|disk| disk.blocks_available() == 0) => {
                Error::Full { path }
            }
            Some(_) => Error::Other { path, cause },
        }
    }

    /// Whether what the file holds can be trusted no more.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Error::Damaged { .. })
    }
}
