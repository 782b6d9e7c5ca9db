//! Drivers that come and go, block, fill up and fail under a dispatcher: every job comes back once, right, and in the order of its
//! session.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "a test card may lock")]

#[path = "common/card.rs"]
mod card;
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use card::{Card, Levers};
use common::Bench;
use crypto_pmd::balance::Policy;
use crypto_pmd::capability::{SessionIdFormat, Unsupported};
use crypto_pmd::drivers::Software;
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::{Pool, PoolConfig};

const LEN: usize = 64;

/// AES-CBC with an IV in front, then HMAC over both.
fn chain(key: u8) -> SessionParams {
    [
        Transform::cipher(CipherAlgorithm::AesCbc, Key::new(&[key; 16])),
        Transform::integrity(IntegrityAlgorithm::HmacSha1, Key::new(&[key; 20]), 12),
    ]
    .into_iter()
    .collect()
}

fn plain(cookie: u64) -> Vec<u8> {
    let mut packet = vec![0; 16 + LEN + 12];
    packet.iter_mut().take(16 + LEN).enumerate().for_each(|(at, byte)| *byte = (cookie as u8) ^ at as u8);
    packet
}

fn job(bench: &Bench, session: SessionId, operation: Operation, packet: &[u8], cookie: u64) -> Job {
    Job::new(bench.packet(packet), session, operation)
        .with_iv(0)
        .with_cipher(16, LEN as u32)
        .with_integrity(0, 16 + LEN as u32)
        .with_tag(16 + LEN as u32)
        .with_cookie(cookie)
}

/// What the packet of this number is after encryption, by a driver of its own.
struct Oracle(Bench, SessionId);

impl Oracle {
    fn new(params: SessionParams) -> Self {
        let bench = Bench::new();
        let session = bench.open(params);
        Self(bench, session)
    }
    fn sealed(&mut self, cookie: u64) -> Vec<u8> {
        let job = job(&self.0, self.1, Operation::Encrypt, &plain(cookie), cookie);
        self.0.finish(job).1
    }
}

/// Submits jobs with the numbers of `cookies`, as many as are taken; those.
fn submit(bench: &mut Bench, session: SessionId, cookies: std::ops::Range<u64>) -> u64 {
    let mut jobs = JobBurst::new();
    for cookie in cookies {
        jobs.push(job(bench, session, Operation::Encrypt, &plain(cookie), cookie)).unwrap();
    }
    bench.dispatcher.submit(&mut jobs) as u64
}

/// Polls until nothing is under way; what came, in order.
fn drain(bench: &mut Bench) -> Vec<(u64, Status, Vec<u8>)> {
    let mut came = Vec::new();
    for _ in 0..10_000 {
        let mut done = JobBurst::new();
        bench.dispatcher.poll(&mut done);
        came.extend(done.drain().map(|job| (job.cookie(), job.status(), job.into_packet().data().to_vec())));
        if bench.dispatcher.in_flight() == 0 {
            return came;
        }
    }
    panic!("{} jobs never came back", bench.dispatcher.in_flight());
}

/// Lets the dispatcher pass a boundary, and collects what is free then: everything.
fn settle(bench: &mut Bench) {
    bench.registry.collect();
    assert_eq!(bench.dispatcher.poll(&mut JobBurst::new()), 0);
    assert_eq!(bench.registry.collect(), 0);
}

fn assert_sealed(came: &[(u64, Status, Vec<u8>)], cookies: std::ops::Range<u64>, oracle: &mut Oracle) {
    assert!(came.iter().map(|(cookie, ..)| *cookie).eq(cookies), "{came:?}");
    for (cookie, status, bytes) in came {
        assert_eq!((*status, bytes), (Status::Done, &oracle.sealed(*cookie)), "job {cookie}");
    }
}

/// A card in front of the software driver, and a session on the card.
fn card_and_software() -> (Bench, DriverId, Levers, SessionId) {
    let registry = Registry::new();
    let (card, levers) = Card::new("card0");
    let id = registry.attach(card).unwrap();
    registry.attach(Software::new()).unwrap();
    let bench = Bench::over(registry);
    let session = bench.open(chain(1));
    assert_eq!(bench.registry.drivers_of(session), [id]);
    (bench, id, levers, session)
}

#[test]
fn a_driver_that_goes_leaves_its_sessions_to_others_and_no_job_is_lost_or_done_twice() {
    let (mut bench, id, levers, session) = card_and_software();
    let mut oracle = Oracle::new(chain(1));
    levers.stall(true);
    assert_eq!(submit(&mut bench, session, 0..20), 20);
    let moves = bench.registry.detach(id).unwrap();
    assert_eq!(moves, Moves { moved: 1, renamed: 0, waiting: 0 });
    assert_eq!(bench.registry.detach(id), Err(registry::NotAttached(id)));
    // Newer jobs do not overtake those that the card has.
    assert_eq!(submit(&mut bench, session, 20..30), 0);
    levers.stall(false);
    let came = drain(&mut bench);
    assert_sealed(&came, 0..20, &mut oracle);
    assert_eq!((levers.done(), bench.dispatcher.counters().redriven), (0, 20), "the card had begun none");
    assert_eq!(submit(&mut bench, session, 20..30), 10);
    assert_sealed(&drain(&mut bench), 20..30, &mut oracle);
    assert!(levers.is_alive());
    settle(&mut bench);
    assert!(!levers.is_alive(), "it goes when nobody has a queue pair of it");
    assert_eq!(bench.registry.find("card"), None);
}

