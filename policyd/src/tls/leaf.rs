//! Leaf certificates for the configured servers, made on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use moka::sync::Cache;
use rustls::ServerConfig;
use rustls::sign::SingleCertAndKey;

use crate::config::Host;

use super::authority::{Authority, AuthorityError, Issued};

/// Leaves that are kept. One per configured host is needed.
const MAX_LEAVES: u64 = 4096;
/// Server configurations that are kept. One per host and protocol list is needed, and there are three such lists.
const MAX_CONFIGS: u64 = 4 * MAX_LEAVES;

/// Leaf certificates, made on first use, kept, and made anew in time. Concurrent first uses make one.
pub struct Leaves {
    authority: Arc<Authority>,
    leaves: Cache<Host, Arc<Issued>>,
    configs: Cache<(Host, Vec<Vec<u8>>), Arc<Prepared>>,
    minted: AtomicU64,
}

struct Prepared {
    leaf: Arc<Issued>,
    config: Arc<ServerConfig>,
}

impl std::fmt::Debug for Leaves {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Leaves").field("minted", &self.minted()).finish_non_exhaustive()
    }
}

// === impl Leaves ===

impl Leaves {
    /// No leaves yet, of this authority.
    pub fn new(authority: Arc<Authority>) -> Leaves {
        Leaves {
            authority,
            leaves: Cache::new(MAX_LEAVES),
            configs: Cache::new(MAX_CONFIGS),
            minted: AtomicU64::new(0),
        }
    }

    /// What rustls needs to be `host` towards a client: the leaf and its intermediate, TLS 1.2 and 1.3, tickets.
    ///
    /// `alpn` is what the upstream server selected: one protocol, or none. The same configuration is given each time
    /// until its leaf is renewed, so that sessions are resumed.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::NotConfigured`] for a host that is no configured `https://` server's.
    pub fn server_config(&self, host: &Host, alpn: &[Vec<u8>]) -> Result<Arc<ServerConfig>, Arc<AuthorityError>> {
        self.server_config_at(host, alpn, SystemTime::now())
    }

    fn server_config_at(
        &self,
        host: &Host,
        alpn: &[Vec<u8>],
        now: SystemTime,
    ) -> Result<Arc<ServerConfig>, Arc<AuthorityError>> {
        let key = (host.clone(), alpn.to_vec());
        let current = self.authority.intermediate(now).map_err(Arc::new)?;
        if self.configs.get(&key).is_some_and(|prepared| !prepared.leaf.is_fresh(&current, now)) {
            self.configs.invalidate(&key);
        }
        let prepared = self.configs.try_get_with(key, || self.prepare(host, alpn, now));
        // The error is shared between all who waited, and passed on from the leaf to the configuration.
        prepared.map(|prepared| prepared.config.clone()).map_err(|error| (*error).clone())
    }

    /// How many leaves have been made.
    pub fn minted(&self) -> u64 {
        self.minted.load(Ordering::Relaxed)
    }

    fn prepare(&self, host: &Host, alpn: &[Vec<u8>], now: SystemTime) -> Result<Arc<Prepared>, Arc<AuthorityError>> {
        let current = self.authority.intermediate(now).map_err(Arc::new)?;
        if self.leaves.get(host).is_some_and(|leaf| !leaf.is_fresh(&current, now)) {
            self.leaves.invalidate(host);
        }
        let leaf = self.leaves.try_get_with_by_ref(host, || {
            let leaf = self.authority.issue(host, now)?;
            self.minted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, AuthorityError>(Arc::new(leaf))
        })?;
        let config = config(&leaf, alpn).map_err(|error| Arc::new(AuthorityError::Key(error.to_string())))?;
        Ok(Arc::new(Prepared { leaf, config: Arc::new(config) }))
    }
}

fn config(leaf: &Issued, alpn: &[Vec<u8>]) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(super::provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(leaf.certified.clone())));
    config.alpn_protocols = alpn.to_vec();
    // Tickets under a key of this host's own that rotates; nothing is kept per client.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

#[cfg(test)]
#[path = "leaf_tests.rs"]
mod tests;
