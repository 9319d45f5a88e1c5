//! The folder of one `exec`, and reading and writing the user's files with the user's rights.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::unistd::{self, Gid, Uid};

use super::user::Caller;

/// A folder that goes when this is dropped: bundles that COMMAND reads, and a `state` folder that only root does.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes `name` in `/run/policyd`, or in the temporary folder where there is no `/run`.
    ///
    /// # Errors
    ///
    /// The kernel's. A folder of that name is never used: somebody else could have made it.
    pub fn make(name: &str) -> io::Result<Self> {
        let run = Path::new("/run/policyd");
        let readable = |path: &Path| DirBuilder::new().mode(0o755).create(path);
        let base = match readable(run) {
            Ok(()) => run.to_owned(),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => run.to_owned(),
            Err(_) => std::env::temp_dir(),
        };
        let folder = Self { path: base.join(name) };
        match readable(&folder.path) {
            // An id comes round again only after the process that had it ended: what is in /run/policyd is root's own.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && base == run => {
                fs::remove_dir_all(&folder.path)?;
                readable(&folder.path)?;
            }
            other => other?,
        }
        DirBuilder::new().mode(0o700).create(folder.state())?;
        Ok(folder)
    }

    /// What COMMAND may read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What only policyd may read.
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is on a tmpfs and the next run of that id removes it.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Does `work` on files with the rights of the user who called sudo: sudo may have been granted for policyd only, and must
/// not open root's files to them. Applies to this thread alone.
pub fn as_caller<T>(caller: Option<&Caller>, work: impl FnOnce() -> T) -> T {
    let Some(caller) = caller else { return work() };
    let group = unistd::setfsgid(Gid::from_raw(caller.gid));
    let user = unistd::setfsuid(Uid::from_raw(caller.uid));
    let done = work();
    unistd::setfsuid(user);
    unistd::setfsgid(group);
    done
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_goes_and_its_state_is_private() {
        let folder = Folder::make(&format!("test-{}", std::process::id())).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&folder.state())), (0o755, 0o700));
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn the_callers_rights_are_not_roots() {
        let private = tempfile::tempdir().unwrap();
        let file = private.path().join("secret");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let nobody = Caller { uid: 65_534, gid: 65_534, account: None };
        let error = as_caller(Some(&nobody), || fs::read_to_string(&file)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fs::read_to_string(&file).unwrap(), "x");
    }
}
