//! The counters of limits as [`decide`](super::decide()) asks for them, wherever they live.

use std::fmt;
use std::time::Duration;

use rust_decimal::Decimal;
use smallvec::SmallVec;

use super::Time;

/// The counters of limits, wherever they live.
pub trait Counters {
    /// Reserves all of `wants` or none, and notes in each what its window then holds.
    ///
    /// Wants on one counter are one admission: its amount is counted once, against every window. They carry the same
    /// amount, which the loader sees to.
    fn reserve(&self, wants: &mut [Want<'_>], now: Time) -> Result<Reservation, Refused>;
}

/// One limit that a call must fit into.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// Which counter.
    pub counter: CounterKey<'a>,
    /// The rolling window's length, in nanoseconds; more than zero.
    pub window: u64,
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

/// A counter's key as bytes; long enough for ordinary names without an allocation.
pub type KeyBytes = SmallVec<[u8; 128]>;

impl CounterKey<'_> {
    /// The key as bytes; two keys have the same bytes only if they are equal. The session comes last.
    pub fn to_bytes(&self) -> KeyBytes {
        let mut bytes = KeyBytes::new();
        let (tag, parts): (u8, [&str; 3]) = match self.scope {
            ScopeKey::Grant { grant, server } => (b'g', [grant, server, ""]),
            ScopeKey::Session { grant, server, session } => (b's', [grant, server, session]),
            ScopeKey::Server(server) => (b'v', [server, "", ""]),
            ScopeKey::Host => (b'h', ["", "", ""]),
            ScopeKey::Global => (b'*', ["", "", ""]),
        };
        bytes.push(tag);
        bytes.push(u8::from(self.own));
        // The length before each part: no name can pretend to be two.
        for part in [self.name].into_iter().chain(parts) {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes
    }
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

/// Quota that a store holds for a call.
pub trait Held: Send {
    /// Frees exactly what was reserved.
    fn give_back(self: Box<Self>);
}

/// Quota that a call holds. Dropped: used up. [`Reservation::give_back`]: free again.
#[derive(Default)]
#[must_use = "a reservation that is dropped stays used"]
pub struct Reservation(Option<Box<dyn Held>>);

impl Reservation {
    /// A reservation of what a store holds.
    pub fn of(held: Box<dyn Held>) -> Reservation {
        Reservation(Some(held))
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Frees the quota: only for a call that policyd itself saw fail before its request was sent whole.
    pub fn give_back(self) {
        if let Some(held) = self.0 {
            held.give_back();
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("is_empty", &self.is_empty()).finish()
    }
}
