//! The last blocks of a message: what is left of its data, the extra bytes, and the padding (FIPS 180-4 section 5.1.1).

use super::streams::{BLOCK, Digest};

/// A message of fewer bytes lies whole in its tail, so that its blocks are a row without a break.
const SHORT: usize = 2 * BLOCK;

/// The bit behind a message, and zeros.
const PADDING: [u8; BLOCK] = {
    let mut padding = [0; BLOCK];
    padding[0] = 0x80;
    padding
};

/// Room for three blocks, in front of them for what is copied along with the rest of the data, and behind for too many zeros: copies of
/// fixed lengths cost less than those of the right ones.
#[repr(align(64))]
#[derive(Clone, Copy)]
pub(super) struct Tail([u8; 5 * BLOCK]);

impl Tail {
    pub(super) const EMPTY: Self = Self([0; 5 * BLOCK]);

    /// How many blocks of a message's data come before its tail, and how many the tail has.
    #[inline]
    pub(super) fn blocks_of(len: usize, extra: Option<[u8; 4]>) -> (usize, usize) {
        let (before, rest) = if len < SHORT { (0, len) } else { (len / BLOCK, len % BLOCK) };
        (before, tail_blocks(rest + extra.map_or(0, |extra| extra.len())))
    }

    /// Lays out the last blocks of a message that follows the key's block; gives those of `data` that come before, and their own number.
    pub(super) fn fill<'d>(&mut self, data: &'d [u8], extra: Option<[u8; 4]>) -> (&'d [[u8; BLOCK]], usize) {
        let (before, len) = match data.last_chunk::<BLOCK>() {
            Some(last) if data.len() >= SHORT => {
                // The last 64 bytes, so that the rest of them comes to lie where the blocks begin.
                let (before, rest) = data.as_chunks();
                self.put(rest.len(), last);
                (before, rest.len())
            }
            Some(last) => {
                self.0[BLOCK..2 * BLOCK].copy_from_slice(&data[..BLOCK]);
                self.put(data.len(), last);
                (&[][..], data.len())
            }
            None => {
                self.0[BLOCK..BLOCK + data.len()].copy_from_slice(data);
                (&[][..], data.len())
            }
        };
        let mut end = BLOCK + len;
        if let Some(extra) = extra {
            self.0[end..end + 4].copy_from_slice(&extra);
            end += 4;
        }
        self.put(end, &PADDING);
        self.0[end + BLOCK..end + BLOCK + 16].fill(0);
        // Behind it, eight bytes for the length, at the end of a block.
        let count = tail_blocks(end - BLOCK);
        let message = data.len() + extra.map_or(0, |extra| extra.len());
        let length = (1 + count) * BLOCK - 8;
        self.0[length..length + 8].copy_from_slice(&bits(message).to_be_bytes());
        (before, count)
    }

    /// Lays out the block of the outer hash: a digest of `len` bytes with what follows it. Written in whole vectors, because it is read at
    /// once.
    pub(super) fn fill_outer(&mut self, digest: &Digest, len: usize) {
        let [front, back] = [&digest.0[..16], &digest.0[16..]];
        self.0[BLOCK..BLOCK + 16].copy_from_slice(front);
        self.0[BLOCK + 16..BLOCK + 32].copy_from_slice(back);
        let mut rest = [0; 32];
        if len == 32 {
            rest[0] = 0x80;
        }
        rest[24..].copy_from_slice(&bits(len).to_be_bytes());
        self.0[BLOCK + 32..2 * BLOCK].copy_from_slice(&rest);
    }

    fn put(&mut self, at: usize, bytes: &[u8; BLOCK]) {
        self.0[at..at + BLOCK].copy_from_slice(bytes);
    }

    /// The first block.
    pub(super) fn first_mut(&mut self) -> &mut [u8; BLOCK] {
        &mut self.0.as_chunks_mut().0[1]
    }

    /// The blocks that were laid out.
    pub(super) fn blocks(&self) -> &[[u8; BLOCK]] {
        self.0[BLOCK..].as_chunks().0
    }
}

/// Blocks of a tail with so many bytes of the message: the bit behind them and the length of eight bytes must fit.
const fn tail_blocks(bytes: usize) -> usize {
    (bytes + 8) / BLOCK + 1
}

/// Bits of a message and of the key's block in front of it.
const fn bits(message: usize) -> u64 {
    8 * (BLOCK + message) as u64
}
