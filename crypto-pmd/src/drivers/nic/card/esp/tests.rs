//! Formats, against bytes written by hand, and against itself with ciphers left out: NULL with a tag of zeros stands for any suite here, because ranges
//! are all that the firmware says about cipher and ICV.

use pipeline::{Mbuf, Pool, PoolConfig};
use proptest::prelude::*;

use super::*;
use crate::algorithm::{AeadAlgorithm, IntegrityAlgorithm};
use crate::inline::{InboundState, RxOutcome};
use crate::key::Key;
use crate::transform::SessionParams;

const SPI: u32 = 0x1001;
const EAST: [u8; 4] = [192, 0, 2, 1];
const WEST: [u8; 4] = [192, 0, 2, 2];

fn pool() -> Pool {
    Pool::new(PoolConfig { buffers: 8, ..PoolConfig::default() }).unwrap()
}

fn null_sha1() -> SessionParams {
    Transform::integrity(IntegrityAlgorithm::HmacSha1, Key::new(&[1; 20]), 12).into()
}

fn gcm() -> SessionParams {
    Transform::aead(AeadAlgorithm::AesGcm, Key::new(&[1; 16]), Key::new(&[2; 4]), 16).into()
}

fn cbc() -> SessionParams {
    [
        Transform::cipher(CipherAlgorithm::AesCbc, Key::new(&[1; 16])),
        Transform::integrity(IntegrityAlgorithm::HmacSha1, Key::new(&[1; 20]), 12),
    ]
    .into_iter()
    .collect()
}

fn tunnel4() -> InlineMode {
    InlineMode::Tunnel { src: EAST.into(), dst: WEST.into() }
}

fn tunnel6() -> InlineMode {
    InlineMode::Tunnel { src: [0xfd; 16].into(), dst: [0xfe; 16].into() }
}

fn sa(session: SessionParams, mode: InlineMode) -> InlineSa {
    InlineSa {
        spi: SPI,
        destination: None,
        session,
        esn: false,
        mode,
        udp: None,
        replay_window: 64,
        state: OutboundState { next_sequence: 1 }.into(),
    }
}

fn on_card(sa: &InlineSa) -> CardSa {
    CardSa::new(Service::Protocol, sa, SessionId::new(0, 1)).unwrap()
}

/// The same SA at the other end.
fn receiver(sa: &InlineSa) -> CardSa {
    on_card(&InlineSa { state: InboundState { highest: 0, bitmap: vec![0] }.into(), ..sa.clone() })
}

/// An IPv4 packet of UDP between 10.0.0.1 and 10.0.0.2, with this type of service, flags and payload.
fn v4(tos: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut ip = vec![
        0x45,
        tos,
        0,
        20 + payload.len() as u8,
        0x12,
        0x34,
        flags,
        0,
        63,
        17,
        0,
        0,
        10,
        0,
        0,
        1,
        10,
        0,
        0,
        2,
    ];
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip.extend(payload);
    ip
}

fn v6(class: u8, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x60 | class >> 4, class << 4, 0, 0, 0, payload.len() as u8, next, 63];
    ip.extend([0x20; 16]);
    ip.extend([0x21; 16]);
    ip.extend(payload);
    ip
}

