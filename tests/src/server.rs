//! A real MCP server (rmcp over axum, hyper and rustls) that remembers everything that reached it.
//!
//! It stands on a thread of its own in the servers' namespace. Any tool of its list answers `NAME: done`; these do more:
//!
//! | tool | does |
//! |---|---|
//! | `echo` | answers with its arguments as JSON |
//! | `hold` | answers only after [`McpServer::release`] |
//! | `progress` | sends `steps` progress notifications, then holds |
//! | `big` | answers with `bytes` bytes of text |
//! | `fail` | answers with `isError: true` |
//!
//! Outside `/mcp` it answers every request with 200 and a line of text, and remembers it all the same.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
    PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities, ServerConfig as McpConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use rustls::ServerConfig;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_rustls::TlsAcceptor;

use crate::systems::System;
use crate::wait;
use crate::world::World;

/// A tool call that the server executed.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The tool.
    pub tool: String,
    /// Its arguments.
    pub arguments: Value,
}

/// A request that reached the server, whatever it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The HTTP method.
    pub method: String,
    /// The path and query.
    pub path: String,
    /// Whether it came by HTTP/2.
    pub h2: bool,
    /// The whole body.
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Record {
    calls: Mutex<Vec<Call>>,
    seen: Mutex<Vec<Seen>>,
}

/// How a server behaves.
#[derive(Clone)]
pub struct Options {
    /// Sessions (`Mcp-Session-Id`) for protocol versions that know them; `false` is stateless for all.
    pub sessions: bool,
    /// Plain JSON answers where SSE is not needed.
    pub json: bool,
    /// Tools on one page of `tools/list`; 0 for all.
    pub page: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { sessions: true, json: false, page: 0 }
    }
}

/// A running MCP server; stops when dropped.
pub struct McpServer {
    record: Arc<Record>,
    gate: Arc<Semaphore>,
    serving: Serving,
}

impl McpServer {
    /// `system`'s server at its host, port 443, with a certificate of the world's authority.
    pub fn start(world: &World, system: &System) -> Self {
        Self::with(world, system, Options::default())
    }

    /// As [`McpServer::start`], behaving as `options` say.
    pub fn with(world: &World, system: &System, options: Options) -> Self {
        let tls = world.authority.server(&[system.host.name]);
        Self::at(world, SocketAddr::from((system.host.v4(), 443)), Some(tls), system, options)
    }

    /// A server at any address of the servers' namespace, with or without TLS.
    pub fn at(
        world: &World,
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        system: &System,
        options: Options,
    ) -> Self {
        let record = Arc::new(Record::default());
        let gate = Arc::new(Semaphore::new(0));
        let tools: Vec<Tool> = serde_json::from_str(system.tools).expect("a list of tool definitions");
        let handler = Handler {
            name: system.name,
            tools: Arc::new(tools),
            page: options.page,
            record: Arc::clone(&record),
            gate: Arc::clone(&gate),
        };
        let router = router(handler, &options);
        let serving = Serving::start(|work| world.on_servers_side(work), address, tls, router);
        Self { record, gate, serving }
    }

    /// The tool calls executed so far.
    pub fn calls(&self) -> Vec<Call> {
        self.record.calls.lock().unwrap().clone()
    }

    /// How many calls of `tool` were executed.
    pub fn count(&self, tool: &str) -> usize {
        self.calls().iter().filter(|call| call.tool == tool).count()
    }

    /// Every request that reached the server.
    pub fn seen(&self) -> Vec<Seen> {
        self.record.seen.lock().unwrap().clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.serving.connections.load(Ordering::Relaxed)
    }

    /// Waits until `count` calls of `tool` are being executed or were.
    pub fn wait_for(&self, tool: &str, count: usize) {
        wait::until(&format!("{count} calls of {tool}"), || (self.count(tool) >= count).then_some(()));
    }

    /// Lets `count` calls of `hold` or `progress` answer.
    pub fn release(&self, count: usize) {
        self.gate.add_permits(count);
    }
}

