//! Resolution of names from the system's configuration, kept up to date by time to live.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::Notify;

use crate::config::{Host, Server};

use super::protected::Protected;
use super::system::{Answer, System};

pub use super::system::LookupError;

/// Answers are asked for again after their time to live, but not sooner than this …
const MIN_TTL: Duration = Duration::from_secs(5);
/// … and not later than this. Also the longest pause between attempts while a name cannot be resolved.
const MAX_TTL: Duration = Duration::from_secs(300);
/// An address stays protected this long after it was last among the answers: an agent may have asked before.
const KEEP: Duration = Duration::from_secs(600);
/// Addresses protected per name. Rotating answers of a large network must not grow without bound.
const MAX_ADDRESSES: usize = 256;

/// The names of the configured servers and what they resolve to.
///
/// Its lookups go over sockets of policyd's own, to the name servers of `/etc/resolv.conf`, after `/etc/hosts`. Both files
/// are read again when they change.
#[derive(Debug)]
pub struct Names {
    system: System,
    servers: ArcSwap<Vec<Arc<Server>>>,
    known: Mutex<HashMap<String, Known>>,
    protected: Arc<Protected>,
    changed: Notify,
}

/// How it stands with a name, for `/readyz` and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The name.
    pub name: String,
    /// Its addresses, those of the last answer first.
    pub addresses: Vec<IpAddr>,
    /// Why the last lookup failed, if it did. Earlier answers stay in force.
    pub error: Option<String>,
}

/// What is known of one name.
#[derive(Debug, Default)]
struct Known {
    /// Each with the time when it was last among the answers, the latest first.
    addresses: Vec<(IpAddr, Instant)>,
    ech_public_names: Vec<String>,
    due: Option<Instant>,
    failures: u32,
    error: Option<String>,
}

// === impl Names ===

impl Names {
    /// The names of these servers, by the system's resolver configuration. Nothing is resolved yet, but servers that are
    /// configured by address are protected from now on.
    pub fn new(servers: &[Arc<Server>]) -> Names {
        Names::with_system(servers, System::new(PathBuf::from("/etc/hosts"), PathBuf::from("/etc/resolv.conf")))
    }

    pub(super) fn with_system(servers: &[Arc<Server>], system: System) -> Names {
        let names = Names {
            system,
            servers: ArcSwap::from_pointee(servers.to_vec()),
            known: Mutex::default(),
            protected: Arc::default(),
            changed: Notify::new(),
        };
        names.publish(Instant::now());
        names
    }

    /// The protected addresses, kept up to date by [`run`](Names::run).
    pub fn protected(&self) -> Arc<Protected> {
        self.protected.clone()
    }

    /// Puts other servers in place of these, after a reload. What is known of names that stay is kept; [`run`](Names::run)
    /// resolves new ones at once.
    pub fn set_servers(&self, servers: &[Arc<Server>]) {
        self.servers.store(Arc::new(servers.to_vec()));
        let wanted = self.wanted();
        self.known().retain(|name, _| wanted.contains(name));
        self.publish(Instant::now());
        self.changed.notify_one();
    }

    /// Resolves every name that is due, and gives how it stands with all of them. The first call resolves all.
    pub async fn refresh(&self) -> Vec<Status> {
        let now = Instant::now();
        let due: Vec<String> = {
            let known = self.known();
            let is_due = |name: &String| known.get(name).and_then(|known| known.due).is_none_or(|due| due <= now);
            self.wanted().into_iter().filter(is_due).collect()
        };
        let answers = join_all(due.into_iter().map(async |name| {
            let answer = self.system.lookup(&name).await;
            let public_names = match &answer {
                Ok(answer) if answer.from_dns => self.system.ech_public_names(&name).await,
                _ => Some(Vec::new()),
            };
            (name, answer, public_names)
        }))
        .await;
        let now = Instant::now();
        let wanted = self.wanted();
        let mut known = self.known();
        for (name, answer, public_names) in answers {
            // The servers may have been replaced in the meantime.
            if wanted.contains(&name) {
                known.entry(name).or_default().note(answer, public_names, now);
            }
        }
        drop(known);
        self.publish(now);
        self.status()
    }

