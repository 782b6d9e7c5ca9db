//! Taking an ESP packet apart: where ESP is in what arrived, and after the crypto the trailer, the padding, and the
//! packet that was inside.

use std::net::IpAddr;

use crypto_pmd::SessionId;
use crypto_pmd::inline::Service;
use pipeline::Mbuf;

use crate::drop_reason::DropReason;
use crate::ecn;
use crate::header::esp::{self, EspHeader, Spi};
use crate::header::ipv4::{Ipv4, Ipv4Mut};
use crate::header::ipv6::{self, Ipv6};
use crate::header::link::{Link, move_link_header};
use crate::header::tos_of;
use crate::header::udp::{self, Carried, UdpHeader};
use crate::header::{IpVersion, protocol};
use crate::inline::Bound;
use crate::replay::{BadWindow, ReplayWindow};
use crate::sa::{Mode, SaParams};
use crate::sa_store::Heir;

/// Pad length and next header.
const TRAILER_LEN: usize = 2;
/// UDP header and SPI: with less, a datagram on ESP's port is something else.
const SHORTEST_ESP_OVER_UDP: usize = udp::LEN + 4;
/// Longest padding.
const MAX_PADDING: usize = 255;

/// An SA as the inbound path needs it. What every packet touches comes first.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct InboundSa {
    pub(crate) replay: ReplayWindow,
    pub(crate) session: SessionId,
    pub(crate) spi: Spi,
    pub(crate) iv_len: u8,
    pub(crate) icv_len: u8,
    /// Block of the cipher, less one.
    pub(crate) block_mask: u8,
    pub(crate) aead: bool,
    pub(crate) numbers: Numbers,
    tunnel: bool,
    pub(crate) udp: bool,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// Destination that packets must have.
    pub(crate) destination: Option<IpAddr>,
    sequence: u64,
    esn: bool,
    /// The card that has a part in it.
    pub(crate) bound: Option<Bound>,
}

/// Who tells a packet's number, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// All of it travels.
    Short,
    /// Half of it travels; the window tells the rest.
    Extended,
    /// A card has the window.
    AtCard,
}

impl Heir for InboundSa {
    /// A card knows nothing of the heir, so it is not bound. When the window was with the card, it still is: until its state comes
    /// back, nobody can tell what is a replay.
    fn inherit(&mut self, old: &Self) {
        self.replay.inherit(&old.replay);
        (self.packets, self.bytes) = (old.packets, old.bytes);
        if old.numbers == Numbers::AtCard {
            self.numbers = Numbers::AtCard;
        }
    }
}

impl InboundSa {
    pub(crate) fn new(params: &SaParams, session: SessionId) -> Result<Self, BadWindow> {
        let suite = params.suite;
        Ok(Self {
            replay: ReplayWindow::new(params.replay_window, params.sequence)?,
            session,
            spi: params.spi,
            iv_len: suite.iv_len() as u8,
            icv_len: suite.icv_len() as u8,
            block_mask: (suite.block_len() - 1) as u8,
            aead: suite.is_aead(),
            numbers: Numbers::of(params.esn),
            tunnel: matches!(params.mode, Mode::Tunnel { .. }),
            udp: params.udp_encap.is_some(),
            packets: 0,
            bytes: 0,
            destination: params.destination(),
            sequence: params.sequence,
            esn: params.esn,
            bound: None,
        })
    }

    /// Lets a card have a part in it, or none.
    pub(crate) fn bind(&mut self, bound: Option<Bound>) {
        self.bound = bound;
        self.numbers = match bound {
            Some(Bound { service: Service::Protocol, .. }) => Numbers::AtCard,
            _ => Numbers::of(self.esn),
        };
    }

    /// Forgets which numbers were received, as for a new SA.
    pub(crate) fn reset_window(&mut self) {
        self.replay.restart(self.sequence);
    }
}

impl Numbers {
    const fn of(esn: bool) -> Self {
        if esn { Self::Extended } else { Self::Short }
    }
}

/// What an arriving IP packet is; the numbers are lengths of the IP packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrived {
    /// ESP, directly or over UDP.
    Esp(EspPacket),
    /// A NAT keepalive.
    Keepalive(u32),
    /// IKE on the port that ESP shares.
    Ike(u32),
    /// A part of an ESP packet.
    EspFragment(u32),
    /// Neither; a policy for plain packets decides.
    Plain,
    /// Headers that contradict each other.
    Malformed,
    /// ESP without room for its own header.
    Truncated(u32),
}

