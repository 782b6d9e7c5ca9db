//! The other end of workers where nobody needs an order: results come as they are ready, and no job waits for another.
//!
//! A worker that has ended is offered nothing more. Bursts that it did not take come back as [`Status::Retry`]; what it had in hand went
//! with it, and is counted as missing.

use std::sync::atomic::Ordering;

use crate::job::{JobBurst, Status};

use super::{Crypto, Lane};

/// The core that gives bursts of jobs to workers and takes results in any order. It does none of them itself.
#[derive(Debug)]
pub struct Spreader {
    lanes: Vec<Worked>,
    /// The lane whose results are looked at first.
    next: usize,
    /// Results for which the last poll had no room.
    rest: JobBurst,
    /// Empty bursts.
    spares: Vec<JobBurst>,
    /// Bursts that a worker is given at most.
    bursts: usize,
    in_flight: usize,
    /// Jobs that went with their worker.
    missing: u64,
    open: bool,
}

/// A worker as seen from here.
#[derive(Debug)]
struct Worked {
    lane: Lane,
    /// Jobs with it.
    jobs: usize,
}

impl Worked {
    fn is_gone(&self) -> bool {
        self.lane.gone.load(Ordering::Acquire)
    }

    /// The next burst of results; of a worker that is gone, also what it did not take.
    fn next(&self, is_gone: bool) -> Option<JobBurst> {
        let untouched = || {
            let mut burst = self.lane.to.pop()?;
            burst.iter_mut().for_each(|job| job.set_status(Status::Retry));
            Some(burst)
        };
        self.lane.back.pop().or_else(|| is_gone.then(untouched).flatten())
    }
}

impl Spreader {
    pub(super) fn new(lanes: Vec<Lane>, bursts: usize) -> Self {
        let most = lanes.iter().map(|lane| lane.empties.capacity()).sum::<usize>() + 2;
        let mut spares = Vec::with_capacity(most);
        spares.extend((0..lanes.len() * bursts + 1).map(|_| JobBurst::new()));
        Self {
            lanes: lanes.into_iter().map(|lane| Worked { lane, jobs: 0 }).collect(),
            next: 0,
            rest: JobBurst::new(),
            spares,
            bursts,
            in_flight: 0,
            missing: 0,
            open: false,
        }
    }

    /// Takes results of one worker; returns how many.
    fn collect(&mut self, number: usize, done: &mut JobBurst) -> usize {
        let mut finished = 0;
        // Asked before its rings are looked at, so that none of its results is overlooked.
        let is_gone = self.lanes.get(number).is_some_and(Worked::is_gone);
        while self.rest.is_empty()
            && let Some(mut burst) = self.lanes.get(number).and_then(|worked| worked.next(is_gone))
        {
            if let Some(worked) = self.lanes.get_mut(number) {
                worked.jobs -= burst.len().min(worked.jobs);
            }
            finished += done.take_from(&mut burst);
            std::mem::swap(&mut self.rest, &mut burst);
            self.keep(burst);
        }
        if is_gone && self.rest.is_empty() {
            self.write_off(number);
        }
        if self.spares.is_empty()
            && let Some(empty) = self.lanes.get(number).and_then(|worked| worked.lane.empties.pop())
        {
            self.spares.push(empty);
        }
        finished
    }

    /// All that came back from a worker that is gone was taken.
    fn write_off(&mut self, number: usize) {
        let lost = self.lanes.get_mut(number).map_or(0, |worked| std::mem::take(&mut worked.jobs));
        self.in_flight -= lost.min(self.in_flight);
        self.missing += lost as u64;
    }

    fn keep(&mut self, burst: JobBurst) {
        if self.spares.len() < self.spares.capacity() {
            self.spares.push(burst);
        }
    }
}

impl Crypto for Spreader {
    /// All of them, or none when every worker has enough: then poll first.
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        let count = jobs.len();
        let there = self.lanes.iter_mut().filter(|worked| !worked.is_gone());
        let least = there.min_by_key(|worked| worked.jobs);
        let Some(worked) = least.filter(|worked| worked.jobs < self.bursts * count) else { return 0 };
        let Some(empty) = self.spares.pop() else { return 0 };
        match worked.lane.to.push(std::mem::replace(jobs, empty)) {
            Ok(()) => {
                worked.jobs += count;
                self.in_flight += count;
                count
            }
            Err(back) => {
                self.spares.push(std::mem::replace(jobs, back));
                0
            }
        }
    }

    fn poll(&mut self, done: &mut JobBurst) -> usize {
        if done.room() == 0 {
            // Nobody's turn was used.
            return 0;
        }
        let mut finished = done.take_from(&mut self.rest);
        let count = self.lanes.len();
        for turn in 0..count {
            finished += self.collect((self.next + turn) % count, done);
        }
        self.next = (self.next + 1) % count.max(1);
        self.in_flight -= finished.min(self.in_flight);
        finished
    }

    fn flush(&mut self) {}

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn missing(&self) -> u64 {
        self.missing
    }

    fn is_elsewhere(&self) -> bool {
        self.in_flight > 0
    }

    fn offline(&mut self) {}

    fn open(&mut self) {
        if !std::mem::replace(&mut self.open, true) {
            self.lanes.iter().for_each(|worked| worked.lane.to.open());
        }
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            self.lanes.iter().for_each(|worked| worked.lane.to.close());
        }
    }
}
