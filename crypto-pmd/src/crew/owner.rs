//! The owner's end: places, shares, order, deadlines.

use pipeline::clock::Tick;
use pipeline::reorder::Reorder;
use pipeline::{Clock, MAX_BURST};

use crate::dispatcher::{Dispatcher, DispatcherCounters};
use crate::job::{Job, JobBurst, Status};

use super::{CrewConfig, Crypto, Lane};

/// A gap between two polls counts as one part in so many of the deadline, at most: when the whole machine was stopped for a
/// while, its workers could do nothing either.
const GAPS: u64 = 64;

/// The core that keeps the order, with its share of the work.
#[derive(Debug)]
pub struct Owner {
    own: Dispatcher,
    lanes: Vec<Worked>,
    window: Reorder<Job>,
    /// Results on their way into the window; empty, and here, between calls.
    results: Option<JobBurst>,
    /// Empty bursts.
    spares: Vec<JobBurst>,
    /// Jobs that came back too late and were not handed out yet.
    late: JobBurst,
    /// Jobs submitted and not handed out.
    in_flight: usize,
    /// Bursts that a worker is given before the owner takes a share.
    bursts: usize,
    share: Share,
    patience: Patience,
    /// Since when nothing has come back although jobs are out.
    silent_since: Option<Tick>,
    open: bool,
}

/// A worker as its owner sees it.
#[derive(Debug)]
struct Worked {
    lane: Lane,
    /// Jobs with it.
    jobs: usize,
}

/// Who did how many jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Jobs that the owner's dispatcher took.
    pub own: u64,
    /// Jobs that workers were given.
    pub given: u64,
    /// Jobs that came back too late.
    pub late: u64,
}

/// Time as far as deadlines go.
#[derive(Debug)]
struct Patience {
    clock: Clock,
    last: Tick,
    age: Tick,
    deadline: Tick,
}

impl Patience {
    /// Ticks in which this core ran, more or less.
    fn age(&mut self) -> Tick {
        let now = self.clock.tick();
        self.age += now.saturating_sub(self.last).min(self.deadline / GAPS);
        self.last = now;
        self.age
    }
}

impl Owner {
    pub(super) fn new(own: Dispatcher, lanes: Vec<Lane>, config: CrewConfig, clock: Clock) -> Self {
        let bursts = config.bursts.max(1);
        let most = lanes.iter().map(|lane| lane.empties.capacity()).sum::<usize>() + 2;
        let mut spares = Vec::with_capacity(most);
        spares.extend((0..lanes.len() * bursts + 1).map(|_| JobBurst::new()));
        let patience = Patience {
            deadline: clock.ticks(config.deadline_ns).max(GAPS),
            last: clock.tick(),
            clock,
            age: 0,
        };
        Self {
            own,
            lanes: lanes.into_iter().map(|lane| Worked { lane, jobs: 0 }).collect(),
            window: Reorder::with_capacity(config.window.max(MAX_BURST)),
            results: Some(JobBurst::new()),
            spares,
            late: JobBurst::new(),
            in_flight: 0,
            bursts,
            share: Share::default(),
            patience,
            silent_since: None,
            open: false,
        }
    }

    /// Who did how many jobs so far.
    #[must_use]
    pub fn share(&self) -> Share {
        self.share
    }

    /// Finished jobs that wait for earlier ones.
    #[must_use]
    pub fn waiting_in_order(&self) -> usize {
        self.window.held()
    }

    /// The worker with the least to do, if it may be given more.
    #[inline]
    fn lane_with_room(&mut self, jobs: usize) -> Option<usize> {
        let (number, worked) = self.lanes.iter().enumerate().min_by_key(|(_, worked)| worked.jobs)?;
        let enough = self.bursts * jobs.max(1);
        let room = worked.jobs < enough && !self.spares.is_empty();
        room.then_some(number)
    }

    /// Gives the whole burst to a worker.
    #[inline]
    fn give(&mut self, number: usize, jobs: &mut JobBurst) -> usize {
        let (Some(worked), Some(empty)) = (self.lanes.get_mut(number), self.spares.pop()) else { return 0 };
        let count = jobs.len();
        match worked.lane.to.push(std::mem::replace(jobs, empty)) {
            Ok(()) => {
                worked.jobs += count;
                self.share.given += count as u64;
                count
            }
            Err(back) => {
                self.spares.push(std::mem::replace(jobs, back));
                0
            }
        }
    }

