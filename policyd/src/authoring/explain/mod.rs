//! What a policy does with one message, step by step.

mod json;
#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
mod text;

use std::sync::Arc;

use bytes::Bytes;

use super::simulation::{Caller, Ruling, Simulation};
use super::steps::Steps;
use crate::mcp::json::Parser;
use crate::mcp::{Id, Kind, vet};
use crate::policy::{self, Denial, Direction, Instead, Now, Time};

pub(crate) use json::json;
pub(crate) use text::render;

/// A message that is asked about.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub caller: Caller,
    pub direction: Direction,
    pub body: Bytes,
    /// When, in nanoseconds since 1970 in UTC.
    pub at: u64,
    /// How often the same message came before, and how far apart, in nanoseconds.
    pub after: u64,
    pub every: u64,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Explanation {
    pub question: Question,
    /// ``call of `send` `` or `` `resources/read` ``
    pub subject: String,
    pub steps: Steps,
    /// Which of the steps decided.
    pub deciding: Option<usize>,
    pub ruling: Ruling,
    /// What comes back, if not the other side's own answer.
    pub answer: Option<Instead>,
    /// Of a call: whether the caller's list of tools shows the tool.
    pub listed: Option<bool>,
    /// How many of the messages before it were refused.
    pub refused_before: u64,
}

/// Explains what the simulation does with a message.
pub(crate) fn explain(simulation: &mut Simulation, question: Question) -> Explanation {
    let Question { caller, direction, body, at, after, every } = &question;
    let (start, mut refused_before) = (at.saturating_sub(every.saturating_mul(*after)), 0);
    let now = |number: u64| {
        let time = every.saturating_mul(number);
        Now { time: Time(time), utc: start.saturating_add(time) }
    };
    for number in 0..*after {
        let ruling = simulation.decide(caller, *direction, body, now(number), &mut ());
        refused_before += u64::from(ruling.denial.is_some());
    }
    let now = now(*after);
    let mut steps = Steps::with_room(Arc::clone(simulation.memory()), now);
    let ruling = simulation.decide(caller, *direction, body, now, &mut steps);

    let mut parser = Parser::default();
    let vetted = vet(&mut parser, body);
    let message = vetted.as_ref().ok();
    let of_agent = *direction == Direction::ToServer;
    let tool = message.and_then(|message| message.tool()).filter(|_| of_agent).map(str::to_owned);
    let subject = match (message.map(|message| message.kind()), &tool) {
        (Some(_), Some(tool)) => format!("call of `{tool}`"),
        (Some(Kind::Request { method, .. }), None) => format!("`{method}`"),
        (Some(Kind::Notification { method, .. }), None) => format!("notification `{method}`"),
        (Some(Kind::Response { .. }), None) => "response".to_owned(),
        (None, _) => "message".to_owned(),
    };
    let id = match &vetted {
        Ok(message) => match message.kind() {
            Kind::Request { id, .. } => Some(id.0.to_owned()),
            Kind::Notification { .. } | Kind::Response { .. } => None,
        },
        Err(malformed) => malformed.id.clone(),
    };
    let refused = ruling.denial.as_ref().filter(|_| !ruling.lifted);
    let answer = refused.map(|denial| instead(denial, question.direction, id.as_deref().map(Id), tool.as_deref()));
    let listed = tool.map(|tool| simulation.lists(caller, &tool));
    let deciding = steps.deciding(&ruling);
    Explanation { subject, deciding, steps, ruling, answer, listed, refused_before, question }
}

/// What the proxy answers: the agent, in a protocol before 2026-07-28, or in its stead the server.
fn instead(denial: &Denial, direction: Direction, id: Option<Id<'_>>, tool: Option<&str>) -> Instead {
    match (direction, id) {
        (Direction::ToServer, id) => denial.instead(id, tool, None),
        (Direction::ToAgent, Some(id)) => Instead::Message(policy::Answer::refusing(id, denial).into_bytes()),
        (Direction::ToAgent, None) => Instead::Nothing,
    }
}
