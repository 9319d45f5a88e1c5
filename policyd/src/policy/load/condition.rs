//! Conditions.

use std::cmp::Ordering;

use super::{Json, Keys, Loader, Member, Node, member};
use crate::diagnostic::did_you_mean;
use crate::policy::conditions::constant::Constant;
use crate::policy::conditions::op::{Op, Set, Type};
use crate::policy::conditions::path::WORDS;
use crate::policy::conditions::pattern::{BadPattern, Pattern};
use crate::policy::conditions::{BadValue, Condition, Path, Test, cel, host_in::Hosts, under_path::Directories};
use crate::policy::reader::listed;

pub(crate) const CONDITION: Keys = Keys { of: "a condition", known: &["path", "op", "value", "cel"] };

/// The operators by their names.
pub(crate) const OPERATORS: [(&str, Operator); 16] = [
    ("eq", Operator::Eq),
    ("neq", Operator::Neq),
    ("in", Operator::In),
    ("not_in", Operator::NotIn),
    ("lt", Operator::Lt),
    ("lte", Operator::Lte),
    ("gt", Operator::Gt),
    ("gte", Operator::Gte),
    ("regex", Operator::Regex),
    ("contains", Operator::Contains),
    ("exists", Operator::Exists),
    ("len_lte", Operator::LenLte),
    ("starts_with", Operator::StartsWith),
    ("under_path", Operator::UnderPath),
    ("host_in", Operator::HostIn),
    ("type", Operator::Type),
];

/// An operator, without its `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Eq,
    Neq,
    In,
    NotIn,
    Lt,
    Lte,
    Gt,
    Gte,
    Regex,
    Contains,
    Exists,
    LenLte,
    StartsWith,
    UnderPath,
    HostIn,
    Type,
}

/// `type`'s words.
pub(crate) const TYPES: [(&str, Type); 7] = [
    ("null", Type::Null),
    ("boolean", Type::Boolean),
    ("number", Type::Number),
    ("integer", Type::Integer),
    ("string", Type::String),
    ("array", Type::Array),
    ("object", Type::Object),
];

