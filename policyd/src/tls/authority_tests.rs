#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore, ServerConfig};
use x509_parser::prelude::{GeneralName, ParsedExtension, X509Certificate};

use super::issue::{Intermediate, Issued};
use super::*;
use crate::tls::testing::{self, host, servers};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn now() -> SystemTime {
    SystemTime::now()
}

fn parse(certificate: &[u8]) -> X509Certificate<'_> {
    x509_parser::parse_x509_certificate(certificate).unwrap().1
}

/// What webpki says of a chain at a time, for a name.
fn verify(authority: &Authority, issued: &Issued, name: &str, at: SystemTime) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.root().clone()).unwrap();
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crate::tls::provider()).build().unwrap();
    let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let [leaf, intermediate] = &issued.certified.cert[..] else { panic!("a chain of two") };
    verifier.verify_server_cert(leaf, std::slice::from_ref(intermediate), &name, &[], at).map(|_| ())
}

/// A leaf for `name` from an intermediate that is constrained to `hosts`, as somebody with its key could make it.
fn forge(authority: &Authority, hosts: &[&str], name: &str) -> Issued {
    let hosts = hosts.iter().map(|name| host(name)).collect();
    let mut intermediate = Intermediate::make(&authority.root, hosts, now()).unwrap();
    intermediate.hosts.insert(host(name));
    Issued::new(Arc::new(intermediate), &host(name), now()).unwrap()
}

/// Which name an intermediate for which hosts can speak for.
const CONSTRAINED: [(&[&str], &str, bool); 16] = [
    (&["a.example", "b.example"], "b.example", true),
    (&["a.example"], "sub.a.example", true),
    (&["a.example"], "b.example", false),
    (&["a.example"], "xa.example", false),
    (&["a.example"], "example", false),
    (&["a.example"], "192.0.2.1", false),
    (&["a.example"], "2001:db8::1", false),
    (&["192.0.2.1"], "192.0.2.1", true),
    (&["192.0.2.1"], "192.0.2.2", false),
    (&["192.0.2.1"], "2001:db8::1", false),
    (&["2001:db8::1"], "2001:db8::1", true),
    (&["2001:db8::1"], "2001:db8::2", false),
    (&["2001:db8::1"], "192.0.2.1", false),
    (&["192.0.2.1"], "a.example", false),
    (&["a.example", "192.0.2.1", "2001:db8::1"], "192.0.2.1", true),
    (&[], "a.example", false),
];

#[test]
fn webpki_holds_the_intermediate_to_the_configured_hosts() {
    let authority = Authority::ephemeral(&[]).unwrap();
    for (hosts, name, permitted) in CONSTRAINED {
        let verdict = verify(&authority, &forge(&authority, hosts, name), name, now());
        assert_eq!(verdict.is_ok(), permitted, "{hosts:?} for {name}: {verdict:?}");
    }
}

#[test]
fn openssl_holds_the_intermediate_to_the_configured_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::ephemeral(&[]).unwrap();
    let root = folder.path().join("root.pem");
    fs::write(&root, authority.root_pem()).unwrap();
    for (hosts, name, permitted) in CONSTRAINED {
        let chain = forge(&authority, hosts, name);
        for (file, der) in ["leaf.der", "intermediate.der"].iter().zip(&chain.certified.cert) {
            fs::write(folder.path().join(file), der).unwrap();
        }
        let path = |file: &str| folder.path().join(file).display().to_string();
        let kind = if matches!(host(name), Host::Name(_)) { "-verify_hostname" } else { "-verify_ip" };
        let arguments = [
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            kind,
            name,
            "-no-CApath",
            "-no-CAstore",
            "-CAfile",
            &path("root.pem"),
            "-untrusted",
            &path("intermediate.der"),
            &path("leaf.der"),
        ];
        let output = testing::run("openssl", &arguments, &[]);
        assert_eq!(output.status.success(), permitted, "{hosts:?} for {name}: {output:?}");
    }
}

