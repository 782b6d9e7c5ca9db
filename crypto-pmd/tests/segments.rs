//! Where a packet's bytes lie makes no difference: one segment or many, in place or out of place. And a job that
//! fails leaves every byte as it was.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Bench, HEADER, Suite, bytes_of, chained};
use crypto_pmd::*;
use pipeline::Mbuf;
use proptest::collection::vec;
use proptest::prelude::*;

/// A suite of ESP, or an algorithm by itself.
fn suites() -> impl Strategy<Value = Suite> {
    prop_oneof![proptest::sample::select(Suite::all()), proptest::sample::select(Suite::alone())]
}

/// One whose tag covers every byte of the packet.
fn detecting() -> impl Strategy<Value = Suite> {
    suites().prop_filter("a tag of its own", Suite::detects)
}

/// Whole cipher blocks, also none; more than one buffer's worth now and then.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => 0_usize..12, 1 => 100_usize..200]
        .prop_flat_map(|blocks| vec(any::<u8>(), blocks * 16))
        .no_shrink()
}

/// Places anywhere in a packet or behind it, so that segments may be empty.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![0_usize..300, 0_usize..3400], 1..8)
}

/// A packet of at most one buffer in one segment, a longer one in as few as hold it.
fn sealed(bench: &mut Bench, suite: &Suite, session: SessionId, plain: &[u8], esn: Option<u32>) -> Vec<u8> {
    let job = suite.job(bench.packet(plain), session, Operation::Encrypt, esn);
    let (status, bytes) = bench.finish(job);
    assert_eq!(status, Status::Done);
    bytes
}

