//! What is written, compared with bytes derived by hand and read back.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

/// A directory of its own for each test.
fn place(name: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    (directory, path)
}

fn write_two(name: &str, link_type: LinkType, resolution: TimestampResolution) -> Vec<u8> {
    let (_directory, path) = place(name);
    let mut writer = CaptureWriter::create(&path, link_type, resolution).unwrap();
    writer.write(1_000_002_999, 60, &[0xde, 0xad, 0xbe]).unwrap();
    // 17592 s and 186 048 512 ns; the ticks of both units are beyond 32 bits.
    writer.write(0x1000_0000_1000, 4, &[1, 2, 3, 4]).unwrap();
    writer.finish().unwrap();
    std::fs::read(&path).unwrap()
}

#[test]
fn a_microsecond_pcap_is_these_bytes_and_drops_nanoseconds() {
    let expected = "d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000
        01000000 02000000 03000000 3c000000 deadbe
        b8440000 c0d60200 04000000 04000000 01020304";
    assert_eq!(write_two("a.pcap", LinkType::Ethernet, TimestampResolution::Micro), bytes(expected));
}

#[test]
fn a_nanosecond_pcap_is_these_bytes() {
    let expected = "4d3cb2a1 0200 0400 00000000 00000000 00000400 65000000
        01000000 b70b0000 03000000 3c000000 deadbe
        b8440000 00e0160b 04000000 04000000 01020304";
    assert_eq!(write_two("a.cap", LinkType::Raw, TimestampResolution::Nano), bytes(expected));
}

#[test]
fn a_microsecond_pcapng_is_these_bytes() {
    let expected = "0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000
        01000000 20000000 1401 0000 00000400 0900 0100 06 000000 0000 0000 20000000
        06000000 24000000 00000000 00000000 42420f00 03000000 3c000000 deadbe 00 24000000
        06000000 24000000 00000000 04000000 c0749318 04000000 04000000 01020304 24000000";
    assert_eq!(write_two("a.pcapng", LinkType::LinuxSll2, TimestampResolution::Micro), bytes(expected));
}

#[test]
fn a_nanosecond_pcapng_is_these_bytes() {
    let expected = "0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000
        01000000 20000000 0100 0000 00000400 0900 0100 09 000000 0000 0000 20000000
        06000000 24000000 00000000 00000000 b7d59a3b 03000000 3c000000 deadbe 00 24000000
        06000000 24000000 00000000 00100000 00100000 04000000 04000000 01020304 24000000";
    assert_eq!(write_two("A.PCAPNG", LinkType::Ethernet, TimestampResolution::Nano), bytes(expected));
}

#[test]
fn a_run_without_packets_leaves_a_valid_file() {
    for name in ["none.pcap", "none.pcapng"] {
        let (_directory, path) = place(name);
        CaptureWriter::create(&path, LinkType::Ipv6, TimestampResolution::Nano).unwrap().finish().unwrap();
        let capture = Capture::read(&path).unwrap();
        assert_eq!((capture.len(), capture.link_type()), (0, LinkType::Ipv6));
        assert_eq!(capture.resolution(), TimestampResolution::Nano);
    }
}

#[test]
fn a_refused_packet_leaves_the_others_readable() {
    for name in ["r.pcap", "r.pcapng"] {
        let (_directory, path) = place(name);
        let mut writer =
            CaptureWriter::create(&path, LinkType::Ethernet, TimestampResolution::Micro).unwrap();
        writer.write(1_000, 1, &[1]).unwrap();
        let longer = writer.write(2_000, 1, &[1, 2]).unwrap_err().to_string();
        assert!(longer.contains("packet 2: it has 2 captured bytes of an original 1;"), "{longer}");
        let long = vec![0; MAX_PACKET + 1];
        let too_long = writer.write(2_000, u32::MAX, &long).unwrap_err();
        assert!(matches!(too_long, CaptureError::Packet { fault: Fault::TooLong { length: 262_145 }, .. }));
        writer.write(3_000, 3, &[3]).unwrap();
        assert_eq!((writer.len(), writer.is_empty()), (2, false));
        drop(writer);
        let read = packets(&Capture::read(&path).unwrap());
        assert_eq!(read, [(1_000, 1, vec![1]), (3_000, 3, vec![3])]);
    }
}