/// The verdict of whole clients, over a real connection.
#[test]
fn clients_hold_the_intermediate_to_the_configured_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::ephemeral(&[]).unwrap();
    let root = folder.path().join("root.pem");
    fs::write(&root, authority.root_pem()).unwrap();
    let root = root.display().to_string();
    for (hosts, name, permitted) in [
        (&["a.example"][..], "a.example", true),
        (&["b.example"], "a.example", false),
        (&["127.0.0.1"], "127.0.0.1", true),
        (&["a.example"], "127.0.0.1", false),
    ] {
        let resolver = rustls::sign::SingleCertAndKey::from(forge(&authority, hosts, name).certified);
        let config = ServerConfig::builder_with_provider(crate::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        let port = testing::serve("127.0.0.1", Arc::new(config)).port();
        let python = format!(
            "import socket, ssl\n\
             context = ssl.create_default_context()\n\
             context.verify_flags |= ssl.VERIFY_X509_STRICT\n\
             s = context.wrap_socket(socket.create_connection(('127.0.0.1', {port})), server_hostname='{name}')\n\
             s.sendall(b'x'); assert s.recv(4)"
        );
        let servername = if name == "127.0.0.1" { String::new() } else { format!("servername: '{name}',") };
        let node = format!(
            "const s = require('tls').connect({{host: '127.0.0.1', port: {port}, {servername}}}, () => s.write('x'));\n\
             s.on('data', () => process.exit(0)); s.on('error', (e) => {{ console.error(e.message); process.exit(1) }})"
        );
        let (url, resolve) = (format!("https://{name}:{port}/"), format!("{name}:{port}:127.0.0.1"));
        for (client, arguments, variable) in [
            ("python3", &["-c", &python][..], "SSL_CERT_FILE"),
            ("node", &["-e", &node], "NODE_EXTRA_CA_CERTS"),
            ("curl", &["-sS", "--noproxy", "*", "--resolve", &resolve, &url], "CURL_CA_BUNDLE"),
        ] {
            let output = testing::run(client, arguments, &[(variable, &root)]);
            assert_eq!(output.status.success(), permitted, "{client}: {hosts:?} for {name}: {output:?}");
            let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
            // Refused for what the certificate says, not because the test went wrong elsewhere.
            assert!(permitted || said.contains("subtree") || said.contains("cert"), "{client}: {said}");
        }
    }
}

#[test]
fn certificates_say_what_they_may() {
    let authority = Authority::ephemeral(&servers(&["a.example"])).unwrap();
    let issued = authority.issue(&host("a.example"), now()).unwrap();
    let (root, leaf, intermediate) =
        (parse(authority.root()), parse(&issued.certified.cert[0]), parse(&issued.certified.cert[1]));
    for (certificate, path_length) in [(&root, 1), (&intermediate, 0)] {
        let constraints = certificate.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(path_length));
        let usage = certificate.key_usage().unwrap().unwrap();
        assert!(
            usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign() && !usage.value.digital_signature()
        );
    }
    assert!(!leaf.is_ca());
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.digital_signature() && !usage.value.key_cert_sign());
    for certificate in [&leaf, &intermediate] {
        let purposes = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(purposes.server_auth && !purposes.client_auth && !purposes.any);
    }
    assert!(intermediate.name_constraints().unwrap().unwrap().critical);
    let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(names, &[GeneralName::DNSName("a.example")]);
    // Each names its issuer's key, so that a client with two roots takes the right one.
    let identifier = |certificate: &X509Certificate<'_>, own: bool| {
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) if own => Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) if !own => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
            _ => None,
        })
    };
    assert_eq!(identifier(&leaf, false).unwrap(), identifier(&intermediate, true).unwrap());
    assert_eq!(identifier(&intermediate, false).unwrap(), identifier(&root, true).unwrap());
    assert!(identifier(&leaf, true).is_some());
    let again = authority.issue(&host("a.example"), now()).unwrap();
    assert_ne!(parse(&again.certified.cert[0]).raw_serial(), leaf.raw_serial());
}

#[test]
fn certificates_hold_long_enough_and_not_longer() {
    let authority = Authority::ephemeral(&servers(&["a.example"])).unwrap();
    let issued = authority.issue(&host("a.example"), now()).unwrap();
    let at = |at| verify(&authority, &issued, "a.example", at);
    assert!(at(now() - DAY / 25).is_ok(), "a client whose clock is behind");
    assert!(matches!(
        at(now() - DAY / 20),
        Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { .. }))
    ));
    assert!(at(now() + 6 * DAY).is_ok());
    assert!(matches!(
        at(now() + 8 * DAY),
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))
    ));
    assert!(authority.root_ends() > now() + 3650 * DAY);
}

#[test]
fn leaves_are_for_configured_hosts_only() {
    let mut configured = servers(&["a.example"]);
    configured.push(testing::server(false, "plain.example", 80));
    let authority = Authority::ephemeral(&configured).unwrap();
    for name in ["b.example", "sub.a.example", "plain.example", "127.0.0.1"] {
        let refused = authority.issue(&host(name), now());
        assert!(matches!(refused, Err(AuthorityError::NotConfigured(_))), "{name}");
    }
}

