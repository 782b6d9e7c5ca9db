//! A queue pair over the card's rings: jobs become commands, completions become finished jobs, in the order in which they were taken.
//!
//! Invariants: a job is in the window from submit to poll, and its packet is not looked at while the card may have it; the card is told of
//! commands only after they are whole; every job that was taken leaves once.

use pipeline::clock::Tick;
use pipeline::{MAX_BURST, Mbuf};
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
use super::window::{Mark, Window};

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

    pub(super) fn ring_doorbell(&mut self) {
        self.bells = self.bells.wrapping_add(1);
        let value = u64::from(self.window.tail) | u64::from(self.bells) << 32;
        self.shared.bus.write(QueueRegister::Tail.of(self.place.number), value);
        self.place.counters.doorbells.add(1);
    }

    /// The bus address of bytes, looked up anew where they lie in another window than the last.
    #[inline(always)]
    fn address_of(&mut self, bytes: &[u8]) -> Option<u64> {
        match self.mapped.address_of(bytes) {
            Some(address) => Some(address),
            None => self.address_elsewhere(bytes),
        }
    }

    #[cold]
    fn address_elsewhere(&mut self, bytes: &[u8]) -> Option<u64> {
        let mapped = self.shared.bus.iommu().find(bytes)?;
        self.mapped = mapped;
        mapped.address_of(bytes)
    }

    /// Takes one job.
    #[inline(always)]
    fn take(&mut self, job: Job) {
        let number = self.window.tail;
        let Some(handle) = self.sessions.find(job.session()).map(|session| session.handle) else {
            self.window.add(job, Mark::Issued);
            return self.window.finish(number, Status::UnknownSession);
        };
        let source = job.source();
        let is_plain = !source.is_chained()
            && job.is_in_place()
            && job.extension().is_none()
            && self.shared.profile.in_place
            && source.packet_len() <= self.shared.profile.max_packet;
        let address = if is_plain { self.address_of(job.source().data()) } else { None };
        match address.filter(|address| address & (self.shared.profile.alignment as u64 - 1) == 0) {
            Some(address) => {
                let source = Extent { address, len: job.source().packet_len() as u32, pieces: 1 };
                let command = command_of(&job, handle, number, self.phase.epoch, source, Extent::default());
                if let Some(rings) = Rings::over(cells(&self.place.words), self.layout) {
                    rings.write_command(number, command.to_words());
                }
                self.window.add(job, Mark::Issued);
            }
            None => self.take_other(job, handle),
        }
    }

    /// A job that is in some way out of the ordinary.
    #[cold]
    fn take_other(&mut self, job: Job, handle: u32) {
        let number = self.window.tail;
        self.window.add(job, Mark::Issued);
        if !self.write(number, handle) {
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
        let (source, destination, copy, result_in_copy) = match direct {
            Some(source) if in_place && !elsewhere => (source, Extent::default(), None, false),
            Some(source) => {
                // The result goes to a packet of the driver's own first, so that nothing is changed before it is there.
                let Some(copy) = self.empty_copy(len) else { return false };
                let Some(to) = extent(&copy, true) else { return false };
                (source, to, Some(copy), true)
            }
            None => {
                let Some(mut copy) = self.empty_copy(len) else { return false };
                if !job.source().copy_out(0, copy.data_mut()) {
                    return false;
                }
                let Some(source) = extent(&copy, false) else { return false };
                (source, Extent::default(), Some(copy), true)
            }
        };
        let command = command_of(job, handle, number, self.phase.epoch, source, destination);
        rings.write_command(number, command.to_words());
        if let Some(copy) = copy {
            self.place.counters.copied.add(1);
            self.window.set_copy(number, copy, result_in_copy);
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
        loop {
            let number = self.read;
            let Some(word) = self.rings().and_then(|rings| rings.completion(number)) else { break };
            self.read = number.wrapping_add(1);
            self.complete(word);
        }
        let told = self.read.wrapping_sub(self.read_told) as usize;
        if told >= self.layout.depth() / 2 {
            self.read_told = self.read;
            self.shared.bus.write(QueueRegister::Read.of(self.place.number), self.read.into());
        }
        self.read.wrapping_sub(before) as usize
    }

    #[inline(always)]
    fn complete(&mut self, word: u64) {
        let completion = Completion::from_word(word).filter(|completion| {
            completion.epoch == self.phase.epoch as u8
                && self.window.holds(completion.sequence)
                && self.window.mark(completion.sequence) == Mark::Issued
        });
        let Some(Completion { outcome, sequence, .. }) = completion else {
            // Twice, or from before a reset: it belongs to nothing.
            return self.place.counters.stale.add(1);
        };
        if outcome == Outcome::Done && self.window.copy(sequence).is_none() {
            return self.window.finish(sequence, Status::Done);
        }
        self.complete_other(sequence, outcome);
    }

    #[cold]
    fn complete_other(&mut self, number: u32, outcome: Outcome) {
        let counters = &self.place.counters;
        match outcome {
            Outcome::Done => {
                let copy = self.window.take_copy(number);
                let (Some(job), Some((copy, _))) = (self.window.job_mut(number), copy) else { return };
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

    /// Hands finished jobs out, in their order, while there is room.
    #[inline]
    fn release(&mut self, done: &mut JobBurst) -> usize {
        let before = done.len();
        while done.room() > 0
            && self.window.len() > 0
            && let Some(job) = self.window.release()
        {
            done.push_with(|| job);
        }
        let released = done.len() - before;
        self.place.counters.finished.add(released as u64);
        released
    }

    /// Session of a job in the window, as the card knows it.
    pub(super) fn handle_of(&self, number: u32) -> Option<u32> {
        let job = self.window.job(number)?;
        self.sessions.find(job.session()).map(|session| session.handle)
    }
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
        let count = room.min(jobs.len()).min(MAX_BURST);
        let mut left = self.burst;
        for job in jobs.drain_front(count) {
            self.take(job);
            left -= 1;
            if left == 0 {
                self.ring_doorbell();
                left = self.burst;
            }
        }
        if left < self.burst {
            self.ring_doorbell();
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
        let released = self.release(done);
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
