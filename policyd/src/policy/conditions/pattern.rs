//! `regex`: a pattern that is found in time, or not at all.
//!
//! The `regex` crate never takes more than linear time, but what it takes for each byte of the text can grow with the
//! pattern: `[ab]*a[ab]{500}` over a megabyte of `a` and `b`, in one text or in a thousand, would hold up a worker for
//! seconds. So what is longer is searched by an automaton that gives up where it would have to crawl. Then the condition is
//! undecidable. All texts of a condition count together, and each condition starts anew: the same call always gets the same
//! answer.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use regex_automata::Input;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::pool::{Pool, PoolGuard};

/// A compiled `regex`.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Pattern {
    regex: Regex,
    /// Of the automaton: what the slowest of the crate's engines looks at for each byte.
    states: usize,
    patient: Arc<Patient>,
}

/// For texts that are too long for the crate's slowest engine.
#[derive(Debug)]
struct Patient {
    automaton: DFA,
    caches: Pool<Cache, NewCache>,
}

type NewCache = Box<dyn Fn() -> Cache + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// What the searches of one condition have taken, over all its texts.
#[derive(Debug, Default)]
pub(in crate::policy) struct Effort<'p> {
    /// Steps of the crate's slowest engine.
    steps: usize,
    /// The automaton's states so far; it counts itself what it takes.
    cache: Option<PoolGuard<'p, Cache, NewCache>>,
}

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::policy) enum BadPattern {
    /// It takes too much memory.
    TooLarge,
    /// It cannot be read, and why.
    Syntax(String),
}

/// What a compiled pattern may take, in bytes; each of its caches too.
const SIZE: usize = 1 << 20;

/// Bytes of a condition's texts times states of its pattern up to which the crate's slowest engine is fast enough.
const STEPS: usize = 1 << 22;

/// How often the cache may run full, and how many bytes each of the states in it must have been good for since.
const CLEARS: usize = 3;
const BYTES_PER_STATE: usize = 64;

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    ///
    /// [`BadPattern`].
    pub fn compile(pattern: &str) -> Result<Pattern, BadPattern> {
        let regex = RegexBuilder::new(pattern).size_limit(SIZE).dfa_size_limit(SIZE).build().map_err(BadPattern::of)?;
        let limits = DFA::config()
            .cache_capacity(SIZE)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(CLEARS))
            .minimum_bytes_per_state(Some(BYTES_PER_STATE))
            // Unicode's word boundaries are beyond it: it gives up at the first byte that is not ASCII.
            .unicode_word_boundary(true);
        let nfa = thompson::Config::new().which_captures(WhichCaptures::None).nfa_size_limit(Some(SIZE));
        let automaton = DFA::builder().configure(limits).thompson(nfa).build(pattern);
        let automaton = automaton.map_err(|_| BadPattern::TooLarge)?;
        let states = automaton.get_nfa().states().len();
        let for_cache = automaton.clone();
        let new: NewCache = Box::new(move || for_cache.create_cache());
        Ok(Pattern { regex, states, patient: Arc::new(Patient { automaton, caches: Pool::new(new) }) })
    }

    /// Whether the pattern is found in `text`; `None`: that would take too long to tell, after what the others of the same
    /// condition have taken.
    pub fn is_match<'p>(&'p self, text: &str, effort: &mut Effort<'p>) -> Option<bool> {
        // An empty text takes a step too.
        let steps = effort.steps.saturating_add((text.len() + 1).saturating_mul(self.states));
        if steps <= STEPS {
            effort.steps = steps;
            return Some(self.regex.is_match(text));
        }
        let Patient { automaton, caches } = &*self.patient;
        let cache = effort.cache.get_or_insert_with(|| {
            let mut cache = caches.get();
            // What earlier calls have left in it must not decide this one.
            cache.reset(automaton);
            cache
        });
        let found = automaton.try_search_fwd(cache, &Input::new(text).earliest(true));
        found.ok().map(|found| found.is_some())
    }
}

