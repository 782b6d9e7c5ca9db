//! What ESP out wraps, ESP in gives back bit by bit: every suite, mode, family, link type and segmentation.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::frames::{self, V4, V6, Wire, udp};
use common::rig::{Fate, Rig, TRANSPORT, new_pool, over_udp, sa, sa_of, tunnel4, tunnel6};
use common::{bytes_of, chained, contains, pattern};
use ipsec_esp::sa::{Mode, SaParams};
use ipsec_esp::suite::{Cipher, Suite};
use pipeline::Pool;
use proptest::collection::vec;
use proptest::prelude::*;

/// Payloads around every padding length, around usual MTUs, and one that needs several buffers.
const LENGTHS: [usize; 17] = [0, 1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 16, 255, 1400, 1472, 1500, 9000];

/// IP headers to go in front of a UDP datagram.
#[derive(Clone, Copy, Debug)]
enum Inner {
    V4,
    V4Options,
    V6,
    V6HopByHop,
    V6Destination,
    V6Routing,
    V6Everything,
}

impl Inner {
    const ALL: [Self; 7] = [
        Self::V4,
        Self::V4Options,
        Self::V6,
        Self::V6HopByHop,
        Self::V6Destination,
        Self::V6Routing,
        Self::V6Everything,
    ];

    fn packet(self, payload_len: usize) -> Vec<u8> {
        let datagram = udp(1111, 2222, &pattern(payload_len, payload_len as u8));
        let (hop, dest, route) = (frames::hop_by_hop(), frames::destination_options(), frames::routing());
        match self {
            Self::V4 => V4::default().packet(&datagram),
            Self::V4Options => {
                V4 { options: vec![0x94, 4, 0, 0, 1, 1, 1, 0], ..V4::default() }.packet(&datagram)
            }
            Self::V6 => V6::default().packet(&datagram),
            Self::V6HopByHop => V6::with(&[hop]).packet(&datagram),
            Self::V6Destination => V6::with(&[dest]).packet(&datagram),
            Self::V6Routing => V6::with(&[hop, route]).packet(&datagram),
            Self::V6Everything => V6::with(&[hop, dest.clone(), route, dest]).packet(&datagram),
        }
    }
}

/// Every way to wrap, as modes with the headers that are worth wrapping by them.
fn wraps() -> Vec<(Mode, Inner)> {
    let tunnels = [tunnel4(), tunnel6()].into_iter().flat_map(|mode| [(mode, Inner::V4), (mode, Inner::V6)]);
    tunnels.chain(Inner::ALL.map(|inner| (TRANSPORT, inner))).collect()
}

/// With and without extended numbers, which begin shortly before the low half wraps, and with and without UDP.
fn variants(params: &SaParams) -> [SaParams; 4] {
    let extended = SaParams { esn: true, sequence: (1 << 32) - 5, ..params.clone() };
    [params.clone(), over_udp(params.clone()), extended.clone(), over_udp(extended)]
}

fn assert_round_trip(params: &SaParams, inner: Inner, pool: Pool) {
    let mut rig = Rig::with_pool(Wire::Ethernet.link(), params, pool);
    let plain: Vec<_> = LENGTHS.iter().map(|&len| Wire::Ethernet.frame(&inner.packet(len))).collect();
    let packets = plain.iter().map(|frame| rig.packet(frame)).collect();
    let sealed = rig.seal_all(packets, 32);
    assert_eq!(sealed.len(), plain.len(), "{params:?} {inner:?}");
    for (sealed, plain) in sealed.iter().zip(&plain).filter(|_| params.suite.cipher() != Cipher::Null) {
        let tail = &plain[plain.len() - 8..];
        assert!(!contains(&bytes_of(sealed), tail), "plaintext shows: {params:?} {inner:?}");
    }
    let opened: Vec<_> = rig.open_all(sealed, 32).iter().map(bytes_of).collect();
    assert!(opened == plain, "{params:?} {inner:?}: {} of {} packets", opened.len(), plain.len());
    rig.assert_exact();
}

