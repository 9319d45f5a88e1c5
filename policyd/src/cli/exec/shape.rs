//! What arguments look like: names and JSON types, never values. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::visible::visible;

/// The shape of a JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `null`, `boolean`, `number` or `string`.
    Scalar(&'static str),
    /// An array whose elements have this shape; `None` for an empty one.
    Array(Option<Box<Shape>>),
    /// An object's members.
    Object(BTreeMap<String, Shape>),
    /// Several shapes, or one that is too deep or too large to be told.
    Any,
}

/// Deeper and wider than this nobody reads it, and a hostile agent could fill memory and terminal.
const DEPTH: usize = 4;
const MEMBERS: usize = 24;

impl Shape {
    /// The shape of a JSON text; [`Shape::Any`] if it is none.
    pub fn of(text: &[u8]) -> Self {
        serde_json::from_slice(text).map_or(Self::Any, |value| Self::of_value(&value, DEPTH))
    }

    fn of_value(value: &Value, depth: usize) -> Self {
        match value {
            Value::Null => Self::Scalar("null"),
            Value::Bool(_) => Self::Scalar("boolean"),
            Value::Number(_) => Self::Scalar("number"),
            Value::String(_) => Self::Scalar("string"),
            Value::Array(_) | Value::Object(_) if depth == 0 => Self::Any,
            Value::Array(elements) => {
                let shapes = elements.iter().map(|element| Self::of_value(element, depth - 1));
                Self::Array(shapes.reduce(Self::merge).map(Box::new))
            }
            Value::Object(members) if members.len() > MEMBERS => Self::Any,
            Value::Object(members) => {
                let each = members.iter().map(|(name, member)| (name.clone(), Self::of_value(member, depth - 1)));
                Self::Object(each.collect())
            }
        }
    }

    /// The shape of what has either shape.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Array(one), Self::Array(two)) => Self::Array(match (one, two) {
                (Some(one), Some(two)) => Some(Box::new(one.merge(*two))),
                (one, two) => one.or(two),
            }),
            (Self::Object(mut one), Self::Object(two)) => {
                for (name, shape) in two {
                    let merged = match one.remove(&name) {
                        Some(known) => known.merge(shape),
                        None => shape,
                    };
                    one.insert(name, merged);
                }
                if one.len() > MEMBERS { Self::Any } else { Self::Object(one) }
            }
            (one, two) if one == two => one,
            _ => Self::Any,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(name) => f.write_str(name),
            Self::Array(None) => f.write_str("[]"),
            Self::Array(Some(shape)) => write!(f, "[{shape}]"),
            Self::Any => f.write_str("any"),
            Self::Object(members) => {
                f.write_str("{")?;
                for (index, (name, shape)) in members.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {shape}", printable(name))?;
                }
                f.write_str("}")
            }
        }
    }
}

/// A name that somebody else chose, safe to print: all of it shows, and it is not without end.
pub(super) fn printable(name: &str) -> String {
    const MOST: usize = 80;
    let mut shown = visible(&name.chars().take(MOST).collect::<String>());
    if name.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Shape::of(text.as_bytes()).to_string()
    }

    #[test]
    fn names_and_types_are_told_and_values_are_not() {
        let text = r#"{"to":"alice@example.com","amount":12.5,"tags":["x",1],"opts":{"dry":true,"note":null},"ids":[],"n":[1,2]}"#;
        assert_eq!(
            shown(text),
            "{amount: number, ids: [], n: [number], opts: {dry: boolean, note: null}, tags: [any], to: string}"
        );
    }

    #[test]
    fn depth_and_width_are_bounded() {
        assert_eq!(shown(&format!("{}1{}", "[".repeat(60), "]".repeat(60))), "[[[[any]]]]");
        let wide: Vec<String> = (0..100).map(|n| format!("\"k{n}\":1")).collect();
        assert_eq!(shown(&format!("{{{}}}", wide.join(","))), "any");
    }

    #[test]
    fn two_calls_merge_into_what_both_are() {
        let merged = Shape::of(br#"{"a":1,"b":"x","l":[]}"#).merge(Shape::of(br#"{"a":"1","c":true,"l":[2]}"#));
        assert_eq!(merged.to_string(), "{a: any, b: string, c: boolean, l: [number]}");
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n\u{202e}c"), "a⟨U+001B⟩[2Jb⟨U+000A⟩⟨U+202E⟩c");
        assert_eq!(printable(&"x".repeat(500)).chars().count(), 81);
        assert_eq!(shown("{\"a\\u001b]0;x\":1}"), "{a⟨U+001B⟩]0;x: number}");
    }
}
