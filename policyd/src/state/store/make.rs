//! Making the store's file: beside its place, and whole before it has its name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::db::{APPLICATION, FORMAT, beside, lock};
use super::error::Error;
use super::rows::Writing;
use super::tools;

/// The tables of format 1.
const SCHEMA: &str = "
    CREATE TABLE clock (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        boot TEXT NOT NULL,       -- /proc/sys/kernel/random/boot_id
        time INTEGER NOT NULL,    -- what limits went by, in nanoseconds
        utc INTEGER NOT NULL,     -- nanoseconds since 1970, at the same instant
        shift INTEGER NOT NULL    -- time - CLOCK_BOOTTIME
    ) STRICT;
    CREATE TABLE counter (
        id INTEGER PRIMARY KEY,
        scope TEXT NOT NULL,      -- as in a policy
        grant_name TEXT,
        server TEXT,
        session TEXT,             -- its keyed hash, as in the audit log
        name TEXT NOT NULL,
        own INTEGER NOT NULL,     -- 1: of a `rate_limit`, whose pointer the name is
        windows TEXT NOT NULL     -- such as `rolling:60000000000 calendar:86400000000000`, in nanoseconds
    ) STRICT;
    -- What was admitted between `since` and `until`; without an `until`, how much has been made sure of for calls to come.
    CREATE TABLE block (
        counter INTEGER NOT NULL,
        number INTEGER NOT NULL,
        since INTEGER NOT NULL,
        until INTEGER,
        amount TEXT NOT NULL,
        PRIMARY KEY (counter, number)
    ) STRICT, WITHOUT ROWID;
";

/// What stands at the place of a store that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// There never was a store, or its owner has moved it away: when it cannot be made, there is none.
    Nothing,
    /// It was lost, or is damaged; what it held is what the new one is filled with. Until that is whole there is an empty
    /// file, which no start takes for a store: a crash must not have all limits count anew.
    Lost,
}

/// Makes a store at `path` (mode 0600) that holds what `fill` writes, and puts a damaged one aside, for whoever wants to look
/// at it. Nobody may have it open.
pub(super) fn make(
    path: &Path,
    before: Before,
    fill: impl FnOnce(&Writing<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let cannot = |cause| Error::open(path, cause);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The file's own lock cannot keep two apart that are both about to make it.
    let folder = lock(File::open(folder).map_err(cannot)?, path)?;
    match before {
        Before::Nothing if path.try_exists().map_err(cannot)? => return Err(Error::InUse { path: path.to_owned() }),
        Before::Nothing => {}
        Before::Lost => {
            set_aside(path).map_err(cannot)?;
            let empty = beside(path, ".empty");
            create(&empty).and_then(|_| fs::rename(&empty, path)).map_err(cannot)?;
            folder.sync_all().map_err(cannot)?;
        }
    }
    for suffix in ["-wal", "-shm", "-journal"] {
        // Without the database it was the log of, it is of no use, and must not become that of the next.
        remove(&beside(path, suffix)).map_err(cannot)?;
    }
    let new = beside(path, ".new");
    build(&new, path, fill)?;
    fs::rename(&new, path).and_then(|()| folder.sync_all()).map_err(cannot)
}

/// A whole store at `new`, on the disk.
fn build(new: &Path, path: &Path, fill: impl FnOnce(&Writing<'_>) -> Result<(), Error>) -> Result<(), Error> {
    let cannot = |cause| Error::open(path, cause);
    let failed = |cause| Error::of(path, cause);
    remove(&beside(new, "-journal")).map_err(cannot)?;
    let file = create(new).map_err(cannot)?;
    let mut connection = Connection::open(new).map_err(failed)?;
    // Whatever interrupts this, the next one begins anew.
    connection.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;").map_err(failed)?;
    let making = Transaction::new(&mut connection, TransactionBehavior::Immediate).map_err(failed)?;
    making.execute_batch(SCHEMA).map_err(failed)?;
    making.execute_batch(tools::SCHEMA).map_err(failed)?;
    making.pragma_update(None, "application_id", APPLICATION).map_err(failed)?;
    making.pragma_update(None, "user_version", FORMAT).map_err(failed)?;
    let writing = Writing::new(making, path);
    fill(&writing)?;
    writing.commit()?;
    connection.close().map_err(|(_, cause)| failed(cause))?;
    file.sync_all().map_err(cannot)
}

/// Gives what is left of a store a second name.
fn set_aside(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(io::Error::other("it is not a regular file")),
        Ok(found) if found.len() > 0 => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // There is nothing to look at.
        _ => return Ok(()),
    }
    let aside = beside(path, ".damaged");
    remove(&aside)?;
    fs::hard_link(path, &aside)?;
    tracing::warn!(aside = %aside.display(), "the damaged store was put aside, and is made anew");
    Ok(())
}

/// An empty file of nobody else's, in place of whatever was left there.
fn create(path: &Path) -> io::Result<File> {
    remove(path)?;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
