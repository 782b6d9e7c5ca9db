//! A card for tests: a queue in memory that can be blocked, slowed, broken and taken away. It begins a job when it is polled, and has the
//! software driver do it then, so that results are right and it is known which jobs it had begun.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crypto_pmd::drivers::Software;
use crypto_pmd::job::JobBurst;
use crypto_pmd::key_op::Unblock;
use crypto_pmd::*;

/// What a test does to a card, and sees of it; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Levers(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Takes nothing and says that it is blocked.
    blocked: AtomicBool,
    /// Gives nothing back.
    stalled: AtomicBool,
    /// Jobs that it fails with this status, out of so many; 0 for none.
    fails: AtomicUsize,
    /// Gives the newest back first.
    backwards: AtomicBool,
    submits: AtomicU64,
    done: AtomicU64,
    sessions: AtomicUsize,
    alive: AtomicBool,
    unblocks: Mutex<Vec<Unblock>>,
    /// Under which id it keeps each session, and how many jobs it did under each.
    own_ids: Mutex<HashMap<SessionId, u64>>,
    next_own_id: AtomicU64,
    done_under: Mutex<HashMap<u64, u64>>,
    /// Gives the same id to every session.
    repeats: AtomicBool,
    /// Jobs that it got in several segments.
    in_pieces: AtomicU64,
}

impl Levers {
    pub(crate) fn block(&self) {
        self.0.blocked.store(true, Ordering::Release);
    }
    /// Room first, then the signal.
    pub(crate) fn unblock(&self) {
        self.0.blocked.store(false, Ordering::Release);
        self.0.unblocks.lock().unwrap().iter().for_each(Unblock::signal);
    }
    pub(crate) fn stall(&self, stalled: bool) {
        self.0.stalled.store(stalled, Ordering::Release);
    }
    pub(crate) fn fail_one_in(&self, jobs: usize) {
        self.0.fails.store(jobs, Ordering::Release);
    }
    pub(crate) fn go_backwards(&self) {
        self.0.backwards.store(true, Ordering::Release);
    }
    /// Its session ids begin here.
    pub(crate) fn number_from(&self, id: u64) {
        self.0.next_own_id.store(id, Ordering::Release);
    }
    pub(crate) fn repeat_ids(&self) {
        self.0.repeats.store(true, Ordering::Release);
    }
    /// Jobs that it did under an id of its own.
    pub(crate) fn done_under(&self, id: u64) -> u64 {
        self.0.done_under.lock().unwrap().get(&id).copied().unwrap_or(0)
    }
    pub(crate) fn in_pieces(&self) -> u64 {
        self.0.in_pieces.load(Ordering::Acquire)
    }
    pub(crate) fn submits(&self) -> u64 {
        self.0.submits.load(Ordering::Acquire)
    }
    pub(crate) fn done(&self) -> u64 {
        self.0.done.load(Ordering::Acquire)
    }
    pub(crate) fn sessions(&self) -> usize {
        self.0.sessions.load(Ordering::Acquire)
    }
    /// Whether the driver was not dropped yet.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.alive.load(Ordering::Acquire)
    }
}

/// The driver.
#[derive(Debug)]
pub(crate) struct Card {
    name: String,
    capabilities: Capabilities,
    engine: Software,
    levers: Levers,
}

impl Card {
    /// A card with all of the software driver's algorithms.
    pub(crate) fn new(name: &str) -> (Self, Levers) {
        let engine = Software::new();
        let capabilities = Capabilities {
            hardware: true,
            synchronous: false,
            in_order: true,
            ..engine.capabilities().clone()
        };
        let levers = Levers::default();
        levers.0.alive.store(true, Ordering::Release);
        (Self { name: name.to_owned(), capabilities, engine, levers: levers.clone() }, levers)
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Capabilities)) -> Self {
        change(&mut self.capabilities);
        self
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        self.levers.0.alive.store(false, Ordering::Release);
    }
}

