//! Typed access to what was parsed.

use std::borrow::Cow;
use std::iter;

use super::{Kind, Mark, Node, mark, string};

/// A place in a parsed document. Cheap to copy; lives as long as the parser is not used for the next text.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    nodes: &'a [Node],
    text: &'a str,
    at: u32,
}

/// Which of a document's values. A number, where a [`Value`] is five: what looks through a document keeps it in a register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(u32);

impl std::fmt::Debug for Value<'_> {
    /// Shows what it is and where, never its text: arguments appear in no log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}..{}", self.kind(), self.node().start, self.node().end)
    }
}

impl<'a> Value<'a> {
    pub(super) fn root(nodes: &'a [Node], text: &'a str) -> Value<'a> {
        Value { nodes, text, at: 0 }
    }

    #[inline]
    fn node(&self) -> &'a Node {
        &self.nodes[self.at as usize]
    }

    #[inline]
    fn sibling(&self, at: u32) -> Value<'a> {
        Value { nodes: self.nodes, text: self.text, at }
    }

    /// Where it stands in its document.
    #[inline]
    pub(crate) fn place(&self) -> Place {
        Place(self.at)
    }

    /// What stands at a place of the same document.
    #[inline]
    pub(crate) fn at(&self, place: Place) -> Value<'a> {
        self.sibling(place.0)
    }

    /// What it is.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.node().kind
    }

    /// Its text exactly as it arrived, quotes included.
    #[inline]
    pub fn raw(&self) -> &'a str {
        &self.text[self.node().start as usize..self.node().end as usize]
    }

    /// Byte offset of its first byte in the text.
    pub fn start(&self) -> usize {
        self.node().start as usize
    }

    /// Byte offset behind its last byte in the text.
    pub fn end(&self) -> usize {
        self.node().end as usize
    }

    /// A string, unescaped; borrowed where it holds no escapes.
    #[inline]
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        let node = self.node();
        if node.kind != Kind::String {
            return None;
        }
        let inside = &self.text[node.start as usize + 1..node.end as usize - 1];
        Some(if node.escaped { string::unescape(inside) } else { Cow::Borrowed(inside) })
    }

    /// Whether it is a string without escapes that is exactly `text`: of others it has to be asked what they mean.
    #[inline]
    pub(crate) fn is_plainly(&self, text: &str) -> bool {
        let node = self.node();
        if node.kind != Kind::String || node.escaped {
            return false;
        }
        mark::equal(&self.text.as_bytes()[node.start as usize + 1..node.end as usize - 1], text.as_bytes())
    }

    /// A number's digits as they arrived.
    #[inline]
    pub fn as_number(&self) -> Option<&'a str> {
        (self.kind() == Kind::Number).then(|| self.raw())
    }

    /// A number without fraction or exponent, as its digits.
    pub fn as_integer(&self) -> Option<&'a str> {
        self.as_number().filter(|digits| !digits.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')))
    }

    /// `true` or `false`.
    pub fn as_bool(&self) -> Option<bool> {
        (self.kind() == Kind::Bool).then(|| self.raw() == "true")
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    /// Whether it is an object.
    #[inline]
    pub fn is_object(&self) -> bool {
        self.kind() == Kind::Object
    }

    /// Whether it is an array.
    #[inline]
    pub fn is_array(&self) -> bool {
        self.kind() == Kind::Array
    }

    /// Whether it is a string that means exactly `text`.
    #[inline]
    pub fn is_str(&self, text: &str) -> bool {
        self.as_str().is_some_and(|s| s == text)
    }

    /// The member of an object under `key`, compared after unescaping.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.entries().find(|(name, _)| name.is_str(key)).map(|(_, value)| value)
    }

    /// The members of an object in their order, each with its key (a string value, so that its place is known too). None of
    /// anything else.
    #[inline]
    pub fn entries(&self) -> Entries<'a> {
        Entries { rest: self.inside(Kind::Object) }
    }

    /// The places of the members whose keys may be the one with this mark, or variants of it: key and value.
    #[inline]
    pub(crate) fn entries_like(&self, mark: Mark) -> impl Iterator<Item = (Place, Place)> {
        let (mut at, end) = self.places(Kind::Object);
        iter::from_fn(move || {
            while at < end {
                let key = at;
                let value = &self.nodes[key as usize + 1];
                // Most values have nothing in them. Where the next key stands is then known without waiting for this node.
                at = if matches!(value.kind, Kind::Array | Kind::Object) { value.next } else { key + 2 };
                if !self.nodes[key as usize].mark.apart(mark) {
                    return Some((Place(key), Place(key + 1)));
                }
            }
            None
        })
    }

    /// The places of an array's elements. None of anything else.
    #[inline]
    pub(crate) fn item_places(&self) -> impl Iterator<Item = Place> {
        let (mut at, end) = self.places(Kind::Array);
        iter::from_fn(move || {
            let item = at;
            (item < end).then(|| {
                at = self.nodes[item as usize].next;
                Place(item)
            })
        })
    }

    /// The first inner node's place and the end of the inner nodes.
    #[inline]
    fn places(&self, kind: Kind) -> (u32, u32) {
        (self.at + 1, if self.kind() == kind { self.node().next } else { self.at + 1 })
    }

    /// The elements of an array in their order. None of anything else.
    #[inline]
    pub fn items(&self) -> Items<'a> {
        Items { rest: self.inside(Kind::Array) }
    }

    #[inline]
    fn inside(&self, kind: Kind) -> (Value<'a>, u32) {
        let (first, end) = self.places(kind);
        (self.sibling(first), end)
    }
}

/// Iterator over an object's members.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: (Value<'a>, u32),
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Value<'a>, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (key, end) = self.rest;
        if key.at >= end {
            return None;
        }
        let value = key.sibling(key.at + 1);
        self.rest.0.at = value.node().next;
        Some((key, value))
    }
}

/// Iterator over an array's elements.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: (Value<'a>, u32),
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (item, end) = self.rest;
        if item.at >= end {
            return None;
        }
        self.rest.0.at = item.node().next;
        Some(item)
    }
}
