//! From the crate's tree to a checked expression: every name is known, every macro is one of five, nothing is too deep.

use std::ops::Range;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr as Ast, IdedExpr, ListExpr, LiteralValue, MapExpr, SourceInfo,
    operators,
};
use cel::parser::{ParseErrors, Parser};

use super::expr::{Binary, Conversion, Expr, Fold, FoldKind, Literal, TextTest};
use super::{BadProgram, DEPTH};
use crate::diagnostic::did_you_mean;
use crate::policy::conditions::Path;
use crate::policy::conditions::automaton::Automaton;
use crate::policy::conditions::path::WORDS;

/// Macros that may stand in each other.
const LOCALS: usize = 8;

/// What can be called, for suggestions.
const FUNCTIONS: [&str; 16] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
];

/// Functions of the language that are not here.
const ABSENT: [&str; 5] = ["bytes", "duration", "timestamp", "type", "dyn"];

const ROOTS: [&str; 5] = ["args", "grant", "server", "tool", "identity"];

const BINARY: [(&str, Binary); 12] = [
    (operators::EQUALS, Binary::Equal),
    (operators::NOT_EQUALS, Binary::NotEqual),
    (operators::LESS, Binary::Less),
    (operators::LESS_EQUALS, Binary::LessOrEqual),
    (operators::GREATER, Binary::Greater),
    (operators::GREATER_EQUALS, Binary::GreaterOrEqual),
    (operators::IN, Binary::In),
    (operators::ADD, Binary::Add),
    (operators::SUBSTRACT, Binary::Subtract),
    (operators::MULTIPLY, Binary::Multiply),
    (operators::DIVIDE, Binary::Divide),
    (operators::MODULO, Binary::Modulo),
];

const TEXT_TESTS: [(&str, TextTest); 3] =
    [("contains", TextTest::Contains), ("startsWith", TextTest::StartsWith), ("endsWith", TextTest::EndsWith)];

const CONVERSIONS: [(&str, Conversion); 5] = [
    ("bool", Conversion::Bool),
    ("int", Conversion::Int),
    ("uint", Conversion::Uint),
    ("double", Conversion::Double),
    ("string", Conversion::String),
];

/// A checked expression.
pub(super) struct Compiled {
    pub expr: Expr,
    pub reads_arguments: bool,
}

/// Reads and checks an expression whose text is within its bounds.
pub(super) fn compile(source: &str) -> Result<Compiled, BadProgram> {
    if source.trim().is_empty() {
        return Err(BadProgram::new("this expression is empty", 0..source.len()));
    }
    let parser = Parser::new().max_recursion_depth(64).error_recovery_limit(4);
    let (ast, info) = parser.parse_with_source_info(source).map_err(|errors| unreadable(source, &errors))?;
    let mut compiler = Compiler { source, info: &info, locals: Vec::new(), reads_arguments: false };
    let expr = compiler.expr(&ast, DEPTH)?;
    if expr.is_never_bool() {
        return Err(BadProgram::new("this expression does not come to true or false", 0..source.len()));
    }
    Ok(Compiled { expr, reads_arguments: compiler.reads_arguments })
}

/// The parser's first complaint, at its place.
fn unreadable(source: &str, errors: &ParseErrors) -> BadProgram {
    let Some(first) = errors.errors.first() else {
        return BadProgram::new("this expression cannot be read", 0..source.len());
    };
    let (line, column) = (usize::try_from(first.pos.0).unwrap_or(0), usize::try_from(first.pos.1).unwrap_or(0));
    let before: usize = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = source.get(before..).unwrap_or_default();
    // The column counts characters.
    let at = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
    let place = before + at;
    let length = source.get(place..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
    let what = first.msg.strip_prefix("Syntax error: ").unwrap_or(&first.msg);
    let what = what.lines().next().unwrap_or_default();
    BadProgram::new(format!("this expression cannot be read: {}", shortened(what)), place..place + length)
}

/// The parser lists every token that could have come.
fn shortened(what: &str) -> String {
    match what.split_once(" expecting {") {
        Some((what, _)) => what.to_owned(),
        None => what.to_owned(),
    }
}

struct Compiler<'a> {
    source: &'a str,
    info: &'a SourceInfo,
    /// The variables of the enclosing macros.
    locals: Vec<&'a str>,
    reads_arguments: bool,
}

