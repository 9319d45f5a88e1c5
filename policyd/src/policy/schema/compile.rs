//! From the JSON text of a schema to its nodes. References are followed by place: a schema that is referred to from many sides is
//! compiled once, and one that refers to itself is a circle of numbers.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;

use super::Disagreement;
use super::keyword::{Id, Keyword, Names, Node, Properties, Sized, Types, Weighed};
use super::pattern;
use crate::mcp::folded;
use crate::mcp::json::{Kind, Parser, Value};
use crate::policy::conditions::automaton::Automaton;
use crate::policy::conditions::constant::Constant;
use crate::policy::conditions::number::Number;
use crate::policy::exact;

/// Bytes of a schema's text.
pub(super) const TEXT: usize = 256 * 1024;
/// Subschemas.
const NODES: usize = 10_000;
/// Bytes that all compiled patterns may take: a short text can be a large automaton.
const PATTERNS: usize = 128 << 10;

/// A compiled schema. The first node is the whole.
#[derive(Debug)]
pub(super) struct Compiled {
    pub nodes: Box<[Node]>,
}

type Result<T> = std::result::Result<T, Disagreement>;

/// Compiles a schema's text.
pub(super) fn compile(text: &str) -> Result<Compiled> {
    let mut parser = Parser::default();
    let Ok(root) = parser.parse(text.as_bytes()) else {
        return unusable("it is not strict JSON, or nests too deep");
    };
    let mut compiler = Compiler {
        root,
        draft: Draft::of(root)?,
        ids: HashMap::new(),
        todo: Vec::new(),
        anchors: None,
        patterns: PATTERNS,
    };
    compiler.id(root)?;
    let mut nodes = Vec::new();
    while let Some(value) = compiler.todo.get(nodes.len()).copied() {
        nodes.push(compiler.node(value)?);
    }
    Ok(Compiled { nodes: nodes.into() })
}

fn unusable<T>(why: &'static str) -> Result<T> {
    Err(Disagreement::Unusable(why))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draft {
    /// And 6, which has nothing else.
    Seven,
    /// 2019-09 and 2020-12. Lists of `items` are read as the earlier one has them.
    Later,
}

impl Draft {
    fn of(root: Value<'_>) -> Result<Draft> {
        let Some(schema) = root.get("$schema") else { return Ok(Draft::Later) };
        let Some(uri) = schema.as_str() else { return unusable("`$schema` must be a string") };
        let name = uri.trim_end_matches('#').trim_start_matches("http://").trim_start_matches("https://");
        match name {
            "json-schema.org/draft-07/schema" | "json-schema.org/draft-06/schema" => Ok(Draft::Seven),
            "json-schema.org/draft/2020-12/schema" | "json-schema.org/draft/2019-09/schema" => Ok(Draft::Later),
            _ => unusable("its `$schema` is neither draft 7 nor 2020-12"),
        }
    }
}

struct Compiler<'a> {
    root: Value<'a>,
    draft: Draft,
    /// The subschemas by the place where they start.
    ids: HashMap<usize, Id>,
    /// The subschemas by their number; those behind the compiled ones are to be compiled.
    todo: Vec<Value<'a>>,
    /// Where anchors stand, once somebody asks.
    anchors: Option<HashMap<Cow<'a, str>, Value<'a>>>,
    /// Bytes that are left for patterns.
    patterns: usize,
}

impl<'a> Compiler<'a> {
    /// The number of the subschema `value`.
    fn id(&mut self, value: Value<'a>) -> Result<Id> {
        if let Some(id) = self.ids.get(&value.start()) {
            return Ok(*id);
        }
        if self.todo.len() == NODES {
            return unusable("it has more than 10,000 subschemas");
        }
        let Ok(id) = Id::try_from(self.todo.len()) else { return unusable("it is too large") };
        self.todo.push(value);
        self.ids.insert(value.start(), id);
        Ok(id)
    }