fn assert_suites_round_trip(suites: &[Suite]) {
    let pool = new_pool(512);
    for &suite in suites {
        for (mode, inner) in wraps() {
            for params in variants(&sa(suite, mode)) {
                assert_round_trip(&params, inner, pool.clone());
            }
        }
    }
}

#[test]
fn aes_cbc_suites_give_every_packet_back() {
    let is_cbc = |suite: &&Suite| suite.cipher() == Cipher::AesCbc;
    assert_suites_round_trip(&Suite::ALL.iter().filter(is_cbc).copied().collect::<Vec<_>>());
}

#[test]
fn counter_mode_and_null_suites_give_every_packet_back() {
    let is_cbc = |suite: &&Suite| suite.cipher() == Cipher::AesCbc;
    let others: Vec<_> = Suite::ALL.iter().filter(|suite| !is_cbc(suite)).copied().collect();
    assert!(!others.is_empty());
    assert_suites_round_trip(&others);
}

#[test]
fn every_payload_length_up_to_a_few_blocks_comes_back() {
    for suite in ["aes128-sha1", "aes256-sha512", "aes256gcm16", "null-sha256"] {
        for mode in [tunnel4(), TRANSPORT] {
            let mut rig = Rig::new(Wire::Ethernet.link(), &sa_of(suite, mode));
            for len in 0..200 {
                let frame = Wire::Ethernet.frame(&Inner::V4.packet(len));
                let sealed = rig.sealed(&frame);
                assert_eq!(rig.open(&sealed), Fate::Out("decrypted", frame), "{suite} {len}");
            }
        }
    }
}

#[test]
fn link_headers_stay_and_their_type_follows_the_outer_family() {
    for wire in Wire::ALL {
        for (mode, outer_v6) in [(tunnel4(), false), (tunnel6(), true)] {
            let mut rig = Rig::new(wire.link(), &sa_of("aes128gcm16", mode));
            for inner in [Inner::V4, Inner::V6] {
                let frame = wire.frame(&inner.packet(50));
                let sealed = rig.sealed(&frame);
                assert!(sealed.starts_with(&wire.header(outer_v6)), "{wire:?} {inner:?} {sealed:02x?}");
                assert_eq!(rig.open(&sealed), Fate::Out("decrypted", frame), "{wire:?} {inner:?}");
            }
            rig.assert_exact();
        }
        let mut rig = Rig::new(wire.link(), &sa_of("aes128gcm16", TRANSPORT));
        for inner in Inner::ALL {
            let frame = wire.frame(&inner.packet(50));
            let sealed = rig.sealed(&frame);
            assert_eq!(rig.open(&sealed), Fate::Out("decrypted", frame), "{wire:?} {inner:?}");
        }
    }
}

#[test]
fn ethernet_padding_is_not_carried() {
    for mode in [tunnel4(), tunnel6(), TRANSPORT] {
        for suite in ["aes128-sha1", "aes128gcm16"] {
            let mut rig = Rig::new(Wire::Ethernet.link(), &sa_of(suite, mode));
            let short = Wire::Ethernet.frame(&Inner::V4.packet(3));
            let mut padded = short.clone();
            padded.resize(60, 0xee);
            let sealed = rig.sealed(&padded);
            let mut padded = sealed.clone();
            padded.extend([0xee; 7]);
            assert_eq!(rig.open(&padded), Fate::Out("decrypted", short), "{suite} {mode:?}");
            rig.assert_exact();
        }
    }
}

#[test]
fn padding_behind_a_packet_in_a_segment_of_its_own_is_not_carried() {
    let mut rig = Rig::new(Wire::Ethernet.link(), &sa_of("aes128-sha1", tunnel4()));
    let short = Wire::Ethernet.frame(&Inner::V4.packet(3));
    let padded = [&short[..], &[0xee; 15]].concat();
    let packet = chained(&rig.pool, &padded, &[short.len()]);
    let Fate::Out("protected", sealed) = rig.seal_mbuf(packet) else { panic!("not protected") };
    let packet = chained(&rig.pool, &[&sealed[..], &[0xee; 15]].concat(), &[sealed.len()]);
    assert_eq!(rig.open_mbuf(packet), Fate::Out("decrypted", short));
    rig.assert_exact();
}

