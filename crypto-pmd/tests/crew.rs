//! A crew: whatever its workers and drivers do, jobs come out once, in the order in which they were submitted, or late and said
//! to be so.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use std::collections::VecDeque;

use crypto_pmd::crew::{CrewConfig, Crypto, Owner, Worker, crew};
use crypto_pmd::device::{Driver, OpenError, QueuePair};
use crypto_pmd::job::JobBurst;
use crypto_pmd::{
    Capabilities, Job, Operation, Placement, QueuePairConfig, Registry, SessionId, SessionParams, Status,
};
use pipeline::lcore::{Ended, Task, Turn};
use pipeline::{Clock, MAX_BURST, Pool, PoolConfig};
use proptest::prelude::*;

/// A driver that hands jobs back in pieces, the last first within a piece, every third one failed.
#[derive(Debug)]
struct Jumbled {
    piece: usize,
    depth: usize,
    capabilities: Capabilities,
}

#[derive(Debug)]
struct JumbledQueue {
    jobs: VecDeque<Job>,
    piece: usize,
    depth: usize,
}

impl Driver for Jumbled {
    fn name(&self) -> &str {
        "jumbled0"
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn open_session(&self, _id: SessionId, _params: &SessionParams) -> Result<(), OpenError> {
        Ok(())
    }
    fn close_session(&self, _id: SessionId) {}
    fn queue_pair(&self, _config: &QueuePairConfig) -> Box<dyn QueuePair> {
        Box::new(JumbledQueue { jobs: VecDeque::new(), piece: self.piece, depth: self.depth })
    }
}

impl QueuePair for JumbledQueue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        let before = self.jobs.len();
        self.jobs.extend(jobs.drain_front(self.depth - before));
        self.jobs.len() - before
    }
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        let count = self.piece.min(done.room()).min(self.jobs.len());
        for mut job in self.jobs.drain(..count).rev() {
            job.set_status(status_of(job.cookie()));
            done.push(job).unwrap();
        }
        count
    }
}

fn status_of(cookie: u64) -> Status {
    if cookie.is_multiple_of(3) { Status::IntegrityFailed } else { Status::Done }
}

struct Rig {
    owner: Owner,
    workers: Vec<Worker>,
    session: SessionId,
    pool: Pool,
    made: u64,
    jobs: JobBurst,
    came: Vec<(u64, Status)>,
}

impl Rig {
    fn new(workers: usize, piece: usize, depth: usize, config: CrewConfig) -> Self {
        let registry = Registry::new();
        registry.attach(Jumbled { piece, depth, capabilities: Capabilities::default() }).unwrap();
        let dispatcher = |_| registry.dispatcher(&QueuePairConfig::default()).unwrap();
        let theirs = (0..workers).map(dispatcher).collect();
        let (owner, workers) = crew(dispatcher(0), theirs, config, &Clock::new());
        let session = registry.open(SessionParams::default(), Placement::Any).unwrap();
        let pool = Pool::new(PoolConfig { buffers: 8192, stride: 512 }).unwrap();
        Self { owner, workers, session, pool, made: 0, jobs: JobBurst::new(), came: Vec::new() }
    }

    fn submit(&mut self, count: usize) -> usize {
        for _ in 0..count.min(self.jobs.room()) {
            let job = Job::new(self.pool.alloc().unwrap(), self.session, Operation::Encrypt);
            self.jobs.push(job.with_cookie(self.made)).unwrap();
            self.made += 1;
        }
        self.owner.submit(&mut self.jobs)
    }

    fn poll(&mut self) {
        let mut done = JobBurst::new();
        let count = self.owner.poll(&mut done);
        assert_eq!(count, done.len());
        self.came.extend(done.iter().map(|job| (job.cookie(), job.status())));
    }

    /// Jobs that were taken and did not come out.
    fn out(&self) -> usize {
        self.made as usize - self.jobs.len() - self.came.len()
    }
}

proptest! {
    #[test]
    fn jobs_come_out_once_and_in_order_whatever_drivers_and_workers_do(
        workers in 0_usize..4, piece in 1_usize..70, depth in 1_usize..100, bursts in 1_usize..5, window in 1_usize..300,
        steps in proptest::collection::vec((0_usize..8, 0_usize..70), 1..300),
    ) {
        let mut rig = Rig::new(workers, piece, depth, CrewConfig { window, bursts, ..CrewConfig::default() });
        for (who, count) in steps {
            match who {
                0 | 1 => { rig.submit(count); }
                2 | 3 => rig.poll(),
                worker => if let Some(worker) = rig.workers.get_mut(worker - 4) { worker.work(); },
            }
            prop_assert_eq!(rig.owner.in_flight(), rig.out());
        }
        for _ in 0..20_000 {
            if rig.jobs.is_empty() && rig.out() == 0 {
                break;
            }
            rig.submit(0);
            rig.workers.iter_mut().for_each(|worker| { worker.work(); });
            rig.poll();
        }
        prop_assert_eq!(rig.out() + rig.jobs.len(), 0, "all came out");
        prop_assert!(rig.came.iter().copied().eq((0..rig.made).map(|cookie| (cookie, status_of(cookie)))));
        prop_assert!(rig.workers.iter().all(|worker| worker.held() == 0));
    }
}

