//! One session from its beginning to its end: policyd serves it, this process waits for COMMAND.

use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::timeout;

use super::ends::{self, Client, Command};
use super::{ServeArgs, alone};
use crate::cli::enter::EnterArgs;
use crate::cli::exec::child::Signals;
use crate::cli::{exit, say};
use crate::proxy::stdio::handover::{self, Answer, ENDED, GREETING, Hello};
use crate::telemetry::logs;

/// How long what COMMAND has said may take to reach the client after its end, and how long COMMAND may take to end when it
/// is told to.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the daemon has to answer.
const DAEMON: Duration = Duration::from_secs(10);

/// An exit code, and what to say.
pub type Failure = (u8, String);

/// The four sockets of a session.
pub struct Sockets {
    /// What the client writes, and what it reads.
    pub client: (UnixStream, UnixStream),
    /// COMMAND's stdin and stdout.
    pub command: (UnixStream, UnixStream),
}

/// How the session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// As sessions do.
    Ended,
    /// Whoever served it is gone.
    Gone,
}

/// Runs COMMAND under a policy, and gives what to end with.
pub fn run(args: &ServeArgs) -> u8 {
    match prepare(args) {
        Ok(code) => code,
        Err((code, why)) => {
            say(why);
            code
        }
    }
}

fn prepare(args: &ServeArgs) -> Result<u8, Failure> {
    let unavailable = |what: &str, error: io::Error| (exit::UNAVAILABLE, format!("{what}: {error}"));
    let environment = std::env::var("RUST_LOG").ok();
    logs::init(logs::Format::Text, environment.is_none().then_some("policyd=warn,error"), environment.as_deref())
        .map_err(|error| (exit::USAGE, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| unavailable("no event loop can be made", error))?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::catch_all().map_err(|error| unavailable("signals cannot be caught", error))?
    };
    // Before anything is taken over: what is refused here still has its stdin and stdout.
    let daemon = if args.policy.is_none() { Some(connect(&args.socket)?) } else { None };
    let mut client = Client::take().map_err(|error| unavailable("stdin and stdout cannot be taken over", error))?;
    let copier = client.copier();
    let Command { stdin, stdout, theirs } =
        Command::new().map_err(|error| unavailable("no sockets can be made", error))?;
    let sockets = Sockets { client: (client.from, client.to), command: (stdin, stdout) };
    let (alone, session) = match (&args.policy, daemon) {
        (Some(policy), _) => alone::serve(args, policy, sockets).map(|(alone, session)| (Some(alone), session))?,
        (None, Some(daemon)) => (None, hand_over(args, daemon, sockets)?),
        (None, None) => return Err((exit::USAGE, "give --policy".to_owned())),
    };
    let code = runtime.block_on(async {
        // COMMAND dies with this process, however that ends: whoever kills it means COMMAND.
        let enter = EnterArgs {
            allow_setuid: true,
            with_parent: Some(std::process::id()),
            command: args.command.clone(),
            ..EnterArgs::default()
        };
        // The running program, even if its file was replaced meanwhile.
        let mut command = tokio::process::Command::new("/proc/self/exe");
        command.arg0("policyd").args(enter.to_arguments()).stdin(theirs.0).stdout(theirs.1);
        let child = command.spawn().map_err(|error| unavailable("no process can be started", error))?;
        // It holds COMMAND's ends: without them nobody would see COMMAND's end.
        drop(command);
        wait(child, &mut signals, session).await
    })?;
    if let Some(copier) = copier {
        ends::join(copier, PATIENCE);
    }
    if let Some(alone) = alone {
        alone.finish();
    }
    Ok(code)
}

