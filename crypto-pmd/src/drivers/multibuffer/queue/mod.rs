//! The queue pair: collects jobs where that makes them cheaper, does what kernels can do side by side, and hands everything back in order.
//!
//! A burst goes through in [`passes`], ChaCha20-Poly1305 in one of its own ([`chacha`]); AES-GCM packets are done one by one ([`aead`]), since the
//! processor overlaps them by itself; a packet that has no company takes a way of its own ([`single`]). Packets of several segments, and those whose result goes elsewhere, are worked on
//! in a copy ([`desk`]), side by side with the others. Steps, explicit IVs and whatever else is out of the ordinary are the software
//! driver's business, job by job.

mod aead;
mod chacha;
mod company;
mod desk;
mod passes;
mod single;

use pipeline::MAX_BURST;
use pipeline::memory::prefetch_bytes;

use crate::device::{QueuePair, QueuePairConfig};
use crate::drivers::sessions::View;
use crate::drivers::software::{Bench, run_job};
use crate::job::{Job, JobBurst, Status};

use super::session::{Fast, Session};
use super::{Hold, Level};
use company::Company;
use desk::Desk;
use passes::{Lanes, Plan, Plans};

/// Jobs that were taken are collected, then done, then wait to be polled; always in the order of submission, a burst at most in all.
#[derive(Debug)]
pub(super) struct Queue {
    sessions: View<Session>,
    company: Company,
    collected: JobBurst,
    done: JobBurst,
    depth: usize,
    far: bool,
    tools: Tools,
}

/// What jobs are done with.
#[derive(Debug)]
struct Tools {
    level: Level,
    bench: Bench,
    desk: Desk,
}

impl Queue {
    pub(super) fn new(sessions: View<Session>, level: Level, hold: Hold, config: &QueuePairConfig) -> Self {
        let depth = config.depth.clamp(1, MAX_BURST);
        Self {
            sessions,
            company: Company::new(Hold { jobs: hold.jobs.min(depth), ..hold }),
            collected: JobBurst::new(),
            done: JobBurst::new(),
            depth,
            far: config.far,
            tools: Tools { level, bench: Bench::new(), desk: Desk::new() },
        }
    }

    /// Does what was collected.
    #[cold]
    fn release(&mut self) {
        self.company.parts();
        work(&self.sessions, self.collected.as_mut_slice(), &mut self.tools);
        // There is room: no more is taken than fits both.
        self.done.take_from(&mut self.collected);
    }

    /// Takes jobs without doing them yet, unless they are enough.
    #[cold]
    fn collect(&mut self, jobs: &mut JobBurst, room: usize) -> usize {
        let taken = self.collected.take_some_from(jobs, room);
        if self.company.is_enough(self.collected.len()) {
            self.release();
        }
        taken
    }
}

impl QueuePair for Queue {
    #[inline]
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.sessions.refresh();
        let room = self.depth - self.done.len() - self.collected.len();
        let count = room.min(jobs.len());
        if count == 0 {
            return 0;
        }
        let Some(batch) = jobs.as_mut_slice().get_mut(..count) else { return 0 };
        if self.far {
            batch.iter().for_each(|job| prefetch_bytes(job.source().data()));
        }
        let sessions = &self.sessions;
        if !self.collected.is_empty()
            || self.company.is_wanted(count, || batch.iter().any(|job| goes_along(sessions, job)))
        {
            return self.collect(jobs, room);
        }
        work(&self.sessions, batch, &mut self.tools);
        self.done.take_some_from(jobs, room)
    }

    #[inline]
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        self.sessions.refresh();
        if !self.collected.is_empty() && self.company.is_late() {
            self.release();
        }
        done.take_from(&mut self.done)
    }

    fn flush(&mut self) {
        if !self.collected.is_empty() {
            self.sessions.refresh();
            self.release();
        }
    }

    fn offline(&mut self) {
        self.flush();
        self.sessions.offline();
    }
}

/// Whether a job gains from others at its side.
fn goes_along(sessions: &View<Session>, job: &Job) -> bool {
    sessions
        .find(job.session())
        .is_some_and(|session| matches!(session.fast, Some(Fast::Separate(_) | Fast::ChaCha(_))))
}

/// Does every job of a batch.
fn work(sessions: &View<Session>, batch: &mut [Job], tools: &mut Tools) {
    let mut plans = Plans::new();
    let mut chacha_plans = Lanes::<chacha::Plan<'_>>::new();
    for (number, (job, sheet)) in batch.iter_mut().zip(tools.desk.sheets()).enumerate() {
        let Some(session) = sessions.find(job.session()) else {
            job.set_status(Status::UnknownSession);
            continue;
        };
        let status = match &session.fast {
            Some(Fast::Gcm(gcm)) => aead::run(tools.level, gcm, job, sheet),
            Some(Fast::ChaCha(unit)) => chacha::Plan::new(number, unit, job, sheet).map(|plan| {
                chacha_plans.push(plan);
                Status::Done
            }),
            Some(Fast::Separate(unit)) => Plan::new(number, unit, job, sheet).map(|plan| {
                plans.push(plan);
                Status::Done
            }),
            None => None,
        };
        let status = status.unwrap_or_else(|| run_job(&session.chain, job, &mut tools.bench));
        job.set_status(status);
    }
    if !chacha_plans.is_empty() {
        chacha::run(tools.level, &mut chacha_plans, batch, &mut tools.desk);
    }
    match plans.as_slice() {
        [] => {}
        [plan] if single::run(tools.level, plan, batch, &mut tools.desk) => {}
        _ => passes::run(tools.level, &mut plans, batch, &mut tools.desk),
    }
}
