//! The control socket: what may be done to a running daemon, by whom the file system lets in.
//!
//! HTTP/1.1 over a Unix socket: `GET /counters`, `POST /counters/reset`, `POST /tools` and `POST /tools/accept`; `policyd counters`
//! and `policyd tools` speak it, and so does `curl --unix-socket`. Whoever may write to the socket may do everything: it belongs to root and the group `policyd`,
//! with mode 0660. Each change is recorded in the audit log before it happens, with who asked for it. Should it then fail all the
//! same, another record says so (`counters.reset-failed`, `tools.accept-failed`).

use std::convert::Infallible;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, sockopt};
use nix::unistd::{Gid, Group, chown};
use serde::Deserialize;
use tokio::net::unix::UCred;
use tokio::sync::watch;

use super::{Error, accept_all, converse, respond};
use crate::audit::{self, Count, Log};
use crate::policy::Refused;
use crate::state::{Acceptance, Clock, Definitions, Memory, Selector, Unacceptable};

/// Connections at once; more are closed unanswered.
const CONNECTIONS: usize = 16;
/// Bytes of a request's body.
const BODY: usize = 16 * 1024;
/// Who may use it besides root.
const GROUP: &str = "policyd";

/// What can be looked at and changed.
#[derive(Clone, Debug)]
pub struct Controlled {
    /// The limits' counters.
    pub counters: Arc<Memory>,
    /// What they go by.
    pub clock: Arc<Clock>,
    /// What servers declare of their tools.
    pub definitions: Definitions,
    /// Where changes are recorded.
    pub audit: Arc<Log>,
}

/// The running socket. Dropped: it is removed, requests that run are answered, then the thread ends.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Listens at `path` and serves from then on. A socket that nobody answers at any more is replaced.
    ///
    /// # Errors
    ///
    /// [`Error::Socket`] and [`Error::Start`].
    pub fn start(path: &Path, controlled: Controlled) -> Result<Control, Error> {
        let group = Group::from_name(GROUP).ok().flatten().map_or(Gid::from_raw(0), |group| group.gid);
        let key = "admin.socket";
        let listener =
            listen(path, group, 0o660).map_err(|cause| Error::Socket { path: path.to_owned(), key, cause })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::UnixListener::from_std(listener).map_err(Error::Start)?
        };
        let (stop, stopped) = watch::channel(false);
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || runtime.block_on(serve(listener, controlled, stopped)))
            .map_err(Error::Start)?;
        Ok(Control { path: path.to_owned(), stop, thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Nobody is led to a socket that does not answer.
        let _ = fs::remove_file(&self.path);
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // Only fails if the thread panicked, and then there is nothing left to wait for.
            let _ = thread.join();
        }
    }
}

/// Listens at `path`, as a socket of `group` with this mode. A socket that nobody answers at any more is replaced.
pub(crate) fn listen(path: &Path, group: Gid, mode: u32) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(io::Error::other("something else lies there")),
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(io::Error::other("another daemon answers there")),
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {
            if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
                DirBuilder::new().mode(0o755).create(folder)?;
                fs::set_permissions(folder, Permissions::from_mode(0o755))?;
            }
        }
    }
    let socket = bind(path, group, mode)?;
    socket::listen(&socket, Backlog::MAXCONN)?;
    let listener = UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A socket that has its owner and mode, and at which nobody can connect yet: what the umask leaves it with while it has
/// not gives nobody anything.
fn bind(path: &Path, group: Gid, mode: u32) -> io::Result<OwnedFd> {
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // What is accepted inherits it: nothing can be sent whose sender is not known, however early.
    socket::setsockopt(&socket, sockopt::PassCred, &true)?;
    socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    // Where this is not permitted the socket is the daemon's own user's.
    let _ = chown(path, None, Some(group));
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(socket)
}

async fn serve(listener: tokio::net::UnixListener, controlled: Controlled, stopped: watch::Receiver<bool>) {
    let accept = async move || listener.accept().await.map(|(stream, _)| stream);
    accept_all("control", CONNECTIONS, accept, stopped, |stream| {
        let controlled = controlled.clone();
        async move {
            // Who cannot be told is not answered.
            let Ok(who) = stream.peer_cred() else { return };
            let service = service_fn(|request| {
                let controlled = &controlled;
                async move { Ok::<_, Infallible>(answer(request, who, controlled).await) }
            });
            converse(stream, service).await;
        }
    })
    .await;
}

/// Why something was not done.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    NotFound,
    Method(&'static str),
    Selector(String),
    /// What was to be accepted is not what was looked at.
    Another(String),
    /// The store.
    State,
    /// The audit log.
    Audit,
}

impl From<Refused> for Failure {
    fn from(_: Refused) -> Failure {
        Failure::State
    }
}