#[test]
fn a_driver_that_comes_back_under_its_name_is_another_one_and_gets_new_sessions() {
    let (mut bench, id, _, session) = card_and_software();
    bench.registry.detach(id).unwrap();
    let (again, levers) = Card::new("card0");
    assert!(bench.registry.attach(again).is_err(), "it is not gone yet");
    assert_eq!(submit(&mut bench, session, 0..1), 1);
    assert_eq!(drain(&mut bench).len(), 1);
    bench.registry.collect();
    let (again, _) = (Card::new("card0").0, levers);
    let second = bench.registry.attach(again).unwrap();
    assert_ne!(second, id);
    assert_eq!(bench.registry.drivers_of(session), [bench.registry.find("software").unwrap()]);
    let new = bench.open(chain(2));
    assert_eq!(bench.registry.drivers_of(new), [second]);
    let mut oracle = Oracle::new(chain(2));
    assert_eq!(submit(&mut bench, new, 0..40), 40);
    assert_sealed(&drain(&mut bench), 0..40, &mut oracle);
}

#[test]
fn a_caller_that_wants_to_know_is_told_the_new_handle_and_can_submit_again_at_once() {
    let (mut bench, id, _, _) = card_and_software();
    let options = SessionOptions { report_moves: true, ..SessionOptions::default() };
    let old = bench.registry.open_with(chain(3), options).unwrap().id;
    let moves = bench.registry.detach(id).unwrap();
    assert_eq!(moves, Moves { moved: 1, renamed: 1, waiting: 0 });
    let job = job(&bench, old, Operation::Encrypt, &plain(5), 5);
    let mut told = bench.run(job);
    assert_eq!((told.status(), told.cookie(), told.source().data()), (Status::Moved, 5, &plain(5)[..]));
    assert_ne!(told.session(), old);
    assert_eq!(bench.dispatcher.counters().moved, 1);
    told.set_status(Status::Pending);
    let (status, bytes) = bench.finish(told);
    assert_eq!((status, bytes), (Status::Done, Oracle::new(chain(3)).sealed(5)));
    assert!(bench.registry.close(old));
}

#[test]
fn a_session_with_a_new_handle_that_lies_nowhere_counts_as_waiting() {
    let registry = Registry::new();
    let id = registry.attach(Card::new("card0").0).unwrap();
    let options = SessionOptions { report_moves: true, ..SessionOptions::default() };
    registry.open_with(chain(1), options).unwrap();
    assert_eq!(registry.detach(id).unwrap(), Moves { moved: 0, renamed: 0, waiting: 1 });
}

#[test]
fn a_session_without_a_driver_waits_for_one_that_comes() {
    let registry = Registry::new();
    let (card, _) = Card::new("card0");
    let id = registry.attach(card).unwrap();
    let mut bench = Bench::over(registry);
    let session = bench.open(chain(1));
    assert_eq!(bench.registry.detach(id).unwrap().waiting, 1);
    let again = job(&bench, session, Operation::Encrypt, &plain(1), 1);
    assert_eq!(bench.finish(again), (Status::Retry, plain(1)));
    assert!(bench.registry.drivers_of(session).is_empty());
    bench.registry.attach(Software::new()).unwrap();
    let again = job(&bench, session, Operation::Encrypt, &plain(1), 1);
    assert_eq!(bench.finish(again), (Status::Done, Oracle::new(chain(1)).sealed(1)));
}

#[test]
fn an_algorithm_that_is_withdrawn_takes_its_sessions_along_and_leaves_the_others() {
    let (mut bench, id, levers, session) = card_and_software();
    let gcm = Transform::aead(AeadAlgorithm::AesGcm, Key::new(&[4; 16]), Key::new(&[5; 4]), 16);
    let stays = bench.open(gcm.clone());
    let moves = bench.registry.withdraw(id, IntegrityAlgorithm::HmacSha1).unwrap();
    assert_eq!(moves, Moves { moved: 1, renamed: 0, waiting: 0 });
    let software = bench.registry.find("software").unwrap();
    assert_eq!(bench.registry.drivers_of(session), [software]);
    assert_eq!(bench.registry.drivers_of(stays), [id]);
    let other = bench.registry.open_with(chain(9), SessionOptions::default()).unwrap();
    assert_eq!(other.drivers, [software]);
    let what = Unsupported::Withdrawn("sha1-hmac");
    assert_eq!(other.passed_over, [(id, OpenError::Unsupported { driver: "card0".to_owned(), what })]);
    assert_eq!(submit(&mut bench, session, 0..9), 9);
    assert_sealed(&drain(&mut bench), 0..9, &mut Oracle::new(chain(1)));
    assert_eq!(levers.done(), 0);
}

#[test]
fn a_driver_whose_last_algorithm_is_withdrawn_is_detached() {
    let registry = Registry::new();
    let (card, levers) = Card::new("card0");
    let only = |capabilities: &mut Capabilities| {
        capabilities.ciphers.retain(|one| one.algorithm == CipherAlgorithm::AesCbc);
        capabilities.integrity.clear();
        capabilities.aeads.clear();
        capabilities.digests.clear();
        capabilities.compression.clear();
    };
    let id = registry.attach(card.with(only)).unwrap();
    registry.withdraw(id, CipherAlgorithm::AesCbc).unwrap();
    assert_eq!((registry.find("card"), registry.collect(), levers.is_alive()), (None, 0, false));
    assert!(registry.withdraw(id, CipherAlgorithm::AesCbc).is_err());
}

#[test]
fn a_session_moves_to_another_driver_behind_the_jobs_that_the_old_one_has() {
    let (mut bench, id, levers, session) = card_and_software();
    let software = bench.registry.find("software").unwrap();
    let mut oracle = Oracle::new(chain(1));
    levers.stall(true);
    assert_eq!(submit(&mut bench, session, 0..5), 5);
    bench.registry.move_to(session, software).unwrap();
    assert_eq!(submit(&mut bench, session, 5..9), 0, "the card has older ones");
    levers.stall(false);
    assert_sealed(&drain(&mut bench), 0..5, &mut oracle);
    assert_eq!((submit(&mut bench, session, 5..9), levers.done()), (4, 5));
    assert_sealed(&drain(&mut bench), 5..9, &mut oracle);
    assert_eq!(levers.done(), 5);
    bench.registry.move_to(session, id).unwrap();
    assert_eq!(submit(&mut bench, session, 9..12), 3);
    assert_sealed(&drain(&mut bench), 9..12, &mut oracle);
    assert_eq!(levers.done(), 8);
}

