//! TLS on both sides of a connection: what the client wants (peek), where it goes (route), the certificates that the
//! client is shown (authority, leaves) and the verification of the upstream server.

pub mod authority;
pub mod ech;
pub mod hello;
pub mod jks;
pub mod leaf;
pub mod peek;
pub mod request;
pub mod route;
#[cfg(test)]
mod testing;
pub mod trust;
pub mod upstream;

use std::sync::Arc;

/// The one cryptography provider of the process, given to every rustls configuration explicitly: the process default is
/// never read, so that no dependency can change it.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
