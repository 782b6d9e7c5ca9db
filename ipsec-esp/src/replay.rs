//! The replay window of an inbound SA (RFC 4303 section 3.4.3), in the ring-of-blocks layout of RFC 6479.
//!
//! A number's place in the bitmap depends on the number alone, so the window moves without shifting: entering a new
//! block clears that block. One block more than the window needs is kept for that. Invariants: bits above the highest
//! number in its block are zero; a number below the window is never taken for fresh; one number is accepted once.
//!
//! [`ReplayWindow::look`] is advice before the crypto. Only [`ReplayWindow::check_and_set`], after the integrity
//! check and on the SA's owner core, decides. Numbers are 64 bits; inferring them is [`crate::sequence`]'s business.

use crypto_pmd::inline::InboundState;
use thiserror::Error;

/// Smallest window that is not off, in packets (RFC 4303 section 3.4.3).
pub const SMALLEST: u32 = 32;

/// Largest window, in packets.
pub const LARGEST: u32 = 65_536;

const BLOCK_BITS: u64 = u64::BITS as u64;

/// Blocks that are kept in place: enough for windows of up to 64 packets.
const INLINE_BLOCKS: usize = 2;

/// What a look at the window says of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen, as far as the window knows.
    Fresh,
    /// Seen before.
    Replayed,
    /// Before the window, or 0, which is never sent.
    TooOld,
}

/// Why a number is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplayError {
    /// It was accepted before.
    #[error("the sequence number was received before")]
    Replayed,
    /// It lies before the window, or is 0.
    #[error("the sequence number is older than the replay window")]
    TooOld,
}

/// A window size out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a replay window of {0} packets is not possible: write {SMALLEST} to {LARGEST}, or 0 for off")]
pub struct BadWindow(pub u32);

/// The numbers that were accepted, as far back as the window reaches. 40 bytes; windows of up to 64 packets need
/// nothing else, larger ones a bitmap that is allocated once.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    highest: u64,
    window: u32,
    blocks: Blocks,
}

#[derive(Clone, Debug)]
enum Blocks {
    Inline([u64; INLINE_BLOCKS]),
    /// A power of two of blocks.
    Heap(Box<[u64]>),
}

const _: () = assert!(size_of::<ReplayWindow>() <= 40);

impl ReplayWindow {
    /// A window of so many packets, 0 for off, for an SA whose next number is `next`: 1 for a new SA. Numbers before
    /// it count as seen.
    ///
    /// # Errors
    ///
    /// [`BadWindow`] unless the size is 0 or from [`SMALLEST`] to [`LARGEST`].
    pub fn new(window: u32, next: u64) -> Result<Self, BadWindow> {
        if window != 0 && !(SMALLEST..=LARGEST).contains(&window) {
            return Err(BadWindow(window));
        }
        Ok(Self::after(window, next.saturating_sub(1)))
    }

    /// The same history in a window of another size. What the old window did not remember counts as seen.
    ///
    /// # Errors
    ///
    /// As [`ReplayWindow::new`].
    pub fn resized(&self, window: u32) -> Result<Self, BadWindow> {
        let mut resized = Self::new(window, 1)?;
        resized.inherit(self);
        Ok(resized)
    }

    /// As [`ReplayWindow::resized`] to the size of this window, in its own memory.
    pub fn inherit(&mut self, old: &Self) {
        self.restart(old.highest.saturating_add(1));
        // After the very last number there is none to be next.
        self.highest = old.highest;
        for back in 0..u64::from(self.window.min(old.window)) {
            let Some(sequence) = old.highest.checked_sub(back) else { break };
            if old.look(sequence) == Verdict::Fresh {
                self.clear(sequence);
            }
        }
    }

    /// What the window remembers, to be handed on; with the window off that is the highest number.
    #[must_use]
    pub fn export(&self) -> InboundState {
        let is_seen = |back: u64| {
            let sequence = self.highest.checked_sub(back).filter(|_| back < u64::from(self.window));
            sequence.is_none_or(|sequence| self.look(sequence) != Verdict::Fresh)
        };
        let word = |word: u64| {
            (0..BLOCK_BITS).fold(0, |bits, bit| bits | u64::from(is_seen(word * BLOCK_BITS + bit)) << bit)
        };
        let words = u64::from(self.window).div_ceil(BLOCK_BITS);
        InboundState { highest: self.highest, bitmap: (0..words).map(word).collect() }
    }

    /// Adds what another window has seen. A number is fresh afterwards when neither has seen it; the top is never lowered.
    pub fn absorb(&mut self, other: &InboundState) {
        let mine = self.clone();
        let top = mine.highest.max(other.highest);
        self.restart(top.saturating_add(1));
        self.highest = top;
        for back in 0..u64::from(self.window) {
            let Some(sequence) = top.checked_sub(back) else { break };
            if mine.look(sequence) == Verdict::Fresh && !other.was_seen(sequence) {
                self.clear(sequence);
            }
        }
    }