impl Loader<'_> {
    pub(super) fn condition(&mut self, node: &Node) -> Option<Condition> {
        let members = self.reader.object(node, &CONDITION)?;
        if let Some(cel) = member(members, "cel") {
            return self.cel(members, cel);
        }
        let path = self.reader.required(node, members, "path");
        let path = path.and_then(|node| self.path(node));
        let op = self.reader.required(node, members, "op").and_then(|node| self.reader.word(node, &OPERATORS));
        let value = match op {
            // `exists` alone is `exists: true`.
            Some(Operator::Exists) => member(members, "value"),
            _ => self.reader.required(node, members, "value"),
        };
        let shown = || {
            let op = OPERATORS.iter().find(|(_, other)| Some(*other) == op).map_or("", |(word, _)| *word);
            let value = value.map_or("true", |node| self.reader.raw(node));
            format!(
                "{} {op} {}",
                path.as_ref().map_or("", Path::text),
                value.split_whitespace().collect::<Vec<_>>().join(" ")
            )
        };
        let shown = shown().into();
        let op = match (op?, value) {
            (Operator::Exists, None) => Op::Exists(true),
            (op, value) => self.op(op, value?)?,
        };
        Some(Condition { test: Test::At { path: path?, op }, shown })
    }

    /// `{"cel": …}`, alone.
    fn cel(&mut self, members: &[Member], node: &Node) -> Option<Condition> {
        for Member { key, key_span, .. } in members.iter().filter(|member| member.key != "cel") {
            let help = "write two conditions: all of a rule's conditions must hold".to_owned();
            self.reader.problem(key_span.clone(), format!("`{key}` cannot stand beside `cel`"), Some(help));
        }
        let source = self.reader.string(node)?;
        match cel::Program::compile(source) {
            Ok(program) => Some(Condition { test: Test::Cel(program), shown: source.into() }),
            Err(bad) => {
                // The expression's place within the string's text, as long as no escape stands before it.
                let text = self.reader.text.get(node.span.start + 1..).unwrap_or_default();
                let plain = source.get(..bad.span.end).is_some_and(|before| text.starts_with(before));
                let offset = node.span.start + 1;
                let span = if plain { offset + bad.span.start..offset + bad.span.end } else { node.place() };
                self.reader.problem(span, bad.message, None);
                None
            }
        }
    }

    fn path(&mut self, node: &Node) -> Option<Path> {
        let text = self.reader.string(node)?;
        Path::parse(text)
            .map_err(|message| {
                let help = match did_you_mean(text, WORDS) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None if text.starts_with("identity.") => format!("there are {}", listed(&WORDS)),
                    None => "such as `args.amount`, `args.items[].price`, `args[\"a.b\"]` or `grant.name`".to_owned(),
                };
                self.reader.problem(node.place(), message, Some(help));
            })
            .ok()
    }

    /// The operator with its `value`.
    fn op(&mut self, op: Operator, node: &Node) -> Option<Op> {
        Some(match op {
            Operator::Eq | Operator::Neq => {
                Op::In { set: Set::new([self.constant(node)?]), negated: op == Operator::Neq }
            }
            Operator::In | Operator::NotIn => {
                let constants: Vec<_> = self.reader.array(node)?.iter().map(|node| self.constant(node)).collect();
                let constants: Option<Vec<_>> = constants.into_iter().collect();
                Op::In { set: Set::new(constants?), negated: op == Operator::NotIn }
            }
            Operator::Lt => self.compare(node, Ordering::is_lt)?,
            Operator::Lte => self.compare(node, Ordering::is_le)?,
            Operator::Gt => self.compare(node, Ordering::is_gt)?,
            Operator::Gte => self.compare(node, Ordering::is_ge)?,
            Operator::Regex => self.regex(node)?,
            Operator::Contains => Op::Contains(self.constant(node)?),
            Operator::Exists => match node.json {
                Json::Bool => Op::Exists(self.reader.raw(node) == "true"),
                _ => return self.reader.wrong(node, "`value` of `exists` must be true or false"),
            },
            Operator::LenLte => {
                let Json::Number = node.json else {
                    return self.reader.wrong(node, "`value` of `len_lte` must be a whole number");
                };
                let Ok(length) = self.reader.raw(node).parse() else {
                    self.reader.problem(
                        node.place(),
                        "`value` of `len_lte` must be a whole number that is not negative",
                        None,
                    );
                    return None;
                };
                Op::LenLte(length)
            }
            Operator::StartsWith => Op::StartsWith(self.reader.string(node)?.into()),
            Operator::UnderPath => Op::UnderPath(self.places(node, Directories::parse)?),
            Operator::HostIn => Op::HostIn(self.places(node, Hosts::parse)?),
            Operator::Type => self.types(node)?,
        })
    }

    fn constant(&mut self, node: &Node) -> Option<Constant> {
        let constant = Constant::of(node, self.reader.text);
        if constant.is_none() {
            self.reader.problem(node.place(), "a number here is too extreme to be compared", None);
        }
        constant
    }

    fn compare(&mut self, node: &Node, holds: fn(Ordering) -> bool) -> Option<Op> {
        match self.constant(node)? {
            Constant::Number(bound) => Some(Op::Compare { holds, bound: bound.into() }),
            _ => self.reader.wrong(node, "this operator compares numbers: `value` must be one"),
        }
    }

    fn regex(&mut self, node: &Node) -> Option<Op> {
        let pattern = self.reader.string(node)?;
        let (message, help) = match Pattern::compile(pattern) {
            Ok(pattern) => return Some(Op::Regex(pattern)),
            Err(BadPattern::TooLarge) => (
                "this pattern takes too much memory".to_owned(),
                "large repetitions such as `{1000}` cost the most; `len_lte` bounds a length",
            ),
            Err(BadPattern::Syntax(what)) => (
                format!("this pattern cannot be read: {what}"),
                "RE2 syntax: no look-around, no back-references; in JSON a backslash is written twice",
            ),
        };
        self.reader.problem(node.place(), message, Some(help.to_owned()));
        None
    }

    /// One text or several.
    fn places<T>(&mut self, node: &Node, parse: impl Fn(&[&str]) -> Result<T, BadValue>) -> Option<T> {
        let nodes = match &node.json {
            Json::String(_) => std::slice::from_ref(node),
            _ => self.reader.array(node)?,
        };
        let texts: Vec<_> = nodes.iter().map(|node| self.reader.string(node)).collect();
        let texts: Vec<&str> = texts.into_iter().collect::<Option<_>>()?;
        let places = parse(&texts);
        places
            .map_err(|bad| self.reader.problem(nodes.get(bad.index).unwrap_or(node).place(), bad.message, bad.help))
            .ok()
    }

    /// One type or several.
    fn types(&mut self, node: &Node) -> Option<Op> {
        let nodes = match &node.json {
            Json::Array(nodes) => nodes,
            _ => std::slice::from_ref(node),
        };
        let types: Vec<_> = nodes.iter().map(|node| self.reader.word(node, &TYPES)).collect();
        Some(Op::Type(types.into_iter().collect::<Option<_>>()?))
    }
}
