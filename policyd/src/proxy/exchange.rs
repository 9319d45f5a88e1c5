//! One request and its response: taken in, judged, forwarded, relayed.

use std::rc::Rc;

use http::header::{HOST, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::Incoming;

use super::agent::{Agent, Way};
use super::authority::{AuthorityError, agrees, passes};
use super::body::Outgoing;
use super::forward::{Passing, forward, forward_other};
use super::intake::{Intake, take_in};
use super::judge::{self, Judged};
use super::respond;
use super::response::ReplyBody;
use super::worker::Snapshot;
use crate::mcp::framing::Misframed;
use crate::mcp::{Cause, sniff};
use crate::policy::Target;
use crate::telemetry::Refused;

/// Answers one request of an agent. Always answers: what goes wrong is an answer too.
pub async fn exchange(agent: &Rc<Agent>, request: Request<Incoming>) -> Response<ReplyBody> {
    let snapshot = agent.worker.shared.snapshot.load_full();
    let way = agent.way(&snapshot);
    let (head, body) = request.into_parts();
    let config = &snapshot.config;
    if let Err(error) = agrees(&agent.server, &head.uri, &head.headers)
        && !passes(&agent.server, &config.capture, &config.servers, &head.uri, &head.headers)
    {
        return misdirected(agent, &way, &head, error);
    }
    if is_upgrade(&head) {
        return respond::refusal(judge::refuse(agent, &way, &head, Cause::Upgrade, Cause::Upgrade.to_string()));
    }
    let limits = &snapshot.config.limits;
    let taken = take_in(&way.server, &head, body, limits.body, snapshot.config.timeouts.request).await;
    // The judgement is by what is in force now: reading may have taken long.
    let snapshot = agent.worker.shared.snapshot.load_full();
    let way = agent.way(&snapshot);
    match taken {
        Ok(Intake::Candidate { body, endpoint }) if endpoint || may_be_message(agent, &head, &body) => {
            match judge::message(agent, &way, &head, &body) {
                Judged::Forward { permit, call, reading, asked } => {
                    let passing = Passing { agent, snapshot: &snapshot, way: &way, head, reading, asked };
                    forward(passing, permit, call).await
                }
                Judged::Refuse(refusal) => respond::refusal(refusal),
            }
        }
        Ok(Intake::Candidate { body, .. }) => other(agent, &snapshot, &way, head, Outgoing::Whole(Some(body))).await,
        Ok(Intake::Other(body)) => other(agent, &snapshot, &way, head, body).await,
        Err(error) => respond::refusal(judge::refuse(agent, &way, &head, error.cause(), error.to_string())),
    }
}

/// Answers in place of a request whose head is not strict. `stand_in` is what the gate gave instead of it.
pub fn refuse_head(agent: &Rc<Agent>, stand_in: Request<Incoming>, why: Misframed) -> Response<ReplyBody> {
    let way = agent.way(&agent.worker.shared.snapshot.load_full());
    let (head, _) = stand_in.into_parts();
    respond::refusal(judge::refuse(agent, &way, &head, why.cause, why.to_string()))
}

/// A request that carries no message: a stream or the end of a session at the endpoint, or another path of the host.
async fn other(agent: &Rc<Agent>, snapshot: &Snapshot, way: &Way, head: Parts, body: Outgoing) -> Response<ReplyBody> {
    let target =
        if head.uri.path() == way.server.path { Target::Endpoint } else { Target::OtherPath(way.server.other_paths) };
    match judge::other(agent, way, &head, target) {
        Judged::Forward { permit, call, reading, asked } => {
            let passing = Passing { agent, snapshot, way, head, reading, asked };
            forward_other(passing, permit, body, call).await
        }
        Judged::Refuse(refusal) => respond::refusal(refusal),
    }
}

/// Whether a body on another path could be taken for a message: it is one, it is not even strict JSON, or its server is told
/// to decode it first, into something else than what stands here.
fn may_be_message(agent: &Agent, head: &Parts, body: &[u8]) -> bool {
    sniff::is_disguised(&head.headers)
        || match agent.worker.parser.borrow_mut().parse(body) {
            Ok(document) => sniff::is_json_rpc(document),
            Err(_) => true,
        }
}

/// SDKs have had a WebSocket transport; h2c is only ignored, as any server may.
fn is_upgrade(head: &Parts) -> bool {
    head.method == Method::CONNECT
        || head.headers.get_all(UPGRADE).iter().any(|to| !to.as_bytes().eq_ignore_ascii_case(b"h2c"))
}

/// Tells of a request for another server than the connection's, and refuses it.
fn misdirected(agent: &Rc<Agent>, way: &Way, head: &Parts, error: AuthorityError) -> Response<ReplyBody> {
    let destination = head.uri.authority().map(|authority| authority.as_str());
    let name = destination.or_else(|| head.headers.get(HOST)?.to_str().ok()).map(loggable);
    agent.worker.shared.telemetry.emit(Refused {
        cause: "misdirected",
        pid: Some(agent.identity.pid),
        uid: Some(agent.identity.uid),
        name,
        ..Refused::default()
    });
    respond::misdirected(judge::refuse(agent, way, head, Cause::Misdirected, error.to_string()))
}

/// What may be logged of an authority: without user name and password, and no more than a DNS name can have.
fn loggable(authority: &str) -> &str {
    const LONGEST: usize = 253;
    let host = authority.rsplit('@').next().unwrap_or_default();
    &host[..host.floor_char_boundary(LONGEST)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_logged_with_a_name() {
        assert_eq!(loggable("user:secret@elsewhere.example:443"), "elsewhere.example:443");
        assert_eq!(loggable("a@b@c"), "c");
        assert_eq!(loggable(&"x".repeat(9000)).len(), 253);
    }
}
