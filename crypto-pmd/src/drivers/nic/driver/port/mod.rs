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

use pipeline::{Mbuf, Pool};

use crate::drivers::nic::bus::command::{Completion, Extent, Outcome};
use crate::drivers::nic::bus::registers::Role;
use crate::drivers::nic::bus::ring::MAX_PIECES;

use super::channel::Channel;
use super::keeper::Shared;
use super::state::Health;

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
    channel: Channel,
    cells: Box<[Cell]>,
    depth: usize,
    /// Number of the oldest command, and of the next.
    head: u32,
    tail: u32,
    /// Completed as done, and not released yet. A buffer that was refused is none of them: it is so while those before it wait for frames.
    done_waiting: usize,
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
        let channel = Channel::new(shared, role)?;
        let places = channel.layout.depth();
        Some(Self {
            cells: (0..places).map(|_| Cell::default()).collect(),
            depth: depth.clamp(1, places),
            channel,
            head: 0,
            tail: 0,
            done_waiting: 0,
        })
    }

    fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head) as usize
    }

    fn room(&self) -> usize {
        self.depth - self.len().min(self.depth)
    }

    fn cell_mut(&mut self, number: u32) -> Option<&mut Cell> {
        let index = self.channel.index(number);
        self.cells.get_mut(index)
    }

    fn cell(&self, number: u32) -> Option<&Cell> {
        self.cells.get(self.channel.index(number))
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
        self.channel.enable(self.head)
    }

    fn ring_doorbell(&mut self) {
        self.channel.ring_doorbell(self.tail);
    }

    /// What should move does not.
    fn watch(&mut self) {
        self.channel.watch(self.tail);
    }

    fn address_of(&mut self, bytes: &[u8]) -> Option<u64> {
        let Channel { mapped, shared, .. } = &mut self.channel;
        if mapped.address_of(bytes).is_none() {
            *mapped = shared.bus.iommu().find(bytes)?;
        }
        let alignment = shared.profile.alignment as u64;
        mapped.address_of(bytes).filter(|address| address & (alignment - 1) == 0)
    }

    /// The memory of a packet, as a command for the next place names it; `None` for one that the card cannot reach as it is.
    fn extent(&mut self, packet: &Mbuf) -> Option<Extent> {
        let (len, count) = (packet.packet_len() as u32, packet.segment_count());
        if count == 1 {
            return Some(Extent { address: self.address_of(packet.data())?, len, pieces: 1 });
        }
        if count > self.channel.shared.profile.segments.min(MAX_PIECES) {
            return None;
        }
        let place = self.channel.index(self.tail);
        for (piece, bytes) in packet.segments().enumerate() {
            let address = self.address_of(bytes)?;
            self.channel.rings()?.write_piece(place, false, piece, (address, bytes.len() as u32));
        }
        Some(Extent { address: 0, len, pieces: count as u8 })
    }

    /// Reads what the card has completed.
    fn read_completions(&mut self) {
        while let Some(word) = self.channel.next_completion() {
            let (epoch, head, len) = (self.channel.phase.epoch as u8, self.head, self.len());
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
                _ => self.channel.place.counters.stale.add(1),
            }
        }
        self.channel.tell_read();
    }

    /// How it is with the card.
    fn look(&mut self) -> Way {
        if self.channel.is_current() { Way::Ready } else { self.find_way() }
    }

    #[cold]
    fn find_way(&mut self) -> Way {
        let channel = &mut self.channel;
        let phase = channel.shared.shift.now();
        channel.is_enabled = false;
        match phase.health {
            Health::Working => return Way::Back,
            Health::Resetting if channel.shared.see_reset_through(phase) => return Way::Back,
            Health::Resetting => {}
            Health::Gone => {
                if channel.shared.bus.is_there() && channel.shared.begin_reset(phase) {
                    channel.place.counters.returns.add(1);
                }
            }
            Health::Failed => return Way::Gone,
        }
        let now = channel.shared.clock.tick();
        if channel.parked_at.is_none() && phase.health == Health::Gone {
            channel.place.counters.removals.add(1);
        }
        let since = *channel.parked_at.get_or_insert(now);
        let is_away = phase.health == Health::Gone && now.saturating_sub(since) >= channel.patience;
        if is_away { Way::Gone } else { Way::Wait }
    }

    /// The card touches nothing any more: empties the ring.
    fn sort(&mut self, mut to: impl FnMut(&mut Self, Sorted)) {
        let had_rings = self.channel.take_rings();
        if had_rings {
            self.read_completions();
        }
        let begun = if had_rings { self.channel.begun(self.head, self.tail) } else { 0 };
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
}

impl Drop for PortQueue {
    fn drop(&mut self) {
        let frames = self.cells.iter_mut().filter_map(|cell| cell.frame.take()).collect();
        self.channel.shared.return_port(self.channel.place.number, frames);
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
