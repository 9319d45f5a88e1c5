//! Asking a live server for its tools: a small MCP client over Streamable HTTP.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::authoring::tools::{self, Tool};
use crate::config::{Host, Tls, Url};
use crate::mcp::sse::Decoder;
use crate::tls::upstream::{RootsError, Upstream, UpstreamTlsError};

/// How long all of it may take.
const WITHIN: Duration = Duration::from_secs(30);
/// The most that is read of one answer, in bytes, and the most answers that are asked for.
const LARGEST: usize = 16 << 20;
const PAGES: usize = 100;
/// The revision that is offered in `initialize`, and the one that needs none.
const SESSIONS: &str = "2025-11-25";
const STATELESS: &str = "2026-07-28";
/// What ties a request to a session (Streamable HTTP, 2025-03-26 to 2025-11-25).
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// Mirrors the method (2026-07-28).
const METHOD: HeaderName = HeaderName::from_static("mcp-method");

/// Why a server's tools are not known. Lower case; the server's own words are shortened.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    #[error("its address cannot be found: {0}")]
    Resolve(std::io::Error),
    #[error("it cannot be connected to: {0}")]
    Connect(std::io::Error),
    #[error(transparent)]
    Roots(#[from] RootsError),
    #[error(transparent)]
    Tls(#[from] UpstreamTlsError),
    #[error("the connection failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("it wants credentials (HTTP {}); give them with --header 'Authorization: Bearer …'", .0.as_u16())]
    Credentials(StatusCode),
    #[error("it redirects to `{0}`; give that URL if you trust it")]
    Redirect(String),
    #[error("it answered HTTP {}; is this the URL of its MCP endpoint?", .0.as_u16())]
    Status(StatusCode),
    #[error("it refused `{0}`: {1}")]
    Refused(&'static str, String),
    #[error("its answer to `{0}` is no MCP: {1}")]
    Nonsense(&'static str, String),
    #[error("its answer is larger than {} MiB", LARGEST >> 20)]
    TooLarge,
    #[error("its list has more than {PAGES} pages")]
    TooManyPages,
    #[error("it did not answer within {} s", WITHIN.as_secs())]
    Timeout,
    #[error("no event loop can be made: {0}")]
    Runtime(std::io::Error),
}

/// The tools that the server at `url` lists for someone who sends these headers.
///
/// # Errors
///
/// [`ServerError`].
pub(super) fn tools(url: &Url, headers: &HeaderMap) -> Result<Vec<Tool>, ServerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServerError::Runtime)?;
    let tools = runtime.block_on(async {
        let client = Client { url, headers, trust: Upstream::new(&Tls { extra_roots: Vec::new() })? };
        tokio::time::timeout(WITHIN, client.tools()).await.map_err(|_| ServerError::Timeout)?
    });
    // A name that is still being looked up is waited for by nobody.
    runtime.shutdown_background();
    tools
}

struct Client<'a> {
    url: &'a Url,
    headers: &'a HeaderMap,
    trust: Upstream,
}

/// An answer: its headers, and the JSON-RPC message in it.
struct Answer {
    headers: HeaderMap,
    message: Message,
}

/// A JSON-RPC response as it is read, and as it is written.
struct Message {
    value: Value,
    text: String,
}

