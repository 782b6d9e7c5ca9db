//! A pool that is polled by the one thread that submits to it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pipeline::Clock;

use crate::crew::{Crypto, crew, spread};
use crate::job::{Job, JobBurst};
use crate::registry::Registry;

use super::threads::Threads;
use super::{PATIENCE, PoolError, WorkerPoolConfig};

/// In which order jobs come out of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As they are done.
    #[default]
    Any,
    /// As they were submitted, whoever did them; the submitting thread does a share when every worker has enough. See
    /// [`crew`](crate::crew) for what becomes of a job that takes too long.
    Kept,
}

/// Threads that do jobs for one that submits and polls.
///
/// ```
/// use crypto_pmd::completion::{Order, WorkerPool, WorkerPoolConfig};
/// use crypto_pmd::crew::Crypto;
/// use crypto_pmd::drivers::Software;
/// use crypto_pmd::job::JobBurst;
/// use crypto_pmd::*;
/// use pipeline::{Pool, PoolConfig};
///
/// let registry = Registry::new();
/// registry.attach(Software::new())?;
/// let hash = Transform::digest(DigestAlgorithm::Sha256, 32);
/// let session = registry.open(hash.into(), Placement::Any)?;
/// let mut workers = WorkerPool::start(&registry, &WorkerPoolConfig::new(2), Order::Kept)?;
///
/// let pool = Pool::new(PoolConfig { buffers: 8, ..PoolConfig::default() })?;
/// for cookie in 0..8 {
///     let job = Job::new(pool.alloc_copy(&[0; 32]).unwrap(), session, Operation::Encrypt);
///     let mut jobs = JobBurst::new();
///     jobs.push(job.with_cookie(cookie)).unwrap();
///     assert_eq!(workers.submit(&mut jobs), 1);
/// }
/// let mut done = JobBurst::new();
/// while done.len() < 8 {
///     workers.poll(&mut done);
/// }
/// assert!(done.iter().map(Job::cookie).eq(0..8));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct WorkerPool {
    /// What gives jobs to the workers and takes results: asked once a burst.
    front: Box<dyn Crypto>,
    /// Whether it still counts jobs that were given up among those under way.
    counts_missing: bool,
    threads: Threads,
    dropped: Arc<AtomicU64>,
}

/// What was inside a pool when it was stopped.
#[derive(Debug, Default)]
pub struct Stopped {
    /// Jobs that were done and not polled before.
    pub jobs: Vec<Job>,
    /// Jobs that no driver gave back in time; their buffers are in their pools.
    pub dropped: u64,
}

impl WorkerPool {
    /// Starts the threads.
    ///
    /// # Errors
    /// No driver is attached, or the system gives no thread.
    pub fn start(registry: &Registry, config: &WorkerPoolConfig, order: Order) -> Result<Self, PoolError> {
        let theirs = config.dispatchers(registry)?;
        let (mut front, workers): (Box<dyn Crypto>, _) = match order {
            Order::Any => {
                let (spreader, workers) = spread(theirs, config.crew.bursts);
                (Box::new(spreader), workers)
            }
            Order::Kept => {
                let own = registry.dispatcher(&config.queue)?;
                let (owner, workers) = crew(own, theirs, config.crew, &Clock::new());
                (Box::new(owner), workers)
            }
        };
        // Before a worker looks, or it would take its ring for finished.
        front.open();
        let threads = Threads::start(workers, &config.cores, config.idle)?;
        Ok(Self { front, counts_missing: order == Order::Kept, threads, dropped: Arc::default() })
    }

    /// Jobs that were inside when the pool was dropped, to be read afterwards; 0 before.
    #[must_use]
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Lets the workers finish, stops them, and gives out what was inside. A driver that brings nothing back any more is
    /// waited for a while, and then given up.
    #[must_use]
    pub fn stop(mut self) -> Stopped {
        let mut stopped = Stopped::default();
        self.front.close();
        let mut quiet = 0;
        while self.in_flight() > 0 && quiet < PATIENCE && !self.threads.ended() {
            quiet = if self.take_into(&mut stopped.jobs) > 0 { 0 } else { quiet + 1 };
            self.flush();
            std::thread::yield_now();
        }
        self.threads.stop();
        while self.take_into(&mut stopped.jobs) > 0 {}
        stopped.dropped = self.inside();
        stopped
    }

    /// Jobs that have not come out, each once.
    fn inside(&self) -> u64 {
        self.in_flight() as u64 + if self.counts_missing { 0 } else { self.missing() }
    }

    fn take_into(&mut self, jobs: &mut Vec<Job>) -> usize {
        let mut done = JobBurst::new();
        let count = self.poll(&mut done);
        jobs.extend(done.drain());
        count
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        self.threads.stop();
        self.dropped.store(self.inside(), Ordering::Relaxed);
    }
}

impl Crypto for WorkerPool {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.front.submit(jobs)
    }
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        self.front.poll(done)
    }
    fn flush(&mut self) {
        self.front.flush();
    }
    fn in_flight(&self) -> usize {
        self.front.in_flight()
    }
    fn missing(&self) -> u64 {
        self.front.missing()
    }
    fn is_elsewhere(&self) -> bool {
        self.front.is_elsewhere()
    }
    fn offline(&mut self) {
        self.front.offline();
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("WorkerPool");
        shown.field("threads", &self.threads).field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}
