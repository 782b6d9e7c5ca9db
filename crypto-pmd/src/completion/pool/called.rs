//! A pool whose workers call: each burst of jobs comes with a callback, and the thread that did a job calls it.
//!
//! Bursts wait in one ring for whichever worker is free. Each worker has [`Callbacks`] of its own over its own dispatcher, so a callback
//! submits to the worker that called it. Empty bursts go back to those who submit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;
use pipeline::lcore::{Ended, Task, Turn};

use crate::completion::callback::{Callback, CallbackPanicked, Callbacks, Mode, OnDone};
use crate::job::JobBurst;
use crate::registry::Registry;

use super::threads::Threads;
use super::{PATIENCE, PoolError, WorkerPoolConfig};

/// Panics that are kept until somebody asks for them.
const PANICS: usize = 16;
/// Jobs that one worker may have under way.
const SLOTS: usize = 256;

/// Threads that do jobs and call back.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use crypto_pmd::completion::{Callback, CallbackPool, WorkerPoolConfig};
/// use crypto_pmd::drivers::Software;
/// use crypto_pmd::job::JobBurst;
/// use crypto_pmd::*;
/// use pipeline::{Pool, PoolConfig};
///
/// let registry = Registry::new();
/// registry.attach(Software::new())?;
/// let hash = Transform::digest(DigestAlgorithm::Sha256, 32);
/// let session = registry.open(hash.into(), Placement::Any)?;
/// let workers = CallbackPool::start(&registry, &WorkerPoolConfig::new(2))?;
///
/// let sum = Arc::new(AtomicU64::new(0));
/// let seen = Arc::clone(&sum);
/// let callback = Callback::new(move |job, _| {
///     assert_eq!(job.status(), Status::Done);
///     seen.fetch_add(job.cookie(), Ordering::Relaxed);
/// });
/// let pool = Pool::new(PoolConfig { buffers: 1, ..PoolConfig::default() })?;
/// let job = Job::new(pool.alloc_copy(&[0; 32]).unwrap(), session, Operation::Encrypt);
/// let mut jobs = JobBurst::new();
/// jobs.push(job.with_cookie(7)).unwrap();
/// assert_eq!(workers.submit(&mut jobs, &callback), 1);
/// let counters = workers.stop();
/// assert_eq!((sum.load(Ordering::Relaxed), counters.called(), counters.outstanding()), (7, 1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CallbackPool<C = Callback> {
    shared: Arc<Shared<C>>,
    counters: PoolCounters,
    threads: Threads,
}

/// Jobs that share a callback.
#[derive(Debug)]
struct Batch<C> {
    jobs: JobBurst,
    callback: C,
}

#[derive(Debug)]
struct Shared<C> {
    batches: ArrayQueue<Batch<C>>,
    /// Empty bursts on their way back.
    empties: ArrayQueue<JobBurst>,
    panics: ArrayQueue<CallbackPanicked>,
    /// Nothing more is submitted from outside.
    closed: AtomicBool,
}

/// What a pool with callbacks did; clones share it, and it outlives its pool. Exact when the pool has stopped.
#[derive(Clone, Debug)]
pub struct PoolCounters(Arc<[Books]>);

/// Of one worker, the first one's for those who submit too; on a line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Books {
    submitted: AtomicU64,
    taken: AtomicU64,
    called: AtomicU64,
    panicked: AtomicU64,
}

impl PoolCounters {
    /// Jobs that the pool took, those that callbacks submitted included.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.sum(|books| &books.submitted) + self.sum(|books| &books.taken)
    }

    /// Callbacks that were called, those that panicked included.
    #[must_use]
    pub fn called(&self) -> u64 {
        self.sum(|books| &books.called)
    }

    /// Callbacks that panicked.
    #[must_use]
    pub fn panicked(&self) -> u64 {
        self.sum(|books| &books.panicked)
    }

    /// Jobs whose callbacks were not called: under way, or dropped when the pool has stopped.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.taken().saturating_sub(self.called())
    }

    fn sum(&self, of: impl Fn(&Books) -> &AtomicU64) -> u64 {
        self.0.iter().map(|books| of(books).load(Ordering::Acquire)).sum()
    }
}

