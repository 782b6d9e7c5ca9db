//! Tests of capture files against bytes written by hand from the format descriptions.

mod errors;
mod hostile;
mod reading;
mod writing;

use super::*;

/// Bytes from hexadecimal text; white space is for the eye.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|digit| !digit.is_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs.map(|pair| u8::from_str_radix(&pair, 16).unwrap()).collect()
}

/// Time, original length and data of each packet.
fn packets(capture: &Capture) -> Vec<(u64, u32, Vec<u8>)> {
    capture.iter().map(|packet| (packet.timestamp_ns, packet.original_len, packet.data.to_vec())).collect()
}

/// A hand-written file, the lengths of its parts (header, then records or blocks), and its packets.
struct Sample {
    name: &'static str,
    hex: &'static str,
    parts: &'static [usize],
    packets: &'static [(u64, u32, &'static [u8])],
    /// How many of `packets` the first so many parts hold.
    packets_after: &'static [usize],
}

impl Sample {
    fn bytes(&self) -> Vec<u8> {
        bytes(self.hex)
    }

    fn packets(&self, count: usize) -> Vec<(u64, u32, Vec<u8>)> {
        self.packets[..count].iter().map(|&(time, original, data)| (time, original, data.to_vec())).collect()
    }
}

const SAMPLES: [&Sample; 3] = [&LITTLE_MICRO, &BIG_NANO, &BLOCKS];

/// pcap, little-endian, microseconds, Ethernet; the second packet is cut by the snap length.
const LITTLE_MICRO: Sample = Sample {
    name: "little.pcap",
    hex: "d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000
          01000000 02000000 04000000 04000000 deadbeef
          02000000 3f420f00 03000000 dc050000 0a0b0c",
    parts: &[24, 20, 19],
    packets: &[(1_000_002_000, 4, &[0xde, 0xad, 0xbe, 0xef]), (2_999_999_000, 1500, &[0x0a, 0x0b, 0x0c])],
    packets_after: &[0, 1, 2],
};

/// pcap, big-endian, nanoseconds, raw IP with a frame check sequence declared; the second packet is empty.
const BIG_NANO: Sample = Sample {
    name: "big.pcap",
    hex: "a1b23c4d 0002 0004 00000000 00000000 00000000 44000065
          00000001 3b9ac9ff 00000002 00000002 4500
          00000003 00000000 00000000 00000000",
    parts: &[24, 18, 16],
    packets: &[(1_999_999_999, 2, &[0x45, 0x00]), (3_000_000_000, 0, &[])],
    packets_after: &[0, 1, 2],
};

/// pcapng with everything at once: a little-endian section of two interfaces (no unit named and no end of options; then
/// nanoseconds, an offset of ten seconds and a time zone), a custom block, two Enhanced Packet Blocks (the second
/// with a comment that is not UTF-8), a Simple and an obsolete Packet Block; then a big-endian section whose interface
/// counts in 1/1024 s and has a snap length of 2, an Enhanced and a Simple Packet Block.
const BLOCKS: Sample = Sample {
    name: "blocks.pcapng",
    hex: "0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000
          01000000 1c000000 0100 0000 00000000 0200 0200 6c6f 0000 1c000000
          01000000 34000000 0100 0000 00000400 0900 0100 09 000000 0e00 0800 0a00000000000000
              0a00 0400 00000000 0000 0000 34000000
          ad0b0000 10000000 12345678 10000000
          06000000 24000000 00000000 00000000 414b4c00 03000000 3c000000 010203 00 24000000
          06000000 30000000 01000000 01000000 01000000 01000000 01000000 ff 000000
              0100 0100 ff 000000 0000 0000 30000000
          03000000 18000000 05000000 6162636465 000000 18000000
          02000000 24000000 0000 ffff 00000000 07000000 02000000 02000000 4142 0000 24000000
          0a0d0d0a 0000001c 1a2b3c4d 0001 0000 ffffffffffffffff 0000001c
          00000001 0000001c 0001 0000 00000002 0009 0001 8a 000000 0000001c
          00000006 00000024 00000000 00000000 00000600 00000004 00000004 cafebabe 00000024
          00000003 00000014 00000009 7a7a 0000 00000014",
    parts: &[28, 28, 52, 16, 36, 48, 24, 36, 28, 28, 36, 20],
    packets: &[
        (5_000_001_000, 60, &[1, 2, 3]),
        (14_294_967_297, 1, &[0xff]),
        (0, 5, b"abcde"),
        (7_000, 2, b"AB"),
        (1_500_000_000, 4, &[0xca, 0xfe, 0xba, 0xbe]),
        (0, 9, b"zz"),
    ],
    packets_after: &[0, 0, 0, 0, 1, 2, 3, 4, 4, 4, 5, 6],
};
