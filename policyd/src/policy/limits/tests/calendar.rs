//! Windows that are aligned with the calendar.

use super::*;

const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 3600 * SECOND;
const DAY: u64 = 24 * HOUR;

/// 2026-11-21, 00:00 UTC.
const MIDNIGHT: u64 = 1_795_219_200 * SECOND;

/// The two clocks of a host that has been up for a while.
fn clocks(time: u64, utc: u64) -> Now {
    Now { time: Time(time), utc }
}

fn ask(history: &mut History, window: Window, max: u64, now: Now) -> Result<Ticket, Exhausted> {
    history.fits(window, decimal(max), decimal(1), now)?;
    Ok(history.admit(decimal(1), now))
}

#[test]
fn a_day_ends_at_midnight() {
    assert_eq!(MIDNIGHT % DAY, 0);
    let (mut history, day) = (History::default(), Window::Calendar(DAY));
    let up = 1000 * HOUR;
    let mut ask = |before_midnight: i64| {
        let shift = |clock: u64| clock.saturating_add_signed(-before_midnight);
        let asked = ask(&mut history, day, 2, clocks(shift(up), shift(MIDNIGHT)));
        asked.map_err(|exhausted| (history.used(day), exhausted.retry_after))
    };
    assert!(ask(HOUR as i64).is_ok());
    assert!(ask(1).is_ok(), "23:59:59.999999999");
    assert_eq!(ask(1).unwrap_err(), (decimal(2), Some(Duration::from_nanos(1))));
    assert!(ask(0).is_ok(), "00:00");
    assert!(ask(-1).is_ok());
    assert_eq!(ask(-(HOUR as i64)).unwrap_err(), (decimal(2), Some(Duration::from_nanos(23 * HOUR))));
    assert_eq!(ask(-(DAY as i64 - 1)).unwrap_err().1, Some(Duration::from_nanos(1)));
    assert!(ask(-(DAY as i64)).is_ok());
}

#[test]
fn what_can_never_fit_has_no_time_to_retry_either() {
    let mut history = History::default();
    let now = clocks(HOUR, MIDNIGHT + 90 * SECOND);
    assert_eq!(history.fits(Window::Calendar(MINUTE), decimal(1), decimal(2), now).unwrap_err().retry_after, None);
    history.admit(decimal(1), now);
    assert_eq!(history.fits(Window::Calendar(MINUTE), decimal(1), decimal(2), now).unwrap_err().retry_after, None);
    let wait = history.fits(Window::Calendar(MINUTE), decimal(1), decimal(1), now).unwrap_err().retry_after;
    assert_eq!(wait, Some(Duration::from_secs(30)));
}

#[test]
fn both_alignments_share_one_history() {
    let mut history = History::default();
    let (rolling, calendar) = (Window::Rolling(HOUR), Window::Calendar(HOUR));
    for minute in 0..30 {
        history.admit(decimal(1), clocks(minute * MINUTE, MIDNIGHT + 45 * MINUTE + minute * MINUTE));
    }
    // It is 01:15; 15 calls came since 01:00.
    let now = clocks(30 * MINUTE, MIDNIGHT + 75 * MINUTE);
    assert_eq!(used(&mut history, rolling, 100, now), Ok(decimal(30)));
    assert_eq!(used(&mut history, calendar, 100, now), Ok(decimal(15)));
    let exhausted = history.fits(rolling, decimal(30), decimal(1), now).unwrap_err();
    assert_eq!(exhausted.retry_after, Some(Duration::from_nanos(30 * MINUTE)));
    let exhausted = history.fits(calendar, decimal(15), decimal(1), now).unwrap_err();
    assert_eq!(exhausted.retry_after, Some(Duration::from_nanos(45 * MINUTE)));
    assert!(history.expires() >= Time(29 * MINUTE + HOUR));
}

