//! The card as a port: frames that leave (`tx`) and frames that arrive (`rx`), with the inline services on their way.
//!
//! It is apart from the command loop of the crypto engine: a queue pair that is for frames never enters that, and a card that is no NIC has none of this.
//! Frames share the engines with commands, so that both have the bandwidth that the profile says.
//!
//! Invariants: frames leave, and are delivered, in the order in which they came, whatever becomes of completions; a frame that was read or
//! taken ends as one of the counted things ([`Frames`]); what a reset meets inside is gone.

mod rx;
mod tx;

use std::collections::VecDeque;
use std::io;

use pipeline::{Mbuf, Pool};

use crate::device::{QueuePair, QueuePairConfig};
use crate::drivers::nic::bus::command::{Command, Kind, Outcome};
use crate::drivers::nic::bus::receipt::Receipt;
use crate::drivers::nic::bus::registers::{self, Role};
use crate::job::{Job, JobBurst, Operation, Status};

use super::Device;
use super::counters::{Counters, Frames};
use super::engine::{BATCH, Engine, Ghost, capacity};
use super::esp::{CardSa, Ranges};
use super::fault::Fault;
use super::ivs::Ivs;

/// A frame that waits to leave.
#[derive(Debug)]
struct Leaving {
    at: u64,
    queue: u8,
    command: Command,
    frame: Mbuf,
}

/// A completion that is due, with the frame that goes into the buffer of the command, where it is one for a buffer.
#[derive(Debug)]
struct Due {
    at: u64,
    queue: u8,
    command: Command,
    outcome: Outcome,
    frame: Option<(Mbuf, Receipt)>,
    twice: bool,
    late: bool,
}

/// What a card has inside of frames.
#[derive(Debug)]
pub(super) struct Port {
    compute: Box<dyn QueuePair>,
    jobs: JobBurst,
    done: JobBurst,
    ivs: Ivs,
    leaving: VecDeque<Leaving>,
    /// By when they are due.
    due: VecDeque<Due>,
    /// Buffers of the host, by queue pair, and whether what goes into them has Ethernet headers.
    posted: Vec<(VecDeque<Command>, bool)>,
    /// When the last frame leaves, and when the last one is delivered.
    last_out: u64,
    last_in: u64,
    /// Most frames of either direction inside.
    room: usize,
    /// Last, so that all of its packets are home when it goes.
    memory: Pool,
}

impl Port {
    pub(super) fn new(device: &Device) -> io::Result<Self> {
        let config = QueuePairConfig { depth: BATCH, far: false };
        let room = capacity(&device.profile) + BATCH;
        Ok(Self {
            memory: device.frame_memory(2 * room + BATCH)?,
            compute: device.control.compute.queue_pair(&config),
            jobs: JobBurst::new(),
            done: JobBurst::new(),
            ivs: Ivs::new()?,
            leaving: VecDeque::with_capacity(room),
            due: VecDeque::with_capacity(2 * room),
            posted: (0..device.profile.queues).map(|_| (VecDeque::new(), true)).collect(),
            last_out: 0,
            last_in: 0,
            room,
        })
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        let leaving = self.leaving.front().map(|leaving| leaving.at);
        let due = self.due.front().map(|due| due.at).filter(|&at| at != u64::MAX);
        [leaving, due].into_iter().flatten().min()
    }

    /// Frames that were taken from the wire and not delivered yet.
    fn arrived(&self) -> usize {
        self.due.iter().filter(|due| due.frame.is_some()).count()
    }

    fn add(&mut self, due: Due) {
        let later = self.due.iter().rev().take_while(|other| other.at > due.at).count();
        self.due.insert(self.due.len() - later, due);
    }

    /// What is inside of a queue pair, or of all, is gone, but for completions that come very late.
    pub(super) fn give_up(&mut self, queue: Option<u8>, counters: &Counters, ghosts: &mut Vec<Ghost>) {
        let is_its = |number: u8| queue.is_none_or(|queue| queue == number);
        let before = self.leaving.len();
        self.leaving.retain(|leaving| !is_its(leaving.queue));
        counters.frames(Frames::TxLost, before - self.leaving.len());
        let mut lost = 0;
        self.due.retain(|due| {
            let goes = is_its(due.queue);
            if goes {
                lost += usize::from(due.frame.is_some());
                if due.late && ghosts.len() < ghosts.capacity() {
                    ghosts.push(Ghost { queue: due.queue, command: due.command, outcome: due.outcome });
                }
            }
            !goes
        });
        counters.frames(Frames::RxLost, lost);
        for (_, (posted, _)) in (0..).zip(&mut self.posted).filter(|(number, _)| is_its(*number)) {
            posted.clear();
        }
    }

    /// Runs the jobs, whose cookies are places in the caller's list; hands each packet back with its status.
    fn compute(&mut self, mut to: impl FnMut(usize, Mbuf, Status)) {
        let Self { compute, jobs, done, .. } = self;
        loop {
            compute.submit(jobs);
            compute.poll(done);
            if done.is_empty() && jobs.is_empty() {
                return;
            }
            for job in done.drain() {
                let (place, status) = (job.cookie() as usize, job.status());
                to(place, job.into_packet(), status);
            }
        }
    }

