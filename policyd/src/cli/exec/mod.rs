//! `policyd exec`: one command under a policy, without any configuration.

mod args;
mod cgroup;
pub(super) mod child;
mod folder;
pub(super) mod report;
mod shape;
mod starter;
pub(super) mod tally;
mod user;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::enter::EnterArgs;
use super::{color, exit, say};
use crate::audit;
use crate::capture::{self, Cgroup2, Pins};
use crate::config::Config;
use crate::daemon::{Daemon, Options};
use crate::policy::Policy;
use crate::telemetry::logs;
use crate::tls::authority::Authority;
use crate::tls::trust::Bundle;
pub use args::{ExecArgs, LONG};
use cgroup::ExecCgroup;
use child::Signals;
use folder::{Folder, as_caller};
use report::Report;
use tally::Tally;
use user::{Caller, Change};

/// How long COMMAND's children have to end after it, and running calls after them.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs COMMAND and gives what `exec` ends with.
pub fn run(args: ExecArgs) -> u8 {
    match prepare(&args) {
        Ok(code) => code,
        Err(why) => {
            say(why);
            exit::EXEC_FAILED
        }
    }
}

fn prepare(args: &ExecArgs) -> Result<u8, String> {
    args::check(args)?;
    let root = nix::unistd::geteuid().is_root();
    let caller = user::caller(root, |name| std::env::var_os(name), user::account)?;
    if caller.is_some() {
        // Root's groups would open root's files to the caller (`as_caller`); COMMAND gets the caller's own.
        nix::unistd::setgroups(&[]).map_err(|e| format!("root's groups cannot be given up: {}", e.desc()))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("no event loop can be made: {e}"))?;
    let mut enter =
        EnterArgs { allow_setuid: args.allow_setuid, command: args.command.clone(), ..EnterArgs::default() };
    let mut changes = Vec::new();
    if let Some(caller) = &caller {
        (enter.uid, enter.gid) = (Some(caller.uid), Some(caller.gid));
        enter.user = caller.account.as_ref().map(|account| account.name.clone());
        changes = user::environment(caller);
    }
    if args.servers.is_empty() {
        say("no --server is given: nothing is inspected");
        say("give the URL of each MCP server, such as: policyd exec --server https://promptfax.app/mcp -- COMMAND");
        let mut signals = catch(&runtime)?;
        return runtime.block_on(supervise(&enter, &changes, &mut signals));
    }
    if !root {
        return Err("the kernel part needs root: run it with sudo (COMMAND runs as you)".to_owned());
    }
    // Decisions are told by the report; what goes wrong besides them is logged.
    let environment = std::env::var("RUST_LOG").ok();
    logs::init(logs::Format::Text, environment.is_none().then_some("policyd=warn,error"), environment.as_deref())
        .map_err(|e| e.to_string())?;
    warn(&caller);
    let policy = policy(args, caller.as_ref())?;
    claim_files(args, caller.as_ref())?;
    let ended = police(args, caller.as_ref(), &policy, &runtime, enter, changes);
    if let (Err(_), Some(path)) = (&ended, &args.write_policy) {
        // The file that was claimed; nothing has been written into it.
        let _ = as_caller(caller.as_ref(), || fs::remove_file(path));
    }
    ended
}

fn catch(runtime: &Runtime) -> Result<Signals, String> {
    let _inside = runtime.enter();
    Signals::catch().map_err(|e| format!("signals cannot be caught: {e}"))
}

/// What the user should know before COMMAND starts.
fn warn(caller: &Option<Caller>) {
    if caller.is_none() {
        say(
            "COMMAND runs as root and can undo what confines it; run policyd with sudo as the user that it should run as",
        );
    }
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        if std::env::var_os(name).is_some_and(|value| !value.is_empty()) {
            say(format_args!("{name} is set: calls that go through that proxy are not seen, unset it"));
            break;
        }
    }
}

/// The policy that is given, or the one that refuses nothing.
fn policy(args: &ExecArgs, caller: Option<&Caller>) -> Result<Arc<Policy>, String> {
    let (name, text) = match &args.policy {
        Some(path) => {
            let name = path.display().to_string();
            let text = as_caller(caller, || fs::read_to_string(path));
            (name.clone(), text.map_err(|e| format!("the policy `{name}` cannot be read: {e}"))?)
        }
        None => ("(observe)".to_owned(), args::OBSERVE.to_owned()),
    };
    match Policy::load(&name, &text) {
        Ok(policy) => Ok(Arc::new(policy)),
        Err(report) => {
            let _ = io::stderr().write_all(report.render(color(&io::stderr())).as_bytes());
            Err(format!("the policy `{name}` is bad, COMMAND was not started"))
        }
    }
}

/// Makes the files that will be written, as the caller: they are the caller's, and what cannot be written is told before
/// COMMAND starts.
fn claim_files(args: &ExecArgs, caller: Option<&Caller>) -> Result<(), String> {
    let open = |path: &Path, options: &mut OpenOptions| match as_caller(caller, || options.open(path)) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("`{}` cannot be written: {error}", path.display())),
    };
    if let Some(path) = &args.audit {
        open(path, OpenOptions::new().append(true).create(true))?;
    }
    if let Some(path) = &args.write_policy {
        open(path, OpenOptions::new().write(true).create_new(true))?;
    }
    Ok(())
}

