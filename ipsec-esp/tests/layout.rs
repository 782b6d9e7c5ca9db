//! What ESP out writes, read by hand: field positions, padding, IVs, outer headers, and the congestion marks that ESP
//! in carries inside (RFC 4303 section 2, RFC 4301 section 5.1.2, RFC 3948 section 2.1, RFC 6040 section 4).

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;

use common::frames::{
    self, A6, B6, EAST4, EAST6, ESP, UDP, V4, V6, WEST4, WEST6, Wire, checksum, destination_options,
    hop_by_hop, routing, udp,
};
use common::rig::{Fate, NAT_T, Rig, SPI, TRANSPORT, new_pool, over_udp, sa, sa_of, tunnel4, tunnel6};
use common::seal::HandSealer;
use common::{chained, pattern};
use ipsec_esp::header::link::Link;
use ipsec_esp::sa::SaParams;
use ipsec_esp::suite::{Cipher, Suite};

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn plain4(len: usize) -> Vec<u8> {
    V4::default().packet(&udp(1111, 2222, &pattern(len, 1)))
}

fn plain6(len: usize) -> Vec<u8> {
    V6::default().packet(&udp(1111, 2222, &pattern(len, 2)))
}

fn rig(params: &SaParams) -> Rig {
    Rig::with_pool(Link::Raw, params, new_pool(64))
}

/// IPv4 in IPv4 on plain Ethernet in one segment is built in a straight line, all else the general way; a packet in two
/// segments takes the general way and must come out the same.
#[test]
fn the_straight_line_and_the_general_way_build_the_same_packet() {
    for suite in ["aes128gcm16", "aes256gcm16", "null-sha1", "null-sha256"] {
        for esn in [false, true] {
            let params = SaParams { esn, ..sa_of(suite, tunnel4()) };
            let (mut straight, mut general) =
                (Rig::new(Link::Ethernet, &params), Rig::new(Link::Ethernet, &params));
            for len in 0..200 {
                for (tos, fragment) in [(0, 0), (0xb9, 0x4000)] {
                    let ip = V4 { tos, fragment, ..V4::default() }.packet(&udp(1, 2, &pattern(len, 3)));
                    let frame = Wire::Ethernet.frame(&ip);
                    let Fate::Out("protected", whole) = straight.seal(&frame) else {
                        panic!("{suite} {len}")
                    };
                    let split = chained(&general.pool, &frame, &[60]);
                    let Fate::Out("protected", parts) = general.seal_mbuf(split) else {
                        panic!("{suite} {len}")
                    };
                    assert_eq!(whole, parts, "{suite}, {len} bytes, tos {tos}");
                }
            }
        }
    }
}

/// The UDP checksum over IPv6 with the pseudo-header of RFC 8200 section 8.1 written out.
fn udp6_sum(ip: &[u8], datagram: &[u8]) -> u16 {
    let length = u32::try_from(datagram.len()).unwrap().to_be_bytes();
    checksum(&[&ip[8..40], &length, &[0, 0, 0, UDP], datagram].concat())
}

#[test]
fn a_packet_in_a_tunnel_has_every_field_in_its_place() {
    let params = sa_of("null-sha256", tunnel4());
    let mut rig = rig(&params);
    for sequence in 1..4 {
        let inner = plain4(5);
        let sealed = rig.sealed(&inner);
        // 33 bytes, padding of one, trailer of two: 36; then 16 of ICV.
        assert_eq!(sealed.len(), 20 + 8 + 36 + 16);
        assert_eq!(sealed[0], 0x45);
        assert_eq!(usize::from(word(&sealed, 2)), sealed.len());
        assert_eq!((sealed[8], sealed[9]), (64, ESP));
        assert_eq!(checksum(&sealed[..20]), 0, "the outer checksum is right");
        assert_eq!((&sealed[12..16], &sealed[16..20]), (&EAST4[..], &WEST4[..]));
        assert_eq!((long(&sealed, 20), long(&sealed, 24)), (SPI, sequence));
        assert_eq!(&sealed[28..61], inner);
        assert_eq!(&sealed[61..64], &[1, 1, 4], "padding, its length, next header");
        let opened = HandSealer::new(&params).plaintext(&sealed[20..], 0);
        assert!(opened.is_some(), "the ICV is right");
    }
}

