//! One driver as a dispatcher sees it: its queue pair, and the jobs that wait in front of it.
//!
//! Jobs wait for one of two reasons. The driver is out of something for a short while and has said so: it is blocked, gets nothing
//! more until it signals, and then gets what waits first. Or jobs that may be are held to fill a batch: they go when there are enough of
//! them, when the bound on their wait is over, when one comes that may not be held, or on a flush.
//!
//! Invariants: the driver is offered jobs in the order in which they came; no more than a burst waits; a blocked driver is offered
//! nothing.

use pipeline::Clock;
use pipeline::clock::Tick;

use super::pace::Pace;
use crate::device::{DriverId, QueuePair};
use crate::job::{Job, JobBurst};
use crate::key_op::Unblock;

/// How a driver wants to be given jobs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manners {
    /// Jobs that it likes to get at once; 0 and 1 for any number.
    pub(crate) batch: usize,
    /// True when jobs come back in the order in which they were taken.
    pub(crate) in_order: bool,
    /// Nanoseconds that a job takes in an idle engine, where just enough jobs are to be in flight.
    pub(crate) latency_ns: Option<u64>,
    /// Jobs that the queue pair holds at most.
    pub(crate) depth: usize,
    /// Packets of several segments are not taken.
    pub(crate) one_piece: bool,
    /// Whose lane it is.
    pub(crate) driver: Option<DriverId>,
}

/// The lane of one driver.
#[derive(Debug)]
pub(crate) struct Lane {
    manners: Manners,
    door: Door,
    waiting: JobBurst,
    /// Since when jobs are held for a batch.
    held_since: Option<Tick>,
    /// Jobs of the call under way; empty between calls.
    pub(super) batch: JobBurst,
    leaving: bool,
    /// Jobs in several segments that went to another driver for that.
    segmented: u64,
    /// The newest move away from here that was seen, and how many jobs had come by then.
    departure: (u64, u64),
}

/// The driver's queue pair, and whether it takes anything.
#[derive(Debug)]
struct Door {
    queue: Box<dyn QueuePair>,
    unblock: Unblock,
    /// What the driver had signalled before it refused.
    blocked_at: Option<u64>,
    /// Jobs that it took.
    issued: u64,
    /// Jobs that came back.
    returned: u64,
    /// How many it may have, where it has said how long a job takes.
    pace: Option<Box<Paced>>,
}

#[derive(Debug)]
struct Paced {
    pace: Pace,
    clock: Clock,
    /// What is offered of more; empty between calls.
    part: JobBurst,
}

impl Door {
    /// Offers jobs, and notes when the driver says that it is blocked.
    #[inline]
    fn offer(&mut self, jobs: &mut JobBurst) {
        // Read before the driver can refuse, so that no signal is missed.
        let signals = self.unblock.count();
        let before = jobs.len();
        let is_full = match self.pace.is_some() {
            true => self.submit_paced(jobs),
            false => {
                self.queue.submit(jobs);
                false
            }
        };
        self.issued += (before - jobs.len()) as u64;
        if !jobs.is_empty() && !is_full && self.queue.is_blocked() {
            self.blocked_at = Some(signals);
        }
    }

    /// Offers no more than may be in flight; whether that, and not the driver, was why jobs stayed.
    #[cold]
    fn submit_paced(&mut self, jobs: &mut JobBurst) -> bool {
        let in_flight = (self.issued - self.returned) as usize;
        let Some(Paced { pace, clock, part }) = self.pace.as_deref_mut() else { return false };
        let room = pace.room(in_flight).min(jobs.len());
        if room < jobs.len() {
            pace.was_short();
        }
        if room == 0 {
            return true;
        }
        part.take_some_from(jobs, room);
        let taken = self.queue.submit(part);
        if taken > 0 {
            pace.issued(self.issued, || clock.tick());
        }
        let is_full = part.is_empty();
        // What the driver left, in front of the rest.
        part.take_from(jobs);
        std::mem::swap(part, jobs);
        is_full
    }

    fn poll(&mut self, done: &mut JobBurst) -> usize {
        let finished = self.queue.poll(done);
        self.returned += finished as u64;
        if let Some(Paced { pace, clock, .. }) = self.pace.as_deref_mut() {
            pace.polled(self.returned, clock.tick());
        }
        finished
    }

    /// Whether as many jobs are in flight as may be.
    fn is_full(&self) -> bool {
        let in_flight = (self.issued - self.returned) as usize;
        self.pace.as_ref().is_some_and(|paced| paced.pace.room(in_flight) == 0)
    }

    /// Whether it is blocked and has not signalled since.
    fn is_blocked(&self) -> bool {
        self.blocked_at.is_some_and(|seen| seen == self.unblock.count())
    }
}

impl Lane {
    pub(crate) fn new(mut queue: Box<dyn QueuePair>, manners: Manners, clock: &Clock) -> Self {
        let unblock = Unblock::new();
        queue.set_unblock(unblock.clone());
        let paced = |latency_ns| {
            let pace = Pace::new(clock.ticks(latency_ns), manners.batch, manners.depth);
            Box::new(Paced { pace, clock: clock.clone(), part: JobBurst::new() })
        };
        let pace = manners.latency_ns.map(paced);
        Self {
            manners,
            door: Door { queue, unblock, blocked_at: None, issued: 0, returned: 0, pace },
            waiting: JobBurst::new(),
            held_since: None,
            batch: JobBurst::new(),
            leaving: false,
            segmented: 0,
            departure: (0, 0),
        }
    }

