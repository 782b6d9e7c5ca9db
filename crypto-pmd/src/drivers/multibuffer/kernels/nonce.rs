//! Nonces of 96 bits.

/// A nonce as a number, the first byte its lowest: it comes out of a packet in registers, and goes into a block without a detour over memory, where a load
/// of the whole would wait for the stores of its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(in crate::drivers::multibuffer) struct Nonce(u128);

impl From<&[u8; 12]> for Nonce {
    fn from(bytes: &[u8; 12]) -> Self {
        let mut whole = [0; 16];
        whole[..12].copy_from_slice(bytes);
        Self(u128::from_le_bytes(whole))
    }
}

impl Nonce {
    /// With these eight bytes at its end.
    #[inline(always)]
    pub(in crate::drivers::multibuffer) fn with_end(self, end: &[u8; 8]) -> Self {
        Self(self.0 & 0xffff_ffff | u128::from(u64::from_le_bytes(*end)) << 32)
    }

    /// The first eight bytes and the last four, as numbers.
    #[inline(always)]
    pub(super) fn words(self) -> (u64, u32) {
        (self.0 as u64, (self.0 >> 64) as u32)
    }

    /// The nonce behind four zeros.
    #[inline(always)]
    pub(super) fn behind_zeros(self) -> [u8; 16] {
        (self.0 << 32).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_where_the_bytes_are() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let nonce = Nonce::from(&bytes);
        assert_eq!(nonce.words(), (0x0807_0605_0403_0201, 0x0c0b_0a09));
        assert_eq!(nonce.behind_zeros()[4..], bytes);
        assert_eq!(nonce.behind_zeros()[..4], [0; 4]);
        assert_eq!(
            Nonce::from(&[1, 2, 3, 4, 9, 9, 9, 9, 9, 9, 9, 9]).with_end(&[5, 6, 7, 8, 9, 10, 11, 12]),
            nonce
        );
    }
}
