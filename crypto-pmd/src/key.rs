//! Key bytes that are wiped when dropped, never printed, and compared in constant time.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A secret.
///
/// ```
/// let key = crypto_pmd::Key::new(&[1, 2, 3]);
/// assert_eq!(format!("{key:?}"), "Key(3 bytes, [redacted])");
/// ```
#[derive(Clone)]
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
