//! Callbacks: each job is submitted with something that is called when the job is done, from inside the call that fetched
//! it from the driver.
//!
//! Invariants: a callback is called once for each job that was taken, with the caller's own cookie in the job; while it runs it
//! may submit and cannot poll, so calls do not nest; a callback that panics costs its own job and nothing else. What is needed is made at
//! construction: a slab of slots, one for each job under way, found again by the job's cookie. A callback is a value in its slot, so the
//! data path uses the heap only if making or cloning that value does; a [`Callback`] is a counted pointer to a closure
//! that the caller made before.

mod panics;
mod slots;

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::crew::Crypto;
use crate::dispatcher::Dispatcher;
use crate::job::{Job, JobBurst};
use crate::registry::Registry;
use crate::session::SessionId;

use panics::Panics;
use slots::{Entry, Slots};

pub use panics::CallbackPanicked;

/// When a callback may be called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// In whichever call brings the job back: the submit, where the driver is that fast, or else a poll.
    Immediate,
    /// As [`Mode::Immediate`] where the driver of the session is synchronous (see [`Callbacks::set_synchronous`]), else as
    /// [`Mode::Polled`].
    IfSynchronous,
    /// In a poll, never in a submit.
    #[default]
    Polled,
}

/// What is called with a finished job. It is a value that is used up by the call; one that submits again may hand itself on.
pub trait OnDone: Sized {
    /// The job is done, or failed: its status says which.
    fn on_done(self, job: Job, submitter: &mut Submitter<'_, Self>);
}

/// What a [`Callback`] points to.
type Closure = dyn Fn(Job, &mut Submitter<'_, Callback>) + Send + Sync;

/// A closure to be called with finished jobs; clones share it, and cost no memory.
#[derive(Clone)]
pub struct Callback(Arc<Closure>);

impl Callback {
    /// Puts a closure on the heap, before the data path begins.
    pub fn new(closure: impl Fn(Job, &mut Submitter<'_, Self>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(closure))
    }
}

impl OnDone for Callback {
    fn on_done(self, job: Job, submitter: &mut Submitter<'_, Self>) {
        (self.0)(job, submitter);
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}

/// A job was not taken: every slot is in use, or the driver has no room; or, from within a callback, nothing more is wanted
/// ([`Callbacks::close`]). Nothing was changed, and it may be submitted again after a poll.
#[derive(Debug)]
pub struct Refused<C> {
    /// The job, as it was.
    pub job: Job,
    /// Its callback.
    pub callback: C,
}

/// A dispatcher, or anything like it, whose jobs come back by callback.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use crypto_pmd::completion::{Callback, Callbacks, Mode};
/// use crypto_pmd::drivers::Null;
/// use crypto_pmd::*;
/// use pipeline::{Pool, PoolConfig};
///
/// let registry = Registry::new();
/// registry.attach(Null::new())?;
/// let session = registry.open(SessionParams::default(), Placement::Any)?;
/// let dispatcher = registry.dispatcher(&QueuePairConfig::default())?;
/// let mut callbacks = Callbacks::new(dispatcher, 64);
///
/// let sum = Arc::new(AtomicU64::new(0));
/// let seen = Arc::clone(&sum);
/// let callback = Callback::new(move |job, _| {
///     seen.fetch_add(job.cookie(), Ordering::Relaxed);
/// });
/// let pool = Pool::new(PoolConfig { buffers: 2, ..PoolConfig::default() })?;
/// let job = |cookie| Job::new(pool.alloc().unwrap(), session, Operation::Encrypt).with_cookie(cookie);
/// assert!(callbacks.submit(job(3), Mode::Immediate, callback.clone()).is_ok());
/// assert_eq!(sum.load(Ordering::Relaxed), 3, "called inside the submit");
/// assert!(callbacks.submit(job(4), Mode::Polled, callback).is_ok());
/// assert_eq!(sum.load(Ordering::Relaxed), 3);
/// assert_eq!(callbacks.poll(), 1);
/// assert_eq!(sum.load(Ordering::Relaxed), 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Callbacks<C = Callback, D = Dispatcher> {
    crypto: D,
    core: Core<C>,
}

/// What a callback may do: submit.
pub struct Submitter<'a, C> {
    crypto: &'a mut dyn Crypto,
    core: &'a mut Core<C>,
}

/// Everything but what does the jobs.
#[derive(Debug)]
struct Core<C> {
    slots: Slots<C>,
    /// Finished jobs that came back in a submit and wait for a poll.
    held: VecDeque<Job>,
    /// Jobs on their way in; empty, and here, between calls.
    staged: Option<JobBurst>,
    /// Jobs on their way out; empty, and here, between calls.
    done: Option<JobBurst>,
    /// By a session's place: the generation of its handle, and whether its driver is synchronous.
    synchronous: Vec<Option<(u32, bool)>>,
    panics: Panics,
    called: u64,
    strays: u64,
    closed: bool,
}

impl<C: OnDone, D: Crypto> Callbacks<C, D> {
    /// Over `crypto`, with `slots` slots (at least one): the most jobs that may be under way, those included whose
    /// callbacks wait for a poll.
    #[must_use]
    pub fn new(crypto: D, slots: usize) -> Self {
        let slots = Slots::new(slots.max(1));
        let core = Core {
            held: VecDeque::with_capacity(slots.len()),
            slots,
            staged: Some(JobBurst::new()),
            done: Some(JobBurst::new()),
            synchronous: Vec::new(),
            panics: Panics::new(),
            called: 0,
            strays: 0,
            closed: false,
        };
        Self { crypto, core }
    }

    /// Says whether the driver on which a session lies is synchronous
    /// ([`Capabilities::synchronous`](crate::Capabilities::synchronous)), for [`Mode::IfSynchronous`]; to be said when a session was
    /// opened, and again when it moved. A session of which nothing was said counts as asynchronous: its callbacks come
    /// by the next poll.
    pub fn set_synchronous(&mut self, session: SessionId, synchronous: bool) {
        let table = &mut self.core.synchronous;
        if table.len() <= session.index() {
            table.resize(session.index() + 1, None);
        }
        if let Some(place) = table.get_mut(session.index()) {
            *place = Some((session.generation(), synchronous));
        }
    }

    /// As [`Callbacks::set_synchronous`], with what the registry knows of the session now: true where every driver that has it is
    /// synchronous. To be called again when it moved.
    pub fn ask_synchronous(&mut self, registry: &Registry, session: SessionId) {
        self.set_synchronous(session, registry.is_synchronous(session).unwrap_or(false));
    }

    /// Hands a job on. As its mode allows, callbacks are called before this returns, also those of other jobs.
    ///
    /// # Errors
    /// Without a free slot, or room in the driver, job and callback come back.
    pub fn submit(&mut self, job: Job, mode: Mode, callback: C) -> Result<(), Refused<C>> {
        self.core.submit(&mut self.crypto, job, mode, callback)?;
        self.call_at_once(mode);
        Ok(())
    }

    /// Hands jobs on that share a callback, and returns how many were taken; the rest stays in `jobs`, in order. Callbacks
    /// are called as in [`Callbacks::submit`].
    pub fn submit_burst(&mut self, jobs: &mut JobBurst, mode: Mode, callback: &C) -> usize
    where
        C: Clone,
    {
        let taken = self.core.submit_burst(&mut self.crypto, jobs, mode, callback);
        if taken > 0 {
            self.call_at_once(mode);
        }
        taken
    }

    /// Fetches what is done and calls its callbacks; returns how many.
    pub fn poll(&mut self) -> usize {
        let before = self.core.called;
        for _ in 0..self.core.held.len() {
            if let Some(job) = self.core.held.pop_front() {
                self.core.finish(&mut self.crypto, job);
            }
        }
        self.fetch(|_| true);
        (self.core.called - before) as usize
    }

    /// From now on callbacks cannot submit, so that polling comes to an end.
    pub fn close(&mut self) {
        self.core.closed = true;
    }

    /// Starts whatever is held back to fill a batch.
    pub fn flush(&mut self) {
        self.crypto.flush();
    }

    /// The core goes to sleep or stops: no claim is held on anything shared until the next call.
    pub fn offline(&mut self) {
        self.crypto.offline();
    }

    /// Jobs that were taken and whose callbacks were not called.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.core.slots.used()
    }

    /// Callbacks called so far, those that panicked included.
    #[must_use]
    pub fn called(&self) -> u64 {
        self.core.called
    }

    /// Callbacks that panicked so far.
    #[must_use]
    pub fn panicked(&self) -> u64 {
        self.core.panics.count()
    }

    /// The oldest panic that was not asked for yet. A few are kept; of those beyond, only the number is.
    pub fn take_panic(&mut self) -> Option<CallbackPanicked> {
        self.core.panics.take()
    }

    /// Jobs dropped because their cookies had been changed on the way: a fault of a driver.
    #[must_use]
    pub fn strays(&self) -> u64 {
        self.core.strays
    }

    fn call_at_once(&mut self, mode: Mode) {
        if mode != Mode::Polled {
            self.fetch(|entry| entry.at_once);
        }
    }

    /// Fetches a burst and finishes those that `now` names; the others wait for a poll.
    fn fetch(&mut self, now: impl Fn(&Entry<C>) -> bool) {
        let Some(mut done) = self.core.done.take() else { return };
        self.crypto.poll(&mut done);
        for job in done.drain() {
            if self.core.slots.entry(job.cookie()).is_none_or(&now) {
                self.core.finish(&mut self.crypto, job);
            } else {
                // There is a place for each slot.
                self.core.held.push_back(job);
            }
        }
        self.core.done = Some(done);
    }
}

impl<C: OnDone> Submitter<'_, C> {
    /// As [`Callbacks::submit`], but no callback is called before the one that submits has returned, and not in the same
    /// call: a chain of jobs, each submitted by the one before, cannot keep its core for ever.
    ///
    /// # Errors
    /// Without a free slot, or room in the driver, job and callback come back. The slot of the job whose callback runs is
    /// free already.
    pub fn submit(&mut self, job: Job, mode: Mode, callback: C) -> Result<(), Refused<C>> {
        if self.core.closed {
            return Err(Refused { job, callback });
        }
        self.core.submit(self.crypto, job, mode, callback)
    }

