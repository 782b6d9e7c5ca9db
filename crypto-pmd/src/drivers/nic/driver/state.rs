//! How it is with the card, as all queue pairs of a driver see it: one word with a state and the number of the reset that led to it.

use std::sync::atomic::{AtomicU64, Ordering};

/// How it is with a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It works.
    Working,
    /// It is being reset.
    Resetting,
    /// It has been pulled out, or answers nothing.
    Gone,
    /// It was reset again and again without doing anything in between.
    Failed,
}

/// State and reset number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    pub(super) health: Health,
    pub(super) epoch: u64,
}

impl Phase {
    const fn to_word(self) -> u64 {
        let state = match self.health {
            Health::Working => 0,
            Health::Resetting => 1,
            Health::Gone => 2,
            Health::Failed => 3,
        };
        self.epoch << 2 | state
    }

    const fn from_word(word: u64) -> Self {
        let health = match word & 3 {
            0 => Health::Working,
            1 => Health::Resetting,
            2 => Health::Gone,
            _ => Health::Failed,
        };
        Self { health, epoch: word >> 2 }
    }
}

/// The word.
#[derive(Debug)]
pub(super) struct Shift(AtomicU64);

impl Shift {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(Phase { health: Health::Working, epoch: 0 }.to_word()))
    }

    #[inline(always)]
    pub(super) fn now(&self) -> Phase {
        Phase::from_word(self.0.load(Ordering::Acquire))
    }

    /// From one to the next, unless somebody was faster; whether it was this call that did it.
    pub(super) fn change(&self, from: Phase, health: Health, epoch: u64) -> bool {
        let to = Phase { health, epoch }.to_word();
        self.0.compare_exchange(from.to_word(), to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
