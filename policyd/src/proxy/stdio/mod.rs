//! A session with a server that is a command: newline-delimited messages on its stdin and stdout.
//!
//! Each line of the client is vetted, decided and recorded as a request's body is, and only what its permit holds is written
//! to the server. Each line of the server that is a message goes through the same [`Messages`] as a response's; what is none
//! is not passed on. Both directions run side by side on one worker, and neither is read faster than the other side takes
//! what it is sent.

pub mod handover;
mod lines;
mod pending;
mod sink;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Notify, watch};

pub use self::lines::{Line, Lines};
use self::pending::{Pending, Waiting, answered};
pub use self::sink::{NotASocket, Sink, Source, socket};
use super::admission::{Held, Place};
use super::agent::Agent;
use super::judge::{self, Judged};
use super::messages::{Messages, Reading, must_read};
use super::requests::Exchange;
use super::respond::{Asked, INTERNAL_ERROR, Refusal};
use super::worker::{Phase, Worker};
use crate::capture::Origin;
use crate::capture::identity::Identity;
use crate::config::Server;
use crate::mcp::json::Value;
use crate::mcp::requests::Left;
use crate::mcp::{self, Cause, Id, Malformed, Version, batch, lists, reply, sniff};
use crate::policy::{Instead, Permit};
use crate::telemetry::Route;
use crate::telemetry::events::Discarded;

/// Bytes that are read at once.
const READ: usize = 64 * 1024;
/// What a command asked that is remembered until it is answered.
const QUESTIONS: usize = 256;

/// A session, not yet registered with a runtime.
pub struct Session {
    /// The server that the client is told it talks to.
    pub server: Arc<Server>,
    /// Who started it.
    pub identity: Arc<Identity>,
    /// The same as the kernel has it.
    pub origin: Origin,
    /// What the client writes and what it reads.
    pub client: (UnixStream, UnixStream),
    /// The command's stdin and its stdout.
    pub command: (UnixStream, UnixStream),
    /// To `policyd stdio`, which waits for the command: the session ends when that does, and it is told of the end.
    pub control: UnixStream,
    /// Held as long as the session lives.
    pub place: Option<Place>,
}

/// A running session.
struct Relay {
    agent: Rc<Agent>,
    to_client: Sink,
    to_server: Rc<Sink>,
    messages: Messages,
    pending: RefCell<Pending>,
    /// Is told when a request was answered.
    answered: Notify,
    /// What the session speaks, once the server said so.
    version: Cell<Option<Version>>,
}

/// One direction, line by line.
struct Reader {
    source: Source,
    lines: Lines,
    buffer: Vec<u8>,
    held: Held,
    ended: bool,
}

/// What a line of the server is.
enum Said {
    /// A message, or a batch of them, with the ids that it answers.
    Message(Vec<String>),
    /// What only a lenient reader could take for a message.
    Unreadable(mcp::json::Error),
    /// What is not passed on: no client would take it for a message, or it is more than anybody reads. Cause, and why.
    Rubbish(&'static str, &'static str),
}

/// Serves one session to its end.
pub async fn run(worker: Rc<Worker>, session: Session) {
    let Session { server, identity, origin, client, command, control, place } = session;
    let _open = worker.shared.telemetry.connection(Route::Stdio);
    let agent = Agent::new(worker, server, origin, identity).with_questions(QUESTIONS).into_rc();
    if let Err(error) = serve(agent, client, command, control).await {
        tracing::debug!(%error, "a stdio session broke off");
    }
    drop(place);
}

