//! Building an ESP packet around a plain one, up to the crypto: room, headers, IV, padding, trailer.
//!
//! The link header moves to the new front; the payload stays where it is. Everything that can fail is tried before
//! the sequence number is taken.

use crypto_pmd::SessionId;
use pipeline::{Mbuf, Pool};

use crate::classify::Found;
use crate::drop_reason::DropReason;
use crate::ecn::{self, Dscp};
use crate::flow_key::{FlowKey, Part};
use crate::header::esp::{self, EspHeader, Spi};
use crate::header::ipv4::{self, Ipv4, Ipv4Mut};
use crate::header::ipv6::{self, Ipv6};
use crate::header::link::{Link, PLAIN_ETHERNET, move_link_header};
use crate::header::udp::{self, UdpHeader};
use crate::header::{IpVersion, ethernet, protocol, tos_of};
use crate::inline::Bound;
use crate::iv::IvSource;
use crate::sa::{Mode, OuterHeader, SaParams, UdpEncap};
use crate::sa_store::Heir;
use crate::sequence::SequenceCounter;
use crate::suite::Cipher;

/// Longest IPv4 packet, and longest IPv6 payload.
const MAX_LEN: usize = 65_535;
/// Longest IPv6 packet: its length field does not count the fixed header.
const MAX_LEN_V6: usize = MAX_LEN + ipv6::LEN;
/// Pad length and next header.
const TRAILER_LEN: usize = 2;
/// What padding must be (RFC 4303 section 2.4).
const PADDING: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

/// Where the parts of a built packet are; offsets from the packet's first byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) esp_offset: u16,
    pub(crate) cipher_len: u32,
    /// Length of the whole IP packet.
    pub(crate) ip_len: u32,
    pub(crate) sequence: u64,
}

/// An SA as the outbound path needs it. What every packet touches is in the first line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct OutboundSa {
    pub(crate) session: SessionId,
    pub(crate) sequence: SequenceCounter,
    /// Number of the SA's first packet: what was taken since tells the packets.
    first_sequence: u64,
    pub(crate) bytes: u64,
    spi: Spi,
    /// From the outer header, or what is inserted, to the ciphertext.
    front_len: u16,
    pub(crate) iv_len: u8,
    icv_len: u8,
    /// Alignment of the trailer's end, less one.
    align_mask: u8,
    iv: Iv,
    /// Bytes under the integrity check besides the ciphertext.
    authenticated_front: u8,
    /// All ones where the ciphertext is under the integrity check, zero for an AEAD.
    authenticated_mask: u32,
    pub(crate) esn: bool,
    way: Way,
    pub(crate) udp_checksum: bool,
    udp_encap: Option<UdpEncap>,
    outer: OuterHeader,
    /// Whether the straight line is open to the SA: tunnel, IPv4 outside, no UDP.
    straight: bool,
    /// The card that has a part in it.
    bound: Option<Bound>,
}

/// Which way packets of an SA go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The straight line, where the packet too is of the common kind.
    Straight,
    /// The general one.
    General,
    /// To a card.
    Card,
}

/// What stands in front of the ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Iv {
    /// Nothing.
    None,
    /// The sequence number, 8 bytes.
    Sequence,
    /// 16 bytes that nobody can predict.
    Random,
    /// 8 bytes that nobody can predict, for the legacy ciphers.
    Short,
}

impl Heir for OutboundSa {
    fn inherit(&mut self, old: &Self) {
        self.sequence = old.sequence.up_to(self.sequence.last());
        self.first_sequence = old.first_sequence;
        self.bytes = old.bytes;
    }
}

