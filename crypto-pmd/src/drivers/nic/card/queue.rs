//! A queue pair as the card sees it: the memory that it was told of, how far it has read, how many completions it has written.

use std::sync::Arc;

use pipeline::memory::Words;

use crate::drivers::nic::bus::command::{Command, Completion, Extent, Outcome};
use crate::drivers::nic::bus::iommu::{Iommu, MemoryFault, cells};
use crate::drivers::nic::bus::receipt;
use crate::drivers::nic::bus::registers::{OfQueue, Registers, Role};
use crate::drivers::nic::bus::ring::{Layout, Rings};

#[derive(Debug, Default)]
pub(super) struct CardQueue {
    /// What the register said when it was last looked at.
    enabled: u64,
    memory: Option<(Arc<Words>, Layout)>,
    bell: u64,
    /// Commands that the driver has written, as far as the card has heard.
    pub(super) tail: u32,
    pub(super) next: u32,
    completed: u32,
    /// What it is for.
    pub(super) role: Role,
    /// Reads no more.
    pub(super) stuck: bool,
}

impl CardQueue {
    pub(super) fn rings(&self) -> Option<Rings<'_>> {
        let (words, layout) = self.memory.as_ref()?;
        Rings::over(cells(words), *layout)
    }

    /// Looks whether it was enabled or disabled since; true when it was, and all that is under way of it is to be given up.
    #[inline]
    pub(super) fn has_changed(&self, number: usize, registers: &Registers) -> bool {
        registers.peek(OfQueue::Enable.of(number)) != self.enabled
    }

    /// Takes over what the driver has set, or lets go of everything.
    pub(super) fn set_up(&mut self, number: usize, registers: &Registers, iommu: &Iommu) {
        let enabled = registers.peek(OfQueue::Enable.of(number));
        let depth = registers.peek(OfQueue::Depth.of(number)) as usize;
        let words = iommu.words(registers.peek(OfQueue::Base.of(number))).ok();
        let layout = Layout::new(depth);
        let usable = |words: &Arc<Words>| {
            enabled & 1 == 1 && depth.is_power_of_two() && Rings::over(cells(words), layout).is_some()
        };
        let start = registers.peek(OfQueue::Start.of(number)) as u32;
        *self = Self {
            enabled,
            memory: words.filter(usable).map(|words| (words, layout)),
            bell: u64::from(start),
            tail: start,
            next: start,
            completed: 0,
            role: Role::of(registers.peek(OfQueue::Role.of(number))),
            stuck: false,
        };
        registers.poke(OfQueue::Seen.of(number), enabled);
    }

    /// Whether the doorbell was rung since it was last heard.
    #[inline]
    pub(super) fn is_rung(&mut self, number: usize, registers: &Registers) -> Option<u32> {
        let bell = registers.peek(OfQueue::Tail.of(number));
        let is_new = bell != self.bell && self.memory.is_some();
        self.bell = bell;
        is_new.then_some(bell as u32)
    }

    /// Commands that may be read.
    #[inline]
    pub(super) fn ready(&self) -> usize {
        match &self.memory {
            Some((_, layout)) if !self.stuck => {
                // A doorbell that says more than the ring holds says nothing.
                let ready = self.tail.wrapping_sub(self.next) as usize;
                if ready <= layout.depth() { ready } else { 0 }
            }
            _ => 0,
        }
    }

    /// Whether there is room for completions.
    pub(super) fn can_complete(&self, number: usize, registers: &Registers, count: u32) -> bool {
        let read = registers.peek(OfQueue::Read.of(number)) as u32;
        let waiting = self.completed.wrapping_sub(read);
        let room = self.memory.as_ref().map_or(0, |(_, layout)| layout.completions() as u32);
        waiting.saturating_add(count) <= room
    }

    #[inline]
    pub(super) fn complete(&mut self, command: &Command, outcome: Outcome) {
        let completion = Completion { outcome, epoch: command.epoch, sequence: command.sequence };
        let number = self.completed;
        if let Some(rings) = self.rings() {
            rings.complete(number, completion.to_word());
        }
        self.completed = number.wrapping_add(1);
    }

    /// Says what is in the buffer of a command; see [`crate::drivers::nic::bus::receipt`].
    pub(super) fn write_receipt(&self, number: usize, words: [u64; receipt::WORDS]) {
        if let (Some(rings), Some((_, layout))) = (self.rings(), &self.memory) {
            rings.write_receipt(number & (layout.depth() - 1), words);
        }
    }

    /// The pieces of a command's source or destination, in order.
    pub(super) fn pieces(&self, command: &Command, destination: bool) -> Pieces<'_> {
        let extent = if destination { command.destination } else { command.source };
        let list = match (&self.memory, extent.pieces) {
            (Some((words, layout)), 2..) => {
                let place = command.sequence as usize & (layout.depth() - 1);
                let start = layout.list(place, destination);
                cells(words).get(start..start + 2 * usize::from(extent.pieces)).unwrap_or_default()
            }
            _ => &[],
        };
        Pieces { extent, list, next: 0 }
    }

    /// Copies a packet into the card's memory.
    #[inline]
    pub(super) fn read(&self, iommu: &Iommu, command: &Command, to: &mut [u8]) -> Result<(), MemoryFault> {
        if command.source.pieces == 1 {
            return iommu.read(command.source.address, to);
        }
        let mut to = to;
        for (address, len) in self.pieces(command, false) {
            let (part, rest) = to.split_at_mut(len.min(to.len()));
            iommu.read(address, part)?;
            to = rest;
        }
        if to.is_empty() { Ok(()) } else { Err(MemoryFault) }
    }

    /// Copies bytes out, to an offset of a packet.
    #[inline]
    pub(super) fn write(
        &self,
        iommu: &Iommu,
        command: &Command,
        destination: bool,
        offset: usize,
        from: &[u8],
    ) -> Result<(), MemoryFault> {
        let (mut skip, mut from) = (offset, from);
        for (address, len) in self.pieces(command, destination) {
            if from.is_empty() {
                break;
            }
            if skip >= len {
                skip -= len;
                continue;
            }
            let (part, rest) = from.split_at((len - skip).min(from.len()));
            iommu.write(address + skip as u64, part)?;
            (skip, from) = (0, rest);
        }
        if from.is_empty() { Ok(()) } else { Err(MemoryFault) }
    }
}

/// Addresses and lengths.
pub(super) struct Pieces<'a> {
    extent: Extent,
    list: &'a [crate::drivers::nic::bus::Cell],
    next: u8,
}

impl Iterator for Pieces<'_> {
    type Item = (u64, usize);

    #[inline]
    fn next(&mut self) -> Option<(u64, usize)> {
        let place = usize::from(self.next);
        if self.next >= self.extent.pieces {
            return None;
        }
        self.next += 1;
        if self.extent.pieces == 1 {
            return Some((self.extent.address, self.extent.len as usize));
        }
        let load = |cell: &crate::drivers::nic::bus::Cell| cell.load(pipeline::sync::Ordering::Relaxed);
        match self.list.get(2 * place..2 * place + 2)? {
            [address, len] => Some((load(address), load(len) as usize)),
            _ => None,
        }
    }
}
