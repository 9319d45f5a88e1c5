//! The decision alone: how long it takes, by criterion, and how many instructions, by valgrind.

use std::collections::HashMap;

use anyhow::{Context as _, Result};

use crate::setup;
use crate::shell::{cargo, quietly};

/// A row of the table: what it is called there, in `benches/decide.rs` and in `benches/instructions.rs`.
struct Case {
    title: &'static str,
    time: &'static str,
    instructions: Option<&'static str>,
}

const FEW: Case = Case { title: "10 tools", time: "10 tools: decided", instructions: Some("few_exactly") };
const FEW_BY_PATTERN: Case = Case {
    title: "10 tools and 10 patterns, a pattern",
    time: "10 tools and 10 patterns: decided",
    instructions: Some("few_by_pattern"),
};
const MANY: Case = Case {
    title: "10,000 tools and 1,000 patterns, an exact name",
    time: "10,000 tools and 1,000 patterns, an exact name: decided",
    instructions: Some("many_exactly"),
};
const MANY_BY_PATTERN: Case = Case {
    title: "10,000 tools and 1,000 patterns, a pattern",
    time: "10,000 tools and 1,000 patterns, a pattern: decided",
    instructions: Some("many_by_pattern"),
};
const READ: Case = Case { title: "10 tools, read and decided", time: "10 tools: read and decided", instructions: None };

const CASES: [Case; 5] = [FEW, FEW_BY_PATTERN, MANY, MANY_BY_PATTERN, READ];

/// What noise is: instructions hardly have any, time on shared processors has a lot.
const NOISE: (f64, f64) = (0.02, 0.10);
/// The most that a decision may take, in nanoseconds.
const GOAL: f64 = 1000.0;

/// Measures, and says it for BENCHMARKS.md.
pub fn section() -> Result<String> {
    setup::valgrind()?;
    println!("bench: the decision alone");
    let arguments =
        ["bench", "--package", "policyd", "--bench", "decide", "--", "--noplot", "--output-format", "bencher"];
    let times = quietly(cargo(&arguments)).context("the decision's benchmark")?;
    println!("bench: the decision's instructions");
    let arguments = ["bench", "--package", "policyd", "--bench", "instructions", "--", "--nosummary"];
    let counts = quietly(cargo(&arguments)).context("the benchmark that counts instructions")?;
    write(&self::times(&times), &self::counts(&counts))
}

/// Medians in nanoseconds. A line of criterion's is `test GROUP/CASE ... bench: MEDIAN ns/iter (+/- DEVIATION)`.
fn times(text: &str) -> HashMap<&str, f64> {
    text.lines().filter_map(time).collect()
}

fn time(line: &str) -> Option<(&str, f64)> {
    let (id, result) = line.strip_prefix("test ")?.split_once(" ... bench:")?;
    let (_group, case) = id.split_once('/')?;
    let (median, _) = result.split_once(" ns/iter")?;
    Some((case, median.trim().replace(',', "").parse().ok()?))
}

/// Instructions of each case. gungraun writes `FILE::GROUP::decided CASE:ARGUMENTS`, and below it `Instructions: NOW|BEFORE`.
fn counts(text: &str) -> HashMap<&str, u64> {
    let mut counts = HashMap::new();
    let mut case = None;
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("::decided ") {
            case = rest.split(':').next();
        } else if let Some(count) = line.trim().strip_prefix("Instructions:")
            && let Some(case) = case.take()
            && let Some(count) = count.split('|').next().and_then(|count| count.trim().replace(',', "").parse().ok())
        {
            counts.insert(case, count);
        }
    }
    counts
}