impl OutboundSa {
    pub(crate) fn new(params: &SaParams, session: SessionId) -> Self {
        let suite = params.suite;
        let straight = params.udp_encap.is_none() && params.outer_version() == Some(IpVersion::V4);
        let iv = match suite.cipher() {
            Cipher::AesCbc => Iv::Random,
            Cipher::TripleDesCbc | Cipher::DesCbc => Iv::Short,
            Cipher::AesGcm => Iv::Sequence,
            Cipher::Null => Iv::None,
        };
        Self {
            session,
            sequence: SequenceCounter::starting_at(params.sequence, params.last_sequence()),
            first_sequence: params.sequence,
            bytes: 0,
            spi: params.spi,
            front_len: params.front_len() as u16,
            iv_len: suite.iv_len() as u8,
            icv_len: suite.icv_len() as u8,
            align_mask: (suite.alignment() - 1) as u8,
            iv,
            authenticated_front: (esp::LEN + if suite.is_aead() { 0 } else { suite.iv_len() }) as u8,
            authenticated_mask: if suite.is_aead() { 0 } else { u32::MAX },
            esn: params.esn,
            way: if straight { Way::Straight } else { Way::General },
            udp_checksum: params.needs_udp_checksum(),
            udp_encap: params.udp_encap,
            outer: match params.mode {
                Mode::Tunnel { .. } => params.outer_header(),
                Mode::Transport { .. } => OuterHeader::None,
            },
            straight,
            bound: None,
        }
    }

    /// The card that has a part in it.
    #[inline(always)]
    pub(crate) fn bound(&self) -> Option<Bound> {
        if self.way == Way::Card { self.bound } else { None }
    }

    /// Lets a card have a part in it, or none.
    pub(crate) fn bind(&mut self, bound: Option<Bound>) {
        self.bound = bound;
        self.way = match bound {
            Some(_) => Way::Card,
            None if self.straight => Way::Straight,
            None => Way::General,
        };
    }

    /// Gives no number below `next` any more, 0 for none at all. Numbers that are left out are no packets.
    pub(crate) fn raise_to(&mut self, next: u64) {
        let packets = self.packets();
        self.sequence.raise_to(next);
        let left_out = self.packets().wrapping_sub(packets);
        self.first_sequence = self.first_sequence.wrapping_add(left_out);
    }

    /// Sets a number aside for a packet to which a card will give it.
    pub(crate) fn reserve(&mut self, found: &Found) -> Result<(), DropReason> {
        if matches!(self.outer, OuterHeader::None) && found.part != Part::Whole {
            return Err(DropReason::FragmentInTransport);
        }
        self.take_sequence(found.total_len as usize).map(|_| ())
    }

    /// Bytes from the ESP header on that the integrity range has: header, IV and ciphertext, or for an AEAD the header.
    #[inline(always)]
    pub(crate) fn authenticated(&self, cipher_len: u32) -> u32 {
        u32::from(self.authenticated_front) + (cipher_len & self.authenticated_mask)
    }

    /// Packets that were given a number.
    pub(crate) fn packets(&self) -> u64 {
        self.sequence.given_since(self.first_sequence)
    }

    /// Turns the packet into an ESP packet that lacks only the crypto.
    #[inline(always)]
    pub(crate) fn encapsulate(
        &mut self,
        packet: &mut Mbuf,
        found: &Found,
        link: Link,
        pool: &Pool,
        ivs: &mut IvSource,
    ) -> Result<Shape, DropReason> {
        match self.outer {
            OuterHeader::None => self.transport(packet, found, pool, ivs),
            _ => self.tunnel(packet, found, link, pool, ivs),
        }
    }

    /// As [`OutboundSa::encapsulate`] for the common case, in a straight line: IPv4 in IPv4, one segment, Ethernet without tags, no
    /// UDP. `None`, and no change, for anything else, for what has no room, and when all numbers were given.
    #[inline(always)]
    pub(crate) fn encapsulate_plain(
        &mut self,
        packet: &mut Mbuf,
        found: &Found,
        link: Link,
        ivs: &mut IvSource,
    ) -> Option<Shape> {
        // One look at what lies in the SA's first line anyway: whatever is not common goes elsewhere, to cards too.
        if self.way != Way::Straight {
            return None;
        }
        self.encapsulate_straight(packet, found, link, ivs)
    }

