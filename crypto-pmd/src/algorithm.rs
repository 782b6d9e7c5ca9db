//! Names and sizes of algorithms. All lengths are in bytes.
//!
//! Names are those of DPDK where it has one, else of crypto(9) in the same manner; no two algorithms share one.

use std::fmt;

/// An enum whose variants have names, in the order in which they are listed to people.
macro_rules! named {
    ($(#[$about:meta])* $kind:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $kind {
            $($(#[$doc])* $variant,)+
        }

        impl $kind {
            /// Every one, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Name in capability tables.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

named! {
    /// Ciphers that need a separate integrity algorithm.
    CipherAlgorithm {
        /// No encryption (RFC 2410), no key.
        Null = "null",
        /// AES in cipher block chaining mode (RFC 3602), keys of 16, 24 or 32.
        AesCbc = "aes-cbc",
        /// AES in counter mode, also called ICM, keys of 16, 24 or 32. The IV is the first counter block; with a salt of 4
        /// the packet holds 8 bytes and the block counter begins at 1 (RFC 3686 section 4).
        AesCtr = "aes-ctr",
        /// AES in XTS mode with ciphertext stealing (IEEE 1619), keys of 32 or 64, at least one block of data. The IV is
        /// the tweak: a sector number as a little-endian integer of 16 bytes.
        AesXts = "aes-xts",
        /// ChaCha20 (RFC 8439 section 2.4), keys of 32. The IV is the block counter, 4 bytes with the lowest first, and the
        /// nonce of 12.
        ChaCha20 = "chacha20",
        /// DES in CBC mode (RFC 2405), keys of 8; legacy.
        DesCbc = "des-cbc",
        /// Triple DES in CBC mode (RFC 2451), keys of 24; legacy.
        TripleDesCbc = "3des-cbc",
        /// Blowfish in CBC mode (RFC 2451), keys of 5 to 56; legacy.
        BlowfishCbc = "blowfish-cbc",
        /// CAST-128 in CBC mode (RFC 2144), keys of 5 to 16; legacy.
        CastCbc = "cast-cbc",
        /// Camellia in CBC mode (RFC 3713, RFC 4312), keys of 16, 24 or 32.
        CamelliaCbc = "camellia-cbc",
        /// Skipjack in CBC mode (NIST, SKIPJACK and KEA specifications 2.0), keys of 10; legacy.
        SkipjackCbc = "skipjack-cbc",
        /// ARC4, keys of 5 to 256, no IV; legacy. Each operation starts the key stream anew, so a key serves for one message
        /// only: give it with the request.
        Arc4 = "arc4",
    }
}

named! {
    /// Keyed hashes.
    IntegrityAlgorithm {
        /// No integrity: a tag of zeros, no key.
        Null = "null-hmac",
        /// HMAC with MD5 (RFC 2104, RFC 2202); legacy.
        HmacMd5 = "md5-hmac",
        /// HMAC with SHA-1 (RFC 2104, RFC 2404).
        HmacSha1 = "sha1-hmac",
        /// HMAC with SHA-224 (RFC 4231).
        HmacSha224 = "sha2-224-hmac",
        /// HMAC with SHA-256 (RFC 4868).
        HmacSha256 = "sha2-256-hmac",
        /// HMAC with SHA-384 (RFC 4868).
        HmacSha384 = "sha2-384-hmac",
        /// HMAC with SHA-512 (RFC 4868).
        HmacSha512 = "sha2-512-hmac",
        /// HMAC with RIPEMD-160 (RFC 2286, RFC 2857).
        HmacRipemd160 = "ripemd160-hmac",
        /// MD5 over key, padding, data and key again (RFC 1828), keys of up to 64; legacy.
        KpdkMd5 = "md5-kpdk",
        /// SHA-1 over key, padding, data and key again (RFC 1852), keys of up to 64; legacy.
        KpdkSha1 = "sha1-kpdk",
        /// GCM without encryption (RFC 4543), keys of 16, 24 or 32, nonces of 12.
        AesGmac = "aes-gmac",
        /// The CBC-MAC of CCM: CCM of which all data are associated (RFC 3610), keys of 16, 24 or 32, nonces as CCM has them.
        AesCbcMac = "aes-cbc-mac",
        /// Poly1305 (RFC 8439 section 2.5), keys of 32. A key serves for one message only: give it with the request.
        Poly1305 = "poly1305",
        /// CMAC with AES (RFC 4493, RFC 4494), keys of 16, 24 or 32.
        AesCmac = "aes-cmac",
        /// XCBC-MAC with AES (RFC 3566), keys of 16.
        AesXcbcMac = "aes-xcbc-mac",
    }
}

named! {
    /// Hashes without a key.
    DigestAlgorithm {
        /// MD5 (RFC 1321); legacy.
        Md5 = "md5",
        /// SHA-1 (FIPS 180-4).
        Sha1 = "sha1",
        /// SHA-224 (FIPS 180-4).
        Sha224 = "sha2-224",
        /// SHA-256 (FIPS 180-4).
        Sha256 = "sha2-256",
        /// SHA-384 (FIPS 180-4).
        Sha384 = "sha2-384",
        /// SHA-512 (FIPS 180-4).
        Sha512 = "sha2-512",
        /// RIPEMD-160 (ISO/IEC 10118-3).
        Ripemd160 = "ripemd160",
        /// BLAKE2b without a key, whole hash of 64 (RFC 7693).
        Blake2b = "blake2b",
        /// BLAKE2s without a key, whole hash of 32 (RFC 7693).
        Blake2s = "blake2s",
    }
}

named! {
    /// Authenticated encryption with associated data.
    AeadAlgorithm {
        /// AES in Galois/counter mode (RFC 4106), keys of 16, 24 or 32, nonces of 12.
        AesGcm = "aes-gcm",
        /// AES in counter mode with CBC-MAC (RFC 3610, RFC 4309), keys of 16, 24 or 32. Nonces of 11 with a salt of 3, else
        /// of 12; an explicit one may have 7 to 13.
        AesCcm = "aes-ccm",
        /// ChaCha20 and Poly1305 (RFC 8439, RFC 7634), keys of 32, nonces of 12.
        ChaCha20Poly1305 = "chacha20-poly1305",
    }
}

named! {
    /// Compression.
    CompressionAlgorithm {
        /// Deflate without a frame around it (RFC 1951).
        Deflate = "deflate",
    }
}

impl CipherAlgorithm {
    /// Bytes of IV that the cipher takes; those in the packet are fewer by the salt (and by the counter of [`Self::AesCtr`]).
    #[must_use]
    pub fn iv_len(self) -> usize {
        match self {
            Self::Null | Self::Arc4 => 0,
            Self::AesCbc | Self::AesCtr | Self::AesXts | Self::ChaCha20 | Self::CamelliaCbc => 16,
            Self::DesCbc | Self::TripleDesCbc | Self::BlowfishCbc | Self::CastCbc | Self::SkipjackCbc => 8,
        }
    }

    /// Granularity of the cipher range, a power of two.
    #[must_use]
    pub fn block_len(self) -> usize {
        match self {
            Self::Null | Self::AesCtr | Self::AesXts | Self::ChaCha20 | Self::Arc4 => 1,
            Self::AesCbc | Self::CamelliaCbc => 16,
            Self::DesCbc | Self::TripleDesCbc | Self::BlowfishCbc | Self::CastCbc | Self::SkipjackCbc => 8,
        }
    }

    /// Fewest bytes that the cipher range may have.
    #[must_use]
    pub fn least_len(self) -> usize {
        if self == Self::AesXts { 16 } else { 0 }
    }

    /// True for one that is broken, and built only with the cargo feature `legacy`.
    #[must_use]
    pub fn is_legacy(self) -> bool {
        matches!(
            self,
            Self::DesCbc
                | Self::TripleDesCbc
                | Self::BlowfishCbc
                | Self::CastCbc
                | Self::SkipjackCbc
                | Self::Arc4
        )
    }
}

impl IntegrityAlgorithm {
    /// Bytes of a whole tag.
    #[must_use]
    pub fn digest_len(self) -> usize {
        match self {
            Self::HmacSha1 | Self::HmacRipemd160 | Self::KpdkSha1 => 20,
            Self::HmacSha224 => 28,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
            Self::Null | Self::HmacMd5 | Self::KpdkMd5 | Self::AesGmac => 16,
            Self::AesCbcMac | Self::Poly1305 | Self::AesCmac | Self::AesXcbcMac => 16,
        }
    }

    /// Bytes of nonce, salt included; 0 for those that take none.
    #[must_use]
    pub fn nonce_len(self) -> usize {
        if matches!(self, Self::AesGmac | Self::AesCbcMac) { 12 } else { 0 }
    }

    /// True for one that is broken, and built only with the cargo feature `legacy`.
    #[must_use]
    pub fn is_legacy(self) -> bool {
        matches!(self, Self::HmacMd5 | Self::KpdkMd5 | Self::KpdkSha1)
    }
}

impl DigestAlgorithm {
    /// Bytes of a whole digest.
    #[must_use]
    pub fn digest_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 | Self::Ripemd160 => 20,
            Self::Sha224 => 28,
            Self::Sha256 | Self::Blake2s => 32,
            Self::Sha384 => 48,
            Self::Sha512 | Self::Blake2b => 64,
        }
    }

    /// True for one that is broken, and built only with the cargo feature `legacy`.
    #[must_use]
    pub fn is_legacy(self) -> bool {
        self == Self::Md5
    }
}

impl AeadAlgorithm {
    /// Bytes of nonce, salt included; see [`Self::AesCcm`] for the one that has a choice.
    #[must_use]
    pub fn nonce_len(self) -> usize {
        12
    }
}

/// Any algorithm.
///
/// ```
/// use crypto_pmd::{Algorithm, CipherAlgorithm, IntegrityAlgorithm};
/// assert_eq!(Algorithm::parse("aes-cbc"), Some(Algorithm::Cipher(CipherAlgorithm::AesCbc)));
/// assert_eq!(Algorithm::from(IntegrityAlgorithm::HmacSha1).name(), "sha1-hmac");
/// assert_eq!(Algorithm::parse("rot13"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Algorithm {
    /// A cipher.
    Cipher(CipherAlgorithm),
    /// A keyed hash.
    Integrity(IntegrityAlgorithm),
    /// A hash without a key.
    Digest(DigestAlgorithm),
    /// Both at once.
    Aead(AeadAlgorithm),
    /// Compression.
    Compression(CompressionAlgorithm),
}

impl Algorithm {
    /// Every algorithm, family by family.
    pub fn all() -> impl Iterator<Item = Self> {
        let ciphers = CipherAlgorithm::ALL.iter().copied().map(Self::Cipher);
        let hashes = IntegrityAlgorithm::ALL.iter().copied().map(Self::Integrity);
        let digests = DigestAlgorithm::ALL.iter().copied().map(Self::Digest);
        let aeads = AeadAlgorithm::ALL.iter().copied().map(Self::Aead);
        let compression = CompressionAlgorithm::ALL.iter().copied().map(Self::Compression);
        ciphers.chain(hashes).chain(digests).chain(aeads).chain(compression)
    }

    /// Name in capability tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cipher(algorithm) => algorithm.name(),
            Self::Integrity(algorithm) => algorithm.name(),
            Self::Digest(algorithm) => algorithm.name(),
            Self::Aead(algorithm) => algorithm.name(),
            Self::Compression(algorithm) => algorithm.name(),
        }
    }

    /// The algorithm of this name, in lower case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::all().find(|algorithm| algorithm.name() == name)
    }

    /// True for one that is broken, and built only with the cargo feature `legacy`.
    #[must_use]
    pub fn is_legacy(self) -> bool {
        match self {
            Self::Cipher(algorithm) => algorithm.is_legacy(),
            Self::Integrity(algorithm) => algorithm.is_legacy(),
            Self::Digest(algorithm) => algorithm.is_legacy(),
            Self::Aead(_) | Self::Compression(_) => false,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<CipherAlgorithm> for Algorithm {
    fn from(algorithm: CipherAlgorithm) -> Self {
        Self::Cipher(algorithm)
    }
}

impl From<IntegrityAlgorithm> for Algorithm {
    fn from(algorithm: IntegrityAlgorithm) -> Self {
        Self::Integrity(algorithm)
    }
}

impl From<DigestAlgorithm> for Algorithm {
    fn from(algorithm: DigestAlgorithm) -> Self {
        Self::Digest(algorithm)
    }
}

impl From<AeadAlgorithm> for Algorithm {
    fn from(algorithm: AeadAlgorithm) -> Self {
        Self::Aead(algorithm)
    }
}

impl From<CompressionAlgorithm> for Algorithm {
    fn from(algorithm: CompressionAlgorithm) -> Self {
        Self::Compression(algorithm)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_algorithms_share_a_name_and_each_is_found_by_its_own() {
        let names: BTreeSet<_> = Algorithm::all().map(Algorithm::name).collect();
        assert_eq!((names.len(), Algorithm::all().count()), (40, 40));
        for algorithm in Algorithm::all() {
            assert_eq!(Algorithm::parse(algorithm.name()), Some(algorithm));
            assert_eq!(algorithm.to_string(), algorithm.name());
        }
        assert_eq!((Algorithm::parse("AES-CBC"), Algorithm::parse("")), (None, None));
    }

    #[test]
    fn what_is_broken_is_named() {
        let legacy: Vec<_> =
            Algorithm::all().filter(|algorithm| algorithm.is_legacy()).map(Algorithm::name).collect();
        let ciphers = ["des-cbc", "3des-cbc", "blowfish-cbc", "cast-cbc", "skipjack-cbc", "arc4"];
        let hashes = ["md5-hmac", "md5-kpdk", "sha1-kpdk", "md5"];
        assert_eq!(legacy, [&ciphers[..], &hashes].concat());
    }

    #[test]
    fn granularities_are_powers_of_two() {
        assert!(CipherAlgorithm::ALL.iter().all(|algorithm| algorithm.block_len().is_power_of_two()));
    }
}
