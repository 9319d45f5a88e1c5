//! Limits that admit nothing, that never decide, that an agent escapes, and counters that policies disagree about.

use std::collections::HashMap;

use rust_decimal::Decimal;

use super::Found;
use super::outline::{Limit, Outline, Rules, Scope};
use crate::diagnostic::Diagnostic;
use crate::policy::conditions::Path;

pub(super) fn check(outline: &Outline<'_>, found: &mut Found) {
    let wide = |rules: &Rules<'_>| rules.limits.iter().any(|limit| limit.scope != Scope::Session);
    let all_wide = wide(&outline.all_tools);
    let all: &[Limit<'_>] = &outline.all_tools.limits;
    unreachable(outline, &[], all, found);
    outline.tools.iter().for_each(|entry| unreachable(outline, all, &entry.rules.limits, found));
    outline.methods.iter().for_each(|entry| unreachable(outline, &[], &entry.rules.limits, found));
    for rules in outline.all_rules() {
        rules.limits.iter().for_each(|limit| zero(limit, found));
        if !all_wide && !wide(rules) {
            rules.limits.iter().for_each(|limit| by_session(limit, found));
        }
    }
}

fn by_session(limit: &Limit<'_>, found: &mut Found) {
    let span = limit.scope_span.clone().unwrap_or_else(|| limit.place.clone());
    let what = if limit.counter.is_none() { "`rate_limit`" } else { "this limit" };
    let message = format!("{what} counts by session, and an agent can begin a new session at any time");
    let help = "only a limit with `\"scope\": \"grant\"` or wider bounds an agent: write one, alone or beside this one";
    found.warn("session-scope", span, message, help);
}

/// What the documents, each with its name, say differently about counters that they share.
pub(super) fn across(documents: &[(&str, Option<Outline<'_>>)]) -> Vec<Vec<Diagnostic>> {
    let mut first: HashMap<(Scope, &str), (usize, Option<&Path>)> = HashMap::new();
    let mut all = Vec::new();
    for (index, (_, outline)) in documents.iter().enumerate() {
        let mut found = Found::default();
        let rules = outline.iter().flat_map(Outline::all_rules);
        for limit in rules.flat_map(|rules| &rules.limits) {
            // The narrower scopes are each grant's or each server's own: nothing says that two files share one.
            let (Scope::Host | Scope::Global, Some(counter)) = (limit.scope, limit.counter) else { continue };
            let adds = limit.increment_from.as_ref().map(|(path, _)| path);
            let (other, before) = *first.entry((limit.scope, counter)).or_insert((index, adds));
            if other == index || before.map(Path::steps) == adds.map(Path::steps) {
                continue;
            }
            let said =
                |adds: Option<&Path>| adds.map_or("counts calls".to_owned(), |path| format!("adds `{}`", path.text()));
            let name = documents.get(other).map_or("", |(name, _)| *name);
            let message =
                format!("this limit {}, `{name}` {} on the same counter `{counter}`", said(adds), said(before));
            let span = limit.increment_from.as_ref().map_or(limit.place.clone(), |(_, span)| span.clone());
            let help = "a counter of this scope is one for all policies: rename one, or agree on `increment_from`";
            found.warn("counter-disagreement", span, message, help);
        }
        all.push(found.sorted());
    }
    all
}

fn zero(limit: &Limit<'_>, found: &mut Found) {
    let (message, help) = match &limit.increment_from {
        None if limit.max < Decimal::ONE => {
            ("this limit admits no call".to_owned(), "write `\"action\": \"deny\"` with a `reason`")
        }
        Some((path, _)) if limit.max.is_zero() => {
            (format!("this limit admits only calls whose `{}` is 0", path.text()), "give it a `max`, or require that")
        }
        _ => return,
    };
    found.warn("zero-limit", limit.max_span.clone(), message, help);
}

/// Limits that others, asked for the same calls, reach first or at the same time: those `before` them, and each other.
fn unreachable(outline: &Outline<'_>, before: &[Limit<'_>], limits: &[Limit<'_>], found: &mut Found) {
    for (index, limit) in limits.iter().enumerate() {
        // Of two equal ones the later is the one too many.
        let earlier = before.iter().chain(&limits[..index]).find(|other| bounds(other, limit));
        let later = || limits.iter().skip(index + 1).find(|other| bounds(other, limit) && !bounds(limit, other));
        if let Some(other) = earlier.or_else(later) {
            let message = "this limit is never reached: another one on its counter allows no more, in no less time";
            let help = format!("remove it, or change the other one (line {})", outline.line(&other.place));
            found.warn("unreachable-limit", limit.place.clone(), message, help);
        }
    }
}

/// Whether no calls that `one` admits could be too many for `two`.
fn bounds(one: &Limit<'_>, two: &Limit<'_>) -> bool {
    let same = one.counter.is_some() && one.counter == two.counter && one.scope == two.scope;
    let longer = match (one.calendar, two.calendar) {
        (false, _) => one.window >= two.window,
        // Each of the shorter periods lies within one of the longer.
        (true, true) => one.window.is_multiple_of(two.window),
        (true, false) => false,
    };
    same && longer && one.max <= two.max
}