#[test]
fn the_intermediate_follows_the_servers() {
    let authority = Authority::ephemeral(&servers(&["a.example"])).unwrap();
    assert!(!authority.certify(&servers(&["a.example"])).unwrap());
    assert!(authority.certify(&servers(&["b.example"])).unwrap());
    assert!(authority.issue(&host("a.example"), now()).is_err());
    let issued = authority.issue(&host("b.example"), now()).unwrap();
    verify(&authority, &issued, "b.example", now()).unwrap();
}

#[test]
fn the_intermediate_is_renewed_before_it_ends() {
    let authority = Authority::ephemeral(&servers(&["a.example"])).unwrap();
    let first = authority.intermediate(now()).unwrap();
    assert!(Arc::ptr_eq(&first, &authority.intermediate(now() + 300 * DAY).unwrap()));
    let late = now() + 360 * DAY;
    let second = authority.intermediate(late).unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    let issued = authority.issue(&host("a.example"), late).unwrap();
    verify(&authority, &issued, "a.example", late + 6 * DAY).unwrap();
}

#[test]
fn near_the_roots_end_nothing_is_made_over_and_over() {
    let authority = Authority::ephemeral(&servers(&["a.example"])).unwrap();
    let late = authority.root_ends() - DAY;
    let intermediate = authority.intermediate(late).unwrap();
    assert!(Arc::ptr_eq(&intermediate, &authority.intermediate(late).unwrap()));
    let issued = authority.issue(&host("a.example"), late).unwrap();
    assert!(issued.is_fresh(&intermediate, late + DAY / 2));
    verify(&authority, &issued, "a.example", late + DAY / 2).unwrap();
}

#[test]
fn the_root_is_made_once_and_kept() {
    let state = tempfile::tempdir().unwrap();
    let first = Authority::open(state.path(), &[]).unwrap();
    let second = Authority::open(state.path(), &servers(&["a.example"])).unwrap();
    assert_eq!(first.root(), second.root());
    let issued = second.issue(&host("a.example"), now()).unwrap();
    verify(&first, &issued, "a.example", now()).unwrap();
    let mode = |file: &str| fs::metadata(state.path().join(file)).unwrap().mode() & 0o7777;
    assert_eq!((mode("ca"), mode("ca/root.key")), (0o700, 0o600));
    let mut files: Vec<_> =
        fs::read_dir(state.path().join("ca")).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["lock", "root.key", "root.pem"]);
}

#[test]
fn many_at_once_make_one_root() {
    let state = tempfile::tempdir().unwrap();
    let open = || Authority::open(state.path(), &[]).unwrap().root().to_vec();
    let roots: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(roots.iter().all(|root| *root == roots[0]));
}

#[test]
fn a_half_made_root_is_made_again() {
    let state = tempfile::tempdir().unwrap();
    Authority::open(state.path(), &[]).unwrap();
    fs::remove_file(state.path().join("ca/root.pem")).unwrap();
    Authority::open(state.path(), &[]).unwrap();
}

#[test]
fn unsafe_or_broken_files_are_refused_with_what_to_do() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage, &str); 7] = [
        (
            "a readable key",
            |ca| fs::set_permissions(ca.join("root.key"), fs::Permissions::from_mode(0o640)).unwrap(),
            "run `chmod 600 ",
        ),
        ("an open folder", |ca| fs::set_permissions(ca, fs::Permissions::from_mode(0o755)).unwrap(), "run `chmod 700 "),
        ("no key", |ca| fs::remove_file(ca.join("root.key")).unwrap(), "key is missing"),
        ("no key in the file", |ca| fs::write(ca.join("root.key"), "x").unwrap(), "no usable key"),
        ("no certificate in the file", |ca| fs::write(ca.join("root.pem"), "x").unwrap(), "no usable certificate"),
        (
            "another root's certificate",
            |ca| fs::write(ca.join("root.pem"), Authority::ephemeral(&[]).unwrap().root_pem()).unwrap(),
            "belongs to another key",
        ),
        (
            "a link in the key's place",
            |ca| {
                fs::rename(ca.join("root.key"), ca.join("elsewhere")).unwrap();
                std::os::unix::fs::symlink("elsewhere", ca.join("root.key")).unwrap();
            },
            "cannot be opened",
        ),
    ];
    for (what, damage, message) in cases {
        let state = tempfile::tempdir().unwrap();
        Authority::open(state.path(), &[]).unwrap();
        damage(&state.path().join("ca"));
        let error = Authority::open(state.path(), &[]).unwrap_err().to_string();
        assert!(error.contains(message), "{what}: {error}");
    }
}

#[test]
fn an_expired_root_is_refused() {
    let state = tempfile::tempdir().unwrap();
    Authority::open(state.path(), &[]).unwrap();
    let error = store::open(&state.path().join("ca"), now() + 3700 * DAY).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("has expired"), "{error}");
}