#[test]
fn a_session_that_moves_on_and_on_waits_for_every_driver_that_it_had() {
    let registry = Registry::new();
    let cards = ["card0", "card1"].map(Card::new);
    let [first, second] = cards.map(|(card, levers)| (registry.attach(card).unwrap(), levers));
    let software = registry.attach(Software::new()).unwrap();
    let mut bench = Bench::over(registry);
    let (session, mut oracle) = (bench.open(chain(1)), Oracle::new(chain(1)));
    first.1.stall(true);
    assert_eq!(submit(&mut bench, session, 0..5), 5);
    bench.registry.move_to(session, second.0).unwrap();
    bench.registry.move_to(session, software).unwrap();
    assert_eq!(submit(&mut bench, session, 5..10), 0, "they would overtake those on the first");
    first.1.stall(false);
    let mut came = drain(&mut bench);
    assert_eq!(submit(&mut bench, session, 5..10), 5);
    came.extend(drain(&mut bench));
    assert_sealed(&came, 0..10, &mut oracle);
    assert_eq!((first.1.done(), second.1.done()), (5, 0));
}

#[test]
fn what_a_driver_gave_back_and_a_full_burst_left_over_is_not_overtaken() {
    let (mut bench, id, levers, session) = card_and_software();
    let mut oracle = Oracle::new(chain(1));
    levers.stall(true);
    assert_eq!(submit(&mut bench, session, 0..3), 3);
    bench.registry.detach(id).unwrap();
    levers.stall(false);
    // Room for one, so that two of those that come back untouched are left over.
    let mut narrow = JobBurst::new();
    narrow.extend((0..63_u32).map(|_| job(&bench, session, Operation::Encrypt, &plain(0), 0)));
    bench.dispatcher.poll(&mut narrow);
    drop(narrow);
    let taken = submit(&mut bench, session, 3..6);
    let mut came = drain(&mut bench);
    submit(&mut bench, session, 3 + taken..6);
    came.extend(drain(&mut bench));
    assert_sealed(&came, 0..6, &mut oracle);
}

#[test]
fn what_waits_for_a_driver_that_goes_is_done_behind_what_that_has() {
    let (mut bench, id, levers, session) = card_and_software();
    let mut oracle = Oracle::new(chain(1));
    levers.stall(true);
    assert_eq!(submit(&mut bench, session, 0..3), 3);
    levers.block();
    assert_eq!(submit(&mut bench, session, 3..6), 3, "they wait in front of it");
    bench.registry.detach(id).unwrap();
    let mut done = JobBurst::new();
    assert_eq!((bench.dispatcher.poll(&mut done), submit(&mut bench, session, 6..9)), (0, 0));
    levers.stall(false);
    let mut came = drain(&mut bench);
    assert_eq!(submit(&mut bench, session, 6..9), 3);
    came.extend(drain(&mut bench));
    assert_sealed(&came, 0..9, &mut oracle);
    settle(&mut bench);
    assert!(!levers.is_alive());
}

#[test]
fn half_a_job_is_not_begun_anew_by_a_driver_that_has_the_whole_chain_now() {
    let (mut bench, levers) = two_halves();
    let session = bench.open(chain(1));
    bench.registry.attach(Software::new()).unwrap();
    levers[1].stall(true);
    assert_eq!(submit(&mut bench, session, 0..3), 3);
    // Encrypted, and before the hash.
    for _ in 0..3 {
        bench.dispatcher.poll(&mut JobBurst::new());
    }
    bench.registry.detach(bench.registry.find("hash0").unwrap()).unwrap();
    levers[1].stall(false);
    assert!(drain(&mut bench).iter().all(|(_, status, _)| *status == Status::Indeterminate));
    let mut oracle = Oracle::new(chain(1));
    assert_eq!(submit(&mut bench, session, 3..6), 3);
    assert_sealed(&drain(&mut bench), 3..6, &mut oracle);
}

#[test]
fn a_blocked_driver_is_offered_nothing_until_it_signals_and_gets_what_waits_first() {
    let (mut bench, _, levers, session) = card_and_software();
    let mut oracle = Oracle::new(chain(1));
    levers.block();
    assert_eq!(submit(&mut bench, session, 0..40), 40, "they wait in the framework");
    let submits = levers.submits();
    let mut done = JobBurst::new();
    (0..100).for_each(|_| assert_eq!(bench.dispatcher.poll(&mut done), 0));
    assert_eq!(submit(&mut bench, session, 40..100), 24, "as many as a burst holds");
    assert_eq!(levers.submits(), submits, "it was offered nothing meanwhile");
    // Another driver is not concerned.
    let other = bench.registry.open(chain(2), Placement::Software).unwrap();
    assert_eq!(submit(&mut bench, other, 500..501), 1);
    assert_eq!(bench.dispatcher.poll(&mut done), 1);
    assert_eq!(done.pop().unwrap().cookie(), 500);
    levers.unblock();
    assert_sealed(&drain(&mut bench), 0..64, &mut oracle);
    assert_eq!(submit(&mut bench, session, 64..74), 10);
    assert_sealed(&drain(&mut bench), 64..74, &mut oracle);
}

