//! The timed loop: rounds of bursts over jobs that are ready and are used again.
//!
//! Invariant: nothing here allocates, and a job is never built, copied or looked at; bursts change hands by pointer. So
//! what a round costs is what submit and poll cost, and a few cycles for each burst, which [`Empty`] shows alone.

use crypto_pmd::Dispatcher;
use crypto_pmd::job::JobBurst;

/// Turns without any progress after which a driver has lost a job: seconds of polling.
const TURNS: u32 = 1 << 28;

/// A driver takes or finishes nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stuck;

/// Counts turns without progress.
#[derive(Debug)]
pub(super) struct Patience(u32);

impl Patience {
    pub(super) fn new() -> Self {
        Self(TURNS)
    }

    /// A turn that moved so many jobs.
    #[inline(always)]
    pub(super) fn look(&mut self, moved: usize) -> Result<(), Stuck> {
        if moved > 0 {
            self.0 = TURNS;
            return Ok(());
        }
        self.0 = self.0.checked_sub(1).ok_or(Stuck)?;
        Ok(())
    }
}

/// What jobs go through.
pub(super) trait Engine {
    /// Takes jobs from `jobs` as far as it can, adds finished ones to `done`, and says how many moved.
    fn turn(&mut self, jobs: &mut JobBurst, done: &mut JobBurst) -> usize;

    /// Jobs taken and not finished.
    fn in_flight(&self) -> usize;
}

impl Engine for Dispatcher {
    #[inline(always)]
    fn turn(&mut self, jobs: &mut JobBurst, done: &mut JobBurst) -> usize {
        self.submit(jobs) + self.poll(done)
    }
    #[inline(always)]
    fn in_flight(&self) -> usize {
        Dispatcher::in_flight(self)
    }
}

/// No submit and no poll: what the loop itself costs.
#[derive(Debug)]
pub(super) struct Empty;

impl Engine for Empty {
    #[inline(always)]
    fn turn(&mut self, jobs: &mut JobBurst, done: &mut JobBurst) -> usize {
        done.take_from(jobs)
    }
    #[inline(always)]
    fn in_flight(&self) -> usize {
        0
    }
}

/// Who is told of the jobs' coming and going.
pub(super) trait Observer {
    /// These are offered, for the first time.
    fn offered(&mut self, jobs: &JobBurst);

    /// A turn is over; those behind the first `before` of `done` finished in it.
    fn polled(&mut self, done: &JobBurst, before: usize);
}

/// Nobody.
#[derive(Debug)]
pub(super) struct Unobserved;

impl Observer for Unobserved {
    #[inline(always)]
    fn offered(&mut self, _: &JobBurst) {}
    #[inline(always)]
    fn polled(&mut self, _: &JobBurst, _: usize) {}
}

/// Jobs in bursts, all of the same length. After each round all are there again, in the order in which they finished.
#[derive(Debug)]
pub(super) struct Rack {
    bursts: Vec<JobBurst>,
    burst: usize,
    done: JobBurst,
    /// Jobs to submit where none are left.
    none: JobBurst,
    /// Place of the next finished job.
    filled: usize,
}

impl Rack {
    /// Takes bursts of `burst` jobs.
    pub(super) fn new(bursts: Vec<JobBurst>, burst: usize) -> Self {
        Self { bursts, burst, done: JobBurst::new(), none: JobBurst::new(), filled: 0 }
    }

    pub(super) fn bursts_mut(&mut self) -> &mut [JobBurst] {
        &mut self.bursts
    }

    /// Every job goes through `engine` once.
    ///
    /// # Errors
    /// The engine stopped working; jobs are missing then.
    #[inline(always)]
    pub(super) fn round(
        &mut self,
        engine: &mut impl Engine,
        observer: &mut impl Observer,
    ) -> Result<(), Stuck> {
        self.filled = 0;
        for index in 0..self.bursts.len() {
            let mut patience = Patience::new();
            if let Some(jobs) = self.bursts.get(index) {
                observer.offered(jobs);
            }
            while let Some(jobs) = self.bursts.get_mut(index) {
                let before = self.done.len();
                let moved = engine.turn(jobs, &mut self.done);
                observer.polled(&self.done, before);
                let taken = jobs.is_empty();
                self.put_back(index + usize::from(taken));
                if taken {
                    break;
                }
                patience.look(moved)?;
            }
        }
        let mut patience = Patience::new();
        while engine.in_flight() > 0 {
            let before = self.done.len();
            let moved = engine.turn(&mut self.none, &mut self.done);
            observer.polled(&self.done, before);
            self.put_back(self.bursts.len());
            patience.look(moved)?;
        }
        Ok(())
    }

