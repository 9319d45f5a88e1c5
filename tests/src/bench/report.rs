//! Medians, ratios, and the tables of BENCHMARKS.md.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

/// One round of one way.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Requests (or bytes) per second.
    rate: f64,
    /// Processor time of the relay per request in microseconds (or per GiB in milliseconds).
    cpu: f64,
    /// Latency percentiles in microseconds: 50, 90, 99, 99.9.
    latency: [f64; 4],
}

impl Measured {
    /// Of what the load generator said of calls.
    pub fn calls(said: &Value, cpu: Duration) -> Self {
        let number = |key: &str| said[key].as_f64().unwrap_or(0.0);
        let requests = number("requests");
        Self {
            rate: requests / number("seconds"),
            cpu: cpu.as_secs_f64() * 1e6 / requests,
            latency: ["p50", "p90", "p99", "p999"].map(number),
        }
    }

    /// Of what it said of a download.
    pub fn download(said: &Value, cpu: Duration) -> Self {
        let number = |key: &str| said[key].as_f64().unwrap_or(0.0);
        let gibibytes = number("bytes") / f64::from(1 << 30);
        Self { rate: gibibytes / number("seconds"), cpu: cpu.as_secs_f64() * 1e3 / gibibytes, latency: [0.0; 4] }
    }
}

/// All rounds of a comparison.
pub struct Rounds {
    ways: Vec<&'static str>,
    rounds: Vec<Vec<Measured>>,
}

