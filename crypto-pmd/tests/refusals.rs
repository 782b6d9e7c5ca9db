//! What a request gets wrong comes back as a status of its own, and neither packet is touched.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Bench, Suite, bytes_of, chained, key};
use crypto_pmd::step::IvBytes;
use crypto_pmd::*;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| n as u8).collect()
}

/// Runs steps over a packet, in place and out of place, in one segment and three; all four ways give the same status and leave
/// everything as it was.
fn refused(
    bench: &mut Bench,
    session: SessionId,
    packet: &[u8],
    steps: &[Step],
    key: Option<&[u8]>,
) -> Status {
    let mut last = None;
    for (cuts, out_of_place) in [(&[][..], false), (&[5, 20], false), (&[], true), (&[5, 20], true)] {
        let mut extension = ExtensionPool::new(1).alloc().unwrap();
        assert!(steps.iter().all(|&step| extension.push_step(step)));
        assert!(key.is_none_or(|key| extension.set_step_key(0, key)));
        let operation = steps.first().map_or(Operation::Encrypt, |step| step.operation);
        let mut job =
            Job::new(chained(&bench.pool, packet, cuts), session, operation).with_extension(extension);
        if out_of_place {
            job = job.with_destination(bench.packet(b"old"));
        }
        let done = bench.run(job);
        let status = done.status();
        assert!(last.is_none_or(|last| last == status), "{last:?} {status:?}");
        last = Some(status);
        let (source, destination) = done.into_packets();
        assert_eq!(bytes_of(&source), packet, "{status:?}");
        assert!(destination.is_none_or(|destination| destination.data() == b"old"));
    }
    last.unwrap()
}

#[test]
fn a_step_with_another_algorithm_than_the_sessions_is_refused() {
    let mut bench = Bench::new();
    let packet = bytes(200);
    let compression = Transform::compression(CompressionAlgorithm::Deflate);
    let suites = Suite::alone().into_iter().map(|suite| suite.params).chain([compression.into()]);
    for params in suites {
        let own = params.transforms[0].algorithm();
        let session = bench.open(params);
        for other in Algorithm::all().filter(|&other| other != own) {
            let step = Step::new(other, Operation::Encrypt, 48, 64).with_tag(120);
            assert_eq!(
                refused(&mut bench, session, &packet, &[step], None),
                Status::WrongAlgorithm,
                "{own} {other}"
            );
        }
        assert!(bench.registry.close(session));
    }
}

#[test]
fn the_second_of_two_steps_is_judged_too_and_the_first_undone() {
    let mut bench = Bench::new();
    let cipher = Transform::cipher(CipherAlgorithm::AesCbc, key(16, 1));
    let session = bench.open(SessionParams::from_iter([
        cipher,
        Transform::integrity(IntegrityAlgorithm::HmacSha1, key(20, 1), 12),
    ]));
    let first = Step::new(CipherAlgorithm::AesCbc, Operation::Encrypt, 16, 32).with_iv(0, Iv::Generated);
    let second =
        |algorithm: IntegrityAlgorithm, tag| Step::new(algorithm, Operation::Encrypt, 0, 48).with_tag(tag);
    let wrong = [first, second(IntegrityAlgorithm::HmacSha256, 48)];
    assert_eq!(refused(&mut bench, session, &bytes(60), &wrong, None), Status::WrongAlgorithm);
    let beyond = [first, second(IntegrityAlgorithm::HmacSha1, 49)];
    assert_eq!(refused(&mut bench, session, &bytes(60), &beyond, None), Status::BadRange);
}

#[test]
fn steps_are_as_many_as_the_sessions_transforms() {
    let mut bench = Bench::new();
    let cipher = || Transform::cipher(CipherAlgorithm::AesCbc, key(16, 1));
    let step = Step::new(CipherAlgorithm::AesCbc, Operation::Encrypt, 16, 32);
    for transforms in 1..=4 {
        let session = bench.open((0..transforms).map(|_| cipher()).collect::<SessionParams>());
        for steps in (1..=extension::MAX_STEPS).filter(|&steps| steps != transforms) {
            let status = refused(&mut bench, session, &bytes(64), &vec![step; steps], None);
            assert_eq!(status, Status::BadSteps, "{transforms} {steps}");
        }
        // A chain that is no suite of ESP cannot be told by ranges.
        if transforms > 1 {
            let job = Job::new(bench.packet(&bytes(64)), session, Operation::Encrypt).with_cipher(16, 32);
            assert_eq!(bench.finish(job), (Status::BadSteps, bytes(64)));
        }
    }
    let session = bench.open(Transform::compression(CompressionAlgorithm::Deflate));
    let step = Step::new(CompressionAlgorithm::Deflate, Operation::Encrypt, 0, 64);
    assert_eq!(refused(&mut bench, session, &bytes(64), &[step, step], None), Status::BadSteps);
}

