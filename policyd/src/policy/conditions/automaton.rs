//! Regular expressions whose searches are counted.

use regex::{Regex, RegexBuilder};

/// Bytes that a compiled pattern may take, and the steps that it then takes for every four bytes of a text: in the worst case,
/// an automaton is in all of its states at once.
const SIZES: [(usize, usize); 3] = [(2 << 10, 1), (16 << 10, 16), (64 << 10, 64)];

/// A compiled pattern. Searching takes time linear in the text, and in the pattern's size.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Automaton {
    regex: Regex,
    size: (usize, usize),
}

impl Automaton {
    /// Compiles a pattern of the `regex` crate.
    ///
    /// # Errors
    ///
    /// The crate's: it is too large, or cannot be read.
    pub fn compile(pattern: &str) -> Result<Automaton, regex::Error> {
        let build = |size: usize| RegexBuilder::new(pattern).size_limit(size).dfa_size_limit(4 * size).build();
        let [smaller @ .., largest] = SIZES;
        for size in smaller {
            if let Ok(regex) = build(size.0) {
                return Ok(Automaton { regex, size });
            }
        }
        Ok(Automaton { regex: build(largest.0)?, size: largest })
    }

    /// The bytes that it takes, at most.
    pub fn bytes(&self) -> usize {
        self.size.0
    }

    /// The steps that a search in a text of so many bytes takes.
    pub fn steps(&self, length: usize) -> usize {
        length.saturating_mul(self.size.1) / 4
    }

    /// Whether it is found in a text.
    pub fn is_found_in(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}