impl From<Unacceptable> for Failure {
    fn from(why: Unacceptable) -> Failure {
        match why {
            Unacceptable::Senseless => Failure::Selector(why.to_string()),
            Unacceptable::NoSuchTool | Unacceptable::Another { .. } => Failure::Another(why.to_string()),
        }
    }
}

async fn answer(request: Request<Incoming>, who: UCred, controlled: &Controlled) -> Response<Full<Bytes>> {
    let done = match (request.method(), request.uri().path()) {
        (&Method::GET, "/counters") => list(controlled),
        (&Method::POST, path @ ("/counters/reset" | "/tools" | "/tools/accept")) => {
            let path = path.to_owned();
            match (Limited::new(request.into_body(), BODY).collect().await, &*path) {
                (Err(error), _) => Err(Failure::Selector(error.to_string())),
                (Ok(body), "/counters/reset") => reset(&body.to_bytes(), who, controlled),
                (Ok(body), "/tools") => tools(&body.to_bytes(), controlled),
                (Ok(body), _) => accept(&body.to_bytes(), who, controlled),
            }
        }
        (_, "/counters") => Err(Failure::Method("GET")),
        (_, "/counters/reset" | "/tools" | "/tools/accept") => Err(Failure::Method("POST")),
        _ => Err(Failure::NotFound),
    };
    let (status, json) = match done {
        Ok(json) => (StatusCode::OK, json),
        Err(failure) => {
            let (status, error) = match failure {
                Failure::NotFound => {
                    let there = "not found; there are /counters, /counters/reset, /tools and /tools/accept";
                    (StatusCode::NOT_FOUND, there.to_owned())
                }
                Failure::Method(method) => (StatusCode::METHOD_NOT_ALLOWED, format!("only {method}")),
                Failure::Selector(why) => (StatusCode::BAD_REQUEST, why),
                Failure::Another(why) => (StatusCode::CONFLICT, why),
                Failure::State => {
                    (StatusCode::SERVICE_UNAVAILABLE, "the store fails; /readyz and the log say why".to_owned())
                }
                Failure::Audit => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the audit log cannot be written, and nothing is changed without a record".to_owned(),
                ),
            };
            (status, serde_json::json!({ "error": error }))
        }
    };
    respond(status, "application/json", format!("{json:#}\n").into())
}

fn list(controlled: &Controlled) -> Result<serde_json::Value, Failure> {
    let counters = controlled.counters.list(&Selector::default(), controlled.clock.now())?;
    Ok(serde_json::json!({ "counters": counters }))
}

fn reset(body: &[u8], who: UCred, controlled: &Controlled) -> Result<serde_json::Value, Failure> {
    let selector: Selector = serde_json::from_slice(body).map_err(|error| Failure::Selector(error.to_string()))?;
    if selector.is_senseless() {
        return Err(Failure::Selector("say which counters: `all`, or one part or more of what they are".to_owned()));
    }
    let text = serde_json::to_vec(&selector).map_err(|_| Failure::Audit)?;
    let record = |action, counters| record(controlled, who, action, &text, Count::Counters(counters));
    let mut recorded = None;
    let done: Result<usize, Failure> = controlled.counters.reset(&selector, |counters| {
        record("counters.reset", counters)?;
        recorded = Some(counters);
        Ok(())
    });
    if let (Err(_), Some(counters)) = (&done, recorded) {
        // The record says what did not come to be. Where this cannot be written either, the answer says so.
        record("counters.reset-failed", counters)?;
    }
    let count = done?;
    tracing::info!(uid = who.uid(), pid = who.pid(), ?selector, counters = count, "counters reset");
    Ok(serde_json::json!({ "reset": count }))
}

/// Which tools are to be shown.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    server: Option<String>,
    tool: Option<String>,
}

fn tools(body: &[u8], controlled: &Controlled) -> Result<serde_json::Value, Failure> {
    let which: Which = serde_json::from_slice(body).map_err(|error| Failure::Selector(error.to_string()))?;
    let tools = controlled.definitions.shown(which.server.as_deref(), which.tool.as_deref())?;
    serde_json::to_value(tools).map_err(|error| Failure::Selector(error.to_string()))
}

fn accept(body: &[u8], who: UCred, controlled: &Controlled) -> Result<serde_json::Value, Failure> {
    let which: Acceptance = serde_json::from_slice(body).map_err(|error| Failure::Selector(error.to_string()))?;
    let text = serde_json::to_vec(&which).map_err(|_| Failure::Audit)?;
    let record = |action, tools| record(controlled, who, action, &text, Count::Tools(tools));
    let mut recorded = None;
    let done: Result<_, Failure> = controlled.definitions.accept(&which, |tools| {
        record("tools.accept", tools)?;
        recorded = Some(tools);
        Ok(())
    });
    if let (Err(_), Some(tools)) = (&done, recorded) {
        // As for counters.
        record("tools.accept-failed", tools)?;
    }
    let accepted = done?;
    tracing::info!(uid = who.uid(), pid = who.pid(), tools = accepted.len(), "tools accepted");
    Ok(serde_json::json!({ "accepted": accepted }))
}

