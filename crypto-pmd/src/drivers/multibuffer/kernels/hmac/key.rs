//! Keys: the two states behind their first block, so that a packet begins with its own bytes.

use sha1::Digest as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::streams::{BLOCK, Engine, State};
use super::{portable, streams};

/// The hash under an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::drivers::multibuffer) enum Hash {
    /// SHA-1: digests of 20 bytes (RFC 2404).
    Sha1,
    /// SHA-256: digests of 32 bytes (RFC 4868).
    Sha256,
}

impl Hash {
    /// Bytes of a digest.
    pub(in crate::drivers::multibuffer) const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    fn digest(self, message: &[u8], to: &mut [u8; BLOCK]) {
        match self {
            Self::Sha1 => to[..20]
                .copy_from_slice(Zeroizing::new(<[u8; 20]>::from(sha1::Sha1::digest(message))).as_slice()),
            Self::Sha256 => to[..32]
                .copy_from_slice(Zeroizing::new(<[u8; 32]>::from(sha2::Sha256::digest(message))).as_slice()),
        }
    }
}

/// A key as two states, inner and outer, in one cache line. Wiped when it goes.
#[repr(align(64))]
pub(in crate::drivers::multibuffer) struct HmacKey {
    inner: State,
    outer: State,
    hash: Hash,
}

impl HmacKey {
    /// For a key of any length; one that is longer than a block is hashed first (RFC 2104 section 2).
    pub(in crate::drivers::multibuffer) fn new(hash: Hash, key: &[u8]) -> Self {
        let mut block = Zeroizing::new([0; BLOCK]);
        match block.get_mut(..key.len()) {
            Some(front) => front.copy_from_slice(key),
            None => hash.digest(key, &mut block),
        }
        Self { inner: start(hash, &block, 0x36), outer: start(hash, &block, 0x5c), hash }
    }

    pub(super) fn hash(&self) -> Hash {
        self.hash
    }

    pub(super) fn inner(&self) -> &State {
        &self.inner
    }

    pub(super) fn outer(&self) -> &State {
        &self.outer
    }
}

impl Drop for HmacKey {
    fn drop(&mut self) {
        self.inner.0.zeroize();
        self.outer.0.zeroize();
    }
}

/// The state behind the block of the key, each byte with `pad` on it.
fn start(hash: Hash, key: &[u8; BLOCK], pad: u8) -> State {
    let block = Zeroizing::new([key.map(|byte| byte ^ pad)]);
    let mut state = [streams::initial(hash)];
    match hash {
        Hash::Sha1 => portable::Sha1.compress(&mut state, &[&*block]),
        Hash::Sha256 => portable::Sha256.compress(&mut state, &[&*block]),
    };
    state[0]
}
