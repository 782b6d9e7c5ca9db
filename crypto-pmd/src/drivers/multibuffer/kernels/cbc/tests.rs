//! CBC at every level that the processor has, against the crates `aes` and `cbc`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use cbc::cipher::{BlockModeEncrypt as _, KeyIvInit as _, block_padding::NoPadding};

use super::super::guard::Guarded;
use super::*;

/// Levels with kernels that can run here.
fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| *level > Level::Portable && *level <= Level::best())
}

/// Bytes that look random and are the same every time.
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
    fn take(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

fn reference(key: &[u8], iv: &[u8; 16], data: &[u8]) -> Vec<u8> {
    let mut out = data.to_vec();
    let len = data.len();
    match key.len() {
        16 => cbc::Encryptor::<aes::Aes128>::new_from_slices(key, iv)
            .unwrap()
            .encrypt_padded::<NoPadding>(&mut out, len)
            .map(|_| ()),
        24 => cbc::Encryptor::<aes::Aes192>::new_from_slices(key, iv)
            .unwrap()
            .encrypt_padded::<NoPadding>(&mut out, len)
            .map(|_| ()),
        _ => cbc::Encryptor::<aes::Aes256>::new_from_slices(key, iv)
            .unwrap()
            .encrypt_padded::<NoPadding>(&mut out, len)
            .map(|_| ()),
    }
    .unwrap();
    out
}

#[test]
fn the_reference_is_that_of_the_standard() {
    // NIST SP 800-38A section F.2.1, first block.
    let key = hex::decode("2b7e151628aed2a6abf7158809cf4f3c").unwrap();
    let iv = hex::decode("000102030405060708090a0b0c0d0e0f").unwrap();
    let text = hex::decode("6bc1bee22e409f96e93d7e117393172a").unwrap();
    let sealed = reference(&key, &iv.try_into().unwrap(), &text);
    assert_eq!(hex::encode(sealed), "7649abac8119b246cee98e9b12e9197d");
}

/// Lanes of many numbers, lengths, key sizes and alignments, with bytes around each that must stay.
#[test]
fn packets_side_by_side_come_out_as_one_by_one() {
    let mut bytes = Bytes(7);
    for level in levels() {
        for turn in 0..200_usize {
            let count = 1 + turn % 40;
            let shared = turn.is_multiple_of(3).then(|| bytes.take(16));
            let keys: Vec<Vec<u8>> = (0..count)
                .map(|_| {
                    let len = [16, 24, 32][bytes.next() as usize % 3];
                    shared.clone().unwrap_or_else(|| bytes.take(len))
                })
                .collect();
            let most = if turn.is_multiple_of(10) { 576 } else { 12 };
            let plain: Vec<Vec<u8>> = (0..count)
                .map(|_| {
                    let blocks = 1 + bytes.next() as usize % most;
                    bytes.take(blocks * BLOCK)
                })
                .collect();
            let ivs: Vec<[u8; 16]> = (0..count).map(|_| bytes.take(16).try_into().unwrap()).collect();
            let offsets: Vec<usize> = (0..count).map(|_| bytes.next() as usize % 64).collect();
            let mut buffers: Vec<Vec<u8>> = plain
                .iter()
                .zip(&offsets)
                .map(|(text, offset)| [&vec![0xcc; *offset][..], text, &[0xcc; 64]].concat())
                .collect();
            // One key object for each key, so that lanes with one key are seen to have one.
            let first = AesKey::new(&keys[0]).unwrap();
            let all: Vec<AesKey> = keys.iter().map(|key| AesKey::new(key).unwrap()).collect();
            let mut lanes: Vec<CbcLane<'_>> = buffers
                .iter_mut()
                .enumerate()
                .map(|(n, buffer)| CbcLane {
                    key: if shared.is_some() { &first } else { &all[n] },
                    iv: ivs[n],
                    data: &mut buffer[offsets[n]..offsets[n] + plain[n].len()],
                })
                .collect();
            encrypt(level, &mut lanes);
            drop(lanes);
            for n in 0..count {
                let (front, rest) = buffers[n].split_at_mut(offsets[n]);
                let (text, behind) = rest.split_at_mut(plain[n].len());
                assert!(front.iter().chain(behind.iter()).all(|byte| *byte == 0xcc), "{level}, turn {turn}");
                assert_eq!(text, reference(&keys[n], &ivs[n], &plain[n]), "{level}, turn {turn}, lane {n}");
                decrypt(level, &all[n], &ivs[n], text);
                assert_eq!(text, plain[n], "{level}, turn {turn}, lane {n}");
                assert!(front.iter().chain(behind.iter()).all(|byte| *byte == 0xcc), "{level}, turn {turn}");
            }
        }
    }
}

#[test]
fn decryption_takes_every_number_of_blocks_and_every_alignment() {
    let mut bytes = Bytes(11);
    for level in levels() {
        for (blocks, key_len) in (0..70_usize).flat_map(|blocks| [16, 24, 32].map(|len| (blocks, len))) {
            let (key, iv) = (bytes.take(key_len), bytes.take(16).try_into().unwrap());
            let sealed = bytes.take(blocks * BLOCK);
            let offset = blocks % 33;
            let mut buffer = [&vec![0xcc; offset][..], &sealed, &[0xcc; 40]].concat();
            let ready = AesKey::new(&key).unwrap();
            decrypt(level, &ready, &iv, &mut buffer[offset..offset + sealed.len()]);
            assert!(
                buffer[..offset].iter().chain(&buffer[offset + sealed.len()..]).all(|byte| *byte == 0xcc)
            );
            let plain = &buffer[offset..offset + sealed.len()];
            assert_eq!(reference(&key, &iv, plain), sealed, "{level}, {blocks} blocks, key of {key_len}");
        }
    }
}

#[test]
fn nothing_outside_the_packet_is_touched() {
    let mut bytes = Bytes(13);
    let (key, iv) = (bytes.take(32), [5; 16]);
    let ready = AesKey::new(&key);
    let mut page = Guarded::new(70 * BLOCK);
    for (level, blocks) in levels().flat_map(|level| (1..70).map(move |blocks| (level, blocks))) {
        let (plain, ready) = (bytes.take(blocks * BLOCK), ready.as_ref().unwrap());
        for at_the_end in [false, true] {
            let len = plain.len();
            let data = if at_the_end { page.back(len) } else { page.front(len) };
            data.copy_from_slice(&plain);
            // Beside as many others as make each width that there is.
            let mut others = vec![plain.clone(); [0, 1, 3, 7, 15, 31][blocks % 6]];
            let mut lanes: Vec<_> =
                others.iter_mut().map(|data| CbcLane { key: ready, iv, data: data.as_mut_slice() }).collect();
            lanes.push(CbcLane { key: ready, iv, data: &mut *data });
            encrypt(level, &mut lanes);
            assert_eq!(data, reference(&key, &iv, &plain), "{level}, {blocks} blocks");
            decrypt(level, ready, &iv, data);
            assert_eq!(data, plain, "{level}, {blocks} blocks");
        }
    }
}
