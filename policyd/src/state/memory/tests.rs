//! What the store promises to calls that come at once.

use std::sync::Barrier;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::policy::{Counters, Now, Reservation, Want, Window};

fn at(nanoseconds: u64) -> Now {
    Now::at(Time(nanoseconds))
}

const MINUTE: u64 = 60_000_000_000;

fn want<'a>(grant: &'a str, name: &'a str, max: u64, amount: u64) -> Want<'a> {
    Want {
        counter: CounterKey { scope: ScopeKey::Grant { grant, server: "server" }, name, own: false },
        window: Window::Rolling(MINUTE),
        windows: &[],
        max: Decimal::from(max),
        amount: Decimal::from(amount),
        used: Decimal::ZERO,
    }
}

#[test]
fn all_are_reserved_or_none() {
    let memory = Memory::default();
    let mut wants = [want("a", "x", 10, 1), want("a", "y", 1, 1)];
    let first = memory.reserve(&mut wants, at(0)).expect("both have room");
    assert_eq!([wants[0].used, wants[1].used], [Decimal::ONE, Decimal::ONE]);
    assert_eq!(
        memory.reserve(&mut wants, at(5)).unwrap_err(),
        Refused::Exhausted(1, Some(Duration::from_nanos(MINUTE - 5)))
    );
    assert_eq!([wants[0].used, wants[1].used], [Decimal::ONE, Decimal::ONE], "the refused call has used nothing");
    first.give_back();
    let again = memory.reserve(&mut wants, at(5)).expect("given back");
    assert_eq!(wants[0].used, Decimal::ONE);
    drop(again);
    assert!(memory.reserve(&mut wants, at(5)).is_err(), "dropped stays used");
}

#[test]
fn two_limits_on_one_counter_count_a_call_once() {
    let memory = Memory::default();
    let mut wants = [want("a", "x", 3, 1), Want { window: Window::Rolling(60 * MINUTE), ..want("a", "x", 5, 1) }];
    let mut admitted = 0;
    for minute in 0..60 {
        for _ in 0..4 {
            admitted += u32::from(memory.reserve(&mut wants, at(minute * MINUTE)).is_ok());
        }
    }
    assert_eq!(admitted, 5);
    assert_eq!(memory.counters(), 1);
}

#[test]
fn the_longest_wait_is_told_and_the_first_limit_named() {
    let memory = Memory::default();
    let day = 1440 * MINUTE;
    let mut wants = [want("a", "x", 1, 1), Want { window: Window::Rolling(day), ..want("a", "y", 1, 1) }];
    drop(memory.reserve(&mut wants, at(0)).expect("room"));
    assert_eq!(memory.reserve(&mut wants, at(0)).unwrap_err(), Refused::Exhausted(0, Some(Duration::from_nanos(day))));
    wants[1].max = Decimal::ZERO;
    assert_eq!(memory.reserve(&mut wants, at(0)).unwrap_err(), Refused::Exhausted(0, None), "the second never will");
}

#[test]
fn keys_do_not_run_into_each_other() {
    let scopes = [
        ScopeKey::Grant { grant: "ab", server: "c" },
        ScopeKey::Grant { grant: "a", server: "bc" },
        ScopeKey::Session { grant: "ab", server: "c", session: "" },
        ScopeKey::Session { grant: "ab", server: "", session: "c" },
        ScopeKey::Server("abc"),
        ScopeKey::Host,
        ScopeKey::Global,
    ];
    let memory = Memory::default();
    for scope in scopes {
        for (name, own) in [("n", false), ("n", true), ("nn", false)] {
            let mut wants = [Want { counter: CounterKey { scope, name, own }, ..want("", "", 1, 1) }];
            assert!(memory.reserve(&mut wants, at(0)).is_ok(), "{:?}", wants[0].counter);
        }
    }
    assert_eq!(memory.counters(), scopes.len() * 3);
}

