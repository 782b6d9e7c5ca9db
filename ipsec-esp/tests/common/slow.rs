//! A driver with a short queue that takes its time: it does the work of the software driver, but gives jobs back only
//! some polls later and a few at a time, and can be told to fail some.

use std::collections::VecDeque;

use crypto_pmd::drivers::Software;
use crypto_pmd::job::JobBurst;
use crypto_pmd::{
    Capabilities, Driver, Job, OpenError, QueuePair, QueuePairConfig, SessionId, SessionParams, Status,
};

/// How slow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Jobs in flight at most.
    pub(crate) depth: usize,
    /// Polls that a job stays inside.
    pub(crate) delay: u64,
    /// Jobs that one poll gives back at most.
    pub(crate) per_poll: usize,
    /// Every so many jobs one comes back with this status.
    pub(crate) failure: Option<(u64, Status)>,
}

#[derive(Debug)]
pub(crate) struct Slow {
    software: Software,
    pace: Pace,
}

impl Slow {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { software: Software::new(), pace }
    }
}

impl Driver for Slow {
    fn name(&self) -> &str {
        "slow0"
    }
    fn capabilities(&self) -> &Capabilities {
        self.software.capabilities()
    }
    fn open_session(&self, id: SessionId, params: &SessionParams) -> Result<(), OpenError> {
        self.software.open_session(id, params)
    }
    fn close_session(&self, id: SessionId) {
        self.software.close_session(id);
    }
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        Box::new(Queue {
            worker: self.software.queue_pair(config),
            pace: self.pace,
            inside: VecDeque::new(),
            batch: JobBurst::new(),
            polls: 0,
            jobs: 0,
        })
    }
}

#[derive(Debug)]
struct Queue {
    worker: Box<dyn QueuePair>,
    pace: Pace,
    /// Jobs done, with the poll from which on they may leave.
    inside: VecDeque<(u64, Job)>,
    batch: JobBurst,
    polls: u64,
    jobs: u64,
}

impl Queue {
    fn outcome(&mut self, job: &mut Job) {
        self.jobs += 1;
        if let Some((every, status)) = self.pace.failure
            && self.jobs.is_multiple_of(every)
        {
            job.set_status(status);
        }
    }
}

impl QueuePair for Queue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        let room = self.pace.depth - self.inside.len();
        let taken = self.batch.take_some_from(jobs, room);
        assert_eq!(self.worker.submit(&mut self.batch), taken);
        let mut done = JobBurst::new();
        assert_eq!(self.worker.poll(&mut done), taken);
        for mut job in done.drain() {
            self.outcome(&mut job);
            self.inside.push_back((self.polls + self.pace.delay, job));
        }
        taken
    }

    fn poll(&mut self, done: &mut JobBurst) -> usize {
        self.polls += 1;
        let mut count = 0;
        while count < self.pace.per_poll && done.room() > 0 {
            if self.inside.front().is_none_or(|(due, _)| *due >= self.polls) {
                break;
            }
            let (_, job) = self.inside.pop_front().unwrap();
            done.push(job).unwrap();
            count += 1;
        }
        count
    }
}
