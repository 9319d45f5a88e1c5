//! What no sequence of calls may break.

use proptest::prelude::*;

use super::*;
use crate::policy::exact;

mod calendar;

const SECOND: u64 = 1_000_000_000;

fn at(seconds: u64) -> Now {
    Now::at(Time(seconds * SECOND))
}

fn decimal(number: u64) -> Decimal {
    Decimal::from(number)
}

/// One call against one limit.
fn call(history: &mut History, window: u64, max: u64, amount: u64, now: Now) -> Result<Ticket, Exhausted> {
    history.fits(Window::Rolling(window), decimal(max), decimal(amount), now)?;
    Ok(history.admit(decimal(amount), now))
}

/// What a window holds, where it was asked whether one call fits.
fn used(history: &mut History, window: Window, max: u64, now: Now) -> Result<Decimal, Exhausted> {
    history.fits(window, decimal(max), decimal(1), now)?;
    Ok(history.used(window))
}

#[test]
fn a_minute_holds_ten_wherever_it_begins() {
    let mut history = History::default();
    for second in 50..60 {
        assert!(call(&mut history, 60 * SECOND, 10, 1, at(second)).is_ok());
    }
    for second in 60..110 {
        let exhausted = call(&mut history, 60 * SECOND, 10, 1, at(second)).unwrap_err();
        assert_eq!(history.used(Window::Rolling(60 * SECOND)), decimal(10));
        assert_eq!(exhausted.retry_after, Some(Duration::from_secs(110 - second)));
    }
    assert!(call(&mut history, 60 * SECOND, 10, 1, at(110)).is_ok(), "the first has left");
    assert!(call(&mut history, 60 * SECOND, 10, 1, at(110)).is_err(), "and only the first");
}

#[test]
fn two_windows_share_one_history() {
    let mut history = History::default();
    let (minute, day) = (60 * SECOND, 86_400 * SECOND);
    let mut admitted = 0;
    for second in (0..3600).step_by(5) {
        let now = at(second);
        let fits = [(minute, 10), (day, 100)]
            .iter()
            .all(|&(w, max)| history.fits(Window::Rolling(w), decimal(max), decimal(1), now).is_ok());
        if fits {
            history.admit(decimal(1), now);
            admitted += 1;
        }
    }
    assert_eq!(admitted, 100);
    let exhausted = history.fits(Window::Rolling(day), decimal(100), decimal(1), at(3600)).unwrap_err();
    assert_eq!(exhausted.retry_after, Some(Duration::from_secs(86_400 - 3600)));
    assert_eq!(used(&mut history, Window::Rolling(minute), 10, at(3600)), Ok(decimal(0)));
    // A window that a later policy brings sees what has been.
    assert_eq!(used(&mut history, Window::Rolling(3600 * SECOND), 1000, at(3600)), Ok(decimal(99)));
}

#[test]
fn what_can_never_fit_has_no_time_to_retry() {
    let mut history = History::default();
    assert_eq!(call(&mut history, SECOND, 5, 6, at(0)).unwrap_err().retry_after, None);
    assert_eq!(call(&mut history, SECOND, 0, 1, at(0)).unwrap_err().retry_after, None);
    assert!(call(&mut history, SECOND, 0, 0, at(0)).is_ok(), "nothing fits into nothing");
}

#[test]
fn the_smallest_and_the_largest_amount_have_an_exact_sum() {
    let mut history = History::default();
    let [huge, tiny] =
        ["79228162514264337593543950335", "1e-28"].map(|text| exact::parse(text).expect("it fits a decimal"));
    let mut fits = |amount, second| history.fits(Window::Rolling(SECOND), huge, amount, at(second)).is_ok();
    assert!(fits(huge, 0));
    history.admit(tiny, at(0));
    let mut fits = |amount, second| history.fits(Window::Rolling(SECOND), huge, amount, at(second)).is_ok();
    assert!(fits(huge - decimal(1), 0), "no rounding refuses it");
    assert!(!fits(huge, 0), "and none lets it pass");
    assert!(fits(huge, 1), "alone it fits");
}

/// However an amount looks, no window forgets what it has seen.
#[test]
fn a_tiny_amount_wipes_out_nothing() {
    let (minute, day) = (Window::Rolling(60 * SECOND), Window::Rolling(86_400 * SECOND));
    let mut history = History::default();
    history.fits(day, decimal(100_000), decimal(100_000), at(0)).expect("room for all of it");
    history.admit(decimal(100_000), at(0));
    for (second, tiny) in [(180, "1e-24"), (300, "1e-28"), (400, "1")] {
        let tiny = exact::parse(tiny).expect("an amount");
        history.fits(minute, decimal(1000), tiny, at(second)).expect("room in the minute");
        history.admit(tiny, at(second));
        let left = history.fits(day, decimal(100_000), exact::parse("1e-28").expect("an amount"), at(second));
        assert!(left.is_err(), "the day is used up");
    }
    assert_eq!(history.entries().len(), 4);
}

