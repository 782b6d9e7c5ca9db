//! The records of a capture: where each packet lies in the file's bytes.
//!
//! Invariant: a record is made only from a slice of those bytes, so that it lies inside them. What it does not do: parse.

use super::{Fault, LinkType, MAX_PACKET, TimestampResolution};

/// One packet of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Nanoseconds since 1970; 0 if the file has no time for it.
    pub timestamp_ns: u64,
    /// Length of the packet when it was recorded, in bytes; more than `data` when the snap length cut it.
    pub original_len: u32,
    /// The captured bytes, from the link header on.
    pub data: &'a [u8],
}

impl Packet<'_> {
    /// Whether the snap length of the recording cut the packet.
    #[inline]
    pub fn is_truncated(&self) -> bool {
        usize::try_from(self.original_len).map_or(true, |original| self.data.len() < original)
    }
}

/// Where a packet lies, and what the file says of it.
#[derive(Clone, Copy)]
pub(super) struct PacketRecord {
    timestamp_ns: u64,
    offset: usize,
    len: u32,
    original_len: u32,
}

impl PacketRecord {
    /// The packet, from the bytes that the record was made for.
    #[inline(always)]
    pub(super) fn packet<'a>(&self, bytes: &'a [u8]) -> Packet<'a> {
        let data =
            bytes.get(self.offset..).and_then(|rest| rest.get(..self.len as usize)).unwrap_or_default();
        Packet { timestamp_ns: self.timestamp_ns, original_len: self.original_len, data }
    }
}

/// What a reader makes of a file's bytes.
#[derive(Clone)]
pub(super) struct Contents {
    pub(super) records: Vec<PacketRecord>,
    pub(super) link_type: LinkType,
    pub(super) resolution: TimestampResolution,
    /// Every packet has a time.
    pub(super) timed: bool,
    pub(super) bytes_total: u64,
    pub(super) longest: usize,
}

impl Contents {
    /// No packet yet.
    pub(super) fn new(link_type: LinkType, resolution: TimestampResolution) -> Self {
        Self { records: Vec::new(), link_type, resolution, timed: true, bytes_total: 0, longest: 0 }
    }

    /// Adds the packet whose captured bytes begin at `offset` of the file.
    pub(super) fn push(&mut self, timestamp_ns: u64, offset: usize, lengths: Lengths) {
        let Lengths { captured, original } = lengths;
        self.records.push(PacketRecord { timestamp_ns, offset, len: captured, original_len: original });
        self.bytes_total += u64::from(captured);
        self.longest = self.longest.max(captured as usize);
    }
}

/// The two lengths of a packet, checked: captured is at most original and at most [`MAX_PACKET`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Lengths {
    captured: u32,
    original: u32,
}

impl Lengths {
    /// Checks the lengths that a file or a caller claims.
    pub(super) fn check(captured: u32, original: u32) -> Result<Self, Fault> {
        if captured as usize > MAX_PACKET {
            return Err(Fault::TooLong { length: u64::from(captured) });
        }
        if captured > original {
            return Err(Fault::CapturedOverOriginal { captured: captured.into(), original: original.into() });
        }
        Ok(Self { captured, original })
    }

    /// Captured length in bytes.
    pub(super) fn captured(self) -> u32 {
        self.captured
    }
}
