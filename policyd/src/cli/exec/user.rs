//! Who COMMAND runs as: the user who called sudo. Pure but for the look-up that the caller gives.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use nix::unistd::User;

/// The user who called sudo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Name, home and shell, if the host knows the user.
    pub account: Option<Account>,
}

/// What the host knows of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Name.
    pub name: String,
    /// Home directory.
    pub home: PathBuf,
    /// Login shell.
    pub shell: PathBuf,
}

/// A change of COMMAND's environment: a value, or `None` to remove it.
pub type Change = (OsString, Option<OsString>);

/// The user who called sudo, from sudo's variables; `None` when COMMAND is to run as policyd does: without sudo, by root
/// through sudo, or without privileges to give up (`root` false).
///
/// # Errors
///
/// Variables that sudo would not have set. They are not guessed around: COMMAND would run as root.
pub fn caller(
    root: bool,
    variable: impl Fn(&str) -> Option<OsString>,
    account: impl Fn(u32) -> Option<(u32, Account)>,
) -> Result<Option<Caller>, String> {
    let Some(uid) = variable("SUDO_UID").filter(|_| root) else { return Ok(None) };
    let uid = id("SUDO_UID", &uid)?;
    let known = account(uid);
    let gid = match (variable("SUDO_GID"), &known) {
        (Some(gid), _) => id("SUDO_GID", &gid)?,
        (None, Some((gid, _))) => *gid,
        (None, None) => {
            return Err("SUDO_UID is set without SUDO_GID, and this host does not know that user".to_owned());
        }
    };
    Ok((uid != 0).then(|| Caller { uid, gid, account: known.map(|(_, account)| account) }))
}

fn id(variable: &str, value: &OsStr) -> Result<u32, String> {
    let number = value.to_str().and_then(|text| text.parse::<u32>().ok()).filter(|id| *id != u32::MAX);
    number.ok_or_else(|| format!("{variable} is `{}`, which is not an id", value.display()))
}

/// The host's account of `uid`, with its group.
pub fn account(uid: u32) -> Option<(u32, Account)> {
    let user = User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten()?;
    Some((user.gid.as_raw(), Account { name: user.name, home: user.dir, shell: user.shell }))
}

/// What sudo changed, changed back: whose home it is, and that nobody is under sudo any more. What sudo removed for good
/// (PATH's own value, among others) stays removed.
pub fn environment(caller: &Caller) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    if let Some(account) = &caller.account {
        let name = || OsString::from(&account.name);
        let set = [
            ("HOME", account.home.clone().into_os_string()),
            ("USER", name()),
            ("LOGNAME", name()),
            ("SHELL", account.shell.clone().into_os_string()),
        ];
        changes.extend(set.map(|(variable, value)| (variable.into(), Some(value))));
    }
    // Root's mailbox, and variables that would make programs believe that they hold root's rights.
    let removed = ["MAIL", "SUDO_COMMAND", "SUDO_GID", "SUDO_HOME", "SUDO_UID", "SUDO_USER"];
    changes.extend(removed.map(|variable| (variable.into(), None)));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann(uid: u32) -> Option<(u32, Account)> {
        let account = Account { name: "ann".into(), home: "/home/ann".into(), shell: "/bin/zsh".into() };
        (uid == 1000).then_some((1000, account))
    }

    fn with<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v))
    }

    #[test]
    fn sudo_names_the_caller() {
        let sudo = [("SUDO_UID", "1000"), ("SUDO_GID", "1001")];
        let found = caller(true, with(&sudo), ann);
        assert!(matches!(found, Ok(Some(Caller { uid: 1000, gid: 1001, account: Some(_) }))), "{found:?}");
        let stranger = [("SUDO_UID", "7"), ("SUDO_GID", "7")];
        assert_eq!(caller(true, with(&stranger), ann), Ok(Some(Caller { uid: 7, gid: 7, account: None })));
    }

    #[test]
    fn without_sudo_or_privileges_nobody_changes() {
        assert_eq!(caller(true, with(&[]), ann), Ok(None));
        assert_eq!(caller(true, with(&[("SUDO_UID", "0"), ("SUDO_GID", "0")]), ann), Ok(None));
        assert_eq!(caller(false, with(&[("SUDO_UID", "1000"), ("SUDO_GID", "1000")]), ann), Ok(None));
    }

    #[test]
    fn what_sudo_would_not_set_is_an_error_and_never_root() {
        for set in [&[("SUDO_UID", "ann")][..], &[("SUDO_UID", "4294967295"), ("SUDO_GID", "1")], &[("SUDO_UID", "7")]]
        {
            assert!(caller(true, with(set), ann).is_err(), "{set:?}");
        }
    }

    #[test]
    fn home_is_the_callers_again() {
        let caller = Caller { uid: 1000, gid: 1000, account: ann(1000).map(|(_, account)| account) };
        let changes = environment(&caller);
        assert!(changes.contains(&("HOME".into(), Some("/home/ann".into()))));
        assert!(changes.contains(&("SUDO_UID".into(), None)));
    }
}