/// Segments of at most a buffer: the given cuts and one at each 2000 bytes.
fn spread(bench: &Bench, bytes: &[u8], cuts: &[usize]) -> Mbuf {
    let every: Vec<usize> = (1..=bytes.len() / 2000).map(|n| n * 2000).chain(cuts.iter().copied()).collect();
    chained(&bench.pool, bytes, &every)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_chained_packet_comes_out_as_one_in_a_single_segment(
        suite in suites(), payload in payloads(), cuts in cuts(), esn in any::<Option<u32>>(), seed in any::<u8>(),
    ) {
        prop_assume!(!payload.is_empty() || suite.takes_nothing());
        let mut bench = Bench::new();
        let session = bench.open(suite.params.clone());
        let plain = suite.plain(&payload, seed);
        let single = sealed(&mut bench, &suite, session, &plain, esn);
        let hidden = payload.is_empty() || !single.windows(payload.len()).any(|window| window == payload);
        prop_assert!(hidden || !suite.encrypts());

        let packet = spread(&bench, &plain, &cuts);
        let segments = packet.segment_count();
        let done = bench.run(suite.job(packet, session, Operation::Encrypt, esn));
        prop_assert_eq!(done.status(), Status::Done);
        let packet = done.into_packet();
        prop_assert_eq!(packet.segment_count(), segments);
        prop_assert_eq!(&bytes_of(&packet), &single);

        let job = suite.job(spread(&bench, &single, &cuts), session, Operation::Decrypt, esn);
        let (status, opened) = bench.finish(job);
        prop_assert_eq!(status, Status::Done);
        let text = HEADER + suite.iv_len;
        prop_assert_eq!(&opened[..text + payload.len()], &plain[..text + payload.len()]);
        prop_assert_eq!(&opened[text + payload.len()..], &single[text + payload.len()..]);
    }

    #[test]
    fn out_of_place_equals_in_place_and_leaves_the_source_untouched(
        suite in suites(), payload in vec(any::<u8>(), 0..20), cuts in cuts(), before in 0_usize..900,
        chain_source in any::<bool>(), chain_destination in any::<bool>(), esn in any::<Option<u32>>(),
    ) {
        prop_assume!(!payload.is_empty() || suite.takes_nothing());
        let mut bench = Bench::new();
        let session = bench.open(suite.params.clone());
        let payload = payload.repeat(16);
        let plain = suite.plain(&payload, 1);
        let single = sealed(&mut bench, &suite, session, &plain, esn);
        for (operation, from) in [(Operation::Encrypt, &plain), (Operation::Decrypt, &single)] {
            let place = |chain: bool, bytes: &[u8]| chained(&bench.pool, bytes, if chain { &cuts } else { &[] });
            let in_place = suite.job(place(chain_source, from), session, operation, esn);
            let destination = place(chain_destination, &vec![0x11; before]);
            let job = suite.job(place(chain_source, from), session, operation, esn).with_destination(destination);
            prop_assert!(!job.is_in_place());
            let (status, expected) = bench.finish(in_place);
            prop_assert_eq!(status, Status::Done);
            let done = bench.run(job);
            prop_assert_eq!(done.status(), Status::Done);
            let (source, destination) = done.into_packets();
            prop_assert_eq!(&bytes_of(&source), from);
            prop_assert_eq!(bytes_of(&destination.unwrap()), expected);
        }
    }

    #[test]
    fn any_flipped_bit_is_found_and_the_packet_left_as_it_came(
        suite in detecting(), payload in payloads(), cuts in proptest::option::of(cuts()), esn in any::<Option<u32>>(),
        place in any::<proptest::sample::Index>(), bit in 0_u32..8, out_of_place in any::<bool>(),
    ) {
        let mut bench = Bench::new();
        let session = bench.open(suite.params.clone());
        let plain = suite.plain(&payload, 9);
        let mut bytes = sealed(&mut bench, &suite, session, &plain, esn);
        let at = place.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let packet = spread(&bench, &bytes, cuts.as_deref().unwrap_or_default());
        let mut job = suite.job(packet, session, Operation::Decrypt, esn);
        if out_of_place {
            job = job.with_destination(bench.packet(&[0x22; 40]));
        }
        let done = bench.run(job);
        prop_assert_eq!(done.status(), Status::IntegrityFailed);
        let (source, destination) = done.into_packets();
        prop_assert_eq!(bytes_of(&source), bytes);
        prop_assert!(destination.is_none_or(|destination| destination.data() == [0x22; 40]));
    }

    #[test]
    fn another_high_half_of_the_sequence_number_is_found(
        suite in detecting(), high in any::<u32>(), other in any::<Option<u32>>(),
    ) {
        prop_assume!(other != Some(high));
        let mut bench = Bench::new();
        let session = bench.open(suite.params.clone());
        let plain = suite.plain(&[0x42; 32], 3);
        let bytes = sealed(&mut bench, &suite, session, &plain, Some(high));
        let job = suite.job(bench.packet(&bytes), session, Operation::Decrypt, other);
        prop_assert_eq!(bench.finish(job), (Status::IntegrityFailed, bytes));
    }
}

#[test]
fn a_destination_without_room_is_refused_and_both_packets_left_as_they_were() {
    let mut bench = Bench::new();
    for suite in Suite::all() {
        let session = bench.open(suite.params.clone());
        let plain = suite.plain(&[0x33; 4096], 1);
        let destination = bench.packet(b"old");
        let job =
            suite.job(bench.packet(&plain), session, Operation::Encrypt, None).with_destination(destination);
        let done = bench.run(job);
        assert_eq!(done.status(), Status::BadRange);
        let (source, destination) = done.into_packets();
        assert_eq!((bytes_of(&source), destination.unwrap().data()), (plain, &b"old"[..]));
    }
}

#[test]
fn the_longest_ip_packet_behind_a_vlan_header_fits_a_chain() {
    let mut bench = Bench::new();
    let suite = Suite::gcm(16);
    let session = bench.open(suite.params.clone());
    let plain = suite.plain(&vec![0x44; 18 + 65_535 - HEADER - 8 - 16], 1);
    assert_eq!(plain.len(), 65_535 + 18);
    let bytes = sealed(&mut bench, &suite, session, &plain, None);
    let job = suite.job(bench.packet(&bytes), session, Operation::Decrypt, None);
    let (status, opened) = bench.finish(job);
    assert_eq!(status, Status::Done);
    assert_eq!(opened[..opened.len() - 16], plain[..plain.len() - 16]);
}
