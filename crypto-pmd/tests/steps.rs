//! What a request says step by step is what is done: where it starts, over how many bytes, where the IV and the digest are or go,
//! which way, with which key, in a chain of any length; and not a byte besides.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;

use common::{Bench, Suite, bytes_of, chained, key};
use crypto_pmd::step::IvBytes;
use crypto_pmd::*;
use proptest::prelude::*;

const CANARY: u8 = 0xc5;

/// A packet with IV, associated data, text and tag in places apart, canaries between them, and the step that names the places.
#[derive(Clone, Debug)]
struct Laid {
    bytes: Vec<u8>,
    step: Step,
    iv: std::ops::Range<usize>,
    text: std::ops::Range<usize>,
    tag: std::ops::Range<usize>,
}

impl Laid {
    fn new(suite: &Suite, payload: &[u8], gap: usize) -> Self {
        let mut bytes = vec![CANARY; gap];
        let mut add = |part: &[u8]| {
            let start = bytes.len();
            bytes.extend_from_slice(part);
            bytes.extend(std::iter::repeat_n(CANARY, gap));
            start..start + part.len()
        };
        let tag = add(&vec![0x77; suite.tag_len]);
        let text = add(payload);
        let aad = add(if suite.aead { b"associated" } else { b"" });
        let iv = add(&vec![0x11; suite.iv_len]);
        let algorithm = suite.params.transforms[0].algorithm();
        let step = Step::new(algorithm, Operation::Encrypt, text.start as u32, text.len() as u32)
            .with_iv(iv.start as u32, Iv::Present)
            .with_tag(tag.start as u32)
            .with_associated(aad.start as u32, aad.len() as u32);
        Self { bytes, step, iv, text, tag }
    }

    fn with_iv(mut self, iv: Iv) -> Self {
        self.step.iv = iv;
        self
    }
}

fn with_steps(job: Job, steps: &[Step]) -> Job {
    let mut extension = ExtensionPool::new(1).alloc().unwrap();
    assert!(steps.iter().all(|&step| extension.push_step(step)));
    job.with_extension(extension)
}

/// Runs steps over a packet of one segment or several.
fn run(
    bench: &mut Bench,
    session: SessionId,
    bytes: &[u8],
    steps: &[Step],
    operation: Operation,
) -> (Status, Vec<u8>) {
    let packet = chained(&bench.pool, bytes, if bytes.len().is_multiple_of(2) { &[] } else { &[7, 31] });
    bench.finish(with_steps(Job::new(packet, session, operation), steps))
}

fn decrypting(step: Step) -> Step {
    Step { operation: Operation::Decrypt, ..step }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_step_changes_the_bytes_it_names_and_no_other_and_decryption_gives_them_back(
        suite in proptest::sample::select(Suite::alone()), blocks in 1_usize..9, gap in 0_usize..9, generated in any::<bool>(),
    ) {
        let mut bench = Bench::new();
        let session = bench.open(suite.params.clone());
        let payload = key(blocks * 16, 13).bytes().to_vec();
        let laid = Laid::new(&suite, &payload, gap).with_iv(if generated { Iv::Generated } else { Iv::Present });
        let (status, sealed) = run(&mut bench, session, &laid.bytes, &[laid.step], Operation::Encrypt);
        prop_assert_eq!(status, Status::Done);
        let named = |place: &usize| {
            (laid.text.contains(place) && suite.block > 0) || laid.tag.contains(place) || (generated && laid.iv.contains(place))
        };
        let same = |place: &usize| sealed[*place] == laid.bytes[*place];
        prop_assert!((0..laid.bytes.len()).filter(|place| !named(place)).all(|place| same(&place)));
        prop_assert!(suite.encrypts() == (sealed[laid.text.clone()] != payload));
        let (status, opened) = run(&mut bench, session, &sealed, &[decrypting(laid.step)], Operation::Decrypt);
        prop_assert_eq!(status, Status::Done);
        prop_assert_eq!(&opened[laid.text.clone()], &payload[..]);
        prop_assert!((0..opened.len()).filter(|place| !laid.text.contains(place)).all(|place| opened[place] == sealed[place]));
    }

    #[test]
    fn a_key_for_one_request_does_what_a_session_with_it_would(
        suite in proptest::sample::select(Suite::alone()), blocks in 1_usize..9, seed in 1_u8..,
    ) {
        let own = suite.params.transforms[0].key().map(|own| key(own.len(), seed));
        prop_assume!(own.as_ref().is_some_and(|own| (1..=extension::MAX_KEY).contains(&own.len())));
        let (own, algorithm) = (own.unwrap(), suite.params.transforms[0].algorithm());
        let with_it = Suite::of(algorithm, own.clone(), suite.tag_len).unwrap();
        let mut bench = Bench::new();
        let (session, other) = (bench.open(suite.params.clone()), bench.open(with_it.params.clone()));
        let laid = Laid::new(&suite, &vec![0x3c; blocks * 16], 3);
        let expected = run(&mut bench, other, &laid.bytes, &[laid.step], Operation::Encrypt);
        let mut job = with_steps(Job::new(bench.packet(&laid.bytes), session, Operation::Encrypt), &[laid.step]);
        prop_assert!(job.extension_mut().unwrap().set_step_key(0, own.bytes()));
        prop_assert_eq!(&bench.finish(job), &expected);
        prop_assert_eq!(expected.0, Status::Done);
    }
}

