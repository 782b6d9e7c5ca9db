//! Where header, IV, payload and tag lie in a packet, and the job over it. As in ESP, in this order; a part that an
//! algorithm does not use has no bytes.

use crypto_pmd::{Job, Operation, SessionId};
use pipeline::Mbuf;

/// What is authenticated along with, or instead of, the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Covered {
    /// Nothing is authenticated.
    Nothing,
    /// The header, as associated data of an AEAD.
    Header,
    /// All that stands in front of the tag, under a keyed hash.
    Front,
}

/// The parts of a packet; lengths in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) header_len: usize,
    pub(super) iv_len: usize,
    pub(super) tag_len: usize,
    /// What the payload's length is a multiple of.
    pub(super) block_len: usize,
    /// Whether the payload is encrypted.
    pub(super) enciphers: bool,
    pub(super) covered: Covered,
}

impl Layout {
    /// Bytes in front of the payload.
    pub(super) fn front_len(&self) -> usize {
        self.header_len + self.iv_len
    }

    /// Bytes of a packet with a payload of `size`.
    pub(super) fn packet_len(&self, size: usize) -> usize {
        self.front_len() + size + self.tag_len
    }

    /// A packet of random bytes, with a tag of zeros.
    pub(super) fn plain(&self, size: usize, random: &mut fastrand::Rng) -> Vec<u8> {
        let mut bytes = vec![0; self.packet_len(size)];
        let (front, _) = bytes.split_at_mut(self.front_len() + size);
        random.fill(front);
        bytes
    }

    /// Packet bytes without the tag.
    pub(super) fn without_tag<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet.get(..packet.len().saturating_sub(self.tag_len)).unwrap_or_default()
    }

    /// The job over a packet of this layout.
    pub(super) fn job(&self, packet: Mbuf, session: SessionId, operation: Operation) -> Job {
        let front = self.front_len();
        let tag_at = packet.packet_len().saturating_sub(self.tag_len);
        let covered = match self.covered {
            Covered::Nothing => 0,
            Covered::Header => self.header_len,
            Covered::Front => tag_at,
        };
        Job::new(packet, session, operation)
            .with_cipher(front as u16, tag_at.saturating_sub(front) as u32)
            .with_integrity(0, covered as u32)
            .with_iv(self.header_len as u16)
            .with_tag(tag_at as u32)
    }
}
