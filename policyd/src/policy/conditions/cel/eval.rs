//! Evaluates a checked expression, and counts.

mod compare;
mod fold;
mod number;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

use smallvec::SmallVec;

use number::{arithmetic, converted};

use super::expr::{Binary, Conversion, Expr, Literal, TextTest};
use super::value::{Numeric, Text, Val, truncated};
use crate::mcp::json::{Kind, Value};
use crate::policy::conditions::path::{Member, Path, member};
use crate::policy::conditions::{Facts, Found};

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// An error of the language: `true || error` is true all the same.
    Error,
    /// All steps are used. Nothing takes it back.
    Steps,
}

type Result<T> = std::result::Result<T, Stop>;

/// What `expr` comes to, within so many steps.
pub(super) fn evaluate(expr: &Expr, facts: &Facts<'_>, steps: u32) -> Result<bool> {
    let mut evaluation = Evaluation { facts, steps, locals: SmallVec::new() };
    match evaluation.value(expr)? {
        Val::Bool(holds) => Ok(holds),
        _ => Err(Stop::Error),
    }
}

struct Evaluation<'a> {
    facts: &'a Facts<'a>,
    /// Steps that are left.
    steps: u32,
    /// The variables of the macros that are running, outermost first.
    locals: SmallVec<[Val<'a>; 2]>,
}

impl<'a> Evaluation<'a> {
    /// Uses up one step.
    fn step(&mut self) -> Result<()> {
        self.steps = self.steps.checked_sub(1).ok_or(Stop::Steps)?;
        Ok(())
    }

    /// Uses up a step for every `per` of `amount`.
    fn charge(&mut self, amount: usize, per: usize) -> Result<()> {
        let steps = u32::try_from(amount / per).map_err(|_| Stop::Steps)?;
        self.steps = self.steps.checked_sub(steps).ok_or(Stop::Steps)?;
        Ok(())
    }

