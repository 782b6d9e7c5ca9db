//! AES-GCM (NIST SP 800-38D) with nonces of 96 bits, in place and in one pass.
//!
//! GHASH takes its blocks in groups: the first of `k` blocks is multiplied by the `k`-th power of H, the last by H itself, the products are
//! added, and the sum is reduced once. A packet of up to a group, with its associated data and its lengths, is one such sum.
//!
//! A [`GcmKey`] is there only where the processor has at least [`Level::Sse`], and knows its best level: no call reaches instructions
//! that are missing, whatever level is asked for.

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::super::level::Level;
use super::aes_key::RoundKeys;
use super::nonce::Nonce;

#[cfg(target_arch = "x86_64")]
#[macro_use]
mod body;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod sse;
#[cfg(test)]
mod tests;

/// How many powers of H there are: a group of eight of the widest vectors, with associated data, a tail and the lengths.
const POWERS: usize = 36;

/// Powers of H, the highest first, byte-reversed and multiplied by x (so that a product needs no shift).
#[repr(C, align(64))]
struct Powers {
    power: [[u8; 16]; POWERS],
    /// Of each power the sum of its halves, in both halves: what Karatsuba's third product takes.
    sum: [[u8; 16]; POWERS],
}

/// A key: round keys and powers of H, wiped on drop.
pub(in crate::drivers::multibuffer) struct GcmKey {
    aes: RoundKeys,
    hash: Powers,
    best: Level,
}

impl Drop for Powers {
    fn drop(&mut self) {
        self.power.zeroize();
        self.sum.zeroize();
    }
}

impl GcmKey {
    /// Room for a key, to be filled in place.
    pub(in crate::drivers::multibuffer) const fn empty() -> Self {
        let hash = Powers { power: [[0; 16]; POWERS], sum: [[0; 16]; POWERS] };
        Self { aes: RoundKeys::empty(), hash, best: Level::Portable }
    }

    /// Expands `key` in place. False, and no change, for a key of another length than 16, 24 or 32 bytes, and where the processor has
    /// no [`Level::Sse`].
    pub(in crate::drivers::multibuffer) fn expand(&mut self, key: &[u8]) -> bool {
        if !self.aes.expand(key) {
            return false;
        }
        self.best = Level::best();
        #[cfg(target_arch = "x86_64")]
        // SAFETY: round keys were expanded, which only a processor with `Level::Sse` does.
        unsafe {
            sse::powers(&self.aes, &mut self.hash);
        }
        true
    }

    /// A key of 16, 24 or 32 bytes; `None` for other lengths, and where the processor has no [`Level::Sse`].
    pub(in crate::drivers::multibuffer) fn new(key: &[u8]) -> Option<Self> {
        let mut made = Self::empty();
        made.expand(key).then_some(made)
    }
}

/// Encrypts `data` in place and returns the whole tag.
///
/// `level` chooses the kernels; one that the processor lacks stands for its best, and [`Level::Portable`] for [`Level::Sse`]. A key that was never expanded
/// gives zeros and leaves `data` alone.
#[inline]
pub(in crate::drivers::multibuffer) fn seal(
    level: Level,
    key: &GcmKey,
    nonce: impl Into<Nonce>,
    aad: &[u8],
    data: &mut [u8],
) -> [u8; 16] {
    run::<true>(level, key, nonce.into(), aad, data)
}

/// Decrypts `data` in place if `tag` (8, 12 or 16 bytes) is right. Otherwise false, and `data` is as it was.
#[inline]
pub(in crate::drivers::multibuffer) fn open(
    level: Level,
    key: &GcmKey,
    nonce: impl Into<Nonce>,
    aad: &[u8],
    data: &mut [u8],
    tag: &[u8],
) -> bool {
    let (nonce, Some((tag, bytes_that_count))) = (nonce.into(), tag_of(tag)) else { return false };
    if key.best < Level::Sse {
        return false;
    }
    let expected = u128::from_le_bytes(run::<false>(level, key, nonce, aad, data));
    let right = bool::from((expected & bytes_that_count).ct_eq(&tag));
    if !right {
        run::<true>(level, key, nonce, aad, data);
    }
    right
}

