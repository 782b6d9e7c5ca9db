//! Tests of the IPv6 header: packets are built here byte by byte, not with the code under test.

use super::*;
use proptest::prelude::*;

/// A packet with this first next-header byte and this payload.
fn packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend([next_header, 64]);
    bytes.extend([0x20; 16]);
    bytes.extend([0x30; 16]);
    bytes.extend(payload);
    bytes
}

/// An options or routing header of `units` times eight bytes more than eight.
fn extension(next: u8, units: u8) -> Vec<u8> {
    let mut bytes = vec![next, units];
    bytes.resize((usize::from(units) + 1) * 8, 0);
    bytes
}

fn fragment(next: u8, field: u16) -> Vec<u8> {
    let [high, low] = field.to_be_bytes();
    vec![next, 0xff, high, low, 1, 2, 3, 4]
}

fn walked(next_header: u8, parts: &[Vec<u8>]) -> Result<Walk, HeaderError> {
    Ipv6::parse(&packet(next_header, &parts.concat())).unwrap().walk()
}

#[test]
fn fields_are_read_from_their_places() {
    let mut bytes = packet(6, &[9; 10]);
    bytes[..4].copy_from_slice(&[0x6a, 0xbc, 0xde, 0xf1]);
    bytes[8..24].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
    bytes.extend([0; 3]);
    let ip = Ipv6::parse(&bytes).unwrap();
    assert_eq!((ip.traffic_class(), ip.flow_label()), (0xab, 0xc_def1));
    assert_eq!((ip.payload_len(), ip.total_len(), ip.next_header(), ip.hop_limit()), (10, 50, 6, 64));
    assert_eq!((ip.src(), ip.dst()), (Ipv6Addr::LOCALHOST, Ipv6Addr::from([0x30; 16])));
    assert_eq!(ip.payload(), [9; 10]);
}

#[test]
fn a_packet_cut_short_or_of_another_version_or_a_jumbogram_is_refused() {
    let whole = packet(6, &[0; 10]);
    for len in 0..whole.len() {
        assert_eq!(Ipv6::parse(&whole[..len]).map(|_| ()), Err(HeaderError::Truncated));
    }
    let mut other = whole;
    other[0] = 0x45;
    assert_eq!(Ipv6::parse(&other).map(|_| ()), Err(HeaderError::BadVersion));
    assert_eq!(Ipv6::parse(&packet(0, &[])).map(|_| ()), Err(HeaderError::Jumbogram));
    assert!(Ipv6::parse(&packet(59, &[])).is_ok(), "an empty packet is no jumbogram");
}

#[test]
fn without_extension_headers_esp_goes_right_after_the_fixed_header() {
    let walk = walked(6, &[vec![0; 20]]).unwrap();
    let expected = Walk {
        upper_protocol: 6,
        upper_offset: 40,
        insert_offset: 40,
        insert_protocol: 6,
        patch_offset: 6,
        last_patch_offset: 6,
        fragment: None,
    };
    assert_eq!(walk, expected);
}

#[test]
fn esp_goes_before_destination_options_that_follow_and_after_those_before_a_routing_header() {
    // hop-by-hop, destination options, routing, destination options, TCP
    let parts = [extension(60, 0), extension(43, 1), extension(60, 2), extension(6, 0), vec![0; 20]];
    let walk = walked(0, &parts).unwrap();
    assert_eq!((walk.upper_protocol, walk.upper_offset), (6, 40 + 8 + 16 + 24 + 8));
    assert_eq!((walk.insert_offset, walk.insert_protocol), (40 + 8 + 16 + 24, 60));
    assert_eq!(walk.patch_offset, 40 + 8 + 16, "the routing header names the options");
}

#[test]
fn destination_options_without_a_routing_header_are_protected() {
    let walk = walked(60, &[extension(17, 3), vec![0; 8]]).unwrap();
    assert_eq!((walk.upper_protocol, walk.upper_offset), (17, 40 + 32));
    assert_eq!((walk.insert_offset, walk.insert_protocol, walk.patch_offset), (40, 60, 6));
}

#[test]
fn fragments_are_told_apart_and_a_later_one_ends_the_walk() {
    let first = walked(44, &[fragment(60, 0x0001), extension(17, 0), vec![0; 8]]).unwrap();
    assert_eq!(first.fragment, Some(Fragment { offset: 0, more: true }));
    assert_eq!((first.upper_protocol, first.upper_offset), (17, 56));
    assert!(first.is_fragment() && !first.is_later_fragment());
    assert_eq!((first.insert_offset, first.patch_offset), (48, 40));

    let later = walked(44, &[fragment(60, 0x0102), vec![0xff; 8]]).unwrap();
    assert_eq!(later.fragment, Some(Fragment { offset: 0x100, more: false }));
    assert_eq!((later.upper_protocol, later.upper_offset), (60, 48));
    assert!(later.is_fragment() && later.is_later_fragment());

    let atomic = walked(44, &[fragment(17, 0), vec![0; 8]]).unwrap();
    assert!(!atomic.is_fragment());
}