#[test]
fn a_packet_in_a_tunnel_over_ipv6_has_every_field_in_its_place() {
    let mut rig = rig(&sa_of("null-sha256", tunnel6()));
    let inner = plain6(2);
    let sealed = rig.sealed(&inner);
    // 50 bytes and the trailer: 52.
    assert_eq!(sealed.len(), 40 + 8 + 52 + 16);
    assert_eq!(sealed[0] >> 4, 6);
    assert_eq!(usize::from(word(&sealed, 4)), sealed.len() - 40);
    assert_eq!((sealed[6], sealed[7]), (ESP, 64));
    assert_eq!((&sealed[8..24], &sealed[24..40]), (&EAST6[..], &WEST6[..]));
    assert_eq!((long(&sealed, 40), long(&sealed, 44)), (SPI, 1));
    assert_eq!(&sealed[48..98], inner);
    assert_eq!(&sealed[98..100], &[0, 41], "no padding, next header IPv6");
}

#[test]
fn padding_counts_up_from_one_and_is_no_longer_than_needed() {
    for &suite in Suite::ALL {
        let params = sa(suite, tunnel4());
        let (mut rig, mut sealer) = (rig(&params), HandSealer::new(&params));
        let align = if suite.cipher() == Cipher::AesCbc { 16 } else { 4 };
        for len in 0..40 {
            let inner = plain4(len);
            let sealed = rig.sealed(&inner);
            let plaintext = sealer.plaintext(&sealed[20..], 0).expect("it opens");
            assert_eq!(plaintext.len() % align, 0, "{suite} {len}");
            let pad_len = plaintext.len() - inner.len() - 2;
            assert!(pad_len < align, "{suite} {len}");
            let padding: Vec<u8> = (1..=pad_len as u8).collect();
            let expected = [&inner[..], &padding, &[pad_len as u8, 4]].concat();
            assert_eq!(plaintext, expected, "{suite} {len}");
        }
    }
}

#[test]
fn ivs_of_cbc_never_repeat_and_those_of_gcm_are_the_sequence_number() {
    let mut cbc = rig(&sa_of("aes256-sha256", tunnel4()));
    let ivs: BTreeSet<Vec<u8>> = (0..500).map(|_| cbc.sealed(&plain4(0))[28..44].to_vec()).collect();
    assert_eq!(ivs.len(), 500);
    let first = u64::from(u32::MAX) - 1;
    let mut gcm = rig(&SaParams { esn: true, sequence: first, ..sa_of("aes128gcm16", tunnel4()) });
    for sequence in first..first + 5 {
        let sealed = gcm.sealed(&plain4(0));
        assert_eq!(sealed[28..36], sequence.to_be_bytes());
        assert_eq!(long(&sealed, 24), sequence as u32);
    }
}

#[test]
fn the_high_half_is_authenticated_and_does_not_travel() {
    let sequence = (7 << 32) + 9;
    for &suite in Suite::ALL {
        let params = SaParams { esn: true, sequence, ..sa(suite, tunnel4()) };
        let sealed = rig(&params).sealed(&plain4(0));
        let mut sealer = HandSealer::new(&params);
        assert!(sealer.plaintext(&sealed[20..], sequence).is_some(), "{suite}");
        assert!(sealer.plaintext(&sealed[20..], 9).is_none(), "{suite}");
        let short = rig(&SaParams { esn: false, sequence: 9, ..params.clone() }).sealed(&plain4(0));
        assert_eq!(sealed.len(), short.len(), "{suite}");
    }
}

#[test]
fn udp_over_ipv4_has_the_ports_the_length_and_no_checksum() {
    for params in [sa_of("aes128-sha1", tunnel4()), sa_of("aes128-sha1", TRANSPORT)] {
        let sealed = rig(&over_udp(params)).sealed(&plain4(10));
        assert_eq!((sealed[9], checksum(&sealed[..20])), (UDP, 0));
        assert_eq!((word(&sealed, 20), word(&sealed, 22)), (NAT_T, NAT_T));
        assert_eq!(usize::from(word(&sealed, 24)), sealed.len() - 20);
        assert_eq!(word(&sealed, 26), 0);
        assert_eq!(long(&sealed, 28), SPI);
    }
}

