//! Proof that interception works: a real connection through the real programs.

mod child;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::cgroup::below;
use super::{Acceptor, Cgroup2};

/// An address that nobody has (RFC 5737, TEST-NET-1): only policyd can answer there.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// What the canary showed not to work.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// No cgroup is captured.
    #[error("no cgroup is captured: there is nothing to prove")]
    NoCgroup,
    /// The canary process could not be made or put into the cgroup.
    #[error("the canary could not be started in {cgroup}: {source}")]
    Start {
        /// The captured cgroup.
        cgroup: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The connect failed.
    #[error("the canary's connect from {cgroup} was not redirected: {source}")]
    Connect {
        /// The captured cgroup.
        cgroup: String,
        /// What `connect` gave.
        source: io::Error,
    },
    /// The connection did not arrive, or not as the canary's.
    #[error("the canary's connection did not reach policyd within {0:?}: another program may take connections away")]
    Lost(Duration),
    /// The application would see the wrong peer.
    #[error("getpeername did not give the canary the address that it asked for")]
    Peer,
    /// The listener failed.
    #[error("policyd's listener failed: {0}")]
    Accept(io::Error),
}

/// Where the canary sings.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub cgroup2: Cgroup2,
    /// The captured cgroups.
    pub agents: Vec<String>,
    /// A captured port.
    pub port: u16,
}

impl Acceptor {
    /// Proves interception: a child process in a captured cgroup connects to an address that nobody has (192.0.2.1,
    /// RFC 5737) on a captured port; the connection must arrive here with that origin. Agents' connections that come
    /// meanwhile are kept for [`Acceptor::accept`]. To be called before serving begins.
    ///
    /// # Errors
    ///
    /// What of it did not work. policyd is not ready then.
    pub async fn canary(&mut self, patience: Duration) -> Result<(), CanaryError> {
        let Some(cgroup) = self.canary.agents.first().cloned() else { return Err(CanaryError::NoCgroup) };
        let deadline = Instant::now() + patience;
        let destination = SocketAddr::new(IpAddr::V4(NOWHERE), self.canary.port);
        let start = |source| CanaryError::Start { cgroup: cgroup.clone(), source };

        let perch = Perch::new(&self.canary.cgroup2, &cgroup).map_err(start)?;
        let (reader, writer) = io::pipe().map_err(start)?;
        let child = child::spawn(perch.procs.as_ref(), NOWHERE, self.canary.port, patience, writer.as_raw_fd())
            .map_err(start)?;
        drop(writer);
        let report = tokio::task::spawn_blocking(move || report(reader));
        let report = match timeout_at(deadline, report).await {
            Ok(Ok(report)) => report.map_err(start)?,
            Ok(Err(_)) | Err(_) => return Err(CanaryError::Lost(patience)),
        };
        let source_port = judge(report, &cgroup)?;

        // The connection has been established; it is in a listener's queue or nowhere.
        loop {
            let accepted = timeout_at(deadline, self.accept_new()).await;
            let (stream, peer, origin) =
                accepted.map_err(|_| CanaryError::Lost(patience))?.map_err(CanaryError::Accept)?;
            if origin.destination == destination && peer.port() == source_port {
                drop((stream, child));
                return Ok(());
            }
            self.backlog.push_back((stream, peer, origin));
        }
    }
}

/// What the canary tells: how far it came, the error there, its source port, whether the peer was right.
fn report(mut reader: io::PipeReader) -> io::Result<child::Report> {
    let mut bytes = [0; child::REPORT];
    reader.read_exact(&mut bytes)?;
    Ok(child::Report::from_bytes(bytes))
}

fn judge(report: child::Report, cgroup: &str) -> Result<u16, CanaryError> {
    let source = || io::Error::from_raw_os_error(report.errno);
    match report.stage {
        child::Stage::Move => Err(CanaryError::Start { cgroup: cgroup.to_owned(), source: source() }),
        child::Stage::Connect => Err(CanaryError::Connect { cgroup: cgroup.to_owned(), source: source() }),
        child::Stage::Peer => Err(CanaryError::Peer),
        child::Stage::Done => Ok(report.source_port),
    }
}

/// A cgroup for the canary to sit in: a child of the captured one, unless policyd lives below that itself.
struct Perch {
    directory: Option<PathBuf>,
    procs: Option<OwnedFd>,
}

impl Perch {
    fn new(cgroup2: &Cgroup2, captured: &str) -> io::Result<Self> {
        let own = cgroup2.own().map_err(io::Error::other)?;
        if below(&own, captured) {
            return Ok(Self { directory: None, procs: None });
        }
        let parent = cgroup2.directory(captured).map_err(io::Error::other)?;
        let directory = parent.join(format!("policyd-canary-{}", std::process::id()));
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mut perch = Self { directory: Some(directory.clone()), procs: None };
        perch.procs = Some(File::options().write(true).open(directory.join("cgroup.procs"))?.into());
        Ok(perch)
    }
}

impl Drop for Perch {
    fn drop(&mut self) {
        // The canary was reaped before: it is declared after the perch.
        if let Some(directory) = &self.directory
            && let Err(error) = fs::remove_dir(directory)
        {
            tracing::debug!(%error, directory = %directory.display(), "the canary's cgroup stays");
        }
    }
}
