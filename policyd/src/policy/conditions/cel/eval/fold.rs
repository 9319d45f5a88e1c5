//! The macros over lists and maps: `all`, `exists`, `exists_one`, `map`, `filter`.

use super::{Evaluation, Result, Stop};
use crate::policy::conditions::cel::expr::{Fold, FoldKind};
use crate::policy::conditions::cel::value::{Text, Val};

/// What a macro has found so far.
struct Tally<'a> {
    kind: FoldKind,
    /// An element whose answer was an error.
    unsettled: bool,
    /// Elements that settle `all` and `exists`, or that `exists_one` counts.
    matches: usize,
    made: Vec<Val<'a>>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn fold(&mut self, fold: &'a Fold) -> Result<Val<'a>> {
        let range = self.value(&fold.range)?;
        let mut tally = Tally { kind: fold.kind, unsettled: false, matches: 0, made: Vec::new() };
        match range {
            Val::List(items) => {
                for item in items.iter() {
                    if self.visit(fold, &mut tally, item.clone())? {
                        break;
                    }
                }
            }
            Val::Map(entries) => {
                for (key, _) in entries.iter() {
                    if self.visit(fold, &mut tally, Val::Text(Text::Borrowed(key)))? {
                        break;
                    }
                }
            }
            Val::Json(value) if value.is_array() => {
                for item in value.items() {
                    let item = self.json(item)?;
                    if self.visit(fold, &mut tally, item)? {
                        break;
                    }
                }
            }
            Val::Json(value) => {
                for (key, _) in value.entries() {
                    let key = self.json(key)?;
                    if self.visit(fold, &mut tally, key)? {
                        break;
                    }
                }
            }
            _ => return Err(Stop::Error),
        }
        tally.result()
    }

    /// Takes one element into account; whether the rest does not matter any more.
    fn visit(&mut self, fold: &'a Fold, tally: &mut Tally<'a>, item: Val<'a>) -> Result<bool> {
        self.step()?;
        let locals = self.locals.len();
        self.locals.push(item);
        let settled = self.visit_bound(fold, tally);
        self.locals.truncate(locals);
        settled
    }

    fn visit_bound(&mut self, fold: &'a Fold, tally: &mut Tally<'a>) -> Result<bool> {
        match fold.kind {
            FoldKind::All | FoldKind::Exists => {
                let decisive = fold.kind == FoldKind::Exists;
                match self.tried(&fold.body)? {
                    Some(holds) if holds == decisive => {
                        tally.matches = 1;
                        return Ok(true);
                    }
                    Some(_) => {}
                    None => tally.unsettled = true,
                }
            }
            FoldKind::ExistsOne => tally.matches += usize::from(self.bool(&fold.body)?),
            FoldKind::Filter => {
                if self.bool(&fold.body)? {
                    tally.made.extend(self.locals.last().cloned());
                }
            }
            FoldKind::Map => {
                let taken = match &fold.filter {
                    Some(filter) => self.bool(filter)?,
                    None => true,
                };
                if taken {
                    let value = self.value(&fold.body)?;
                    tally.made.push(value);
                }
            }
        }
        Ok(false)
    }
}

impl<'a> Tally<'a> {
    fn result(self) -> Result<Val<'a>> {
        match self.kind {
            FoldKind::All | FoldKind::Exists if self.matches == 0 && self.unsettled => Err(Stop::Error),
            FoldKind::All => Ok(Val::Bool(self.matches == 0)),
            FoldKind::Exists => Ok(Val::Bool(self.matches > 0)),
            FoldKind::ExistsOne => Ok(Val::Bool(self.matches == 1)),
            FoldKind::Map | FoldKind::Filter => Ok(Val::List(self.made.into())),
        }
    }
}
