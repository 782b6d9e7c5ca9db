//! The IP headers in front of what ESP wraps, or of ESP itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bytes::{checksum, long, put, sum, word};
use super::protocol;

pub(super) const V4_HEADER: usize = 20;
pub(super) const V6_HEADER: usize = 40;
/// The longest packets of both versions.
const LONGEST_V4: usize = 65_535;
const LONGEST_V6: usize = 65_535 + V6_HEADER;
/// Extension headers that are followed.
const MOST_EXTENSIONS: usize = 8;
/// Hops that a tunnel's packets start with.
const HOPS: u8 = 64;

/// A place in a packet where a header starts: its offset, which protocol it is of, and the byte that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: usize,
    pub(super) protocol: u8,
    pub(super) named_at: usize,
}

/// What the headers say. Offsets count from the IP packet's first byte.
#[derive(Clone, Copy, Debug)]
pub(in crate::drivers::nic::card) struct Head {
    pub(super) is_v4: bool,
    /// DSCP and ECN.
    pub(super) tos: u8,
    pub(super) dont_fragment: bool,
    pub(super) total_len: usize,
    pub(super) dst: IpAddr,
    /// Where ESP goes in transport mode.
    pub(super) insert: Place,
    /// What comes behind all extension headers.
    pub(super) upper: Place,
    /// It is a part of a packet.
    pub(super) is_part: bool,
}

impl Head {
    /// `None` where it is no IP packet, or contradicts itself, or is longer than what is there.
    pub(super) fn read(ip: &[u8]) -> Option<Self> {
        match ip.first()? >> 4 {
            4 => Self::read_v4(ip),
            6 => Self::read_v6(ip),
            _ => None,
        }
    }

    fn read_v4(ip: &[u8]) -> Option<Self> {
        let fixed: &[u8; V4_HEADER] = ip.first_chunk()?;
        let (header_len, total_len) = (usize::from(fixed[0] & 0xf) * 4, usize::from(word(fixed, 2)?));
        if header_len < V4_HEADER || total_len < header_len || total_len > ip.len() {
            return None;
        }
        let place = Place { offset: header_len, protocol: fixed[9], named_at: 9 };
        let flags = word(fixed, 6)?;
        Some(Self {
            is_v4: true,
            tos: fixed[1],
            dont_fragment: flags & 0x4000 != 0,
            total_len,
            dst: IpAddr::V4(Ipv4Addr::from(long(fixed, 16)?)),
            insert: place,
            upper: place,
            is_part: flags & 0x3fff != 0,
        })
    }

    fn read_v6(ip: &[u8]) -> Option<Self> {
        let fixed: &[u8; V6_HEADER] = ip.first_chunk()?;
        let payload_len = usize::from(word(fixed, 4)?);
        let total_len = V6_HEADER + payload_len;
        // A payload of length 0 with options may be a jumbogram.
        if total_len > ip.len() || payload_len == 0 && fixed[6] == protocol::HOP_BY_HOP {
            return None;
        }
        let start = Place { offset: V6_HEADER, protocol: fixed[6], named_at: 6 };
        let dst: &[u8; 16] = fixed.last_chunk()?;
        let mut head = Self {
            is_v4: false,
            tos: fixed[0] << 4 | fixed[1] >> 4,
            dont_fragment: false,
            total_len,
            dst: IpAddr::V6(Ipv6Addr::from(*dst)),
            insert: start,
            upper: start,
            is_part: false,
        };
        head.walk(ip.get(..total_len)?)?;
        Some(head)
    }

