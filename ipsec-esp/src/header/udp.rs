//! The UDP header that carries ESP through NATs (RFC 3948): reading, writing, the checksum over IPv6, and telling
//! apart what shares the port.
//!
//! Over IPv4 the checksum may be left zero (RFC 3948 section 2.1); over IPv6 it is computed. Nothing here knows
//! which ports are ESP's.

use std::net::Ipv6Addr;

use super::{HeaderError, Sum, protocol};

/// Length of the UDP header.
pub const LEN: usize = 8;

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpHeader {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Length of header and payload.
    pub length: u16,
    /// The checksum as it stands; 0 means none was computed.
    pub checksum: u16,
}

impl UdpHeader {
    /// Reads the eight bytes; nothing is compared with the datagram.
    #[must_use]
    pub const fn from_bytes(bytes: &[u8; LEN]) -> Self {
        let [a, b, c, d, e, f, g, h] = *bytes;
        Self {
            src_port: u16::from_be_bytes([a, b]),
            dst_port: u16::from_be_bytes([c, d]),
            length: u16::from_be_bytes([e, f]),
            checksum: u16::from_be_bytes([g, h]),
        }
    }

    /// Reads the header at the start of `datagram`, which may be longer than the header says.
    ///
    /// # Errors
    ///
    /// [`HeaderError::Truncated`] when the slice ends before the header or before its length,
    /// [`HeaderError::BadLength`] when that length does not even hold the header.
    pub fn parse(datagram: &[u8]) -> Result<Self, HeaderError> {
        let header = Self::from_bytes(datagram.first_chunk().ok_or(HeaderError::Truncated)?);
        if usize::from(header.length) < LEN {
            return Err(HeaderError::BadLength);
        }
        if usize::from(header.length) > datagram.len() {
            return Err(HeaderError::Truncated);
        }
        Ok(header)
    }

    /// Writes the header to the start of `datagram`; `None`, and nothing written, when there is no room.
    pub fn write(&self, datagram: &mut [u8]) -> Option<()> {
        let [a, b] = self.src_port.to_be_bytes();
        let [c, d] = self.dst_port.to_be_bytes();
        let [e, f] = self.length.to_be_bytes();
        let [g, h] = self.checksum.to_be_bytes();
        *datagram.first_chunk_mut::<LEN>()? = [a, b, c, d, e, f, g, h];
        Some(())
    }
}

/// The checksum of a datagram over IPv6 (RFC 8200 section 8.1), for a header whose checksum field is zero now.
/// Never 0: where the sum comes out so, 0xffff stands for it. `datagram` is header and payload, at most 65535 bytes.
#[must_use]
pub fn checksum_ipv6(src: &Ipv6Addr, dst: &Ipv6Addr, datagram: &[u8]) -> u16 {
    checksum_ipv6_of_parts(src, dst, datagram.len(), std::iter::once(datagram))
}

