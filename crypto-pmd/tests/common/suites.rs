//! Sessions of every kind with the shape of their packets: the suites of ESP, and each algorithm by itself.

use crypto_pmd::drivers::Software;
use crypto_pmd::*;
use pipeline::Mbuf;

pub(crate) const HMACS: [IntegrityAlgorithm; 4] = [
    IntegrityAlgorithm::HmacSha1,
    IntegrityAlgorithm::HmacSha256,
    IntegrityAlgorithm::HmacSha384,
    IntegrityAlgorithm::HmacSha512,
];

/// Length of the tag that ESP uses (RFC 2404, RFC 4868), in bytes.
pub(crate) fn esp_tag_len(algorithm: IntegrityAlgorithm) -> usize {
    match algorithm {
        IntegrityAlgorithm::HmacSha1 => 12,
        other => other.digest_len() / 2,
    }
}

/// A session, with what it puts around the ciphertext; lengths in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Suite {
    pub(crate) params: SessionParams,
    pub(crate) aead: bool,
    pub(crate) iv_len: usize,
    pub(crate) tag_len: usize,
    /// Granularity of the cipher range; 0 where nothing is encrypted.
    pub(crate) block: usize,
}

/// SPI and sequence number.
pub(crate) const HEADER: usize = 8;

impl Suite {
    /// Every AES-CBC key length with every HMAC, then AES-GCM with every key length.
    pub(crate) fn all() -> Vec<Self> {
        let mut suites = Vec::new();
        for key_len in [16, 24, 32] {
            suites.extend(HMACS.map(|hmac| Self::cbc(key_len, hmac)));
            suites.push(Self::gcm(key_len));
        }
        suites
    }

    pub(crate) fn cbc(key_len: usize, hmac: IntegrityAlgorithm) -> Self {
        let (key, tag_len) = (key(key_len, 3), esp_tag_len(hmac));
        let integrity_key = self::key(hmac.digest_len(), 5);
        let params = SessionParams::from_iter([
            Transform::cipher(CipherAlgorithm::AesCbc, key),
            Transform::integrity(hmac, integrity_key, tag_len),
        ]);
        Self { params, aead: false, iv_len: 16, tag_len, block: 16 }
    }

    pub(crate) fn gcm(key_len: usize) -> Self {
        let params = Transform::aead(AeadAlgorithm::AesGcm, key(key_len, 7), key(4, 11), 16).into();
        Self { params, aead: true, iv_len: 8, tag_len: 16, block: 1 }
    }

    /// Each algorithm by itself with each of its tags and its shortest, longest and a middle key, in-packet IVs without a salt.
    pub(crate) fn alone() -> Vec<Self> {
        let software = Software::new();
        let entries = software.capabilities().entries();
        let mut suites = Vec::new();
        for entry in entries.filter(|entry| !matches!(entry.algorithm, Algorithm::Compression(_))) {
            let tags = if entry.tags.is_empty() { &[0][..] } else { entry.tags };
            for (key_len, &tag_len) in
                key_lens(entry.keys).iter().flat_map(|len| tags.iter().map(move |tag| (len, tag)))
            {
                suites.extend(Self::of(entry.algorithm, key(*key_len, 3), tag_len));
            }
        }
        suites
    }

    /// One algorithm with a key and a tag.
    pub(crate) fn of(algorithm: Algorithm, key: Key, tag_len: usize) -> Option<Self> {
        let shape = |transform: Transform, iv_len, block| Self {
            params: transform.into(),
            aead: matches!(algorithm, Algorithm::Aead(_)),
            iv_len,
            tag_len,
            block,
        };
        match algorithm {
            Algorithm::Cipher(cipher) => {
                let block = if cipher == CipherAlgorithm::AesXts { 16 } else { cipher.block_len() };
                Some(shape(Transform::cipher(cipher, key), cipher.iv_len(), block))
            }
            Algorithm::Integrity(hash) => {
                Some(shape(Transform::integrity(hash, key, tag_len), hash.nonce_len(), 0))
            }
            Algorithm::Digest(digest) => Some(shape(Transform::digest(digest, tag_len), 0, 0)),
            Algorithm::Aead(aead) => {
                let transform = Transform::aead(aead, key, Key::default(), tag_len);
                Some(shape(transform, aead.nonce_len(), 1))
            }
            _ => None,
        }
    }

    /// True when a tag of its own tells every change of what it covers.
    pub(crate) fn detects(&self) -> bool {
        self.tag_len > 0
            && !self.params.transforms.iter().any(|transform| is_null_hash(transform.algorithm()))
    }

    /// True when an empty cipher range will do: but for XTS, always.
    pub(crate) fn takes_nothing(&self) -> bool {
        !self.params.transforms.iter().any(|one| one.algorithm() == CipherAlgorithm::AesXts.into())
    }

    /// True when something is encrypted.
    pub(crate) fn encrypts(&self) -> bool {
        let null = Algorithm::Cipher(CipherAlgorithm::Null);
        self.block > 0 && self.params.transforms.iter().all(|transform| transform.algorithm() != null)
    }

    /// A packet with header, IV, `payload` and room for the tag, the bytes of the rest made from `seed`.
    pub(crate) fn plain(&self, payload: &[u8], seed: u8) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..HEADER + self.iv_len).map(|n| seed.wrapping_add(n as u8)).collect();
        bytes.extend_from_slice(payload);
        bytes.extend(std::iter::repeat_n(0xee, self.tag_len));
        bytes
    }

    /// The one step of a session with one transform, over a packet of that layout and this length.
    pub(crate) fn step(&self, len: usize) -> Step {
        let algorithm = self.params.transforms[0].algorithm();
        let (text_at, tag_at) = (HEADER + self.iv_len, len - self.tag_len);
        let start = if self.block > 0 { text_at } else { 0 };
        Step::new(algorithm, Operation::Encrypt, start as u32, (tag_at - start) as u32)
            .with_iv(HEADER as u32, Iv::Present)
            .with_tag(tag_at as u32)
            .with_associated(0, if self.aead { HEADER as u32 } else { 0 })
    }

    /// The job over a packet of that layout.
    pub(crate) fn job(
        &self,
        packet: Mbuf,
        session: SessionId,
        operation: Operation,
        esn: Option<u32>,
    ) -> Job {
        let len = packet.packet_len();
        let (cipher_at, tag_at) = (HEADER + self.iv_len, len - self.tag_len);
        let covered = if self.aead { HEADER } else { tag_at };
        let job = Job::new(packet, session, operation)
            .with_cipher(cipher_at as u16, (tag_at - cipher_at) as u32)
            .with_integrity(0, covered as u32)
            .with_iv(HEADER as u16)
            .with_tag(tag_at as u32);
        match esn {
            Some(high) => job.with_esn_high(high),
            None => job,
        }
    }
}

fn is_null_hash(algorithm: Algorithm) -> bool {
    algorithm == Algorithm::Integrity(IntegrityAlgorithm::Null)
}

/// The shortest, the longest, and one between.
fn key_lens(keys: &capability::KeyLengths) -> Vec<usize> {
    match keys {
        capability::KeyLengths::OneOf(lens) => lens.to_vec(),
        capability::KeyLengths::Range(least, most) => {
            let mut lens = vec![*least, least.midpoint(*most).min(40).max(*least), (*most).min(100)];
            lens.dedup();
            lens
        }
    }
}

pub(crate) fn key(len: usize, step: u8) -> Key {
    let bytes: Vec<u8> = (0..len).map(|n| (n as u8).wrapping_mul(step).wrapping_add(step)).collect();
    Key::new(&bytes)
}
