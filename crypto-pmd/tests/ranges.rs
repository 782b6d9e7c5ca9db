//! Ranges and places that do not fit the packet are refused, whatever their values, and the packet is left as it
//! came. The judge of what fits is written out here in wide arithmetic.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Bench, Suite, bytes_of, chained};
use crypto_pmd::*;
use proptest::prelude::*;

/// Offset and length, in bytes.
type Range = (u16, u32);

#[derive(Clone, Debug)]
struct Places {
    cipher: Range,
    integrity: Range,
    iv: u16,
    tag: u32,
    esn: Option<u32>,
}

/// What a session needs of a job.
#[derive(Clone, Debug)]
struct Needs {
    params: SessionParams,
    /// Granularity of the cipher range and its least length, where there is a cipher.
    cipher: Option<(u32, u32)>,
    integrity: bool,
    aead: bool,
    iv_len: i128,
    tag_len: i128,
}

impl Needs {
    fn of(suite: Suite) -> Self {
        let xts = !suite.takes_nothing();
        let granularity = if xts { (1, 16) } else { (suite.block as u32, 0) };
        Self {
            cipher: (suite.block > 0 && !suite.aead).then_some(granularity),
            integrity: !suite.aead && (suite.block == 0 || suite.params.transforms.len() > 1),
            aead: suite.aead,
            iv_len: suite.iv_len as i128,
            tag_len: suite.tag_len as i128,
            params: suite.params,
        }
    }
}

fn needs() -> impl Strategy<Value = Needs> {
    let suites =
        prop_oneof![proptest::sample::select(Suite::all()), proptest::sample::select(Suite::alone())];
    suites.prop_map(Needs::of)
}

fn offsets() -> impl Strategy<Value = u16> {
    prop_oneof![6 => 0_u16..120, 1 => any::<u16>(), 1 => Just(u16::MAX)]
}

fn lengths() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => (0_u32..8).prop_map(|blocks| blocks * 16),
        4 => 0_u32..120,
        1 => any::<u32>(),
        1 => (0_u32..40).prop_map(|n| u32::MAX - n),
    ]
}

fn places() -> impl Strategy<Value = Places> {
    let ranges = ((offsets(), lengths()), (offsets(), lengths()));
    (ranges, offsets(), lengths(), any::<Option<u32>>())
        .prop_map(|((cipher, integrity), iv, tag, esn)| Places { cipher, integrity, iv, tag, esn })
}

/// Whether a job fits a packet of `len` bytes.
fn fits(needs: &Needs, places: &Places, len: usize) -> bool {
    let within = |at: i128, count: i128| at + count <= len as i128;
    let range = |(at, count): Range| within(i128::from(at), i128::from(count));
    let iv = needs.iv_len == 0 || within(i128::from(places.iv), needs.iv_len);
    let tag = within(i128::from(places.tag), needs.tag_len);
    let spi = places.esn.is_none() || places.integrity.1 >= 4;
    let cipher = needs.cipher.is_none_or(|(block, least)| {
        range(places.cipher) && places.cipher.1.is_multiple_of(block) && places.cipher.1 >= least && iv
    });
    // A hash that takes a nonce is by itself here, and has the high half where an AEAD has it.
    let nonce = needs.cipher.is_some() || needs.iv_len == 0 || (iv && spi);
    let aead = range(places.cipher) && range(places.integrity) && iv && tag && spi && apart(places);
    cipher && (!needs.integrity || (range(places.integrity) && tag && nonce)) && (!needs.aead || aead)
}

