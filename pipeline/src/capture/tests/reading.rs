//! What good files read as.

use super::*;

fn read(sample: &Sample) -> Capture {
    Capture::from_bytes(sample.name, sample.bytes()).unwrap()
}

#[test]
fn every_sample_gives_its_packets_in_order() {
    for sample in SAMPLES {
        assert_eq!(packets(&read(sample)), sample.packets(sample.packets.len()), "{}", sample.name);
    }
}

#[test]
fn a_little_endian_microsecond_pcap_says_what_it_is() {
    let capture = read(&LITTLE_MICRO);
    assert_eq!(capture.format(), Format::Pcap);
    assert_eq!(capture.link_type(), LinkType::Ethernet);
    assert_eq!(capture.resolution(), TimestampResolution::Micro);
    assert_eq!((capture.len(), capture.is_empty(), capture.is_timed()), (2, false, true));
    assert_eq!((capture.bytes_total(), capture.longest()), (7, 4));
}

#[test]
fn a_big_endian_nanosecond_pcap_says_what_it_is() {
    let capture = read(&BIG_NANO);
    assert_eq!(
        capture.link_type(),
        LinkType::Raw,
        "the bits of the frame check sequence belong to no link type"
    );
    assert_eq!(capture.resolution(), TimestampResolution::Nano);
}

#[test]
fn a_pcapng_of_mixed_units_is_kept_in_nanoseconds_and_misses_some_times() {
    let capture = read(&BLOCKS);
    assert_eq!(capture.format(), Format::PcapNg);
    assert_eq!(capture.link_type(), LinkType::Ethernet);
    assert_eq!(capture.resolution(), TimestampResolution::Nano);
    assert!(!capture.is_timed());
}

#[test]
fn a_pcapng_interface_without_a_unit_counts_microseconds() {
    let until_first_packet: usize = BLOCKS.parts[..5].iter().sum();
    let capture = Capture::from_bytes("x", &BLOCKS.bytes()[..until_first_packet]).unwrap();
    assert_eq!(capture.resolution(), TimestampResolution::Micro, "the other interface has no packet");
    assert!(capture.is_timed());
}

#[test]
fn a_cut_packet_keeps_its_original_length() {
    let capture = read(&LITTLE_MICRO);
    let cut: Vec<bool> = capture.iter().map(|packet| packet.is_truncated()).collect();
    assert_eq!(cut, [false, true]);
}

#[test]
fn packets_are_found_by_index_and_none_beyond_the_last() {
    let capture = read(&LITTLE_MICRO);
    assert_eq!(capture.packet(1), capture.iter().next_back());
    assert_eq!(capture.packet(1).map(|packet| packet.original_len), Some(1500));
    assert_eq!(capture.packet(2), None);
}

#[test]
fn an_interface_of_another_link_type_does_no_harm_without_packets() {
    let section = &BLOCKS.bytes()[..28];
    let tunnel = bytes("01000000 14000000 6500 0000 00000000 14000000");
    let ethernet = bytes("01000000 14000000 0100 0000 00000000 14000000");
    let packet = bytes("06000000 24000000 01000000 00000000 00000000 01000000 01000000 ff000000 24000000");
    let capture = Capture::from_bytes("x", [section, &tunnel, &ethernet, &packet].concat()).unwrap();
    assert_eq!((capture.link_type(), capture.len()), (LinkType::Ethernet, 1));
    let none = Capture::from_bytes("x", [section, &tunnel, &ethernet].concat()).unwrap();
    assert_eq!((none.link_type(), none.len()), (LinkType::Raw, 0));
}

#[test]
fn link_types_keep_their_numbers() {
    for number in 0..=u16::MAX {
        let back = LinkType::from_number(number).number();
        let expected = if number == 12 || number == 14 { 101 } else { number };
        assert_eq!(back, expected);
    }
    let known = [(0, LinkType::Null), (1, LinkType::Ethernet), (101, LinkType::Raw), (108, LinkType::Loop)];
    let more =
        [(113, LinkType::LinuxSll), (228, LinkType::Ipv4), (229, LinkType::Ipv6), (276, LinkType::LinuxSll2)];
    for (number, link_type) in known.into_iter().chain(more) {
        assert_eq!(LinkType::from_number(number), link_type);
    }
}

#[test]
fn a_capture_can_be_shared_between_threads_and_a_writer_moved() {
    fn is_shared<T: Send + Sync + 'static>() {}
    fn is_movable<T: Send + 'static>() {}
    is_shared::<std::sync::Arc<Capture>>();
    is_movable::<CaptureWriter>();
}