/// Connects to the daemon and waits for its greeting.
fn connect(path: &Path) -> Result<UnixStream, Failure> {
    let shown = path.display();
    let none = |error: io::Error| {
        let what = format!(
            "no daemon answers at `{shown}` ({error}): start it with `policyd run`, with a `[[server]]` that has \
             `transport = \"stdio\"`, or give --policy"
        );
        (exit::UNAVAILABLE, what)
    };
    let socket = UnixStream::connect(path).map_err(none)?;
    socket.set_read_timeout(Some(DAEMON)).map_err(none)?;
    let greeting = line(&socket).map_err(none)?;
    match serde_json::from_str::<Answer>(&greeting) {
        _ if greeting == GREETING => Ok(socket),
        Ok(Answer { error: Some(error), denied }) => Err(refused(&error, denied)),
        _ => Err((exit::UNAVAILABLE, format!("what answers at `{shown}` is no policyd of this version"))),
    }
}

/// Hands a session over; from then on the daemon alone holds its sockets.
fn hand_over(args: &ServeArgs, daemon: UnixStream, sockets: Sockets) -> Result<UnixStream, Failure> {
    let broken = |error: io::Error| (exit::UNAVAILABLE, format!("the daemon broke off: {error}"));
    let hello = Hello { server: args.server.clone().unwrap_or_default() };
    let Sockets { client, command } = sockets;
    let ends = [client.0.as_fd(), client.1.as_fd(), command.0.as_fd(), command.1.as_fd()];
    handover::send(&daemon, &hello, ends).map_err(broken)?;
    let answer: Answer =
        line(&daemon).and_then(|line| serde_json::from_str(&line).map_err(io::Error::from)).map_err(broken)?;
    match answer.error {
        None => Ok(daemon),
        Some(error) => Err(refused(&error, answer.denied)),
    }
}

fn refused(why: &str, denied: bool) -> Failure {
    let code = if denied { exit::NOT_PERMITTED } else { exit::UNAVAILABLE };
    (code, format!("the daemon does not take the session: {why}"))
}

/// One line, byte by byte: what follows it is somebody else's.
fn line(socket: &UnixStream) -> io::Result<String> {
    let mut line = String::new();
    BufReader::with_capacity(1, socket.take(handover::LONGEST as u64)).read_line(&mut line)?;
    line.strip_suffix('\n').map(str::to_owned).ok_or(io::ErrorKind::UnexpectedEof.into())
}

/// Waits for COMMAND and for the end of its session, whichever comes first; neither outlives the other for long.
async fn wait(mut child: Child, signals: &mut Signals, session: UnixStream) -> Result<u8, Failure> {
    let lost = |error: io::Error| (exit::UNAVAILABLE, format!("COMMAND cannot be waited for: {error}"));
    let mut end = Box::pin(end(session));
    let status = tokio::select! {
        status = signals.wait(&mut child) => {
            let status = status.map_err(lost)?;
            // What it said last is still on its way.
            if timeout(PATIENCE, end).await == Ok(End::Gone) {
                return Err(gone());
            }
            status
        }
        end = &mut end => match end {
            End::Ended => signals.wait(&mut child).await.map_err(lost)?,
            End::Gone => {
                stop(&mut child).await.map_err(lost)?;
                return Err(gone());
            }
        },
    };
    Ok(exit::of_status(status))
}

fn gone() -> Failure {
    (exit::UNAVAILABLE, "the daemon has gone away, and the session with it".to_owned())
}

/// Waits for the end of a session.
async fn end(session: UnixStream) -> End {
    let mut said = Vec::new();
    let read = async {
        session.set_nonblocking(true)?;
        let mut session = tokio::net::UnixStream::from_std(session)?;
        tokio::io::AsyncReadExt::read_to_end(&mut session, &mut said).await
    };
    match read.await {
        Ok(_) if said.trim_ascii() == ENDED => End::Ended,
        _ => End::Gone,
    }
}

/// Ends COMMAND: its stdin has ended already.
async fn stop(child: &mut Child) -> io::Result<ExitStatus> {
    if let Ok(status) = timeout(PATIENCE, child.wait()).await {
        return status;
    }
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
        // Fails only for a process that has just ended.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    match timeout(PATIENCE, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            child.start_kill()?;
            child.wait().await
        }
    }
}
