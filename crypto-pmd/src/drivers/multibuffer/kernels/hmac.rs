//! HMAC with SHA-1 and SHA-2 (RFC 2104, FIPS 180-4) over many packets side by side.
//!
//! A packet is a row of blocks: those of its data, one or two with the rest and the padding, and one for the outer hash. All of them go
//! through the same engine, which compresses one block of several packets at once ([`streams`]). Tags are the first bytes of digests, as many as there is
//! room for.

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
#[cfg(target_arch = "x86_64")]
#[macro_use]
mod sha512;
#[cfg(target_arch = "x86_64")]
mod sha512_avx2;
#[cfg(target_arch = "x86_64")]
mod sha512_avx512;
#[cfg(target_arch = "x86_64")]
mod sha512_constants;

mod key;
mod portable;
mod streams;
mod tail;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod words;

pub(in crate::drivers::multibuffer) use key::{Hash, HmacKey};

use super::tag::Tag;
use crate::drivers::multibuffer::Level;

/// One message and its tag.
pub(in crate::drivers::multibuffer) struct MacLane<'a> {
    /// Made for the hash that [`run`] is told.
    pub(in crate::drivers::multibuffer) key: &'a HmacKey,
    /// The message, of any length and alignment.
    pub(in crate::drivers::multibuffer) data: &'a [u8],
    /// Four more bytes of the message behind `data`: the high half of an extended sequence number (RFC 4303 section 2.2.1).
    pub(in crate::drivers::multibuffer) extra: Option<[u8; 4]>,
    pub(in crate::drivers::multibuffer) tag: Tag<'a>,
}

/// What is to be encrypted, and authenticated then.
pub(in crate::drivers::multibuffer) struct Both<'a> {
    pub(in crate::drivers::multibuffer) key: &'a super::aes_key::AesKey,
    pub(in crate::drivers::multibuffer) iv: [u8; 16],
    pub(in crate::drivers::multibuffer) hash: &'a HmacKey,
    /// What is authenticated.
    pub(in crate::drivers::multibuffer) data: &'a mut [u8],
    /// How many bytes of it stand in front of those that are encrypted, whole blocks up to its end.
    pub(in crate::drivers::multibuffer) clear: usize,
    /// Four more bytes behind `data`, as in [`MacLane`].
    pub(in crate::drivers::multibuffer) extra: Option<[u8; 4]>,
}

/// Makes the tag of every lane. `level` is one that [`Level::checked`] let pass, and every key was made for `hash`: the tag of a lane
/// whose key was not is worthless.
pub(in crate::drivers::multibuffer) fn run(level: Level, hash: Hash, lanes: &mut [MacLane<'_>]) {
    debug_assert!(lanes.iter().all(|lane| lane.key.hash() == hash));
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Sse && matches!(hash, Hash::Sha1 | Hash::Sha256) {
        // SAFETY: the level was checked when the driver was made: the processor has SSSE3, SSE4.1 and the SHA extensions, and with level
        // `avx512` also AVX-512 F and BW.
        return unsafe {
            match hash {
                Hash::Sha1 if level >= Level::Avx512 && lanes.len() >= sha1_avx512::WORTH => {
                    streams::run::<{ sha1_avx512::STREAMS }, _, _>(sha1_avx512::Engine::new(), lanes);
                }
                Hash::Sha1 => {
                    let engine = sha1_sse::Engine::new();
                    streams::run::<{ sha1_sse::STREAMS }, _, _>(engine, alike::run(engine, lanes));
                }
                _ => {
                    let engine = sha256_sse::Engine::new();
                    streams::run::<{ sha256_sse::STREAMS }, _, _>(engine, alike::run(engine, lanes));
                }
            }
        };
    }
    match hash {
        Hash::Sha1 => streams::run::<1, _, _>(portable::Sha1, lanes),
        Hash::Sha256 => streams::run::<1, _, _>(portable::Sha256, lanes),
        Hash::Sha384 => run_sha512::<48>(level, lanes),
        Hash::Sha512 => run_sha512::<64>(level, lanes),
    }
}

/// The tag of one message, which has no company. `level` as in [`run`].
pub(in crate::drivers::multibuffer) fn one(level: Level, lane: &mut MacLane<'_>) {
    run(level, lane.key.hash(), std::slice::from_mut(lane));
}

/// Encrypts a packet that has no company by AES-CBC and gives its tag in the first bytes; `None`, and nothing is done, where the hash is one
/// that gains nothing from that. There is a key for AES, so the level is more than the portable one.
#[cfg(target_arch = "x86_64")]
pub(in crate::drivers::multibuffer) fn encrypt_then_mac(both: Both<'_>) -> Option<[u8; 32]> {
    // SAFETY: there is a key for AES, so the processor has `Level::Sse`.
    unsafe { beside::run(both).map(|digest| digest.0) }
}

/// There are no kernels for this processor.
#[cfg(not(target_arch = "x86_64"))]
pub(in crate::drivers::multibuffer) fn encrypt_then_mac(_both: Both<'_>) -> Option<[u8; 32]> {
    None
}

/// SHA-512, or with a digest of 48 bytes SHA-384. Two messages in registers of 128 bits take no less time than one after the other.
fn run_sha512<const LEN: usize>(level: Level, lanes: &mut [MacLane<'_>]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the level was checked when the driver was made: the processor has AVX2, or AVX-512 F and BW.
    unsafe {
        match level {
            Level::Avx512 => {
                return streams::run::<{ sha512_avx512::STREAMS }, _, _>(
                    sha512_avx512::Engine::<LEN>::new(),
                    lanes,
                );
            }
            Level::Avx2 => {
                return streams::run::<{ sha512_avx2::STREAMS }, _, _>(
                    sha512_avx2::Engine::<LEN>::new(),
                    lanes,
                );
            }
            Level::Sse | Level::Portable => {}
        }
    }
    let _ = level;
    streams::run::<1, _, _>(portable::Sha512::<LEN>, lanes);
}