#[test]
fn a_job_that_may_wait_is_held_for_a_batch_and_not_for_ever() {
    let registry = Registry::new();
    let (card, levers) = Card::new("card0");
    registry.attach(card.with(|capabilities| capabilities.batch_size = 16)).unwrap();
    let mut bench = Bench::over(registry);
    let session = bench.open(chain(1));
    let offer = |bench: &mut Bench, cookies: std::ops::Range<u64>, may_wait: bool| {
        let mut jobs = JobBurst::new();
        for cookie in cookies {
            let job = job(bench, session, Operation::Encrypt, &plain(cookie), cookie);
            jobs.push(if may_wait { job.with_batch() } else { job }).unwrap();
        }
        let count = jobs.len();
        assert_eq!(bench.dispatcher.submit(&mut jobs), count);
    };
    // Together they are enough.
    offer(&mut bench, 0..10, true);
    let waiting = levers.submits();
    offer(&mut bench, 10..20, true);
    assert_eq!((waiting, levers.submits()), (0, 2), "what was held, and what came");
    assert_eq!(drain(&mut bench).len(), 20);
    // One that may not wait takes them along.
    offer(&mut bench, 20..25, true);
    offer(&mut bench, 25..26, false);
    assert!(drain(&mut bench).iter().map(|(cookie, ..)| *cookie).eq(20..26));
    // A flush, and the bound on the wait, which polls look at.
    let before = levers.submits();
    offer(&mut bench, 26..27, true);
    bench.dispatcher.flush();
    assert_eq!(levers.submits(), before + 1);
    offer(&mut bench, 27..28, true);
    let mut came = 0;
    for _ in 0..100_000_000_u64 {
        came += bench.dispatcher.poll(&mut JobBurst::new());
        if came == 2 {
            break;
        }
    }
    assert_eq!((came, bench.dispatcher.in_flight()), (2, 0));
}

/// Submits until nothing more is taken; how many jobs are in flight then.
fn fill(bench: &mut Bench, session: SessionId, next: &mut u64) -> usize {
    loop {
        let taken = submit(bench, session, *next..*next + 16);
        *next += taken;
        if taken == 0 {
            return bench.dispatcher.in_flight();
        }
    }
}

/// A card that says how long a job takes, with a queue of 64, alone under a session.
fn paced(latency_ns: u64) -> (Bench, Levers, SessionId) {
    let registry = Registry::new();
    let (card, levers) = Card::new("card0");
    let change = |capabilities: &mut Capabilities| {
        (capabilities.queue_depth, capabilities.latency_ns) = (Some(64), Some(latency_ns));
    };
    registry.attach(card.with(change)).unwrap();
    let bench = Bench::over(registry);
    let session = bench.open(chain(1));
    (bench, levers, session)
}

#[test]
fn a_card_with_a_long_latency_gets_more_and_more_jobs_until_its_queue_is_full() {
    // A job that is back within the hour came from an idle engine.
    let (mut bench, _, session) = paced(3_600_000_000_000);
    let (mut next, mut depths) = (0, Vec::new());
    let mut oracle = Oracle::new(chain(1));
    for _ in 0..30 {
        let first = next;
        depths.push(fill(&mut bench, session, &mut next));
        assert_sealed(&drain(&mut bench), first..next, &mut oracle);
    }
    assert_eq!((depths[0], depths[1], depths[29]), (16, 18, 64), "{depths:?}");
    assert!(depths.is_sorted());
}

#[test]
fn a_card_with_a_short_latency_gets_fewer_and_fewer_jobs_until_none_waits() {
    // A job that is still not back at the next poll waits in a queue.
    let (mut bench, levers, session) = paced(1);
    let (mut next, mut depths) = (0, Vec::new());
    let mut oracle = Oracle::new(chain(1));
    for _ in 0..30 {
        let first = next;
        depths.push(fill(&mut bench, session, &mut next));
        levers.stall(true);
        assert_eq!(bench.dispatcher.poll(&mut JobBurst::new()), 0);
        levers.stall(false);
        assert_sealed(&drain(&mut bench), first..next, &mut oracle);
    }
    assert_eq!((depths[0], depths[1], depths[29]), (16, 14, 1), "{depths:?}");
    assert!(depths.is_sorted_by(|one, next| one >= next));
}

#[test]
fn what_a_card_is_not_to_have_yet_the_next_one_or_the_fallback_does() {
    let registry = Registry::new();
    let (card, levers) = Card::new("card0");
    registry.attach(card.with(|capabilities| capabilities.latency_ns = Some(1000))).unwrap();
    registry.attach(Software::new()).unwrap();
    let mut bench = Bench::over(registry);
    let options = SessionOptions { fallback: true, ..SessionOptions::default() };
    let session = bench.registry.open_with(chain(1), options).unwrap().id;
    levers.stall(true);
    assert_eq!(submit(&mut bench, session, 0..40), 40);
    assert_eq!(bench.dispatcher.counters().fell_back, 24);
    levers.stall(false);
    assert_sealed(&drain(&mut bench), 0..40, &mut Oracle::new(chain(1)));
    assert_eq!(levers.done(), 16);
}

/// Two cards, one of which gives the newest back first, and software behind them where `fallback` is.
fn spread(policy: Policy, fallback: bool, depth: usize) -> (Bench, [Levers; 2], SessionId) {
    let registry = Registry::new();
    let levers = ["card0", "card1"].map(|name| {
        let (card, levers) = Card::new(name);
        let change = |capabilities: &mut Capabilities| {
            capabilities.queue_depth = Some(depth);
            capabilities.in_order = name == "card0";
        };
        registry.attach(card.with(change)).unwrap();
        levers
    });
    levers[1].go_backwards();
    registry.attach(Software::new()).unwrap();
    let bench = Bench::over(registry);
    let options = SessionOptions { placement: Placement::All(policy), fallback, ..SessionOptions::default() };
    let opened = bench.registry.open_with(chain(1), options).unwrap();
    assert_eq!(opened.drivers.len(), if fallback { 3 } else { 2 });
    assert_eq!([levers[0].sessions(), levers[1].sessions()], [1, 1], "reserved on every card");
    (bench, levers, opened.id)
}

