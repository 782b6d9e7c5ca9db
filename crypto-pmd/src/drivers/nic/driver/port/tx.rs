//! Frames that leave by the card.

use std::fmt;

use pipeline::port::TxPort;
use pipeline::stats::{Reason, Tally};
use pipeline::{Burst, Ledger, Mbuf};

use crate::drivers::nic::bus::association::code_of;
use crate::drivers::nic::bus::command::{Command, Kind, Outcome};
use crate::drivers::nic::driver::state::Health;
use crate::inline::{Service, TxOffload};

use super::{PortQueue, Sorted, Way};

/// Why a frame did not go out, or may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TxDrop {
    /// Its request is for an SA that is not on the card.
    NoSa,
    /// The card cannot do what it asks for: no number is left, a fragment in transport mode, headers that contradict each other.
    Refused,
    /// The card could not reach its bytes.
    MemoryFault,
    /// The link was down.
    LinkDown,
    /// The card was reset or pulled out while it had it: it may have gone out.
    Reset,
    /// There is no card.
    Gone,
    /// Longer than the card takes, or empty.
    BadLength,
    /// It had to be copied for the card, and there was no buffer.
    NoBuffer,
}

impl Reason for TxDrop {
    const ALL: &'static [Self] = &[
        Self::NoSa,
        Self::Refused,
        Self::MemoryFault,
        Self::LinkDown,
        Self::Reset,
        Self::Gone,
        Self::BadLength,
        Self::NoBuffer,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::NoSa => "nic_no_sa",
            Self::Refused => "nic_refused",
            Self::MemoryFault => "nic_memory_fault",
            Self::LinkDown => "nic_link_down",
            Self::Reset => "nic_reset",
            Self::Gone => "nic_gone",
            Self::BadLength => "nic_bad_length",
            Self::NoBuffer => "nic_no_buffer",
        }
    }
}

/// The sending end. Frames that carry a request of [`crate::inline`] are treated by the card on their way; one whose request cannot be
/// fulfilled does not go out. A call with an empty burst takes back what is sent.
pub struct NicTx {
    queue: PortQueue,
    drops: Tally<TxDrop>,
    sent: u64,
    /// Frames that go to the card again, while they are sorted, with the SA of each.
    again: Vec<(Mbuf, u32)>,
}

impl NicTx {
    pub(super) fn new(queue: PortQueue) -> Self {
        Self {
            again: Vec::with_capacity(queue.channel.layout.depth()),
            queue,
            drops: Tally::default(),
            sent: 0,
        }
    }

