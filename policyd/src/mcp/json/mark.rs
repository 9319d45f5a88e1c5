//! Marks of keys: most keys of an object are told apart from the one that is meant by two bytes.

const SMALL: u64 = 0x2020_2020_2020_2020;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// A fingerprint of a key that is ASCII and not long; none of another one. Marks differ only between keys that are different even
/// for readers who fold case: of two marks that are equal, or where one is missing, the keys have to be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark(u16);

impl Mark {
    /// Of no key: tells nothing apart.
    pub const NONE: Mark = Mark(0);

    /// Of a key, unescaped.
    #[inline]
    pub fn of(key: &[u8]) -> Mark {
        let (first, last) = words(key);
        if key.len() > SHORT || (first | last) & HIGHS != 0 {
            return Mark::NONE;
        }
        // Letters made small. Some other characters fall together by it: their keys are compared.
        let (first, last) = (first | SMALL, last | SMALL);
        let hash = (first ^ last.rotate_left(29) ^ (key.len() as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Mark(((hash >> 48) as u16).max(1))
    }

    /// Whether the keys are neither the same nor one a variant of the other.
    #[inline]
    pub fn apart(self, other: Mark) -> bool {
        self != other && self != Mark::NONE && other != Mark::NONE
    }
}

/// Up to so many bytes a key has a mark, and is compared word by word.
const SHORT: usize = 16;

/// Whether two keys are the same. Most are short, and compared in two registers; calling for a comparison takes longer than that.
#[inline]
pub(super) fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && if a.len() <= SHORT { words(a) == words(b) } else { a == b }
}

/// The first and the last bytes of a key: all of them, up to [`SHORT`].
#[inline]
fn words(key: &[u8]) -> (u64, u64) {
    match (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => match (key.first_chunk::<4>(), key.last_chunk::<4>()) {
            (Some(first), Some(last)) => (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into()),
            _ => match key {
                [] => (0, 0),
                [first, .., last] => (u64::from(*first) << 8 | u64::from(key[1]), u64::from(*last)),
                [only] => (u64::from(*only), 0),
            },
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::super::super::fold::folds_to;
    use super::*;

    fn apart(a: &str, b: &str) -> bool {
        Mark::of(a.as_bytes()).apart(Mark::of(b.as_bytes()))
    }

    #[test]
    fn tells_keys_apart() {
        let keys = [
            "",
            "a",
            "b",
            "ab",
            "ba",
            "abc",
            "acb",
            "id",
            "di",
            "name",
            "nama",
            "amount",
            "currency",
            "customer",
            "items",
            "item",
            "test_mode",
            "description",
            "quantity",
            "quality",
            "abcdefgh",
            "abcdefghi",
            "abcdefghabcdefgh",
            "abcdefghhgfedcba",
        ];
        for (at, a) in keys.iter().enumerate() {
            assert!(!apart(a, a), "{a}");
            assert!(!apart(a, &a.to_uppercase()), "{a}");
            for b in &keys[at + 1..] {
                assert!(apart(a, b), "{a} {b}");
            }
        }
    }

    #[test]
    fn what_could_fold_in_other_ways_is_compared() {
        for key in ["taſk", "ｎａｍｅ", "\u{212a}", "größe", "a-name-of-17-bytes"] {
            assert_eq!(Mark::of(key.as_bytes()), Mark::NONE, "{key}");
            assert!(!apart(key, "task") && !apart("task", key));
        }
    }

    proptest! {
        #[test]
        fn equal_is_equal(a in "[ab]{0,18}", b in "[ab]{0,18}") {
            prop_assert_eq!(equal(a.as_bytes(), b.as_bytes()), a == b);
            prop_assert!(equal(a.as_bytes(), a.clone().as_bytes()));
        }

        #[test]
        fn variants_are_never_apart(key in "[a-zA-Z_@`\\[{~\u{17f}\u{212a}\u{131}ß０-９]{0,20}", upper: u32, other in "[a-cA-C]{0,4}", more in "[a-cA-C]{0,4}") {
            let flipped: String = key
                .char_indices()
                .map(|(at, c)| if upper >> (at % 32) & 1 == 1 { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
                .collect();
            for (a, b) in [(&key, &flipped), (&other, &more)] {
                prop_assert!(!(folds_to(a, b) && apart(a, b)), "{} {}", a, b);
            }
        }
    }
}
