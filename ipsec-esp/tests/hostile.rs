//! Whatever arrives, nothing panics, nothing unauthenticated is decrypted, and every packet is accounted for.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::frames::{self, A4, B4, EAST4, EAST6, ESP, UDP, V4, V6, WEST4, WEST6, Wire, udp};
use common::rig::{Fate, NAT_T, Rig, TRANSPORT, new_pool, over_udp, sa_of, tunnel4, tunnel6};
use common::seal::{HandSealer, in_tunnel};
use common::{chained, pattern};
use ipsec_esp::header::link::Link;
use ipsec_esp::sa::{Mode, SaParams};
use pipeline::Mbuf;
use proptest::collection::vec;
use proptest::prelude::*;

const LINKS: [Link; 7] =
    [Link::Ethernet, Link::Raw, Link::Ipv4, Link::Ipv6, Link::Loopback, Link::LinuxSll, Link::LinuxSll2];

/// One of the ways to run an SA.
fn params() -> impl Strategy<Value = SaParams> {
    let suites = proptest::sample::select(vec!["aes128-sha1", "aes256gcm16", "null-sha256", "aes192-sha512"]);
    let modes = proptest::sample::select(vec![tunnel4(), tunnel6(), TRANSPORT]);
    (suites, modes, any::<bool>(), any::<bool>()).prop_map(|(suite, mode, is_udp, esn)| {
        let params = SaParams { esn, ..sa_of(suite, mode) };
        if is_udp { over_udp(params) } else { params }
    })
}

/// Bytes that look like an IP packet at first, with lengths, protocols and payloads that may contradict each other.
fn nearly_ip() -> impl Strategy<Value = Vec<u8>> {
    let protocol = proptest::sample::select(vec![0_u8, 1, 4, 6, UDP, 41, 43, 44, ESP, 51, 58, 59, 60, 135]);
    let payload = prop_oneof![
        vec(any::<u8>(), 0..120),
        (vec(any::<u8>(), 0..100)).prop_map(|rest| [&0x1001_u32.to_be_bytes()[..], &rest].concat()),
        (vec(any::<u8>(), 0..100)).prop_map(|rest| udp(1, NAT_T, &rest)),
        (vec(any::<u8>(), 0..60)).prop_map(|rest| udp(
            1,
            NAT_T,
            &[&0x1001_u32.to_be_bytes()[..], &rest].concat()
        )),
    ];
    let spoilt = vec((0_usize..44, any::<u8>()), 0..3);
    (any::<bool>(), protocol, payload, spoilt).prop_map(|(v6, protocol, payload, spoilt)| {
        let mut packet = match v6 {
            false => V4::between(EAST4, WEST4, protocol).packet(&payload),
            true => V6::between(EAST6, WEST6, protocol).packet(&payload),
        };
        for (at, byte) in spoilt {
            if let Some(place) = packet.get_mut(at) {
                *place = byte;
            }
        }
        packet
    })
}

/// An IP packet behind each kind of link header, or bytes without any sense.
fn frames_of_any_kind() -> impl Strategy<Value = Vec<u8>> {
    let wires = proptest::sample::select(Wire::ALL.to_vec());
    prop_oneof![
        1 => vec(any::<u8>(), 0..200),
        1 => (wires.clone(), any::<bool>(), vec(any::<u8>(), 0..120))
            .prop_map(|(wire, v6, rest)| [wire.header(v6), rest].concat()),
        4 => (wires, nearly_ip()).prop_map(|(wire, ip)| wire.frame(&ip)),
    ]
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![3 => Just(vec![]), 1 => vec(0_usize..200, 1..4)]
}