    /// As [`Callbacks::submit_burst`], with the difference that [`Submitter::submit`] has.
    pub fn submit_burst(&mut self, jobs: &mut JobBurst, mode: Mode, callback: &C) -> usize
    where
        C: Clone,
    {
        if self.core.closed { 0 } else { self.core.submit_burst(self.crypto, jobs, mode, callback) }
    }

    /// Jobs that the slab still has slots for.
    #[must_use]
    pub fn room(&self) -> usize {
        self.core.slots.free()
    }
}

impl<C> fmt::Debug for Submitter<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitter").field("room", &self.core.slots.free()).finish_non_exhaustive()
    }
}

impl<C: OnDone> Core<C> {
    fn at_once(&self, mode: Mode, session: SessionId) -> bool {
        let known = || self.synchronous.get(session.index()).copied().flatten();
        match mode {
            Mode::Immediate => true,
            Mode::IfSynchronous => known() == Some((session.generation(), true)),
            Mode::Polled => false,
        }
    }

    fn submit(
        &mut self,
        crypto: &mut dyn Crypto,
        mut job: Job,
        mode: Mode,
        callback: C,
    ) -> Result<(), Refused<C>> {
        let at_once = self.at_once(mode, job.session());
        let Some(mut staged) = self.staged.take() else { return Err(Refused { job, callback }) };
        let stored = self.slots.put(&mut job, at_once, callback);
        if let Err(callback) = stored {
            self.staged = Some(staged);
            return Err(Refused { job, callback });
        }
        // It is empty, so there is room.
        drop(staged.push(job));
        crypto.submit(&mut staged);
        let back = staged.pop();
        self.staged = Some(staged);
        match back.map(|mut job| (self.slots.take_for(&mut job), job)) {
            Some((Some(entry), job)) => Err(Refused { job, callback: entry.callback }),
            _ => Ok(()),
        }
    }

