//! What a tool's `inputSchema` says of the value at a path. Servers' schemas are loose: where one leaves room for a value
//! that it does not describe, nothing is known.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::policy::conditions::path::Step;
use crate::policy::load::condition::TYPES;

/// What is known of the value at a path.
#[derive(Debug, PartialEq)]
pub(super) enum Known {
    /// Nothing.
    Nothing,
    /// The object on the way has other properties.
    Missing {
        /// The property that it does not have.
        key: String,
        /// Those that it has.
        properties: Vec<String>,
    },
    /// The path goes into a value that has no such parts.
    Blocked {
        /// Which step, from 0.
        step: usize,
        /// The types of the value there.
        types: BTreeSet<&'static str>,
    },
    /// There is a value.
    Value(Shape),
}

/// What a value can be.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Shape {
    /// JSON Schema's words.
    pub types: BTreeSet<&'static str>,
    /// All values, if they are enumerated.
    pub values: Option<Vec<Value>>,
}

/// How many alternatives of a schema are followed, how deep, and how many schemas are looked at for one step of a path.
/// Beyond, nothing is known: the schema may be a hostile server's.
const MOST: usize = 128;
const DEEPEST: usize = 32;
const BUDGET: usize = 4096;

/// Keywords by which a schema can describe properties in ways that are not followed.
const OTHER: [&str; 8] =
    ["if", "then", "else", "dependentSchemas", "dependencies", "unevaluatedProperties", "$dynamicRef", "not"];

/// Schemas that hold together.
type All<'s> = Vec<&'s Map<String, Value>>;

/// What the schema `root` says of the value at a path into the arguments.
pub(super) fn known(root: &Value, steps: &[Step]) -> Known {
    follow(root, steps).unwrap_or(Known::Nothing)
}

/// `None`: nothing is known.
fn follow(root: &Value, steps: &[Step]) -> Option<Known> {
    let mut alternatives = Expander { root, left: BUDGET }.all_of(vec![root])?;
    for (index, step) in steps.iter().enumerate() {
        let (mut next, mut properties, mut blocked, mut lacks) = (Vec::new(), Vec::new(), BTreeSet::new(), false);
        let mut expander = Expander { root, left: BUDGET };
        for all in &alternatives {
            match descend(all, step) {
                Next::Into(schemas) => next.extend(expander.all_of(schemas)?),
                Next::Unknown => return None,
                Next::Missing(others) => {
                    lacks = true;
                    properties.extend(others);
                }
                Next::Blocked(types) => blocked.extend(types),
            }
        }
        if next.len() > MOST {
            return None;
        }
        if next.is_empty() {
            return match step {
                Step::Key(key) if lacks => {
                    properties.sort();
                    properties.dedup();
                    Some(Known::Missing { key: key.to_string(), properties })
                }
                _ if blocked.is_empty() => None,
                _ => Some(Known::Blocked { step: index, types: blocked }),
            };
        }
        alternatives = next;
    }
    shape(&alternatives).map(Known::Value)
}

/// Takes schemas apart into alternatives.
struct Expander<'s> {
    root: &'s Value,
    /// Schemas that may still be looked at.
    left: usize,
}

impl<'s> Expander<'s> {
    /// The alternatives of schemas that all hold.
    fn all_of(&mut self, schemas: Vec<&'s Value>) -> Option<Vec<All<'s>>> {
        let mut now = vec![Vec::new()];
        for schema in schemas {
            now = self.with(schema, now, 0)?;
        }
        Some(now)
    }

    /// The alternatives of `schema`, each together with each of `now`.
    fn with(&mut self, schema: &'s Value, mut now: Vec<All<'s>>, depth: usize) -> Option<Vec<All<'s>>> {
        let object = match schema {
            Value::Object(object) if depth < DEEPEST => object,
            // `true`, or nothing at all: anything goes.
            _ => return None,
        };
        self.left = self.left.checked_sub(now.len())?;
        now.iter_mut().for_each(|all| all.push(object));
        if let Some(reference) = object.get("$ref") {
            let target = self.root.pointer(reference.as_str()?.strip_prefix('#')?)?;
            now = self.with(target, now, depth + 1)?;
        }
        for schema in object.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            now = self.with(schema, now, depth + 1)?;
        }
        for key in ["anyOf", "oneOf"] {
            let Some(choices) = object.get(key).and_then(Value::as_array) else { continue };
            let mut wider = Vec::new();
            for choice in choices {
                wider.extend(self.with(choice, now.clone(), depth + 1)?);
            }
            now = wider;
        }
        (now.len() <= MOST).then_some(now)
    }
}

