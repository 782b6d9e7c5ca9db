//! A driver that is short of room or slow, and an output without room, hold packets back: nothing is lost, nothing
//! overtakes within an SA, and what is held is known.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeMap;

use common::frames::{B4, UDP, V4, udp};
use common::rig::{Rig, between, books, new_pool, protect, sa_of, tunnel4};
use common::slow::{Pace, Slow};
use common::{bytes_of, pattern};
use crypto_pmd::drivers::{Null, Software};
use crypto_pmd::{QueuePairConfig, Status};
use ipsec_esp::header::esp::Spi;
use ipsec_esp::header::link::Link;
use ipsec_esp::sa::SaParams;
use ipsec_esp::selector::Selector;
use ipsec_esp::spd::Action;
use pipeline::stage::Stage;
use pipeline::{Burst, MAX_BURST, Mbuf};
use proptest::prelude::*;

const SAS: u32 = 3;

/// Three SAs, each for a network of its own; a fourth network passes in the clear.
fn three_sas(pace: Pace) -> Rig {
    let config = QueuePairConfig::default();
    let mut rig = Rig::over(Slow::new(pace), &config, Link::Raw, new_pool(1024));
    for n in 0..SAS {
        let params =
            SaParams { spi: Spi(0x1000 + n), replay_window: 1024, ..sa_of("aes128gcm16", tunnel4()) };
        let network = between(&format!("10.{n}.0.0/16"), "any");
        let slot = rig.add_out(&params);
        rig.policy_out(network, protect(&[slot]));
        let slot = rig.add_in(&params);
        rig.policy_in(network, protect(&[slot]));
    }
    rig.policy_out(Selector::ANY, Action::Bypass);
    rig.policy_in(Selector::ANY, Action::Bypass);
    rig
}

/// Packet number `n`, of one of the networks; the number is in its payload.
fn packet(n: u32) -> Vec<u8> {
    let network = (n * 7 / 3 % (SAS + 1)) as u8;
    let payload = [&n.to_be_bytes()[..], &pattern((n * 13 % 90) as usize, 1)].concat();
    V4::between([10, network, 0, 1], B4, UDP).packet(&udp(1, 2, &payload))
}

/// Drives packets through, while the output is emptied only `drain` packets at a time; checks at every turn that each
/// packet is offered, held or out.
fn drive_narrow(stage: &mut impl Stage, packets: Vec<Mbuf>, burst: usize, drain: usize) -> Vec<Mbuf> {
    let (mut input, mut output, mut out) = (Burst::new(), Burst::new(), Vec::new());
    let total = packets.len() + stage.held();
    let mut packets = packets.into_iter();
    let lost_before = lost(stage);
    for turn in 0..100_000 {
        let room = burst.saturating_sub(input.len());
        packets.by_ref().take(room).for_each(|packet| input.push(packet).unwrap());
        stage.process(&mut input, &mut output);
        assert!(output.len() <= MAX_BURST);
        let inside = packets.len() + input.len() + stage.held() + output.len() + out.len();
        assert_eq!(inside + lost(stage) - lost_before, total, "in turn {turn}");
        out.extend(output.drain_front(drain));
        if packets.len() + input.len() + stage.held() + output.len() == 0 {
            return out;
        }
    }
    panic!("stuck with {} held", stage.held());
}

/// Packets that ended inside.
fn lost(stage: &impl Stage) -> usize {
    let ledger = books(stage, [0, 0]);
    ledger.dropped.values().chain(ledger.absorbed.values()).sum::<u64>() as usize
}

/// Sequence numbers by SPI, in the order of departure.
fn sequences(sealed: &[Mbuf]) -> BTreeMap<u32, Vec<u32>> {
    let mut sequences = BTreeMap::<u32, Vec<u32>>::new();
    for bytes in sealed.iter().map(bytes_of).filter(|bytes| bytes[9] == 50) {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        sequences.entry(word(20)).or_default().push(word(24));
    }
    sequences
}

