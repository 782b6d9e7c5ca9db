//! HMAC of the software driver. The inner and outer states are computed when the session is opened; a packet
//! starts from a copy.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq as _;

use crate::algorithm::IntegrityAlgorithm;
use crate::job::Operation;

/// A keyed hash and its tag's length.
pub(super) struct Integrity {
    state: State,
    tag_len: usize,
}

/// Boxed: a variant that is smaller than its enum would be copied to the heap with whatever the stack held behind
/// it, which may be a key, and dropping the variant would not wipe that.
enum State {
    Sha1(Box<Hmac<Sha1>>),
    Sha256(Box<Hmac<Sha256>>),
    Sha384(Box<Hmac<Sha384>>),
    Sha512(Box<Hmac<Sha512>>),
}

impl Integrity {
    pub(super) fn new(algorithm: IntegrityAlgorithm, key: &[u8], tag_len: usize) -> Option<Self> {
        let state = match algorithm {
            IntegrityAlgorithm::HmacSha1 => State::Sha1(Box::new(Hmac::new_from_slice(key).ok()?)),
            IntegrityAlgorithm::HmacSha256 => State::Sha256(Box::new(Hmac::new_from_slice(key).ok()?)),
            IntegrityAlgorithm::HmacSha384 => State::Sha384(Box::new(Hmac::new_from_slice(key).ok()?)),
            IntegrityAlgorithm::HmacSha512 => State::Sha512(Box::new(Hmac::new_from_slice(key).ok()?)),
            _ => return None,
        };
        Some(Self { state, tag_len })
    }

    pub(super) fn tag_len(&self) -> usize {
        self.tag_len
    }

    /// Writes or checks `tag` over `data` and `suffix`; true when written or matching.
    pub(super) fn run(&self, operation: Operation, data: &[u8], suffix: &[u8], tag: &mut [u8]) -> bool {
        match &self.state {
            State::Sha1(mac) => {
                finish((**mac).clone().chain_update(data).chain_update(suffix), operation, tag)
            }
            State::Sha256(mac) => {
                finish((**mac).clone().chain_update(data).chain_update(suffix), operation, tag)
            }
            State::Sha384(mac) => {
                finish((**mac).clone().chain_update(data).chain_update(suffix), operation, tag)
            }
            State::Sha512(mac) => {
                finish((**mac).clone().chain_update(data).chain_update(suffix), operation, tag)
            }
        }
    }
}

fn finish<M: hmac::Mac>(mac: M, operation: Operation, tag: &mut [u8]) -> bool {
    let whole = mac.finalize().into_bytes();
    let Some(expected) = whole.get(..tag.len()) else { return false };
    match operation {
        Operation::Encrypt => tag.copy_from_slice(expected),
        Operation::Decrypt => return tag.ct_eq(expected).into(),
    }
    true
}

impl std::fmt::Debug for Integrity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Integrity(tag {}, [redacted])", self.tag_len)
    }
}
