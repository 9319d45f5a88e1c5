//! The requests of a session that its server has not answered yet.

use std::collections::VecDeque;

use crate::audit;
use crate::mcp::Id;
use crate::mcp::json::Value;
use crate::mcp::pending::loose;
use crate::proxy::messages::Reading;

/// Requests that are remembered. Of those that a server never answers the oldest are forgotten first.
const MOST: usize = 1024;
/// Bytes of what they say of themselves, which a client can make as long as a line.
const MOST_BYTES: usize = 1 << 20;

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Waiting {
    /// Records the outcome.
    pub call: audit::Call,
    /// Whether the answer has to be read.
    pub reading: Reading,
    /// Whether it is an `initialize`, whose answer says which version the session speaks.
    pub opens: bool,
    /// Which request it is, where its answer is read for what it asks.
    pub subject: Box<str>,
    /// The JSON text of its id.
    pub id: String,
}

/// They all, in the order in which they were sent.
#[derive(Debug, Default)]
pub struct Pending {
    /// Under their ids without their types, which are worked out once: a server may answer each of them, and more, at will.
    waiting: VecDeque<(Box<str>, Waiting)>,
    /// What they take up.
    bytes: usize,
}

impl Pending {
    /// Adds one.
    pub fn add(&mut self, waiting: Waiting) {
        let bytes = waiting.bytes();
        while self.waiting.len() >= MOST || self.bytes + bytes > MOST_BYTES {
            let Some((_, oldest)) = self.waiting.pop_front() else { break };
            self.bytes -= oldest.bytes();
        }
        self.bytes += bytes;
        let key = loose(Id(&waiting.id)).into();
        self.waiting.push_back((key, waiting));
    }

    /// Takes the one that is answered with `id`. Clients match loosely, `"1"` to `1`, and so does this.
    pub fn take(&mut self, id: &str) -> Option<Waiting> {
        let id = loose(Id(id));
        let at = self.waiting.iter().position(|(key, _)| **key == *id)?;
        let (_, taken) = self.waiting.remove(at)?;
        self.bytes -= taken.bytes();
        Some(taken)
    }

    /// Whether the answer to one with this id has to be read.
    pub fn is_read(&self, id: &str) -> bool {
        self.of(id).any(|waiting| waiting.reading == Reading::Messages)
    }

    /// Whether one with this id is an `initialize`.
    pub fn opens(&self, id: &str) -> bool {
        self.of(id).any(|waiting| waiting.opens)
    }

    /// Which request has this id.
    pub fn subject(&self, id: &str) -> Option<Box<str>> {
        Some(self.of(id).next()?.subject.clone())
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn of(&self, id: &str) -> impl Iterator<Item = &Waiting> {
        let id = loose(Id(id));
        self.waiting.iter().filter(move |(key, _)| **key == *id).map(|(_, waiting)| waiting)
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        // The id is kept twice.
        2 * self.id.len() + self.subject.len()
    }
}

/// The ids that a text, one message or a batch, answers: their JSON texts.
pub fn answered(text: Value<'_>) -> Vec<String> {
    let id = |message: Value<'_>| {
        let answers =
            message.get("result").or_else(|| message.get("error")).is_some() && message.get("method").is_none();
        answers.then(|| message.get("id").map(|id| id.raw().to_owned())).flatten()
    };
    if text.is_array() { text.items().filter_map(id).collect() } else { id(text).into_iter().collect() }
}