impl<C: OnDone + Clone + Send + 'static> CallbackPool<C> {
    /// Starts the threads.
    ///
    /// # Errors
    /// No driver is attached, or the system gives no thread.
    pub fn start(registry: &Registry, config: &WorkerPoolConfig) -> Result<Self, PoolError> {
        let dispatchers = config.dispatchers(registry)?;
        let bursts = dispatchers.len() * config.crew.bursts.max(1);
        let shared = Arc::new(Shared {
            batches: ArrayQueue::new(bursts),
            empties: ArrayQueue::new(bursts + dispatchers.len()),
            panics: ArrayQueue::new(PANICS),
            closed: AtomicBool::new(false),
        });
        let counters = PoolCounters(dispatchers.iter().map(|_| Books::default()).collect());
        let callers = (0..).zip(dispatchers).map(|(number, dispatcher)| Caller {
            number,
            shared: Arc::clone(&shared),
            counters: counters.clone(),
            calls: Callbacks::new(dispatcher, SLOTS),
            batch: None,
            taken: 0,
        });
        let callers: Vec<_> = callers.collect();
        let threads = Threads::start(callers, &config.cores, config.idle)?;
        Ok(Self { shared, counters, threads })
    }

    /// Hands jobs on that share a callback, and returns how many were taken: all, or none when every worker has enough.
    /// Jobs that are submitted together are done by one worker.
    pub fn submit(&self, jobs: &mut JobBurst, callback: &C) -> usize {
        let count = jobs.len();
        if count == 0 || self.shared.batches.is_full() {
            return 0;
        }
        let Some(books) = self.counters.0.first() else { return 0 };
        // Only a pool that is not warm yet makes one.
        let empty = self.shared.empties.pop().unwrap_or_default();
        // Counted first, so that no callback is ahead of its job.
        books.submitted.fetch_add(count as u64, Ordering::AcqRel);
        let batch = Batch { jobs: std::mem::replace(jobs, empty), callback: callback.clone() };
        let Err(batch) = self.shared.batches.push(batch) else { return count };
        books.submitted.fetch_sub(count as u64, Ordering::AcqRel);
        drop(self.shared.empties.push(std::mem::replace(jobs, batch.jobs)));
        0
    }
}

impl<C> CallbackPool<C> {
    /// What the pool did so far.
    #[must_use]
    pub fn counters(&self) -> PoolCounters {
        self.counters.clone()
    }

    /// A panic of a callback that was not asked for yet. A few are kept; of those beyond, only the number is.
    #[must_use]
    pub fn take_panic(&self) -> Option<CallbackPanicked> {
        self.shared.panics.pop()
    }

    /// Lets the workers finish and call, and stops them; callbacks can submit no more. A driver that brings nothing back any more is
    /// waited for a while; then its jobs are dropped, and stay outstanding in the counters. Dropping the pool does the same.
    pub fn stop(self) -> PoolCounters {
        self.counters.clone()
    }
}

impl<C> Drop for CallbackPool<C> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        let (mut called, mut quiet) = (self.counters.called(), 0);
        while !self.threads.ended() && quiet < PATIENCE {
            std::thread::yield_now();
            let now = self.counters.called();
            quiet = if now == called { quiet + 1 } else { 0 };
            called = now;
        }
        self.threads.stop();
    }
}

/// What a worker's thread polls.
#[derive(Debug)]
struct Caller<C> {
    number: usize,
    shared: Arc<Shared<C>>,
    counters: PoolCounters,
    calls: Callbacks<C>,
    /// Jobs that were not all taken yet.
    batch: Option<Batch<C>>,
    /// Jobs taken from the ring.
    taken: u64,
}

impl<C: OnDone + Clone> Caller<C> {
    fn work(&mut self) -> usize {
        let mut moved = 0;
        if let Some(mut batch) = self.batch.take().or_else(|| self.shared.batches.pop()) {
            moved += self.calls.submit_burst(&mut batch.jobs, Mode::Polled, &batch.callback);
            self.taken += moved as u64;
            if batch.jobs.is_empty() {
                drop(self.shared.empties.push(batch.jobs));
            } else {
                self.batch = Some(batch);
            }
        }
        moved + self.calls.poll()
    }

    fn report(&mut self) {
        while let Some(panic) = self.calls.take_panic() {
            // Beyond those that are kept, the number says it.
            drop(self.shared.panics.push(panic));
        }
        let Some(books) = self.counters.0.get(self.number) else { return };
        // Before the calls, so that no reader sees more calls than jobs.
        let inside = self.calls.called() + self.calls.in_flight() as u64;
        let submitted_by_callbacks = inside.saturating_sub(self.taken);
        books.taken.store(submitted_by_callbacks, Ordering::Release);
        books.panicked.store(self.calls.panicked(), Ordering::Release);
        books.called.store(self.calls.called(), Ordering::Release);
    }

    fn held(&self) -> usize {
        self.calls.in_flight() + self.batch.as_ref().map_or(0, |batch| batch.jobs.len())
    }
}

impl<C: OnDone + Clone + Send> Task for Caller<C> {
    fn open(&mut self) {}

    fn turn(&mut self) -> Turn {
        // Before the work: what was pushed before the pool was closed is then seen.
        let closed = self.shared.closed.load(Ordering::Acquire);
        if closed {
            self.calls.close();
        }
        if self.work() > 0 {
            self.report();
            return Turn::Busy;
        }
        if self.held() > 0 {
            self.calls.flush();
            return Turn::Stalled;
        }
        if closed { Turn::Finished(Ended::Drained) } else { Turn::Idle }
    }

    fn offline(&mut self) {
        self.calls.offline();
    }
}