impl Arrived {
    /// Length of the IP packet, 0 where it is for others to find out.
    pub(crate) fn total_len(&self) -> u32 {
        match *self {
            Self::Esp(esp) => esp.total_len,
            Self::Keepalive(len) | Self::Ike(len) | Self::EspFragment(len) | Self::Truncated(len) => len,
            Self::Plain | Self::Malformed => 0,
        }
    }
}

/// An ESP packet as it arrived. Offsets count from the start of the IP packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EspPacket {
    pub(crate) header: EspHeader,
    pub(crate) dst: IpAddr,
    pub(crate) esp_offset: u16,
    /// The byte that names ESP, or UDP.
    patch_offset: u16,
    pub(crate) total_len: u32,
    pub(crate) udp: bool,
}

/// Looks at an IP packet of which `ip` is the beginning and `available` the length in all.
#[inline(always)]
pub(crate) fn arrived(version: IpVersion, ip: &[u8], available: usize, udp_ports: &[u16]) -> Arrived {
    match version {
        IpVersion::V4 => arrived_v4(ip, available, udp_ports),
        IpVersion::V6 => arrived_v6(ip, available, udp_ports),
    }
}

#[inline(always)]
fn arrived_v4(ip: &[u8], available: usize, udp_ports: &[u16]) -> Arrived {
    let Ok(header) = Ipv4::parse_part(ip, available) else { return Arrived::Malformed };
    let outer = Outer {
        dst: IpAddr::V4(header.dst()),
        offset: header.header_len() as u16,
        patch_offset: 9,
        total_len: u32::from(header.total_len()),
    };
    outer.look(header.protocol(), header.is_fragment(), header.payload(), udp_ports)
}

#[inline(never)]
fn arrived_v6(ip: &[u8], available: usize, udp_ports: &[u16]) -> Arrived {
    let Ok(header) = Ipv6::parse_part(ip, available) else { return Arrived::Malformed };
    let Ok(walk) = header.walk() else { return Arrived::Malformed };
    let payload = ip.get(usize::from(walk.upper_offset)..(header.total_len() as usize).min(ip.len()));
    let outer = Outer {
        dst: IpAddr::V6(header.dst()),
        offset: walk.upper_offset,
        patch_offset: walk.last_patch_offset,
        total_len: header.total_len(),
    };
    outer.look(walk.upper_protocol, walk.is_fragment(), payload.unwrap_or_default(), udp_ports)
}

/// The outer IP header of an arriving packet.
struct Outer {
    dst: IpAddr,
    offset: u16,
    patch_offset: u16,
    total_len: u32,
}

impl Outer {
    #[inline(always)]
    fn look(&self, upper: u8, is_fragment: bool, payload: &[u8], udp_ports: &[u16]) -> Arrived {
        match upper {
            protocol::ESP if is_fragment => Arrived::EspFragment(self.total_len),
            protocol::ESP => self.esp(payload, 0),
            protocol::UDP if !is_fragment && !udp_ports.is_empty() => self.over_udp(payload, udp_ports),
            _ => Arrived::Plain,
        }
    }

    #[inline(always)]
    fn esp(&self, esp: &[u8], udp_len: u16) -> Arrived {
        let Some(header) = EspHeader::parse(esp) else { return Arrived::Truncated(self.total_len) };
        Arrived::Esp(EspPacket {
            header,
            dst: self.dst,
            esp_offset: self.offset + udp_len,
            patch_offset: self.patch_offset,
            total_len: self.total_len,
            udp: udp_len != 0,
        })
    }