#[test]
fn a_generated_iv_is_another_each_time_and_written_where_it_is_to_go() {
    let mut bench = Bench::new();
    for suite in Suite::alone().into_iter().filter(|suite| suite.iv_len > 0) {
        let session = bench.open(suite.params.clone());
        let laid = Laid::new(&suite, &[0x42; 64], 2).with_iv(Iv::Generated);
        let mut seen = BTreeSet::new();
        for _ in 0..16 {
            let (status, sealed) = run(&mut bench, session, &laid.bytes, &[laid.step], Operation::Encrypt);
            assert_eq!(status, Status::Done);
            assert!(seen.insert(sealed[laid.iv.clone()].to_vec()));
            let present = Step { iv: Iv::Present, ..decrypting(laid.step) };
            let (status, opened) = run(&mut bench, session, &sealed, &[present], Operation::Decrypt);
            assert_eq!((status, &opened[laid.text.clone()]), (Status::Done, &[0x42; 64][..]));
        }
        assert!(!seen.contains(&laid.bytes[laid.iv.clone()]));
        assert!(bench.registry.close(session));
    }
}

#[test]
fn an_explicit_iv_is_used_and_written_only_where_that_is_asked_for() {
    let mut bench = Bench::new();
    for suite in Suite::alone().into_iter().filter(|suite| suite.iv_len > 0) {
        let session = bench.open(suite.params.clone());
        let iv = IvBytes::new(&vec![0x29; suite.iv_len]).unwrap();
        let sealed = |bench: &mut Bench, write| {
            let laid = Laid::new(&suite, &[0x42; 64], 2).with_iv(Iv::Explicit { bytes: iv, write });
            (run(bench, session, &laid.bytes, &[laid.step], Operation::Encrypt), laid)
        };
        let ((status, written), laid) = sealed(&mut bench, true);
        assert_eq!((status, &written[laid.iv.clone()]), (Status::Done, iv.bytes()));
        let ((status, kept), _) = sealed(&mut bench, false);
        assert_eq!((status, &kept[laid.iv.clone()]), (Status::Done, &laid.bytes[laid.iv.clone()]));
        assert_eq!(
            (&kept[laid.text.clone()], &kept[laid.tag.clone()]),
            (&written[laid.text.clone()], &written[laid.tag.clone()])
        );
        let explicit = decrypting(laid.step);
        let (status, opened) = run(&mut bench, session, &kept, &[explicit], Operation::Decrypt);
        assert_eq!((status, &opened[laid.text.clone()]), (Status::Done, &[0x42; 64][..]));
        assert_eq!(
            opened[laid.iv.clone()],
            laid.bytes[laid.iv.clone()],
            "an IV is never written on decryption"
        );
        assert!(bench.registry.close(session));
    }
}

fn cbc(key_byte: u8) -> Transform {
    Transform::cipher(CipherAlgorithm::AesCbc, Key::new(&[key_byte; 16]))
}

fn hmac(key_byte: u8) -> Transform {
    Transform::integrity(IntegrityAlgorithm::HmacSha256, Key::new(&[key_byte; 32]), 16)
}

