//! Pools of workers: the work is spread over pinned threads, in order where that is asked for, polled or called; and a pool stops
//! cleanly, whatever its drivers hold.

// A test program may panic: that is how it fails. Waiting is bounded by turns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::ThreadId;

use common::erratic::{Erratic, Gate, Temper, mark, marked};
use crossbeam_queue::ArrayQueue;
use crypto_pmd::completion::{Callback, CallbackPool, Mode, Order, Refused, WorkerPool, WorkerPoolConfig};
use crypto_pmd::crew::{CrewConfig, Crypto};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::lcore::{Idle, LcoreId};
use pipeline::{Pool, PoolConfig};

/// Far more than any of the waits here takes.
const TURNS: usize = 10_000_000;
const BUFFERS: usize = 2048;

struct Rig {
    registry: Registry,
    session: SessionId,
    gate: Gate,
    pool: Pool,
}

impl Rig {
    fn new(temper: Temper) -> Self {
        let (registry, session, gate) = Erratic::alone(temper);
        let pool = Pool::new(PoolConfig { buffers: BUFFERS, stride: 512 }).unwrap();
        Self { registry, session, gate, pool }
    }

    fn polled(&self, workers: usize, order: Order) -> WorkerPool {
        WorkerPool::start(&self.registry, &config(workers), order).unwrap()
    }

    fn called(&self, workers: usize) -> CallbackPool {
        CallbackPool::start(&self.registry, &config(workers)).unwrap()
    }

    fn burst(&self, cookies: std::ops::Range<u64>) -> JobBurst {
        let mut jobs = JobBurst::new();
        cookies.for_each(|cookie| jobs.push(marked(&self.pool, self.session, cookie)).unwrap());
        jobs
    }

    /// Buffers may come home on other threads, whose stacks count too.
    fn all_home(&self) -> bool {
        self.pool.available() == BUFFERS
    }
}

fn config(workers: usize) -> WorkerPoolConfig {
    WorkerPoolConfig { idle: Idle::SLEEP, ..WorkerPoolConfig::new(workers) }
}

/// Turns until something is so; false when it does not come to be.
fn wait(mut until: impl FnMut() -> bool) -> bool {
    (0..TURNS).any(|_| {
        let so = until();
        if !so {
            std::thread::yield_now();
        }
        so
    })
}

/// Submits so many jobs in bursts of `burst`, and polls them all; their cookies in the order in which they came.
fn run_through(rig: &Rig, workers: &mut WorkerPool, count: u64, burst: u64) -> Vec<u64> {
    let (mut jobs, mut done, mut came, mut next) = (JobBurst::new(), JobBurst::new(), Vec::new(), 0);
    let finished = wait(|| {
        if jobs.is_empty() && next < count {
            jobs = rig.burst(next..count.min(next + burst));
            next = count.min(next + burst);
        }
        workers.submit(&mut jobs);
        workers.poll(&mut done);
        came.extend(done.iter().map(mark));
        done.clear();
        came.len() as u64 == count
    });
    assert!(finished, "{} of {count} came", came.len());
    assert_eq!(workers.in_flight(), 0);
    came
}

#[test]
fn every_job_comes_back_once_from_workers_whose_drivers_block_and_jumble() {
    let rig = Rig::new(Temper::MOODY);
    let mut workers = rig.polled(3, Order::Any);
    for burst in [1, 7, 64] {
        let mut came = run_through(&rig, &mut workers, 3_000, burst);
        assert!(!came.is_sorted(), "nobody puts them in order");
        came.sort_unstable();
        assert!(came.into_iter().eq(0..3_000));
    }
    let stopped = workers.stop();
    assert_eq!((stopped.jobs.len(), stopped.dropped), (0, 0));
    assert!(rig.all_home());
}

#[test]
fn order_is_kept_over_workers_whose_drivers_finish_in_any_order() {
    let rig = Rig::new(Temper::MOODY);
    let mut workers = rig.polled(3, Order::Kept);
    for burst in [1, 7, 64] {
        assert!(run_through(&rig, &mut workers, 3_000, burst).into_iter().eq(0..3_000));
    }
    assert_eq!(workers.stop().dropped, 0);
    assert!(rig.all_home());
}

#[test]
fn a_pool_with_enough_to_do_takes_nothing_more_and_leaves_the_jobs_with_the_caller() {
    let rig = Rig::new(Temper::CALM);
    rig.gate.set_open(false);
    let mut workers = rig.polled(2, Order::Any);
    let mut next = 0;
    let mut jobs = JobBurst::new();
    let full = (0..100).any(|_| {
        jobs = rig.burst(next..next + 8);
        next += 8;
        workers.submit(&mut jobs) == 0
    });
    assert!(full && jobs.len() == 8);
    assert!(jobs.iter().all(|job| job.status() == Status::Pending));
    assert_eq!(workers.in_flight() as u64, next - 8);
    rig.gate.set_open(true);
    let stopped = workers.stop();
    let mut came: Vec<_> = stopped.jobs.iter().map(mark).collect();
    came.sort_unstable();
    assert!(came.into_iter().eq(0..next - 8), "stopping gives out what was inside");
    assert_eq!(stopped.dropped, 0);
    drop((jobs, stopped.jobs));
    assert!(rig.all_home());
}

