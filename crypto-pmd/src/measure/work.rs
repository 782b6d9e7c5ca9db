//! What a calibration has drivers do: packets of a bundle and the jobs over them.
//!
//! A packet is a header, room for the IV, the payload, and the tags, in this order, as in ESP. What an algorithm does not need
//! of it stays unused, so that every driver gets the same.

use pipeline::{Pool, PoolConfig};

use crate::algorithm::Algorithm;
use crate::extension::{Extension, ExtensionPool, MAX_STEPS};
use crate::job::{Job, Operation};
use crate::session::SessionId;
use crate::step::{Iv, MAX_IV, Step};
use crate::transform::Transform;

use super::bundle::Bundle;
use super::class::SizeClass;
use super::table::Why;

/// Bytes of the header: SPI and sequence number.
const HEADER: usize = 8;
/// Bytes in front of the payload.
const FRONT: usize = HEADER + MAX_IV;
/// Bytes of a buffer that are free beyond the longest packet, for a payload that is compressed to more than it was.
const SPARE: usize = 256;
/// Bytes of a buffer in front of its packet, as a pool lays them out.
const BUFFER_FRONT: usize = 256;
const LINE: usize = 64;
/// Most packets of a round.
const MOST_PACKETS: usize = 128;
/// Bytes of payload of a round at most, so that it stays in the cache of its core.
const MOST_BYTES: usize = 256 << 10;

/// Memory and layout for one bundle.
#[derive(Debug)]
pub(super) struct Work<'a> {
    bundle: &'a Bundle,
    pool: Pool,
    extensions: ExtensionPool,
    tags_len: usize,
}

impl<'a> Work<'a> {
    pub(super) fn new(bundle: &'a Bundle) -> Result<Self, Why> {
        let tags_len: usize = bundle.transforms().iter().filter_map(Transform::tag_len).sum();
        let longest = FRONT + SizeClass::B8192.bytes() + tags_len + SPARE;
        // An odd number of lines, so that buffers do not compete for the same sets of the cache.
        let stride = ((BUFFER_FRONT + longest).div_ceil(LINE) | 1) * LINE;
        // Compression may take a second buffer for the result.
        let config = PoolConfig { buffers: 2 * MOST_PACKETS, stride };
        let pool = Pool::new(config).map_err(Why::failed)?;
        Ok(Self { bundle, pool, extensions: ExtensionPool::new(MOST_PACKETS), tags_len })
    }

    pub(super) fn bundle(&self) -> &Bundle {
        self.bundle
    }

    /// Packets of a round, whole bursts.
    pub(super) fn packets(size: SizeClass) -> usize {
        MOST_PACKETS.min(MOST_BYTES / size.bytes())
    }

    /// A packet before its encryption, the same in every run; it can be compressed to about half.
    pub(super) fn plain(&self, size: SizeClass) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // One of sixteen letters: the upper half of a byte is always the same.
            b'a' + (state >> 28) as u8
        };
        let mut bytes: Vec<u8> = (0..FRONT + size.bytes()).map(|_| next()).collect();
        bytes.resize(bytes.len() + self.tags_len, 0);
        bytes
    }

    /// The job over a packet like `image`; `None` when buffers ran out.
    pub(super) fn job(&self, image: &[u8], session: SessionId, operation: Operation) -> Option<Job> {
        let packet = self.pool.alloc_copy(image)?;
        let tag_at = image.len().saturating_sub(self.tags_len);
        let covered = if self.is_aead() { HEADER } else { tag_at };
        let job = Job::new(packet, session, operation)
            .with_cipher(FRONT as u16, tag_at.saturating_sub(FRONT) as u32)
            .with_integrity(0, covered as u32)
            .with_iv(HEADER as u16)
            .with_tag(tag_at as u32);
        if self.needs_steps() { Some(job.with_extension(self.steps(operation, tag_at)?)) } else { Some(job) }
    }

    fn is_aead(&self) -> bool {
        matches!(self.bundle.transforms(), [Transform::Aead { .. }])
    }

    /// Whether a job's line does not say enough for the chain: it names one cipher range, one tag and one IV.
    fn needs_steps(&self) -> bool {
        match self.bundle.transforms() {
            [_] => false,
            [Transform::Cipher { algorithm, .. }, Transform::Integrity { algorithm: hash, .. }] => {
                algorithm.iv_len() > 0 && hash.nonce_len() > 0
            }
            [Transform::Cipher { .. }, Transform::Digest { .. }] => false,
            _ => true,
        }
    }

    /// One step for each transform; each tag stands behind the one before, and is over all in front of it.
    fn steps(&self, operation: Operation, tags_at: usize) -> Option<Extension> {
        let mut extension = self.extensions.alloc()?;
        let mut tag_at = tags_at;
        for transform in self.bundle.transforms().iter().take(MAX_STEPS) {
            let start = if enciphers(transform.algorithm()) { FRONT } else { 0 };
            let end = if start == 0 { tag_at } else { tags_at };
            let step =
                Step::new(transform.algorithm(), operation, start as u32, end.saturating_sub(start) as u32)
                    .with_iv(HEADER as u32, Iv::Present)
                    .with_tag(tag_at as u32)
                    .with_associated(0, HEADER as u32);
            if !extension.push_step(step) {
                return None;
            }
            tag_at += transform.tag_len().unwrap_or_default();
        }
        Some(extension)
    }
}

/// Whether an algorithm works on the payload, and not on all in front of its tag.
fn enciphers(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::Cipher(_) | Algorithm::Aead(_) | Algorithm::Compression(_))
}
