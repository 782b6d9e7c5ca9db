//! How many jobs a driver is to have at once: enough to hide how long each takes, and no more.
//!
//! An engine that takes a job in every so often and gives it back a latency later is busy when it has as many as fall into that latency; what
//! exceeds them only waits in its queue. The driver has said what a job takes in an idle engine. So one job at a time is followed: when
//! it was back sooner than a quarter above that, nothing waited in front of it, and more may be in flight, if more wanted to; when it took half
//! as long again, it had waited, and fewer will do.
//!
//! A job is only seen to be back when somebody polls. It counts as slow when it was not back at a poll that came late enough, so that a
//! core that polls seldom is not taken for an engine that is slow: between polls it takes more jobs to keep an engine busy.

use pipeline::clock::Tick;

/// Jobs at the start, where the queue is that deep.
const START: usize = 16;

/// One part in so many is what may be in flight changed by.
const PART: usize = 8;

#[derive(Debug)]
pub(super) struct Pace {
    latency: Tick,
    least: usize,
    most: usize,
    now: usize,
    /// The job that is followed: back when so many are, and given out then.
    followed: Option<(u64, Tick)>,
    /// When it was looked last whether it is back.
    last_poll: Tick,
    /// More jobs wanted to go since the last change.
    is_short: bool,
}

impl Pace {
    pub(super) fn new(latency: Tick, batch: usize, depth: usize) -> Self {
        let most = depth.max(1);
        // A batch must fit, or it never goes.
        let least = batch.clamp(1, most);
        let now = START.clamp(least, most);
        Self { latency, least, most, now, followed: None, last_poll: 0, is_short: false }
    }

    /// Jobs that may go, when so many are in flight.
    pub(super) fn room(&self, in_flight: usize) -> usize {
        self.now.saturating_sub(in_flight)
    }

    /// More jobs wanted to go than might.
    pub(super) fn was_short(&mut self) {
        self.is_short = true;
    }

    /// Jobs were given out, behind `before` in all.
    pub(super) fn issued(&mut self, before: u64, now: impl FnOnce() -> Tick) {
        if self.followed.is_none() {
            let now = now();
            self.followed = Some((before + 1, now));
            self.last_poll = now;
        }
    }

    /// It was looked what is back: `returned` in all.
    pub(super) fn polled(&mut self, returned: u64, now: Tick) {
        let Some((number, start)) = self.followed else { return };
        if returned < number {
            self.last_poll = now;
            return;
        }
        let at_least = self.last_poll.saturating_sub(start);
        let step = (self.now / PART).max(1);
        if at_least > self.latency + self.latency / 2 {
            self.now = self.now.saturating_sub(step).max(self.least);
        } else if self.is_short && at_least <= self.latency + self.latency / 4 {
            self.now = (self.now + step).min(self.most);
        }
        (self.followed, self.is_short) = (None, false);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Takes a job in each `interval` at most, and gives it back `latency` later, in virtual time.
    struct Engine {
        interval: Tick,
        latency: Tick,
        free_at: Tick,
        ends: VecDeque<Tick>,
        idle: Tick,
    }

    impl Engine {
        fn take(&mut self, now: Tick) {
            self.idle += now.saturating_sub(self.free_at);
            let start = self.free_at.max(now);
            self.free_at = start + self.interval;
            self.ends.push_back(start + self.latency);
        }
    }

    /// What an engine was given by a core that always has jobs and polls every `poll` ticks: its idle time in parts of a thousand, and the
    /// least and the most jobs in flight, all in the second half of the run.
    fn run(interval: Tick, latency: Tick, poll: Tick, depth: usize) -> (u64, usize, usize) {
        let mut pace = Pace::new(latency, 1, depth);
        let mut engine = Engine { interval, latency, free_at: 0, ends: VecDeque::new(), idle: 0 };
        let (mut issued, mut returned, mut seen) = (0, 0, (usize::MAX, 0));
        let rounds = 4_000 * latency.max(poll) / poll;
        let mut idle = 0;
        for round in 0..rounds {
            let now = round * poll;
            let back = engine.ends.iter().take_while(|end| **end <= now).count();
            engine.ends.drain(..back);
            returned += back as u64;
            pace.polled(returned, now);
            pace.was_short();
            let room = pace.room((issued - returned) as usize);
            if room > 0 {
                pace.issued(issued, || now);
            }
            (0..room).for_each(|_| engine.take(now));
            issued += room as u64;
            let in_flight = (issued - returned) as usize;
            if round == rounds / 2 {
                idle = engine.idle;
            }
            if round >= rounds / 2 {
                seen = (seen.0.min(in_flight), seen.1.max(in_flight));
            }
        }
        ((engine.idle - idle) * 1000 / (rounds / 2 * poll), seen.0, seen.1)
    }

    #[test]
    fn an_engine_is_kept_busy_with_little_more_than_its_latency_holds() {
        for (interval, latency) in [(10, 1000), (10, 100), (100, 1000), (7, 3000), (50, 5000)] {
            let hides = (latency / interval) as usize;
            let (idle, least, most) = run(interval, latency, 10, 4096);
            assert_eq!(idle, 0, "interval {interval}, latency {latency}");
            assert!(least >= hides, "{least} of {hides}, interval {interval}, latency {latency}");
            assert!(most <= hides * 7 / 4 + 2, "{most} for {hides}, interval {interval}, latency {latency}");
        }
    }

    #[test]
    fn an_engine_that_does_one_job_after_the_other_has_no_queue() {
        // One is being done, one is there when it ends, and no more than one waits behind.
        let (idle, _, most) = run(1000, 1000, 10, 4096);
        assert!(idle < 12 && most <= 3, "idle {idle}, most {most}");
    }

    #[test]
    fn a_core_that_polls_seldom_gives_an_engine_enough_for_the_time_in_between() {
        let (idle, least, most) = run(10, 100, 1000, 4096);
        assert!(idle < 200, "{idle}");
        assert!(least >= 80 && most <= 260, "{least} to {most}");
    }

    #[test]
    fn there_are_never_more_than_the_queue_holds_and_never_fewer_than_a_batch() {
        assert_eq!(run(1, 100_000, 100, 64).2, 64);
        let mut pace = Pace::new(1, 32, 64);
        for job in 1..100 {
            pace.issued(job - 1, || job * 1000);
            pace.polled(job - 1, job * 1000 + 500);
            pace.polled(job, job * 1000 + 501);
        }
        assert_eq!(pace.room(0), 32);
    }

    #[test]
    fn where_nothing_more_wants_to_go_nothing_is_changed() {
        let mut pace = Pace::new(100, 1, 64);
        (1..100).for_each(|job| {
            pace.issued(job - 1, || job);
            pace.polled(job, job);
        });
        assert_eq!(pace.room(0), START);
    }
}
