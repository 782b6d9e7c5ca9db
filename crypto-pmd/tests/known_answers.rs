//! Every algorithm gives what its standard says: tables of vectors, each with its source, through registry, dispatcher and
//! software driver, and through the scheduler, both ways, as jobs without steps and with them. `published_vectors` has those of ESP's oldest suites,
//! `wycheproof` its own.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;

use common::{Bench, hex, rows};
use crypto_pmd::step::IvBytes;
use crypto_pmd::*;

const CIPHERS: &str = include_str!("data/ciphers.txt");
const MACS: &str = include_str!("data/macs.txt");
const DIGESTS: &str = include_str!("data/digests.txt");
const AEADS: &str = include_str!("data/aeads.txt");

fn parse(name: &str) -> Algorithm {
    Algorithm::parse(name).expect("an unknown algorithm")
}

/// Opens a session, runs a job over a copy of `bytes`, closes the session.
fn run(
    bench: &mut Bench,
    params: &Transform,
    bytes: &[u8],
    job: impl Fn(Job) -> Job,
    operation: Operation,
) -> (Status, Vec<u8>) {
    let session = bench.open(params.clone());
    let done = bench.finish(job(Job::new(bench.packet(bytes), session, operation)));
    assert!(bench.registry.close(session));
    done
}

fn with_step(job: Job, step: Step, key: Option<&[u8]>) -> Job {
    let mut extension = ExtensionPool::new(1).alloc().unwrap();
    assert!(extension.push_step(step));
    assert!(key.is_none_or(|key| extension.set_step_key(0, key)));
    job.with_extension(extension)
}

/// A vector of a cipher in every manner in which a job may ask for it; `from` becomes `to`.
fn check_cipher(
    bench: &mut Bench,
    case: &str,
    transform: &Transform,
    iv: &[u8],
    [from, to]: [&[u8]; 2],
    operation: Operation,
) {
    let (before, after) = ([iv, from].concat(), [iv, to].concat());
    let (at, len) = (iv.len() as u32, from.len() as u32);
    let plain = run(bench, transform, &before, |job| job.with_iv(0).with_cipher(at as u16, len), operation);
    assert_eq!(plain, (Status::Done, after.clone()), "{case} {operation:?}");
    let step = Step::new(transform.algorithm(), operation, at, len).with_iv(0, Iv::Present);
    let present = run(bench, transform, &before, |job| with_step(job, step, None), operation);
    assert_eq!(present, (Status::Done, after), "{case} {operation:?} by a step");
    let bytes = IvBytes::new(iv).unwrap();
    let step =
        Step::new(transform.algorithm(), operation, 0, len).with_iv(0, Iv::Explicit { bytes, write: false });
    let explicit = run(bench, transform, from, |job| with_step(job, step, None), operation);
    assert_eq!(explicit, (Status::Done, to.to_vec()), "{case} {operation:?} by a step with its IV");
}

#[test]
fn every_cipher_gives_the_published_ciphertexts_and_takes_them_back() {
    for mut bench in Bench::each() {
        let mut seen = BTreeSet::new();
        for [case, name, key, salt, iv, plain, sealed] in rows::<7>(CIPHERS) {
            let Algorithm::Cipher(algorithm) = parse(name) else { panic!("{name} is no cipher") };
            let transform = Transform::cipher(algorithm, Key::new(&hex(key))).with_salt(Key::new(&hex(salt)));
            let (iv, plain, sealed) = (hex(iv), hex(plain), hex(sealed));
            check_cipher(&mut bench, case, &transform, &iv, [&plain, &sealed], Operation::Encrypt);
            check_cipher(&mut bench, case, &transform, &iv, [&sealed, &plain], Operation::Decrypt);
            seen.insert(algorithm);
        }
        // AES-CBC is in `published_vectors`.
        let missing: Vec<_> =
            CipherAlgorithm::ALL.iter().filter(|algorithm| !seen.contains(algorithm)).collect();
        assert_eq!(missing, [&CipherAlgorithm::AesCbc]);
    }
}