#[test]
fn a_key_that_the_algorithm_does_not_take_is_refused() {
    let mut bench = Bench::new();
    let software = drivers::Software::new();
    for suite in Suite::alone() {
        let algorithm = suite.params.transforms[0].algorithm();
        let session = bench.open(suite.params.clone());
        let packet = suite.plain(&bytes(64), 3);
        let step = suite.step(packet.len());
        let lengths = software.capabilities().entry(algorithm).unwrap().keys;
        for len in (0..=extension::MAX_KEY).filter(|&len| !lengths.allow(len)) {
            let status = refused(&mut bench, session, &packet, &[step], Some(&vec![9; len]));
            assert_eq!(status, Status::BadKey, "{algorithm} {len}");
        }
        assert!(bench.registry.close(session));
    }
    let session = bench.open(Transform::compression(CompressionAlgorithm::Deflate));
    let step = Step::new(CompressionAlgorithm::Deflate, Operation::Encrypt, 0, 64);
    assert_eq!(refused(&mut bench, session, &bytes(64), &[step], Some(&[])), Status::BadKey);
}

#[test]
fn a_session_with_a_key_that_the_algorithm_does_not_take_is_not_opened() {
    let bench = Bench::new();
    let software = drivers::Software::new();
    for entry in software.capabilities().entries() {
        let tag = entry.tags.first().copied().unwrap_or(0);
        for len in (0..=130).filter(|&len| !entry.keys.allow(len)) {
            let Some(suite) = Suite::of(entry.algorithm, Key::new(&vec![1; len]), tag) else { continue };
            let refused = bench.registry.open(suite.params.clone(), Placement::Any);
            let what = capability::Unsupported::KeyLength { algorithm: entry.algorithm.name(), len };
            let keyless = matches!(entry.algorithm, Algorithm::Digest(_));
            let is_said = matches!(refused, Err(OpenError::Unsupported { what: said, .. }) if said == what);
            assert!(keyless || is_said, "{} with a key of {len}", entry.algorithm);
        }
    }
}

#[test]
fn ranges_and_places_of_steps_that_leave_the_packet_are_refused() {
    let mut bench = Bench::new();
    for suite in Suite::alone() {
        let session = bench.open(suite.params.clone());
        let packet = suite.plain(&bytes(64), 3);
        let (good, len) = (suite.step(packet.len()), packet.len() as u32);
        let text = (suite.block > 0).then_some(Step { len: good.len + 4096, ..good });
        let beyond = |offset| Step { offset, ..good };
        let tag = |tag_offset| (suite.tag_len > 0).then_some(Step { tag_offset, ..good });
        let iv = |iv_offset| (suite.iv_len > 0).then_some(Step { iv_offset, ..good });
        let aad = |offset, len| suite.aead.then_some(Step { associated: (offset, len), ..good });
        let hashed = (suite.block == 0).then_some(Step { len: len + 1, ..good });
        let bad = [
            text,
            hashed,
            Some(beyond(len)),
            Some(beyond(u32::MAX)),
            Some(Step { len: u32::MAX, ..good }),
            tag(len - suite.tag_len as u32 + 1),
            tag(u32::MAX),
            iv(len - suite.iv_len as u32 + 1),
            iv(u32::MAX),
            aad(0, len + 1),
            aad(u32::MAX, u32::MAX),
        ];
        for step in bad.into_iter().flatten() {
            let status = refused(&mut bench, session, &packet, &[step], None);
            assert_eq!(status, Status::BadRange, "{step:?}");
        }
        assert!(bench.registry.close(session));
    }
}

