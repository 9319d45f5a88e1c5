//! Checks arguments against a compiled schema, and counts.

use std::collections::HashSet;

use super::Disagreement;
use super::compile::Compiled;
use super::evaluated::Evaluated;
use super::keyword::{Id, Keyword, Node, Properties, Sized, Types, Weighed};
use super::place;
use crate::mcp::folded;
use crate::mcp::json::{Kind, Value};
use crate::policy::conditions::automaton::Automaton;
use crate::policy::conditions::number::Number;
use crate::policy::exact;

/// Steps that a check may take: a keyword is one, and what depends on a length costs by it.
const STEPS: u32 = 200_000;
/// Subschemas that may be open at once.
const DEPTH: u32 = 128;

/// Why a value does not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop<'s> {
    /// Where the value starts, a name below it, and what is wrong.
    Invalid(usize, Option<&'s str>, &'static str),
    TooCostly,
}

pub(super) type Result<'s, T> = std::result::Result<T, Stop<'s>>;

/// Whether `arguments` agree with the schema.
pub(super) fn check(schema: &Compiled, arguments: Value<'_>) -> std::result::Result<(), Disagreement> {
    check_within(schema, arguments, STEPS)
}

pub(super) fn check_within(
    schema: &Compiled,
    arguments: Value<'_>,
    steps: u32,
) -> std::result::Result<(), Disagreement> {
    let mut checker = Checker { nodes: &schema.nodes, steps, depth: DEPTH };
    checker.node(0, arguments).map_err(|stop| match stop {
        Stop::Invalid(start, name, what) => {
            Disagreement::Invalid { place: place::pointer(arguments, start, name), what }
        }
        Stop::TooCostly => Disagreement::TooCostly,
    })
}

pub(super) struct Checker<'s> {
    pub nodes: &'s [Node],
    /// Steps that are left.
    steps: u32,
    /// Subschemas that may still be opened.
    pub depth: u32,
}

