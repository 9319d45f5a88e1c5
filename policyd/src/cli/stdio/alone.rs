//! A session without a daemon: `--policy`.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use super::ServeArgs;
use super::serve::{Failure, Sockets};
use crate::audit;
use crate::capture::Origin;
use crate::capture::identity::{Identity, Resolver};
use crate::cli::exec::report::Report;
use crate::cli::{color, exit};
use crate::config::{Admin, Audit, Capture, Config, Limits, Server, Timeouts, Tls};
use crate::daemon;
use crate::policy::{Grant, Policy, Who};
use crate::proxy::stdio::Session;

/// What keeps a session going.
pub struct Alone {
    _serving: daemon::Alone,
    report: Option<Report>,
}

impl Alone {
    /// Tells what has not been told yet.
    pub fn finish(self) {
        if let Some(report) = self.report {
            report.finish();
        }
    }
}

/// Serves a session under the policy at `path`; gives what keeps it going, and what tells of its end.
pub fn serve(args: &ServeArgs, path: &Path, sockets: Sockets) -> Result<(Alone, UnixStream), Failure> {
    let policy = policy(path)?;
    let server = Arc::new(Server::command(args.server.as_deref().unwrap_or_default()));
    let config = config(args, path, &server, policy);
    let audit_key = audit::Key::ephemeral().map_err(|error| (exit::UNAVAILABLE, error.to_string()))?;
    let (ours, control) = UnixStream::pair().map_err(|error| (exit::UNAVAILABLE, error.to_string()))?;
    let (origin, identity) = own();
    let Sockets { client, command } = sockets;
    let session = Session { server, identity, origin, client, command, control, place: None };
    let report = args.verbose.then(|| Report::start(false, false));
    let observer = report.as_ref().map(Report::observer);
    let failed = |error: daemon::StartError| match error {
        daemon::StartError::Audit(_) => (exit::NOT_WRITTEN, error.to_string()),
        error => (exit::UNAVAILABLE, error.to_string()),
    };
    let alone = daemon::alone(config, session, &audit_key, observer).map_err(failed)?;
    Ok((Alone { _serving: alone, report }, ours))
}

fn policy(path: &Path) -> Result<Arc<Policy>, Failure> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|error| (exit::NO_INPUT, format!("the policy `{name}` cannot be read: {error}")))?;
    Policy::load(&name, &text).map(Arc::new).map_err(|report| {
        let _ = io::Write::write_all(&mut io::stderr(), report.render(color(&io::stderr())).as_bytes());
        (exit::DATA, format!("the policy `{name}` is bad, COMMAND was not started"))
    })
}

/// One server, and one grant for whoever runs this.
fn config(args: &ServeArgs, path: &Path, server: &Arc<Server>, policy: Arc<Policy>) -> Config {
    let grant = Grant {
        name: "stdio".to_owned(),
        who: Who::default(),
        server: server.name.clone(),
        policy_path: path.to_owned(),
        policy,
    };
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    Config {
        grants: vec![Arc::new(grant)],
        servers: Vec::new(),
        commands: vec![Arc::clone(server)],
        capture: Capture::default(),
        allow: Vec::new(),
        admin: Admin { listen: None, socket: None, stdio: None },
        audit: Audit { path: args.audit.as_ref().map(absolute), arguments: false },
        tls: Tls::default(),
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        state_dir: PathBuf::new(),
        files: Vec::new(),
        digest: [0; 32],
    }
}

/// Who runs this, as far as this host tells: only the records say it, the one grant is for everybody.
fn own() -> (Origin, Arc<Identity>) {
    let pid = std::process::id();
    if let Ok(found) = Resolver::new().map_err(drop).and_then(|resolver| resolver.of_process(pid).map_err(drop)) {
        return found;
    }
    let uid = nix::unistd::getuid().as_raw();
    let destination = std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
    let origin = Origin { destination, tgid: pid, uid, cgroup: 0, netns: 0, connected_at: Default::default() };
    (origin, Arc::new(Identity { pid, uid, ..Identity::default() }))
}
