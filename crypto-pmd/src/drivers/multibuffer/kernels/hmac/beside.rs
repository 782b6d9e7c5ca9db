//! One packet's CBC encryption and its tag at once: the hash follows the encryption a block behind, in the time in which AES rounds wait for
//! each other. For a packet that has no company.

use super::super::cbc::{BLOCK as AES_BLOCK, Chain};
use super::alike::{Laid, tags};
use super::key::Hash;
use super::streams::{BLOCK, Digest, Engine, State};
use super::tail::Tail;
use super::{Both, sha1_sse, sha256_sse};

/// Compresses blocks while another packet's, or the same packet's, encryption goes on.
pub(super) trait Beside: Copy {
    /// Compresses `count` blocks from `from` on, and encrypts four blocks of `chain` beside each.
    ///
    /// # Safety
    /// The processor has AES-NI; so many blocks are there to be read, and so many the caller's to encrypt; before each is read it has been encrypted.
    unsafe fn compress_beside<const ROUNDS: usize>(
        self,
        state: &mut State,
        from: *const u8,
        count: usize,
        chain: &mut Chain<'_, ROUNDS>,
    );
}

/// Encrypts in place and gives the tag; `None`, and nothing is done, for a hash with blocks of 128 bytes.
///
/// # Safety
/// The processor has SSE4.1, AES-NI and the SHA extensions.
pub(super) unsafe fn run(both: Both<'_>) -> Option<Digest<32>> {
    // SAFETY: passed on from the caller.
    unsafe {
        match both.hash.hash() {
            Hash::Sha1 => Some(by_rounds(sha1_sse::Engine::new(), both)),
            Hash::Sha256 => Some(by_rounds(sha256_sse::Engine::new(), both)),
            Hash::Sha384 | Hash::Sha512 => None,
        }
    }
}

/// # Safety
/// As [`run`].
#[target_feature(enable = "sha,aes,sse4.1,ssse3")]
unsafe fn by_rounds(engine: impl Beside + Engine<BLOCK, 32, State = State>, both: Both<'_>) -> Digest<32> {
    // SAFETY: passed on from the caller.
    unsafe {
        match both.key.rounds() {
            10 => encrypt::<10>(engine, both),
            12 => encrypt::<12>(engine, both),
            _ => encrypt::<14>(engine, both),
        }
    }
}

/// # Safety
/// As [`run`], for a key of so many rounds.
#[inline]
#[target_feature(enable = "sha,aes,sse4.1,ssse3")]
unsafe fn encrypt<const ROUNDS: usize>(
    engine: impl Beside + Engine<BLOCK, 32, State = State>,
    both: Both<'_>,
) -> Digest<32> {
    let Both { key, iv, hash, data, clear, extra } = both;
    let len = data.len();
    let blocks = len.saturating_sub(clear) / AES_BLOCK;
    let base = data.as_mut_ptr();
    let mut chain = Chain::<ROUNDS>::new(key, &iv, base.wrapping_add(clear));
    // So many that the first block of the hash is whole, and one more, whose store need not be waited for.
    let first = (BLOCK.saturating_sub(clear).div_ceil(AES_BLOCK) + 1).min(blocks);
    let (hashed, _) = Tail::<BLOCK>::blocks_of(len, extra);
    let together = hashed.min((blocks - first) / 4);
    let mut state = hash.inner();
    // SAFETY: there are `blocks` blocks from `clear` on, all of them `data`'s, which is borrowed uniquely; those of the hash are in it too, and
    // the encryption is one block of the hash ahead.
    unsafe {
        chain.blocks(first);
        engine.compress_beside(&mut state, base, together, &mut chain);
        chain.blocks(blocks - first - 4 * together);
    }
    let mut tail = Tail::<BLOCK>::EMPTY;
    let (hashed, tail_blocks) = tail.fill(data, extra);
    let blocks = hashed.get(together..).unwrap_or_default();
    let mut digest = [Digest([0; 32])];
    let laid = Laid { start: state, outer: hash.outer(), blocks, tail: &mut tail, tail_blocks };
    tags(engine, &mut [laid], &mut digest);
    let [digest] = digest;
    digest
}
