//! The worker's end: takes bursts of jobs, has its own dispatcher do them, sends the results back. Knows no order.

use std::sync::atomic::Ordering;

use pipeline::MAX_BURST;
use pipeline::lcore::{Ended, Task, Turn};

use crate::dispatcher::{Dispatcher, DispatcherCounters};
use crate::job::JobBurst;

use super::Lane;

/// Empty bursts that a worker keeps beyond those that it needs; the rest goes back to the owner.
const KEPT: usize = 2;

/// Turns without any movement, after the owner has gone, before a worker gives up on what it holds.
const PATIENCE: u32 = 1 << 20;

/// One worker, for one owner.
#[derive(Debug)]
pub struct Worker {
    lane: Lane,
    dispatcher: Dispatcher,
    /// Jobs that the dispatcher has not taken yet.
    jobs: JobBurst,
    /// Results that were not sent yet.
    done: JobBurst,
    /// Empty bursts: enough to send all that is here, in full ones.
    spares: Vec<JobBurst>,
    jobs_done: u64,
    quiet: u32,
}

impl Worker {
    pub(super) fn new(lane: Lane, dispatcher: Dispatcher) -> Self {
        let mut spares = Vec::with_capacity(2 * lane.to.capacity() + KEPT);
        spares.extend((0..KEPT).map(|_| JobBurst::new()));
        Self {
            lane,
            dispatcher,
            jobs: JobBurst::new(),
            done: JobBurst::new(),
            spares,
            jobs_done: 0,
            quiet: 0,
        }
    }

    /// Does what there is to do; returns how many jobs came and how many were sent back.
    #[inline]
    pub fn work(&mut self) -> usize {
        let came = self.receive();
        if !self.jobs.is_empty() {
            self.dispatcher.submit(&mut self.jobs);
        }
        self.dispatcher.poll(&mut self.done);
        came + self.send()
    }

    #[inline]
    fn receive(&mut self) -> usize {
        if !self.jobs.is_empty() {
            return 0;
        }
        let Some(burst) = self.lane.to.pop() else { return 0 };
        let emptied = std::mem::replace(&mut self.jobs, burst);
        self.spares.push(emptied);
        self.jobs.len()
    }

    /// Sends results back, unless empty bursts are short for what else is here: then results gather, until
    /// their burst is full or nothing else is here.
    #[inline]
    fn send(&mut self) -> usize {
        let count = self.done.len();
        let rest = self.held() - count;
        if count == 0 || self.spares.len() <= rest.div_ceil(MAX_BURST) {
            return 0;
        }
        let Some(fresh) = self.spares.pop() else { return 0 };
        if let Err(burst) = self.lane.back.push(std::mem::replace(&mut self.done, fresh)) {
            self.spares.push(std::mem::replace(&mut self.done, burst));
            return 0;
        }
        self.jobs_done += count as u64;
        self.give_back(rest.div_ceil(MAX_BURST) + KEPT);
        count
    }

    /// Gives empty bursts back beyond `needed`.
    #[inline]
    fn give_back(&mut self, needed: usize) {
        while self.spares.len() > needed
            && let Some(spare) = self.spares.pop()
        {
            if let Err(spare) = self.lane.empties.push(spare) {
                return self.spares.push(spare);
            }
        }
    }

    /// Jobs here: taken from the owner and not sent back.
    #[inline]
    #[must_use]
    pub fn held(&self) -> usize {
        self.jobs.len() + self.dispatcher.in_flight() + self.done.len()
    }

    /// Jobs done and sent back so far.
    #[must_use]
    pub fn jobs_done(&self) -> u64 {
        self.jobs_done
    }

    /// What its dispatcher did besides handing jobs on.
    #[must_use]
    pub fn counters(&self) -> DispatcherCounters {
        self.dispatcher.counters()
    }
}

/// Also when a driver panics: those who give jobs are to know.
impl Drop for Worker {
    fn drop(&mut self) {
        self.lane.gone.store(true, Ordering::Release);
    }
}

impl Task for Worker {
    /// The owner opens the rings.
    fn open(&mut self) {
        self.quiet = 0;
    }

    #[inline]
    fn turn(&mut self) -> Turn {
        if self.work() > 0 {
            self.quiet = 0;
            return Turn::Busy;
        }
        if self.held() > 0 {
            self.dispatcher.flush();
            self.quiet += u32::from(self.lane.to.is_finished() && !self.dispatcher.is_elsewhere());
            return if self.quiet > PATIENCE { Turn::Finished(Ended::Stuck) } else { Turn::Stalled };
        }
        if self.lane.to.is_finished() { Turn::Finished(Ended::Drained) } else { Turn::Idle }
    }

    fn offline(&mut self) {
        self.dispatcher.offline();
    }
}
