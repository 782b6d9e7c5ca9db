//! The last blocks of a message: what is left of its data, the extra bytes, and the padding (FIPS 180-4 section 5.1.1).

use super::streams::Digest;

/// Room for three blocks, in front of them for what is copied along with the rest of the data, and behind for too many zeros: copies of
/// fixed lengths cost less than those of the right ones.
#[repr(align(64))]
#[derive(Clone, Copy)]
pub(super) struct Tail<const B: usize>([[u8; B]; 5]);

impl<const B: usize> Tail<B> {
    pub(super) const EMPTY: Self = Self([[0; B]; 5]);

    /// A message of fewer bytes lies whole in its tail, so that its blocks are a row without a break.
    const SHORT: usize = 2 * B;

    /// The bit behind a message, and zeros.
    const PADDING: [u8; B] = {
        let mut padding = [0; B];
        padding[0] = 0x80;
        padding
    };

    /// How many blocks of a message's data come before its tail, and how many the tail has.
    #[inline]
    pub(super) fn blocks_of(len: usize, extra: Option<[u8; 4]>) -> (usize, usize) {
        let (before, rest) = if len < Self::SHORT { (0, len) } else { (len / B, len % B) };
        (before, Self::tail_blocks(rest + extra.map_or(0, |extra| extra.len())))
    }

    /// Lays out the last blocks of a message that follows the key's block; gives those of `data` that come before, and their own number.
    pub(super) fn fill<'d>(&mut self, data: &'d [u8], extra: Option<[u8; 4]>) -> (&'d [[u8; B]], usize) {
        let (before, len) = match data.last_chunk::<B>() {
            Some(last) if data.len() >= Self::SHORT => {
                // A block's worth of bytes, so that the rest of them comes to lie where the blocks begin.
                let (before, rest) = data.as_chunks();
                self.put(rest.len(), last);
                (before, rest.len())
            }
            Some(last) => {
                self.0[1].copy_from_slice(&data[..B]);
                self.put(data.len(), last);
                (&[][..], data.len())
            }
            None => {
                self.bytes()[B..B + data.len()].copy_from_slice(data);
                (&[][..], data.len())
            }
        };
        let mut end = B + len;
        if let Some(extra) = extra {
            self.bytes()[end..end + 4].copy_from_slice(&extra);
            end += 4;
        }
        self.put(end, &Self::PADDING);
        self.bytes()[end + B..end + B + 16].fill(0);
        // Behind it, an eighth of a block for the length in bits, at the end of a block.
        let count = Self::tail_blocks(end - B);
        let message = data.len() + extra.map_or(0, |extra| extra.len());
        let length = (1 + count) * B - 8;
        self.bytes()[length..length + 8].copy_from_slice(&Self::bits(message).to_be_bytes());
        (before, count)
    }

    /// Lays out the block of the outer hash: a digest of `len` bytes with what follows it. Written in whole vectors, because it is read at
    /// once.
    pub(super) fn fill_outer<const HALF: usize>(&mut self, digest: &Digest<HALF>, len: usize) {
        let (front, back) = self.0[1].split_at_mut(HALF);
        for (to, from) in front.chunks_exact_mut(16).zip(digest.0.chunks_exact(16)) {
            to.copy_from_slice(from);
        }
        let mut rest = [0; HALF];
        if len == HALF {
            rest[0] = 0x80;
        }
        rest[HALF - 8..].copy_from_slice(&Self::bits(len).to_be_bytes());
        back.copy_from_slice(&rest);
    }

    fn put(&mut self, at: usize, bytes: &[u8; B]) {
        self.bytes()[at..at + B].copy_from_slice(bytes);
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.0.as_flattened_mut()
    }

    /// The first block.
    pub(super) fn first_mut(&mut self) -> &mut [u8; B] {
        &mut self.0[1]
    }

    /// The blocks that were laid out.
    pub(super) fn blocks(&self) -> &[[u8; B]] {
        &self.0[1..]
    }

    /// Blocks of a tail with so many bytes of the message: the bit behind them and the length, an eighth of a block, must fit.
    const fn tail_blocks(bytes: usize) -> usize {
        (bytes + B / 8) / B + 1
    }

    /// Bits of a message and of the key's block in front of it.
    const fn bits(message: usize) -> u64 {
        8 * (B + message) as u64
    }
}
