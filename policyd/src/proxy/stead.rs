//! Answers to a server's requests in the agent's stead: what was refused must not leave the server waiting.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};
use url::Url;

use super::agent::Agent;
use super::forward;
use super::stdio::Sink;
use crate::audit;
use crate::mcp::headers::SESSION_ID;
use crate::policy::Answer;
use crate::telemetry::events::Unanswered;

/// Answers that wait to be sent, of one response. A server that asks faster than it can be answered goes without.
const WAITING: usize = 64;

/// Fields that are about the request they came with, and not about who sends it.
const OF_THE_REQUEST: [HeaderName; 7] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::EXPECT,
    header::RANGE,
    HeaderName::from_static("last-event-id"),
];

/// Answers the requests of one response, over the agent's way and with the agent's own fields; or those of a command, on its
/// stdin.
pub struct Stead {
    agent: Rc<Agent>,
    to: To,
    waiting: Rc<RefCell<Waiting>>,
}

/// Where answers go.
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large kind, and it lives in a box")]
enum To {
    /// Where the agent posts.
    Http {
        fields: HeaderMap,
        /// The target of the agent's request.
        asked: Uri,
        /// Where answers go, if that is known.
        endpoint: RefCell<Option<Uri>>,
    },
    /// A command's stdin.
    Stdio(Rc<Sink>),
}

/// Where one answer goes.
enum Target {
    Http(Box<Parts>),
    Stdio(Rc<Sink>),
}

#[derive(Default)]
struct Waiting {
    answers: VecDeque<(Target, Answer, Option<audit::Call>)>,
    /// A task sends them.
    sending: bool,
}

impl Stead {
    /// For the response to a request with this head. `takes_messages`: the agent's messages go to the request's own target.
    pub fn of(agent: &Rc<Agent>, head: &Parts, takes_messages: bool) -> Self {
        let to = To::Http {
            fields: fields(&head.headers),
            asked: head.uri.clone(),
            endpoint: RefCell::new(takes_messages.then(|| head.uri.clone())),
        };
        Self { agent: Rc::clone(agent), to, waiting: Rc::default() }
    }

    /// For a session with a command, whose stdin is `server`.
    pub fn over_stdio(agent: &Rc<Agent>, server: Rc<Sink>) -> Self {
        Self { agent: Rc::clone(agent), to: To::Stdio(server), waiting: Rc::default() }
    }

    /// What the agent says in a field.
    pub fn field(&self, name: &HeaderName) -> Option<&str> {
        match &self.to {
            To::Http { fields, .. } => fields.get(name)?.to_str().ok(),
            To::Stdio(_) => None,
        }
    }

    /// Notes the session that the response names, where the request could not name one yet.
    pub fn learn_session(&mut self, response: &HeaderMap) {
        let To::Http { fields, .. } = &mut self.to else { return };
        if let Some(id) = response.get(SESSION_ID).filter(|_| !fields.contains_key(SESSION_ID)) {
            fields.insert(SESSION_ID, id.clone());
        }
    }

    /// Learns from the event `endpoint` where messages go (HTTP+SSE of 2024-11-05). Clients stay on the stream's origin, and
    /// so do answers.
    pub fn learn_endpoint(&self, data: &[u8]) {
        let To::Http { fields, asked, endpoint: known } = &self.to else { return };
        let scheme = if self.agent.server.tls { "https" } else { "http" };
        let host = fields.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = asked.authority().map(|authority| authority.as_str()).or(host).unwrap_or_default();
        *known.borrow_mut() = endpoint(scheme, host, asked, data);
    }

    /// Has the answer sent, if it is known where to; `call` records how that went.
    pub fn answer(&self, answer: Answer, mut call: Option<audit::Call>) {
        if let Some(call) = &mut call {
            // Until it has been sent: what is still waiting when the daemon ends never will be.
            call.outcome.error = Some("unanswered");
        }
        let Some(target) = self.target() else {
            return unanswered(&self.agent, "no-endpoint", "it is not known where messages go on this server");
        };
        let mut waiting = self.waiting.borrow_mut();
        if waiting.answers.len() >= WAITING {
            return unanswered(&self.agent, "too-many-requests", "the server asks faster than it is answered");
        }
        waiting.answers.push_back((target, answer, call));
        if !std::mem::replace(&mut waiting.sending, true) {
            // Not a part of the stream: the server may read the answer only after the client has read the stream on.
            tokio::task::spawn_local(send(Rc::clone(&self.agent), Rc::clone(&self.waiting)));
        }
    }

