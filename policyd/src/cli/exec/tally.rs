//! What was seen so far, per server and tool: the lines on stderr, the table at the end, and what a starter policy is made
//! of. Pure: the time comes in.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::shape::{Shape, printable};
use crate::policy::RuleKind;
use crate::telemetry::{Decided, Effect};
use crate::visible::visible;

/// Agents choose tool names; beyond this many, the rest is counted as one.
const ROWS: usize = 1000;

/// Counts of everything that was decided.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    rows: BTreeMap<(String, What), Row>,
    plumbing: u64,
    beyond: u64,
}

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Calls of a tool.
    Tool(String),
    /// Requests of another method.
    Method(String),
    /// Bodies that were no JSON-RPC.
    Unreadable,
}

/// One row.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Forwarded, without a rule against it.
    pub allowed: u64,
    /// Refused.
    pub denied: u64,
    /// Forwarded, although enforcing would have refused.
    pub would_deny: u64,
    /// The rule that decided last; one that denies stays.
    pub rule: String,
    /// The arguments of all calls.
    pub shape: Option<Shape>,
    /// The most calls that were forwarded in one minute, counted from the first.
    pub peak: u64,
    minute: u64,
    in_minute: u64,
}

impl Tally {
    /// Counts one decision, `at` this long after the beginning.
    pub fn add(&mut self, decided: &Decided<'_>, at: Duration) {
        if decided.rule.kind == RuleKind::Protocol {
            self.plumbing += 1;
            return;
        }
        let key = (decided.server.to_owned(), What::of(decided));
        if self.rows.len() >= ROWS && !self.rows.contains_key(&key) {
            self.beyond += 1;
            return;
        }
        let row = self.rows.entry(key).or_default();
        match (decided.effect, decided.observed) {
            (Effect::Deny, _) => row.denied += 1,
            (Effect::Allow, true) => row.would_deny += 1,
            (Effect::Allow, false) => row.allowed += 1,
        }
        let against = decided.effect == Effect::Deny || decided.observed;
        if against || row.denied + row.would_deny == 0 {
            row.rule = decided.rule.pointer.to_string();
        }
        if decided.effect != Effect::Deny {
            let minute = at.as_secs() / 60;
            row.in_minute = if row.minute == minute { row.in_minute + 1 } else { 1 };
            row.minute = minute;
            row.peak = row.peak.max(row.in_minute);
        }
        if let Some(text) = decided.arguments {
            let shape = Shape::of(text);
            row.shape = Some(match row.shape.take() {
                Some(known) => known.merge(shape),
                None => shape,
            });
        }
    }

    /// The rows, by server and what they are about.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &What, &Row)> {
        self.rows.iter().map(|((server, what), row)| (server.as_str(), what, row))
    }

    /// The table at the end, with the arguments' shapes if `shapes`; ends with a newline.
    pub fn table(&self, shapes: bool) -> String {
        if self.rows.is_empty() && self.plumbing == 0 {
            return "policyd: no MCP message was seen\n".to_owned();
        }
        let head = ["SERVER", "TOOL", "ALLOWED", "DENIED", "WOULD DENY", "RULE"].map(str::to_owned);
        let mut lines = vec![head];
        for (server, what, row) in self.rows() {
            let counts = [row.allowed, row.denied, row.would_deny].map(|n| n.to_string());
            let [allowed, denied, would_deny] = counts;
            lines.push([printable(server), what.to_string(), allowed, denied, would_deny, printable(&row.rule)]);
        }
        let mut table = "policyd: summary\n".to_owned();
        for line in &lines {
            let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or_default();
            let mut text = String::new();
            for (column, cell) in line.iter().enumerate() {
                let (left, right) = if (2..5).contains(&column) { ("", cell.as_str()) } else { (cell.as_str(), "") };
                let pad = " ".repeat(width(column) - cell.chars().count());
                let _ = write!(text, "  {left}{pad}{right}");
            }
            table.push_str(text.trim_end());
            table.push('\n');
        }
        if shapes {
            for (server, what, row) in self.rows() {
                if let Some(shape) = &row.shape {
                    let _ = writeln!(table, "  {} {what} {shape}", printable(server));
                }
            }
        }
        if self.plumbing > 0 {
            let _ = writeln!(table, "  and {} protocol messages (initialize, lists, notifications …)", self.plumbing);
        }
        if self.beyond > 0 {
            let _ = writeln!(table, "  and {} calls of further tools", self.beyond);
        }
        table
    }
}

/// The line on stderr for one decision; `None` for plumbing.
pub fn line(decided: &Decided<'_>, shapes: bool) -> Option<String> {
    if decided.rule.kind == RuleKind::Protocol {
        return None;
    }
    let verb = match (decided.effect, decided.observed) {
        (Effect::Deny, _) => "deny",
        (Effect::Allow, true) => "would deny",
        (Effect::Allow, false) => "allow",
    };
    let mut line = format!("policyd: {verb} {} {}", printable(decided.server), What::of(decided));
    if let Some(text) = decided.arguments.filter(|_| shapes) {
        let _ = write!(line, " {}", Shape::of(text));
    }
    let _ = write!(line, " ({})", printable(&decided.rule.pointer));
    if let Some(reason) = decided.reason.filter(|_| verb != "allow") {
        let _ = write!(line, ": {}", visible(reason));
    }
    Some(line)
}