    /// Kept small: this is the function that recurses.
    fn value(&mut self, expr: &'a Expr) -> Result<Val<'a>> {
        self.step()?;
        match expr {
            Expr::Literal(literal) => Ok(constant(literal)),
            Expr::Args => Ok(self.facts.args.map_or_else(|| Val::Map(Rc::from([])), Val::Json)),
            Expr::Fact(path) => self.fact(path)?.ok_or(Stop::Error),
            Expr::HasFact(path) => Ok(Val::Bool(self.fact(path)?.is_some())),
            Expr::Local(level) => self.locals.get(*level).cloned().ok_or(Stop::Error),
            Expr::Select(of, key) => self.select(of, key),
            Expr::Has(of, key) => self.has(of, key),
            Expr::Index(parts) => self.index(parts),
            Expr::Not(of) => self.bool(of).map(|value| Val::Bool(!value)),
            Expr::Negate(of) => self.negate(of),
            Expr::And(parts) => self.either(parts, false),
            Expr::Or(parts) => self.either(parts, true),
            Expr::If(parts) => {
                let [condition, then, otherwise] = &**parts;
                let chosen = if self.bool(condition)? { then } else { otherwise };
                self.value(chosen)
            }
            Expr::Binary(operator, parts) => self.binary(*operator, parts),
            Expr::List(elements) => self.list(elements),
            Expr::Map(entries) => self.map(entries),
            Expr::Size(of) => self.size(of),
            Expr::Text(test, parts) => self.text_test(*test, parts),
            Expr::Matches(of, automaton) => {
                let text = self.text(of)?;
                self.charge(automaton.steps(text.len()).max(text.len()), 1)?;
                Ok(Val::Bool(automaton.is_found_in(&text)))
            }
            Expr::Convert(conversion, of) => self.convert(*conversion, of),
            Expr::Fold(fold) => self.fold(fold),
        }
    }

    fn bool(&mut self, expr: &'a Expr) -> Result<bool> {
        match self.value(expr)? {
            Val::Bool(value) => Ok(value),
            _ => Err(Stop::Error),
        }
    }

    fn text(&mut self, expr: &'a Expr) -> Result<Text<'a>> {
        match self.value(expr)? {
            Val::Text(text) => Ok(text),
            _ => Err(Stop::Error),
        }
    }

    fn fact(&mut self, path: &Path) -> Result<Option<Val<'a>>> {
        match path.find(self.facts) {
            Found::Text(Cow::Borrowed(text)) => Ok(Some(Val::Text(Text::Borrowed(text)))),
            Found::Text(text) => Ok(Some(Val::Text(Text::Made(text.into())))),
            Found::Number(number) => Ok(Some(Val::Int(number.into()))),
            Found::Absent => Ok(None),
            Found::Mismatch | Found::Unclear | Found::Json(_) => Err(Stop::Error),
        }
    }

    /// A value of the arguments.
    fn json(&mut self, value: Value<'a>) -> Result<Val<'a>> {
        Ok(match value.kind() {
            Kind::Null => Val::Null,
            Kind::Bool => Val::Bool(value.as_bool() == Some(true)),
            Kind::Number => {
                self.charge(value.raw().len(), 16)?;
                Val::of_number(value.raw()).ok_or(Stop::Error)?
            }
            Kind::String => match value.as_str().ok_or(Stop::Error)? {
                Cow::Borrowed(text) => Val::Text(Text::Borrowed(text)),
                Cow::Owned(text) => {
                    self.charge(text.len(), 16)?;
                    Val::Text(Text::Made(text.into()))
                }
            },
            Kind::Array | Kind::Object => Val::Json(value),
        })
    }

    /// What a map has under a key; an error if it is none, or if readers differ about the key.
    fn get(&mut self, map: &Val<'a>, key: &str) -> Result<Option<Val<'a>>> {
        match map {
            Val::Json(object) if object.is_object() => {
                self.charge_keys(*object, key)?;
                match member(*object, key) {
                    Member::Found(value) => self.json(value).map(Some),
                    Member::Absent => Ok(None),
                    Member::Unclear => Err(Stop::Error),
                }
            }
            Val::Map(entries) => {
                self.charge(entries.len(), 4)?;
                Ok(entries.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone()))
            }
            _ => Err(Stop::Error),
        }
    }

    /// What it costs to compare an object's keys with one.
    fn charge_keys(&mut self, object: Value<'a>, key: &str) -> Result<()> {
        let (mut count, mut bytes) = (0, key.len());
        for (name, _) in object.entries() {
            count += 1;
            bytes += name.end() - name.start();
        }
        self.charge(count, 4)?;
        self.charge(bytes, 64)
    }

    fn select(&mut self, of: &'a Expr, key: &str) -> Result<Val<'a>> {
        let map = self.value(of)?;
        self.get(&map, key)?.ok_or(Stop::Error)
    }

    fn has(&mut self, of: &'a Expr, key: &str) -> Result<Val<'a>> {
        let map = self.value(of)?;
        Ok(Val::Bool(self.get(&map, key)?.is_some()))
    }

    fn index(&mut self, parts: &'a [Expr; 2]) -> Result<Val<'a>> {
        let [of, index] = parts;
        let of = self.value(of)?;
        let index = self.value(index)?;
        if let Val::Text(key) = &index {
            return self.get(&of, key)?.ok_or(Stop::Error);
        }
        let index = match index.numeric().ok_or(Stop::Error)? {
            Numeric::Whole(index) => Some(index),
            Numeric::Double(index) => truncated(index).filter(|_| index.fract() == 0.0),
        };
        let index = index.and_then(|index| usize::try_from(index).ok()).ok_or(Stop::Error)?;
        match of {
            Val::List(items) => items.get(index).cloned().ok_or(Stop::Error),
            Val::Json(array) if array.is_array() => {
                self.charge(index, 4)?;
                let item = array.items().nth(index).ok_or(Stop::Error)?;
                self.json(item)
            }
            _ => Err(Stop::Error),
        }
    }

    fn negate(&mut self, of: &'a Expr) -> Result<Val<'a>> {
        match self.value(of)? {
            Val::Int(int) => int.checked_neg().map(Val::Int).ok_or(Stop::Error),
            Val::Double(double) => Ok(Val::Double(-double)),
            _ => Err(Stop::Error),
        }
    }

    /// `||` (`decisive` is true) and `&&` (false): one decisive side is enough, whatever becomes of the other.
    fn either(&mut self, parts: &'a [Expr; 2], decisive: bool) -> Result<Val<'a>> {
        let [left, right] = parts;
        let left = self.tried(left)?;
        if left == Some(decisive) {
            return Ok(Val::Bool(decisive));
        }
        let right = self.tried(right)?;
        match (left, right) {
            (_, Some(right)) if right == decisive => Ok(Val::Bool(decisive)),
            (Some(_), Some(_)) => Ok(Val::Bool(!decisive)),
            _ => Err(Stop::Error),
        }
    }

    /// A boolean, or `None` for an error.
    fn tried(&mut self, expr: &'a Expr) -> Result<Option<bool>> {
        match self.bool(expr) {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Error) => Ok(None),
            Err(Stop::Steps) => Err(Stop::Steps),
        }
    }

    fn binary(&mut self, operator: Binary, parts: &'a [Expr; 2]) -> Result<Val<'a>> {
        let [left, right] = parts;
        let left = self.value(left)?;
        if let (Binary::In, Expr::List(elements)) = (operator, right) {
            return self.in_elements(&left, elements);
        }
        let right = self.value(right)?;
        let ordered = |this: &mut Self, holds: fn(Ordering) -> bool| {
            this.compare(&left, &right).map(|ordering| Val::Bool(holds(ordering)))
        };
        match operator {
            Binary::Equal => self.equal(&left, &right).map(Val::Bool),
            Binary::NotEqual => self.equal(&left, &right).map(|equal| Val::Bool(!equal)),
            Binary::Less => ordered(self, Ordering::is_lt),
            Binary::LessOrEqual => ordered(self, Ordering::is_le),
            Binary::Greater => ordered(self, Ordering::is_gt),
            Binary::GreaterOrEqual => ordered(self, Ordering::is_ge),
            Binary::In => self.is_in(&left, &right),
            Binary::Add => self.add(left, right),
            Binary::Subtract => arithmetic(&left, &right, i64::checked_sub, u64::checked_sub, |a, b| a - b),
            Binary::Multiply => arithmetic(&left, &right, i64::checked_mul, u64::checked_mul, |a, b| a * b),
            Binary::Divide => arithmetic(&left, &right, i64::checked_div, u64::checked_div, |a, b| a / b),
            Binary::Modulo => match (left, right) {
                (Val::Int(a), Val::Int(b)) => a.checked_rem(b).map(Val::Int).ok_or(Stop::Error),
                (Val::Uint(a), Val::Uint(b)) => a.checked_rem(b).map(Val::Uint).ok_or(Stop::Error),
                _ => Err(Stop::Error),
            },
        }
    }

    fn add(&mut self, left: Val<'a>, right: Val<'a>) -> Result<Val<'a>> {
        match (&left, &right) {
            (Val::Text(left), Val::Text(right)) => {
                self.charge(left.len() + right.len(), 16)?;
                Ok(Val::Text(Text::Made([&**left, &**right].concat().into())))
            }
            (Val::List(_) | Val::Json(_), Val::List(_) | Val::Json(_)) => {
                let mut items = Vec::new();
                self.extend(&mut items, &left)?;
                self.extend(&mut items, &right)?;
                Ok(Val::List(items.into()))
            }
            _ => arithmetic(&left, &right, i64::checked_add, u64::checked_add, |a, b| a + b),
        }
    }

    fn extend(&mut self, items: &mut Vec<Val<'a>>, list: &Val<'a>) -> Result<()> {
        match list {
            Val::List(more) => {
                self.charge(more.len(), 1)?;
                items.extend(more.iter().cloned());
            }
            Val::Json(array) if array.is_array() => {
                for item in array.items() {
                    self.step()?;
                    items.push(self.json(item)?);
                }
            }
            _ => return Err(Stop::Error),
        }
        Ok(())
    }

    fn list(&mut self, elements: &'a [Expr]) -> Result<Val<'a>> {
        let items: Result<Vec<_>> = elements.iter().map(|element| self.value(element)).collect();
        Ok(Val::List(items?.into()))
    }

    fn map(&mut self, entries: &'a [(Box<str>, Expr)]) -> Result<Val<'a>> {
        let entries: Result<Vec<_>> = entries.iter().map(|(key, value)| Ok((&**key, self.value(value)?))).collect();
        Ok(Val::Map(entries?.into()))
    }

    fn size(&mut self, of: &'a Expr) -> Result<Val<'a>> {
        let size = match self.value(of)? {
            Val::Text(text) => {
                self.charge(text.len(), 64)?;
                text.chars().count()
            }
            Val::List(items) => items.len(),
            Val::Map(entries) => entries.len(),
            Val::Json(value) => {
                let size = if value.is_array() { value.items().count() } else { value.entries().count() };
                self.charge(size, 4)?;
                size
            }
            _ => return Err(Stop::Error),
        };
        i64::try_from(size).map(Val::Int).map_err(|_| Stop::Error)
    }

    fn text_test(&mut self, test: TextTest, parts: &'a [Expr; 2]) -> Result<Val<'a>> {
        let [text, part] = parts;
        let (text, part) = (self.text(text)?, self.text(part)?);
        Ok(Val::Bool(match test {
            TextTest::Contains => {
                self.charge(text.len() + part.len(), 16)?;
                text.contains(&*part)
            }
            TextTest::StartsWith => {
                self.charge(part.len(), 64)?;
                text.starts_with(&*part)
            }
            TextTest::EndsWith => {
                self.charge(part.len(), 64)?;
                text.ends_with(&*part)
            }
        }))
    }

    fn convert(&mut self, conversion: Conversion, of: &'a Expr) -> Result<Val<'a>> {
        let value = self.value(of)?;
        if let Val::Text(text) = &value {
            self.charge(text.len(), 16)?;
        }
        converted(conversion, value).ok_or(Stop::Error)
    }
}

fn constant(literal: &Literal) -> Val<'_> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(value) => Val::Bool(*value),
        Literal::Int(value) => Val::Int(*value),
        Literal::Uint(value) => Val::Uint(*value),
        Literal::Double(value) => Val::Double(*value),
        Literal::Text(text) => Val::Text(Text::Borrowed(text)),
    }
}
