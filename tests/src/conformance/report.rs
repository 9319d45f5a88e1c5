//! The two columns.

use std::collections::{BTreeMap, BTreeSet};

use super::suite::Verdicts;

/// What one start of the suite found, directly and through policyd.
pub struct Pair {
    /// Which start.
    pub name: String,
    /// Without policyd.
    pub direct: Verdicts,
    /// With it.
    pub through: Verdicts,
}

/// Where policyd must refuse what the specification has servers refuse, and server-everything does not: run, scenario, check.
/// It has to be so: a verdict of these that is the same is an error here.
const STRICTER: [(&str, &str, &str); 2] = [
    // A version in the header that is not the one in the body; a method in the header that is not the body's.
    ("server, 2026-07-28, everything", "server-stateless", "sep-2575-http-server-header-mismatch-400"),
    ("server, 2026-07-28, everything", "tasks-request-headers", "tasks-headers-reject-mismatched-method"),
];

impl Pair {
    /// Whether everything was judged alike, but for what [`STRICTER`] names.
    pub fn is_equal(&self) -> bool {
        let scenarios: BTreeSet<&String> = self.direct.keys().chain(self.through.keys()).collect();
        scenarios.into_iter().all(|scenario| self.scenario(scenario).unequal == 0)
    }

    fn scenario(&self, name: &str) -> Scenario<'_> {
        let columns = [&self.direct, &self.through].map(|verdicts| verdicts.get(name));
        let rows = rows(columns.map(|column| column.map_or(&[][..], Vec::as_slice)));
        let as_expected = |(check, direct, through): &&Row<'_>| {
            if STRICTER.contains(&(&self.name, name, check)) {
                (*direct, *through) == ("FAILURE", "SUCCESS")
            } else {
                direct == through
            }
        };
        let unequal = rows.iter().filter(|row| !as_expected(row)).count();
        // A scenario that only one column ran differs even if it checked nothing.
        let unequal = unequal.max(usize::from(columns[0].is_some() != columns[1].is_some()));
        Scenario { ran: columns.map(|column| column.is_some()), rows, unequal }
    }
}

struct Scenario<'a> {
    ran: [bool; 2],
    rows: Vec<Row<'a>>,
    unequal: usize,
}

/// Prints a line for each scenario, and for each check that differs, or for `all` of them; then the score.
///
/// Gives whether there were checks in each pair and all verdicts were the same.
pub fn print(pairs: &[Pair], all: bool) -> bool {
    let (lines, same) = lines(pairs, all);
    for line in lines {
        println!("{line}");
    }
    same
}

/// A check and its status in both columns; `-` where it was not made.
type Row<'a> = (&'a str, &'a str, &'a str);

fn lines(pairs: &[Pair], all: bool) -> (Vec<String>, bool) {
    let mut lines = Vec::new();
    let (mut checks, mut different, mut empty) = (0, 0, pairs.is_empty());
    let mut passed = [0, 0];
    for pair in pairs {
        lines.push(format!("{:52}  {:>9}  {:>9}", pair.name, "direct", "policyd"));
        let before = checks;
        let scenarios: BTreeSet<&String> = pair.direct.keys().chain(pair.through.keys()).collect();
        for name in scenarios {
            let Scenario { ran, rows, unequal } = pair.scenario(name);
            let good = [|row: &Row<'_>| row.1 == "SUCCESS", |row: &Row<'_>| row.2 == "SUCCESS"];
            let good = good.map(|succeeded| rows.iter().filter(|row| succeeded(row)).count());
            let score = |column: usize| match ran[column] {
                true => format!("{} of {}", good[column], rows.len()),
                false => "not run".to_owned(),
            };
            let mark = if unequal == 0 { "" } else { "  DIFFERENT" };
            lines.push(format!("  {name:50}  {:>9}  {:>9}{mark}", score(0), score(1)));
            let shown = rows.iter().filter(|row| all || row.1 != row.2);
            lines.extend(shown.map(|(check, direct, through)| format!("    {check:48}  {direct:>9}  {through:>9}")));
            passed = [passed[0] + good[0], passed[1] + good[1]];
            checks += rows.len();
            different += unequal;
        }
        empty |= checks == before;
        lines.push(String::new());
    }
    let [direct, through] = passed;
    lines.push(format!(
        "{checks} checks: {direct} passed directly, {through} through policyd; {different} differ where they must not"
    ));
    if empty {
        lines.push("nothing was checked".to_owned());
    }
    (lines, !empty && different == 0)
}

/// Puts the checks of two columns side by side: the n-th of a name beside the n-th of the same name.
fn rows([direct, through]: [&[(String, String)]; 2]) -> Vec<Row<'_>> {
    let mut by_name: BTreeMap<&str, [Vec<&str>; 2]> = BTreeMap::new();
    for (column, checks) in [direct, through].into_iter().enumerate() {
        for (check, status) in checks {
            by_name.entry(check).or_default()[column].push(status);
        }
    }
    let mut rows = Vec::new();
    for (check, [direct, through]) in by_name {
        for n in 0..direct.len().max(through.len()) {
            rows.push((check, direct.get(n).copied().unwrap_or("-"), through.get(n).copied().unwrap_or("-")));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::{Pair, STRICTER, Verdicts, lines};

    fn verdicts(checks: &[(&str, &str)]) -> Verdicts {
        let checks = checks.iter().map(|(check, status)| ((*check).to_owned(), (*status).to_owned()));
        Verdicts::from([("tools-list".to_owned(), checks.collect())])
    }

    fn compared(direct: Verdicts, through: Verdicts) -> (String, bool) {
        let (lines, same) = lines(&[Pair { name: "server".to_owned(), direct, through }], false);
        (lines.join("\n"), same)
    }

    #[test]
    fn equal_verdicts_are_equal_whether_good_or_bad() {
        let both = || verdicts(&[("a", "SUCCESS"), ("b", "FAILURE")]);
        let (text, same) = compared(both(), both());
        assert!(same, "{text}");
        assert!(text.contains("2 checks: 1 passed directly, 1 through policyd; 0 differ"), "{text}");
    }

    #[test]
    fn another_verdict_a_missing_check_a_missing_scenario_and_nothing_at_all_fail() {
        let one = || verdicts(&[("a", "SUCCESS")]);
        for (direct, through) in [
            (one(), verdicts(&[("a", "FAILURE")])),
            (one(), verdicts(&[("a", "SUCCESS"), ("a", "SUCCESS")])),
            (one(), Verdicts::new()),
            (Verdicts::new(), one()),
            (Verdicts::new(), Verdicts::new()),
            (verdicts(&[]), verdicts(&[])),
        ] {
            let (text, same) = compared(direct, through);
            assert!(!same, "{text}");
        }
        assert!(!lines(&[], false).1);
    }
    #[test]
    fn what_is_listed_as_stricter_must_be_stricter() {
        let (run, scenario, check) = STRICTER[0];
        let column =
            |status: &str| Verdicts::from([(scenario.to_owned(), vec![(check.to_owned(), status.to_owned())])]);
        let equal = |name: &str, direct: &str, through: &str| {
            Pair { name: name.to_owned(), direct: column(direct), through: column(through) }.is_equal()
        };
        assert!(equal(run, "FAILURE", "SUCCESS"));
        assert!(!equal(run, "SUCCESS", "FAILURE"));
        assert!(!equal(run, "SUCCESS", "SUCCESS"));
        assert!(!equal("another run", "FAILURE", "SUCCESS"));
    }
}
