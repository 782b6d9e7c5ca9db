//! A queue pair without a card: what a core gets when the card has none left for it.

use pipeline::MAX_BURST;

use crate::device::{QueuePair, QueuePairConfig};
use crate::drivers::sessions::View;
use crate::drivers::software::{Bench, run_job};
use crate::job::{JobBurst, Status};

use super::keeper::{CardSession, Shared};

#[derive(Debug)]
pub(super) struct HostOnly {
    sessions: View<CardSession>,
    done: JobBurst,
    depth: usize,
    bench: Bench,
}

impl HostOnly {
    pub(super) fn new(shared: &Shared, config: &QueuePairConfig) -> Self {
        let depth = config.depth.clamp(1, MAX_BURST);
        Self { sessions: shared.sessions.view(), done: JobBurst::new(), depth, bench: Bench::new() }
    }
}

impl QueuePair for HostOnly {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.sessions.refresh();
        let room = self.depth - self.done.len();
        for job in jobs.iter_mut().take(room) {
            let status = match self.sessions.find(job.session()) {
                Some(session) => run_job(&session.chain, job, &mut self.bench),
                None => Status::UnknownSession,
            };
            job.set_status(status);
        }
        self.done.take_some_from(jobs, room)
    }

    fn poll(&mut self, done: &mut JobBurst) -> usize {
        self.sessions.refresh();
        done.take_from(&mut self.done)
    }

    fn offline(&mut self) {
        self.sessions.offline();
    }
}
