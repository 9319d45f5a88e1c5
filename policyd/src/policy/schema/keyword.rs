//! A compiled schema: nodes that refer to each other by number.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use rust_decimal::Decimal;

use crate::policy::conditions::automaton::Automaton;
use crate::policy::conditions::constant::Constant;
use crate::policy::conditions::number::Number;

/// A subschema, by its place in the list of all.
pub(super) type Id = u32;

/// One subschema.
#[derive(Debug)]
pub(super) enum Node {
    /// `true` or `{}`, and `false`.
    Always(bool),
    /// All of these hold. Cheap ones come first.
    All(Box<[Keyword]>),
}

/// What a subschema asks of a value. A keyword of another type of value holds.
#[derive(Debug)]
pub(super) enum Keyword {
    Type(Types),
    /// `const` is an `enum` of one.
    Enum(Box<[Weighed]>, &'static str),
    Bound {
        bound: Number<Box<str>>,
        holds: fn(Ordering) -> bool,
        what: &'static str,
    },
    MultipleOf(Decimal),
    Size {
        of: Sized,
        bound: u64,
        at_most: bool,
        what: &'static str,
    },
    Pattern(Automaton),
    Required(Names),
    /// `dependentRequired`
    RequiredWith(Box<[(Box<str>, Names)]>),
    Properties(Properties),
    PropertyNames(Id),
    /// `prefixItems`, `items`, `additionalItems`
    Items {
        prefix: Box<[Id]>,
        rest: Option<Id>,
    },
    Contains {
        id: Id,
        min: u64,
        max: u64,
        /// Whether what it finds counts as evaluated: since 2020-12.
        evaluates: bool,
    },
    Unique,
    /// `$ref`
    Ref(Id),
    AllOf(Box<[Id]>),
    AnyOf(Box<[Id]>),
    OneOf(Box<[Id]>),
    Not(Id),
    If {
        condition: Id,
        then: Option<Id>,
        otherwise: Option<Id>,
    },
    /// `dependentSchemas`
    With(Box<[(Box<str>, Id)]>),
    UnevaluatedItems(Id),
    UnevaluatedProperties(Id),
}

/// Names of members.
pub(super) type Names = Box<[Box<str>]>;

/// What has a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sized {
    Text,
    Array,
    Object,
}

/// A constant, and how many values it is made of.
#[derive(Debug)]
pub(super) struct Weighed {
    pub constant: Constant,
    pub weight: usize,
}

/// `properties`, `patternProperties` and `additionalProperties`.
#[derive(Debug, Default)]
pub(super) struct Properties {
    pub named: HashMap<Box<str>, Id>,
    /// What the names fold to: however many there are, a key is compared with all of them at once.
    pub folded: HashSet<Box<str>>,
    pub patterns: Box<[(Automaton, Id)]>,
    pub additional: Option<Id>,
}

/// A set of JSON types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Types(pub u8);

impl Types {
    pub const NULL: Types = Types(1);
    pub const BOOLEAN: Types = Types(2);
    pub const NUMBER: Types = Types(4);
    pub const INTEGER: Types = Types(8);
    pub const STRING: Types = Types(16);
    pub const ARRAY: Types = Types(32);
    pub const OBJECT: Types = Types(64);

    pub fn has(self, other: Types) -> bool {
        self.0 & other.0 != 0
    }
}
