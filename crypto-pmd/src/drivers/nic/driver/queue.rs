//! A queue pair over the card's rings: jobs become commands, completions become finished jobs, in the order in which they were taken.
//!
//! Invariants: a job is in the window from submit to poll, and its packet is not looked at while the card may have it; the card is told of
//! commands only after they are whole; every job that was taken leaves once.

use std::sync::Arc;

use pipeline::Mbuf;

use crate::device::{QueuePair, QueuePairConfig};
use crate::drivers::nic::bus::command::{Command, Completion, Extent, Kind, Outcome};
use crate::drivers::nic::bus::iommu::{Mapped, cells};
use crate::drivers::nic::bus::registers::Role;
use crate::drivers::nic::bus::ring::{MAX_PIECES, Rings};
use crate::drivers::sessions::View;
use crate::drivers::software::{Bench, deliver, run_job};
use crate::job::{Job, JobBurst, Operation, Status};
use crate::key_op::Unblock;

use super::channel::Channel;
use super::keeper::{CardSession, Shared};
use super::state::Health;
use super::window::Window;

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) channel: Channel,
    sessions: View<CardSession>,
    pub(super) window: Window,
    depth: usize,
    bench: Bench,
    pub(super) is_leaving: bool,
}

impl Queue {
    /// `None` when the card has no queue pair left, or the system no memory.
    pub(super) fn new(shared: &Arc<Shared>, config: &QueuePairConfig) -> Option<Self> {
        let channel = Channel::new(shared, Role::Crypt)?;
        let places = channel.layout.depth();
        Some(Self {
            sessions: shared.sessions.view(),
            window: Window::new(places),
            depth: config.depth.clamp(1, places),
            bench: Bench::new(),
            is_leaving: false,
            channel,
        })
    }

    /// Writes the commands of the first `count` jobs; a bit for each that is in some way out of the ordinary, and has none yet.
    #[inline]
    fn write_plain(&mut self, jobs: &[Job], first: u32) -> u64 {
        let Self { sessions, channel: Channel { shared, place, layout, mapped, phase, .. }, .. } = self;
        let Some(rings) = Rings::over(cells(&place.words), *layout) else { return u64::MAX };
        let profile = &shared.profile;
        let (longest, mask) = (profile.max_packet, profile.alignment as u64 - 1);
        let (mut others, mut last) = (0, None);
        for (at, job) in jobs.iter().enumerate() {
            let session = job.session();
            let handle = match last {
                Some((id, handle)) if id == session => handle,
                _ => {
                    let Some(found) = sessions.find(session) else {
                        others |= 1 << at;
                        continue;
                    };
                    last = Some((session, found.handle));
                    found.handle
                }
            };
            let source = job.source();
            let len = source.packet_len();
            let is_plain = profile.in_place
                && !source.is_chained()
                && job.is_in_place()
                && job.extension().is_none()
                && len <= longest;
            let address = if is_plain { address_of(mapped, shared, source.data()) } else { None };
            match address.filter(|address| address & mask == 0) {
                Some(address) => {
                    let number = first.wrapping_add(at as u32);
                    let source = Extent { address, len: len as u32, pieces: 1 };
                    let command = command_of(job, handle, number, phase.epoch, source, Extent::default());
                    rings.write_command(number, command.to_words());
                }
                None => others |= 1 << at,
            }
        }
        others
    }

    /// A job in the window for which there is no command yet.
    #[cold]
    fn write_other(&mut self, number: u32) {
        let written = match self.handle_of(number) {
            Some(handle) => self.write(number, handle),
            None => false,
        };
        if !written {
            // The card is to see nothing in its place.
            if let Some(rings) = self.channel.rings() {
                rings.write_command(number, [0; 8]);
            }
            self.channel.place.counters.by_host.add(1);
            self.do_here(number);
        }
    }

    /// Does a job as the software driver does.
    pub(super) fn do_here(&mut self, number: u32) {
        let Self { window, sessions, bench, .. } = self;
        let Some(job) = window.job_mut(number) else { return };
        let status = match sessions.find(job.session()) {
            Some(session) => run_job(&session.chain, job, bench),
            None => Status::UnknownSession,
        };
        drop(window.take_copy(number));
        window.finish(number, status);
    }