    /// Fills the bursts in front of `end` with finished jobs, from the first on. Those that are filled have been taken, so
    /// they are empty. What stays for want of a burst is less than one.
    #[inline(always)]
    fn put_back(&mut self, end: usize) {
        while !self.done.is_empty() && self.filled < end {
            let Some(burst) = self.bursts.get_mut(self.filled) else { break };
            burst.take_some_from(&mut self.done, self.burst - burst.len());
            if burst.len() == self.burst {
                self.filled += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crypto_pmd::drivers::Null;
    use crypto_pmd::{Job, Operation, Placement, QueuePairConfig, Registry, SessionParams};
    use pipeline::{Pool, PoolConfig};

    /// Takes a few jobs at a time and finishes a few of those that it has, the youngest first.
    struct Slow {
        inside: VecDeque<Job>,
        takes: usize,
        finishes: usize,
        seen: Vec<u64>,
    }

    impl Engine for Slow {
        fn turn(&mut self, jobs: &mut JobBurst, done: &mut JobBurst) -> usize {
            let taken: Vec<_> = jobs.drain_front(self.takes).collect();
            let mut moved = taken.len();
            self.seen.extend(taken.iter().map(Job::cookie));
            self.inside.extend(taken);
            for _ in 0..self.finishes {
                let Some(job) = self.inside.pop_back() else { break };
                done.push(job).unwrap();
                moved += 1;
            }
            moved
        }
        fn in_flight(&self) -> usize {
            self.inside.len()
        }
    }

    /// Remembers the cookies of what it was told of.
    #[derive(Default)]
    struct Seen {
        offered: Vec<u64>,
        finished: Vec<u64>,
    }

    impl Observer for Seen {
        fn offered(&mut self, jobs: &JobBurst) {
            self.offered.extend(jobs.iter().map(Job::cookie));
        }
        fn polled(&mut self, done: &JobBurst, before: usize) {
            self.finished.extend(done.iter().skip(before).map(Job::cookie));
        }
    }

    fn rack(bursts: usize, burst: usize) -> Rack {
        let pool = Pool::new(PoolConfig { buffers: bursts * burst, ..PoolConfig::default() }).unwrap();
        let registry = Registry::new();
        registry.attach(Null::new()).unwrap();
        let session = registry.open(SessionParams::default(), Placement::Any).unwrap();
        let mut cookies = 0..;
        let make = |_| {
            let mut jobs = JobBurst::new();
            for _ in 0..burst {
                let job = Job::new(pool.alloc().unwrap(), session, Operation::Encrypt);
                jobs.push(job.with_cookie(cookies.next().unwrap())).unwrap();
            }
            jobs
        };
        Rack::new((0..bursts).map(make).collect(), burst)
    }

    fn cookies(rack: &mut Rack) -> Vec<u64> {
        let mut all: Vec<_> =
            rack.bursts_mut().iter().flat_map(|burst| burst.iter().map(Job::cookie)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn every_job_goes_through_once_a_round_and_is_back_in_a_whole_burst() {
        for (takes, finishes) in [(1, 1), (2, 5), (5, 2), (64, 64), (3, 1)] {
            let mut rack = rack(7, 5);
            for _ in 0..3 {
                let mut slow = Slow { inside: VecDeque::new(), takes, finishes, seen: Vec::new() };
                let mut seen = Seen::default();
                rack.round(&mut slow, &mut seen).unwrap();
                seen.offered.sort_unstable();
                seen.finished.sort_unstable();
                assert!(seen.offered.into_iter().eq(0..35) && seen.finished.into_iter().eq(0..35));
                slow.seen.sort_unstable();
                assert!(slow.seen.iter().copied().eq(0..35), "takes {takes}, finishes {finishes}");
                assert!(cookies(&mut rack).into_iter().eq(0..35));
                assert!(rack.bursts_mut().iter().all(|burst| burst.len() == 5));
            }
        }
    }

    #[test]
    fn the_empty_loop_and_the_null_driver_leave_the_jobs_in_order() {
        let registry = Registry::new();
        registry.attach(Null::new()).unwrap();
        let mut dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
        let mut rack = rack(4, 32);
        let order = |rack: &mut Rack| -> Vec<u64> {
            rack.bursts_mut().iter().flat_map(|burst| burst.iter().map(Job::cookie)).collect()
        };
        rack.round(&mut dispatcher, &mut Unobserved).unwrap();
        assert!(order(&mut rack).into_iter().eq(0..128));
        rack.round(&mut Empty, &mut Unobserved).unwrap();
        assert!(order(&mut rack).into_iter().eq(0..128));
    }

    #[test]
    fn patience_ends_and_begins_anew_with_progress() {
        let mut patience = Patience(2);
        assert_eq!((patience.look(0), patience.look(0), patience.look(0)), (Ok(()), Ok(()), Err(Stuck)));
        assert_eq!((patience.look(1), patience.0), (Ok(()), TURNS));
    }
}