#[test]
fn a_session_on_all_cards_uses_them_at_once_and_keeps_its_order() {
    for policy in [Policy::RoundRobin, Policy::QueueDepth] {
        let (mut bench, levers, session) = spread(policy, false, 64);
        let mut oracle = Oracle::new(chain(1));
        let mut came = Vec::new();
        for round in 0..20_u64 {
            assert_eq!(submit(&mut bench, session, round * 16..round * 16 + 16), 16);
            if round % 3 == 2 {
                came.extend(drain(&mut bench));
            }
        }
        came.extend(drain(&mut bench));
        assert_sealed(&came, 0..320, &mut oracle);
        assert!(levers.iter().all(|card| card.done() >= 100), "{policy:?}: {levers:?}");
    }
}

#[test]
fn short_packets_go_to_one_card_and_long_ones_to_the_other() {
    let len = plain(0).len();
    for (threshold, expected) in [(len, [0, 9]), (len + 1, [9, 0])] {
        let (mut bench, levers, session) = spread(Policy::PacketSize(threshold), false, 64);
        assert_eq!(submit(&mut bench, session, 0..9), 9);
        assert_sealed(&drain(&mut bench), 0..9, &mut Oracle::new(chain(1)));
        assert_eq!([levers[0].done(), levers[1].done()], expected);
    }
}

#[test]
fn when_a_card_is_blocked_the_next_one_takes_over() {
    let (mut bench, levers, session) = spread(Policy::Failover, false, 64);
    let mut oracle = Oracle::new(chain(1));
    assert_eq!(submit(&mut bench, session, 0..8), 8);
    levers[0].block();
    // The first burst finds out, and goes elsewhere as those behind it do.
    assert_eq!(submit(&mut bench, session, 8..16), 8);
    assert_eq!(submit(&mut bench, session, 16..24), 8);
    assert_sealed(&drain(&mut bench), 0..24, &mut oracle);
    assert_eq!(levers[1].done(), 16);
    levers[0].unblock();
    assert_eq!(submit(&mut bench, session, 24..32), 8);
    assert_sealed(&drain(&mut bench), 24..32, &mut oracle);
    assert_eq!((levers[0].done(), levers[1].done()), (16, 16));
}

#[test]
fn what_full_cards_do_not_take_software_does_in_its_place() {
    let (mut bench, levers, session) = spread(Policy::RoundRobin, true, 4);
    let mut oracle = Oracle::new(chain(1));
    levers.iter().for_each(|card| card.stall(true));
    assert_eq!((submit(&mut bench, session, 0..30), submit(&mut bench, session, 30..40)), (30, 10));
    let mut done = JobBurst::new();
    (0..10).for_each(|_| assert_eq!(bench.dispatcher.poll(&mut done), 0, "those before are with the cards"));
    assert_eq!(bench.dispatcher.counters().fell_back, 32);
    levers.iter().for_each(|card| card.stall(false));
    assert_sealed(&drain(&mut bench), 0..40, &mut oracle);
    assert_eq!(levers[0].done() + levers[1].done(), 8);
}

#[test]
fn a_card_that_goes_leaves_its_share_to_the_others_in_order() {
    let (mut bench, levers, session) = spread(Policy::RoundRobin, false, 64);
    let mut oracle = Oracle::new(chain(1));
    levers.iter().for_each(|card| card.stall(true));
    (0..4_u64).for_each(|round| assert_eq!(submit(&mut bench, session, round * 10..round * 10 + 10), 10));
    let card0 = bench.registry.find("card0").unwrap();
    assert_eq!(bench.registry.detach(card0).unwrap().moved, 1);
    levers.iter().for_each(|card| card.stall(false));
    assert_sealed(&drain(&mut bench), 0..40, &mut oracle);
    assert_eq!((levers[0].done(), levers[1].done()), (0, 40));
    settle(&mut bench);
    assert!(!levers[0].is_alive());
}

/// A card that only encrypts, and one that only hashes.
fn two_halves() -> (Bench, [Levers; 2]) {
    let registry = Registry::new();
    let (first, encrypts) = Card::new("cipher0");
    let (second, hashes) = Card::new("hash0");
    registry.attach(first.with(|capabilities| capabilities.integrity.clear())).unwrap();
    registry.attach(second.with(|capabilities| capabilities.ciphers.clear())).unwrap();
    (Bench::over(registry), [encrypts, hashes])
}

#[test]
fn a_chain_that_no_driver_has_whole_is_split_over_two() {
    let (mut bench, levers) = two_halves();
    let opened = bench.registry.open_with(chain(1), SessionOptions::default()).unwrap();
    assert_eq!(opened.drivers.len(), 2);
    let mut oracle = Oracle::new(chain(1));
    assert_eq!(submit(&mut bench, opened.id, 0..50), 50);
    assert_sealed(&drain(&mut bench), 0..50, &mut oracle);
    assert_eq!([levers[0].done(), levers[1].done()], [50, 50]);
    let sealed = oracle.sealed(7);
    let open = job(&bench, opened.id, Operation::Decrypt, &sealed, 7);
    let mut burst = JobBurst::new();
    burst.push(open).unwrap();
    bench.dispatcher.submit(&mut burst);
    let came = drain(&mut bench);
    assert_eq!((came[0].1, &came[0].2[..16 + LEN]), (Status::Done, &plain(7)[..16 + LEN]));
    // A forged one is found before the cipher gets it.
    let mut forged = sealed;
    forged[20] ^= 1;
    burst.push(job(&bench, opened.id, Operation::Decrypt, &forged, 8)).unwrap();
    bench.dispatcher.submit(&mut burst);
    let came = drain(&mut bench);
    assert_eq!((came[0].1, &came[0].2), (Status::IntegrityFailed, &forged));
    assert_eq!([levers[0].done(), levers[1].done()], [51, 52]);
    assert!(bench.registry.close(opened.id));
    assert_eq!([levers[0].sessions(), levers[1].sessions()], [0, 0]);
}

