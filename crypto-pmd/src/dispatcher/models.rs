//! What a core's dispatcher shares with control code and with the engines behind its queue pairs, over its interleavings with a few
//! preemptions, by loom.
//!
//! Dispatcher, lanes, mail, order, routes and registry are the real ones. Not modelled: the drivers are stand-ins; packets come
//! from a pool outside of the model, whose free list shares nothing between the models' threads; and the registry's own lock is that of the
//! standard library, so that one thread does all of control.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::AtomicBool as Flag;
use std::sync::{Arc as Plain, OnceLock};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;
use pipeline::ring::LargeRing;
use pipeline::{Pool, PoolConfig};

use super::*;
use crate::balance::Policy;
use crate::capability::Capabilities;
use crate::device::{Driver, DriverId, OpenError, QueuePair, QueuePairConfig};
use crate::drivers::Null;
use crate::key_op::Unblock;
use crate::{Placement, Registry, SessionParams};

fn model(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(check);
}

/// A job for each cookie.
fn burst(session: SessionId, cookies: &[u64]) -> JobBurst {
    static POOL: OnceLock<Pool> = OnceLock::new();
    let pool = POOL.get_or_init(|| Pool::new(PoolConfig { buffers: 1024, stride: 512 }).unwrap());
    let job = |&cookie| Job::new(pool.alloc().unwrap(), session, Operation::Encrypt).with_cookie(cookie);
    let mut burst = JobBurst::new();
    burst.extend(cookies.iter().map(job));
    burst
}

fn cookies_of_done(jobs: &JobBurst) -> Vec<u64> {
    assert!(jobs.iter().all(|job| job.status() == Status::Done));
    jobs.iter().map(Job::cookie).collect()
}

/// A driver that makes its queue pairs by a function.
struct Card {
    name: &'static str,
    capabilities: Capabilities,
    queue: Box<dyn Fn() -> Box<dyn QueuePair> + Send + Sync>,
    _end: Option<Ending>,
}

impl Card {
    fn new<Q: QueuePair + 'static>(
        name: &'static str,
        queue: impl Fn() -> Q + Send + Sync + 'static,
    ) -> Self {
        let capabilities = Capabilities { in_order: true, hardware: true, ..Capabilities::default() };
        Self { name, capabilities, queue: Box::new(move || Box::new(queue())), _end: None }
    }
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Driver for Card {
    fn name(&self) -> &str {
        self.name
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn open_session(&self, _id: SessionId, _params: &SessionParams) -> Result<(), OpenError> {
        Ok(())
    }
    fn close_session(&self, _id: SessionId) {}
    fn queue_pair(&self, _config: &QueuePairConfig) -> Box<dyn QueuePair> {
        (self.queue)()
    }
}

fn session_on(registry: &Registry, driver: DriverId) -> SessionId {
    registry.open(SessionParams::default(), Placement::Driver(driver)).unwrap()
}

fn dispatcher(registry: &Registry) -> Dispatcher {
    registry.dispatcher(&QueuePairConfig::default()).unwrap()
}

/// Room that another thread makes, for a job at a time, and the handle by which it says so.
#[derive(Clone, Debug)]
struct Room {
    jobs: Arc<AtomicUsize>,
    unblock: Plain<OnceLock<Unblock>>,
}

impl Room {
    fn none() -> Self {
        Self { jobs: Arc::new(AtomicUsize::new(0)), unblock: Plain::default() }
    }
    fn make(&self) {
        // Relaxed: it is the signal that carries it.
        self.jobs.fetch_add(1, Relaxed);
        self.unblock.get().unwrap().signal();
    }
    fn queue(&self) -> Narrow {
        Narrow { room: self.clone(), jobs: VecDeque::new(), refused: false }
    }
}

/// Takes jobs as far as there is room.
#[derive(Debug)]
struct Narrow {
    room: Room,
    jobs: VecDeque<Job>,
    refused: bool,
}

impl QueuePair for Narrow {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        assert!(!jobs.is_empty());
        let count = self.room.jobs.load(Relaxed).min(jobs.len());
        self.room.jobs.fetch_sub(count, Relaxed);
        self.jobs.extend(jobs.drain_front(count));
        // As it was then: there may be room by the time when it is asked.
        self.refused = !jobs.is_empty();
        count
    }
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        let count = self.jobs.len();
        self.jobs.iter_mut().for_each(|job| job.set_status(Status::Done));
        done.extend(self.jobs.drain(..));
        count
    }
    fn set_unblock(&mut self, unblock: Unblock) {
        self.room.unblock.set(unblock).unwrap();
    }
    fn is_blocked(&self) -> bool {
        self.refused
    }
}

