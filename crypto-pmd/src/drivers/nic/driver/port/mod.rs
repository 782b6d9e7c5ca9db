//! The card's port, as the host sees it: [`NicTx`] and [`NicRx`], a queue pair of the card each.
//!
//! What both have in common is here: a ring of places with the buffers that the card has, completions read into them, and the way through
//! a reset. What a card that fails does to frames:
//!
//! - A frame that the card has not begun goes to it again after a reset. One that it has begun and not completed may have gone out: it is
//!   never sent again, and counted as dropped (`nic_reset`).
//! - While the card is reset, nothing is taken, so that whoever is in front waits. When it stays away longer than
//!   [`NicConfig::patience`](super::NicConfig::patience), frames are dropped at the edge (`nic_gone`).
//! - Buffers come back once: from the ring when they are completed, or when the reset that gave them up is over, or the card is gone.

mod rx;
mod tx;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pipeline::clock::Tick;
use pipeline::{Mbuf, Pool};

use crate::drivers::nic::bus::command::{Completion, Extent, Outcome};
use crate::drivers::nic::bus::iommu::{Mapped, cells};
use crate::drivers::nic::bus::registers::{self, OfQueue as QueueRegister, Role};
use crate::drivers::nic::bus::ring::{Layout, MAX_PIECES, Rings};

use super::keeper::{Place, Shared};
use super::state::{Health, Phase};

pub use rx::NicRx;
pub use tx::NicTx;

/// A place of the ring.
#[derive(Debug, Default)]
struct Cell {
    /// The buffer that the card has, or had until it was completed.
    frame: Option<Mbuf>,
    /// Of the SA by which it leaves; 0 for none.
    handle: u32,
    /// Once it is completed.
    outcome: Option<Outcome>,
}

/// How it is with the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It has the rings.
    Ready,
    /// It is being reset, or is away and may come back soon.
    Wait,
    /// It is as new: frames are to be sorted, then it gets rings.
    Back,
    /// It has been away for too long.
    Gone,
}

/// A queue pair for frames.
#[derive(Debug)]
struct PortQueue {
    shared: Arc<Shared>,
    place: Place,
    layout: Layout,
    cells: Box<[Cell]>,
    depth: usize,
    /// Number of the oldest command, and of the next.
    head: u32,
    tail: u32,
    read: u32,
    read_told: u32,
    bells: u32,
    phase: Phase,
    is_enabled: bool,
    /// The card had rings that were not looked through since.
    had_rings: bool,
    mapped: Mapped,
    /// Completed as done, and not released yet. A buffer that was refused is none of them: it is so while those before it wait for frames.
    done_waiting: usize,
    /// Since when what should move did not.
    quiet_since: Option<Tick>,
    was_nudged: bool,
    quarter: Tick,
    watchdog: Tick,
    patience: Tick,
    parked_at: Option<Tick>,
}

/// What became of frames that were under way when the card was reset: in order, with what is known of each.
enum Sorted {
    Completed(Mbuf, Outcome, u32),
    /// The card may have worked on it.
    Begun(Mbuf),
    /// The card has not begun it; with the handle of the SA by which it was to leave.
    Waiting(Mbuf, u32),
}

impl PortQueue {
    fn new(shared: &Arc<Shared>, role: Role, depth: usize) -> Option<Self> {
        let mut place = shared.take_queue()?;
        place.role = role;
        let shared = Arc::clone(shared);
        let layout = Layout::new(shared.profile.ring_depth);
        let ticks = |time: std::time::Duration| shared.clock.ticks(time.as_nanos() as u64);
        let (watchdog, patience) = (ticks(shared.config.watchdog), ticks(shared.config.patience));
        let mut queue = Self {
            cells: (0..layout.depth()).map(|_| Cell::default()).collect(),
            depth: depth.clamp(1, layout.depth()),
            layout,
            head: 0,
            tail: 0,
            read: 0,
            read_told: 0,
            bells: 0,
            phase: shared.shift.now(),
            is_enabled: false,
            had_rings: false,
            mapped: Mapped::default(),
            done_waiting: 0,
            quiet_since: None,
            was_nudged: false,
            quarter: watchdog / 4,
            watchdog,
            patience,
            parked_at: None,
            place,
            shared,
        };
        if queue.phase.health == Health::Working {
            queue.enable();
        }
        Some(queue)
    }

