//! `limits` and `rate_limit`.

use std::ops::Range;
use std::sync::Arc;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::{Json, Keys, Loader, Member, Node, Rule, RuleKind, member};
use crate::policy::Window;
use crate::policy::compiled::{Limit, Scope};
use crate::policy::conditions::Path;
use crate::policy::exact;

pub(crate) const LIMIT: Keys =
    Keys { of: "a limit", known: &["counter", "window", "max", "scope", "align", "increment_from", "on_deny"] };
pub(crate) const RATE_LIMIT: Keys = Keys { of: "`rate_limit`", known: &["max", "window"] };

/// The scopes by their names.
pub(crate) const SCOPES: [(&str, Scope); 5] = [
    ("grant", Scope::Grant),
    ("session", Scope::Session),
    ("server", Scope::Server),
    ("host", Scope::Host),
    ("global", Scope::Global),
];

/// `align`'s words, and whether each goes by the calendar.
pub(crate) const ALIGNS: [(&str, bool); 2] = [("rolling", false), ("calendar", true)];

const NANOSECONDS: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * NANOSECONDS;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The longest window. Beyond it a counter would have to be kept for longer than a host lives.
const LONGEST: u64 = 366 * DAY;

/// A counter within one document.
pub(super) type Counted = (Scope, String);

