//! Forged, damaged and misdirected packets: each ends under its own reason, and nothing of it leaves.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::frames::{self, EAST4, EAST6, ESP, NO_NEXT, UDP, V4, V6, WEST4, WEST6, udp};
use common::rig::{Fate, NAT_T, Rig, TRANSPORT, new_pool, over_udp, sa, sa_of, tunnel4, tunnel6};
use common::seal::{HandSealer, in_tunnel, padded, with_trailer};
use common::{bytes_of, pattern};
use ipsec_esp::header::esp::Spi;
use ipsec_esp::header::link::Link;
use ipsec_esp::sa::SaParams;
use ipsec_esp::suite::Suite;

const MALFORMED: Fate = Fate::Dropped("malformed_header");
const UNKNOWN_SPI: Fate = Fate::Dropped("unknown_spi");
const BAD_PADDING: Fate = Fate::Dropped("bad_padding");
const IPV4: u8 = 4;
const IPV6: u8 = 41;

fn plain4(len: usize) -> Vec<u8> {
    V4::default().packet(&udp(1111, 2222, &pattern(len, 5)))
}

fn plain6(len: usize) -> Vec<u8> {
    V6::default().packet(&udp(1111, 2222, &pattern(len, 6)))
}

/// Opens ESP packets whose plaintext a test made up.
struct Forge {
    rig: Rig,
    sealer: HandSealer,
    sequence: u64,
}

impl Forge {
    fn new(params: &SaParams) -> Self {
        Self { rig: Rig::new(Link::Raw, params), sealer: HandSealer::new(params), sequence: 0 }
    }

    fn open(&mut self, plaintext: &[u8]) -> Fate {
        self.sequence += 1;
        let esp = self.sealer.esp(self.sequence, plaintext);
        self.rig.open(&in_tunnel(&esp))
    }
}

