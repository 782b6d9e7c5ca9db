//! Skipjack (NIST, SKIPJACK and KEA algorithm specifications, version 2.0, 29 May 1998) in CBC mode. Table look-ups depend on
//! the key, so it is no more constant in time than other ciphers of its age.

use zeroize::Zeroize as _;

use crate::job::Operation;

const BLOCK: usize = 8;

/// A key of 80 bits.
pub(super) struct Skipjack([u8; 10]);

impl Drop for Skipjack {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A block as four words, the first byte highest.
type Words = [u16; 4];

impl Skipjack {
    /// `None` for a key of another length than 10 bytes.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        key.try_into().ok().map(Self)
    }

    /// Works on `data` in place; false (and no change) unless it is whole blocks and the IV is one.
    pub(super) fn cbc(&self, operation: Operation, iv: &[u8], data: &mut [u8]) -> bool {
        let Ok(mut before) = <[u8; BLOCK]>::try_from(iv) else { return false };
        let (blocks, rest) = data.as_chunks_mut::<BLOCK>();
        if !rest.is_empty() {
            return false;
        }
        for block in blocks {
            match operation {
                Operation::Encrypt => {
                    *block = bytes(self.encrypt(words(xor(*block, before))));
                    before = *block;
                }
                Operation::Decrypt => {
                    let sealed = *block;
                    *block = xor(bytes(self.decrypt(words(sealed))), before);
                    before = sealed;
                }
            }
        }
        true
    }

    /// Rounds 1 to 32, eight by each rule in turn.
    fn encrypt(&self, [mut w1, mut w2, mut w3, mut w4]: Words) -> Words {
        for round in 0..32_u16 {
            let counter = round + 1;
            let mixed = self.g(round, w1);
            (w1, w2, w3, w4) = match by_rule_a(round) {
                true => (mixed ^ w4 ^ counter, mixed, w2, w3),
                false => (w4, mixed, w1 ^ w2 ^ counter, w3),
            };
        }
        [w1, w2, w3, w4]
    }

    fn decrypt(&self, [mut w1, mut w2, mut w3, mut w4]: Words) -> Words {
        for round in (0..32_u16).rev() {
            let counter = round + 1;
            let unmixed = self.g_inverse(round, w2);
            (w1, w2, w3, w4) = match by_rule_a(round) {
                true => (unmixed, w3, w4, w1 ^ w2 ^ counter),
                false => (unmixed, unmixed ^ w3 ^ counter, w4, w1),
            };
        }
        [w1, w2, w3, w4]
    }

    /// The permutation G: four rounds of a Feistel network, each with a byte of the key.
    fn g(&self, round: u16, word: u16) -> u16 {
        let [mut high, mut low] = word.to_be_bytes();
        for step in 0..4 {
            (high, low) = (low, high ^ f(low ^ self.key_byte(round, step)));
        }
        u16::from_be_bytes([high, low])
    }

    fn g_inverse(&self, round: u16, word: u16) -> u16 {
        let [mut high, mut low] = word.to_be_bytes();
        for step in (0..4).rev() {
            (high, low) = (low ^ f(high ^ self.key_byte(round, step)), high);
        }
        u16::from_be_bytes([high, low])
    }

    fn key_byte(&self, round: u16, step: u16) -> u8 {
        let place = usize::from(4 * round + step) % self.0.len();
        self.0.get(place).copied().unwrap_or_default()
    }
}

fn by_rule_a(round: u16) -> bool {
    (round / 8).is_multiple_of(2)
}

fn f(byte: u8) -> u8 {
    F.get(usize::from(byte)).copied().unwrap_or_default()
}

fn xor(one: [u8; BLOCK], other: [u8; BLOCK]) -> [u8; BLOCK] {
    (u64::from_ne_bytes(one) ^ u64::from_ne_bytes(other)).to_ne_bytes()
}

fn words(block: [u8; BLOCK]) -> Words {
    let [a, b, c, d, e, f, g, h] = block;
    [[a, b], [c, d], [e, f], [g, h]].map(u16::from_be_bytes)
}