    fn node(&mut self, schema: Value<'a>) -> Result<Node> {
        match schema.kind() {
            Kind::Bool => return Ok(Node::Always(schema.as_bool() == Some(true))),
            Kind::Object => {}
            _ => return unusable("a subschema is neither an object nor a boolean"),
        }
        if schema.start() != self.root.start() && self.has_base(schema) {
            return unusable("it has an `$id` inside of it");
        }
        let mut keywords = Vec::new();
        if let Some(reference) = schema.get("$ref") {
            keywords.push(Keyword::Ref(self.reference(reference)?));
            if self.draft == Draft::Seven {
                // Nothing else counts beside it.
                return Ok(Node::All(keywords.into()));
            }
        }
        // With one resource, the outermost anchor of a name is the only one.
        if let Some(reference) = schema.get("$dynamicRef") {
            keywords.push(Keyword::Ref(self.reference(reference)?));
        }
        if schema.get("$recursiveRef").is_some() {
            keywords.push(Keyword::Ref(self.id(self.root)?));
        }
        self.of_any(schema, &mut keywords)?;
        self.of_numbers(schema, &mut keywords)?;
        self.of_texts(schema, &mut keywords)?;
        self.of_objects(schema, &mut keywords)?;
        self.of_arrays(schema, &mut keywords)?;
        self.of_schemas(schema, &mut keywords)?;
        // Last: they ask what the others have evaluated.
        if self.draft == Draft::Later {
            if let Some(id) = self.subschema(schema, "unevaluatedItems")? {
                keywords.push(Keyword::UnevaluatedItems(id));
            }
            if let Some(id) = self.subschema(schema, "unevaluatedProperties")? {
                keywords.push(Keyword::UnevaluatedProperties(id));
            }
        }
        Ok(if keywords.is_empty() { Node::Always(true) } else { Node::All(keywords.into()) })
    }

    /// Whether references inside of it start from another place: in draft 7 an `$id` that is only a fragment is an anchor.
    fn has_base(&self, schema: Value<'a>) -> bool {
        match schema.get("$id").map(|id| id.as_str()) {
            None => false,
            Some(id) => !(self.draft == Draft::Seven && id.is_some_and(|id| id.starts_with('#'))),
        }
    }

    fn of_any(&mut self, schema: Value<'a>, keywords: &mut Vec<Keyword>) -> Result<()> {
        if let Some(types) = schema.get("type") {
            let mut set = Types::default();
            let names = if types.is_array() { types.items().collect() } else { vec![types] };
            for name in names {
                let one = match name.as_str().as_deref() {
                    Some("null") => Types::NULL,
                    Some("boolean") => Types::BOOLEAN,
                    Some("number") => Types::NUMBER,
                    Some("integer") => Types::INTEGER,
                    Some("string") => Types::STRING,
                    Some("array") => Types::ARRAY,
                    Some("object") => Types::OBJECT,
                    _ => return unusable("`type` must name JSON types"),
                };
                set = Types(set.0 | one.0);
            }
            keywords.push(Keyword::Type(set));
        }
        if let Some(constant) = schema.get("const") {
            keywords.push(Keyword::Enum([weighed(constant)?].into(), "not the declared value (`const`)"));
        }
        if let Some(values) = schema.get("enum") {
            if !values.is_array() {
                return unusable("`enum` must be an array");
            }
            let values: Result<_> = values.items().map(weighed).collect();
            keywords.push(Keyword::Enum(values?, "not one of the declared values (`enum`)"));
        }
        Ok(())
    }

