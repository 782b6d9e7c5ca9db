//! Poly1305 (RFC 8439 section 2.5) on whole blocks, in words of 64 bits.
//!
//! Clamping makes r1, the high word of r, a multiple of four. So a product by it that weighs 2^130 or more folds back without
//! loss: 2^128 r1 = 2^130 (r1 / 4), which is 5 (r1 / 4) = r1 + r1 / 4 modulo the prime.

/// The bits of r that stay (section 2.5).
const CLAMP: u128 = 0x0ffffffc_0ffffffc_0ffffffc_0fffffff;

/// A chain: r, and the sum so far, below 2^131.
#[derive(Clone, Copy)]
pub(super) struct Poly {
    low: u64,
    middle: u64,
    high: u64,
    r0: u64,
    r1: u64,
    /// r1 with its weight of 2^128 folded back.
    s1: u64,
}

impl Poly {
    /// A chain with nothing in it.
    #[inline(always)]
    pub(super) fn new(r: u128) -> Self {
        let r = r & CLAMP;
        let (r0, r1) = (r as u64, (r >> 64) as u64);
        Self { low: 0, middle: 0, high: 0, r0, r1, s1: r1 + (r1 >> 2) }
    }

    /// Adds a whole block, and multiplies by r.
    #[inline(always)]
    pub(super) fn absorb(&mut self, block: u128) {
        let Self { low, middle, high, r0, r1, s1 } = *self;
        let sum = u128::from(low) | u128::from(middle) << 64;
        let (sum, carry) = sum.overflowing_add(block);
        let (low, middle, high) = (sum as u64, (sum >> 64) as u64, high + 1 + u64::from(carry));
        let d0 = wide(low, r0) + wide(middle, s1);
        // The high word is at most 6: its products fit 64 bits.
        let d1 = wide(low, r1) + wide(middle, r0) + u128::from(high * s1) + (d0 >> 64);
        let d2 = high * r0 + (d1 >> 64) as u64;
        // What weighs 2^130 or more, five times: a quarter of it and the whole.
        let back = (d2 >> 2) + (d2 & !3);
        let sum = u128::from(d0 as u64) | u128::from(d1 as u64) << 64;
        let (sum, carry) = sum.overflowing_add(u128::from(back));
        self.low = sum as u64;
        self.middle = (sum >> 64) as u64;
        self.high = (d2 & 3) + u64::from(carry);
    }

    /// The tag: the sum modulo the prime, plus s.
    #[inline(always)]
    pub(super) fn finish(&self, s: u128) -> u128 {
        let sum = u128::from(self.low) | u128::from(self.middle) << 64;
        // The sum is below twice the prime: it is the prime or more if five more reach 2^130.
        let (reduced, carry) = sum.overflowing_add(5);
        let over = (self.high + u64::from(carry)) >> 2;
        let mask = u128::from(over).wrapping_neg();
        ((reduced & mask) | (sum & !mask)).wrapping_add(s)
    }
}

#[inline(always)]
fn wide(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

/// At most 16 bytes, and zeros behind them.
#[inline(always)]
pub(super) fn padded(bytes: &[u8]) -> u128 {
    let len = bytes.len();
    // Two words that overlap where there are fewer than 16 bytes, or than 8.
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        return u128::from(first) | u128::from(last) << ((8 * (len - 8)) & 127);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return u128::from(u64::from(first) | u64::from(last) << ((8 * (len - 4)) & 63));
    }
    match *bytes {
        [a, b, c] => u128::from(u32::from_le_bytes([a, b, c, 0])),
        [a, b] => u128::from(u16::from_le_bytes([a, b])),
        [a] => u128::from(a),
        _ => 0,
    }
}
