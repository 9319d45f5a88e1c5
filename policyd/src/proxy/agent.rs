//! One agent's inspected connection: who it is, whose server it talks to, and its way there.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use http::Response;
use hyper::body::Incoming;

use super::alpn;
use super::body::Outgoing;
use super::dial::dial;
use super::messages;
use super::pool::{Bucket, Key};
use super::streams::Stream;
use super::upstream::{self, Lease, Sender, UpstreamError};
use super::worker::{Snapshot, Worker};
use crate::capture::Origin;
use crate::capture::identity::Identity;
use crate::config::{Host, OtherPaths, Server};
use crate::mcp::pending::{Pending, Question};
use crate::policy::{Grant, Policy};
use crate::telemetry::events::UpstreamFailed;

/// How long it is remembered which protocol a server selects.
const REMEMBER_PROTOCOL: Duration = Duration::from_secs(300);

/// An inspected connection.
pub struct Agent {
    /// The worker that it lives on.
    pub worker: Rc<Worker>,
    /// The server that it was routed to, as it was configured then; what a reload may change of it is in [`Way`].
    pub server: Arc<Server>,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// The key of scope `session` where no session is known: the process.
    pub process: String,
    /// What was asked, where that is this agent's alone.
    questions: Option<RefCell<Pending>>,
    origin: Origin,
    h2: bool,
    way: RefCell<Option<Way>>,
}

/// The grant in force for this agent, the server's settings, and the upstream connections that it may use; looked up once
/// per generation.
#[derive(Clone)]
pub struct Way {
    generation: u64,
    /// The server as it is configured now. One that is no longer configured, or is another host now, is closed.
    pub server: Arc<Server>,
    /// `None`: no grant, everything is refused.
    pub grant: Option<Arc<Grant>>,
    bucket: Rc<Bucket>,
}

/// Which protocol servers have selected, per server and address; a worker's own.
#[derive(Debug, Default)]
pub struct Protocols(RefCell<HashMap<(String, SocketAddr), (bool, Instant)>>);

impl Protocols {
    /// Forgets what is too old to be relied on: agents choose the addresses.
    pub fn sweep(&self) {
        self.0.borrow_mut().retain(|_, (_, at)| at.elapsed() < REMEMBER_PROTOCOL);
    }
}

impl Agent {
    /// A connection that speaks HTTP/1.1 until [`Agent::with_h2`] says otherwise.
    pub fn new(worker: Rc<Worker>, server: Arc<Server>, origin: Origin, identity: Arc<Identity>) -> Self {
        let process = format!("process {} {}", identity.pid, identity.started);
        Self { worker, server, identity, process, questions: None, origin, h2: false, way: RefCell::new(None) }
    }

    /// Sets whether TLS selected HTTP/2.
    pub fn with_h2(mut self, h2: bool) -> Self {
        self.h2 = h2;
        self.way = RefCell::new(None);
        self
    }

    /// For one session with a command: at most `most` questions wait, of that command and to this agent only. Other sessions
    /// of the same process have servers of their own, which can neither be answered here nor push them out.
    pub fn with_questions(mut self, most: usize) -> Self {
        self.questions = Some(RefCell::new(Pending::new(most)));
        self
    }

    /// Ready to be shared by the exchanges of the connection.
    pub fn into_rc(self) -> Rc<Self> {
        Rc::new(self)
    }

    /// The grant in force now and the way upstream.
    pub fn way(&self, snapshot: &Snapshot) -> Way {
        let mut kept = self.way.borrow_mut();
        if let Some(way) = kept.as_ref().filter(|way| way.generation == snapshot.generation) {
            return way.clone();
        }
        let mut servers = snapshot.config.servers.iter().chain(&snapshot.config.commands);
        let same = |server: &&Arc<Server>| {
            (&server.name, server.tls, &server.host, server.port)
                == (&self.server.name, self.server.tls, &self.server.host, self.server.port)
        };
        let (server, grant) = match servers.find(same) {
            Some(server) => (Arc::clone(server), snapshot.grant(&server.name, &self.identity).cloned()),
            None => (Arc::new(Server { other_paths: OtherPaths::Refuse, ..Server::clone(&self.server) }), None),
        };
        let bucket = self.bucket(&server, grant.as_deref(), self.h2);
        let way = Way { generation: snapshot.generation, server, grant, bucket };
        *kept = Some(way.clone());
        way
    }

    /// Notes what the server asks, before the agent sees it.
    pub fn asked(&self, question: &Question) {
        match &self.questions {
            Some(own) => own.borrow_mut().asked(&self.server.name, question),
            None => self.worker.shared.asked(&self.server.name, question),
        }
    }

    /// Whether the server asked what the agent answers.
    pub fn answered(&self, question: &Question) -> bool {
        match &self.questions {
            Some(own) => own.borrow_mut().answered(&self.server.name, question),
            None => self.worker.shared.answered(&self.server.name, question),
        }
    }

    /// Whether the policy in force only observes: then what cannot be read of a response is let pass.
    pub fn is_observed(&self) -> bool {
        self.way(&self.worker.shared.snapshot.load()).grant.is_some_and(|grant| grant.policy.observes())
    }

    /// Whether the grant called `grant` is still this agent's, with a policy of which `suits` holds.
    fn still_granted(&self, grant: &str, suits: impl FnOnce(&Policy) -> bool) -> bool {
        let snapshot = self.worker.shared.snapshot.load();
        snapshot.grant(&self.server.name, &self.identity).is_some_and(|now| now.name == grant && suits(&now.policy))
    }