#[test]
fn udp_over_ipv6_has_a_right_checksum_also_over_segments() {
    for (params, frame) in [
        (sa_of("aes128gcm16", tunnel6()), plain4 as fn(usize) -> Vec<u8>),
        (sa_of("aes128-sha1", TRANSPORT), plain6),
    ] {
        let mut rig = rig(&over_udp(params));
        for len in [0, 1, 2, 3, 1400, 2030, 9000, 9001] {
            for cuts in [&[][..], &[80], &[81], &[81, 82, 90], &[95, 95]] {
                let packet = chained(&rig.pool, &frame(len), cuts);
                let Fate::Out("protected", sealed) = rig.seal_mbuf(packet) else { panic!("not protected") };
                assert_eq!(sealed[6], UDP);
                assert_eq!(usize::from(word(&sealed, 44)), sealed.len() - 40);
                assert_ne!(word(&sealed, 46), 0);
                assert_eq!(udp6_sum(&sealed, &sealed[40..]), 0, "{len} bytes, cut at {cuts:?}");
            }
        }
    }
}

#[test]
fn transport_over_ipv4_keeps_header_and_options() {
    let options = vec![0x94, 4, 0, 0, 1, 1, 1, 0];
    let header = V4 { options, tos: 0x2e, fragment: 0x4000, ..V4::default() };
    let datagram = udp(1, 2, &pattern(6, 0));
    let plain = header.packet(&datagram);
    let sealed = rig(&sa_of("null-sha1", TRANSPORT)).sealed(&plain);
    let expected = V4 { protocol: ESP, ..header }.packet(&sealed[28..]);
    assert_eq!(sealed, expected, "only protocol, length and checksum differ");
    assert_eq!(long(&sealed, 28), SPI);
    assert_eq!(&sealed[36..50], datagram);
    assert_eq!(&sealed[50..52], &[0, UDP]);
}

#[test]
fn transport_over_ipv6_inserts_esp_behind_what_routers_read() {
    let (hop, dest, route) = (hop_by_hop(), destination_options(), routing());
    let (hop_len, dest_len, route_len) = (hop.1.len(), dest.1.len(), route.1.len());
    // The extension headers, the length of those outside, the kind of the first inside.
    let cases = [
        (vec![], 0, UDP),
        (vec![hop.clone()], hop_len, UDP),
        (vec![dest.clone()], 0, 60),
        (vec![hop.clone(), dest.clone()], hop_len, 60),
        (vec![route.clone()], route_len, UDP),
        (vec![dest.clone(), route.clone()], dest_len + route_len, UDP),
        (vec![hop.clone(), dest.clone(), route.clone(), dest.clone()], hop_len + dest_len + route_len, 60),
    ];
    for (extensions, outside_len, next_header) in cases {
        let outside = extensions.iter().scan(0, |len, (_, bytes)| {
            *len += bytes.len();
            (*len <= outside_len).then_some(())
        });
        let outside = extensions[..outside.count()].to_vec();
        let plain = V6 { extensions, ..V6::default() }.packet(&udp(1, 2, b"1234"));
        let sealed = rig(&sa_of("null-sha256", TRANSPORT)).sealed(&plain);
        let at = 40 + outside_len;
        let expected = V6 { extensions: outside, protocol: ESP, ..V6::default() }.packet(&sealed[at..]);
        assert_eq!(sealed, expected, "{next_header}");
        let inside = &plain[at..];
        assert_eq!(&sealed[at + 8..at + 8 + inside.len()], inside);
        assert_eq!(sealed[sealed.len() - 17], next_header);
    }
}

