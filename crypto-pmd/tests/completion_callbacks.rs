//! Callbacks: each is called once, from inside the call that its mode allows, may submit, and takes nothing down when it panics.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use common::erratic::{Erratic, Gate, Temper, mark, marked};
use crypto_pmd::completion::{CallbackPanicked, Callbacks, Mode, OnDone, Refused, Submitter};
use crypto_pmd::crew::{CrewConfig, Owner, Worker, crew};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::{Clock, Pool, PoolConfig};

/// What a callback does besides noting its job.
#[derive(Clone)]
enum Act {
    Nothing,
    Panic,
    /// Submits as many jobs, with cookies from 1000 on, and notes those that were refused.
    Submit(u64, Mode),
    /// Submits its own job again until its cookie reaches this.
    Repeat(u64),
}

/// Notes every job in a list of the test's.
#[derive(Clone)]
struct Note {
    seen: Rc<RefCell<Vec<u64>>>,
    refused: Rc<RefCell<Vec<u64>>>,
    act: Act,
    pool: Pool,
}

impl OnDone for Note {
    fn on_done(self, job: Job, submitter: &mut Submitter<'_, Self>) {
        self.seen.borrow_mut().push(mark(&job));
        match self.act {
            Act::Nothing => {}
            Act::Panic => panic!("callback {} had enough", job.cookie()),
            Act::Submit(count, mode) => {
                for cookie in 1000..1000 + count {
                    let plain = Self { act: Act::Nothing, ..self.clone() };
                    let before = self.seen.borrow().len();
                    let outcome = submitter.submit(marked(&self.pool, job.session(), cookie), mode, plain);
                    assert_eq!(self.seen.borrow().len(), before, "no call within a call");
                    if let Err(Refused { job, callback }) = outcome {
                        assert_eq!(job.source().data(), job.cookie().to_be_bytes());
                        callback.refused.borrow_mut().push(job.cookie());
                    }
                }
            }
            Act::Repeat(end) if job.cookie() < end => {
                let next = marked(&self.pool, job.session(), job.cookie() + 1);
                assert!(submitter.submit(next, Mode::Immediate, self.clone()).is_ok());
            }
            Act::Repeat(_) => {}
        }
    }
}

struct Rig {
    calls: Callbacks<Note>,
    session: SessionId,
    gate: Gate,
    pool: Pool,
    note: Note,
}

impl Rig {
    fn new(temper: Temper, slots: usize) -> Self {
        let (registry, session, gate) = Erratic::alone(temper);
        let dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
        let pool = Pool::new(PoolConfig { buffers: 256, stride: 512 }).unwrap();
        let (seen, refused) = Default::default();
        let note = Note { seen, refused, act: Act::Nothing, pool: pool.clone() };
        Self { calls: Callbacks::new(dispatcher, slots), session, gate, pool, note }
    }

    fn job(&self, cookie: u64) -> Job {
        marked(&self.pool, self.session, cookie)
    }

    fn submit_with(&mut self, cookie: u64, mode: Mode, act: Act) -> bool {
        let callback = Note { act, ..self.note.clone() };
        self.calls.submit(self.job(cookie), mode, callback).is_ok()
    }

    fn submit(&mut self, cookie: u64, mode: Mode) {
        assert!(self.submit_with(cookie, mode, Act::Nothing));
    }

    fn seen(&self) -> Vec<u64> {
        self.note.seen.borrow().clone()
    }

    fn refused(&self) -> Vec<u64> {
        self.note.refused.borrow().clone()
    }
}

#[test]
fn an_immediate_callback_is_called_inside_the_submit_or_else_the_poll_that_brings_its_job() {
    let mut rig = Rig::new(Temper::CALM, 8);
    rig.submit(1, Mode::Immediate);
    assert_eq!(rig.seen(), [1]);
    rig.gate.set_open(false);
    rig.submit(2, Mode::Immediate);
    assert_eq!((rig.seen(), rig.calls.in_flight()), (vec![1], 1));
    rig.gate.set_open(true);
    rig.submit(3, Mode::Immediate);
    assert_eq!(rig.seen(), [1, 2, 3], "a submit calls for others too");
    assert_eq!((rig.calls.poll(), rig.calls.in_flight(), rig.calls.called()), (0, 0, 3));
}

#[test]
fn a_polled_callback_waits_for_a_poll_even_when_its_job_came_back_in_a_submit() {
    let mut rig = Rig::new(Temper::CALM, 8);
    rig.submit(1, Mode::Polled);
    rig.submit(2, Mode::Immediate);
    assert_eq!((rig.seen(), rig.calls.in_flight()), (vec![2], 1));
    assert_eq!((rig.calls.poll(), rig.seen()), (1, vec![2, 1]));
}

