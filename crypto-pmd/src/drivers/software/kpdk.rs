//! Hashes keyed by a prefix and a suffix: key, padding, data, key (RFC 1828 for MD5, RFC 1852 for SHA-1), as the software
//! driver of crypto(9) has them. The padding is the hash's own, as if the key were a message.

use sha1::digest::Digest;
use zeroize::Zeroizing;

use crate::job::Operation;

use super::integrity::{Input, settle};

/// Longest key, in bytes.
const MAX_KEY: usize = 64;

/// The hash behind the padded key, and the key for the end.
pub(super) struct Kpdk<D> {
    begun: D,
    key: Zeroizing<[u8; MAX_KEY]>,
    len: usize,
}

impl<D: Digest + Clone> Kpdk<D> {
    /// `None` for a key of no byte or more than 64. The length at the padding's end is written by `length`.
    pub(super) fn new(key: &[u8], length: fn(u64) -> [u8; 8]) -> Option<Self> {
        let mut kept = Zeroizing::new([0; MAX_KEY]);
        kept.get_mut(..key.len()).filter(|_| !key.is_empty())?.copy_from_slice(key);
        let mut blocks = Zeroizing::new([0_u8; 128]);
        // The padding needs a bit and a length.
        let padded = blocks.get_mut(..(key.len() + 9).next_multiple_of(64))?;
        padded.get_mut(..key.len())?.copy_from_slice(key);
        *padded.get_mut(key.len())? = 0x80;
        *padded.last_chunk_mut()? = length(key.len() as u64 * 8);
        let begun = D::new().chain_update(&*padded);
        Some(Self { begun, key: kept, len: key.len() })
    }

    /// Writes or checks a tag; true when written or matching.
    pub(super) fn run(&self, operation: Operation, input: &Input<'_>, tag: &mut [u8]) -> bool {
        let key = self.key.get(..self.len).unwrap_or_default();
        let hash = self.begun.clone().chain_update(input.data).chain_update(input.high);
        settle(&hash.chain_update(key).finalize(), operation, tag)
    }
}
