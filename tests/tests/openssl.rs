//! Every algorithm of the software driver against a library that others wrote, on random keys, lengths and data: OpenSSL, with its
//! legacy provider for what is broken. What OpenSSL lacks is put together from its parts (XCBC, the keyed MD5 and SHA-1), judged
//! by libdeflate (Deflate), or has vectors only (Skipjack).

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::OnceLock;

use crypto_pmd::capability::KeyLengths;
use crypto_pmd::drivers::Software;
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private};
use openssl::provider::Provider;
use openssl::sign::Signer;
use openssl::symm;
use pipeline::{Mbuf, Pool, PoolConfig};

const ROUNDS: u64 = 150;

/// One driver behind a dispatcher.
struct Bench {
    registry: Registry,
    dispatcher: Dispatcher,
    pool: Pool,
}

impl Bench {
    fn new() -> Self {
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        let dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
        Self {
            registry,
            dispatcher,
            pool: Pool::new(PoolConfig { buffers: 256, ..PoolConfig::default() }).unwrap(),
        }
    }

    /// Runs one job in a session of its own.
    fn run(
        &mut self,
        transform: Transform,
        bytes: &[u8],
        operation: Operation,
        shape: impl FnOnce(Job) -> Job,
    ) -> (Status, Vec<u8>) {
        let session = self.registry.open(transform.into(), Placement::Any).unwrap();
        let (mut jobs, mut done) = (JobBurst::new(), JobBurst::new());
        jobs.push(shape(Job::new(self.pool.alloc_copy(bytes).unwrap(), session, operation))).unwrap();
        assert_eq!((self.dispatcher.submit(&mut jobs), self.dispatcher.poll(&mut done)), (1, 1));
        assert!(self.registry.close(session));
        let job = done.pop().unwrap();
        (job.status(), whole(&job.into_packet()))
    }
}

fn whole(packet: &Mbuf) -> Vec<u8> {
    packet.segments().flatten().copied().collect()
}

/// Loads the provider of broken algorithms beside the usual one, for good.
fn providers() {
    static LOADED: OnceLock<[Provider; 2]> = OnceLock::new();
    LOADED.get_or_init(|| ["default", "legacy"].map(|name| Provider::load(None, name).unwrap()));
}

struct Random(fastrand::Rng);

impl Random {
    fn new(algorithm: Algorithm, round: u64) -> Self {
        let seed =
            algorithm.name().bytes().fold(round, |seed, byte| seed.wrapping_mul(257) + u64::from(byte));
        Self(fastrand::Rng::with_seed(seed))
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.0.u8(..)).collect()
    }

    /// Up to more than a buffer, short ones often.
    fn text(&mut self) -> Vec<u8> {
        let most = [17, 70, 300, 3000][self.0.usize(..4)];
        let len = self.0.usize(..most);
        self.bytes(len)
    }

    fn key(&mut self, algorithm: Algorithm) -> Vec<u8> {
        let software = Software::new();
        let len = match software.capabilities().entry(algorithm).unwrap().keys {
            KeyLengths::OneOf(lens) => lens[self.0.usize(..lens.len())],
            KeyLengths::Range(least, most) => self.0.usize(*least..=(*most).min(200)),
        };
        self.bytes(len)
    }

    fn tag_len(&mut self, algorithm: Algorithm) -> usize {
        let software = Software::new();
        let tags = software.capabilities().entry(algorithm).unwrap().tags;
        tags[self.0.usize(..tags.len())]
    }
}

/// OpenSSL's name of a cipher with a key of this length.
fn name_of(algorithm: CipherAlgorithm, key_len: usize) -> Option<String> {
    let bits = key_len * 8;
    Some(match algorithm {
        CipherAlgorithm::AesCbc => format!("AES-{bits}-CBC"),
        CipherAlgorithm::AesCtr => format!("AES-{bits}-CTR"),
        CipherAlgorithm::AesXts => format!("AES-{}-XTS", bits / 2),
        CipherAlgorithm::ChaCha20 => "ChaCha20".to_owned(),
        CipherAlgorithm::DesCbc => "DES-CBC".to_owned(),
        CipherAlgorithm::TripleDesCbc => "DES-EDE3-CBC".to_owned(),
        CipherAlgorithm::BlowfishCbc => "BF-CBC".to_owned(),
        CipherAlgorithm::CastCbc => "CAST5-CBC".to_owned(),
        CipherAlgorithm::CamelliaCbc => format!("CAMELLIA-{bits}-CBC"),
        CipherAlgorithm::Arc4 => "RC4".to_owned(),
        _ => return None,
    })
}