    /// Frames that the card has.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.queue.len()
    }

    /// Takes back what is sent.
    fn reap(&mut self) -> bool {
        self.queue.read_completions();
        let mut moved = false;
        while let Some((frame, outcome, _)) = self.queue.release() {
            drop(frame);
            settle(outcome, &mut self.sent, &mut self.drops);
            moved = true;
        }
        moved
    }

    /// `before` is the handle that a frame had which goes to the card again: whoever is in its SA's slot now, may be another one.
    fn take(&mut self, packet: Mbuf, before: Option<u32>) {
        if let Err(reason) = self.write(packet, before) {
            self.drops.add(reason, 1);
        }
    }

    /// Writes the command of a frame; a frame for which that cannot be is gone.
    fn write(&mut self, packet: Mbuf, before: Option<u32>) -> Result<(), TxDrop> {
        let queue = &mut self.queue;
        let request = TxOffload::read(&packet);
        // Half a request is one that nobody can fulfil.
        if request.is_none() && packet.offload() as u32 != 0 {
            return Err(TxDrop::NoSa);
        }
        let handle = match request {
            Some(TxOffload { service, slot, .. }) => {
                let handle = queue.channel.shared.on_cards.sending(slot, service);
                let is_same = |handle: &u32| before.is_none_or(|before| before == *handle);
                Some(handle.filter(is_same).ok_or(TxDrop::NoSa)?)
            }
            None => None,
        };
        let len = packet.packet_len();
        if len == 0 || len > queue.channel.shared.profile.max_packet {
            return Err(TxDrop::BadLength);
        }
        let (packet, source) = match queue.extent(&packet) {
            Some(source) => (packet, source),
            None => {
                let copy = queue.copy_of(&packet).ok_or(TxDrop::NoBuffer)?;
                let source = queue.extent(&copy).ok_or(TxDrop::NoBuffer)?;
                (copy, source)
            }
        };
        let esn_high = request.map_or(0, |request| request.esn_high);
        let command = Command {
            kind: Kind::Transmit,
            epoch: queue.channel.phase.epoch as u8,
            sequence: queue.tail,
            session: handle.unwrap_or(0),
            esn_high,
            source,
            link_len: packet.l2_len() as u8,
            service: request.map_or(0, |request| code_of(request.service)),
            ..Command::NOTHING
        };
        // Counted before the card can see it.
        if let (Some(handle), Some(Service::Protocol)) = (handle, request.map(|request| request.service)) {
            queue.channel.shared.on_cards.count_handed(handle);
        }
        if let Some(rings) = queue.channel.rings() {
            rings.write_command(queue.tail, command.to_words());
        }
        queue.add(packet, handle.unwrap_or(0));
        Ok(())
    }

    /// Sorts what was under way when the card was reset; what it had not begun waits in `again`.
    fn sort(&mut self) {
        let Self { queue, drops, sent, again } = self;
        queue.sort(|_, sorted| match sorted {
            Sorted::Completed(_, outcome, _) => settle(outcome, sent, drops),
            Sorted::Begun(_) => drops.add(TxDrop::Reset, 1),
            Sorted::Waiting(frame, handle) => again.push((frame, handle)),
        });
    }

    #[cold]
    fn come_back(&mut self) -> bool {
        let phase = self.queue.channel.shared.shift.now();
        if phase.health != Health::Working {
            return false;
        }
        self.sort();
        self.queue.channel.begin_anew(phase);
        let mut again = std::mem::take(&mut self.again);
        self.queue.channel.place.counters.redriven.add(again.len() as u64);
        again.drain(..).for_each(|(frame, handle)| self.take(frame, Some(handle)));
        self.again = again;
        if !self.queue.enable() {
            return false;
        }
        if self.queue.len() > 0 {
            self.queue.ring_doorbell();
        }
        true
    }

    /// There is no card: frames are dropped at the edge. What a card that is there and does not answer has, stays with it.
    #[cold]
    fn give_up(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        if self.queue.channel.shared.health() == Health::Gone {
            self.sort();
            self.drops.add(TxDrop::Gone, self.again.len() as u64);
            self.again.clear();
        }
        let count = burst.len();
        self.drops.add(TxDrop::Gone, count as u64);
        burst.clear();
        count
    }
}

fn settle(outcome: Outcome, sent: &mut u64, drops: &mut Tally<TxDrop>) {
    let reason = match outcome {
        Outcome::Done => {
            *sent += 1;
            return;
        }
        Outcome::NoSession => TxDrop::NoSa,
        Outcome::MemoryFault => TxDrop::MemoryFault,
        Outcome::LinkDown => TxDrop::LinkDown,
        Outcome::IntegrityFailed | Outcome::BadRange | Outcome::BadCommand => TxDrop::Refused,
    };
    drops.add(reason, 1);
}

impl PortQueue {
    /// The same frame in a buffer that the card reaches.
    #[cold]
    fn copy_of(&self, packet: &Mbuf) -> Option<Mbuf> {
        let mut copy = self.channel.shared.copies.alloc()?;
        let to = copy.append(packet.packet_len())?;
        packet.copy_out(0, to).then_some(())?;
        copy.set_l2_len(packet.l2_len() as u8);
        copy.set_offload(packet.offload());
        self.channel.place.counters.copied.add(1);
        Some(copy)
    }
}

impl TxPort for NicTx {
    fn transmit(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let moved = match self.queue.look() {
            Way::Ready => self.reap(),
            Way::Back if self.come_back() => true,
            Way::Back | Way::Wait => return 0,
            Way::Gone => return self.give_up(burst),
        };
        if moved {
            self.queue.channel.has_worked();
        } else if self.queue.len() > 0 {
            self.queue.watch();
        } else {
            self.queue.channel.is_moving();
        }
        let count = self.queue.room().min(burst.len());
        let (before, mut left) = (self.queue.tail, self.queue.channel.shared.profile.burst);
        for packet in burst.drain_front(count) {
            self.take(packet, None);
            left -= 1;
            if left == 0 {
                self.queue.ring_doorbell();
                left = self.queue.channel.shared.profile.burst;
            }
        }
        if self.queue.tail != before && left < self.queue.channel.shared.profile.burst {
            self.queue.ring_doorbell();
        }
        count
    }

    fn account(&self, ledger: &mut Ledger) {
        ledger.sent += self.sent;
        ledger.held += self.queue.len() as u64;
        ledger.drops_of("nic_tx", &self.drops);
    }
}

impl fmt::Debug for NicTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NicTx")
            .field("sent", &self.sent)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