    fn of_numbers(&mut self, schema: Value<'a>, keywords: &mut Vec<Keyword>) -> Result<()> {
        type Bound = (&'static str, fn(Ordering) -> bool, &'static str);
        let bounds: [Bound; 4] = [
            ("minimum", Ordering::is_ge, "too small a number (`minimum`)"),
            ("exclusiveMinimum", Ordering::is_gt, "too small a number (`exclusiveMinimum`)"),
            ("maximum", Ordering::is_le, "too large a number (`maximum`)"),
            ("exclusiveMaximum", Ordering::is_lt, "too large a number (`exclusiveMaximum`)"),
        ];
        for (name, holds, what) in bounds {
            let Some(bound) = schema.get(name) else { continue };
            let Some(bound) = bound.as_number().and_then(Number::parse) else {
                return unusable("a bound of numbers is no number");
            };
            keywords.push(Keyword::Bound { bound: bound.to_owned(), holds, what });
        }
        if let Some(step) = schema.get("multipleOf") {
            let step = step.as_number().and_then(exact::parse).filter(|step| step.mantissa() > 0);
            let Some(step) = step else { return unusable("`multipleOf` must be a number above 0") };
            keywords.push(Keyword::MultipleOf(step));
        }
        Ok(())
    }

    fn of_texts(&mut self, schema: Value<'a>, keywords: &mut Vec<Keyword>) -> Result<()> {
        size(schema, "minLength", Sized::Text, false, "too short a string (`minLength`)", keywords)?;
        size(schema, "maxLength", Sized::Text, true, "too long a string (`maxLength`)", keywords)?;
        if let Some(pattern) = schema.get("pattern") {
            let Some(pattern) = pattern.as_str() else { return unusable("`pattern` must be a string") };
            keywords.push(Keyword::Pattern(self.pattern(&pattern)?));
        }
        Ok(())
    }

    fn of_objects(&mut self, schema: Value<'a>, keywords: &mut Vec<Keyword>) -> Result<()> {
        size(schema, "minProperties", Sized::Object, false, "too few members (`minProperties`)", keywords)?;
        size(schema, "maxProperties", Sized::Object, true, "too many members (`maxProperties`)", keywords)?;
        if let Some(required) = schema.get("required") {
            keywords.push(Keyword::Required(names(required)?));
        }
        let mut required = Vec::new();
        let mut schemas = Vec::new();
        for (keyword, either) in [("dependentRequired", false), ("dependentSchemas", false), ("dependencies", true)] {
            let Some(dependencies) = schema.get(keyword) else { continue };
            if !dependencies.is_object() {
                return unusable("dependencies must be objects");
            }
            for (key, value) in dependencies.entries() {
                let key = Box::from(key.as_str().unwrap_or_default());
                if keyword == "dependentRequired" || (either && value.is_array()) {
                    required.push((key, names(value)?));
                } else {
                    schemas.push((key, self.id(value)?));
                }
            }
        }
        if !required.is_empty() {
            keywords.push(Keyword::RequiredWith(required.into()));
        }
        if let Some(id) = self.subschema(schema, "propertyNames")? {
            keywords.push(Keyword::PropertyNames(id));
        }
        let mut properties =
            Properties { additional: self.subschema(schema, "additionalProperties")?, ..Properties::default() };
        for (key, value) in members(schema, "properties")? {
            properties.folded.insert(folded(&key).into());
            properties.named.insert(key.into(), self.id(value)?);
        }
        let mut patterns = Vec::new();
        for (pattern, value) in members(schema, "patternProperties")? {
            patterns.push((self.pattern(&pattern)?, self.id(value)?));
        }
        properties.patterns = patterns.into();
        if !properties.named.is_empty() || !properties.patterns.is_empty() || properties.additional.is_some() {
            keywords.push(Keyword::Properties(properties));
        }
        if !schemas.is_empty() {
            keywords.push(Keyword::With(schemas.into()));
        }
        Ok(())
    }

