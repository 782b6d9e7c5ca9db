//! Deflate both ways: what comes back is what went in, a result that is larger than its buffer gets new buffers of the packet's
//! pool, and nothing that is sent to be decompressed does harm. Another library judges the streams in the tests of all crates
//! together.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Bench, bytes_of, chained};
use crypto_pmd::*;
use pipeline::{Pool, PoolConfig};
use proptest::collection::vec;
use proptest::prelude::*;

/// Text that a window finds again, and noise that it does not.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    let repeated = (vec(any::<u8>(), 0..20), 0_usize..200).prop_map(|(word, times)| word.repeat(times));
    prop_oneof![repeated, vec(any::<u8>(), 0..3000)]
}

fn open(bench: &Bench) -> SessionId {
    bench.open(Transform::compression(CompressionAlgorithm::Deflate))
}

/// A stored block is all that the format needs (RFC 1951 section 3.2.4).
fn stored(text: &[u8]) -> Vec<u8> {
    let len = text.len() as u16;
    [&[1], &len.to_le_bytes()[..], &(!len).to_le_bytes(), text].concat()
}

/// A stream that becomes `len` zeros, about a thousandth as long.
fn bomb(bench: &mut Bench, session: SessionId, len: usize) -> Vec<u8> {
    let packet = chained(&bench.pool, &vec![0; len], &(0..len).step_by(2000).collect::<Vec<_>>());
    let done = bench.run(Job::new(packet, session, Operation::Encrypt).with_cipher(0, len as u32));
    assert_eq!(done.status(), Status::Done);
    bytes_of(&done.into_packet())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_was_compressed_comes_back_with_everything_around_it(
        text in texts(), front in vec(any::<u8>(), 0..40), back in vec(any::<u8>(), 0..40),
        cuts in vec(0_usize..3000, 0..5), out_of_place in any::<bool>(), by_step in any::<bool>(),
    ) {
        let mut bench = Bench::new();
        let session = open(&bench);
        let whole = [&front[..], &text, &back].concat();
        let every: Vec<usize> = (1..=whole.len() / 2000).map(|n| n * 2000).chain(cuts).collect();
        let job = |bench: &Bench, bytes: &[u8], len: usize, operation| {
            let job = Job::new(chained(&bench.pool, bytes, &every), session, operation);
            assert_eq!(job.input_len(), bytes.len());
            let job = if out_of_place { job.with_destination(bench.packet(b"old")) } else { job };
            if !by_step {
                return job.with_cipher(front.len() as u16, len as u32);
            }
            let mut extension = ExtensionPool::new(1).alloc().unwrap();
            let step = Step::new(CompressionAlgorithm::Deflate, operation, front.len() as u32, len as u32);
            assert!(extension.push_step(step));
            job.with_extension(extension)
        };
        let done = bench.run(job(&bench, &whole, text.len(), Operation::Encrypt));
        prop_assert_eq!(done.status(), Status::Done);
        let len = done.result_len();
        let small = bytes_of(&done.into_packet());
        prop_assert_eq!(small.len(), len);
        prop_assert!(small.starts_with(&front) && small.ends_with(&back));
        let compressed = small.len() - front.len() - back.len();
        prop_assert!(compressed <= text.len() + 16, "what cannot be compressed is stored");
        let done = bench.run(job(&bench, &small, compressed, Operation::Decrypt));
        prop_assert_eq!((done.status(), done.result_len()), (Status::Done, whole.len()));
        prop_assert_eq!(bytes_of(&done.into_packet()), whole);
    }

    #[test]
    fn any_bytes_at_all_are_decompressed_or_refused_without_a_trace(
        bytes in vec(any::<u8>(), 0..300), cuts in vec(0_usize..300, 0..3),
    ) {
        let mut bench = Bench::new();
        let session = open(&bench);
        let packet = chained(&bench.pool, &bytes, &cuts);
        let done = bench.run(Job::new(packet, session, Operation::Decrypt).with_cipher(0, bytes.len() as u32));
        match done.status() {
            Status::Done => {}
            Status::BadData | Status::TooLong => prop_assert_eq!(bytes_of(done.source()), bytes),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

#[test]
fn a_larger_result_comes_in_new_buffers_of_the_packets_pool_and_leaves_the_source() {
    let mut bench = Bench::new();
    let session = open(&bench);
    let sealed = bomb(&mut bench, session, 60_000);
    let small = Pool::new(PoolConfig { buffers: 256, stride: 1536 }).unwrap();
    let source = small.alloc_copy(&sealed).unwrap();
    let before = (small.available(), bench.pool.available());
    let done = bench.run(Job::new(source, session, Operation::Decrypt).with_cipher(0, sealed.len() as u32));
    assert_eq!((done.status(), done.result_len(), done.input_len()), (Status::Done, 60_000, sealed.len()));
    assert_eq!(bytes_of(done.source()), sealed);
    let made = 60_000_usize.div_ceil(small.buffer_len());
    assert_eq!((small.available(), bench.pool.available()), (before.0 - made, before.1));
    assert_eq!(bytes_of(&done.into_packet()), vec![0; 60_000]);
    assert_eq!(small.available(), 256);
}

#[test]
fn a_result_that_fits_its_buffer_stays_there() {
    let mut bench = Bench::new();
    let session = open(&bench);
    let text = vec![7; 1500];
    let before = bench.pool.available();
    let job = Job::new(bench.packet(&text), session, Operation::Encrypt).with_cipher(0, 1500);
    let done = bench.run(job);
    assert!(done.status() == Status::Done && done.is_in_place() && done.result_len() < 40);
    let packet = done.into_packet();
    let len = packet.packet_len() as u32;
    let done = bench.run(Job::new(packet, session, Operation::Decrypt).with_cipher(0, len));
    assert!(done.status() == Status::Done && done.is_in_place(), "the buffer has room for it at its end");
    assert_eq!((bytes_of(done.source()), bench.pool.available()), (text, before - 1));
}

#[test]
fn a_destination_grows_by_buffers_of_its_own_pool() {
    let mut bench = Bench::new();
    let session = open(&bench);
    let sealed = bomb(&mut bench, session, 30_000);
    let small = Pool::new(PoolConfig { buffers: 64, stride: 1024 }).unwrap();
    let destination = small.alloc_copy(b"old").unwrap();
    let job =
        Job::new(bench.packet(&sealed), session, Operation::Decrypt).with_cipher(0, sealed.len() as u32);
    let done = bench.run(job.with_destination(destination));
    assert_eq!((done.status(), done.result_len()), (Status::Done, 30_000));
    let (source, destination) = done.into_packets();
    assert_eq!((bytes_of(&source), bytes_of(&destination.unwrap())), (sealed, vec![0; 30_000]));
}

#[test]
fn a_pool_without_buffers_is_said_and_both_packets_left_as_they_were() {
    let mut bench = Bench::new();
    let session = open(&bench);
    let sealed = bomb(&mut bench, session, 60_000);
    // Enough for a part of the result.
    let small = Pool::new(PoolConfig { buffers: 16, stride: 1024 }).unwrap();
    for destination in [false, true] {
        let source = small.alloc_copy(&sealed).unwrap();
        let mut job = Job::new(source, session, Operation::Decrypt).with_cipher(0, sealed.len() as u32);
        if destination {
            job = job.with_destination(small.alloc_copy(b"old").unwrap());
        }
        let before = small.available();
        let done = bench.run(job);
        assert_eq!((done.status(), small.available()), (Status::NoBuffer, before));
        let (source, destination) = done.into_packets();
        assert_eq!(bytes_of(&source), sealed);
        assert!(destination.is_none_or(|destination| destination.data() == b"old"));
    }
}

/// Also by just one: 64 more buffers behind the first.
#[test]
fn a_chain_of_more_segments_than_a_packet_may_have_is_no_better_than_an_empty_pool() {
    let mut bench = Bench::new();
    let session = open(&bench);
    let tiny = Pool::new(PoolConfig { buffers: 256, stride: 512 }).unwrap();
    for (len, expected) in
        [(60_000, Status::NoBuffer), (64 * 256 + 1, Status::NoBuffer), (64 * 256, Status::Done)]
    {
        let sealed = bomb(&mut bench, session, len);
        let job =
            Job::new(bench.packet(&sealed), session, Operation::Decrypt).with_cipher(0, sealed.len() as u32);
        let done = bench.run(job.with_destination(tiny.alloc_copy(b"old").unwrap()));
        assert_eq!(done.status(), expected, "{len}");
        let destination = done.into_packet();
        let after = if expected == Status::Done { vec![0; len] } else { b"old".to_vec() };
        assert_eq!(bytes_of(&destination), after);
        drop(destination);
        assert_eq!(tiny.available(), 256);
    }
}

#[test]
fn a_stream_that_becomes_too_long_is_refused_before_it_is() {
    let mut bench = Bench::new();
    let session = open(&bench);
    let bytes = blown_up();
    let job = Job::new(bench.packet(&bytes), session, Operation::Decrypt).with_cipher(0, bytes.len() as u32);
    assert_eq!(bench.finish(job), (Status::TooLong, bytes));
}

/// One block with the fixed codes (RFC 1951 section 3.2.6): a zero, then 1000 times "258 bytes from one byte back".
fn blown_up() -> Vec<u8> {
    let mut bits = vec![1, 1, 0];
    let mut huffman = |code: u32, len: u32| bits.extend((0..len).rev().map(|bit| code >> bit & 1));
    huffman(0b0011_0000, 8);
    for _ in 0..1000 {
        huffman(0b1100_0101, 8);
        huffman(0, 5);
    }
    huffman(0, 7);
    bits.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | *bit as u8)).collect()
}

#[test]
fn what_is_no_stream_or_not_a_whole_one_is_refused_without_a_trace() {
    let mut bench = Bench::new();
    let session = open(&bench);
    let good = stored(b"some text");
    let done = bench.finish(Job::new(bench.packet(&good), session, Operation::Decrypt).with_cipher(0, 14));
    assert_eq!(done, (Status::Done, b"some text".to_vec()));
    let mut wrong_length = good.clone();
    wrong_length[3] ^= 1;
    let bad = [good[..13].to_vec(), [&good[..], &[0]].concat(), wrong_length, vec![0b111], vec![]];
    for bytes in bad {
        let job =
            Job::new(bench.packet(&bytes), session, Operation::Decrypt).with_cipher(0, bytes.len() as u32);
        assert_eq!(bench.finish(job), (Status::BadData, bytes));
    }
    let job = Job::new(bench.packet(&good), session, Operation::Decrypt).with_cipher(1, 14);
    assert_eq!(bench.finish(job), (Status::BadRange, good));
}
