//! The scheduler below a dispatcher that does the same things itself: places in an order, a driver that stands by, chains over two drivers,
//! drivers that go. Neither touches the other's marks.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "a test card may lock")]

#[path = "common/card.rs"]
#[allow(dead_code, reason = "not every lever is pulled here")]
mod card;
mod common;
#[path = "common/rig.rs"]
mod rig;

use card::{Card, Levers};
use crypto_pmd::balance::Policy;
use crypto_pmd::drivers::{Scheduler, Software};
use crypto_pmd::job::JobBurst;
use crypto_pmd::key_op::{KeyOperation, KeyQueueConfig, KeyRequestPool};
use crypto_pmd::*;
use rig::*;

/// A scheduler over two cards, of which the second gives the newest back first.
fn two(policy: Policy) -> (Scheduler, [Levers; 2]) {
    let (scheduler, levers) = over_cards::<2>(policy, |number, capabilities| {
        capabilities.in_order = number == 0;
        capabilities.queue_depth = Some(32);
    });
    levers[1].go_backwards();
    (scheduler, levers)
}

#[test]
fn beside_other_drivers_each_session_stays_where_it_lies() {
    let registry = Registry::new();
    let software = registry.attach(Software::new()).unwrap();
    let (scheduler, levers) = two(Policy::RoundRobin);
    let scheduler = registry.attach(scheduler).unwrap();
    let mut bench = with_large_pool(registry);
    let on = |driver, key| bench.registry.open(chain(key), Placement::Driver(driver)).unwrap();
    let sessions = [on(software, 1), on(scheduler, 2), on(software, 3), on(scheduler, 4)];
    assert_eq!(bench.registry.drivers_of(bench.open(chain(5))), [scheduler], "a card is in it");
    let mut oracles = [1, 2, 3, 4].map(Oracle::new);
    let mut jobs = JobBurst::new();
    for round in 0..20 {
        (0..32).for_each(|at| {
            let cookie = round * 32 + at;
            jobs.push(job(&bench, sessions[cookie as usize % 4], cookie)).unwrap();
        });
        assert_eq!(bench.dispatcher.submit(&mut jobs), 32);
        let came = drain(&mut bench);
        for (which, session) in sessions.into_iter().enumerate() {
            let mut next = round * 32 + which as u64;
            for job in came.iter().filter(|job| job.session() == session) {
                assert_eq!((job.cookie(), job.order(), job.status()), (next, order_of(next), Status::Done));
                assert_eq!(job.source().data(), oracles[which].sealed(next, LEN));
                next += 4;
            }
            assert_eq!(next, round * 32 + 32 + which as u64);
        }
    }
    assert_eq!(levers.map(|card| card.done()), [160, 160]);
}

#[test]
fn as_one_of_all_cards_with_its_own_order_below_the_outer_one() {
    for (outer, inner) in [(Policy::RoundRobin, Policy::QueueDepth), (Policy::QueueDepth, Policy::RoundRobin)]
    {
        let registry = Registry::new();
        let (scheduler, levers) = two(inner);
        registry.attach(scheduler).unwrap();
        let (card, beside) = Card::new("beside0");
        registry.attach(card.with(|capabilities| capabilities.in_order = false)).unwrap();
        beside.go_backwards();
        let mut bench = with_large_pool(registry);
        let opened = bench.registry.open_with(chain(1), Placement::All(outer).into()).unwrap();
        assert_eq!(opened.drivers.len(), 2);
        let mut oracle = Oracle::new(1);
        let (mut next, mut back) = (0, 0);
        for round in 0..60 {
            levers[0].stall(round % 3 == 0);
            levers[1].stall(round % 5 == 0);
            beside.stall(round % 7 == 0);
            next += submit(&mut bench, opened.id, next..next + 20);
            let came = poll(&mut bench, 1);
            let count = came.len() as u64;
            oracle.assert_sealed(came, opened.id, back..back + count);
            back += count;
        }
        levers.iter().chain([&beside]).for_each(|card| card.stall(false));
        oracle.assert_sealed(drain(&mut bench), opened.id, back..next);
        let done = [&levers[0], &levers[1], &beside].map(Levers::done);
        assert!(next > 300 && done.iter().all(|&done| done > 50), "{next} {done:?}");
    }
}