    #[inline(never)]
    fn over_udp(&self, datagram: &[u8], udp_ports: &[u16]) -> Arrived {
        let Some((bytes, payload)) = datagram.split_first_chunk::<{ udp::LEN }>() else {
            return Arrived::Plain;
        };
        let header = UdpHeader::from_bytes(bytes);
        if !udp_ports.contains(&header.dst_port) {
            return Arrived::Plain;
        }
        // ESP runs to the end of the UDP datagram, which must be the end of the IP packet.
        if u32::from(header.length) + u32::from(self.offset) != self.total_len {
            return Arrived::Malformed;
        }
        // A first segment that ends early must not look like a short datagram.
        if payload.len() < usize::from(header.length).min(SHORTEST_ESP_OVER_UDP).saturating_sub(udp::LEN) {
            return Arrived::Malformed;
        }
        match udp::carried(payload) {
            Carried::Esp => self.esp(payload, udp::LEN as u16),
            Carried::Ike => Arrived::Ike(self.total_len),
            Carried::Keepalive => Arrived::Keepalive(self.total_len),
            Carried::Runt => Arrived::Malformed,
        }
    }
}

impl EspPacket {
    /// Offset of the ciphertext and its length, when the packet is long enough and the length fits the block.
    #[inline(always)]
    pub(crate) fn cipher_range(&self, sa: &InboundSa) -> Result<(u16, u32), DropReason> {
        let offset = u32::from(self.esp_offset) + esp::LEN as u32 + u32::from(sa.iv_len);
        let end = self.total_len.checked_sub(u32::from(sa.icv_len)).ok_or(DropReason::Truncated)?;
        match end.checked_sub(offset) {
            Some(len) if len >= TRAILER_LEN as u32 && len & u32::from(sa.block_mask) == 0 => {
                Ok((offset as u16, len))
            }
            Some(len) if len >= TRAILER_LEN as u32 => Err(DropReason::BadLength),
            _ => Err(DropReason::Truncated),
        }
    }

    /// Where what a card has decrypted lies, in a packet whose link header is `l2_len` long.
    pub(crate) fn decrypted(&self, sa: &InboundSa, l2_len: usize) -> Result<Decrypted, DropReason> {
        let (offset, cipher_len) = self.cipher_range(sa)?;
        Ok(Decrypted {
            esp_offset: usize::from(self.esp_offset) + l2_len,
            patch_offset: usize::from(self.patch_offset),
            cipher_offset: usize::from(offset) + l2_len,
            cipher_len: cipher_len as usize,
        })
    }

    /// What has to be known after the crypto, as a job's cookie; offsets count from the packet's first byte here.
    #[inline(always)]
    pub(crate) fn cookie(&self, slot: u32, l2_len: usize) -> u64 {
        u64::from(slot)
            | (u64::from(self.esp_offset) + l2_len as u64) << 32
            | u64::from(self.patch_offset) << 48
    }
}

/// A decrypted packet, before it is taken out of its wrapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decrypted {
    /// From the packet's first byte.
    pub(crate) esp_offset: usize,
    pub(crate) patch_offset: usize,
    pub(crate) cipher_offset: usize,
    pub(crate) cipher_len: usize,
}

/// What was inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// An IP packet, now at the mbuf's link length.
    Packet(IpVersion),
    /// Nothing: a dummy packet.
    Dummy,
}

impl Decrypted {
    /// Checks trailer and padding, and takes the packet out.
    #[inline(always)]
    pub(crate) fn open(&self, sa: &InboundSa, link: Link, packet: &mut Mbuf) -> Result<Inside, DropReason> {
        let end = self.cipher_offset + self.cipher_len;
        let [pad_len, next_header] = trailer(packet, end).ok_or(DropReason::BadPadding)?;
        let pad_len = usize::from(pad_len);
        let payload_len = self.cipher_len.checked_sub(pad_len + TRAILER_LEN).ok_or(DropReason::BadPadding)?;
        if !padding_is_right(packet, self.cipher_offset + payload_len, pad_len) {
            return Err(DropReason::BadPadding);
        }
        if next_header == protocol::NO_NEXT_HEADER {
            return Ok(Inside::Dummy);
        }
        packet.truncate(self.cipher_offset + payload_len);
        if sa.tunnel {
            self.open_tunnel(link, packet, next_header)
        } else {
            self.open_transport(sa, packet, payload_len, next_header)
        }
    }

