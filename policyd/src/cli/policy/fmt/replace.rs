//! A file's new contents in place of the old: whole or not at all, with its owner and mode.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Replaces what stands in a file, which was `old`. A link stays, and what it leads to is replaced.
///
/// # Errors
///
/// Whatever the kernel refuses; the file is as it was then. So it is when its owner cannot be kept, and when somebody else
/// has changed it since it was read.
pub(super) fn replace(path: &Path, old: &[u8], new: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let like = fs::metadata(&path)?;
    if !like.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    let written = write(&beside, new, &like).and_then(|()| match fs::read(&path)? == old {
        true => fs::rename(&beside, &path),
        false => Err(io::Error::other("it has changed meanwhile; try again")),
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write(path: &Path, bytes: &[u8], like: &fs::Metadata) -> io::Result<()> {
    // Nobody else may open it before it has the right owner.
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (like.uid(), like.gid()) {
        fchown(&file, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
    file.sync_all()
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn owner_mode_and_links_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("p.json"), folder.path().join("link.json"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        // Only root can give a file away; without it the owner is the one there is.
        let _ = std::os::unix::fs::chown(&file, Some(1234), Some(1234));
        symlink(&file, &link).unwrap();
        let before = fs::metadata(&file).unwrap();
        replace(&link, b"old", b"new").unwrap();
        let after = fs::metadata(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside them");
    }

    #[test]
    fn what_fails_leaves_the_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.json");
        assert!(replace(&file, b"old", b"new").is_err());
        assert!(replace(folder.path(), b"old", b"new").is_err());
        fs::write(&file, "newer").unwrap();
        assert!(replace(&file, b"old", b"new").is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "newer");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