fn bytes(words: Words) -> [u8; BLOCK] {
    let [[a, b], [c, d], [e, f], [g, h]] = words.map(u16::to_be_bytes);
    [a, b, c, d, e, f, g, h]
}

/// The F-table (section 3 of the specification).
#[rustfmt::skip]
const F: [u8; 256] = [
    0xa3, 0xd7, 0x09, 0x83, 0xf8, 0x48, 0xf6, 0xf4, 0xb3, 0x21, 0x15, 0x78, 0x99, 0xb1, 0xaf, 0xf9,
    0xe7, 0x2d, 0x4d, 0x8a, 0xce, 0x4c, 0xca, 0x2e, 0x52, 0x95, 0xd9, 0x1e, 0x4e, 0x38, 0x44, 0x28,
    0x0a, 0xdf, 0x02, 0xa0, 0x17, 0xf1, 0x60, 0x68, 0x12, 0xb7, 0x7a, 0xc3, 0xe9, 0xfa, 0x3d, 0x53,
    0x96, 0x84, 0x6b, 0xba, 0xf2, 0x63, 0x9a, 0x19, 0x7c, 0xae, 0xe5, 0xf5, 0xf7, 0x16, 0x6a, 0xa2,
    0x39, 0xb6, 0x7b, 0x0f, 0xc1, 0x93, 0x81, 0x1b, 0xee, 0xb4, 0x1a, 0xea, 0xd0, 0x91, 0x2f, 0xb8,
    0x55, 0xb9, 0xda, 0x85, 0x3f, 0x41, 0xbf, 0xe0, 0x5a, 0x58, 0x80, 0x5f, 0x66, 0x0b, 0xd8, 0x90,
    0x35, 0xd5, 0xc0, 0xa7, 0x33, 0x06, 0x65, 0x69, 0x45, 0x00, 0x94, 0x56, 0x6d, 0x98, 0x9b, 0x76,
    0x97, 0xfc, 0xb2, 0xc2, 0xb0, 0xfe, 0xdb, 0x20, 0xe1, 0xeb, 0xd6, 0xe4, 0xdd, 0x47, 0x4a, 0x1d,
    0x42, 0xed, 0x9e, 0x6e, 0x49, 0x3c, 0xcd, 0x43, 0x27, 0xd2, 0x07, 0xd4, 0xde, 0xc7, 0x67, 0x18,
    0x89, 0xcb, 0x30, 0x1f, 0x8d, 0xc6, 0x8f, 0xaa, 0xc8, 0x74, 0xdc, 0xc9, 0x5d, 0x5c, 0x31, 0xa4,
    0x70, 0x88, 0x61, 0x2c, 0x9f, 0x0d, 0x2b, 0x87, 0x50, 0x82, 0x54, 0x64, 0x26, 0x7d, 0x03, 0x40,
    0x34, 0x4b, 0x1c, 0x73, 0xd1, 0xc4, 0xfd, 0x3b, 0xcc, 0xfb, 0x7f, 0xab, 0xe6, 0x3e, 0x5b, 0xa5,
    0xad, 0x04, 0x23, 0x9c, 0x14, 0x51, 0x22, 0xf0, 0x29, 0x79, 0x71, 0x7e, 0xff, 0x8c, 0x0e, 0xe2,
    0x0c, 0xef, 0xbc, 0x72, 0x75, 0x6f, 0x37, 0xa1, 0xec, 0xd3, 0x8e, 0x62, 0x8b, 0x86, 0x10, 0xe8,
    0x08, 0x77, 0x11, 0xbe, 0x92, 0x4f, 0x24, 0xc5, 0x32, 0x36, 0x9d, 0xcf, 0xf3, 0xa6, 0xbb, 0xac,
    0x5e, 0x6c, 0xa9, 0x13, 0x57, 0x25, 0xb5, 0xe3, 0xbd, 0xa8, 0x3a, 0x01, 0x05, 0x59, 0x2a, 0x46,
];