    fn of_arrays(&mut self, schema: Value<'a>, keywords: &mut Vec<Keyword>) -> Result<()> {
        size(schema, "minItems", Sized::Array, false, "too few elements (`minItems`)", keywords)?;
        size(schema, "maxItems", Sized::Array, true, "too many elements (`maxItems`)", keywords)?;
        if let Some(unique) = schema.get("uniqueItems") {
            match unique.as_bool() {
                Some(true) => keywords.push(Keyword::Unique),
                Some(false) => {}
                None => return unusable("`uniqueItems` must be a boolean"),
            }
        }
        let (prefix, rest) = match (schema.get("prefixItems"), schema.get("items")) {
            // Before 2020-12, a list of `items` is what `prefixItems` is now.
            (None, Some(items)) if items.is_array() => (Some(items), self.subschema(schema, "additionalItems")?),
            (prefix, items) if self.draft == Draft::Later => (prefix, items.map(|items| self.id(items)).transpose()?),
            (_, items) => (None, items.map(|items| self.id(items)).transpose()?),
        };
        let prefix: Vec<Id> = prefix.map_or(Ok(Vec::new()), |prefix| self.list(prefix))?;
        if !prefix.is_empty() || rest.is_some() {
            keywords.push(Keyword::Items { prefix: prefix.into(), rest });
        }
        if let Some(id) = self.subschema(schema, "contains")? {
            let later = self.draft == Draft::Later;
            let bound = |name: &str, otherwise: u64| match schema.get(name).filter(|_| later) {
                Some(bound) => whole(bound),
                None => Ok(otherwise),
            };
            let (min, max) = (bound("minContains", 1)?, bound("maxContains", u64::MAX)?);
            keywords.push(Keyword::Contains { id, min, max, evaluates: later });
        }
        Ok(())
    }

