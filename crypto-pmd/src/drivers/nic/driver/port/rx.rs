//! Frames that arrive by the card.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{Ordering, fence};

use pipeline::clock::Tick;
use pipeline::port::{Receive, RxPort};
use pipeline::stats::{Reason, Tally};
use pipeline::{Burst, Ledger, Mbuf, Pool};

use crate::drivers::nic::bus::SLOT_BITS;
use crate::drivers::nic::bus::command::{Command, Extent, Kind, Outcome};
use crate::drivers::nic::bus::receipt::{Receipt, Report};
use crate::drivers::nic::bus::registers;
use crate::drivers::nic::driver::state::Health;
use crate::inline::{RxOutcome, RxReport, Service};

use super::{PortQueue, Sorted, Way};

/// Bytes of an Ethernet header, which stand for any.
const ETHERNET: u8 = 14;

/// Why a frame that the card delivered is not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RxDrop {
    /// It lay unread when the card was reset, with a number that the card, which has forgotten it, may let in again.
    Reset,
    /// The card reports of an SA that is not there any more.
    StaleReport,
}

impl Reason for RxDrop {
    const ALL: &'static [Self] = &[Self::Reset, Self::StaleReport];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Reset => "nic_reset",
            Self::StaleReport => "nic_stale_report",
        }
    }
}

/// The receiving end. What the card did with a frame is in the frame's words, see [`crate::inline`]. It keeps the card supplied with
/// buffers, so it has to be asked for frames even when none are expected.
pub struct NicRx {
    queue: PortQueue,
    is_ethernet: bool,
    /// Frames that were delivered before a reset.
    ready: VecDeque<Mbuf>,
    /// Buffers that came back empty.
    spare: Vec<Mbuf>,
    drops: Tally<RxDrop>,
    received: u64,
    heartbeat: u64,
    /// When the heartbeat was last found to have changed, and when it was last looked at.
    alive_at: Tick,
    looked_at: Tick,
    /// Last, so that all of its packets are home when it goes.
    pool: Pool,
}

impl NicRx {
    pub(super) fn new(queue: PortQueue, pool: Pool, is_ethernet: bool) -> Self {
        let depth = queue.channel.layout.depth();
        let now = queue.channel.shared.clock.tick();
        let mut rx = Self {
            queue,
            pool,
            is_ethernet,
            ready: VecDeque::with_capacity(depth),
            spare: Vec::with_capacity(depth),
            drops: Tally::default(),
            received: 0,
            heartbeat: 0,
            alive_at: now,
            looked_at: now,
        };
        if rx.queue.channel.is_enabled {
            rx.post();
        }
        rx
    }

    /// Gives the card buffers.
    fn post(&mut self) {
        let before = self.queue.tail;
        while self.queue.room() > 0 {
            let Some(mut buffer) = self.spare.pop().or_else(|| self.pool.alloc()) else { break };
            let room = buffer.tailroom();
            let queue = &mut self.queue;
            let address = buffer.append(room).and_then(|bytes| queue.address_of(bytes));
            let Some(address) = address else { break };
            let command = Command {
                kind: Kind::Receive,
                epoch: queue.channel.phase.epoch as u8,
                sequence: queue.tail,
                source: Extent { address, len: buffer.packet_len() as u32, pieces: 1 },
                link_len: if self.is_ethernet { ETHERNET } else { 0 },
                ..Command::NOTHING
            };
            if let Some(rings) = queue.channel.rings() {
                rings.write_command(queue.tail, command.to_words());
            }
            queue.add(buffer, 0);
        }
        if self.queue.tail != before {
            self.queue.ring_doorbell();
        }
    }

    /// Completed frames, up to `limit`.
    fn gather(&mut self, burst: &mut Burst<Mbuf>, limit: usize) -> usize {
        self.queue.read_completions();
        let mut complete = 0;
        while complete < limit
            && let Some(number) = self.queue.completed(complete as u32)
        {
            if let Some(report) = let_in(&self.queue.receipt(number)) {
                self.queue.channel.shared.on_cards.raise(report.handle, report.number);
            }
            complete += 1;
        }
        // Whoever tells a card its SAs again after a reset has changed the phase first and reads the numbers then: either that is seen here, or
        // what was raised is seen there. Seen here, these frames are sorted like all that lay unread.
        fence(Ordering::SeqCst);
        if self.queue.channel.shared.shift.now() != self.queue.channel.phase {
            return 0;
        }
        for _ in 0..complete {
            let Some((buffer, outcome, number)) = self.queue.release() else { break };
            let receipt = self.queue.receipt(number);
            if let Some(frame) = self.finish(buffer, outcome, receipt) {
                burst.push_with(|| frame);
            }
        }
        complete
    }

    /// Makes a frame of a buffer; `None` when it is dropped, or was none.
    fn finish(&mut self, mut buffer: Mbuf, outcome: Outcome, receipt: Receipt) -> Option<Mbuf> {
        if outcome != Outcome::Done {
            self.queue.channel.place.counters.refused.add(1);
            self.take_back(buffer);
            return None;
        }
        self.received += 1;
        buffer.truncate(receipt.len as usize);
        if let Some(Report { service, outcome, handle, esn_high, .. }) = receipt.report {
            if !self.queue.channel.shared.on_cards.is_of(handle, service) {
                self.drops.add(RxDrop::StaleReport, 1);
                return None;
            }
            let slot = handle & ((1 << SLOT_BITS) - 1);
            RxReport { service, outcome, slot, esn_high }.write(&mut buffer);
        }
        Some(buffer)
    }