    fn rings(&self) -> Option<Rings<'_>> {
        Rings::over(cells(&self.place.words), self.layout)
    }

    fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head) as usize
    }

    fn room(&self) -> usize {
        self.depth - self.len().min(self.depth)
    }

    fn index(&self, number: u32) -> usize {
        number as usize & (self.layout.depth() - 1)
    }

    fn cell_mut(&mut self, number: u32) -> Option<&mut Cell> {
        let index = self.index(number);
        self.cells.get_mut(index)
    }

    fn cell(&self, number: u32) -> Option<&Cell> {
        self.cells.get(self.index(number))
    }

    /// The buffer goes to the card by the command that was written for it.
    fn add(&mut self, frame: Mbuf, handle: u32) {
        let number = self.tail;
        if let Some(cell) = self.cell_mut(number) {
            *cell = Cell { frame: Some(frame), handle, outcome: None };
        }
        self.tail = number.wrapping_add(1);
    }

    /// The oldest one, if it is completed.
    fn release(&mut self) -> Option<(Mbuf, Outcome, u32)> {
        if self.len() == 0 {
            return None;
        }
        let number = self.head;
        let cell = self.cell_mut(number)?;
        let outcome = cell.outcome?;
        let frame = cell.frame.take()?;
        cell.outcome = None;
        self.done_waiting -= usize::from(outcome == Outcome::Done).min(self.done_waiting);
        self.head = number.wrapping_add(1);
        Some((frame, outcome, number))
    }

    fn enable(&mut self) -> bool {
        if let Some(rings) = self.rings() {
            rings.clear(self.head);
        }
        (self.read, self.read_told) = (0, 0);
        self.is_enabled = self.shared.enable(&self.place, self.head);
        self.had_rings |= self.is_enabled;
        self.is_enabled
    }

    fn ring_doorbell(&mut self) {
        self.bells = self.bells.wrapping_add(1);
        let value = u64::from(self.tail) | u64::from(self.bells) << 32;
        self.shared.bus.write(QueueRegister::Tail.of(self.place.number), value);
        self.place.counters.doorbells.add(1);
    }

    fn address_of(&mut self, bytes: &[u8]) -> Option<u64> {
        if self.mapped.address_of(bytes).is_none() {
            self.mapped = self.shared.bus.iommu().find(bytes)?;
        }
        let alignment = self.shared.profile.alignment as u64;
        self.mapped.address_of(bytes).filter(|address| address & (alignment - 1) == 0)
    }

    /// The memory of a packet, as a command for the next place names it; `None` for one that the card cannot reach as it is.
    fn extent(&mut self, packet: &Mbuf) -> Option<Extent> {
        let (len, count) = (packet.packet_len() as u32, packet.segment_count());
        if count == 1 {
            return Some(Extent { address: self.address_of(packet.data())?, len, pieces: 1 });
        }
        if count > self.shared.profile.segments.min(MAX_PIECES) {
            return None;
        }
        let place = self.index(self.tail);
        for (piece, bytes) in packet.segments().enumerate() {
            let address = self.address_of(bytes)?;
            self.rings()?.write_piece(place, false, piece, (address, bytes.len() as u32));
        }
        Some(Extent { address: 0, len, pieces: count as u8 })
    }

    /// Reads what the card has completed; whether there was anything.
    fn read_completions(&mut self) -> bool {
        let before = self.read;
        while let Some(word) = self.rings().and_then(|rings| rings.completion(self.read)) {
            self.read = self.read.wrapping_add(1);
            let (epoch, head, len) = (self.phase.epoch as u8, self.head, self.len());
            let completion = Completion::from_word(word).filter(|completion| {
                completion.epoch == epoch && (completion.sequence.wrapping_sub(head) as usize) < len
            });
            let cell = completion
                .and_then(|completion| Some((completion.outcome, self.cell_mut(completion.sequence)?)));
            match cell {
                Some((outcome, cell)) if cell.outcome.is_none() => {
                    cell.outcome = Some(outcome);
                    self.done_waiting += usize::from(outcome == Outcome::Done);
                }
                // Twice, or from before a reset: it belongs to nothing.
                _ => self.place.counters.stale.add(1),
            }
        }
        if self.read.wrapping_sub(self.read_told) as usize >= self.layout.depth() / 2 {
            self.read_told = self.read;
            self.shared.bus.write(QueueRegister::Read.of(self.place.number), self.read.into());
        }
        self.read != before
    }

    /// How it is with the card.
    fn look(&mut self) -> Way {
        if self.shared.shift.now() == self.phase && self.is_enabled { Way::Ready } else { self.find_way() }
    }

    #[cold]
    fn find_way(&mut self) -> Way {
        let phase = self.shared.shift.now();
        self.is_enabled = false;
        match phase.health {
            Health::Working => return Way::Back,
            Health::Resetting if self.shared.see_reset_through(phase) => return Way::Back,
            Health::Resetting => {}
            Health::Gone => {
                if self.shared.bus.is_there() && self.shared.begin_reset(phase) {
                    self.place.counters.returns.add(1);
                }
            }
            Health::Failed => return Way::Gone,
        }
        let now = self.shared.clock.tick();
        if self.parked_at.is_none() && phase.health == Health::Gone {
            self.place.counters.removals.add(1);
        }
        let since = *self.parked_at.get_or_insert(now);
        let is_away = phase.health == Health::Gone && now.saturating_sub(since) >= self.patience;
        if is_away { Way::Gone } else { Way::Wait }
    }

    /// The card touches nothing any more: empties the ring.
    fn sort(&mut self, mut to: impl FnMut(&mut Self, Sorted)) {
        let had_rings = std::mem::take(&mut self.had_rings);
        if had_rings {
            self.read_completions();
        }
        // A card that says that it has begun what was never there is not to be believed: all of it may be begun.
        let begun = self.rings().map_or(0, |rings| rings.begun()).wrapping_sub(self.head);
        let begun = if had_rings { begun.min(self.tail.wrapping_sub(self.head)) } else { 0 };
        let (head, len) = (self.head, self.len() as u32);
        self.head = self.tail;
        self.done_waiting = 0;
        for step in 0..len {
            let number = head.wrapping_add(step);
            let Some(cell) = self.cell_mut(number) else { continue };
            let (handle, outcome) = (cell.handle, cell.outcome.take());
            let Some(frame) = cell.frame.take() else { continue };
            let sorted = match outcome {
                Some(outcome) => Sorted::Completed(frame, outcome, number),
                None if step < begun => Sorted::Begun(frame),
                None => Sorted::Waiting(frame, handle),
            };
            to(self, sorted);
        }
    }

    /// From now on this queue pair goes by what the card is now.
    fn begin_anew(&mut self, phase: Phase) {
        self.phase = phase;
        self.parked_at = None;
        self.is_moving();
    }

    fn is_moving(&mut self) {
        (self.quiet_since, self.was_nudged) = (None, false);
    }

    /// A frame went its way: the card does something.
    fn has_worked(&mut self) {
        self.is_moving();
        if self.shared.resets_in_a_row.load(Ordering::Relaxed) > 0 {
            self.shared.resets_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// What should move does not: for how long may that be?
    #[cold]
    fn watch(&mut self) {
        let phase = self.shared.shift.now();
        if phase.health != Health::Working {
            return;
        }
        let now = self.shared.clock.tick();
        let quiet = now.saturating_sub(*self.quiet_since.get_or_insert(now));
        if quiet < self.quarter || quiet < self.watchdog && self.was_nudged {
            return;
        }
        if self.is_lost(phase) {
            return;
        }
        if quiet >= self.watchdog {
            if self.shared.begin_reset(phase) {
                self.place.counters.watchdog_resets.add(1);
            }
            return;
        }
        self.was_nudged = true;
        self.place.counters.nudges.add(1);
        self.ring_doorbell();
    }

    /// Whether the card is gone, or resets itself, which is then said to all.
    fn is_lost(&self, phase: Phase) -> bool {
        if !self.shared.bus.is_there() {
            self.shared.shift.change(phase, Health::Gone, phase.epoch);
            return true;
        }
        let is_forgotten = self.shared.bus.read(QueueRegister::Enable.of(self.place.number)) & 1 == 0;
        let resets_itself = is_forgotten || self.shared.bus.read(registers::STATE) != registers::READY;
        if resets_itself && self.shared.begin_reset(phase) {
            self.place.counters.watchdog_resets.add(1);
        }
        resets_itself
    }
}

impl Drop for PortQueue {
    fn drop(&mut self) {
        let frames = self.cells.iter_mut().filter_map(|cell| cell.frame.take()).collect();
        self.shared.return_port(self.place.number, frames);
    }
}

/// Both ends of the port, for one core: buffers of `pool` for what arrives, `depth` frames under way in each direction at most.
pub(super) fn ports(
    shared: &Arc<Shared>,
    pool: Pool,
    depth: usize,
    is_ethernet: bool,
) -> io::Result<(NicRx, NicTx)> {
    let services = shared.profile.services;
    if !services.inline_crypto && !services.inline_protocol {
        let what = format!("{} has no port: its profile lists no inline service", shared.profile.name);
        return Err(io::Error::new(io::ErrorKind::Unsupported, what));
    }
    if !shared.bus.iommu().map_pool(&pool) {
        return Err(io::Error::new(io::ErrorKind::OutOfMemory, "the card has no window left for the pool"));
    }
    let none =
        || io::Error::new(io::ErrorKind::QuotaExceeded, "the card has no queue pair left; a port takes two");
    let rx = PortQueue::new(shared, Role::Receive, depth).ok_or_else(none)?;
    let tx = PortQueue::new(shared, Role::Transmit, depth).ok_or_else(none)?;
    Ok((NicRx::new(rx, pool, is_ethernet), NicTx::new(tx)))
}