    /// Puts what workers sent back into the window.
    #[inline]
    fn collect(&mut self, done: &mut JobBurst) -> usize {
        let mut now = None;
        let mut finished = 0;
        for number in 0..self.lanes.len() {
            while self.late.room() == MAX_BURST
                && let Some(mut burst) = self.lanes.get(number).and_then(|worked| worked.lane.back.pop())
            {
                if let Some(worked) = self.lanes.get_mut(number) {
                    worked.jobs -= burst.len().min(worked.jobs);
                }
                finished += self.settle(&mut burst, done, &mut now);
                self.keep(burst);
            }
            self.fetch_empties(number);
        }
        finished
    }

    #[inline]
    fn keep(&mut self, burst: JobBurst) {
        if self.spares.len() < self.spares.capacity() {
            self.spares.push(burst);
        }
    }

    #[inline]
    fn fetch_empties(&mut self, number: usize) {
        if self.spares.is_empty()
            && let Some(empty) = self.lanes.get(number).and_then(|worked| worked.lane.empties.pop())
        {
            self.spares.push(empty);
        }
    }

    /// Results take their places; the next in order goes straight on.
    #[inline]
    fn settle(&mut self, results: &mut JobBurst, done: &mut JobBurst, now: &mut Option<Tick>) -> usize {
        let mut finished = 0;
        for job in results.drain() {
            let place = job.order();
            if done.room() > 0 && self.window.is_next(place) {
                self.window.pass();
                finished += 1;
                // Room was seen to above.
                drop(done.push(job));
            } else {
                let now = *now.get_or_insert_with(|| self.patience.age());
                if let Err(mut job) = self.window.put(place, job, now) {
                    job.set_status(Status::Late);
                    self.share.late += 1;
                    // No more come than the burst brought, and it was empty.
                    drop(self.late.push(job));
                }
            }
        }
        finished
    }

    /// Hands out what is next in order.
    #[inline]
    fn release(&mut self, done: &mut JobBurst) -> usize {
        let mut finished = 0;
        while done.room() > 0
            && self.window.held() > 0
            && let Some(job) = self.window.take()
        {
            finished += 1;
            // Room was seen to above.
            drop(done.push(job));
        }
        finished
    }
}

impl Owner {
    /// Jobs that are out with nothing behind them: when the deadline passes in silence, none of them is waited for any more.
    #[cold]
    fn wait_for_rest(&mut self) {
        let age = self.patience.age();
        let since = *self.silent_since.get_or_insert(age);
        if age.saturating_sub(since) >= self.patience.deadline {
            self.window.give_up_rest();
            self.silent_since = None;
        }
    }
}

impl Crypto for Owner {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        let offered = jobs.len();
        if offered == 0 || self.window.room() < offered {
            return 0;
        }
        for job in jobs.iter_mut() {
            job.set_order(self.window.reserve());
        }
        let mut taken = 0;
        if let Some(number) = self.lane_with_room(offered) {
            taken = self.give(number, jobs);
        }
        if taken == 0 {
            taken = self.own.submit(jobs);
            self.share.own += taken as u64;
        }
        self.window.unreserve(offered - taken);
        self.in_flight += taken;
        taken
    }

    fn poll(&mut self, done: &mut JobBurst) -> usize {
        let mut finished = done.take_from(&mut self.late);
        finished += self.release(done);
        finished += self.collect(done);
        if self.late.is_empty()
            && let Some(mut results) = self.results.take()
        {
            self.own.poll(&mut results);
            finished += self.settle(&mut results, done, &mut None);
            self.results = Some(results);
        }
        finished += self.release(done);
        if self.window.held() > 0 {
            let age = self.patience.age();
            if self.window.expire(age, self.patience.deadline) > 0 {
                finished += self.release(done);
            }
        }
        if finished > 0 {
            self.silent_since = None;
        } else if self.window.held() == 0 && self.window.outstanding() > 0 {
            self.wait_for_rest();
        }
        self.in_flight -= finished.min(self.in_flight);
        finished
    }

    fn flush(&mut self) {
        self.own.flush();
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn missing(&self) -> u64 {
        self.window.given_up() - (self.share.late - self.late.len() as u64)
    }

    /// Not for those that were given up: a worker that never brings them back must not keep its owner for ever.
    fn is_elsewhere(&self) -> bool {
        self.window.outstanding() > 0 || self.own.is_elsewhere()
    }

    fn counters(&self) -> DispatcherCounters {
        self.own.counters()
    }

    fn offline(&mut self) {
        self.own.offline();
    }

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
