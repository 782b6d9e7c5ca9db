//! The null driver: takes any bundle, computes nothing, reports every job done, whatever its session. It is the floor
//! of overhead that every other driver is measured against, and no protection at all.

use crate::capability::Capabilities;
use crate::device::{Driver, OpenError, QueuePair, QueuePairConfig};
use crate::job::{Job, JobBurst, Status};
use crate::session::SessionId;
use crate::transform::SessionParams;

/// The driver.
#[derive(Debug)]
pub struct Null {
    capabilities: Capabilities,
}

impl Default for Null {
    fn default() -> Self {
        Self::new()
    }
}

impl Null {
    /// The driver, as `null0`.
    #[must_use]
    pub fn new() -> Self {
        let capabilities = Capabilities {
            anything: true,
            synchronous: true,
            scatter_gather: true,
            ..Capabilities::default()
        };
        Self { capabilities }
    }
}

impl Driver for Null {
    fn name(&self) -> &str {
        "null0"
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn open_session(&self, _id: SessionId, _params: &SessionParams) -> Result<(), OpenError> {
        Ok(())
    }
    fn close_session(&self, _id: SessionId) {}
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        let depth = config.depth.max(1);
        Box::new(Queue { done: Vec::with_capacity(depth), depth })
    }
}

/// Done jobs wait in the order of submission.
#[derive(Debug)]
struct Queue {
    done: Vec<Job>,
    depth: usize,
}

impl QueuePair for Queue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        let taken = jobs.len().min(self.depth - self.done.len());
        jobs.as_mut_slice().iter_mut().take(taken).for_each(|job| job.set_status(Status::Done));
        self.done.extend(jobs.drain_front(taken));
        taken
    }

    fn poll(&mut self, done: &mut JobBurst) -> usize {
        let count = done.room().min(self.done.len());
        done.extend(self.done.drain(..count));
        count
    }
}
