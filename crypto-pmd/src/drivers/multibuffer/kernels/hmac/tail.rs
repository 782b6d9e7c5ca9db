//! The last blocks of a message: what is left of its data, the extra bytes, and the padding (FIPS 180-4 section 5.1.1).

use super::streams::BLOCK;

/// Room for two blocks, and in front of them for what is copied along with the rest of the data.
#[repr(align(64))]
#[derive(Clone, Copy)]
pub(super) struct Tail([u8; 3 * BLOCK]);

impl Tail {
    pub(super) const EMPTY: Self = Self([0; 3 * BLOCK]);

    /// Lays out the last blocks of a message that follows the key's block; gives their number.
    pub(super) fn fill(&mut self, data: &[u8], extra: Option<[u8; 4]>) -> usize {
        let rest = data.len() % BLOCK;
        self.0[BLOCK..].fill(0);
        match data.last_chunk::<BLOCK>() {
            // The last 64 bytes, so that the rest of them comes to lie where the blocks begin: one copy of a fixed length.
            Some(last) => self.0[rest..rest + BLOCK].copy_from_slice(last),
            None => self.0[BLOCK..BLOCK + rest].copy_from_slice(data),
        }
        let mut end = BLOCK + rest;
        if let Some(extra) = extra {
            self.0[end..end + 4].copy_from_slice(&extra);
            end += 4;
        }
        self.0[end] = 0x80;
        let count = if end + 9 <= 2 * BLOCK { 1 } else { 2 };
        let message = data.len() + extra.map_or(0, |extra| extra.len());
        self.finish(count, message)
    }

    /// Lays out the block of the outer hash: an inner digest of `words` words.
    pub(super) fn fill_outer(&mut self, digest: &[u32; 8], words: usize) {
        let block = &mut self.0[BLOCK..2 * BLOCK];
        block.fill(0);
        for (to, word) in block.chunks_exact_mut(4).zip(&digest[..words]) {
            to.copy_from_slice(&word.to_be_bytes());
        }
        block[4 * words] = 0x80;
        self.finish(1, 4 * words);
    }

    /// The blocks that were laid out.
    pub(super) fn blocks(&self) -> &[[u8; BLOCK]] {
        self.0[BLOCK..].as_chunks().0
    }

    /// Puts the length in bits behind: that of the message and of the key's block.
    fn finish(&mut self, count: usize, message: usize) -> usize {
        let bits = 8 * (BLOCK + message) as u64;
        let end = (1 + count) * BLOCK;
        self.0[end - 8..end].copy_from_slice(&bits.to_be_bytes());
        count
    }
}
