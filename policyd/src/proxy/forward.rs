//! What may go out goes out here, and nowhere else.

use std::rc::Rc;

use http::header::{EXPECT, HOST, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

use super::agent::{Agent, Way};
use super::body::Outgoing;
use super::fields;
use super::messages::Reading;
use super::requests::Exchange;
use super::respond::{self, Asked};
use super::response::{Answered, ReplyBody, relay};
use super::upstream::UpstreamError;
use super::worker::Snapshot;
use crate::audit;
use crate::mcp::headers::SESSION_ID;
use crate::policy::{Answer, Passage, Permit, Reservation};
use crate::tls::upstream::UpstreamTlsError;

/// What is read of a server's response to an answer, in bytes: a plain 202 has none.
const LONGEST_ACKNOWLEDGEMENT: usize = 16 * 1024;

/// A request on its way out, but for its body and the right to send it.
pub struct Passing<'a> {
    /// The connection that it came on.
    pub agent: &'a Rc<Agent>,
    /// The configuration that it was judged under.
    pub snapshot: &'a Snapshot,
    /// Its grant, and the connections that it may use.
    pub way: &'a Way,
    /// Its request line and fields.
    pub head: Parts,
    /// Whether its response is read.
    pub reading: Reading,
    /// How to answer it, should its server not.
    pub asked: Box<Asked>,
}

/// Sends a message to its server, and relays the answer. The bytes are those of the permit: the ones that were judged.
pub async fn forward(passing: Passing<'_>, permit: Permit, call: audit::Call) -> Response<ReplyBody> {
    let (bytes, reservation) = permit.redeem();
    send(passing, Outgoing::Whole(Some(bytes)), reservation, true, call).await
}

/// Sends a server what it is told in the agent's stead, under a head that is made of the agent's, and gives the status that
/// it answers with.
///
/// # Errors
///
/// As for an agent's own message; they are logged.
pub async fn answer(agent: &Agent, head: Parts, answer: Answer) -> Result<StatusCode, UpstreamError> {
    let snapshot = agent.worker.shared.snapshot.load_full();
    let way = agent.way(&snapshot);
    let request = outgoing(agent, head, Outgoing::Whole(Some(answer.into_bytes())));
    let (response, lease) = agent.send(&snapshot, &way, request).await?;
    let status = response.status();
    // There is nothing to say to an answer; a connection on which something else comes is not used again.
    let rest = Limited::new(response.into_body(), LONGEST_ACKNOWLEDGEMENT).collect();
    if let Ok(Ok(_)) = timeout(snapshot.config.timeouts.response, rest).await {
        lease.give_back();
    }
    Ok(status)
}

/// Sends a request that carries no message.
pub async fn forward_other(
    passing: Passing<'_>,
    _passage: Passage,
    body: Outgoing,
    call: audit::Call,
) -> Response<ReplyBody> {
    let agent = passing.agent;
    let ended = ended_session(&passing.head, &passing.way.server.path);
    let takes_messages = passing.head.uri.path() == passing.way.server.path;
    let response = send(passing, body, Reservation::default(), takes_messages, call).await;
    if let Some(id) = ended.filter(|_| response.status().is_success()) {
        agent.worker.shared.end_session(&agent.server.name, &id);
    }
    response
}

/// The session that a request asks its server to end (a DELETE at the path `endpoint`, up to 2025-11-25). Elsewhere a DELETE
/// is about something else, and a success says nothing of the session.
fn ended_session(head: &Parts, endpoint: &str) -> Option<String> {
    let is_end = head.method == Method::DELETE && head.uri.path() == endpoint;
    let id = is_end.then(|| head.headers.get(SESSION_ID))??;
    Some(id.to_str().ok()?.to_owned())
}

