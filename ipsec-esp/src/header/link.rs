//! Link headers of every capture link type that ESP can carry on: where the network packet starts, and the field
//! that must say which family follows when ESP changes it.
//!
//! Addresses, tags and everything else in a link header stay as they are.

use pipeline::capture::LinkType;
use thiserror::Error;

use super::{IpVersion, ethernet};

/// A link layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Ethernet, with up to two VLAN tags.
    Ethernet,
    /// No link header; the packet's own version tells the family.
    Raw,
    /// No link header, IPv4 only.
    Ipv4,
    /// No link header, IPv6 only.
    Ipv6,
    /// BSD loopback: an address family of four bytes, in the order of whichever machine wrote it.
    Loopback,
    /// Linux cooked capture, version 1.
    LinuxSll,
    /// Linux cooked capture, version 2.
    LinuxSll2,
}

/// A link type on which ESP cannot be carried.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "link type {0} cannot carry IP here; record on Ethernet, raw IP, BSD loopback or Linux cooked interfaces"
)]
pub struct UnsupportedLink(pub String);

/// What a link header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Bytes before the network packet.
    pub l2_len: u8,
    /// Version of IP, or `None` for anything that is not IP.
    pub version: Option<IpVersion>,
}

const AF_INET: u32 = 2;
/// The address families that systems use for IPv6: Linux, NetBSD and OpenBSD, FreeBSD, macOS.
const AF_INET6: [u32; 4] = [10, 24, 28, 30];
const AF_INET6_WRITTEN: u32 = 30;
/// Length of an Ethernet header without tags.
pub(crate) const PLAIN_ETHERNET: usize = 14;
const LOOPBACK_LEN: u8 = 4;
const SLL_LEN: u8 = 16;
const SLL2_LEN: u8 = 20;

impl TryFrom<LinkType> for Link {
    type Error = UnsupportedLink;

    fn try_from(link_type: LinkType) -> Result<Self, UnsupportedLink> {
        match link_type {
            LinkType::Ethernet => Ok(Self::Ethernet),
            LinkType::Raw => Ok(Self::Raw),
            LinkType::Ipv4 => Ok(Self::Ipv4),
            LinkType::Ipv6 => Ok(Self::Ipv6),
            LinkType::Null | LinkType::Loop => Ok(Self::Loopback),
            LinkType::LinuxSll => Ok(Self::LinuxSll),
            LinkType::LinuxSll2 => Ok(Self::LinuxSll2),
            other => Err(UnsupportedLink(other.to_string())),
        }
    }
}

impl Link {
    /// Whether packets of this version can be carried.
    #[must_use]
    pub const fn carries(self, version: IpVersion) -> bool {
        !matches!((self, version), (Self::Ipv4, IpVersion::V6) | (Self::Ipv6, IpVersion::V4))
    }

    /// Reads the link header at the start of `frame`; `None` when the frame ends within it.
    #[inline(always)]
    #[must_use]
    pub fn parse(self, frame: &[u8]) -> Option<Network> {
        match self {
            Self::Ethernet => parse_ethernet(frame),
            _ => self.parse_other(frame),
        }
    }

    /// Whether a frame with this header, which was not found to be IP, may hold IP all the same: behind more tags than
    /// are followed.
    #[must_use]
    pub fn hides_payload(self, frame: &[u8], network: Network) -> bool {
        let field = usize::from(network.l2_len).checked_sub(2);
        let ethertype = field.and_then(|at| word(frame, at));
        self == Self::Ethernet && network.version.is_none() && ethertype.is_some_and(ethernet::is_tag)
    }

    #[inline(never)]
    fn parse_other(self, frame: &[u8]) -> Option<Network> {
        let (l2_len, version) = match self {
            Self::Ethernet => return parse_ethernet(frame),
            Self::Raw | Self::Ipv4 | Self::Ipv6 => (0, super::version(frame).ok()),
            Self::Loopback => {
                let family: &[u8; 4] = frame.first_chunk()?;
                (
                    LOOPBACK_LEN,
                    version_of_family(u32::from_le_bytes(*family).min(u32::from_be_bytes(*family))),
                )
            }
            Self::LinuxSll => (SLL_LEN, version_of_ethertype(word(frame, 14)?)),
            Self::LinuxSll2 => {
                frame.get(..usize::from(SLL2_LEN))?;
                (SLL2_LEN, version_of_ethertype(word(frame, 0)?))
            }
        };
        Some(Network { l2_len, version })
    }

    /// Says in the link header `l2` that packets of `version` follow.
    #[inline(always)]
    pub fn set_version(self, l2: &mut [u8], version: IpVersion) {
        let ethertype = ethertype_of(version).to_be_bytes();
        let field = match self {
            Self::Ethernet | Self::LinuxSll => l2.last_chunk_mut::<2>(),
            Self::LinuxSll2 => l2.first_chunk_mut::<2>(),
            Self::Loopback => return set_family(l2, version),
            Self::Raw | Self::Ipv4 | Self::Ipv6 => None,
        };
        if let Some(field) = field {
            *field = ethertype;
        }
    }
}