    /// Writes the command of a job in the window, with a copy of its packet where the card needs one; false when it is nothing for the card.
    pub(super) fn write(&mut self, number: u32, handle: u32) -> bool {
        let profile = &self.channel.shared.profile;
        let (in_place, alignment, segments) = (profile.in_place, profile.alignment, profile.segments);
        let Some(job) = self.window.job(number) else { return false };
        let len = job.source().packet_len();
        let fits = job.extension().is_none() && len <= profile.max_packet && len > 0;
        if !fits {
            return false;
        }
        let mut mapped = self.channel.mapped;
        let mut find = |bytes: &[u8]| -> Option<u64> {
            if mapped.address_of(bytes).is_none() {
                mapped = self.channel.shared.bus.iommu().find(bytes)?;
            }
            mapped.address_of(bytes).filter(|address| *address as usize & (alignment - 1) == 0)
        };
        let rings = Rings::over(cells(&self.channel.place.words), self.channel.layout);
        let Some(rings) = rings else { return false };
        let place = self.channel.index(number);
        let mut extent = |packet: &Mbuf, destination: bool| -> Option<Extent> {
            let count = packet.segment_count();
            if count > segments.min(MAX_PIECES) {
                return None;
            }
            if count == 1 {
                return Some(Extent { address: find(packet.data())?, len: len as u32, pieces: 1 });
            }
            for (piece, bytes) in packet.segments().enumerate() {
                rings.write_piece(place, destination, piece, (find(bytes)?, bytes.len() as u32));
            }
            Some(Extent { address: 0, len: len as u32, pieces: count as u8 })
        };
        // Where the card may not or cannot reach the packet, it works on a copy.
        let direct = extent(job.source(), false);
        let elsewhere = !job.is_in_place();
        let (source, destination, copy) = match direct {
            Some(source) if in_place && !elsewhere => (source, Extent::default(), None),
            Some(source) => {
                // The result goes to a packet of the driver's own first, so that nothing is changed before it is there.
                let Some(copy) = self.empty_copy(len) else { return false };
                let Some(to) = extent(&copy, true) else { return false };
                (source, to, Some(copy))
            }
            None => {
                let Some(mut copy) = self.empty_copy(len) else { return false };
                if !job.source().copy_out(0, copy.data_mut()) {
                    return false;
                }
                let Some(source) = extent(&copy, false) else { return false };
                (source, Extent::default(), Some(copy))
            }
        };
        let command = command_of(job, handle, number, self.channel.phase.epoch, source, destination);
        rings.write_command(number, command.to_words());
        if let Some(copy) = copy {
            self.channel.place.counters.copied.add(1);
            self.window.set_copy(number, copy);
        }
        true
    }

    /// A packet of the driver's own of so many bytes.
    fn empty_copy(&self, len: usize) -> Option<Mbuf> {
        let mut copy = self.channel.shared.copies.alloc()?;
        copy.append(len)?;
        Some(copy)
    }

    /// Reads what the card has completed.
    #[inline]
    pub(super) fn read_completions(&mut self) {
        let epoch = self.channel.phase.epoch as u8;
        while let Some(word) = self.channel.next_completion() {
            let Some(completion) = Completion::from_word(word).filter(|one| one.epoch == epoch) else {
                self.channel.place.counters.stale.add(1);
                continue;
            };
            let Completion { outcome, sequence, .. } = completion;
            if !(outcome == Outcome::Done && self.window.done(sequence)) {
                self.complete_other(sequence, outcome);
            }
        }
        self.channel.tell_read();
    }

    #[cold]
    fn complete_other(&mut self, number: u32, outcome: Outcome) {
        let counters = &self.channel.place.counters;
        if !self.window.is_issued(number) {
            // Twice, or from before a reset: it belongs to nothing.
            return counters.stale.add(1);
        }
        match outcome {
            Outcome::Done => {
                let copy = self.window.take_copy(number);
                let (Some(job), Some(copy)) = (self.window.job_mut(number), copy) else { return };
                let status = deliver(job, copy.data());
                self.window.finish(number, status);
            }
            Outcome::IntegrityFailed if !self.channel.shared.profile.doubtful_tags => {
                self.window.finish(number, Status::IntegrityFailed);
            }
            Outcome::IntegrityFailed => {
                self.do_here(number);
                let is_right = self.window.job(number).is_some_and(|job| job.status() == Status::Done);
                self.channel.place.counters.tags_mended.add(u64::from(is_right));
            }
            // Nothing was written: the driver finds out what is wrong, if anything is.
            Outcome::BadRange
            | Outcome::NoSession
            | Outcome::BadCommand
            | Outcome::MemoryFault
            | Outcome::LinkDown => {
                counters.refused.add(1);
                self.do_here(number);
            }
        }
    }

