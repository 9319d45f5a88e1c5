//! Names and patterns against the textbook.

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
    assert_eq!(Names::<()>::new(HashMap::new(), Vec::new()).find("x"), None);
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

/// The first pattern that matches, in the order of the list: by the automaton, and one by one.
fn first(texts: &[String], name: &str) -> (Option<usize>, Option<usize>) {
    let patterns: Vec<Pattern> = texts.iter().map(|text| Pattern::parse(text).expect("a pattern")).collect();
    let by = |largest| {
        let finder = Finder::bounded(&patterns.iter().collect::<Vec<_>>(), largest);
        finder.first(name, |index| patterns[index].matches(name))
    };
    (by(usize::MAX), by(0))
}

#[test]
fn a_long_name_costs_its_length_only() {
    // Each `a` is the key of every pattern, and no pattern ends in what the name ends in.
    let texts: Vec<String> = (0..64).map(|n| format!("*a*a*{n}b")).collect();
    let name = "a".repeat(1 << 20);
    assert_eq!(first(&texts, &name), (None, None));
    let ending: Vec<String> = (0..64).map(|n| format!("*aaaa*aa{}", "b".repeat(n + 1))).collect();
    assert_eq!(first(&ending, &format!("{name}bb")), (Some(1), Some(1)));
    let names = names(&["*a*b*c*", "*aa*ab*", "*aaa*", "aaaa*c"]);
    assert_eq!(names.find(&name).map(String::as_str), Some("*aaa*"));
}

#[test]
fn patterns_that_would_need_much_memory_are_tried_one_by_one() {
    // Keys of all lengths, each inside the next one: 3,000 states that list up to 3,000 keys each, and so on.
    let texts: Vec<String> = (1..=3000).rev().map(|n| format!("*{}*", "a".repeat(n))).collect();
    let patterns: Vec<Pattern> = texts.iter().map(|text| Pattern::parse(text).expect("a pattern")).collect();
    let finder = Finder::new(&patterns.iter().collect::<Vec<_>>());
    assert!(!finder.has_automaton());
    let name = "a".repeat(1000);
    assert_eq!(finder.first(&name, |index| patterns[index].matches(&name)), Some(2000));
    let few = Finder::new(&patterns.iter().take(10).collect::<Vec<_>>());
    assert!(few.has_automaton());
}

#[test]
fn a_thousand_patterns_of_every_shape_are_told_apart() {
    let texts: Vec<String> = (0..1000)
        .map(|n| match n % 5 {
            0 => format!("group{n}.*"),
            1 => format!("*.object{n}"),
            2 => format!("*_part{n}_*"),
            3 => format!("get_*_thing{n}"),
            _ => format!("a*b{n}c*d"),
        })
        .collect();
    let names = names(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    for (n, text) in texts.iter().enumerate() {
        let name = text.replace('*', "xyz");
        assert_eq!(names.find(&name), Some(text), "{n}");
        assert_eq!(names.find(&format!("-{name}-")).is_some(), n % 5 == 2, "{n}");
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

    #[test]
    fn the_automaton_finds_what_trying_finds(
        texts in prop::collection::vec("[ab.é]{0,3}(\\*[ab.é]{0,3}){1,4}", 1..40), name in "[ab.é]{0,16}",
    ) {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let plain = texts.iter().position(|text| plain(&chars(text), &chars(&name)));
        prop_assert_eq!(first(&texts, &name), (plain, plain));
    }

    #[test]
    fn ties_are_the_pairs_that_overlap(texts in prop::collection::vec("[ab]{0,3}\\*[ab]{0,2}(\\*[ab]{0,3})?", 1..24)) {
        let patterns: Vec<Pattern> = texts.iter().filter_map(|text| Pattern::parse(text)).collect();
        let patterns: Vec<&Pattern> = patterns.iter().collect();
        let tie = |later: usize| {
            (0..later).find(|&earlier| {
                patterns[earlier].literal() == patterns[later].literal() && patterns[earlier].overlaps(patterns[later])
            })
        };
        let expected: Vec<(usize, usize)> = (0..patterns.len()).filter_map(|later| Some((later, tie(later)?))).collect();
        prop_assert_eq!(ties(&patterns, usize::MAX).into_iter().collect::<Vec<_>>(), expected.clone());
        // Who looks for few finds some.
        let few = ties(&patterns, 3);
        prop_assert_eq!(few.is_empty(), expected.is_empty());
        prop_assert!(few.len() <= 3);
        for (later, earlier) in few {
            prop_assert!(earlier < later && patterns[earlier].overlaps(patterns[later]));
        }
    }
}
