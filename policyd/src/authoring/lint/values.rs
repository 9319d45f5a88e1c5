//! Conditions that a value of another spelling, sign or place escapes.

use std::ops::Range;

use regex::RegexBuilder;
use regex_automata::util::syntax;
use rust_decimal::Decimal;

use super::Found;
use super::outline::{Entry, Kind, Outline, Rules, Test, string};
use crate::policy::conditions::path::Step;
use crate::policy::document::{Json, Node};
use crate::policy::exact;
use crate::policy::load::condition::Operator;

/// What a compiled pattern may take before it is worth a word, in bytes. The loader refuses from 1 MiB on.
const LARGE_REGEX: usize = 512 << 10;

pub(super) fn check(outline: &Outline<'_>, found: &mut Found) {
    for rules in outline.all_rules() {
        for (kind, test) in rules.tests() {
            regex(kind, test, found);
            place(kind, test, found);
            path_as_text(kind, test, found);
            url_as_text(kind, test, found);
            first_element(kind, test, found);
        }
        elements(rules, found);
    }
    let all = &outline.all_tools;
    bounds(outline, all, &[all], false, found);
    identity(all, &[all], found);
    for entry in &outline.tools {
        bounds(outline, &entry.rules, &[all, &entry.rules], declared(entry), found);
        identity(&entry.rules, &[all, &entry.rules], found);
    }
    for entry in &outline.methods {
        bounds(outline, &entry.rules, &[&entry.rules], false, found);
        identity(&entry.rules, &[&entry.rules], found);
    }
}

fn declared(entry: &Entry<'_>) -> bool {
    entry.member("arguments").is_some()
}

fn text<'n>(test: &Test<'n>) -> Option<(&'n str, Range<usize>)> {
    test.value.and_then(|node| Some((string(node)?, node.span.clone())))
}

/// Texts that a condition compares with, and their places.
fn texts<'t>(test: &'t Test<'_>) -> impl Iterator<Item = (&'t str, &'t Node)> {
    test.constants().iter().filter_map(|node| Some((string(node)?, node)))
}

fn regex(kind: Kind, test: &Test<'_>, found: &mut Found) {
    let (Operator::Regex, Some((pattern, span))) = (test.op, text(test)) else { return };
    if RegexBuilder::new(pattern).size_limit(LARGE_REGEX).build().is_err() {
        let message = format!("this pattern takes more than {} KiB", LARGE_REGEX >> 10);
        let help = "large repetitions of large classes cost the most: `[a-z]` and `[0-9]` are small, `\\w`, `\\d` and `.` are all of Unicode's; `len_lte` bounds a length";
        found.warn("large-regex", span.clone(), message, help);
    }
    let Ok(parsed) = syntax::parse(pattern) else { return };
    let properties = parsed.properties();
    let begins = properties.look_set_prefix().contains_anchor_haystack();
    let ends = properties.look_set_suffix().contains_anchor_haystack();
    // An empty pattern has a warning of its own.
    if kind != Kind::Require || (begins && ends) || pattern.is_empty() {
        return;
    }
    let lines = properties.look_set().contains_anchor_line();
    let (message, help) = match (begins, ends) {
        _ if lines => ("with `(?m)` one good line in a text is enough for this pattern", "write `^…$` without `(?m)`"),
        (false, false) => (
            "this pattern may match anywhere in a text",
            "write `^…$`, with `(…)` around alternatives, so that the whole text must match",
        ),
        (true, _) => (
            "anything may follow what this pattern matches",
            "end it with `$`; if anything may follow, `starts_with` says so",
        ),
        (false, true) => ("anything may stand before what this pattern matches", "begin it with `^`"),
    };
    found.warn("unanchored-regex", span, message, help);
}

