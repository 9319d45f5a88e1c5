//! The root's files: `root.key` and `root.pem` in the authority's folder.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{AuthorityError, Root, issue};

/// Reads the root of `folder`, or makes it.
pub(super) fn open(folder: &Path, now: SystemTime) -> Result<Root, AuthorityError> {
    if let Some(state) = folder.parent() {
        fs::create_dir_all(state).map_err(file(state, "made"))?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(file(folder, "made")(error)),
        _ => {}
    }
    check(folder, &fs::symlink_metadata(folder).map_err(file(folder, "read"))?, 0o700)?;

    // Held until the end: whoever comes second reads what the first one made.
    let lock = folder.join("lock");
    let lock_file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock);
    let lock_file = lock_file.map_err(file(&lock, "opened"))?;
    lock_file.lock().map_err(file(&lock, "locked"))?;

    let (key_path, certificate_path) = (folder.join("root.key"), folder.join("root.pem"));
    let unusable =
        |path: &Path, what: String| AuthorityError::Unusable { path: path.to_owned(), what, folder: folder.to_owned() };
    let certificate = match fs::read_to_string(&certificate_path) {
        Ok(pem) => Some(pem),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(file(&certificate_path, "read")(error)),
    };
    let Some(pem) = certificate else {
        // The certificate is written last: without it nobody has ever seen this root.
        let (key, pem) = issue::root(now)?;
        replace(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
        replace(&certificate_path, pem.as_bytes(), 0o644)?;
        return Root::load(&pem, key);
    };
    let key = match read_key(&key_path)? {
        Some(key) => key,
        None => return Err(unusable(&key_path, "the root's key is missing, its certificate is there".into())),
    };
    let key = KeyPair::from_pem(&key).map_err(|error| unusable(&key_path, format!("no usable key ({error})")))?;
    let public = key.public_key_raw().to_vec();
    let root = Root::load(&pem, key)
        .map_err(|error| unusable(&certificate_path, format!("no usable certificate ({error})")))?;
    if !root.certificate.windows(public.len()).any(|window| window == public) {
        return Err(unusable(&certificate_path, "the certificate belongs to another key".into()));
    }
    if root.not_after <= now {
        return Err(unusable(&certificate_path, "the root certificate has expired".into()));
    }
    Ok(root)
}

impl Root {
    pub(super) fn load(pem: &str, key: KeyPair) -> Result<Root, AuthorityError> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| AuthorityError::Key(format!("no PEM certificate: {error:?}")))?;
        let not_after = not_after(&certificate)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Root { certificate, pem: pem.to_owned(), issuer, not_after })
    }
}

fn not_after(certificate: &[u8]) -> Result<SystemTime, AuthorityError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| AuthorityError::Key(format!("no X.509 certificate: {error}")))?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// The key's text, if the file exists and is policyd's alone. The rights are those of the open file: it cannot be
/// exchanged between the check and the read.
fn read_key(path: &Path) -> Result<Option<String>, AuthorityError> {
    let mut key = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path) {
        Ok(key) => key,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file(path, "opened")(error)),
    };
    check(path, &key.metadata().map_err(file(path, "read"))?, 0o600)?;
    let mut text = String::new();
    key.read_to_string(&mut text).map_err(file(path, "read"))?;
    Ok(Some(text))
}

fn check(path: &Path, metadata: &fs::Metadata, wanted: u32) -> Result<(), AuthorityError> {
    let uid = nix::unistd::geteuid().as_raw();
    if metadata.uid() != uid {
        return Err(AuthorityError::Owner { path: path.to_owned(), owner: metadata.uid(), uid });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(AuthorityError::Mode { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

/// Writes a file so that it is there whole or not at all, also after a power cut.
pub(in crate::tls) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), AuthorityError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    // What a killed process of the same id left behind.
    let _ = fs::remove_file(&new);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        // The mode of `open` is narrowed by the umask.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&new);
        file(path, "written")(error)
    })
}

/// Makes a folder that everyone may read, whatever the umask.
pub(in crate::tls) fn public_folder(path: &Path) -> Result<(), AuthorityError> {
    fs::create_dir_all(path).map_err(file(path, "made"))?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(path, mode).map_err(file(path, "made readable"))
}

fn file(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> AuthorityError {
    let path = path.to_owned();
    move |source| AuthorityError::File { path, doing, source }
}
