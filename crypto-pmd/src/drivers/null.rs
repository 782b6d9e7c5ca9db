//! The null driver: takes any bundle, computes nothing, reports every job of its sessions done. It is the floor of
//! overhead that every other driver is measured against, and no protection at all.
//!
//! Invariant: a job of a session that was not opened here is never done; the caller would take plaintext for
//! sealed.

use std::collections::VecDeque;

use crate::capability::Capabilities;
use crate::device::{Driver, OpenError, QueuePair, QueuePairConfig};
use crate::drivers::sessions::{Sessions, View};
use crate::job::{Job, JobBurst, Status};
use crate::session::SessionId;
use crate::transform::SessionParams;

/// The driver.
#[derive(Debug)]
pub struct Null {
    capabilities: Capabilities,
    sessions: Sessions<()>,
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
        Self { capabilities, sessions: Sessions::new() }
    }
}

impl Driver for Null {
    fn name(&self) -> &str {
        "null0"
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn open_session(&self, id: SessionId, _params: &SessionParams) -> Result<(), OpenError> {
        self.sessions.open(id, ());
        Ok(())
    }
    fn close_session(&self, id: SessionId) {
        self.sessions.close(id);
    }
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        let depth = config.depth.max(1);
        Box::new(Queue { sessions: self.sessions.view(), done: VecDeque::with_capacity(depth), depth })
    }
}

#[derive(Debug)]
struct Queue {
    sessions: View<()>,
    done: VecDeque<Job>,
    depth: usize,
}

impl QueuePair for Queue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.sessions.refresh();
        let room = self.depth - self.done.len();
        let before = self.done.len();
        self.done.extend(jobs.drain_front(room).map(|mut job| {
            let known = self.sessions.find(job.session()).is_some();
            job.set_status(if known { Status::Done } else { Status::UnknownSession });
            job
        }));
        self.done.len() - before
    }

    fn poll(&mut self, done: &mut JobBurst) -> usize {
        let count = done.room().min(self.done.len());
        self.done.drain(..count).for_each(|job| drop(done.push(job)));
        count
    }
}
