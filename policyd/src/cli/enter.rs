//! `policyd enter`: the last steps before COMMAND. Hidden: `exec` runs it, since a process can do these steps to itself
//! without `unsafe`, which a callback between fork and exec could not.

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{self, Gid, Uid};

use super::{exit, say};

/// Arguments of `policyd enter`.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct EnterArgs {
    /// The cgroup's directory
    #[arg(long, value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// The user to become
    #[arg(long, requires = "gid")]
    pub uid: Option<u32>,
    /// The group to become
    #[arg(long, requires = "uid")]
    pub gid: Option<u32>,
    /// The user's name, for the supplementary groups; without it there are none
    #[arg(long, requires = "uid")]
    pub user: Option<String>,
    /// Let setuid programs raise privileges
    #[arg(long)]
    pub allow_setuid: bool,
    /// Die with this process, even if it is killed: the parent, which must still be it
    #[arg(long, value_name = "PID")]
    pub with_parent: Option<u32>,
    /// What to become
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl EnterArgs {
    /// The arguments that spell this, beginning with the subcommand.
    pub(super) fn to_arguments(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["enter".into()];
        let mut option = |name: &str, value: OsString| words.extend([name.into(), value]);
        if let Some(cgroup) = &self.cgroup {
            option("--cgroup", cgroup.into());
        }
        if let (Some(uid), Some(gid)) = (self.uid, self.gid) {
            option("--uid", uid.to_string().into());
            option("--gid", gid.to_string().into());
            if let Some(user) = &self.user {
                // One word: a name that begins with a dash must not become an option.
                words.push(format!("--user={user}").into());
            }
        }
        if let Some(parent) = self.with_parent {
            words.extend(["--with-parent".into(), parent.to_string().into()]);
        }
        if self.allow_setuid {
            words.push("--allow-setuid".into());
        }
        words.push("--".into());
        words.extend(self.command.iter().cloned());
        words
    }
}

/// Does the steps; comes back only when one of them failed.
pub fn run(args: &EnterArgs) -> u8 {
    if let Err(why) = confine(args) {
        say(why);
        return exit::EXEC_FAILED;
    }
    let Some((program, arguments)) = args.command.split_first() else {
        return exit::EXEC_FAILED;
    };
    let error = std::process::Command::new(program).args(arguments).exec();
    let name = Path::new(program).display();
    if error.kind() == io::ErrorKind::NotFound {
        say(format_args!("`{name}`: {}", not_found(Path::new(program))));
        exit::EXEC_NOT_FOUND
    } else {
        say(format_args!("`{name}` cannot be started: {error}"));
        exit::EXEC_NOT_EXECUTABLE
    }
}

/// ENOENT is said of a script whose interpreter is missing as well: tell the two apart.
fn not_found(program: &Path) -> &'static str {
    if program.components().count() > 1 && program.exists() {
        "the file exists, but the interpreter or loader that it names does not"
    } else {
        "command not found"
    }
}

/// Order matters: the cgroup first, while root may still write it, so that nothing runs outside; the user id last, since
/// the groups need privileges; then the flag that nothing can take back.
fn confine(args: &EnterArgs) -> Result<(), String> {
    if let Some(cgroup) = &args.cgroup {
        // "0" is the writing process, in whatever PID namespace it is (cgroups(7)).
        std::fs::write(cgroup.join("cgroup.procs"), "0")
            .map_err(|e| format!("the cgroup `{}` cannot be entered: {e}", cgroup.display()))?;
    }
    if let (Some(uid), Some(gid)) = (args.uid, args.gid) {
        let failed = |what: &str, errno: nix::Error| format!("{what} {uid}:{gid} failed: {}", errno.desc());
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        match args.user.as_deref().map(CString::new) {
            Some(Ok(name)) => unistd::initgroups(&name, gid),
            Some(Err(_)) => return Err("the user's name contains a zero byte".to_owned()),
            None => unistd::setgroups(&[gid]),
        }
        .map_err(|e| failed("taking the groups of", e))?;
        unistd::setresgid(gid, gid, gid).map_err(|e| failed("becoming", e))?;
        unistd::setresuid(uid, uid, uid).map_err(|e| failed("becoming", e))?;
    }
    if let Some(parent) = args.with_parent {
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| format!("it cannot be bound to its parent: {}", e.desc()))?;
        // One that ended before is not told of any more.
        if u32::try_from(unistd::getppid().as_raw()) != Ok(parent) {
            return Err("the process that it is bound to has ended".to_owned());
        }
    }
    if !args.allow_setuid {
        prctl::set_no_new_privs().map_err(|e| format!("no_new_privs cannot be set: {}", e.desc()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn what_exec_writes_is_what_enter_reads() {
        let args = EnterArgs {
            cgroup: Some("/sys/fs/cgroup/policyd-exec-1".into()),
            uid: Some(1000),
            gid: Some(1000),
            user: Some("-odd".into()),
            allow_setuid: true,
            with_parent: Some(7),
            command: vec!["sh".into(), "--version".into(), "--".into(), "-x".into()],
        };
        let words = std::iter::once("policyd".into()).chain(args.to_arguments());
        let Command::Enter(read) = Cli::try_parse_from(words).unwrap().command else { panic!("not enter") };
        assert_eq!(read, args);
    }
}