    fn submit(&mut self, sa: &CardSa, packet: Mbuf, operation: Operation, ranges: &Ranges, place: usize) {
        let job = Job::new(packet, sa.session, operation)
            .with_cipher(ranges.cipher as u16, ranges.cipher_len as u32)
            .with_integrity(ranges.esp as u16, ranges.covered as u32)
            .with_iv((ranges.esp + super::esp::ESP_HEADER) as u16)
            .with_tag(ranges.tag() as u32)
            .with_cookie(place as u64);
        let job = match ranges.high {
            Some(high) => job.with_esn_high(high),
            None => job,
        };
        self.jobs.push_with(|| job);
    }
}

impl Engine {
    /// Begins what the host has written for a queue pair of frames.
    pub(super) fn serve_port(&mut self, number: usize, now: u64) -> bool {
        match self.queues.get(number).map(|queue| queue.role) {
            Some(Role::Transmit) => self.serve_tx(number, now),
            Some(Role::Receive) => self.serve_rx(number, now),
            _ => false,
        }
    }

    /// When an engine is through with so many bytes, and their latency is over.
    fn through(&mut self, len: usize, now: u64) -> u64 {
        self.time(now, len).1
    }

    /// Commands of a queue pair for frames, each with the outcome that a fault gives it.
    fn read_frames(&mut self, number: usize, count: usize, now: u64, mut to: impl FnMut(Command, Outcome)) {
        let mut read = 0;
        while read < count && !self.strikes_now(now) {
            let Some(queue) = self.queues.get(number) else { return };
            let Some(rings) = queue.rings() else { return };
            let sequence = queue.next.wrapping_add(read as u32);
            let command = Command::from_words(&rings.read_command(sequence));
            read += 1;
            let outcome = if command.is_none() || self.happens(Fault::DescriptorError) {
                Outcome::BadCommand
            } else if self.happens(Fault::MemoryFault) {
                Outcome::MemoryFault
            } else {
                Outcome::Done
            };
            to(command.unwrap_or(Command { sequence, kind: Kind::Crypt, ..Command::NOTHING }), outcome);
        }
        if let Some(queue) = self.queues.get_mut(number) {
            queue.next = queue.next.wrapping_add(read as u32);
            // Said before anything is touched.
            if let Some(rings) = queue.rings() {
                rings.set_begun(queue.next);
            }
        }
        self.device.counters.commands.fetch_add(read as u64, std::sync::atomic::Ordering::Relaxed);
    }

    /// A completion is due at a time, or when faults will have it.
    fn complete_at(
        &mut self,
        at: u64,
        (queue, command): (u8, Command),
        outcome: Outcome,
        frame: Option<(Mbuf, Receipt)>,
    ) {
        let mut due = Due { at, queue, command, outcome, frame, twice: false, late: false };
        if let Some(late) = self.dice.strikes(Fault::Late) {
            self.device.counters.struck(Fault::Late);
            (due.at, due.late) = (due.at.saturating_add(late), true);
        }
        if self.happens(Fault::OutOfOrder) {
            due.at = due.at.saturating_add(4 * self.latency());
        }
        if self.happens(Fault::Never) {
            due.at = u64::MAX;
        }
        due.twice = self.happens(Fault::Twice);
        if let Some(port) = &mut self.port {
            port.add(due);
        }
    }

    /// Frames that leave by now, and completions that are due; false when something has to wait for room.
    pub(super) fn move_frames(&mut self, now: u64) -> bool {
        if self.port.is_none() {
            return true;
        }
        let left = self.let_leave(now);
        self.complete_frames(now) & left
    }

    fn complete_frames(&mut self, now: u64) -> bool {
        let Self { port: Some(port), queues, device, .. } = self else { return true };
        let counters = &device.counters;
        while let Some(mut due) = port.due.pop_front() {
            if due.at > now {
                port.due.push_front(due);
                return true;
            }
            let number = usize::from(due.queue);
            let Some(queue) = queues.get_mut(number) else { continue };
            let count = if due.twice { 2 } else { 1 };
            if !queue.can_complete(number, &device.registers, count) {
                port.due.push_front(due);
                return false;
            }
            if let Some((frame, receipt)) = due.frame.take() {
                let is_written = queue.write(&device.iommu, &due.command, false, 0, frame.data()).is_ok();
                if is_written {
                    let place = due.command.sequence as usize;
                    queue.write_receipt(place, receipt.to_words());
                } else {
                    due.outcome = Outcome::MemoryFault;
                }
                counters.frame(if is_written { Frames::Delivered } else { Frames::RxLost });
            }
            if due.outcome == Outcome::MemoryFault {
                let faults = device.registers.peek(registers::MEMORY_FAULTS);
                device.registers.poke(registers::MEMORY_FAULTS, faults + 1);
            }
            (0..count).for_each(|_| queue.complete(&due.command, due.outcome));
            counters.completions.fetch_add(u64::from(count), std::sync::atomic::Ordering::Relaxed);
        }
        true
    }
}