#[test]
fn a_wall_clock_that_stands_still_frees_nothing() {
    let (mut history, hour) = (History::default(), Window::Calendar(HOUR));
    // The host's time was set back by an hour just after ten; until it is past that again, its clock tells the same time.
    let utc = MIDNIGHT + 10 * HOUR + 1;
    let mut admitted = 0;
    for minute in 0..60 {
        admitted += u64::from(ask(&mut history, hour, 5, clocks(DAY + minute * MINUTE, utc)).is_ok());
    }
    assert_eq!(admitted, 5);
    for minute in 0..59 {
        let now = clocks(DAY + HOUR + minute * MINUTE, utc + minute * MINUTE);
        assert!(ask(&mut history, hour, 5, now).is_err(), "ten o'clock is not over");
    }
    assert!(ask(&mut history, hour, 5, clocks(DAY + 2 * HOUR, MIDNIGHT + 11 * HOUR)).is_ok());
}

#[test]
fn a_wall_clock_that_jumps_ahead_frees_no_more_than_a_new_period_does() {
    let (mut history, hour) = (History::default(), Window::Calendar(HOUR));
    for _ in 0..5 {
        assert!(ask(&mut history, hour, 5, clocks(DAY, MIDNIGHT + 10 * HOUR + 30 * MINUTE)).is_ok());
    }
    // From 10:31 to 10:59, in the same hour.
    assert!(ask(&mut history, hour, 5, clocks(DAY + MINUTE, MIDNIGHT + 10 * HOUR + 59 * MINUTE)).is_err());
    // To 12:10: the calls of two minutes ago may have been made after noon.
    let exhausted =
        ask(&mut history, hour, 5, clocks(DAY + 2 * MINUTE, MIDNIGHT + 12 * HOUR + 10 * MINUTE)).unwrap_err();
    assert_eq!(exhausted.retry_after, Some(Duration::from_nanos(50 * MINUTE)));
    // To 14:01: they were not made within the last minute.
    assert!(ask(&mut history, hour, 5, clocks(DAY + 3 * MINUTE + 1, MIDNIGHT + 14 * HOUR + MINUTE)).is_ok());
}

#[test]
fn merging_over_the_end_of_a_period_counts_for_the_new_one() {
    let (mut history, day) = (History::default(), Window::Calendar(DAY));
    // A call each 20 s, all of yesterday and today: of those before midnight at most one merged entry reaches over it.
    let mut last = 0;
    for step in 0..8640 {
        let now = clocks(HOUR + step * 20 * SECOND, MIDNIGHT - DAY + step * 20 * SECOND);
        let today = if step < 4320 { step } else { step - 4320 };
        let used = used(&mut history, day, 100_000, now).expect("it fits");
        assert!(used >= decimal(today), "{used} of {today}");
        assert!(used <= decimal(today + 4320 / 16), "{used} of {today}: merging takes too much");
        history.admit(decimal(1), now);
        last = history.entries.len();
    }
    assert!(last < 4320, "{last}: nothing was merged");
}

/// A step of a history with two clocks.
#[derive(Clone, Debug)]
enum Step {
    /// Both clocks run.
    Wait(u64),
    /// The wall clock jumps ahead.
    Jump(u64),
    /// It stands still: it was set back, and what limits go by never runs back.
    Still(u64),
    Call(u64),
    GiveBack(prop::sample::Index),
}

fn steps(clocks: bool) -> impl Strategy<Value = Vec<Step>> {
    let odd = u32::from(clocks);
    let step = prop_oneof![
        3 => (0..40u64).prop_map(Step::Wait),
        odd => (0..200u64).prop_map(Step::Jump),
        odd => (0..200u64).prop_map(Step::Still),
        5 => (0..5u64).prop_map(Step::Call),
        1 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
    ];
    prop::collection::vec(step, 1..300)
}

/// A call that was admitted.
struct Admitted {
    now: Now,
    amount: u64,
    ticket: Option<Ticket>,
}