impl Client<'_> {
    async fn tools(&self) -> Result<Vec<Tool>, ServerError> {
        let begun = self.begin().await;
        match begun {
            Ok(session) => {
                let tools = self.pages(&session, None).await;
                if session.contains_key(SESSION) {
                    // Ends it; whether the server lets clients do so is its own affair.
                    let _ = self.exchange(Method::DELETE, &session, None).await;
                }
                tools
            }
            // A server without sessions has no `initialize`.
            Err(ServerError::Refused(..) | ServerError::Status(_)) => {
                let mut headers = HeaderMap::new();
                headers.insert(VERSION, HeaderValue::from_static(STATELESS));
                headers.insert(METHOD, HeaderValue::from_static("tools/list"));
                let meta = json!({
                    "io.modelcontextprotocol/protocolVersion": STATELESS,
                    "io.modelcontextprotocol/clientInfo": client_info(),
                    "io.modelcontextprotocol/clientCapabilities": {},
                });
                // What was refused first says more than what was refused after.
                self.pages(&headers, Some(&meta)).await.or_else(|_| begun.map(|_| Vec::new()))
            }
            Err(error) => Err(error),
        }
    }

    /// Begins a session; gives the headers that belong to it.
    async fn begin(&self) -> Result<HeaderMap, ServerError> {
        let params = json!({ "protocolVersion": SESSIONS, "capabilities": {}, "clientInfo": client_info() });
        let answer = self.request("initialize", params, &HeaderMap::new()).await?;
        let mut session = HeaderMap::new();
        if let Some(id) = answer.headers.get(SESSION) {
            session.insert(SESSION, id.clone());
        }
        let version =
            answer.message.value.pointer("/result/protocolVersion").and_then(Value::as_str).unwrap_or(SESSIONS);
        if let Ok(version) = HeaderValue::from_str(version) {
            session.insert(VERSION, version);
        }
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let response = self.exchange(Method::POST, &session, Some(&initialized)).await?;
        if !response.status().is_success() {
            return Err(status(&response));
        }
        Ok(session)
    }

    /// Every page of the list.
    async fn pages(&self, headers: &HeaderMap, meta: Option<&Value>) -> Result<Vec<Tool>, ServerError> {
        let mut tools: Vec<Tool> = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES {
            let mut params = json!({});
            if let Some(cursor) = &cursor {
                params["cursor"] = cursor.as_str().into();
            }
            if let Some(meta) = meta {
                params["_meta"] = meta.clone();
            }
            let answer = self.request("tools/list", params, headers).await?;
            let page = tools::page(&answer.message.text).map_err(|why| nonsense("tools/list", &why))?;
            tools.extend(page.tools);
            // Any string is a cursor, the empty one too.
            match page.next {
                Some(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
                _ => return Ok(tools),
            }
        }
        Err(ServerError::TooManyPages)
    }

    /// Sends a request and waits for its answer.
    async fn request(&self, method: &'static str, params: Value, headers: &HeaderMap) -> Result<Answer, ServerError> {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let response = self.exchange(Method::POST, headers, Some(&message)).await?;
        let head = response.headers().clone();
        let streams = head.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let failed = (!response.status().is_success()).then(|| status(&response));
        if let Some(error @ (ServerError::Credentials(_) | ServerError::Redirect(_))) = failed {
            return Err(error);
        }
        let read = if streams { event(response.into_body()).await } else { whole(response.into_body()).await };
        let answer = match (read, failed) {
            (Ok(Some(message)), None) => message,
            // Some servers give a refusal its own HTTP status.
            (Ok(Some(message)), Some(_)) if message.value.get("error").is_some() => message,
            (_, Some(error)) => return Err(error),
            (Ok(None), None) => return Err(nonsense(method, &"it holds no JSON-RPC response")),
            (Err(error), None) => return Err(error),
        };
        match answer.value.get("error") {
            Some(error) => Err(ServerError::Refused(method, tools::refusal(error))),
            None => Ok(Answer { headers: head, message: answer }),
        }
    }

    /// One exchange over a connection of its own.
    async fn exchange(
        &self,
        method: Method,
        headers: &HeaderMap,
        message: Option<&Value>,
    ) -> Result<Response<Incoming>, ServerError> {
        let (host, port) = (&self.url.host, self.url.port);
        let stream = match host {
            Host::Name(name) => {
                let addresses = tokio::net::lookup_host((name.as_str(), port)).await.map_err(ServerError::Resolve)?;
                TcpStream::connect(&addresses.collect::<Vec<_>>()[..]).await
            }
            Host::Address(address) => TcpStream::connect((*address, port)).await,
        };
        let stream = stream.map_err(ServerError::Connect)?;
        let mut request = Request::new(Full::new(message.map(|m| Bytes::from(m.to_string())).unwrap_or_default()));
        *request.method_mut() = method;
        if let Ok(path) = self.url.path.parse() {
            *request.uri_mut() = path;
        }
        let all = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(&self.url.authority()) {
            all.insert(HOST, host);
        }
        all.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        all.insert(USER_AGENT, HeaderValue::from_static(concat!("policyd/", env!("CARGO_PKG_VERSION"))));
        if message.is_some() {
            all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        all.extend(headers.clone());
        all.extend(self.headers.clone());
        if self.url.tls {
            send(self.trust.connect(stream, host, &[b"http/1.1".to_vec()], WITHIN).await?, request).await
        } else {
            send(stream, request).await
        }
    }
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ServerError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its error reaches whoever waits for the response.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender.send_request(request).await?)
}

/// What an HTTP status says.
fn status(response: &Response<Incoming>) -> ServerError {
    match response.status() {
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => ServerError::Credentials(status),
        status if status.is_redirection() => {
            let location = response.headers().get(LOCATION).map(|to| to.as_bytes().escape_ascii().to_string());
            ServerError::Redirect(location.unwrap_or_else(|| format!("nowhere (HTTP {})", status.as_u16())))
        }
        status => ServerError::Status(status),
    }
}

fn nonsense(method: &'static str, why: &impl ToString) -> ServerError {
    ServerError::Nonsense(method, why.to_string())
}

/// A message that is a response to the one request that was sent.
fn response(bytes: &[u8]) -> Option<Message> {
    let text = std::str::from_utf8(bytes).ok()?;
    let value: Value = serde_json::from_str(text).ok()?;
    let responds = value.get("result").is_some() || value.get("error").is_some();
    responds.then(|| Message { value, text: text.to_owned() })
}

/// The response in a JSON body.
async fn whole(mut body: Incoming) -> Result<Option<Message>, ServerError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if bytes.len() + data.len() > LARGEST {
                return Err(ServerError::TooLarge);
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(response(&bytes))
}

/// The response among the events of a stream.
async fn event(mut body: Incoming) -> Result<Option<Message>, ServerError> {
    let (mut decoder, mut read) = (Decoder::new(LARGEST), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        read += data.len();
        if read > LARGEST {
            return Err(ServerError::TooLarge);
        }
        decoder.push(data);
        while let Some(event) = decoder.next_event().map_err(|_| ServerError::TooLarge)? {
            if let Some(found) = event.data().and_then(|data| response(&data)) {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn client_info() -> Value {
    json!({ "name": "policyd", "version": env!("CARGO_PKG_VERSION") })
}