fn ethernet(ip: &[u8], tags: &[u16]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 5]);
    }
    frame.extend(if ip[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
    frame.extend(ip);
    frame
}

fn hex_of(packet: &Mbuf) -> String {
    hex::encode(packet.data())
}

#[test]
fn a_tunnelled_packet_is_what_the_formats_say_to_the_last_byte() {
    let pool = pool();
    let mut sa = on_card(&sa(gcm(), tunnel4()));
    let mut packet = pool.alloc_copy(&ethernet(&v4(0xb9, 0x40, b"payload"), &[])).unwrap();
    let ranges = build(&mut sa, &mut packet, 14, [0; 16]).unwrap();
    // 27 bytes of packet, 3 of padding, trailer: 32.
    let expected = concat!(
        "02000000000202000000000108",
        "00",
        "45b9",
        "0054",
        "0001",
        "4000",
        "4032",
        "b5ba",
        "c0000201",
        "c0000202",
        "00001001",
        "00000001",
        "0000000000000001",
        "45b9001b12344000",
        "3f11",
        "14e3",
        "0a0000010a000002",
        "7061796c6f6164",
        "010203",
        "03",
        "04"
    );
    let expected = hex::decode(expected).unwrap();
    assert_eq!(hex_of(&packet)[..2 * expected.len()], hex::encode(&expected));
    assert_eq!(packet.packet_len(), expected.len() + 16);
    let (esp, cipher) = (34, 50);
    assert_eq!(ranges, Ranges { esp, cipher, cipher_len: 32, covered: 8, high: None });
}

#[test]
fn transport_mode_goes_behind_the_headers_that_stay_outside() {
    let pool = pool();
    let mut sa = on_card(&sa(null_sha1(), InlineMode::Transport));
    // Hop-by-hop options, destination options, routing; then destination options that ESP covers.
    let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let chain =
        [&options(60)[..], &options(43), &[60, 0, 9, 0, 0, 0, 0, 0], &options(17), b"udp-datagram"].concat();
    let mut packet = pool.alloc_copy(&v6(0, 0, &chain)).unwrap();
    let ranges = build(&mut sa, &mut packet, 0, [0; 16]).unwrap();
    assert_eq!(ranges.esp, 40 + 24);
    let bytes = packet.data();
    assert_eq!((bytes[6], bytes[40], bytes[48], bytes[56]), (0, 60, 43, 50), "the routing header names ESP");
    assert_eq!(&bytes[64..72], &[0, 0, 0x10, 1, 0, 0, 0, 1]);
    assert_eq!(&bytes[72..80], &options(17));
    assert_eq!(bytes[ranges.tag() - 1], 60, "and the trailer names what stood there");
    assert_eq!(usize::from(bytes[5]) + 40, bytes.len());
}

#[test]
fn what_transport_mode_cannot_wrap_is_refused_and_takes_no_number() {
    let pool = pool();
    let mut sa = on_card(&sa(null_sha1(), InlineMode::Transport));
    let mut refused = |ip: &[u8]| {
        let mut packet = pool.alloc_copy(ip).unwrap();
        let refusal = build(&mut sa, &mut packet, 0, [0; 16]).unwrap_err();
        assert_eq!(packet.data(), ip, "it is as it was");
        refusal
    };
    assert_eq!(refused(&v4(0, 0x20, b"first part")), Refusal::Fragment);
    assert_eq!(refused(&v6(0, 44, &[17, 0, 0, 8, 0, 0, 0, 1, 1, 2])), Refusal::Fragment);
    assert_eq!(refused(&v6(0, 59, b"")), Refusal::Nothing);
    assert_eq!(refused(b"\x45 is not enough"), Refusal::Malformed);
    assert_eq!(refused(b""), Refusal::Malformed);
    assert_eq!(sa.export(), OutboundState { next_sequence: 1 }.into());
}

#[test]
fn numbers_end_where_they_must() {
    let pool = pool();
    for (esn, last) in [(false, u64::from(u32::MAX)), (true, u64::MAX)] {
        let template =
            InlineSa { esn, state: OutboundState { next_sequence: last }.into(), ..sa(gcm(), tunnel4()) };
        let mut sa = on_card(&template);
        let mut build = || build(&mut sa, &mut pool.alloc_copy(&v4(0, 0, b"x")).unwrap(), 0, [0; 16]);
        assert_eq!(build().unwrap().high, esn.then_some(u32::MAX));
        assert_eq!(build(), Err(Refusal::Exhausted));
        assert_eq!(sa.export(), OutboundState { next_sequence: 0 }.into());
        let mut over = on_card(&InlineSa { state: sa.export(), ..template });
        let mut packet = pool.alloc_copy(&v4(0, 0, b"x")).unwrap();
        assert_eq!(super::build(&mut over, &mut packet, 0, [0; 16]), Err(Refusal::Exhausted));
    }
}

/// A frame through both ends; what comes out.
fn through(sa: &InlineSa, frame: &[u8], l2_len: usize, mark: Option<u8>) -> (Option<Stripped>, Vec<u8>) {
    let pool = pool();
    let mut packet = pool.alloc_copy(frame).unwrap();
    let ranges = build(&mut on_card(sa), &mut packet, l2_len, [9; 16]).unwrap();
    finish_checksum(&on_card(sa), &mut packet, l2_len, &ranges);
    if let Some(mark) = mark {
        let ip = &mut packet.data_mut()[l2_len..];
        ip::set_tos(ip, mark).unwrap();
    }
    let (mut table, other) = (SaTable::default(), receiver(sa));
    table.insert(1 << 16 | 7, other);
    let arrived =
        find(packet.data(), link_len(packet.data(), l2_len > 0).unwrap(), |port| table.is_port(port))
            .unwrap();
    assert_eq!((arrived.l2_len, arrived.spi, arrived.low), (l2_len, SPI, 1));
    assert_eq!(table.find(&arrived), Some(1 << 16 | 7));
    let other = table.get_mut(1 << 16 | 7).unwrap();
    assert_eq!(ranges_in(other, &arrived, ranges.high), Some(ranges));
    let stripped = strip(other, &mut packet, &arrived, &ranges);
    (stripped, packet.data().to_vec())
}

#[test]
fn what_one_end_wraps_the_other_takes_out() {
    let payloads: Vec<Vec<u8>> = [0, 1, 2, 3, 13, 14, 15, 16, 17, 150].map(|len| vec![7; len]).into();
    for session in [null_sha1(), gcm(), cbc()] {
        for mode in [tunnel4(), tunnel6(), InlineMode::Transport] {
            for udp in [None, Some(UdpPorts { src: 4500, dst: 4500 })] {
                let sa = InlineSa { udp, ..sa(session.clone(), mode) };
                for payload in &payloads {
                    for ip in [v4(3, 0, payload), v6(0xb9, 17, payload)] {
                        for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100]] {
                            let (frame, l2_len) = (ethernet(&ip, tags), 14 + 4 * tags.len());
                            let padded = [&frame[..], &[0; 5]].concat();
                            assert_eq!(through(&sa, &padded, l2_len, None), (Some(Stripped::Packet), frame));
                        }
                        assert_eq!(through(&sa, &ip, 0, None), (Some(Stripped::Packet), ip));
                    }
                }
            }
        }
    }
}

