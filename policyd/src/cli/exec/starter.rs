//! A first policy for what was seen. Pure.

use std::collections::BTreeMap;

use super::tally::{Tally, What};

/// How much busier than the fullest minute seen an agent may become before a limit stops it.
const ROOM: u64 = 4;

/// A policy document that allows the tools and methods that were seen, each up to a multiple of its busiest minute, and nothing
/// else; and what it cannot say, for a person to read.
pub fn starter(tally: &Tally) -> (String, Vec<String>) {
    let mut tools: BTreeMap<&str, u64> = BTreeMap::new();
    let mut methods: BTreeMap<&str, u64> = BTreeMap::new();
    let mut left_out = Vec::new();
    for (_, what, row) in tally.rows() {
        if row.allowed + row.would_deny == 0 {
            continue;
        }
        let (peaks, name) = match what {
            What::Tool(name) => (&mut tools, name),
            What::Method(name) => (&mut methods, name),
            What::Unreadable => continue,
        };
        // `*` in a policy is a pattern: written as it is, it would allow more than was seen.
        if name.contains('*') {
            left_out.push(format!("`{what}`: its name would be read as a pattern"));
            continue;
        }
        let peak = peaks.entry(name).or_default();
        *peak = (*peak).max(row.peak);
    }
    left_out.sort();
    left_out.dedup();
    let methods = if methods.is_empty() { String::new() } else { format!(",\n  \"methods\": {}", entries(&methods)) };
    let text = format!(
        "{{\n  \"version\": \"1\",\n  \"description\": \"Allows what `policyd exec` saw: review it.\",\n  \
         \"default\": \"deny\",\n  \"tools\": {}{methods}\n}}\n",
        entries(&tools)
    );
    (text, left_out)
}

fn entries(peaks: &BTreeMap<&str, u64>) -> String {
    if peaks.is_empty() {
        return "{}".to_owned();
    }
    let entries: Vec<String> = peaks.iter().map(|(name, peak)| entry(name, *peak)).collect();
    format!("{{\n{}\n  }}", entries.join(",\n"))
}

/// The entry of one tool or method.
fn entry(name: &str, peak: u64) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let (tool, counter, max) = (quoted(name), quoted(&format!("{name}_rate")), round_up(peak.saturating_mul(ROOM)));
    format!(
        "    {tool}: {{\n      \"limits\": [\n        {{ \"counter\": {counter}, \"window\": \"minute\", \"max\": {max}, \
         \"scope\": \"grant\" }}\n      ]\n    }}"
    )
}

/// The next number that a person would have chosen: 10, 20, 50, 100, 200, 500 …
fn round_up(number: u64) -> u64 {
    let mut decade: u64 = 10;
    loop {
        for factor in [1, 2, 5] {
            let round = decade.saturating_mul(factor);
            if round >= number {
                return round;
            }
        }
        decade = decade.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::exec::tally::tests::{End, call, other};
    use crate::policy::Policy;

    fn seen() -> Tally {
        let mut tally = Tally::default();
        for _ in 0..7 {
            tally.add(&call("start_session", End::Allow), Duration::ZERO);
        }
        tally.add(&call("odd \"name\"", End::WouldDeny), Duration::ZERO);
        tally.add(&call("refused", End::Deny), Duration::ZERO);
        tally.add(&call("a*", End::Allow), Duration::ZERO);
        tally.add(&other("resources/read", End::Allow), Duration::ZERO);
        tally
    }

    #[test]
    fn what_was_seen_is_allowed_with_room_and_nothing_else() {
        let (text, left_out) = starter(&seen());
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["default"], "deny");
        let tools = document["tools"].as_object().unwrap();
        assert_eq!(tools.keys().collect::<Vec<_>>(), ["odd \"name\"", "start_session"]);
        assert_eq!(tools["start_session"]["limits"][0]["max"], 50);
        assert_eq!(tools["odd \"name\""]["limits"][0]["max"], 10);
        assert_eq!(document["methods"]["resources/read"]["limits"][0]["max"], 10);
        assert_eq!(left_out, ["`a*`: its name would be read as a pattern"]);
    }

    #[test]
    fn it_loads() {
        for tally in [seen(), Tally::default()] {
            let loaded = Policy::load("starter.json", &starter(&tally).0);
            assert!(loaded.is_ok(), "{:?}", loaded.err());
        }
    }

    #[test]
    fn numbers_are_rounded_up_to_round_ones() {
        for (number, round) in [(0, 10), (10, 10), (11, 20), (28, 50), (51, 100), (400, 500), (u64::MAX, u64::MAX)] {
            assert_eq!(round_up(number), round);
        }
    }
}