impl Rounds {
    /// No rounds yet.
    pub fn new(ways: &[&'static str]) -> Self {
        Self { ways: ways.to_vec(), rounds: vec![Vec::new(); ways.len()] }
    }

    /// Adds a round of the `way`-th way.
    pub fn add(&mut self, way: usize, measured: Measured) {
        self.rounds[way].push(measured);
    }

    fn median(&self, way: usize, value: impl Fn(&Measured) -> f64) -> f64 {
        median(self.rounds[way].iter().map(value).collect())
    }

    /// The median of the per-round ratios of `way` to `base`: rounds are compared with their neighbours in time only.
    fn ratio(&self, way: usize, base: usize, value: impl Fn(&Measured) -> f64) -> f64 {
        let pairs = self.rounds[way].iter().zip(&self.rounds[base]);
        median(pairs.map(|(ours, theirs)| value(ours) / value(theirs)).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

/// Resident sizes in KiB.
pub struct Idle {
    /// Of the daemon without connections.
    pub resident: u64,
    /// Per idle inspected connection.
    pub inspected: f64,
    /// Per idle passed connection.
    pub passed: f64,
}

/// The report.
pub fn write(
    calls: &[(usize, Rounds)],
    stored: &Rounds,
    passed: &Rounds,
    idle: &Idle,
    decision: Option<&str>,
) -> String {
    let mut text = String::from(
        "# Benchmarks\n\nWritten by `cargo xtask bench`; the last run on the machine below. Rates on shared processors move by a \
         factor of two\nwithin an hour: read the ratios. They are medians of per-round ratios, rounds interleaved in random \
         order.\n\n",
    );
    text += &format!("{}\n", machine());
    text += "## `tools/call`, TLS on both sides, kept alive, 32 connections\n\n\
        nginx relays without a policy or a log. policyd parses, decides by two limits, writes an audit record before and\n\
        after each call, and counts. CPU is the relay's processor time per call.\n";
    for (body, rounds) in calls {
        let (nginx, policyd) = (1, 2);
        text += &format!(
            "\n### {body}-byte body\n\n| way | calls/s | × nginx | CPU µs/call | × nginx | p50 µs | p90 | p99 | p99.9 |\n\
             |---|---|---|---|---|---|---|---|---|\n"
        );
        for (way, name) in rounds.ways.iter().enumerate() {
            let cpu = rounds.median(way, |m| m.cpu);
            let cpu = if way == 0 {
                ["–".to_owned(), "–".to_owned()]
            } else {
                [format!("{cpu:.1}"), format!("{:.2}", rounds.ratio(way, nginx, |m| m.cpu))]
            };
            let latency = [0, 1, 2, 3].map(|n| format!("{:.0}", rounds.median(way, |m| m.latency[n])));
            text += &format!(
                "| {name} | {:.0} | {:.2} | {} | {} |\n",
                rounds.median(way, |m| m.rate),
                rounds.ratio(way, nginx, |m| m.rate),
                cpu.join(" | "),
                latency.join(" | ")
            );
        }
        let rate = rounds.ratio(policyd, nginx, |m| m.rate);
        let cpu = rounds.ratio(policyd, nginx, |m| m.cpu);
        text += &format!(
            "\nGoals: at least 0.8 of nginx's rate ({}), at most 1.3 of its CPU ({}).\n",
            verdict(rate >= 0.8),
            verdict(cpu <= 1.3)
        );
    }
    text += "\n## Counters that outlive the daemon, 178-byte body, 32 connections\n\n\
        One limit's window is a second, so that a transaction comes for each 64th of it.\n\n\
        | counters | calls/s | × in memory | CPU µs/call | × in memory | p50 µs | p99 |\n|---|---|---|---|---|---|---|\n";
    for (way, name) in stored.ways.iter().enumerate() {
        text += &format!(
            "| {name} | {:.0} | {:.2} | {:.1} | {:.2} | {:.0} | {:.0} |\n",
            stored.median(way, |m| m.rate),
            stored.ratio(way, 0, |m| m.rate),
            stored.median(way, |m| m.cpu),
            stored.ratio(way, 0, |m| m.cpu),
            stored.median(way, |m| m.latency[0]),
            stored.median(way, |m| m.latency[2]),
        );
    }
    let kept = stored.ratio(1, 0, |m| m.rate);
    text += &format!("\nGoal: at least 0.9 of the calls per second ({}).\n", verdict(kept >= 0.9));
    let ratio = passed.ratio(1, 0, |m| m.rate);
    text += "\n## Throughput of one passed connection\n\n| way | GiB/s | × splice relay | CPU ms/GiB |\n|---|---|---|---|\n";
    for (way, name) in passed.ways.iter().enumerate() {
        text += &format!(
            "| {name} | {:.2} | {:.2} | {:.0} |\n",
            passed.median(way, |m| m.rate),
            passed.ratio(way, 0, |m| m.rate),
            passed.median(way, |m| m.cpu)
        );
    }
    text += &format!("\nGoal: at least 0.95 of the bare relay ({}).\n", verdict(ratio >= 0.95));
    if let Some(decision) = decision {
        text += &format!("\n## The decision alone\n\n{decision}");
    }
    text += &format!(
        "\n## Memory\n\n| | KiB |\n|---|---|\n| daemon, idle | {} |\n| per idle inspected connection | {:.1} |\n\
         | per idle passed connection | {:.1} |\n\n1,000 connections each, resident size; kernel memory comes on top.\n",
        idle.resident, idle.inspected, idle.passed
    );
    text
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "**missed**" }
}

/// What the numbers were measured on.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        output.map(|o| String::from_utf8_lossy(&[o.stdout, o.stderr].concat()).trim().to_owned()).unwrap_or_default()
    };
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let memory = read("/proc/meminfo");
    let kib = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    format!(
        "| machine | |\n|---|---|\n| processor | {} × {} (virtual) |\n| memory | {} GiB |\n| kernel | {} |\n| nginx | {} |\n| load before | {} |\n",
        cores,
        model.trim_start_matches([' ', '\t', ':']),
        kib.unwrap_or(0) / (1 << 20),
        read("/proc/sys/kernel/osrelease").trim(),
        said("nginx", &["-v"]).rsplit('/').next().unwrap_or_default(),
        read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }
}