impl BadPattern {
    fn of(error: regex::Error) -> BadPattern {
        match error {
            regex::Error::CompiledTooBig(_) => BadPattern::TooLarge,
            // The last line says what, the ones before it show where.
            error => {
                let error = error.to_string();
                let what = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                BadPattern::Syntax(what.to_owned())
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn is_match(pattern: &str, text: &str) -> Option<bool> {
        Pattern::compile(pattern).unwrap().is_match(text, &mut Effort::default())
    }

    /// `a` and `b` in no order that an automaton could learn.
    fn noise(length: usize) -> String {
        let mut state: u32 = 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            if state & 1 == 0 { 'a' } else { 'b' }
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn long_texts_are_searched_as_short_ones_are() {
        let long = |text: &str| format!("{}{text}{}", "lorem ipsum ".repeat(30_000), " dolor sit".repeat(30_000));
        for (pattern, text, expected) in [
            (r"(?i)drop\s+table", "x DROP  table y", true),
            (r"(?i)drop\s+table", "x dropped the table y", false),
            (r"\bAKIA[0-9A-Z]{16}\b", " AKIAABCDEFGHIJKLMNOP ", true),
            (r"\w+@\w+\.\w{2,}", "ann@bücher.example", true),
            (r"[\w.]+@[\w.]+", "nobody", false),
            (r"(?m)^x$", "\nx\n", true),
            ("", "", true),
        ] {
            assert_eq!(is_match(pattern, text), Some(expected), "{pattern}");
            assert_eq!(is_match(pattern, &long(text)), Some(expected), "{pattern}");
        }
        assert_eq!(is_match(r"^[a-z ]+$", &long("")), Some(true));
        assert_eq!(is_match(r"^[a-z ]+$", &long("!")), Some(false));
    }

    #[test]
    fn what_would_take_too_long_is_undecidable() {
        for pattern in ["[ab]*a[ab]{300}c", "[ab]*a[ab]{50}c"] {
            assert_eq!(is_match(pattern, &noise(1 << 17)), None, "{pattern}");
            assert_eq!(is_match(pattern, &noise(300)), Some(false), "{pattern}");
        }
        assert_eq!(is_match(r"\bx\b", &"é".repeat(1 << 21)), None, "word boundaries in long texts that are not ASCII");
        assert_eq!(is_match(r"\bx\b", "é x é"), Some(true));
    }

    #[test]
    fn the_texts_of_a_condition_count_together() {
        let pattern = Pattern::compile("[ab]*a[ab]{300}c").unwrap();
        let texts: Vec<String> =
            noise(1 << 20).as_bytes().chunks(6_000).map(|text| String::from_utf8_lossy(text).into()).collect();
        let searched = || {
            let mut effort = Effort::default();
            texts.iter().map(|text| pattern.is_match(text, &mut effort)).collect::<Vec<_>>()
        };
        let first = searched();
        assert_eq!(first[0], Some(false));
        assert_eq!(first.last(), Some(&None));
        assert_eq!(searched(), first, "what was searched before changes nothing");
        let easy = Pattern::compile("^[ab]+$").unwrap();
        let mut effort = Effort::default();
        assert!(texts.iter().cycle().take(10_000).all(|text| easy.is_match(text, &mut effort) == Some(true)));
    }

    #[test]
    fn a_pattern_must_be_readable_and_of_bounded_size() {
        assert_eq!(Pattern::compile(r"\w{1000}").err(), Some(BadPattern::TooLarge));
        assert_eq!(Pattern::compile("((a{100}){100}){100}").err(), Some(BadPattern::TooLarge));
        for pattern in ["(", "(?=a)", r"(a)\1", "a{2,1}", "[z-a]"] {
            assert!(matches!(Pattern::compile(pattern), Err(BadPattern::Syntax(_))), "{pattern}");
        }
    }
}
