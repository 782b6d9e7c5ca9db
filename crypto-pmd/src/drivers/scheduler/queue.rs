//! The scheduler's queue pair: a dispatcher over the children, with each job's own side put aside while it is inside.

use crate::device::QueuePair;
use crate::dispatcher::{Dispatcher, SPECIAL};
use crate::drivers::sessions::View;
use crate::job::{Job, JobBurst};
use crate::key_op::Unblock;
use crate::session::SessionId;

use super::kept::Kept;

/// A handle that no session has.
fn nobody() -> SessionId {
    SessionId::new(u32::MAX, u32::MAX)
}

#[derive(Debug)]
pub(super) struct Queue {
    inside: Dispatcher,
    sessions: View<SessionId>,
    kept: Kept,
    /// What is offered of more than fits; empty between calls.
    part: JobBurst,
}

impl Queue {
    /// With room for `depth` jobs, and not for more than the dispatcher has places in its order.
    pub(super) fn new(inside: Dispatcher, sessions: View<SessionId>, depth: usize) -> Self {
        Self { inside, sessions, kept: Kept::new(depth.clamp(1, SPECIAL) as u32), part: JobBurst::new() }
    }
}

/// Offers jobs for which there is room; those that stay are as they were.
#[inline]
fn offer(inside: &mut Dispatcher, sessions: &View<SessionId>, kept: &mut Kept, jobs: &mut JobBurst) -> usize {
    sessions.fetch(jobs.iter().map(Job::session));
    for job in jobs.iter_mut() {
        let session = sessions.find(job.session()).copied().unwrap_or_else(nobody);
        kept.put_aside(job, session);
    }
    let taken = inside.submit(jobs);
    jobs.iter_mut().for_each(|job| kept.give_back(job));
    taken
}

impl QueuePair for Queue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.sessions.refresh();
        let Self { inside, sessions, kept, part } = self;
        let room = kept.room();
        if jobs.len() <= room {
            return offer(inside, sessions, kept, jobs);
        }
        part.take_some_from(jobs, room);
        let taken = offer(inside, sessions, kept, part);
        // What stayed, in front of the rest.
        part.take_from(jobs);
        std::mem::swap(part, jobs);
        taken
    }

    fn poll(&mut self, done: &mut JobBurst) -> usize {
        // A core that has nothing to submit must let closed sessions go all the same.
        self.sessions.refresh();
        let before = done.len();
        let finished = self.inside.poll(done);
        done.iter_mut().skip(before).for_each(|job| self.kept.give_back(job));
        finished
    }

    fn flush(&mut self) {
        self.inside.flush();
    }

    fn set_unblock(&mut self, unblock: Unblock) {
        self.inside.set_unblock(unblock);
    }

    fn is_blocked(&self) -> bool {
        self.inside.is_blocked()
    }

    fn leave(&mut self) {
        self.inside.leave();
    }

    fn offline(&mut self) {
        self.sessions.offline();
        self.inside.offline();
    }
}
