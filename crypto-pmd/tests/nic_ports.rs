//! The card as a port in virtual time, with both inline services: frames come through right and in order, each is accounted for on both sides, and whatever
//! goes wrong with the card, no number is on the wire twice and nothing is let in twice.
//!
//! `SEALANE_SEEDS=1000 cargo test --release -p crypto-pmd --test nic_ports` for more than the usual seeds.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod nic_common;

use crypto_pmd::OpenError;
use crypto_pmd::capability::Unsupported;
use crypto_pmd::drivers::nic::{Card, CardConfig, Fault, Faults, Health, Nic, NicConfig};
use crypto_pmd::inline::{InboundState, OutboundState, RxReport, SaState, Service, TxOffload};
use nic_common::port::{
    Ask, CRYPTO_SPI, PROTOCOL_SPI, PortRig, START, esp_frame, inn, ipv4, nic_profile, out, plain,
    spi_and_number,
};
use nic_common::{gcm, small};
use pipeline::port::{Receive, RxPort, TxPort};
use pipeline::{Burst, Clock, Ledger, Mbuf, Pool, PoolConfig};

const BOUND: u64 = 400_000_000;

#[test]
fn frames_come_through_with_every_service_and_each_is_accounted_for() {
    let mut rig = PortRig::new(&nic_profile(), 1);
    rig.run(3000, BOUND);
    rig.assert_exact();
    let (tx, rx) = rig.ledgers();
    assert_eq!((tx.sent, tx.dropped.len(), rx.dropped.len()), (rig.offered, 0, 0));
    assert_eq!(rig.came.len() as u64, rig.offered, "all of them came: {:?}", rig.refused);
    // What is very old is read as one of the next 2^32 numbers, with which its ICV is wrong.
    for name in ["integrity_failed", "replayed"] {
        assert!(rig.refused.contains_key(name), "{name}: {:?}", rig.refused);
    }
    let counters = rig.nic.counters();
    assert_eq!((counters.stale, counters.watchdog_resets, counters.nudges), (0, 0, 0), "{counters:?}");
    rig.close();
}

#[test]
fn frames_leave_and_arrive_as_fast_as_the_profile_says_and_no_faster() {
    let mut rig = PortRig::new(&nic_profile(), 2);
    rig.trouble = false;
    let len = 1250;
    let mut sent = 0;
    let start = rig.clock.tick();
    let mut burst = Burst::new();
    while rig.counters().get("tx_sent").copied().unwrap_or(0) < 1000 {
        while burst.len() < 32 && sent < 1000 {
            burst.push(rig.pool.alloc_copy(&plain(sent, len - 50)).unwrap()).unwrap();
            sent += 1;
        }
        rig.tx.transmit(&mut burst);
        rig.hand.advance(500);
        rig.engine.step();
        // The far end keeps what it gets.
        let mut taken = Burst::new();
        rig.far_rx.receive(&mut taken, 64);
    }
    let took = rig.clock.tick() - start;
    // 1000 frames of 10,000 bits at 10 Gbit/s, and a latency of 2 to 2.5 microseconds.
    assert!((1_000_000..1_020_000).contains(&took), "{took} ns");
}

/// When a fault strikes during a run of some milliseconds, and how often.
fn plan(fault: Fault, seed: u64, shift: u64) -> Faults {
    let ns = 30_000 + (seed.wrapping_mul(7919) + shift * 31_337) % 150_000;
    let faults = Faults::none().with_seed(seed);
    match fault {
        Fault::EngineHang | Fault::Reset | Fault::RingStuck => faults.at(fault, ns, Some(900_000)),
        Fault::Removal => faults.at(fault, ns, Some(1_100_000)).lasting(150_000),
        Fault::LinkDown => faults.at(fault, ns, Some(500_000)).lasting(50_000),
        Fault::SaTableFull => faults.at_rate(fault, 0.3),
        Fault::Late => faults.at_rate(fault, 0.005).lasting(350_000),
        Fault::Never | Fault::DoorbellLost => faults.at_rate(fault, 0.005),
        _ => faults.at_rate(fault, 0.03),
    }
}