async fn serve(
    agent: Rc<Agent>,
    client: (UnixStream, UnixStream),
    command: (UnixStream, UnixStream),
    control: UnixStream,
) -> io::Result<()> {
    let (waiter, told) = (Source::new(control.try_clone()?)?, Sink::new(control)?);
    let (from_client, to_client) = (Source::new(client.0)?, Sink::new(client.1)?);
    let (to_server, from_server) = (Rc::new(Sink::new(command.0)?), Source::new(command.1)?);
    let list = agent.worker.shared.snapshot.load().config.limits.list;
    let exchange = Exchange::over_stdio(&agent, Rc::clone(&to_server));
    let relay = Relay {
        messages: Messages::new(&agent, list, Reading::Messages, exchange),
        to_client,
        to_server,
        pending: RefCell::default(),
        answered: Notify::new(),
        version: Cell::new(None),
        agent,
    };
    let result = relay.run(from_client, from_server, waiter).await;
    relay.to_server.close().await;
    relay.to_client.close().await;
    // What was not answered is recorded before those are told who end with the session, and policyd with them.
    let worker = Rc::clone(&relay.agent.worker);
    drop(relay);
    worker.recorder.flush();
    // Whoever has gone needs no telling.
    let _ = told.send(handover::ENDED).await;
    result
}

impl Relay {
    /// Both directions, until the server has said all that it will say, the client hears no more, or `policyd stdio` has
    /// gone. A drain lets requests be answered that are under way, and no new ones in.
    async fn run(&self, from_client: Source, from_server: Source, waiter: Source) -> io::Result<()> {
        let mut client = pin!(self.hear_client(from_client));
        let mut server = pin!(self.hear_server(from_server));
        let mut draining = pin!(drain(self.agent.worker.phase.clone()));
        let mut gone = pin!(gone(waiter));
        let (mut client_speaks, mut serving) = (true, true);
        loop {
            if !serving && self.pending.borrow().is_empty() {
                return Ok(());
            }
            tokio::select! {
                ended = &mut server => return ended,
                ended = &mut client, if client_speaks && serving => {
                    client_speaks = false;
                    ended?;
                }
                () = &mut gone => return Ok(()),
                () = &mut draining, if serving => serving = false,
                () = self.answered.notified(), if !serving => {}
            }
        }
    }

    async fn hear_client(&self, source: Source) -> io::Result<()> {
        let mut reader = self.reader(source);
        while let Some(line) = reader.next(|| self.longest().0).await? {
            self.client_said(line).await?;
        }
        self.to_server.close().await;
        Ok(())
    }

    async fn hear_server(&self, source: Source) -> io::Result<()> {
        let mut reader = self.reader(source);
        while let Some(line) = reader.next(|| self.longest().1).await? {
            self.server_said(line).await?;
        }
        Ok(())
    }

    fn reader(&self, source: Source) -> Reader {
        let held = self.agent.worker.shared.admission.hold();
        Reader { source, lines: Lines::default(), buffer: vec![0; READ], held, ended: false }
    }

    /// The bounds of a client's line and of a server's.
    fn longest(&self) -> (usize, usize) {
        let snapshot = self.agent.worker.shared.snapshot.load();
        (snapshot.config.limits.body, snapshot.config.limits.event)
    }

    /// One line of the client. Fails only if the client cannot be answered.
    async fn client_said(&self, line: Line) -> io::Result<()> {
        let way = self.agent.way(&self.agent.worker.shared.snapshot.load());
        let judged = match line {
            // Without a message nothing is asked; no server does anything with it either.
            Line::Whole(line) if line.trim_ascii().is_empty() => return Ok(()),
            Line::Whole(line) => judge::line(&self.agent, &way, &line, self.version.get()),
            Line::TooLong { length, id } => {
                let why = Malformed { cause: Cause::LineTooLong, at: self.longest().0, id };
                judge::refuse_line(&self.agent, &way, length, Instant::now(), why)
            }
        };
        match judged {
            Judged::Forward { permit, call, reading, asked } => self.forward(permit, call, reading, *asked).await,
            Judged::Refuse(refusal) => self.refuse(refusal).await,
        }
    }

