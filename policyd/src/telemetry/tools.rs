//! Which tools get a label of their own: a bounded set per server, however many names an agent or a server makes up.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// The label of every tool that is not known.
pub(super) const OTHER: &str = "other";

/// How many names from a server's own lists are known.
const LISTED: usize = 1_000;
/// How many names from policies are known. A bound against a policy that is generated anew all the time.
const NAMED: usize = 10_000;
/// The longest name that is known, in bytes.
const LONGEST: usize = 128;

/// The known tools of every server.
#[derive(Debug, Default)]
pub(super) struct KnownTools {
    /// Changes with every addition, so that workers notice without asking under the lock.
    version: AtomicU64,
    servers: RwLock<HashMap<String, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    named: HashSet<String>,
    listed: HashSet<String>,
}

impl KnownTools {
    /// Adds names that a policy gives.
    pub fn named<'a>(&self, server: &str, names: impl IntoIterator<Item = &'a str>) {
        self.add(server, names, |known| (&mut known.named, NAMED));
    }

    /// Adds names that the server listed.
    pub fn listed<'a>(&self, server: &str, names: impl IntoIterator<Item = &'a str>) {
        self.add(server, names, |known| (&mut known.listed, LISTED));
    }

    /// Grows whenever a name is added.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Calls `f` with each name of `server` that has a label of its own.
    pub fn each(&self, server: &str, f: impl FnMut(&str)) {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = servers.get(server) {
            known.named.iter().chain(&known.listed).map(String::as_str).for_each(f);
        }
    }

    /// Whether `tool` has a label of its own.
    pub fn contains(&self, server: &str, tool: &str) -> bool {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        servers.get(server).is_some_and(|known| known.named.contains(tool) || known.listed.contains(tool))
    }

    fn add<'a>(
        &self,
        server: &str,
        names: impl IntoIterator<Item = &'a str>,
        set: impl Fn(&mut Known) -> (&mut HashSet<String>, usize),
    ) {
        let new: Vec<&str> =
            names.into_iter().filter(|name| name.len() <= LONGEST && !self.contains(server, name)).collect();
        if new.is_empty() {
            return;
        }
        let mut servers = self.servers.write().unwrap_or_else(PoisonError::into_inner);
        let (set, bound) = set(servers.entry(server.to_owned()).or_default());
        let room = bound.saturating_sub(set.len());
        set.extend(new.into_iter().take(room).map(str::to_owned));
        drop(servers);
        self.version.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_names_are_bounded_and_named_ones_are_not_crowded_out() {
        let known = KnownTools::default();
        let names: Vec<String> = (0..5_000).map(|number| format!("tool{number}")).collect();
        known.listed("s", names.iter().map(String::as_str));
        assert!(known.contains("s", "tool0") && known.contains("s", "tool999"));
        assert!(!known.contains("s", "tool1000"));
        known.named("s", ["tool1000"]);
        assert!(known.contains("s", "tool1000"));
        assert!(!known.contains("t", "tool0"), "servers do not share names");
    }

    #[test]
    fn known_names_change_no_version_and_endless_ones_are_not_known() {
        let known = KnownTools::default();
        known.named("s", ["a"]);
        let version = known.version();
        known.listed("s", ["a"]);
        assert_eq!(known.version(), version);
        let long = "x".repeat(129);
        known.named("s", [long.as_str()]);
        assert!(!known.contains("s", &long));
    }
}
