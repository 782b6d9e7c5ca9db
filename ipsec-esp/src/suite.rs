//! ESP suites by their IKEv2 keyword (`aes128-sha1`, `aes256gcm16`), as data: every length that packet building needs.
//!
//! Invariant: a [`Suite`] that exists is one that ESP here can run, and it always gives integrity (a separate code
//! or an AEAD); [`Suite::parse`] is the only way from text to it, and a legacy suite has to be asked for by
//! [`Suite::parse_with_legacy`]. It holds no keys and runs no cipher.

use std::fmt;

use thiserror::Error;

/// What encrypts the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// No encryption (RFC 2410): no IV, blocks of one byte.
    Null,
    /// AES in CBC mode (RFC 3602): a 16-byte unpredictable IV in each packet.
    AesCbc,
    /// AES in Galois/counter mode with a 16-byte tag (RFC 4106): 4-byte salt, 8-byte IV in each packet.
    AesGcm,
    /// Triple DES in CBC mode (RFC 2451), legacy: an 8-byte unpredictable IV in each packet.
    TripleDesCbc,
    /// DES in CBC mode (RFC 2405), broken: an 8-byte unpredictable IV in each packet.
    DesCbc,
}

/// What authenticates the packet where the cipher does not: HMAC over a hash, truncated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Integrity {
    /// HMAC-SHA1-96 (RFC 2404).
    Sha1,
    /// HMAC-SHA-256-128 (RFC 4868).
    Sha256,
    /// HMAC-SHA-384-192 (RFC 4868).
    Sha384,
    /// HMAC-SHA-512-256 (RFC 4868).
    Sha512,
    /// HMAC-MD5-96 (RFC 2403), broken.
    Md5,
}

impl Integrity {
    /// Length of the key in bytes: that of the hash's output (RFC 2404 section 3, RFC 4868 section 2.1.1).
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
            Self::Md5 => 16,
        }
    }

    /// Length of the truncated code in the packet, in bytes.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            Self::Sha1 | Self::Md5 => 12,
            Self::Sha256 => 16,
            Self::Sha384 => 24,
            Self::Sha512 => 32,
        }
    }
}

/// One suite. `Copy`, 24 bytes; all lengths are in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Suite {
    name: &'static str,
    cipher: Cipher,
    cipher_key_len: u8,
    integrity: Option<Integrity>,
}