#[test]
fn a_time_after_2106_fits_pcapng_only() {
    let after = (u64::from(u32::MAX) + 1) * 1_000_000_000;
    let (_directory, path) = place("late.pcap");
    let mut writer = CaptureWriter::create(&path, LinkType::Ethernet, TimestampResolution::Nano).unwrap();
    writer.write(after - 1, 0, &[]).unwrap();
    let late = writer.write(after, 0, &[]).unwrap_err();
    assert!(matches!(late, CaptureError::Packet { packet: 2, fault: Fault::TimeOutOfRange, .. }), "{late}");
    let (_directory, path) = place("late.pcapng");
    let mut writer = CaptureWriter::create(&path, LinkType::Ethernet, TimestampResolution::Nano).unwrap();
    writer.write(u64::MAX, 0, &[]).unwrap();
    writer.finish().unwrap();
    assert_eq!(Capture::read(&path).unwrap().packet(0).unwrap().timestamp_ns, u64::MAX);
}

#[test]
fn a_name_without_a_known_ending_is_refused_before_a_file_is_made() {
    for name in ["out", "out.txt", "pcap", ".pcap"] {
        let (_directory, path) = place(name);
        let refused =
            CaptureWriter::create(&path, LinkType::Ethernet, TimestampResolution::Micro).unwrap_err();
        let expected = "the name does not say which format to write; end it in .pcap or .pcapng";
        assert_eq!(refused.to_string(), format!("{}: {expected}", path.display()));
        assert!(!path.exists());
    }
}

#[test]
fn a_file_that_cannot_be_made_is_told_with_its_name() {
    let (_directory, path) = place("absent/out.pcap");
    let refused = CaptureWriter::create(&path, LinkType::Ethernet, TimestampResolution::Micro).unwrap_err();
    let system = "No such file or directory (os error 2)";
    let remedy = "make room or choose another place";
    assert_eq!(refused.to_string(), format!("{}: cannot be written: {system}; {remedy}", path.display()));
}

#[test]
fn the_head_is_in_the_file_when_the_writer_is_made() {
    for name in ["head.pcap", "head.pcapng"] {
        let (_directory, path) = place(name);
        let writer = CaptureWriter::create(&path, LinkType::Raw, TimestampResolution::Micro).unwrap();
        let capture = Capture::read(&path).unwrap();
        assert_eq!((capture.len(), capture.link_type()), (0, LinkType::Raw));
        drop(writer);
    }
}

#[test]
fn a_full_disk_is_told_when_the_writer_is_made() {
    for name in ["full.pcap", "full.pcapng"] {
        let (_directory, path) = place(name);
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let refused =
            CaptureWriter::create(&path, LinkType::Ethernet, TimestampResolution::Nano).unwrap_err();
        assert!(matches!(refused, CaptureError::Unwritable { .. }), "{refused}");
    }
}

fn any_packet() -> impl Strategy<Value = (u64, u32, Vec<u8>)> {
    let second = 0..u64::from(u32::MAX) * 1_000_000_000;
    let data = proptest::collection::vec(any::<u8>(), 0..200);
    (second, data, prop_oneof![Just(0), 0..2_000_u32]).prop_map(|(time, data, cut)| {
        let original = u32::try_from(data.len()).unwrap() + cut;
        (time, original, data)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read_back(
        packets_in in proptest::collection::vec(any_packet(), 0..40),
        blocks in any::<bool>(),
        nano in any::<bool>(),
        number in any::<u16>(),
    ) {
        let (_directory, path) = place(if blocks { "x.pcapng" } else { "x.pcap" });
        let resolution = if nano { TimestampResolution::Nano } else { TimestampResolution::Micro };
        let link_type = LinkType::from_number(number);
        let mut writer = CaptureWriter::create(&path, link_type, resolution).unwrap();
        for (time, original, data) in &packets_in {
            writer.write(*time, *original, data).unwrap();
        }
        writer.finish().unwrap();
        let capture = Capture::read(&path).unwrap();
        let grain = if nano { 1 } else { 1_000 };
        let expected: Vec<_> =
            packets_in.into_iter().map(|(time, original, data)| (time / grain * grain, original, data)).collect();
        prop_assert_eq!(packets(&capture), expected);
        prop_assert_eq!((capture.link_type(), capture.resolution()), (link_type, resolution));
        prop_assert_eq!(capture.format(), if blocks { Format::PcapNg } else { Format::Pcap });
    }
}