fn write(times: &HashMap<&str, f64>, counts: &HashMap<&str, u64>) -> Result<String> {
    let time = |case: &Case| times.get(case.time).copied().with_context(|| format!("no time of `{}`", case.time));
    let count = |case: &Case| match case.instructions {
        Some(name) => counts.get(name).copied().map(Some).with_context(|| format!("no instructions of `{name}`")),
        None => Ok(None),
    };
    let mut text = String::from(
        "A realistic policy (`policyd/benches/realistic/`): six conditions, of which one is a pattern and one goes over an \
         array of\neight, three limits, 2 KiB of arguments already parsed. Built as it is shipped; the median of each case, \
         and its instructions\nas valgrind counts them. No case asks the allocator for memory: the benchmark fails if one \
         does.\n\n| case | time | instructions |\n|---|---|---|\n",
    );
    for case in &CASES {
        let instructions = count(case)?.map_or_else(|| "–".to_owned(), grouped);
        text += &format!("| {} | {:.2} µs | {instructions} |\n", case.title, time(case)? / 1000.0);
    }
    let mut same = true;
    let mut slowest: f64 = 0.0;
    for (few, many) in [(FEW, MANY), (FEW_BY_PATTERN, MANY_BY_PATTERN)] {
        let (few_time, many_time) = (time(&few)?, time(&many)?);
        same &= many_time <= few_time * (1.0 + NOISE.1);
        if let (Some(few), Some(many)) = (count(&few)?, count(&many)?) {
            same &= many as f64 <= few as f64 * (1.0 + NOISE.0);
        }
        slowest = slowest.max(few_time).max(many_time);
    }
    let verdict = |reached| if reached { "reached" } else { "**missed**" };
    text += &format!(
        "\nGoals: the same for 10 and for 10,000 tools ({}), at most 1 µs ({}).\n",
        verdict(same),
        verdict(slowest <= GOAL)
    );
    Ok(text)
}

/// `23187` → `23,187`
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As criterion and gungraun write it.
    const TIMES: &str = "\
test 6 conditions, 3 limits, 2 KiB/10 tools: decided ... bench:         873 ns/iter (+/- 44)
test 6 conditions, 3 limits, 2 KiB/10 tools and 10 patterns: decided ... bench:         918 ns/iter (+/- 95)
test 6 conditions, 3 limits, 2 KiB/10,000 tools and 1,000 patterns, an exact name: decided ... bench:         881 ns/iter (+/- 4)
test 6 conditions, 3 limits, 2 KiB/10,000 tools and 1,000 patterns, a pattern: decided ... bench:       1,012 ns/iter (+/- 3)
test 6 conditions, 3 limits, 2 KiB/10 tools: read and decided ... bench:       2,764 ns/iter (+/- 1,738)
";
    const COUNTS: &str = "\
instructions::decisions::decided few_exactly:(settled(Named :: Exactly, 10, 0))
  Instructions:                                       23187|N/A                  (*********)
  L1 Hits:                                            38347|N/A                  (*********)
instructions::decisions::decided few_by_pattern:(settled(Named :: ByPattern, 10, 10))
  Instructions:                                       23912|23912                (No change)
instructions::decisions::decided many_exactly:(settled(Named :: Exactly, 10_000, 1000))
  Instructions:                                       23191|23190                (+0.00431%)
instructions::decisions::decided many_by_pattern:(settled(Named :: ByPattern, 10_000, 1000))
  Instructions:                                       23940|N/A                  (*********)
";

    #[test]
    fn the_tables_hold_what_the_benchmarks_say() {
        let text = write(&times(TIMES), &counts(COUNTS)).unwrap();
        for line in [
            "| 10 tools | 0.87 µs | 23,187 |",
            "| 10 tools and 10 patterns, a pattern | 0.92 µs | 23,912 |",
            "| 10,000 tools and 1,000 patterns, an exact name | 0.88 µs | 23,191 |",
            "| 10,000 tools and 1,000 patterns, a pattern | 1.01 µs | 23,940 |",
            "| 10 tools, read and decided | 2.76 µs | – |",
            "Goals: the same for 10 and for 10,000 tools (**missed**), at most 1 µs (**missed**).",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        let faster = TIMES.replace("1,012 ns", "999 ns");
        let text = write(&times(&faster), &counts(COUNTS)).unwrap();
        assert!(text.ends_with("10,000 tools (reached), at most 1 µs (reached).\n"), "{text}");
    }

    #[test]
    fn a_case_that_was_not_measured_is_an_error() {
        let error = write(&times(TIMES), &counts("")).unwrap_err().to_string();
        assert_eq!(error, "no instructions of `few_exactly`");
        assert!(write(&times(""), &counts(COUNTS)).is_err());
    }
}