/// Moves the `l2_len` bytes of a link header from one place in a frame to another. Nothing happens where the frame is
/// too short.
#[inline(always)]
pub(crate) fn move_link_header(frame: &mut [u8], from: usize, to: usize, l2_len: usize) {
    // Nearly every frame is plain Ethernet, and a copy of known length is two moves.
    if l2_len == PLAIN_ETHERNET
        && let Some(header) = frame.get(from..).and_then(<[u8]>::first_chunk::<PLAIN_ETHERNET>).copied()
        && let Some(place) = frame.get_mut(to..).and_then(<[u8]>::first_chunk_mut)
    {
        *place = header;
    } else if from + l2_len <= frame.len() && to + l2_len <= frame.len() {
        frame.copy_within(from..from + l2_len, to);
    }
}

#[inline(always)]
fn parse_ethernet(frame: &[u8]) -> Option<Network> {
    let plain: &[u8; PLAIN_ETHERNET] = frame.first_chunk()?;
    match u16::from_be_bytes([plain[12], plain[13]]) {
        ethernet::IPV4 => Some(Network { l2_len: 14, version: Some(IpVersion::V4) }),
        ethernet::IPV6 => Some(Network { l2_len: 14, version: Some(IpVersion::V6) }),
        _ => {
            let l2 = ethernet::parse(frame)?;
            Some(Network { l2_len: l2.len, version: version_of_ethertype(l2.ethertype) })
        }
    }
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    frame.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

const fn version_of_ethertype(ethertype: u16) -> Option<IpVersion> {
    match ethertype {
        ethernet::IPV4 => Some(IpVersion::V4),
        ethernet::IPV6 => Some(IpVersion::V6),
        _ => None,
    }
}

const fn ethertype_of(version: IpVersion) -> u16 {
    match version {
        IpVersion::V4 => ethernet::IPV4,
        IpVersion::V6 => ethernet::IPV6,
    }
}

fn version_of_family(family: u32) -> Option<IpVersion> {
    if family == AF_INET {
        return Some(IpVersion::V4);
    }
    AF_INET6.contains(&family).then_some(IpVersion::V6)
}

/// Keeps the byte order of the header, and the number of the family when it already means the same.
fn set_family(l2: &mut [u8], version: IpVersion) {
    let Some(field) = l2.first_chunk_mut::<4>() else { return };
    let big_endian = u32::from_be_bytes(*field) < u32::from_le_bytes(*field);
    let old = if big_endian { u32::from_be_bytes(*field) } else { u32::from_le_bytes(*field) };
    if version_of_family(old) == Some(version) {
        return;
    }
    let family = if version == IpVersion::V4 { AF_INET } else { AF_INET6_WRITTEN };
    *field = if big_endian { family.to_be_bytes() } else { family.to_le_bytes() };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_link_type_finds_its_packet_and_can_change_its_family() {
        let mut sll = vec![0; 16];
        sll[14..].copy_from_slice(&[0x08, 0x00]);
        let mut sll2 = vec![0; 20];
        sll2[..2].copy_from_slice(&[0x08, 0x00]);
        let mut vlan = vec![0; 18];
        vlan[12..14].copy_from_slice(&[0x81, 0x00]);
        vlan[16..].copy_from_slice(&[0x08, 0x00]);
        let cases = [
            (Link::Ethernet, vlan),
            (Link::LinuxSll, sll),
            (Link::LinuxSll2, sll2),
            (Link::Loopback, vec![2, 0, 0, 0]),
            (Link::Loopback, vec![0, 0, 0, 2]),
        ];
        for (link, mut l2) in cases {
            let len = l2.len() as u8;
            assert_eq!(
                link.parse(&l2),
                Some(Network { l2_len: len, version: Some(IpVersion::V4) }),
                "{link:?}"
            );
            link.set_version(&mut l2, IpVersion::V6);
            assert_eq!(
                link.parse(&l2),
                Some(Network { l2_len: len, version: Some(IpVersion::V6) }),
                "{link:?}"
            );
            assert_eq!(link.parse(&l2[..l2.len() - 1]), None, "{link:?}");
        }
    }

    #[test]
    fn without_a_link_header_the_packet_tells_its_version() {
        assert_eq!(Link::Raw.parse(&[0x45]), Some(Network { l2_len: 0, version: Some(IpVersion::V4) }));
        assert_eq!(Link::Raw.parse(&[0x60]), Some(Network { l2_len: 0, version: Some(IpVersion::V6) }));
        assert_eq!(Link::Raw.parse(&[0x15]), Some(Network { l2_len: 0, version: None }));
    }

    #[test]
    fn more_tags_than_are_followed_hide_what_is_behind_them() {
        let mut frame = [0; 40];
        for at in [12, 16, 20] {
            frame[at..at + 2].copy_from_slice(&[0x81, 0x00]);
        }
        let network = Link::Ethernet.parse(&frame).unwrap();
        assert!(Link::Ethernet.hides_payload(&frame, network));
        frame[20] = 0x08;
        let network = Link::Ethernet.parse(&frame).unwrap();
        assert!(!Link::Ethernet.hides_payload(&frame, network));
    }

    #[test]
    fn what_is_not_ip_is_said_to_be_not_ip() {
        let mut arp = [0; 42];
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        assert_eq!(Link::Ethernet.parse(&arp), Some(Network { l2_len: 14, version: None }));
    }
}