    fn of_schemas(&mut self, schema: Value<'a>, keywords: &mut Vec<Keyword>) -> Result<()> {
        type Several = (&'static str, fn(Box<[Id]>) -> Keyword);
        let several: [Several; 3] = [("allOf", Keyword::AllOf), ("anyOf", Keyword::AnyOf), ("oneOf", Keyword::OneOf)];
        for (name, keyword) in several {
            if let Some(list) = schema.get(name) {
                keywords.push(keyword(self.list(list)?.into()));
            }
        }
        if let Some(id) = self.subschema(schema, "not")? {
            keywords.push(Keyword::Not(id));
        }
        if let Some(condition) = self.subschema(schema, "if")? {
            let (then, otherwise) = (self.subschema(schema, "then")?, self.subschema(schema, "else")?);
            keywords.push(Keyword::If { condition, then, otherwise });
        }
        Ok(())
    }

    fn subschema(&mut self, schema: Value<'a>, keyword: &str) -> Result<Option<Id>> {
        schema.get(keyword).map(|value| self.id(value)).transpose()
    }

    fn list(&mut self, list: Value<'a>) -> Result<Vec<Id>> {
        if !list.is_array() {
            return unusable("a list of subschemas must be an array");
        }
        list.items().map(|schema| self.id(schema)).collect()
    }

    /// What a `$ref` refers to.
    fn reference(&mut self, reference: Value<'a>) -> Result<Id> {
        let Some(reference) = reference.as_str() else { return unusable("`$ref` must be a string") };
        let outside = || Disagreement::Unusable("it refers to something outside of itself");
        let (uri, fragment) = reference.split_once('#').unwrap_or((&reference, ""));
        // By the document's own name, perhaps.
        if !uri.is_empty() && !self.root.get("$id").is_some_and(|id| id.is_str(uri) || id.is_str(&format!("{uri}#"))) {
            return Err(outside());
        }
        let dangling = Disagreement::Unusable("it refers to something that it does not have");
        let fragment = percent_decoded(fragment).ok_or(dangling.clone())?;
        let target = if fragment.is_empty() {
            Some(self.root)
        } else if let Some(pointer) = fragment.strip_prefix('/') {
            pointer.split('/').try_fold(self.root, |value, token| {
                // Below another base, this would be another document.
                if value.start() != self.root.start() && self.has_base(value) {
                    return None;
                }
                let token = token.replace("~1", "/").replace("~0", "~");
                if value.is_array() { value.items().nth(token.parse().ok()?) } else { value.get(&token) }
            })
        } else {
            self.anchors().get(fragment.as_str()).copied()
        };
        self.id(target.ok_or(dangling)?)
    }

    /// The places that have names. Wherever they stand: one in a `const` is no anchor, but then it is no schema either.
    fn anchors(&mut self) -> &HashMap<Cow<'a, str>, Value<'a>> {
        let (root, draft) = (self.root, self.draft);
        self.anchors.get_or_insert_with(|| {
            let mut anchors = HashMap::new();
            let mut todo = vec![root];
            while let Some(value) = todo.pop() {
                todo.extend(value.entries().map(|(_, inner)| inner).chain(value.items()));
                let names: &[&str] = if draft == Draft::Seven { &["$id"] } else { &["$anchor", "$dynamicAnchor"] };
                for name in names.iter().filter_map(|name| value.get(name)?.as_str()) {
                    match (draft, name.strip_prefix('#')) {
                        (Draft::Seven, Some(name)) => anchors.insert(Cow::Owned(name.to_owned()), value),
                        (Draft::Later, _) => anchors.insert(name, value),
                        (Draft::Seven, None) => None,
                    };
                }
            }
            anchors
        })
    }

    fn pattern(&mut self, pattern: &str) -> Result<Automaton> {
        let unusable = Disagreement::Unusable(
            "a pattern in it is too large, has what takes more than linear time, or is read differently by readers",
        );
        let pattern = pattern::compile(pattern).ok_or(unusable)?;
        self.patterns =
            self.patterns.checked_sub(pattern.bytes()).ok_or(Disagreement::Unusable("it has too many patterns"))?;
        Ok(pattern)
    }
}

fn size(
    schema: Value<'_>,
    name: &str,
    of: Sized,
    at_most: bool,
    what: &'static str,
    keywords: &mut Vec<Keyword>,
) -> Result<()> {
    if let Some(bound) = schema.get(name) {
        keywords.push(Keyword::Size { of, bound: whole(bound)?, at_most, what });
    }
    Ok(())
}

/// A whole number that is not negative.
fn whole(value: Value<'_>) -> Result<u64> {
    let number = value.as_number().and_then(exact::parse).filter(|number| number.scale() == 0);
    let number = number.and_then(|number| u64::try_from(number.mantissa()).ok());
    number.ok_or(Disagreement::Unusable("a size in it is no whole number within 64 bits"))
}

fn names(value: Value<'_>) -> Result<Names> {
    if !value.is_array() {
        return unusable("required names must be an array");
    }
    let names: Option<_> = value.items().map(|name| name.as_str().map(Box::from)).collect();
    names.ok_or(Disagreement::Unusable("required names must be strings"))
}

fn members<'a>(schema: Value<'a>, keyword: &str) -> Result<Vec<(Cow<'a, str>, Value<'a>)>> {
    let Some(object) = schema.get(keyword) else { return Ok(Vec::new()) };
    if !object.is_object() {
        return unusable("properties must be an object");
    }
    Ok(object.entries().filter_map(|(key, value)| Some((key.as_str()?, value))).collect())
}

fn weighed(value: Value<'_>) -> Result<Weighed> {
    let mut weight = 0;
    let constant = constant(value, &mut weight).ok_or(Disagreement::Unusable("a number in it is too extreme"))?;
    Ok(Weighed { constant, weight })
}

/// Recurses as deep as the parser lets a text nest.
fn constant(value: Value<'_>, weight: &mut usize) -> Option<Constant> {
    *weight += 1;
    Some(match value.kind() {
        Kind::Null => Constant::Null,
        Kind::Bool => Constant::Bool(value.as_bool() == Some(true)),
        Kind::Number => Constant::Number(Number::parse(value.as_number()?)?.to_owned()),
        Kind::String => Constant::String(value.as_str()?.into()),
        Kind::Array => Constant::Array(value.items().map(|item| constant(item, weight)).collect::<Option<_>>()?),
        Kind::Object => {
            let members = value.entries().map(|(key, item)| Some((Box::from(key.as_str()?), constant(item, weight)?)));
            Constant::Object(members.collect::<Option<_>>()?)
        }
    })
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                bytes.push(digit(*high)? * 16 + digit(*low)?);
                rest = after;
            }
            (b'%', _) => return None,
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}
