//! What servers asked and agents were let see, so that an answer can be told from one that nobody asked for.
//!
//! Up to 2025-11-25 a server's request has an id, and the agent posts a response with it. In 2026-07-28 it stands in a result
//! under a key (`inputRequests`), and the agent repeats its own request with `inputResponses` under the same keys.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Id;
use super::json::Parser;
use super::recent::Recent;

/// The longest question that is remembered, in bytes of what identifies it.
const MAX_QUESTION: usize = 2048;

/// Questions by server, bounded for each, so that a hostile one pushes out its own only.
#[derive(Debug)]
pub struct Pending {
    capacity: usize,
    servers: HashMap<Box<str>, Table>,
}

/// One server's questions.
#[derive(Debug)]
struct Table {
    open: Recent<()>,
    /// Clients repeat an answer whose connection broke or that was not authorised. What has been answered must not push out
    /// what has not: pings come all the time.
    answered: Recent<()>,
}

/// What identifies something that a server asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question(String);

impl Question {
    /// A request with an id. `grant`: whose agent is asked. `owner`: the session, or the agent's process: who is asked and who
    /// answers. Ids are compared loosely: clients take `"1"` for `1`.
    pub fn request(grant: &str, owner: &str, id: Id<'_>) -> Question {
        let id = loose(id);
        Question(format!("r{} {} {grant}{owner}{id}", grant.len(), owner.len()))
    }

    /// A request under a key of `inputRequests`. `grant`: whose agent is asked. `subject`: which request of the agent's it
    /// belongs to ([`Message::subject`](super::Message::subject)); answers come with a request that has the same.
    pub fn input(grant: &str, subject: &str, key: &str) -> Question {
        Question(format!("i{} {} {grant}{subject}{key}", grant.len(), subject.len()))
    }
}

/// An id without its type: the digits of a number, what a string says.
pub fn loose(id: Id<'_>) -> Cow<'_, str> {
    match id.0.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inside) if inside.contains('\\') => {
            let text = Parser::default().parse(id.0.as_bytes()).ok().and_then(|id| id.as_str().map(Cow::into_owned));
            text.map_or(Cow::Borrowed(inside), Cow::Owned)
        }
        Some(inside) => Cow::Borrowed(inside),
        None => Cow::Borrowed(id.0),
    }
}

impl Pending {
    /// A table of at most `capacity` questions per server that wait, and as many that were answered.
    pub fn new(capacity: usize) -> Pending {
        Pending { capacity, servers: HashMap::new() }
    }

    /// Notes what `server` asked, before the agent sees it. One of more than 2 KiB is not remembered.
    pub fn asked(&mut self, server: &str, question: &Question) {
        if question.0.len() > MAX_QUESTION {
            return;
        }
        let capacity = self.capacity;
        let table = || Table { open: Recent::new(capacity), answered: Recent::new(capacity) };
        let table = self.servers.entry(server.into()).or_insert_with(table);
        table.answered.remove(&question.0);
        table.open.insert(&question.0, ());
    }

    /// Whether `server` asked this. From now on it counts as answered: it may be answered again, but is forgotten earlier.
    pub fn answered(&mut self, server: &str, question: &Question) -> bool {
        let Some(table) = self.servers.get_mut(server) else { return false };
        if table.open.remove(&question.0).is_some() {
            table.answered.insert(&question.0, ());
            return true;
        }
        table.answered.get(&question.0).is_some()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_by_who_was_asked_and_loosely_by_its_id() {
        let mut pending = Pending::new(4);
        pending.asked("a", &Question::request("g", "s", Id("1")));
        pending.asked("a", &Question::request("g", "s", Id(r#""\u0078""#)));
        for (server, owner, id, known) in [
            ("a", "s", "1", true),
            ("a", "s", "\"1\"", true),
            ("a", "s", "\"x\"", true),
            ("a", "s", "2", false),
            ("a", "t", "1", false),
            ("b", "s", "1", false),
            ("a", "", "1", false),
            ("a", "s1", "\"\"", false),
        ] {
            for _ in 0..2 {
                assert_eq!(
                    pending.answered(server, &Question::request("g", owner, Id(id))),
                    known,
                    "{server} {owner} {id}"
                );
            }
        }
    }

    #[test]
    fn an_input_belongs_to_one_request_of_the_agents() {
        let mut pending = Pending::new(4);
        pending.asked("a", &Question::input("anna", "tools/call x", "k"));
        assert!(pending.answered("a", &Question::input("anna", "tools/call x", "k")));
        for (grant, subject, key) in
            [("bert", "tools/call x", "k"), ("anna", "tools/call y", "k"), ("anna", "tools/call ", "xk")]
        {
            assert!(!pending.answered("a", &Question::input(grant, subject, key)), "{grant} {subject} {key}");
        }
        assert!(!pending.answered("a", &Question::request("anna", "", Id("\"k\""))));
    }

    #[test]
    fn what_was_answered_pushes_out_nothing_that_waits() {
        let mut pending = Pending::new(2);
        let question = |id: &str| Question::request("g", "s", Id(Box::leak(id.to_owned().into_boxed_str())));
        pending.asked("a", &question("\"slow\""));
        for ping in 0..10 {
            let ping = question(&ping.to_string());
            pending.asked("a", &ping);
            assert!(pending.answered("a", &ping));
        }
        assert!(!pending.answered("a", &question("0")));
        assert!(pending.answered("a", &question("9")) && pending.answered("a", &question("\"slow\"")));
        // Asked again, it waits again.
        pending.asked("a", &question("9"));
        assert!(pending.answered("a", &question("9")));
        pending.asked("a", &Question::request("g", "s", Id(&"1".repeat(4000))));
        assert!(!pending.answered("a", &Question::request("g", "s", Id(&"1".repeat(4000)))));
    }
}