#[test]
fn counter_blocks_of_esp_are_those_of_plain_counter_mode() {
    for mut bench in Bench::each() {
        let esp: Vec<_> = rows::<7>(CIPHERS).into_iter().filter(|row| row[3] != "-").collect();
        assert_eq!(esp.len(), 9);
        for [case, _, key, salt, iv, plain, sealed] in esp {
            let transform = Transform::cipher(CipherAlgorithm::AesCtr, Key::new(&hex(key)));
            let block = [hex(salt), hex(iv), vec![0, 0, 0, 1]].concat();
            check_cipher(
                &mut bench,
                case,
                &transform,
                &block,
                [&hex(plain), &hex(sealed)],
                Operation::Encrypt,
            );
        }
    }
}

/// A tag made and checked over data, by a job without steps and by a step with the key of the request; then refused with a
/// bit flipped in it.
fn check_tag(bench: &mut Bench, case: &str, transform: &Transform, nonce: &[u8], data: &[u8], tag: &[u8]) {
    let (at, tag_at) = (nonce.len() as u32, (nonce.len() + data.len()) as u32);
    let covered = data.len() as u32;
    let straight = |job: Job| job.with_iv(0).with_integrity(at as u16, covered).with_tag(tag_at);
    let front = [nonce, data].concat();
    let (empty, sealed) = ([&front[..], &vec![0xee; tag.len()]].concat(), [&front[..], tag].concat());
    let done = (Status::Done, sealed.clone());
    assert_eq!(run(bench, transform, &empty, straight, Operation::Encrypt), done, "{case}");
    assert_eq!(run(bench, transform, &sealed, straight, Operation::Decrypt), done, "{case}");
    let mut forged = sealed.clone();
    *forged.last_mut().unwrap() ^= 1;
    let refused = (Status::IntegrityFailed, forged.clone());
    assert_eq!(run(bench, transform, &forged, straight, Operation::Decrypt), refused, "{case}");

    let step = |operation| {
        Step::new(transform.algorithm(), operation, at, covered).with_iv(0, Iv::Present).with_tag(tag_at)
    };
    let key = transform.key().map(Key::bytes).filter(|key| (1..=extension::MAX_KEY).contains(&key.len()));
    // The session's own key is then another.
    let other = match (transform.clone(), key) {
        (Transform::Integrity { algorithm, key, tag_len, .. }, Some(_)) => {
            Transform::integrity(algorithm, Key::new(&vec![0x77; key.len()]), tag_len)
        }
        (transform, _) => transform,
    };
    for (operation, from, expected) in [
        (Operation::Encrypt, &empty, &done),
        (Operation::Decrypt, &sealed, &done),
        (Operation::Decrypt, &forged, &refused),
    ] {
        let by_step = run(bench, &other, from, |job| with_step(job, step(operation), key), operation);
        assert_eq!(&by_step, expected, "{case} {operation:?} by a step");
    }
}

#[test]
fn every_keyed_hash_gives_the_published_tags_and_refuses_others() {
    for mut bench in Bench::each() {
        let mut seen = BTreeSet::new();
        for [case, name, key, nonce, data, tag] in rows::<6>(MACS) {
            let Algorithm::Integrity(algorithm) = parse(name) else { panic!("{name} is no keyed hash") };
            let tag = hex(tag);
            // RFC 4231 cuts one to 128 bits, which ESP does not: it is compared with the front of the whole.
            if tag.len() != algorithm.digest_len() {
                assert!(case.starts_with("4231-5"), "{case}");
                continue;
            }
            let transform = Transform::integrity(algorithm, Key::new(&hex(key)), tag.len());
            check_tag(&mut bench, case, &transform, &hex(nonce), &hex(data), &tag);
            seen.insert(algorithm);
        }
        // HMAC with the other hashes is in `published_vectors`, the MAC of CCM in `wycheproof`; the keyed MD5 and SHA-1 have no
        // published vectors, and are compared with another library's hashes in the tests of all crates together.
        use IntegrityAlgorithm::{
            AesCbcMac, HmacSha1, HmacSha256, HmacSha384, HmacSha512, KpdkMd5, KpdkSha1,
        };
        let missing: BTreeSet<_> =
            IntegrityAlgorithm::ALL.iter().copied().filter(|one| !seen.contains(one)).collect();
        let elsewhere = [AesCbcMac, HmacSha1, HmacSha256, HmacSha384, HmacSha512, KpdkMd5, KpdkSha1];
        assert_eq!(missing, BTreeSet::from(elsewhere));
    }
}