/// A run with these faults; which of them struck, and its trace.
fn check(faults: &[Fault], seed: u64) -> (Vec<Fault>, u64) {
    let mut rig = PortRig::new(&nic_profile(), seed);
    let plans: Vec<String> =
        (0..).zip(faults).map(|(shift, &fault)| plan(fault, seed, shift).to_string()).collect();
    let plan: Faults = plans.join(",").parse().unwrap();
    rig.engine.set_faults(&plan.with_seed(seed));
    rig.run(700, BOUND);
    rig.engine.set_faults(&Faults::none());
    rig.settle_down(BOUND);
    rig.assert_exact();
    let came = rig.came.len();
    // A completion that is late holds up all that follow it, until there are no buffers left.
    assert!(came as u64 * 10 > rig.offered, "{faults:?} seed {seed}: {came} of {}", rig.offered);
    // Once nothing goes wrong any more, every frame comes through.
    let (before, first) = (rig.offered, rig.next_id);
    rig.run(300, BOUND);
    rig.assert_exact();
    let (tx, _) = rig.ledgers();
    // Not those that were lost before and came when the far end sent them once more.
    let new = rig.came.keys().filter(|(_, id)| *id >= first).count() as u64;
    assert_eq!(
        new,
        rig.offered - before,
        "{faults:?} seed {seed}: {tx:?} {:?} {:?}",
        rig.refused,
        rig.counters()
    );
    let counters = rig.counters();
    let trace = rig.trace;
    rig.close();
    (faults.iter().copied().filter(|fault| counters.contains_key(fault.name())).collect(), trace)
}

fn seeds() -> u64 {
    std::env::var("SEALANE_SEEDS").map_or(3, |text| text.parse().unwrap())
}

#[test]
fn every_fault_alone_loses_no_count_and_no_number_comes_twice() {
    let mut struck = [0; Fault::ALL.len()];
    for fault in Fault::ALL {
        for seed in 0..seeds() {
            check(&[fault], seed).0.iter().for_each(|fault| struck[*fault as usize] += 1);
        }
    }
    let never: Vec<_> = Fault::ALL.iter().filter(|fault| struck[**fault as usize] == 0).collect();
    assert_eq!(never, [&Fault::SaTableFull], "without a reset no SA is installed again");
}

#[test]
fn faults_in_pairs_lose_no_count_and_no_number_comes_twice() {
    let whole = [Fault::EngineHang, Fault::Reset, Fault::Removal, Fault::RingStuck];
    let mut struck = 0;
    for seed in 0..seeds().div_ceil(3) {
        for first in whole {
            for second in Fault::ALL.into_iter().filter(|second| *second != first) {
                struck += usize::from(check(&[first, second], seed).0.contains(&Fault::SaTableFull));
            }
        }
    }
    assert!(struck > 0, "SAs were not installed again at the first attempt");
}

#[test]
fn a_run_with_one_seed_is_the_same_to_the_last_frame() {
    let faults = [Fault::Reset, Fault::OutOfOrder];
    assert_eq!(check(&faults, 5), check(&faults, 5));
    assert_ne!(check(&faults, 5).1, check(&faults, 6).1);
}

/// Hands one packet over and lets time pass; what left.
fn send(rig: &mut PortRig, packet: Mbuf) -> Option<Vec<u8>> {
    let mut burst = Burst::new();
    burst.push(packet).unwrap();
    assert_eq!(rig.tx.transmit(&mut burst), 1);
    rig.offered += 1;
    for _ in 0..20 {
        rig.hand.advance(500);
        rig.engine.step();
    }
    rig.tx.transmit(&mut burst);
    let mut left = Burst::new();
    rig.far_rx.receive(&mut left, 2);
    left.pop().map(|frame| frame.data().to_vec())
}

