//! A request over a list of memory that is no packet: offsets count over all pieces, they go in with the job and come out with
//! it; and the longest that any request may be.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Bench, HEADER, Suite, bytes_of};
use crypto_pmd::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// `bytes` in pieces that end at the given places.
fn pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Box<[u8]>> {
    let mut ends: Vec<usize> = cuts.iter().map(|&cut| cut.min(bytes.len())).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter()
        .map(|end| {
            let piece = bytes[start..end].into();
            start = end;
            piece
        })
        .collect()
}

fn with_pieces(job: Job, pieces: Vec<Box<[u8]>>) -> Job {
    let mut extension = ExtensionPool::new(1).alloc().unwrap();
    pieces.into_iter().for_each(|piece| extension.push_piece(piece).unwrap());
    job.with_extension(extension)
}

/// The job of a suite over a packet of this length, with its packet taken for an empty one.
fn over(bench: &Bench, suite: &Suite, session: SessionId, len: usize, operation: Operation) -> Job {
    let (cipher_at, tag_at) = (HEADER + suite.iv_len, len - suite.tag_len);
    let covered = if suite.aead { HEADER } else { tag_at };
    Job::new(bench.packet(&[]), session, operation)
        .with_cipher(cipher_at as u16, (tag_at - cipher_at) as u32)
        .with_integrity(0, covered as u32)
        .with_iv(HEADER as u16)
        .with_tag(tag_at as u32)
}

fn gathered(job: &mut Job) -> (Vec<usize>, Vec<u8>) {
    let mut extension = job.take_extension().unwrap();
    let pieces: Vec<_> = extension.take_pieces().collect();
    assert_eq!((extension.pieces().len(), extension.pieces_len()), (0, 0));
    (pieces.iter().map(|piece| piece.len()).collect(), pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn pieces_come_out_as_a_packet_of_their_bytes_would(
        suite in prop_oneof![proptest::sample::select(Suite::all()), proptest::sample::select(Suite::alone())],
        blocks in 1_usize..40, cuts in vec(0_usize..600, 0..15), out_of_place in any::<bool>(),
    ) {
        let mut bench = Bench::new();
        let session = bench.open(suite.params.clone());
        let plain = suite.plain(&vec![0x5a; blocks * 16], 7);
        let (status, sealed) = bench.finish(suite.job(bench.packet(&plain), session, Operation::Encrypt, None));
        prop_assert_eq!(status, Status::Done);
        for (operation, from) in [(Operation::Encrypt, &plain), (Operation::Decrypt, &sealed)] {
            let (_, expected) = bench.finish(suite.job(bench.packet(from), session, operation, None));
            let list = pieces(from, &cuts);
            let lens: Vec<_> = list.iter().map(|piece| piece.len()).collect();
            let mut job = with_pieces(over(&bench, &suite, session, from.len(), operation), list);
            prop_assert_eq!(job.input_len(), from.len());
            if out_of_place {
                job = job.with_destination(bench.packet(b"old"));
            }
            let mut job = bench.run(job);
            prop_assert_eq!((job.status(), job.result_len(), job.source().packet_len()), (Status::Done, from.len(), 0));
            let (after, bytes) = gathered(&mut job);
            prop_assert_eq!((after, &bytes), (lens, if out_of_place { from } else { &expected }));
            prop_assert!(!out_of_place || bytes_of(&job.into_packet()) == expected);
        }
    }

    #[test]
    fn a_list_whose_job_fails_comes_back_as_it_was(
        suite in proptest::sample::select(Suite::all()), cuts in vec(0_usize..150, 0..15), forged in any::<bool>(),
    ) {
        let mut bench = Bench::new();
        let session = bench.open(suite.params.clone());
        let plain = suite.plain(&[0x5a; 64], 7);
        let job = over(&bench, &suite, session, plain.len(), Operation::Decrypt);
        let job = if forged { job } else { job.with_tag(plain.len() as u32 - 1) };
        let mut job = bench.run(with_pieces(job, pieces(&plain, &cuts)));
        prop_assert_eq!(job.status(), if forged { Status::IntegrityFailed } else { Status::BadRange });
        prop_assert_eq!(gathered(&mut job).1, plain);
    }
}

#[test]
fn a_result_of_compression_goes_to_a_packet_and_leaves_the_list() {
    let mut bench = Bench::new();
    let session = bench.open(Transform::compression(CompressionAlgorithm::Deflate));
    let text = vec![9; 5000];
    let job = Job::new(bench.packet(&[]), session, Operation::Encrypt).with_cipher(0, 5000);
    let mut job = bench.run(with_pieces(job, pieces(&text, &[100, 3000])));
    assert_eq!((job.status(), job.is_in_place(), gathered(&mut job).1), (Status::Done, false, text.clone()));
    let small = job.into_packet();
    let len = small.packet_len() as u32;
    let done = bench.run(Job::new(small, session, Operation::Decrypt).with_cipher(0, len));
    assert_eq!((done.status(), bytes_of(&done.into_packet())), (Status::Done, text));
}

#[test]
fn an_operand_of_the_length_that_is_registered_is_done_and_one_byte_more_refused() {
    let mut bench = Bench::new();
    let software = drivers::Software::new();
    for suite in Suite::alone() {
        let bits = software.capabilities().max_operand_bits(&suite.params).unwrap();
        let most = usize::try_from(bits / 8).unwrap();
        let session = bench.open(suite.params.clone());
        for (len, expected) in [(most, Status::Done), (most + 1, Status::TooLong)] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let job = over(&bench, &suite, session, len, Operation::Encrypt);
            // The cipher range is whole blocks.
            let (at, covered) = job.cipher_range();
            let job = job.with_cipher(at as u16, (covered - covered % suite.block.max(1)) as u32);
            let mut job = bench.run(with_pieces(job, pieces(&bytes, &[1000, 40_000])));
            assert_eq!(job.status(), expected, "{} {len}", suite.params.transforms[0].algorithm());
            assert!(expected == Status::Done || gathered(&mut job).1 == bytes);
        }
        assert!(bench.registry.close(session));
    }
}

