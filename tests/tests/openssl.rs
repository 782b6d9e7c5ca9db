//! Every algorithm of the software driver against a library that others wrote, on random keys, lengths and data: OpenSSL, with its
//! legacy provider for what is broken. What OpenSSL lacks is put together from its parts (XCBC, the keyed MD5 and SHA-1), judged
//! by libdeflate (Deflate), or has vectors only (Skipjack).

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod oracle;

use crypto_pmd::capability::KeyLengths;
use crypto_pmd::drivers::Software;
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::{Mbuf, Pool, PoolConfig};

use oracle::{digest, encrypt, name_of, providers, seal, tag_of};

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