fn asking(rig: &PortRig, bytes: &[u8], request: TxOffload) -> Mbuf {
    let mut packet = rig.pool.alloc_copy(bytes).unwrap();
    packet.set_l2_len(14);
    request.write(&mut packet);
    packet
}

/// As [`send`], for bytes with a request.
fn ask(rig: &mut PortRig, bytes: &[u8], request: TxOffload) -> Option<Vec<u8>> {
    let packet = asking(rig, bytes, request);
    send(rig, packet)
}

fn dropped(rig: &PortRig) -> Vec<(&'static str, u64)> {
    rig.ledgers().0.dropped.into_iter().collect()
}

#[test]
fn a_frame_whose_request_cannot_be_fulfilled_does_not_go_out() {
    let mut rig = PortRig::new(&nic_profile(), 3);
    let (crypto, protocol) = (rig.request(Service::Crypto), rig.request(Service::Protocol));
    let esp = esp_frame(&plain(1, 9), CRYPTO_SPI, 1);
    let cases = [
        ("nic_no_sa", asking(&rig, &plain(1, 9), TxOffload { slot: 999, ..protocol })),
        ("nic_no_sa", asking(&rig, &plain(1, 9), TxOffload { slot: rig.inbound_slot, ..protocol })),
        ("nic_no_sa", asking(&rig, &esp, TxOffload { service: Service::Crypto, ..protocol })),
        ("nic_refused", asking(&rig, &plain(1, 9), crypto)),
        ("nic_refused", asking(&rig, &esp_frame(&plain(1, 9), CRYPTO_SPI + 1, 1), crypto)),
        ("nic_refused", asking(&rig, &esp[..40], crypto)),
        ("nic_refused", asking(&rig, &plain(1, 9)[..30], protocol)),
        ("nic_bad_length", asking(&rig, &[], protocol)),
    ];
    let mut expected = std::collections::BTreeMap::new();
    for (reason, packet) in cases {
        assert_eq!(send(&mut rig, packet), None, "{reason}");
        *expected.entry(reason).or_insert(0) += 1;
        assert_eq!(dropped(&rig), expected.clone().into_iter().collect::<Vec<_>>());
    }
    let mut half = rig.pool.alloc_copy(&plain(1, 9)).unwrap();
    half.set_offload(3);
    assert_eq!(send(&mut rig, half), None, "a service that there is not");
    assert!(ask(&mut rig, &esp, crypto).is_some());
    let first = ask(&mut rig, &plain(1, 9), protocol).unwrap();
    assert_eq!(
        spi_and_number(&first),
        Some((PROTOCOL_SPI, START)),
        "no number was used for what was refused"
    );
    rig.assert_exact();
}

#[test]
fn numbers_end_and_what_comes_after_does_not_go_out() {
    let mut rig = PortRig::new(&nic_profile(), 4);
    let sa = out(77, gcm(3), false, u64::from(u32::MAX) - 1);
    let slot = rig.nic.install(Service::Protocol, &sa).unwrap();
    let request = TxOffload { service: Service::Protocol, slot, esn_high: 0 };
    for number in [u64::from(u32::MAX) - 1, u64::from(u32::MAX)] {
        let frame = ask(&mut rig, &plain(1, 9), request).unwrap();
        assert_eq!(spi_and_number(&frame), Some((77, number)));
    }
    assert_eq!(ask(&mut rig, &plain(1, 9), request), None);
    assert_eq!(dropped(&rig), [("nic_refused", 1)]);
    assert_eq!(rig.nic.recall(slot), Some(OutboundState { next_sequence: 0 }.into()));
}

/// From the far end to the host.
fn arrive(rig: &mut PortRig, frames: &[Vec<u8>]) -> Vec<Mbuf> {
    let mut burst: Burst = Burst::new();
    for frame in frames {
        burst.push(rig.pool.alloc_copy(frame).unwrap()).unwrap();
    }
    assert_eq!(rig.far_tx.transmit(&mut burst), frames.len());
    for _ in 0..20 {
        rig.hand.advance(500);
        rig.engine.step();
    }
    rig.receive()
}

