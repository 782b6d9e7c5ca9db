//! The scheduler by itself: several drivers as one, by each policy, over children that are slow, full, blocked, out of order, or gone.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "a test card may lock")]

#[path = "common/card.rs"]
#[allow(dead_code, reason = "not every lever is pulled here")]
mod card;
mod common;
#[path = "common/rig.rs"]
mod rig;

use card::{Card, Levers};
use common::Bench;
use crypto_pmd::balance::Policy;
use crypto_pmd::capability::Unsupported;
use crypto_pmd::drivers::scheduler::{MAX_CHILDREN, SchedulerError};
use crypto_pmd::drivers::{Multibuffer, Null, Scheduler, Software};
use crypto_pmd::job::JobBurst;
use crypto_pmd::registry::AttachError;
use crypto_pmd::*;
use rig::*;

const POLICIES: [Policy; 4] =
    [Policy::RoundRobin, Policy::PacketSize(100), Policy::QueueDepth, Policy::Failover];

#[test]
fn a_session_uses_all_children_hardware_and_software_alike_and_keeps_its_order() {
    for policy in [Policy::RoundRobin, Policy::QueueDepth] {
        let (card, levers) = Card::new("card0");
        let builder = Scheduler::builder().policy(policy).child(Box::new(card));
        let scheduler = builder.child(Box::new(Software::new())).unit(3).build().unwrap();
        assert_eq!((scheduler.name(), scheduler.policy()), ("scheduler3", policy));
        let (mut bench, _) = alone(scheduler);
        let session = bench.open(chain(1));
        let mut oracle = Oracle::new(1);
        // What the software does at once waits for what the card has.
        levers.stall(true);
        assert_eq!(submit(&mut bench, session, 0..10) + submit(&mut bench, session, 10..20), 20);
        let before = poll(&mut bench, 5).len() as u64;
        levers.stall(false);
        assert!(before < 20, "the card has a part");
        oracle.assert_sealed(drain(&mut bench), session, before..20);
        assert!(levers.done() > 0 && levers.done() < 20, "{policy:?}: {}", levers.done());
    }
}

#[test]
fn the_order_is_kept_over_a_single_child_that_does_not_keep_it() {
    let (scheduler, levers) = over_cards::<1>(Policy::RoundRobin, |_, one| one.in_order = false);
    assert!(scheduler.capabilities().in_order);
    levers[0].go_backwards();
    let (mut bench, _) = alone(scheduler);
    let session = bench.open(chain(1));
    assert_eq!(submit(&mut bench, session, 0..20) + submit(&mut bench, session, 20..40), 40);
    Oracle::new(1).assert_sealed(drain(&mut bench), session, 0..40);
}

#[test]
fn children_are_chosen_as_the_policy_says() {
    let shares = |policy| {
        let (scheduler, levers) = over_cards::<3>(policy, |_, _| {});
        let (mut bench, _) = alone(scheduler);
        let session = bench.open(chain(1));
        for burst in 0..6 {
            assert_eq!(submit(&mut bench, session, burst * 8..burst * 8 + 8), 8);
        }
        drain(&mut bench);
        levers.map(|card| card.done())
    };
    assert_eq!(shares(Policy::RoundRobin), [16, 16, 16]);
    assert_eq!(shares(Policy::Failover), [48, 0, 0]);
    // Packets are 92 bytes; the first half of three is two, which take turns.
    assert_eq!(shares(Policy::PacketSize(93)), [24, 24, 0]);
    assert_eq!(shares(Policy::PacketSize(92)), [0, 0, 48]);
    // A burst is spread one by one, since each job makes its child's queue longer.
    assert_eq!(shares(Policy::QueueDepth), [16, 16, 16]);
}