#[test]
fn a_watched_window_sees_what_came_before_it_was_asked() {
    let (minute, day) = (Window::Rolling(60 * SECOND), Window::Rolling(86_400 * SECOND));
    let admitted = |watch: &[Window]| {
        let mut history = History::default();
        for call in 0..600 {
            history.watch(watch);
            history.fits(minute, decimal(10), decimal(1), at(call * 61)).expect("one a minute");
            history.admit(decimal(1), at(call * 61));
        }
        history.fits(day, decimal(100), decimal(1), at(600 * 61)).is_ok()
    };
    assert!(!admitted(&[minute, day]));
    assert!(admitted(&[]), "one that nobody watches sees only what is still there");
}

#[test]
fn time_that_runs_backwards_stands_still() {
    let mut history = History::default();
    assert!(call(&mut history, 60 * SECOND, 1, 1, at(100)).is_ok());
    assert!(call(&mut history, 60 * SECOND, 1, 1, at(10)).is_err());
    assert!(call(&mut history, 60 * SECOND, 1, 1, at(160)).is_ok());
}

#[test]
fn memory_is_bounded_and_merging_never_admits_more() {
    let mut history = History::default();
    let hour = 3600 * SECOND;
    // A call each 30 ms for three hours: 120,000 an hour, of which 100,000 are allowed.
    let mut admitted: VecDeque<u64> = VecDeque::new();
    let mut total = 0;
    for step in 0..360_000u64 {
        let now = Time(step * SECOND * 3 / 100);
        while admitted.front().is_some_and(|&time| now.0 - time >= hour) {
            admitted.pop_front();
        }
        if call(&mut history, hour, 100_000, 1, Now::at(now)).is_ok() {
            admitted.push_back(now.0);
            total += 1;
        }
        assert!(admitted.len() <= 100_000, "more than allowed within an hour");
        assert!(history.entries.len() <= EXACT + 2 * SLACK, "{} entries", history.entries.len());
    }
    // Three hours allow 300,000. Merging costs at most a 64th of the window each hour.
    assert!(total >= 293_000, "{total}: merging takes too much from the caller");
    assert_eq!(history.expires(), Time(admitted.back().copied().unwrap_or(0) + hour));
}

#[test]
fn two_windows_of_very_different_length_stay_bounded_and_precise() {
    let mut history = History::default();
    let (second, day) = (SECOND, 86_400 * SECOND);
    let mut refused = 0;
    for step in 0..200_000u64 {
        let now = Now::at(Time(step * SECOND / 1000));
        // 1,000 a second come, 1,100 are allowed: merging may not make them seem more than they are by a tenth.
        match history.fits(Window::Rolling(second), decimal(1100), decimal(1), now) {
            Ok(_) => assert!(history.fits(Window::Rolling(day), decimal(10_000_000), decimal(1), now).is_ok()),
            Err(_) => refused += 1,
        }
        history.admit(decimal(1), now);
        assert!(history.entries.len() < 4096, "{} entries", history.entries.len());
    }
    assert_eq!(refused, 0);
}

#[test]
fn calls_given_back_leave_no_trace_and_take_no_room() {
    let mut history = History::default();
    for step in 0..100_000u64 {
        let ticket = call(&mut history, 60 * SECOND, 1, 1, Now::at(Time(step))).expect("nothing is used");
        history.give_back(ticket);
        assert!(history.entries.len() <= EXACT + SLACK);
    }
}

#[test]
fn a_million_tenths_are_a_hundred_thousand() {
    let (mut history, window) = (History::default(), Window::Rolling(86_400 * SECOND));
    let (max, tenth) = (decimal(100_000), exact::parse("0.1").expect("fits"));
    for step in 0..1_000_000u64 {
        let now = Now::at(Time(step * 1_000_000));
        history.fits(window, max, tenth, now).expect("a sum of floats is above 100,000 by now");
        history.admit(tenth, now);
    }
    let exhausted = history.fits(window, max, tenth, at(1000)).unwrap_err();
    assert_eq!(history.used(window), max);
    assert_eq!(exhausted.retry_after.map(|wait| wait.as_secs().div_ceil(3600)), Some(24));
    assert!((0..1_000_000).fold(0.0, |sum, _| sum + 0.1) > 100_000.0, "which this test is about");
}

