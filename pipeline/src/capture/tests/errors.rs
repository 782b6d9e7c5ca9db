//! What bad files are told, word for word where scripts and people meet it.

use super::*;

fn complaint(bytes: impl Into<Vec<u8>>) -> String {
    Capture::from_bytes("f.pcap", bytes).unwrap_err().to_string()
}

/// The first pcap sample with the bytes from `at` on replaced.
fn pcap_with(at: usize, hex: &str) -> Vec<u8> {
    replaced(LITTLE_MICRO.bytes(), at, hex)
}

fn replaced(mut file: Vec<u8>, at: usize, hex: &str) -> Vec<u8> {
    let new = bytes(hex);
    file[at..at + new.len()].copy_from_slice(&new);
    file
}

/// A little-endian section with one Ethernet interface of microseconds, then the given block.
fn section_and(block: &str) -> Vec<u8> {
    let head = "0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000
                01000000 14000000 0100 0000 00000000 14000000";
    bytes(&[head, block].concat())
}

#[test]
fn what_is_no_capture_is_told_what_was_found() {
    let rest = "give a pcap or pcapng file";
    assert_eq!(complaint(b""), format!("f.pcap: not a capture file (the file is empty); {rest}"));
    assert_eq!(
        complaint(b"#!/bin/sh"),
        format!("f.pcap: not a capture file (it begins with 23 21 2f 62); {rest}")
    );
    assert_eq!(complaint(b"\xd4"), format!("f.pcap: not a capture file (it begins with d4); {rest}"));
    assert_eq!(
        complaint(&LITTLE_MICRO.bytes()[..23]),
        format!("f.pcap: not a capture file (its header is cut short after 23 bytes); {rest}")
    );
}

#[test]
fn a_compressed_file_is_to_be_unpacked_first() {
    assert_eq!(complaint(b"\x1f\x8b\x08\0"), "f.pcap: is compressed; unpack it first with `gunzip`");
    assert_eq!(complaint(b"\x28\xb5\x2f\xfd"), "f.pcap: is compressed; unpack it first with `unzstd`");
}

#[test]
fn a_missing_file_is_told_with_the_system_s_words() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("absent.pcap");
    let said = Capture::read(&path).unwrap_err().to_string();
    let system = "No such file or directory (os error 2)";
    let remedy = "check the name and its permissions";
    assert_eq!(said, format!("{}: cannot be read: {system}; {remedy}", path.display()));
}

#[test]
fn a_packet_that_the_file_cuts_is_named_by_its_number() {
    let file = LITTLE_MICRO.bytes();
    let rest = "copy the file again, or keep what comes before with `editcap`";
    assert_eq!(
        complaint(&file[..62]),
        format!("f.pcap: packet 2: the file ends inside it (19 bytes needed, 18 left); {rest}")
    );
    assert_eq!(
        complaint(&file[..25]),
        format!("f.pcap: packet 1: the file ends inside it (16 bytes needed, 1 left); {rest}")
    );
}

#[test]
fn an_absurd_length_is_damage_and_not_a_cut_file() {
    let said = complaint(pcap_with(24 + 8, "ffffffff ffffffff"));
    assert!(
        said.starts_with("f.pcap: packet 1: it claims 4294967295 bytes, more than the 262144 of"),
        "{said}"
    );
    let block = "06000000 fcffffff 00000000 00000000 00000000 01000000 01000000 ff000000 24000000";
    let said = complaint(section_and(block));
    assert!(said.starts_with("f.pcap: packet 1: it claims 4294967292 bytes"), "{said}");
}

#[test]
fn a_packet_over_the_limit_is_refused_even_when_the_file_has_its_bytes() {
    let record = |length: usize| {
        let mut file = LITTLE_MICRO.bytes()[..24].to_vec();
        let claimed = u32::try_from(length).unwrap().to_le_bytes();
        file.extend([[0; 4], [0; 4], claimed, claimed].concat());
        file.resize(file.len() + length, 0);
        file
    };
    assert_eq!(Capture::from_bytes("x", record(MAX_PACKET)).unwrap().longest(), MAX_PACKET);
    assert!(complaint(record(MAX_PACKET + 1)).contains("packet 1: it claims 262145 bytes"));
}