    /// Whether the connection, on both sides, speaks HTTP/2.
    pub fn speaks_h2(&self) -> bool {
        self.h2
    }

    /// Registers the response stream of a request that went `way`; it ends when that grant is removed. `answers`: of a call.
    /// `unread`: it goes through unread, so that it ends too when a new policy has something to look for: whatever it answers,
    /// the server can send what it likes on it, and for as long as it likes.
    pub fn stream(self: &Rc<Self>, way: &Way, answers: bool, unread: bool) -> Rc<Stream> {
        let agent = Rc::clone(self);
        let grant = way.grant.as_ref().map(|grant| grant.name.clone());
        let stream = self.worker.streams.open(answers, move || match &grant {
            Some(grant) => agent.still_granted(grant, |policy| !unread || !messages::must_read(policy)),
            // A stream on a path that needs no grant.
            None => true,
        });
        // After a reload between request and response nobody would ask about it until the next one.
        if self.worker.shared.snapshot.load().generation != way.generation {
            stream.revise();
        }
        stream
    }

    /// Sends a request upstream and waits for the response's head; failures are logged and counted.
    pub async fn send(
        &self,
        snapshot: &Snapshot,
        way: &Way,
        request: Request<Outgoing>,
    ) -> Result<(Response<Incoming>, Lease), UpstreamError> {
        let within = snapshot.config.timeouts.response;
        // Boxed: rare and large, and every connection would have to hold the space for it.
        let open = || Box::pin(async { self.open(snapshot, &way.server, self.h2).await.map(|(sender, _)| sender) });
        let result = upstream::send(&way.bucket, self.h2, request, open, within).await;
        if let Err(error) = &result {
            self.tell(error);
        }
        result
    }

    /// Chooses the protocol that the agent is offered: the one that the server selects. `None`: neither side named one.
    ///
    /// Only an agent that could do either makes policyd ask the server first; what it selected is remembered for a while.
    pub async fn negotiate(&self, offered: &[Vec<u8>]) -> Option<&'static [u8]> {
        let (h2, http1) = alpn::choices(offered);
        match (h2, http1) {
            (true, _) if self.selects_h2(http1).await => Some(alpn::H2),
            // Naming HTTP/2 for a server that does not speak it would promise what no request could keep.
            (_, true) => Some(alpn::HTTP1),
            (_, false) => None,
        }
    }

    async fn selects_h2(&self, or_http1: bool) -> bool {
        let key = (self.server.name.clone(), self.address(&self.server));
        let known = self.worker.protocols.0.borrow().get(&key).copied();
        if let Some((h2, _)) = known.filter(|(_, at)| at.elapsed() < REMEMBER_PROTOCOL) {
            return h2;
        }
        let snapshot = self.worker.shared.snapshot.load_full();
        match self.open(&snapshot, &self.server, true).await {
            Ok((sender, h2)) => {
                self.worker.protocols.0.borrow_mut().insert(key, (h2, Instant::now()));
                self.keep(&snapshot, sender, h2);
                h2
            }
            // Told again, to the agent, when it sends its first request.
            Err(error) => {
                self.tell(&error);
                !or_http1
            }
        }
    }

    /// Puts a connection that was opened ahead where the first request will look for it.
    fn keep(&self, snapshot: &Snapshot, sender: Sender, h2: bool) {
        let grant = snapshot.grant(&self.server.name, &self.identity);
        let bucket = self.bucket(&self.server, grant.map(|grant| &**grant), h2);
        match sender {
            Sender::Http1(sender) => bucket.put(sender),
            Sender::Http2(sender) => bucket.share(sender),
        }
    }

    /// Opens a connection to the server; gives whether it speaks HTTP/2, which it is offered if `h2`.
    async fn open(&self, snapshot: &Snapshot, server: &Server, h2: bool) -> Result<(Sender, bool), UpstreamError> {
        let shared = &self.worker.shared;
        let config = &snapshot.config;
        let others = async {
            match (&server.host, server.upstream) {
                (Host::Name(name), None) => shared.names.addresses_of(name).await.unwrap_or_default(),
                _ => Vec::<IpAddr>::new(),
            }
        };
        let stream =
            dial(shared.capture.as_ref(), self.origin.uid, self.address(server), others, config.timeouts.connect)
                .await?;
        if !server.tls {
            return Ok((upstream::handshake(stream, false, &config.limits, &config.timeouts).await?, false));
        }
        let alpn: &[&[u8]] = if h2 { &[alpn::H2, alpn::HTTP1] } else { &[alpn::HTTP1] };
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = snapshot.upstream.connect(stream, &server.host, &alpn, config.timeouts.handshake).await?;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(alpn::H2);
        Ok((upstream::handshake(stream, h2, &config.limits, &config.timeouts).await?, h2))
    }

    fn bucket(&self, server: &Server, grant: Option<&Grant>, h2: bool) -> Rc<Bucket> {
        self.worker.pool.bucket(&Key {
            netns: self.origin.netns,
            address: self.address(server),
            server: server.name.clone(),
            grant: grant.map(|grant| grant.name.clone()).unwrap_or_default(),
            uid: self.origin.uid,
            h2,
        })
    }

    fn address(&self, server: &Server) -> SocketAddr {
        server.upstream.unwrap_or(self.origin.destination)
    }

    fn tell(&self, error: &UpstreamError) {
        let detail = error.to_string();
        self.worker.shared.telemetry.emit(UpstreamFailed {
            server: &self.server.name,
            kind: error.kind(),
            detail: &detail,
        });
    }
}
