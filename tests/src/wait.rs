//! Waiting for conditions, never for time.

use std::time::{Duration, Instant};

/// How long any single condition may take before the test is called failed. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `condition` until it gives a value, for at most [`PATIENCE`].
///
/// # Panics
/// When the condition gave nothing in time, naming `what`.
pub fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, condition)
}

/// As [`until`], with a limit of its own.
///
/// # Panics
/// When the condition gave nothing in time, naming `what`.
pub fn within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