fn assert_kept_back(pace: Pace, burst: usize, drain: usize, count: u32) {
    let mut rig = three_sas(pace);
    let packets = (0..count).map(|n| rig.packet(&packet(n))).collect();
    let sealed = drive_narrow(&mut rig.out, packets, burst, drain);
    assert_eq!(sealed.len(), count as usize);
    for (spi, sequences) in sequences(&sealed) {
        assert!(sequences.iter().copied().eq(1..=sequences.len() as u32), "SPI {spi:#x}: {sequences:?}");
    }
    let opened = drive_narrow(&mut rig.inn, sealed, burst, drain);
    // The driver keeps order over all SAs, so what is protected and what is not must not overtake each other.
    assert!(opened.iter().map(bytes_of).eq((0..count).map(packet)), "something was lost or overtook");
    drop(opened);
    assert_eq!(rig.pool.available(), rig.pool.buffers());
}

#[test]
fn a_slow_driver_with_a_short_queue_loses_nothing_and_keeps_order() {
    for (depth, delay, per_poll) in [(1, 0, 1), (1, 3, 1), (5, 2, 2), (32, 10, 64), (200, 1, 3)] {
        let pace = Pace { depth, delay, per_poll, failure: None };
        for burst in [1, 32, 64] {
            assert_kept_back(pace, burst, MAX_BURST, 300);
        }
    }
}

#[test]
fn an_output_that_is_emptied_slowly_loses_nothing_and_keeps_order() {
    for drain in [1, 3, 31] {
        assert_kept_back(Pace { depth: 64, delay: 0, per_poll: 64, failure: None }, 64, drain, 300);
        assert_kept_back(Pace { depth: 7, delay: 2, per_poll: 5, failure: None }, 32, drain, 300);
    }
}

#[test]
fn an_output_without_room_gets_nothing_and_a_bounded_number_is_held() {
    let mut rig = three_sas(Pace { depth: 64, delay: 0, per_poll: 64, failure: None });
    let (mut input, mut output) = (Burst::new(), Burst::new());
    (0..MAX_BURST).for_each(|_| output.push(rig.packet(b"in the way")).unwrap());
    let mut numbers = 0..;
    for _ in 0..50 {
        while input.room() > 0 {
            input.push(rig.packet(&packet(numbers.next().unwrap()))).unwrap();
        }
        rig.out.process(&mut input, &mut output);
        assert!(output.iter().all(|packet| packet.data() == b"in the way"));
        // In the driver, and one burst each on the way in, on the way out, and waiting in the clear.
        assert!(rig.out.held() <= 4 * MAX_BURST, "{} held", rig.out.held());
    }
    let offered = numbers.start as usize;
    assert_eq!(input.len(), MAX_BURST, "it takes no more in");
    assert_eq!(rig.out.held(), offered - MAX_BURST);
    output.clear();
    let rest = input.drain().collect();
    let sealed = drive_narrow(&mut rig.out, Vec::new(), 1, MAX_BURST).len();
    assert_eq!(sealed + drive_narrow(&mut rig.out, rest, 64, 64).len(), offered);
}

#[test]
fn jobs_done_while_the_output_was_full_wait_inside() {
    let mut rig = three_sas(Pace { depth: 64, delay: 1, per_poll: 64, failure: None });
    let (mut input, mut output) = (Burst::new(), Burst::new());
    // Number 0 and 1 belong to the same SA.
    (0..2).for_each(|n| input.push(rig.packet(&packet(n * 12))).unwrap());
    rig.out.process(&mut input, &mut output);
    assert_eq!((input.len(), output.len(), rig.out.held()), (0, 0, 2));
    (0..MAX_BURST - 1).for_each(|_| output.push(rig.packet(b"in the way")).unwrap());
    for _ in 0..5 {
        rig.out.process(&mut input, &mut output);
        assert_eq!((output.len(), rig.out.held()), (MAX_BURST, 1));
    }
    drop(output.drain_front(MAX_BURST));
    rig.out.process(&mut input, &mut output);
    assert_eq!((output.len(), rig.out.held()), (1, 0));
}