/// Packets in bursts through both halves; the books must be exact, and nothing may have been decrypted.
fn assert_harmless(rig: &mut Rig, frames: &[(Vec<u8>, Vec<usize>)], burst: usize) {
    let packets = |rig: &Rig| -> Vec<Mbuf> {
        frames.iter().map(|(bytes, cuts)| chained(&rig.pool, bytes, cuts)).collect()
    };
    drop(rig.seal_all(packets(rig), burst));
    drop(rig.open_all(packets(rig), burst));
    let decrypted = |(reason, _): (ipsec_esp::drop_reason::OutReason, u64)| reason.name() == "decrypted";
    assert!(!rig.inn.half().counters().sent.iter().any(decrypted), "a forgery passed");
    rig.assert_exact();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_frames_do_no_harm_on_any_link(
        link in proptest::sample::select(LINKS.to_vec()), params in params(), burst in 1_usize..64,
        frames in vec((frames_of_any_kind(), cuts()), 1..50),
    ) {
        let mut rig = Rig::with_pool(link, &params, new_pool(512));
        assert_harmless(&mut rig, &frames, burst);
    }

    #[test]
    fn every_ip_packet_meets_a_policy(
        wire in proptest::sample::select(Wire::ALL.to_vec()), params in params(), ip in nearly_ip(), cuts in cuts(),
    ) {
        // With a policy that protects everything, only what is not IP may pass in the clear.
        let mut rig = Rig::with_pool(wire.link(), &params, new_pool(64));
        let frame = wire.frame(&ip);
        let is_ip = matches!(ip[0] >> 4, 4 | 6) || wire != Wire::Raw;
        match rig.seal_mbuf(chained(&rig.pool, &frame, &cuts)) {
            Fate::Out("bypassed_non_ip", bytes) => prop_assert!(!is_ip && bytes == frame),
            Fate::Out(name, _) => prop_assert_eq!(name, "protected"),
            Fate::Dropped(_) => {}
            Fate::Absorbed(name) => prop_assert!(false, "{}", name),
        }
        match rig.open_mbuf(chained(&rig.pool, &frame, &cuts)) {
            Fate::Out("bypassed_non_ip", bytes) => prop_assert!(!is_ip && bytes == frame),
            Fate::Out(name, _) => prop_assert_eq!(name, "ike"),
            Fate::Dropped(_) | Fate::Absorbed("nat_keepalive") => {}
            Fate::Absorbed(name) => prop_assert!(false, "{}", name),
        }
        rig.assert_exact();
    }

    #[test]
    fn a_damaged_esp_packet_is_not_decrypted(
        params in params(), len in 0_usize..100, at: usize, change in 1_u8..=255, cut: usize, more in cuts(),
    ) {
        let mut rig = Rig::with_pool(Link::Raw, &params, new_pool(64));
        let plain = V4::default().packet(&udp(1, 2, &pattern(len, 0)));
        let sealed = rig.sealed(&plain);
        let mut damaged = sealed.clone();
        let at = at % damaged.len();
        damaged[at] ^= change;
        match rig.open_mbuf(chained(&rig.pool, &damaged, &more)) {
            // What ESP does not protect may change: of a tunnel, all outside; in transport mode it stays changed.
            Fate::Out("decrypted", bytes) => {
                prop_assert!(at < 48, "byte {}", at);
                let is_tunnel = matches!(params.mode, Mode::Tunnel { .. });
                let same = if is_tunnel { bytes[2..] == plain[2..] } else { bytes[20..] == plain[20..] };
                prop_assert!(same || is_tunnel && bytes[12..] == plain[12..], "byte {}", at);
            }
            Fate::Out(name, _) => prop_assert!(name == "ike" || name == "bypassed_non_ip", "{}", name),
            Fate::Dropped(_) | Fate::Absorbed("nat_keepalive") => {}
            Fate::Absorbed(name) => prop_assert!(false, "{}", name),
        }
        let cut = cut % sealed.len();
        let fate = rig.open_mbuf(chained(&rig.pool, &sealed[..cut], &more));
        prop_assert!(!matches!(fate, Fate::Out("decrypted", _)), "cut to {}", cut);
        rig.assert_exact();
    }

    /// The sender knows the keys and says what it likes.
    #[test]
    fn authentic_nonsense_does_no_harm(
        suite in proptest::sample::select(vec!["aes128-sha1", "aes128gcm16", "null-sha1"]),
        is_tunnel: bool, blocks in 1_usize..9, seed in vec(any::<u8>(), 144), inner in nearly_ip(), is_inner: bool,
        next in proptest::sample::select(vec![4_u8, 41, 59, 17, 50, 0, 44]), cuts in cuts(), pad_len in 0_u8..20,
    ) {
        let mode = if is_tunnel { tunnel4() } else { TRANSPORT };
        let params = sa_of(suite, mode);
        let mut rig = Rig::with_pool(Link::Raw, &params, new_pool(64));
        let mut plaintext = seed[..blocks * 16].to_vec();
        if is_inner {
            plaintext = inner;
            plaintext.extend(1..=pad_len);
            plaintext.resize(plaintext.len().next_multiple_of(16), 0);
        }
        let end = plaintext.len();
        plaintext[end - 2..].copy_from_slice(&[pad_len, next]);
        let packet = in_tunnel(&HandSealer::new(&params).esp(1, &plaintext));
        let fate = rig.open_mbuf(chained(&rig.pool, &packet, &cuts));
        prop_assert!(!matches!(fate, Fate::Dropped("integrity_failed")));
        rig.assert_exact();
    }
}

#[test]
fn frames_of_every_short_length_do_no_harm() {
    for wire in Wire::ALL {
        for params in [sa_of("aes128gcm16", tunnel6()), over_udp(sa_of("aes128-sha1", tunnel4()))] {
            let mut rig = Rig::with_pool(wire.link(), &params, new_pool(256));
            let whole = [
                wire.frame(&V4::between(A4, B4, ESP).packet(&pattern(60, 0))),
                wire.frame(
                    &V6::with(&[frames::hop_by_hop(), frames::routing()]).packet(&udp(1, NAT_T, &[1; 30])),
                ),
            ];
            let cut =
                whole.iter().flat_map(|frame| (0..=frame.len()).map(|len| (frame[..len].to_vec(), vec![])));
            for batch in cut.collect::<Vec<_>>().chunks(50) {
                assert_harmless(&mut rig, batch, 32);
            }
        }
    }
}
