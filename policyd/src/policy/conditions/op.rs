//! The operators: what each says of a value.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::constant::Constant;
use super::host_in::Hosts;
use super::number::{Bound, Number};
use super::path::{Found, Member, member};
use super::pattern::{Effort, Pattern};
use super::strings::Strings;
use super::under_path::Directories;
use crate::mcp::json::{Kind, Value};

/// An operator with its `value`, ready to be asked.
#[derive(Clone, Debug)]
pub(in crate::policy) enum Op {
    /// `eq`, `in`; negated: `neq`, `not_in`.
    In { set: Set, negated: bool },
    /// `lt`, `lte`, `gt`, `gte`
    Compare { holds: fn(Ordering) -> bool, bound: Bound },
    /// `regex`: found anywhere in a string, unless the pattern is anchored.
    Regex(Pattern),
    /// `contains`: a part of a string, an element of an array, a key of an object.
    Contains(Constant),
    /// `exists`: there is a value, and it is not null.
    Exists(bool),
    /// `len_lte`: characters (Unicode code points), elements or members.
    LenLte(u64),
    /// `starts_with`: code point by code point; nothing is normalised.
    StartsWith(Box<str>),
    /// `under_path`: by the text alone. It cannot know of symbolic links, mounts, and what a shell would make of the text.
    UnderPath(Directories),
    /// `host_in`: by the text alone. It cannot know which address a name leads to, now or later (DNS rebinding), and where
    /// the server redirects to.
    HostIn(Hosts),
    /// `type`: one of JSON Schema's types.
    Type(Box<[Type]>),
}

/// The constants of `in`.
#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct Set {
    strings: Strings,
    /// Sorted: one may have to be looked for in each element of a long array.
    numbers: Vec<Number<Box<str>>>,
    others: Vec<Constant>,
    null: bool,
}

/// `type`, in JSON Schema's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Null,
    Boolean,
    Number,
    Integer,
    String,
    Array,
    Object,
}

/// What an operator says of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum Truth {
    Holds,
    HoldsNot,
    /// There is no value.
    Absent,
    /// A value of the wrong type, one that readers take for different things, or one that would take too long to look at.
    Wrong,
}

impl Op {
    /// What it says of what was found. `effort` is what it took to say so of the condition's other values.
    pub fn test<'p>(&'p self, found: &Found<'_>, effort: &mut Effort<'p>) -> Truth {
        match self {
            Op::Exists(wanted) => {
                let there = match found {
                    // What a reader finds in another container than the one that is meant cannot be known.
                    Found::Mismatch | Found::Unclear => return Truth::Wrong,
                    Found::Absent => false,
                    Found::Json(value) => !value.is_null(),
                    Found::Text(_) | Found::Number(_) => true,
                };
                Truth::from(there == *wanted)
            }
            Op::Type(types) => match found {
                Found::Absent => Truth::Absent,
                Found::Mismatch | Found::Unclear => Truth::Wrong,
                found => Truth::from(types.iter().any(|one| one.is_of(found))),
            },
            Op::In { set, negated } => match found {
                Found::Absent => Truth::Absent,
                Found::Mismatch | Found::Unclear => Truth::Wrong,
                // Null is no value, unless the policy speaks of it.
                Found::Json(value) if value.is_null() && !set.null => Truth::Wrong,
                found => Truth::from(set.contains(found) != *negated),
            },
            _ => match found {
                Found::Absent => Truth::Absent,
                Found::Mismatch | Found::Unclear => Truth::Wrong,
                found => self.holds(found, effort).map_or(Truth::Wrong, Truth::from),
            },
        }
    }

    /// Whether an absent value is one that this operator holds for where it would deny: `neq` and `not_in`.
    pub fn holds_for_absent(&self) -> bool {
        matches!(self, Op::In { negated: true, .. })
    }

    /// `None`: the wrong type.
    fn holds<'p>(&'p self, found: &Found<'_>, effort: &mut Effort<'p>) -> Option<bool> {
        match self {
            Op::Compare { holds, bound } => compare(found, bound).map(holds),
            Op::Regex(pattern) => pattern.is_match(&text(found)?, effort),
            Op::StartsWith(prefix) => Some(text(found)?.starts_with(&**prefix)),
            Op::UnderPath(directories) => directories.hold(&text(found)?),
            Op::HostIn(hosts) => hosts.hold(&text(found)?),
            Op::LenLte(longest) => Some(length(found)? <= *longest),
            Op::Contains(part) => contains(found, part),
            // Asked above.
            Op::In { .. } | Op::Exists(_) | Op::Type(_) => None,
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Truth::Holds } else { Truth::HoldsNot }
    }
}

