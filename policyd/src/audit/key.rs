//! The key under which arguments and sessions are hashed.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use super::Error;

/// The key's file in the state folder.
const FILE: &str = "audit.key";

/// A secret key. Without it nobody can try out guesses of arguments against the records.
#[derive(Clone)]
pub struct Key {
    arguments: hmac::Key,
    sessions: hmac::Key,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// The key of a state folder (`audit.key`, 32 bytes, 0600), which must exist; made the first time and then kept.
    pub fn load_or_create(state_dir: &Path) -> Result<Key, Error> {
        let path = state_dir.join(FILE);
        let failed = |cause| Error::Key { path: path.clone(), cause };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(state_dir, &path)?;
                File::open(&path).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            return Err(Error::Exposed { path });
        }
        let mut bytes = Vec::with_capacity(33);
        file.take(33).read_to_end(&mut bytes).map_err(failed)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| Error::NotAKey { path: path.clone() })?;
        Ok(Key::new(&bytes))
    }

    /// A key that ends with the process.
    pub fn ephemeral() -> Result<Key, Error> {
        Ok(Key::new(&random()?))
    }

    /// Sessions get a key derived from it, so that a session's hash is never that of arguments with the same text.
    fn new(bytes: &[u8; 32]) -> Key {
        let arguments = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let sessions = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&arguments, b"policyd audit session").as_ref());
        Key { arguments, sessions }
    }

    /// HMAC-SHA-256 of the arguments' text under the key file's bytes: `openssl dgst -sha256 -mac HMAC` gives the same.
    pub(super) fn arguments(&self, text: &[u8]) -> hmac::Tag {
        hmac::sign(&self.arguments, text)
    }

    /// A session's id as records show it.
    pub(crate) fn shown_session(&self, id: &str) -> String {
        let mut quoted = Vec::with_capacity(34);
        super::json::hex(&mut quoted, &self.session(id.as_bytes()).as_ref()[..16]);
        String::from_utf8(quoted).unwrap_or_default()
    }

    /// HMAC-SHA-256 of a session's id.
    pub(super) fn session(&self, id: &[u8]) -> hmac::Tag {
        hmac::sign(&self.sessions, id)
    }
}

/// Makes the key file whole or not at all: written aside, then linked, which fails if another process was quicker.
fn create(state_dir: &Path, path: &Path) -> Result<(), Error> {
    let failed = |cause| Error::Key { path: path.to_owned(), cause };
    let aside = state_dir.join(format!(".{FILE}.{}", std::process::id()));
    let written = (|| {
        let _ = fs::remove_file(&aside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside).map_err(failed)?;
        file.write_all(&random()?).and_then(|()| file.sync_all()).map_err(failed)?;
        match fs::hard_link(&aside, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
            _ => File::open(state_dir).and_then(|dir| dir.sync_all()).map_err(failed),
        }
    })();
    let _ = fs::remove_file(&aside);
    written
}

fn random() -> Result<[u8; 32], Error> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::NoRandom)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let first = Key::load_or_create(dir.path()).unwrap();
        let again = Key::load_or_create(dir.path()).unwrap();
        assert_eq!(first.arguments(b"{}").as_ref(), again.arguments(b"{}").as_ref());
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left aside");
        let other = Key::load_or_create(tempfile::tempdir().unwrap().path()).unwrap();
        assert_ne!(first.arguments(b"{}").as_ref(), other.arguments(b"{}").as_ref());
    }

    #[test]
    fn the_hmac_is_the_standard_one_and_sessions_have_their_own() {
        // printf text | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707…07
        let standard = "8483f20ba686a944ee7b4085d898f8839cc318eb6baff7f4600c9005c57f1497";
        let key = Key::new(&[7; 32]);
        let hex: String = key.arguments(b"text").as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, standard);
        assert_ne!(key.arguments(b"text").as_ref(), key.session(b"text").as_ref());
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_no_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, [1; 32]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Key::load_or_create(dir.path()), Err(Error::Exposed { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Key::load_or_create(dir.path()).is_ok());
        fs::write(&path, [1; 31]).unwrap();
        assert!(matches!(Key::load_or_create(dir.path()), Err(Error::NotAKey { .. })));
    }
}
