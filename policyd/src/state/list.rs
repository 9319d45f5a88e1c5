//! What the counters hold, for those who look after them, and setting them back to nothing.

use std::sync::{Arc, PoisonError};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::counter::Counter;
use super::memory::Memory;
use crate::policy::{Now, Refused, Window};

/// How many characters of a session's hash tell it from others.
pub const SESSION: usize = 8;

/// Which counters. All parts that are given must agree; one without any is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// Every counter; no other part is given then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// `grant`, `session`, `server`, `host` or `global`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// A grant's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// A server's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// A session's hash as in the audit log, or its beginning: eight characters or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// A counter's name; of a `rate_limit` the rule's pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<String>,
}

/// A counter as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// `grant`, `session`, `server`, `host` or `global`.
    pub scope: String,
    /// The grant, for the scopes `grant` and `session`.
    pub grant: Option<String>,
    /// The server, for all scopes but `host` and `global`.
    pub server: Option<String>,
    /// The session's keyed hash, for the scope `session`.
    pub session: Option<String>,
    /// Its name; of a `rate_limit` the rule's pointer.
    pub counter: String,
    /// What each window that a limit has asked about holds now.
    pub windows: Vec<Used>,
    /// How many admissions are told apart; old ones are merged.
    pub entries: usize,
    /// The oldest admission that is remembered, in seconds since 1970 (UTC).
    pub oldest: Option<f64>,
    /// The newest.
    pub newest: Option<f64>,
}

/// What a window holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// Its length in seconds.
    pub seconds: f64,
    /// Whether it is a period of the UTC calendar instead of the time before now.
    pub calendar: bool,
    /// How much of it is used: an exact decimal.
    pub used: String,
}

/// Scope, grant, server and session of a counter.
type Parts<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>);

impl Selector {
    /// Whether it selects nothing, or everything and something besides.
    pub fn is_senseless(&self) -> bool {
        let parts = [&self.scope, &self.grant, &self.server, &self.session, &self.counter];
        self.all == parts.into_iter().any(Option::is_some)
    }

    /// Whether it selects a counter that was listed. One without any part selects all.
    pub fn selects(&self, counter: &Listed) -> bool {
        let Listed { scope, grant, server, session, counter, .. } = counter;
        self.agrees((scope, grant.as_deref(), server.as_deref(), session.as_deref()), counter)
    }

    fn agrees(&self, (scope, grant, server, session): Parts<'_>, counter: &str) -> bool {
        let agrees = |asked: &Option<String>, is: Option<&str>| asked.as_deref().is_none_or(|asked| is == Some(asked));
        let begins = |asked: &String| {
            session.is_some_and(|is| is == asked || (asked.len() >= SESSION && is.starts_with(asked.as_str())))
        };
        agrees(&self.scope, Some(scope))
            && agrees(&self.grant, grant)
            && agrees(&self.server, server)
            && self.session.as_ref().is_none_or(begins)
            && agrees(&self.counter, Some(counter))
    }
}

impl Memory {
    /// The counters that hold something, or that limits have asked about, by name.
    ///
    /// # Errors
    ///
    /// [`Refused::Unavailable`] while the store is not loaded.
    pub fn list(&self, selector: &Selector, now: Now) -> Result<Vec<Listed>, Refused> {
        let mut listed: Vec<Listed> = self.selected(selector)?.iter().map(|counter| counter.listed(now)).collect();
        let name = |counter: &Listed| {
            let Listed { scope, grant, server, session, counter, .. } = counter.clone();
            (server, grant, counter, scope, session)
        };
        listed.sort_by_cached_key(name);
        Ok(listed)
    }

    /// Has the selected counters begin anew. `before` is told how many there are, and nothing happens if it fails. Gives
    /// how many began anew.
    ///
    /// # Errors
    ///
    /// What `before` gives, and [`Refused::Unavailable`] if the store cannot be written: then none begins anew. In the second
    /// case `before` was told in vain if only the commit failed.
    pub fn reset<E: From<Refused>>(
        &self,
        selector: &Selector,
        before: impl FnOnce(usize) -> Result<(), E>,
    ) -> Result<usize, E> {
        let counters = self.selected(selector)?;
        let mut book = match &self.store {
            Some(store) => Some(store.open().ok_or(Refused::Unavailable)?),
            None => None,
        };
        let before = || before(counters.len());
        match &mut book {
            Some(book) => book.reset(&counters, before)?,
            None => {
                before()?;
                counters.iter().for_each(|counter| counter.reset());
            }
        }
        Ok(counters.len())
    }

    fn selected(&self, selector: &Selector) -> Result<Vec<Arc<Counter>>, Refused> {
        if self.store.as_ref().is_some_and(|store| !store.is_loaded()) {
            return Err(Refused::Unavailable);
        }
        Ok(self.all().into_iter().filter(|counter| selector.agrees(counter.key.parts(), &counter.key.name)).collect())
    }
}

