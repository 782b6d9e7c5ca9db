//! Drivers in virtual time: they compute nothing, and move a clock on by what a job is said to cost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crypto_pmd::capability::{KeyLengths, Supported, Unsupported};
use crypto_pmd::job::JobBurst;
use crypto_pmd::measure::{Candidate, Ticks};
use crypto_pmd::*;
use pipeline::Tick;

/// A clock that stands still unless a driver moves it: a tick is a nanosecond.
#[derive(Clone, Debug, Default)]
pub(crate) struct VirtualClock(Arc<AtomicU64>);

impl VirtualClock {
    pub(crate) fn advance(&self, ticks: Tick) {
        self.0.fetch_add(ticks, Ordering::Relaxed);
    }
}

impl Ticks for VirtualClock {
    fn tick(&self) -> Tick {
        self.0.load(Ordering::Relaxed)
    }
    fn hz(&self) -> f64 {
        1e9
    }
    fn date(&self) -> u64 {
        1_000
    }
}

/// What a driver does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Ticks for starting that many jobs together, on top of those of each job.
    pub(crate) call: fn(usize) -> Tick,
    /// Ticks of a job with a payload of that many bytes, at that time.
    pub(crate) job: fn(usize, Tick) -> Tick,
    /// What becomes of a job.
    pub(crate) status: fn(&Job) -> Status,
    /// Jobs that are held back until there are so many or the queue is flushed.
    pub(crate) batch: usize,
    /// Loses every job.
    pub(crate) loses: bool,
}

impl Manner {
    pub(crate) fn per_job(job: fn(usize, Tick) -> Tick) -> Self {
        Self { call: |_| 0, job, status: |_| Status::Done, batch: 1, loses: false }
    }
}

/// Does AES-GCM and HMAC-SHA1, in its manner.
#[derive(Clone, Debug)]
pub(crate) struct Virtual {
    name: &'static str,
    capabilities: Capabilities,
    clock: VirtualClock,
    manner: Manner,
}

impl Virtual {
    pub(crate) fn candidate(name: &'static str, clock: &VirtualClock, manner: Manner) -> Candidate {
        let any = || KeyLengths::Range(0, 64);
        let capabilities = Capabilities {
            aeads: vec![Supported::new(AeadAlgorithm::AesGcm, any()).with_tags(&[16])],
            integrity: vec![Supported::new(IntegrityAlgorithm::HmacSha1, any()).with_tags(&[12])],
            ..Capabilities::default()
        };
        let driver = Self { name, capabilities, clock: clock.clone(), manner };
        Candidate::new(move || driver.clone())
    }
}

impl Driver for Virtual {
    fn name(&self) -> &str {
        self.name
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn open_session(&self, _id: SessionId, params: &SessionParams) -> Result<(), OpenError> {
        let driver = || self.name.to_owned();
        self.capabilities
            .check(params)
            .map_err(|what: Unsupported| OpenError::Unsupported { driver: driver(), what })
    }
    fn close_session(&self, _id: SessionId) {}
    fn queue_pair(&self, _config: &QueuePairConfig) -> Box<dyn QueuePair> {
        Box::new(Queue { held: VecDeque::new(), ready: VecDeque::new(), driver: self.clone() })
    }
}

#[derive(Debug)]
struct Queue {
    held: VecDeque<Job>,
    ready: VecDeque<Job>,
    driver: Virtual,
}

impl Queue {
    fn start(&mut self) {
        let (clock, manner) = (&self.driver.clock, self.driver.manner);
        if !self.held.is_empty() {
            clock.advance((manner.call)(self.held.len()));
        }
        for mut job in self.held.drain(..) {
            // Of a session with a keyed hash alone, the cipher range is the payload all the same.
            clock.advance((manner.job)(job.cipher_range().1, clock.tick()));
            job.set_status((manner.status)(&job));
            if !manner.loses {
                self.ready.push_back(job);
            }
        }
    }
}

impl QueuePair for Queue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        let count = jobs.len();
        self.held.extend(jobs.drain());
        if self.held.len() >= self.driver.manner.batch {
            self.start();
        }
        count
    }
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        let count = done.room().min(self.ready.len());
        self.ready.drain(..count).for_each(|job| done.push(job).unwrap());
        count
    }
    fn flush(&mut self) {
        self.start();
    }
}