/// GMAC: the whole tag over `data`, where all are associated. The high half of an extended sequence number stands behind their first four
/// bytes (RFC 4543 section 3.3).
///
/// `level` is as for [`seal`].
pub(in crate::drivers::multibuffer) fn authenticate(
    level: Level,
    key: &GcmKey,
    nonce: impl Into<Nonce>,
    data: &[u8],
    high: Option<[u8; 4]>,
) -> [u8; 16] {
    let nonce = nonce.into();
    let Some(high) = high else { return run_authenticate(level, key, nonce, None, data) };
    if let Some((&[a, b, c, d, e, f, g, h, i, j, k, l], rest)) = data.split_first_chunk() {
        // In registers: a load of 16 bytes behind stores of single ones would wait for those.
        let low = u128::from(u64::from_le_bytes([e, f, g, h, i, j, k, l]));
        let front = low << 64 | u128::from(u32::from_le_bytes(high)) << 32;
        let front = front | u128::from(u32::from_le_bytes([a, b, c, d]));
        return run_authenticate(level, key, nonce, Some(front), rest);
    }
    let mut short = [0; 16];
    let (spi, low) = data.split_at(data.len().min(4));
    let bytes = spi.iter().chain(&high).chain(low);
    short.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
    run_authenticate(level, key, nonce, None, &short[..data.len() + high.len()])
}

fn run_authenticate(level: Level, key: &GcmKey, nonce: Nonce, front: Option<u128>, rest: &[u8]) -> [u8; 16] {
    #[cfg(target_arch = "x86_64")]
    match (key.best, level.min(key.best)) {
        (Level::Portable, _) => [0; 16],
        // SAFETY: the level is at most the best of this processor.
        (_, Level::Avx512) => unsafe { avx512::authenticate(key, nonce, front, rest) },
        // SAFETY: the level is at most the best of this processor.
        (_, Level::Avx2) => unsafe { avx2::authenticate(key, nonce, front, rest) },
        // SAFETY: the best level is at least this one.
        (_, Level::Sse | Level::Portable) => unsafe { sse::authenticate(key, nonce, front, rest) },
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (level, key, nonce, front, rest);
        [0; 16]
    }
}

/// A tag as a number, with zeros for what is cut off, and the mask of what is not; `None` for a tag of another length than 8, 12 or 16.
#[inline]
fn tag_of(tag: &[u8]) -> Option<(u128, u128)> {
    if let Ok(whole) = tag.try_into() {
        return Some((u128::from_le_bytes(whole), u128::MAX));
    }
    let (low, high) = tag.split_first_chunk::<8>()?;
    let low = u128::from(u64::from_le_bytes(*low));
    match high {
        [] => Some((low, u128::MAX >> 64)),
        &[a, b, c, d] => Some((low | u128::from(u32::from_le_bytes([a, b, c, d])) << 64, u128::MAX >> 32)),
        _ => None,
    }
}

/// What both ways share; the result is the tag of the ciphertext.
#[inline]
fn run<const SEAL: bool>(level: Level, key: &GcmKey, nonce: Nonce, aad: &[u8], data: &mut [u8]) -> [u8; 16] {
    #[cfg(target_arch = "x86_64")]
    match (key.best, level.min(key.best)) {
        (Level::Portable, _) => [0; 16],
        // SAFETY: the level is at most the best of this processor.
        (_, Level::Avx512) => unsafe { avx512::run::<SEAL>(key, nonce, aad, data) },
        // SAFETY: the level is at most the best of this processor.
        (_, Level::Avx2) => unsafe { avx2::run::<SEAL>(key, nonce, aad, data) },
        // SAFETY: the best level is at least this one.
        (_, Level::Sse | Level::Portable) => unsafe { sse::run::<SEAL>(key, nonce, aad, data) },
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (level, key, nonce, aad, data);
        [0; 16]
    }
}
