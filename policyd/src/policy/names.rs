//! Looking up what applies to a name, among exact names and patterns with `*`.
//!
//! An exact name beats a pattern, and of two patterns the one with more literal characters. Patterns are found by the
//! literal text before their first `*`, or after their last one, so that a thousand of them cost no more than a few.

use std::collections::HashMap;

/// A name with at least one `*`, each of which matches any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    prefix: Box<str>,
    inner: Box<[Box<str>]>,
    suffix: Box<str>,
    literal: usize,
}

impl Pattern {
    /// Reads a pattern; `None` if `text` holds no `*`.
    pub fn parse(text: &str) -> Option<Pattern> {
        let (prefix, rest) = text.split_once('*')?;
        let (inner, suffix) = rest.rsplit_once('*').unwrap_or(("", rest));
        Some(Pattern {
            prefix: prefix.into(),
            inner: inner.split('*').filter(|part| !part.is_empty()).map(Box::from).collect(),
            suffix: suffix.into(),
            literal: text.chars().filter(|&c| c != '*').count(),
        })
    }

    /// How many characters of it are literal: more is more specific.
    pub fn literal(&self) -> usize {
        self.literal
    }

    /// Whether it matches the whole of `name`.
    pub fn matches(&self, name: &str) -> bool {
        let Some(mut rest) = name.strip_prefix(&*self.prefix).and_then(|rest| rest.strip_suffix(&*self.suffix)) else {
            return false;
        };
        self.inner.iter().all(|part| match rest.find(&**part) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    }

    /// Whether some name is matched by both.
    pub fn overlaps(&self, other: &Pattern) -> bool {
        let (a, b) = (self.prefix.as_bytes(), other.prefix.as_bytes());
        let (c, d) = (self.suffix.as_bytes(), other.suffix.as_bytes());
        // Between prefix and suffix each pattern has a `*` that takes whatever the other one still needs, so that only
        // the fixed ends can disagree.
        (a.starts_with(b) || b.starts_with(a)) && (c.ends_with(d) || d.ends_with(c))
    }
}

/// Values by exact name and by pattern.
#[derive(Debug)]
pub(super) struct Names<T> {
    exact: HashMap<Box<str>, T>,
    /// The longest literal part first.
    patterns: Vec<(Pattern, T)>,
    /// The patterns (by index, ascending) that begin with a text, by that text.
    by_prefix: HashMap<Box<str>, Vec<usize>>,
    /// The lengths of those texts in bytes, ascending.
    prefix_lengths: Vec<usize>,
    /// The patterns that begin with `*` and end with a text, by that text.
    by_suffix: HashMap<Box<str>, Vec<usize>>,
    suffix_lengths: Vec<usize>,
    /// The patterns with a `*` at both ends.
    open: Vec<usize>,
}

impl<T> Names<T> {
    /// Builds the tables. Of two patterns with equally long literal parts the earlier one wins.
    pub fn new(exact: HashMap<Box<str>, T>, mut patterns: Vec<(Pattern, T)>) -> Names<T> {
        patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.literal()));
        let mut by_prefix: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut by_suffix: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut open = Vec::new();
        for (index, (pattern, _)) in patterns.iter().enumerate() {
            if !pattern.prefix.is_empty() {
                by_prefix.entry(pattern.prefix.clone()).or_default().push(index);
            } else if !pattern.suffix.is_empty() {
                by_suffix.entry(pattern.suffix.clone()).or_default().push(index);
            } else {
                open.push(index);
            }
        }
        let (prefix_lengths, suffix_lengths) = (lengths(&by_prefix), lengths(&by_suffix));
        Names { exact, patterns, by_prefix, prefix_lengths, by_suffix, suffix_lengths, open }
    }

    /// What applies to `name`, if anything does.
    pub fn find(&self, name: &str) -> Option<&T> {
        if let Some(value) = self.exact.get(name) {
            return Some(value);
        }
        if self.patterns.is_empty() {
            return None;
        }
        let mut best = usize::MAX;
        for &length in self.prefix_lengths.iter().take_while(|&&length| length <= name.len()) {
            if let Some(indices) = name.get(..length).and_then(|prefix| self.by_prefix.get(prefix)) {
                best = best.min(self.first_match(indices, name, best));
            }
        }
        for &length in self.suffix_lengths.iter().take_while(|&&length| length <= name.len()) {
            if let Some(indices) = name.get(name.len() - length..).and_then(|suffix| self.by_suffix.get(suffix)) {
                best = best.min(self.first_match(indices, name, best));
            }
        }
        best = best.min(self.first_match(&self.open, name, best));
        self.patterns.get(best).map(|(_, value)| value)
    }

    /// The exact names.
    pub fn exact(&self) -> impl Iterator<Item = &str> {
        self.exact.keys().map(|name| &**name)
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.patterns.iter().map(|(_, value)| value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }

    fn first_match(&self, indices: &[usize], name: &str, below: usize) -> usize {
        let matches = |&&index: &&usize| self.patterns.get(index).is_some_and(|(pattern, _)| pattern.matches(name));
        indices.iter().take_while(|&&index| index < below).find(matches).copied().unwrap_or(usize::MAX)
    }
}