/// Deny lists of places: what is spelled oddly is at no place.
fn place(kind: Kind, test: &Test<'_>, found: &mut Found) {
    let word = match test.op {
        Operator::UnderPath => "path",
        Operator::HostIn => "host",
        _ => return,
    };
    if kind == Kind::Require {
        return;
    }
    let message = format!(
        "`{}` holds only for a {word} that is beyond doubt: an odd spelling of it escapes this rule",
        test.word()
    );
    let help = format!(
        "list what is allowed instead, in a `require`; no list of what is forbidden names every spelling of a {word}"
    );
    found.warn("deny-by-place", test.op_span.clone(), message, help);
}

/// The last name of a path, lower case.
fn last_key(test: &Test<'_>) -> String {
    let key = test.path.steps().iter().rev().find_map(|step| match step {
        Step::Key(key) => Some(key.to_lowercase()),
        _ => None,
    });
    key.unwrap_or_default()
}

fn path_as_text(kind: Kind, test: &Test<'_>, found: &mut Found) {
    let key = last_key(test);
    let named = ["path", "file", "dir", "folder"].iter().any(|word| key.contains(word))
        || ["source", "destination", "cwd", "root"].contains(&key.as_str());
    // `/` alone asks for an absolute path, or forbids one.
    let absolute = |text: &str| text.starts_with('/') && !text.starts_with("//") && text != "/";
    let (Operator::StartsWith | Operator::Contains, true, Some((value, span))) = (test.op, named, text(test)) else {
        return;
    };
    if !absolute(value) || (kind != Kind::Require && test.op == Operator::Contains) {
        return;
    }
    let below = value.trim_end_matches('/');
    let (message, help) = match kind {
        Kind::Require => (
            format!("`{below}/../…` meets this too, and leads out of it"),
            format!("`\"op\": \"under_path\", \"value\": \"{}\"` decides on the path that is meant", below),
        ),
        _ => (
            format!("`/.{below}` and other spellings of the same path escape this rule"),
            "list what is allowed instead, in a `require` with `under_path`".to_owned(),
        ),
    };
    found.warn("text-for-path", span, message, help);
}

fn url_as_text(kind: Kind, test: &Test<'_>, found: &mut Found) {
    let key = last_key(test);
    let named = ["url", "uri", "href", "link", "endpoint", "webhook"].iter().any(|word| key.ends_with(word));
    let Some((value, span)) = text(test) else { return };
    let host = match value.split_once("://") {
        Some(("http" | "https" | "ws" | "wss", rest)) => rest,
        Some(_) => return,
        None if named => value,
        None => return,
    };
    let whole = host.contains('/');
    let host = host.split('/').next().unwrap_or_default().trim_matches('.');
    let looks = host.contains('.') && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c))
        || host == "localhost";
    // Behind `https://example.com/` the host is settled.
    let settled = test.op == Operator::StartsWith && whole && value.contains("://");
    if !looks || settled || !matches!(test.op, Operator::StartsWith | Operator::Contains) {
        return;
    }
    let (message, help) = match (kind, test.op) {
        (Kind::Require, Operator::StartsWith) => (
            format!("`{value}.evil.example` begins like this too"),
            format!("`\"op\": \"host_in\", \"value\": \"{host}\"` decides on the host"),
        ),
        (Kind::Require, _) => (
            format!("`https://evil.example/?{host}` contains this too"),
            format!("`\"op\": \"host_in\", \"value\": \"{host}\"` decides on the host"),
        ),
        _ => (
            format!("other spellings of the host `{host}` escape this rule"),
            "list the hosts that are allowed instead, in a `require` with `host_in`".to_owned(),
        ),
    };
    found.warn("text-for-url", span, message, help);
}

/// `deny_if args.to[0] …`
fn first_element(kind: Kind, test: &Test<'_>, found: &mut Found) {
    let textual = texts(test).next().is_some() && !matches!(test.op, Operator::Type);
    let indexed = test.path.steps().iter().any(|step| matches!(step, Step::Index(_)));
    if kind == Kind::Require || !indexed || !textual {
        return;
    }
    let message = format!(
        "`{}` looks at one element: the same value at another place of the array escapes this rule",
        test.path.text()
    );
    found.warn("first-element-only", test.path_span.clone(), message, "`[]` looks at every element");
}

