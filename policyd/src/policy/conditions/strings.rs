//! A set of strings that never changes.

use std::collections::HashSet;

/// Up to so many strings are compared one by one: most differ in length already, and hashing reads all of a long text.
const FEW: usize = 8;

/// The strings of `eq` and `in`.
#[derive(Clone, Debug)]
pub(super) enum Strings {
    Few(Vec<Box<str>>),
    Many(HashSet<Box<str>>),
}

impl Strings {
    /// Whether `text` is one of them.
    pub fn contains(&self, text: &str) -> bool {
        match self {
            Strings::Few(strings) => strings.iter().any(|one| **one == *text),
            Strings::Many(strings) => strings.contains(text),
        }
    }
}

impl Default for Strings {
    fn default() -> Strings {
        Strings::Few(Vec::new())
    }
}

impl FromIterator<Box<str>> for Strings {
    fn from_iter<I: IntoIterator<Item = Box<str>>>(strings: I) -> Strings {
        let strings: Vec<Box<str>> = strings.into_iter().collect();
        if strings.len() <= FEW { Strings::Few(strings) } else { Strings::Many(strings.into_iter().collect()) }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_hold_what_was_put_in() {
        for count in [0, 1, FEW, FEW + 1, 1000] {
            let strings: Strings = (0..count).map(|n| format!("s{n}").into_boxed_str()).collect();
            assert_eq!(matches!(strings, Strings::Many(_)), count > FEW);
            for n in 0..count {
                assert!(strings.contains(&format!("s{n}")), "{n} of {count}");
            }
            for other in [format!("s{count}"), String::new(), "S0".to_owned(), "s0 ".to_owned()] {
                assert!(!strings.contains(&other), "{other} of {count}");
            }
        }
    }
}
