//! Protocol headers as thin views and writers over byte slices, and the Internet checksum.
//!
//! Contract: no function here panics, whatever the bytes; what does not fit or contradicts itself is a
//! [`HeaderError`]. Lengths and offsets are in bytes from the start of the given slice. Nothing is allocated, and
//! nothing decides what happens to the packet.

pub mod esp;
pub mod ethernet;
pub mod ipv4;
pub mod ipv6;
pub mod link;
pub mod protocol;
pub mod udp;

use thiserror::Error;

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The slice ends before the header does, or before the length that the header states.
    #[error("the packet ends before its headers say it does")]
    Truncated,
    /// The version is not the one asked for, or for [`version`] neither 4 nor 6.
    #[error("the IP version is wrong")]
    BadVersion,
    /// A length field is smaller than the header it belongs to.
    #[error("a length field is smaller than the header it belongs to")]
    BadLength,
    /// An IPv6 jumbogram (RFC 2675), which is not supported.
    #[error("IPv6 jumbograms are not supported")]
    Jumbogram,
    /// More IPv6 extension headers than are followed.
    #[error("more than {} IPv6 extension headers", ipv6::MAX_EXTENSIONS)]
    TooManyExtensions,
    /// An IPv6 hop-by-hop header that is not the first (RFC 8200 section 4.1).
    #[error("an IPv6 hop-by-hop header is not the first extension header")]
    MisplacedHopByHop,
}

/// Version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The version that the first byte of an IP packet states.
///
/// # Errors
///
/// [`HeaderError::Truncated`] for an empty slice, [`HeaderError::BadVersion`] for neither 4 nor 6.
pub fn version(packet: &[u8]) -> Result<IpVersion, HeaderError> {
    match packet.first().ok_or(HeaderError::Truncated)? >> 4 {
        4 => Ok(IpVersion::V4),
        6 => Ok(IpVersion::V6),
        _ => Err(HeaderError::BadVersion),
    }
}

/// The byte with DSCP and ECN of either version.
#[inline(always)]
pub(crate) fn tos_of(ip: &[u8]) -> u8 {
    match *ip {
        [first, second, ..] if first >> 4 == 4 => second,
        [first, second, ..] => first << 4 | second >> 4,
        _ => 0,
    }
}

/// A sum of 16-bit words as the Internet checksum wants it (RFC 1071): kept wide, folded at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Nothing summed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds bytes in network order; an odd last byte is the high half of a word. Parts added one after the other
    /// must each have an even length, but for the last.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut sum = self.0;
        let (words, odd) = bytes.as_chunks::<4>();
        for word in words {
            sum += u64::from(u32::from_be_bytes(*word));
        }
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(odd) {
            *to = *from;
        }
        // 2^32 is 1 modulo 0xffff, so 32-bit words may be added; a packet has far too few to overflow 64 bits.
        Self(sum + u64::from(u32::from_be_bytes(last)))
    }

    /// Adds one word.
    #[must_use]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// The folded sum, not complemented. 0xffff for data that carry a correct checksum.
    #[must_use]
    #[inline(always)]
    pub const fn folded(self) -> u16 {
        // Each fold leaves less carry: 64 bits to at most 33, to 18, to 17, to 16.
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }

    /// The checksum: the complement of the folded sum.
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !self.folded()
    }
}

/// The checksum after one 16-bit word that it covers went from `old` to `new` (RFC 1624 section 3, equation 3).
#[must_use]
pub const fn updated_checksum(checksum: u16, old: u16, new: u16) -> u16 {
    Sum::new().word(!checksum).word(!old).word(new).checksum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 word by word, in plain 16-bit end-around-carry arithmetic.
    fn slow_checksum(bytes: &[u8]) -> u16 {
        let mut sum = 0_u16;
        for pair in bytes.chunks(2) {
            let word = u16::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u16::from(*low));
            let (next, carry) = sum.overflowing_add(word);
            sum = next + u16::from(carry);
        }
        !sum
    }

    #[test]
    fn the_version_is_read_from_the_first_byte() {
        assert_eq!(version(&[0x45]), Ok(IpVersion::V4));
        assert_eq!(version(&[0x60]), Ok(IpVersion::V6));
        assert_eq!(version(&[0x50]), Err(HeaderError::BadVersion));
        assert_eq!(version(&[]), Err(HeaderError::Truncated));
    }

    proptest! {
        #[test]
        fn the_wide_sum_agrees_with_the_word_by_word_one(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Sum::new().bytes(&bytes).checksum(), slow_checksum(&bytes));
        }

        #[test]
        fn parts_of_even_length_sum_like_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..100), at in 0_usize..50,
        ) {
            let (left, right) = bytes.split_at((at * 2).min(bytes.len() & !1));
            prop_assert_eq!(Sum::new().bytes(left).bytes(right).checksum(), slow_checksum(&bytes));
        }

        #[test]
        fn an_updated_checksum_verifies_like_a_fresh_one(mut bytes: [u8; 20], at in 0_usize..10, new: u16) {
            let checksum = slow_checksum(&bytes);
            let old = u16::from_be_bytes([bytes[at * 2], bytes[at * 2 + 1]]);
            bytes[at * 2..at * 2 + 2].copy_from_slice(&new.to_be_bytes());
            let updated = updated_checksum(checksum, old, new);
            prop_assert_eq!(Sum::new().bytes(&bytes).word(updated).folded(), 0xffff);
        }
    }
}
