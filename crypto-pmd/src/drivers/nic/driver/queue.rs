//! A queue pair over the card's rings: jobs become commands, completions become finished jobs, in the order in which they were taken.
//!
//! Invariants: a job is in the window from submit to poll, and its packet is not looked at while the card may have it; the card is told of
//! commands only after they are whole; every job that was taken leaves once.

use pipeline::Mbuf;
use pipeline::clock::Tick;
use std::sync::Arc;

use crate::device::{QueuePair, QueuePairConfig};
use crate::drivers::nic::bus::command::{Command, Completion, Extent, Kind, Outcome};
use crate::drivers::nic::bus::iommu::{Mapped, cells};
use crate::drivers::nic::bus::registers::OfQueue as QueueRegister;
use crate::drivers::nic::bus::ring::{Layout, MAX_PIECES, Rings};
use crate::drivers::sessions::View;
use crate::drivers::software::{Bench, deliver, run_job};
use crate::job::{Job, JobBurst, Operation, Status};
use crate::key_op::Unblock;

use super::keeper::{CardSession, Place, Shared};
use super::state::{Health, Phase};
use super::window::Window;

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) shared: Arc<Shared>,
    sessions: View<CardSession>,
    pub(super) place: Place,
    pub(super) layout: Layout,
    pub(super) window: Window,
    depth: usize,
    burst: usize,
    /// Completions that were read, and how many the card was told of.
    pub(super) read: u32,
    read_told: u32,
    bells: u32,
    /// What this queue pair goes by.
    pub(super) phase: Phase,
    /// The card has rings of this phase.
    pub(super) is_enabled: bool,
    /// The card had rings that were not looked through since.
    pub(super) had_rings: bool,
    mapped: Mapped,
    bench: Bench,
    /// Since when nothing came back.
    pub(super) quiet_since: Option<Tick>,
    pub(super) was_nudged: bool,
    pub(super) quarter: Tick,
    pub(super) watchdog: Tick,
    pub(super) patience: Tick,
    /// Since when jobs wait for a card that is gone.
    pub(super) parked_at: Option<Tick>,
    pub(super) is_leaving: bool,
}

impl Queue {
    /// `None` when the card has no queue pair left, or the system no memory.
    pub(super) fn new(shared: Arc<Shared>, config: &QueuePairConfig) -> Option<Self> {
        let place = shared.take_queue()?;
        let layout = Layout::new(shared.profile.ring_depth);
        let (clock, ticks) = (&shared.clock, |time: std::time::Duration| time.as_nanos() as u64);
        let watchdog = clock.ticks(ticks(shared.config.watchdog));
        let mut queue = Self {
            sessions: shared.sessions.view(),
            window: Window::new(layout.depth()),
            depth: config.depth.clamp(1, layout.depth()),
            burst: shared.profile.burst,
            layout,
            read: 0,
            read_told: 0,
            bells: 0,
            phase: shared.shift.now(),
            is_enabled: false,
            had_rings: false,
            mapped: Mapped::default(),
            bench: Bench::new(),
            quiet_since: None,
            was_nudged: false,
            quarter: watchdog / 4,
            watchdog,
            patience: clock.ticks(ticks(shared.config.patience)),
            parked_at: None,
            is_leaving: false,
            place,
            shared,
        };
        if queue.phase.health == Health::Working {
            queue.enable();
        }
        Some(queue)
    }

