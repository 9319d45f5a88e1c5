//! How the certificates look. RFC 5280.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, SanType,
    SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

use crate::config::Host;

use super::{AuthorityError, Root};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Certificates begin this long before they are made, for clients whose clocks are behind.
pub(super) const BACKDATE: Duration = HOUR;
const ROOT_LIFE: Duration = Duration::from_secs(3652 * DAY.as_secs());
const INTERMEDIATE_LIFE: Duration = Duration::from_secs(365 * DAY.as_secs());
/// Short enough that nobody needs to revoke one.
const LEAF_LIFE: Duration = Duration::from_secs(7 * DAY.as_secs());
/// A leaf is made anew when it has this much left, so that no long-lived cache of the other side sees it end.
const LEAF_RENEWAL: Duration = Duration::from_secs(2 * DAY.as_secs());

/// The certificate that signs leaves, constrained to the hosts, with its key and the key that all its leaves share.
pub(in crate::tls) struct Intermediate {
    pub(super) hosts: HashSet<Host>,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    not_before: SystemTime,
    not_after: SystemTime,
    /// The last one that the root can give: there is no use in making another.
    last: bool,
    leaf_key: KeyPair,
    leaf_signer: Arc<dyn SigningKey>,
}

/// A leaf, ready for rustls.
pub(in crate::tls) struct Issued {
    pub(in crate::tls) certified: Arc<CertifiedKey>,
    intermediate: Arc<Intermediate>,
    not_before: SystemTime,
    renew_at: SystemTime,
}

// === impl Intermediate ===

impl Intermediate {
    pub(super) fn make(root: &Root, hosts: HashSet<Host>, now: SystemTime) -> Result<Intermediate, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let not_before = now - BACKDATE;
        let not_after = (now + INTERMEDIATE_LIFE).min(root.not_after);
        let mut params = params("policyd intermediate", not_before, not_after)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.name_constraints = Some(constraints(&hosts));
        let certificate = params.signed_by(&key, &root.issuer)?.der().clone();

        let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let leaf_signer = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&der)
            .map_err(|error| AuthorityError::Key(error.to_string()))?;
        let last = not_after == root.not_after;
        let issuer = Issuer::new(params, key);
        Ok(Intermediate { hosts, certificate, issuer, not_before, not_after, last, leaf_key, leaf_signer })
    }

    /// Whether it can sign a leaf of full length at `now`.
    pub(super) fn serves(&self, now: SystemTime) -> bool {
        self.not_before <= now && (self.last || now + LEAF_LIFE <= self.not_after)
    }
}

/// The name constraints for exactly these hosts (RFC 5280, section 4.2.1.10).
///
/// A constraint acts on its own form of name only, so each form needs one: a form without a permitted subtree is excluded
/// as a whole. A permitted DNS name permits what is below it too, which cannot be narrowed; leaves are made for the
/// exact names only. Addresses are permitted one by one. Verifiers differ on whether the permitted addresses of one family
/// rule out the other; a family without servers gets its unspecified address, which nobody can have. (Excluding it as a
/// whole would be plainer, but Java compares addresses of both families with each other and fails.)
fn constraints(hosts: &HashSet<Host>) -> NameConstraints {
    let (mut permitted, mut excluded) = (Vec::new(), Vec::new());
    let (mut names, mut v4, mut v6) = (false, false, false);
    let mut hosts: Vec<_> = hosts.iter().collect();
    hosts.sort_by_key(|host| match host {
        Host::Name(name) => (0, name.clone()),
        Host::Address(address) => (1, address.to_string()),
    });
    for host in hosts {
        permitted.push(match host {
            Host::Name(name) => {
                names = true;
                GeneralSubtree::DnsName(name.clone())
            }
            Host::Address(address @ IpAddr::V4(_)) => {
                v4 = true;
                address_subtree(*address, 32)
            }
            Host::Address(address @ IpAddr::V6(_)) => {
                v6 = true;
                address_subtree(*address, 128)
            }
        });
    }
    if !names {
        // The empty name: everything is below it.
        excluded.push(GeneralSubtree::DnsName(String::new()));
    }
    let none = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    match (v4, v6) {
        (false, false) => excluded.extend(none.map(|all| address_subtree(all, 0))),
        (true, false) => permitted.push(address_subtree(none[1], 128)),
        (false, true) => permitted.push(address_subtree(none[0], 32)),
        (true, true) => {}
    }
    NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded }
}

fn address_subtree(address: IpAddr, prefix: u8) -> GeneralSubtree {
    GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, prefix))
}

// === impl Issued ===

impl Issued {
    pub(super) fn new(intermediate: Arc<Intermediate>, host: &Host, now: SystemTime) -> Result<Issued, AuthorityError> {
        if !intermediate.hosts.contains(host) {
            return Err(AuthorityError::NotConfigured(match host {
                Host::Name(name) => format!("`{name}`"),
                Host::Address(address) => format!("`{address}`"),
            }));
        }
        let not_before = now - BACKDATE;
        let not_after = (now + LEAF_LIFE).min(intermediate.not_after);
        let mut params = params("", not_before, not_after)?;
        // No common name: where there is no DNS name beside it, OpenSSL and GnuTLS hold it against the DNS constraints.
        params.distinguished_name.remove(DnType::CommonName);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![match host {
            Host::Name(name) => SanType::DnsName(name.as_str().try_into()?),
            Host::Address(address) => SanType::IpAddress(*address),
        }];
        let leaf = params.signed_by(&intermediate.leaf_key, &intermediate.issuer)?.der().clone();
        let chain = vec![leaf, intermediate.certificate.clone()];
        let certified = Arc::new(CertifiedKey::new(chain, intermediate.leaf_signer.clone()));
        // The last leaf before the root's end cannot be renewed: it serves to its end.
        let renew_at = if not_after <= now + LEAF_RENEWAL { not_after } else { not_after - LEAF_RENEWAL };
        Ok(Issued { certified, not_before, renew_at, intermediate })
    }

    /// Whether it may still be shown at `now`, under the intermediate in force. By the wall clock, in both directions: it
    /// is what clients compare with, and it goes on while the machine sleeps.
    pub(in crate::tls) fn is_fresh(&self, current: &Arc<Intermediate>, now: SystemTime) -> bool {
        Arc::ptr_eq(&self.intermediate, current) && self.not_before <= now && now < self.renew_at
    }
}

// === impl Root ===

/// A new root: its key and its certificate.
pub(super) fn root(now: SystemTime) -> Result<(KeyPair, String), AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    // Part of the key in the name: two roots of one host are never taken for each other.
    let mut params = params("policyd root", now - BACKDATE, now + ROOT_LIFE)?;
    let id: String = params.key_identifier(&key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = name(&format!("policyd root {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = false;
    let pem = params.self_signed(&key)?.pem();
    Ok((key, pem))
}

fn params(common: &str, not_before: SystemTime, not_after: SystemTime) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common);
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + not_before.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.serial_number = Some(serial()?);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "policyd");
    name.push(DnType::CommonName, common);
    name
}

/// 127 random bits: a client that has met one serial number twice from one issuer rejects the second certificate.
fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthorityError::Key("no randomness".into()))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