#[test]
fn lengths_and_times_that_contradict_themselves_are_refused() {
    let said = complaint(pcap_with(24 + 12, "03000000"));
    assert!(said.starts_with("f.pcap: packet 1: it has 4 captured bytes of an original 3;"), "{said}");
    let said = complaint(pcap_with(24 + 4, "40420f00"));
    assert!(said.starts_with("f.pcap: packet 1: the fraction of its timestamp is 1000000,"), "{said}");
    let said = complaint(pcap_with(24 + 4, "ffffffff"));
    assert!(said.starts_with("f.pcap: packet 1: the fraction of its timestamp is 4294967295,"), "{said}");
    let far = "06000000 24000000 00000000 ffffffff ffffffff 01000000 01000000 ff000000 24000000";
    assert!(complaint(section_and(far)).starts_with("f.pcap: packet 1: its timestamp lies outside"));
}

#[test]
fn an_unknown_version_is_refused() {
    let said = "version 2.2 is not supported; convert it with `editcap`";
    assert_eq!(complaint(pcap_with(6, "0200")), format!("f.pcap: pcap {said}"));
    let said = complaint(replaced(BLOCKS.bytes(), 12, "0200 0100"));
    assert_eq!(said, "f.pcap: pcapng version 2.1 is not supported; convert it with `editcap`");
}

#[test]
fn a_packet_of_an_interface_that_nobody_described_is_refused() {
    let block = "06000000 24000000 01000000 00000000 00000000 01000000 01000000 ff000000 24000000";
    let said = complaint(section_and(block));
    assert!(
        said.starts_with("f.pcap: packet 1: it comes from interface 1, but only 1 are described"),
        "{said}"
    );
    let next_section =
        [BLOCKS.bytes(), section_and("")[..28].to_vec(), bytes("03000000 10000000 00000000 10000000")];
    let said = complaint(next_section.concat());
    assert!(
        said.starts_with("f.pcap: packet 7: it comes from interface 0, but only 0 are described"),
        "{said}"
    );
}

#[test]
fn packets_of_two_link_types_are_refused_with_packet_and_interface() {
    let blocks = "01000000 14000000 6500 0000 00000000 14000000
        06000000 24000000 00000000 00000000 00000000 01000000 01000000 ff000000 24000000
        06000000 24000000 01000000 00000000 00000000 01000000 01000000 ff000000 24000000";
    assert_eq!(
        complaint(section_and(blocks)),
        "f.pcap: packet 2: interface 1 has link type 101 (raw IP), the packets before it 1 (Ethernet); split the \
         capture by interface (`tshark -Y frame.interface_id==1 -r FILE -w NEW`)"
    );
}

#[test]
fn a_section_without_interfaces_has_no_link_type() {
    let said = complaint(&BLOCKS.bytes()[..28]);
    assert!(said.starts_with("f.pcap: describes no interface, so that its link type is unknown;"), "{said}");
}

#[test]
fn a_damaged_block_is_named_by_its_place() {
    let at_48 = |block: &str, what: &str| {
        let said = complaint(section_and(block));
        assert!(said.starts_with(&format!("f.pcap: block at byte 48: {what}")), "{said}");
    };
    at_48("ad0b0000 0d000000 00000000 0d000000", "its block length is 13, which cannot be;");
    at_48("ad0b0000 00000000 00000000 00000000", "its block length is 0, which cannot be;");
    at_48("ad0b0000 10000000 00000000 14000000", "its block length is 16 at the head and 20 at the tail;");
    at_48("ad0b0000 10000000 00000000", "the file ends inside it (16 bytes needed, 12 left);");
    at_48("ad0b00", "the file ends inside it (12 bytes needed, 3 left);");
    at_48("0a0d0d0a 1c000000 12345678 0000", "its byte-order mark is 0x12345678;");
    at_48("01000000 10000000 0100 0000 10000000", "its block has room for 4 bytes where 8 are needed;");
    let unit = "01000000 1c000000 0100 0000 00000000 0900 0200 0600 0000 1c000000";
    at_48(unit, "its option 9 has 2 bytes, which cannot be;");
    let beyond = "01000000 18000000 0100 0000 00000000 0200 ffff 18000000";
    at_48(beyond, "its option 2 has 65535 bytes, which cannot be;");
}

#[test]
fn a_packet_that_does_not_fit_its_block_is_refused() {
    let block = "06000000 24000000 00000000 00000000 00000000 05000000 05000000 ff000000 24000000";
    let said = complaint(section_and(block));
    assert!(
        said.starts_with("f.pcap: packet 1: its block has room for 24 bytes where 25 are needed;"),
        "{said}"
    );
    let simple = "03000000 14000000 05000000 61626364 14000000";
    let said = complaint(section_and(simple));
    assert!(
        said.starts_with("f.pcap: packet 1: its block has room for 8 bytes where 9 are needed;"),
        "{said}"
    );
}
