//! A policy beside the tools of the server that it is for.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;

use super::outline::{Entry, Kind, Name, Outline, Rules, Test, string};
use super::shape::{Known, Shape, known};
use super::{Found, listed};
use crate::authoring::tools;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::policy::conditions::Path;
use crate::policy::conditions::path::Step;
use crate::policy::document::{Json, Node};
use crate::policy::load::condition::Operator;

/// How many tools a message names.
const SHOWN: usize = 8;

/// The types of values without parts.
const SCALARS: [&str; 4] = ["boolean", "integer", "number", "string"];

/// A tool with its schema; null: it has none.
struct Tool {
    name: String,
    schema: Value,
}

pub(super) fn check(outline: &Outline<'_>, tools: &[tools::Tool], found: &mut Found) {
    // A server that repeats a page, or a file that is given twice, has no more tools by it.
    let mut names = BTreeSet::new();
    let tools = tools
        .iter()
        .filter(|tool| names.insert(&*tool.name))
        .map(|tool| Tool { name: tool.name.clone(), schema: serde_json::from_str(&tool.schema).unwrap_or_default() });
    let tools = &tools.collect::<Vec<_>>();
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    for name in outline.hide.iter().chain(outline.tools.iter().map(|entry| &entry.name)) {
        matches_one(name, &names, found);
    }
    let shown: Vec<Shown<'_>> = tools
        .iter()
        .filter(|tool| outline.hides(&tool.name).is_none())
        .map(|tool| (tool, Outline::applies(&outline.tools, &tool.name)))
        .collect();
    unnamed(outline, &shown, found);
    for entry in outline.tools.iter().filter(|entry| entry.action != "deny") {
        let governed = shown.iter().filter(|(_, applies)| applies.is_some_and(|it| std::ptr::eq(it, entry)));
        let of: Vec<&Tool> = governed.map(|(tool, _)| *tool).collect();
        paths(&entry.rules, &of, entry.name.pattern.is_some(), found);
    }
    let allowed = |entry: &Option<&Entry<'_>>| match entry {
        Some(entry) => entry.action != "deny",
        None => outline.default.word == "allow",
    };
    let callable: Vec<&Tool> = shown.iter().filter(|(_, entry)| allowed(entry)).map(|(tool, _)| *tool).collect();
    paths(&outline.all_tools, &callable, true, found);
}

/// A tool that is not hidden, and the entry that applies to it.
type Shown<'a> = (&'a Tool, Option<&'a Entry<'a>>);

fn matches_one(name: &Name<'_>, tools: &[&str], found: &mut Found) {
    if tools.iter().any(|tool| name.matches(tool)) {
        return;
    }
    let (message, help) = match name.pattern {
        Some(_) => (format!("no tool of the server matches `{}`", name.text), None),
        None => (format!("the server has no tool `{}`", name.text), did_you_mean(name.text, tools.iter().copied())),
    };
    let help = match help {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if tools.is_empty() => "the list is empty: was it asked for with the right credentials?".to_owned(),
        None => format!("it has {}", listed(tools, SHOWN)),
    };
    found.warn("no-such-tool", name.span.clone(), message, help);
}

fn unnamed(outline: &Outline<'_>, shown: &[Shown<'_>], found: &mut Found) {
    let unnamed: Vec<&str> =
        shown.iter().filter(|(_, entry)| entry.is_none()).map(|(tool, _)| tool.name.as_str()).collect();
    let what = if outline.default.word == "allow" { "allowed" } else { "denied" };
    if let Some(are) = match unnamed.len() {
        0 => None,
        1 => Some("1 tool that no entry names is".to_owned()),
        more => Some(format!("{more} tools that no entry names are")),
    } {
        let message = format!("{are} {what}: {}", listed(&unnamed, SHOWN));
        let note = Diagnostic::note(outline.default.span.clone(), message).code("unnamed-tools");
        let note = if unnamed.len() > SHOWN { note.help("`--json` names all of them") } else { note };
        found.0.push(Diagnostic { names: unnamed.into_iter().map(str::to_owned).collect(), ..note });
    }
}

/// A place in a policy that looks into the arguments.
struct Look<'p> {
    path: &'p Path,
    span: &'p Range<usize>,
    /// The list and the condition; of a limit's amount, none.
    test: Option<(Kind, &'p Test<'p>)>,
}