#[test]
fn when_all_children_are_blocked_the_driver_that_stands_by_does_it_until_one_signals() {
    let registry = Registry::new();
    let (scheduler, levers) = two(Policy::RoundRobin);
    registry.attach(scheduler).unwrap();
    registry.attach(Software::new()).unwrap();
    let mut bench = with_large_pool(registry);
    let options = SessionOptions { fallback: true, ..SessionOptions::default() };
    let session = bench.registry.open_with(chain(1), options).unwrap().id;
    levers.iter().for_each(Levers::block);
    let (mut next, mut oracle) = (0, Oracle::new(1));
    // What the cards' lanes hold, then what waits inside, then the one that stands by.
    for _ in 0..20 {
        next += submit(&mut bench, session, next..next + 30);
        assert!(poll(&mut bench, 1).is_empty(), "the first are with the cards");
    }
    let fell = bench.dispatcher.counters().fell_back;
    assert!(fell > 200 && next > fell, "{fell} of {next}");
    assert_eq!(levers.each_ref().map(Levers::done), [0, 0]);
    levers.iter().for_each(Levers::unblock);
    oracle.assert_sealed(drain(&mut bench), session, 0..next);
    assert!(levers.iter().all(|card| card.done() > 0));
    assert_eq!(submit(&mut bench, session, next..next + 20), 20);
    oracle.assert_sealed(drain(&mut bench), session, next..next + 20);
    assert_eq!(bench.dispatcher.counters().fell_back, fell, "not blocked any more");
}

#[test]
fn a_blocked_child_that_is_detached_or_gets_company_blocks_the_scheduler_no_longer() {
    for goes in [true, false] {
        let (scheduler, levers) = over_cards::<1>(Policy::RoundRobin, |_, _| {});
        let (mut bench, children) = alone(scheduler);
        let session = bench.open(chain(1));
        levers[0].block();
        let mut next = 0;
        for _ in 0..10 {
            next += submit(&mut bench, session, next..next + 30);
        }
        let offered = levers[0].submits();
        assert!(poll(&mut bench, 10).is_empty());
        assert_eq!(levers[0].submits(), offered, "it is offered nothing");
        children.attach(Box::new(Card::new("card1").0)).unwrap();
        let mut came = Vec::new();
        if goes {
            children.detach("card0").unwrap();
        } else {
            // What waits in front of it goes to the other one.
            came.extend(poll(&mut bench, 3));
            levers[0].unblock();
        }
        came.extend(drain(&mut bench));
        Oracle::new(1).assert_sealed(came, session, 0..next);
    }
}

#[test]
fn a_child_that_came_later_says_too_that_it_has_room_again() {
    let (scheduler, levers) = over_cards::<1>(Policy::RoundRobin, |_, _| {});
    let (mut bench, children) = alone(scheduler);
    let session = bench.open(chain(1));
    let (card, later) = Card::new("card1");
    children.attach(Box::new(card)).unwrap();
    levers[0].block();
    later.block();
    let mut next = 0;
    for _ in 0..10 {
        next += submit(&mut bench, session, next..next + 30);
        poll(&mut bench, 1);
    }
    let offered = later.submits();
    later.unblock();
    let mut came = poll(&mut bench, 2);
    let newer = submit(&mut bench, session, next..next + 30);
    assert!(later.submits() > offered && newer > 0, "{newer} of 30 newer ones");
    levers[0].unblock();
    came.extend(drain(&mut bench));
    Oracle::new(1).assert_sealed(came, session, 0..next + newer);
}

#[test]
fn a_chain_is_split_over_a_scheduler_and_a_card() {
    for scheduler_first in [true, false] {
        let ciphers = |capabilities: &mut Capabilities| capabilities.integrity.clear();
        let hashes = |capabilities: &mut Capabilities| capabilities.ciphers.clear();
        let (scheduler, levers) =
            over_cards::<2>(Policy::RoundRobin, |_, capabilities| match scheduler_first {
                true => ciphers(capabilities),
                false => hashes(capabilities),
            });
        levers[1].go_backwards();
        let (card, other) = Card::new("other0");
        let card = card.with(if scheduler_first { hashes } else { ciphers });
        let registry = Registry::new();
        registry.attach(scheduler).unwrap();
        registry.attach(card).unwrap();
        let mut bench = with_large_pool(registry);
        let opened = bench.registry.open_with(chain(1), SessionOptions::default()).unwrap();
        assert_eq!(opened.drivers.len(), 2);
        for burst in 0..4 {
            assert_eq!(submit(&mut bench, opened.id, burst * 10..burst * 10 + 10), 10);
        }
        let mut came = drain(&mut bench);
        came.sort_by_key(Job::cookie);
        Oracle::new(1).assert_sealed(came, opened.id, 0..40);
        assert_eq!((bench.dispatcher.counters().split, other.done()), (40, 40));
        assert_eq!(levers[0].done() + levers[1].done(), 40);
    }
}