    /// As [`OutboundSa::encapsulate`] for an SA of which a card does the crypto.
    #[inline(always)]
    pub(crate) fn encapsulate_for_card(
        &mut self,
        packet: &mut Mbuf,
        found: &Found,
        link: Link,
        pool: &Pool,
        ivs: &mut IvSource,
    ) -> Result<Shape, DropReason> {
        if self.straight
            && let Some(shape) = self.encapsulate_straight(packet, found, link, ivs)
        {
            return Ok(shape);
        }
        self.encapsulate(packet, found, link, pool, ivs)
    }

    #[inline(always)]
    fn encapsulate_straight(
        &mut self,
        packet: &mut Mbuf,
        found: &Found,
        link: Link,
        ivs: &mut IvSource,
    ) -> Option<Shape> {
        const ESP_AT: usize = PLAIN_ETHERNET + ipv4::LEN;
        const HEAD: usize = ESP_AT + esp::LEN;
        if !is_plain(packet, link) {
            return None;
        }
        let (OuterHeader::V4(template), FlowKey::V4(_)) = (&self.outer, &found.key) else { return None };
        let (front, total_len) = (usize::from(self.front_len), found.total_len as usize);
        let mask = usize::from(self.align_mask);
        let cipher_len = (total_len + TRAILER_LEN + mask) & !mask;
        let back = cipher_len - total_len + usize::from(self.icv_len);
        let ip_len = front + total_len + back;
        if ip_len > MAX_LEN || self.sequence.left() == 0 {
            return None;
        }
        let data = packet.wrap(PLAIN_ETHERNET + total_len, front, back)?;
        // Nothing below fails: the bytes that are named here are those that `wrap` has made room for.
        let sequence = self.sequence.take()?;
        self.bytes += total_len as u64;
        let pad_len = cipher_len - total_len - TRAILER_LEN;
        write_ipv4_trailer(data.get_mut(PLAIN_ETHERNET + front + total_len..)?, pad_len);
        let old: [u8; PLAIN_ETHERNET + 8] = *data.get(front..)?.first_chunk()?;
        let (head, rest) = data.split_first_chunk_mut::<HEAD>()?;
        *head.first_chunk_mut()? = *old.first_chunk::<PLAIN_ETHERNET>()?;
        [head[PLAIN_ETHERNET - 2], head[PLAIN_ETHERNET - 1]] = ethernet::IPV4.to_be_bytes();
        let fields = ipv4::PerPacket {
            tos: ecn::encapsulate(old[PLAIN_ETHERNET + 1], Dscp::Copy),
            total_len: ip_len as u16,
            identification: sequence as u16,
            flags: old[PLAIN_ETHERNET + 6] & ipv4::DONT_FRAGMENT_BYTE,
        };
        template.write(head.get_mut(PLAIN_ETHERNET..)?, fields)?;
        *head.last_chunk_mut()? = EspHeader { spi: self.spi, sequence: sequence as u32 }.to_bytes();
        self.write_iv(rest, sequence, ivs)?;
        Some(Shape {
            esp_offset: ESP_AT as u16,
            cipher_len: cipher_len as u32,
            ip_len: ip_len as u32,
            sequence,
        })
    }