/// RFC 6040 figure 4: rows by the inner mark, columns by the outer one, in the order not-ECT, ECT(0), ECT(1), CE.
#[test]
fn congestion_marks_come_inside_as_the_table_says() {
    const ORDER: [u8; 4] = [0, 2, 1, 3];
    const TABLE: [[Option<u8>; 4]; 4] = [
        [Some(0), Some(0), Some(0), None],
        [Some(2), Some(2), Some(1), Some(3)],
        [Some(1), Some(1), Some(1), Some(3)],
        [Some(3), Some(3), Some(3), Some(3)],
    ];
    for (inner, row) in ORDER.into_iter().zip(TABLE) {
        for (outer, expected) in ORDER.into_iter().zip(row) {
            for (mode, is_v4) in [(tunnel4(), true), (tunnel6(), false)] {
                let make = |tos: u8| if is_v4 { v4(tos, 0, b"abc") } else { v6(tos, 17, b"abc") };
                let (stripped, bytes) = through(&sa(gcm(), mode), &make(0xa8 | inner), 0, Some(0x10 | outer));
                let expected = expected.map(|mark| make(0xa8 | mark));
                assert_eq!(stripped.map(|_| bytes), expected, "inner {inner} outer {outer}");
            }
        }
    }
}

#[test]
fn udp_over_ipv6_has_a_checksum_that_verifies() {
    let pool = pool();
    let mut sa = on_card(&InlineSa { udp: Some(UdpPorts { src: 4500, dst: 4500 }), ..sa(gcm(), tunnel6()) });
    for len in 0..9 {
        let mut packet = pool.alloc_copy(&v4(0, 0, &vec![0xa5; len])).unwrap();
        let ranges = build(&mut sa, &mut packet, 0, [0; 16]).unwrap();
        finish_checksum(&sa, &mut packet, 0, &ranges);
        let ip = packet.data();
        let words =
            ip[8..].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
        let sum: u32 = words.sum::<u32>() + 17 + (ip.len() as u32 - 40);
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{len}");
    }
}