/// Whether cipher range and associated data share no byte.
fn apart(places: &Places) -> bool {
    let end = |(at, count): Range| i128::from(at) + i128::from(count);
    let first = i128::from(places.cipher.0.max(places.integrity.0));
    first >= end(places.cipher).min(end(places.integrity))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_job_is_done_when_its_ranges_fit_and_else_refused_without_a_trace(
        needs in needs(), places in places(), len in 0_usize..200, decrypt in any::<bool>(),
        cuts in proptest::collection::vec(0_usize..200, 0..4), out_of_place in any::<bool>(),
    ) {
        let mut bench = Bench::new();
        let session = bench.open(needs.params.clone());
        let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let operation = if decrypt { Operation::Decrypt } else { Operation::Encrypt };
        let mut job = Job::new(chained(&bench.pool, &bytes, &cuts), session, operation)
            .with_cipher(places.cipher.0, places.cipher.1)
            .with_integrity(places.integrity.0, places.integrity.1)
            .with_iv(places.iv)
            .with_tag(places.tag);
        if let Some(high) = places.esn {
            job = job.with_esn_high(high);
        }
        if out_of_place {
            job = job.with_destination(bench.packet(b"old"));
        }
        let done = bench.run(job);
        let expected = match (fits(&needs, &places, len), decrypt && needs.tag_len > 0) {
            (false, _) => Status::BadRange,
            (true, true) => Status::IntegrityFailed,
            (true, false) => Status::Done,
        };
        prop_assert_eq!(done.status(), expected);
        let (source, destination) = done.into_packets();
        if expected != Status::Done {
            prop_assert_eq!(bytes_of(&source), bytes);
            prop_assert!(destination.is_none_or(|destination| destination.data() == b"old"));
        }
    }

    #[test]
    fn one_place_that_does_not_fit_is_enough_to_leave_the_packet_untouched(
        suite in proptest::sample::select(Suite::all()), blocks in 1_usize..8, spoil in 0..6, beyond in 1_u16..500,
        decrypt in any::<bool>(), chain in any::<bool>(), out_of_place in any::<bool>(),
    ) {
        let mut bench = Bench::new();
        let session = bench.open(suite.params.clone());
        let plain = suite.plain(&vec![0x5a; blocks * 16], 1);
        let (_, sealed) = bench.finish(suite.job(bench.packet(&plain), session, Operation::Encrypt, None));
        let (operation, bytes) = if decrypt { (Operation::Decrypt, sealed) } else { (Operation::Encrypt, plain) };
        let len = bytes.len() as u16;
        let packet = chained(&bench.pool, &bytes, if chain { &[11, 50] } else { &[] });
        let good = suite.job(packet, session, operation, None);
        let (at, count) = good.cipher_range();
        let mut job = match spoil {
            0 => good.with_tag(u32::from(len + beyond) - suite.tag_len as u32),
            1 => good.with_iv(len + beyond - suite.iv_len as u16),
            2 => good.with_cipher(at as u16, (bytes.len() + usize::from(beyond) * 16) as u32),
            3 => good.with_integrity(0, u32::from(len + beyond)),
            4 => good.with_integrity(len + beyond, 0),
            // No whole block; where that does not matter, beyond the end without a byte.
            _ if !suite.aead => good.with_cipher(at as u16, count as u32 - 1),
            _ => good.with_cipher(len + beyond, 0),
        };
        if out_of_place {
            job = job.with_destination(bench.packet(b"old"));
        }
        let done = bench.run(job);
        prop_assert_eq!(done.status(), Status::BadRange);
        let (source, destination) = done.into_packets();
        prop_assert_eq!(bytes_of(&source), bytes);
        prop_assert!(destination.is_none_or(|destination| destination.data() == b"old"));
    }

    #[test]
    fn an_explicit_iv_of_another_length_is_refused_without_a_trace(
        suite in proptest::sample::select(Suite::all()), count in 0_usize..=16, decrypt in any::<bool>(),
    ) {
        prop_assume!(count != if suite.aead { 12 } else { 16 });
        let mut bench = Bench::new();
        let session = bench.open(suite.params.clone());
        let bytes = suite.plain(&[5; 64], 1);
        let operation = if decrypt { Operation::Decrypt } else { Operation::Encrypt };
        let mut extension = ExtensionPool::new(1).alloc().unwrap();
        prop_assert!(extension.set_iv(&vec![7; count]));
        let job = suite.job(bench.packet(&bytes), session, operation, None).with_extension(extension);
        prop_assert_eq!(bench.finish(job), (Status::BadRange, bytes));
    }
}