fn lengths(buckets: &HashMap<Box<str>, Vec<usize>>) -> Vec<usize> {
    let mut lengths: Vec<usize> = buckets.keys().map(|text| text.len()).collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(texts: &[&str]) -> Names<String> {
        let (patterns, exact): (Vec<&str>, Vec<&str>) = texts.iter().partition(|text| text.contains('*'));
        Names::new(
            exact.into_iter().map(|text| (Box::from(text), text.to_owned())).collect(),
            patterns.into_iter().filter_map(|text| Some((Pattern::parse(text)?, text.to_owned()))).collect(),
        )
    }

    #[test]
    fn exact_beats_pattern_and_longer_beats_shorter() {
        let names = names(&["*", "admin.*", "*.delete", "admin.user.*", "admin.user.show", "a*m*n*z", "*user*"]);
        for (name, found) in [
            ("admin.user.show", "admin.user.show"),
            ("admin.user.list", "admin.user.*"),
            ("admin.delete", "*.delete"),
            ("admin.x", "admin.*"),
            ("admin.", "admin.*"),
            ("admin", "*"),
            ("ammmnz", "a*m*n*z"),
            ("my_users", "*user*"),
            ("", "*"),
            ("ädmin", "*"),
        ] {
            assert_eq!(names.find(name).map(String::as_str), Some(found), "{name}");
        }
        assert_eq!(super::Names::<()>::new(HashMap::new(), Vec::new()).find("x"), None);
    }

    #[test]
    fn a_prefix_and_a_suffix_do_not_share_characters() {
        let pattern = Pattern::parse("aba*aba").expect("a pattern");
        assert!(pattern.matches("abaaba") && pattern.matches("abaxaba"));
        assert!(!pattern.matches("ababa") && !pattern.matches("aba"));
    }

    /// The textbook matcher: what `*` means, without any cleverness.
    fn plain(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('*', rest)) => (0..=name.len()).any(|at| plain(rest, &name[at..])),
            Some((c, rest)) => name.first() == Some(c) && plain(rest, &name[1..]),
        }
    }

    /// The textbook intersection: is there a name that both match?
    fn meet(a: &[char], b: &[char]) -> bool {
        match (a.split_first(), b.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => meet(rest, b) || b.split_first().is_some_and(|(_, b)| meet(a, b)),
            (_, Some(('*', rest))) => meet(a, rest) || a.split_first().is_some_and(|(_, a)| meet(a, b)),
            (Some((x, a)), Some((y, b))) => x == y && meet(a, b),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_textbook(patterns in prop::collection::vec("[abé*]{0,6}", 1..12), name in "[abé]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            for text in &patterns {
                if let Some(pattern) = Pattern::parse(text) {
                    prop_assert_eq!(pattern.matches(&name), plain(&chars(text), &chars(&name)), "{} {}", text, name);
                    for other in &patterns {
                        if let Some(second) = Pattern::parse(other) {
                            prop_assert_eq!(pattern.overlaps(&second), meet(&chars(text), &chars(other)));
                        }
                    }
                }
            }
            let texts: Vec<&str> = patterns.iter().map(String::as_str).collect();
            let longest = texts.iter().filter(|text| text.contains('*') && plain(&chars(text), &chars(&name)))
                .map(|text| text.chars().filter(|&c| c != '*').count()).max();
            match names(&texts).find(&name) {
                Some(found) if !found.contains('*') => prop_assert_eq!(found, &name),
                found => prop_assert_eq!(found.map(|text| text.chars().filter(|&c| c != '*').count()), longest),
            }
        }
    }
}