    #[inline(always)]
    fn open_tunnel(&self, link: Link, packet: &mut Mbuf, next_header: u8) -> Result<Inside, DropReason> {
        let version = match next_header {
            protocol::IPV4 => IpVersion::V4,
            protocol::IPV6 => IpVersion::V6,
            _ => return Err(DropReason::BadNextHeader),
        };
        if !link.carries(version) {
            return Err(DropReason::BadNextHeader);
        }
        let l2_len = packet.l2_len();
        let outer_tos = tos_of(packet.data().get(l2_len..).unwrap_or_default());
        let moved = self.cipher_offset - l2_len;
        let data = packet.data_mut();
        if data.len() < self.cipher_offset {
            return Err(DropReason::MalformedHeader);
        }
        move_link_header(data, 0, moved, l2_len);
        if !packet.trim_front(moved) {
            return Err(DropReason::MalformedHeader);
        }
        let Some((l2, inner)) = packet.data_mut().split_at_mut_checked(l2_len) else {
            return Err(DropReason::MalformedHeader);
        };
        link.set_version(l2, version);
        carry_congestion(outer_tos, version, inner)?;
        Ok(Inside::Packet(version))
    }

    /// Closes the gap between the IP header and what ESP protected.
    #[inline(never)]
    fn open_transport(
        &self,
        sa: &InboundSa,
        packet: &mut Mbuf,
        payload_len: usize,
        next_header: u8,
    ) -> Result<Inside, DropReason> {
        let l2_len = packet.l2_len();
        let udp_len = if sa.udp { udp::LEN } else { 0 };
        let head_end = self.esp_offset.checked_sub(udp_len).ok_or(DropReason::MalformedHeader)?;
        let gap = self.cipher_offset - head_end;
        let data = packet.data_mut();
        if data.len() < self.cipher_offset {
            return Err(DropReason::MalformedHeader);
        }
        data.copy_within(..head_end, gap);
        if !packet.trim_front(gap) {
            return Err(DropReason::MalformedHeader);
        }
        let ip = packet.data_mut().get_mut(l2_len..).ok_or(DropReason::MalformedHeader)?;
        let head_len = head_end - l2_len;
        let version = crate::header::version(ip).map_err(DropReason::from)?;
        match version {
            IpVersion::V4 => {
                let mut header = Ipv4Mut::parse(ip).map_err(DropReason::from)?;
                header.set_total_len((head_len + payload_len) as u16);
                header.set_protocol(next_header);
            }
            IpVersion::V6 => {
                *ip.get_mut(self.patch_offset).ok_or(DropReason::MalformedHeader)? = next_header;
                let len = head_len.checked_sub(ipv6::LEN).ok_or(DropReason::MalformedHeader)? + payload_len;
                ipv6::set_payload_len(ip, len as u16).ok_or(DropReason::MalformedHeader)?;
            }
        }
        Ok(Inside::Packet(version))
    }
}

/// The two bytes before `end`.
#[inline(always)]
fn trailer(packet: &Mbuf, end: usize) -> Option<[u8; 2]> {
    if let Some(bytes) = packet.data().get(..end) {
        return bytes.last_chunk().copied();
    }
    let mut bytes = [0; 2];
    packet.copy_out(end.checked_sub(2)?, &mut bytes).then_some(bytes)
}

/// Whether the padding counts up from 1 (RFC 4303 section 2.4).
#[inline(always)]
fn padding_is_right(packet: &Mbuf, offset: usize, len: usize) -> bool {
    match packet.data().get(offset..offset + len) {
        Some(padding) => counts_up(padding),
        None => {
            let mut padding = [0; MAX_PADDING];
            let Some(padding) = padding.get_mut(..len) else { return false };
            packet.copy_out(offset, padding) && counts_up(padding)
        }
    }
}

#[inline(always)]
fn counts_up(padding: &[u8]) -> bool {
    padding.iter().zip(1..=u8::MAX).fold(0, |wrong, (byte, expected)| wrong | (byte ^ expected)) == 0
}

/// Brings a congestion mark of the outer header inside (RFC 6040 section 4.2).
#[inline(always)]
fn carry_congestion(outer_tos: u8, version: IpVersion, inner: &mut [u8]) -> Result<(), DropReason> {
    let tos = tos_of(inner);
    let new = ecn::decapsulate(outer_tos, tos).map_err(|_| DropReason::EcnCongestionDrop)?;
    if new == tos {
        return Ok(());
    }
    match version {
        IpVersion::V4 => Ipv4Mut::parse(inner).map_err(DropReason::from)?.set_tos(new),
        IpVersion::V6 => ipv6::set_traffic_class(inner, new).ok_or(DropReason::MalformedHeader)?,
    }
    Ok(())
}