#[test]
fn without_a_buffer_and_with_the_link_down_frames_are_lost_at_the_edge_and_counted() {
    let mut rig = PortRig::with_depth(&nic_profile(), 5, 48);
    let many: Vec<_> = (0..60).map(|id| plain(id, 9)).collect();
    assert_eq!(arrive(&mut rig, &many).len(), 32);
    assert_eq!((rig.receive().len(), rig.receive().len()), (16, 0), "48 buffers were posted");
    assert_eq!(rig.counters()["no_rx_buffer"], 12);
    let faults = Faults::none().at(Fault::LinkDown, rig.clock.tick(), None).lasting(30_000);
    rig.engine.set_faults(&faults);
    rig.engine.step();
    let packet = rig.pool.alloc_copy(&plain(1, 9)).unwrap();
    assert_eq!(send(&mut rig, packet), None);
    assert!(arrive(&mut rig, &many[..7]).is_empty());
    let counters = rig.counters();
    assert_eq!((counters["tx_link_down"], counters["rx_link_down"]), (1, 7));
    assert_eq!(dropped(&rig), [("nic_link_down", 1)]);
    rig.hand.advance(30_000);
    rig.engine.step();
    let packet = rig.pool.alloc_copy(&plain(1, 9)).unwrap();
    assert!(send(&mut rig, packet).is_some(), "it is up again");
    assert_eq!(arrive(&mut rig, &many[..7]).len(), 7);
    rig.assert_exact();
}

#[test]
fn what_is_longer_than_a_buffer_and_dummies_end_at_the_card() {
    let mut rig = PortRig::new(&nic_profile(), 6);
    let long = vec![1; 2200];
    let mut burst = Burst::new();
    let mut first = rig.pool.alloc_copy(&long[..1500]).unwrap();
    first.chain(rig.pool.alloc_copy(&long[1500..]).unwrap()).unwrap();
    burst.push(first).unwrap();
    rig.far_tx.transmit(&mut burst);
    rig.hand.advance(5000);
    rig.engine.step();
    assert_eq!(rig.counters()["rx_too_long"], 1);
    // A dummy is what transport mode would make of a packet that has no next header: here inside a tunnel of NULL.
    let session = crypto_pmd::Transform::integrity(
        crypto_pmd::IntegrityAlgorithm::HmacSha1,
        crypto_pmd::Key::new(&[4; 20]),
        12,
    );
    let sa = out(88, session.clone().into(), false, 1);
    rig.nic.install(Service::Protocol, &inn(&sa)).unwrap();
    // SPI, number, two bytes of padding, their count, and that nothing follows; then the ICV, by the software driver.
    let esp = [&88_u32.to_be_bytes()[..], &1_u32.to_be_bytes(), &[1, 2, 2, 59], &[0; 12]].concat();
    let registry = crypto_pmd::Registry::new();
    registry.attach(crypto_pmd::drivers::Software::new()).unwrap();
    let id = registry.open(session.into(), crypto_pmd::Placement::Any).unwrap();
    let job = crypto_pmd::Job::new(rig.pool.alloc_copy(&esp).unwrap(), id, crypto_pmd::Operation::Encrypt);
    let mut jobs = crypto_pmd::job::JobBurst::new();
    jobs.push(job.with_integrity(0, 12).with_tag(12)).unwrap();
    let mut dispatcher = registry.dispatcher(&crypto_pmd::QueuePairConfig::default()).unwrap();
    dispatcher.submit(&mut jobs);
    dispatcher.poll(&mut jobs);
    let sealed = jobs.pop().unwrap().into_packet().data().to_vec();
    let frame = [&plain(1, 0)[..14], &ipv4(50, [1, 2, 3, 4], [192, 0, 2, 2], &sealed)].concat();
    assert!(arrive(&mut rig, std::slice::from_ref(&frame)).is_empty());
    assert_eq!(rig.counters()["rx_dummies"], 1);
    let again = arrive(&mut rig, &[frame]);
    let report = RxReport::read(&again[0]).unwrap();
    assert_eq!(report.outcome, crypto_pmd::inline::RxOutcome::Replayed, "its number is used up all the same");
    rig.assert_exact();
}