    pub(super) fn rings(&self) -> Option<Rings<'_>> {
        Rings::over(cells(&self.place.words), self.layout)
    }

    /// Gives the card clean rings, with what is still to be done of the window.
    pub(super) fn enable(&mut self) -> bool {
        if let Some(rings) = self.rings() {
            rings.clear(self.window.head);
        }
        (self.read, self.read_told) = (0, 0);
        self.is_enabled = self.shared.enable(&self.place, self.window.head);
        self.had_rings |= self.is_enabled;
        self.is_enabled
    }

    /// Tells the card of the commands before this number.
    pub(super) fn ring_doorbell(&mut self, tail: u32) {
        self.bells = self.bells.wrapping_add(1);
        let value = u64::from(tail) | u64::from(self.bells) << 32;
        self.shared.bus.write(QueueRegister::Tail.of(self.place.number), value);
        self.place.counters.doorbells.add(1);
    }

    /// Writes the commands of the first `count` jobs; a bit for each that is in some way out of the ordinary, and has none yet.
    #[inline]
    fn write_plain(&mut self, jobs: &[Job], first: u32) -> u64 {
        let Self { sessions, shared, place, layout, mapped, phase, .. } = self;
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
            if let Some(rings) = self.rings() {
                rings.write_command(number, [0; 8]);
            }
            self.place.counters.by_host.add(1);
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
        let profile = &self.shared.profile;
        let (in_place, alignment, segments) = (profile.in_place, profile.alignment, profile.segments);
        let Some(job) = self.window.job(number) else { return false };
        let len = job.source().packet_len();
        let fits = job.extension().is_none() && len <= profile.max_packet && len > 0;
        if !fits {
            return false;
        }
        let mut mapped = self.mapped;
        let mut find = |bytes: &[u8]| -> Option<u64> {
            if mapped.address_of(bytes).is_none() {
                mapped = self.shared.bus.iommu().find(bytes)?;
            }
            mapped.address_of(bytes).filter(|address| *address as usize & (alignment - 1) == 0)
        };
        let rings = Rings::over(cells(&self.place.words), self.layout);
        let Some(rings) = rings else { return false };
        let place = number as usize & (self.layout.depth() - 1);
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
        let command = command_of(job, handle, number, self.phase.epoch, source, destination);
        rings.write_command(number, command.to_words());
        if let Some(copy) = copy {
            self.place.counters.copied.add(1);
            self.window.set_copy(number, copy);
        }
        true
    }

    /// A packet of the driver's own of so many bytes.
    fn empty_copy(&self, len: usize) -> Option<Mbuf> {
        let mut copy = self.shared.copies.alloc()?;
        copy.append(len)?;
        Some(copy)
    }

    /// Reads what the card has completed; how many words that were.
    #[inline]
    pub(super) fn read_completions(&mut self) -> usize {
        let before = self.read;
        let epoch = self.phase.epoch as u8;
        while let Some(word) = self.rings().and_then(|rings| rings.completion(self.read)) {
            self.read = self.read.wrapping_add(1);
            let Some(completion) = Completion::from_word(word).filter(|one| one.epoch == epoch) else {
                self.place.counters.stale.add(1);
                continue;
            };
            let Completion { outcome, sequence, .. } = completion;
            if !(outcome == Outcome::Done && self.window.done(sequence)) {
                self.complete_other(sequence, outcome);
            }
        }
        let told = self.read.wrapping_sub(self.read_told) as usize;
        if told >= self.layout.depth() / 2 {
            self.read_told = self.read;
            self.shared.bus.write(QueueRegister::Read.of(self.place.number), self.read.into());
        }
        self.read.wrapping_sub(before) as usize
    }

    #[cold]
    fn complete_other(&mut self, number: u32, outcome: Outcome) {
        let counters = &self.place.counters;
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
            Outcome::IntegrityFailed if !self.shared.profile.doubtful_tags => {
                self.window.finish(number, Status::IntegrityFailed);
            }
            Outcome::IntegrityFailed => {
                self.do_here(number);
                let is_right = self.window.job(number).is_some_and(|job| job.status() == Status::Done);
                self.place.counters.tags_mended.add(u64::from(is_right));
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
            rung = count.min(rung + self.burst);
            self.ring_doorbell(first.wrapping_add(rung as u32));
        }
        self.place.counters.submitted.add(count as u64);
        count
    }

    fn poll(&mut self, done: &mut JobBurst) -> usize {
        self.sessions.refresh();
        if self.window.len() == 0 {
            self.quiet_since = None;
            // So that a card that was reset, or is back, is told so.
            self.is_ready();
            return 0;
        }
        let (inside, before) = (self.window.len(), self.window.head);
        if self.is_ready() {
            self.read_completions();
        }
        let released = self.window.release(done);
        self.place.counters.finished.add(released as u64);
        self.place.counters.polls.add(1);
        self.place.counters.depth_sum.add(inside as u64);
        if self.window.head == before {
            self.watch();
        } else {
            self.is_moving();
        }
        released
    }

    fn set_unblock(&mut self, unblock: Unblock) {
        self.shared.set_unblock(self.place.number, unblock);
    }

    fn is_blocked(&self) -> bool {
        self.phase.health != Health::Working || self.shared.shift.now() != self.phase
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
        self.shared.return_queue(self.place.number, jobs);
    }
}
