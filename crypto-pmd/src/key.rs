//! Key bytes that are wiped when dropped, never printed, and compared in constant time.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

/// A secret.
///
/// ```
/// let key = crypto_pmd::Key::new(&[1, 2, 3]);
/// assert_eq!(format!("{key:?}"), "Key(3 bytes, [redacted])");
/// ```
#[derive(Clone, Default)]
pub struct Key(Zeroizing<Vec<u8>>);

impl Key {
    /// A copy of `bytes`; wiping the caller's own copy is the caller's business.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Length in bits.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.0.len() * 8
    }

    /// True for the key of a NULL cipher.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first `count` bytes as one key and the rest as another; `None` when there are fewer.
    #[must_use]
    pub fn split_at(&self, count: usize) -> Option<(Self, Self)> {
        let (head, tail) = self.0.split_at_checked(count)?;
        Some((Self::new(head), Self::new(tail)))
    }
}

/// Overwrites the part of the stack that a call just before this one has used: setting up a cipher leaves its key and
/// schedule there, and what lies on the stack finds its way into the padding of blocks on the heap.
#[inline(never)]
pub(crate) fn wipe_stack() {
    const DEPTH: usize = 16 << 10;
    let mut used = [0_u8; DEPTH];
    used.zeroize();
    std::hint::black_box(&used);
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes, [redacted])", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_equal_when_length_and_every_byte_are() {
        let key = Key::new(&[1, 2, 3]);
        assert_eq!(key, Key::new(&[1, 2, 3]));
        for other in [&[1, 2, 4][..], &[0, 2, 3], &[1, 2], &[1, 2, 3, 0], &[]] {
            assert_ne!(key, Key::new(other));
        }
    }

    #[test]
    fn a_key_splits_where_it_is_long_enough() {
        let key = Key::new(&[1, 2, 3]);
        let parts = |head: &[u8], tail: &[u8]| Some((Key::new(head), Key::new(tail)));
        assert_eq!(key.split_at(0), parts(&[], &[1, 2, 3]));
        assert_eq!(key.split_at(2), parts(&[1, 2], &[3]));
        assert_eq!(key.split_at(3), parts(&[1, 2, 3], &[]));
        assert_eq!(key.split_at(4), None);
        assert!(key.split_at(3).is_some_and(|(head, tail)| !head.is_empty() && tail.is_empty()));
    }

    #[test]
    fn nothing_that_holds_a_key_prints_it() {
        use crate::{AeadAlgorithm, SessionParams, Transform};
        let secret = Key::new(&[0xab; 16]);
        let transform = Transform::aead(AeadAlgorithm::AesGcm, secret.clone(), Key::new(&[0xab; 4]), 16);
        let params = SessionParams::from(transform.clone());
        for text in [format!("{secret:?}"), format!("{transform:?}"), format!("{params:#?}")] {
            assert!(text.contains("[redacted]"), "{text}");
            assert!(
                !text.contains("171") && !text.to_lowercase().contains("ab, ") && !text.contains("abab"),
                "{text}"
            );
        }
    }
}
