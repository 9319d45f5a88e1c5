//! The `value` of a condition, and JSON equality with it.

use std::cmp::Ordering;

use super::number::Number;
use crate::mcp::json::{Kind, Value};
use crate::policy::document::{Json, Node};

/// A JSON value of a policy.
#[derive(Clone, Debug)]
pub(in crate::policy) enum Constant {
    Null,
    Bool(bool),
    Number(Number<Box<str>>),
    String(Box<str>),
    Array(Box<[Constant]>),
    Object(Box<[(Box<str>, Constant)]>),
}

impl Constant {
    /// The constant that `node` of the document `text` is; `None` if a number in it cannot be compared.
    pub fn of(node: &Node, text: &str) -> Option<Constant> {
        Some(match &node.json {
            Json::Null => Constant::Null,
            Json::Bool => Constant::Bool(text.get(node.span.clone()) == Some("true")),
            Json::Number => Constant::Number(Number::parse(text.get(node.span.clone())?)?.to_owned()),
            Json::String(string) => Constant::String(string.as_str().into()),
            Json::Array(items) => {
                Constant::Array(items.iter().map(|item| Constant::of(item, text)).collect::<Option<_>>()?)
            }
            Json::Object(members) => {
                let member = |member: &crate::policy::document::Member| {
                    Some((Box::from(member.key.as_str()), Constant::of(&member.value, text)?))
                };
                Constant::Object(members.iter().map(member).collect::<Option<_>>()?)
            }
        })
    }

    /// JSON equality: numbers by their exact value, objects without regard to order.
    pub fn equals(&self, value: &Value<'_>) -> bool {
        match (self, value.kind()) {
            (Constant::Null, Kind::Null) => true,
            (Constant::Bool(this), Kind::Bool) => value.as_bool() == Some(*this),
            (Constant::Number(this), Kind::Number) => {
                let number = value.as_number().and_then(Number::parse);
                number.is_some_and(|number| this.compare(&number) == Ordering::Equal)
            }
            (Constant::String(this), Kind::String) => value.is_str(this),
            (Constant::Array(items), Kind::Array) => {
                let mut others = value.items();
                items.iter().all(|item| others.next().is_some_and(|other| item.equals(&other)))
                    && others.next().is_none()
            }
            (Constant::Object(members), Kind::Object) => {
                // Neither side has a key twice.
                value.entries().count() == members.len()
                    && members.iter().all(|(key, item)| value.get(key).is_some_and(|other| item.equals(&other)))
            }
            _ => false,
        }
    }
}
