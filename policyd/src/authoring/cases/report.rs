//! What became of the cases, for people and for programs.

use serde_json::{Value, json};

use super::{CaseResult, Failure};
use crate::diagnostic::{Diagnostic, Places};

/// A failed case, shown with its place in the test file, what differs, and what decided. Passed ones show nothing.
pub(crate) fn render(file: &str, places: &Places<'_>, case: &CaseResult, color: bool) -> String {
    case.failures.iter().map(|failure| render_failure(file, places, &case.name, failure, color)).collect()
}

fn render_failure(file: &str, places: &Places<'_>, name: &str, failure: &Failure, color: bool) -> String {
    let diagnostic = Diagnostic::error(failure.span.clone(), format!("{name}: {}", failure.message));
    let width = failure.rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
    let mut lines = places.render(file, &diagnostic, color) + "\n";
    let paint = |code: &str, line: String| if color { format!("\u{1b}[{code}m{line}\u{1b}[0m\n") } else { line + "\n" };
    for row in &failure.rows {
        let what = &row.what;
        match &row.expected {
            Some(expected) if !row.agrees => {
                lines.push_str(&paint("31", format!("  - {what:width$}  {expected}")));
                lines.push_str(&paint("32", format!("  + {what:width$}  {}", row.actual)));
            }
            _ => lines.push_str(&format!("    {what:width$}  {}\n", row.actual)),
        }
    }
    for (title, step) in [("decided by", &failure.deciding), ("meant was ", &failure.meant)] {
        for (index, line) in step.iter().enumerate() {
            lines.push_str(&if index == 0 { format!("  {title} {line}\n") } else { format!("      {line}\n") });
        }
    }
    lines.push('\n');
    lines
}

/// A case as a JSON object. `suite` is the policy's path.
pub(crate) fn json(file: &str, places: &Places<'_>, suite: &str, case: &CaseResult) -> Value {
    let failures: Vec<Value> = case
        .failures
        .iter()
        .map(|failure| {
            let (line, column) = places.line_column(failure.span.start);
            let rows = failure.rows.iter().map(
                |row| json!({ "what": row.what, "expected": row.expected, "actual": row.actual, "agrees": row.agrees }),
            );
            json!({
                "line": line,
                "column": column,
                "message": failure.message,
                "compared": rows.collect::<Vec<_>>(),
                "decided_by": failure.deciding,
                "meant": failure.meant,
            })
        })
        .collect();
    let (line, column) = places.line_column(case.span.start);
    json!({
        "file": file,
        "policy": suite,
        "name": case.name,
        "line": line,
        "column": column,
        "passed": case.failures.is_empty(),
        "failures": failures,
    })
}