fn encrypt(name: &str, key: &[u8], iv: &[u8], text: &[u8]) -> Vec<u8> {
    let cipher = Cipher::fetch(None, name, None).unwrap();
    let mut context = CipherCtx::new().unwrap();
    context.encrypt_init(Some(&cipher), None, None).unwrap();
    if ["BF-CBC", "CAST5-CBC", "RC4"].contains(&name) {
        context.set_key_length(key.len()).unwrap();
    }
    context.encrypt_init(None, Some(key), (!iv.is_empty()).then_some(iv)).unwrap();
    context.set_padding(false);
    let mut sealed = Vec::new();
    context.cipher_update_vec(text, &mut sealed).unwrap();
    context.cipher_final_vec(&mut sealed).unwrap();
    sealed
}

#[test]
fn every_cipher_agrees_with_openssl() {
    providers();
    let mut bench = Bench::new();
    let mut compared = Vec::new();
    for &algorithm in CipherAlgorithm::ALL {
        if name_of(algorithm, 16).is_none() {
            continue;
        }
        compared.push(algorithm);
        for round in 0..ROUNDS {
            let mut random = Random::new(algorithm.into(), round);
            let key = random.key(algorithm.into());
            let mut iv = random.bytes(algorithm.iv_len());
            if algorithm == CipherAlgorithm::ChaCha20 {
                // The block counter's highest bit: what happens behind its end is another's business.
                iv[3] &= 0x7f;
            }
            let mut text = random.text();
            text.truncate(text.len() / algorithm.block_len() * algorithm.block_len());
            if algorithm == CipherAlgorithm::AesXts {
                text.extend([7; 16]);
            }
            let name = name_of(algorithm, key.len()).unwrap();
            let sealed = [&iv[..], &encrypt(&name, &key, &iv, &text)].concat();
            let opened = [&iv[..], &text].concat();
            for (operation, from, to) in
                [(Operation::Encrypt, &opened, &sealed), (Operation::Decrypt, &sealed, &opened)]
            {
                let transform = Transform::cipher(algorithm, Key::new(&key));
                let done = bench.run(transform, from, operation, |job| {
                    job.with_cipher(iv.len() as u16, text.len() as u32)
                });
                assert_eq!(done, (Status::Done, to.clone()), "{algorithm} {operation:?} round {round}");
            }
        }
    }
    use CipherAlgorithm::{Null, SkipjackCbc};
    assert!(
        CipherAlgorithm::ALL.iter().all(|one| compared.contains(one) || [Null, SkipjackCbc].contains(one))
    );
}

fn digest(name: &str, data: &[u8]) -> Vec<u8> {
    openssl::hash::hash(MessageDigest::from_name(name).unwrap(), data).unwrap().to_vec()
}

fn sign(key: &PKey<Private>, hash: Option<&str>, data: &[u8]) -> Vec<u8> {
    let mut signer = match hash {
        Some(name) => Signer::new(MessageDigest::from_name(name).unwrap(), key).unwrap(),
        None => Signer::new_without_digest(key).unwrap(),
    };
    signer.sign_oneshot_to_vec(data).unwrap()
}

/// RFC 1828 and RFC 1852: the key, filled up as a message of its own would be, the data, the key.
fn kpdk(name: &str, length: [u8; 8], key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut padded = key.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    digest(name, &[&padded[..], &length, data, key].concat())
}

fn aes_block(key: &[u8], block: &[u8]) -> Vec<u8> {
    encrypt("AES-128-ECB", key, &[], block)
}