/// `takes_messages`: the agent's messages go to the request's target.
async fn send(
    passing: Passing<'_>,
    body: Outgoing,
    reservation: Reservation,
    takes_messages: bool,
    mut call: audit::Call,
) -> Response<ReplyBody> {
    let Passing { agent, snapshot, way, head, reading, asked } = passing;
    // Until there is an answer: who drops this future is the client, by going away.
    call.outcome.error = Some("client-gone");
    let (exchange, request) = leaving(agent, head, body, reading, takes_messages, &asked);
    match agent.send(snapshot, way, request).await {
        Ok((response, lease)) => {
            if asked.opens_session {
                learn_session(agent, &response);
            }
            let limits = &snapshot.config.limits;
            let answered = Answered { agent, way, limits, reading, exchange, is_call: !asked.ids.is_empty() };
            match relay(answered, lease, response, call).await {
                Ok(response) => response,
                Err((error, mut call)) => {
                    call.outcome.error = Some(error.word());
                    respond::failure(&asked, &error.to_string(), None, call)
                }
            }
        }
        Err(error) => {
            call.outcome.error = Some(error.kind());
            if error.unsent() {
                call.outcome.returned = !reservation.is_empty();
                reservation.give_back();
            }
            let rule = match &error {
                UpstreamError::Tls(UpstreamTlsError::Untrusted { .. }) => Some("upstream-untrusted"),
                _ => None,
            };
            respond::failure(&asked, &error.to_string(), rule, call)
        }
    }
}

/// A request as the server gets it, and what has to be known of it when its response is read.
///
/// Apart from [`send`], whose future would keep space for a head that was looked at.
fn leaving(
    agent: &Rc<Agent>,
    head: Parts,
    body: Outgoing,
    reading: Reading,
    takes_messages: bool,
    asked: &Asked,
) -> (Option<Box<Exchange>>, Request<Outgoing>) {
    let exchange = (reading != Reading::Never).then(|| Exchange::of(agent, &head, takes_messages, asked));
    (exchange, outgoing(agent, head, body))
}

/// The request as the server gets it: its own target and fields, but for what concerns one hop only.
fn outgoing(agent: &Agent, mut head: Parts, body: Outgoing) -> Request<Outgoing> {
    fields::strip_hop_by_hop(&mut head.headers);
    // The body is at hand; the client was told to go on when policyd began to read it.
    head.headers.remove(EXPECT);
    fields::ask_for_identity(&mut head.headers);
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    if agent.speaks_h2() {
        head.version = Version::HTTP_2;
        // `:scheme` and `:authority` come from here; they were checked to be the server's.
        if head.uri.authority().is_none() {
            head.uri = absolute(agent, &head, &target).unwrap_or(head.uri);
        }
        head.headers.remove(HOST);
    } else {
        head.version = Version::HTTP_11;
        if !head.headers.contains_key(HOST) {
            let authority = head.uri.authority().map(|authority| authority.as_str().to_owned());
            if let Some(host) = authority.and_then(|authority| HeaderValue::try_from(authority).ok()) {
                head.headers.insert(HOST, host);
            }
        }
        if let Ok(target) = Uri::try_from(target) {
            head.uri = target;
        }
    }
    Request::from_parts(head, body)
}

fn absolute(agent: &Agent, head: &Parts, target: &str) -> Option<Uri> {
    let host = head.headers.get(HOST)?.as_bytes();
    let scheme = if agent.server.tls { "https" } else { "http" };
    Uri::builder().scheme(scheme).authority(host).path_and_query(target).build().ok()
}

/// A session counts from when its server named it in a successful answer to `initialize`.
fn learn_session<B>(agent: &Agent, response: &Response<B>) {
    let id = response.headers().get(SESSION_ID).and_then(|id| id.to_str().ok());
    if let (true, Some(id)) = (response.status().is_success(), id) {
        agent.worker.shared.learn_session(&agent.server.name, id);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_session_is_ended_by_a_delete_at_the_endpoint_only() {
        let ended = |method: &str, target: &str| {
            let request = Request::builder().method(method).uri(target).header(SESSION_ID, "s");
            ended_session(&request.body(()).unwrap().into_parts().0, "/mcp")
        };
        assert_eq!(ended("DELETE", "/mcp"), Some("s".to_owned()));
        assert_eq!(ended("DELETE", "https://server.example/mcp?a=b"), Some("s".to_owned()));
        for (method, target) in [("DELETE", "/files/1"), ("DELETE", "/mcp/"), ("DELETE", "/"), ("GET", "/mcp")] {
            assert_eq!(ended(method, target), None, "{method} {target}");
        }
    }
}
