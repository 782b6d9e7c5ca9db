//! The IPv6 header (RFC 8200), the walk over its extension headers, and a template for a tunnel's outer header.
//!
//! The walk is bounded, so a crafted chain costs no more than [`MAX_EXTENSIONS`] steps. AH and ESP end it: policies
//! see them as upper protocols (RFC 4301 section 4.4.1.1). Options inside extension headers are not interpreted.

use std::net::Ipv6Addr;

use super::{HeaderError, protocol};

/// Length of the fixed header.
pub const LEN: usize = 40;

/// Most extension headers that are followed.
pub const MAX_EXTENSIONS: usize = 8;

/// Where the fixed header names what follows it.
const NEXT_HEADER_OFFSET: u16 = 6;

/// A view of a packet whose header was found consistent: version 6, payload within the slice.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a> {
    fixed: &'a [u8; LEN],
    packet: &'a [u8],
}

impl<'a> Ipv6<'a> {
    /// Checks version and length of the packet at the start of `packet`; bytes after its length are link padding.
    ///
    /// # Errors
    ///
    /// [`HeaderError::BadVersion`], [`HeaderError::Truncated`], or [`HeaderError::Jumbogram`] where the length is
    /// zero and hop-by-hop options follow, which may hold the real one.
    pub fn parse(packet: &'a [u8]) -> Result<Self, HeaderError> {
        Self::parse_part(packet, packet.len())
    }

    /// As [`Ipv6::parse`] for a packet of which `part` is the beginning, in one piece, and `available` the length in
    /// all. Headers must lie in the part; of the payload, the view shows what does.
    ///
    /// # Errors
    ///
    /// As [`Ipv6::parse`].
    #[inline]
    pub fn parse_part(part: &'a [u8], available: usize) -> Result<Self, HeaderError> {
        let fixed: &[u8; LEN] = part.first_chunk().ok_or(HeaderError::Truncated)?;
        if fixed[0] >> 4 != 6 {
            return Err(HeaderError::BadVersion);
        }
        let payload_len = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        if payload_len == 0 && fixed[6] == protocol::HOP_BY_HOP {
            return Err(HeaderError::Jumbogram);
        }
        if LEN + payload_len > available {
            return Err(HeaderError::Truncated);
        }
        let packet = part.get(..(LEN + payload_len).min(part.len())).ok_or(HeaderError::Truncated)?;
        Ok(Self { fixed, packet })
    }

    /// Length of everything after the fixed header.
    #[must_use]
    pub fn payload_len(&self) -> u16 {
        u16::from_be_bytes([self.fixed[4], self.fixed[5]])
    }

    /// Length of fixed header and payload: 40 to 65575.
    #[must_use]
    pub fn total_len(&self) -> u32 {
        LEN as u32 + u32::from(self.payload_len())
    }

    /// DSCP and ECN.
    #[must_use]
    pub fn traffic_class(&self) -> u8 {
        self.fixed[0] << 4 | self.fixed[1] >> 4
    }

    /// The 20-bit flow label.
    #[must_use]
    pub fn flow_label(&self) -> u32 {
        u32::from_be_bytes([0, self.fixed[1] & 0x0f, self.fixed[2], self.fixed[3]])
    }

    /// What directly follows the fixed header, an extension header or the upper protocol.
    #[must_use]
    pub fn next_header(&self) -> u8 {
        self.fixed[6]
    }

    /// Hops left.
    #[must_use]
    pub fn hop_limit(&self) -> u8 {
        self.fixed[7]
    }

    /// Source address.
    #[must_use]
    pub fn src(&self) -> Ipv6Addr {
        address(self.fixed, 8)
    }

    /// Destination address, as the fixed header has it: with a routing header that is the next hop.
    #[must_use]
    pub fn dst(&self) -> Ipv6Addr {
        address(self.fixed, 24)
    }

    /// What follows the fixed header, extension headers included, without link padding.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.packet.get(LEN..).unwrap_or_default()
    }

    /// Follows the extension headers to the upper protocol.
    ///
    /// # Errors
    ///
    /// [`HeaderError::Truncated`] where a header runs over the end, [`HeaderError::TooManyExtensions`],
    /// [`HeaderError::MisplacedHopByHop`].
    pub fn walk(&self) -> Result<Walk, HeaderError> {
        let mut walk = Walk::start(self.next_header());
        let mut patch_offset = NEXT_HEADER_OFFSET;
        for _ in 0..MAX_EXTENSIONS {
            if walk.fragment.is_some_and(|fragment| fragment.offset != 0)
                || !is_extension(walk.upper_protocol)
            {
                return Ok(walk);
            }
            let at = walk.upper_offset;
            walk.step(self.packet, patch_offset)?;
            patch_offset = at;
        }
        if is_extension(walk.upper_protocol) { Err(HeaderError::TooManyExtensions) } else { Ok(walk) }
    }
}

/// What the fragment header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where this fragment's payload belongs, in bytes; not 0 means that the upper header is elsewhere.
    pub offset: u16,
    /// Whether fragments follow this one. With offset 0 and none following it is an atomic fragment (RFC 6946),
    /// a whole packet in truth.
    pub more: bool,
}