#[test]
fn a_scheduler_may_be_a_child_of_another_one() {
    let (below, levers) = two(Policy::RoundRobin);
    let (card, beside) = Card::new("beside0");
    let above = Scheduler::builder().unit(1).child(Box::new(below)).child(Box::new(card)).build().unwrap();
    let (mut bench, children) = alone(above);
    let session = bench.open(chain(1));
    let mut oracle = Oracle::new(1);
    for burst in 0..4 {
        assert_eq!(submit(&mut bench, session, burst * 12..burst * 12 + 12), 12);
    }
    oracle.assert_sealed(drain(&mut bench), session, 0..48);
    assert_eq!([&levers[0], &levers[1], &beside].map(Levers::done), [12, 12, 24]);
    // The lower one goes with jobs in it.
    levers.iter().for_each(|card| card.stall(true));
    assert_eq!(submit(&mut bench, session, 48..60) + submit(&mut bench, session, 60..72), 24);
    children.detach("scheduler0").unwrap();
    levers.iter().for_each(|card| card.stall(false));
    oracle.assert_sealed(drain(&mut bench), session, 48..72);
    assert_eq!([&levers[0], &levers[1], &beside].map(Levers::done), [12, 12, 48]);
}

#[test]
fn a_scheduler_that_goes_gives_back_untouched_what_no_child_has_begun() {
    let registry = Registry::new();
    let (scheduler, levers) = two(Policy::RoundRobin);
    let id = registry.attach(scheduler).unwrap();
    registry.attach(Software::new()).unwrap();
    let mut bench = with_large_pool(registry);
    let session = bench.open(chain(1));
    // A part waits in front of a card that is blocked, a part is in the other one.
    levers[0].block();
    levers[1].stall(true);
    let mut next = 0;
    for _ in 0..4 {
        next += submit(&mut bench, session, next..next + 10);
    }
    let moves = bench.registry.detach(id).unwrap();
    assert_eq!(moves, Moves { moved: 1, ..Moves::default() });
    assert_eq!(submit(&mut bench, session, next..next + 5), 0, "newer jobs do not overtake");
    levers[1].stall(false);
    let mut oracle = Oracle::new(1);
    oracle.assert_sealed(drain(&mut bench), session, 0..next);
    assert_eq!(levers.each_ref().map(Levers::done), [0, 0]);
    assert_eq!(bench.dispatcher.counters().redriven, next);
    assert_eq!(submit(&mut bench, session, next..next + 5), 5);
    oracle.assert_sealed(drain(&mut bench), session, next..next + 5);
    bench.registry.collect();
    poll(&mut bench, 1);
    assert_eq!(bench.registry.collect(), 0);
    assert!(levers.iter().all(|card| !card.is_alive()), "the children go with it");
}

#[test]
fn a_session_that_moves_away_from_a_scheduler_is_overtaken_by_none_of_its_newer_jobs() {
    let registry = Registry::new();
    let (scheduler, levers) = two(Policy::RoundRobin);
    registry.attach(scheduler).unwrap();
    let software = registry.attach(Software::new()).unwrap();
    let mut bench = with_large_pool(registry);
    let session = bench.open(chain(1));
    levers[0].stall(true);
    assert_eq!(submit(&mut bench, session, 0..10) + submit(&mut bench, session, 10..20), 20);
    bench.registry.move_to(session, software).unwrap();
    let early = poll(&mut bench, 3).len() as u64;
    assert_eq!(submit(&mut bench, session, 20..30), 0);
    levers[0].stall(false);
    let mut oracle = Oracle::new(1);
    oracle.assert_sealed(drain(&mut bench), session, early..20);
    assert_eq!(submit(&mut bench, session, 20..30), 10);
    oracle.assert_sealed(drain(&mut bench), session, 20..30);
    assert_eq!(levers[0].done() + levers[1].done(), 20);
}

#[test]
fn key_operations_are_done_by_the_first_child_that_does_them() {
    let (card, _) = Card::new("card0");
    let builder = Scheduler::builder().child(Box::new(card.with(|one| one.key_operations.clear())));
    let scheduler = builder.child(Box::new(Software::new())).build().unwrap();
    assert_eq!(scheduler.capabilities().key_operations, Software::new().capabilities().key_operations);
    let registry = Registry::new();
    let id = registry.attach(scheduler).unwrap();
    let mut dispatcher = registry.key_dispatcher(&KeyQueueConfig::default());
    let pool = KeyRequestPool::new(4, 64);
    let mut request = pool.alloc(KeyOperation::ModExp).unwrap();
    // 4 ^ 13 mod 497 is 445.
    for input in [&[4][..], &[13], &[1, 241]] {
        request.add_input(input).unwrap();
    }
    request.add_output(16).unwrap();
    dispatcher.submit(request, Placement::Any).unwrap();
    let done = loop {
        match dispatcher.poll() {
            Some(done) => break done,
            None => std::thread::yield_now(),
        }
    };
    assert_eq!(done.request.result(), Some(Ok(())));
    assert_eq!(done.request.output(0), Some(&[1, 189][..]));
    assert_eq!(done.driver(), Some(id));
}