#[test]
fn an_sa_that_is_recalled_gives_its_state_and_sends_no_more() {
    let mut rig = PortRig::new(&nic_profile(), 7);
    rig.trouble = false;
    rig.run(200, BOUND);
    let sent = rig.came.keys().filter(|(ask, _)| *ask == Ask::Protocol).count() as u64;
    let state = rig.nic.recall(rig.protocol_slot).unwrap();
    assert_eq!(state, OutboundState { next_sequence: START + sent }.into());
    let SaState::Inbound(state) = rig.nic.recall(rig.inbound_slot).unwrap() else { panic!("it receives") };
    assert_eq!(state, InboundState { highest: START + sent - 1, bitmap: vec![u64::MAX] });
    let request = rig.request(Service::Protocol);
    assert_eq!(ask(&mut rig, &plain(1, 9), request), None);
    assert_eq!(dropped(&rig), [("nic_no_sa", 1)]);
    // A second time it is what is known here, which is as good.
    let again = rig.nic.recall(rig.protocol_slot);
    assert_eq!(again, Some(OutboundState { next_sequence: START + sent }.into()));
    assert!(rig.nic.forget(rig.protocol_slot) && !rig.nic.forget(rig.protocol_slot));
    assert_eq!(rig.nic.recall(rig.protocol_slot), None);
    let reused = rig.nic.install(Service::Protocol, &out(5, gcm(1), false, 1)).unwrap();
    assert_eq!(reused, rig.protocol_slot, "the place is free again");
}

#[test]
fn a_card_that_is_gone_leaves_a_state_with_which_no_number_comes_twice() {
    let mut rig = PortRig::new(&nic_profile(), 8);
    rig.trouble = false;
    rig.run(100, BOUND);
    let sent = rig.came.keys().filter(|(ask, _)| *ask == Ask::Protocol).count() as u64;
    // Five more are handed over; whether they went out nobody knows.
    let mut burst = Burst::new();
    for _ in 0..5 {
        let frame = rig.frame(Ask::Protocol);
        burst.push(frame).unwrap();
    }
    rig.tx.transmit(&mut burst);
    rig.engine.step();
    rig.engine.set_faults(&Faults::none().at(Fault::Removal, rig.clock.tick(), None).lasting(10_000_000));
    for _ in 0..400 {
        rig.step(1000);
        rig.tx.transmit(&mut burst);
    }
    assert_eq!(rig.nic.health(), Health::Gone);
    let state = rig.nic.recall(rig.protocol_slot);
    assert_eq!(state, Some(OutboundState { next_sequence: START + sent + 5 }.into()));
    let state = rig.nic.recall(rig.inbound_slot);
    assert_eq!(state, Some(InboundState { highest: START + sent - 1, bitmap: vec![u64::MAX] }.into()));
    let refused = rig.nic.install(Service::Protocol, &out(5, gcm(1), false, 1)).unwrap_err();
    assert_eq!(refused, OpenError::NotReady { driver: "nic0".to_owned() });
    // What is handed over now is dropped at the edge.
    let frame = rig.frame(Ask::Nothing);
    burst.push(frame).unwrap();
    assert_eq!(rig.tx.transmit(&mut burst), 1);
    assert_eq!(dropped(&rig), [("nic_gone", 1), ("nic_reset", 5)]);
}

#[test]
fn what_was_reported_of_an_sa_that_is_forgotten_is_not_taken_for_its_successor() {
    let mut rig = PortRig::new(&nic_profile(), 9);
    let request = rig.request(Service::Protocol);
    let sealed = ask(&mut rig, &plain(1, 9), request).unwrap();
    let mut burst = Burst::new();
    burst.push(rig.pool.alloc_copy(&sealed).unwrap()).unwrap();
    rig.far_tx.transmit(&mut burst);
    for _ in 0..20 {
        rig.hand.advance(500);
        rig.engine.step();
    }
    let slot = rig.inbound_slot;
    assert!(rig.nic.forget(slot));
    assert_eq!(rig.nic.install(Service::Protocol, &inn(&out(99, gcm(8), false, 1))).unwrap(), slot);
    assert!(rig.receive().is_empty());
    assert_eq!(rig.ledgers().1.dropped.into_iter().collect::<Vec<_>>(), [("nic_stale_report", 1)]);
    rig.assert_exact();
}

