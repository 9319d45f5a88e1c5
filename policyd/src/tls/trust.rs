//! How agents come to trust the authority: files with its root, and the variables that point their runtimes to them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::authority::{Authority, AuthorityError};
use super::jks;

/// Variables whose file is added to the runtime's own roots: Node.js and Bun, Deno.
const ADDING: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];
/// Variables whose file replaces the runtime's own roots: OpenSSL, Go, Python and Rust; Python's requests; curl; cargo; the
/// AWS SDKs; git.
const REPLACING: [&str; 6] =
    ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "CARGO_HTTP_CAINFO", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO"];
const JAVA: &str = "JAVA_TOOL_OPTIONS";

/// The files that make the authority known, all readable by everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The authority's root alone, as PEM.
    pub root: PathBuf,
    /// The authority's root, the system's roots, and what the environment had named before, as PEM.
    pub all: PathBuf,
    /// The same as a Java trust store (password `changeit`).
    pub java: PathBuf,
    /// The value of `JAVA_TOOL_OPTIONS` before.
    java_options: Option<String>,
    /// What of the system's store or of the environment's files could not be read, for the log.
    pub warnings: Vec<String>,
}

// === impl Bundle ===

impl Bundle {
    /// Writes the files into `folder`, which is made if need be (mode 0755).
    ///
    /// `environment` looks up a variable of the process that will use them. Certificates that its variables name already
    /// are taken along, so that what it reached before it still reaches.
    ///
    /// # Errors
    ///
    /// If the files cannot be written. Unreadable roots are [`warnings`](Bundle::warnings).
    pub fn write(
        folder: &Path,
        authority: &Authority,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Bundle, AuthorityError> {
        let (certificates, warnings) = roots(authority, &environment, folder);
        let file = |name: &str, content: &[u8]| {
            let path = folder.join(name);
            super::authority::replace(&path, content, 0o644).map(|()| path)
        };
        super::authority::public_folder(folder)?;
        let mut pem = String::new();
        for certificate in &certificates {
            pem_append(&mut pem, certificate);
        }
        let made_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let store = jks::trust_store(&certificates, u64::try_from(made_at).unwrap_or_default());
        Ok(Bundle {
            root: file("root.pem", authority.root_pem().as_bytes())?,
            all: file("bundle.pem", pem.as_bytes())?,
            java: file("bundle.jks", &store)?,
            java_options: environment(JAVA).and_then(|options| options.into_string().ok()),
            warnings,
        })
    }

    /// The variables to set, with their values, in a fixed order.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let all = self.all.display().to_string();
        // What adds gets all the same: it costs nothing, and carries on what the variable named before.
        let mut variables: Vec<_> = ADDING.iter().chain(&REPLACING).map(|name| (*name, all.clone())).collect();
        let java = format!(
            "-Djavax.net.ssl.trustStore={} -Djavax.net.ssl.trustStorePassword={} -Djavax.net.ssl.trustStoreType=JKS",
            self.java.display(),
            jks::PASSWORD
        );
        variables.push((
            JAVA,
            match &self.java_options {
                Some(before) if !before.is_empty() && !before.contains("javax.net.ssl.trustStore=") => {
                    format!("{before} {java}")
                }
                _ => java,
            },
        ));
        variables
    }
}

/// The authority's root first, then the system's and those that the environment names, each once.
fn roots(
    authority: &Authority,
    environment: &impl Fn(&str) -> Option<OsString>,
    folder: &Path,
) -> (Vec<CertificateDer<'static>>, Vec<String>) {
    let mut certificates = vec![authority.root().clone()];
    let mut warnings = Vec::new();
    let native = rustls_native_certs::load_native_certs();
    warnings.extend(native.errors.iter().map(|error| format!("the system's certificate store: {error}")));
    let mut found = native.certs;
    for name in ADDING.iter().chain(&REPLACING) {
        let Some(path) = environment(name).filter(|path| !path.is_empty()).map(PathBuf::from) else { continue };
        // A shell that has these variables already must not carry a former root along.
        if path.starts_with(folder) || path.is_dir() {
            continue;
        }
        match CertificateDer::pem_file_iter(&path) {
            Ok(more) => found.extend(more.filter_map(Result::ok)),
            Err(error) => warnings.push(format!("{name} names {}, which cannot be read: {error}", path.display())),
        }
    }
    for certificate in found {
        if !certificates.contains(&certificate) {
            certificates.push(certificate);
        }
    }
    (certificates, warnings)
}

fn pem_append(pem: &mut String, certificate: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    for line in certificate.chunks(48) {
        for triple in line.chunks(3) {
            let bits = triple.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - triple.len()));
            for index in 0..4 {
                let sextet = (bits >> (18 - 6 * index)) as usize & 0x3f;
                pem.push(if index <= triple.len() { char::from(ALPHABET[sextet]) } else { '=' });
            }
        }
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
