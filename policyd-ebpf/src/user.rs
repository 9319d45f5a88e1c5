//! Lets aya copy the shared types in and out of maps.

use super::{Listener, Origin, Refused, Settings, Tuple};

// SAFETY: all of them are `repr(C)`, `Copy`, made of integers only and without implicit padding (sizes asserted), so
// every bit pattern is a value and every byte is initialised.
unsafe impl aya::Pod for Origin {}
// SAFETY: as above.
unsafe impl aya::Pod for Tuple {}
// SAFETY: as above.
unsafe impl aya::Pod for Listener {}
// SAFETY: as above.
unsafe impl aya::Pod for Settings {}
// SAFETY: as above.
unsafe impl aya::Pod for Refused {}