// === impl What ===

impl What {
    fn of(decided: &Decided<'_>) -> Self {
        // Names are kept as they are, but not without end: they become keys of a map.
        let cut = |name: &str| name.chars().take(256).collect();
        match (decided.tool, decided.method) {
            (Some(tool), _) => Self::Tool(cut(tool)),
            (None, Some(method)) => Self::Method(cut(method)),
            (None, None) => Self::Unreadable,
        }
    }
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tool(name) => f.write_str(&printable(name)),
            Self::Method(name) => write!(f, "({})", printable(name)),
            Self::Unreadable => f.write_str("(malformed)"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::policy::{Direction, Rule};
    use crate::telemetry::CallIds;

    /// How a call in these tests ended.
    #[derive(Clone, Copy, PartialEq)]
    pub(in super::super) enum End {
        Allow,
        Deny,
        WouldDeny,
    }

    fn rule(pointer: &str, kind: RuleKind) -> &'static Rule {
        Box::leak(Box::new(Rule { pointer: pointer.into(), kind }))
    }

    pub(in super::super) fn call(tool: &str, end: End) -> Decided<'_> {
        let refused = end != End::Allow;
        Decided {
            call: CallIds::new().unwrap().next(),
            at: SystemTime::UNIX_EPOCH,
            identity: Box::leak(Box::default()),
            grant: Some("exec"),
            server: "promptfax",
            direction: Direction::ToServer,
            method: Some("tools/call"),
            tool: Some(tool),
            effect: if end == End::Deny { Effect::Deny } else { Effect::Allow },
            rule: if refused { rule("/default", RuleKind::Default) } else { rule("/tools/x", RuleKind::Tool) },
            reason: refused.then_some("`x` is not allowed"),
            observed: end == End::WouldDeny,
            counters: &[],
            session: None,
            protocol_version: None,
            arguments: Some(br#"{"agent":"me"}"#),
            took: Duration::ZERO,
        }
    }

    /// A request of another method.
    pub(in super::super) fn other(method: &str, end: End) -> Decided<'_> {
        Decided { tool: None, method: Some(method), arguments: None, ..call("", end) }
    }

    #[test]
    fn the_table_counts_per_tool_and_names_the_rule_that_denied() {
        let mut tally = Tally::default();
        for (tool, effect) in [
            ("start_session", End::Allow),
            ("start_session", End::Deny),
            ("start_session", End::Allow),
            ("rm", End::Deny),
        ] {
            tally.add(&call(tool, effect), Duration::ZERO);
        }
        let list = Decided { rule: rule("", RuleKind::Protocol), ..other("tools/list", End::Allow) };
        tally.add(&list, Duration::ZERO);
        let bad = Decided { method: None, rule: rule("malformed", RuleKind::Malformed), ..other("", End::Deny) };
        tally.add(&bad, Duration::ZERO);
        assert_eq!(
            tally.table(true),
            "policyd: summary\n\
             \x20 SERVER     TOOL           ALLOWED  DENIED  WOULD DENY  RULE\n\
             \x20 promptfax  rm                   0       1           0  /default\n\
             \x20 promptfax  start_session        2       1           0  /default\n\
             \x20 promptfax  (malformed)          0       1           0  malformed\n\
             \x20 promptfax rm {agent: string}\n\
             \x20 promptfax start_session {agent: string}\n\
             \x20 and 1 protocol messages (initialize, lists, notifications …)\n"
        );
    }

    #[test]
    fn a_line_tells_the_shape_and_the_reason() {
        let decided = call("rm", End::WouldDeny);
        let expected = "policyd: would deny promptfax rm {agent: string} (/default): `x` is not allowed";
        assert_eq!(line(&decided, true).unwrap(), expected);
        assert_eq!(line(&call("ls", End::Allow), false).unwrap(), "policyd: allow promptfax ls (/tools/x)");
        assert_eq!(line(&Decided { rule: rule("", RuleKind::Protocol), ..decided }, true), None);
    }

    #[test]
    fn the_peak_is_the_fullest_minute_of_forwarded_calls() {
        let mut tally = Tally::default();
        for second in [0, 10, 59, 60, 61, 200] {
            tally.add(&call("x", End::Allow), Duration::from_secs(second));
        }
        tally.add(&call("x", End::Deny), Duration::from_secs(200));
        assert_eq!(tally.rows().next().unwrap().2.peak, 3);
    }

    #[test]
    fn invented_names_do_not_fill_the_memory() {
        let mut tally = Tally::default();
        for n in 0..ROWS + 10 {
            tally.add(&call(&format!("tool{n}"), End::Deny), Duration::ZERO);
        }
        assert_eq!(tally.rows().count(), ROWS);
        assert!(tally.table(false).contains("and 10 calls of further tools"));
    }
}