#[test]
fn what_a_driver_never_gives_back_is_counted_when_its_pool_stops_and_the_buffers_come_home() {
    for order in [Order::Any, Order::Kept] {
        let rig = Rig::new(Temper::CALM);
        rig.gate.set_open(false);
        let mut workers = rig.polled(2, order);
        let mut jobs = rig.burst(0..20);
        assert_eq!(workers.submit(&mut jobs), 20);
        let stopped = workers.stop();
        assert_eq!((stopped.jobs.len(), stopped.dropped), (0, 20), "{order:?}");
        assert!(rig.all_home());
    }
}

#[test]
fn a_job_that_was_given_up_before_its_pool_stops_is_counted_once() {
    let rig = Rig::new(Temper::CALM);
    rig.gate.set_open(false);
    let mut config = config(2);
    config.crew.deadline_ns = 1;
    let mut workers = WorkerPool::start(&rig.registry, &config, Order::Kept).unwrap();
    assert_eq!(workers.submit(&mut rig.burst(0..20)), 20);
    assert!(wait(|| workers.poll(&mut JobBurst::new()) == 0 && workers.missing() == 20));
    assert_eq!(workers.stop().dropped, 20);
    assert!(rig.all_home());
}

#[test]
fn a_pool_may_be_dropped_in_the_middle_of_its_work() {
    for order in [Order::Any, Order::Kept] {
        let rig = Rig::new(Temper::MOODY);
        let mut workers = rig.polled(2, order);
        let (dropped, mut taken) = (workers.dropped(), 0);
        for burst in 0..5 {
            taken += workers.submit(&mut rig.burst(burst * 10..burst * 10 + 10)) as u64;
        }
        let mut done = JobBurst::new();
        let came = workers.poll(&mut done) as u64;
        drop(workers);
        assert_eq!(dropped.load(Ordering::Relaxed), taken - came, "{order:?}");
        drop(done);
        assert!(rig.all_home());
    }
}

/// The thread that each of so many jobs was called on, by the time all are there.
fn threads_of(
    rig: &Rig,
    workers: &CallbackPool,
    count: u64,
    note: impl Fn() + Send + Sync + 'static,
) -> Vec<ThreadId> {
    let threads = Arc::new(ArrayQueue::new(count as usize));
    let seen = Arc::clone(&threads);
    let callback = Callback::new(move |job, _| {
        mark(&job);
        note();
        seen.push(std::thread::current().id()).unwrap();
    });
    let (mut jobs, mut next) = (JobBurst::new(), 0);
    assert!(wait(|| {
        if jobs.is_empty() && next < count {
            jobs = rig.burst(next..next + 1);
            next += 1;
        }
        workers.submit(&mut jobs, &callback);
        threads.is_full()
    }));
    std::iter::from_fn(|| threads.pop()).collect()
}

#[test]
fn callbacks_are_called_by_the_workers_and_the_work_is_spread_over_them() {
    let rig = Rig::new(Temper::CALM);
    let workers = rig.called(2);
    // Each call waits for the other worker to have been in one: a single thread could not go on.
    let inside = Arc::new([const { AtomicBool::new(false) }; 2]);
    let (order, number) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&inside));
    let meet = move || {
        thread_local!(static MINE: std::cell::Cell<Option<usize>> = const { std::cell::Cell::new(None) });
        let mine = MINE.get().unwrap_or_else(|| order.fetch_add(1, Ordering::SeqCst));
        MINE.set(Some(mine));
        number[mine].store(true, Ordering::SeqCst);
        assert!(wait(|| number.iter().all(|inside| inside.load(Ordering::SeqCst))));
    };
    let threads = threads_of(&rig, &workers, 100, meet);
    let here = std::thread::current().id();
    assert!(!threads.contains(&here));
    let different: Vec<_> = threads.iter().filter(|&&thread| thread != threads[0]).collect();
    assert!(!different.is_empty() && inside.iter().all(|inside| inside.load(Ordering::SeqCst)));
    let counters = workers.stop();
    assert_eq!((counters.taken(), counters.called(), counters.panicked()), (100, 100, 0));
}