    #[inline(always)]
    fn tunnel(
        &mut self,
        packet: &mut Mbuf,
        found: &Found,
        link: Link,
        pool: &Pool,
        ivs: &mut IvSource,
    ) -> Result<Shape, DropReason> {
        let (l2_len, total_len) = (packet.l2_len(), found.total_len as usize);
        let next_header = match found.key {
            FlowKey::V4(_) => protocol::IPV4,
            FlowKey::V6(_) => protocol::IPV6,
        };
        let inner = packet.data().get(l2_len..).and_then(<[u8]>::first_chunk).copied();
        let inner: [u8; 8] = inner.ok_or(DropReason::MalformedHeader)?;
        let front = usize::from(self.front_len);
        packet.truncate(l2_len + total_len);
        let longest = if matches!(self.outer, OuterHeader::V6(_)) { MAX_LEN_V6 } else { MAX_LEN };
        let trailer = Trailer { payload_len: total_len, room: longest.saturating_sub(front), next_header };
        let cipher_len = self.append_trailer(packet, pool, trailer)?;
        let data = packet.prepend(front).ok_or(DropReason::TooLong)?;
        let sequence = self.take_sequence(total_len)?;
        move_link_header(data, front, 0, l2_len);
        let (l2, ip) = data.split_at_mut_checked(l2_len).ok_or(DropReason::MalformedHeader)?;
        let ip_len = front + cipher_len + usize::from(self.icv_len);
        let outer_len =
            self.write_outer(link, l2, ip, &inner, ip_len, sequence).ok_or(DropReason::TooLong)?;
        let rest = ip.get_mut(outer_len..).ok_or(DropReason::TooLong)?;
        let udp_len = self.write_udp(rest, ip_len - outer_len).ok_or(DropReason::TooLong)?;
        self.write_esp(rest.get_mut(udp_len..).ok_or(DropReason::TooLong)?, sequence, ivs)
            .ok_or(DropReason::TooLong)?;
        let esp_offset = (l2_len + outer_len + udp_len) as u16;
        Ok(Shape { esp_offset, cipher_len: cipher_len as u32, ip_len: ip_len as u32, sequence })
    }

    /// Writes the outer IP header and says in the link header which family it is; returns its length.
    #[inline(always)]
    fn write_outer(
        &self,
        link: Link,
        l2: &mut [u8],
        ip: &mut [u8],
        inner: &[u8; 8],
        ip_len: usize,
        sequence: u64,
    ) -> Option<usize> {
        let inner_is_v4 = inner[0] >> 4 == 4;
        let tos = ecn::encapsulate(tos_of(inner), Dscp::Copy);
        match &self.outer {
            OuterHeader::V4(template) => {
                link.set_version(l2, IpVersion::V4);
                let fields = ipv4::PerPacket {
                    tos,
                    total_len: ip_len as u16,
                    identification: sequence as u16,
                    flags: if inner_is_v4 { inner[6] & ipv4::DONT_FRAGMENT_BYTE } else { 0 },
                };
                template.write(ip, fields).map(|()| ipv4::LEN)
            }
            OuterHeader::V6(template) => {
                link.set_version(l2, IpVersion::V6);
                let payload_len = (ip_len - ipv6::LEN) as u16;
                let fields = ipv6::PerPacket { traffic_class: tos, flow_label: 0, payload_len };
                template.write(ip, fields).map(|()| ipv6::LEN)
            }
            OuterHeader::None => None,
        }
    }

    /// ESP between the packet's own IP header (with the extension headers that stay outside) and the rest.
    #[inline(never)]
    fn transport(
        &mut self,
        packet: &mut Mbuf,
        found: &Found,
        pool: &Pool,
        ivs: &mut IvSource,
    ) -> Result<Shape, DropReason> {
        if found.part != Part::Whole {
            return Err(DropReason::FragmentInTransport);
        }
        let (l2_len, total_len) = (packet.l2_len(), found.total_len as usize);
        let ip = packet.data().get(l2_len..).ok_or(DropReason::MalformedHeader)?;
        let point = Insertion::of(&found.key, ip, total_len).ok_or(DropReason::MalformedHeader)?;
        if point.next_header == protocol::NO_NEXT_HEADER {
            return Err(DropReason::NoNextHeader);
        }
        let front = usize::from(self.front_len);
        packet.truncate(l2_len + total_len);
        let longest = if point.is_v4 { MAX_LEN } else { MAX_LEN_V6 };
        let trailer = Trailer {
            payload_len: total_len - point.offset,
            room: longest.saturating_sub(front + point.offset),
            next_header: point.next_header,
        };
        let cipher_len = self.append_trailer(packet, pool, trailer)?;
        let data = packet.prepend(front).ok_or(DropReason::TooLong)?;
        let sequence = self.take_sequence(total_len)?;
        data.copy_within(front..front + l2_len + point.offset, 0);
        let ip = data.get_mut(l2_len..).ok_or(DropReason::MalformedHeader)?;
        let ip_len = front + point.offset + cipher_len + usize::from(self.icv_len);
        let inserted = if self.udp_encap.is_some() { protocol::UDP } else { protocol::ESP };
        point.patch(ip, ip_len, inserted).ok_or(DropReason::MalformedHeader)?;
        let rest = ip.get_mut(point.offset..).ok_or(DropReason::TooLong)?;
        let udp_len = self.write_udp(rest, ip_len - point.offset).ok_or(DropReason::TooLong)?;
        self.write_esp(rest.get_mut(udp_len..).ok_or(DropReason::TooLong)?, sequence, ivs)
            .ok_or(DropReason::TooLong)?;
        let esp_offset = (l2_len + point.offset + udp_len) as u16;
        Ok(Shape { esp_offset, cipher_len: cipher_len as u32, ip_len: ip_len as u32, sequence })
    }