#[test]
fn a_callback_if_synchronous_comes_at_once_from_a_synchronous_driver_and_by_a_poll_from_another() {
    let registry = Registry::new();
    let tempers = [Temper::CALM, Temper { synchronous: false, ..Temper::CALM }];
    let opened: Vec<_> = (0..2)
        .map(|unit| {
            let (driver, _) = Erratic::new(unit, tempers[unit]);
            let synchronous = driver.capabilities().synchronous;
            let id = registry.attach(driver).unwrap();
            (registry.open(SessionParams::default(), Placement::Driver(id)).unwrap(), synchronous)
        })
        .collect();
    let mut rig = Rig::new(Temper::CALM, 8);
    rig.calls = Callbacks::new(registry.dispatcher(&QueuePairConfig::default()).unwrap(), 8);
    for &(session, synchronous) in &opened {
        rig.calls.ask_synchronous(&registry, session);
        assert_eq!(registry.is_synchronous(session), Some(synchronous));
    }
    // Both drivers are done at once; only what is said of them differs.
    for (cookie, &(session, _)) in (1..).zip(&opened) {
        rig.session = session;
        rig.submit(cookie, Mode::IfSynchronous);
    }
    assert_eq!(rig.seen(), [1]);
    assert_eq!((rig.calls.poll(), rig.seen()), (1, vec![1, 2]));

    // What was said does not hold for the next session in the same place, nor for one of which nothing was said.
    assert!(registry.close(opened[0].0));
    rig.session = registry.open(SessionParams::default(), Placement::Driver(DriverId(0))).unwrap();
    assert_eq!(rig.session.index(), opened[0].0.index());
    rig.submit(3, Mode::IfSynchronous);
    assert_eq!(rig.seen(), [1, 2]);
    assert_eq!((rig.calls.poll(), rig.seen()), (1, vec![1, 2, 3]));
}

#[test]
fn a_callback_may_submit_and_its_jobs_come_back_in_later_calls() {
    let mut rig = Rig::new(Temper::CALM, 8);
    assert!(rig.submit_with(1, Mode::Immediate, Act::Submit(2, Mode::Immediate)));
    assert_eq!((rig.seen(), rig.calls.in_flight()), (vec![1], 2));
    assert_eq!((rig.calls.poll(), rig.seen()), (2, vec![1, 1000, 1001]));
    // A chain that submits itself for ever would not hold its core.
    assert!(rig.submit_with(5, Mode::Immediate, Act::Repeat(8)));
    assert_eq!(rig.seen()[3..], [5]);
    (6..=8).for_each(|cookie| assert_eq!((rig.calls.poll(), rig.seen().last()), (1, Some(&cookie))));
    assert_eq!((rig.calls.poll(), rig.calls.in_flight()), (0, 0));
}

#[test]
fn a_callback_in_a_full_slab_has_its_own_slot_to_use_and_gets_the_rest_back() {
    let mut rig = Rig::new(Temper::CALM, 2);
    rig.submit(1, Mode::Polled);
    assert!(rig.submit_with(2, Mode::Polled, Act::Submit(3, Mode::Polled)));
    assert!(!rig.submit_with(3, Mode::Polled, Act::Nothing), "the slab is full");
    // The first callback frees a slot, the second its own.
    assert_eq!((rig.calls.poll(), rig.seen(), rig.refused()), (2, vec![1, 2], vec![1002]));
    assert_eq!((rig.calls.poll(), rig.seen()), (2, vec![1, 2, 1000, 1001]));
    assert_eq!(rig.pool.available(), 256);

    let mut rig = Rig::new(Temper::CALM, 1);
    assert!(rig.submit_with(1, Mode::Immediate, Act::Submit(2, Mode::Immediate)));
    assert_eq!((rig.calls.in_flight(), rig.refused()), (1, vec![1001]));
    // What a submit finds there comes back to it, with its job untouched.
    let back = rig.calls.submit(rig.job(7), Mode::Immediate, rig.note.clone()).unwrap_err();
    assert_eq!((back.job.cookie(), back.job.status()), (7, Status::Pending));
    assert_eq!((rig.calls.poll(), rig.seen()), (1, vec![1, 1000]));
}

#[test]
fn a_driver_without_room_gives_job_and_callback_back() {
    let mut rig = Rig::new(Temper { depth: 1, ..Temper::CALM }, 8);
    rig.submit(1, Mode::Polled);
    let back = rig.calls.submit(rig.job(2), Mode::Immediate, rig.note.clone()).unwrap_err();
    assert_eq!((back.job.cookie(), back.job.status(), rig.calls.in_flight()), (2, Status::Pending, 1));
    assert_eq!((rig.calls.poll(), rig.seen()), (1, vec![1]));
    assert!(rig.calls.submit(back.job, Mode::Immediate, back.callback).is_ok());
    assert_eq!(rig.seen(), [1, 2]);
}

