//! What the software driver can do, as a table.

use smallvec::{SmallVec, smallvec};

use crate::algorithm::{
    AeadAlgorithm, Algorithm, CipherAlgorithm, CompressionAlgorithm, DigestAlgorithm, IntegrityAlgorithm,
};
use crate::capability::{AlgorithmFlags, Capabilities, KeyLengths, Supported};

use super::queue::LONGEST;

/// Longest key of HMAC, in bytes; a longer one is hashed by who has it (RFC 2104 section 2).
const HMAC_KEY: usize = 1024;
/// Bytes of the tag of 96 bits that ESP's older algorithms have.
const SHORT: usize = 12;

pub(in crate::drivers) fn capabilities() -> Capabilities {
    Capabilities {
        synchronous: true,
        in_order: true,
        scatter_gather: true,
        ciphers: list(CipherAlgorithm::ALL, |algorithm| (cipher_keys(algorithm), SmallVec::new())),
        integrity: list(IntegrityAlgorithm::ALL, |algorithm| (hash_keys(algorithm), tags(algorithm))),
        digests: list(DigestAlgorithm::ALL, |algorithm| (KeyLengths::NONE, digests(algorithm))),
        aeads: list(AeadAlgorithm::ALL, aead),
        compression: list(CompressionAlgorithm::ALL, |_| (KeyLengths::NONE, SmallVec::new())),
        key_operations: super::key::support(),
        ..Capabilities::default()
    }
}

/// The table's lines for what was built.
fn list<A: Copy + Into<Algorithm>>(
    all: &[A],
    lengths: impl Fn(A) -> (KeyLengths, SmallVec<[usize; 4]>),
) -> Vec<Supported<A>> {
    let built = all.iter().filter(|&&algorithm| cfg!(feature = "legacy") || !algorithm.into().is_legacy());
    built
        .map(|&algorithm| Supported {
            algorithm,
            keys: lengths(algorithm).0,
            tags: lengths(algorithm).1,
            max_operand_bits: Some(LONGEST as u64 * 8),
            flags: AlgorithmFlags::new(algorithm.into().is_legacy(), true),
        })
        .collect()
}

fn aes() -> KeyLengths {
    KeyLengths::OneOf(smallvec![16, 24, 32])
}

fn just(len: usize) -> KeyLengths {
    KeyLengths::Range(len, len)
}

fn cipher_keys(algorithm: CipherAlgorithm) -> KeyLengths {
    match algorithm {
        CipherAlgorithm::Null => KeyLengths::NONE,
        CipherAlgorithm::AesCbc | CipherAlgorithm::AesCtr | CipherAlgorithm::CamelliaCbc => aes(),
        CipherAlgorithm::AesXts => KeyLengths::OneOf(smallvec![32, 64]),
        CipherAlgorithm::ChaCha20 => just(32),
        CipherAlgorithm::DesCbc => just(8),
        CipherAlgorithm::TripleDesCbc => just(24),
        CipherAlgorithm::BlowfishCbc => KeyLengths::Range(5, 56),
        CipherAlgorithm::CastCbc => KeyLengths::Range(5, 16),
        CipherAlgorithm::SkipjackCbc => just(10),
        CipherAlgorithm::Arc4 => KeyLengths::Range(5, 256),
    }
}

fn hash_keys(algorithm: IntegrityAlgorithm) -> KeyLengths {
    match algorithm {
        IntegrityAlgorithm::Null => KeyLengths::NONE,
        IntegrityAlgorithm::KpdkMd5 | IntegrityAlgorithm::KpdkSha1 => KeyLengths::Range(1, 64),
        IntegrityAlgorithm::AesGmac | IntegrityAlgorithm::AesCbcMac | IntegrityAlgorithm::AesCmac => aes(),
        IntegrityAlgorithm::Poly1305 => just(32),
        IntegrityAlgorithm::AesXcbcMac => just(16),
        _ => KeyLengths::Range(0, HMAC_KEY),
    }
}

/// RFC 2403, RFC 2404 and RFC 2857 cut to 96 bits, RFC 4868 halves the hash; the whole tag serves plain HMAC.
fn tags(algorithm: IntegrityAlgorithm) -> SmallVec<[usize; 4]> {
    let full = algorithm.digest_len();
    match algorithm {
        IntegrityAlgorithm::Null => smallvec![0, SHORT, full],
        IntegrityAlgorithm::AesGmac | IntegrityAlgorithm::Poly1305 => smallvec![full],
        IntegrityAlgorithm::AesCbcMac => smallvec![8, SHORT, full],
        IntegrityAlgorithm::AesCmac | IntegrityAlgorithm::AesXcbcMac => smallvec![SHORT, full],
        IntegrityAlgorithm::KpdkMd5 | IntegrityAlgorithm::KpdkSha1 => smallvec![SHORT, full],
        IntegrityAlgorithm::HmacMd5 | IntegrityAlgorithm::HmacSha1 | IntegrityAlgorithm::HmacRipemd160 => {
            smallvec![SHORT, full / 2, full]
        }
        _ => smallvec![full / 2, full],
    }
}

fn digests(algorithm: DigestAlgorithm) -> SmallVec<[usize; 4]> {
    let full = algorithm.digest_len();
    smallvec![SHORT, full / 2, full]
}

fn aead(algorithm: AeadAlgorithm) -> (KeyLengths, SmallVec<[usize; 4]>) {
    match algorithm {
        AeadAlgorithm::AesGcm | AeadAlgorithm::AesCcm => (aes(), smallvec![8, SHORT, 16]),
        AeadAlgorithm::ChaCha20Poly1305 => (just(32), smallvec![16]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_is_listed_with_its_flags_and_largest_operand() {
        let capabilities = capabilities();
        let listed: Vec<_> = capabilities.entries().map(|entry| entry.algorithm).collect();
        assert!(listed.iter().copied().eq(Algorithm::all()), "tests are built with the feature `legacy`");
        for entry in capabilities.entries() {
            assert_eq!(entry.flags, AlgorithmFlags::new(entry.algorithm.is_legacy(), true));
            assert_eq!(entry.max_operand_bits, Some(8 * (65_536 + 1024)));
        }
    }

    #[test]
    fn an_algorithm_of_every_family_is_listed_with_its_key_and_tag_lengths() {
        let capabilities = capabilities();
        let line = |name| {
            let entry = capabilities.entry(Algorithm::parse(name).unwrap()).unwrap();
            (entry.keys.to_string(), entry.tags.to_vec())
        };
        assert_eq!(line("aes-xts"), ("256, 512".to_owned(), vec![]));
        assert_eq!(line("blowfish-cbc"), ("40 to 448".to_owned(), vec![]));
        assert_eq!(line("aes-cmac"), ("128, 192, 256".to_owned(), vec![12, 16]));
        assert_eq!(line("sha2-384"), (String::new(), vec![12, 24, 48]));
        assert_eq!(line("chacha20-poly1305"), ("256".to_owned(), vec![16]));
        assert_eq!(line("deflate"), (String::new(), vec![]));
    }
}