    fn target(&self) -> Option<Target> {
        match &self.to {
            To::Http { fields, endpoint, .. } => {
                let (mut head, ()) = Request::new(()).into_parts();
                (head.method, head.uri, head.headers) = (Method::POST, endpoint.borrow().clone()?, fields.clone());
                Some(Target::Http(Box::new(head)))
            }
            To::Stdio(server) => Some(Target::Stdio(Rc::clone(server))),
        }
    }
}

/// Sends what waits, one after the other.
async fn send(agent: Rc<Agent>, waiting: Rc<RefCell<Waiting>>) {
    loop {
        let (target, answer, mut call) = {
            let mut waiting = waiting.borrow_mut();
            let Some(next) = waiting.answers.pop_front() else {
                waiting.sending = false;
                return;
            };
            next
        };
        let sent = match target {
            Target::Http(head) => match forward::answer(&agent, *head, answer).await {
                Ok(status) if status.is_success() => Ok(()),
                Ok(status) => Err(("answer-refused", status.to_string())),
                Err(error) => Err((error.kind(), error.to_string())),
            },
            Target::Stdio(server) => {
                server.send(&answer.into_bytes()).await.map_err(|error| ("server-gone", error.to_string()))
            }
        };
        match sent {
            Ok(()) => {
                if let Some(call) = &mut call {
                    call.outcome.error = None;
                }
            }
            Err((cause, detail)) => unanswered(&agent, cause, &detail),
        }
    }
}

fn unanswered(agent: &Agent, cause: &'static str, detail: &str) {
    agent.worker.shared.telemetry.emit(Unanswered { server: &agent.server.name, cause, detail });
}

/// The fields of a message that the agent would post.
fn fields(request: &HeaderMap) -> HeaderMap {
    let mut fields = request.clone();
    for name in &OF_THE_REQUEST {
        fields.remove(name);
    }
    // They mirror a request's method and parameters (2026-07-28), which an answer has none of.
    let mirrors = |name: &&HeaderName| {
        let name = name.as_str();
        name == "mcp-method" || name == "mcp-name" || name.starts_with("mcp-param-")
    };
    for name in request.keys().filter(mirrors) {
        fields.remove(name);
    }
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    fields
}

/// The target that the event `endpoint` names on a stream from `asked`; `None` if it cannot be read or leaves the origin.
fn endpoint(scheme: &str, host: &str, asked: &Uri, data: &[u8]) -> Option<Uri> {
    let base = Url::parse(&format!("{scheme}://{host}")).ok()?.join(asked.path()).ok()?;
    let url = base.join(std::str::from_utf8(data).ok()?.trim()).ok()?;
    if url.origin() != base.origin() {
        return None;
    }
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut parts = asked.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn an_answer_has_the_agents_fields_but_not_its_requests() {
        let request: HeaderMap = [
            ("host", "a.example"),
            ("authorization", "Bearer t"),
            ("mcp-session-id", "s"),
            ("mcp-protocol-version", "2025-11-25"),
            ("x-api-key", "k"),
            ("content-type", "text/plain"),
            ("content-length", "12"),
            ("accept", "text/event-stream"),
            ("last-event-id", "7"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "x"),
            ("mcp-param-a", "1"),
        ]
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect();
        let fields = fields(&request);
        let mut left: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        let kept =
            ["accept", "authorization", "content-type", "host", "mcp-protocol-version", "mcp-session-id", "x-api-key"];
        assert_eq!(left, kept);
        assert_eq!(fields[header::CONTENT_TYPE], "application/json");
        assert_eq!(fields[header::ACCEPT], "application/json, text/event-stream");
    }

    #[test]
    fn an_endpoint_is_read_as_clients_do_and_stays_on_the_origin() {
        for (asked, data, target) in [
            ("/sse", "/message?sessionId=1", Some("/message?sessionId=1")),
            ("/a/sse", "message", Some("/a/message")),
            ("/a/sse?x=1", "?y=2", Some("/a/sse?y=2")),
            ("/sse", "https://a.example/m", Some("/m")),
            ("/sse", "https://a.example:443/m", Some("/m")),
            ("https://a.example/sse", "/m", Some("https://a.example/m")),
            ("/sse", "http://a.example/m", None),
            ("/sse", "https://a.example:8443/m", None),
            ("/sse", "//b.example/m", None),
            ("/sse", "https://a.example@b.example/m", None),
            ("/sse", "javascript:1", None),
        ] {
            let found = endpoint("https", "a.example", &asked.parse().unwrap(), data.as_bytes());
            assert_eq!(found.map(|uri| uri.to_string()).as_deref(), target, "{data}");
        }
        assert_eq!(endpoint("https", "a.example", &"/sse".parse().unwrap(), b"\xff"), None);
        assert_eq!(endpoint("https", "", &"/sse".parse().unwrap(), b"/m"), None);
    }
}