/// The card hangs from now on, until the driver resets it.
fn hang(rig: &mut PortRig) {
    rig.engine.set_faults(&Faults::none().at(Fault::EngineHang, rig.clock.tick(), None));
    rig.engine.step();
}

/// Time passes, and both ends of the port are polled, until the card is as new.
fn see_through(rig: &mut PortRig) {
    for _ in 0..500 {
        rig.step(1000);
        rig.tx.transmit(&mut Burst::new());
    }
    assert_eq!((rig.nic.health(), rig.counters()["resets"]), (Health::Working, 1));
}

#[test]
fn a_frame_that_waits_through_a_reset_does_not_leave_by_the_sa_that_took_its_own_ones_slot() {
    let mut rig = PortRig::new(&nic_profile(), 11);
    rig.trouble = false;
    hang(&mut rig);
    let mut burst = Burst::new();
    for ask in [Ask::Protocol, Ask::Nothing] {
        let frame = rig.frame(ask);
        burst.push(frame).unwrap();
    }
    rig.offered += rig.tx.transmit(&mut burst) as u64;
    assert!(rig.nic.forget(rig.protocol_slot));
    let slot = rig.nic.install(Service::Protocol, &out(99, gcm(8), false, 1)).unwrap();
    assert_eq!(slot, rig.protocol_slot);
    see_through(&mut rig);
    assert_eq!(dropped(&rig), [("nic_no_sa", 1)]);
    assert_eq!(rig.nic.recall(slot), Some(OutboundState { next_sequence: 1 }.into()), "it used no number");
    assert_eq!(rig.came.len(), 1, "the frame without an SA went out after the reset");
    rig.assert_exact();
}

/// What leaves for a frame of inline protocol, some frames on.
fn sealed(rig: &mut PortRig, count: u64) -> Vec<Vec<u8>> {
    let request = rig.request(Service::Protocol);
    (0..count).map(|id| ask(rig, &plain(id, 9), request).unwrap()).collect()
}

/// Frames reach the card, and nobody reads what it delivers.
fn arrive_unread(rig: &mut PortRig, frames: &[Vec<u8>]) {
    let mut burst = Burst::new();
    for frame in frames {
        burst.push(rig.pool.alloc_copy(frame).unwrap()).unwrap();
    }
    rig.far_tx.transmit(&mut burst);
    for _ in 0..20 {
        rig.hand.advance(500);
        rig.engine.step();
    }
}

#[test]
fn what_lies_unread_when_an_sa_is_recalled_from_a_card_that_hangs_is_not_let_in_beside_its_state() {
    let mut rig = PortRig::new(&nic_profile(), 12);
    let frames = sealed(&mut rig, 4);
    assert_eq!(arrive(&mut rig, &frames[..2]).len(), 2);
    arrive_unread(&mut rig, &frames[2..]);
    hang(&mut rig);
    let state = InboundState { highest: START + 1, bitmap: vec![u64::MAX] };
    assert_eq!(rig.nic.recall(rig.inbound_slot), Some(state.into()));
    assert!(rig.receive().is_empty(), "their numbers are fresh to whoever has the state");
    assert_eq!(rig.ledgers().1.dropped.into_iter().collect::<Vec<_>>(), [("nic_stale_report", 2)]);
}