/// RFC 3566 section 4, over single blocks.
fn xcbc(key: &[u8], data: &[u8]) -> Vec<u8> {
    let keys = [1, 2, 3].map(|number| aes_block(key, &[number; 16]));
    let mut blocks: Vec<Vec<u8>> = data.chunks(16).map(<[u8]>::to_vec).collect();
    if blocks.is_empty() {
        blocks.push(Vec::new());
    }
    let last = blocks.last_mut().unwrap();
    let mask = if last.len() == 16 { &keys[1] } else { &keys[2] };
    if last.len() < 16 {
        last.push(0x80);
        last.resize(16, 0);
    }
    last.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    blocks.iter().fold(vec![0; 16], |chain, block| {
        let mixed: Vec<u8> = chain.iter().zip(block).map(|(one, other)| one ^ other).collect();
        aes_block(&keys[0], &mixed)
    })
}

/// OpenSSL's name of an AEAD with a key of this length.
fn aead_name(algorithm: AeadAlgorithm, key_len: usize) -> String {
    match algorithm {
        AeadAlgorithm::AesGcm => format!("AES-{}-GCM", key_len * 8),
        AeadAlgorithm::AesCcm => format!("AES-{}-CCM", key_len * 8),
        AeadAlgorithm::ChaCha20Poly1305 => "ChaCha20-Poly1305".to_owned(),
        other => panic!("{other} is not compared with anything"),
    }
}

/// Ciphertext and tag.
fn seal(
    algorithm: AeadAlgorithm,
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    text: &[u8],
    tag_len: usize,
) -> Vec<u8> {
    let ccm = algorithm == AeadAlgorithm::AesCcm;
    let cipher = Cipher::fetch(None, &aead_name(algorithm, key.len()), None).unwrap();
    let mut context = CipherCtx::new().unwrap();
    context.encrypt_init(Some(&cipher), None, None).unwrap();
    context.set_iv_length(nonce.len()).unwrap();
    if ccm {
        context.set_tag_length(tag_len).unwrap();
    }
    context.encrypt_init(None, Some(key), Some(nonce)).unwrap();
    if ccm {
        context.set_data_len(text.len()).unwrap();
    }
    if !aad.is_empty() {
        context.cipher_update(aad, None).unwrap();
    }
    let mut sealed = Vec::new();
    context.cipher_update_vec(text, &mut sealed).unwrap();
    if !ccm {
        context.cipher_final_vec(&mut sealed).unwrap();
    }
    let mut tag = vec![0; tag_len];
    context.tag(&mut tag).unwrap();
    [sealed, tag].concat()
}

/// The tag as OpenSSL has it, or as it is made of OpenSSL's parts.
fn tag_of(algorithm: IntegrityAlgorithm, key: &[u8], nonce: &[u8], data: &[u8], tag_len: usize) -> Vec<u8> {
    let hmac = |name| sign(&PKey::hmac(key).unwrap(), Some(name), data);
    let bits = key.len() as u64 * 8;
    let whole = match algorithm {
        IntegrityAlgorithm::HmacMd5 => hmac("MD5"),
        IntegrityAlgorithm::HmacSha1 => hmac("SHA1"),
        IntegrityAlgorithm::HmacSha224 => hmac("SHA224"),
        IntegrityAlgorithm::HmacSha256 => hmac("SHA256"),
        IntegrityAlgorithm::HmacSha384 => hmac("SHA384"),
        IntegrityAlgorithm::HmacSha512 => hmac("SHA512"),
        IntegrityAlgorithm::HmacRipemd160 => hmac("RIPEMD160"),
        IntegrityAlgorithm::KpdkMd5 => kpdk("MD5", bits.to_le_bytes(), key, data),
        IntegrityAlgorithm::KpdkSha1 => kpdk("SHA1", bits.to_be_bytes(), key, data),
        IntegrityAlgorithm::AesGmac => seal(AeadAlgorithm::AesGcm, key, nonce, data, &[], tag_len),
        IntegrityAlgorithm::AesCbcMac => seal(AeadAlgorithm::AesCcm, key, nonce, data, &[], tag_len),
        IntegrityAlgorithm::Poly1305 => {
            sign(&PKey::private_key_from_raw_bytes(key, Id::POLY1305).unwrap(), None, data)
        }
        IntegrityAlgorithm::AesCmac => {
            let cipher = match key.len() {
                16 => symm::Cipher::aes_128_cbc(),
                24 => symm::Cipher::aes_192_cbc(),
                _ => symm::Cipher::aes_256_cbc(),
            };
            sign(&PKey::cmac(&cipher, key).unwrap(), None, data)
        }
        IntegrityAlgorithm::AesXcbcMac => xcbc(key, data),
        IntegrityAlgorithm::Null => vec![0; tag_len],
        other => panic!("{other} is not compared with anything"),
    };
    whole[..tag_len].to_vec()
}