#[test]
fn idle_counters_are_dropped_and_a_full_store_refuses() {
    let memory = Memory::new(Bounds { counters: 200 });
    let reserve = |index: u32, now: u64| memory.reserve(&mut [want(&index.to_string(), "x", 1, 1)], at(now)).map(drop);
    for index in 0..200 {
        assert_eq!(reserve(index, 0), Ok(()));
    }
    assert_eq!(reserve(200, MINUTE - 1), Err(Refused::Unavailable), "nothing is idle yet");
    assert!(matches!(reserve(7, MINUTE - 1), Err(Refused::Exhausted(0, _))), "what is there is still counted");
    for index in 200..400 {
        assert_eq!(reserve(index, 2 * MINUTE), Ok(()), "{index}");
    }
    assert!(memory.counters() <= 200);
    memory.sweep(Time(3 * MINUTE));
    assert_eq!(memory.counters(), 0);
}

#[test]
fn sessions_cannot_take_all_room() {
    let memory = Memory::new(Bounds { counters: 100 });
    let reserve = |scope: ScopeKey<'_>| {
        let counter = CounterKey { scope, name: "x", own: true };
        memory.reserve(&mut [Want { counter, ..want("", "", 1, 1) }], at(0)).map(drop)
    };
    for index in 0..75 {
        let session = index.to_string();
        assert_eq!(reserve(ScopeKey::Session { grant: "a", server: "s", session: &session }), Ok(()));
    }
    assert_eq!(reserve(ScopeKey::Session { grant: "a", server: "s", session: "more" }), Err(Refused::Unavailable));
    assert_eq!(reserve(ScopeKey::Grant { grant: "b", server: "s" }), Ok(()));
}

#[test]
fn a_counter_that_a_call_holds_is_not_dropped() {
    let memory = Memory::default();
    let held = memory.reserve(&mut [want("a", "x", 1, 1)], at(0)).expect("room");
    memory.sweep(Time(10 * MINUTE));
    assert_eq!(memory.counters(), 1);
    held.give_back();
    memory.sweep(Time(10 * MINUTE));
    assert_eq!(memory.counters(), 0);
}

#[test]
fn the_store_stays_small_while_names_come_and_go() {
    let memory = Memory::default();
    for index in 0..200_000u64 {
        let name = index.to_string();
        // A thousand names in a window.
        memory.reserve(&mut [want(&name, "x", 1, 1)], at(index * MINUTE / 1000)).expect("room").is_empty();
    }
    assert!(memory.counters() < 20_000, "{}", memory.counters());
}

#[test]
fn reservations_can_change_threads() {
    fn is_send<T: Send>() {}
    is_send::<Reservation>();
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Memory>();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Threads that take the same counters in different orders, some giving back: never more than `max`, no deadlock.
    #[test]
    fn calls_at_once_never_exceed_max(max in 1..60u64, threads in 2..8usize, give_back in 0..4u32) {
        let memory = Memory::default();
        let admitted = AtomicU32::new(0);
        let start = Barrier::new(threads);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (memory, admitted, start) = (&memory, &admitted, &start);
                scope.spawn(move || {
                    start.wait();
                    for round in 0..100u32 {
                        let (x, y) = (want("a", "x", max, 1), want("a", "y", 2 * max, 2));
                        let mut wants = if thread % 2 == 0 { [x, y] } else { [y, x] };
                        if let Ok(reservation) = memory.reserve(&mut wants, at(u64::from(round))) {
                            if round % 4 < give_back {
                                reservation.give_back();
                            } else {
                                admitted.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        prop_assert!(u64::from(admitted.load(Ordering::Relaxed)) <= max);
        // And what was given back was given back whole: the rest can still be used.
        let mut rest = 0;
        while memory.reserve(&mut [want("a", "x", max, 1), want("a", "y", 2 * max, 2)], at(100)).is_ok() {
            rest += 1;
        }
        prop_assert_eq!(u64::from(admitted.load(Ordering::Relaxed)) + rest, max);
    }
}
