//! The 5-tuple of an IP packet, packed into words so that it is compared and hashed in a few instructions.
//!
//! Invariant: two packets have equal keys exactly when no selector can tell them apart. Where a packet shows no ports
//! they are opaque (RFC 4301 section 4.4.1): in later fragments, and in protocols that have none. For ICMP, type and
//! code stand in both port fields, type in the high byte, so that a selector finds them whichever way it is turned;
//! likewise the mobility message type (RFC 4301 section 4.4.1.1).
//!
//! Reading does not verify checksums, and nothing here decides about the packet.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::header::ipv4::Ipv4;
use crate::header::ipv6::Ipv6;
use crate::header::protocol::{self, PortField};
use crate::header::{HeaderError, IpVersion, version};

/// Protocol and ports: ports in the high half, then the protocol, then whether the ports are opaque.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Upper(u64);

const OPAQUE: u64 = 1;

impl Upper {
    /// A protocol with both port fields known.
    #[must_use]
    pub const fn with_ports(protocol: u8, src_port: u16, dst_port: u16) -> Self {
        Self((src_port as u64) << 48 | (dst_port as u64) << 32 | (protocol as u64) << 8)
    }

    /// A protocol whose ports cannot be seen or do not exist.
    #[must_use]
    pub const fn opaque(protocol: u8) -> Self {
        Self((protocol as u64) << 8 | OPAQUE)
    }

    /// The upper protocol.
    #[must_use]
    pub const fn protocol(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Source and destination port, or `None` where they are opaque.
    #[must_use]
    pub const fn ports(self) -> Option<(u16, u16)> {
        if self.0 & OPAQUE == 0 { Some(((self.0 >> 48) as u16, (self.0 >> 32) as u16)) } else { None }
    }

    /// Reads what the upper header at the start of `header` offers in place of ports.
    fn parse(protocol: u8, header: &[u8]) -> Result<Self, HeaderError> {
        let both = |value| Self::with_ports(protocol, value, value);
        match protocol::port_field(protocol) {
            PortField::Ports => {
                let &[a, b, c, d] = header.first_chunk().ok_or(HeaderError::Truncated)?;
                Ok(Self::with_ports(protocol, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
            }
            PortField::TypeAndCode => header
                .first_chunk()
                .map(|bytes| both(u16::from_be_bytes(*bytes)))
                .ok_or(HeaderError::Truncated),
            PortField::MobilityType => {
                header.get(2).map(|kind| both(u16::from(*kind) << 8)).ok_or(HeaderError::Truncated)
            }
            PortField::None => Ok(Self::opaque(protocol)),
        }
    }
}

/// The 5-tuple of an IPv4 packet, 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct V4Key {
    addresses: u64,
    upper: Upper,
}

impl V4Key {
    /// No packet's key: a place holder.
    pub const UNSPECIFIED: Self = Self { addresses: 0, upper: Upper::opaque(0) };

    /// A key from its parts.
    #[must_use]
    pub const fn new(src: Ipv4Addr, dst: Ipv4Addr, upper: Upper) -> Self {
        Self { addresses: (src.to_bits() as u64) << 32 | dst.to_bits() as u64, upper }
    }

    /// Source address as a number in host order.
    #[must_use]
    pub const fn src(&self) -> u32 {
        (self.addresses >> 32) as u32
    }

    /// Destination address as a number in host order.
    #[must_use]
    pub const fn dst(&self) -> u32 {
        self.addresses as u32
    }

    /// Protocol and ports.
    #[must_use]
    pub const fn upper(&self) -> Upper {
        self.upper
    }

    /// A keyed hash, good in all its bits. With a secret random seed, senders cannot aim at one bucket.
    #[must_use]
    pub const fn hash(&self, seed: u64) -> u64 {
        mix(self.addresses ^ seed, self.upper.0 ^ ODD_BITS[0])
    }
}

/// The 5-tuple of an IPv6 packet, 40 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct V6Key {
    src: [u64; 2],
    dst: [u64; 2],
    upper: Upper,
}

impl V6Key {
    /// A key from its parts.
    #[must_use]
    pub const fn new(src: Ipv6Addr, dst: Ipv6Addr, upper: Upper) -> Self {
        Self { src: halves(src.to_bits()), dst: halves(dst.to_bits()), upper }
    }

    /// Source address as a number in host order.
    #[must_use]
    pub const fn src(&self) -> u128 {
        whole(self.src)
    }

    /// Destination address as a number in host order.
    #[must_use]
    pub const fn dst(&self) -> u128 {
        whole(self.dst)
    }

    /// Protocol and ports.
    #[must_use]
    pub const fn upper(&self) -> Upper {
        self.upper
    }

