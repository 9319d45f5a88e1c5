//! Refused connects, as the programs tell them.

use std::io;

use aya::maps::{MapData, RingBuf};
use policyd_ebpf::Cause;
use tokio::io::unix::AsyncFd;

use super::{Origin, sys};

/// A connect that the kernel programs refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who asked for what.
    pub origin: Origin,
    /// Why it was refused.
    pub cause: Cause,
}

/// Refused connects, in the order in which they happened. Reads a ring buffer; what does not fit is counted as
/// `events_lost`.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Events {
    /// Watches the ring from the current runtime.
    pub(super) fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        // SAFETY: a `RingBuf` owns its map and with it the one descriptor.
        Ok(Self { ring: unsafe { sys::watch(ring) }? })
    }

    /// The next refused connect.
    ///
    /// Cancellation loses nothing.
    ///
    /// # Errors
    ///
    /// The reactor's, when the runtime shuts down.
    pub async fn next(&mut self) -> io::Result<Refusal> {
        loop {
            let mut ready = self.ring.readable_mut().await?;
            while let Some(item) = ready.get_inner_mut().next() {
                if let Some(refusal) = refusal(&item) {
                    return Ok(refusal);
                }
            }
            ready.clear_ready();
        }
    }
}

fn refusal(bytes: &[u8]) -> Option<Refusal> {
    let refused: policyd_ebpf::Refused = sys::from_bytes(bytes)?;
    Some(Refusal { origin: refused.origin.into(), cause: Cause::from_u32(refused.cause)? })
}
