//! No sequence number passes twice, none is sent twice, and what is refused is refused for the right reason
//! (RFC 4303 sections 2.2.1, 3.3.3 and 3.4.3, appendix A).

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;

use common::frames::{V4, Wire, udp};
use common::rig::{Fate, Rig, TRANSPORT, new_pool, sa_of, tunnel4};
use common::seal::{HandSealer, in_tunnel, padded};
use common::slow::{Pace, Slow};
use common::{bytes_of, pattern};
use crypto_pmd::QueuePairConfig;
use ipsec_esp::header::link::Link;
use ipsec_esp::sa::{SaParams, SaSlot};
use pipeline::Mbuf;
use proptest::prelude::*;

const SUITE: &str = "aes128gcm16";
const WRAP: u64 = 1 << 32;
const REPLAYED: Fate = Fate::Dropped("replayed");
const TOO_OLD: Fate = Fate::Dropped("replay_too_old");
const FORGED: Fate = Fate::Dropped("integrity_failed");

fn plain(tag: u8) -> Vec<u8> {
    V4::default().packet(&udp(1, 2, &pattern(24, tag)))
}

/// Opens packets that a hand-held sealer numbers at will.
struct Receiver {
    rig: Rig,
    sealer: HandSealer,
    inner: Vec<u8>,
}

impl Receiver {
    fn new(params: &SaParams) -> Self {
        Self { rig: Rig::new(Link::Raw, params), sealer: HandSealer::new(params), inner: plain(0) }
    }

    fn packet(&mut self, sequence: u64) -> Vec<u8> {
        in_tunnel(&self.sealer.esp(sequence, &padded(&self.inner, 4, 4)))
    }

    fn receive(&mut self, sequence: u64) -> Fate {
        let packet = self.packet(sequence);
        self.rig.open(&packet)
    }

    fn assert_passes(&mut self, sequence: u64) {
        let expected = Fate::Out("decrypted", self.inner.clone());
        assert_eq!(self.receive(sequence), expected, "{sequence:#x}");
    }
}

fn extended(sequence: u64) -> SaParams {
    SaParams { esn: true, sequence, ..sa_of(SUITE, tunnel4()) }
}

fn dropped(rig: &Rig, name: &str) -> u64 {
    let counters = rig.inn.half().counters();
    counters.dropped.iter().filter(|(reason, _)| reason.name() == name).map(|(_, count)| count).sum()
}

/// Each sealed frame so many times in a row.
fn repeated(rig: &Rig, sealed: &[Vec<u8>], times: usize) -> Vec<Mbuf> {
    sealed.iter().flat_map(|frame| std::iter::repeat_n(frame, times)).map(|frame| rig.packet(frame)).collect()
}

#[test]
fn a_duplicate_within_a_burst_or_across_bursts_never_passes() {
    for burst in [1, 2, 32, 64] {
        for times in [2, 3, 64] {
            let mut rig = Rig::with_pool(Link::Raw, &sa_of(SUITE, tunnel4()), new_pool(4096));
            let plain: Vec<_> = (0..40).map(plain).collect();
            let packets = plain.iter().map(|frame| rig.packet(frame)).collect();
            let sealed: Vec<_> = rig.seal_all(packets, burst).iter().map(bytes_of).collect();
            let opened = rig.open_all(repeated(&rig, &sealed, times), burst);
            assert!(opened.iter().map(bytes_of).eq(plain.iter().cloned()), "burst {burst}, {times} times");
            assert_eq!(dropped(&rig, "replayed"), 40 * (times as u64 - 1));
            drop(opened);
            assert_eq!(rig.open_all(repeated(&rig, &sealed, 1), burst).len(), 0, "a second time");
            assert_eq!(dropped(&rig, "replayed"), 40 * times as u64);
            rig.assert_exact();
        }
    }
}