/// Not asynchronous: the daemon has event loops of its own, which cannot be started or ended inside of this one.
fn police(
    args: &ExecArgs,
    caller: Option<&Caller>,
    policy: &Arc<Policy>,
    runtime: &Runtime,
    mut enter: EnterArgs,
    mut changes: Vec<Change>,
) -> Result<u8, String> {
    // From here on a signal must not end policyd before it has cleaned up.
    let mut signals = catch(runtime)?;
    // What runs before this one left, when it could not clean up. Somebody else's mishap must not stop this one.
    let _ = capture::remove_stale();
    let instance = format!("exec-{}", std::process::id());
    let folder = Folder::make(&instance).map_err(|e| format!("no folder can be made for this run: {e}"))?;
    let (cgroup, path) = make_cgroup(&format!("policyd-{instance}"))?;
    let run = args::Run { instance: instance.clone(), cgroup: path, state_dir: folder.state() };
    let report = Report::start(args.quiet, args.policy.is_none());
    let started = start(args::config(args, run, policy), &report, folder.path());
    let (daemon, trusted) = match started {
        Ok(started) => started,
        Err(why) => {
            let _ = cgroup.remove();
            return Err(why);
        }
    };
    enter.cgroup = Some(cgroup.directory().to_owned());
    changes.extend(trusted);
    let ended = runtime.block_on(supervise(&enter, &changes, &mut signals));
    clean_up(daemon, cgroup, &instance);
    let tally = report.finish();
    let _ = io::stderr().write_all(tally.table(args.policy.is_none()).as_bytes());
    if let (Ok(_), Some(path)) = (&ended, &args.write_policy) {
        write_policy(path, &tally, caller);
    }
    ended
}

type Started = (Daemon, Vec<Change>);

fn start(config: Config, report: &Report, folder: &Path) -> Result<Started, String> {
    let authority = Authority::ephemeral(&config.servers).map_err(|e| e.to_string())?;
    let trusted = trust(&authority, folder)?;
    let audit_key = audit::Key::ephemeral().map_err(|e| e.to_string())?;
    let options = Options {
        config,
        authority,
        audit_key,
        pins: Pins::UntilDrop,
        keep_counters: false,
        observer: Some(report.observer()),
    };
    let daemon = Daemon::start(options).map_err(|e| e.to_string())?;
    Ok((daemon, trusted))
}

/// The cgroup's handle and its path below the mount.
fn make_cgroup(name: &str) -> Result<(ExecCgroup, String), String> {
    let cgroups = Cgroup2::find().map_err(|e| e.to_string())?;
    let own = cgroups.own().map_err(|e| e.to_string())?;
    let parent = cgroups.directory(&own).map_err(|e| e.to_string())?;
    let cgroup = ExecCgroup::make(&parent, name)
        .map_err(|e| format!("the cgroup `{}` cannot be made: {e}", parent.join(name).display()))?;
    Ok((cgroup, format!("{}/{name}", own.trim_end_matches('/'))))
}

/// The variables through which COMMAND trusts the authority, and the files that they name.
fn trust(authority: &Authority, folder: &Path) -> Result<Vec<Change>, String> {
    // Of files that the user's own variables name, only certificates get into the bundle.
    let bundle = Bundle::write(&folder.join("trust"), authority, |name| std::env::var_os(name));
    let bundle = bundle.map_err(|e| format!("the trusted roots cannot be written: {e}"))?;
    for warning in &bundle.warnings {
        say(warning);
    }
    Ok(bundle.variables().into_iter().map(|(name, value)| (name.into(), Some(value.into()))).collect())
}

/// Spawns COMMAND through `policyd enter` and waits for it.
async fn supervise(enter: &EnterArgs, changes: &[Change], signals: &mut Signals) -> Result<u8, String> {
    // The running program, even if its file was replaced meanwhile.
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command.arg0("policyd").args(enter.to_arguments());
    command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    for (variable, value) in changes {
        match value {
            Some(value) => command.env(variable, value),
            None => command.env_remove(variable),
        };
    }
    let mut child = command.spawn().map_err(|e| format!("no process can be started: {e}"))?;
    let status = signals.wait(&mut child).await.map_err(|e| format!("COMMAND cannot be waited for: {e}"))?;
    Ok(exit::of_status(status))
}

/// Ends policing, or leaves it in force for what outlived COMMAND: an orphan that was let out would be a way around.
fn clean_up(daemon: Daemon, cgroup: ExecCgroup, instance: &str) {
    let empty = cgroup.wait_empty(PATIENCE).unwrap_or(false);
    daemon.stop(PATIENCE, if empty { Pins::UntilDrop } else { Pins::Keep });
    if empty {
        if let Err(error) = cgroup.remove() {
            say(format_args!("its cgroup cannot be removed: {error}"));
        }
        return;
    }
    let left = cgroup.lingering().unwrap_or_default();
    let names: Vec<String> = left.iter().map(|p| format!("{} ({})", p.pid, shape::printable(&p.name))).collect();
    say(format_args!("COMMAND ended and left processes behind: {}", names.join(", ")));
    say("they run on, and their connections to captured ports are refused from now on");
    let directory = cgroup.directory().display();
    say(format_args!("to end them: echo 1 | sudo tee {directory}/cgroup.kill"));
    say(format_args!("to let them out, or when they have ended: sudo policyd detach --instance {instance}"));
}

/// Writes the starter policy into the file that was claimed before.
fn write_policy(path: &Path, tally: &Tally, caller: Option<&Caller>) {
    let (text, left_out) = starter::starter(tally);
    match as_caller(caller, || fs::write(path, text)) {
        Ok(()) => say(format_args!("wrote `{}`: review it, then run with --policy", path.display())),
        Err(error) => say(format_args!("`{}` cannot be written: {error}", path.display())),
    }
    for what in left_out {
        say(format_args!("left out: {what}"));
    }
}
