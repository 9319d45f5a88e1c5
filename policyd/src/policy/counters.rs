//! The counters of limits as [`decide`](super::decide()) asks for them, wherever they live.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use smallvec::SmallVec;

use super::limits::Ticket;
use super::{Now, Window};

/// The counters of limits, wherever they live.
pub trait Counters {
    /// Reserves all of `wants` or none, and notes in each what its window then holds.
    ///
    /// Wants on one counter are one admission: its amount is counted once, against every window. They carry the same
    /// amount, which the loader sees to.
    fn reserve(&self, wants: &mut [Want<'_>], now: Now) -> Result<Reservation, Refused>;
}

/// One limit that a call must fit into.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// Which counter.
    pub counter: CounterKey<'a>,
    /// Its window.
    pub window: Window,
    /// All windows that limits have on the counter: it has to count for those, too, that this call does not ask.
    pub windows: &'a [Window],
    /// What the window may hold.
    pub max: Decimal,
    /// What this call adds; not negative.
    pub amount: Decimal,
    /// Set by [`Counters::reserve`]: what the window holds, this call included if it was admitted.
    pub used: Decimal,
}

/// What identifies a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CounterKey<'a> {
    /// Whose it is.
    pub scope: ScopeKey<'a>,
    /// Its name in the policy; of a `rate_limit` the rule's pointer.
    pub name: &'a str,
    /// A `rate_limit`'s own counter, which no name in a policy can reach.
    pub own: bool,
}

/// Whose a counter is. The scopes below `Host` hold the server's name, so that two servers never share by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScopeKey<'a> {
    /// A grant's.
    Grant {
        /// The grant's name.
        grant: &'a str,
        /// The server's name.
        server: &'a str,
    },
    /// A session's. It holds the grant too: one agent cannot use up another's quota by taking its session id.
    Session {
        /// The grant's name.
        grant: &'a str,
        /// The server's name.
        server: &'a str,
        /// The session's key.
        session: &'a str,
    },
    /// A server's, over all grants.
    Server(&'a str),
    /// This host's, over all servers.
    Host,
    /// Over all hosts that share a store.
    Global,
}

/// Why a reservation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The limit at this index of the wants is the first that is exhausted; trying again can help after the duration,
    /// when all of them have room again. `None`: the call can never fit.
    Exhausted(usize, Option<Duration>),
    /// The store cannot be asked: `state-unavailable`.
    Unavailable,
}

/// A counter of a store, of which calls hold quota.
pub trait Held: Send + Sync {
    /// Frees exactly what was reserved. `ticket` is the store's own, from the reservation.
    fn give_back(&self, ticket: Ticket);
}

/// Quota that a call holds. Dropped: used up. [`Reservation::give_back`]: free again.
#[derive(Default)]
#[must_use = "a reservation that is dropped stays used"]
pub struct Reservation(SmallVec<[(Arc<dyn Held>, Ticket); 3]>);

impl Reservation {
    /// Adds what a call holds of one counter.
    pub fn hold(&mut self, counter: Arc<dyn Held>, ticket: Ticket) {
        self.0.push((counter, ticket));
    }

    /// Adds what another call holds: both are kept or given back together.
    pub fn join(&mut self, other: Reservation) {
        self.0.extend(other.0);
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Frees the quota: only for a call that policyd itself saw fail before its request was sent whole.
    pub fn give_back(self) {
        for (counter, ticket) in self.0 {
            counter.give_back(ticket);
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("is_empty", &self.is_empty()).finish()
    }
}
