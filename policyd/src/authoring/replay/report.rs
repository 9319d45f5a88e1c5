//! The differences, for people and for programs.

use serde_json::{Value, json};

use super::{Change, Group, Replay};
use crate::authoring::simulation::Decision;
use crate::authoring::times::show_instant;
use crate::visible::visible;

/// How many changes of a kind are shown to people.
const MOST_SHOWN: usize = 100;

/// What is said of a replay, with colours if `color`.
pub(crate) fn render(replay: &Replay, color: bool) -> String {
    let paint = |code: &str, text: &str| match color {
        true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        false => text.to_owned(),
    };
    let changes = replay.changes();
    let mut out = String::new();
    for (another, title) in [(true, "other decisions"), (false, "the same decision by another rule")] {
        let some: Vec<_> = changes.iter().filter(|(change, _)| change.is_another_decision() == another).collect();
        if some.is_empty() {
            continue;
        }
        out.push_str(&paint("1", title));
        out.push('\n');
        for (change, group) in some.iter().take(MOST_SHOWN) {
            out.push_str(&entry(change, group, &paint));
        }
        if let Some(more) = some.len().checked_sub(MOST_SHOWN).filter(|more| *more > 0) {
            out.push_str(&format!("  and {more} more, which `--json` shows\n"));
        }
        out.push('\n');
    }
    out.push_str(&totals(replay));
    out
}

fn entry(change: &Change, group: &Group, paint: &impl Fn(&str, &str) -> String) -> String {
    let code = match change.replayed.0 {
        Decision::Allow => "32",
        Decision::Deny => "31",
        Decision::Approve => "33",
    };
    let mut out = format!(
        "  {}: {} → {}: {}",
        visible(&change.name),
        side(&change.recorded),
        paint(code, &side(&change.replayed)),
        count(group.calls, "call")
    );
    if group.assumed > 0 {
        out.push_str(&format!(" ({} of them on assumptions)", group.assumed));
    }
    out.push('\n');
    for example in &group.examples {
        let reason = example.reason.as_ref().map_or(String::new(), |reason| format!("  {}", visible(reason)));
        let (time, grant) = (show_instant(example.time), visible(&example.grant));
        out.push_str(&paint("2", &format!("      {time}  call {}  grant {grant}{reason}", visible(&example.call))));
        out.push('\n');
    }
    out
}

/// `denied by /tools/x/deny_if/0`
fn side((decision, rule): &(Decision, String)) -> String {
    let decision = match decision {
        Decision::Allow => "allowed",
        Decision::Deny => "denied",
        Decision::Approve => "held for approval",
    };
    let rule = if rule.is_empty() { "no rule" } else { rule };
    format!("{decision} by {}", visible(rule))
}

fn totals(replay: &Replay) -> String {
    let totals = &replay.totals;
    let same = totals.judged - totals.changed - totals.moved;
    let mut out = format!(
        "{} judged: {same} as recorded, {} otherwise, {} by another rule\n",
        count(totals.judged, "decision"),
        totals.changed,
        totals.moved
    );
    let mut note = |number: u64, text: String| {
        if number > 0 {
            out.push_str(&format!("  {text}\n"));
        }
    };
    let (grants, servers) = (&replay.grants, &replay.servers);
    note(
        u64::from(grants.len() > 1 || servers.len() > 1),
        format!(
            "they are of {} and {}: `--grant` and `--server` choose",
            count(grants.len() as u64, "grant"),
            count(servers.len() as u64, "server")
        ),
    );
    note(
        totals.assumed,
        format!(
            "{} on assumptions: what the records do not say is taken to have let each rule that reads it decide as \
             recorded, and limits do not count it; `audit.arguments = true` records arguments, `--tools` tells what \
             the server declares",
            totals.assumed
        ),
    );
    note(totals.before, format!("{} more before that time, for the limits' sake", totals.before));
    note(totals.others, format!("{} not by a policy: malformed, without a grant, no message", totals.others));
    note(totals.untold, format!("{} of which the records do not say enough", totals.untold));
    note(totals.filtered, format!("{} left out: another grant, server or time", totals.filtered));
    note(totals.resets, format!("{} of counters, repeated here", count(totals.resets, "reset")));
    note(totals.repeated, format!("{} there twice, and counted once", count(totals.repeated, "record")));
    note(
        totals.late,
        format!("{} out of order: counted at the time of the latest before", count(totals.late, "decision")),
    );
    note(totals.gaps, format!("{} in the log: {} missing", count(totals.gaps, "gap"), count(totals.missed, "record")));
    out
}

/// The differences as one object.
pub(crate) fn json(replay: &Replay) -> Value {
    let side = |(decision, rule): &(Decision, String)| json!({ "decision": decision.word(), "rule": rule });
    let changes = replay.changes().into_iter().map(|(change, group)| {
        let examples = group.examples.iter().map(|example| {
            json!({
                "time": show_instant(example.time),
                "call": example.call,
                "grant": example.grant,
                "reason": example.reason,
            })
        });
        json!({
            "name": change.name,
            "recorded": side(&change.recorded),
            "replayed": side(&change.replayed),
            "calls": group.calls,
            "assumed": group.assumed,
            "examples": examples.collect::<Vec<_>>(),
        })
    });
    let totals = &replay.totals;
    json!({
        "changes": changes.collect::<Vec<_>>(),
        "judged": totals.judged,
        "changed": totals.changed,
        "moved": totals.moved,
        "assumed": totals.assumed,
        "before": totals.before,
        "others": totals.others,
        "untold": totals.untold,
        "filtered": totals.filtered,
        "gaps": totals.gaps,
        "missed": totals.missed,
        "resets": totals.resets,
        "repeated": totals.repeated,
        "late": totals.late,
        "grants": replay.grants,
        "servers": replay.servers,
    })
}

pub(super) fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
