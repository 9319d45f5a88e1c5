//! The store's file: an SQLite database.
//!
//! In WAL mode with `synchronous = NORMAL` a commit is one `write(2)` and no sync: what the page cache holds survives the
//! death of the process by whatever signal. The keeper syncs the log once a second, so that a power cut can take the last
//! seconds; it cannot damage the file, since what is copied from the log into the database is synced first. Nobody but the
//! keeper does that copying.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::error::Error;
use super::rows::Writing;
use super::tools;

/// Marks the file as a policyd's (`PRAGMA application_id`): `plcd`.
pub(super) const APPLICATION: i64 = 0x706c_6364;

/// The format (`PRAGMA user_version`).
pub(super) const FORMAT: i64 = 2;

/// An open store file.
#[derive(Debug)]
pub(in crate::state) struct Db {
    // Before the file: closing any descriptor of it ends the locks that SQLite has on it (fcntl(2), POSIX locks).
    connection: Connection,
    file: Flock<File>,
    path: PathBuf,
}

impl Db {
    /// Opens the store at `path`. It is this one's until it is dropped. `None`: there is none.
    pub fn open(path: &Path) -> Result<Option<Db>, Error> {
        let cannot = |cause| Error::open(path, cause);
        // Never blocks: opening a pipe must fail.
        let file = match OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot(error)),
        };
        let metadata = file.metadata().map_err(cannot)?;
        if !metadata.is_file() {
            return Err(cannot(io::Error::other("it is not a regular file")));
        }
        let file = lock(file, path)?;
        not_empty(&metadata, path)?;
        let mut connection = connect(path)?;
        let format = identify(&connection, path)?;
        whole(&connection, path)?;
        upgrade(&mut connection, format).map_err(|cause| Error::of(path, cause))?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).map_err(|cause| Error::of(path, cause))?;
        Ok(Some(Db { connection, file, path: path.to_owned() }))
    }

    /// Begins a transaction that nobody else can write beside.
    pub fn begin(&mut self) -> Result<Writing<'_>, Error> {
        let begun = Transaction::new(&mut self.connection, TransactionBehavior::Immediate);
        Ok(Writing::new(begun.map_err(|cause| Error::of(&self.path, cause))?, &self.path))
    }

    /// Whether the path leads to this file still, and it begins as it should.
    pub fn check(&self) -> Result<(), Error> {
        let moved = || Error::Moved { path: self.path.clone() };
        let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let own = self.file.metadata().map(place).map_err(|_| moved())?;
        if fs::metadata(&self.path).map(place).ok() != Some(own) {
            return Err(moved());
        }
        // https://sqlite.org/fileformat.html, section 1.3: the magic, the format and the application.
        let mut header = [0; 72];
        let cause = match self.file.read_exact_at(&mut header, 0) {
            Ok(()) if header.starts_with(b"SQLite format 3\0") => return Ok(()),
            Ok(()) => "its header is gone".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => "it was cut off".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(Error::Damaged { path: self.path.clone(), cause })
    }
}

/// Copies what was committed from the log into the database, on a connection of its own: commits go on meanwhile.
#[derive(Debug)]
pub(super) struct Checkpointer {
    connection: Connection,
    path: PathBuf,
}

/// The log's size from which on it is copied, in bytes.
const CHECKPOINT_FROM: u64 = 4 << 20;

impl Checkpointer {
    /// For a store that is open, and stays so until this is dropped.
    pub fn open(path: &Path) -> Result<Checkpointer, Error> {
        Ok(Checkpointer { connection: connect(path)?, path: path.to_owned() })
    }

    /// Copies, if the log has grown, and looks whether the database is whole. Gives whether it did.
    pub fn run(&self) -> Result<bool, Error> {
        if fs::metadata(beside(&self.path, "-wal")).map_or(0, |log| log.len()) < CHECKPOINT_FROM {
            return Ok(false);
        }
        let failed = |cause| Error::of(&self.path, cause);
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(failed)?;
        whole(&self.connection, &self.path)?;
        Ok(true)
    }
}

