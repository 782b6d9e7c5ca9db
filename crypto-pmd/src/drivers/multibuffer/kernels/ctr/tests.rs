//! Every level against RFC 3686's vectors and against the crate `ctr`, which counts in 128 bits, and at the edges of memory.

use ::ctr::cipher::{KeyIvInit, StreamCipher};

use super::super::guard::Guarded;
use super::*;

/// Levels with kernels that can run here.
fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| *level > Level::Portable && *level <= Level::best())
}

/// Bytes that look random and are the same every time.
struct Bytes(u64);

impl Bytes {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }
    fn take(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
    fn block(&mut self) -> [u8; BLOCK] {
        self.take(BLOCK).try_into().unwrap()
    }
}

fn reference(key: &[u8], counter: &[u8; BLOCK], data: &[u8]) -> Vec<u8> {
    fn with<C: KeyIvInit + StreamCipher>(key: &[u8], counter: &[u8; BLOCK], data: &[u8]) -> Vec<u8> {
        let mut out = data.to_vec();
        C::new_from_slices(key, counter).unwrap().apply_keystream(&mut out);
        out
    }
    match key.len() {
        16 => with::<::ctr::Ctr128BE<aes::Aes128>>(key, counter, data),
        24 => with::<::ctr::Ctr128BE<aes::Aes192>>(key, counter, data),
        _ => with::<::ctr::Ctr128BE<aes::Aes256>>(key, counter, data),
    }
}

#[test]
fn published_vectors_come_out() {
    let mut seen = 0;
    for row in include_str!("../../../../../tests/data/ciphers.txt").lines() {
        let fields: Vec<_> = row.split_whitespace().collect();
        let [_, "aes-ctr", key, salt, iv, plain, sealed] = fields[..] else { continue };
        let [key, plain, sealed] = [key, plain, sealed].map(|field| hex::decode(field).unwrap());
        let Some(key) = AesKey::new(&key) else { return };
        // RFC 3686 has a salt, and the first counter is 1; SP 800-38A gives the whole block.
        let counter = if salt == "-" { iv.to_owned() } else { format!("{salt}{iv}00000001") };
        let counter = hex::decode(counter).unwrap().try_into().unwrap();
        for level in levels() {
            let mut data = plain.clone();
            apply(level, &key, &counter, &mut data);
            assert_eq!(data, sealed, "{level} {row}");
        }
        seen += 1;
    }
    assert_eq!(seen, 12, "rows");
}

/// In a larger buffer, at every alignment, whose other bytes must stay.
#[test]
fn every_length_agrees_with_the_ctr_crate() {
    let mut bytes = Bytes(1);
    let long = [1023, 1024, 1408, 1500, 4095, 4096, 8192, 9156, 9216];
    for (len, key_len) in (0..=700).chain(long).flat_map(|len| [16, 24, 32].map(|key_len| (len, key_len))) {
        let (key, counter, at) = (bytes.take(key_len), bytes.block(), bytes.below(64));
        let Some(ready) = AesKey::new(&key) else { return };
        let before = bytes.take(len + 160);
        let after = reference(&key, &counter, &before[at..at + len]);
        for level in levels() {
            let mut buffer = before.clone();
            apply(level, &ready, &counter, &mut buffer[at..at + len]);
            assert!(buffer[at..at + len] == after, "{level} {len} bytes, key of {key_len}");
            buffer[at..at + len].copy_from_slice(&before[at..at + len]);
            assert!(buffer == before, "{level} {len} bytes: beside them");
        }
    }
}

#[test]
fn counters_carry_into_every_byte_and_start_again_at_zero() {
    let mut bytes = Bytes(2);
    let key = bytes.take(16);
    let Some(ready) = AesKey::new(&key) else { return };
    let text = bytes.take(1000);
    // Ends of the lowest byte, of 32 bits, of 64, of all, with every number of blocks up to them.
    for (bits, left) in [8, 16, 32, 64, 96, 128].into_iter().flat_map(|bits| (1..70).map(move |n| (bits, n)))
    {
        let high = (u128::from_be_bytes(bytes.block()) >> (bits - 1)) >> 1 << (bits - 1) << 1;
        let end = high.wrapping_add((1_u128 << (bits - 1)) << 1);
        let counter = end.wrapping_sub(left).to_be_bytes();
        let expected = reference(&key, &counter, &text);
        for level in levels() {
            let mut data = text.clone();
            apply(level, &ready, &counter, &mut data);
            assert!(data == expected, "{level}: {left} blocks before the end of {bits} bits");
        }
    }
}

#[test]
fn nothing_outside_the_packet_is_touched() {
    let mut bytes = Bytes(3);
    let (key, mut page) = (bytes.take(32), Guarded::new(300));
    let Some(ready) = AesKey::new(&key) else { return };
    for (level, len) in levels().flat_map(|level| (0..=300).map(move |len| (level, len))) {
        let (plain, counter) = (bytes.take(len), bytes.block());
        for at_the_end in [false, true] {
            let data = if at_the_end { page.back(len) } else { page.front(len) };
            data.copy_from_slice(&plain);
            apply(level, &ready, &counter, data);
            assert_eq!(data, reference(&key, &counter, &plain), "{level}, {len} bytes");
        }
    }
}