/// What `window` holds by the book: rolling by the one clock, calendar by the other.
fn by_the_book(admitted: &[Admitted], window: Window, now: Now) -> u64 {
    let counts = |call: &&Admitted| match window {
        Window::Rolling(length) => now.time.0 - call.now.time.0 < length,
        Window::Calendar(length) => call.now.utc / length == now.utc / length,
    };
    admitted.iter().filter(counts).map(|call| call.amount).sum()
}

/// Plays steps against limits; `check` sees each answer beside what the book says.
fn play(
    steps: &[Step],
    limits: &[(Window, u64)],
    utc: u64,
    check: impl Fn(Window, u64, u64, Now, u64, (Decimal, &Result<(), Exhausted>)) -> Result<(), TestCaseError>,
) -> Result<Vec<Admitted>, TestCaseError> {
    let (mut history, mut now) = (History::default(), clocks(10_000, utc));
    let mut admitted: Vec<Admitted> = Vec::new();
    for step in steps {
        match step {
            Step::Wait(time) => now = clocks(now.time.0 + time, now.utc + time),
            Step::Jump(time) => now.utc += time,
            Step::Still(time) => now.time.0 += time,
            Step::Call(amount) => {
                let mut fits = true;
                for &(window, max) in limits {
                    let answer = history.fits(window, decimal(max), decimal(*amount), now);
                    check(
                        window,
                        max,
                        *amount,
                        now,
                        by_the_book(&admitted, window, now),
                        (history.used(window), &answer),
                    )?;
                    fits &= answer.is_ok();
                }
                if fits {
                    let ticket = Some(history.admit(decimal(*amount), now));
                    admitted.push(Admitted { now, amount: *amount, ticket });
                }
            }
            Step::GiveBack(which) if !admitted.is_empty() => {
                let call = which.index(admitted.len());
                if let Some(ticket) = admitted[call].ticket.take() {
                    history.give_back(ticket);
                    admitted[call].amount = 0;
                }
            }
            Step::GiveBack(_) => {}
        }
    }
    Ok(admitted)
}

fn limits() -> impl Strategy<Value = Vec<(Window, u64)>> {
    let window = (any::<bool>(), 1..200u64).prop_map(|(calendar, length)| match calendar {
        true => Window::Calendar(length),
        false => Window::Rolling(length),
    });
    prop::collection::vec((window, 0..30u64), 1..4)
}

proptest! {
    /// Clocks that run alike: what is used and when to come again, exactly.
    #[test]
    fn agrees_with_the_calendar(steps in steps(false), limits in limits(), utc in 10_000..20_000u64) {
        play(&steps, &limits, utc, |window, max, amount, now, used, (told, answer)| {
            prop_assert_eq!(told, decimal(used));
            prop_assert_eq!(answer.is_ok(), used + amount <= max);
            let Err(exhausted) = answer else { return Ok(()) };
            prop_assert_eq!(exhausted.retry_after.is_some(), amount <= max);
            if let (Window::Calendar(length), Some(wait)) = (window, exhausted.retry_after) {
                prop_assert_eq!(wait, Duration::from_nanos(length - now.utc % length));
            }
            Ok(())
        })?;
    }

    /// Whatever the wall clock does: never more than `max` in one period, as the clock told it.
    #[test]
    fn no_period_holds_more_than_max(steps in steps(true), limits in limits(), utc in 10_000..20_000u64) {
        let admitted = play(&steps, &limits, utc, |_, _, _, _, used, (told, _)| {
            prop_assert!(told >= decimal(used), "{} told, {} used", told, used);
            Ok(())
        })?;
        let calendar = limits.iter().filter(|(window, _)| matches!(window, Window::Calendar(_)));
        for &(window, max) in calendar {
            for call in &admitted {
                let used = by_the_book(&admitted, window, call.now);
                prop_assert!(used <= max, "{} in the period of {:?}", used, call.now);
            }
        }
    }
}
