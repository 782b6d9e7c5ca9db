//! The rings of a queue pair: their places in its memory, and how either side hands words over.
//!
//! The driver writes commands and rings the doorbell; the card reads up to it. The card writes completions, each with a phase that flips
//! with every round, so that the driver sees from the word itself whether it is new. Before it touches any byte of a packet, the card writes
//! how far it has read ([`Layout::begun`]): what lies behind that is untouched, whatever becomes of the card.
//!
//! Invariant: whoever sees a doorbell or a phase sees everything that the other side wrote before.

use pipeline::sync::Ordering;

use super::Cell;
use super::command::WORDS;
use super::receipt;

/// Most pieces of memory of one side of a command.
pub(crate) const MAX_PIECES: usize = 16;
/// Words of a list.
const LIST: usize = 2 * MAX_PIECES;
/// Words of the card's own line.
const LINE: usize = 8;

/// Where what lies in a queue pair's memory, in words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    depth: usize,
}

impl Layout {
    /// For so many commands, a power of two.
    pub(crate) const fn new(depth: usize) -> Self {
        Self { depth }
    }

    pub(crate) const fn depth(self) -> usize {
        self.depth
    }

    /// Completions that fit: twice as many as commands, so that none is held up for one that comes twice.
    pub(crate) const fn completions(self) -> usize {
        2 * self.depth
    }

    /// Words in all.
    pub(crate) const fn len(self) -> usize {
        self.list(self.depth, false)
    }

    const fn command(self, number: u32) -> usize {
        (number as usize & (self.depth - 1)) * WORDS
    }

    const fn completion(self, number: u32) -> usize {
        self.depth * WORDS + (number as usize & (self.completions() - 1))
    }

    /// Commands that the card has begun.
    const fn begun(self) -> usize {
        self.depth * WORDS + self.completions()
    }

    /// The list of a command's source or destination.
    pub(crate) const fn list(self, place: usize, destination: bool) -> usize {
        self.begun() + LINE + place * 2 * LIST + if destination { LIST } else { 0 }
    }
}

/// The memory of a queue pair, as either side sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rings<'a> {
    cells: &'a [Cell],
    layout: Layout,
}

impl<'a> Rings<'a> {
    /// `None` for memory that is too short.
    pub(crate) fn over(cells: &'a [Cell], layout: Layout) -> Option<Self> {
        Some(Self { cells: cells.get(..layout.len())?, layout })
    }

    #[inline(always)]
    pub(crate) fn write_command(&self, number: u32, words: [u64; WORDS]) {
        let start = self.layout.command(number);
        if let Some(cells) = self.cells.get(start..start + WORDS) {
            cells.iter().zip(words).for_each(|(cell, word)| cell.store(word, Ordering::Relaxed));
        }
    }

    #[inline(always)]
    pub(crate) fn read_command(&self, number: u32) -> [u64; WORDS] {
        let start = self.layout.command(number);
        let mut words = [0; WORDS];
        if let Some(cells) = self.cells.get(start..start + WORDS) {
            words.iter_mut().zip(cells).for_each(|(word, cell)| *word = cell.load(Ordering::Relaxed));
        }
        words
    }

    /// A piece of a list.
    pub(crate) fn write_piece(
        &self,
        place: usize,
        destination: bool,
        piece: usize,
        (address, len): (u64, u32),
    ) {
        let start = self.layout.list(place, destination) + 2 * piece;
        if let Some([first, second]) = self.cells.get(start..start + 2) {
            first.store(address, Ordering::Relaxed);
            second.store(u64::from(len), Ordering::Relaxed);
        }
    }

    /// What the card says of a frame that it has put into the buffer of this place; see [`super::receipt`].
    pub(crate) fn write_receipt(&self, place: usize, words: [u64; receipt::WORDS]) {
        let start = self.layout.list(place, true);
        let cells = self.cells.get(start..start + receipt::WORDS).unwrap_or_default();
        cells.iter().zip(words).for_each(|(cell, word)| cell.store(word, Ordering::Relaxed));
    }

    pub(crate) fn read_receipt(&self, place: usize) -> [u64; receipt::WORDS] {
        let start = self.layout.list(place, true);
        let cells = self.cells.get(start..start + receipt::WORDS).unwrap_or_default();
        let mut words = [0; receipt::WORDS];
        words.iter_mut().zip(cells).for_each(|(word, cell)| *word = cell.load(Ordering::Relaxed));
        words
    }

    /// The completion by this number in all, where it is there yet; the lowest bit is the phase.
    #[inline(always)]
    pub(crate) fn completion(&self, number: u32) -> Option<u64> {
        let word = self.cells.get(self.layout.completion(number))?.load(Ordering::Acquire);
        (word & 1 == self.phase(number)).then_some(word)
    }

    #[inline(always)]
    pub(crate) fn complete(&self, number: u32, word: u64) {
        if let Some(cell) = self.cells.get(self.layout.completion(number)) {
            cell.store(word & !1 | self.phase(number), Ordering::Release);
        }
    }

    /// 1 in the first round, then 0, and so on.
    #[inline(always)]
    fn phase(&self, number: u32) -> u64 {
        u64::from(number as usize & self.layout.completions() == 0)
    }

    /// The card has begun all commands before this number, and touches nothing before it has said so.
    #[inline(always)]
    pub(crate) fn set_begun(&self, number: u32) {
        if let Some(cell) = self.cells.get(self.layout.begun()) {
            cell.store(u64::from(number), Ordering::Release);
        }
    }

    pub(crate) fn begun(&self) -> u32 {
        self.cells.get(self.layout.begun()).map_or(0, |cell| cell.load(Ordering::Acquire) as u32)
    }

    /// No completion is there, and none was begun before this number.
    pub(crate) fn clear(&self, start: u32) {
        let first = self.layout.completion(0);
        for cell in self.cells.iter().skip(first).take(self.layout.completions()) {
            cell.store(0, Ordering::Relaxed);
        }
        self.set_begun(start);
    }
}

#[cfg(all(test, model))]
mod models;