/// Two jobs for a driver that gets room for one, and then for another one, while they are submitted and polled.
fn jobs_that_wait_are_done_once_there_is_room(alone: bool) {
    let (registry, room) = (Registry::new(), Room::none());
    let driver = room.clone();
    let card = registry.attach(Card::new("narrow0", move || driver.queue())).unwrap();
    if !alone {
        registry.attach(Null::new()).unwrap();
    }
    let session = session_on(&registry, card);
    let mut core = dispatcher(&registry);
    let engine = thread::spawn(move || (0..2).for_each(|_| room.make()));
    let mut done = JobBurst::new();
    for cookie in 1..=2 {
        let mut jobs = burst(session, &[cookie]);
        assert_eq!(core.submit(&mut jobs), 1, "what the driver does not take waits");
        core.poll(&mut done);
    }
    engine.join().unwrap();
    core.poll(&mut done);
    assert_eq!(cookies_of_done(&done), [1, 2], "there is room, and nothing is left to say so");
    assert_eq!((core.in_flight(), core.poll(&mut done)), (0, 0));
}

#[test]
fn an_only_driver_that_makes_room_at_any_moment_gets_each_job_that_waits_once() {
    model(3, || jobs_that_wait_are_done_once_there_is_room(true));
}

#[test]
fn a_driver_among_others_that_makes_room_at_any_moment_gets_each_job_that_waits_once() {
    model(3, || jobs_that_wait_are_done_once_there_is_room(false));
}

/// What can be seen of a driver from outside; no part of what is modelled.
#[derive(Clone, Debug, Default)]
struct Life(Plain<Ends>);

#[derive(Debug, Default)]
struct Ends {
    queue: Flag,
    driver: Flag,
    /// The driver went while a dispatcher had a lane of it, or a lane went with jobs in it.
    in_disorder: Flag,
}

impl Life {
    /// Whether the driver went, in order.
    fn is_over(&self) -> bool {
        assert!(!self.0.in_disorder.load(Relaxed), "a lane or a driver went that was in use");
        self.0.driver.load(Relaxed)
    }
}

/// Dropped with the driver.
struct Ending(Life);

impl Drop for Ending {
    fn drop(&mut self) {
        let Life(ends) = &self.0;
        ends.driver.store(true, Relaxed);
        ends.in_disorder.fetch_or(!ends.queue.load(Relaxed), Relaxed);
    }
}

/// Begins nothing, and gives everything back when the driver goes, one at a time.
#[derive(Debug)]
struct Idle {
    jobs: VecDeque<Job>,
    goes: bool,
    life: Life,
}

impl Idle {
    fn card() -> (Card, Life) {
        let life = Life::default();
        let of_queue = life.clone();
        let queue = move || Self { jobs: VecDeque::new(), goes: false, life: of_queue.clone() };
        let card = Card { _end: Some(Ending(life.clone())), ..Card::new("idle0", queue) };
        (card, life)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let Life(ends) = &self.life;
        ends.queue.store(true, Relaxed);
        ends.in_disorder.fetch_or(!self.jobs.is_empty(), Relaxed);
    }
}

impl QueuePair for Idle {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        assert!(!self.goes, "a job for a driver that was told that it goes");
        let count = jobs.len();
        self.jobs.extend(jobs.drain());
        count
    }
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        let count = usize::from(self.goes).min(self.jobs.len());
        self.jobs.iter_mut().for_each(|job| job.set_status(Status::Retry));
        done.extend(self.jobs.drain(..count));
        count
    }
    fn leave(&mut self) {
        self.goes = true;
    }
}

