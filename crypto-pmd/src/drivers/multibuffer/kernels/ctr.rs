//! AES in counter mode (NIST SP 800-38A section 6.5), in place; the same both ways.
//!
//! The counter is a number of 128 bits, the highest byte first, that goes on at zero behind the last: so ESP (RFC 3686 section 4) and sessions
//! with whole IVs have the same kernels. They add to the lowest 32 bits only; where a packet takes those past their end, it is cut there.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod sse;
#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests;

use super::aes_key::AesKey;
use super::cbc::BLOCK;
use crate::drivers::multibuffer::Level;

/// Encrypts or decrypts a packet of any length; `counter` is the first counter block. The level is one that the processor has, and not the
/// portable one.
#[inline]
pub(in crate::drivers::multibuffer) fn apply(
    level: Level,
    key: &AesKey,
    counter: &[u8; BLOCK],
    data: &mut [u8],
) {
    let mut counter = u128::from_be_bytes(*counter);
    let mut data = data;
    // Blocks, and so bytes, up to where the lowest 32 bits end.
    while let blocks = (1 << 32) - (counter & u128::from(u32::MAX))
        && data.len() as u128 > blocks * BLOCK as u128
    {
        let (now, behind) = std::mem::take(&mut data).split_at_mut(blocks as usize * BLOCK);
        run(level, key, counter, now);
        (counter, data) = (counter.wrapping_add(blocks), behind);
    }
    run(level, key, counter, data);
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn run(level: Level, key: &AesKey, counter: u128, data: &mut [u8]) {
    // SAFETY: the level is one that the processor has.
    unsafe {
        match level {
            Level::Avx512 => avx512::run(key.enc(), counter, data),
            Level::Avx2 => avx2::run(key.enc(), counter, data),
            _ => sse::run(key.enc(), counter, data),
        }
    }
}

/// There are no kernels for this processor, so there is no key.
#[cfg(not(target_arch = "x86_64"))]
fn run(_level: Level, _key: &AesKey, _counter: u128, _data: &mut [u8]) {}