#[test]
fn a_job_that_fails_at_the_second_of_two_drivers_is_not_begun_anew() {
    let (mut bench, levers) = two_halves();
    let session = bench.open(chain(1));
    levers[1].fail_one_in(1);
    assert_eq!(submit(&mut bench, session, 0..3), 3);
    assert!(drain(&mut bench).iter().all(|(_, status, _)| *status == Status::Indeterminate));
    assert_eq!(levers[0].done(), 3, "encrypted once each");
}

#[test]
fn what_a_card_lacks_is_said_and_another_driver_has_the_session() {
    let registry = Registry::new();
    let (card, _) = Card::new("card0");
    let narrow = |capabilities: &mut Capabilities| {
        capabilities.max_sessions = Some(1);
        let aes = capabilities.ciphers.iter_mut().find(|one| one.algorithm == CipherAlgorithm::AesCbc);
        aes.unwrap().keys = crypto_pmd::capability::KeyLengths::OneOf([16].into_iter().collect());
    };
    let card = registry.attach(card.with(narrow)).unwrap();
    let software = registry.attach(Software::new()).unwrap();
    let open = |params: SessionParams| registry.open_with(params, SessionOptions::default()).unwrap();
    let long = Transform::cipher(CipherAlgorithm::AesCbc, Key::new(&[1; 32]));
    let opened = open(long.into());
    let what = Unsupported::KeyLength { algorithm: "aes-cbc", len: 32 };
    assert_eq!(opened.drivers, [software]);
    assert_eq!(opened.passed_over, [(card, OpenError::Unsupported { driver: "card0".to_owned(), what })]);
    assert_eq!(open(chain(1)).drivers, [card]);
    let opened = open(chain(2));
    assert_eq!(opened.passed_over, [(card, OpenError::Full { driver: "card0".to_owned() })]);
    assert_eq!(opened.drivers, [software]);
}

#[test]
fn each_card_keeps_a_session_under_an_id_of_its_own_and_does_its_jobs_under_that() {
    let registry = Registry::new();
    let cards = [("card0", 16, 0x1234), ("card1", 8, 0x77)].map(|(name, bits, first)| {
        let (card, levers) = Card::new(name);
        levers.number_from(first);
        let own = |capabilities: &mut Capabilities| capabilities.session_ids = SessionIdFormat::Bits(bits);
        (registry.attach(card.with(own)).unwrap(), levers)
    });
    let [(first, zero), (second, one)] = cards;
    registry.attach(Software::new()).unwrap();
    let mut bench = Bench::over(registry);
    let all = SessionOptions {
        placement: Placement::All(Policy::RoundRobin),
        fallback: true,
        ..SessionOptions::default()
    };
    let session = bench.registry.open_with(chain(1), all).unwrap().id;
    // The software driver goes by the handle.
    assert_eq!(bench.registry.own_session_ids(session), [(first, 0x1234), (second, 0x77)]);
    let format = |id| bench.registry.capabilities(id).unwrap().session_ids;
    assert_eq!([first, second].map(format), [SessionIdFormat::Bits(16), SessionIdFormat::Bits(8)]);
    for start in [0, 10] {
        assert_eq!(submit(&mut bench, session, start..start + 10), 10);
    }
    assert_sealed(&drain(&mut bench), 0..20, &mut Oracle::new(chain(1)));
    assert_eq!((zero.done_under(0x1234), one.done_under(0x77)), (10, 10));
    assert_eq!((zero.done(), one.done()), (10, 10));
    assert!(bench.registry.close(session));
    assert_eq!(bench.registry.own_session_ids(session), []);
}

#[test]
fn a_session_id_that_is_not_the_card_s_or_that_another_session_has_is_refused() {
    let registry = Registry::new();
    let (card, levers) = Card::new("card0");
    levers.number_from(0x0f);
    let own = |capabilities: &mut Capabilities| capabilities.session_ids = SessionIdFormat::Bits(4);
    let id = registry.attach(card.with(own)).unwrap();
    let open = |key| registry.open(chain(key), Placement::Driver(id));
    let last = open(1).unwrap();
    let fault = |id, fault| Err(OpenError::SessionId { driver: "card0".to_owned(), id, fault });
    assert_eq!(open(2), fault(0x10, device::SessionIdFault::Format(SessionIdFormat::Bits(4))));
    levers.number_from(0x0f);
    levers.repeat_ids();
    assert_eq!(open(3), fault(0x0f, device::SessionIdFault::Taken));
    assert_eq!(levers.sessions(), 1, "what was refused is closed on the card");
    assert_eq!(registry.own_session_ids(last), [(id, 0x0f)]);
    assert!(registry.close(last));
    assert_eq!(registry.own_session_ids(open(4).unwrap()), [(id, 0x0f)], "it is free again");
}