#[test]
fn each_worker_is_pinned_to_a_processor_of_its_own() {
    let rig = Rig::new(Temper::CALM);
    let all = LcoreId::available();
    let count = all.len().min(4);
    let mut seen = BTreeSet::new();
    let workers = rig.called(count);
    let processors = Arc::new(ArrayQueue::new(1024));
    let (to, arrived, enough) = (Arc::clone(&processors), Arc::new(AtomicUsize::new(0)), count);
    // Each worker stays in its first call until all are in theirs, so each gets one.
    let note = move || {
        to.push(LcoreId::available()).unwrap();
        arrived.fetch_add(1, Ordering::SeqCst);
        assert!(wait(|| arrived.load(Ordering::SeqCst) >= enough));
    };
    threads_of(&rig, &workers, 50, note);
    while let Some(mine) = processors.pop() {
        assert_eq!(mine.len(), 1, "the thread may run on one processor only");
        seen.insert(mine[0]);
    }
    assert_eq!(seen.len(), count, "{seen:?} of {all:?}");
}

#[test]
fn more_workers_than_processors_are_left_to_the_scheduler() {
    let rig = Rig::new(Temper::CALM);
    let count = LcoreId::available().len() + 2;
    let workers = rig.called(count);
    let (arrived, loose) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let free = Arc::clone(&loose);
    let note = move || {
        // The first call of each worker, as none leaves before all are there.
        if arrived.fetch_add(1, Ordering::SeqCst) < count {
            free.fetch_add(usize::from(LcoreId::available().len() == count - 2), Ordering::SeqCst);
            assert!(wait(|| arrived.load(Ordering::SeqCst) >= count));
        }
    };
    threads_of(&rig, &workers, 4 * count as u64, note);
    // With one processor, those that are pinned to it look the same.
    assert!(loose.load(Ordering::SeqCst) >= 2);
}

#[test]
fn a_callback_that_panics_on_a_worker_is_counted_and_named_and_the_worker_goes_on() {
    let rig = Rig::new(Temper::MOODY);
    let workers = rig.called(2);
    let sum = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&sum);
    let callback = Callback::new(move |job, _| {
        assert!(job.cookie() % 10 != 3, "cookie {}", job.cookie());
        seen.fetch_add(mark(&job), Ordering::SeqCst);
    });
    for start in (0..1000).step_by(50) {
        let mut jobs = rig.burst(start..start + 50);
        assert!(wait(|| workers.submit(&mut jobs, &callback) == 50));
    }
    let counters = workers.counters();
    assert!(wait(|| counters.called() == 1000));
    let named = workers.take_panic().unwrap();
    assert_eq!((named.cookie % 10, named.message), (3, format!("cookie {}", named.cookie)));
    assert_eq!(workers.stop().panicked(), 100);
    assert_eq!(counters.outstanding(), 0);
    assert_eq!(sum.load(Ordering::SeqCst), (0..1000).filter(|cookie| cookie % 10 != 3).sum::<u64>());
    assert!(rig.all_home());
}

#[test]
fn a_callback_on_a_worker_may_submit_and_every_cookie_is_called_once() {
    let rig = Rig::new(Temper::MOODY);
    let workers = rig.called(2);
    let seen = Arc::new([const { AtomicU64::new(0) }; 2000]);
    let (note, session) = (Arc::clone(&seen), rig.session);
    let second = {
        let note = Arc::clone(&seen);
        Callback::new(move |job, _| {
            note[mark(&job) as usize].fetch_add(1, Ordering::SeqCst);
        })
    };
    let pool = rig.pool.clone();
    let first = Callback::new(move |job, submitter| {
        let cookie = mark(&job);
        note[cookie as usize].fetch_add(1, Ordering::SeqCst);
        drop(job);
        let next = marked(&pool, session, cookie + 1000);
        if let Err(Refused { job, .. }) = submitter.submit(next, Mode::Polled, second.clone()) {
            // Told by the list: it stands in for the second call.
            note[job.cookie() as usize].fetch_add(1, Ordering::SeqCst);
        }
    });
    let threads: Vec<_> = (0..4).map(|part| part * 250..part * 250 + 250).collect();
    std::thread::scope(|scope| {
        for range in threads {
            let (rig, workers, first) = (&rig, &workers, &first);
            scope.spawn(move || {
                for cookie in range.step_by(10) {
                    let mut jobs = rig.burst(cookie..cookie + 10);
                    assert!(wait(|| workers.submit(&mut jobs, first) == 10));
                }
            });
        }
    });
    let counters = workers.counters();
    assert!(wait(|| seen.iter().all(|times| times.load(Ordering::SeqCst) > 0)));
    workers.stop();
    assert!(seen.iter().all(|times| times.load(Ordering::SeqCst) == 1));
    assert_eq!(counters.outstanding(), 0);
    assert!(counters.taken() > 1000, "callbacks submitted too");
}

