//! What every queue pair over the card's rings has, whatever it carries: its place and memory, doorbells, completions, and an eye on whether
//! the card still does something.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pipeline::clock::Tick;

use crate::drivers::nic::bus::iommu::{Mapped, cells};
use crate::drivers::nic::bus::registers::{self, OfQueue as QueueRegister, Role};
use crate::drivers::nic::bus::ring::{Layout, Rings};

use super::keeper::{Place, Shared};
use super::state::{Health, Phase};

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) shared: Arc<Shared>,
    pub(super) place: Place,
    pub(super) layout: Layout,
    /// Completions that were read, and how many the card was told of.
    read: u32,
    read_told: u32,
    bells: u32,
    /// What this queue pair goes by.
    pub(super) phase: Phase,
    /// The card has rings of this phase.
    pub(super) is_enabled: bool,
    /// The card had rings that were not looked through since.
    had_rings: bool,
    /// Where the last packet lay.
    pub(super) mapped: Mapped,
    /// Since when what should move did not, and whether the card was nudged since.
    quiet_since: Option<Tick>,
    was_nudged: bool,
    pub(super) quarter: Tick,
    pub(super) watchdog: Tick,
    pub(super) patience: Tick,
    /// Since when this queue pair waits for a card that is away.
    pub(super) parked_at: Option<Tick>,
}

impl Channel {
    /// With rings that the card has already, if it works; `None` when the card has no queue pair left, or the system no memory.
    pub(super) fn new(shared: &Arc<Shared>, role: Role) -> Option<Self> {
        let place = Place { role, ..shared.take_queue()? };
        let ticks = |time: Duration| shared.clock.ticks(time.as_nanos() as u64);
        let (watchdog, patience) = (ticks(shared.config.watchdog), ticks(shared.config.patience));
        let mut channel = Self {
            layout: Layout::new(shared.profile.ring_depth),
            read: 0,
            read_told: 0,
            bells: 0,
            phase: shared.shift.now(),
            is_enabled: false,
            had_rings: false,
            mapped: Mapped::default(),
            quiet_since: None,
            was_nudged: false,
            quarter: watchdog / 4,
            watchdog,
            patience,
            parked_at: None,
            place,
            shared: Arc::clone(shared),
        };
        if channel.phase.health == Health::Working {
            channel.enable(0);
        }
        Some(channel)
    }

    #[inline(always)]
    pub(super) fn rings(&self) -> Option<Rings<'_>> {
        Rings::over(cells(&self.place.words), self.layout)
    }

    /// Place of a command in the ring.
    #[inline(always)]
    pub(super) fn index(&self, number: u32) -> usize {
        number as usize & (self.layout.depth() - 1)
    }

    /// Whether the card works and has these rings.
    #[inline(always)]
    pub(super) fn is_current(&self) -> bool {
        self.shared.shift.now() == self.phase && self.is_enabled
    }

    /// Gives the card clean rings, whose first command has the number `start`; false when that cannot be now.
    pub(super) fn enable(&mut self, start: u32) -> bool {
        if let Some(rings) = self.rings() {
            rings.clear(start);
        }
        (self.read, self.read_told) = (0, 0);
        self.is_enabled = self.shared.enable(&self.place, start);
        self.had_rings |= self.is_enabled;
        self.is_enabled
    }

    /// From now on this queue pair goes by what the card is now.
    pub(super) fn begin_anew(&mut self, phase: Phase) {
        self.phase = phase;
        self.parked_at = None;
        self.is_moving();
    }

    /// Tells the card of the commands before this number.
    pub(super) fn ring_doorbell(&mut self, tail: u32) {
        self.bells = self.bells.wrapping_add(1);
        let value = u64::from(tail) | u64::from(self.bells) << 32;
        self.shared.bus.write(QueueRegister::Tail.of(self.place.number), value);
        self.place.counters.doorbells.add(1);
    }

    /// The next completion, if it is there.
    #[inline(always)]
    pub(super) fn next_completion(&mut self) -> Option<u64> {
        let word = self.rings()?.completion(self.read)?;
        self.read = self.read.wrapping_add(1);
        Some(word)
    }

    /// Tells the card what was read, now and then.
    #[inline(always)]
    pub(super) fn tell_read(&mut self) {
        if self.read.wrapping_sub(self.read_told) as usize >= self.layout.depth() / 2 {
            self.read_told = self.read;
            self.shared.bus.write(QueueRegister::Read.of(self.place.number), self.read.into());
        }
    }

    /// Whether the card had rings that are to be looked through, now that it touches nothing any more; once.
    pub(super) fn take_rings(&mut self) -> bool {
        self.is_enabled = false;
        std::mem::take(&mut self.had_rings)
    }

    /// How many of the commands from `head` to `tail` the card has begun, as far as is known. A card that says that it has begun what was never
    /// there is not to be believed: all of it may be begun.
    pub(super) fn begun(&self, head: u32, tail: u32) -> u32 {
        let inside = tail.wrapping_sub(head);
        self.rings().map_or(inside, |rings| rings.begun().wrapping_sub(head).min(inside))
    }

    /// Something moves, or there is nothing that should.
    #[inline(always)]
    pub(super) fn is_moving(&mut self) {
        (self.quiet_since, self.was_nudged) = (None, false);
    }

    /// The card has done something.
    #[inline(always)]
    pub(super) fn has_worked(&mut self) {
        self.is_moving();
        if self.shared.resets_in_a_row.load(Ordering::Relaxed) > 0 {
            self.shared.resets_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// What should move does not: for how long may that be? First the doorbell is rung again, then the card is reset.
    #[cold]
    pub(super) fn watch(&mut self, tail: u32) {
        let phase = self.shared.shift.now();
        if phase.health != Health::Working {
            return;
        }
        let now = self.shared.clock.tick();
        let quiet = now.saturating_sub(*self.quiet_since.get_or_insert(now));
        if quiet < self.quarter || quiet < self.watchdog && self.was_nudged || self.is_lost(phase) {
            return;
        }
        if quiet >= self.watchdog {
            return self.reset(phase);
        }
        self.was_nudged = true;
        self.place.counters.nudges.add(1);
        self.ring_doorbell(tail);
    }

    /// Whether the card is gone, or resets itself, which is then said to all.
    pub(super) fn is_lost(&self, phase: Phase) -> bool {
        if !self.shared.bus.is_there() {
            self.shared.shift.change(phase, Health::Gone, phase.epoch);
            return true;
        }
        let is_forgotten = self.shared.bus.read(QueueRegister::Enable.of(self.place.number)) & 1 == 0;
        let resets_itself = is_forgotten || self.shared.bus.read(registers::STATE) != registers::READY;
        if resets_itself {
            self.reset(phase);
        }
        resets_itself
    }

    /// Asks for a reset, unless somebody has.
    pub(super) fn reset(&self, phase: Phase) {
        if self.shared.begin_reset(phase) {
            self.place.counters.watchdog_resets.add(1);
        }
    }
}
