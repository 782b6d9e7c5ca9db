//! The data side of the framework, one per core: hands each job to the driver that its session lies on.
//!
//! Invariants: jobs of one session are offered to its driver in the order in which they were submitted; what a
//! driver does not take stays in the caller's burst, in order; what it takes comes out of `poll` once.

use pipeline::replica::Replica;

use crate::device::{DriverId, QueuePair};
use crate::job::{Job, JobBurst, Status};
use crate::session::SessionId;

/// Queue pairs of one core.
#[derive(Debug)]
pub struct Dispatcher {
    queues: Vec<Box<dyn QueuePair>>,
    routes: Replica<DriverId>,
    in_flight: usize,
    next_poll: usize,
    /// Jobs whose session is unknown; they complete with that status.
    refused: JobBurst,
    /// Jobs on their way to one driver; empty between calls.
    batch: JobBurst,
    /// Jobs not taken in this call; empty between calls.
    rest: JobBurst,
}

impl Dispatcher {
    pub(crate) fn new(queues: Vec<Box<dyn QueuePair>>, routes: Replica<DriverId>) -> Self {
        Self {
            queues,
            routes,
            in_flight: 0,
            next_poll: 0,
            refused: JobBurst::new(),
            batch: JobBurst::new(),
            rest: JobBurst::new(),
        }
    }

    /// Hands jobs on and returns how many were taken; the rest stays in `jobs`, in order, and may be submitted
    /// again after a poll.
    #[inline]
    pub fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        // Also where no route is asked for, or the changes would pile up unread.
        self.routes.refresh();
        let taken = match self.queues.as_mut_slice() {
            [only] => only.submit(jobs),
            _ => self.submit_to_many(jobs),
        };
        self.in_flight += taken;
        taken
    }

    /// Adds finished jobs to `done` while it has room and returns how many.
    #[inline]
    pub fn poll(&mut self, done: &mut JobBurst) -> usize {
        let finished = match self.queues.as_mut_slice() {
            [only] => only.poll(done),
            _ => self.poll_many(done),
        };
        self.in_flight -= finished.min(self.in_flight);
        finished
    }

    /// Starts whatever drivers hold back to fill a batch.
    pub fn flush(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.flush());
    }

    /// Jobs submitted and not polled yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Walks the jobs as runs that go to one driver. Once a driver has refused a job, its later jobs in this
    /// call are not offered either, or they would overtake.
    fn submit_to_many(&mut self, jobs: &mut JobBurst) -> usize {
        let offered = jobs.len();
        let mut blocked = 0_u64;
        while !jobs.is_empty() {
            let route = jobs.as_slice().first().and_then(|job| self.route(job.session()));
            let run = jobs.iter().take_while(|job| self.route(job.session()) == route).count();
            self.batch.take_some_from(jobs, run);
            match route {
                Some(driver) if blocked >> (driver.0 & 63) & 1 == 0 => {
                    if let Some(queue) = self.queues.get_mut(usize::from(driver.0)) {
                        queue.submit(&mut self.batch);
                    }
                    if !self.batch.is_empty() {
                        blocked |= 1 << (driver.0 & 63);
                    }
                }
                Some(_) => {}
                None => self.refuse(),
            }
            self.rest.take_from(&mut self.batch);
        }
        jobs.take_from(&mut self.rest);
        offered - jobs.len()
    }

    /// `None` also for a session on a driver that was attached after this dispatcher was made: it has no queue
    /// pair there.
    fn route(&self, session: SessionId) -> Option<DriverId> {
        let driver = self.routes.find(session.index()).copied()?;
        (usize::from(driver.0) < self.queues.len()).then_some(driver)
    }

    /// Moves the batch to the refused ones, as far as there is room; a job that stays keeps its status.
    fn refuse(&mut self) {
        self.refused.take_from(&mut self.batch);
        self.refused.iter_mut().for_each(|job: &mut Job| job.set_status(Status::UnknownSession));
    }

    /// Begins with another queue each time, so that no driver starves the others.
    fn poll_many(&mut self, done: &mut JobBurst) -> usize {
        if done.room() == 0 {
            // Nobody's turn was used.
            return 0;
        }
        let mut finished = done.take_from(&mut self.refused);
        let count = self.queues.len();
        for turn in 0..count {
            if done.room() == 0 {
                break;
            }
            if let Some(queue) = self.queues.get_mut((self.next_poll + turn) % count) {
                finished += queue.poll(done);
            }
        }
        self.next_poll = (self.next_poll + 1) % count.max(1);
        finished
    }
}