#[test]
fn a_child_that_has_much_to_do_gets_less_and_one_that_is_blocked_nothing() {
    let (scheduler, levers) = over_cards::<2>(Policy::QueueDepth, |_, _| {});
    let (mut bench, _) = alone(scheduler);
    let session = bench.open(chain(1));
    levers[0].stall(true);
    for burst in 0..4 {
        submit(&mut bench, session, burst * 10..burst * 10 + 10);
        poll(&mut bench, 1);
    }
    levers[0].stall(false);
    drain(&mut bench);
    assert!(levers[0].done() < levers[1].done(), "{} {}", levers[0].done(), levers[1].done());
    let (scheduler, levers) = over_cards::<2>(Policy::Failover, |_, _| {});
    let (mut bench, _) = alone(scheduler);
    let session = bench.open(chain(1));
    levers[0].block();
    // That it is blocked shows at the first burst, which waits for it.
    assert_eq!(submit(&mut bench, session, 0..5) + submit(&mut bench, session, 5..10), 10);
    levers[0].unblock();
    Oracle::new(1).assert_sealed(drain(&mut bench), session, 0..10);
    assert_eq!(levers.map(|card| card.done()), [5, 5]);
}

#[test]
fn a_session_lies_on_the_children_that_can_do_it_and_on_those_only() {
    let (scheduler, levers) = over_cards::<3>(Policy::RoundRobin, |number, capabilities| match number {
        0 => capabilities.ciphers.clear(),
        1 => {}
        _ => capabilities.max_sessions = Some(1),
    });
    let (mut bench, _) = alone(scheduler);
    let sessions = || levers.each_ref().map(Levers::sessions);
    let one = bench.open(chain(1));
    assert_eq!(sessions(), [0, 1, 1], "the first has no cipher");
    let two = bench.open(chain(2));
    assert_eq!(sessions(), [0, 2, 1], "the last is full");
    for burst in 0..4 {
        submit(&mut bench, two, burst * 8..burst * 8 + 8);
    }
    Oracle::new(2).assert_sealed(drain(&mut bench), two, 0..32);
    assert_eq!(levers.each_ref().map(Levers::done), [0, 32, 0]);
    assert!(bench.registry.close(one) && bench.registry.close(two));
    assert_eq!(sessions(), [0, 0, 0]);
    let gcm = Transform::aead(AeadAlgorithm::AesGcm, Key::new(&[1; 17]), Key::new(&[0; 4]), 16);
    let error = bench.registry.open(gcm.into(), Placement::Any).unwrap_err();
    let what = Unsupported::KeyLength { algorithm: "aes-gcm", len: 17 };
    assert_eq!(error, OpenError::Unsupported { driver: "card2".to_owned(), what }, "the last that was asked");
}

#[test]
fn what_does_not_fit_stays_with_the_caller_in_order_and_as_it_was() {
    let (scheduler, levers) = over_cards::<2>(Policy::RoundRobin, |_, capabilities| {
        capabilities.queue_depth = Some(4);
    });
    assert_eq!(scheduler.capabilities().queue_depth, Some(8));
    let (mut bench, _) = alone(scheduler);
    let session = bench.open(chain(1));
    levers.iter().for_each(|card| card.stall(true));
    let (mut next, mut taken) = (0, Vec::new());
    for _ in 0..6 {
        taken.push(submit(&mut bench, session, next..next + 5));
        next += taken.last().unwrap();
        assert!(poll(&mut bench, 1).is_empty());
    }
    assert_eq!(next, 8, "{taken:?}: no more than both hold");
    levers.iter().for_each(|card| card.stall(false));
    let mut oracle = Oracle::new(1);
    oracle.assert_sealed(drain(&mut bench), session, 0..8);
    assert_eq!(submit(&mut bench, session, 8..16), 8);
    oracle.assert_sealed(drain(&mut bench), session, 8..16);
}

