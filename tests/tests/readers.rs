//! Whoever reads what policyd accepts reads the same. (`cargo xtask fuzz readers` does it for longer.)
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use policyd_tests::messages::Messages;
use policyd_tests::readers::{Readers, Tally};
use policyd_tests::strictness::{call, rows};

#[test]
fn all_readers_read_the_same_call() {
    let (mut readers, mut messages, mut tally) = (Readers::start().unwrap(), Messages::new(7), Tally::default());
    for _ in 0..30 {
        readers.compare(&mut messages, &mut tally).unwrap();
    }
    // Enough of them must be accepted for the comparison to mean anything.
    assert!(tally.calls * 10 > tally.made, "{tally:?}");
}

#[test]
fn they_do_not_agree_on_what_policyd_refuses() {
    let mut readers = Readers::start().unwrap();
    let good = readers.ask(&call("echo").into()).unwrap();
    assert!(good.iter().all(|read| read.contains("|s6563686f|{}")), "{good:?}");
    for (what, python, node, serde) in [
        ("NaN", true, false, false),
        ("half a pair", false, true, false),
        ("beyond a double", true, true, false),
        ("a name twice", true, true, true),
        ("a method in capitals", true, true, true),
    ] {
        let row = rows().into_iter().find(|row| row.what == what).unwrap();
        let read = readers.ask(&row.body.into()).unwrap();
        let found: Vec<_> = read.iter().map(|read| !read.starts_with("error")).collect();
        assert_eq!(found, [python, node, serde], "{what}: {read:?}");
    }
}