/// Makes the tag, has it checked, and has another refused.
fn compare_tag(bench: &mut Bench, transform: &Transform, nonce: &[u8], data: &[u8], tag: &[u8], case: &str) {
    let (at, len) = (nonce.len() as u16, data.len() as u32);
    let shape = |job: Job| job.with_integrity(at, len).with_tag(u32::from(at) + len);
    let sealed = [nonce, data, tag].concat();
    let empty = [nonce, data, &vec![0x99; tag.len()]].concat();
    let made = bench.run(transform.clone(), &empty, Operation::Encrypt, shape);
    assert_eq!(made, (Status::Done, sealed.clone()), "{case}");
    let checked = bench.run(transform.clone(), &sealed, Operation::Decrypt, shape);
    assert_eq!(checked, (Status::Done, sealed.clone()), "{case}");
    if !tag.is_empty() {
        let mut forged = sealed;
        *forged.last_mut().unwrap() ^= 0x10;
        let refused = bench.run(transform.clone(), &forged, Operation::Decrypt, shape);
        assert_eq!(refused, (Status::IntegrityFailed, forged), "{case}");
    }
}

#[test]
fn every_keyed_hash_agrees_with_openssl() {
    providers();
    let mut bench = Bench::new();
    for &algorithm in IntegrityAlgorithm::ALL {
        for round in 0..ROUNDS {
            let mut random = Random::new(algorithm.into(), round);
            let (mut key, tag_len) = (random.key(algorithm.into()), random.tag_len(algorithm.into()));
            if key.is_empty() && algorithm != IntegrityAlgorithm::Null {
                // OpenSSL has no HMAC without a key.
                key.push(1);
            }
            let (nonce, data) = (random.bytes(algorithm.nonce_len()), random.text());
            let tag = tag_of(algorithm, &key, &nonce, &data, tag_len);
            let transform = Transform::integrity(algorithm, Key::new(&key), tag_len);
            compare_tag(&mut bench, &transform, &nonce, &data, &tag, &format!("{algorithm} round {round}"));
        }
    }
}

#[test]
fn every_digest_agrees_with_openssl() {
    providers();
    let mut bench = Bench::new();
    for &algorithm in DigestAlgorithm::ALL {
        let name = match algorithm {
            DigestAlgorithm::Md5 => "MD5",
            DigestAlgorithm::Sha1 => "SHA1",
            DigestAlgorithm::Sha224 => "SHA224",
            DigestAlgorithm::Sha256 => "SHA256",
            DigestAlgorithm::Sha384 => "SHA384",
            DigestAlgorithm::Sha512 => "SHA512",
            DigestAlgorithm::Ripemd160 => "RIPEMD160",
            DigestAlgorithm::Blake2b => "BLAKE2b512",
            DigestAlgorithm::Blake2s => "BLAKE2s256",
            other => panic!("{other} is not compared with anything"),
        };
        for round in 0..ROUNDS {
            let mut random = Random::new(algorithm.into(), round);
            let (len, data) = (random.tag_len(algorithm.into()), random.text());
            let expected = &digest(name, &data)[..len];
            let transform = Transform::digest(algorithm, len);
            compare_tag(&mut bench, &transform, &[], &data, expected, &format!("{algorithm} round {round}"));
        }
    }
}