#[test]
fn jobs_that_the_driver_gives_up_are_dropped_under_their_own_reason() {
    for (status, reason) in [
        (Status::Retry, "crypto_failed"),
        (Status::BadRange, "crypto_failed"),
        (Status::UnknownSession, "crypto_failed"),
        (Status::Indeterminate, "crypto_indeterminate"),
        (Status::IntegrityFailed, "integrity_failed"),
    ] {
        let mut rig = three_sas(Pace { depth: 10, delay: 1, per_poll: 4, failure: Some((5, status)) });
        // Every fourth packet is in the clear.
        let packets = (0..200).map(|n| rig.packet(&packet(n))).collect();
        let sealed = rig.seal_all(packets, 32);
        let protected = sequences(&sealed).values().map(Vec::len).sum::<usize>();
        let failed = rig.out.half().counters().dropped.total() as usize;
        assert_eq!(sealed.len() + failed, 200);
        assert_eq!(failed, (protected + failed) / 5, "{status:?}");
        let opened = rig.open_all(sealed, 32);
        let mut ledger = books(&rig.inn, [0, 0]);
        assert_eq!(ledger.dropped.remove(reason), Some(protected as u64 / 5), "{status:?}");
        assert_eq!(ledger.dropped.len(), 0, "{ledger:?}");
        drop(opened);
        rig.assert_exact();
    }
}

#[test]
fn sessions_that_are_closed_fail_their_packets_and_no_others() {
    let mut rig = three_sas(Pace { depth: 64, delay: 0, per_poll: 64, failure: None });
    let params = SaParams { spi: Spi(0x2000), ..sa_of("aes128gcm16", tunnel4()) };
    let session = rig.registry.open(params.session_params(), crypto_pmd::Placement::Any).unwrap();
    let slot = rig.out.half_mut().add_sa(&params, session);
    let id = rig.out.half().spd().iter().next().unwrap().0;
    rig.out.half_mut().spd_mut().replace_action(id, protect(&[slot])).unwrap();
    rig.registry.close(session);
    let packets = (0..120).map(|n| rig.packet(&packet(n))).collect();
    let sealed = rig.seal_all(packets, 32);
    let closed = (0..120).filter(|&n| packet(n)[13] == 0).count();
    assert_eq!(sealed.len(), 120 - closed);
    drop(sealed);
    assert_eq!(books(&rig.out, [0, 0]).dropped.get("crypto_failed"), Some(&(closed as u64)));
    rig.assert_exact();
}

#[test]
fn a_pool_without_buffers_drops_what_needs_one_and_nothing_else() {
    let mut rig = Rig::over(Software::new(), &QueuePairConfig::default(), Link::Raw, new_pool(2));
    rig.protect(&sa_of("aes128gcm16", tunnel4()));
    let small = V4::default().packet(&udp(1, 2, &[1; 10]));
    // As long as the buffer is, so that the trailer needs another one; one is left, then none.
    let full = V4::default().packet(&udp(1, 2, &vec![1; rig.pool.buffer_len() - 28]));
    let other = rig.packet(&small);
    assert_eq!(rig.seal(&full), common::rig::Fate::Dropped("no_buffer"));
    drop(other);
    assert!(matches!(rig.seal(&full), common::rig::Fate::Out("protected", _)));
    assert!(matches!(rig.seal(&small), common::rig::Fate::Out("protected", _)));
    rig.assert_exact();
}

#[test]
fn the_null_driver_is_driven_like_any_other() {
    let mut rig = Rig::over(
        Null::new(),
        &QueuePairConfig { depth: 8, ..QueuePairConfig::default() },
        Link::Raw,
        new_pool(512),
    );
    rig.protect(&sa_of("aes128gcm16", tunnel4()));
    let plain: Vec<_> = (0..100).map(packet).collect();
    let packets = plain.iter().map(|bytes| rig.packet(bytes)).collect();
    let sealed = drive_narrow(&mut rig.out, packets, 32, 5);
    let opened = drive_narrow(&mut rig.inn, sealed, 32, 5);
    assert!(opened.iter().map(bytes_of).eq(plain));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_pace_loses_nothing_and_keeps_order(
        depth in 1_usize..100, delay in 0_u64..12, per_poll in 1_usize..70, burst in 1_usize..=64, drain in 1_usize..70,
    ) {
        assert_kept_back(Pace { depth, delay, per_poll, failure: None }, burst, drain, 200);
    }
}
