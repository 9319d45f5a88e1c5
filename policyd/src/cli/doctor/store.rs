//! The check of the counters' store.

use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::statvfs::{FsFlags, statvfs};

use super::checks::{not_ok, ok};
use super::{Check, Status};
use crate::state;

const NAME: &str = "state";

/// What a store needs to grow to, when many limits are used to the full.
const ROOM: u64 = 64 << 20;

/// How often it is looked whether somebody holds the lock: a daemon that writes lets go of it at once.
const LOOKS: usize = 5;

/// Looks at the store in `folder`, beside a daemon that may have it.
pub(super) fn check(folder: &Path) -> Check {
    let room = match statvfs(folder) {
        Ok(file_system) if file_system.flags().contains(FsFlags::ST_RDONLY) => {
            let found = format!("`{}` is on a file system that is mounted read-only", folder.display());
            return not_ok(NAME, Status::Missing, found, "mount it for writing, or choose another `state_dir`");
        }
        Ok(file_system) => file_system.blocks_available() * file_system.fragment_size(),
        Err(nix::Error::ENOENT) => {
            let found = format!("`{}` is not there yet", folder.display());
            let fix = "systemd makes it when the service starts; otherwise: install -d -m 0700 that folder";
            return not_ok(NAME, Status::Warning, found, fix);
        }
        Err(errno) => return unseen(folder, errno),
    };
    if room == 0 {
        let found = format!("the disk of `{}` is full: calls that a limit holds for are denied", folder.display());
        return not_ok(NAME, Status::Missing, found, "make room");
    }
    let path = folder.join(state::FILE);
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => return spacious(room, format!("`{}` is made when policyd starts", path.display())),
        Err(error) => return unseen(folder, nix::Error::from_raw(error.raw_os_error().unwrap_or(0))),
    }
    if let Some(holder) = holder(&path) {
        let found =
            format!("process {holder} keeps `{}` locked: calls that a limit holds for are denied", path.display());
        return not_ok(NAME, Status::Warning, found, format!("have it finish, or end it: kill {holder}"));
    }
    match state::examine(&path) {
        Ok(()) => spacious(room, format!("`{}` is whole", path.display())),
        Err(error) => {
            let fix = "calls that a limit holds for are denied until it is mended";
            not_ok(NAME, Status::Missing, error.to_string(), fix)
        }
    }
}

/// Who has kept the store locked all the while.
fn holder(path: &Path) -> Option<i32> {
    let mut held = None;
    for look in 0..LOOKS {
        let holder = state::writer(path).ok().flatten()?;
        if look > 0 && held != Some(holder) {
            return None;
        }
        held = Some(holder);
        thread::park_timeout(Duration::from_millis(10));
    }
    held
}

fn spacious(room: u64, found: String) -> Check {
    if room >= ROOM {
        return ok(NAME, found);
    }
    let found = format!("{found}, but its disk has only {} KiB left", room >> 10);
    not_ok(NAME, Status::Warning, found, "make room: when it is full, calls that a limit holds for are denied")
}

fn unseen(folder: &Path, errno: nix::Error) -> Check {
    let status = if matches!(errno, nix::Error::EACCES | nix::Error::EPERM) { Status::Denied } else { Status::Missing };
    let found = format!("`{}` cannot be looked at: {}", folder.display(), errno.desc());
    not_ok(NAME, status, found, "run this as root, or name policyd's folder with --state-dir")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use rusqlite::Connection;

    use super::*;

    #[test]
    fn each_state_of_a_store_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(check(&folder.join("missing")).status, Status::Warning);
        let new = check(folder);
        assert_eq!(new.status, Status::Ok, "{new:?}");
        fs::write(folder.join(state::FILE), "no database, and longer than a header of one would be".repeat(20))
            .unwrap();
        let damaged = check(folder);
        assert!(damaged.status == Status::Missing && damaged.found.contains("damaged"), "{damaged:?}");
        fs::remove_file(folder.join(state::FILE)).unwrap();
        Connection::open(folder.join(state::FILE)).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
        assert!(check(folder).found.contains("another program"));
    }

    #[test]
    fn room_that_is_short_is_warned_of() {
        let check = spacious(2_048, "it".to_owned());
        assert_eq!((check.status, check.found.as_str()), (Status::Warning, "it, but its disk has only 2 KiB left"));
    }

    /// A process that writes, since a process' own locks do not show to itself.
    #[test]
    fn whoever_keeps_it_locked_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(state::FILE);
        let script = "import sqlite3, sys\n\
            c = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
            c.execute('PRAGMA journal_mode=WAL')\nc.execute('BEGIN IMMEDIATE')\nprint('locked', flush=True)\nsys.stdin.read()";
        let mut python = Command::new("python3");
        python.args(["-c", script]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(python.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(holder(&path), Some(python.id().cast_signed()));
        let check = check(folder.path());
        assert!(check.status == Status::Warning && check.found.contains("locked"), "{check:?}");
        drop(python.stdin.take());
        python.wait().unwrap();
        assert_eq!(holder(&path), None);
    }
}
