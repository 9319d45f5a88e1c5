//! Names and patterns: entries that are hidden, names that others cover, methods that MCP does not have.

use super::outline::{Entry, Outline};
use super::{Found, listed};
use crate::diagnostic::did_you_mean;
use crate::mcp::method::{self, Nature, nature};

pub(super) fn check(outline: &Outline<'_>, found: &mut Found) {
    hide(outline, found);
    for entry in &outline.tools {
        if let Some(hidden) = outline.hide.iter().find(|hidden| hidden.covers(&entry.name)) {
            let message = format!("`{}` is never used: `hide` has `{}`", entry.name.text, hidden.text);
            let help = format!(
                "a hidden tool cannot be called; remove the entry, or the name on line {}",
                outline.line(&hidden.span)
            );
            found.warn("hidden-entry", entry.name.span.clone(), message, help);
        } else {
            redundant(outline, entry, found);
        }
    }
    for entry in &outline.methods {
        method(entry, found);
        plumbing(outline, entry, found);
    }
}

/// A name that another one of the list covers: the later of two equal ones, else the narrower.
fn hide(outline: &Outline<'_>, found: &mut Found) {
    for (index, name) in outline.hide.iter().enumerate() {
        let covering = outline.hide.iter().enumerate().find(|(other, covering)| {
            *other != index && covering.covers(name) && (!name.covers(covering) || *other < index)
        });
        if let Some((_, covering)) = covering {
            let message = format!("`{}` is hidden already", name.text);
            let help = format!("`{}` on line {} covers it; remove it", covering.text, outline.line(&covering.span));
            found.warn("duplicate-hide", name.span.clone(), message, help);
        }
    }
}

/// An entry that does what would be done without it.
fn redundant(outline: &Outline<'_>, entry: &Entry<'_>, found: &mut Found) {
    let says = match entry.members {
        [] => "allow",
        [action] if action.key == "action" => entry.action,
        _ => return,
    };
    if says != outline.default.word {
        return;
    }
    // Without it another entry might apply. Two names that are no patterns are different ones.
    let overlaps = |other: &&Entry<'_>| {
        (other.name.pattern.is_some() || entry.name.pattern.is_some())
            && !std::ptr::eq(*other, entry)
            && other.name.overlaps(&entry.name)
    };
    if !outline.tools.iter().any(|other| overlaps(&other)) {
        let message = format!("`{}` does what `\"default\": \"{says}\"` does", entry.name.text);
        let help = match says {
            "deny" => "remove it, or give it a `reason`",
            _ => "remove it, or give it rules",
        };
        found.warn("redundant-entry", entry.name.span.clone(), message, help);
    }
}

/// A method that is almost one of MCP's.
fn method(entry: &Entry<'_>, found: &mut Found) {
    let name = entry.name.text;
    if entry.name.pattern.is_some() || method::known(name).is_some() {
        return;
    }
    if let Some(meant) = did_you_mean(name, method::all()) {
        let help = format!("did you mean `{meant}`?");
        found.warn("unknown-method", entry.name.span.clone(), format!("MCP has no method `{name}`"), help);
    }
}

/// A pattern that catches requests which it can hardly have meant.
fn plumbing(outline: &Outline<'_>, entry: &Entry<'_>, found: &mut Found) {
    if entry.name.pattern.is_none() || (entry.action == "allow" && entry.rules.is_empty()) {
        return;
    }
    let applies =
        |name: &&str| Outline::applies(&outline.methods, name).is_some_and(|found| std::ptr::eq(found, entry));
    let caught: Vec<&str> = method::all().filter(|name| nature(name) == Nature::Plumbing).filter(applies).collect();
    if caught.is_empty() {
        return;
    }
    let message = format!("`{}` also restricts what keeps the protocol going: {}", entry.name.text, listed(&caught, 4));
    let help = "name the methods that carry data, or give those of the protocol entries of their own, `{}`";
    found.warn("blocked-protocol", entry.name.span.clone(), message, help);
}