impl<'s> Checker<'s> {
    pub fn step(&mut self, steps: usize) -> Result<'s, ()> {
        let steps = u32::try_from(steps).map_err(|_| Stop::TooCostly)?;
        self.steps = self.steps.checked_sub(steps).ok_or(Stop::TooCostly)?;
        Ok(())
    }

    /// Checks a value against a subschema.
    fn node(&mut self, id: Id, value: Value<'_>) -> Result<'s, ()> {
        self.step(1)?;
        let nodes = self.nodes;
        match usize::try_from(id).ok().and_then(|id| nodes.get(id)) {
            Some(Node::Always(true)) => Ok(()),
            Some(Node::All(keywords)) => {
                self.depth = self.depth.checked_sub(1).ok_or(Stop::TooCostly)?;
                for keyword in keywords {
                    self.step(1)?;
                    if let Err(stop) = self.keyword(keyword, keywords, value) {
                        self.depth += 1;
                        return Err(stop);
                    }
                }
                self.depth += 1;
                Ok(())
            }
            Some(Node::Always(false)) | None => invalid(value, "not allowed"),
        }
    }

    /// Whether a value agrees with a subschema.
    pub fn holds(&mut self, id: Id, value: Value<'_>) -> Result<'s, bool> {
        match self.node(id, value) {
            Ok(()) => Ok(true),
            Err(Stop::Invalid(..)) => Ok(false),
            Err(Stop::TooCostly) => Err(Stop::TooCostly),
        }
    }

    /// One keyword. Kept small, since it recurses: what it asks of the value alone stands elsewhere.
    fn keyword(&mut self, keyword: &'s Keyword, siblings: &'s [Keyword], value: Value<'_>) -> Result<'s, ()> {
        match (keyword, value.kind()) {
            (Keyword::Properties(properties), Kind::Object) => self.properties(properties, value),
            (Keyword::PropertyNames(id), Kind::Object) => value.entries().try_for_each(|(key, _)| self.node(*id, key)),
            (Keyword::Items { prefix, rest }, Kind::Array) => self.items(prefix, *rest, value),
            (Keyword::Contains { id, min, max, .. }, Kind::Array) => self.contains(*id, *min, *max, value),
            (Keyword::Ref(id), _) => self.node(*id, value),
            (Keyword::AllOf(ids), _) => ids.iter().try_for_each(|id| self.node(*id, value)),
            (Keyword::AnyOf(ids), _) => self.any_of(ids, value),
            (Keyword::OneOf(ids), _) => self.one_of(ids, value),
            (Keyword::Not(id), _) => {
                if self.holds(*id, value)? {
                    return invalid(value, "what must not be (`not`)");
                }
                Ok(())
            }
            (Keyword::If { condition, then, otherwise }, _) => {
                let branch = if self.holds(*condition, value)? { then } else { otherwise };
                branch.map_or(Ok(()), |id| self.node(id, value))
            }
            (Keyword::With(dependencies), Kind::Object) => self.with(dependencies, value),
            (Keyword::UnevaluatedItems(id), Kind::Array) => self.unevaluated_items(*id, siblings, value),
            (Keyword::UnevaluatedProperties(id), Kind::Object) => self.unevaluated_properties(*id, siblings, value),
            (keyword, kind) => self.own(keyword, kind, value),
        }
    }

    /// What is asked of the value itself.
    fn own(&mut self, keyword: &'s Keyword, kind: Kind, value: Value<'_>) -> Result<'s, ()> {
        match (keyword, kind) {
            (Keyword::Type(types), _) if !types.has(types_of(value)) => {
                invalid(value, "not of the declared type (`type`)")
            }
            (Keyword::Enum(values, what), _) if !self.is_one_of(values, value)? => invalid(value, what),
            (Keyword::Bound { bound, holds, what }, Kind::Number) => {
                self.step(value.raw().len() / 32)?;
                match value.as_number().and_then(Number::parse) {
                    Some(number) if holds(number.compare(bound)) => Ok(()),
                    Some(_) => invalid(value, what),
                    None => invalid(value, TOO_LONG),
                }
            }
            (Keyword::MultipleOf(step), Kind::Number) => {
                let number = value.as_number().and_then(exact::parse);
                match number.and_then(|number| is_multiple(number, *step)) {
                    Some(true) => Ok(()),
                    Some(false) => invalid(value, "not a multiple of what is declared (`multipleOf`)"),
                    None => invalid(value, TOO_LONG),
                }
            }
            (Keyword::Size { of, bound, at_most, what }, kind) if of.is(kind) => {
                let size = u64::try_from(self.size(value)?).unwrap_or(u64::MAX);
                let holds = if *at_most { size <= *bound } else { size >= *bound };
                if holds { Ok(()) } else { invalid(value, what) }
            }
            (Keyword::Pattern(pattern), Kind::String) if !self.matches(pattern, value)? => {
                invalid(value, "not of the declared form (`pattern`)")
            }
            (Keyword::Required(names), Kind::Object) => self.required(names, value),
            (Keyword::RequiredWith(dependencies), Kind::Object) => {
                for (key, names) in dependencies {
                    if self.member(value, key)?.is_some() {
                        self.required(names, value)?;
                    }
                }
                Ok(())
            }
            (Keyword::Unique, Kind::Array) => self.unique(value),
            _ => Ok(()),
        }
    }

    fn items(&mut self, prefix: &[Id], rest: Option<Id>, array: Value<'_>) -> Result<'s, ()> {
        let ids = prefix.iter().copied().map(Some).chain(std::iter::repeat(rest));
        for (item, id) in array.items().zip(ids) {
            let Some(id) = id else { break };
            self.node(id, item)?;
        }
        Ok(())
    }

    fn contains(&mut self, id: Id, min: u64, max: u64, array: Value<'_>) -> Result<'s, ()> {
        let mut found = 0;
        for item in array.items() {
            found += u64::from(self.holds(id, item)?);
        }
        if found < min {
            return invalid(array, "lacks an element that is declared (`contains`)");
        }
        if found > max {
            return invalid(array, "has too many elements of a kind (`maxContains`)");
        }
        Ok(())
    }

    fn any_of(&mut self, ids: &[Id], value: Value<'_>) -> Result<'s, ()> {
        for id in ids {
            if self.holds(*id, value)? {
                return Ok(());
            }
        }
        invalid(value, "none of the declared alternatives (`anyOf`)")
    }

    fn one_of(&mut self, ids: &[Id], value: Value<'_>) -> Result<'s, ()> {
        let mut found = 0;
        for id in ids {
            found += usize::from(self.holds(*id, value)?);
        }
        match found {
            1 => Ok(()),
            0 => invalid(value, "none of the declared alternatives (`oneOf`)"),
            _ => invalid(value, "more than one of the declared alternatives (`oneOf`)"),
        }
    }

    fn with(&mut self, dependencies: &[(Box<str>, Id)], object: Value<'_>) -> Result<'s, ()> {
        for (key, id) in dependencies {
            if self.member(object, key)?.is_some() {
                self.node(*id, object)?;
            }
        }
        Ok(())
    }

    fn unevaluated_items(&mut self, id: Id, siblings: &'s [Keyword], array: Value<'_>) -> Result<'s, ()> {
        let mut evaluated = Evaluated::default();
        self.evaluated(siblings, true, array, &mut evaluated)?;
        for (index, item) in array.items().enumerate() {
            self.step(1)?;
            if !(evaluated.all || index < evaluated.prefix || evaluated.some.contains(&item.start())) {
                self.node(id, item)?;
            }
        }
        Ok(())
    }

    fn unevaluated_properties(&mut self, id: Id, siblings: &'s [Keyword], object: Value<'_>) -> Result<'s, ()> {
        let mut evaluated = Evaluated::default();
        self.evaluated(siblings, true, object, &mut evaluated)?;
        for (_, member) in object.entries() {
            self.step(1)?;
            if !(evaluated.all || evaluated.some.contains(&member.start())) {
                self.node(id, member)?;
            }
        }
        Ok(())
    }

    fn is_one_of(&mut self, values: &[Weighed], value: Value<'_>) -> Result<'s, bool> {
        let length = value.raw().len();
        for Weighed { constant, weight } in values {
            // Each member of an object is looked for.
            let weight = if matches!(value.kind(), Kind::Array | Kind::Object) { *weight } else { 1 };
            self.step(weight.saturating_mul(1 + length / 32))?;
            if constant.equals(&value) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn size(&mut self, value: Value<'_>) -> Result<'s, usize> {
        let size = match value.kind() {
            Kind::Array => value.items().count(),
            Kind::Object => value.entries().count(),
            _ => {
                self.step(value.raw().len() / 64)?;
                return Ok(value.as_str().map_or(0, |text| text.chars().count()));
            }
        };
        self.step(size / 8)?;
        Ok(size)
    }

    pub fn matches(&mut self, pattern: &Automaton, text: Value<'_>) -> Result<'s, bool> {
        self.step(1 + pattern.steps(text.raw().len()))?;
        Ok(text.as_str().is_some_and(|text| pattern.is_found_in(&text)))
    }

    /// The member under exactly this key.
    pub fn member<'v>(&mut self, object: Value<'v>, key: &str) -> Result<'s, Option<Value<'v>>> {
        let (mut count, mut bytes) = (0, 0);
        for (name, _) in object.entries() {
            count += 1;
            bytes += name.end() - name.start();
        }
        self.step(1 + count / 4 + bytes / 64)?;
        Ok(object.get(key))
    }

    fn required(&mut self, names: &'s [Box<str>], value: Value<'_>) -> Result<'s, ()> {
        for name in names {
            if self.member(value, name)?.is_none() {
                return Err(Stop::Invalid(value.start(), Some(name), "a required argument is missing (`required`)"));
            }
        }
        Ok(())
    }

    fn properties(&mut self, properties: &'s Properties, value: Value<'_>) -> Result<'s, ()> {
        for (key, member) in value.entries() {
            self.step(1 + (key.end() - key.start()) / 32)?;
            let name = key.as_str().unwrap_or_default();
            let mut known = false;
            if let Some(id) = properties.named.get(&*name) {
                known = true;
                self.node(*id, member)?;
            } else if !properties.folded.is_empty() {
                self.step(name.len() / 4)?;
                if properties.folded.contains(&*folded(&name)) {
                    return Err(Stop::Invalid(
                        member.start(),
                        None,
                        "a name that some readers take for a declared one",
                    ));
                }
            }
            for (pattern, id) in &properties.patterns {
                if self.matches(pattern, key)? {
                    known = true;
                    self.node(*id, member)?;
                }
            }
            if let (Some(id), false) = (properties.additional, known) {
                self.additional(id, member)?;
            }
        }
        Ok(())
    }

    fn additional(&mut self, id: Id, member: Value<'_>) -> Result<'s, ()> {
        let refused =
            usize::try_from(id).ok().is_some_and(|id| matches!(self.nodes.get(id), Some(Node::Always(false))));
        if refused {
            return Err(Stop::Invalid(
                member.start(),
                None,
                "an argument that is not declared (`additionalProperties`)",
            ));
        }
        self.node(id, member)
    }

    fn unique(&mut self, array: Value<'_>) -> Result<'s, ()> {
        // Strings and numbers that are written alike are found at once; other equal values, by comparing.
        const TWICE: &str = "an element twice (`uniqueItems`)";
        let mut texts = HashSet::new();
        let mut others: Vec<Value<'_>> = Vec::new();
        for item in array.items() {
            self.step(1 + item.raw().len() / 32)?;
            if let Some(text) = item.as_str() {
                if !texts.insert(text) {
                    return invalid(item, TWICE);
                }
                continue;
            }
            for other in &others {
                if self.equal(*other, item)? {
                    return invalid(item, TWICE);
                }
            }
            others.push(item);
        }
        Ok(())
    }

    /// JSON equality. Recurses as deep as a text may nest.
    fn equal(&mut self, left: Value<'_>, right: Value<'_>) -> Result<'s, bool> {
        self.step(1)?;
        if left.kind() != right.kind() {
            return Ok(false);
        }
        match left.kind() {
            Kind::Null => Ok(true),
            Kind::Bool => Ok(left.as_bool() == right.as_bool()),
            Kind::Number => {
                self.step((left.raw().len() + right.raw().len()) / 32)?;
                match (left.as_number().and_then(Number::parse), right.as_number().and_then(Number::parse)) {
                    (Some(left), Some(right)) => Ok(left.compare(&right).is_eq()),
                    _ => Err(Stop::Invalid(right.start(), None, TOO_LONG)),
                }
            }
            Kind::String => {
                self.step((left.raw().len() + right.raw().len()) / 32)?;
                Ok(left.as_str() == right.as_str())
            }
            Kind::Array => {
                let (mut left, mut right) = (left.items(), right.items());
                loop {
                    match (left.next(), right.next()) {
                        (None, None) => return Ok(true),
                        (Some(left), Some(right)) if self.equal(left, right)? => {}
                        _ => return Ok(false),
                    }
                }
            }
            Kind::Object => {
                if self.size(left)? != self.size(right)? {
                    return Ok(false);
                }
                for (key, item) in left.entries() {
                    let key = key.as_str().unwrap_or_default();
                    match self.member(right, &key)? {
                        Some(other) if self.equal(item, other)? => {}
                        _ => return Ok(false),
                    }
                }
                Ok(true)
            }
        }
    }
}

fn invalid<'s>(value: Value<'_>, what: &'static str) -> Result<'s, ()> {
    Err(Stop::Invalid(value.start(), None, what))
}

const TOO_LONG: &str = "a number that is too long to be checked";

impl Sized {
    fn is(self, kind: Kind) -> bool {
        matches!(
            (self, kind),
            (Sized::Text, Kind::String) | (Sized::Array, Kind::Array) | (Sized::Object, Kind::Object)
        )
    }
}

fn types_of(value: Value<'_>) -> Types {
    match value.kind() {
        Kind::Null => Types::NULL,
        Kind::Bool => Types::BOOLEAN,
        Kind::String => Types::STRING,
        Kind::Array => Types::ARRAY,
        Kind::Object => Types::OBJECT,
        Kind::Number => {
            let number = value.as_number().and_then(Number::parse);
            let integer = number.is_some_and(|number| number.is_integer());
            if integer { Types(Types::NUMBER.0 | Types::INTEGER.0) } else { Types::NUMBER }
        }
    }
}

/// Exactly; `None` where that takes more than 127 bits.
fn is_multiple(number: rust_decimal::Decimal, step: rust_decimal::Decimal) -> Option<bool> {
    let scale = number.scale().max(step.scale());
    let widened =
        |decimal: rust_decimal::Decimal| decimal.mantissa().checked_mul(10_i128.checked_pow(scale - decimal.scale())?);
    Some(widened(number)?.checked_rem(widened(step)?)? == 0)
}
