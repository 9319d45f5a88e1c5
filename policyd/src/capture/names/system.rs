//! The system's resolver configuration: the hosts file first, then the name servers of `resolv.conf`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::rdata::svcb::SvcParamValue;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};

use crate::tls::ech;

/// How long a hosts file's answer is taken for good before its file is looked at again.
const HOSTS_TTL: Duration = Duration::from_secs(5);
/// The HTTPS record is a refinement: a name server that ignores such questions must not hold up the addresses.
const HTTPS_RECORD: Duration = Duration::from_secs(2);

/// Why a name has no addresses.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// It cannot be a DNS name.
    #[error("`{name}` is no DNS name: {cause}")]
    Name {
        /// What was asked for.
        name: String,
        /// Why not.
        cause: String,
    },
    /// It is not in the hosts file, and no name server is configured.
    #[error("`{name}` is not in {}, and {} names no name server ({cause})", hosts.display(), resolv_conf.display())]
    NoNameServer {
        /// What was asked for.
        name: String,
        /// The hosts file.
        hosts: PathBuf,
        /// The resolver's configuration.
        resolv_conf: PathBuf,
        /// What is wrong with the latter.
        cause: String,
    },
    /// It does not exist, or nobody answered.
    #[error("`{name}` cannot be resolved: {cause}")]
    Failed {
        /// What was asked for.
        name: String,
        /// What the resolver says.
        cause: String,
    },
}

/// The addresses of a name.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// At least one.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) valid_until: Instant,
    /// Whether a name server said so, not the hosts file.
    pub(super) from_dns: bool,
}

/// The two files, and what was made of them.
pub(super) struct System {
    hosts: PathBuf,
    resolv_conf: PathBuf,
    /// The name servers' port, other than 53 in tests only.
    port: Option<u16>,
    loaded: Mutex<Option<Arc<Loaded>>>,
}

struct Loaded {
    stamps: [Stamp; 2],
    hosts: Hosts,
    resolver: Result<TokioResolver, String>,
}

/// What tells one version of a file from another.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

impl std::fmt::Debug for System {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("System").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

// === impl System ===

impl System {
    pub(super) fn new(hosts: PathBuf, resolv_conf: PathBuf) -> System {
        System { hosts, resolv_conf, port: None, loaded: Mutex::default() }
    }

    #[cfg(test)]
    pub(super) fn with_port(self, port: u16) -> System {
        System { port: Some(port), ..self }
    }

    /// The addresses of `name`. Names below `localhost` never leave the host (RFC 6761, section 6.3).
    pub(super) async fn lookup(&self, name: &str) -> Result<Answer, LookupError> {
        let parsed = Name::from_ascii(name)
            .map_err(|error| LookupError::Name { name: name.to_owned(), cause: error.to_string() })?;
        let loaded = self.load();
        let mut addresses = Vec::new();
        for kind in [RecordType::AAAA, RecordType::A] {
            let found = loaded.hosts.lookup_static_host(&Query::query(parsed.clone(), kind));
            addresses.extend(found.iter().flat_map(|found| found.answers()).filter_map(|record| record.data.ip_addr()));
        }
        if addresses.is_empty() && (name == "localhost" || name.ends_with(".localhost")) {
            addresses = vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
        }
        if !addresses.is_empty() {
            return Ok(Answer { addresses, valid_until: Instant::now() + HOSTS_TTL, from_dns: false });
        }
        let resolver = loaded.resolver.as_ref().map_err(|cause| LookupError::NoNameServer {
            name: name.to_owned(),
            hosts: self.hosts.clone(),
            resolv_conf: self.resolv_conf.clone(),
            cause: cause.clone(),
        })?;
        let failed = |cause: String| LookupError::Failed { name: name.to_owned(), cause };
        let found = resolver.lookup_ip(parsed).await.map_err(|error| failed(error.to_string()))?;
        let addresses: Vec<_> = found.iter().collect();
        if addresses.is_empty() {
            return Err(failed("it has no address".into()));
        }
        Ok(Answer { addresses, valid_until: found.valid_until(), from_dns: true })
    }

    /// The outer names of the Encrypted Client Hello that `name`'s HTTPS records offer; `None` if nobody answered.
    pub(super) async fn ech_public_names(&self, name: &str) -> Option<Vec<String>> {
        let loaded = self.load();
        let resolver = loaded.resolver.as_ref().ok()?;
        let question = resolver.lookup(Name::from_ascii(name).ok()?, RecordType::HTTPS);
        let found = match tokio::time::timeout(HTTPS_RECORD, question).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) if error.is_no_records_found() => return Some(Vec::new()),
            _ => return None,
        };
        let mut names = Vec::new();
        for record in found.answers() {
            let RData::HTTPS(https) = &record.data else { continue };
            for (_, value) in &https.0.svc_params {
                if let SvcParamValue::EchConfigList(list) = value {
                    names.extend(ech::public_names(&list.0));
                }
            }
        }
        Some(names)
    }

    /// What the files say now. Two `stat` calls as long as they stay the same.
    fn load(&self) -> Arc<Loaded> {
        let stamps = [stamp(&self.hosts), stamp(&self.resolv_conf)];
        let mut slot = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = slot.as_ref()
            && loaded.stamps == stamps
        {
            return loaded.clone();
        }
        let mut hosts = Hosts::default();
        if let Ok(file) = fs::File::open(&self.hosts)
            && let Err(error) = hosts.read_hosts_conf(file)
        {
            tracing::warn!(file = %self.hosts.display(), %error, "the hosts file cannot be read to its end");
        }
        let resolver = self.resolver().map_err(|error| error.to_string());
        let loaded = Arc::new(Loaded { stamps, hosts, resolver });
        *slot = Some(loaded.clone());
        loaded
    }

    fn resolver(&self) -> Result<TokioResolver, Box<dyn std::error::Error>> {
        let (config, mut options): (ResolverConfig, ResolverOpts) =
            system_conf::parse_resolv_conf(fs::read(&self.resolv_conf)?)?;
        let (domain, search, mut servers) = config.into_parts();
        if let Some(port) = self.port {
            for connection in servers.iter_mut().flat_map(|server| &mut server.connections) {
                connection.port = port;
            }
        }
        // The hosts file is read here: an answer from it must not wait for a name server's answer to the other family.
        options.use_hosts_file = ResolveHosts::Never;
        let config = ResolverConfig::from_parts(domain, search, servers);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        Ok(builder.with_options(options).build()?)
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}