    fn submit_burst(
        &mut self,
        crypto: &mut dyn Crypto,
        jobs: &mut JobBurst,
        mode: Mode,
        callback: &C,
    ) -> usize
    where
        C: Clone,
    {
        let Some(mut staged) = self.staged.take() else { return 0 };
        let offered = staged.take_some_from(jobs, self.slots.free());
        for job in &mut staged {
            let at_once = self.at_once(mode, job.session());
            // As many were staged as there are slots.
            drop(self.slots.put(job, at_once, callback.clone()));
        }
        crypto.submit(&mut staged);
        let taken = offered - staged.len();
        for job in &mut staged {
            drop(self.slots.take_for(job));
        }
        // What was not taken goes in front of what was not offered.
        staged.take_from(jobs);
        std::mem::swap(jobs, &mut staged);
        self.staged = Some(staged);
        taken
    }

    /// Calls a job's callback.
    fn finish(&mut self, crypto: &mut dyn Crypto, mut job: Job) {
        let Some(entry) = self.slots.take_for(&mut job) else {
            self.strays += 1;
            return;
        };
        self.called += 1;
        let cookie = job.cookie();
        let mut submitter = Submitter { crypto, core: self };
        // Nothing of this module can be half-way through a change when a callback panics: it calls in here, and out again.
        let call = AssertUnwindSafe(|| entry.callback.on_done(job, &mut submitter));
        if let Err(fault) = catch_unwind(call) {
            self.panics.note(cookie, fault);
        }
    }
}
