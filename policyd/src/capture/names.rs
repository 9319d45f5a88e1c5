//! The names of the configured servers, resolved by policyd itself, and the addresses that they protect.

mod protected;
mod resolve;
mod system;

pub use protected::{Protected, canonical};
pub use resolve::{LookupError, Names, Status};
