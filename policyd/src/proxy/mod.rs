//! A connection's life: [`connection`] classifies and routes it; what passes is joined by [`splice`]; what is inspected is
//! served by [`serve`] (HTTP/1.1 behind a [`gate`] that reads its framing), and each request of it goes through [`exchange`]: [`intake`] → [`judge`] → [`forward`] →
//! [`response`], with [`respond`] for every answer of policyd's own. Of a response that has to be read, [`messages`] takes each
//! message: [`requests`] judges what the server asks, [`stead`] answers what was refused, [`lists`] filters tool lists.
//!
//! [`stdio`] does the same for a server that is a command: lines instead of requests, and no connection.

pub mod admission;
pub mod agent;
mod alpn;
mod authority;
mod batch;
mod body;
pub mod connection;
mod dial;
mod exchange;
mod exec;
mod fields;
mod forward;
mod gate;
mod intake;
mod judge;
mod lists;
mod messages;
mod pool;
mod prefixed;
mod requests;
mod respond;
mod response;
mod serve;
mod splice;
pub mod stdio;
mod stead;
mod streams;
mod upstream;
pub mod worker;