/// Submits two jobs, one after the other, and polls until both have come back.
fn two_jobs(mut core: Dispatcher, session: SessionId) -> Dispatcher {
    let (mut jobs, mut done) = (burst(session, &[1]), JobBurst::new());
    core.submit(&mut jobs);
    core.poll(&mut done);
    jobs.extend(burst(session, &[2]).drain());
    while done.len() < 2 {
        core.submit(&mut jobs);
        core.poll(&mut done);
        thread::yield_now();
    }
    assert_eq!((cookies_of_done(&done), core.in_flight(), jobs.len()), (vec![1, 2], 0, 0));
    core
}

#[test]
fn a_driver_that_goes_while_jobs_are_submitted_leaves_each_of_them_to_another_once() {
    model(2, || {
        let registry = Registry::new();
        let (card, life) = Idle::card();
        let card = registry.attach(card).unwrap();
        registry.attach(Null::new()).unwrap();
        let session = session_on(&registry, card);
        let core = dispatcher(&registry);
        let core = thread::spawn(move || two_jobs(core, session));
        assert_eq!(registry.detach(card).unwrap().moved, 1);
        registry.collect();
        let mut core = core.join().unwrap();
        // It may have done all before it was told.
        core.poll(&mut JobBurst::new());
        registry.collect();
        assert!(life.is_over(), "its place is not free although nobody has a lane of it");
    });
}

#[test]
fn a_driver_that_comes_gets_the_place_of_one_that_goes_when_no_lane_is_left_of_that() {
    model(2, || {
        let registry = Registry::new();
        let (card, life) = Idle::card();
        let card = registry.attach(card).unwrap();
        registry.attach(Null::new()).unwrap();
        let session = session_on(&registry, card);
        let core = dispatcher(&registry);
        let core = thread::spawn(move || two_jobs(core, session));
        registry.detach(card).unwrap();
        registry.collect();
        let room = Room::none();
        let queue = room.clone();
        let newcomer = registry.attach(Card::new("narrow0", move || queue.queue())).unwrap();
        registry.move_to(session, newcomer).unwrap();
        (0..2).for_each(|_| room.make());
        let mut core = core.join().unwrap();
        core.poll(&mut JobBurst::new());
        registry.collect();
        assert!(life.is_over());
    });
}

/// The rings between a queue pair and its engine.
#[derive(Clone, Debug)]
struct Rings {
    to: Arc<LargeRing<Job>>,
    back: Arc<LargeRing<Job>>,
}

impl Rings {
    fn new() -> Self {
        let ring = || Arc::new(LargeRing::of_large(2));
        Self { to: ring(), back: ring() }
    }
    /// The engine's turn: does a burst.
    fn work(&self) {
        let mut burst = self.to.pop().unwrap();
        burst.iter_mut().for_each(|job| job.set_status(Status::Done));
        self.back.push(burst).unwrap();
    }
}

impl QueuePair for Rings {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        let count = jobs.len();
        self.to.push(std::mem::take(jobs)).unwrap();
        count
    }
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        self.back.pop().map_or(0, |mut burst| done.take_from(&mut burst))
    }
}

#[test]
fn jobs_leave_in_order_whichever_of_two_engines_is_done_first() {
    const WORD: u32 = 77;
    model(2, || {
        let registry = Registry::new();
        let cards = [Rings::new(), Rings::new()];
        for (name, rings) in ["left0", "right0"].into_iter().zip(&cards) {
            let rings = rings.clone();
            registry.attach(Card::new(name, move || rings.clone())).unwrap();
        }
        let session = registry.open(SessionParams::default(), Placement::All(Policy::RoundRobin)).unwrap();
        let mut core = dispatcher(&registry);
        // The first and the third to one card, the second to the other.
        for cookie in 1..=3 {
            let mut jobs = burst(session, &[cookie]);
            jobs.iter_mut().for_each(|job| job.set_order(WORD));
            assert_eq!(core.submit(&mut jobs), 1);
        }
        let engines = cards.map(|rings| {
            thread::spawn(move || {
                while !rings.to.is_empty() {
                    rings.work();
                }
            })
        });
        let mut done = JobBurst::new();
        while done.len() < 3 {
            core.poll(&mut done);
            thread::yield_now();
        }
        engines.into_iter().for_each(|engine| engine.join().unwrap());
        assert_eq!(cookies_of_done(&done), [1, 2, 3]);
        assert!(done.iter().all(|job| job.order() == WORD), "a caller's word is its own");
        assert_eq!((core.in_flight(), core.counters().late), (0, 0));
    });
}