/// Cipher, hash, cipher, hash over 32 bytes of IVs, 64 of text and 32 of tags.
fn long_chain() -> ([Transform; 4], [Step; 4], Vec<u8>) {
    let operation = Operation::Encrypt;
    let steps = [
        Step::new(CipherAlgorithm::AesCbc, operation, 32, 64).with_iv(0, Iv::Present),
        Step::new(IntegrityAlgorithm::HmacSha256, operation, 0, 96).with_tag(96),
        Step::new(CipherAlgorithm::AesCbc, operation, 32, 80).with_iv(16, Iv::Present),
        Step::new(IntegrityAlgorithm::HmacSha256, operation, 0, 112).with_tag(112),
    ];
    ([cbc(1), hmac(2), cbc(3), hmac(4)], steps, (0..128).collect())
}

#[test]
fn a_chain_with_the_same_algorithm_twice_is_each_of_its_transforms_in_turn() {
    let mut bench = Bench::new();
    let (transforms, steps, bytes) = long_chain();
    let whole = bench.open(SessionParams::from_iter(transforms.clone()));
    let (status, sealed) = run(&mut bench, whole, &bytes, &steps, Operation::Encrypt);
    let mut by_turns = bytes.clone();
    for (transform, step) in transforms.into_iter().zip(steps) {
        let session = bench.open(transform);
        let (status, after) = run(&mut bench, session, &by_turns, &[step], Operation::Encrypt);
        assert_eq!(status, Status::Done);
        by_turns = after;
    }
    assert_eq!((status, &sealed), (Status::Done, &by_turns));
    // Backwards, the inner tag is seen when the outer cipher has given it free.
    let back = steps.map(decrypting);
    let (status, opened) = run(&mut bench, whole, &sealed, &back, Operation::Decrypt);
    assert_eq!((status, &opened[..96]), (Status::Done, &bytes[..96]));
    for place in [0, 20, 40, 100, 127] {
        let mut forged = sealed.clone();
        forged[place] ^= 4;
        let refused = run(&mut bench, whole, &forged, &back, Operation::Decrypt);
        assert_eq!(refused, (Status::IntegrityFailed, forged), "{place}");
    }
}

#[test]
fn a_chain_in_two_parts_on_two_sessions_does_what_it_does_on_one() {
    let mut bench = Bench::new();
    let (transforms, steps, bytes) = long_chain();
    let whole = bench.open(SessionParams::from_iter(transforms.clone()));
    let (_, expected) = run(&mut bench, whole, &bytes, &steps, Operation::Encrypt);
    for cut in 1..4 {
        let first = bench.open(SessionParams::from_iter(transforms[..cut].iter().cloned()));
        let second = bench.open(SessionParams::from_iter(transforms[cut..].iter().cloned()));
        let mut job = with_steps(Job::new(bench.packet(&bytes), first, Operation::Encrypt), &steps);
        let keys =
            [0, 2].map(|number| job.extension_mut().unwrap().set_step_key(number, &[number as u8 + 1; 16]));
        assert_eq!(keys, [true; 2], "keys keep to their steps whichever part is shown");
        assert!(job.extension_mut().unwrap().set_part(0, cut));
        let mut job = bench.run(job);
        assert_eq!((job.status(), job.extension().unwrap().steps()), (Status::Done, &steps[..cut]));
        assert!(job.extension_mut().unwrap().set_part(cut, 4 - cut));
        assert_eq!(job.extension().unwrap().all_steps(), steps);
        job.set_session(second);
        let job = bench.run(job);
        assert_eq!((job.status(), bytes_of(job.source())), (Status::Done, expected.clone()), "{cut}");
    }
}

#[test]
fn each_step_says_its_own_way() {
    let mut bench = Bench::new();
    let params = SessionParams::from_iter([cbc(1), cbc(1)]);
    let session = bench.open(params);
    let bytes: Vec<u8> = (0..80).collect();
    let there = Step::new(CipherAlgorithm::AesCbc, Operation::Encrypt, 16, 64).with_iv(0, Iv::Present);
    let done = run(&mut bench, session, &bytes, &[there, decrypting(there)], Operation::Encrypt);
    assert_eq!(done, (Status::Done, bytes.clone()));
    let done = run(&mut bench, session, &bytes, &[there, there], Operation::Encrypt);
    assert!(done.0 == Status::Done && done.1[16..] != bytes[16..]);
}