    /// Offers jobs and returns how many were taken, by the driver or to wait here.
    #[inline]
    pub(super) fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        let offered = jobs.len();
        if self.is_clear() {
            self.door.offer(jobs);
        }
        // Only in front of a driver that has said that it will signal.
        if !jobs.is_empty() && self.keeps() {
            self.waiting.take_from(jobs);
        }
        offered - jobs.len()
    }

    /// As above for the jobs in `batch`, of which some may be held.
    pub(super) fn submit_batch(&mut self, clock: &Clock) {
        if self.may_hold() {
            self.held_since.get_or_insert_with(|| clock.tick());
            self.waiting.take_from(&mut self.batch);
            return;
        }
        self.release();
        if self.is_clear() {
            self.door.offer(&mut self.batch);
        }
        if !self.batch.is_empty() && self.keeps() {
            self.waiting.take_from(&mut self.batch);
        }
    }

    /// Whether jobs that the driver does not take may wait here: behind others, or for its signal.
    fn keeps(&self) -> bool {
        !self.leaving && !self.is_clear()
    }

    /// Whether the jobs in `batch` may wait for more.
    fn may_hold(&self) -> bool {
        let together = self.waiting.len() + self.batch.len();
        together < self.manners.batch
            && self.batch.iter().all(Job::may_be_batched)
            && (self.waiting.is_empty() || self.held_since.is_some())
            && self.door.blocked_at.is_none()
            && !self.leaving
    }

    /// Offers what waits, when the driver is not blocked any more, and what is held, when its time is over.
    #[inline]
    pub(super) fn resume(&mut self, clock: &Clock, bound: Tick) {
        if self.waiting.is_empty() && self.door.blocked_at.is_none() {
            return;
        }
        let is_held = self.held_since.is_some_and(|since| clock.tick().saturating_sub(since) < bound);
        if !is_held {
            self.release();
        }
    }

    /// Offers what waits, unless the driver is blocked or goes.
    #[cold]
    fn release(&mut self) {
        if self.leaving || self.door.is_blocked() {
            return;
        }
        (self.door.blocked_at, self.held_since) = (None, None);
        if !self.waiting.is_empty() {
            self.door.offer(&mut self.waiting);
        }
    }

    /// Adds finished jobs to `done` and returns how many.
    #[inline]
    pub(super) fn poll(&mut self, done: &mut JobBurst) -> usize {
        self.door.poll(done)
    }

    /// Nothing is held for a batch any more.
    pub(super) fn flush(&mut self) {
        if self.held_since.is_some() {
            self.release();
        }
        self.door.queue.flush();
    }

    pub(super) fn offline(&mut self) {
        self.door.queue.offline();
    }

    /// The driver goes: what it has is to come back in its own time, and what waits is not offered to it any more.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        (self.door.blocked_at, self.held_since) = (None, None);
        self.door.queue.leave();
    }

    /// What waits, oldest first.
    pub(super) fn waiting(&self) -> &[Job] {
        self.waiting.as_slice()
    }

    /// Hands over what waits, oldest first: all, or the jobs with a place in the order.
    pub(super) fn hand_over(&mut self, all: bool, mut to: impl FnMut(Job)) {
        for _ in 0..self.waiting.len() {
            let Some(job) = self.waiting.drain_front(1).next() else { return };
            if all || job.is_ordered() {
                to(job);
            } else {
                // Behind the others, which come round too.
                drop(self.waiting.push(job));
            }
        }
    }

    /// Whether the driver has no job.
    pub(super) fn is_empty_handed(&self) -> bool {
        self.door.issued == self.door.returned
    }

    /// Whether the driver takes a packet as it lies in memory.
    pub(super) fn takes(&self, job: &Job) -> bool {
        !self.manners.one_piece || !job.is_in_pieces()
    }

    /// A job in several segments went by.
    pub(super) fn pass_over(&mut self) {
        self.segmented += 1;
    }

    /// Whose lane it is, and how many jobs went by because they came in several segments.
    pub(super) fn passed_over(&self) -> Option<(DriverId, u64)> {
        Some((self.manners.driver?, self.segmented))
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Jobs that the driver has, and that wait for it.
    #[inline(always)]
    pub(super) fn load(&self) -> usize {
        (self.door.issued - self.door.returned) as usize + self.waiting.len() + self.batch.len()
    }

    /// Whether the driver takes nothing now, as far as is known.
    pub(super) fn is_blocked(&self) -> bool {
        self.leaving || self.door.is_blocked() || self.door.is_full()
    }

    /// Whether the driver has said that it will signal, and has not yet.
    pub(super) fn awaits_signal(&self) -> bool {
        self.door.is_blocked()
    }

    /// The driver's signals go on to `outer` too.
    pub(super) fn pass_signals_on_to(&self, outer: &Unblock) {
        self.door.unblock.pass_on_to(outer);
    }

    /// Whether nothing keeps a job from going straight to the driver.
    #[inline(always)]
    pub(super) fn is_clear(&self) -> bool {
        self.waiting.is_empty() && self.door.blocked_at.is_none() && !self.leaving
    }

    /// Whether jobs may be held here: for a batch, or because enough are in flight.
    pub(super) fn holds(&self) -> bool {
        self.manners.batch > 1 || self.door.pace.is_some()
    }

    /// Whether jobs of a session that moved away, by the move of this number, may still be here: those that came before the move was seen
    /// first. A driver that changes the order must have given all of its jobs back.
    pub(super) fn may_have_jobs_from_before(&mut self, number: u64) -> bool {
        let came = self.door.issued + (self.waiting.len() + self.batch.len()) as u64;
        if number > self.departure.0 {
            self.departure = (number, came);
        }
        self.door.returned < if self.manners.in_order { self.departure.1 } else { came }
    }
}