impl Loader<'_> {
    /// `limits`; `pointer` is the place of the object that has it.
    pub(super) fn limits(&mut self, members: &[Member], pointer: &str) -> Vec<Limit> {
        let elements = member(members, "limits").and_then(|node| self.reader.array(node)).unwrap_or(&[]);
        let limit = |(index, node)| self.limit(node, format!("{pointer}/limits/{index}"));
        elements.iter().enumerate().filter_map(limit).collect()
    }

    fn limit(&mut self, node: &Node, pointer: String) -> Option<Limit> {
        let members = self.reader.object(node, &LIMIT)?;
        let counter = self.reader.required(node, members, "counter").and_then(|node| self.counter(node));
        let window = self.reader.required(node, members, "window").and_then(|node| self.window(node, false));
        let max = self.reader.required(node, members, "max").and_then(|node| self.max(node));
        let scope = match member(members, "scope") {
            Some(node) => self.reader.word(node, &SCOPES),
            None => Some(Scope::Grant),
        };
        let calendar = self.reader.optional_word(members, "align", &ALIGNS).unwrap_or(false);
        let window = window.and_then(|length| match (calendar, member(members, "window")) {
            (true, Some(node)) if !DAY.is_multiple_of(length) => {
                let help = "a window that divides a day, such as `minute`, `hour`, `6h` or `day`";
                self.reader.problem(
                    node.place(),
                    "this window cannot be aligned with the calendar",
                    Some(help.to_owned()),
                );
                None
            }
            (true, _) => Some(Window::Calendar(length)),
            (false, _) => Some(Window::Rolling(length)),
        });
        let path = member(members, "increment_from");
        let amount = path.map(|node| self.increment_from(node));
        let on_deny = self.reader.optional_string(members, "on_deny").map(Box::from);
        let (counter, scope) = (counter?, scope?);
        if let None | Some(Some(_)) = amount {
            let place = path.or(member(members, "counter")).unwrap_or(node).place();
            self.agrees((scope, counter.to_owned()), amount.clone().flatten(), place);
        }
        Some(Limit {
            rule: Rule::at(pointer, RuleKind::Limit),
            counter: Arc::from(counter),
            own: false,
            scope,
            window: window?,
            windows: Box::default(),
            max: max?,
            amount: match amount {
                Some(path) => Some(path?),
                None => None,
            },
            on_deny,
        })
    }

    /// Whoever names a counter must mean the same by it, or its sum means nothing.
    fn agrees(&mut self, counted: Counted, adds: Option<Path>, place: Range<usize>) {
        let said = |adds: &Option<Path>| match adds {
            Some(path) => format!("adds `{}`", path.text()),
            None => "counts calls".to_owned(),
        };
        match self.counted.get(&counted) {
            Some(other) if other.as_ref().map(Path::steps) != adds.as_ref().map(Path::steps) => {
                let message =
                    format!("this limit {}, another one on counter `{}` {}", said(&adds), counted.1, said(other));
                let help = "two limits on one counter must agree on `increment_from`; rename one of the counters";
                self.reader.problem(place, message, Some(help.to_owned()));
            }
            Some(_) => {}
            None => {
                self.counted.insert(counted, adds);
            }
        }
    }

    /// `rate_limit`: one limit on a counter of its own, by session.
    pub(super) fn rate_limit(&mut self, node: &Node, pointer: &str) -> Option<Limit> {
        let (max, window) = match &node.json {
            Json::String(text) => match rate(text) {
                Some(rate) => rate,
                None => {
                    let help = "a number and a window, such as `10/minute` or `5/90s`";
                    self.reader.problem(node.place(), "this is no rate", Some(help.to_owned()));
                    return None;
                }
            },
            Json::Object(_) => {
                let members = self.reader.object(node, &RATE_LIMIT)?;
                let max = self.reader.required(node, members, "max").and_then(|node| self.max(node));
                let window = self.reader.required(node, members, "window").and_then(|node| self.window(node, true));
                (max?, window?)
            }
            _ => return self.reader.wrong(node, "`rate_limit` must be an object, or a rate such as `\"10/minute\"`"),
        };
        let rule = Rule::at(format!("{pointer}/rate_limit"), RuleKind::Limit);
        let (counter, window) = (rule.pointer.clone(), Window::Rolling(window));
        let windows = Box::default();
        Some(Limit {
            rule,
            counter,
            own: true,
            scope: Scope::Session,
            window,
            windows,
            max,
            amount: None,
            on_deny: None,
        })
    }

    fn counter<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        let name = self.reader.string(node)?;
        if name.is_empty() {
            self.reader.problem(node.place(), "a counter's name cannot be empty", None);
            return None;
        }
        Some(name)
    }

    fn max(&mut self, node: &Node) -> Option<Decimal> {
        let Json::Number = node.json else {
            return self.reader.wrong(node, "`max` must be a number that is not negative");
        };
        match exact::parse(self.reader.raw(node)) {
            Some(max) if max.is_sign_negative() => {
                self.reader.problem(node.place(), "`max` must not be negative", None);
                None
            }
            Some(max) => Some(max),
            None => {
                let help = "at most 28 digits, and as many decimal places, can be kept exactly";
                self.reader.problem(node.place(), "`max` has too many digits", Some(help.to_owned()));
                None
            }
        }
    }

    /// A window in nanoseconds: a word, a duration, or seconds as a number where that is the habit.
    fn window(&mut self, node: &Node, seconds: bool) -> Option<u64> {
        let window = match &node.json {
            Json::Number if seconds => {
                let nanoseconds = exact::parse(self.reader.raw(node))
                    // Whole nanoseconds; the product of so few places is exact.
                    .filter(|number| number.scale() <= 9)
                    .and_then(|number| number.checked_mul(Decimal::from(NANOSECONDS)))
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
        self.reader.problem(node.place(), message, Some(help.to_owned()));
        None
    }

    fn increment_from(&mut self, node: &Node) -> Option<Path> {
        let text = self.reader.string(node)?;
        let path = Path::parse(text).and_then(|path| match path.reads_arguments() && path.is_single() {
            true => Ok(path),
            false => Err(format!("the path `{text}` does not lead to one argument")),
        });
        path.map_err(|message| {
            let help = "a path to one of the arguments, such as `args.amount`";
            self.reader.problem(node.place(), message, Some(help.to_owned()));
        })
        .ok()
    }
}

/// `10/minute`: the largest amount, and the window in nanoseconds.
fn rate(text: &str) -> Option<(Decimal, u64)> {
    let (max, window) = text.split_once('/')?;
    if max.is_empty() || !max.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((exact::parse(max)?, duration(window).filter(|window| (1..=LONGEST).contains(window))?))
}

/// A word or a duration, in nanoseconds.
pub(crate) fn duration(text: &str) -> Option<u64> {
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