    /// Goes over the extension headers. Hop-by-hop options, routing and fragment headers stay in front of ESP, and with them whatever comes
    /// before one (RFC 4303 section 3.1.1).
    fn walk(&mut self, ip: &[u8]) -> Option<()> {
        for _ in 0..=MOST_EXTENSIONS {
            let Place { offset, protocol, named_at } = self.upper;
            let stays_outside = match protocol {
                protocol::HOP_BY_HOP if named_at != 6 => return None,
                protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT => true,
                protocol::DESTINATION_OPTIONS => false,
                _ => return Some(()),
            };
            let (next, mut len) = (*ip.get(offset)?, (usize::from(*ip.get(offset + 1)?) + 1) * 8);
            if protocol == protocol::FRAGMENT {
                len = 8;
                let field = word(ip, offset + 2)?;
                self.is_part |= field & 0xfff9 != 0;
                if field & 0xfff8 != 0 {
                    // What follows is the middle of something.
                    let end = Place { offset: offset + len, protocol: next, named_at: offset };
                    (self.upper, self.insert) = (end, end);
                    return (end.offset <= ip.len()).then_some(());
                }
            }
            if offset + len > ip.len() {
                return None;
            }
            self.upper = Place { offset: offset + len, protocol: next, named_at: offset };
            if stays_outside {
                self.insert = self.upper;
            }
        }
        None
    }

    /// Longest packet of its version.
    pub(super) const fn longest(is_v4: bool) -> usize {
        if is_v4 { LONGEST_V4 } else { LONGEST_V6 }
    }
}

/// Writes a tunnel's header for a packet of `total_len` bytes in all, around one whose header is `inner`.
pub(super) fn write_outer(
    ip: &mut [u8],
    (src, dst): (IpAddr, IpAddr),
    protocol: u8,
    inner: &Head,
    total_len: usize,
    number: u64,
) -> Option<()> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let header: &mut [u8; V4_HEADER] = ip.first_chunk_mut()?;
            *header = [0; V4_HEADER];
            (header[0], header[1], header[8], header[9]) = (0x45, inner.tos, HOPS, protocol);
            header[6] = if inner.dont_fragment { 0x40 } else { 0 };
            put(header, 2, &u16::try_from(total_len).ok()?.to_be_bytes())?;
            put(header, 4, &(number as u16).to_be_bytes())?;
            put(header, 12, &src.octets())?;
            put(header, 16, &dst.octets())?;
            write_checksum(header)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header: &mut [u8; V6_HEADER] = ip.first_chunk_mut()?;
            *header = [0; V6_HEADER];
            (header[6], header[7]) = (protocol, HOPS);
            put(header, 0, &(6 << 28 | u32::from(inner.tos) << 20).to_be_bytes())?;
            put(header, 4, &u16::try_from(total_len.checked_sub(V6_HEADER)?).ok()?.to_be_bytes())?;
            put(header, 8, &src.octets())?;
            put(header, 24, &dst.octets())
        }
        _ => None,
    }
}

/// Gives a packet another length, and another protocol at a place.
pub(super) fn patch(
    ip: &mut [u8],
    is_v4: bool,
    named_at: usize,
    protocol: u8,
    total_len: usize,
) -> Option<()> {
    *ip.get_mut(named_at)? = protocol;
    if !is_v4 {
        return put(ip, 4, &u16::try_from(total_len.checked_sub(V6_HEADER)?).ok()?.to_be_bytes());
    }
    put(ip, 2, &u16::try_from(total_len).ok()?.to_be_bytes())?;
    let header_len = usize::from(*ip.first()? & 0xf) * 4;
    write_checksum(ip.get_mut(..header_len)?)
}

/// Gives a packet another DSCP and ECN.
pub(super) fn set_tos(ip: &mut [u8], tos: u8) -> Option<()> {
    let first = *ip.first()?;
    if first >> 4 == 6 {
        let second = *ip.get(1)?;
        return put(ip, 0, &[first & 0xf0 | tos >> 4, second & 0x0f | tos << 4]);
    }
    *ip.get_mut(1)? = tos;
    let header_len = usize::from(first & 0xf) * 4;
    write_checksum(ip.get_mut(..header_len)?)
}

fn write_checksum(header: &mut [u8]) -> Option<()> {
    put(header, 10, &[0, 0])?;
    let value = checksum(sum(0, header));
    put(header, 10, &value.to_be_bytes())
}