    /// Appends padding, trailer and room for the ICV; returns the ciphertext's length.
    #[inline(always)]
    fn append_trailer(
        &self,
        packet: &mut Mbuf,
        pool: &Pool,
        Trailer { payload_len, room, next_header }: Trailer,
    ) -> Result<usize, DropReason> {
        let mask = usize::from(self.align_mask);
        let cipher_len = (payload_len + TRAILER_LEN + mask) & !mask;
        let pad_len = cipher_len - payload_len - TRAILER_LEN;
        let added = pad_len + TRAILER_LEN + usize::from(self.icv_len);
        if payload_len + added > room {
            return Err(DropReason::TooLong);
        }
        let trailer = match packet.append(added) {
            Some(trailer) => trailer,
            None => append_segment(packet, pool, added).ok_or(DropReason::NoBuffer)?,
        };
        write_padding(trailer, pad_len, next_header);
        Ok(cipher_len)
    }

    #[inline(always)]
    fn take_sequence(&mut self, bytes: usize) -> Result<u64, DropReason> {
        let sequence = self.sequence.take().ok_or(DropReason::SequenceExhausted)?;
        self.bytes += bytes as u64;
        Ok(sequence)
    }

    #[inline(always)]
    fn write_udp(&self, at: &mut [u8], length: usize) -> Option<usize> {
        let Some(ports) = self.udp_encap else { return Some(0) };
        let length = length as u16;
        UdpHeader { src_port: ports.src_port, dst_port: ports.dst_port, length, checksum: 0 }.write(at)?;
        Some(udp::LEN)
    }

    #[inline(always)]
    fn write_esp(&self, at: &mut [u8], sequence: u64, ivs: &mut IvSource) -> Option<()> {
        let header = EspHeader { spi: self.spi, sequence: sequence as u32 };
        let (esp, iv) = at.split_first_chunk_mut::<{ esp::LEN }>()?;
        *esp = header.to_bytes();
        self.write_iv(iv, sequence, ivs)
    }

    #[inline(always)]
    fn write_iv(&self, at: &mut [u8], sequence: u64, ivs: &mut IvSource) -> Option<()> {
        match self.iv {
            Iv::Sequence => *at.first_chunk_mut()? = sequence.to_be_bytes(),
            Iv::Random => *at.first_chunk_mut()? = ivs.take(),
            // Half of what nobody can predict is no better known.
            Iv::Short => *at.first_chunk_mut::<8>()? = *ivs.take().first_chunk()?,
            Iv::None => {}
        }
        Some(())
    }
}

