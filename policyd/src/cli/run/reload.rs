//! When the files of a configuration change.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchDescriptor, WatchMask, Watches};

/// An editor or a package manager writes several files in a row; wait until it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(200);

/// Watches the folders of files. Folders, since editors and ConfigMaps replace files (the latter by exchanging the
/// symlink of a folder beside them): a watch on a file would stay with the old one.
pub(super) struct Watch {
    watches: Watches,
    events: EventStream<[u8; 4096]>,
    folders: BTreeMap<PathBuf, WatchDescriptor>,
}

impl Watch {
    /// Watches the folders of `files`. To be called inside of the runtime that waits.
    pub(super) fn new(files: &[PathBuf]) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let watches = inotify.watches();
        let events = inotify.into_event_stream([0; 4096])?;
        let mut watch = Self { watches, events, folders: BTreeMap::new() };
        watch.set(files);
        Ok(watch)
    }

    /// Watches the folders of these files from now on. A folder that is not there is left out: the one that should hold
    /// the configuration is, and SIGHUP always works.
    pub(super) fn set(&mut self, files: &[PathBuf]) {
        // A file counts when it has been written, not at each write: the audit log may lie in the same folder, and must
        // not wake anybody up at each record.
        let changes =
            WatchMask::CLOSE_WRITE | WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE | WatchMask::ONLYDIR;
        let mut watched = BTreeMap::new();
        for folder in folders(files) {
            // A folder that was removed and made again is another one, so each is added anew; one that is watched
            // already keeps its descriptor.
            if let Ok(descriptor) = self.watches.add(&folder, changes) {
                watched.insert(folder, descriptor);
            }
        }
        for (_, gone) in std::mem::replace(&mut self.folders, watched) {
            if !self.folders.values().any(|kept| *kept == gone) {
                let _ = self.watches.remove(gone);
            }
        }
    }

    /// Waits for a change, and then until it is quiet. Cancellation loses nothing but the wait.
    pub(super) async fn changed(&mut self) {
        // An error is an overflow, which may hide a change, or for ever.
        if self.events.next().await.is_none() {
            std::future::pending::<()>().await;
        }
        while let Ok(Some(_)) = tokio::time::timeout(QUIET, self.events.next()).await {}
    }
}

/// The folders of `files`, and those of what they link to.
fn folders(files: &[PathBuf]) -> Vec<PathBuf> {
    let own = files.iter().cloned();
    let linked = files.iter().filter_map(|file| std::fs::canonicalize(file).ok());
    own.chain(linked).filter_map(|file| file.parent().map(Path::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn notices(watch: &mut Watch) -> bool {
        tokio::time::timeout(PATIENCE, watch.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_write_and_a_rename_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policyd.toml");
        std::fs::write(&file, "a").unwrap();
        let mut watch = Watch::new(std::slice::from_ref(&file)).unwrap();
        std::fs::write(&file, "b").unwrap();
        assert!(notices(&mut watch).await);
        let new = folder.path().join("new");
        std::fs::write(&new, "c").unwrap();
        std::fs::rename(&new, &file).unwrap();
        assert!(notices(&mut watch).await);
    }

    /// What the kubelet does: `policyd.toml → ..data/policyd.toml`, and `..data` is exchanged.
    #[tokio::test]
    async fn an_exchanged_symlink_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for (generation, text) in [("1", "a"), ("2", "b")] {
            std::fs::create_dir(at(generation)).unwrap();
            std::fs::write(at(generation).join("policyd.toml"), text).unwrap();
        }
        std::os::unix::fs::symlink("1", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/policyd.toml", at("policyd.toml")).unwrap();
        let mut watch = Watch::new(&[at("policyd.toml")]).unwrap();
        std::os::unix::fs::symlink("2", at("..new")).unwrap();
        std::fs::rename(at("..new"), at("..data")).unwrap();
        assert!(notices(&mut watch).await);
        assert_eq!(std::fs::read_to_string(at("policyd.toml")).unwrap(), "b");
    }
}
