//! The requests of a session that its server has not answered yet.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

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

/// They all.
#[derive(Debug, Default)]
pub struct Pending {
    /// In the order in which they were sent, by a number that each gets.
    waiting: BTreeMap<u64, (Rc<str>, Waiting)>,
    /// Those of each id without its type. A server may answer each of them, and more, at will: nothing is searched for.
    ids: HashMap<Rc<str>, Same>,
    /// The next number.
    next: u64,
    /// What they take up.
    bytes: usize,
}

/// The requests with one id: clients may use one again.
#[derive(Debug, Default)]
struct Same {
    places: VecDeque<u64>,
    /// How many of them have an answer that has to be read.
    read: usize,
    /// How many of them are an `initialize`.
    opening: usize,
}

impl Pending {
    /// Adds one.
    pub fn add(&mut self, waiting: Waiting) {
        let bytes = waiting.bytes();
        while self.waiting.len() >= MOST || self.bytes + bytes > MOST_BYTES {
            let Some((_, (oldest, _))) = self.waiting.first_key_value() else { break };
            let oldest = Rc::clone(oldest);
            if self.take_first(&oldest).is_none() {
                break;
            }
        }
        self.bytes += bytes;
        let key: Rc<str> = loose(Id(&waiting.id)).into();
        let same = self.ids.entry(Rc::clone(&key)).or_default();
        same.places.push_back(self.next);
        same.read += usize::from(waiting.reading == Reading::Messages);
        same.opening += usize::from(waiting.opens);
        self.waiting.insert(self.next, (key, waiting));
        self.next += 1;
    }

    /// Takes the one that is answered with `id`. Clients match loosely, `"1"` to `1`, and so does this.
    pub fn take(&mut self, id: &str) -> Option<Waiting> {
        self.take_first(&loose(Id(id)))
    }

    fn take_first(&mut self, key: &str) -> Option<Waiting> {
        let same = self.ids.get_mut(key)?;
        let place = same.places.pop_front()?;
        let (_, taken) = self.waiting.remove(&place)?;
        same.read -= usize::from(taken.reading == Reading::Messages);
        same.opening -= usize::from(taken.opens);
        if same.places.is_empty() {
            self.ids.remove(key);
        }
        self.bytes -= taken.bytes();
        Some(taken)
    }

    /// Whether the answer to one with this id has to be read.
    pub fn is_read(&self, id: &str) -> bool {
        self.of(id).is_some_and(|same| same.read > 0)
    }

    /// Whether one with this id is an `initialize`.
    pub fn opens(&self, id: &str) -> bool {
        self.of(id).is_some_and(|same| same.opening > 0)
    }

    /// Which request has this id.
    pub fn subject(&self, id: &str) -> Option<Box<str>> {
        let (_, first) = self.waiting.get(self.of(id)?.places.front()?)?;
        Some(first.subject.clone())
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn of(&self, id: &str) -> Option<&Same> {
        self.ids.get(&*loose(Id(id)))
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::time::{Duration, SystemTime};

    use prometheus::Registry;

    use super::*;
    use crate::audit::{Key, Log, Recorder};
    use crate::capture::identity::Identity;
    use crate::config::Audit;
    use crate::policy::{CounterStates, Direction, Rule, RuleKind};
    use crate::telemetry::{Decided, Effect, Telemetry};

    fn recorder() -> Recorder {
        let telemetry = Telemetry::new(Registry::new(), None).unwrap();
        let audit = Audit { path: None, arguments: false };
        Recorder::new(&telemetry, &Log::open(&audit, &Key::ephemeral().unwrap(), &telemetry).unwrap()).unwrap()
    }

    fn waiting(recorder: &Recorder, id: &str, reading: Reading, opens: bool) -> Waiting {
        let decided = Decided {
            call: recorder.next_call(),
            at: SystemTime::UNIX_EPOCH,
            identity: &Identity::default(),
            grant: None,
            server: "axint",
            direction: Direction::ToServer,
            method: None,
            tool: None,
            effect: Effect::Allow,
            rule: &Rule::word(RuleKind::Protocol),
            reason: None,
            observed: false,
            counters: &CounterStates::new(),
            session: None,
            protocol_version: None,
            arguments: None,
            took: Duration::ZERO,
        };
        Waiting { call: recorder.decided(&decided).unwrap(), reading, opens, subject: id.into(), id: id.to_owned() }
    }

    #[test]
    fn an_id_that_is_used_twice_is_answered_in_order_and_loosely() {
        let (recorder, mut pending) = (recorder(), Pending::default());
        pending.add(waiting(&recorder, "1", Reading::Never, true));
        pending.add(waiting(&recorder, "\"1\"", Reading::Messages, false));
        assert!(pending.is_read("1") && pending.opens("\"\\u0031\"") && !pending.is_read("2"));
        assert_eq!(pending.subject("\"1\"").as_deref(), Some("1"));
        assert_eq!(pending.take("\"1\"").unwrap().id, "1");
        assert!(pending.is_read("1") && !pending.opens("1"));
        assert_eq!(pending.subject("1").as_deref(), Some("\"1\""));
        assert_eq!(pending.take("1").unwrap().id, "\"1\"");
        assert!(pending.take("1").is_none() && pending.is_empty() && !pending.is_read("1"));
        assert_eq!((pending.bytes, pending.ids.len()), (0, 0));
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let (recorder, mut pending) = (recorder(), Pending::default());
        for id in 0..=MOST {
            pending.add(waiting(&recorder, &id.to_string(), Reading::Never, false));
        }
        assert_eq!((pending.waiting.len(), pending.ids.len()), (MOST, MOST));
        assert!(pending.take("0").is_none() && pending.take("1").is_some());
        let long = format!("\"{}\"", "x".repeat(MOST_BYTES / 3 - 2));
        pending.add(waiting(&recorder, &long, Reading::Messages, false));
        assert!(pending.is_read(&long));
        assert_eq!(pending.ids.len(), 1, "it needs the room of all others");
        assert_eq!(pending.bytes, 3 * long.len());
    }
}
