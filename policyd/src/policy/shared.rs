//! Counters that several limits count on, in one policy or in several: what one of them must know of the others.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::compiled::{Entry, Limit, Scope};
use super::conditions::Path;
use super::{Policy, Window};

/// The counters that policies name, beyond those of one document.
#[derive(Debug, Default)]
pub struct Shared {
    windows: HashMap<(Scope, Arc<str>), BTreeSet<Window>>,
    /// What is added to a counter, by the server that it counts on, where it is one server's; and who said so.
    adds: HashMap<(Scope, String, Arc<str>), Adds>,
}

/// The path that a policy adds up, if it does not count calls; and the policy's name.
type Adds = (Option<Path>, String);

/// Two policies that mean different things by one counter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its limits on counter `{counter}` {}, those of `{other}` {}", said(.adds), said(.others))]
pub struct Conflict {
    /// The counter's name.
    pub counter: Arc<str>,
    /// The path that is added up; `None`: calls are counted.
    pub adds: Option<String>,
    /// The other policy.
    pub other: String,
    /// What that adds up.
    pub others: Option<String>,
}

fn said(adds: &Option<String>) -> String {
    adds.as_ref().map_or("count calls".to_owned(), |path| format!("add up `{path}`"))
}

impl Shared {
    /// Notes the limits of a policy that is in force for `server`; `name` is for messages.
    ///
    /// # Errors
    ///
    /// The first counter on which it does not agree with a policy that was noted before.
    pub fn note(&mut self, name: &str, server: &str, policy: &Policy) -> Result<(), Conflict> {
        for limit in policy.limits().filter(|limit| !limit.own) {
            self.windows.entry((limit.scope, limit.counter.clone())).or_default().insert(limit.window);
            let server = match limit.scope {
                Scope::Host | Scope::Global => "",
                Scope::Server => server,
                // Of one grant, and so of one policy.
                Scope::Grant | Scope::Session => continue,
            };
            let adds = limit.amount.as_ref();
            let key = (limit.scope, server.to_owned(), limit.counter.clone());
            let (others, other) = self.adds.entry(key).or_insert_with(|| (adds.cloned(), name.to_owned()));
            // Where they lead, however they are written.
            if others.as_ref().map(Path::steps) != adds.map(Path::steps) {
                let text = |path: &Path| path.text().to_owned();
                return Err(Conflict {
                    counter: limit.counter.clone(),
                    adds: adds.map(text),
                    other: other.clone(),
                    others: others.as_ref().map(text),
                });
            }
        }
        Ok(())
    }

    /// Lets the limits of `policy` know every window on their counters. One that nobody watches counts from the first call
    /// that asks it, and would not see what came before.
    pub fn tell(&self, policy: &mut Policy) {
        for limit in policy.limits_mut() {
            let key = (limit.scope, limit.counter.clone());
            limit.windows = match self.windows.get(&key).filter(|_| !limit.own) {
                Some(windows) => windows.iter().copied().collect(),
                None => Box::from([limit.window]),
            };
        }
    }
}

impl Policy {
    /// Every limit, in no order.
    fn limits(&self) -> impl Iterator<Item = &Limit> {
        let entries = self.tools.values().chain(self.methods.values());
        self.all_tools.limits.iter().chain(entries.flat_map(|entry: &Entry| &entry.rules.limits))
    }

    fn limits_mut(&mut self) -> impl Iterator<Item = &mut Limit> {
        let entries = self.tools.values_mut().chain(self.methods.values_mut());
        self.all_tools.limits.iter_mut().chain(entries.flat_map(|entry: &mut Entry| &mut entry.rules.limits))
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn policy(limits: &str) -> Policy {
        let text = format!(r#"{{ "version": "1", "default": "deny", "all_tools": {{ "limits": [ {limits} ] }} }}"#);
        Policy::load("p", &text).unwrap_or_else(|report| panic!("{}", report.render(false)))
    }

    #[test]
    fn every_window_of_a_counter_is_known_to_all_that_share_it() {
        let limit = |window: &str, scope: &str| {
            format!(r#"{{ "counter": "c", "window": "{window}", "max": 1, "scope": "{scope}" }}"#)
        };
        let mut first = policy(&format!("{}, {}", limit("minute", "host"), limit("minute", "grant")));
        let second = policy(&limit("day", "host"));
        let mut shared = Shared::default();
        for (name, policy) in [("first", &first), ("second", &second)] {
            shared.note(name, "server", policy).expect("both count calls");
        }
        shared.tell(&mut first);
        let windows: Vec<usize> = first.limits().map(|limit| limit.windows.len()).collect();
        assert_eq!(windows, [2, 1], "the host's counter has the other policy's window, the grant's has not");
    }

    #[test]
    fn policies_agree_on_what_a_counter_adds_however_it_is_written() {
        let limit =
            |adds: &str| policy(&format!(r#"{{ "counter": "c", "window": "day", "max": 1, "scope": "host"{adds} }}"#));
        let mut shared = Shared::default();
        for adds in [r#", "increment_from": "args.a""#, r#", "increment_from": "args[\"a\"]""#] {
            assert_eq!(shared.note("one", "server", &limit(adds)), Ok(()), "{adds}");
        }
        for (adds, said) in [("", "count calls"), (r#", "increment_from": "args.b""#, "add up `args.b`")] {
            let conflict = shared.note("two", "other", &limit(adds)).unwrap_err().to_string();
            assert_eq!(conflict, format!("its limits on counter `c` {said}, those of `one` add up `args.a`"));
        }
    }
}
