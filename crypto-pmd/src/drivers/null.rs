//! The null driver: takes any bundle, computes nothing, reports every job done, whatever its session. It is the floor
//! of overhead that every other driver is measured against, and no protection at all.

use pipeline::MAX_BURST;

use crate::capability::Capabilities;
use crate::device::{Driver, OpenError, QueuePair, QueuePairConfig};
use crate::job::{JobBurst, Status};
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
            in_order: true,
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
        Box::new(Queue { done: JobBurst::new(), depth: config.depth.clamp(1, MAX_BURST) })
    }
}

/// Done jobs wait in the order of submission. A burst of them is the most that waits, since nothing is ever under way.
#[derive(Debug)]
struct Queue {
    done: JobBurst,
    depth: usize,
}

impl QueuePair for Queue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        let before = self.done.len();
        let taken = self.done.take_some_from(jobs, self.depth - before);
        self.done.iter_mut().skip(before).for_each(|job| job.set_status(Status::Done));
        taken
    }

    fn poll(&mut self, done: &mut JobBurst) -> usize {
        done.take_from(&mut self.done)
    }
}