    /// A buffer came back without a frame.
    fn take_back(&mut self, mut buffer: Mbuf) {
        buffer.truncate(0);
        self.spare.push(buffer);
    }

    /// The card is as new. What it had delivered and nobody had read is sorted out; its buffers go to it again.
    #[cold]
    fn come_back(&mut self) -> bool {
        let phase = self.queue.channel.shared.shift.now();
        if phase.health != Health::Working {
            return false;
        }
        // Of a queue pair that slept through a reset nothing is known but that its frames are old.
        let is_next = phase.epoch == self.queue.channel.phase.epoch + 1;
        let mut sorted_out = Vec::with_capacity(self.queue.len());
        self.queue.sort(|_, sorted| sorted_out.push(sorted));
        for sorted in sorted_out {
            match sorted {
                Sorted::Completed(buffer, outcome, number) => {
                    let receipt = self.queue.receipt(number);
                    let may_come_again = let_in(&receipt).is_some_and(|report| {
                        !is_next
                            || !self
                                .queue
                                .channel
                                .shared
                                .on_cards
                                .is_below_floor(report.handle, report.number)
                    });
                    if may_come_again && outcome == Outcome::Done {
                        self.received += 1;
                        self.drops.add(RxDrop::Reset, 1);
                        self.take_back(buffer);
                    } else if let Some(frame) = self.finish(buffer, outcome, receipt) {
                        self.ready.push_back(frame);
                    }
                }
                Sorted::Begun(buffer) | Sorted::Waiting(buffer, _) => self.take_back(buffer),
            }
        }
        self.queue.channel.begin_anew(phase);
        let now = self.queue.channel.shared.clock.tick();
        (self.alive_at, self.looked_at) = (now, now);
        if !self.queue.enable() {
            return false;
        }
        self.post();
        true
    }

    /// Nothing came. That is nothing wrong, unless the card does not take buffers, or has skipped one, or is not there, or stands still.
    fn watch(&mut self) {
        let taken = self.queue.channel.rings().map_or(self.queue.tail, |rings| rings.begun());
        if taken != self.queue.tail || self.queue.has_gap() {
            return self.queue.watch();
        }
        self.queue.channel.is_moving();
        let queue = &self.queue;
        let now = queue.channel.shared.clock.tick();
        if now.saturating_sub(self.looked_at) < queue.channel.quarter {
            return;
        }
        self.looked_at = now;
        let phase = queue.channel.shared.shift.now();
        if phase.health != Health::Working || queue.channel.is_lost(phase) {
            return;
        }
        let heartbeat = queue.channel.shared.bus.read(registers::HEARTBEAT);
        if heartbeat != self.heartbeat {
            (self.heartbeat, self.alive_at) = (heartbeat, now);
        } else if now.saturating_sub(self.alive_at) >= queue.channel.watchdog {
            queue.channel.reset(phase);
        }
    }
}

/// What a receipt says of a number that was let in.
fn let_in(receipt: &Receipt) -> Option<Report> {
    receipt.report.filter(|report| report.service == Service::Protocol && report.outcome == RxOutcome::Ok)
}

impl PortQueue {
    /// The number of the command so many places behind the oldest, if it is completed.
    fn completed(&self, behind: u32) -> Option<u32> {
        let number = self.head.wrapping_add(behind);
        let is_inside = (behind as usize) < self.len();
        self.cell(number).filter(|cell| is_inside && cell.outcome.is_some()).map(|_| number)
    }

    /// Whether a later buffer has a frame and the oldest has not.
    fn has_gap(&self) -> bool {
        self.done_waiting > 0 && self.completed(0).is_none()
    }

    fn receipt(&self, number: u32) -> Receipt {
        let words = self.channel.rings().map(|rings| rings.read_receipt(self.channel.index(number)));
        Receipt::from_words(words.unwrap_or_default())
    }
}

impl RxPort for NicRx {
    fn receive(&mut self, burst: &mut Burst<Mbuf>, limit: usize) -> Receive {
        let before = burst.len();
        let limit = limit.min(burst.room());
        let is_ready = match self.queue.look() {
            Way::Ready => true,
            Way::Back => self.come_back(),
            Way::Wait | Way::Gone => false,
        };
        while burst.len() - before < limit
            && let Some(frame) = self.ready.pop_front()
        {
            burst.push_with(|| frame);
        }
        if is_ready && self.ready.is_empty() {
            let left = limit - (burst.len() - before);
            if self.gather(burst, left) > 0 {
                self.queue.channel.has_worked();
            } else if left > 0 {
                self.watch();
            }
            self.post();
        }
        if burst.len() > before { Receive::Packets } else { Receive::Idle }
    }

    fn account(&self, ledger: &mut Ledger) {
        // What lay unread when the card was reset is counted as it was sorted, and is still here.
        ledger.received += self.received;
        ledger.held += self.ready.len() as u64;
        ledger.drops_of("nic_rx", &self.drops);
    }
}

impl fmt::Debug for NicRx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NicRx").field("received", &self.received).finish_non_exhaustive()
    }
}