/// A step of a random history.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Wait(u64),
    /// A call with an amount in hundredths.
    Call(u64),
    /// The nth call that is still held is given back.
    GiveBack(usize),
}

fn steps(longest: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..40u64).prop_map(Step::Wait),
        4 => (0..400u64).prop_map(Step::Call),
        1 => any::<usize>().prop_map(Step::GiveBack),
    ];
    prop::collection::vec(step, 1..longest)
}

proptest! {
    /// The rule itself, checked against a list of everything that was admitted and not given back.
    #[test]
    fn no_interval_holds_more_than_max(
        steps in steps(400),
        limits in prop::collection::vec((1..200u64, 0..3000u64), 1..4),
    ) {
        let mut history = History::default();
        let mut now = 0;
        let mut admitted: Vec<(u64, u64, Option<Ticket>)> = Vec::new();
        let mut held: Vec<usize> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(time) => now += time,
                Step::Call(hundredths) => {
                    let amount = Decimal::new(i64::try_from(hundredths).unwrap_or(0), 2);
                    let max = |max: u64| Decimal::new(i64::try_from(max).unwrap_or(0), 2);
                    // Every window is asked, so that none is forgotten, and the answer is exact for so few calls.
                    let mut fits = true;
                    for &(window, most) in &limits {
                        let used: u64 = admitted.iter()
                            .filter(|(time, _, _)| now - time < window).map(|(_, amount, _)| amount).sum();
                        let answer = history.fits(Window::Rolling(window), max(most), amount, Now::at(Time(now)));
                        prop_assert_eq!(answer.is_ok(), used + hundredths <= most);
                        prop_assert_eq!(history.used(Window::Rolling(window)), max(used));
                        if let Err(Exhausted { retry_after }) = answer {
                            fits = false;
                            prop_assert_eq!(retry_after.is_some(), hundredths <= most);
                            if let Some(wait) = retry_after {
                                // At that time it fits, a nanosecond earlier it does not.
                                let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
                                let used = |now: u64| admitted.iter()
                                    .filter(|(time, _, _)| now - time < window).map(|(_, amount, _)| amount).sum::<u64>();
                                prop_assert!(used(now + wait) + hundredths <= most);
                                prop_assert!(used(now + wait - 1) + hundredths > most);
                            }
                        }
                    }
                    if fits {
                        held.push(admitted.len());
                        admitted.push((now, hundredths, Some(history.admit(amount, Now::at(Time(now))))));
                    }
                }
                Step::GiveBack(which) if !held.is_empty() => {
                    let call = held.swap_remove(which % held.len());
                    if let Some(ticket) = admitted[call].2.take() {
                        history.give_back(ticket);
                        admitted[call].1 = 0;
                    }
                }
                Step::GiveBack(_) => {}
            }
        }
        for &(window, most) in &limits {
            for &(start, _, _) in &admitted {
                let within: u64 = admitted.iter()
                    .filter(|(time, _, _)| *time >= start && time - start < window).map(|(_, amount, _)| amount).sum();
                prop_assert!(within <= most, "{} within {} from {}", within, window, start);
            }
        }
    }

    /// The same with so many calls that neighbours are merged, and give-backs into merged entries.
    #[test]
    fn no_interval_holds_more_than_max_when_neighbours_are_merged(
        waits in prop::collection::vec(0..2000u64, 4000..6000),
        window in 500_000..3_000_000u64,
        max in 1200..4000u64,
        every in 2..50usize,
        late in 1..3000usize,
    ) {
        let mut history = History::default();
        let mut now = 0;
        let mut admitted: VecDeque<(u64, bool)> = VecDeque::new();
        let mut tickets: VecDeque<(usize, Ticket)> = VecDeque::new();
        let mut all: Vec<(u64, bool)> = Vec::new();
        for (index, wait) in waits.into_iter().enumerate() {
            now += wait;
            if let Ok(ticket) = call(&mut history, window, max, 1, Now::at(Time(now))) {
                tickets.push_back((all.len(), ticket));
                all.push((now, true));
            }
            if index % every == 0 && tickets.len() > late {
                let (call, ticket) = tickets.remove(tickets.len() - 1 - late).expect("there are that many");
                history.give_back(ticket);
                all[call].1 = false;
            }
        }
        for (time, counted) in all.into_iter().filter(|(_, counted)| *counted) {
            admitted.push_back((time, counted));
            while admitted.front().is_some_and(|(first, _)| time - first >= window) {
                admitted.pop_front();
            }
            prop_assert!(admitted.len() as u64 <= max);
        }
    }
}