#[test]
fn every_aead_agrees_with_openssl() {
    providers();
    let mut bench = Bench::new();
    for &algorithm in AeadAlgorithm::ALL {
        for round in 0..ROUNDS {
            let mut random = Random::new(algorithm.into(), round);
            let (key, tag_len) = (random.key(algorithm.into()), random.tag_len(algorithm.into()));
            let ccm = algorithm == AeadAlgorithm::AesCcm;
            let nonce_len = if ccm { random.0.usize(7..=13) } else { 12 };
            let (nonce, aad, text) = (random.bytes(nonce_len), random.text(), random.text());
            let sealed = [&aad[..], &seal(algorithm, &key, &nonce, &aad, &text, tag_len)].concat();
            let room = [&aad[..], &text, &vec![0; tag_len]].concat();
            let shape = |job: Job| {
                let mut extension = ExtensionPool::new(1).alloc().unwrap();
                assert!(extension.set_iv(&nonce));
                let job =
                    job.with_integrity(0, aad.len() as u32).with_cipher(aad.len() as u16, text.len() as u32);
                job.with_tag((aad.len() + text.len()) as u32).with_extension(extension)
            };
            let transform = || Transform::aead(algorithm, Key::new(&key), Key::default(), tag_len);
            let made = bench.run(transform(), &room, Operation::Encrypt, shape);
            assert_eq!(made, (Status::Done, sealed.clone()), "{algorithm} round {round}");
            let (status, opened) = bench.run(transform(), &sealed, Operation::Decrypt, shape);
            let end = opened.len() - tag_len;
            assert_eq!((status, &opened[..end]), (Status::Done, &room[..end]), "{algorithm} round {round}");
            let mut forged = sealed;
            let place = random.0.usize(..forged.len());
            forged[place] ^= 1;
            let refused = bench.run(transform(), &forged, Operation::Decrypt, shape);
            assert_eq!(refused, (Status::IntegrityFailed, forged), "{algorithm} round {round}");
        }
    }
}

#[test]
fn salts_of_esp_make_the_nonces_that_openssl_is_given() {
    let mut bench = Bench::new();
    for &algorithm in AeadAlgorithm::ALL {
        let salt_len = if algorithm == AeadAlgorithm::AesCcm { 3 } else { 4 };
        for round in 0..ROUNDS {
            let mut random = Random::new(algorithm.into(), round);
            let (key, salt, iv) = (random.key(algorithm.into()), random.bytes(salt_len), random.bytes(8));
            let (header, text) = (random.bytes(8), random.text());
            let sealed = seal(algorithm, &key, &[&salt[..], &iv].concat(), &header, &text, 16);
            let room = [&header[..], &iv, &text, &[0; 16]].concat();
            let shape = |job: Job| {
                job.with_integrity(0, 8)
                    .with_iv(8)
                    .with_cipher(16, text.len() as u32)
                    .with_tag(16 + text.len() as u32)
            };
            let transform = Transform::aead(algorithm, Key::new(&key), Key::new(&salt), 16);
            let expected = [&header[..], &iv, &sealed].concat();
            assert_eq!(
                bench.run(transform, &room, Operation::Encrypt, shape),
                (Status::Done, expected),
                "{algorithm} {round}"
            );
        }
    }
}

#[test]
fn deflate_agrees_with_libdeflate_both_ways() {
    let mut bench = Bench::new();
    let algorithm = CompressionAlgorithm::Deflate;
    for round in 0..ROUNDS {
        let mut random = Random::new(algorithm.into(), round);
        let word = random.text();
        let text: Vec<u8> =
            word.iter().copied().cycle().take(word.len() * random.0.usize(1..9)).take(60_000).collect();
        let transform = || Transform::compression(algorithm);
        let (status, ours) =
            bench.run(transform(), &text, Operation::Encrypt, |job| job.with_cipher(0, text.len() as u32));
        assert_eq!(status, Status::Done);
        let mut back = vec![0; text.len()];
        let len = libdeflater::Decompressor::new().deflate_decompress(&ours, &mut back);
        assert_eq!((len, &back), (Ok(text.len()), &text), "round {round}");
        let level = libdeflater::CompressionLvl::new((round % 13) as i32).unwrap();
        let mut compressor = libdeflater::Compressor::new(level);
        let mut theirs = vec![0; compressor.deflate_compress_bound(text.len())];
        let len = compressor.deflate_compress(&text, &mut theirs).unwrap();
        theirs.truncate(len);
        let done = bench.run(transform(), &theirs, Operation::Decrypt, |job| job.with_cipher(0, len as u32));
        assert_eq!(done, (Status::Done, text), "round {round}");
    }
}
