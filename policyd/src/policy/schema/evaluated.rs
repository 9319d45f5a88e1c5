//! What a schema has evaluated of a value, for `unevaluatedProperties` and `unevaluatedItems` (2020-12, Core, sections 7.7 and 11).
//!
//! Found out by a second look, and only where somebody asks: nothing needs to be collected while a value is checked.

use std::collections::HashSet;

use super::check::{Checker, Result, Stop};
use super::keyword::{Id, Keyword, Node, Properties};
use crate::mcp::json::{Kind, Value};

/// What has been evaluated of an object or array.
#[derive(Default)]
pub(super) struct Evaluated {
    pub all: bool,
    /// Elements from the first on.
    pub prefix: usize,
    /// Members or elements, by where they start.
    pub some: HashSet<usize>,
}

impl<'s> Checker<'s> {
    /// Notes what these keywords, which hold, have evaluated of a value.
    ///
    /// `asking`: they stand beside the keyword that asks, which has evaluated nothing yet.
    pub fn evaluated(
        &mut self,
        keywords: &'s [Keyword],
        asking: bool,
        value: Value<'_>,
        evaluated: &mut Evaluated,
    ) -> Result<'s, ()> {
        self.depth = self.depth.checked_sub(1).ok_or(Stop::TooCostly)?;
        for keyword in keywords {
            self.step(1)?;
            match (keyword, value.kind()) {
                (Keyword::Properties(properties), Kind::Object) => {
                    for (key, member) in value.entries() {
                        self.step(1)?;
                        if self.covers(properties, key)? {
                            evaluated.some.insert(member.start());
                        }
                    }
                }
                (Keyword::UnevaluatedProperties(_), Kind::Object) | (Keyword::UnevaluatedItems(_), Kind::Array) => {
                    evaluated.all |= !asking;
                }
                (Keyword::Items { prefix, rest }, Kind::Array) => {
                    evaluated.prefix = evaluated.prefix.max(prefix.len());
                    evaluated.all |= rest.is_some();
                }
                (Keyword::Contains { id, evaluates: true, .. }, Kind::Array) => {
                    for item in value.items() {
                        if self.holds(*id, item)? {
                            evaluated.some.insert(item.start());
                        }
                    }
                }
                (Keyword::Ref(id), _) => self.evaluated_by(*id, value, evaluated)?,
                (Keyword::AllOf(ids), _) => {
                    for id in ids {
                        self.evaluated_by(*id, value, evaluated)?;
                    }
                }
                (Keyword::AnyOf(ids) | Keyword::OneOf(ids), _) => {
                    for id in ids {
                        if self.holds(*id, value)? {
                            self.evaluated_by(*id, value, evaluated)?;
                        }
                    }
                }
                (Keyword::If { condition, then, otherwise }, _) => {
                    let holds = self.holds(*condition, value)?;
                    if holds {
                        self.evaluated_by(*condition, value, evaluated)?;
                    }
                    if let Some(id) = if holds { then } else { otherwise } {
                        self.evaluated_by(*id, value, evaluated)?;
                    }
                }
                (Keyword::With(dependencies), Kind::Object) => {
                    for (key, id) in dependencies {
                        if self.member(value, key)?.is_some() {
                            self.evaluated_by(*id, value, evaluated)?;
                        }
                    }
                }
                _ => {}
            }
        }
        self.depth += 1;
        Ok(())
    }

    /// The same of a subschema that holds.
    fn evaluated_by(&mut self, id: Id, value: Value<'_>, evaluated: &mut Evaluated) -> Result<'s, ()> {
        let nodes = self.nodes;
        match usize::try_from(id).ok().and_then(|id| nodes.get(id)) {
            Some(Node::All(keywords)) => self.evaluated(keywords, false, value, evaluated),
            _ => Ok(()),
        }
    }

    fn covers(&mut self, properties: &Properties, key: Value<'_>) -> Result<'s, bool> {
        if properties.additional.is_some() || properties.named.contains_key(&*key.as_str().unwrap_or_default()) {
            return Ok(true);
        }
        for (pattern, _) in &properties.patterns {
            if self.matches(pattern, key)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
