//! Threads and random lives: the store never knows less than was admitted.

use super::*;

#[test]
fn threads_are_never_admitted_more_than_the_store_knows() {
    let place = Place::new();
    let mut life = place.start();
    let admitted = AtomicU64::new(0);
    let start = Barrier::new(5);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..2_000 {
                    let wants = &mut [limit("x", HOUR, 5_000, 1), limit("y", HOUR, 6_000, 1)];
                    if life.memory.reserve(wants, life.work.clock.now()).is_ok() {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        start.wait();
        for _ in 0..50 {
            life.work.tidy(Time(u64::MAX), true);
        }
    });
    let admitted = admitted.into_inner();
    assert_eq!(admitted, 5_000);
    life.work.look();
    drop(life);
    let used = place.start().used("y", HOUR);
    assert!(used >= admitted && used <= admitted + 6_000 / 64, "{used}");
}

/// A step of a random life.
#[derive(Clone, Debug)]
enum Step {
    Call(u64),
    GiveBack,
    Tidy,
    Crash,
    Stop,
    Lose,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// After any crash the counter says at least what was used, and at most a block (per crash) and what was given back more.
    #[test]
    fn never_less_than_was_used(
        max in prop_oneof![1..100u64, 100..100_000u64],
        steps in prop::collection::vec(prop_oneof![
            6 => (0..40u64).prop_map(Step::Call),
            1 => Just(Step::GiveBack),
            1 => Just(Step::Tidy),
            1 => Just(Step::Crash),
            1 => Just(Step::Stop),
            1 => Just(Step::Lose),
        ], 1..40),
    ) {
        let place = Place::new();
        let mut life = place.start();
        let (mut used, mut slack) = (0, 0);
        let mut held = Vec::new();
        for step in steps {
            match step {
                Step::Call(amount) => match life.call([limit("x", HOUR, max, amount), limit("x", MINUTE, max, amount)]) {
                    Ok(reservation) => {
                        used += amount;
                        held.push((reservation, amount));
                    }
                    Err(refused) => {
                        prop_assert!(matches!(refused, Refused::Exhausted(..)), "{refused:?}");
                        prop_assert!(used + slack + amount > max);
                    }
                }
                Step::GiveBack => if let Some((reservation, amount)) = held.pop() {
                    reservation.give_back();
                    used -= amount;
                    slack += amount;
                }
                Step::Tidy => prop_assert!(life.work.tidy(Time(u64::MAX), true)),
                Step::Crash => {
                    held.clear();
                    drop(life);
                    life = place.start();
                    slack += (max / 64).max(40);
                }
                Step::Stop => {
                    held.clear();
                    life.stop();
                    life = place.start();
                }
                Step::Lose => {
                    fs::remove_file(place.file()).unwrap();
                    // What notices it, and what mends it.
                    life.work.look();
                    life.work.look();
                }
            }
            let says = life.used("x", HOUR);
            prop_assert!(says >= used && says <= used + slack, "{says} for {used} + {slack}");
        }
    }
}
