//! For people.

use super::Explanation;
use crate::authoring::simulation::Decision;
use crate::authoring::steps::Step;
use crate::authoring::times::{show_duration, show_instant};
use crate::policy::{Direction, Instead};
use crate::telemetry::events::kind_label;
use crate::visible::visible;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

/// The explanation, with colours if `color`.
pub(crate) fn render(explanation: &Explanation, color: bool) -> String {
    let Explanation { question, subject, ruling, .. } = explanation;
    let paint = |code: &str, text: &str| match color {
        true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        false => text.to_owned(),
    };
    let from = match question.direction {
        Direction::ToServer => "",
        Direction::ToAgent => " from the server",
    };
    let caller = &question.caller;
    let grant = caller.grant.as_ref().map_or("no grant".to_owned(), |grant| format!("grant `{grant}`"));
    let mut out = paint(BOLD, &format!("{}{from}", visible(subject)));
    out.push_str(&format!(
        "\n  {grant}, server `{}`, session `{}`, at {}\n",
        visible(&caller.server),
        visible(&caller.session),
        show_instant(question.at)
    ));
    if question.after > 0 {
        let refused = explanation.refused_before;
        let apart =
            if question.every > 0 { format!(", {} apart", show_duration(question.every)) } else { String::new() };
        out.push_str(&format!("  after {} of the same{apart}; {refused} of them refused\n", question.after));
    }
    out.push('\n');
    out.push_str(&steps(explanation, &paint));

    let code = match ruling.decision {
        Decision::Allow => GREEN,
        Decision::Deny => RED,
        Decision::Approve => YELLOW,
    };
    let rule = match &*ruling.rule.pointer {
        "" => "no rule: it belongs to the protocol".to_owned(),
        pointer => format!("{pointer} ({})", kind_label(ruling.rule.kind)),
    };
    let mut row = |what: &str, text: &str| out.push_str(&format!("{what:9} {text}\n"));
    row("decision", &format!("{} by {rule}", paint(code, ruling.decision.word())));
    if ruling.lifted {
        row("", "the policy only observes: this is recorded, and the message passes");
    } else if ruling.decision == Decision::Approve {
        row("", "nobody can approve a call yet: it is denied");
    }
    if let Some(reason) = ruling.reason() {
        row("reason", &visible(reason));
    }
    match &explanation.answer {
        Some(Instead::Message(text)) => row("answer", &visible(&String::from_utf8_lossy(text))),
        Some(Instead::Text(text)) => row("answer", &format!("no JSON-RPC message, but the text `{}`", visible(text))),
        Some(Instead::Nothing) => row("answer", "none: the message is dropped"),
        None if question.direction == Direction::ToServer => row("answer", "the server's own"),
        None => row("answer", "the agent's own"),
    }
    let effect = if ruling.denial.is_some() && !ruling.lifted { "deny" } else { "allow" };
    row(
        "record",
        &format!("\"decision\":\"{effect}\",\"rule\":\"{}\",\"observed\":{}", ruling.rule.pointer, ruling.lifted),
    );
    match explanation.listed {
        Some(true) => row("lists", "show the tool, if the server has it"),
        Some(false) => row("lists", "leave the tool out"),
        None => {}
    }
    out
}

fn steps(explanation: &Explanation, paint: &impl Fn(&str, &str) -> String) -> String {
    let Explanation { steps, deciding, ruling, .. } = explanation;
    let admitted = ruling.decision == Decision::Allow;
    let pointer = |step: &Step| match (step, step.rule()) {
        (_, Some(rule)) => rule.to_owned(),
        (Step::Hide(_), None) => "/hide".to_owned(),
        // What keeps the protocol going passes without a rule.
        (_, None) if ruling.rule.pointer.is_empty() => "-".to_owned(),
        (_, None) => "/default".to_owned(),
    };
    let width = steps.steps.iter().map(|step| pointer(step).chars().count()).max().unwrap_or(0);
    let digits = steps.steps.len().to_string().len();
    let mut out = String::new();
    for (index, step) in steps.steps.iter().enumerate() {
        let decided = *deciding == Some(index);
        let line = format!("{:>digits$}  {:width$}  {}", index + 1, pointer(step), step.words(admitted));
        let mark = if decided { "> " } else { "  " };
        out.push_str(&format!("{mark}{}\n", if decided { paint(BOLD, &line) } else { line }));
        for detail in step.details(admitted) {
            out.push_str(&format!("  {:digits$}    {}\n", "", paint(DIM, &detail)));
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}
