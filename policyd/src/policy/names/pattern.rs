//! One pattern, and which of many can match the same name.

use std::collections::{BTreeMap, BTreeSet};

/// A name with at least one `*`, each of which matches any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    prefix: Box<str>,
    inner: Box<[Box<str>]>,
    suffix: Box<str>,
    literal: usize,
}

/// What every name that a pattern matches has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part<'a> {
    /// The name begins with it.
    Prefix(&'a str),
    /// It stands somewhere in the name.
    Inner(&'a str),
    /// The name ends with it.
    Suffix(&'a str),
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

    /// Whether it matches the whole of `name`. Linear in the name's length.
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

    /// Its literal parts, in their order; none of them is empty.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let prefix = Some(&*self.prefix).filter(|text| !text.is_empty()).map(Part::Prefix);
        let suffix = Some(&*self.suffix).filter(|text| !text.is_empty()).map(Part::Suffix);
        prefix.into_iter().chain(self.inner.iter().map(|text| Part::Inner(text))).chain(suffix)
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

/// The patterns (by index) that an earlier one ties with, and that one: some name is matched by both, and their literal
/// parts are equally long. In the order of the later ones; not all of them if there are more than `most` pairs.
pub(in crate::policy) fn ties(patterns: &[&Pattern], most: usize) -> BTreeMap<usize, usize> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, pattern) in patterns.iter().enumerate() {
        groups.entry(pattern.literal).or_default().push(index);
    }
    let mut ties = BTreeMap::new();
    let mut pairs = 0;
    for group in groups.values() {
        for (one, other) in Ends::of(patterns, group).overlaps().take(most - pairs) {
            pairs += 1;
            let (earlier, later) = (one.min(other), one.max(other));
            ties.entry(later).and_modify(|first: &mut usize| *first = earlier.min(*first)).or_insert(earlier);
        }
        if pairs == most {
            break;
        }
    }
    ties
}

/// The fixed ends of patterns. Between them each has a `*` that takes whatever another one still needs: two patterns
/// overlap if and only if of their prefixes one begins with the other, and of their suffixes one ends with it.
#[derive(Default)]
struct Ends<'a> {
    /// By prefix: the suffixes backwards, sorted, each with its pattern's index.
    by_prefix: BTreeMap<&'a [u8], BTreeSet<(Vec<u8>, usize)>>,
    prefix_lengths: BTreeSet<usize>,
    suffix_lengths: BTreeSet<usize>,
}

impl<'a> Ends<'a> {
    fn of(patterns: &[&'a Pattern], group: &[usize]) -> Ends<'a> {
        let mut ends = Ends::default();
        for (index, pattern) in group.iter().filter_map(|&index| Some((index, patterns.get(index)?))) {
            let suffix = pattern.suffix.bytes().rev().collect();
            ends.by_prefix.entry(pattern.prefix.as_bytes()).or_default().insert((suffix, index));
            ends.prefix_lengths.insert(pattern.prefix.len());
            ends.suffix_lengths.insert(pattern.suffix.len());
        }
        ends
    }

    /// Every pair that overlaps, found from the one whose prefix is longer; of two with one prefix, each may find the other.
    fn overlaps(&self) -> impl Iterator<Item = (usize, usize)> {
        let all = self.by_prefix.iter().flat_map(|(prefix, suffixes)| suffixes.iter().map(move |end| (*prefix, end)));
        all.flat_map(move |(prefix, (suffix, index))| {
            let begins = self.prefix_lengths.range(..=prefix.len()).filter_map(|&length| prefix.get(..length));
            let others = begins.filter_map(|begin| self.by_prefix.get(begin));
            let others = others.flat_map(move |others| self.ending(others, suffix));
            others.map(|other| (*index, other)).filter(|(one, other)| one != other)
        })
    }

    /// The patterns of which the backward suffix begins with this one, or the other way round.
    fn ending<'e>(&'e self, all: &'e BTreeSet<(Vec<u8>, usize)>, suffix: &'e [u8]) -> impl Iterator<Item = usize> {
        let shorter = self.suffix_lengths.range(..suffix.len()).filter_map(|&length| suffix.get(..length));
        let shorter = shorter.flat_map(|end| all.range((end.to_vec(), 0)..).take_while(move |(other, _)| other == end));
        let longer = all.range((suffix.to_vec(), 0)..).take_while(|(other, _)| other.starts_with(suffix));
        shorter.chain(longer).map(|(_, index)| *index)
    }
}