/// As [`checksum_ipv6`] for a datagram of `length` bytes that lies in several parts, each of any length.
#[must_use]
pub fn checksum_ipv6_of_parts<'a>(
    src: &Ipv6Addr,
    dst: &Ipv6Addr,
    length: usize,
    parts: impl Iterator<Item = &'a [u8]>,
) -> u16 {
    let (mut sum, mut is_odd) = (pseudo_sum_ipv6(src, dst, length), false);
    for part in parts {
        let word = Sum::new().bytes(part).folded();
        // What starts at an odd place has its halves exchanged (RFC 1071 section 2).
        sum = sum.word(if is_odd { word.swap_bytes() } else { word });
        is_odd ^= part.len() % 2 == 1;
    }
    match sum.checksum() {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// Whether a datagram that came over IPv6 carries the right checksum. A zero one is not right: who accepts it, as
/// RFC 6935 lets tunnels do, must ask before.
#[must_use]
pub fn verifies_ipv6(src: &Ipv6Addr, dst: &Ipv6Addr, datagram: &[u8]) -> bool {
    let is_present = datagram.get(6..LEN).is_some_and(|checksum| checksum != [0, 0]);
    is_present && pseudo_sum_ipv6(src, dst, datagram.len()).bytes(datagram).folded() == 0xffff
}

fn pseudo_sum_ipv6(src: &Ipv6Addr, dst: &Ipv6Addr, length: usize) -> Sum {
    let length = (length as u64).to_be_bytes();
    Sum::new().bytes(&src.octets()).bytes(&dst.octets()).bytes(&length).word(u16::from(protocol::UDP))
}

/// What the payload of a datagram on the shared port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// ESP: the payload starts with an SPI that is not zero (RFC 3948 section 2.1).
    Esp,
    /// IKE, after a marker of four zero bytes (RFC 3948 section 2.2).
    Ike,
    /// A keepalive: the single byte 0xff (RFC 3948 section 2.3).
    Keepalive,
    /// Too short to be any of them.
    Runt,
}

/// Tells ESP, IKE and keepalives apart by the payload after the UDP header.
#[must_use]
pub fn carried(payload: &[u8]) -> Carried {
    match payload.first_chunk::<4>() {
        Some([0, 0, 0, 0]) => Carried::Ike,
        Some(_) => Carried::Esp,
        None if payload == [0xff] => Carried::Keepalive,
        None => Carried::Runt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_written_header_reads_back() {
        let header = UdpHeader { src_port: 4500, dst_port: 4501, length: 9, checksum: 0xabcd };
        let mut bytes = [0; 9];
        assert_eq!(header.write(&mut bytes), Some(()));
        assert_eq!(bytes, [0x11, 0x94, 0x11, 0x95, 0, 9, 0xab, 0xcd, 0]);
        assert_eq!(UdpHeader::parse(&bytes), Ok(header));
        assert_eq!(header.write(&mut bytes[..7]), None);
    }

    #[test]
    fn a_length_that_contradicts_the_datagram_is_refused() {
        let mut bytes = [0, 1, 0, 2, 0, 7, 0, 0, 9];
        assert_eq!(UdpHeader::parse(&bytes), Err(HeaderError::BadLength));
        bytes[5] = 10;
        assert_eq!(UdpHeader::parse(&bytes), Err(HeaderError::Truncated));
        assert_eq!(UdpHeader::parse(&bytes[..7]), Err(HeaderError::Truncated));
        bytes[5] = 9;
        assert!(UdpHeader::parse(&bytes).is_ok());
    }

    #[test]
    fn the_ipv6_checksum_is_that_of_a_pseudo_header_written_out() {
        let (src, dst): (Ipv6Addr, Ipv6Addr) =
            ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let datagram = [0x11, 0x94, 0x11, 0x94, 0x00, 0x0b, 0x00, 0x00, 0x01, 0x02, 0x03];
        // 2001+0db8+1 + 2001+0db8+2 = 5b75; +11 (length 000b, protocol 11) = 5b91; +1194+1194+000b = 7ec4;
        // +0102+0300 = 82c6; complement 7d39.
        assert_eq!(checksum_ipv6(&src, &dst, &datagram), 0x7d39);
    }

    #[test]
    fn a_zero_checksum_over_ipv6_does_not_verify() {
        let src = Ipv6Addr::UNSPECIFIED;
        // The length in pseudo header and header, and protocol 17, leave a sum of 0xffff with these ports.
        let datagram = [0xff, 0xde, 0, 0, 0, 8, 0, 0];
        assert_eq!(checksum_ipv6(&src, &src, &datagram), 0xffff);
        assert!(!verifies_ipv6(&src, &src, &datagram));
        assert!(verifies_ipv6(&src, &src, &[0xff, 0xde, 0, 0, 0, 8, 0xff, 0xff]));
        assert!(!verifies_ipv6(&src, &src, &[0xff, 0xde]));
    }

    #[test]
    fn what_shares_the_port_is_told_apart_by_its_first_bytes() {
        assert_eq!(carried(&[0, 0, 0, 0, 1]), Carried::Ike);
        assert_eq!(carried(&[0, 0, 1, 0]), Carried::Esp);
        assert_eq!(carried(&[0xff]), Carried::Keepalive);
        assert_eq!(carried(&[0xfe]), Carried::Runt);
        assert_eq!(carried(&[0xff, 0xff]), Carried::Runt);
        assert_eq!(carried(&[]), Carried::Runt);
        assert_eq!(carried(&[0xff; 4]), Carried::Esp);
    }

    proptest! {
        #[test]
        fn a_datagram_in_parts_has_the_checksum_of_the_whole(
            src: u128, dst: u128, bytes in proptest::collection::vec(any::<u8>(), 0..100), cut: usize, other: usize,
        ) {
            let (src, dst) = (Ipv6Addr::from(src), Ipv6Addr::from(dst));
            let (head, tail) = bytes.split_at(cut % (bytes.len() + 1));
            let (middle, tail) = tail.split_at(other % (tail.len() + 1));
            let parts = [head, middle, tail].into_iter();
            let whole = checksum_ipv6(&src, &dst, &bytes);
            prop_assert_eq!(checksum_ipv6_of_parts(&src, &dst, bytes.len(), parts), whole);
        }

        #[test]
        fn a_filled_in_checksum_verifies_and_a_flipped_bit_does_not(
            src: u128, dst: u128, mut datagram in proptest::collection::vec(any::<u8>(), 8..100), flip: usize,
        ) {
            let (src, dst) = (Ipv6Addr::from(src), Ipv6Addr::from(dst));
            datagram[6..8].fill(0);
            let checksum = checksum_ipv6(&src, &dst, &datagram);
            datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
            prop_assert!(verifies_ipv6(&src, &dst, &datagram));
            let bits = datagram.len() * 8;
            datagram[flip % bits / 8] ^= 1 << (flip % 8);
            prop_assert!(!verifies_ipv6(&src, &dst, &datagram));
        }
    }
}