#[test]
fn packets_in_several_segments_pass_a_card_without_scatter_gather_over_and_it_is_named() {
    let registry = Registry::new();
    let (card, levers) = Card::new("card0");
    let card = registry.attach(card.with(|capabilities| capabilities.scatter_gather = false)).unwrap();
    let software = registry.attach(Software::new()).unwrap();
    let mut bench = Bench::over(registry);
    // Where packets come in segments, the card does not get the session, and it is said why.
    let segments = SessionOptions { segments: true, ..SessionOptions::default() };
    let opened = bench.registry.open_with(chain(1), segments).unwrap();
    let what = OpenError::Unsupported { driver: "card0".to_owned(), what: Unsupported::Segments };
    assert_eq!((opened.drivers, opened.passed_over), (vec![software], vec![(card, what.clone())]));
    let insists = SessionOptions { placement: Placement::Driver(card), ..segments };
    assert_eq!(bench.registry.open_with(chain(1), insists).unwrap_err(), what);
    assert_eq!(bench.registry.move_to(opened.id, card).unwrap_err(), what);
    // With a driver that stands by, it gets those in one piece.
    let both = SessionOptions { fallback: true, ..segments };
    let opened = bench.registry.open_with(chain(1), both).unwrap();
    assert_eq!(opened.drivers, [card, software]);
    let mut jobs = JobBurst::new();
    for cookie in 0..12 {
        let bytes = plain(cookie);
        let whole = job(&bench, opened.id, Operation::Encrypt, &bytes, cookie);
        let job = match cookie % 3 {
            0 => {
                let packet = common::chained(&bench.pool, &bytes, &[20, 41]);
                Job::new(packet, opened.id, Operation::Encrypt)
                    .with_iv(0)
                    .with_cipher(16, LEN as u32)
                    .with_integrity(0, 16 + LEN as u32)
                    .with_tag(16 + LEN as u32)
                    .with_cookie(cookie)
            }
            _ => whole,
        };
        jobs.push(job).unwrap();
    }
    assert_eq!(bench.dispatcher.submit(&mut jobs), 12);
    let mut done = JobBurst::new();
    while bench.dispatcher.in_flight() > 0 {
        bench.dispatcher.poll(&mut done);
    }
    let mut oracle = Oracle::new(chain(1));
    for (cookie, job) in (0..).zip(done.drain()) {
        assert_eq!((job.cookie(), job.status()), (cookie, Status::Done));
        assert_eq!(common::bytes_of(&job.into_packet()), oracle.sealed(cookie));
    }
    assert_eq!((levers.done(), levers.in_pieces()), (8, 0));
    let counters = bench.dispatcher.counters();
    assert_eq!((counters.segmented, counters.fell_back), (4, 0));
    assert!(bench.dispatcher.passed_over().eq([(card, 4)]), "named");
}

#[test]
fn the_first_bundle_that_can_be_had_is_taken() {
    let registry = Registry::new();
    let (card, _) = Card::new("card0");
    registry.attach(card.with(|capabilities| capabilities.aeads.clear())).unwrap();
    let gcm = Transform::aead(AeadAlgorithm::AesGcm, Key::new(&[4; 16]), Key::new(&[5; 4]), 16);
    let bundles = [SessionParams::from(gcm.clone()), chain(1)];
    let opened = registry.open_first(bundles, Placement::Hardware.into()).unwrap();
    assert_eq!(opened.bundle, 1);
    assert!(registry.open_first([gcm.into()], Placement::Hardware.into()).is_err());
}

#[test]
fn a_session_is_synchronous_where_all_its_drivers_say_so() {
    let (bench, card, _, on_card) = card_and_software();
    let software = bench.registry.open(chain(2), Placement::Software).unwrap();
    let both = SessionOptions { fallback: true, ..SessionOptions::default() };
    let both = bench.registry.open_with(chain(3), both).unwrap().id;
    let asked = [on_card, software, both].map(|id| bench.registry.is_synchronous(id));
    assert_eq!(asked, [Some(false), Some(true), Some(false)]);
    assert!(bench.registry.close(software));
    assert_eq!(bench.registry.is_synchronous(software), None);
    let capabilities = bench.registry.capabilities(card).unwrap();
    assert!(capabilities.hardware && capabilities.scatter_gather && !capabilities.synchronous);
    bench.registry.detach(card).unwrap();
    assert!(bench.registry.capabilities(card).is_none());
    assert_eq!(bench.registry.is_synchronous(on_card), Some(true), "it has moved");
}

/// Opens sessions slowly, and tells when somebody is inside.
#[derive(Debug, Default)]
struct Slow {
    capabilities: Capabilities,
    inside: Arc<AtomicBool>,
    detaching: Arc<AtomicBool>,
}

impl Driver for Slow {
    fn name(&self) -> &str {
        "slow0"
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn open_session(&self, _id: SessionId, _params: &SessionParams) -> Result<(), OpenError> {
        self.inside.store(true, Ordering::SeqCst);
        while !self.detaching.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        // Long enough for a detach that does not wait.
        (0..10_000).for_each(|_| std::thread::yield_now());
        self.inside.store(false, Ordering::SeqCst);
        Ok(())
    }
    fn close_session(&self, _id: SessionId) {}
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        crypto_pmd::drivers::Null::new().queue_pair(config)
    }
}

#[test]
fn nobody_is_inside_a_driver_s_session_functions_once_it_is_detached() {
    for _ in 0..20 {
        let registry = Registry::new();
        let slow = Slow::default();
        let (inside, detaching) = (Arc::clone(&slow.inside), Arc::clone(&slow.detaching));
        let id = registry.attach(slow).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| registry.open(SessionParams::default(), Placement::Any).unwrap());
            while !inside.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            detaching.store(true, Ordering::SeqCst);
            registry.detach(id).unwrap();
            assert!(!inside.load(Ordering::SeqCst));
        });
    }
}

/// What a job costs on each driver.
#[derive(Debug)]
struct Costs(&'static [(&'static str, f64)]);

impl Ranking for Costs {
    fn cost(&self, _params: &SessionParams, driver: &str) -> Option<f64> {
        self.0.iter().find(|(name, _)| *name == driver).map(|(_, cost)| *cost)
    }
}