#[test]
fn the_longest_packets_come_back_and_longer_ones_are_refused() {
    // A tunnel over IPv4 holds 65535 bytes, over IPv6 40 more (RFC 8200 section 3); GCM and a plain tunnel add
    // header, ESP header, IV, at least two bytes of trailer and ICV, to a multiple of four.
    for (mode, longest, outer) in [(tunnel4(), 65_535, 20), (tunnel6(), 65_575, 40)] {
        let overhead = outer + 8 + 8 + 16;
        let inner_len = (longest - overhead) / 4 * 4 - 2;
        let mut rig = Rig::with_pool(Wire::Raw.link(), &sa_of("aes128gcm16", mode), new_pool(256));
        let frame = Inner::V4.packet(inner_len - 28);
        let sealed = rig.sealed(&frame);
        assert_eq!(sealed.len(), overhead + inner_len + 2);
        assert!(rig.open(&sealed) == Fate::Out("decrypted", frame), "{mode:?}");
        assert_eq!(rig.seal(&Inner::V4.packet(inner_len - 27)), Fate::Dropped("too_long"));
        rig.assert_exact();
    }
}

fn inners() -> impl Strategy<Value = Inner> {
    proptest::sample::select(Inner::ALL.to_vec())
}

fn modes() -> impl Strategy<Value = Mode> {
    proptest::sample::select(vec![tunnel4(), tunnel6(), TRANSPORT])
}

fn suites() -> impl Strategy<Value = Suite> {
    proptest::sample::select(Suite::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn segments_make_no_difference_when_the_first_holds_the_headers(
        suite in suites(), mode in modes(), inner in inners(), len in 0_usize..4000,
        cuts in vec(0_usize..4300, 0..6), again in vec(0_usize..4500, 0..6), variant in 0_usize..4,
    ) {
        let params = variants(&sa(suite, mode))[variant].clone();
        let mut rig = Rig::with_pool(Wire::Ethernet.link(), &params, new_pool(64));
        let frame = Wire::Ethernet.frame(&inner.packet(len));
        let headers = frame.len() - len;
        let cuts: Vec<_> = cuts.into_iter().map(|cut| headers + cut).collect();
        let Fate::Out("protected", sealed) = rig.seal_mbuf(chained(&rig.pool, &frame, &cuts)) else {
            return Err(TestCaseError::fail("not protected"));
        };
        // Outer header, UDP, ESP header, IV, and the headers inside.
        let headers = headers + 40 + 8 + 8 + 16;
        let cuts: Vec<_> = again.into_iter().map(|cut| headers + cut).collect();
        let fate = rig.open_mbuf(chained(&rig.pool, &sealed, &cuts));
        prop_assert_eq!(fate, Fate::Out("decrypted", frame));
        rig.assert_exact();
    }

    #[test]
    fn a_split_within_headers_gives_the_packet_back_or_drops_it(
        suite in suites(), mode in modes(), inner in inners(), len in 0_usize..200, wire in 0_usize..8,
        cuts in vec(0_usize..120, 1..4), again in vec(0_usize..200, 1..4), variant in 0_usize..4,
    ) {
        let wire = Wire::ALL[wire];
        let params = variants(&sa(suite, mode))[variant].clone();
        let mut rig = Rig::with_pool(wire.link(), &params, new_pool(64));
        let frame = wire.frame(&inner.packet(len));
        match rig.seal_mbuf(chained(&rig.pool, &frame, &cuts)) {
            Fate::Out("protected", _) | Fate::Dropped("malformed_header") => {}
            other => prop_assert!(false, "{:?}", other),
        }
        let sealed = rig.sealed(&frame);
        match rig.open_mbuf(chained(&rig.pool, &sealed, &again)) {
            Fate::Out("decrypted", bytes) => prop_assert_eq!(bytes, frame),
            Fate::Dropped("malformed_header" | "truncated" | "unprotected") => {}
            other => prop_assert!(false, "{:?}", other),
        }
        rig.assert_exact();
    }
}
