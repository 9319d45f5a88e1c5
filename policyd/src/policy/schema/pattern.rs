//! Patterns of JSON Schema are regular expressions of ECMA-262.

use super::ecma::translated;
use crate::policy::conditions::automaton::Automaton;

/// The automaton of a pattern; `None` where it is too large, or no regular expression in the strict sense.
pub(super) fn compile(pattern: &str) -> Option<Automaton> {
    Automaton::compile(&translated(pattern)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_automata_cost_more() {
        let bytes = |pattern: &str| compile(pattern).map(|pattern| pattern.bytes());
        for small in ["^[a-z]+-[0-9]+$", r"^\d{4}-\d{2}-\d{2}$", "^(usd|eur|gbp)$", "^[A-Za-z0-9+/=]*$", r"^\S+@\S+$"] {
            assert!(bytes(small).is_some_and(|bytes| bytes <= 16 << 10), "{small} {:?}", bytes(small));
        }
        assert_eq!(bytes("^[a-z]+$"), Some(2 << 10));
        assert_eq!(bytes("^[ab]{500}$"), Some(64 << 10));
        for refused in ["(a{900}){900}", "(?=a)", r"(a)\1", "[", "(?<!a)b"] {
            assert_eq!(bytes(refused), None, "{refused}");
        }
    }
}
