//! Grants: who may use which server, under which policy.

use std::path::PathBuf;
use std::sync::Arc;

use crate::capture::identity::Identity;

/// One `[[grant]]` with its compiled policy.
#[derive(Debug)]
pub struct Grant {
    /// Its name in counters, metrics and records.
    pub name: String,
    /// Who it is for.
    pub who: Who,
    /// The name of the `[[server]]` that it is about.
    pub server: String,
    /// The policy document's path, as the configuration gives it.
    pub policy_path: PathBuf,
    /// The policy.
    pub policy: Arc<super::Policy>,
}

/// `who = { … }`: every fact that is given must agree. Empty matches everyone who is captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// A cgroup path; matches it and everything below.
    pub cgroup: Option<String>,
    /// A systemd system unit, exactly.
    pub unit: Option<String>,
    /// An effective user id.
    pub uid: Option<u32>,
    /// A user's name.
    pub user: Option<String>,
    /// An executable's path; counts only beside `uid`, `user` or `unit` (it can be forged).
    pub exe: Option<PathBuf>,
}

impl Who {
    /// Whether all given facts agree with `identity`.
    ///
    /// An executable alone is no proof of anyone: without `uid`, `user` or `unit` beside it, nobody matches.
    pub fn matches(&self, identity: &Identity) -> bool {
        let agrees = self.cgroup.as_deref().is_none_or(|cgroup| is_below(&identity.cgroup, cgroup))
            && self.unit.as_ref().is_none_or(|unit| identity.unit.as_ref() == Some(unit))
            && self.uid.is_none_or(|uid| identity.uid == uid)
            && self.user.as_ref().is_none_or(|user| identity.user.as_ref() == Some(user))
            && self.exe.as_ref().is_none_or(|exe| identity.exe.as_ref() == Some(exe));
        let proven = self.exe.is_none() || self.uid.is_some() || self.user.is_some() || self.unit.is_some();
        agrees && proven
    }
}

/// Whether `path` is the cgroup `top` or lies below it. `/` is above everything.
fn is_below(path: &str, top: &str) -> bool {
    let top = top.trim_end_matches('/');
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            pid: 42,
            uid: 1000,
            user: Some("ann".into()),
            exe: Some("/usr/bin/node".into()),
            cgroup: "/system.slice/agent.service/worker".into(),
            unit: Some("agent.service".into()),
            ..Identity::default()
        }
    }

    #[test]
    fn every_given_fact_must_agree() {
        let all = Who {
            cgroup: Some("/system.slice/agent.service".into()),
            unit: Some("agent.service".into()),
            uid: Some(1000),
            user: Some("ann".into()),
            exe: Some("/usr/bin/node".into()),
        };
        assert!(all.matches(&identity()));
        assert!(Who::default().matches(&identity()), "no fact given: everyone");
        let others = [
            Who { cgroup: Some("/user.slice".into()), ..all.clone() },
            Who { unit: Some("agent".into()), ..all.clone() },
            Who { uid: Some(0), ..all.clone() },
            Who { user: Some("bob".into()), ..all.clone() },
            Who { exe: Some("/usr/bin/python3".into()), ..all.clone() },
        ];
        for who in others {
            assert!(!who.matches(&identity()), "{who:?}");
        }
    }

    #[test]
    fn an_unknown_fact_agrees_with_nothing() {
        let nobody = Identity { cgroup: "/".into(), ..Identity::default() };
        assert!(!Who { unit: Some(String::new()), ..Who::default() }.matches(&nobody));
        assert!(!Who { user: Some(String::new()), ..Who::default() }.matches(&nobody));
        assert!(!Who { uid: Some(0), exe: Some(PathBuf::new()), ..Who::default() }.matches(&nobody));
    }

    #[test]
    fn a_cgroup_matches_itself_and_below_at_whole_names() {
        for (top, matches) in [
            ("/", true),
            ("/system.slice", true),
            ("/system.slice/", true),
            ("/system.slice/agent.service/worker", true),
            ("/system.slice/agent", false),
            ("/system.slice/agent.service/worker/deeper", false),
        ] {
            let who = Who { cgroup: Some(top.into()), ..Who::default() };
            assert_eq!(who.matches(&identity()), matches, "{top}");
        }
    }

    #[test]
    fn an_executable_alone_proves_nobody() {
        let who = Who { exe: Some("/usr/bin/node".into()), ..Who::default() };
        assert!(!who.matches(&identity()));
        assert!(!Who { cgroup: Some("/".into()), ..who.clone() }.matches(&identity()));
        assert!(Who { uid: Some(1000), ..who }.matches(&identity()));
    }
}