/// Where a step leads.
enum Next<'s> {
    Into(Vec<&'s Value>),
    Unknown,
    Missing(Vec<String>),
    Blocked(BTreeSet<&'static str>),
}

fn descend<'s>(all: &All<'s>, step: &Step) -> Next<'s> {
    let types = types(all);
    let wanted = if matches!(step, Step::Key(_)) { "object" } else { "array" };
    if let Some(types) = &types
        && !types.contains(wanted)
    {
        // Of null nothing is asked: it counts as absent.
        let others: BTreeSet<_> = types.iter().copied().filter(|name| *name != "null").collect();
        return Next::Blocked(others);
    }
    match step {
        Step::Key(key) => property(all, key),
        Step::Index(index) => items(all, Some(*index)),
        Step::Each => items(all, None),
    }
}

fn property<'s>(all: &All<'s>, key: &str) -> Next<'s> {
    let of = |schema: &&'s Map<String, Value>| schema.get("properties").and_then(Value::as_object);
    let described: Vec<&Value> = all.iter().filter_map(of).filter_map(|properties| properties.get(key)).collect();
    if !described.is_empty() {
        return Next::Into(described);
    }
    let has = |word: &str| all.iter().any(|schema| schema.contains_key(word));
    if has("patternProperties") || OTHER.into_iter().any(has) {
        return Next::Unknown;
    }
    let additional: Vec<&Value> = all.iter().filter_map(|schema| schema.get("additionalProperties")).collect();
    let closed = additional.iter().any(|schema| **schema == Value::Bool(false));
    if !closed && !additional.is_empty() {
        return match additional.iter().all(|schema| schema.as_object().is_some_and(|schema| !schema.is_empty())) {
            true => Next::Into(additional),
            false => Next::Unknown,
        };
    }
    let properties: Vec<String> = all.iter().filter_map(of).flat_map(Map::keys).cloned().collect();
    // A schema that describes nothing forbids nothing. One that describes some properties means those.
    if properties.is_empty() && !closed && !has("properties") { Next::Unknown } else { Next::Missing(properties) }
}

fn items<'s>(all: &All<'s>, index: Option<usize>) -> Next<'s> {
    let mut described = Vec::new();
    for schema in all {
        // `prefixItems`, or an array under `items` in the older drafts: a tuple.
        let tuple = ["prefixItems", "items"].iter().find_map(|key| schema.get(*key).and_then(Value::as_array));
        match (tuple, index) {
            (Some(tuple), Some(index)) if index < tuple.len() => described.extend(tuple.get(index)),
            (Some(_), _) => return Next::Unknown,
            (None, _) => described.extend(schema.get("items")),
        }
    }
    if described.is_empty() { Next::Unknown } else { Next::Into(described) }
}

/// The types of a value for which all of these hold; `None` if they do not say.
fn types(all: &All<'_>) -> Option<BTreeSet<&'static str>> {
    let mut left: Option<BTreeSet<&'static str>> = None;
    for schema in all {
        let mut said: Option<BTreeSet<&'static str>> = match schema.get("type") {
            Some(Value::String(name)) => Some(word(name).into_iter().collect()),
            Some(Value::Array(names)) => Some(names.iter().filter_map(Value::as_str).filter_map(word).collect()),
            _ => None,
        };
        if let Some(values) = values(schema) {
            let of = values.iter().map(type_of).collect();
            said = Some(said.map_or(of, |said| meet(&said, &values.iter().map(type_of).collect())));
        }
        if let Some(Value::Bool(true)) = schema.get("nullable")
            && let Some(said) = &mut said
        {
            said.insert("null");
        }
        left = match (left, said) {
            (Some(left), Some(said)) => Some(meet(&left, &said)),
            (left, said) => left.or(said),
        };
    }
    left
}

/// The types in both; an integer is a number.
fn meet(one: &BTreeSet<&'static str>, two: &BTreeSet<&'static str>) -> BTreeSet<&'static str> {
    let within = |name: &'static str, set: &BTreeSet<&'static str>| {
        set.contains(name) || (name == "integer" && set.contains("number"))
    };
    let from = |a: &BTreeSet<&'static str>, b: &BTreeSet<&'static str>| {
        a.iter().copied().filter(|name| within(name, b)).collect::<Vec<_>>()
    };
    from(one, two).into_iter().chain(from(two, one)).collect()
}

fn values(schema: &Map<String, Value>) -> Option<Vec<Value>> {
    match (schema.get("const"), schema.get("enum").and_then(Value::as_array)) {
        (Some(value), _) => Some(vec![value.clone()]),
        (None, values) => values.cloned(),
    }
}

fn shape(alternatives: &[All<'_>]) -> Option<Shape> {
    let mut shape = Shape { values: Some(Vec::new()), ..Shape::default() };
    for all in alternatives {
        let of = types(all)?;
        shape.types.extend(of);
        let enumerated = all.iter().find_map(|schema| values(schema));
        shape.values = match (shape.values, enumerated) {
            (Some(mut values), Some(more)) => {
                values.extend(more);
                Some(values)
            }
            // Null needs no enumeration.
            (values, None) if types(all).is_some_and(|types| types.iter().all(|name| *name == "null")) => values,
            _ => None,
        };
    }
    Some(shape)
}

fn word(name: &str) -> Option<&'static str> {
    TYPES.iter().map(|(word, _)| *word).find(|word| *word == name)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