    /// Session of a job in the window, as the card knows it.
    pub(super) fn handle_of(&self, number: u32) -> Option<u32> {
        let job = self.window.job(number)?;
        self.sessions.find(job.session()).map(|session| session.handle)
    }
}

/// The bus address of bytes, looked up anew where they lie in another window than the last.
#[inline(always)]
fn address_of(mapped: &mut Mapped, shared: &Shared, bytes: &[u8]) -> Option<u64> {
    match mapped.address_of(bytes) {
        Some(address) => Some(address),
        None => address_elsewhere(mapped, shared, bytes),
    }
}

#[cold]
fn address_elsewhere(mapped: &mut Mapped, shared: &Shared, bytes: &[u8]) -> Option<u64> {
    *mapped = shared.bus.iommu().find(bytes)?;
    mapped.address_of(bytes)
}

#[inline(always)]
fn command_of(
    job: &Job,
    session: u32,
    sequence: u32,
    epoch: u64,
    source: Extent,
    destination: Extent,
) -> Command {
    let (cipher, integrity) = (job.cipher_range(), job.integrity_range());
    let esn_high = job.esn_high();
    Command {
        kind: Kind::Crypt,
        decrypt: job.operation() == Operation::Decrypt,
        has_esn: esn_high.is_some(),
        epoch: epoch as u8,
        sequence,
        session,
        esn_high: esn_high.unwrap_or(0),
        source,
        destination,
        cipher: (cipher.0 as u16, cipher.1 as u32),
        integrity: (integrity.0 as u16, integrity.1 as u32),
        iv: job.iv_offset() as u16,
        tag: job.tag_offset() as u32,
        link_len: 0,
        service: 0,
    }
}

impl QueuePair for Queue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.sessions.refresh();
        if !self.is_ready() || self.is_leaving {
            return 0;
        }
        let room = self.depth.saturating_sub(self.window.len());
        let count = self.window.room(room.min(jobs.len()));
        let first = self.window.tail;
        let others = self.write_plain(jobs.as_slice().get(..count).unwrap_or_default(), first);
        self.window.add(jobs, count);
        if others != 0 {
            let bits = (0..count as u32).filter(|bit| others >> bit & 1 == 1);
            bits.for_each(|bit| self.write_other(first.wrapping_add(bit)));
        }
        // A card takes so many at once.
        let mut rung = 0;
        while rung < count {
            rung = count.min(rung + self.channel.shared.profile.burst);
            self.channel.ring_doorbell(first.wrapping_add(rung as u32));
        }
        self.channel.place.counters.submitted.add(count as u64);
        count
    }

    fn poll(&mut self, done: &mut JobBurst) -> usize {
        self.sessions.refresh();
        if self.window.len() == 0 {
            self.channel.is_moving();
            // So that a card that was reset, or is back, is told so.
            self.is_ready();
            return 0;
        }
        let (inside, before) = (self.window.len(), self.window.head);
        if self.is_ready() {
            self.read_completions();
        }
        let released = self.window.release(done);
        self.channel.place.counters.finished.add(released as u64);
        self.channel.place.counters.polls.add(1);
        self.channel.place.counters.depth_sum.add(inside as u64);
        if self.window.head == before {
            self.channel.watch(self.window.tail);
        } else {
            self.channel.has_worked();
        }
        released
    }

    fn set_unblock(&mut self, unblock: Unblock) {
        self.channel.shared.set_unblock(self.channel.place.number, unblock);
    }

    fn is_blocked(&self) -> bool {
        self.channel.phase.health != Health::Working || self.channel.shared.shift.now() != self.channel.phase
    }

    fn leave(&mut self) {
        self.is_leaving = true;
    }

    fn offline(&mut self) {
        self.sessions.offline();
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let jobs = self.window.take_all();
        self.channel.shared.return_queue(self.channel.place.number, jobs);
    }
}
