//! `limits` and `rate_limit`.

use std::sync::Arc;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::{Json, Keys, Limit, Loader, Member, Node, Rule, RuleKind, member};
use crate::policy::compiled::Scope;
use crate::policy::exact;
use crate::policy::path::Path;

const LIMIT: Keys = Keys {
    of: "a limit",
    known: &["counter", "window", "max", "scope", "increment_from", "on_deny"],
    later: &["align"],
};
const RATE_LIMIT: Keys = Keys { of: "`rate_limit`", known: &["max", "window"], later: &[] };

const SCOPES: [(&str, Scope); 5] = [
    ("grant", Scope::Grant),
    ("session", Scope::Session),
    ("server", Scope::Server),
    ("host", Scope::Host),
    ("global", Scope::Global),
];

const NANOSECONDS: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * NANOSECONDS;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The longest window. Beyond it a counter would have to be kept for longer than a host lives.
const LONGEST: u64 = 366 * DAY;

/// A counter within one document.
pub(super) type Counted = (Scope, String);

impl Loader<'_> {
    /// `limits`, into `into`; `pointer` is the place of the object that has it.
    pub(super) fn limits(&mut self, members: &[Member], pointer: &str, into: &mut Vec<Limit>) {
        let elements = member(members, "limits").and_then(|node| self.array(node)).unwrap_or(&[]);
        for (index, node) in elements.iter().enumerate() {
            into.extend(self.limit(node, format!("{pointer}/limits/{index}")));
        }
    }

    fn limit(&mut self, node: &Node, pointer: String) -> Option<Limit> {
        let members = self.object(node, &LIMIT)?;
        let counter = self.required(node, members, "counter").and_then(|node| self.counter(node));
        let window = self.required(node, members, "window").and_then(|node| self.window(node, false));
        let max = self.required(node, members, "max").and_then(|node| self.max(node));
        let scope = match member(members, "scope") {
            Some(node) => self.word(node, &SCOPES),
            None => Some(Scope::Grant),
        };
        let path = member(members, "increment_from");
        let amount = path.map(|node| self.increment_from(node));
        let on_deny = self.optional_string(members, "on_deny").map(Box::from);
        let (counter, scope) = (counter?, scope?);
        // Whoever names a counter must mean the same by it, or its sum means nothing.
        let place = path.or(member(members, "counter")).unwrap_or(node).place();
        let adds = path.and_then(|node| self.text.get(node.span.clone())).map(str::to_owned);
        if let Some(other) = self.counted.get(&(scope, counter.to_owned())).filter(|other| **other != adds) {
            let said = |adds: &Option<String>| match adds {
                Some(path) => format!("adds {path}"),
                None => "counts calls".to_owned(),
            };
            let message = format!("this limit {}, another one on counter `{counter}` {}", said(&adds), said(other));
            let help = "two limits on one counter must agree on `increment_from`; rename one of the counters";
            self.problem(place, message, Some(help.to_owned()));
        } else {
            self.counted.insert((scope, counter.to_owned()), adds);
        }
        Some(Limit {
            rule: Rule::at(pointer, RuleKind::Limit),
            counter: Arc::from(counter),
            own: false,
            scope,
            window: window?,
            max: max?,
            amount: match amount {
                Some(path) => Some(path?),
                None => None,
            },
            on_deny,
        })
    }

    /// `rate_limit`: one limit on a counter of its own, by session.
    pub(super) fn rate_limit(&mut self, node: &Node, pointer: &str) -> Option<Limit> {
        if let Json::String(text) = &node.json {
            let message = format!("a `rate_limit` as text (`{text}`) is not supported yet");
            let help = "write it as an object, such as { \"max\": 10, \"window\": 60 }";
            self.problem(node.place(), message, Some(help.to_owned()));
            return None;
        }
        let members = self.object(node, &RATE_LIMIT)?;
        let max = self.required(node, members, "max").and_then(|node| self.max(node));
        let window = self.required(node, members, "window").and_then(|node| self.window(node, true));
        let rule = Rule::at(format!("{pointer}/rate_limit"), RuleKind::Limit);
        let (counter, window, max) = (rule.pointer.clone(), window?, max?);
        Some(Limit { rule, counter, own: true, scope: Scope::Session, window, max, amount: None, on_deny: None })
    }

    fn counter<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        let name = self.string(node)?;
        if name.is_empty() {
            self.problem(node.place(), "a counter's name cannot be empty", None);
            return None;
        }
        Some(name)
    }

    fn max(&mut self, node: &Node) -> Option<Decimal> {
        let Json::Number = node.json else { return self.wrong(node, "`max` must be a number that is not negative") };
        match exact::parse(self.text.get(node.span.clone())?) {
            Some(max) if max.is_sign_negative() => {
                self.problem(node.place(), "`max` must not be negative", None);
                None
            }
            Some(max) => Some(max),
            None => {
                let help = "at most 28 digits, and as many decimal places, can be kept exactly";
                self.problem(node.place(), "`max` has too many digits", Some(help.to_owned()));
                None
            }
        }
    }

    /// A window in nanoseconds: a word, a duration, or seconds as a number where that is the habit.
    fn window(&mut self, node: &Node, seconds: bool) -> Option<u64> {
        let window = match &node.json {
            Json::Number if seconds => {
                let nanoseconds = exact::parse(self.text.get(node.span.clone())?)
                    .and_then(|number| number.checked_mul(Decimal::from(NANOSECONDS)))
                    .filter(Decimal::is_integer)
                    .and_then(|number| number.to_u64());
                nanoseconds.ok_or("a window in seconds must be a positive number")
            }
            Json::Number => Err("a window needs a unit"),
            Json::String(text) => duration(text).ok_or("this is no window"),
            _ => Err("expected a window"),
        };
        let help = if seconds {
            "seconds, `second`, `minute`, `hour`, `day`, or a duration such as `90s` or `2h`"
        } else {
            "`second`, `minute`, `hour`, `day`, or a duration such as `90s` or `2h`"
        };
        let message = match window {
            Ok(0) => "a window must be longer than zero",
            Ok(window) if window <= LONGEST => return Some(window),
            Ok(_) => "a window can be at most 366 days long",
            Err(message) => message,
        };
        self.problem(node.place(), message, Some(help.to_owned()));
        None
    }

    fn increment_from(&mut self, node: &Node) -> Option<Path> {
        let text = self.string(node)?;
        Path::parse(text)
            .map_err(|message| {
                let help = "a plain path into the arguments, such as `args.amount`";
                self.problem(node.place(), message, Some(help.to_owned()));
            })
            .ok()
    }
}

/// A word or a duration, in nanoseconds.
fn duration(text: &str) -> Option<u64> {
    match text {
        "second" => return Some(NANOSECONDS),
        "minute" => return Some(MINUTE),
        "hour" => return Some(HOUR),
        "day" => return Some(DAY),
        _ => {}
    }
    let unit = match text.bytes().last()? {
        b's' => NANOSECONDS,
        b'm' => MINUTE,
        b'h' => HOUR,
        b'd' => DAY,
        _ => return None,
    };
    let digits = text.get(..text.len() - 1)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Too many digits are too long a window, which the caller says better.
    Some(digits.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(unit))
}