impl<'a> Compiler<'a> {
    fn expr(&mut self, node: &'a IdedExpr, depth: usize) -> Result<Expr, BadProgram> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(self.bad(node, format!("this expression has more than {DEPTH} levels")));
        };
        Ok(match &node.expr {
            Ast::Literal(literal) => Expr::Literal(self.literal(node, literal)?),
            Ast::Ident(name) => self.variable(node, name)?,
            Ast::Select(select) => {
                if let Some(fact) = self.fact(node, &select.operand, &select.field)? {
                    return Ok(if select.test { Expr::HasFact(fact) } else { Expr::Fact(fact) });
                }
                let of = Box::new(self.expr(&select.operand, depth)?);
                let field = select.field.as_str().into();
                if select.test { Expr::Has(of, field) } else { Expr::Select(of, field) }
            }
            Ast::Call(call) => self.call(node, call, depth)?,
            Ast::List(ListExpr { elements, .. }) => {
                Expr::List(elements.iter().map(|element| self.expr(element, depth)).collect::<Result<_, _>>()?)
            }
            Ast::Map(map) => self.map(map, depth)?,
            Ast::Comprehension(comprehension) => self.fold(node, comprehension, depth)?,
            Ast::Struct(_) => {
                return Err(self.bad(node, "there are no message types here: write a map, `{\"key\": …}`"));
            }
            Ast::Unspecified => return Err(self.bad(node, "this expression cannot be read")),
        })
    }

    fn literal(&self, node: &IdedExpr, literal: &LiteralValue) -> Result<Literal, BadProgram> {
        Ok(match literal {
            LiteralValue::Null => Literal::Null,
            LiteralValue::Boolean(value) => Literal::Bool(*value.inner()),
            LiteralValue::Int(value) => Literal::Int(*value.inner()),
            LiteralValue::UInt(value) => Literal::Uint(*value.inner()),
            LiteralValue::Double(value) if value.inner().is_finite() => Literal::Double(*value.inner()),
            LiteralValue::Double(_) => return Err(self.bad(node, "this number is too large")),
            LiteralValue::String(text) => Literal::Text(text.inner().into()),
            LiteralValue::Bytes(_) => return Err(self.bad(node, "there are no bytes here: write a string")),
        })
    }

    fn variable(&mut self, node: &IdedExpr, name: &str) -> Result<Expr, BadProgram> {
        if let Some(level) = self.locals.iter().position(|local| *local == name) {
            return Ok(Expr::Local(level));
        }
        if name == "args" {
            self.reads_arguments = true;
            return Ok(Expr::Args);
        }
        let known = ROOTS.iter().copied().chain(self.locals.iter().copied());
        let message = match did_you_mean(name, known) {
            _ if ROOTS.contains(&name) => {
                let words: Vec<_> = WORDS.iter().filter(|word| word.split('.').next() == Some(name)).collect();
                format!(
                    "`{name}` is no value: there is `{}`",
                    words.iter().map(|w| **w).collect::<Vec<_>>().join("`, `")
                )
            }
            Some(other) => format!("there is no `{name}`: did you mean `{other}`?"),
            None => format!("there is no `{name}`: arguments are written `args.{name}`"),
        };
        Err(self.bad(node, message))
    }

    /// `grant.name` and its like.
    fn fact(&self, node: &IdedExpr, of: &IdedExpr, field: &str) -> Result<Option<Path>, BadProgram> {
        let Ast::Ident(root) = &of.expr else { return Ok(None) };
        if root == "args" || !ROOTS.contains(&root.as_str()) {
            return Ok(None);
        }
        let text = format!("{root}.{field}");
        match Path::parse(&text) {
            Ok(path) => Ok(Some(path)),
            Err(_) => {
                let words: Vec<_> =
                    WORDS.iter().copied().filter(|word| word.starts_with(&format!("{root}."))).collect();
                Err(self.bad(node, format!("there is no `{text}`: there is `{}`", words.join("`, `"))))
            }
        }
    }

    fn call(&mut self, node: &'a IdedExpr, call: &'a CallExpr, depth: usize) -> Result<Expr, BadProgram> {
        let name = call.func_name.as_str();
        // `size(x)` is `x.size()`.
        let operands: Vec<&'a IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        let is_method = call.target.is_some();
        if let Some((_, operator)) = BINARY.iter().find(|(other, _)| *other == name) {
            return Ok(Expr::Binary(*operator, self.operands(node, &operands, depth)?));
        }
        if let (Some((_, test)), true) = (TEXT_TESTS.iter().find(|(other, _)| *other == name), is_method) {
            return Ok(Expr::Text(*test, self.operands(node, &operands, depth)?));
        }
        if let (Some((_, conversion)), false) = (CONVERSIONS.iter().find(|(other, _)| *other == name), is_method) {
            let [operand] = *self.operands(node, &operands, depth)?;
            return Ok(Expr::Convert(*conversion, Box::new(operand)));
        }
        Ok(match name {
            operators::LOGICAL_AND => Expr::And(self.operands(node, &operands, depth)?),
            operators::LOGICAL_OR => Expr::Or(self.operands(node, &operands, depth)?),
            operators::CONDITIONAL => Expr::If(self.operands(node, &operands, depth)?),
            operators::INDEX => Expr::Index(self.operands(node, &operands, depth)?),
            operators::LOGICAL_NOT => {
                let [operand] = *self.operands(node, &operands, depth)?;
                Expr::Not(Box::new(operand))
            }
            operators::NEGATE => {
                let [operand] = *self.operands(node, &operands, depth)?;
                Expr::Negate(Box::new(operand))
            }
            "size" => {
                let [operand] = *self.operands(node, &operands, depth)?;
                Expr::Size(Box::new(operand))
            }
            "matches" => self.matches(node, &operands, depth)?,
            _ => return Err(self.unknown(node, name, is_method)),
        })
    }

    /// As many operands as a function has.
    fn operands<const N: usize>(
        &mut self,
        node: &IdedExpr,
        operands: &[&'a IdedExpr],
        depth: usize,
    ) -> Result<Box<[Expr; N]>, BadProgram> {
        let operands: Vec<Expr> = operands.iter().map(|operand| self.expr(operand, depth)).collect::<Result<_, _>>()?;
        Box::<[Expr; N]>::try_from(operands.into_boxed_slice())
            .map_err(|given| self.bad(node, format!("this function takes {N} values, not {}", given.len())))
    }

    fn matches(&mut self, node: &IdedExpr, operands: &[&'a IdedExpr], depth: usize) -> Result<Expr, BadProgram> {
        let [text, pattern] = operands else {
            return Err(self.bad(node, "`matches` takes a string and a pattern: `args.name.matches(\"^[a-z]+$\")`"));
        };
        let Ast::Literal(LiteralValue::String(literal)) = &pattern.expr else {
            return Err(self.bad(pattern, "the pattern of `matches` must be a literal"));
        };
        let automaton = Automaton::compile(literal.inner()).map_err(|error| {
            let what = match error {
                regex::Error::CompiledTooBig(_) => "it takes too much memory".to_owned(),
                error => {
                    let error = error.to_string();
                    error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
                }
            };
            self.bad(pattern, format!("this pattern cannot be used: {what}"))
        })?;
        Ok(Expr::Matches(Box::new(self.expr(text, depth)?), automaton))
    }

    fn map(&mut self, map: &'a MapExpr, depth: usize) -> Result<Expr, BadProgram> {
        let mut entries: Vec<(Box<str>, Expr)> = Vec::with_capacity(map.entries.len());
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let Ast::Literal(LiteralValue::String(key)) = &entry.key.expr else {
                return Err(self.bad(&entry.key, "a key of a map must be a literal string"));
            };
            if entries.iter().any(|(other, _)| **other == *key.inner()) {
                return Err(self.bad(&entry.key, "this map has a key twice"));
            }
            entries.push((key.inner().into(), self.expr(&entry.value, depth)?));
        }
        Ok(Expr::Map(entries.into()))
    }

    /// A macro, which the parser has written out.
    fn fold(
        &mut self,
        node: &'a IdedExpr,
        comprehension: &'a ComprehensionExpr,
        depth: usize,
    ) -> Result<Expr, BadProgram> {
        let range = self.expr(&comprehension.iter_range, depth)?;
        let Some(shape) = Shape::of(comprehension) else {
            return Err(self.bad(node, "this macro is not known here"));
        };
        let variable = comprehension.iter_var.as_str();
        if ROOTS.contains(&variable) || self.locals.contains(&variable) {
            return Err(self.bad(node, format!("`{variable}` stands for something already: choose another name")));
        }
        if self.locals.len() == LOCALS {
            return Err(self.bad(node, format!("more than {LOCALS} macros stand in each other")));
        }
        self.locals.push(variable);
        let parts = self.expr(shape.body, depth).and_then(|body| {
            let filter = shape.filter.map(|filter| self.expr(filter, depth)).transpose()?;
            Ok((body, filter))
        });
        self.locals.pop();
        let (body, filter) = parts?;
        Ok(Expr::Fold(Box::new(Fold { kind: shape.kind, range, body, filter })))
    }

    fn unknown(&self, node: &IdedExpr, name: &str, is_method: bool) -> BadProgram {
        let shown = name.chars().take(64).collect::<String>();
        let message = match did_you_mean(name, FUNCTIONS) {
            _ if ABSENT.contains(&name) => format!("`{shown}` is not supported here"),
            Some(other) if other == name && is_method => format!("`{shown}` is no method: write `{shown}(…)`"),
            Some(other) if other == name => {
                format!("`{shown}` is used in another way: see `{shown}` among the functions of conditions")
            }
            Some(other) => format!("there is no function `{shown}`: did you mean `{other}`?"),
            None => format!("there is no function `{shown}`: there are `{}`", FUNCTIONS.join("`, `")),
        };
        BadProgram::new(message, self.place_of_call(node, name))
    }

    /// The name before the bracket that the parser points at.
    fn place_of_call(&self, node: &IdedExpr, name: &str) -> Range<usize> {
        let place = self.place(node);
        let before = self.source.get(..place.start).unwrap_or_default().trim_end();
        if before.ends_with(name) { before.len() - name.len()..before.len() } else { place }
    }

    fn bad(&self, node: &IdedExpr, message: impl Into<String>) -> BadProgram {
        BadProgram::new(message, self.place(node))
    }

    fn place(&self, node: &IdedExpr) -> Range<usize> {
        let offset = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        let place = self.info.offset_for(node.id).map(|(start, last)| offset(start)..offset(last).saturating_add(1));
        match place {
            Some(place) if self.source.get(place.clone()).is_some() => place,
            _ => 0..self.source.len(),
        }
    }
}