#[test]
fn jobs_that_a_driver_keeps_stay_outstanding_when_their_pool_is_dropped() {
    let rig = Rig::new(Temper::CALM);
    rig.gate.set_open(false);
    let workers = rig.called(2);
    let counters = workers.counters();
    let callback = Callback::new(|_, _| panic!("nobody is called"));
    assert_eq!(workers.submit(&mut rig.burst(0..30), &callback), 30);
    drop(workers);
    assert_eq!((counters.taken(), counters.called(), counters.outstanding()), (30, 0, 30));
    assert!(rig.all_home());
}

#[test]
fn a_callback_that_submits_for_ever_does_not_keep_its_pool_from_stopping() {
    let rig = Rig::new(Temper::CALM);
    let workers = rig.called(1);
    let counters = workers.counters();
    let again: Arc<std::sync::OnceLock<Callback>> = Arc::default();
    let (itself, pool, session) = (Arc::clone(&again), rig.pool.clone(), rig.session);
    let callback = Callback::new(move |job, submitter| {
        let cookie = mark(&job);
        drop(job);
        let next = marked(&pool, session, cookie);
        drop(submitter.submit(next, Mode::Polled, itself.get().unwrap().clone()));
    });
    assert!(again.set(callback.clone()).is_ok());
    assert_eq!(workers.submit(&mut rig.burst(0..3), &callback), 3);
    assert!(wait(|| counters.called() > 1000));
    drop(workers);
    assert_eq!(counters.outstanding(), 0);
    assert!(rig.all_home());
}

/// The null driver, whose first queue pair panics at its first jobs.
#[derive(Debug)]
struct Faulty(drivers::Null, Arc<AtomicBool>);

#[derive(Debug)]
struct FaultyQueue(Box<dyn QueuePair>, Arc<AtomicBool>);

impl Driver for Faulty {
    fn name(&self) -> &str {
        "faulty0"
    }
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }
    fn open_session(&self, _id: SessionId, _params: &SessionParams) -> Result<(), OpenError> {
        Ok(())
    }
    fn close_session(&self, _id: SessionId) {}
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        Box::new(FaultyQueue(self.0.queue_pair(config), Arc::clone(&self.1)))
    }
}

impl QueuePair for FaultyQueue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        assert!(jobs.is_empty() || self.1.swap(true, Ordering::AcqRel), "the driver's fault");
        self.0.submit(jobs)
    }
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        self.0.poll(done)
    }
}

#[test]
fn a_worker_whose_driver_panics_is_offered_nothing_more_and_every_job_is_accounted_for() {
    let registry = Registry::new();
    registry.attach(Faulty(drivers::Null::new(), Arc::default())).unwrap();
    let session = registry.open(SessionParams::default(), Placement::Any).unwrap();
    let pool = Pool::new(PoolConfig { buffers: BUFFERS, stride: 512 }).unwrap();
    let mut workers = WorkerPool::start(&registry, &config(2), Order::Any).unwrap();
    let (mut submitted, mut came, mut retried) = (0_u64, 0, 0);
    let (mut jobs, mut done) = (JobBurst::new(), JobBurst::new());
    let finished = wait(|| {
        if jobs.is_empty() && submitted < 2_000 {
            (0..10).for_each(|n| jobs.push(marked(&pool, session, submitted + n)).unwrap());
            submitted += 10;
        }
        workers.submit(&mut jobs);
        workers.poll(&mut done);
        came += done.len() as u64;
        retried += done.drain().filter(|job| job.status() == Status::Retry).count();
        submitted == 2_000 && jobs.is_empty() && came + workers.missing() == submitted
    });
    assert!(finished, "{came} came, {} are missing, of {submitted}", workers.missing());
    assert_eq!(workers.missing(), 10, "the burst that it had in hand");
    // At most what had been offered to it before.
    assert!(retried <= 10 * CrewConfig::default().bursts, "{retried}");
    assert_eq!((workers.in_flight(), workers.stop().dropped), (0, 10));
    assert_eq!(pool.available(), BUFFERS);
}

#[test]
fn a_pool_needs_a_driver() {
    let none = WorkerPool::start(&Registry::new(), &config(1), Order::Any).unwrap_err();
    assert_eq!(
        none.to_string(),
        "a worker gets no dispatcher: no driver is attached that fits the placement any driver; attach one first"
    );
    let small = CrewConfig { bursts: 0, ..CrewConfig::default() };
    let rig = Rig::new(Temper::CALM);
    let config = WorkerPoolConfig { workers: 0, crew: small, ..config(1) };
    let mut workers = WorkerPool::start(&rig.registry, &config, Order::Any).unwrap();
    assert!(run_through(&rig, &mut workers, 10, 3).len() == 10, "none of anything means one");
}