/// Computes the UDP checksum that IPv6 demands, where the packet is one of IPv6 over UDP.
#[inline(never)]
pub(crate) fn fill_udp_checksum(packet: &mut Mbuf) {
    let Some((offset, checksum)) = udp_checksum(packet) else { return };
    let field = packet.data_mut().get_mut(offset..).and_then(|udp| udp.get_mut(6..udp::LEN));
    if let Some(field) = field {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Where the UDP header is, from the packet's first byte, and the checksum that belongs there.
fn udp_checksum(packet: &Mbuf) -> Option<(usize, u16)> {
    let l2_len = packet.l2_len();
    let header = Ipv6::parse_part(packet.data().get(l2_len..)?, packet.packet_len() - l2_len).ok()?;
    let offset = l2_len + usize::from(header.walk().ok()?.upper_offset);
    let parts = std::iter::once(packet.data().get(offset..)?).chain(packet.segments().skip(1));
    let length = packet.packet_len() - offset;
    Some((offset, udp::checksum_ipv6_of_parts(&header.src(), &header.dst(), length, parts)))
}

/// On Ethernet without tags.
#[inline(always)]
fn is_plain(packet: &Mbuf, link: Link) -> bool {
    link == Link::Ethernet && packet.l2_len() == PLAIN_ETHERNET
}

/// What a trailer is made for.
struct Trailer {
    /// Bytes in front of it that are encrypted.
    payload_len: usize,
    /// Bytes that payload, trailer and ICV may have together in the finished IP packet.
    room: usize,
    next_header: u8,
}

/// Padding, pad length and next header at the start of `trailer`.
#[inline(always)]
fn write_padding(trailer: &mut [u8], pad_len: usize, next_header: u8) {
    match trailer.first_chunk_mut::<16>() {
        // What is overwritten behind the padding is the trailer and the ICV's room, both written later.
        Some(chunk) => *chunk = PADDING,
        None => trailer.iter_mut().zip(1..).take(pad_len).for_each(|(byte, value)| *byte = value),
    }
    if let Some([length, next]) = trailer.get_mut(pad_len..).and_then(<[u8]>::first_chunk_mut) {
        *length = pad_len as u8;
        *next = next_header;
    }
}

/// As [`write_padding`] in front of an IPv4 packet's ICV; 16 bytes of padding are never needed.
#[inline(always)]
fn write_ipv4_trailer(trailer: &mut [u8], pad_len: usize) {
    match trailer.first_chunk_mut::<18>() {
        Some(chunk) => {
            let (padding, _) = chunk.split_at_mut(PADDING.len());
            padding.copy_from_slice(&PADDING);
            chunk[pad_len % 16] = pad_len as u8;
            chunk[pad_len % 16 + 1] = protocol::IPV4;
        }
        None => write_padding(trailer, pad_len, protocol::IPV4),
    }
}

#[cold]
fn append_segment<'a>(packet: &'a mut Mbuf, pool: &Pool, len: usize) -> Option<&'a mut [u8]> {
    packet.chain(pool.alloc()?).ok()?;
    packet.append(len)
}

/// Where transport mode puts ESP in a packet.
struct Insertion {
    /// From the start of the IP packet.
    offset: usize,
    /// What stands there now.
    next_header: u8,
    /// The byte that names it.
    patch_offset: usize,
    is_v4: bool,
}

impl Insertion {
    fn of(key: &FlowKey, ip: &[u8], total_len: usize) -> Option<Self> {
        match key {
            FlowKey::V4(_) => {
                let header = Ipv4::parse_part(ip, total_len).ok()?;
                let (offset, next_header) = (header.header_len(), header.protocol());
                Some(Self { offset, next_header, patch_offset: 9, is_v4: true })
            }
            FlowKey::V6(_) => {
                let walk = Ipv6::parse_part(ip, total_len).ok()?.walk().ok()?;
                Some(Self {
                    offset: usize::from(walk.insert_offset),
                    next_header: walk.insert_protocol,
                    patch_offset: usize::from(walk.patch_offset),
                    is_v4: false,
                })
            }
        }
    }

    fn patch(&self, ip: &mut [u8], ip_len: usize, protocol: u8) -> Option<()> {
        if self.is_v4 {
            let mut header = Ipv4Mut::parse(ip).ok()?;
            header.set_total_len(ip_len as u16);
            header.set_protocol(protocol);
            return Some(());
        }
        *ip.get_mut(self.patch_offset)? = protocol;
        ipv6::set_payload_len(ip, (ip_len - ipv6::LEN) as u16)
    }
}
