//! The certificate authority that agents trust: a root that is made once and kept, and an intermediate below it that can
//! speak for exactly the configured servers.
//!
//! The root's key lies in the state folder; it signs nothing but intermediates. The intermediate's key and the leaves'
//! exist in memory only and are made anew at every start, so that there is nothing else to guard or to expire on disk.

mod issue;
mod store;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rcgen::{Issuer, KeyPair};
use rustls::pki_types::CertificateDer;

use crate::config::{Host, Server};

use issue::Intermediate;
pub(super) use issue::Issued;
pub(super) use store::{public_folder, replace};

/// What keeps the authority from being opened, or a certificate from being made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file or folder of the authority cannot be read or written.
    #[error("the authority's {} cannot be {doing}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// `read`, `written`, …
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Others than policyd's own user may read or replace the key.
    #[error("{} has mode {mode:04o}, which lets others at the authority's key: run `chmod {wanted:o} {}`", path.display(), path.display())]
    Mode {
        /// The file or folder.
        path: PathBuf,
        /// Its mode now.
        mode: u32,
        /// The mode that it must have.
        wanted: u32,
    },
    /// The key belongs to another user.
    #[error("{} belongs to uid {owner}, but policyd runs as uid {uid}: run `chown {uid} {}`, or start policyd as that user", path.display(), path.display())]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who policyd is.
        uid: u32,
    },
    /// The files do not hold what they should.
    #[error("{}: {what}; restore it from a backup, or remove {} and install the new root that policyd then makes", path.display(), folder.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// The authority's folder.
        folder: PathBuf,
    },
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// A key cannot be used by the TLS library, or there is no randomness.
    #[error("a key cannot be used: {0}")]
    Key(String),
    /// A certificate was wanted for a host that is no configured server's.
    #[error("no `https://` server is configured for {0}")]
    NotConfigured(String),
}

impl AuthorityError {
    /// Whether the cause is the rights on a file: exit code 77 rather than 69.
    pub fn is_permission(&self) -> bool {
        match self {
            AuthorityError::Mode { .. } | AuthorityError::Owner { .. } => true,
            AuthorityError::File { source, .. } => source.kind() == std::io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }
}

/// The root and the intermediate below it.
pub struct Authority {
    root: Root,
    intermediate: ArcSwap<Intermediate>,
}

/// The root's certificate and what signs below it.
struct Root {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    not_after: SystemTime,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authority").field("hosts", &self.intermediate.load().hosts).finish_non_exhaustive()
    }
}

// === impl Authority ===

impl Authority {
    /// The authority of this state folder, in its subfolder `ca`: read, or made if there is none yet.
    ///
    /// Two processes that do so at once end up with the same root.
    ///
    /// # Errors
    ///
    /// If the files cannot be read or written, if others than policyd's own user could use the key, or if the root has
    /// expired or does not belong to its key.
    pub fn open(state_dir: &Path, servers: &[Arc<Server>]) -> Result<Authority, AuthorityError> {
        Authority::below(store::open(&state_dir.join("ca"), SystemTime::now())?, servers)
    }

    /// An authority that exists in memory only, for one `policyd exec`.
    ///
    /// # Errors
    ///
    /// If there is no randomness.
    pub fn ephemeral(servers: &[Arc<Server>]) -> Result<Authority, AuthorityError> {
        let (key, pem) = issue::root(SystemTime::now())?;
        Authority::below(Root::load(&pem, key)?, servers)
    }

    fn below(root: Root, servers: &[Arc<Server>]) -> Result<Authority, AuthorityError> {
        let intermediate = Intermediate::make(&root, hosts(servers), SystemTime::now())?;
        Ok(Authority { root, intermediate: ArcSwap::from_pointee(intermediate) })
    }

    /// Makes the intermediate anew if the configured hosts are others than before. Gives whether they were.
    ///
    /// # Errors
    ///
    /// If the certificate cannot be made; then everything stays as it was.
    pub fn certify(&self, servers: &[Arc<Server>]) -> Result<bool, AuthorityError> {
        let hosts = hosts(servers);
        if self.intermediate.load().hosts == hosts {
            return Ok(false);
        }
        self.intermediate.store(Arc::new(Intermediate::make(&self.root, hosts, SystemTime::now())?));
        Ok(true)
    }

    /// The root's certificate.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root.certificate
    }

    /// The root's certificate as PEM.
    pub fn root_pem(&self) -> &str {
        &self.root.pem
    }

    /// When the root ends. Clients reject everything from then on.
    pub fn root_ends(&self) -> SystemTime {
        self.root.not_after
    }

    /// The intermediate in force at `now`, made anew in time before it ends.
    pub(super) fn intermediate(&self, now: SystemTime) -> Result<Arc<Intermediate>, AuthorityError> {
        let current = self.intermediate.load_full();
        if current.serves(now) {
            return Ok(current);
        }
        let next = Arc::new(Intermediate::make(&self.root, current.hosts.clone(), now)?);
        // Another thread may have been first, or the servers may have changed: then theirs stays.
        let previous = self.intermediate.compare_and_swap(&current, next.clone());
        Ok(if Arc::ptr_eq(&previous, &current) { next } else { self.intermediate.load_full() })
    }

    /// A leaf for one of the configured hosts.
    pub(super) fn issue(&self, host: &Host, now: SystemTime) -> Result<Issued, AuthorityError> {
        Issued::new(self.intermediate(now)?, host, now)
    }
}

fn hosts(servers: &[Arc<Server>]) -> HashSet<Host> {
    servers.iter().filter(|server| server.tls).map(|server| server.host.clone()).collect()
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
