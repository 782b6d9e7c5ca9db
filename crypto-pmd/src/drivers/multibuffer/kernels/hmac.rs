//! HMAC with SHA-1 and SHA-256 (RFC 2104, FIPS 180-4) over many packets side by side.
//!
//! A packet is a row of blocks: those of its data, one or two with the rest and the padding, and one for the outer hash. All of them go
//! through the same engine, which compresses one block of several packets at once ([`streams`]). Tags are whole digests; to cut and to
//! compare them is the caller's business.

#[cfg(target_arch = "x86_64")]
mod alike;
#[cfg(target_arch = "x86_64")]
mod beside;
#[cfg(target_arch = "x86_64")]
mod sha1_avx512;
#[cfg(target_arch = "x86_64")]
mod sha1_sse;
#[cfg(target_arch = "x86_64")]
mod sha256_sse;

mod key;
mod portable;
mod streams;
mod tail;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod words;

#[cfg(target_arch = "x86_64")]
pub(in crate::drivers::multibuffer) use beside::Both;
pub(in crate::drivers::multibuffer) use key::{Hash, HmacKey};

use crate::drivers::multibuffer::Level;

/// Bytes of the longest tag.
pub(in crate::drivers::multibuffer) const TAG: usize = 64;

/// One message and its tag.
pub(in crate::drivers::multibuffer) struct MacLane<'a> {
    /// Made for the hash that [`run`] is told.
    pub(in crate::drivers::multibuffer) key: &'a HmacKey,
    /// The message, of any length and alignment.
    pub(in crate::drivers::multibuffer) data: &'a [u8],
    /// Four more bytes of the message behind `data`: the high half of an extended sequence number (RFC 4303 section 2.2.1).
    pub(in crate::drivers::multibuffer) extra: Option<[u8; 4]>,
    /// Takes the digest in its first [`Hash::len`] bytes; what is behind them is worthless then.
    pub(in crate::drivers::multibuffer) tag: [u8; TAG],
}

/// Makes the tag of every lane. `level` is one that [`Level::checked`] let pass, and every key was made for `hash`: the tag of a lane
/// whose key was not is worthless.
pub(in crate::drivers::multibuffer) fn run(level: Level, hash: Hash, lanes: &mut [MacLane<'_>]) {
    debug_assert!(lanes.iter().all(|lane| lane.key.hash() == hash));
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Sse {
        // SAFETY: the level was checked when the driver was made: the processor has SSSE3, SSE4.1 and the SHA extensions, and with level
        // `avx512` also AVX-512 F and BW.
        return unsafe {
            match hash {
                Hash::Sha1 if level >= Level::Avx512 && lanes.len() >= sha1_avx512::WORTH => {
                    streams::run::<{ sha1_avx512::STREAMS }>(sha1_avx512::Engine::new(), lanes);
                }
                Hash::Sha1 => {
                    let engine = sha1_sse::Engine::new();
                    streams::run::<{ sha1_sse::STREAMS }>(engine, alike::run(engine, lanes));
                }
                Hash::Sha256 => {
                    let engine = sha256_sse::Engine::new();
                    streams::run::<{ sha256_sse::STREAMS }>(engine, alike::run(engine, lanes));
                }
            }
        };
    }
    let _ = level;
    match hash {
        Hash::Sha1 => streams::run::<1>(portable::Sha1, lanes),
        Hash::Sha256 => streams::run::<1>(portable::Sha256, lanes),
    }
}

/// The tag of one message, which has no company. `level` as in [`run`].
pub(in crate::drivers::multibuffer) fn one(level: Level, lane: &mut MacLane<'_>) {
    run(level, lane.key.hash(), std::slice::from_mut(lane));
}

/// Encrypts a packet that has no company by AES-CBC and gives its tag in the first bytes. There is a key for AES, so the level is more than the
/// portable one.
#[cfg(target_arch = "x86_64")]
pub(in crate::drivers::multibuffer) fn encrypt_then_mac(both: Both<'_>) -> [u8; 32] {
    // SAFETY: there is a key for AES, so the processor has `Level::Sse`.
    unsafe { beside::run(both).0 }
}