#[test]
fn packets_in_several_segments_go_to_a_child_that_takes_them() {
    for policy in POLICIES {
        let (card, levers) = Card::new("card0");
        let card = card.with(|capabilities| capabilities.scatter_gather = false);
        let builder = Scheduler::builder().policy(policy).child(Box::new(card));
        let (mut bench, children) = alone(builder.child(Box::new(Software::new())).build().unwrap());
        let options = SessionOptions { segments: true, ..SessionOptions::default() };
        let session = bench.registry.open_with(chain(1), options).unwrap().id;
        let burst = |bench: &mut Bench| {
            let mut jobs = JobBurst::new();
            for cookie in 0..12 {
                let bytes = plain(cookie, LEN);
                let packet = match cookie % 3 {
                    0 => common::chained(&bench.pool, &bytes, &[20, 41]),
                    _ => bench.packet(&bytes),
                };
                jobs.push(job_over(packet, session, cookie)).unwrap();
            }
            while !jobs.is_empty() {
                bench.dispatcher.submit(&mut jobs);
            }
            drain(bench)
        };
        Oracle::new(1).assert_sealed(burst(&mut bench), session, 0..12);
        assert_eq!(levers.in_pieces(), 0, "{policy:?}");
        // With that one gone, nobody takes them: they come back untouched, in their places.
        children.detach("software0").unwrap();
        let came = burst(&mut bench);
        assert_eq!(cookies_of(&came), Vec::from_iter(0..12));
        for job in came {
            let expected = if job.cookie() % 3 == 0 { Status::Retry } else { Status::Done };
            assert_eq!(job.status(), expected, "{policy:?}, job {}", job.cookie());
            let bytes = common::bytes_of(job.source());
            assert_eq!(bytes == plain(job.cookie(), LEN), expected == Status::Retry);
        }
        assert_eq!(levers.in_pieces(), 0, "{policy:?}");
    }
}

#[test]
fn packets_in_several_segments_wait_for_the_child_that_takes_them_when_it_is_blocked() {
    for policy in POLICIES {
        let (scheduler, levers) = over_cards::<2>(policy, |number, one| one.scatter_gather = number == 1);
        let (mut bench, _) = alone(scheduler);
        let session = bench.open(chain(1));
        levers.iter().for_each(Levers::block);
        let mut jobs = JobBurst::new();
        for cookie in 0..20 {
            let packet = common::chained(&bench.pool, &plain(cookie, LEN), &[20, 41]);
            jobs.push(job_over(packet, session, cookie)).unwrap();
            bench.dispatcher.submit(&mut jobs);
        }
        let mut came = poll(&mut bench, 3);
        assert!(came.is_empty(), "{policy:?}: {:?}", cookies_of(&came));
        levers.iter().for_each(Levers::unblock);
        while !jobs.is_empty() {
            came.extend(poll(&mut bench, 1));
            bench.dispatcher.submit(&mut jobs);
        }
        came.extend(drain(&mut bench));
        Oracle::new(1).assert_sealed(came, session, 0..20);
        assert_eq!((levers[0].done(), levers[1].in_pieces()), (0, 20), "{policy:?}");
    }
}

#[test]
fn a_child_that_goes_under_load_leaves_its_jobs_to_the_others_and_one_that_comes_gets_its_share() {
    let (scheduler, levers) = over_cards::<2>(Policy::RoundRobin, |_, _| {});
    let (mut bench, children) = alone(scheduler);
    let session = bench.open(chain(1));
    let mut oracle = Oracle::new(1);
    levers[0].stall(true);
    assert_eq!(submit(&mut bench, session, 0..10) + submit(&mut bench, session, 10..20), 20);
    let moves = children.detach("card0").unwrap();
    assert_eq!(moves, Moves { moved: 1, ..Moves::default() });
    // It gives back what it had not begun, and that is done by the other one in its old place.
    levers[0].stall(false);
    oracle.assert_sealed(drain(&mut bench), session, 0..20);
    assert_eq!(levers.each_ref().map(Levers::done), [0, 20]);
    bench.registry.collect();
    poll(&mut bench, 1);
    bench.registry.collect();
    assert!(!levers[0].is_alive() && levers[1].is_alive(), "it goes when nobody has a queue pair of it");
    let (card, new) = Card::new("card0");
    children.attach(Box::new(card)).unwrap();
    assert_eq!((children.names(), new.sessions()), (vec!["card1".to_owned(), "card0".to_owned()], 1));
    for burst in 2..6 {
        assert_eq!(submit(&mut bench, session, burst * 10..burst * 10 + 10), 10);
    }
    oracle.assert_sealed(drain(&mut bench), session, 20..60);
    assert_eq!((levers[1].done(), new.done()), (40, 20));
}

