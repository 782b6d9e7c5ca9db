//! How long jobs stay: from the submit that offered them first until the poll that gave them back.
//!
//! Invariant: the clock is read once for a burst that is offered and once for a poll that finished something; a time is recorded once
//! for each run of jobs that were offered together. Nothing here allocates once it is made.

use crypto_pmd::job::JobBurst;
use hdrhistogram::Histogram;
use pipeline::latency::Latency;
use pipeline::{Clock, Tick};

use crate::failure::Failure;

use super::rounds::Observer;

/// When each job was offered, and a histogram of what became of it.
#[derive(Debug)]
pub(super) struct Stopwatch {
    clock: Clock,
    /// By the jobs' cookies.
    offered: Vec<Tick>,
    latency: Latency,
}

impl Stopwatch {
    /// For jobs with cookies below `jobs`.
    ///
    /// # Errors
    /// None that is known of.
    pub(super) fn new(clock: &Clock, jobs: usize) -> Result<Self, Failure> {
        let latency = Latency::new(clock.clone()).map_err(Failure::bad_result)?;
        Ok(Self { clock: clock.clone(), offered: vec![0; jobs], latency })
    }

    /// What was recorded, in nanoseconds.
    pub(super) fn histogram(&self) -> &Histogram<u64> {
        self.latency.histogram()
    }
}

impl Observer for Stopwatch {
    #[inline]
    fn offered(&mut self, jobs: &JobBurst) {
        let now = self.clock.tick();
        for job in jobs.iter() {
            if let Some(offered) = self.offered.get_mut(job.cookie() as usize) {
                *offered = now;
            }
        }
    }

    #[inline]
    fn polled(&mut self, done: &JobBurst, before: usize) {
        if done.len() == before {
            return;
        }
        let now = self.clock.tick();
        let (mut since, mut count) = (now, 0);
        for job in done.iter().skip(before) {
            let offered = self.offered.get(job.cookie() as usize).copied().unwrap_or(now);
            if offered != since && count > 0 {
                self.latency.record(since, now, count);
                count = 0;
            }
            since = offered;
            count += 1;
        }
        self.latency.record(since, now, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto_pmd::drivers::Null;
    use crypto_pmd::{Job, Operation, Placement, Registry, SessionParams};
    use pipeline::{Pool, PoolConfig};

    fn burst(cookies: &[u64]) -> JobBurst {
        let pool = Pool::new(PoolConfig { buffers: cookies.len(), ..PoolConfig::default() }).unwrap();
        let registry = Registry::new();
        registry.attach(Null::new()).unwrap();
        let session = registry.open(SessionParams::default(), Placement::Any).unwrap();
        let mut jobs = JobBurst::new();
        for &cookie in cookies {
            let job = Job::new(pool.alloc().unwrap(), session, Operation::Encrypt).with_cookie(cookie);
            jobs.push(job).unwrap();
        }
        jobs
    }

    #[test]
    fn every_finished_job_is_recorded_once_with_the_time_since_its_own_offer() {
        let clock = Clock::new();
        let mut watch = Stopwatch::new(&clock, 8).unwrap();
        let long_ago = clock.tick().saturating_sub(clock.ticks(3_000_000_000));
        watch.offered(&burst(&[0, 1, 2, 3, 4]));
        // Two of another burst, offered three seconds before.
        watch.offered[5] = long_ago;
        watch.offered[6] = long_ago;
        watch.polled(&burst(&[7, 0, 5, 6, 1, 2]), 1);
        let histogram = watch.histogram();
        assert_eq!(histogram.len(), 5);
        assert_eq!(histogram.count_between(2_900_000_000, 60_000_000_000), 2);
    }

    #[test]
    fn a_poll_that_finished_nothing_records_nothing() {
        let mut watch = Stopwatch::new(&Clock::new(), 2).unwrap();
        let jobs = burst(&[0, 1]);
        watch.offered(&jobs);
        watch.polled(&jobs, 2);
        assert!(watch.histogram().is_empty());
    }
}
