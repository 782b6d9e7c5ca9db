//! The crypto of one core done by several: an [`Owner`] that keeps the order, and [`Worker`]s on other cores.
//!
//! The owner is offered bursts of jobs as a [`Dispatcher`] is. Each job gets a place in the owner's window; then the burst
//! goes to the worker with the least to do, over a ring, or to the owner's own dispatcher when every worker has
//! enough: that is the owner's share. What comes back leaves in the order in which it was submitted. Nothing but rings is shared: no counter,
//! no lock. Bursts of jobs travel behind pointers and go round: a worker sends results in the burst in which jobs came.
//!
//! A job that failed keeps its place and leaves with its status. A job that does not come back in time is given up, so that those behind it
//! go on; when it does come back, it leaves with [`Status::Late`](crate::Status::Late), out of order, and its packet must not be sent.
//!
//! Where no order is needed, a [`Spreader`] takes the owner's place: it only gives and takes.

mod owner;
mod spreader;
mod worker;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_queue::ArrayQueue;
use pipeline::Clock;
use pipeline::ring::LargeRing;

use crate::dispatcher::{Dispatcher, DispatcherCounters};
use crate::job::{Job, JobBurst};

pub use owner::Owner;
pub use spreader::Spreader;
pub use worker::Worker;

/// Jobs in bursts, from core to core.
type JobRing = LargeRing<Job>;

/// The rings between an owner and one worker.
#[derive(Clone, Debug)]
struct Lane {
    to: Arc<JobRing>,
    back: Arc<JobRing>,
    /// Empty bursts on their way back, where results came in fewer bursts than jobs.
    empties: Arc<ArrayQueue<JobBurst>>,
    /// The worker has ended, by itself or by a fault of its driver. Set once, after its last result.
    gone: Arc<AtomicBool>,
}

impl Lane {
    fn new(bursts: usize) -> Self {
        let ring = || Arc::new(JobRing::of_large(2 * bursts + 2));
        let empties = Arc::new(ArrayQueue::new(4 * bursts + 4));
        Self { to: ring(), back: ring(), empties, gone: Arc::default() }
    }
}

/// What does jobs for one core: a dispatcher, or an owner with its workers. Neither call may block.
pub trait Crypto: Send {
    /// Takes jobs from the front of `jobs` and returns how many; the rest stays, in order.
    fn submit(&mut self, jobs: &mut JobBurst) -> usize;
    /// Adds finished jobs to `done` while it has room and returns how many.
    fn poll(&mut self, done: &mut JobBurst) -> usize;
    /// Starts whatever is held back to fill a batch.
    fn flush(&mut self);
    /// Jobs submitted and not polled yet.
    fn in_flight(&self) -> usize;
    /// Jobs that were submitted and given up, and did not come back since.
    #[inline(always)]
    fn missing(&self) -> u64 {
        0
    }
    /// What was done besides handing jobs on to drivers, by the dispatcher of this core.
    fn counters(&self) -> DispatcherCounters {
        DispatcherCounters::default()
    }
    /// True while jobs are with other cores or a card, which take the time that they take.
    fn is_elsewhere(&self) -> bool {
        false
    }
    /// The core goes to sleep or stops: no claim is held on anything shared until the next call.
    fn offline(&mut self);
    /// A run begins: for every core before the first one starts.
    fn open(&mut self) {}
    /// Nothing more will be submitted in this run.
    fn close(&mut self) {}
}

impl Crypto for Dispatcher {
    #[inline]
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.submit(jobs)
    }
    #[inline]
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        self.poll(done)
    }
    fn flush(&mut self) {
        self.flush();
    }
    fn in_flight(&self) -> usize {
        self.in_flight()
    }
    fn is_elsewhere(&self) -> bool {
        self.is_elsewhere()
    }
    fn counters(&self) -> DispatcherCounters {
        self.counters()
    }
    fn offline(&mut self) {
        self.offline();
    }
}

/// Shape of a crew.
#[derive(Clone, Copy, Debug)]
pub struct CrewConfig {
    /// Jobs that may be under way in all, rounded up to a power of two.
    pub window: usize,
    /// Bursts that a worker is given before the owner takes a share.
    pub bursts: usize,
    /// Nanoseconds that a finished job waits for those before it, at least, before they are given up; and that jobs are waited for while
    /// nothing at all comes back. Time in which the owner itself does not run hardly counts.
    pub deadline_ns: u64,
}

impl Default for CrewConfig {
    /// 1024 jobs, three bursts, two seconds.
    fn default() -> Self {
        Self { window: 1024, bursts: 3, deadline_ns: 2_000_000_000 }
    }
}

/// An owner with `own` for its share, and a worker for each of `theirs`.
///
/// ```
/// use crypto_pmd::crew::{self, CrewConfig, Crypto};
/// use crypto_pmd::drivers::Null;
/// use crypto_pmd::{Job, Operation, Placement, QueuePairConfig, Registry, SessionParams};
/// use pipeline::{Burst, Clock, Pool, PoolConfig};
///
/// let registry = Registry::new();
/// registry.attach(Null::new())?;
/// let dispatcher = || registry.dispatcher(&QueuePairConfig::default());
/// let (mut owner, mut workers) =
///     crew::crew(dispatcher()?, vec![dispatcher()?], CrewConfig::default(), &Clock::new());
/// let pool = Pool::new(PoolConfig { buffers: 1, ..PoolConfig::default() })?;
/// let session = registry.open(SessionParams::default(), Placement::Any)?;
/// let mut jobs = Burst::new();
/// jobs.push(Job::new(pool.alloc().unwrap(), session, Operation::Encrypt)).unwrap();
/// assert_eq!(owner.submit(&mut jobs), 1);
/// assert_eq!(workers[0].work(), 2, "on another core: one came, one went back");
/// let mut done = Burst::new();
/// assert_eq!(owner.poll(&mut done), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn crew(
    own: Dispatcher,
    theirs: Vec<Dispatcher>,
    config: CrewConfig,
    clock: &Clock,
) -> (Owner, Vec<Worker>) {
    let lanes: Vec<_> = theirs.iter().map(|_| Lane::new(config.bursts.max(1))).collect();
    let worker = |(lane, dispatcher): (&Lane, Dispatcher)| Worker::new(lane.clone(), dispatcher);
    let workers = lanes.iter().zip(theirs).map(worker).collect();
    (Owner::new(own, lanes, config, clock.clone()), workers)
}

/// A spreader with a worker for each of `theirs`, each of which is given `bursts` bursts at most (one at least).
#[must_use]
pub fn spread(theirs: Vec<Dispatcher>, bursts: usize) -> (Spreader, Vec<Worker>) {
    let bursts = bursts.max(1);
    let lanes: Vec<_> = theirs.iter().map(|_| Lane::new(bursts)).collect();
    let worker = |(lane, dispatcher): (&Lane, Dispatcher)| Worker::new(lane.clone(), dispatcher);
    let workers = lanes.iter().zip(theirs).map(worker).collect();
    (Spreader::new(lanes, bursts), workers)
}
