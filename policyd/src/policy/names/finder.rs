//! Which of many patterns matches a name, in one pass over the name.
//!
//! Every pattern has a *key*: the one of its literal parts that it shares with the fewest others. One Aho-Corasick
//! automaton recognises all keys at once, those at a name's ends too: it reads the name between two marks that no name
//! holds. Where a key is seen, its patterns are asked, and no pattern more than once. So a thousand patterns cost what a
//! few do, as long as the name does not hold the keys of many, and a long name costs in proportion to its length.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, StartKind};
use smallvec::{SmallVec, smallvec};

use super::pattern::{Part, Pattern};

/// Stands before a name. UTF-8 never has this byte.
const BEGIN: u8 = 0xff;

/// Stands behind a name. UTF-8 never has this byte.
const END: u8 = 0xfe;

/// How many numbers of 32 bits the automaton may take at the worst, which only patterns made for it come near. Beyond it the
/// patterns are tried one by one.
const LARGEST: usize = 1 << 25;

/// Up to so many bytes the automaton is a table with a row for each state, which is the fastest.
const TABLE: usize = 4 << 20;

/// Finds patterns in a list that is sorted by precedence.
#[derive(Debug)]
pub(super) struct Finder {
    /// The automaton and the state that it begins in.
    automaton: Option<(Machine, StateID)>,
    /// By key: the patterns, the first one first. The keys that must not be asked twice stand first.
    keys: Box<[Box<[Candidate]>]>,
    /// How many keys can be seen several times in a name, and have patterns that may not match all the same.
    repeatable: usize,
    /// The patterns without a key that may be first: the one that is nothing but `*`, or all where there is no automaton.
    keyless: Box<[usize]>,
}

#[derive(Debug)]
enum Machine {
    Table(DFA),
    Compact(NFA),
}

/// A pattern whose key was seen.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    index: usize,
    /// The key is all there is to it.
    certain: bool,
}

impl Finder {
    /// Builds the automaton.
    pub fn new(patterns: &[&Pattern]) -> Finder {
        Finder::bounded(patterns, LARGEST)
    }

    /// The same with an automaton of at most about `largest` numbers.
    pub(super) fn bounded(patterns: &[&Pattern], largest: usize) -> Finder {
        let mut shared: HashMap<Part<'_>, usize> = HashMap::new();
        for part in patterns.iter().flat_map(|pattern| pattern.parts()) {
            *shared.entry(part).or_default() += 1;
        }
        let mut by_key: BTreeMap<Part<'_>, Vec<Candidate>> = BTreeMap::new();
        let mut keyless = Vec::new();
        for (index, pattern) in patterns.iter().enumerate() {
            let cost = |part: &Part<'_>| (shared.get(part).copied(), part.is_inner(), Reverse(part.text().len()));
            match pattern.parts().min_by_key(cost) {
                Some(key) => {
                    let certain = pattern.parts().count() == 1;
                    by_key.entry(key).or_default().push(Candidate { index, certain });
                }
                None => keyless.push(index),
            }
        }
        keyless.truncate(1);
        let repeatable = |(key, candidates): &(Part<'_>, Vec<Candidate>)| {
            key.is_inner() && !candidates.iter().all(|one| one.certain)
        };
        let (mut keys, others): (Vec<_>, Vec<_>) = by_key.into_iter().partition(repeatable);
        let repeatable = keys.len();
        keys.extend(others);
        let marked: Vec<Vec<u8>> = keys.iter().map(|(key, _)| key.marked()).collect();
        match automaton(&marked, largest) {
            Some(automaton) => Finder {
                automaton,
                keys: keys.into_iter().map(|(_, candidates)| candidates.into()).collect(),
                repeatable,
                keyless: keyless.into(),
            },
            None => {
                Finder { automaton: None, keys: Box::default(), repeatable: 0, keyless: (0..patterns.len()).collect() }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn has_automaton(&self) -> bool {
        self.automaton.is_some()
    }

    /// The first pattern that matches `name`; `matches` says whether the one at an index does.
    pub fn first(&self, name: &str, matches: impl Fn(usize) -> bool) -> Option<usize> {
        let best = self.keyless.iter().copied().find(|&index| matches(index));
        match &self.automaton {
            None => best,
            Some((Machine::Table(table), start)) => self.scan(table, *start, name, best, matches),
            Some((Machine::Compact(compact), start)) => self.scan(compact, *start, name, best, matches),
        }
    }

    fn scan(
        &self,
        automaton: &impl Automaton,
        start: StateID,
        name: &str,
        best: Option<usize>,
        matches: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut best = best.unwrap_or(usize::MAX);
        let mut asked: SmallVec<[u64; 16]> = smallvec![0; self.repeatable.div_ceil(64)];
        let mut state = start;
        for byte in [BEGIN].into_iter().chain(name.bytes()).chain([END]) {
            state = automaton.next_state(Anchored::No, state, byte);
            if !automaton.is_match(state) {
                continue;
            }
            for key in (0..automaton.match_len(state)).map(|nth| automaton.match_pattern(state, nth).as_usize()) {
                if key < self.repeatable && !insert(&mut asked, key) {
                    continue;
                }
                let candidates = self.keys.get(key).map_or(&[][..], |candidates| candidates);
                let better = candidates.iter().take_while(|candidate| candidate.index < best);
                let found = better.copied().find(|candidate| candidate.certain || matches(candidate.index));
                best = found.map_or(best, |candidate| candidate.index);
            }
            if best == 0 {
                break;
            }
        }
        (best != usize::MAX).then_some(best)
    }
}

/// The automaton for some keys, if there are any; `None` if it may become too large.
fn automaton(keys: &[Vec<u8>], largest: usize) -> Option<Option<(Machine, StateID)>> {
    if keys.is_empty() {
        return Some(None);
    }
    // Each state lists the keys that end there, at most one of each length.
    let mut lengths: Vec<usize> = keys.iter().map(Vec::len).collect();
    let total: usize = lengths.iter().sum();
    lengths.sort_unstable();
    lengths.dedup();
    if total.saturating_mul(lengths.len()) > largest {
        return None;
    }
    // A row of a table may take a kilobyte. With too many rows nothing is built only to be thrown away.
    let table = || DFA::builder().prefilter(false).start_kind(StartKind::Unanchored).build(keys).ok();
    if let Some(table) = (total <= TABLE / 64).then(table).flatten().filter(|table| table.memory_usage() <= TABLE) {
        let start = table.start_state(Anchored::No).ok()?;
        return Some(Some((Machine::Table(table), start)));
    }
    let compact = NFA::builder().prefilter(false).build(keys).ok()?;
    let start = compact.start_state(Anchored::No).ok()?;
    Some(Some((Machine::Compact(compact), start)))
}

/// Adds a number to a set of bits; `false` if it was there.
fn insert(set: &mut [u64], number: usize) -> bool {
    let bit = 1 << (number % 64);
    set.get_mut(number / 64).is_some_and(|word| {
        let new = *word & bit == 0;
        *word |= bit;
        new
    })
}

impl Part<'_> {
    fn text(&self) -> &str {
        match self {
            Part::Prefix(text) | Part::Inner(text) | Part::Suffix(text) => text,
        }
    }

    /// Whether it can stand in a name more than once.
    fn is_inner(&self) -> bool {
        matches!(self, Part::Inner(_))
    }

    fn marked(&self) -> Vec<u8> {
        let begin = matches!(self, Part::Prefix(_)).then_some(BEGIN);
        let end = matches!(self, Part::Suffix(_)).then_some(END);
        begin.into_iter().chain(self.text().bytes()).chain(end).collect()
    }
}