/// The paths of some rules beside the tools that they hold for. `many`: the author may not have thought of each of them.
fn paths(rules: &Rules<'_>, tools: &[&Tool], many: bool, found: &mut Found) {
    let tests =
        rules.tests().map(|(kind, test)| Look { path: &test.path, span: &test.path_span, test: Some((kind, test)) });
    let amounts = rules.limits.iter().filter_map(|limit| limit.increment_from.as_ref());
    let amounts = amounts.map(|(path, span)| Look { path, span, test: None });
    for look in tests.chain(amounts).filter(|look| look.path.reads_arguments()) {
        if many && tools.len() > 1 {
            common(&look, tools, found);
        } else {
            tools.iter().for_each(|tool| one(&look, tool, found));
        }
    }
}

/// What is wrong with a path for one tool.
fn one(look: &Look<'_>, tool: &Tool, found: &mut Found) {
    let name = &tool.name;
    match known(&tool.schema, look.path.steps()) {
        Known::Nothing => {}
        Known::Missing { key, properties } => {
            let message = format!("`{name}` has no argument `{}`{}", look.path.text(), consequence(look));
            let help = match did_you_mean(&key, properties.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if properties.is_empty() => "its schema has no properties there".to_owned(),
                None => format!("there are {}", listed(&properties.iter().map(String::as_str).collect::<Vec<_>>(), 12)),
            };
            found.warn("no-such-argument", look.span.clone(), message, help);
        }
        Known::Blocked { step, types } => blocked(look, name, step, &types, found),
        Known::Value(shape) => value(look, tool, &shape, found),
    }
}

/// A path that several tools share: it may lead nowhere in some of them, but not in all, and not where it is required.
fn common(look: &Look<'_>, tools: &[&Tool], found: &mut Found) {
    let absent = |tool: &&&Tool| matches!(known(&tool.schema, look.path.steps()), Known::Missing { .. });
    let without: Vec<&str> = tools.iter().filter(absent).map(|tool| tool.name.as_str()).collect();
    let required = look.test.is_none_or(|(kind, test)| kind == Kind::Require && !matches!(test.op, Operator::Exists));
    if without.len() == tools.len() {
        let message = format!(
            "none of the {} tools that this holds for has an argument `{}`{}",
            tools.len(),
            look.path.text(),
            consequence(look)
        );
        let help = format!("they are {}", listed(&without, SHOWN));
        found.warn("no-such-argument", look.span.clone(), message, help);
    } else if required && !without.is_empty() {
        let message = format!(
            "{} of the {} tools that this holds for have no argument `{}`, and every call of them is refused",
            without.len(),
            tools.len(),
            look.path.text()
        );
        let help = format!("give entries of their own to {}", listed(&without, SHOWN));
        found.warn("no-such-argument", look.span.clone(), message, help);
    }
    // Those that have it are each looked at; the same word about several is said once.
    let mut each = Found::default();
    for tool in tools.iter().filter(|tool| !without.contains(&tool.name.as_str())) {
        if each.0.is_empty() {
            one(look, tool, &mut each);
        }
    }
    found.0.append(&mut each.0);
}