#[test]
fn duplicates_that_a_slow_driver_has_at_the_same_time_do_not_both_pass() {
    let pace = Pace { depth: 200, delay: 5, per_poll: 7, failure: None };
    let config = QueuePairConfig::default();
    let mut rig = Rig::over(Slow::new(pace), &config, Link::Raw, new_pool(512));
    rig.protect(&sa_of(SUITE, tunnel4()));
    let sealed: Vec<_> = (0..30).map(|n| rig.sealed(&plain(n))).collect();
    let opened = rig.open_all(repeated(&rig, &sealed, 4), 16);
    assert!(opened.iter().map(bytes_of).eq((0..30).map(plain)));
    drop(opened);
    assert_eq!(dropped(&rig, "replayed"), 90);
    rig.assert_exact();
}

#[test]
fn the_window_reaches_back_as_far_as_it_says() {
    for window in [32_u32, 64, 1000, 65_536] {
        let params = SaParams { replay_window: window, ..sa_of(SUITE, tunnel4()) };
        let mut receiver = Receiver::new(&params);
        let top = 200_000;
        receiver.assert_passes(top);
        let last = top - u64::from(window) + 1;
        assert_eq!(receiver.receive(last - 1), TOO_OLD, "window {window}");
        receiver.assert_passes(last);
        assert_eq!(receiver.receive(last), REPLAYED);
        receiver.assert_passes(top + 1);
        assert_eq!(receiver.receive(last), TOO_OLD, "it moved on");
        receiver.assert_passes(last + 1);
        receiver.rig.assert_exact();
    }
}

#[test]
fn the_first_number_is_one_and_zero_never_passes() {
    let mut receiver = Receiver::new(&sa_of(SUITE, tunnel4()));
    assert_eq!(receiver.receive(0), TOO_OLD);
    receiver.assert_passes(1);
    assert_eq!(receiver.receive(0), TOO_OLD);
}

#[test]
fn a_forged_packet_does_not_move_the_window() {
    let mut receiver = Receiver::new(&sa_of(SUITE, tunnel4()));
    receiver.assert_passes(5);
    let mut forged = receiver.packet(1000);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(receiver.rig.open(&forged), FORGED);
    assert_eq!(receiver.rig.inn.half().highest_sequence(SaSlot(0)), Some(5));
    receiver.assert_passes(4);
    receiver.assert_passes(1000);
}

#[test]
fn without_a_window_everything_authentic_passes() {
    let params = SaParams { replay_window: 0, ..sa_of(SUITE, tunnel4()) };
    let mut receiver = Receiver::new(&params);
    for sequence in [7, 7, 1, 100_000, 7] {
        receiver.assert_passes(sequence);
    }
}

#[test]
fn reset_windows_let_the_same_packets_pass_once_more() {
    for params in [sa_of(SUITE, tunnel4()), extended(WRAP - 2)] {
        let mut receiver = Receiver::new(&params);
        let sequences: Vec<u64> = (params.sequence..params.sequence + 5).collect();
        for _ in 0..3 {
            sequences.iter().for_each(|&sequence| receiver.assert_passes(sequence));
            sequences.iter().for_each(|&sequence| assert_eq!(receiver.receive(sequence), REPLAYED));
            receiver.rig.inn.half_mut().reset_windows();
        }
        receiver.rig.assert_exact();
    }
}

#[test]
fn extended_numbers_pass_over_the_wrap_and_late_ones_from_before_it() {
    let mut receiver = Receiver::new(&extended(WRAP - 10));
    receiver.assert_passes(WRAP - 10);
    receiver.assert_passes(WRAP + 3);
    for late in [WRAP - 1, WRAP, WRAP - 9, WRAP + 2] {
        receiver.assert_passes(late);
        assert_eq!(receiver.receive(late), REPLAYED, "{late:#x}");
    }
    assert_eq!(receiver.receive(WRAP + 3), REPLAYED);
    receiver.rig.assert_exact();
}

#[test]
fn a_number_from_another_round_of_the_low_half_is_no_replay_but_a_forgery() {
    let mut receiver = Receiver::new(&extended(WRAP - 10));
    receiver.assert_passes(WRAP + 3);
    // Its low half lies below the window, so it is read as one of the next round: the ICV does not fit.
    assert_eq!(receiver.receive(WRAP - 100), FORGED);
    // Two rounds ahead is read as this one.
    assert_eq!(receiver.receive(3 * WRAP + 100), FORGED);
    assert_eq!(receiver.receive(100), FORGED, "the same low half of the round before");
    receiver.assert_passes(WRAP + 100);
}

