//! Java key stores that hold nothing but trusted certificates.
//!
//! Java has no variable that names a PEM file. It reads a trust store in the JKS format (every runtime since 1.2, also
//! where PKCS #12 is the default: `keystore.type.compat`), and trusted certificates are not encrypted in it, so that it
//! can be written without a Java runtime. The password only keys a checksum.

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;

/// The password of the stores written here: Java's own conventional one. It protects nothing.
pub const PASSWORD: &str = "changeit";

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const TRUSTED_CERTIFICATE: u32 = 2;

/// A key store with these certificates, under the aliases `policyd-0`, `policyd-1`, …
///
/// `made_at` is written into every entry: milliseconds since 1970.
pub fn trust_store(certificates: &[CertificateDer<'_>], made_at: u64) -> Vec<u8> {
    let mut store = Vec::new();
    for number in [MAGIC, VERSION, count(certificates.len())] {
        store.extend_from_slice(&number.to_be_bytes());
    }
    for (index, certificate) in certificates.iter().enumerate() {
        store.extend_from_slice(&TRUSTED_CERTIFICATE.to_be_bytes());
        text(&mut store, &format!("policyd-{index}"));
        store.extend_from_slice(&made_at.to_be_bytes());
        text(&mut store, "X.509");
        store.extend_from_slice(&count(certificate.len()).to_be_bytes());
        store.extend_from_slice(certificate);
    }
    let mut checksum = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    for unit in PASSWORD.encode_utf16() {
        checksum.update(&unit.to_be_bytes());
    }
    checksum.update(b"Mighty Aphrodite");
    checksum.update(&store);
    store.extend_from_slice(checksum.finish().as_ref());
    store
}

/// Java's `writeUTF`: a length of two bytes, then the text.
fn text(store: &mut Vec<u8>, text: &str) {
    store.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    store.extend_from_slice(text.as_bytes());
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
