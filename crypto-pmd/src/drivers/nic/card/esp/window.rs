//! Which numbers have arrived (RFC 4303 section 3.4.3), and which number a packet bears of which half travels (appendix A2.2).
//!
//! Invariant: a number that was set, or lies before the window, is never fresh again.

use crate::inline::{InboundState, RxOutcome};

/// The numbers from `highest` back, a bit for each, at the place that its lowest bits say.
#[derive(Clone, Debug)]
pub(in crate::drivers::nic::card) struct Window {
    highest: u64,
    /// Packets; 0 for a window that is off.
    size: u32,
    bits: Vec<u64>,
}

impl Window {
    pub(super) fn new(size: u32, state: &InboundState) -> Self {
        let words = (size as usize).div_ceil(64).next_power_of_two();
        let mut window = Self { highest: state.highest, size, bits: vec![0; words] };
        for back in 0..u64::from(size) {
            let Some(number) = state.highest.checked_sub(back) else { break };
            window.mark(number, state.was_seen(number));
        }
        window
    }

    pub(in crate::drivers::nic::card) const fn highest(&self) -> u64 {
        self.highest
    }

    pub(in crate::drivers::nic::card) const fn size(&self) -> u32 {
        self.size
    }

    fn place(&self, number: u64) -> (usize, u64) {
        ((number / 64) as usize & (self.bits.len() - 1), 1 << (number % 64))
    }

    fn mark(&mut self, number: u64, is_seen: bool) {
        let (word, bit) = self.place(number);
        if let Some(word) = self.bits.get_mut(word) {
            *word = if is_seen { *word | bit } else { *word & !bit };
        }
    }

    /// Whether a number is fresh, and if not, why; nothing is changed.
    pub(in crate::drivers::nic::card) fn look(&self, number: u64) -> RxOutcome {
        if self.size == 0 || number > self.highest {
            return RxOutcome::Ok;
        }
        if number == 0 || self.highest - number >= u64::from(self.size) {
            return RxOutcome::TooOld;
        }
        let (word, bit) = self.place(number);
        match self.bits.get(word) {
            Some(word) if word & bit == 0 => RxOutcome::Ok,
            _ => RxOutcome::Replayed,
        }
    }

    /// As [`Window::look`], and a fresh number is so no more. To be called after the ICV was right.
    pub(in crate::drivers::nic::card) fn check_and_set(&mut self, number: u64) -> RxOutcome {
        let outcome = self.look(number);
        if outcome == RxOutcome::Ok {
            self.set(number);
        }
        outcome
    }

    /// The host keeps the window, and the card only the highest number, from which it infers the next ones.
    pub(in crate::drivers::nic::card) fn raise(&mut self, number: u64) {
        if number > self.highest {
            self.set(number);
        }
    }

    fn set(&mut self, number: u64) {
        if number > self.highest {
            let room = self.bits.len() as u64 * 64;
            if number - self.highest >= room {
                self.bits.fill(0);
            } else {
                (self.highest + 1..number).for_each(|between| self.mark(between, false));
            }
            self.highest = number;
        }
        self.mark(number, true);
    }

    /// What it remembers.
    pub(super) fn export(&self) -> InboundState {
        let is_seen = |back: u64| {
            let number = self.highest.checked_sub(back).filter(|_| back < u64::from(self.size));
            number.is_none_or(|number| self.look(number) != RxOutcome::Ok)
        };
        let word = |word: u64| (0..64).fold(0, |bits, bit| bits | u64::from(is_seen(word * 64 + bit)) << bit);
        let words = u64::from(self.size).div_ceil(64);
        InboundState { highest: self.highest, bitmap: (0..words).map(word).collect() }
    }
}

/// The number with this lower half among the 2^32 from the lower end of the window on; `None` where that is before the first or behind
/// the last number.
pub(in crate::drivers::nic::card) fn infer(highest: u64, window: u32, low: u32) -> Option<u64> {
    let bottom = i128::from(highest) - i128::from(window.max(1)) + 1;
    u64::try_from(bottom + (i128::from(low) - bottom).rem_euclid(1 << 32)).ok()
}