/// An HTTP service on a thread of its own; stops when dropped.
pub struct Serving {
    connections: Arc<AtomicUsize>,
    stop: Option<watch::Sender<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Serves `router` at `address` on the thread that `side` starts, over HTTP/1.1 and HTTP/2, with or without TLS.
    ///
    /// # Panics
    /// When the address cannot be bound.
    pub fn start(
        side: impl FnOnce(Box<dyn FnOnce() + Send>) -> JoinHandle<()>,
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        router: Router,
    ) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let (stop, stopped) = watch::channel(false);
        let (ready, is_ready) = oneshot::channel();
        let thread = side(Box::new(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind(address).await.unwrap_or_else(|e| panic!("{address}: {e}"));
                ready.send(()).ok();
                serve(listener, tls, router, stopped, counted).await;
            });
        }));
        is_ready.blocking_recv().expect("a server that starts");
        Self { connections, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn router(handler: Handler, options: &Options) -> Router {
    let record = Arc::clone(&handler.record);
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(options.sessions)
        .with_json_response(options.json)
        .disable_allowed_hosts();
    let sessions = Arc::new(LocalSessionManager::default());
    let mcp = StreamableHttpService::new(move || Ok(handler.clone()), sessions, config);
    Router::new()
        .route_service("/mcp", mcp)
        .fallback(|| async { "an ordinary page\n" })
        .layer(from_fn_with_state(record, remember))
}

async fn remember(State(record): State<Arc<Record>>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let body = match to_bytes(body, 64 << 20).await {
        Ok(body) => body,
        Err(error) => return Response::new(Body::from(format!("the body broke off: {error}"))),
    };
    record.seen.lock().unwrap().push(Seen {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        h2: head.version == http::Version::HTTP_2,
        body: body.to_vec(),
    });
    next.run(Request::from_parts(head, Body::from(body))).await
}

async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    mut stopped: watch::Receiver<bool>,
    connected: Arc<AtomicUsize>,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            _ = stopped.changed() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
        };
        connected.fetch_add(1, Ordering::Relaxed);
        let (acceptor, router) = (acceptor.clone(), router.clone());
        connections.spawn(async move {
            // A client that breaks off its handshake is nothing that the server could help.
            match acceptor {
                None => speak(stream, router).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        speak(stream, router).await;
                    }
                }
            }
        });
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let service = TowerToHyperService::new(router);
    // Connections end as their clients like: an error here is theirs.
    auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
}

#[derive(Clone)]
struct Handler {
    name: &'static str,
    tools: Arc<Vec<Tool>>,
    page: usize,
    record: Arc<Record>,
    gate: Arc<Semaphore>,
}

impl Handler {
    async fn hold(&self) {
        self.gate.acquire().await.expect("a gate that is never closed").forget();
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> McpConfig {
        McpConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new(self.name, "1.0.0"))
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let from = request.and_then(|params| params.cursor).map_or(Ok(0), |cursor| cursor.parse());
        let from: usize = from.map_err(|_| ErrorData::invalid_params("unknown cursor", None))?;
        let until = if self.page == 0 { self.tools.len() } else { self.tools.len().min(from + self.page) };
        let mut result = ListToolsResult::with_all_items(self.tools.get(from..until).unwrap_or_default().to_vec());
        result.next_cursor = (until < self.tools.len()).then(|| until.to_string());
        Ok(result)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let tool = request.name.to_string();
        if !self.tools.iter().any(|known| known.name == tool) {
            return Err(ErrorData::invalid_params(format!("Unknown tool: {tool}"), None));
        }
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        self.record.calls.lock().unwrap().push(Call { tool: tool.clone(), arguments: arguments.clone() });
        let text = match tool.as_str() {
            "echo" => arguments.to_string(),
            "big" => "x".repeat(arguments["bytes"].as_u64().and_then(|n| n.try_into().ok()).unwrap_or(0)),
            "hold" => {
                self.hold().await;
                "held".to_owned()
            }
            "progress" => {
                if let Some(token) = context.meta.get_progress_token() {
                    for step in 1..=arguments["steps"].as_u64().unwrap_or(1) {
                        #[expect(clippy::cast_precision_loss, reason = "a handful of steps")]
                        let progress = ProgressNotificationParam::new(token.clone(), step as f64);
                        context.peer.notify_progress(progress).await.ok();
                    }
                }
                self.hold().await;
                "progressed".to_owned()
            }
            "fail" => return Ok(CallToolResult::error(vec![ContentBlock::text("failed as asked")]).into()),
            _ => format!("{tool}: done"),
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}
