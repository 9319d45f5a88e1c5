//! What is equal, what comes first, and what is in what.

use std::cmp::Ordering;
use std::rc::Rc;

use super::{Evaluation, Result, Stop};
use crate::policy::conditions::cel::expr::Expr;
use crate::policy::conditions::cel::value::{Text, Val};

impl<'a> Evaluation<'a> {
    /// `x in [a, b]`, without making the list.
    pub(super) fn in_elements(&mut self, wanted: &Val<'a>, elements: &'a [Expr]) -> Result<Val<'a>> {
        let mut found = false;
        for element in elements {
            let element = self.value(element)?;
            found |= self.equal(wanted, &element)?;
        }
        Ok(Val::Bool(found))
    }

    pub(super) fn is_in(&mut self, wanted: &Val<'a>, range: &Val<'a>) -> Result<Val<'a>> {
        match (wanted, range) {
            (_, Val::List(items)) => {
                for item in items.iter() {
                    if self.equal(wanted, item)? {
                        return Ok(Val::Bool(true));
                    }
                }
                Ok(Val::Bool(false))
            }
            (_, Val::Json(array)) if array.is_array() => {
                for item in array.items() {
                    let item = self.json(item)?;
                    if self.equal(wanted, &item)? {
                        return Ok(Val::Bool(true));
                    }
                }
                Ok(Val::Bool(false))
            }
            (Val::Text(key), map) => Ok(Val::Bool(self.get(map, key)?.is_some())),
            // The keys of other maps could be these.
            (Val::Bool(_) | Val::Int(_) | Val::Uint(_) | Val::Double(_), map) if is_map(map) => Ok(Val::Bool(false)),
            _ => Err(Stop::Error),
        }
    }

    /// Numbers by their value, whatever their type; values of different types are not equal.
    pub(super) fn equal(&mut self, left: &Val<'a>, right: &Val<'a>) -> Result<bool> {
        self.step()?;
        if let (Some(left), Some(right)) = (left.numeric(), right.numeric()) {
            return Ok(left.compare(right).is_eq());
        }
        match (left, right) {
            (Val::Null, Val::Null) => Ok(true),
            (Val::Bool(left), Val::Bool(right)) => Ok(left == right),
            (Val::Text(left), Val::Text(right)) => {
                self.charge(left.len().min(right.len()), 64)?;
                Ok(**left == **right)
            }
            _ if is_list(left) && is_list(right) => self.equal_lists(left, right),
            _ if is_map(left) && is_map(right) => self.equal_maps(left, right),
            _ => Ok(false),
        }
    }

    fn equal_lists(&mut self, left: &Val<'a>, right: &Val<'a>) -> Result<bool> {
        let (left, right) = (self.items(left)?, self.items(right)?);
        if left.len() != right.len() {
            return Ok(false);
        }
        for (left, right) in left.iter().zip(right.iter()) {
            if !self.equal(left, right)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn equal_maps(&mut self, left: &Val<'a>, right: &Val<'a>) -> Result<bool> {
        let (left, others) = (self.entries(left)?, self.entries(right)?.len());
        if left.len() != others {
            return Ok(false);
        }
        for (key, value) in &left {
            let Some(other) = self.get(right, key)? else { return Ok(false) };
            if !self.equal(value, &other)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Numbers, strings and booleans have an order, each among themselves.
    pub(super) fn compare(&mut self, left: &Val<'a>, right: &Val<'a>) -> Result<Ordering> {
        if let (Some(left), Some(right)) = (left.numeric(), right.numeric()) {
            return Ok(left.compare(right));
        }
        match (left, right) {
            (Val::Text(left), Val::Text(right)) => {
                self.charge(left.len().min(right.len()), 64)?;
                Ok((**left).cmp(&**right))
            }
            (Val::Bool(left), Val::Bool(right)) => Ok(left.cmp(right)),
            _ => Err(Stop::Error),
        }
    }

    /// The elements of a list.
    fn items(&mut self, list: &Val<'a>) -> Result<Rc<[Val<'a>]>> {
        if let Val::List(items) = list {
            return Ok(Rc::clone(items));
        }
        let mut items = Vec::new();
        self.extend(&mut items, list)?;
        Ok(items.into())
    }

    /// The entries of a map.
    fn entries(&mut self, map: &Val<'a>) -> Result<Vec<(Text<'a>, Val<'a>)>> {
        match map {
            Val::Map(entries) => {
                self.charge(entries.len(), 1)?;
                Ok(entries.iter().map(|(key, value)| (Text::Borrowed(key), value.clone())).collect())
            }
            Val::Json(object) if object.is_object() => {
                let mut entries = Vec::new();
                for (key, value) in object.entries() {
                    self.step()?;
                    let Val::Text(key) = self.json(key)? else { return Err(Stop::Error) };
                    entries.push((key, self.json(value)?));
                }
                Ok(entries)
            }
            _ => Err(Stop::Error),
        }
    }
}

fn is_list(value: &Val<'_>) -> bool {
    matches!(value, Val::List(_)) || matches!(value, Val::Json(json) if json.is_array())
}

fn is_map(value: &Val<'_>) -> bool {
    matches!(value, Val::Map(_)) || matches!(value, Val::Json(json) if json.is_object())
}
