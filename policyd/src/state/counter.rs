//! One counter: whose it is, what it holds, and what of that the store knows.

use std::sync::Mutex;

use rust_decimal::Decimal;

use crate::policy::{CounterKey, Held, History, Now, ScopeKey, Ticket, Time, exact};

/// A counter's key as it is shown and stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Whose it is.
    pub whose: Whose,
    /// Its name in the policy; of a `rate_limit` the rule's pointer.
    pub name: Box<str>,
    /// A `rate_limit`'s own counter.
    pub own: bool,
}

/// Whose a counter is: [`ScopeKey`], owned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    Grant {
        grant: Box<str>,
        server: Box<str>,
    },
    Session {
        grant: Box<str>,
        server: Box<str>,
        /// The session's keyed hash, as the audit log shows it: its id is a secret.
        session: Box<str>,
    },
    Server(Box<str>),
    Host,
    Global,
}

impl Key {
    /// The key that calls name by `key`, with `hash` for the session's id.
    pub fn new(key: &CounterKey<'_>, hash: &str) -> Key {
        let whose = match key.scope {
            ScopeKey::Grant { grant, server } => Whose::Grant { grant: grant.into(), server: server.into() },
            ScopeKey::Session { grant, server, .. } => {
                Whose::Session { grant: grant.into(), server: server.into(), session: hash.into() }
            }
            ScopeKey::Server(server) => Whose::Server(server.into()),
            ScopeKey::Host => Whose::Host,
            ScopeKey::Global => Whose::Global,
        };
        Key { whose, name: key.name.into(), own: key.own }
    }

    /// The key by which calls name it, with the session's id.
    pub fn named<'a>(&'a self, session: &'a str) -> CounterKey<'a> {
        let scope = match &self.whose {
            Whose::Grant { grant, server } => ScopeKey::Grant { grant, server },
            Whose::Session { grant, server, .. } => ScopeKey::Session { grant, server, session },
            Whose::Server(server) => ScopeKey::Server(server),
            Whose::Host => ScopeKey::Host,
            Whose::Global => ScopeKey::Global,
        };
        CounterKey { scope, name: &self.name, own: self.own }
    }

    /// The scope's name in policies, the grant, the server and the session's hash.
    pub fn parts(&self) -> (&'static str, Option<&str>, Option<&str>, Option<&str>) {
        match &self.whose {
            Whose::Grant { grant, server } => ("grant", Some(grant), Some(server), None),
            Whose::Session { grant, server, session } => ("session", Some(grant), Some(server), Some(session)),
            Whose::Server(server) => ("server", None, Some(server), None),
            Whose::Host => ("host", None, None, None),
            Whose::Global => ("global", None, None, None),
        }
    }
}

/// A counter. Calls hold it while they hold quota of it.
#[derive(Debug)]
pub(super) struct Counter {
    /// The order in which locks are taken; in the store its id.
    pub number: u64,
    /// Whose it is, and its name.
    pub key: Key,
    /// What it holds.
    pub tally: Mutex<Tally>,
}

/// What a counter holds, and what of that the store knows.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// What was admitted.
    pub history: History,
    /// What the store knows.
    pub lease: Lease,
}

/// What the store has been told of a counter. A call is admitted only as far as that covers it.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// The generation of the store that was told; 0: none. What an earlier one was told counts for nothing.
    pub generation: u64,
    /// How many windows it was told.
    pub windows: usize,
    /// The number of the next block. About as many rows are there.
    pub next: i64,
    /// The block that calls are taken from.
    pub block: Option<Block>,
    /// The store counts what was given back since.
    pub stale: bool,
}

/// Quota that the store counts as used from its beginning on: a crash can only have counted too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Block {
    /// Its number among the counter's.
    pub number: i64,
    /// How much of it is counted in the store.
    pub amount: Decimal,
    /// How much calls have taken.
    pub used: Decimal,
    /// The first of their tickets.
    pub first: u64,
    /// When the last was admitted.
    pub last: Time,
}

impl Counter {
    /// A counter of nothing.
    pub fn new(number: u64, key: Key) -> Counter {
        Counter { number, key, tally: Mutex::default() }
    }
}

impl Tally {
    /// Whether the store of this generation counts `amount` more already.
    pub fn covers(&self, amount: Decimal, generation: u64) -> bool {
        let Lease { generation: told, windows, block, .. } = &self.lease;
        *told == generation
            && *windows == self.history.windows().len()
            && (amount.is_zero() || block.as_ref().is_some_and(|block| block.with(amount).is_some()))
    }

    /// Admits `amount`, which fits and is covered.
    pub fn admit(&mut self, amount: Decimal, now: Now) -> Ticket {
        let ticket = self.history.admit(amount, now);
        if let Some(block) = &mut self.lease.block
            && let Some(used) = block.with(amount)
        {
            if block.used.is_zero() {
                block.first = ticket.number();
            }
            (block.used, block.last) = (used, self.history.latest());
        }
        ticket
    }
}

impl Block {
    /// How much of it is used with `amount` more, if it is that large.
    fn with(&self, amount: Decimal) -> Option<Decimal> {
        exact::add(self.used, amount).filter(|used| *used <= self.amount)
    }
}

impl Held for Counter {
    fn give_back(&self, ticket: Ticket) {
        // A lock that another thread's panic left behind stays refused: nothing to give back to.
        let Ok(mut tally) = self.tally.lock() else { return };
        if ticket.amount().is_zero() {
            return;
        }
        tally.history.give_back(ticket);
        let Lease { block, stale, .. } = &mut tally.lease;
        match block {
            Some(block) if ticket.number() >= block.first && block.first > 0 => {
                block.used = exact::subtract(block.used, ticket.amount()).unwrap_or(block.used);
            }
            _ => *stale = true,
        }
    }
}