#[test]
fn the_high_half_of_a_sequence_number_goes_with_every_step_that_hashes() {
    let mut bench = Bench::new();
    for suite in Suite::alone().into_iter().filter(Suite::detects) {
        let session = bench.open(suite.params.clone());
        let plain = suite.plain(&[7; 64], 9);
        let straight = suite.job(bench.packet(&plain), session, Operation::Encrypt, Some(0x0102_0304));
        let expected = bench.finish(straight);
        let job = Job::new(bench.packet(&plain), session, Operation::Encrypt).with_esn_high(0x0102_0304);
        assert_eq!(bench.finish(with_steps(job, &[suite.step(plain.len())])), expected);
        let without = Job::new(bench.packet(&plain), session, Operation::Encrypt);
        assert_ne!(bench.finish(with_steps(without, &[suite.step(plain.len())])), expected);
        assert!(bench.registry.close(session));
    }
}

/// Behind the data (RFC 4303 section 2.2.1), or behind the SPI where the hash takes a nonce as an AEAD does (RFC 4543 section 3.3).
#[test]
fn a_keyed_hash_has_the_high_half_where_its_standard_has_it() {
    let mut bench = Bench::new();
    let high = [0x80, 0x41, 0x42, 0x43];
    for suite in Suite::alone().into_iter().filter(|suite| suite.block == 0 && suite.detects()) {
        let session = bench.open(suite.params.clone());
        let algorithm = suite.params.transforms[0].algorithm();
        for len in (4..70).chain([600]) {
            let data = key(len, 7).bytes().to_vec();
            let at = if suite.iv_len > 0 { 4 } else { len };
            let whole = [&data[..at], &high, &data[at..]].concat();
            let mut tag = |data: &[u8], esn: Option<u32>| {
                let bytes = [&vec![3; suite.iv_len], data, &vec![0; suite.tag_len]].concat();
                let (start, covered) = (suite.iv_len as u32, data.len() as u32);
                let job = Job::new(bench.packet(&bytes), session, Operation::Encrypt);
                let job = job.with_integrity(start as u16, covered).with_tag(start + covered);
                let job = match esn {
                    Some(high) => job.with_esn_high(high),
                    None => job,
                };
                let (status, after) = bench.finish(job);
                assert_eq!(status, Status::Done);
                after[after.len() - suite.tag_len..].to_vec()
            };
            assert_eq!(tag(&data, Some(u32::from_be_bytes(high))), tag(&whole, None), "{algorithm} {len}");
        }
        assert!(bench.registry.close(session));
    }
}

#[test]
fn a_digest_may_go_into_what_it_covers() {
    let mut bench = Bench::new();
    let session = bench.open(hmac(4));
    let mut bytes: Vec<u8> = (0..64).collect();
    bytes[20..36].fill(0);
    let step = Step::new(IntegrityAlgorithm::HmacSha256, Operation::Encrypt, 0, 64).with_tag(20);
    let (status, after) = run(&mut bench, session, &bytes, &[step], Operation::Encrypt);
    let apart = Step::new(IntegrityAlgorithm::HmacSha256, Operation::Encrypt, 0, 64).with_tag(64);
    let (_, expected) =
        run(&mut bench, session, &[&bytes[..], &[0; 16]].concat(), &[apart], Operation::Encrypt);
    assert_eq!((status, &after[20..36]), (Status::Done, &expected[64..]));
    assert_eq!((&after[..20], &after[36..]), (&bytes[..20], &bytes[36..]));
}

#[test]
fn a_cipher_and_a_hash_that_both_take_an_iv_are_told_theirs_by_steps() {
    let mut bench = Bench::new();
    let gmac = Transform::integrity(IntegrityAlgorithm::AesGmac, key(16, 5), 16);
    let session = bench.open(SessionParams::from_iter([cbc(1), gmac.clone()]));
    let bytes: Vec<u8> = (0..92).collect();
    let cipher = Step::new(CipherAlgorithm::AesCbc, Operation::Encrypt, 28, 48).with_iv(0, Iv::Present);
    let hash = Step::new(IntegrityAlgorithm::AesGmac, Operation::Encrypt, 0, 76).with_iv(16, Iv::Present);
    let steps = [cipher, hash.with_tag(76)];
    let (status, sealed) = run(&mut bench, session, &bytes, &steps, Operation::Encrypt);
    let (first, second) = (bench.open(cbc(1)), bench.open(gmac));
    let (_, half) = run(&mut bench, first, &bytes, &steps[..1], Operation::Encrypt);
    let expected = run(&mut bench, second, &half, &steps[1..], Operation::Encrypt);
    assert_eq!((status, sealed), expected);
    let straight = Job::new(bench.packet(&bytes), session, Operation::Encrypt).with_cipher(28, 48);
    assert_eq!(bench.finish(straight), (Status::BadSteps, bytes));
}