#[test]
fn a_wrong_trailer_leaves_nothing_of_what_was_decrypted() {
    let pool = pool();
    let params = sa(null_sha1(), tunnel4());
    let built = || {
        let mut packet = pool.alloc_copy(&v4(0, 0, b"secret-plaintext")).unwrap();
        let ranges = build(&mut on_card(&params), &mut packet, 0, [0; 16]).unwrap();
        (packet, ranges)
    };
    let (packet, ranges) = built();
    let end = ranges.tag();
    assert_eq!(packet.data()[end - 4..end], [1, 2, 2, 4]);
    for (at, value, fate) in [
        (end - 4, 2, None),
        (end - 2, 3, None),
        (end - 2, 255, None),
        (end - 1, 6, None),
        (end - 1, 41, None),
        (end - 1, 59, Some(Stripped::Dummy)),
    ] {
        let (mut packet, ranges) = built();
        packet.data_mut()[at] = value;
        let arrived = find(packet.data(), 0, |_| false).unwrap();
        assert_eq!(strip(&receiver(&params), &mut packet, &arrived, &ranges), fate, "{at} {value}");
        if fate.is_none() {
            assert!(packet.data().is_empty());
        }
    }
}

#[test]
fn inline_crypto_finds_what_the_host_has_built() {
    let pool = pool();
    for session in [null_sha1(), gcm(), cbc()] {
        for udp in [None, Some(UdpPorts { src: 4500, dst: 4500 })] {
            let params = InlineSa { udp, esn: true, ..sa(session.clone(), tunnel4()) };
            let mut packet = pool.alloc_copy(&ethernet(&v4(0, 0, b"payload"), &[])).unwrap();
            let ranges = build(&mut on_card(&params), &mut packet, 14, [3; 16]).unwrap();
            let whole = packet.packet_len();
            packet.append(3).unwrap();
            let found = ranges_out(&on_card(&params), &mut packet, 14, 0);
            assert_eq!((found, packet.packet_len()), (Ok(ranges), whole));
            let others = on_card(&InlineSa { spi: SPI + 1, ..params.clone() });
            assert_eq!(ranges_out(&others, &mut packet, 14, 0), Err(Refusal::NotOfThisSa));
            assert_eq!(ranges_out(&receiver(&params), &mut packet, 14, 0), Err(Refusal::NotOfThisSa));
        }
    }
}

#[test]
fn the_sa_that_names_the_destination_goes_before_one_that_names_none() {
    let pool = pool();
    let params = sa(null_sha1(), tunnel4());
    let mut packet = pool.alloc_copy(&v4(0, 0, b"payload")).unwrap();
    build(&mut on_card(&params), &mut packet, 0, [0; 16]).unwrap();
    let arrived = find(packet.data(), 0, |_| false).unwrap();
    let with = |destination: Option<[u8; 4]>| {
        let destination = destination.map(IpAddr::from);
        receiver(&InlineSa { destination, ..params.clone() })
    };
    let mut table = SaTable::default();
    table.insert(1 << 16 | 1, with(Some(EAST)));
    assert_eq!(table.find(&arrived), None);
    table.insert(1 << 16 | 2, with(Some(WEST)));
    table.insert(1 << 16 | 3, with(None));
    assert_eq!(table.find(&arrived), Some(1 << 16 | 2));
    assert!(table.remove(2 << 16 | 2).is_none(), "a handle of another time");
    assert!(table.remove(1 << 16 | 2).is_some());
    assert_eq!(table.find(&arrived), Some(1 << 16 | 3));
    assert_eq!(table.len(), 2);
}

fn state() -> impl Strategy<Value = (u32, InboundState)> {
    let highest = prop_oneof![0_u64..200, any::<u64>(), (0_u64..300).prop_map(|below| u64::MAX - below)];
    (prop_oneof![Just(0_u32), 32_u32..200], highest, prop::collection::vec(any::<u64>(), 4)).prop_map(
        |(size, highest, mut bitmap)| {
            bitmap.truncate(size.div_ceil(64) as usize);
            (size, InboundState { highest, bitmap })
        },
    )
}

