//! The certificate authorities of a test: what the MCP servers' certificates are signed with.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;

/// A root made for one test.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    name: String,
}

impl Authority {
    /// A new root whose certificates say `name` as their issuer's common name.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a P-256 key");
        let pem = params.self_signed(&key).expect("a self-signed root").pem();
        Self { issuer: Issuer::new(params, key), pem, name: name.to_owned() }
    }

    /// The root's certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The common name that its certificates carry as their issuer.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A certificate for `names` and its key, both in PEM, for servers that read files.
    pub fn pem_pair(&self, names: &[&str]) -> (String, String) {
        let (leaf, key) = self.leaf(names);
        (leaf.pem(), key.serialize_pem())
    }

    fn leaf(&self, names: &[&str]) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a P-256 key");
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).expect("names fit for a certificate");
        params.distinguished_name = DistinguishedName::new();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        (params.signed_by(&key, &self.issuer).expect("a signed leaf"), key)
    }

    /// A server's TLS configuration with a certificate for `names` (DNS names or addresses), offering h2 and http/1.1.
    pub fn server(&self, names: &[&str]) -> Arc<ServerConfig> {
        self.server_with_alpn(names, &["h2", "http/1.1"])
    }

    /// As [`Authority::server`], offering these protocols.
    pub fn server_with_alpn(&self, names: &[&str], alpn: &[&str]) -> Arc<ServerConfig> {
        let (leaf, key) = self.leaf(names);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider's own versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("a certificate with its own key");
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}