/// `deny_if args.to eq "x"`, where another condition of the entry knows `args.to[]`.
fn elements(rules: &Rules<'_>, found: &mut Found) {
    let arrays: Vec<String> = rules
        .tests()
        .flat_map(|(_, test)| {
            let steps = test.path.text().match_indices("[]").map(|(at, _)| test.path.text()[..at].to_owned());
            steps.collect::<Vec<_>>()
        })
        .collect();
    for (kind, test) in rules.tests() {
        let compares = matches!(test.op, Operator::Eq | Operator::In)
            && test.constants().iter().all(|node| !matches!(node.json, Json::Array(_)));
        let path = test.path.text();
        if kind != Kind::Require && compares && arrays.iter().any(|array| array == path) {
            let message =
                format!("`{path}` is an array elsewhere in this entry, and an array equals none of its elements");
            found.warn("missed-elements", test.path_span.clone(), message, format!("did you mean `{path}[]`?"));
        }
    }
}

/// `require args.amount lte 100` lets -1000000 pass. `rules` are looked at, `all` hold besides.
fn bounds(outline: &Outline<'_>, rules: &Rules<'_>, all: &[&Rules<'_>], declared: bool, found: &mut Found) {
    if declared {
        return;
    }
    let below = |test: &&Test<'_>| matches!(test.op, Operator::Lt | Operator::Lte) && test.path.reads_arguments();
    for test in rules.require.iter().flat_map(|clause| clause.tests()).filter(below) {
        let Some(bound) = test.value.and_then(|node| exact::parse(outline.at(&node.span))) else { continue };
        let same = |other: &Test<'_>| other.path.text() == test.path.text();
        let required = |other: &Test<'_>| {
            same(other) && matches!(other.op, Operator::Gt | Operator::Gte | Operator::Eq | Operator::In)
        };
        let denied = |(kind, other): (Kind, &Test<'_>)| {
            kind != Kind::Require && same(other) && matches!(other.op, Operator::Lt | Operator::Lte)
        };
        let guarded = all.iter().any(|rules| {
            rules.require.iter().flat_map(|clause| clause.tests()).any(required)
                || rules.tests().any(denied)
                // Negative amounts are refused where they are counted.
                || rules.limits.iter().any(|limit| limit.increment_from.as_ref().is_some_and(|(path, _)| path.text() == test.path.text()))
        });
        if bound > Decimal::ZERO && !guarded {
            let (path, span) = (
                test.path.text(),
                test.path_span.start.min(test.op_span.start)..test.path_span.end.max(test.op_span.end),
            );
            let message = format!("a negative `{path}` meets this too");
            let help = format!(
                "add `{{ \"path\": {}, \"op\": \"gte\", \"value\": 0 }}`, or another lower bound",
                outline.at(&test.path_span)
            );
            found.warn("no-lower-bound", span, message, help);
        }
    }
}

/// `identity.exe` beside nothing that the kernel vouches for; `identity.pid`.
fn identity(rules: &Rules<'_>, all: &[&Rules<'_>], found: &mut Found) {
    let proves = |test: &Test<'_>| {
        matches!(test.path.text(), "identity.uid" | "identity.user" | "identity.unit" | "identity.cgroup")
    };
    let proven = all.iter().any(|rules| rules.require.iter().flat_map(|clause| clause.tests()).any(proves));
    for (kind, test) in rules.tests() {
        let (message, help) = match test.path.text() {
            "identity.pid" => (
                "a process id says nothing: every process can start another one",
                "`identity.unit`, `identity.user` or `identity.uid`",
            ),
            "identity.exe" if kind != Kind::Require => (
                "a copy of the program under another name escapes this rule",
                "require what may call, by `identity.unit`, `identity.user` or `identity.uid`",
            ),
            "identity.exe" if !proven => (
                "an executable can be made to do anything by whoever starts it",
                "require `identity.unit`, `identity.user` or `identity.uid` beside it",
            ),
            _ => continue,
        };
        found.warn("forgeable-identity", test.path_span.clone(), message, help);
    }
}