#[test]
fn a_session_that_is_left_without_a_child_waits_for_one_that_comes() {
    let (scheduler, _) = over_cards::<1>(Policy::RoundRobin, |_, _| {});
    let (mut bench, children) = alone(scheduler);
    let session = bench.open(chain(1));
    assert_eq!(children.detach("card").unwrap(), Moves { waiting: 1, ..Moves::default() });
    assert_eq!(submit(&mut bench, session, 0..3), 3);
    let came = drain(&mut bench);
    assert_eq!(cookies_of(&came), [0, 1, 2]);
    for job in came {
        assert_eq!((job.status(), job.session()), (Status::Retry, session));
        assert_eq!(job.source().data(), plain(job.cookie(), LEN));
    }
    let nobody = OpenError::NoDriver("every driver".to_owned());
    assert_eq!(bench.registry.open(chain(2), Placement::Any).unwrap_err(), nobody);
    children.attach(Box::new(Card::new("card1").0)).unwrap();
    assert_eq!(submit(&mut bench, session, 3..6), 3);
    Oracle::new(1).assert_sealed(drain(&mut bench), session, 3..6);
    bench.open(chain(2));
}

#[test]
fn jobs_of_a_closed_session_come_back_behind_those_that_were_taken_before() {
    let (scheduler, levers) = over_cards::<2>(Policy::RoundRobin, |_, _| {});
    let (mut bench, _) = alone(scheduler);
    let (session, closed) = (bench.open(chain(1)), bench.open(chain(2)));
    assert!(bench.registry.close(closed));
    levers.iter().for_each(|card| card.stall(true));
    assert_eq!(submit(&mut bench, session, 0..3) + submit(&mut bench, closed, 3..6), 6);
    assert!(poll(&mut bench, 3).is_empty(), "a queue pair that says so keeps the order of all its jobs");
    levers.iter().for_each(|card| card.stall(false));
    let came: Vec<_> = drain(&mut bench).iter().map(|job| (job.cookie(), job.status())).collect();
    assert!(came[..3].iter().all(|(_, status)| *status == Status::Done));
    assert_eq!(came[3..], [3, 4, 5].map(|cookie| (cookie, Status::UnknownSession)));
}

#[test]
fn what_cannot_be_a_scheduler_is_refused_with_the_reason() {
    let name = |text: &str| text.to_owned();
    let of = |children: Vec<Box<dyn Driver>>| {
        let builder = children.into_iter().fold(Scheduler::builder(), |builder, one| builder.child(one));
        builder.build().map(drop)
    };
    let soft = |unit| Box::new(Software::with_unit(unit)) as Box<dyn Driver>;
    assert_eq!(of(vec![]), Err(SchedulerError::NoChild));
    let taken = AttachError::NameTaken(name("software0"));
    assert_eq!(of(vec![soft(0), soft(0)]), Err(SchedulerError::Attach(taken)));
    assert_eq!(of((0..MAX_CHILDREN as u16).map(soft).collect()), Ok(()));
    let ninth = Err(SchedulerError::TooMany(name("software8")));
    assert_eq!(of((0..=MAX_CHILDREN as u16).map(soft).collect()), ninth);
    assert_eq!(of(vec![soft(0), Box::new(Null::new())]), Err(SchedulerError::Mixed(name("null0"))));
    assert_eq!(of(vec![Box::new(Null::new())]), Ok(()));
    // What was said when it was made stays true.
    let scheduler = Scheduler::builder().child(soft(0)).build().unwrap();
    assert!(scheduler.capabilities().synchronous && !scheduler.capabilities().hardware);
    let (bench, children) = alone(scheduler);
    let card = children.attach(Box::new(Card::new("card0").0));
    assert_eq!(card, Err(SchedulerError::Unlike(name("card0"))));
    let unknown = SchedulerError::Unknown { name: name("card0"), names: vec![name("software0")] };
    assert_eq!(unknown.to_string(), "no child is named card0; they are software0");
    assert_eq!(children.detach("card0"), Err(unknown));
    assert_eq!(bench.registry.is_synchronous(bench.open(chain(1))), Some(true));
}