#[test]
fn tags_are_the_fronts_of_the_whole_hash_at_every_length_that_is_listed() {
    for mut bench in Bench::each() {
        for [case, name, key, nonce, data, tag] in rows::<6>(MACS) {
            let (algorithm, tag) = (parse(name), hex(tag));
            let Algorithm::Integrity(hash) = algorithm else { panic!("{name} is no keyed hash") };
            if tag.len() != hash.digest_len() {
                continue;
            }
            let software = drivers::Software::new();
            for &len in software.capabilities().entry(algorithm).unwrap().tags.iter().filter(|&&len| len > 0)
            {
                let transform = Transform::integrity(hash, Key::new(&hex(key)), len);
                check_tag(&mut bench, case, &transform, &hex(nonce), &hex(data), &tag[..len]);
            }
        }
    }
}

#[test]
fn every_digest_is_the_published_one_whole_and_cut() {
    for mut bench in Bench::each() {
        let mut seen = BTreeSet::new();
        let software = drivers::Software::new();
        for [case, name, data, digest] in rows::<4>(DIGESTS) {
            let Algorithm::Digest(algorithm) = parse(name) else { panic!("{name} is no digest") };
            let digest = hex(digest);
            assert_eq!(digest.len(), algorithm.digest_len(), "{case}");
            for &len in software.capabilities().entry(algorithm.into()).unwrap().tags {
                check_tag(
                    &mut bench,
                    case,
                    &Transform::digest(algorithm, len),
                    &[],
                    &hex(data),
                    &digest[..len],
                );
            }
            seen.insert(algorithm);
        }
        assert_eq!(seen.len(), DigestAlgorithm::ALL.len());
    }
}

#[test]
fn every_aead_seals_and_opens_the_published_packets() {
    for mut bench in Bench::each() {
        let mut seen = BTreeSet::new();
        for [case, name, key, nonce, aad, plain, sealed] in rows::<7>(AEADS) {
            let Algorithm::Aead(algorithm) = parse(name) else { panic!("{name} is no AEAD") };
            let (nonce, aad, plain, sealed) = (hex(nonce), hex(aad), hex(plain), hex(sealed));
            let tag_len = sealed.len() - plain.len();
            let transform = Transform::aead(algorithm, Key::new(&hex(key)), Key::default(), tag_len);
            let opened = [&aad[..], &plain, &sealed[plain.len()..]].concat();
            let closed = [&aad[..], &sealed].concat();
            let (at, len) = (aad.len() as u32, plain.len() as u32);
            let step = |operation| {
                let iv = Iv::Explicit { bytes: IvBytes::new(&nonce).unwrap(), write: false };
                let step = Step::new(algorithm, operation, at, len).with_iv(0, iv);
                step.with_associated(0, at).with_tag(at + len)
            };
            for (operation, from, to) in
                [(Operation::Encrypt, &opened, &closed), (Operation::Decrypt, &closed, &opened)]
            {
                let straight = |job: Job| {
                    let mut extension = ExtensionPool::new(1).alloc().unwrap();
                    assert!(extension.set_iv(&nonce));
                    job.with_integrity(0, at)
                        .with_cipher(at as u16, len)
                        .with_tag(at + len)
                        .with_extension(extension)
                };
                assert_eq!(
                    run(&mut bench, &transform, from, straight, operation),
                    (Status::Done, to.clone()),
                    "{case}"
                );
                let by_step =
                    run(&mut bench, &transform, from, |job| with_step(job, step(operation), None), operation);
                assert_eq!(by_step, (Status::Done, to.clone()), "{case} by a step");
            }
            seen.insert(algorithm);
        }
        assert_eq!(seen.len(), AeadAlgorithm::ALL.len());
    }
}

#[test]
fn a_session_may_carry_an_iv_which_opening_it_ignores() {
    for mut bench in Bench::each() {
        let row = rows::<7>(CIPHERS).into_iter().find(|row| row[1] == "camellia-cbc").unwrap();
        let [case, _, key, _, iv, plain, sealed] = row;
        let transform = Transform::cipher(CipherAlgorithm::CamelliaCbc, Key::new(&hex(key)));
        let carrying = transform.with_iv(IvBytes::new(&[0xaa; 16]).unwrap());
        check_cipher(&mut bench, case, &carrying, &hex(iv), [&hex(plain), &hex(sealed)], Operation::Encrypt);
    }
}
