//! Rules that never decide, because what comes before them always does; keys that have no effect.

use super::Found;
use super::outline::{Clause, Entry, Kind, Outline};

/// What comes after `require`, in the order in which it is asked.
const AFTER_DENY_IF: [&str; 3] = ["approve_if", "limits", "rate_limit"];

pub(super) fn check(outline: &Outline<'_>, found: &mut Found) {
    let all = all_tools(outline, found);
    for (of, entry) in outline.tools.iter().map(|e| ("tool", e)).chain(outline.methods.iter().map(|e| ("method", e))) {
        if entry.action == "deny" {
            denied(entry, found);
        } else if let Some(reason) = entry.member("reason") {
            let help = "only `\"action\": \"deny\"` has a reason; a rule's words are its `on_deny`";
            found.warn(
                "ignored-key",
                reason.key_span.clone(),
                "nobody is told this `reason`: the entry denies nothing by itself",
                help,
            );
        }
        let all = all.as_ref().filter(|_| of == "tool" && entry.action != "deny");
        clauses(outline, entry, all, found);
    }
}

/// A rule that denies every call.
struct Always {
    line: usize,
    what: &'static str,
}

/// The rules of `all_tools`; gives what denies every call.
fn all_tools(outline: &Outline<'_>, found: &mut Found) -> Option<Always> {
    let rules = &outline.all_tools;
    empty_requires(&rules.require, found);
    let mut always: Option<Always> = None;
    for clause in &rules.deny_if {
        match &always {
            Some(earlier) => never(clause, earlier, found),
            None => always = denies_all(outline, clause, "`all_tools`"),
        }
    }
    if let (Some(always), Some(limit)) = (&always, rules.limits.first()) {
        unreached(limit.place.clone(), "these limits count", always, found);
    }
    always
}

/// The rules of an entry whose action denies.
fn denied(entry: &Entry<'_>, found: &mut Found) {
    let useless = ["arguments", "require", "deny_if"].into_iter().chain(AFTER_DENY_IF);
    for member in useless.filter_map(|key| entry.member(key)) {
        let message = format!("`{}` is never looked at: `\"action\": \"deny\"` denies every call", member.key);
        let help = "remove it, or the action";
        found.warn("unreachable-rule", member.key_span.clone(), message, help);
    }
}

fn clauses(outline: &Outline<'_>, entry: &Entry<'_>, all: Option<&Always>, found: &mut Found) {
    if entry.action == "deny" {
        return;
    }
    let rules = &entry.rules;
    empty_requires(&rules.require, found);
    let mut always = None;
    for clause in &rules.deny_if {
        match all.or(always.as_ref()) {
            Some(earlier) => never(clause, earlier, found),
            None => always = denies_all(outline, clause, "this list"),
        }
    }
    if let Some(earlier) = all.or(always.as_ref()) {
        for member in AFTER_DENY_IF.into_iter().filter_map(|key| entry.member(key)) {
            unreached(member.key_span.clone(), &format!("`{}` is", member.key), earlier, found);
        }
        return;
    }
    let mut asked: Option<Always> = None;
    for clause in &rules.approve_if {
        match &asked {
            Some(earlier) => {
                let message = format!("this rule never decides: the one on line {} asks for every call", earlier.line);
                found.warn("unreachable-rule", clause.place.clone(), message, "remove it, or move it up");
            }
            None => asked = denies_all(outline, clause, ""),
        }
    }
}

/// `require` with `conditions: []`.
fn empty_requires(require: &[Clause<'_>], found: &mut Found) {
    for clause in require.iter().filter(|clause| clause.conditions.is_empty()) {
        let help = "remove it, or say in `conditions` what must hold";
        found.warn("no-conditions", clause.place.clone(), format!("this `{}` asks nothing", Kind::Require.key()), help);
    }
}

fn denies_all(outline: &Outline<'_>, clause: &Clause<'_>, what: &'static str) -> Option<Always> {
    clause.conditions.is_empty().then(|| Always { line: outline.line(&clause.place), what })
}

fn never(clause: &Clause<'_>, earlier: &Always, found: &mut Found) {
    unreached(clause.place.clone(), "this rule is", earlier, found);
}

fn unreached(place: std::ops::Range<usize>, what: &str, earlier: &Always, found: &mut Found) {
    let Always { line, what: whose } = earlier;
    let message = format!("{what} never reached: a rule of {whose} without conditions denies every call (line {line})");
    found.warn("unreachable-rule", place, message, "remove it, or give the rule before it conditions");
}