#[test]
fn the_outer_header_copies_tos_and_dont_fragment() {
    for tos in [0, 0x01, 0x02, 0x03, 0x2e << 2, 0xff] {
        for fragment in [0, 0x4000] {
            let inner = V4 { tos, fragment, ..V4::default() }.packet(&udp(1, 2, &[]));
            let sealed = rig(&sa_of("aes128gcm16", tunnel4())).sealed(&inner);
            assert_eq!((sealed[1], word(&sealed, 6)), (tos, fragment), "tos {tos:#x}");
            let sealed = rig(&sa_of("aes128gcm16", tunnel6())).sealed(&inner);
            assert_eq!(word(&sealed, 0), 0x6000 | u16::from(tos) << 4, "tos {tos:#x}");
        }
        let inner = V6 { traffic_class: tos, ..V6::default() }.packet(&udp(1, 2, &[]));
        let sealed = rig(&sa_of("aes128gcm16", tunnel4())).sealed(&inner);
        assert_eq!((sealed[1], checksum(&sealed[..20])), (tos, 0));
        let sealed = rig(&sa_of("aes128gcm16", tunnel6())).sealed(&inner);
        assert_eq!(word(&sealed, 0), 0x6000 | u16::from(tos) << 4, "tos {tos:#x}");
    }
}

/// Marks congestion on an outer header, as a router does.
fn mark_congestion(outer: &mut [u8]) {
    if outer[0] >> 4 == 6 {
        outer[1] |= 0x30;
        return;
    }
    outer[1] |= 3;
    outer[10..12].fill(0);
    let sum = checksum(&outer[..20]);
    outer[10..12].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn congestion_marked_outside_goes_inside_or_drops_the_packet() {
    let with_tos = |v6: bool, tos: u8| match v6 {
        false => V4 { tos, options: vec![1, 1, 1, 0], ..V4::default() }.packet(&udp(1, 2, &[9; 9])),
        true => V6 { traffic_class: tos, ..V6::default() }.packet(&udp(1, 2, &[9; 9])),
    };
    for mode in [tunnel4(), tunnel6()] {
        for v6 in [false, true] {
            for dscp in [0, 0xa8] {
                for ecn in 0..4 {
                    let mut rig = rig(&sa_of("aes128-sha256", mode));
                    let mut sealed = rig.sealed(&with_tos(v6, dscp | ecn));
                    mark_congestion(&mut sealed);
                    let expected = match ecn {
                        0 => Fate::Dropped("ecn_congestion_drop"),
                        _ => Fate::Out("decrypted", with_tos(v6, dscp | 3)),
                    };
                    assert_eq!(rig.open(&sealed), expected, "{mode:?} v6 {v6} ecn {ecn}");
                    rig.assert_exact();
                }
            }
        }
    }
}

#[test]
fn options_and_extension_headers_of_an_outer_header_are_stepped_over() {
    let inner = plain4(30);
    for is_udp in [false, true] {
        let make =
            |mode| if is_udp { over_udp(sa_of("aes128-sha1", mode)) } else { sa_of("aes128-sha1", mode) };
        let protocol = if is_udp { UDP } else { ESP };
        let mut rig4 = rig(&make(tunnel4()));
        let sealed = rig4.sealed(&inner);
        let options = vec![0x94, 4, 0, 0, 1, 1, 1, 0];
        let outer = V4 { options, ..V4::between(EAST4, WEST4, protocol) };
        assert_eq!(rig4.open(&outer.packet(&sealed[20..])), Fate::Out("decrypted", inner.clone()));
        let mut rig6 = rig(&make(tunnel6()));
        let sealed = rig6.sealed(&inner);
        let extensions = vec![hop_by_hop(), destination_options(), routing(), destination_options()];
        let outer = V6 { extensions, ..V6::between(EAST6, WEST6, protocol) };
        assert_eq!(rig6.open(&outer.packet(&sealed[40..])), Fate::Out("decrypted", inner.clone()));
    }
}

#[test]
fn a_hop_limit_or_dscp_changed_outside_does_not_come_in() {
    let mut rig = rig(&sa_of("aes128gcm16", tunnel6()));
    let mut sealed = rig.sealed(&plain6(7));
    sealed[7] = 3;
    sealed[0] |= 0x0b;
    assert_eq!(rig.open(&sealed), Fate::Out("decrypted", plain6(7)));
}

#[test]
fn addresses_of_the_flow_do_not_show_outside() {
    let mut rig = rig(&sa_of("aes128gcm16", tunnel6()));
    let sealed = rig.sealed(&plain6(7));
    assert!(!common::contains(&sealed, &A6) && !common::contains(&sealed, &B6));
    assert_eq!(frames::ESP, sealed[6]);
}