    /// Keeps the names up to date, for ever, and tells how it stands with them after each look. Drop it to end it.
    pub async fn run(&self, told: impl Fn(&[Status])) {
        loop {
            let statuses = self.refresh().await;
            told(&statuses);
            for status in statuses {
                if let Some(error) = status.error {
                    tracing::warn!(name = status.name, error, "a configured server's name cannot be resolved");
                }
            }
            let next = self.known().values().filter_map(|known| known.due).min();
            let pause = next.map_or(MAX_TTL, |due| due.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = tokio::time::sleep(pause.min(MAX_TTL)) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// The addresses of any name, best first as the resolver gives them; cached for the time to live.
    ///
    /// # Errors
    ///
    /// If the name does not exist or nobody can be asked. For a configured server's name the last good answer counts then.
    pub async fn addresses_of(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        match self.system.lookup(name).await {
            Ok(answer) => Ok(answer.addresses),
            Err(error) => match self.known().get(name) {
                Some(known) if !known.addresses.is_empty() => {
                    Ok(known.addresses.iter().map(|(address, _)| *address).collect())
                }
                _ => Err(error),
            },
        }
    }

    /// How it stands with each configured name, in the order of the names.
    pub fn status(&self) -> Vec<Status> {
        let known = self.known();
        let mut all: Vec<_> = known
            .iter()
            .map(|(name, known)| Status {
                name: name.clone(),
                addresses: known.addresses.iter().map(|(address, _)| *address).collect(),
                error: known.error.clone(),
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn wanted(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .servers
            .load()
            .iter()
            .filter_map(|server| match &server.host {
                Host::Name(name) => Some(name.clone()),
                Host::Address(_) => None,
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, now: Instant) {
        let mut known = self.known();
        let mut addresses = Vec::new();
        for known in known.values_mut() {
            known.addresses.retain(|(_, seen)| now.saturating_duration_since(*seen) < KEEP || known.failures > 0);
        }
        for server in self.servers.load().iter() {
            let label: Arc<str> = server.name.as_str().into();
            let mut protect = |address, port| addresses.push((address, port, label.clone()));
            match &server.host {
                Host::Address(address) => protect(*address, server.port),
                Host::Name(name) => {
                    for (address, _) in known.get(name).map(|known| known.addresses.as_slice()).unwrap_or_default() {
                        protect(*address, server.port);
                    }
                }
            }
            if let Some(upstream) = server.upstream {
                protect(upstream.ip(), upstream.port());
            }
        }
        addresses.extend(local_twins(&addresses));
        let ech_public_names = known.values().flat_map(|known| known.ech_public_names.iter().cloned());
        self.protected.replace(addresses, ech_public_names);
    }
}

// === impl Known ===

impl Known {
    fn note(&mut self, answer: Result<Answer, LookupError>, ech_public_names: Option<Vec<String>>, now: Instant) {
        let pause = match answer {
            Ok(answer) => {
                self.addresses.retain(|(address, _)| !answer.addresses.contains(address));
                let fresh = answer.addresses.into_iter().map(|address| (address, now));
                self.addresses.splice(0..0, fresh);
                self.addresses.truncate(MAX_ADDRESSES);
                if let Some(names) = ech_public_names {
                    self.ech_public_names = names;
                }
                (self.failures, self.error) = (0, None);
                answer.valid_until.saturating_duration_since(now)
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.error = Some(error.to_string());
                MIN_TTL.saturating_mul(1 << (self.failures - 1).min(10))
            }
        };
        self.due = Some(now + pause.clamp(MIN_TTL, MAX_TTL));
    }
}

/// A server on loopback mostly listens on every address of the host: those of its interfaces then reach it too.
fn local_twins(addresses: &[(IpAddr, u16, Arc<str>)]) -> Vec<(IpAddr, u16, Arc<str>)> {
    let on_loopback: Vec<_> = addresses.iter().filter(|(address, ..)| address.is_loopback()).collect();
    if on_loopback.is_empty() {
        return Vec::new();
    }
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let local: Vec<IpAddr> = interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .collect();
    let twins = |(_, port, server): &&(IpAddr, u16, Arc<str>)| {
        let (port, server) = (*port, server.clone());
        local.iter().map(move |address| (*address, port, server.clone())).collect::<Vec<_>>()
    };
    on_loopback.iter().flat_map(twins).collect()
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
