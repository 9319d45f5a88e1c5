//! Looking up what applies to a name, among exact names and patterns with `*`.
//!
//! An exact name beats a pattern, and of two patterns the one with more literal characters. Exact names are found by their
//! hash, patterns by one pass of an automaton over the name.

mod finder;
mod pattern;

use std::cmp::Reverse;
use std::collections::HashMap;

use finder::Finder;
pub(crate) use pattern::Pattern;
pub(super) use pattern::ties;
use rustc_hash::FxHashMap;

/// Values by exact name and by pattern.
#[derive(Debug)]
pub(super) struct Names<T> {
    /// With a fast hash: only the policy puts names in.
    exact: FxHashMap<Box<str>, T>,
    /// The longest literal part first.
    patterns: Vec<(Pattern, T)>,
    finder: Finder,
}

impl<T> Names<T> {
    /// Builds the tables. Of two patterns with equally long literal parts the earlier one wins.
    pub fn new(exact: HashMap<Box<str>, T>, mut patterns: Vec<(Pattern, T)>) -> Names<T> {
        patterns.sort_by_key(|(pattern, _)| Reverse(pattern.literal()));
        let finder = Finder::new(&patterns.iter().map(|(pattern, _)| pattern).collect::<Vec<_>>());
        Names { exact: exact.into_iter().collect(), patterns, finder }
    }

    /// What applies to `name`, if anything does.
    pub fn find(&self, name: &str) -> Option<&T> {
        if let Some(value) = self.exact.get(name) {
            return Some(value);
        }
        if self.patterns.is_empty() {
            return None;
        }
        let matches = |index: usize| self.patterns.get(index).is_some_and(|(pattern, _)| pattern.matches(name));
        let (_, value) = self.patterns.get(self.finder.first(name, matches)?)?;
        Some(value)
    }

    /// The exact names.
    pub fn exact(&self) -> impl Iterator<Item = &str> {
        self.exact.keys().map(|name| &**name)
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.patterns.iter().map(|(_, value)| value))
    }

    /// All values, to be completed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact.values_mut().chain(self.patterns.iter_mut().map(|(_, value)| value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests;