/// Has what was committed to the store at `path` outlive a power cut. That takes as long as the disk does; nobody waits for it.
///
/// A descriptor of its own for a moment: the log is the one of SQLite's files that it has no locks on.
pub(super) fn sync(path: &Path) -> Result<(), Error> {
    match File::open(beside(path, "-wal")).and_then(|log| log.sync_data()) {
        // What is written to a log that has no name any more is lost with the process.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::Moved { path: beside(path, "-wal") }),
        done => done.map_err(|cause| Error::Sync { path: path.to_owned(), cause }),
    }
}

/// `path` with `suffix` after its name, as SQLite names the files beside a database.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let failed = |cause| Error::of(path, cause);
    // Never makes one: what is not there has been lost.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    // Whoever waits, waits with a worker's thread.
    connection.busy_timeout(Duration::ZERO).map_err(failed)?;
    let settings = "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY;
                    PRAGMA trusted_schema = OFF; PRAGMA journal_size_limit = 16777216;";
    connection.execute_batch(settings).map_err(failed)?;
    Ok(connection)
}

/// The lock that keeps a second daemon away, until what is given is dropped.
pub(super) fn lock(file: File, path: &Path) -> Result<Flock<File>, Error> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::Error::EWOULDBLOCK => Error::InUse { path: path.to_owned() },
        errno => Error::open(path, errno.into()),
    })
}

/// To SQLite an empty file is a new database; but no store is ever made in place: one that is empty has lost what it held.
fn not_empty(metadata: &fs::Metadata, path: &Path) -> Result<(), Error> {
    if metadata.len() > 0 {
        return Ok(());
    }
    Err(Error::Damaged { path: path.to_owned(), cause: "it is empty".to_owned() })
}

/// Has a store of an earlier format become one of this one, or nothing happen.
fn upgrade(connection: &mut Connection, format: i64) -> rusqlite::Result<()> {
    if format == FORMAT {
        return Ok(());
    }
    let making = Transaction::new(connection, TransactionBehavior::Immediate)?;
    making.execute_batch(tools::SCHEMA)?;
    making.pragma_update(None, "user_version", FORMAT)?;
    making.commit()?;
    tracing::info!(from = format, to = FORMAT, "the store has a new format");
    Ok(())
}

/// The format of a database that is a store that this policyd knows.
fn identify(connection: &Connection, path: &Path) -> Result<i64, Error> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let number = |sql: &str| number(sql).map_err(|cause| Error::of(path, cause));
    match (number("PRAGMA application_id")?, number("PRAGMA user_version")?) {
        (APPLICATION, format @ 1..=FORMAT) => Ok(format),
        (APPLICATION, found) if found > FORMAT => Err(Error::Newer { path: path.to_owned(), found, known: FORMAT }),
        _ => Err(Error::Foreign { path: path.to_owned() }),
    }
}

fn whole(connection: &Connection, path: &Path) -> Result<(), Error> {
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match found.map_err(|cause| Error::of(path, cause))? {
        found if found == "ok" => Ok(()),
        found => {
            Err(Error::Damaged { path: path.to_owned(), cause: found.lines().last().unwrap_or_default().to_owned() })
        }
    }
}

/// Looks at the store at `path` from outside, beside a daemon that may have it: whether it is one, and whole.
///
/// # Errors
///
/// What is wrong with it.
pub fn examine(path: &Path) -> Result<(), Error> {
    let failed = |cause| Error::of(path, cause);
    not_empty(&fs::metadata(path).map_err(|cause| Error::open(path, cause))?, path)?;
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    identify(&connection, path)?;
    whole(&connection, path)
}

/// The process that is writing to the store at `path` now, or keeps others from writing. A daemon does so for
/// microseconds at a time.
///
/// # Errors
///
/// When the kernel cannot be asked.
pub fn writer(path: &Path) -> io::Result<Option<i32>> {
    let file = match File::open(beside(path, "-shm")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // https://sqlite.org/walformat.html, section 2.3.1: byte 120 is WAL_WRITE_LOCK. Asking takes no lock.
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 120,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut lock))?;
    Ok((lock.l_type != libc::F_UNLCK as libc::c_short).then_some(lock.l_pid))
}
