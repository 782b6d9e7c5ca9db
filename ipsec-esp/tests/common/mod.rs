//! What the integration tests share: packets built by hand ([`frames`]), both halves of ESP over a driver ([`rig`]), ESP
//! packets sealed without the code under test ([`seal`]), a driver that lets others wait ([`slow`]), and stand-ins for cards
//! ([`card`]). It judges nothing.

// Each test program uses a part of this; a helper that cannot set up its test may panic.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod card;
pub(crate) mod frames;
pub(crate) mod rig;
pub(crate) mod seal;
pub(crate) mod slow;

use pipeline::{Mbuf, Pool};

/// The whole packet's bytes.
pub(crate) fn bytes_of(packet: &Mbuf) -> Vec<u8> {
    packet.segments().flatten().copied().collect()
}

/// `bytes` in segments that end at the given places (any order, those past the end count as the end; segments may be
/// empty). Headroom stays in every segment.
pub(crate) fn chained(pool: &Pool, bytes: &[u8], cuts: &[usize]) -> Mbuf {
    let mut ends: Vec<usize> = cuts.iter().map(|&cut| cut.min(bytes.len())).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut start = 0;
    let mut segments = ends.into_iter().map(|end| {
        let part = pool.alloc_copy(&bytes[start..end]).unwrap();
        start = end;
        part
    });
    let mut packet = segments.next().unwrap();
    segments.for_each(|segment| packet.chain(segment).unwrap());
    packet
}

/// Whether `part` occurs in `whole`.
pub(crate) fn contains(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}

/// Bytes that repeat nowhere soon.
pub(crate) fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|n| ((n * 31 + (n >> 8) * 7) as u8).wrapping_add(seed)).collect()
}