/// What follows from a path that leads nowhere.
fn consequence(look: &Look<'_>) -> &'static str {
    match look.test {
        None => ": every call is refused",
        Some((_, Test { op: Operator::Exists, .. })) => "",
        Some((Kind::Require, _)) => ": every call is refused",
        Some((_, Test { op: Operator::Neq | Operator::NotIn, .. })) => ": the condition always holds",
        Some(_) => ": the condition never holds",
    }
}

fn blocked(look: &Look<'_>, name: &str, step: usize, types: &BTreeSet<&'static str>, found: &mut Found) {
    let before = shown(look.path.steps().get(..step).unwrap_or_default());
    let is = spelled(types);
    let help = match look.path.steps().get(step) {
        Some(Step::Key(_)) if types.contains("array") => format!("did you mean `{before}[]…`?"),
        Some(Step::Key(_)) => format!("there is nothing in it; did you mean `{before}`?"),
        _ if types.contains("object") => format!("`{before}.name` goes into an object"),
        _ => format!("did you mean `{before}`?"),
    };
    let message = format!("in the schema of `{name}` `{before}` is {is}: `{}` leads nowhere", look.path.text());
    found.warn("argument-type", look.span.clone(), message, help);
}

fn value(look: &Look<'_>, tool: &Tool, shape: &Shape, found: &mut Found) {
    let name = &tool.name;
    let has = |names: &[&str]| names.iter().any(|name| shape.types.contains(name));
    let needs = match look.test {
        None => Some((&["number", "integer"][..], "a number")),
        Some((_, test)) => needs(test.op),
    };
    let path = look.path.text();
    if let Some((types, word)) = needs
        && !has(types)
    {
        let subject = look.test.map_or("increment_from", |(_, test)| test.word());
        let follows = match look.test {
            None | Some((Kind::Require, _)) => "every call is refused",
            Some(_) => "every call that has it is refused",
        };
        let message =
            format!("`{subject}` needs {word}, and `{path}` of `{name}` is {}: {follows}", spelled(&shape.types));
        let other = format!("compare with `eq`, `in` or `type`, or with a path that leads to {word}");
        let help = if has(&["array"]) { elements(look, tool, types, other) } else { other };
        found.warn("argument-type", look.span.clone(), message, help);
        return;
    }
    let Some((kind, test)) = look.test else { return };
    if !matches!(test.op, Operator::Eq | Operator::Neq | Operator::In | Operator::NotIn) {
        return;
    }
    let constants = test.constants();
    let scalar =
        !constants.is_empty() && constants.iter().all(|node| !matches!(node.json, Json::Array(_) | Json::Null));
    if scalar && has(&["array"]) && (kind != Kind::Require || shape.types.len() == 1) {
        let follows = match (kind, test.op) {
            (Kind::Require, Operator::Eq | Operator::In) => "every call is refused",
            (_, Operator::Eq | Operator::In) => "an array that contains it escapes this rule",
            _ => "an array never equals one value",
        };
        let message = format!("`{path}` of `{name}` is {}: {follows}", spelled(&shape.types));
        let other = format!("compare with what its elements are, or with the length of `{path}`");
        found.warn("missed-elements", look.span.clone(), message, elements(look, tool, &SCALARS, other));
        return;
    }
    for node in constants {
        constant(node, path, name, shape, found);
    }
}

/// What is advised where a condition is on an array, and a value of one of `types` is meant.
fn elements(look: &Look<'_>, tool: &Tool, types: &[&str], other: String) -> String {
    let path = look.path.text();
    let steps = [look.path.steps(), &[Step::Each]].concat();
    match known(&tool.schema, &steps) {
        Known::Value(shape) if shape.types.iter().any(|name| types.contains(name)) => {
            format!("did you mean `{path}[]`?")
        }
        Known::Value(shape) if shape.types.contains("object") => {
            format!("its elements are objects: `{path}[].name` leads to what they call `name`")
        }
        Known::Value(_) => other,
        _ => format!("did you mean `{path}[]`?"),
    }
}

/// A constant that the value at the path can never equal.
fn constant(node: &Node, path: &str, name: &str, shape: &Shape, found: &mut Found) {
    let of = match node.json {
        Json::Null => return,
        Json::Bool => "boolean",
        Json::Number => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    let fits = shape.types.contains(of) || (of == "number" && shape.types.contains("integer"));
    if !fits {
        let message = format!("`{path}` of `{name}` is {}, which this never equals", spelled(&shape.types));
        found.warn("argument-type", node.place(), message, format!("write {}", spelled(&shape.types)));
        return;
    }
    let (Some(values), Some(text)) = (&shape.values, string(node)) else { return };
    let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
    if !texts.contains(&text) {
        let message = format!("`{path}` of `{name}` is never `{text}`");
        let help = match did_you_mean(text, texts.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("it can be {}", listed(&texts, 12)),
        };
        found.warn("no-such-value", node.place(), message, help);
    }
}

/// The types that an operator can decide, in JSON Schema's words and in others.
fn needs(op: Operator) -> Option<(&'static [&'static str], &'static str)> {
    match op {
        Operator::Lt | Operator::Lte | Operator::Gt | Operator::Gte => Some((&["number", "integer"], "a number")),
        Operator::Regex | Operator::StartsWith | Operator::UnderPath | Operator::HostIn => {
            Some((&["string"], "a string"))
        }
        Operator::Contains => Some((&["string", "array", "object"], "a string, an array or an object")),
        Operator::LenLte => Some((&["string", "array", "object"], "a string, an array or an object")),
        Operator::Eq | Operator::Neq | Operator::In | Operator::NotIn | Operator::Exists | Operator::Type => None,
    }
}

fn spelled(types: &BTreeSet<&'static str>) -> String {
    let words: Vec<String> = types
        .iter()
        .map(|name| match *name {
            "null" => "null".to_owned(),
            name if name.starts_with(['a', 'i', 'o']) => format!("an {name}"),
            name => format!("a {name}"),
        })
        .collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// A path as it is written, from its steps.
fn shown(steps: &[Step]) -> String {
    steps.iter().fold("args".to_owned(), |path, step| match step {
        Step::Key(key) if key.contains(['.', '[', ']', '"']) || key.is_empty() => {
            format!("{path}[{}]", Value::from(&**key))
        }
        Step::Key(key) => format!("{path}.{}", &**key),
        Step::Index(index) => format!("{path}[{index}]"),
        Step::Each => format!("{path}[]"),
    })
}