/// Children that block, stall, fill up, give the newest back first, come and go, under jobs of four sessions. With
/// `SEALANE_JOBS=10000000` for more than the usual number.
#[test]
fn over_children_of_every_temper_each_job_comes_back_once_right_and_in_order() {
    let jobs: u64 = std::env::var("SEALANE_JOBS").map_or(40_000, |text| text.parse().unwrap());
    let (lens, mut draw) = ([48, 160], draws());
    let mut oracles = [1, 2, 3, 4].map(Oracle::new);
    let sealed = oracles.each_mut().map(|oracle| {
        Vec::from_iter((0..256).map(|cookie| oracle.sealed(cookie, lens[cookie as usize % 2])))
    });
    for policy in POLICIES {
        let (scheduler, levers) = over_cards::<3>(policy, |number, capabilities| {
            capabilities.queue_depth = Some(16);
            capabilities.in_order = number != 1;
        });
        let mut levers = Vec::from(levers);
        levers[1].go_backwards();
        let (mut bench, children) = alone(scheduler);
        children.attach(Box::new(Multibuffer::new())).unwrap();
        let sessions = [1, 2, 3, 4].map(|key| bench.open(chain(key)));
        let (mut made, mut back) = (0_u64, 0_u64);
        let (mut waiting, mut done) = (JobBurst::new(), JobBurst::new());
        while back < jobs / 4 {
            match draw(40) {
                0 if draw(2) == 0 => levers[0].block(),
                0 => levers[0].unblock(),
                1 => levers[1].stall(draw(2) == 0),
                2 => levers[2].stall(draw(2) == 0),
                3 if draw(4) == 0 => match children.detach("card2") {
                    Ok(_) => {}
                    Err(_) => {
                        let (card, new) = Card::new("card2");
                        // Unless the old one is still on its way.
                        if children.attach(Box::new(card)).is_ok() {
                            levers[2] = new;
                        }
                    }
                },
                4 => drop(bench.registry.collect()),
                5 => bench.dispatcher.flush(),
                _ => {}
            }
            let most = draw(64) as usize;
            while waiting.len() < most && made < jobs / 4 {
                let (session, len) = (sessions[draw(4) as usize], lens[made as usize % 2]);
                waiting.push(job_over(bench.packet(&plain(made, len)), session, made)).unwrap();
                made += 1;
            }
            let before: Vec<_> =
                waiting.iter().map(|job| (job.cookie(), job.session(), job.order())).collect();
            let taken = bench.dispatcher.submit(&mut waiting);
            let left = waiting.iter().map(|job| (job.cookie(), job.session(), job.order()));
            assert!(left.eq(before[taken..].iter().copied()), "what stays is what is behind, as it was");
            bench.dispatcher.poll(&mut done);
            for job in done.drain() {
                let cookie = job.cookie();
                assert_eq!((cookie, job.status()), (back, Status::Done), "lost, twice, or out of order");
                let which = sessions.iter().position(|&session| session == job.session()).unwrap();
                assert_eq!(job.order(), order_of(cookie));
                assert_eq!(job.into_packet().data(), sealed[which][cookie as usize % 256], "{policy:?}");
                back += 1;
            }
            if made == jobs / 4 {
                bench.dispatcher.flush();
                levers.iter().for_each(Levers::unblock);
                levers.iter().for_each(|card| card.stall(false));
            }
        }
        assert_eq!((bench.dispatcher.in_flight(), waiting.len()), (0, 0));
    }
}