#[test]
fn a_callback_that_panics_costs_its_job_and_is_named_and_the_others_are_called() {
    let mut rig = Rig::new(Temper::CALM, 64);
    for cookie in 0..40 {
        let act = if cookie % 2 == 1 { Act::Panic } else { Act::Nothing };
        assert!(rig.submit_with(cookie, Mode::Polled, act));
    }
    assert_eq!(rig.calls.poll(), 40);
    assert!(rig.seen().into_iter().eq(0..40));
    assert_eq!((rig.calls.panicked(), rig.calls.in_flight(), rig.pool.available()), (20, 0, 256));
    let first = CallbackPanicked { cookie: 1, message: "callback 1 had enough".to_owned() };
    assert_eq!(rig.calls.take_panic(), Some(first));
    assert_eq!(std::iter::from_fn(|| rig.calls.take_panic()).count(), 15, "of many, the first are kept");
    rig.submit(40, Mode::Immediate);
    assert_eq!(rig.seen().last(), Some(&40));
}

#[test]
fn a_burst_shares_a_callback_and_keeps_what_was_not_taken_in_order() {
    let mut rig = Rig::new(Temper { depth: 5, ..Temper::CALM }, 8);
    rig.gate.set_open(false);
    let mut jobs = JobBurst::new();
    (0..10).for_each(|cookie| jobs.push(rig.job(cookie)).unwrap());
    let note = rig.note.clone();
    assert_eq!(rig.calls.submit_burst(&mut jobs, Mode::Immediate, &note), 5);
    assert!(jobs.iter().map(Job::cookie).eq(5..10));
    assert!(jobs.iter().all(|job| job.source().data() == job.cookie().to_be_bytes()));
    assert_eq!((rig.calls.in_flight(), rig.calls.submit_burst(&mut jobs, Mode::Immediate, &note)), (5, 0));
    rig.gate.set_open(true);
    assert_eq!(rig.calls.poll(), 5);
    assert_eq!(rig.calls.submit_burst(&mut jobs, Mode::Immediate, &note), 5);
    assert!(rig.seen().into_iter().eq(0..10) && jobs.is_empty());
}

#[test]
fn every_cookie_is_called_once_under_a_driver_that_blocks_and_jumbles() {
    let mut rig = Rig::new(Temper::MOODY, 50);
    let (mut jobs, mut next, note) = (JobBurst::new(), 0, rig.note.clone());
    let modes = [Mode::Polled, Mode::Immediate, Mode::IfSynchronous];
    for turn in 0..200_000_usize {
        while next < 20_000 && jobs.room() > 0 {
            jobs.push(rig.job(next)).unwrap();
            next += 1;
        }
        rig.calls.submit_burst(&mut jobs, modes[turn % 3], &note);
        if turn % 2 == 0 {
            rig.calls.poll();
        }
        if next == 20_000 && jobs.is_empty() && rig.calls.in_flight() == 0 {
            break;
        }
    }
    let mut seen = rig.seen();
    assert!(!seen.is_sorted(), "the driver jumbles");
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..20_000));
    assert_eq!((rig.pool.available(), rig.calls.strays()), (256, 0));
}

/// Callbacks over an owner and its workers, who are run by hand.
fn over_a_crew(temper: Temper) -> (Rig, Callbacks<Note, Owner>, Vec<Worker>) {
    let (registry, session, _gate) = Erratic::alone(temper);
    let dispatcher = || registry.dispatcher(&QueuePairConfig::default()).unwrap();
    let theirs = (0..3).map(|_| dispatcher()).collect();
    let (owner, workers) = crew(dispatcher(), theirs, CrewConfig::default(), &Clock::new());
    let rig = Rig { session, ..Rig::new(temper, 1) };
    (rig, Callbacks::new(owner, 128), workers)
}

#[test]
fn callbacks_over_a_crew_are_called_in_the_order_of_submission() {
    let (rig, mut calls, mut workers) = over_a_crew(Temper::MOODY);
    let (mut jobs, mut next) = (JobBurst::new(), 0);
    for turn in 0..100_000_usize {
        while next < 5_000 && jobs.room() > 48 {
            jobs.push(rig.job(next)).unwrap();
            next += 1;
        }
        calls.submit_burst(&mut jobs, Mode::Polled, &rig.note);
        workers[turn % 3].work();
        calls.poll();
        if next == 5_000 && jobs.is_empty() && calls.in_flight() == 0 {
            break;
        }
    }
    assert!(rig.seen().into_iter().eq(0..5_000));
    assert!(workers.iter().all(|worker| worker.jobs_done() > 0));
}

#[test]
fn closing_ends_a_chain_of_callbacks_and_gives_their_jobs_back() {
    let mut rig = Rig::new(Temper::CALM, 8);
    assert!(rig.submit_with(1, Mode::Polled, Act::Submit(2, Mode::Polled)));
    rig.calls.close();
    assert_eq!((rig.calls.poll(), rig.refused(), rig.calls.in_flight()), (1, vec![1000, 1001], 0));
}

#[test]
fn dropping_callbacks_gives_the_buffers_back_that_a_driver_had() {
    let mut rig = Rig::new(Temper::CALM, 8);
    rig.gate.set_open(false);
    (0..8).for_each(|cookie| rig.submit(cookie, Mode::Immediate));
    assert_eq!(rig.pool.available(), 248);
    let (pool, seen) = (rig.pool.clone(), Rc::clone(&rig.note.seen));
    drop(rig);
    assert_eq!((pool.available(), seen.borrow().len()), (256, 0));
}