#[test]
fn extended_numbers_survive_both_halves_over_the_wrap() {
    for mode in [tunnel4(), TRANSPORT] {
        for suite in ["aes128-sha256", "null-sha1", "aes256gcm16"] {
            let params = SaParams { esn: true, sequence: WRAP - 50, ..sa_of(suite, mode) };
            let mut rig = Rig::new(Link::Raw, &params);
            for n in 0..100 {
                let sealed = rig.sealed(&plain(n));
                assert_eq!(rig.open(&sealed), Fate::Out("decrypted", plain(n)), "{suite} {n}");
                assert_eq!(rig.open(&sealed), REPLAYED);
            }
            assert_eq!(rig.out.half().next_sequence(SaSlot(0)), Some(WRAP + 50));
            assert_eq!(rig.inn.half().highest_sequence(SaSlot(0)), Some(WRAP + 49));
            rig.assert_exact();
        }
    }
}

#[test]
fn a_counter_that_has_sent_its_last_number_stops_for_good() {
    for (esn, last) in [(false, u64::from(u32::MAX)), (true, u64::MAX)] {
        for suite in ["aes128-sha1", "aes128gcm16"] {
            let params = SaParams { esn, sequence: last - 1, ..sa_of(suite, tunnel4()) };
            let mut rig = Rig::new(Wire::Ethernet.link(), &params);
            let frame = Wire::Ethernet.frame(&plain(1));
            for _ in 0..2 {
                let sealed = rig.sealed(&frame);
                assert_eq!(rig.open(&sealed), Fate::Out("decrypted", frame.clone()));
            }
            for _ in 0..100 {
                assert_eq!(rig.seal(&frame), Fate::Dropped("sequence_exhausted"));
            }
            assert_eq!(rig.out.half().next_sequence(SaSlot(0)), None);
            assert_eq!(rig.out.half().sa_totals(SaSlot(0)).map(|(packets, _)| packets), Some(2));
            rig.assert_exact();
        }
    }
}

#[test]
fn packets_that_cannot_be_sent_use_up_no_number() {
    let mut rig = Rig::with_pool(Link::Raw, &sa_of(SUITE, tunnel4()), new_pool(64));
    let longest = V4::default().packet(&udp(1, 2, &pattern(65_500, 0)));
    assert_eq!(rig.seal(&longest), Fate::Dropped("too_long"));
    assert_eq!(rig.seal(&plain(0)[..21]), Fate::Dropped("malformed_header"));
    assert_eq!(rig.out.half().next_sequence(SaSlot(0)), Some(1));
}

fn sequences() -> impl Strategy<Value = Vec<u64>> {
    let near = prop_oneof![8 => 0_u64..150, 1 => 0_u64..5000];
    proptest::collection::vec(near, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Against a set of what passed, and the plain rule of the window.
    #[test]
    fn any_order_of_numbers_passes_as_the_rule_says(
        steps in sequences(), base in prop_oneof![Just(1_u64), Just(WRAP - 75)], window in prop_oneof![Just(32_u32), Just(64), Just(100)],
    ) {
        let esn = base > 1;
        let params = SaParams { replay_window: window, esn, sequence: base, ..sa_of(SUITE, tunnel4()) };
        let mut receiver = Receiver::new(&params);
        let (mut seen, mut highest) = (BTreeSet::new(), base - 1);
        for step in steps {
            let sequence = base + step;
            let fate = receiver.receive(sequence);
            if sequence + u64::from(window) <= highest {
                // An extended number that far back is taken for one of the next round.
                prop_assert_eq!(fate, if esn { FORGED } else { TOO_OLD }, "{}", sequence);
            } else if !seen.insert(sequence) {
                prop_assert_eq!(fate, REPLAYED, "{}", sequence);
            } else {
                prop_assert_eq!(fate, Fate::Out("decrypted", receiver.inner.clone()), "{}", sequence);
                highest = highest.max(sequence);
            }
        }
        receiver.rig.assert_exact();
    }
}