/// Sets the total length of an IPv4 packet to what there is, with the checksum that belongs to it.
fn with_own_length(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[10..12].fill(0);
    let sum = frames::checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

#[test]
fn no_flipped_bit_from_the_spi_to_the_last_of_the_icv_passes() {
    let pool = new_pool(64);
    for &suite in Suite::ALL {
        for esn in [false, true] {
            let params = SaParams { esn, ..sa(suite, tunnel4()) };
            let mut rig = Rig::with_pool(Link::Raw, &params, pool.clone());
            let sealed = rig.sealed(&plain4(3));
            for bit in 20 * 8..sealed.len() * 8 {
                let mut flipped = sealed.clone();
                flipped[bit / 8] ^= 0x80 >> (bit % 8);
                match rig.open(&flipped) {
                    Fate::Dropped("unknown_spi") if bit < 24 * 8 => {}
                    // Number 1 with its lowest bit flipped is 0, which is never sent.
                    Fate::Dropped("replay_too_old") if bit == 28 * 8 - 1 => {}
                    Fate::Dropped("integrity_failed") if bit >= 24 * 8 => {}
                    other => panic!("{suite} bit {bit}: {other:?}"),
                }
            }
            assert_eq!(rig.open(&sealed), Fate::Out("decrypted", plain4(3)), "{suite}, untouched");
            rig.assert_exact();
        }
    }
}

#[test]
fn a_packet_cut_anywhere_never_passes() {
    let pool = new_pool(64);
    for &suite in Suite::ALL {
        let mut rig = Rig::with_pool(Link::Raw, &sa(suite, tunnel4()), pool.clone());
        let sealed = rig.sealed(&plain4(21));
        for len in 1..sealed.len() {
            assert_eq!(rig.open(&sealed[..len]), MALFORMED, "{suite} cut to {len}");
        }
        for len in 20..sealed.len() {
            match rig.open(&with_own_length(&sealed[..len])) {
                Fate::Dropped("truncated" | "bad_length" | "integrity_failed") => {}
                other => panic!("{suite} cut to {len}: {other:?}"),
            }
        }
        assert_eq!(rig.open(&sealed), Fate::Out("decrypted", plain4(21)));
        rig.assert_exact();
    }
}

#[test]
fn a_packet_cut_anywhere_over_udp_or_ipv6_never_passes() {
    for params in [over_udp(sa_of("aes128-sha1", tunnel6())), over_udp(sa_of("aes128gcm16", TRANSPORT))] {
        let mut rig = Rig::new(Link::Raw, &params);
        for frame in [plain4(9), plain6(9)] {
            let sealed = rig.sealed(&frame);
            for len in 1..sealed.len() {
                assert_eq!(rig.open(&sealed[..len]), MALFORMED, "cut to {len}");
            }
            assert_eq!(rig.open(&sealed), Fate::Out("decrypted", frame));
        }
        rig.assert_exact();
    }
}

#[test]
fn bytes_too_few_for_header_iv_trailer_and_icv_are_truncated_or_of_bad_length() {
    let mut rig = Rig::new(Link::Raw, &sa_of("aes128-sha1", tunnel4()));
    let spi = 0x1001_u32.to_be_bytes();
    for len in 0..36 {
        let esp = [&spi[..], &[0, 0, 0, 1], &[7; 64]].concat();
        assert_eq!(rig.open(&in_tunnel(&esp[..len])), Fate::Dropped("truncated"), "{len} bytes of ESP");
    }
    let esp = [&spi[..], &[0, 0, 0, 1], &[7; 16 + 17 + 12]].concat();
    assert_eq!(rig.open(&in_tunnel(&esp)), Fate::Dropped("bad_length"));
    rig.assert_exact();
}

#[test]
fn an_sa_that_does_not_exist_or_belongs_elsewhere_opens_nothing() {
    let mut rig = Rig::new(Link::Raw, &sa_of("aes128gcm16", tunnel4()));
    let other = SaParams { spi: Spi(0x1002), ..sa_of("aes128gcm16", tunnel4()) };
    let mut sealer = HandSealer::new(&other);
    let esp = sealer.esp(1, &padded(&plain4(0), 4, IPV4));
    assert_eq!(rig.open(&in_tunnel(&esp)), UNKNOWN_SPI);
    for spi in [0_u32, 1, 255, u32::MAX] {
        let esp = [&spi.to_be_bytes()[..], &[0, 0, 0, 1], &[0; 64]].concat();
        assert_eq!(rig.open(&in_tunnel(&esp)), UNKNOWN_SPI);
    }
    let sealed = rig.sealed(&plain4(0));
    let elsewhere = V4::between(EAST4, EAST4, ESP).packet(&sealed[20..]);
    assert_eq!(rig.open(&elsewhere), UNKNOWN_SPI, "another destination");
    let over_udp = V4::between(EAST4, WEST4, UDP).packet(&udp(NAT_T, NAT_T, &sealed[20..]));
    assert_eq!(rig.open(&over_udp), Fate::Dropped("unprotected"), "the SA is not one over UDP");
    rig.assert_exact();
}

#[test]
fn esp_over_udp_and_bare_esp_are_not_mixed_up() {
    let mut rig = Rig::new(Link::Raw, &over_udp(sa_of("aes128gcm16", tunnel4())));
    let sealed = rig.sealed(&plain4(0));
    let bare = V4::between(EAST4, WEST4, ESP).packet(&sealed[28..]);
    assert_eq!(rig.open(&bare), UNKNOWN_SPI);
    let elsewhere = V4::between(EAST4, WEST4, UDP).packet(&udp(NAT_T, 4501, &sealed[28..]));
    assert_eq!(rig.open(&elsewhere), Fate::Dropped("unprotected"), "a port that is not ESP's");
    let mut short = sealed.clone();
    short[25] -= 1;
    assert_eq!(rig.open(&short), MALFORMED, "a UDP length that contradicts the packet's");
    assert_eq!(rig.open(&sealed), Fate::Out("decrypted", plain4(0)));
    rig.assert_exact();
}

#[test]
fn padding_that_does_not_count_up_is_refused() {
    for suite in ["null-sha256", "aes128gcm16"] {
        let mut forge = Forge::new(&sa_of(suite, tunnel4()));
        let inner = plain4(1);
        for padding in [&[0][..], &[2], &[1, 1], &[1, 2, 4], &[3, 2, 1], &[1, 2, 3, 4, 0]] {
            let plaintext = with_trailer(&inner, padding, padding.len() as u8, IPV4);
            assert_eq!(forge.open(&plaintext), BAD_PADDING, "{suite} {padding:?}");
        }
        let long: Vec<u8> = (1..=255).collect();
        let plaintext = with_trailer(&inner, &long, 255, IPV4);
        assert_eq!(forge.open(&plaintext), Fate::Out("decrypted", inner.clone()), "{suite} longest");
        for at in [0, 100, 254] {
            let mut wrong = long.clone();
            wrong[at] ^= 0x80;
            assert_eq!(forge.open(&with_trailer(&inner, &wrong, 255, IPV4)), BAD_PADDING, "{suite} at {at}");
        }
        forge.rig.assert_exact();
    }
}

#[test]
fn padding_longer_than_the_payload_is_refused() {
    let mut forge = Forge::new(&sa_of("null-sha1", tunnel4()));
    for pad_len in 3..=255 {
        assert_eq!(forge.open(&with_trailer(&[], &[1, 2], pad_len, IPV4)), BAD_PADDING, "{pad_len}");
    }
    assert_eq!(forge.open(&with_trailer(&[], &[1, 2], 2, IPV4)), MALFORMED, "nothing inside");
    forge.rig.assert_exact();
}

#[test]
fn a_tunnel_carries_ip_and_nothing_else() {
    let mut forge = Forge::new(&sa_of("aes128gcm16", tunnel4()));
    for next_header in (0..=255).filter(|next| ![IPV4, IPV6, NO_NEXT].contains(next)) {
        let plaintext = padded(&plain4(7), 4, next_header);
        assert_eq!(forge.open(&plaintext), Fate::Dropped("bad_next_header"), "{next_header}");
    }
    assert_eq!(forge.open(&padded(&plain4(7), 4, IPV6)), MALFORMED, "IPv4 that calls itself IPv6");
    assert_eq!(forge.open(&padded(&plain6(7), 4, IPV4)), MALFORMED, "IPv6 that calls itself IPv4");
    assert_eq!(forge.open(&padded(&plain4(7)[..34], 4, IPV4)), MALFORMED, "less than its length says");
    assert_eq!(forge.open(&padded(&plain6(7)[..50], 4, IPV6)), MALFORMED, "less than its length says");
    assert_eq!(forge.open(&padded(&[0x45], 4, IPV4)), MALFORMED);
    assert_eq!(forge.open(&padded(&pattern(100, 1), 4, IPV4)), MALFORMED);
    assert_eq!(forge.open(&padded(&plain6(7), 4, IPV6)), Fate::Out("decrypted", plain6(7)));
    forge.rig.assert_exact();
}

#[test]
fn a_dummy_is_absorbed_whatever_it_holds_and_its_number_is_used_up() {
    for payload in [vec![], pattern(100, 9), plain4(3)] {
        let mut forge = Forge::new(&sa_of("aes128gcm16", tunnel4()));
        let plaintext = padded(&payload, 4, NO_NEXT);
        assert_eq!(forge.open(&plaintext), Fate::Absorbed("dummy"));
        forge.sequence -= 1;
        assert_eq!(forge.open(&plaintext), Fate::Dropped("replayed"));
        forge.rig.assert_exact();
    }
}

#[test]
fn padding_against_traffic_analysis_is_cut_off() {
    for suite in ["aes128-sha1", "aes128gcm16"] {
        let params = sa_of(suite, tunnel4());
        let mut forge = Forge::new(&params);
        for tfc in [1, 4, 100, 1300] {
            for (inner, next_header) in [(plain4(33), IPV4), (plain6(33), IPV6)] {
                let payload = [&inner[..], &pattern(tfc, 77)].concat();
                let plaintext = padded(&payload, params.suite.alignment(), next_header);
                assert_eq!(forge.open(&plaintext), Fate::Out("decrypted", inner), "{suite} {tfc}");
            }
        }
        forge.rig.assert_exact();
    }
}

#[test]
fn what_shares_the_port_with_esp_is_told_apart() {
    for (mode, packet) in [
        (tunnel4(), (|payload| V4::between(EAST4, WEST4, UDP).packet(payload)) as fn(&[u8]) -> Vec<u8>),
        (tunnel6(), |payload| V6::between(EAST6, WEST6, UDP).packet(payload)),
    ] {
        let mut rig = Rig::new(Link::Raw, &over_udp(sa_of("aes128gcm16", mode)));
        let mut well_formed = 0;
        let mut on_port = |payload: &[u8]| {
            let packet = packet(&udp(NAT_T, NAT_T, payload));
            let fate = rig.open(&packet);
            well_formed += if fate == MALFORMED { 0 } else { packet.len() as u64 };
            (fate, packet)
        };
        assert_eq!(on_port(&[0xff]).0, Fate::Absorbed("nat_keepalive"));
        let (fate, ike) = on_port(&[0, 0, 0, 0, 1, 2, 3]);
        assert_eq!(fate, Fate::Out("ike", ike.clone()));
        for runt in [&[][..], &[0xfe], &[0xff, 0xff], &[0, 0, 0]] {
            assert_eq!(on_port(runt).0, MALFORMED, "{runt:?}");
        }
        for runt in [&[0xff; 4][..], &[0, 0, 16, 1, 0, 0, 0]] {
            assert_eq!(on_port(runt).0, Fate::Dropped("truncated"), "{runt:?}");
        }
        let counters = rig.inn.half().counters();
        assert_eq!((counters.ip_bytes_in, counters.ip_bytes_out), (well_formed, ike.len() as u64));
        rig.assert_exact();
    }
}

#[test]
fn a_keepalive_split_from_what_follows_is_not_taken_for_one() {
    let mut rig = Rig::new(Link::Raw, &over_udp(sa_of("aes128gcm16", tunnel4())));
    let packet = V4::between(EAST4, WEST4, UDP).packet(&udp(NAT_T, NAT_T, &[0xff; 40]));
    for cut in 28..32 {
        let packet = common::chained(&rig.pool, &packet, &[cut]);
        assert_eq!(rig.open_mbuf(packet), MALFORMED, "first segment of {cut} bytes");
    }
    rig.assert_exact();
}

#[test]
fn good_packets_between_bad_ones_come_out_in_order() {
    let mut rig = Rig::with_pool(Link::Raw, &sa_of("aes128-sha256", tunnel4()), new_pool(1024));
    let sealed: Vec<_> = (0..60).map(|len| rig.sealed(&plain4(len))).collect();
    let packets = sealed.iter().enumerate().map(|(n, sealed)| {
        let mut bytes = sealed.clone();
        match n % 5 {
            1 => bytes[30] ^= 1,
            2 => bytes[20] ^= 1,
            3 => bytes.truncate(30),
            _ => {}
        }
        rig.packet(&bytes)
    });
    let packets = packets.collect();
    let opened: Vec<_> = rig.open_all(packets, 64).iter().map(bytes_of).collect();
    let good = (0..60).filter(|n| ![1, 2, 3].contains(&(n % 5))).map(plain4);
    assert!(opened.into_iter().eq(good));
    rig.assert_exact();
}
