//! Tests of the replay window, above all against a model that remembers every number it accepted.

use std::collections::BTreeSet;

use super::*;
use proptest::prelude::*;

/// The rule in its plainest form: accepted once, not below the window, never 0.
struct Model {
    window: u64,
    first: u64,
    highest: u64,
    accepted: BTreeSet<u64>,
}

impl Model {
    fn new(window: u32, next: u64) -> Self {
        Self { window: u64::from(window), first: next, highest: next - 1, accepted: BTreeSet::new() }
    }

    fn check_and_set(&mut self, sequence: u64) -> Result<(), ReplayError> {
        let is_old = u128::from(sequence) + u128::from(self.window) <= u128::from(self.highest);
        if sequence == 0 || is_old {
            return Err(ReplayError::TooOld);
        }
        if sequence < self.first || !self.accepted.insert(sequence) {
            return Err(ReplayError::Replayed);
        }
        self.highest = self.highest.max(sequence);
        Ok(())
    }
}

fn advice(result: Result<(), ReplayError>) -> Verdict {
    match result {
        Ok(()) => Verdict::Fresh,
        Err(ReplayError::Replayed) => Verdict::Replayed,
        Err(ReplayError::TooOld) => Verdict::TooOld,
    }
}

#[test]
fn a_number_is_accepted_once() {
    let mut window = ReplayWindow::new(64, 1).unwrap();
    for sequence in [1, 3, 2, 100] {
        assert_eq!(window.check_and_set(sequence), Ok(()));
        assert_eq!(window.check_and_set(sequence), Err(ReplayError::Replayed));
    }
    assert_eq!(window.highest(), 100);
}

#[test]
fn the_window_reaches_back_exactly_its_size() {
    for size in [32, 33, 63, 64, 65, 127, 128, 1000, 1024, 65_535, 65_536] {
        for highest in [70_000_u64, 70_016, 70_079, 1 << 40] {
            let mut window = ReplayWindow::new(size, 1).unwrap();
            window.check_and_set(highest).unwrap();
            let oldest = highest - u64::from(size) + 1;
            assert_eq!(window.check_and_set(oldest - 1), Err(ReplayError::TooOld), "{size} {highest}");
            assert_eq!(window.check_and_set(oldest), Ok(()), "{size} {highest}");
            assert_eq!(window.check_and_set(oldest), Err(ReplayError::Replayed), "{size} {highest}");
        }
    }
}

#[test]
fn zero_is_never_accepted_by_a_window_that_is_on() {
    let mut window = ReplayWindow::new(32, 1).unwrap();
    assert_eq!(window.look(0), Verdict::TooOld);
    assert_eq!(window.check_and_set(0), Err(ReplayError::TooOld));
    assert_eq!(window.check_and_set(1), Ok(()));
    assert_eq!(window.check_and_set(0), Err(ReplayError::TooOld));
}

#[test]
fn a_low_half_of_zero_is_a_number_like_others_after_the_wrap() {
    let mut window = ReplayWindow::new(64, 1).unwrap();
    for sequence in [0xffff_fffe, 0x1_0000_0001, 0x1_0000_0000, 0xffff_ffff] {
        assert_eq!(window.check_and_set(sequence), Ok(()), "{sequence:#x}");
    }
}

#[test]
fn the_very_last_number_is_accepted_and_remembered() {
    let mut window = ReplayWindow::new(1024, u64::MAX - 1).unwrap();
    assert_eq!(window.check_and_set(u64::MAX), Ok(()));
    assert_eq!(window.check_and_set(u64::MAX), Err(ReplayError::Replayed));
    assert_eq!(window.check_and_set(u64::MAX - 1), Ok(()));
    assert_eq!(window.check_and_set(u64::MAX - 2), Err(ReplayError::Replayed));
}

#[test]
fn off_accepts_everything_and_still_knows_the_highest() {
    let mut window = ReplayWindow::new(0, 1).unwrap();
    for sequence in [5, 5, 0, 3, u64::MAX, 1] {
        assert_eq!(window.look(sequence), Verdict::Fresh);
        assert_eq!(window.check_and_set(sequence), Ok(()));
    }
    assert_eq!(window.highest(), u64::MAX);
}

#[test]
fn a_look_changes_nothing() {
    let mut window = ReplayWindow::new(64, 1).unwrap();
    assert_eq!(window.look(500), Verdict::Fresh);
    assert_eq!((window.look(500), window.highest()), (Verdict::Fresh, 0));
    assert_eq!(window.check_and_set(1), Ok(()));
}

#[test]
fn sizes_out_of_range_are_refused_with_what_would_be_right() {
    for size in [1, 31, 65_537, u32::MAX] {
        let error = ReplayWindow::new(size, 1).map(|_| ()).unwrap_err();
        assert_eq!(error, BadWindow(size));
        assert!(error.to_string().contains("32 to 65536"));
    }
}

#[test]
fn numbers_before_the_start_count_as_seen() {
    for size in [32, 64, 300] {
        let mut window = ReplayWindow::new(size, 1000).unwrap();
        assert_eq!(window.check_and_set(999), Err(ReplayError::Replayed));
        assert_eq!(window.check_and_set(1001), Ok(()));
        assert_eq!(window.check_and_set(1000), Ok(()));
    }
}

