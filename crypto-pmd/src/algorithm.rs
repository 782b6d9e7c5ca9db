//! Names and sizes of algorithms. All lengths are in bytes.

use std::fmt;

/// Ciphers that need a separate integrity algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CipherAlgorithm {
    /// AES in cipher block chaining mode (RFC 3602), keys of 16, 24 or 32.
    AesCbc,
}

/// Keyed hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum IntegrityAlgorithm {
    /// HMAC with SHA-1 (RFC 2104, RFC 2404).
    HmacSha1,
    /// HMAC with SHA-256 (RFC 4868).
    HmacSha256,
    /// HMAC with SHA-384 (RFC 4868).
    HmacSha384,
    /// HMAC with SHA-512 (RFC 4868).
    HmacSha512,
}

/// Authenticated encryption with associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum AeadAlgorithm {
    /// AES in Galois/counter mode (RFC 4106), keys of 16, 24 or 32, nonces of 12.
    AesGcm,
}

impl CipherAlgorithm {
    /// Name in capability tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AesCbc => "aes-cbc",
        }
    }

    /// Bytes of IV.
    #[must_use]
    pub fn iv_len(self) -> usize {
        match self {
            Self::AesCbc => 16,
        }
    }

    /// Granularity of the cipher range.
    #[must_use]
    pub fn block_len(self) -> usize {
        match self {
            Self::AesCbc => 16,
        }
    }
}

impl IntegrityAlgorithm {
    /// Name in capability tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha1 => "sha1-hmac",
            Self::HmacSha256 => "sha2-256-hmac",
            Self::HmacSha384 => "sha2-384-hmac",
            Self::HmacSha512 => "sha2-512-hmac",
        }
    }

    /// Bytes of a whole tag.
    #[must_use]
    pub fn digest_len(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }
}

impl AeadAlgorithm {
    /// Name in capability tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "aes-gcm",
        }
    }

    /// Bytes of nonce, salt included.
    #[must_use]
    pub fn nonce_len(self) -> usize {
        match self {
            Self::AesGcm => 12,
        }
    }
}

impl fmt::Display for CipherAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for IntegrityAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for AeadAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