/// What the walk found. Offsets count from the start of the IPv6 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The upper protocol. In a later fragment it is what the fragment header names, maybe an extension header.
    pub upper_protocol: u8,
    /// Where the upper header, or a later fragment's piece, starts.
    pub upper_offset: u16,
    /// Where transport mode inserts ESP: after hop-by-hop options, routing and fragment headers and the destination
    /// options before a routing header (RFC 4303 section 3.1.1). From here on is what ESP encrypts.
    pub insert_offset: u16,
    /// What stands at `insert_offset` now: ESP's next header.
    pub insert_protocol: u8,
    /// The byte that names what stands at `insert_offset`, to be patched to ESP.
    pub patch_offset: u16,
    /// The byte that names the upper protocol.
    pub last_patch_offset: u16,
    /// The fragment header, where there is one.
    pub fragment: Option<Fragment>,
}

impl Walk {
    /// Whether the packet is a part only; an atomic fragment is not.
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset != 0 || fragment.more)
    }

    /// Whether the upper header is in another fragment.
    #[must_use]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset != 0)
    }

    fn start(next_header: u8) -> Self {
        Self {
            upper_protocol: next_header,
            upper_offset: LEN as u16,
            insert_offset: LEN as u16,
            insert_protocol: next_header,
            patch_offset: NEXT_HEADER_OFFSET,
            last_patch_offset: NEXT_HEADER_OFFSET,
            fragment: None,
        }
    }

    /// Goes over the extension header at `upper_offset`; `named_at` is where the header before names it.
    fn step(&mut self, packet: &[u8], named_at: u16) -> Result<(), HeaderError> {
        let header = packet.get(usize::from(self.upper_offset)..).ok_or(HeaderError::Truncated)?;
        let &[next, units, high, low, ..] = header else { return Err(HeaderError::Truncated) };
        let kind = self.upper_protocol;
        if kind == protocol::HOP_BY_HOP && named_at != NEXT_HEADER_OFFSET {
            return Err(HeaderError::MisplacedHopByHop);
        }
        let mut length = (u16::from(units) + 1) * 8;
        if kind == protocol::FRAGMENT {
            // The fragment header has no length field: the byte is reserved.
            length = 8;
            let field = u16::from_be_bytes([high, low]);
            self.fragment = Some(Fragment { offset: field & 0xfff8, more: field & 1 != 0 });
        }
        if header.len() < usize::from(length) {
            return Err(HeaderError::Truncated);
        }
        let start = self.upper_offset;
        // At most MAX_EXTENSIONS headers of 2048 bytes: far below 65536.
        self.upper_offset += length;
        self.upper_protocol = next;
        self.last_patch_offset = start;
        if kind != protocol::DESTINATION_OPTIONS {
            self.insert_offset = self.upper_offset;
            self.insert_protocol = next;
            self.patch_offset = start;
        }
        Ok(())
    }
}

/// Whether the walk steps over a header of this kind.
#[must_use]
pub const fn is_extension(kind: u8) -> bool {
    matches!(
        kind,
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT | protocol::DESTINATION_OPTIONS
    )
}

/// Sets the payload length; `None` when the fixed header is not there.
pub fn set_payload_len(packet: &mut [u8], payload_len: u16) -> Option<()> {
    let fixed: &mut [u8; LEN] = packet.first_chunk_mut()?;
    [fixed[4], fixed[5]] = payload_len.to_be_bytes();
    Some(())
}

/// Sets DSCP and ECN; `None` when the fixed header is not there.
pub fn set_traffic_class(packet: &mut [u8], traffic_class: u8) -> Option<()> {
    let fixed: &mut [u8; LEN] = packet.first_chunk_mut()?;
    fixed[0] = fixed[0] & 0xf0 | traffic_class >> 4;
    fixed[1] = fixed[1] & 0x0f | traffic_class << 4;
    Some(())
}

/// Sets the hops left; `None` when the fixed header is not there.
pub fn set_hop_limit(packet: &mut [u8], hop_limit: u8) -> Option<()> {
    let fixed: &mut [u8; LEN] = packet.first_chunk_mut()?;
    fixed[7] = hop_limit;
    Some(())
}

/// What changes from packet to packet in a tunnel's outer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerPacket {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The flow label; only its low 20 bits are used.
    pub flow_label: u32,
    /// Length of everything after the fixed header.
    pub payload_len: u16,
}

/// A tunnel's outer header, prepared once per SA.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6Template([u8; LEN]);

impl Ipv6Template {
    /// A header without extension headers for this payload protocol and these endpoints.
    #[must_use]
    pub fn new(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, hop_limit: u8) -> Self {
        let mut fixed = [0; LEN];
        fixed[6] = next_header;
        fixed[7] = hop_limit;
        for (to, from) in fixed.iter_mut().skip(8).zip(src.octets().into_iter().chain(dst.octets())) {
            *to = from;
        }
        Self(fixed)
    }

    /// Writes one header to the start of `packet`; `None`, and nothing written, when there is no room.
    pub fn write(&self, packet: &mut [u8], fields: PerPacket) -> Option<()> {
        let first = 6 << 28 | u32::from(fields.traffic_class) << 20 | fields.flow_label & 0x000f_ffff;
        let mut header = self.0;
        [header[0], header[1], header[2], header[3]] = first.to_be_bytes();
        [header[4], header[5]] = fields.payload_len.to_be_bytes();
        *packet.first_chunk_mut()? = header;
        Some(())
    }
}

fn address(fixed: &[u8; LEN], at: usize) -> Ipv6Addr {
    let bytes: Option<&[u8; 16]> = fixed.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(Ipv6Addr::UNSPECIFIED, |bytes| Ipv6Addr::from(*bytes))
}

#[cfg(test)]
mod tests;