fn start() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(1_u64),
        1_u64..1000,
        Just(u64::from(u32::MAX)),
        any::<u64>().prop_map(|n| (n >> 1).max(1))
    ]
}

fn size() -> impl Strategy<Value = u32> {
    prop_oneof![Just(32_u32), Just(64), 32_u32..200, Just(1024), 32_u32..=65_536]
}

/// Steps from the highest number: mostly near, sometimes about a window's length, sometimes far, also exactly 0.
fn steps() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![
        6 => -70_i64..10,
        3 => -300_i64..300,
        2 => -70_000_i64..70_000,
        1 => 0_i64..1 << 40,
    ];
    proptest::collection::vec(step, 1..300)
}

proptest! {
    #[test]
    fn the_window_agrees_with_a_model_that_forgets_nothing(size in size(), start in start(), steps in steps()) {
        let mut window = ReplayWindow::new(size, start).unwrap();
        let mut model = Model::new(size, start);
        for step in steps {
            let sequence = model.highest.saturating_add_signed(step);
            let look = window.look(sequence);
            let expected = model.check_and_set(sequence);
            prop_assert_eq!(look, advice(expected), "look at {}", sequence);
            prop_assert_eq!(window.check_and_set(sequence), expected, "{}", sequence);
            prop_assert_eq!(window.highest(), model.highest);
        }
    }

    #[test]
    fn a_resized_window_accepts_nothing_twice_and_keeps_what_both_remember(
        old in size(), new in size(), start in start(), steps in steps(), probes in steps(),
    ) {
        let mut window = ReplayWindow::new(old, start).unwrap();
        for step in steps {
            let _ = window.check_and_set(window.highest().saturating_add_signed(step));
        }
        let resized = window.resized(new).unwrap();
        prop_assert_eq!((resized.window(), resized.highest()), (new, window.highest()));
        for step in probes {
            let sequence = window.highest().saturating_add_signed(step);
            let is_in_both = window.highest().saturating_sub(sequence) < u64::from(old.min(new));
            if is_in_both {
                prop_assert_eq!(resized.look(sequence), window.look(sequence));
            } else {
                prop_assert_ne!(resized.look(sequence), Verdict::Fresh);
            }
        }
    }
}

#[test]
fn a_window_off_hands_on_its_highest_number() {
    let mut window = ReplayWindow::new(0, 1).unwrap();
    window.check_and_set(77).unwrap();
    assert_eq!(window.export(), InboundState { highest: 77, bitmap: Vec::new() });
    let mut other = ReplayWindow::new(0, 1).unwrap();
    other.absorb(&window.export());
    assert_eq!(other.highest(), 77);
}

#[test]
fn the_export_of_a_new_window_says_that_everything_up_to_its_top_was_seen() {
    for size in [32, 64, 100] {
        let state = ReplayWindow::new(size, 1 << 33).unwrap().export();
        assert_eq!(state.bitmap.len(), (size as usize).div_ceil(64));
        assert!(state.bitmap.iter().all(|&word| word == u64::MAX));
        assert_eq!((state.highest, state.was_seen(1 << 33)), ((1 << 33) - 1, false));
    }
}

fn numbers() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(1_u64..400, 0..120)
}

proptest! {
    /// Export and absorption against the sets of the numbers that were accepted.
    #[test]
    fn a_window_that_takes_over_another_lets_in_what_neither_has_seen(
        here in numbers(), there in numbers(), base in prop_oneof![Just(0), Just((1_u64 << 32) - 200)],
        sizes in proptest::sample::select(vec![(32_u32, 64_u32), (64, 64), (65, 65), (200, 1024), (1024, 128)]),
    ) {
        let (mut mine, mut theirs) = (Model::new(sizes.0, base + 1), Model::new(sizes.1, base + 1));
        let windows = [sizes.0, sizes.1].map(|size| ReplayWindow::new(size, base + 1).unwrap());
        let [mut window, mut card] = windows;
        for number in here {
            prop_assert_eq!(window.check_and_set(base + number), mine.check_and_set(base + number));
        }
        for number in there {
            prop_assert_eq!(card.check_and_set(base + number), theirs.check_and_set(base + number));
        }
        let exported = card.export();
        window.absorb(&exported);
        let top = mine.highest.max(theirs.highest);
        prop_assert_eq!(window.highest(), top);
        for number in (base + 1).saturating_sub(5)..base + 600 {
            let back = |highest: u64| highest.saturating_sub(number);
            let card_forgot = number <= theirs.highest && back(theirs.highest) >= u64::from(sizes.1);
            let card_saw = card_forgot || number <= base || theirs.accepted.contains(&number);
            prop_assert_eq!(exported.was_seen(number), card_saw && number <= theirs.highest, "{}", number);
            let i_forgot = number <= mine.highest && back(mine.highest) >= u64::from(sizes.0);
            let seen = card_saw || i_forgot || mine.accepted.contains(&number);
            let is_old = back(top) >= u64::from(sizes.0);
            let fresh = number > top || !is_old && !seen;
            prop_assert_eq!(window.look(number) == Verdict::Fresh, fresh, "{}", number);
        }
    }
}
