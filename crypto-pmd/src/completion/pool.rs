//! Work of synchronous drivers spread over a pool of pinned threads, each with a dispatcher of its own.
//!
//! Two pools. A [`WorkerPool`] is polled by who submits, in any order or in the order of submission ([`Order`]); it stands wherever a
//! dispatcher does, so [`Callbacks`](super::Callbacks) over one gives callbacks in order. A [`CallbackPool`] calls from the thread that did the
//! job, and any thread may submit to it. Both take whole bursts: what is submitted together goes to one worker.
//!
//! Invariants: a job is done by one worker and comes out once. Dropping a pool stops its threads and waits for them; the jobs that are
//! inside then are dropped, which gives their buffers back, and counted.

mod called;
mod polled;
mod threads;

use pipeline::lcore::{Idle, LcoreId};

use crate::crew::CrewConfig;
use crate::device::{OpenError, QueuePairConfig};
use crate::dispatcher::Dispatcher;
use crate::registry::Registry;

pub use called::{CallbackPool, PoolCounters};
pub use polled::{Order, Stopped, WorkerPool};

/// Turns without any movement after which a pool that is being stopped gives up on what its drivers hold.
const PATIENCE: u32 = 1 << 18;

/// Shape of a pool.
#[derive(Clone, Debug)]
pub struct WorkerPoolConfig {
    /// Threads, at least one.
    pub workers: usize,
    /// The processor of each worker; those beyond the list are left to the scheduler.
    pub cores: Vec<LcoreId>,
    /// Queue pairs of the workers; they are made for packets that another core has touched last.
    pub queue: QueuePairConfig,
    /// Bursts that wait for each worker, and for [`Order::Kept`] the window and the deadline.
    pub crew: CrewConfig,
    /// What a worker does when there is nothing to do.
    pub idle: Idle,
}

impl WorkerPoolConfig {
    /// So many workers, each pinned to a processor of its own as far as there are enough (the last one first, as the first
    /// one has the most else to do), who sleep when there is nothing to do.
    ///
    /// ```
    /// use crypto_pmd::completion::WorkerPoolConfig;
    /// use pipeline::lcore::LcoreId;
    /// let config = WorkerPoolConfig::new(1000);
    /// assert_eq!(config.workers, 1000);
    /// assert_eq!(config.cores.len(), LcoreId::available().len().min(1000));
    /// ```
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let workers = workers.max(1);
        Self {
            workers,
            cores: LcoreId::available().into_iter().rev().take(workers).collect(),
            queue: QueuePairConfig { far: true, ..QueuePairConfig::default() },
            crew: CrewConfig::default(),
            idle: Idle::SLEEP,
        }
    }

    fn dispatchers(&self, registry: &Registry) -> Result<Vec<Dispatcher>, PoolError> {
        let dispatchers = (0..self.workers.max(1)).map(|_| registry.dispatcher(&self.queue));
        Ok(dispatchers.collect::<Result<_, _>>()?)
    }
}

/// A pool could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// No dispatcher for a worker.
    #[error("a worker gets no dispatcher: {0}")]
    Dispatcher(#[from] OpenError),
    /// No thread for a worker.
    #[error("a worker's thread did not start: {0}; ask for fewer workers, or raise the limit on threads")]
    Thread(#[from] std::io::Error),
}
