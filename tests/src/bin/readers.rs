//! Makes messages and compares what policyd, serde_json, Python and Node read in those that policyd accepts, for some time.

use std::time::{Duration, Instant};

use clap::Parser;
use policyd_tests::messages::Messages;
use policyd_tests::readers::{Readers, Tally};

#[derive(Parser)]
struct Arguments {
    /// How long, in seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Repeats the run of a seed.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let of_the_time = || std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
    let seed = arguments.seed.unwrap_or_else(of_the_time);
    println!("seed {seed}");
    let (mut readers, mut messages, mut tally) = (Readers::start()?, Messages::new(seed), Tally::default());
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    while Instant::now() < end {
        readers.compare(&mut messages, &mut tally)?;
    }
    println!("{} messages, {} accepted, {} of them calls: all readers agree", tally.made, tally.accepted, tally.calls);
    Ok(())
}
