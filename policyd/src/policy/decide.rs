//! One message, one decision. The only place where the right to forward is made.

use bytes::Bytes;

use super::judge::{Judgement, Refusal, Request, judge};
use super::{Counters, Decision, Denial, Grant, Now, Reply, Reservation, Schemas, Verdict};
use crate::capture::identity::Identity;
use crate::config::OtherPaths;
use crate::mcp::{Id, Message, reply};

/// Everything besides the message that a decision depends on.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The grant in force; `None` denies with `no-grant`.
    pub grant: Option<&'a Grant>,
    /// The server's name.
    pub server: &'a str,
    /// The key of scope `session`: an MCP session that the server minted, or the agent's process.
    pub session: &'a str,
    /// The agent, as the kernel says who it is.
    pub identity: &'a Identity,
    /// What the server declares of its tools' arguments.
    pub schemas: &'a dyn Schemas,
    /// Now.
    pub now: Now,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("server", &self.server).field("now", &self.now).finish_non_exhaustive()
    }
}

/// The right to forward exactly one message. Only [`decide`] makes it (invariant 1), and it carries the very bytes that
/// were judged (invariant 2).
///
/// Whoever is given one can forward its message once:
///
/// ```
/// fn forward(permit: policyd::policy::Permit) -> (bytes::Bytes, policyd::policy::Reservation) {
///     permit.redeem()
/// }
/// ```
///
/// Nobody else can make one:
///
/// ```compile_fail,E0451
/// let bytes = bytes::Bytes::from_static(b"{}");
/// let permit = policyd::policy::Permit { bytes, reservation: policyd::policy::Reservation::default() };
/// ```
#[derive(Debug)]
#[must_use = "an allowed message is to be forwarded, or its quota given back"]
pub struct Permit {
    bytes: Bytes,
    reservation: Reservation,
}

impl Permit {
    /// Takes the permit apart: the vetted bytes to forward, and the quota to give back if they are never sent whole.
    pub fn redeem(self) -> (Bytes, Reservation) {
        (self.bytes, self.reservation)
    }

    /// The right to forward a batch (2025-03-26) whole and as it came, in exchange for the right to forward each of its
    /// messages, in their order. `None` where the batch is anything else than these messages: what they reserved is free again.
    pub fn batch(bytes: Bytes, messages: Vec<Permit>) -> Option<Permit> {
        let consists = consists_of(&bytes, messages.iter().map(|permit| &permit.bytes[..]));
        let mut reservation = Reservation::default();
        for permit in messages {
            reservation.join(permit.reservation);
        }
        if !consists {
            reservation.give_back();
            return None;
        }
        Some(Permit { bytes, reservation })
    }
}

/// Whether a text is a JSON array of these texts, at least one.
fn consists_of<'a>(array: &[u8], texts: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut rest = array.trim_ascii();
    let mut open = b'[';
    for text in texts {
        let Some(after) = rest.strip_prefix(&[open]).and_then(|rest| rest.trim_ascii_start().strip_prefix(text)) else {
            return false;
        };
        rest = after.trim_ascii_start();
        open = b',';
    }
    open == b',' && rest == b"]"
}

/// The right to forward one request that carries no JSON-RPC. Only [`passage`] makes it:
///
/// ```compile_fail,E0451
/// let passage = policyd::policy::Passage { sealed: () };
/// ```
#[derive(Debug)]
#[must_use = "a request that may pass is to be forwarded"]
pub struct Passage {
    #[expect(dead_code, reason = "keeps others from making one")]
    sealed: (),
}

/// What a request without JSON-RPC is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The MCP endpoint: GET opens a stream of the server's messages, DELETE ends a session.
    Endpoint,
    /// Another path of the server's host, under the server's setting.
    OtherPath(OtherPaths),
}

/// Decides one request without JSON-RPC: the endpoint needs a grant, other paths (OAuth, `/.well-known`) only
/// `other_paths = "pass"`. Such requests are no part of a policy, so that observe mode changes nothing.
pub fn passage(grant: Option<&Grant>, target: Target) -> Result<Passage, Denial> {
    match (target, grant) {
        (Target::Endpoint, Some(_)) | (Target::OtherPath(OtherPaths::Pass), _) => Ok(Passage { sealed: () }),
        (Target::Endpoint, None) => Err(Denial::no_grant(Reply::Error)),
        (Target::OtherPath(OtherPaths::Refuse), _) => Err(Denial::other_path(Reply::Error)),
    }
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the agent to the server.
    ToServer,
    /// From the server to the agent: a request for sampling, elicitation, roots …
    ToAgent,
}

impl Direction {
    /// `to-server` or `to-agent`, as records say it.
    pub fn label(self) -> &'static str {
        match self {
            Direction::ToServer => "to-server",
            Direction::ToAgent => "to-agent",
        }
    }
}

/// What a server is told in the agent's stead when its request was refused: an error of policyd's own, which says which rule
/// and why. It is no message of the agent's and holds nothing of one; it can say nothing but a denial:
///
/// ```compile_fail,E0451
/// let answer = policyd::policy::Answer { bytes: bytes::Bytes::from_static(b"{}") };
/// ```
#[derive(Debug)]
#[must_use = "a server that is not answered waits"]
pub struct Answer {
    bytes: Bytes,
}

impl Answer {
    /// The answer to the server's request `id` that was refused with `denial`: JSON-RPC error -32001.
    pub fn refusing(id: Id<'_>, denial: &Denial) -> Answer {
        Answer { bytes: reply::denied_request(id, &denial.rule.pointer, &denial.reason, denial.retry_after) }
    }

    /// The bytes to send.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// Decides one message. What it reserves in `counters` is held by the permit; a denied call holds nothing.
pub fn decide(
    context: &Context<'_>,
    direction: Direction,
    message: &Message<'_>,
    counters: &(impl Counters + ?Sized),
) -> Verdict {
    let judgement = judge(context, &Request::of(direction, message), counters, &mut ());
    let Judgement { rule, refusal, reservation, counters } = judgement;
    let (decision, observed) = match refusal {
        Some(Refusal { denial, lifted: false }) => (Decision::Deny(denial), None),
        refusal => {
            let permit = Permit { bytes: message.bytes(), reservation };
            (Decision::Allow(permit), refusal.map(|refusal| refusal.denial))
        }
    };
    Verdict { decision, rule, observed, counters }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_nothing_but_its_messages() {
        let consists =
            |array: &str, texts: &[&str]| consists_of(array.as_bytes(), texts.iter().map(|text| text.as_bytes()));
        for array in ["[{},1]", " [ {} , 1 ]\r\n", "[{}\t,\n1]"] {
            assert!(consists(array, &["{}", "1"]), "{array}");
        }
        for array in
            ["[{}]", "[{},1,2]", "[1,{}]", "[{} 1]", "{},1", "[{},1]]", "[[{},1]]", "[{},1,]", "[,{},1]", "[]", ""]
        {
            assert!(!consists(array, &["{}", "1"]), "{array}");
        }
        assert!(!consists("[]", &[]) && !consists("", &[]) && !consists("]", &[]));
    }

    #[test]
    fn a_batch_of_something_else_gives_no_permit() {
        let permit = |text: &'static str| Permit { bytes: text.into(), reservation: Reservation::default() };
        let batch = |text: &'static str| Permit::batch(text.into(), vec![permit("{}"), permit("[1]")]);
        assert_eq!(batch("[{}, [1]]").map(|permit| permit.redeem().0), Some(Bytes::from("[{}, [1]]")));
        assert!(batch("[{}, [2]]").is_none());
    }
}