#[test]
fn what_lies_unread_when_the_card_is_reset_is_let_in_at_most_once() {
    let mut rig = PortRig::new(&nic_profile(), 13);
    let frames = sealed(&mut rig, 4);
    assert_eq!(arrive(&mut rig, &frames[..2]).len(), 2);
    arrive_unread(&mut rig, &frames[2..]);
    // It resets itself; what lies unread has numbers that it has forgotten.
    rig.engine.set_faults(&Faults::none().at(Fault::Reset, rig.clock.tick(), None));
    rig.engine.step();
    for _ in 0..500 {
        rig.hand.advance(1000);
        rig.engine.step();
        rig.tx.transmit(&mut Burst::new());
        if rig.tx.in_flight() == 0 {
            let mut burst = Burst::new();
            burst.push(rig.pool.alloc_copy(&plain(9, 9)).unwrap()).unwrap();
            rig.tx.transmit(&mut burst);
        }
    }
    assert!(rig.nic.health() == Health::Working && rig.counters()["resets"] > 0);
    let unread = rig.receive();
    let again = arrive(&mut rig, &frames);
    let is_in = |packet: &Mbuf| {
        RxReport::read(packet).is_some_and(|report| report.outcome == crypto_pmd::inline::RxOutcome::Ok)
    };
    let (unread, again) = (
        unread.iter().filter(|packet| is_in(packet)).count(),
        again.iter().filter(|packet| is_in(packet)).count(),
    );
    assert_eq!((unread, again), (0, 2), "the last two come by the second copy, the first two not again");
    assert_eq!(rig.ledgers().1.dropped.into_iter().collect::<Vec<_>>(), [("nic_reset", 2)]);
}

#[test]
fn a_stale_report_does_not_raise_the_window_of_the_sa_in_its_ones_slot() {
    let mut rig = PortRig::new(&nic_profile(), 14);
    let frames = sealed(&mut rig, 1);
    arrive_unread(&mut rig, &frames);
    let (slot, new) = (rig.inbound_slot, out(99, gcm(8), false, 1));
    assert!(rig.nic.forget(slot));
    assert_eq!(rig.nic.install(Service::Protocol, &inn(&new)).unwrap(), slot);
    assert!(rig.receive().is_empty());
    hang(&mut rig);
    assert_eq!(rig.nic.recall(slot), Some(InboundState { highest: 0, bitmap: vec![u64::MAX] }.into()));
}

#[test]
fn what_a_profile_does_not_offer_is_refused_with_what_would_be_right() {
    let (lookaside, _engine) = Card::new(small(""), CardConfig::default()).unwrap();
    let nic = Nic::new(&lookaside, NicConfig::default()).unwrap();
    let sa = out(5, gcm(1), false, 1);
    for (service, name) in [(Service::Crypto, "inline-crypto"), (Service::Protocol, "inline-protocol")] {
        let refused = nic.install(service, &sa).unwrap_err();
        assert_eq!(
            refused,
            OpenError::Unsupported { driver: "nic0".to_owned(), what: Unsupported::Service(name) }
        );
        let text = refused.to_string();
        assert!(text.contains(name) && text.contains("services") && text.contains("lookaside"), "{text}");
    }
    let pool = Pool::new(PoolConfig { buffers: 8, ..PoolConfig::default() }).unwrap();
    let refused = nic.ports(pool.clone(), 8).unwrap_err().to_string();
    assert!(refused.contains("no inline service"), "{refused}");

    let (card, _engine) = Card::new(nic_profile(), CardConfig::default()).unwrap();
    let nic = Nic::new(&card, NicConfig::default()).unwrap();
    let unknown = out(5, nic_common::cbc_sha1(1), false, 1);
    let mut mixed = unknown.clone();
    mixed.mode = crypto_pmd::inline::InlineMode::Tunnel { src: [1, 2, 3, 4].into(), dst: [1; 16].into() };
    let refused = nic.install(Service::Protocol, &mixed).unwrap_err();
    assert_eq!(refused, OpenError::Unsupported { driver: "nic0".to_owned(), what: Unsupported::Association });
    // Sessions and SAs share one table of 16 places.
    let slots: Vec<_> = (0..16).map(|_| nic.install(Service::Crypto, &sa).unwrap()).collect();
    assert_eq!(nic.install(Service::Crypto, &sa), Err(OpenError::Full { driver: "nic0".to_owned() }));
    assert!(nic.forget(slots[3]));
    assert_eq!(nic.install(Service::Crypto, &unknown).unwrap(), slots[3]);
    let (_rx, _tx) = nic.ports(pool.clone(), 8).unwrap();
    let refused = nic.ports(pool, 8).unwrap_err().to_string();
    assert!(refused.contains("no queue pair left"), "{refused}");
}

