//! What joins a decision's record with its outcome's.

use std::cell::Cell;
use std::fmt;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// Names one decided message: unique within a run and across restarts, in 128 bits. Shown as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId(u128);

impl CallId {
    /// The 32 lower-case hexadecimal digits.
    pub fn digits(self) -> [u8; 32] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0.to_be_bytes()) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        digits
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Makes call ids for one worker: 80 random bits per worker and start, then a counter that would take centuries to wrap.
#[derive(Debug)]
pub struct CallIds {
    next: Cell<u128>,
}

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandom;

impl CallIds {
    /// Draws the random part.
    pub fn new() -> Result<CallIds, NoRandom> {
        let mut random = [0; 16];
        SystemRandom::new().fill(&mut random[..10]).map_err(|_| NoRandom)?;
        Ok(CallIds { next: Cell::new(u128::from_be_bytes(random)) })
    }

    /// The next id.
    pub fn next(&self) -> CallId {
        let id = self.next.get();
        self.next.set(id.wrapping_add(1));
        CallId(id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_differ_within_a_worker_and_between_workers() {
        let workers = [CallIds::new().unwrap(), CallIds::new().unwrap(), CallIds::new().unwrap()];
        let ids: HashSet<CallId> = workers.iter().flat_map(|ids| (0..1000).map(|_| ids.next())).collect();
        assert_eq!(ids.len(), 3000);
    }

    #[test]
    fn digits_are_what_display_shows() {
        let id = CallId(0x0123_4567_89ab_cdef_0011_2233_4455_66ff);
        assert_eq!(id.to_string(), "0123456789abcdef00112233445566ff");
        assert_eq!(id.digits(), *b"0123456789abcdef00112233445566ff");
    }
}