impl Set {
    /// A set of constants.
    pub fn new(constants: impl IntoIterator<Item = Constant>) -> Set {
        let mut set = Set::default();
        let mut strings: Vec<Box<str>> = Vec::new();
        for constant in constants {
            match constant {
                Constant::String(text) => strings.push(text),
                Constant::Number(number) => set.numbers.push(number),
                other => {
                    set.null |= matches!(other, Constant::Null);
                    set.others.push(other);
                }
            }
        }
        set.strings = strings.into_iter().collect();
        set.numbers.sort_unstable_by(Number::compare);
        set
    }

    fn contains(&self, found: &Found<'_>) -> bool {
        match found {
            Found::Json(value) => match value.as_str() {
                Some(text) => self.strings.contains(&text),
                None if value.kind() == Kind::Number => self.contains_number(found),
                None => self.others.iter().any(|constant| constant.equals(value)),
            },
            Found::Text(text) => self.strings.contains(text),
            Found::Number(_) => self.contains_number(found),
            Found::Absent | Found::Mismatch | Found::Unclear => false,
        }
    }

    /// Reads the number once, however many constants there are. One that cannot be read equals none of them.
    fn contains_number(&self, found: &Found<'_>) -> bool {
        let among = |this: Number<&str>| self.numbers.binary_search_by(|number| number.compare(&this)).is_ok();
        number(found, among).unwrap_or(false)
    }
}

impl Type {
    fn is_of(self, found: &Found<'_>) -> bool {
        match found {
            Found::Json(value) => match (self, value.kind()) {
                (Type::Integer, Kind::Number) => number(found, |number| number.is_integer()).unwrap_or(false),
                (this, kind) => this.kind() == kind,
            },
            Found::Text(_) => self == Type::String,
            Found::Number(_) => matches!(self, Type::Number | Type::Integer),
            Found::Absent | Found::Mismatch | Found::Unclear => false,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Type::Null => Kind::Null,
            Type::Boolean => Kind::Bool,
            Type::Number | Type::Integer => Kind::Number,
            Type::String => Kind::String,
            Type::Array => Kind::Array,
            Type::Object => Kind::Object,
        }
    }
}

fn text<'f>(found: &'f Found<'_>) -> Option<Cow<'f, str>> {
    match found {
        Found::Json(value) => value.as_str(),
        Found::Text(text) => Some(Cow::Borrowed(text)),
        _ => None,
    }
}

fn number<T>(found: &Found<'_>, then: impl FnOnce(Number<&str>) -> T) -> Option<T> {
    match found {
        Found::Json(value) => value.as_number().and_then(Number::parse).map(then),
        Found::Number(number) => Number::parse(&number.to_string()).map(then),
        _ => None,
    }
}

fn compare(found: &Found<'_>, bound: &Bound) -> Option<Ordering> {
    match found {
        Found::Json(value) => bound.compare(value.as_number()?),
        Found::Number(number) => bound.compare(&number.to_string()),
        _ => None,
    }
}

/// Characters (Unicode code points) of a string, elements of an array, members of an object.
fn length(found: &Found<'_>) -> Option<u64> {
    let count = match found {
        Found::Json(value) => match value.kind() {
            Kind::String => value.as_str()?.chars().count(),
            Kind::Array => value.items().count(),
            Kind::Object => value.entries().count(),
            Kind::Null | Kind::Bool | Kind::Number => return None,
        },
        Found::Text(text) => text.chars().count(),
        _ => return None,
    };
    u64::try_from(count).ok()
}

/// Substring of a string, element of an array, key of an object.
fn contains(found: &Found<'_>, part: &Constant) -> Option<bool> {
    match found {
        Found::Json(value) if value.is_array() => Some(value.items().any(|item| part.equals(&item))),
        Found::Json(value) if value.is_object() => key(*value, part),
        found => match part {
            Constant::String(part) => Some(text(found)?.contains(&**part)),
            _ => None,
        },
    }
}

fn key(object: Value<'_>, part: &Constant) -> Option<bool> {
    let Constant::String(part) = part else { return None };
    match member(object, part) {
        Member::Found(_) => Some(true),
        Member::Absent => Some(false),
        Member::Unclear => None,
    }
}