impl Suite {
    /// Every suite that can be run, in the order in which they are listed to people.
    pub const ALL: &'static [Self] = &[
        cbc("aes128-sha1", 16, Integrity::Sha1),
        cbc("aes128-sha256", 16, Integrity::Sha256),
        cbc("aes128-sha384", 16, Integrity::Sha384),
        cbc("aes128-sha512", 16, Integrity::Sha512),
        cbc("aes192-sha1", 24, Integrity::Sha1),
        cbc("aes192-sha256", 24, Integrity::Sha256),
        cbc("aes192-sha384", 24, Integrity::Sha384),
        cbc("aes192-sha512", 24, Integrity::Sha512),
        cbc("aes256-sha1", 32, Integrity::Sha1),
        cbc("aes256-sha256", 32, Integrity::Sha256),
        cbc("aes256-sha384", 32, Integrity::Sha384),
        cbc("aes256-sha512", 32, Integrity::Sha512),
        gcm("aes128gcm16", 16),
        gcm("aes192gcm16", 24),
        gcm("aes256gcm16", 32),
        null("null-sha1", Integrity::Sha1),
        null("null-sha256", Integrity::Sha256),
    ];

    /// Suites for peers that have nothing better: RFC 8221 marks something in them MUST NOT or SHOULD NOT.
    pub const LEGACY: &'static [Self] = &[
        tdes("3des-sha1", Integrity::Sha1),
        tdes("3des-sha256", Integrity::Sha256),
        tdes("3des-md5", Integrity::Md5),
        des("des-sha1", Integrity::Sha1),
        des("des-md5", Integrity::Md5),
        cbc("aes128-md5", 16, Integrity::Md5),
        null("null-md5", Integrity::Md5),
    ];

    /// As [`Suite::parse`], for one who has said that legacy suites will do.
    ///
    /// # Errors
    ///
    /// As [`Suite::parse`], but for legacy suites.
    ///
    /// ```
    /// use ipsec_esp::suite::{Suite, UnknownSuite};
    /// assert!(matches!(Suite::parse("3des-sha1"), Err(UnknownSuite::Legacy { .. })));
    /// assert!(Suite::parse_with_legacy("3des-sha1")?.legacy().is_some());
    /// # Ok::<(), UnknownSuite>(())
    /// ```
    pub fn parse_with_legacy(name: &str) -> Result<Self, UnknownSuite> {
        let wanted = name.to_ascii_lowercase();
        match Self::LEGACY.iter().find(|suite| suite.name == wanted) {
            Some(suite) => Ok(*suite),
            None => Self::parse(name),
        }
    }

    /// Why it is legacy, with the source; `None` for all others.
    #[must_use]
    pub const fn legacy(&self) -> Option<&'static str> {
        match (self.cipher, self.integrity) {
            (Cipher::DesCbc, _) => Some("DES MUST NOT be used, RFC 8221 section 5"),
            (_, Some(Integrity::Md5)) => Some("HMAC-MD5 MUST NOT be used, RFC 8221 section 6"),
            (Cipher::TripleDesCbc, _) => Some("triple DES SHOULD NOT be used, RFC 8221 section 5"),
            _ => None,
        }
    }

    /// The suite with this keyword. Case does not matter; blanks do.
    ///
    /// # Errors
    ///
    /// [`UnknownSuite::Legacy`] for one that has to be asked for by [`Suite::parse_with_legacy`],
    /// [`UnknownSuite::NotSupportedYet`] for a name that means something but is not built,
    /// [`UnknownSuite::NoSuchSuite`] with the nearest names for anything else.
    ///
    /// ```
    /// let suite = ipsec_esp::suite::Suite::parse("aes256-sha256")?;
    /// assert_eq!((suite.encryption_key_len(), suite.integrity_key_len(), suite.icv_len()), (32, 32, 16));
    /// # Ok::<(), ipsec_esp::suite::UnknownSuite>(())
    /// ```
    pub fn parse(name: &str) -> Result<Self, UnknownSuite> {
        let wanted = name.to_ascii_lowercase();
        if let Some(suite) = Self::ALL.iter().find(|suite| suite.name == wanted) {
            return Ok(*suite);
        }
        if let Some(suite) = Self::LEGACY.iter().find(|suite| suite.name == wanted) {
            return Err(UnknownSuite::Legacy { name: suite.name, why: suite.legacy().unwrap_or_default() });
        }
        if is_planned(&wanted) {
            return Err(UnknownSuite::NotSupportedYet { name: name.to_owned() });
        }
        Err(UnknownSuite::NoSuchSuite { name: name.to_owned(), near: nearest(&wanted) })
    }

    /// The keyword, in lower case.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What encrypts.
    #[must_use]
    pub const fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// What authenticates, or `None` where the cipher itself does (GCM).
    #[must_use]
    pub const fn integrity(&self) -> Option<Integrity> {
        self.integrity
    }

    /// Whether encryption and integrity are one algorithm.
    #[must_use]
    pub const fn is_aead(&self) -> bool {
        matches!(self.cipher, Cipher::AesGcm)
    }

    /// Length of the cipher's own key, without the salt.
    #[must_use]
    pub const fn cipher_key_len(&self) -> usize {
        self.cipher_key_len as usize
    }

    /// Length of the salt that follows the key in the keying material (RFC 4106 section 8.1).
    #[must_use]
    pub const fn salt_len(&self) -> usize {
        match self.cipher {
            Cipher::AesGcm => 4,
            Cipher::Null | Cipher::AesCbc | Cipher::TripleDesCbc | Cipher::DesCbc => 0,
        }
    }

    /// Length of the encryption key as configured: the cipher's key, then the salt.
    #[must_use]
    pub const fn encryption_key_len(&self) -> usize {
        self.cipher_key_len() + self.salt_len()
    }

    /// Length of the integrity key as configured, 0 where there is none.
    #[must_use]
    pub const fn integrity_key_len(&self) -> usize {
        match self.integrity {
            Some(integrity) => integrity.key_len(),
            None => 0,
        }
    }

    /// Length of the IV that travels in each packet, after the sequence number.
    #[must_use]
    pub const fn iv_len(&self) -> usize {
        match self.cipher {
            Cipher::Null => 0,
            Cipher::AesCbc => 16,
            Cipher::AesGcm | Cipher::TripleDesCbc | Cipher::DesCbc => 8,
        }
    }

    /// Length of the integrity check value at the end of each packet.
    #[must_use]
    pub const fn icv_len(&self) -> usize {
        match self.integrity {
            Some(integrity) => integrity.icv_len(),
            None => 16,
        }
    }

    /// The cipher's block length: ciphertext is a multiple of it.
    #[must_use]
    pub const fn block_len(&self) -> usize {
        match self.cipher {
            Cipher::AesCbc => 16,
            Cipher::TripleDesCbc | Cipher::DesCbc => 8,
            Cipher::Null | Cipher::AesGcm => 1,
        }
    }

    /// What payload, padding and the two trailer bytes together are a multiple of: the block, and at least 4 so
    /// that the trailer ends on a word (RFC 4303 section 2.4).
    #[must_use]
    pub const fn alignment(&self) -> usize {
        let block = self.block_len();
        if block > 4 { block } else { 4 }
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Suite({})", self.name)
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// Why a keyword is not a suite.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UnknownSuite {
    /// A suite that is there only for those who ask for it.
    #[error("suite \"{name}\" is legacy: {why}; choose another, as aes128gcm16")]
    Legacy {
        /// Its keyword.
        name: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A real suite that is not built yet.
    #[error("suite \"{name}\" is not supported yet; supported: {}", names(Suite::ALL))]
    NotSupportedYet {
        /// The keyword as it was given.
        name: String,
    },
    /// Not the name of any suite.
    #[error("there is no suite \"{name}\"; near it: {}", near.join(", "))]
    NoSuchSuite {
        /// The keyword as it was given.
        name: String,
        /// Up to three supported names, the nearest first.
        near: Vec<&'static str>,
    },
}

const fn cbc(name: &'static str, cipher_key_len: u8, integrity: Integrity) -> Suite {
    Suite { name, cipher: Cipher::AesCbc, cipher_key_len, integrity: Some(integrity) }
}

const fn gcm(name: &'static str, cipher_key_len: u8) -> Suite {
    Suite { name, cipher: Cipher::AesGcm, cipher_key_len, integrity: None }
}

const fn tdes(name: &'static str, integrity: Integrity) -> Suite {
    Suite { name, cipher: Cipher::TripleDesCbc, cipher_key_len: 24, integrity: Some(integrity) }
}

const fn des(name: &'static str, integrity: Integrity) -> Suite {
    Suite { name, cipher: Cipher::DesCbc, cipher_key_len: 8, integrity: Some(integrity) }
}

const fn null(name: &'static str, integrity: Integrity) -> Suite {
    Suite { name, cipher: Cipher::Null, cipher_key_len: 0, integrity: Some(integrity) }
}

fn names(suites: &[Suite]) -> String {
    suites.iter().map(|suite| suite.name).collect::<Vec<_>>().join(", ")
}

/// The suites meant by the obligations (ESP-5) beyond those of [`Suite::ALL`], by the two words of their keyword.
fn is_planned(name: &str) -> bool {
    const INTEGRITY: &[&str] = &["sha1", "sha256", "sha384", "sha512", "aesxcbc", "aescmac"];
    match name.split_once('-') {
        None => is_planned_aead(name),
        Some((cipher, integrity)) => is_separate_cipher(cipher) && INTEGRITY.contains(&integrity),
    }
}

fn is_planned_aead(name: &str) -> bool {
    let Some(mode) = without_aes_key_len(name) else { return name == "chacha20poly1305" };
    ["gcm8", "gcm12", "ccm8", "ccm12", "ccm16", "gmac"].contains(&mode)
}

fn is_separate_cipher(name: &str) -> bool {
    const CAMELLIA: &[&str] = &["camellia128", "camellia192", "camellia256"];
    match without_aes_key_len(name) {
        Some(mode) => mode.is_empty() || mode == "ctr",
        None => name == "null" || name == "3des" || CAMELLIA.contains(&name),
    }
}

fn without_aes_key_len(name: &str) -> Option<&str> {
    ["aes128", "aes192", "aes256"].iter().find_map(|prefix| name.strip_prefix(prefix))
}

fn nearest(name: &str) -> Vec<&'static str> {
    // A keyword is short; comparing more of a long mistake with each name would only cost time.
    let name: String = name.chars().take(64).collect();
    let mut near: Vec<_> =
        Suite::ALL.iter().map(|suite| (strsim::levenshtein(&name, suite.name), suite.name)).collect();
    near.sort_by_key(|(distance, _)| *distance);
    near.truncate(3);
    near.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_is_found_by_its_own_name_in_any_case() {
        for suite in Suite::ALL {
            assert_eq!(Suite::parse(suite.name()).as_ref(), Ok(suite));
            assert_eq!(Suite::parse(&suite.name().to_uppercase()).as_ref(), Ok(suite));
        }
    }

    #[test]
    fn lengths_are_those_of_the_standards() {
        // name, key, salt, integrity key, iv, icv, alignment
        let expected = [
            ("aes128-sha1", 16, 0, 20, 16, 12, 16),
            ("aes192-sha384", 24, 0, 48, 16, 24, 16),
            ("aes256-sha512", 32, 0, 64, 16, 32, 16),
            ("aes128gcm16", 16, 4, 0, 8, 16, 4),
            ("aes256gcm16", 32, 4, 0, 8, 16, 4),
            ("null-sha1", 0, 0, 20, 0, 12, 4),
            ("null-sha256", 0, 0, 32, 0, 16, 4),
        ];
        for (name, key, salt, integrity_key, iv, icv, alignment) in expected {
            let suite = Suite::parse(name).unwrap();
            assert_eq!(suite.cipher_key_len(), key, "{name}");
            assert_eq!(suite.salt_len(), salt, "{name}");
            assert_eq!(suite.encryption_key_len(), key + salt, "{name}");
            assert_eq!(suite.integrity_key_len(), integrity_key, "{name}");
            assert_eq!(suite.iv_len(), iv, "{name}");
            assert_eq!(suite.icv_len(), icv, "{name}");
            assert_eq!(suite.alignment(), alignment, "{name}");
        }
    }

    #[test]
    fn every_suite_has_integrity() {
        assert!(Suite::ALL.iter().all(|suite| suite.is_aead() != suite.integrity().is_some()));
    }

    #[test]
    fn a_suite_still_to_be_built_is_told_apart_from_a_mistake() {
        let planned = [
            "chacha20poly1305",
            "aes128ctr-sha256",
            "aes128ccm16",
            "aes256gmac",
            "aes256gcm12",
            "3des-sha512",
            "camellia256-sha512",
            "aes128-aesxcbc",
            "null-sha512",
        ];
        for name in planned {
            assert_eq!(Suite::parse(name), Err(UnknownSuite::NotSupportedYet { name: name.to_owned() }));
        }
        for name in
            ["", "aes", "aes128", "aes128-", "-sha1", "null", "chacha20poly1305-sha1", "aes128gcm16-sha1"]
        {
            assert!(matches!(Suite::parse(name), Err(UnknownSuite::NoSuchSuite { .. })), "{name}");
        }
    }

    #[test]
    fn a_legacy_suite_has_to_be_asked_for_and_says_why_it_is_one() {
        for suite in Suite::LEGACY {
            let why = suite.legacy().unwrap();
            assert_eq!(Suite::parse(suite.name()), Err(UnknownSuite::Legacy { name: suite.name(), why }));
            assert_eq!(Suite::parse_with_legacy(&suite.name().to_uppercase()).as_ref(), Ok(suite));
        }
        for suite in Suite::ALL {
            assert_eq!((suite.legacy(), Suite::parse_with_legacy(suite.name()).as_ref()), (None, Ok(suite)));
        }
        let triple = Suite::parse_with_legacy("3des-md5").unwrap();
        let lengths = [triple.encryption_key_len(), triple.integrity_key_len(), triple.iv_len()];
        assert_eq!((lengths, triple.icv_len(), triple.alignment()), ([24, 16, 8], 12, 8));
        assert!(Suite::parse_with_legacy("des-md4").is_err());
    }

    #[test]
    fn a_mistyped_name_is_answered_with_the_name_that_was_meant() {
        for (typed, meant) in
            [("aes128-sh1", "aes128-sha1"), ("aes256gmc16", "aes256gcm16"), ("nul-sha1", "null-sha1")]
        {
            let Err(UnknownSuite::NoSuchSuite { near, .. }) = Suite::parse(typed) else { panic!("{typed}") };
            assert_eq!(near.first(), Some(&meant));
            assert_eq!(near.len(), 3);
        }
    }
}