/// Records what somebody is about to change.
fn record(
    controlled: &Controlled,
    who: UCred,
    action: &'static str,
    selector: &[u8],
    count: Count,
) -> Result<(), Failure> {
    let (uid, pid) = (who.uid(), who.pid());
    let admin = audit::Admin { at: SystemTime::now(), action, selector, count, uid, pid };
    controlled.audit.writer().admin(&admin).map_err(|audit::Unavailable| Failure::Audit)
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::{Read, Write};

    use prometheus::Registry;
    use rusqlite::Connection;
    use rust_decimal::Decimal;

    use super::*;
    use crate::config;
    use crate::policy::{CounterKey, Counters, ScopeKey, Want, Window};
    use crate::state::{self, Bounds, Keeper, Store};
    use crate::telemetry::Telemetry;

    fn start(folder: &Path, log: &str) -> (Control, Controlled) {
        let telemetry = Telemetry::new(Registry::new(), None).unwrap();
        let audit = config::Audit { path: Some(log.into()), arguments: false };
        let audit = Log::open(&audit, &audit::Key::ephemeral().unwrap(), &telemetry).unwrap();
        let (definitions, clock) = (Definitions::default(), Arc::default());
        let controlled = Controlled { counters: Arc::default(), clock, definitions, audit };
        use_two(&controlled);
        (Control::start(&folder.join("control.sock"), controlled.clone()).unwrap(), controlled)
    }

    fn use_two(controlled: &Controlled) {
        let counter = CounterKey { scope: ScopeKey::Grant { grant: "anna", server: "fax" }, name: "calls", own: false };
        let window = Window::Rolling(3_600_000_000_000);
        let want = Want { counter, window, windows: &[], max: Decimal::TEN, amount: Decimal::TWO, used: Decimal::ZERO };
        drop(controlled.counters.reserve(&mut [want], controlled.clock.now()).unwrap());
    }

    fn ask(control: &Control, request: &str, body: &str) -> String {
        let mut stream = UnixStream::connect(&control.path).unwrap();
        let length = body.len();
        write!(stream, "{request} HTTP/1.1\r\nhost: policyd\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    #[test]
    fn counters_are_listed_and_reset_with_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.jsonl");
        let (control, controlled) = start(folder.path(), log.to_str().unwrap());
        let listed = ask(&control, "GET /counters", "");
        assert!(listed.starts_with("HTTP/1.1 200 ") && listed.contains(r#""used": "2""#), "{listed}");
        let answer = ask(&control, "POST /counters/reset", r#"{"grant": "anna"}"#);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""reset": 1"#), "{answer}");
        assert!(ask(&control, "GET /counters", "").contains(r#""used": "0""#));
        drop(controlled);
        let record: serde_json::Value = serde_json::from_str(&fs::read_to_string(log).unwrap()).unwrap();
        assert_eq!((&record["record"], &record["action"]), (&"admin".into(), &"counters.reset".into()));
        assert_eq!((&record["selector"]["grant"], &record["counters"]), (&"anna".into(), &1.into()));
        assert_eq!(record["uid"], nix::unistd::getuid().as_raw());
        assert_eq!(record["pid"], std::process::id());
        for (request, body, status) in [
            ("POST /counters/reset", "{}", "400"),
            ("POST /counters/reset", r#"{"grnat": "anna"}"#, "400"),
            ("GET /counters/reset", "", "405"),
            ("POST /counters", "", "405"),
            ("GET /metrics", "", "404"),
        ] {
            let answer = ask(&control, request, body);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        }
    }

    #[test]
    fn without_a_record_nothing_is_reset() {
        let folder = tempfile::tempdir().unwrap();
        let (control, _controlled) = start(folder.path(), "/dev/full");
        let answer = ask(&control, "POST /counters/reset", r#"{"all": true}"#);
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("audit log"), "{answer}");
        assert!(ask(&control, "GET /counters", "").contains(r#""used": "2""#));
    }

    /// The server `fax` lists the tool `send`.
    fn list(controlled: &Controlled, description: &str) {
        let text = format!(r#"{{"description":"{description}"}}"#);
        let mut parser = crate::mcp::json::Parser::default();
        let tools = [("send".to_owned(), parser.parse(text.as_bytes()).unwrap())];
        let page = state::Page { server: "fax", tools: &tools, is_last: true, now: 0 };
        let Ok(()) = controlled.definitions.note::<Infallible>(&page, |_| Ok(()));
    }

    #[test]
    fn tools_are_shown_and_accepted_with_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.jsonl");
        let (control, controlled) = start(folder.path(), log.to_str().unwrap());
        list(&controlled, "sends");
        list(&controlled, "sends, and reads");
        let shown = ask(&control, "POST /tools", r#"{"server": "fax"}"#);
        assert!(shown.starts_with("HTTP/1.1 200 ") && shown.contains(r#""state": "changed""#), "{shown}");
        for (body, status) in [
            ("{}", "400"),
            (r#"{"server": "fax", "tool": "send", "hash": "00"}"#, "400"),
            (r#"{"server": "fax", "tool": "send", "hash": "0000000000000000"}"#, "409"),
            (r#"{"server": "fax", "tool": "other"}"#, "409"),
            (r#"{"server": "fax", "tool": "send"}"#, "200"),
        ] {
            let answer = ask(&control, "POST /tools/accept", body);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{body}: {answer}");
        }
        assert!(ask(&control, "POST /tools", "{}").contains(r#""state": "accepted""#));
        assert!(ask(&control, "GET /tools", "").starts_with("HTTP/1.1 405 "));
        drop(controlled);
        let record: serde_json::Value = serde_json::from_str(&fs::read_to_string(log).unwrap()).unwrap();
        assert_eq!((&record["action"], &record["tools"]), (&"tools.accept".into(), &1.into()));
        assert_eq!(record["selector"], serde_json::json!({ "server": "fax", "tool": "send" }));
    }

    #[test]
    fn without_a_record_nothing_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let (control, controlled) = start(folder.path(), "/dev/full");
        list(&controlled, "sends");
        list(&controlled, "sends, and reads");
        let answer = ask(&control, "POST /tools/accept", r#"{"all": true}"#);
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("audit log"), "{answer}");
        assert!(ask(&control, "POST /tools", "{}").contains(r#""state": "changed""#));
    }

    /// A store whose blocks cannot be taken out: SQLite says so at the commit.
    #[test]
    fn a_reset_that_fails_behind_its_record_has_another() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.jsonl");
        let telemetry = Telemetry::new(Registry::new(), None).unwrap();
        let key = audit::Key::ephemeral().unwrap();
        let config = config::Audit { path: Some(log.to_str().unwrap().into()), arguments: false };
        let audit = Log::open(&config, &key, &telemetry).unwrap();
        let counters = Arc::new(Memory::stored(Bounds::default(), Store::new(folder.path(), &key, &telemetry)));
        let definitions = Definitions::beside(&counters);
        let controlled = Controlled { counters, clock: Arc::default(), definitions, audit };
        let keeper = Keeper::start(Arc::clone(&controlled.counters), Arc::clone(&controlled.clock)).unwrap();
        use_two(&controlled);
        let other = Connection::open(folder.path().join(state::FILE)).unwrap();
        other
            .execute_batch(
                "CREATE TABLE needs (counter, number,
                     FOREIGN KEY (counter, number) REFERENCES block DEFERRABLE INITIALLY DEFERRED);
                 INSERT INTO needs SELECT counter, number FROM block;",
            )
            .unwrap();
        drop(other);
        let control = Control::start(&folder.path().join("control.sock"), controlled.clone()).unwrap();
        let answer = ask(&control, "POST /counters/reset", r#"{"all": true}"#);
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("store fails"), "{answer}");
        assert!(ask(&control, "GET /counters", "").contains(r#""used": "2""#));
        drop((control, keeper, controlled));
        let records = fs::read_to_string(log).unwrap();
        let records = records.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let told: Vec<_> = records.map(|record| (record["action"].clone(), record["counters"].clone())).collect();
        assert_eq!(told, [("counters.reset".into(), 1.into()), ("counters.reset-failed".into(), 1.into())]);
    }

    #[test]
    fn the_socket_has_its_mode_before_anybody_can_connect() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o660, 0o666] {
            let path = folder.path().join(format!("{mode:o}.sock"));
            let socket = bind(&path, Gid::from_raw(0), mode).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            socket::listen(&socket, Backlog::MAXCONN).unwrap();
            UnixStream::connect(&path).unwrap();
        }
    }

    #[test]
    fn the_socket_is_the_groups_and_a_dead_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind");
        let (control, controlled) = start(folder.path(), "/dev/null");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let error = Control::start(&path, controlled.clone()).unwrap_err().to_string();
        assert!(error.contains("another daemon") && error.contains("admin.socket"), "{error}");
        drop(control);
        assert!(!path.exists());
        fs::write(&path, "mine").unwrap();
        assert!(Control::start(&path, controlled).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