    /// Window size in packets, 0 for off.
    #[must_use]
    pub const fn window(&self) -> u32 {
        self.window
    }

    /// The highest number accepted, 0 before the first.
    #[must_use]
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    /// What the window says of a number now; nothing is changed. With the window off, everything is fresh.
    #[inline]
    #[must_use]
    pub fn look(&self, sequence: u64) -> Verdict {
        if self.window == 0 {
            return Verdict::Fresh;
        }
        if sequence > self.highest {
            return Verdict::Fresh;
        }
        if sequence == 0 || self.highest - sequence >= u64::from(self.window) {
            return Verdict::TooOld;
        }
        let place = Place::of(sequence, self.blocks.as_slice());
        let block = self.blocks.as_slice().get(place.block).copied().unwrap_or(u64::MAX);
        if block & place.bit == 0 { Verdict::Fresh } else { Verdict::Replayed }
    }

    /// Accepts a number that was not accepted before, and remembers it; to be called after the integrity check.
    ///
    /// # Errors
    ///
    /// [`ReplayError`], with nothing changed. With the window off there is none.
    #[inline]
    pub fn check_and_set(&mut self, sequence: u64) -> Result<(), ReplayError> {
        match self.look(sequence) {
            Verdict::Fresh => {}
            Verdict::Replayed => return Err(ReplayError::Replayed),
            Verdict::TooOld => return Err(ReplayError::TooOld),
        }
        if sequence > self.highest {
            self.advance(sequence);
        }
        self.set(sequence);
        Ok(())
    }

    /// Forgets what was received, as for a new SA whose next number is `next`; the bitmap stays where it is.
    pub fn restart(&mut self, next: u64) {
        self.highest = next.saturating_sub(1);
        let ring = self.blocks.as_mut_slice();
        ring.fill(u64::MAX);
        let place = Place::of(self.highest, ring);
        if let Some(block) = ring.get_mut(place.block) {
            *block = place.bit | (place.bit - 1);
        }
    }

    /// A window in which everything up to `highest` was seen.
    fn after(window: u32, highest: u64) -> Self {
        let mut fresh = Self { highest, window, blocks: Blocks::for_window(window) };
        fresh.restart(highest.saturating_add(1));
        fresh.highest = highest;
        fresh
    }

    /// Moves the top to a higher number: clears the blocks that are entered, each once at most.
    fn advance(&mut self, sequence: u64) {
        let ring = self.blocks.as_mut_slice();
        let current = self.highest / BLOCK_BITS;
        let entered = (sequence / BLOCK_BITS - current).min(ring.len() as u64);
        let mask = ring.len().wrapping_sub(1);
        for step in 1..=entered {
            if let Some(block) = ring.get_mut((current + step) as usize & mask) {
                *block = 0;
            }
        }
        self.highest = sequence;
    }

    fn set(&mut self, sequence: u64) {
        let ring = self.blocks.as_mut_slice();
        let place = Place::of(sequence, ring);
        if let Some(block) = ring.get_mut(place.block) {
            *block |= place.bit;
        }
    }

    fn clear(&mut self, sequence: u64) {
        let ring = self.blocks.as_mut_slice();
        let place = Place::of(sequence, ring);
        if let Some(block) = ring.get_mut(place.block) {
            *block &= !place.bit;
        }
    }
}

impl Blocks {
    /// Enough blocks for the window wherever its top lies in a block, rounded up to a power of two.
    fn for_window(window: u32) -> Self {
        let blocks = u64::from(window).div_ceil(BLOCK_BITS) as usize + 1;
        if blocks <= INLINE_BLOCKS {
            Self::Inline([0; INLINE_BLOCKS])
        } else {
            Self::Heap(vec![0; blocks.next_power_of_two()].into_boxed_slice())
        }
    }

    #[inline]
    fn as_slice(&self) -> &[u64] {
        match self {
            Self::Inline(blocks) => blocks,
            Self::Heap(blocks) => blocks,
        }
    }

    #[inline]
    fn as_mut_slice(&mut self) -> &mut [u64] {
        match self {
            Self::Inline(blocks) => blocks,
            Self::Heap(blocks) => blocks,
        }
    }
}

/// Where a number's bit is.
struct Place {
    block: usize,
    bit: u64,
}

impl Place {
    #[inline]
    fn of(sequence: u64, ring: &[u64]) -> Self {
        let mask = ring.len().wrapping_sub(1);
        Self { block: (sequence / BLOCK_BITS) as usize & mask, bit: 1 << (sequence % BLOCK_BITS) }
    }
}

#[cfg(test)]
mod tests;
