#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::*;
use crate::tls::leaf::Leaves;
use crate::tls::testing::{self, host, servers};

fn pem_count(path: &Path) -> usize {
    CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).count()
}

#[test]
fn the_files_hold_the_root_the_systems_and_what_was_named_before() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::ephemeral(&[]).unwrap();
    let (corporate, private) = (Authority::ephemeral(&[]).unwrap(), Authority::ephemeral(&[]).unwrap());
    let before = folder.path().join("corporate.pem");
    fs::write(&before, corporate.root_pem()).unwrap();
    let before_too = folder.path().join("private.pem");
    fs::write(&before_too, private.root_pem()).unwrap();
    let environment: HashMap<_, OsString> = HashMap::from([
        ("NODE_EXTRA_CA_CERTS", before.into()),
        ("REQUESTS_CA_BUNDLE", before_too.into()),
        ("CURL_CA_BUNDLE", "/nonexistent/bundle.pem".into()),
        ("GIT_SSL_CAINFO", folder.path().join("trust/bundle.pem").into()),
        ("JAVA_TOOL_OPTIONS", "-Xmx1g".into()),
    ]);
    let write =
        || Bundle::write(&folder.path().join("trust"), &authority, |name| environment.get(name).cloned()).unwrap();
    let bundle = write();
    assert_eq!(fs::read_to_string(&bundle.root).unwrap(), authority.root_pem());
    let all: Vec<_> = CertificateDer::pem_file_iter(&bundle.all).unwrap().map(Result::unwrap).collect();
    assert_eq!(all[0], *authority.root());
    assert!(all.contains(corporate.root()) && all.contains(private.root()));
    for certificate in rustls_native_certs::load_native_certs().certs {
        assert!(all.contains(&certificate));
    }
    for file in [&bundle.root, &bundle.all, &bundle.java] {
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o644);
    }
    assert!(bundle.warnings.iter().any(|warning| warning.contains("CURL_CA_BUNDLE")), "{:?}", bundle.warnings);
    let variables: HashMap<_, _> = bundle.variables().into_iter().collect();
    assert_eq!(variables["SSL_CERT_FILE"], bundle.all.display().to_string());
    assert!(variables["JAVA_TOOL_OPTIONS"].starts_with("-Xmx1g -Djavax.net.ssl.trustStore="));
    // Written again, for a shell that has the variables set, it holds the same.
    let count = pem_count(&bundle.all);
    assert_eq!(pem_count(&write().all), count);
}

/// Every runtime on this machine that one of the variables is for reaches an inspected server with all of them set, and
/// does not without them.
#[test]
fn runtimes_trust_the_authority_through_their_variables() {
    for address in ["127.0.0.1", "::1"] {
        // One configured server alone, and beside others: the constraints differ.
        for others in [&[][..], &["a.example", "192.0.2.1", "2001:db8::1"]] {
            trusted_at(address, others);
        }
    }
}

fn trusted_at(address: &str, others: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let authority = std::sync::Arc::new(Authority::ephemeral(&servers(&[others, &[address]].concat())).unwrap());
    let bundle = Bundle::write(folder.path(), &authority, |_| None).unwrap();
    let leaves = Leaves::new(authority);
    let port = testing::serve(address, leaves.server_config(&host(address), &[]).unwrap()).port();
    let url = if address.contains(':') {
        format!("https://[{address}]:{port}/")
    } else {
        format!("https://{address}:{port}/")
    };
    let python = format!("import urllib.request as r; print(r.urlopen('{url}').read())");
    let node = format!("require('https').get('{url}', () => process.exit(0)).on('error', () => process.exit(1))");
    let java = folder.path().join("Get.java");
    let source = format!(
        "public class Get {{ public static void main(String[] a) throws Exception {{\
         System.out.write(new java.net.URL(\"{url}\").openStream().readAllBytes()); }} }}"
    );
    fs::write(&java, source).unwrap();
    let java = java.display().to_string();
    let variables = bundle.variables();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for (program, arguments) in [
        ("curl", &["-sS", "--noproxy", "*", &url][..]),
        ("python3", &["-c", &python]),
        ("node", &["-e", &node]),
        ("git", &["ls-remote", &url]),
        ("java", &[&java]),
    ] {
        let with = testing::run(program, arguments, &variables);
        let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
        // What answers is no repository; that git asks it is the point.
        let trusted = |output: &std::process::Output| {
            if program == "git" { !said(output).contains("certificate") } else { output.status.success() }
        };
        assert!(trusted(&with), "{program}: {}", said(&with));
        // That the variables make the difference need be seen only once.
        if others.is_empty() {
            assert!(!trusted(&testing::run(program, arguments, &[])), "{program}");
        }
    }
}