    /// A keyed hash, good in all its bits. With a secret random seed, senders cannot aim at one bucket.
    #[must_use]
    pub const fn hash(&self, seed: u64) -> u64 {
        let src = mix(self.src[0] ^ seed, self.src[1] ^ ODD_BITS[0]);
        let dst = mix(self.dst[0] ^ seed, self.dst[1] ^ ODD_BITS[1]);
        // The halves are turned apart: a packet from an address to itself must not cancel out.
        mix(src ^ dst.rotate_left(32) ^ seed, self.upper.0 ^ ODD_BITS[2])
    }
}

/// The 5-tuple of an IP packet of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowKey {
    /// Of an IPv4 packet.
    V4(V4Key),
    /// Of an IPv6 packet.
    V6(V6Key),
}

impl FlowKey {
    /// Reads the packet at the start of `ip`, of either version.
    ///
    /// # Errors
    ///
    /// A [`HeaderError`] where the headers contradict each other or the slice.
    pub fn parse(ip: &[u8]) -> Result<Flow<Self>, HeaderError> {
        match version(ip)? {
            IpVersion::V4 => parse_v4(ip, ip.len()).map(|flow| flow.map(Self::V4)),
            IpVersion::V6 => parse_v6(ip, ip.len()).map(|flow| flow.map(Self::V6)),
        }
    }

    /// Source address.
    #[must_use]
    pub const fn src(&self) -> IpAddr {
        match self {
            Self::V4(key) => IpAddr::V4(Ipv4Addr::from_bits(key.src())),
            Self::V6(key) => IpAddr::V6(Ipv6Addr::from_bits(key.src())),
        }
    }

    /// Destination address.
    #[must_use]
    pub const fn dst(&self) -> IpAddr {
        match self {
            Self::V4(key) => IpAddr::V4(Ipv4Addr::from_bits(key.dst())),
            Self::V6(key) => IpAddr::V6(Ipv6Addr::from_bits(key.dst())),
        }
    }

    /// Protocol and ports.
    #[must_use]
    pub const fn upper(&self) -> Upper {
        match self {
            Self::V4(key) => key.upper(),
            Self::V6(key) => key.upper(),
        }
    }

    /// The hash of the key within; the two versions are kept in tables of their own.
    #[must_use]
    pub const fn hash(&self, seed: u64) -> u64 {
        match self {
            Self::V4(key) => key.hash(seed),
            Self::V6(key) => key.hash(seed),
        }
    }
}

impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.upper().protocol();
        match protocol::name(number) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "protocol {number}")?,
        }
        match self.upper().ports() {
            None => write!(f, " {} > {}", self.src(), self.dst()),
            Some((src, dst)) if protocol::port_field(number) == PortField::Ports => {
                write!(f, " {} port {src} > {} port {dst}", self.src(), self.dst())
            }
            Some((kind, _)) => {
                write!(f, " type {} code {} {} > {}", kind >> 8, kind & 0xff, self.src(), self.dst())
            }
        }
    }
}

/// Whether a packet is whole, or which part of one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A whole packet.
    Whole,
    /// The first fragment: it has the upper header.
    First,
    /// A later fragment: its ports are opaque.
    Later,
}

/// What reading a packet once gives: its key, and where its parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow<K> {
    /// The 5-tuple.
    pub key: K,
    /// Length of the IP packet; bytes beyond are link padding.
    pub total_len: u32,
    /// Where the upper header starts.
    pub upper_offset: u16,
    /// Whole, or which part.
    pub part: Part,
}

impl<K> Flow<K> {
    fn map<T>(self, key: impl FnOnce(K) -> T) -> Flow<T> {
        Flow {
            key: key(self.key),
            total_len: self.total_len,
            upper_offset: self.upper_offset,
            part: self.part,
        }
    }
}

/// Reads an IPv4 packet of which `ip` is the beginning, in one piece, and `available` the length in all. Whole packets without options whose protocol has ports take the short way.
///
/// # Errors
///
/// As [`FlowKey::parse`].
#[inline]
pub fn parse_v4(ip: &[u8], available: usize) -> Result<Flow<V4Key>, HeaderError> {
    match plain_v4(ip, available) {
        Some(flow) => Ok(flow),
        None => any_v4(ip, available),
    }
}

/// Reads an IPv6 packet of which `ip` is the beginning, in one piece, and `available` the length in all.
///
/// # Errors
///
/// As [`FlowKey::parse`].
pub fn parse_v6(ip: &[u8], available: usize) -> Result<Flow<V6Key>, HeaderError> {
    let header = Ipv6::parse_part(ip, available)?;
    let walk = header.walk()?;
    let part = part(walk.is_fragment(), walk.is_later_fragment());
    let end = (header.total_len() as usize).min(ip.len());
    let packet = ip.get(usize::from(walk.upper_offset)..end).ok_or(HeaderError::Truncated)?;
    let upper = upper(part, walk.upper_protocol, packet)?;
    let key = V6Key::new(header.src(), header.dst(), upper);
    Ok(Flow { key, total_len: header.total_len(), upper_offset: walk.upper_offset, part })
}

