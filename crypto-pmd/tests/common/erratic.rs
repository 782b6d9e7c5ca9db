//! A driver that computes nothing and is hard to please: it blocks at random, finishes in any order, and holds everything
//! back while its gate is shut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crypto_pmd::device::{Driver, OpenError, QueuePair};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::Pool;

/// Its temper.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Temper {
    pub(crate) depth: usize,
    /// Takes and gives as many as it likes, in any order; else all it can, in order.
    pub(crate) moody: bool,
    pub(crate) synchronous: bool,
}

impl Temper {
    pub(crate) const CALM: Self = Self { depth: 64, moody: false, synchronous: true };
    pub(crate) const MOODY: Self = Self { depth: 40, moody: true, synchronous: true };
}

#[derive(Debug)]
pub(crate) struct Erratic {
    name: String,
    temper: Temper,
    capabilities: Capabilities,
    gate: Gate,
    seeds: AtomicU64,
}

/// Open or shut, for all queue pairs of a driver.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<AtomicBool>);

impl Gate {
    pub(crate) fn set_open(&self, open: bool) {
        self.0.store(open, Ordering::SeqCst);
    }
}

impl Erratic {
    pub(crate) fn new(unit: usize, temper: Temper) -> (Self, Gate) {
        let gate = Gate(Arc::new(AtomicBool::new(true)));
        let capabilities =
            Capabilities { anything: true, synchronous: temper.synchronous, ..Capabilities::default() };
        let (name, seeds) = (format!("erratic{unit}"), AtomicU64::new(1));
        (Self { name, temper, capabilities, gate: gate.clone(), seeds }, gate)
    }

    /// Alone in a registry, with a session.
    pub(crate) fn alone(temper: Temper) -> (Registry, SessionId, Gate) {
        let registry = Registry::new();
        let (driver, gate) = Self::new(0, temper);
        registry.attach(driver).unwrap();
        let session = registry.open(SessionParams::default(), Placement::Any).unwrap();
        (registry, session, gate)
    }
}

impl Driver for Erratic {
    fn name(&self) -> &str {
        &self.name
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn open_session(&self, _id: SessionId, _params: &SessionParams) -> Result<(), OpenError> {
        Ok(())
    }
    fn close_session(&self, _id: SessionId) {}
    fn queue_pair(&self, _config: &QueuePairConfig) -> Box<dyn QueuePair> {
        let seed = self.seeds.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let jobs = Vec::with_capacity(self.temper.depth);
        Box::new(Queue { jobs, temper: self.temper, gate: self.gate.clone(), seed })
    }
}

#[derive(Debug)]
struct Queue {
    jobs: Vec<Job>,
    temper: Temper,
    gate: Gate,
    seed: u64,
}

impl Queue {
    /// Up to `most`, by a generator of Marsaglia's (xorshift64).
    fn some(&mut self, most: usize) -> usize {
        if !self.temper.moody {
            return most;
        }
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed % (most as u64 + 1)) as usize
    }
}

impl QueuePair for Queue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        let room = self.temper.depth - self.jobs.len();
        let count = self.some(room.min(jobs.len()));
        self.jobs.extend(jobs.drain_front(count));
        count
    }

    fn poll(&mut self, done: &mut JobBurst) -> usize {
        if !self.gate.0.load(Ordering::SeqCst) {
            return 0;
        }
        let count = self.some(done.room().min(self.jobs.len()));
        for _ in 0..count {
            let at = if self.temper.moody { self.some(self.jobs.len() - 1) } else { 0 };
            let mut job = self.jobs.remove(at);
            job.set_status(Status::Done);
            done.push(job).unwrap();
        }
        count
    }
}

/// A job whose packet holds its cookie, so that one is known by the other.
pub(crate) fn marked(pool: &Pool, session: SessionId, cookie: u64) -> Job {
    let packet = pool.alloc_copy(&cookie.to_be_bytes()).unwrap();
    Job::new(packet, session, Operation::Encrypt).with_cookie(cookie)
}

/// The cookie of a job that is done and has its own packet.
pub(crate) fn mark(job: &Job) -> u64 {
    assert_eq!(job.status(), Status::Done);
    assert_eq!(job.source().data(), job.cookie().to_be_bytes());
    job.cookie()
}