/// What a written-out macro was.
struct Shape<'a> {
    kind: FoldKind,
    body: &'a IdedExpr,
    filter: Option<&'a IdedExpr>,
}

impl<'a> Shape<'a> {
    /// `None` where it was none of the standard macros.
    fn of(comprehension: &'a ComprehensionExpr) -> Option<Shape<'a>> {
        if comprehension.iter_var2.is_some() {
            return None;
        }
        let Ast::Call(step) = &comprehension.loop_step.expr else { return None };
        let name = step.func_name.as_str();
        let shape = |kind, body, filter| Some(Shape { kind, body, filter });
        match (&comprehension.accu_init.expr, step.args.as_slice()) {
            (Ast::Literal(LiteralValue::Boolean(_)), [_, body]) if name == operators::LOGICAL_AND => {
                shape(FoldKind::All, body, None)
            }
            (Ast::Literal(LiteralValue::Boolean(_)), [_, body]) if name == operators::LOGICAL_OR => {
                shape(FoldKind::Exists, body, None)
            }
            (Ast::Literal(LiteralValue::Int(_)), [body, ..]) if name == operators::CONDITIONAL => {
                shape(FoldKind::ExistsOne, body, None)
            }
            (Ast::List(_), [_, added]) if name == operators::ADD => shape(FoldKind::Map, only(added)?, None),
            (Ast::List(_), [filter, added, _]) if name == operators::CONDITIONAL => {
                let Ast::Call(CallExpr { args, .. }) = &added.expr else { return None };
                let [_, added] = args.as_slice() else { return None };
                let body = only(added)?;
                match &body.expr {
                    // `filter(x, p)` is `map(x, p, x)`.
                    Ast::Ident(name) if *name == comprehension.iter_var => shape(FoldKind::Filter, filter, None),
                    _ => shape(FoldKind::Map, body, Some(filter)),
                }
            }
            _ => None,
        }
    }
}

/// The element of a list of one.
fn only(list: &IdedExpr) -> Option<&IdedExpr> {
    match &list.expr {
        Ast::List(ListExpr { elements, .. }) => match elements.as_slice() {
            [element] => Some(element),
            _ => None,
        },
        _ => None,
    }
}