impl Driver for Card {
    fn name(&self) -> &str {
        &self.name
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn open_session(&self, id: SessionId, params: &SessionParams) -> Result<(), OpenError> {
        let driver = || self.name.clone();
        self.capabilities.check(params).map_err(|what| OpenError::Unsupported { driver: driver(), what })?;
        if self.capabilities.max_sessions == Some(self.levers.sessions()) {
            return Err(OpenError::Full { driver: driver() });
        }
        self.engine.open_session(id, params)?;
        self.levers.0.sessions.fetch_add(1, Ordering::AcqRel);
        let step = u64::from(!self.levers.0.repeats.load(Ordering::Acquire));
        let own = self.levers.0.next_own_id.fetch_add(step, Ordering::AcqRel);
        self.levers.0.own_ids.lock().unwrap().insert(id, own);
        Ok(())
    }
    fn own_session_id(&self, id: SessionId) -> Option<u64> {
        self.levers.0.own_ids.lock().unwrap().get(&id).copied()
    }
    fn close_session(&self, id: SessionId) {
        self.engine.close_session(id);
        self.levers.0.sessions.fetch_sub(1, Ordering::AcqRel);
    }
    fn collect(&self) -> usize {
        self.engine.collect()
    }
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        let engine = self.engine.queue_pair(&QueuePairConfig { depth: 1, far: false });
        let (jobs, levers) = (VecDeque::new(), self.levers.clone());
        Box::new(Queue { jobs, depth: config.depth, engine, one: JobBurst::new(), levers, seen: 0 })
    }
}

#[derive(Debug)]
struct Queue {
    jobs: VecDeque<Job>,
    depth: usize,
    engine: Box<dyn QueuePair>,
    one: JobBurst,
    levers: Levers,
    seen: usize,
}

impl Queue {
    fn do_one(&mut self, mut job: Job) -> Job {
        self.seen += 1;
        let inner = &self.levers.0;
        inner.in_pieces.fetch_add(u64::from(job.source().is_chained()), Ordering::AcqRel);
        if let Some(own) = inner.own_ids.lock().unwrap().get(&job.session()) {
            *inner.done_under.lock().unwrap().entry(*own).or_default() += 1;
        }
        let fails = self.levers.0.fails.load(Ordering::Acquire);
        if fails > 0 && self.seen.is_multiple_of(fails) {
            // Half-way: nobody knows what is in the packet now.
            let (source, _, _) = job.parts_mut();
            source.data_mut().iter_mut().for_each(|byte| *byte ^= 0xa5);
            job.set_status(Status::Indeterminate);
            return job;
        }
        self.one.push(job).unwrap();
        assert_eq!(self.engine.submit(&mut self.one), 1);
        assert_eq!(self.engine.poll(&mut self.one), 1);
        self.levers.0.done.fetch_add(1, Ordering::AcqRel);
        self.one.pop().unwrap()
    }
}

impl QueuePair for Queue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.levers.0.submits.fetch_add(1, Ordering::AcqRel);
        if self.is_blocked() {
            return 0;
        }
        let before = self.jobs.len();
        self.jobs.extend(jobs.drain_front(self.depth - before));
        self.jobs.len() - before
    }
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        if self.levers.0.stalled.load(Ordering::Acquire) {
            return 0;
        }
        let before = done.len();
        while done.room() > 0 {
            let backwards = self.levers.0.backwards.load(Ordering::Acquire);
            let next = if backwards { self.jobs.pop_back() } else { self.jobs.pop_front() };
            let Some(job) = next else { break };
            // Given back untouched when the driver went.
            let job = if job.status() == Status::Retry { job } else { self.do_one(job) };
            done.push(job).unwrap();
        }
        done.len() - before
    }
    fn set_unblock(&mut self, unblock: Unblock) {
        self.levers.0.unblocks.lock().unwrap().push(unblock);
    }
    fn is_blocked(&self) -> bool {
        self.levers.0.blocked.load(Ordering::Acquire)
    }
    fn leave(&mut self) {
        self.jobs.iter_mut().for_each(|job| job.set_status(Status::Retry));
    }
}