#[test]
fn a_chained_packet_is_held_to_the_same_length() {
    let mut bench = Bench::new();
    let suite = Suite::gcm(16);
    let session = bench.open(suite.params.clone());
    let bits = drivers::Software::new().capabilities().max_operand_bits(&suite.params).unwrap();
    let most = usize::try_from(bits / 8).unwrap();
    for (len, expected) in [(most, Status::Done), (most + 1, Status::TooLong)] {
        let bytes = vec![3; len];
        let job = suite.job(bench.pool.alloc_copy(&bytes).unwrap(), session, Operation::Encrypt, None);
        let (status, after) = bench.finish(job);
        assert_eq!((status, status == Status::Done || after == bytes), (expected, true));
    }
}

#[test]
fn ccm_is_held_to_what_its_nonce_lets_it_tell() {
    let mut bench = Bench::new();
    let transform = Transform::aead(AeadAlgorithm::AesCcm, Key::new(&[1; 16]), Key::default(), 16);
    let session = bench.open(transform);
    for (nonce, len, expected) in
        [(13, 65_535, Status::Done), (13, 65_536, Status::TooLong), (12, 65_536, Status::Done)]
    {
        let bytes = vec![4; len + 16];
        let mut extension = ExtensionPool::new(1).alloc().unwrap();
        assert!(extension.set_iv(&vec![2; nonce]));
        let packet = bench.pool.alloc_copy(&bytes).unwrap();
        let job =
            Job::new(packet, session, Operation::Encrypt).with_cipher(0, len as u32).with_tag(len as u32);
        let (status, after) = bench.finish(job.with_extension(extension));
        assert_eq!((status, status == Status::Done || after == bytes), (expected, true), "{nonce} {len}");
    }
}