impl Counter {
    /// Forgets all admissions.
    pub(super) fn reset(&self) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.history.clear();
        tally.lease.block = None;
        tally.lease.stale = false;
    }

    fn listed(&self, now: Now) -> Listed {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let history = &mut tally.history;
        let windows: Vec<Window> = history.windows().collect();
        let used = windows.into_iter().map(|window| {
            // Asked, it leaves out what has expired.
            let _ = history.fits(window, Decimal::MAX, Decimal::ZERO, now);
            let used = history.used(window);
            Used {
                seconds: window.length() as f64 / 1e9,
                calendar: matches!(window, Window::Calendar(_)),
                used: used.normalize().to_string(),
            }
        });
        let windows = used.collect();
        // By their ages: UTC and what limits go by are two clocks.
        let utc = |time: u64| now.utc.saturating_sub(now.time.0.saturating_sub(time)) as f64 / 1e9;
        let mut times = history.entries().map(|(time, _)| utc(time.0));
        let oldest = times.next();
        let newest = times.last().or(oldest);
        let (scope, grant, server, session) = self.key.parts();
        Listed {
            scope: scope.to_owned(),
            grant: grant.map(str::to_owned),
            server: server.map(str::to_owned),
            session: session.map(str::to_owned),
            counter: self.key.name.to_string(),
            windows,
            entries: history.entries().len(),
            oldest,
            newest,
        }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::policy::{CounterKey, Counters, ScopeKey, Time, Want};

    fn reserve(memory: &Memory, scope: ScopeKey<'_>, name: &str, amount: u64) {
        let counter = CounterKey { scope, name, own: false };
        let (max, amount) = (Decimal::from(100), Decimal::from(amount));
        let want =
            Want { counter, window: Window::Rolling(60_000_000_000), windows: &[], max, amount, used: Decimal::ZERO };
        drop(memory.reserve(&mut [want], now(10)).unwrap());
    }

    fn now(seconds: u64) -> Now {
        Now { time: Time(seconds * 1_000_000_000), utc: (1_000 + seconds) * 1_000_000_000 }
    }

    fn memory() -> Memory {
        let memory = Memory::default();
        reserve(&memory, ScopeKey::Grant { grant: "anna", server: "fax" }, "calls", 3);
        reserve(&memory, ScopeKey::Grant { grant: "bert", server: "fax" }, "calls", 4);
        reserve(&memory, ScopeKey::Server("fax"), "calls", 5);
        reserve(&memory, ScopeKey::Host, "all", 6);
        memory
    }

    #[test]
    fn a_list_says_what_windows_hold_now() {
        let memory = memory();
        let grant = Selector { grant: Some("anna".into()), ..Selector::default() };
        let listed = memory.list(&grant, now(30)).unwrap();
        let used = vec![Used { seconds: 60.0, calendar: false, used: "3".into() }];
        assert_eq!(listed.len(), 1);
        assert_eq!((&listed[0].windows, listed[0].entries), (&used, 1));
        assert_eq!((listed[0].oldest, listed[0].newest), (Some(1_010.0), Some(1_010.0)));
        assert_eq!(memory.list(&grant, now(70)).unwrap()[0].windows[0].used, "0");
        let all = memory.list(&Selector::default(), now(30)).unwrap();
        let names: Vec<_> = all.iter().map(|one| (one.scope.as_str(), one.counter.as_str())).collect();
        assert_eq!(names, [("host", "all"), ("server", "calls"), ("grant", "calls"), ("grant", "calls")]);
    }

    #[test]
    fn a_reset_takes_what_is_selected_and_says_so_before() {
        let memory = memory();
        let selector = Selector { server: Some("fax".into()), scope: Some("grant".into()), ..Selector::default() };
        assert_eq!(memory.reset(&selector, |_| Err(Refused::Unavailable)), Err(Refused::Unavailable));
        let used = || {
            let all = memory.list(&Selector::default(), now(30)).unwrap();
            all.into_iter().map(|one| one.windows[0].used.clone()).collect::<Vec<_>>()
        };
        assert_eq!(used(), ["6", "5", "3", "4"]);
        let mut told = 0;
        let done = memory.reset(&selector, |count| {
            told = count;
            Ok::<_, Refused>(())
        });
        assert_eq!((done, told), (Ok(2), 2));
        assert_eq!(used(), ["6", "5", "0", "0"]);
    }

    #[test]
    fn a_session_is_known_by_the_beginning_of_its_hash() {
        let memory = memory();
        for session in ["5e551000-0", "5e552000-0"] {
            reserve(&memory, ScopeKey::Session { grant: "anna", server: "fax", session }, "calls", 1);
        }
        let all = memory.list(&Selector::default(), now(30)).unwrap();
        let hash = all.iter().find_map(|one| one.session.clone()).unwrap();
        for (length, count) in [(hash.len(), 1), (SESSION, 1), (SESSION - 1, 0), (0, 0)] {
            let selector = Selector { session: Some(hash[..length].to_owned()), ..Selector::default() };
            assert_eq!(memory.list(&selector, now(30)).unwrap().len(), count, "{length}");
            assert_eq!(all.iter().filter(|one| selector.selects(one)).count(), count, "{length}");
        }
    }

    #[test]
    fn a_selector_says_something() {
        let read = |text: &str| serde_json::from_str::<Selector>(text);
        assert!(read("{}").unwrap().is_senseless());
        assert!(read(r#"{"all": true, "grant": "x"}"#).unwrap().is_senseless());
        assert!(!read(r#"{"all": true}"#).unwrap().is_senseless());
        assert!(!read(r#"{"counter": "x", "session": "00"}"#).unwrap().is_senseless());
        assert!(read(r#"{"grnat": "x"}"#).is_err());
    }
}