proptest! {
    /// Against the plainest window there is: the set of all numbers that were set.
    #[test]
    fn a_window_takes_each_number_once_and_none_from_before((size, state) in state(), steps in prop::collection::vec(-250_i64..300, 1..200)) {
        let mut window = Window::new(size, &state);
        let mut set = std::collections::BTreeSet::new();
        for step in steps {
            let number = window.highest().saturating_add_signed(step);
            let highest = window.highest();
            let is_old = number == 0 || highest >= number && highest - number >= u64::from(size);
            let is_seen = set.contains(&number) || number <= state.highest && state.was_seen(number);
            let expected = match (size, is_old && number <= highest, is_seen && number <= highest) {
                (0, ..) => RxOutcome::Ok,
                (_, true, _) => RxOutcome::TooOld,
                (_, _, true) => RxOutcome::Replayed,
                _ => RxOutcome::Ok,
            };
            prop_assert_eq!(window.check_and_set(number), expected, "{} of {}", number, highest);
            set.insert(number);
            let again = Window::new(size, &window.export());
            for number in (0..250).map(|back| window.highest().saturating_sub(back)) {
                prop_assert_eq!(again.look(number), window.look(number));
            }
        }
    }

    #[test]
    fn the_inferred_number_lies_within_reach_of_the_window(highest: u64, window in 1_u32..=65_536, low: u32) {
        let bottom = highest.saturating_sub(u64::from(window) - 1);
        if let Some(number) = infer(highest, window, low) {
            prop_assert_eq!(number as u32, low);
            prop_assert!(number >= bottom && number - bottom <= 1 << 33);
        }
        prop_assert_eq!(infer(highest, window, highest as u32), Some(highest));
        let back = u64::from(low % window).min(highest);
        prop_assert_eq!(infer(highest, window, (highest - back) as u32), Some(highest - back));
    }

    /// Whatever the bytes are, nothing panics, and what is refused on the way out stays as long as it was or is cut to its IP packet.
    #[test]
    fn no_bytes_make_the_firmware_panic(
        noise in prop::collection::vec(any::<u8>(), 0..200), flips in prop::collection::vec((0_usize..300, any::<u8>()), 0..6),
        is_raw: bool, from_frame in 0_u8..8, place in 0_usize..3, udp: bool, cut in 0_usize..300,
    ) {
        let pool = pool();
        let mode = [tunnel4(), tunnel6(), InlineMode::Transport][place];
        let params = InlineSa { udp: udp.then_some(UdpPorts { src: 4500, dst: 4500 }), ..sa(cbc(), mode) };
        let ip = if from_frame & 1 == 0 { v4(0, 0, &noise[..noise.len().min(100)]) } else { v6(0, 17, &noise[..noise.len().min(100)]) };
        let frame = if is_raw { ip } else { ethernet(&ip, &[0x8100]) };
        let l2_len = if is_raw { 0 } else { 18 };
        let mut packet = pool.alloc_copy(if from_frame < 2 { &noise } else { &frame }).unwrap();
        if from_frame >= 4 {
            let _ = build(&mut on_card(&params), &mut packet, l2_len, [0; 16]);
        }
        for (at, value) in flips {
            if let Some(byte) = packet.data_mut().get_mut(at) {
                *byte = value;
            }
        }
        packet.truncate(packet.packet_len().saturating_sub(cut / 3));
        let bytes = packet.data().to_vec();
        let copy = || pool.alloc_copy(&bytes).unwrap();
        for l2_len in [0, 14, 18, 200] {
            let _ = build(&mut on_card(&params), &mut copy(), l2_len, [0; 16]);
            let _ = ranges_out(&on_card(&params), &mut copy(), l2_len, 0);
        }
        for is_ethernet in [false, true] {
            let Some(l2_len) = link_len(&bytes, is_ethernet) else { continue };
            let Some(arrived) = find(&bytes, l2_len, |port| port == 4500) else { continue };
            let mut other = receiver(&params);
            if let Some(ranges) = ranges_in(&other, &arrived, None) {
                prop_assert!(ranges.tag() + 12 == arrived.end() && arrived.end() <= bytes.len());
                let mut packet = copy();
                if strip(&other, &mut packet, &arrived, &ranges).is_none() {
                    prop_assert!(packet.packet_len() <= l2_len);
                }
                let _ = other.window().unwrap().check_and_set(arrived.low.into());
            }
        }
    }
}