#[test]
fn a_session_that_wants_the_fastest_driver_follows_it_where_that_is_worth_it() {
    let (mut bench, card, levers, stays) = card_and_software();
    let software = bench.registry.find("software").unwrap();
    let mut oracle = Oracle::new(chain(1));
    let session = bench.registry.open(chain(1), Placement::Fastest).unwrap();
    assert_eq!(bench.registry.drivers_of(session), [card], "nobody knows better");
    levers.stall(true);
    assert_eq!(submit(&mut bench, session, 0..4), 4);
    assert_eq!(
        bench.registry.set_ranking(Costs(&[("card0", 1000.0), ("software0", 950.0)])),
        0,
        "hardly faster"
    );
    assert_eq!(bench.registry.set_ranking(Costs(&[("card0", 1000.0), ("software0", 800.0)])), 1);
    assert_eq!(
        (bench.registry.drivers_of(session), bench.registry.drivers_of(stays)),
        (vec![software], vec![card])
    );
    assert_eq!(submit(&mut bench, session, 4..8), 0, "the card still has jobs of it");
    levers.stall(false);
    assert_sealed(&drain(&mut bench), 0..4, &mut oracle);
    assert_eq!(submit(&mut bench, session, 4..8), 4);
    assert_sealed(&drain(&mut bench), 4..8, &mut oracle);
    assert_eq!(levers.done(), 4);
    // A new one lands there at once, and a faster driver that comes gets both.
    let another = bench.registry.open(chain(2), Placement::Fastest).unwrap();
    assert_eq!(bench.registry.drivers_of(another), [software]);
    let all = Costs(&[("card0", 1000.0), ("software0", 800.0), ("card1", 100.0)]);
    assert_eq!(bench.registry.set_ranking(all), 0);
    let fast = bench.registry.attach(Card::new("card1").0).unwrap();
    assert_eq!([session, another].map(|id| bench.registry.drivers_of(id)), [[fast], [fast]]);
    assert_eq!(submit(&mut bench, session, 8..12), 4);
    assert_sealed(&drain(&mut bench), 8..12, &mut oracle);
}

/// Two cards that block, one that fails and one that comes and goes, under jobs of four sessions. With
/// `SEALANE_JOBS=10000000` for more than the usual number.
#[test]
fn under_drivers_that_block_fail_and_go_each_job_comes_back_once_right_and_in_order() {
    let jobs: u64 = std::env::var("SEALANE_JOBS").map_or(40_000, |text| text.parse().unwrap());
    let mut random = 0x1234_5678_u64;
    let mut draw = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let registry = Registry::new();
    let cards = ["block0", "block1", "fail0", "goes0"];
    let mut levers: Vec<_> = cards
        .map(|name| {
            let (card, levers) = Card::new(name);
            registry.attach(card.with(|capabilities| capabilities.queue_depth = Some(32))).unwrap();
            levers
        })
        .into();
    levers[2].fail_one_in(7);
    registry.attach(Software::new()).unwrap();
    let mut bench = Bench::over(registry);
    bench.pool = Pool::new(PoolConfig { buffers: 8192, stride: 512 }).unwrap();
    // The first two lie on one driver each, the third on all of them, the fourth where the one that goes is.
    let on = |name: &str| Placement::Driver(bench.registry.find(name).unwrap());
    let placements = [on("block0"), on("block1"), Placement::All(Policy::QueueDepth), on("goes0")];
    let sessions = placements.map(|placement| {
        let options = SessionOptions { placement, fallback: true, ..SessionOptions::default() };
        bench.registry.open_with(chain(1), options).unwrap().id
    });
    let mut oracle = Oracle::new(chain(1));
    // Cookies tell few packets apart, so that each has been sealed once beforehand.
    let sealed: Vec<_> = (0..256).map(|cookie| oracle.sealed(cookie)).collect();
    let (mut made, mut back, mut failed) = ([0_u64; 4], [0_u64; 4], 0);
    let mut waiting = JobBurst::new();
    let mut done = JobBurst::new();
    while back.iter().sum::<u64>() < jobs {
        match draw(40) {
            which @ 0..2 if draw(2) == 0 => levers[which as usize].block(),
            which @ 0..2 => levers[which as usize].unblock(),
            2 => levers[3].stall(draw(2) == 0),
            3 if draw(20) == 0 => match bench.registry.find("goes0") {
                Some(id) => drop(bench.registry.detach(id)),
                None => {
                    let (card, new) = Card::new("goes0");
                    // Unless the old one is still on its way.
                    if let Ok(id) = bench.registry.attach(card) {
                        levers[3] = new;
                        let _moved = bench.registry.move_to(sessions[3], id);
                    }
                }
            },
            4 => drop(bench.registry.collect()),
            _ => {}
        }
        while waiting.len() < 24 && made.iter().sum::<u64>() < jobs {
            let which = draw(4) as usize;
            let cookie = (which as u64) << 56 | made[which];
            let packet = plain(made[which] % 256);
            waiting.push(job(&bench, sessions[which], Operation::Encrypt, &packet, cookie)).unwrap();
            made[which] += 1;
        }
        bench.dispatcher.submit(&mut waiting);
        bench.dispatcher.poll(&mut done);
        for job in done.drain() {
            let (which, number) = ((job.cookie() >> 56) as usize, job.cookie() & 0xff_ffff_ffff);
            assert_eq!(number, back[which], "session {which}: lost, twice, or out of order");
            back[which] += 1;
            match job.status() {
                Status::Done => assert_eq!(job.into_packet().data(), sealed[number as usize % 256]),
                Status::Indeterminate => failed += 1,
                other => panic!("session {which}, job {number}: {other:?}"),
            }
        }
        if made.iter().sum::<u64>() == jobs {
            levers.iter().for_each(Levers::unblock);
            levers.iter().for_each(|card| card.stall(false));
        }
    }
    assert_eq!((bench.dispatcher.in_flight(), waiting.len()), (0, 0));
    assert!(failed > jobs / 1000 && failed < jobs / 8, "{failed} failed");
}