#[test]
fn ah_and_esp_end_the_walk_as_upper_protocols() {
    for upper in [50, 51] {
        let walk = walked(0, &[extension(upper, 0), vec![6, 4, 0, 0]]).unwrap();
        assert_eq!((walk.upper_protocol, walk.insert_offset), (upper, 48));
    }
}

#[test]
fn a_hop_by_hop_header_that_is_not_first_is_refused() {
    let parts = [extension(0, 0), extension(6, 0), vec![0; 20]];
    assert_eq!(walked(60, &parts), Err(HeaderError::MisplacedHopByHop));
    assert_eq!(walked(0, &parts), Err(HeaderError::MisplacedHopByHop));
}

#[test]
fn a_chain_longer_than_the_bound_is_refused_and_one_at_the_bound_is_not() {
    let chain = |count: usize| {
        let mut parts = vec![extension(60, 0); count - 1];
        parts.push(extension(6, 0));
        walked(60, &parts)
    };
    assert_eq!(chain(MAX_EXTENSIONS).map(|walk| walk.upper_protocol), Ok(6));
    assert_eq!(chain(MAX_EXTENSIONS + 1), Err(HeaderError::TooManyExtensions));
}

#[test]
fn an_extension_header_that_runs_over_the_end_is_refused() {
    assert_eq!(walked(60, &[vec![6, 0, 0]]), Err(HeaderError::Truncated));
    assert_eq!(walked(60, &[vec![6, 1, 0, 0, 0, 0, 0, 0]]), Err(HeaderError::Truncated));
    assert_eq!(walked(44, &[vec![6, 0, 0, 1, 0, 0, 0]]), Err(HeaderError::Truncated));
    assert_eq!(walked(60, &[]), Err(HeaderError::Truncated));
}

#[test]
fn setters_change_their_field_alone() {
    let mut bytes = packet(6, &[]);
    bytes[1] = 0x0f;
    assert_eq!(set_traffic_class(&mut bytes, 0xab), Some(()));
    assert_eq!(bytes[..2], [0x6a, 0xbf]);
    assert_eq!(set_payload_len(&mut bytes, 0x1234), Some(()));
    assert_eq!(set_hop_limit(&mut bytes, 7), Some(()));
    assert_eq!(bytes[4..8], [0x12, 0x34, 6, 7]);
    let mut short = [0x60; 39];
    assert_eq!(set_traffic_class(&mut short, 1), None);
    assert_eq!(set_payload_len(&mut short, 1), None);
    assert_eq!(set_hop_limit(&mut short, 1), None);
    assert_eq!(short, [0x60; 39]);
}

proptest! {
    #[test]
    fn template_headers_read_back(src: u128, dst: u128, traffic_class: u8, flow_label in 0_u32..1 << 20, len in 0_u16..200) {
        let template = Ipv6Template::new(src.into(), dst.into(), 50, 63);
        let fields = PerPacket { traffic_class, flow_label, payload_len: len };
        let mut bytes = vec![0; 40 + usize::from(len)];
        template.write(&mut bytes, fields).unwrap();
        let ip = Ipv6::parse(&bytes).unwrap();
        prop_assert_eq!((ip.src(), ip.dst(), ip.next_header(), ip.hop_limit()), (src.into(), dst.into(), 50, 63));
        prop_assert_eq!((ip.traffic_class(), ip.flow_label(), ip.payload_len()), (traffic_class, flow_label, len));
        prop_assert_eq!(template.write(&mut bytes[..39], fields), None);
    }

    #[test]
    fn whatever_follows_the_fixed_header_the_walk_stays_within_the_packet(
        next_header in prop_oneof![Just(0_u8), Just(43), Just(44), Just(60), any::<u8>()],
        payload in proptest::collection::vec(prop_oneof![Just(0_u8), Just(43), Just(44), Just(60), any::<u8>()], 1..120),
    ) {
        let bytes = packet(next_header, &payload);
        if let Ok(walk) = Ipv6::parse(&bytes).unwrap().walk() {
            prop_assert!(usize::from(walk.upper_offset) <= bytes.len());
            prop_assert!(walk.insert_offset <= walk.upper_offset && walk.patch_offset < walk.insert_offset);
            prop_assert_eq!(bytes[usize::from(walk.patch_offset)], walk.insert_protocol);
        }
    }
}
