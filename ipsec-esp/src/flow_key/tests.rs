//! Tests of flow keys: packets are written byte by byte, and the short way is held against the long one.

use std::collections::{HashMap, HashSet};

use super::*;
use proptest::prelude::*;

fn v4_packet(protocol: u8, flags_and_offset: u16, options: usize, payload: &[u8]) -> Vec<u8> {
    let total_len = (20 + options + payload.len()) as u16;
    let mut bytes = vec![0x40 | (5 + options as u8 / 4), 0];
    bytes.extend(total_len.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(flags_and_offset.to_be_bytes());
    bytes.extend([64, protocol, 0, 0, 10, 0, 1, 2, 10, 0, 2, 3]);
    bytes.resize(bytes.len() + options, 1);
    bytes.extend(payload);
    bytes
}

fn v6_packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend([next_header, 64]);
    bytes.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    bytes.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
    bytes.extend(payload);
    bytes
}

const PORTS: [u8; 8] = [0x03, 0xe8, 0x00, 0x50, 0, 0, 0, 0];

fn v4_key(upper: Upper) -> V4Key {
    V4Key::new(Ipv4Addr::new(10, 0, 1, 2), Ipv4Addr::new(10, 0, 2, 3), upper)
}

fn whole_v4(ip: &[u8]) -> Result<Flow<V4Key>, HeaderError> {
    parse_v4(ip, ip.len())
}

fn whole_v6(ip: &[u8]) -> Result<Flow<V6Key>, HeaderError> {
    parse_v6(ip, ip.len())
}

#[test]
fn a_plain_tcp_packet_gives_its_five_fields_and_length() {
    let mut packet = v4_packet(6, 0x4000, 0, &PORTS);
    packet.extend([0; 18]);
    let flow = FlowKey::parse(&packet).unwrap();
    let key = FlowKey::V4(v4_key(Upper::with_ports(6, 1000, 80)));
    assert_eq!(flow, Flow { key, total_len: 28, upper_offset: 20, part: Part::Whole });
    assert_eq!(flow.key.src(), "10.0.1.2".parse::<IpAddr>().unwrap());
    assert_eq!(flow.key.dst(), "10.0.2.3".parse::<IpAddr>().unwrap());
    assert_eq!(flow.key.upper().ports(), Some((1000, 80)));
    assert_eq!(flow.key.to_string(), "tcp 10.0.1.2 port 1000 > 10.0.2.3 port 80");
}

#[test]
fn options_shift_the_upper_header() {
    let flow = whole_v4(&v4_packet(17, 0, 8, &PORTS)).unwrap();
    assert_eq!((flow.upper_offset, flow.key), (28, v4_key(Upper::with_ports(17, 1000, 80))));
}

#[test]
fn icmp_type_and_code_stand_in_both_port_fields() {
    let flow = whole_v4(&v4_packet(1, 0, 0, &[8, 3, 0, 0])).unwrap();
    assert_eq!(flow.key.upper().ports(), Some((0x0803, 0x0803)));
    assert_eq!(FlowKey::V4(flow.key).to_string(), "icmp type 8 code 3 10.0.1.2 > 10.0.2.3");
    let flow = whole_v6(&v6_packet(58, &[128, 0, 0, 0])).unwrap();
    assert_eq!(flow.key.upper().ports(), Some((0x8000, 0x8000)));
    let flow = whole_v6(&v6_packet(135, &[59, 0, 5, 0, 0, 0, 0, 0])).unwrap();
    assert_eq!(flow.key.upper().ports(), Some((0x0500, 0x0500)));
}

#[test]
fn later_fragments_have_opaque_ports_and_first_ones_show_them() {
    let first = whole_v4(&v4_packet(6, 0x2000, 0, &PORTS)).unwrap();
    assert_eq!((first.part, first.key.upper()), (Part::First, Upper::with_ports(6, 1000, 80)));
    let later = whole_v4(&v4_packet(6, 0x0001, 0, &PORTS)).unwrap();
    assert_eq!((later.part, later.key.upper()), (Part::Later, Upper::opaque(6)));
    assert_eq!(later.key.upper().ports(), None);

    let later = whole_v6(&v6_packet(44, &[17, 0, 0, 8, 0, 0, 0, 0, 9, 9])).unwrap();
    assert_eq!((later.part, later.key.upper()), (Part::Later, Upper::opaque(17)));
}

#[test]
fn a_later_fragment_and_a_packet_with_ports_zero_differ() {
    let zero = whole_v4(&v4_packet(6, 0, 0, &[0; 8])).unwrap();
    let later = whole_v4(&v4_packet(6, 1, 0, &[0; 8])).unwrap();
    assert_ne!(zero.key, later.key);
}

#[test]
fn a_protocol_without_ports_has_opaque_ones() {
    let flow = whole_v4(&v4_packet(47, 0, 0, &PORTS)).unwrap();
    assert_eq!(flow.key.upper(), Upper::opaque(47));
    let empty = whole_v6(&v6_packet(59, &[])).unwrap();
    assert_eq!((empty.key.upper(), empty.total_len), (Upper::opaque(59), 40));
}

