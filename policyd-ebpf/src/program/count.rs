//! Counters and events.

use policyd_ebpf::{Cause, Counter, Origin, Refused};

use super::maps::{COUNTS, EVENTS};

/// Adds one.
#[inline(always)]
pub fn count(counter: Counter) {
    add(counter as u32);
}

/// Counts a refused connect and tells the daemon.
#[inline(always)]
pub fn refused(origin: &Origin, cause: Cause) {
    add(Counter::RefusedNamespace as u32 + cause as u32);
    match EVENTS.reserve(0) {
        Some(mut entry) => {
            entry.write(Refused { origin: *origin, cause: cause as u32, _pad: [0; 4] });
            entry.submit(0);
        }
        None => count(Counter::EventsLost),
    }
}

#[inline(always)]
fn add(index: u32) {
    if let Some(value) = COUNTS.get_ptr_mut(index) {
        // SAFETY: the kernel's pointer to this processor's own value.
        unsafe { *value = (*value).wrapping_add(1) };
    }
}