    /// Writes what was allowed to the server.
    async fn forward(
        &self,
        permit: Permit,
        mut call: crate::audit::Call,
        reading: Reading,
        asked: Asked,
    ) -> io::Result<()> {
        let (bytes, reservation) = permit.redeem();
        call.outcome.error = Some("server-gone");
        let id = asked.ids().next().map(|id| id.0.to_owned());
        let mut call = match id.clone() {
            // Before it is written: the answer may be here sooner than this task goes on.
            Some(id) => {
                let (opens, subject) = (asked.opens_session, asked.subject.unwrap_or_default());
                self.pending.borrow_mut().add(Waiting { call, reading, opens, subject, id });
                None
            }
            None => Some(call),
        };
        match self.to_server.send(&bytes).await {
            Ok(()) => {
                if let Some(call) = &mut call {
                    (call.outcome.ended, call.outcome.error) = (true, None);
                }
                Ok(())
            }
            Err(_) => {
                // A server that has not got all of a line cannot have done what it asks for.
                let waiting = id.as_ref().and_then(|id| self.pending.borrow_mut().take(id));
                if let Some(mut call) = call.or(waiting.map(|waiting| waiting.call)) {
                    call.outcome.returned = !reservation.is_empty();
                }
                reservation.give_back();
                match id {
                    Some(id) => self.fail(&id, "the server has closed its stdin").await,
                    None => Ok(()),
                }
            }
        }
    }

    /// Tells the client that its message was refused, where it can be told.
    async fn refuse(&self, refusal: Refusal) -> io::Result<()> {
        let Refusal { denial, asked, tool, mut call, .. } = refusal;
        let told = match denial.instead(asked.ids().next(), tool.as_deref(), asked.version) {
            Instead::Message(message) => {
                self.to_client.send(&message).await?;
                message.len()
            }
            // There is no status on stdio, and an error with the id `null` hangs or ends clients.
            Instead::Text(_) | Instead::Nothing => 0,
        };
        if let Some(call) = &mut call {
            call.outcome.ended = true;
            call.outcome.bytes_out = told as u64;
        }
        Ok(())
    }

    /// One line of the server. Fails only if the client does not take it.
    async fn server_said(&self, line: Line) -> io::Result<()> {
        let line = match line {
            Line::Whole(line) if line.trim_ascii().is_empty() => return Ok(()),
            Line::Whole(line) => line,
            Line::TooLong { length, id } => {
                self.discard("line-too-long", length, "it is longer than `limits.event`");
                return self.end_unread(id).await;
            }
        };
        let said = self.look(&line);
        let answered = match &said {
            Said::Message(answered) => answered.clone(),
            Said::Unreadable(_) => mcp::answered(&line).into_iter().collect(),
            Said::Rubbish(cause, why) => {
                self.discard(cause, line.len(), why);
                return Ok(());
            }
        };
        let mut edited = None;
        if self.is_read(&answered) {
            match self.read(&line, said, &answered) {
                Ok(Left::All) => {}
                Ok(Left::Some(text)) => edited = Some(text),
                Ok(Left::None) => return Ok(()),
                Err(error) => {
                    self.discard("unreadable", line.len(), &error);
                    return self.end_unread(mcp::answered(&line)).await;
                }
            }
        } else if matches!(said, Said::Message(_)) {
            self.messages.note_line(&line);
        }
        let bytes = edited.as_ref().map_or(&line[..], String::as_bytes);
        if self.opens(&answered) {
            self.learn_version(bytes);
        }
        let sent = self.to_client.send(bytes).await;
        for id in &answered {
            if let Some(mut waiting) = self.pending.borrow_mut().take(id) {
                waiting.call.outcome.bytes_out = bytes.len() as u64;
                (waiting.call.outcome.ended, waiting.call.outcome.error) = match sent {
                    Ok(()) => (true, None),
                    Err(_) => (false, Some("client-gone")),
                };
            }
        }
        self.answered.notify_one();
        sent
    }

    /// What the client may see of a line that has to be read.
    fn read(&self, line: &Bytes, said: Said, answered: &[String]) -> Result<Left, String> {
        let inner = line.strip_suffix(b"\r").unwrap_or(line);
        let why = match said {
            // As with the client's lines.
            _ if inner.contains(&b'\r') => Cause::CarriageReturn.to_string(),
            Said::Unreadable(error) => error.to_string(),
            Said::Message(_) | Said::Rubbish(..) => {
                let subject = match answered {
                    [id] => self.pending.borrow().subject(id),
                    // Those that know batches ask for nothing in results.
                    _ => None,
                };
                let subject = subject.unwrap_or_default();
                return self.messages.read_line(line, &subject).map_err(|error| error.to_string());
            }
        };
        if self.messages.lets_pass(line.len(), &why) { Ok(Left::All) } else { Err(why) }
    }

