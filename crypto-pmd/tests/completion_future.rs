//! Futures: each ends with its job, or by being told that there is no service any more; and whenever one is dropped, no buffer is
//! freed that a driver has, and none is lost.

// A test program may panic: that is how it fails. Waiting is bounded by turns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use common::erratic::{Erratic, Gate, Temper, mark, marked};
use crypto_pmd::completion::{Client, JobFuture, Service, ServiceStopped};
use crypto_pmd::*;
use futures::executor::block_on;
use pipeline::lcore::{Ended, Idle, Lcore, Task, Turn};
use pipeline::{Pool, PoolConfig};

const BUFFERS: usize = 1024;

struct Rig {
    service: Service,
    client: Client,
    session: SessionId,
    gate: Gate,
    pool: Pool,
}

impl Rig {
    fn new(temper: Temper, cells: usize) -> Self {
        let (registry, session, gate) = Erratic::alone(temper);
        let dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
        let (service, client) = Service::new(dispatcher, cells);
        let pool = Pool::new(PoolConfig { buffers: BUFFERS, stride: 512 }).unwrap();
        Self { service, client, session, gate, pool }
    }

    fn job(&self, cookie: u64) -> Job {
        marked(&self.pool, self.session, cookie)
    }

    fn submit(&self, cookie: u64) -> JobFuture {
        self.client.submit(self.job(cookie))
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.service.turn();
        }
    }

    fn all_home(&self) -> bool {
        self.pool.available() == BUFFERS
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Counter {
    fn woken(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Polls by hand; the waker's count.
fn poll(future: &mut JobFuture, counter: &Arc<Counter>) -> Poll<Result<Job, ServiceStopped>> {
    let waker = Waker::from(Arc::clone(counter));
    std::future::Future::poll(Pin::new(future), &mut Context::from_waker(&waker))
}

/// The cookie that a future ended with.
fn done(outcome: Poll<Result<Job, ServiceStopped>>) -> u64 {
    match outcome {
        Poll::Ready(Ok(job)) => mark(&job),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_future_is_pending_until_its_job_is_back_and_is_woken_then() {
    let mut rig = Rig::new(Temper::CALM, 4);
    let counter = Arc::default();
    let mut future = rig.submit(7);
    rig.turns(3);
    assert_eq!(rig.service.held(), 0, "nothing is submitted before the first poll");
    assert!(poll(&mut future, &counter).is_pending());
    rig.gate.set_open(false);
    rig.turns(3);
    assert!(poll(&mut future, &counter).is_pending());
    assert_eq!((rig.service.held(), counter.woken()), (1, 0));
    rig.gate.set_open(true);
    rig.turns(1);
    assert_eq!(counter.woken(), 1);
    assert_eq!(done(poll(&mut future, &counter)), 7);
    let Poll::Ready(Err(ServiceStopped { job: None })) = poll(&mut future, &counter) else {
        panic!("a future that is over says that there is nothing more");
    };
    assert!(rig.all_home());
}

#[test]
fn a_future_that_is_dropped_before_it_is_polled_drops_its_job() {
    let mut rig = Rig::new(Temper::CALM, 1);
    drop(rig.submit(1));
    assert!(rig.all_home());
    rig.turns(2);
    assert_eq!(done(poll_through(&mut rig, 2)), 2);
}

/// A job from its submission to its end.
fn poll_through(rig: &mut Rig, cookie: u64) -> Poll<Result<Job, ServiceStopped>> {
    let (mut future, counter) = (rig.submit(cookie), Arc::default());
    let first = poll(&mut future, &counter);
    assert!(first.is_pending());
    rig.turns(4);
    poll(&mut future, &counter)
}

#[test]
fn a_future_that_is_dropped_in_the_ring_is_brought_home_by_the_service() {
    let mut rig = Rig::new(Temper::CALM, 1);
    drop(rig.client.try_submit(rig.job(1)).unwrap());
    assert_eq!(rig.pool.available(), BUFFERS - 1, "the service has it");
    rig.turns(2);
    assert_eq!(rig.service.reaped(), 1);
    assert!(rig.all_home());
    assert_eq!(done(poll_through(&mut rig, 2)), 2);
}

#[test]
fn a_future_that_is_dropped_while_a_driver_has_its_job_frees_nothing_before_the_driver_gives_it_back() {
    let mut rig = Rig::new(Temper::CALM, 1);
    rig.gate.set_open(false);
    let future = rig.client.try_submit(rig.job(1)).unwrap();
    rig.turns(2);
    drop(future);
    rig.turns(5);
    assert_eq!((rig.pool.available(), rig.service.held(), rig.service.reaped()), (BUFFERS - 1, 1, 0));
    let back = rig.client.try_submit(rig.job(2)).unwrap_err();
    assert_eq!(back.cookie(), 2, "the cell is in use as long");
    drop(back);
    rig.gate.set_open(true);
    rig.turns(2);
    assert_eq!((rig.service.held(), rig.service.reaped()), (0, 1));
    assert!(rig.all_home());
    assert_eq!(done(poll_through(&mut rig, 3)), 3);
}

#[test]
fn a_future_that_is_dropped_after_its_job_came_back_drops_the_job_and_frees_its_cell() {
    let mut rig = Rig::new(Temper::CALM, 1);
    let future = rig.client.try_submit(rig.job(1)).unwrap();
    rig.turns(2);
    assert_eq!((rig.service.held(), rig.pool.available()), (0, BUFFERS - 1));
    drop(future);
    assert!(rig.all_home());
    assert_eq!(rig.service.reaped(), 0, "there was nothing left for the service to do");
    assert_eq!(done(poll_through(&mut rig, 2)), 2);
}

#[test]
fn without_a_cell_try_submit_gives_the_job_back_and_submit_waits_and_is_woken() {
    let mut rig = Rig::new(Temper::CALM, 2);
    let held = [1, 2].map(|cookie| rig.client.try_submit(rig.job(cookie)).unwrap());
    let back = rig.client.try_submit(rig.job(3)).unwrap_err();
    assert_eq!((back.cookie(), back.status()), (3, Status::Pending));
    let (mut waiting, counters) = ([4, 5].map(|cookie| rig.submit(cookie)), [(); 2].map(|()| Arc::default()));
    for _ in 0..3 {
        for (future, counter) in waiting.iter_mut().zip(&counters) {
            assert!(poll(future, counter).is_pending());
        }
    }
    rig.turns(3);
    let woken = || counters.iter().map(|counter| counter.woken()).collect::<Vec<_>>();
    assert_eq!(woken(), [0, 0], "results that nobody took keep their cells");
    let [one, two] = held;
    drop(one);
    assert_eq!(woken(), [1, 0], "one cell, one future");
    drop(two);
    assert_eq!(woken(), [1, 1], "though the first has not come for its own");
    for (future, counter) in waiting.iter_mut().zip(&counters) {
        assert!(poll(future, counter).is_pending());
    }
    rig.turns(2);
    let cookies: Vec<_> =
        waiting.iter_mut().zip(&counters).map(|(one, counter)| done(poll(one, counter))).collect();
    assert_eq!(cookies, [4, 5]);
}

#[test]
fn a_future_that_waits_for_a_cell_and_is_dropped_passes_its_turn_on() {
    let mut rig = Rig::new(Temper::CALM, 1);
    let first = rig.client.try_submit(rig.job(1)).unwrap();
    let mut waiting = [2, 3, 4].map(|cookie| Some(rig.submit(cookie)));
    let counters = [(); 3].map(|()| Arc::default());
    for (future, counter) in waiting.iter_mut().zip(&counters) {
        assert!(poll(future.as_mut().unwrap(), counter).is_pending());
    }
    // One goes before it is told, one after.
    waiting[0] = None;
    rig.turns(2);
    drop(first);
    assert_eq!((counters[1].woken(), counters[2].woken()), (1, 0));
    waiting[1] = None;
    assert_eq!(counters[2].woken(), 1);
    let last = waiting[2].as_mut().unwrap();
    assert!(poll(last, &counters[2]).is_pending());
    rig.turns(2);
    assert_eq!(done(poll(last, &counters[2])), 4);
    assert!(rig.all_home());
}

#[test]
fn every_future_ends_when_the_service_goes_and_what_no_driver_had_comes_back() {
    let mut rig = Rig::new(Temper { depth: 1, ..Temper::CALM }, 3);
    rig.gate.set_open(false);
    let counter = Arc::default();
    let mut all = [1, 2, 3, 4].map(|cookie| rig.submit(cookie));
    for (number, future) in all.iter_mut().enumerate() {
        assert!(poll(future, &counter).is_pending());
        // The driver takes one, the service keeps the next, the third stays in the ring, the last has no cell.
        rig.turns(usize::from(number < 2));
    }
    drop(rig.service);
    assert_eq!(counter.woken(), 4);
    let outcome = |future: &mut JobFuture| match poll(future, &counter) {
        Poll::Ready(Err(stopped)) => stopped.job.map(|job| (job.cookie(), job.status())),
        other => panic!("{other:?}"),
    };
    let left = |cookie| Some((cookie, Status::Pending));
    assert_eq!(all.each_mut().map(outcome), [None, left(2), left(3), left(4)]);
    assert!(rig.client.is_stopped());
    assert!(rig.client.try_submit(marked(&rig.pool, rig.session, 5)).is_err());
    let late = block_on(rig.client.submit(marked(&rig.pool, rig.session, 6))).unwrap_err();
    assert_eq!(late.job.map(|job| job.cookie()), Some(6));
    drop(all);
    assert_eq!(rig.pool.available(), BUFFERS);
}

#[test]
fn the_service_ends_when_the_last_client_and_future_are_gone() {
    let mut rig = Rig::new(Temper::CALM, 4);
    assert_eq!(rig.service.turn(), Turn::Idle);
    let future = rig.client.try_submit(rig.job(1)).unwrap();
    drop(rig.client);
    assert_eq!(rig.service.turn(), Turn::Busy);
    assert_eq!(rig.service.turn(), Turn::Idle, "somebody may still want the result");
    drop(future);
    assert_eq!(rig.service.turn(), Turn::Finished(Ended::Drained));
}

/// Runs the service on a thread while `work` runs on this one.
fn with_service<T>(mut rig: Rig, work: impl FnOnce(&Client, &Pool, SessionId) -> T) -> (T, Service) {
    let Rig { client, session, ref pool, .. } = rig;
    std::thread::scope(|scope| {
        let core = scope.spawn(move || {
            Lcore { id: None, tasks: vec![&mut rig.service], idle: Idle::SLEEP }
                .poll(&AtomicBool::new(false));
            rig.service
        });
        let result = work(&client, pool, session);
        drop(client);
        (result, core.join().unwrap())
    })
}

#[test]
fn jobs_are_awaited_from_many_threads_and_each_gets_its_own_back() {
    let rig = Rig::new(Temper::MOODY, 16);
    let pool = rig.pool.clone();
    let ((), service) = with_service(rig, |client, pool, session| {
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let client = client.clone();
                scope.spawn(move || {
                    for number in 0..500 {
                        let cookie = thread << 32 | number;
                        let job = block_on(client.submit(marked(pool, session, cookie))).unwrap();
                        assert_eq!(mark(&job), cookie);
                    }
                });
            }
        });
    });
    assert_eq!((service.held(), service.reaped(), pool.available()), (0, 0, BUFFERS));
}

#[test]
fn many_jobs_are_awaited_together_by_one_task_though_there_are_few_cells() {
    let rig = Rig::new(Temper::MOODY, 8);
    let (cookies, _) = with_service(rig, |client, pool, session| {
        let all = (0..200).map(|cookie| client.submit(marked(pool, session, cookie)));
        block_on(futures::future::join_all(all))
            .into_iter()
            .map(|job| mark(&job.unwrap()))
            .collect::<Vec<_>>()
    });
    assert!(cookies.into_iter().eq(0..200));
}

#[test]
fn futures_that_are_dropped_at_any_moment_lose_no_buffer() {
    let rig = Rig::new(Temper::MOODY, 8);
    let pool = rig.pool.clone();
    let (finished, service) = with_service(rig, |client, pool, session| {
        let finished = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4_usize {
                let (client, finished) = (client.clone(), &finished);
                scope.spawn(move || {
                    for number in 0..1000 {
                        let mut future = client.submit(marked(pool, session, number as u64));
                        // Polled never, once, a few times, or to its end.
                        let polls = (number + thread) % 4;
                        let counter = Arc::default();
                        let ended = (0..polls).any(|_| {
                            std::thread::yield_now();
                            poll(&mut future, &counter).is_ready()
                        });
                        if polls == 3 && !ended {
                            mark(&block_on(future).unwrap());
                            finished.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        finished.into_inner()
    });
    assert!(finished > 0 && service.reaped() > 0);
    assert_eq!((service.held(), pool.available()), (0, BUFFERS));
}

#[test]
fn futures_end_also_when_their_service_goes_while_they_are_submitted() {
    for round in 0..300_u64 {
        let rig = Rig::new(Temper::MOODY, 2);
        let Rig { mut service, client, session, ref pool, .. } = rig;
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let client = client.clone();
                scope.spawn(move || {
                    let mut cookie = thread;
                    // Until it is told that there is no service.
                    while let Ok(job) = block_on(client.submit(marked(pool, session, cookie))) {
                        assert_eq!(mark(&job), cookie);
                        cookie += 2;
                    }
                });
            }
            drop(client);
            for _ in 0..round * 3 {
                service.turn();
            }
            drop(service);
        });
        assert_eq!(pool.available(), BUFFERS);
    }
}
