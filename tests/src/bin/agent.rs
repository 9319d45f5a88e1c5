//! Clients written in Rust, to be run inside an agent's cgroup: `agent mcp URL STEPS` is the rmcp SDK (steps and output
//! as in `tests/clients/python/client.py`), `agent raw` speaks bytes, `agent flood` is a crowd of hostile connections.

use clap::Parser;
use policyd_tests::{flood, raw, sdk, volley};

#[derive(Parser)]
enum Agent {
    /// The rmcp client.
    Mcp {
        /// The endpoint.
        url: String,
        /// A JSON list of steps.
        steps: String,
    },
    /// Sends standard input over TCP, or TLS with --sni, and prints what comes back until the end.
    Raw(raw::Raw),
    /// Sends many requests, each on a connection of its own.
    Volley(volley::Volley),
    /// Opens many hostile connections and holds them until standard input ends.
    Flood(flood::Flood),
}

fn main() -> anyhow::Result<()> {
    match Agent::parse() {
        Agent::Mcp { url, steps } => sdk::run(&url, &steps),
        Agent::Raw(raw) => raw.run(),
        Agent::Volley(volley) => volley.run(),
        Agent::Flood(flood) => flood.run(),
    }
}
