//! Keys: the two states behind their first block, so that a packet begins with its own bytes.

use sha1::Digest as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::streams::{BLOCK, Between as _, Engine, State, WIDE_BLOCK, WideState};
use super::{portable, streams};

/// The hash under an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::drivers::multibuffer) enum Hash {
    /// SHA-1: digests of 20 bytes (RFC 2404).
    Sha1,
    /// SHA-256: digests of 32 bytes (RFC 4868).
    Sha256,
    /// SHA-384: digests of 48 bytes (RFC 4868).
    Sha384,
    /// SHA-512: digests of 64 bytes (RFC 4868).
    Sha512,
}

impl Hash {
    /// Bytes of a digest.
    pub(in crate::drivers::multibuffer) const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Bytes of a block.
    const fn block_len(self) -> usize {
        match self {
            Self::Sha1 | Self::Sha256 => BLOCK,
            Self::Sha384 | Self::Sha512 => WIDE_BLOCK,
        }
    }

    fn digest(self, message: &[u8], to: &mut [u8; WIDE_BLOCK]) {
        match self {
            Self::Sha1 => to[..20]
                .copy_from_slice(Zeroizing::new(<[u8; 20]>::from(sha1::Sha1::digest(message))).as_slice()),
            Self::Sha256 => to[..32]
                .copy_from_slice(Zeroizing::new(<[u8; 32]>::from(sha2::Sha256::digest(message))).as_slice()),
            Self::Sha384 => to[..48]
                .copy_from_slice(Zeroizing::new(<[u8; 48]>::from(sha2::Sha384::digest(message))).as_slice()),
            Self::Sha512 => to[..64]
                .copy_from_slice(Zeroizing::new(<[u8; 64]>::from(sha2::Sha512::digest(message))).as_slice()),
        }
    }
}

/// A key as two states, inner and outer, in one cache line; those of 64-bit words apart. Wiped when it goes.
#[repr(align(64))]
pub(in crate::drivers::multibuffer) struct HmacKey {
    inner: State,
    outer: State,
    wide: Option<Box<Wide>>,
    hash: Hash,
}

/// The two states where they have 64-bit words.
struct Wide {
    inner: WideState,
    outer: WideState,
}

impl HmacKey {
    /// For a key of any length; one that is longer than a block is hashed first (RFC 2104 section 2).
    pub(in crate::drivers::multibuffer) fn new(hash: Hash, key: &[u8]) -> Self {
        let mut block = Zeroizing::new([0; WIDE_BLOCK]);
        match block[..hash.block_len()].get_mut(..key.len()) {
            Some(front) => front.copy_from_slice(key),
            None => hash.digest(key, &mut block),
        }
        let mut made = Self { inner: State::ZERO, outer: State::ZERO, wide: None, hash };
        match hash {
            Hash::Sha1 | Hash::Sha256 => {
                made.inner = start(hash, &block, 0x36);
                made.outer = start(hash, &block, 0x5c);
            }
            Hash::Sha384 | Hash::Sha512 => {
                let wide =
                    made.wide.insert(Box::new(Wide { inner: WideState::ZERO, outer: WideState::ZERO }));
                wide.inner = wide_start(hash, &block, 0x36);
                wide.outer = wide_start(hash, &block, 0x5c);
            }
        }
        made
    }

    pub(super) fn hash(&self) -> Hash {
        self.hash
    }

    #[inline]
    pub(super) fn inner(&self) -> State {
        self.inner
    }

    #[inline]
    pub(super) fn outer(&self) -> State {
        self.outer
    }

    #[inline]
    pub(super) fn wide_inner(&self) -> WideState {
        self.wide.as_ref().map_or(WideState::ZERO, |wide| wide.inner)
    }

    #[inline]
    pub(super) fn wide_outer(&self) -> WideState {
        self.wide.as_ref().map_or(WideState::ZERO, |wide| wide.outer)
    }
}

impl Drop for HmacKey {
    fn drop(&mut self) {
        self.inner.0.zeroize();
        self.outer.0.zeroize();
    }
}

impl Drop for Wide {
    fn drop(&mut self) {
        self.inner.0.zeroize();
        self.outer.0.zeroize();
    }
}

/// The state behind the block of the key, each byte with `pad` on it.
fn start(hash: Hash, key: &[u8; WIDE_BLOCK], pad: u8) -> State {
    let mut block = Zeroizing::new([[0; BLOCK]]);
    block.as_flattened_mut().iter_mut().zip(key).for_each(|(to, byte)| *to = byte ^ pad);
    let mut state = [streams::initial(hash)];
    match hash {
        Hash::Sha1 => portable::Sha1.compress(&mut state, &[&*block]),
        _ => portable::Sha256.compress(&mut state, &[&*block]),
    };
    state[0]
}

/// The same with 64-bit words.
fn wide_start(hash: Hash, key: &[u8; WIDE_BLOCK], pad: u8) -> WideState {
    let block = Zeroizing::new([key.map(|byte| byte ^ pad)]);
    let mut state = [streams::wide_initial(hash)];
    portable::Sha512::<64>.compress(&mut state, &[&*block]);
    state[0]
}
