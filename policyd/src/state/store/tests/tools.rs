//! What servers declare of their tools, over restarts and crashes.

use super::*;
use crate::mcp::json::Parser;
use crate::policy::{Schemas, Standing};
use crate::state::{Acceptance, Definitions, Page, Unacceptable};

#[derive(Debug)]
struct Failed;

impl From<Refused> for Failed {
    fn from(_: Refused) -> Failed {
        Failed
    }
}

impl From<Unacceptable> for Failed {
    fn from(why: Unacceptable) -> Failed {
        panic!("{why}")
    }
}

/// The server `bank` lists tools, each by its name and description; gives how many are others than before.
fn list(definitions: &Definitions, tools: &[(&str, &str)], now: u64) -> usize {
    let texts: Vec<String> = tools
        .iter()
        .map(|(name, text)| {
            format!(r#"{{"name":"{name}","description":"{text}","inputSchema":{{"maxProperties":1}}}}"#)
        })
        .collect();
    let mut parser = Parser::default();
    let text = format!("[{}]", texts.join(","));
    let root = parser.parse(text.as_bytes()).unwrap();
    let names = tools.iter().map(|(name, _)| (*name).to_owned());
    let listed: Vec<_> = names.zip(root.items()).collect();
    let mut count = 0;
    let page = Page { server: "bank", tools: &listed, is_last: true, now };
    let Ok(()) = definitions.note::<std::convert::Infallible>(&page, |changes| {
        count = changes.len();
        Ok(())
    });
    count
}

fn accept_all(definitions: &Definitions) -> Result<usize, Failed> {
    definitions.accept(&Acceptance { all: true, ..Acceptance::default() }, |_| Ok(())).map(|accepted| accepted.len())
}

fn standings(definitions: &Definitions) -> [Standing; 3] {
    ["a", "b", "c"].map(|tool| definitions.standing("bank", tool))
}

#[test]
fn definitions_outlive_a_crash() {
    let place = Place::new();
    let life = place.start();
    let definitions = Definitions::beside(&life.memory);
    assert_eq!(list(&definitions, &[("a", "A"), ("b", "B")], 1), 2);
    assert_eq!(list(&definitions, &[("a", "A!"), ("b", "B"), ("c", "C")], 2), 2);
    let expected = [Standing::Changed, Standing::Accepted, Standing::New];
    assert_eq!(standings(&definitions), expected);
    let shown = definitions.shown(None, None).unwrap();
    drop((definitions, life));

    let life = place.start();
    let definitions = Definitions::beside(&life.memory);
    assert_eq!(standings(&definitions), expected);
    assert_eq!(definitions.shown(None, None).unwrap(), shown);
    let mut parser = Parser::default();
    let too_many = parser.parse(br#"{"a":1,"b":2}"#).unwrap();
    assert!(definitions.declared("bank", "b").unwrap().check(Some(too_many)).is_err(), "without a list since");
    assert_eq!(list(&definitions, &[("a", "A!"), ("b", "B"), ("c", "C")], 3), 0, "nothing is new");
    // The one that was accepted comes back, after which the other one still waits.
    assert_eq!(list(&definitions, &[("a", "A")], 4), 1);
    drop((definitions, life));

    let life = place.start();
    let definitions = Definitions::beside(&life.memory);
    assert_eq!(standings(&definitions), expected);
    assert_eq!(list(&definitions, &[("d", "a fourth one")], 5), 1, "the first list stays the first");
    assert_eq!(definitions.standing("bank", "d"), Standing::New);
    assert_eq!(accept_all(&definitions).unwrap(), 3);
    drop((definitions, life));

    let life = place.start();
    let definitions = Definitions::beside(&life.memory);
    assert_eq!(standings(&definitions), [Standing::Accepted; 3]);
    assert_eq!(list(&definitions, &[("a", "A"), ("b", "B"), ("c", "C")], 6), 0);
    assert_eq!(place.ask("SELECT count(*) FROM tool"), 4);
    assert_eq!(place.ask("SELECT count(*) FROM tool WHERE pending_text IS NOT NULL OR listed_text IS NOT NULL"), 0);
}

#[test]
fn a_store_that_cannot_be_read_accepts_nothing() {
    let place = Place::new();
    fs::write(place.file(), [0x55; 8192]).unwrap();
    let mut life = place.start();
    let definitions = Definitions::beside(&life.memory);
    assert_eq!(list(&definitions, &[("a", "A")], 1), 0, "what was accepted before is not known");
    assert_eq!(definitions.standing("bank", "a"), Standing::Unclear);
    assert!(definitions.shown(None, None).is_err() && accept_all(&definitions).is_err());
    fs::remove_file(place.file()).unwrap();
    life.work.look();
    assert_eq!(definitions.standing("bank", "a"), Standing::Unlisted);
    assert_eq!(list(&definitions, &[("a", "A")], 2), 1);
}

#[test]
fn what_a_store_missed_it_is_told_when_it_works_again() {
    let place = Place::new();
    let mut life = place.start();
    let definitions = Definitions::beside(&life.memory);
    list(&definitions, &[("a", "A"), ("b", "B")], 1);
    let other = Connection::open(place.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(list(&definitions, &[("a", "A!"), ("c", "C")], 2), 2);
    let expected = [Standing::Changed, Standing::Accepted, Standing::New];
    assert_eq!(standings(&definitions), expected);
    assert!(accept_all(&definitions).is_err(), "what would not last is not accepted");
    assert_eq!(standings(&definitions), expected);
    other.execute_batch("ROLLBACK").unwrap();
    life.work.look();
    drop((definitions, life));

    // One that works but was locked for a moment is told by its keeper too.
    let mut life = place.start();
    let definitions = Definitions::beside(&life.memory);
    assert_eq!(standings(&definitions), expected);
    life.memory.store.as_ref().unwrap().tools.write().unsaved.insert(("bank".into(), Some("a".into())));
    life.work.look();
    assert!(!life.memory.store.as_ref().unwrap().tools.is_unsaved());
}

#[test]
fn a_store_that_is_lost_is_made_anew_with_all_definitions() {
    let place = Place::new();
    let mut life = place.start();
    let definitions = Definitions::beside(&life.memory);
    list(&definitions, &[("a", "A"), ("b", "B")], 1);
    list(&definitions, &[("a", "A!"), ("c", "C")], 2);
    drop(life.call([limit("x", HOUR, 10, 4)]).unwrap());
    let done = Command::new("sh").args(["-c", "rm $0/state.db"]).arg(place.folder.path()).status().unwrap();
    assert!(done.success() && life.call([limit("x", HOUR, 10, 1)]).is_err());
    life.work.look();
    assert_eq!(life.state().0, State::Good, "{}", life.state().1);
    drop((definitions, life));
    let life = place.start();
    let expected = [Standing::Changed, Standing::Accepted, Standing::New];
    assert_eq!((standings(&Definitions::beside(&life.memory)), life.used("x", HOUR)), (expected, 4));
}

#[test]
fn a_store_of_the_first_format_becomes_one_of_this() {
    let place = Place::new();
    let life = place.start();
    drop(life.call([limit("x", HOUR, 10, 4)]).unwrap());
    drop(life);
    let downgrade = "DROP TABLE tool; DROP TABLE tool_server; PRAGMA user_version = 1;";
    Connection::open(place.file()).unwrap().execute_batch(downgrade).unwrap();
    assert!(examine(&place.file()).is_ok());
    let life = place.start();
    assert_eq!((life.state().0, life.used("x", HOUR)), (State::Good, 4));
    assert_eq!(list(&Definitions::beside(&life.memory), &[("a", "A")], 1), 1);
    drop(life);
    assert_eq!((place.ask("PRAGMA user_version"), place.ask("SELECT count(*) FROM tool")), (2, 1));
    Connection::open(place.file()).unwrap().execute_batch("UPDATE tool SET accepted = 'zz'").unwrap();
    assert!(place.start().state().1.contains("a hash that is none"));
}