#[test]
fn places_of_a_step_that_share_bytes_are_refused() {
    let mut bench = Bench::new();
    for suite in Suite::alone() {
        let session = bench.open(suite.params.clone());
        let packet = suite.plain(&bytes(64), 3);
        let good = suite.step(packet.len());
        let (start, end) = (good.offset, good.offset + good.len);
        let has_iv = suite.iv_len > 0;
        let with_iv = |step: Step, iv| Step { iv, ..step };
        let iv = IvBytes::new(&vec![1; suite.iv_len]).unwrap();
        let mut bad = Vec::new();
        if has_iv && suite.block > 0 {
            let inside = Step { iv_offset: start - 1, ..good };
            let ways = [Iv::Present, Iv::Generated, Iv::Explicit { bytes: iv, write: true }];
            bad.extend(ways.map(|way| with_iv(inside, way)));
            bad.push(Step { iv_offset: end - 1, len: good.len - 16, ..good }.with_iv(end - 17, Iv::Present));
        }
        if suite.tag_len > 0 && has_iv {
            bad.push(
                Step { iv_offset: good.tag_offset, ..good }
                    .with_iv(packet.len() as u32 - suite.iv_len as u32, Iv::Present),
            );
        }
        if suite.aead {
            bad.push(Step { tag_offset: end - 1, ..good });
            bad.push(Step { associated: (start, 1), ..good });
            bad.push(Step { tag_offset: 0, ..good });
        }
        for step in bad {
            let status = refused(&mut bench, session, &packet, &[step], None);
            assert_eq!(status, Status::Overlap, "{} {step:?}", good.algorithm);
        }
        if suite.block == 0 && suite.tag_len > 0 {
            let inside = Step { tag_offset: end - 1, operation: Operation::Decrypt, ..good };
            let packet = [&packet[..], &[0; 64]].concat();
            assert_eq!(refused(&mut bench, session, &packet, &[inside], None), Status::Overlap);
        }
        // An IV that stays outside the packet shares nothing with it.
        if has_iv && suite.block > 0 {
            let outside =
                with_iv(Step { iv_offset: start, ..good }, Iv::Explicit { bytes: iv, write: false });
            let mut extension = ExtensionPool::new(1).alloc().unwrap();
            assert!(extension.push_step(outside));
            let job = Job::new(bench.packet(&packet), session, Operation::Encrypt).with_extension(extension);
            assert_eq!(bench.run(job).status(), Status::Done);
        }
        assert!(bench.registry.close(session));
    }
}

#[test]
fn an_iv_of_a_step_with_another_length_is_refused() {
    let mut bench = Bench::new();
    for suite in Suite::alone().into_iter().filter(|suite| suite.iv_len > 0) {
        let session = bench.open(suite.params.clone());
        let packet = suite.plain(&bytes(64), 3);
        let good = suite.step(packet.len());
        let ccm = good.algorithm == AeadAlgorithm::AesCcm.into();
        for len in (0..=16).filter(|&len| len != suite.iv_len && !(ccm && (7..=13).contains(&len))) {
            let iv = Iv::Explicit { bytes: IvBytes::new(&vec![1; len]).unwrap(), write: false };
            let status = refused(&mut bench, session, &packet, &[Step { iv, ..good }], None);
            assert_eq!(status, Status::BadRange, "{} {len}", good.algorithm);
        }
        assert!(bench.registry.close(session));
    }
}

#[test]
fn a_block_counter_that_would_wrap_is_refused() {
    let mut bench = Bench::new();
    let session = bench.open(Transform::cipher(CipherAlgorithm::ChaCha20, key(32, 1)));
    let last = [&[0xff; 4][..], &[0; 12], &[5; 128]].concat();
    let job = Job::new(bench.packet(&last), session, Operation::Encrypt).with_cipher(16, 128);
    assert_eq!(bench.finish(job), (Status::BadRange, last));
}

#[test]
fn a_chain_has_one_to_eight_transforms() {
    let bench = Bench::new();
    let cipher = || Transform::cipher(CipherAlgorithm::Null, Key::default());
    let open = |count: usize| bench.registry.open((0..count).map(|_| cipher()).collect(), Placement::Any);
    assert!(
        open(extension::MAX_STEPS).is_ok() && open(extension::MAX_STEPS + 1).is_err() && open(0).is_err()
    );
}