/// The short way: one bounds check, everything else from the first 24 bytes.
#[inline]
fn plain_v4(ip: &[u8], available: usize) -> Option<Flow<V4Key>> {
    const FRAGMENT_BITS: u16 = 0x3fff;
    let h: &[u8; 24] = ip.first_chunk()?;
    let total_len = u16::from_be_bytes([h[2], h[3]]);
    let fragment = u16::from_be_bytes([h[6], h[7]]) & FRAGMENT_BITS;
    let has_ports = matches!(protocol::port_field(h[9]), PortField::Ports);
    let fits = total_len >= 24 && usize::from(total_len) <= available;
    if h[0] != 0x45 || fragment != 0 || !has_ports || !fits {
        return None;
    }
    let addresses = u64::from_be_bytes([h[12], h[13], h[14], h[15], h[16], h[17], h[18], h[19]]);
    let ports = u32::from_be_bytes([h[20], h[21], h[22], h[23]]);
    let upper = Upper(u64::from(ports) << 32 | u64::from(h[9]) << 8);
    Some(Flow {
        key: V4Key { addresses, upper },
        total_len: u32::from(total_len),
        upper_offset: 20,
        part: Part::Whole,
    })
}

/// Reads a frame that is what most are: Ethernet without tags, a whole IPv4 packet without options, TCP or UDP. `None`
/// for anything else, which is to be read the general way. One bounds check; the rest are loads from known places.
#[inline(always)]
pub(crate) fn plain_ethernet_v4(frame: &[u8], frame_len: usize) -> Option<Flow<V4Key>> {
    const L2_LEN: usize = 14;
    /// EtherType, version and header length, as they lie in memory; type of service masked out.
    const IPV4_WITHOUT_OPTIONS: u32 = u32::from_le_bytes([0x08, 0x00, 0x45, 0x00]);
    /// Everything but the flag that forbids fragments.
    const FRAGMENT_BITS: u16 = u16::from_le_bytes([0x3f, 0xff]);
    let f: &[u8; 38] = frame.first_chunk()?;
    let kind = u32::from_le_bytes([f[12], f[13], f[14], f[15]]) & 0x00ff_ffff;
    let total_len = u16::from_be_bytes([f[16], f[17]]);
    let fragment = u16::from_le_bytes([f[20], f[21]]) & FRAGMENT_BITS;
    let has_ports = f[23] == protocol::UDP || f[23] == protocol::TCP;
    let fits = total_len >= 24 && usize::from(total_len) + L2_LEN <= frame_len;
    if kind != IPV4_WITHOUT_OPTIONS || fragment != 0 || !has_ports || !fits {
        return None;
    }
    let addresses = u64::from_be_bytes([f[26], f[27], f[28], f[29], f[30], f[31], f[32], f[33]]);
    let ports = u32::from_be_bytes([f[34], f[35], f[36], f[37]]);
    let upper = Upper(u64::from(ports) << 32 | u64::from(f[23]) << 8);
    let key = V4Key { addresses, upper };
    Some(Flow { key, total_len: u32::from(total_len), upper_offset: 20, part: Part::Whole })
}

#[inline(never)]
fn any_v4(ip: &[u8], available: usize) -> Result<Flow<V4Key>, HeaderError> {
    let header = Ipv4::parse_part(ip, available)?;
    let part = part(header.is_fragment(), header.fragment_offset() != 0);
    let upper = upper(part, header.protocol(), header.payload())?;
    let key = V4Key::new(header.src(), header.dst(), upper);
    Ok(Flow { key, total_len: u32::from(header.total_len()), upper_offset: header.header_len() as u16, part })
}

const fn part(is_fragment: bool, is_later: bool) -> Part {
    match (is_fragment, is_later) {
        (_, true) => Part::Later,
        (true, false) => Part::First,
        (false, false) => Part::Whole,
    }
}

fn upper(part: Part, protocol: u8, header: &[u8]) -> Result<Upper, HeaderError> {
    match part {
        Part::Later => Ok(Upper::opaque(protocol)),
        Part::Whole | Part::First => Upper::parse(protocol, header),
    }
}

/// Fixed words with as many ones as zeros, from the digits of the square roots of 2, 3 and 5.
const ODD_BITS: [u64; 3] = [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b];

/// Folded multiplication: the full product's halves over each other, so that every bit reaches every bit.
const fn mix(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

const fn halves(address: u128) -> [u64; 2] {
    [(address >> 64) as u64, address as u64]
}

const fn whole(halves: [u64; 2]) -> u128 {
    (halves[0] as u128) << 64 | halves[1] as u128
}

const _: () = assert!(size_of::<V4Key>() == 16 && size_of::<V6Key>() == 40 && size_of::<Flow<V4Key>>() == 24);

#[cfg(test)]
mod tests;