#[test]
fn a_full_window_takes_nothing_and_leaves_the_jobs_as_they_were() {
    let mut rig = Rig::new(1, 64, 64, CrewConfig { window: 64, bursts: 9, ..CrewConfig::default() });
    assert_eq!(rig.submit(64), 64);
    assert_eq!((rig.submit(10), rig.jobs.len()), (0, 10));
    assert!(rig.jobs.iter().all(|job| job.status() == Status::Pending));
    rig.workers[0].work();
    rig.poll();
    assert_eq!((rig.came.len(), rig.submit(0)), (64, 10));
}

#[test]
fn the_owner_takes_a_share_when_its_worker_has_enough() {
    let mut rig = Rig::new(1, 64, 64, CrewConfig { bursts: 2, ..CrewConfig::default() });
    (0..3).for_each(|_| assert_eq!(rig.submit(32), 32));
    let share = rig.owner.share();
    assert_eq!((share.given, share.own), (64, 32));
    rig.poll();
    assert!(rig.came.is_empty(), "the owner's own burst waits for the two before it");
    assert_eq!(rig.owner.waiting_in_order(), 32);
    (0..2).for_each(|_| assert!(rig.workers[0].work() > 0));
    rig.poll();
    assert!(rig.came.iter().map(|(cookie, _)| *cookie).eq(0..64), "a burst out has room for so many");
    rig.poll();
    assert_eq!(rig.came.len(), 96);
}

#[test]
fn what_a_worker_does_not_bring_back_in_time_is_passed_over_and_late_when_it_comes() {
    let mut rig = Rig::new(1, 64, 64, CrewConfig { bursts: 1, deadline_ns: 1, ..CrewConfig::default() });
    assert_eq!((rig.submit(4), rig.submit(4)), (4, 4));
    assert_eq!(rig.owner.share().own, 4);
    // The deadline is counted in the owner's own polls, so this ends whatever the clock does.
    for _ in 0..1_000_000 {
        rig.poll();
        if !rig.came.is_empty() {
            break;
        }
    }
    assert!(rig.came.iter().map(|(cookie, _)| *cookie).eq(4..8), "{:?}", rig.came);
    assert_eq!((rig.owner.missing(), rig.owner.in_flight(), rig.owner.is_elsewhere()), (4, 4, false));
    rig.workers[0].work();
    (0..2).for_each(|_| rig.poll());
    assert!(rig.came.iter().skip(4).all(|&(cookie, status)| cookie < 4 && status == Status::Late));
    assert_eq!((rig.came.len(), rig.owner.missing(), rig.owner.in_flight()), (8, 0, 0));
    assert_eq!(rig.submit(MAX_BURST), MAX_BURST, "and everything goes on");
}

#[test]
fn jobs_that_never_come_back_are_not_waited_for_even_when_nothing_stands_behind_them() {
    let config = CrewConfig { window: 64, bursts: 9, deadline_ns: 1 };
    let mut rig = Rig::new(1, 64, 64, config);
    assert_eq!(rig.submit(64), 64, "the whole window");
    for _ in 0..1_000_000 {
        rig.poll();
        if !rig.owner.is_elsewhere() {
            break;
        }
    }
    assert_eq!((rig.owner.is_elsewhere(), rig.owner.missing(), rig.owner.in_flight()), (false, 64, 64));
    assert_eq!(rig.submit(10), 10, "the window is free again");
    (0..2).for_each(|_| assert!(rig.workers[0].work() > 0));
    (0..3).for_each(|_| rig.poll());
    let late = rig.came.iter().filter(|(_, status)| *status == Status::Late).count();
    assert_eq!((late, rig.came.len(), rig.owner.missing(), rig.owner.in_flight()), (64, 74, 0, 0));
}

#[test]
fn a_worker_whose_driver_loses_jobs_ends_after_its_owner_has() {
    // Pieces of none: what is submitted never comes out.
    let mut rig = Rig::new(1, 0, 64, CrewConfig { deadline_ns: 1, ..CrewConfig::default() });
    rig.owner.open();
    rig.workers[0].open();
    assert_eq!(rig.submit(4), 4);
    assert_eq!(rig.workers[0].turn(), Turn::Busy);
    for _ in 0..2_000_000 {
        assert_eq!(rig.workers[0].turn(), Turn::Stalled, "the owner may still want them");
    }
    rig.owner.close();
    let ends = (0..2_000_000).map(|_| rig.workers[0].turn()).find(|turn| *turn != Turn::Stalled);
    assert_eq!(ends, Some(Turn::Finished(Ended::Stuck)));
    assert_eq!(rig.workers[0].held(), 4);
}
