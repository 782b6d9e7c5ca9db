//! Callbacks, and the service behind futures, use the heap only before they are warm.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use common::{Bench, Suite};
use crypto_pmd::completion::{Callback, Callbacks, Mode, OnDone, Service, Submitter};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::Pool;
use pipeline::lcore::Task as _;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Calls of this thread to the allocator, either way.
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: passed on from the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: passed on from the caller.
        unsafe { System.dealloc(block, layout) };
    }
}

/// Calls to the allocator that `work` makes when it is done once more.
fn calls_when_warm(mut work: impl FnMut()) -> usize {
    (0..3).for_each(|_| work());
    let before = CALLS.get();
    (0..200).for_each(|_| work());
    CALLS.get() - before
}

#[test]
fn the_count_sees_a_box() {
    assert_eq!(calls_when_warm(|| drop(std::hint::black_box(Box::new(1)))), 400);
}

#[test]
fn a_closure_that_was_made_before_is_called_without_the_heap() {
    let bench = Bench::new();
    let suite = Suite::gcm(16);
    let session = bench.open(suite.params.clone());
    let dispatcher = bench.registry.dispatcher(&QueuePairConfig::default()).unwrap();
    let mut calls = Callbacks::new(dispatcher, 64);
    calls.set_synchronous(session, true);
    let plain = suite.plain(&[6; 64], 1);
    let count = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&count);
    let callback = Callback::new(move |job, _| {
        assert_eq!(job.status(), Status::Done);
        seen.fetch_add(1, Ordering::Relaxed);
    });
    let mut jobs = JobBurst::new();
    let job = || suite.job(bench.packet(&plain), session, Operation::Encrypt, None);
    let made = calls_when_warm(|| {
        for mode in [Mode::Immediate, Mode::IfSynchronous, Mode::Polled] {
            assert!(calls.submit(job(), mode, callback.clone()).is_ok());
            (0..32).for_each(|_| jobs.push(job()).unwrap());
            assert!(calls.submit_burst(&mut jobs, mode, &callback) > 0);
            jobs.clear();
            calls.poll();
        }
        // A slab that is full, and a driver that is.
        let refused = (0..70).filter(|_| calls.submit(job(), Mode::Polled, callback.clone()).is_err());
        assert_eq!(refused.count(), 6);
        calls.poll();
    });
    assert_eq!((made, calls.in_flight()), (0, 0));
    assert_eq!(count.load(Ordering::Relaxed), calls.called());
}

/// Submits the next job when one is done, so many times.
struct Chain<'a> {
    left: u32,
    pool: &'a Pool,
    suite: &'a Suite,
    plain: &'a [u8],
}

impl OnDone for Chain<'_> {
    fn on_done(self, job: Job, submitter: &mut Submitter<'_, Self>) {
        let session = job.session();
        drop(job);
        if self.left > 0 {
            let packet = self.pool.alloc_copy(self.plain).unwrap();
            let next = self.suite.job(packet, session, Operation::Encrypt, None);
            assert!(submitter.submit(next, Mode::Immediate, Self { left: self.left - 1, ..self }).is_ok());
        }
    }
}

#[test]
fn callbacks_that_submit_do_so_without_the_heap() {
    let bench = Bench::new();
    let suite = Suite::gcm(16);
    let session = bench.open(suite.params.clone());
    let dispatcher = bench.registry.dispatcher(&QueuePairConfig::default()).unwrap();
    let mut calls = Callbacks::new(dispatcher, 4);
    let plain = suite.plain(&[6; 64], 1);
    let made = calls_when_warm(|| {
        let job = suite.job(bench.packet(&plain), session, Operation::Encrypt, None);
        let chain = Chain { left: 9, pool: &bench.pool, suite: &suite, plain: &plain };
        assert!(calls.submit(job, Mode::Immediate, chain).is_ok());
        while calls.in_flight() > 0 {
            calls.poll();
        }
    });
    assert_eq!((made, calls.called()), (0, 10 * 203));
}

#[test]
fn a_future_with_a_free_cell_and_its_service_take_no_memory() {
    let bench = Bench::new();
    let suite = Suite::gcm(16);
    let session = bench.open(suite.params.clone());
    let dispatcher = bench.registry.dispatcher(&QueuePairConfig::default()).unwrap();
    let (mut service, client) = Service::new(dispatcher, 4);
    let plain = suite.plain(&[6; 64], 1);
    let mut context = Context::from_waker(Waker::noop());
    let made = calls_when_warm(|| {
        let job = || suite.job(bench.packet(&plain), session, Operation::Encrypt, None);
        let mut future = client.submit(job());
        assert!(Future::poll(Pin::new(&mut future), &mut context).is_pending());
        // One that is dropped while it is under way.
        drop(client.try_submit(job()).unwrap());
        (0..3).for_each(|_| assert!(!matches!(service.turn(), pipeline::lcore::Turn::Stalled)));
        let Poll::Ready(Ok(job)) = Future::poll(Pin::new(&mut future), &mut context) else { panic!() };
        assert_eq!(job.status(), Status::Done);
    });
    assert_eq!((made, service.reaped()), (0, 203));
}