#[test]
fn a_port_without_link_headers_carries_ip_as_it_is() {
    let (clock, hand) = Clock::manual();
    let (card, mut engine) = Card::new(nic_profile(), CardConfig { clock, ..CardConfig::default() }).unwrap();
    let nic = Nic::new(&card, NicConfig::default()).unwrap();
    let pool = Pool::new(PoolConfig { buffers: 64, ..PoolConfig::default() }).unwrap();
    let (mut far_rx, mut far_tx) = card.wire(pool.clone()).unwrap();
    assert!(card.wire(pool.clone()).is_err(), "it has a far end");
    let (mut rx, mut tx) = nic.raw_ports(pool.clone(), 16).unwrap();
    let sa = out(5, gcm(1), true, 1);
    let slot = nic.install(Service::Protocol, &sa).unwrap();
    nic.install(Service::Protocol, &inn(&sa)).unwrap();
    let mut packet = pool.alloc_copy(&plain(1, 9)[14..]).unwrap();
    TxOffload { service: Service::Protocol, slot, esn_high: 0 }.write(&mut packet);
    let mut burst = Burst::new();
    burst.push(packet).unwrap();
    tx.transmit(&mut burst);
    for _ in 0..20 {
        hand.advance(500);
        engine.step();
        let mut left = Burst::new();
        far_rx.receive(&mut left, 8);
        assert!(left.iter().all(|frame| frame.data()[9] == 50), "ESP without a link header");
        far_tx.transmit(&mut left);
    }
    rx.receive(&mut burst, 8);
    assert_eq!(burst.as_slice()[0].data(), &plain(1, 9)[14..]);
}

#[test]
fn a_card_on_a_thread_of_its_own_is_a_port_in_real_time() {
    let (card, _runner) = Card::start(nic_profile(), CardConfig::default(), None).unwrap();
    let pool = Pool::new(PoolConfig { buffers: 1024, ..PoolConfig::default() }).unwrap();
    let (mut far_rx, mut far_tx) = card.wire(pool.clone()).unwrap();
    let nic = Nic::new(&card, NicConfig::default()).unwrap();
    let (mut rx, mut tx) = nic.ports(pool.clone(), 64).unwrap();
    let sa = out(5, gcm(1), true, 1);
    let slot = nic.install(Service::Protocol, &sa).unwrap();
    nic.install(Service::Protocol, &inn(&sa)).unwrap();
    let (mut next, mut came) = (0, 0);
    let (mut input, mut wire, mut output) = (Burst::new(), Burst::new(), Burst::new());
    while came < 500 {
        while input.room() > 32 && next < 500 && next - came < 32 {
            let mut packet = pool.alloc_copy(&plain(next, 80)).unwrap();
            packet.set_l2_len(14);
            TxOffload { service: Service::Protocol, slot, esn_high: 0 }.write(&mut packet);
            input.push(packet).unwrap();
            next += 1;
        }
        tx.transmit(&mut input);
        if wire.is_empty() {
            far_rx.receive(&mut wire, 32);
        }
        far_tx.transmit(&mut wire);
        if rx.receive(&mut output, 32) == Receive::Idle {
            std::thread::yield_now();
        }
        for packet in output.drain() {
            assert_eq!(packet.data(), plain(came, 80));
            came += 1;
        }
    }
    let mut ledger = Ledger::default();
    rx.account(&mut ledger);
    assert_eq!((ledger.received, ledger.dropped.len()), (500, 0));
}