    /// Tells what a line of the server is.
    fn look(&self, line: &Bytes) -> Said {
        let mut parser = self.agent.worker.parser.borrow_mut();
        let no_message = "it is no JSON-RPC message";
        match parser.parse(line) {
            // Each of them would be work, and a line can hold millions.
            Ok(text) if text.items().nth(batch::MAX).is_some() => {
                Said::Rubbish(Cause::LongBatch.word(), "it is a batch of more than 100 messages")
            }
            Ok(text) if is_message(text) => Said::Message(answered(text)),
            Ok(_) => Said::Rubbish("not-json-rpc", no_message),
            Err(error) if lists::may_be_message(line) => Said::Unreadable(error),
            Err(_) => Said::Rubbish("not-json", no_message),
        }
    }

    /// Whether a line has to be read, as a response has: the policy in force looks for something in all of them, or it
    /// answers a request whose answer is.
    fn is_read(&self, answered: &[String]) -> bool {
        let way = self.agent.way(&self.agent.worker.shared.snapshot.load());
        way.grant.as_ref().is_none_or(|grant| must_read(&grant.policy))
            || answered.iter().any(|id| self.pending.borrow().is_read(id))
    }

    fn opens(&self, answered: &[String]) -> bool {
        answered.iter().any(|id| self.pending.borrow().opens(id))
    }

    fn learn_version(&self, text: &[u8]) {
        let mut parser = self.agent.worker.parser.borrow_mut();
        self.version.set(mcp::agreed_version(&mut parser, text));
    }

    /// Ends the request `id`, whose answer is not passed on: the client must not wait for it.
    async fn end_unread(&self, id: Option<String>) -> io::Result<()> {
        let Some(mut waiting) = id.and_then(|id| self.pending.borrow_mut().take(&id)) else { return Ok(()) };
        (waiting.call.outcome.ended, waiting.call.outcome.error) = (true, Some("response-unreadable"));
        let id = waiting.id.clone();
        drop(waiting);
        self.answered.notify_one();
        self.fail(&id, "the server's answer cannot be read").await
    }

    /// Answers a request that was allowed and is not answered by its server.
    async fn fail(&self, id: &str, why: &str) -> io::Result<()> {
        self.to_client.send(&reply::error(Id(id), INTERNAL_ERROR, &format!("policyd: {why}"), None)).await
    }

    fn discard(&self, cause: &'static str, length: usize, detail: &str) {
        let server = &self.agent.server.name;
        self.agent.worker.shared.telemetry.emit(Discarded { server, cause, length, detail });
    }
}

impl Reader {
    /// The next line; `longest` says how long it may be.
    async fn next(&mut self, longest: impl Fn() -> usize) -> io::Result<Option<Line>> {
        loop {
            // Without room in all, what is short still gets through.
            let room = self.held.set(self.lines.kept());
            let line = self.lines.next(if room { longest() } else { longest().min(READ) });
            self.held.set(self.lines.kept());
            if line.is_some() {
                return Ok(line);
            }
            if self.ended {
                return Ok(self.lines.finish());
            }
            let read = self.source.read(&mut self.buffer).await?;
            self.lines.push(&self.buffer[..read]);
            self.ended = read == 0;
        }
    }
}

/// Whether a client could take a JSON text for a message, or for a batch with one in it.
fn is_message(text: Value<'_>) -> bool {
    let answers = |message: Value<'_>| {
        message.get("id").is_some() && (message.get("result").is_some() || message.get("error").is_some())
    };
    sniff::is_json_rpc(text) || answers(text) || text.items().any(answers)
}

/// Waits until the other side has gone: it has nothing to say.
async fn gone(waiter: Source) {
    let mut nothing = [0; 16];
    while waiter.read(&mut nothing).await.is_ok_and(|read| read > 0) {}
}

/// Waits until the worker drains.
async fn drain(mut phase: watch::Receiver<Phase>) {
    if phase.wait_for(|phase| *phase == Phase::Drain).await.is_err() {
        // Nobody can say so any more.
        std::future::pending().await
    }
}
