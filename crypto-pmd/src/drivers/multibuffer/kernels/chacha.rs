//! ChaCha20 and Poly1305 (RFC 8439) as ESP has them (RFC 7634), in place, over many packets side by side.
//!
//! A lane of a vector takes any block of any packet, each with its own key: the blocks of a burst, with the one that gives a packet its
//! Poly1305 key, stand in one row and are made in full vectors whatever the packets' lengths are (`blocks.rs`). Poly1305 is a chain within a packet, so
//! several packets' chains run next to each other, on the processor's integer units, between the rounds of ChaCha20 that keep the vector units
//! busy (`mac.rs`). The two never work on the same packet: encryption goes ahead of the tags, and decryption follows behind tags that
//! were found right.

use zeroize::Zeroize;

use super::super::level::Level;
use super::nonce::Nonce;

#[cfg(target_arch = "x86_64")]
#[macro_use]
mod body;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod blocks;
#[cfg(target_arch = "x86_64")]
mod mac;
#[cfg(target_arch = "x86_64")]
mod poly;
#[cfg(target_arch = "x86_64")]
mod sse;
#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests;

/// Packets that are worked on together; more than that are taken one batch after the other.
#[cfg(target_arch = "x86_64")]
const BATCH: usize = 64;

/// A key, wiped on drop.
pub(in crate::drivers::multibuffer) struct ChaChaKey([u8; 32]);

impl Drop for ChaChaKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ChaChaKey {
    /// A key of 32 bytes; `None` for other lengths, and where the processor has no [`Level::Sse`].
    pub(in crate::drivers::multibuffer) fn new(key: &[u8]) -> Option<Self> {
        (Level::best() >= Level::Sse).then_some(Self(key.try_into().ok()?))
    }
}

/// One packet.
pub(in crate::drivers::multibuffer) struct Lane<'a> {
    key: &'a ChaChaKey,
    /// Room for the counter, then the nonce: the last row of the state.
    nonce: [u8; 16],
    aad: &'a [u8],
    data: &'a mut [u8],
    /// What the first block gives: both halves of the packet's Poly1305 key.
    one_time: [u128; 2],
    /// Made by [`seal_many`], wanted by [`open_many`].
    pub(in crate::drivers::multibuffer) tag: [u8; 16],
    /// Whether [`open_many`] found the tag right, and decrypted.
    pub(in crate::drivers::multibuffer) genuine: bool,
}

impl<'a> Lane<'a> {
    pub(in crate::drivers::multibuffer) fn new(
        key: &'a ChaChaKey,
        nonce: impl Into<Nonce>,
        aad: &'a [u8],
        data: &'a mut [u8],
    ) -> Self {
        let nonce = nonce.into().behind_zeros();
        Self { key, nonce, aad, data, one_time: [0; 2], tag: [0; 16], genuine: false }
    }
}

/// Encrypts every packet in place and makes its tag. A level that the processor lacks stands for its best, [`Level::Portable`] for
/// [`Level::Sse`].
pub(in crate::drivers::multibuffer) fn seal_many(level: Level, lanes: &mut [Lane<'_>]) {
    run::<true>(level, lanes);
}

/// Decrypts in place every packet whose tag is right; the others' data stays as it is. Levels are as for [`seal_many`].
pub(in crate::drivers::multibuffer) fn open_many(level: Level, lanes: &mut [Lane<'_>]) {
    run::<false>(level, lanes);
}

#[cfg(target_arch = "x86_64")]
fn run<const SEAL: bool>(level: Level, lanes: &mut [Lane<'_>]) {
    let level = level.min(Level::best());
    for lanes in lanes.chunks_mut(BATCH) {
        // SAFETY: the level is at most the best of this processor, which has at least `Level::Sse`, or there would be no key and no lane.
        unsafe {
            match level {
                Level::Avx512 => avx512::run::<SEAL>(lanes),
                Level::Avx2 => avx2::run::<SEAL>(lanes),
                Level::Sse | Level::Portable => sse::run::<SEAL>(lanes),
            }
        }
    }
}

/// There are no kernels for this processor, so there is no key that a lane could have.
#[cfg(not(target_arch = "x86_64"))]
fn run<const SEAL: bool>(_level: Level, _lanes: &mut [Lane<'_>]) {}