#[test]
fn ipv6_extension_headers_are_walked_to_the_ports() {
    let mut payload = vec![43, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0];
    payload.extend(PORTS);
    let flow = FlowKey::parse(&v6_packet(0, &payload)).unwrap();
    assert_eq!((flow.upper_offset, flow.total_len, flow.part), (56, 64, Part::Whole));
    assert_eq!(flow.key.src(), "2001:db8::1".parse::<IpAddr>().unwrap());
    assert_eq!(flow.key.upper(), Upper::with_ports(6, 1000, 80));
}

#[test]
fn a_packet_that_ends_before_its_ports_is_refused() {
    for (protocol, len) in [(6, 3), (17, 0), (1, 1), (135, 2)] {
        let packet = v4_packet(protocol, 0, 0, &PORTS[..len]);
        assert_eq!(whole_v4(&packet), Err(HeaderError::Truncated), "{protocol}");
    }
    assert_eq!(whole_v6(&v6_packet(6, &[])), Err(HeaderError::Truncated));
    assert_eq!(FlowKey::parse(&[]), Err(HeaderError::Truncated));
    assert_eq!(FlowKey::parse(&[0x55; 40]), Err(HeaderError::BadVersion));
}

#[test]
fn ports_beyond_the_total_length_are_not_read() {
    let mut packet = v4_packet(6, 0, 0, &PORTS);
    packet[3] = 22;
    assert_eq!(whole_v4(&packet), Err(HeaderError::Truncated));
}

#[test]
fn neighbouring_flows_spread_over_the_buckets_at_either_end_of_the_hash() {
    const FLOWS: u32 = 1 << 16;
    let low: Vec<u64> = (0..FLOWS)
        .map(|n| {
            let upper = Upper::with_ports(6, (n & 0xff) as u16, 80);
            V4Key::new(Ipv4Addr::from_bits(0x0a00_0000 + (n >> 8)), Ipv4Addr::new(10, 1, 0, 1), upper)
        })
        .map(|key| key.hash(0x1234_5678_9abc_def1))
        .collect();
    assert_spread(&low);
    let v6: Vec<u64> = (0..FLOWS)
        .map(|n| {
            let src = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n >> 8));
            V6Key::new(src, src, Upper::with_ports(17, (n & 0xff) as u16, 53)).hash(7)
        })
        .collect();
    assert_spread(&v6);
}

/// No bucket of 4096, by low or by high bits, gets more than four times its share of 16.
fn assert_spread(hashes: &[u64]) {
    for shift in [0, 32, 52] {
        let mut buckets = HashMap::new();
        for hash in hashes {
            *buckets.entry(hash >> shift & 0xfff).or_insert(0_u32) += 1;
        }
        assert!(buckets.values().all(|count| *count <= 64), "shift {shift}: {:?}", buckets.values().max());
        assert!(buckets.len() > 4000, "shift {shift}: {} buckets hit", buckets.len());
    }
    assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
}

#[test]
fn another_seed_gives_another_hash() {
    let key = v4_key(Upper::with_ports(6, 1, 2));
    assert_ne!(key.hash(1), key.hash(2));
}

proptest! {
    #[test]
    fn the_short_way_agrees_with_the_long_one(mut bytes in proptest::collection::vec(any::<u8>(), 0..64), shape: [bool; 4]) {
        // Bias towards packets that take the short way, else few random ones would.
        if shape[0] && bytes.len() > 9 {
            bytes[0] = 0x45;
            [bytes[2], bytes[3]] = (bytes.len() as u16 - u16::from(shape[3])).to_be_bytes();
            if shape[1] { bytes[6..8].fill(0); }
            if shape[2] { bytes[9] = [6, 17, 132, 1][usize::from(bytes[9] & 3)]; }
        }
        if let Some(flow) = plain_v4(&bytes, bytes.len()) {
            prop_assert_eq!(any_v4(&bytes, bytes.len()), Ok(flow));
        }
        prop_assert_eq!(whole_v4(&bytes), any_v4(&bytes, bytes.len()));
    }

    #[test]
    fn no_bytes_make_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        if let Ok(flow) = FlowKey::parse(&bytes) {
            prop_assert!(flow.total_len as usize <= bytes.len());
            prop_assert!(u32::from(flow.upper_offset) <= flow.total_len);
        }
    }

    #[test]
    fn a_key_gives_back_the_parts_it_was_made_of(src: u128, dst: u128, protocol: u8, src_port: u16, dst_port: u16) {
        let upper = Upper::with_ports(protocol, src_port, dst_port);
        let key = V6Key::new(src.into(), dst.into(), upper);
        prop_assert_eq!((key.src(), key.dst(), key.upper()), (src, dst, upper));
        prop_assert_eq!((upper.protocol(), upper.ports()), (protocol, Some((src_port, dst_port))));
        let key = V4Key::new((src as u32).into(), (dst as u32).into(), upper);
        prop_assert_eq!((key.src(), key.dst(), key.upper()), (src as u32, dst as u32, upper));
    }
}
