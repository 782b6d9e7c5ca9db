//! IP packets and link headers written by hand, byte by byte, so that they share nothing with what is tested.

use ipsec_esp::header::link::Link;

pub(crate) const UDP: u8 = 17;
pub(crate) const ESP: u8 = 50;
pub(crate) const NO_NEXT: u8 = 59;

pub(crate) const A4: [u8; 4] = [10, 0, 1, 7];
pub(crate) const B4: [u8; 4] = [10, 0, 2, 9];
pub(crate) const A6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
pub(crate) const B6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
/// Ends of the tunnels.
pub(crate) const EAST4: [u8; 4] = [192, 0, 2, 1];
pub(crate) const WEST4: [u8; 4] = [192, 0, 2, 2];
pub(crate) const EAST6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0xe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(crate) const WEST6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0xf, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// The Internet checksum, word by word in 16-bit end-around-carry arithmetic (RFC 1071).
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u16;
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        let (next, carry) = sum.overflowing_add(word);
        sum = next + u16::from(carry);
    }
    !sum
}

/// An IPv4 header to be (RFC 791).
#[derive(Clone, Debug)]
pub(crate) struct V4 {
    pub(crate) tos: u8,
    pub(crate) identification: u16,
    /// Flags and fragment offset as on the wire.
    pub(crate) fragment: u16,
    pub(crate) protocol: u8,
    pub(crate) src: [u8; 4],
    pub(crate) dst: [u8; 4],
    pub(crate) options: Vec<u8>,
}

impl Default for V4 {
    fn default() -> Self {
        Self {
            tos: 0,
            identification: 0x1234,
            fragment: 0,
            protocol: UDP,
            src: A4,
            dst: B4,
            options: Vec::new(),
        }
    }
}

impl V4 {
    pub(crate) fn between(src: [u8; 4], dst: [u8; 4], protocol: u8) -> Self {
        Self { src, dst, protocol, ..Self::default() }
    }

    pub(crate) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let mut bytes = vec![0x40 | (header_len / 4) as u8, self.tos];
        bytes.extend(u16::try_from(header_len + payload.len()).unwrap().to_be_bytes());
        bytes.extend(self.identification.to_be_bytes());
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([63, self.protocol, 0, 0]);
        bytes.extend(self.src.iter().chain(&self.dst).chain(&self.options));
        let sum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(payload);
        bytes
    }
}

/// An IPv6 header to be (RFC 8200), with extension headers: kind and bytes, whose first byte is filled in.
#[derive(Clone, Debug)]
pub(crate) struct V6 {
    pub(crate) traffic_class: u8,
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
    pub(crate) protocol: u8,
    pub(crate) src: [u8; 16],
    pub(crate) dst: [u8; 16],
}

impl Default for V6 {
    fn default() -> Self {
        Self { traffic_class: 0, extensions: Vec::new(), protocol: UDP, src: A6, dst: B6 }
    }
}

impl V6 {
    pub(crate) fn between(src: [u8; 16], dst: [u8; 16], protocol: u8) -> Self {
        Self { src, dst, protocol, ..Self::default() }
    }

    pub(crate) fn with(kinds: &[(u8, Vec<u8>)]) -> Self {
        Self { extensions: kinds.to_vec(), ..Self::default() }
    }

    pub(crate) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut kinds: Vec<u8> = self.extensions.iter().map(|(kind, _)| *kind).collect();
        kinds.push(self.protocol);
        let extensions_len: usize = self.extensions.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut bytes = vec![0x60 | self.traffic_class >> 4, self.traffic_class << 4 | 0x0a, 0xbc, 0xde];
        bytes.extend(u16::try_from(extensions_len + payload.len()).unwrap().to_be_bytes());
        bytes.extend([kinds[0], 62]);
        bytes.extend(self.src.iter().chain(&self.dst));
        for ((_, extension), next) in self.extensions.iter().zip(&kinds[1..]) {
            bytes.push(*next);
            bytes.extend(&extension[1..]);
        }
        bytes.extend(payload);
        bytes
    }
}

/// Hop-by-hop options with nothing but padding.
pub(crate) fn hop_by_hop() -> (u8, Vec<u8>) {
    (0, vec![0, 0, 1, 4, 0, 0, 0, 0])
}

/// Destination options of 16 bytes with nothing but padding.
pub(crate) fn destination_options() -> (u8, Vec<u8>) {
    (60, vec![0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// A routing header with one address and no segment left.
pub(crate) fn routing() -> (u8, Vec<u8>) {
    let mut bytes = vec![0, 2, 4, 0, 0, 0, 0, 0];
    bytes.extend(B6);
    (43, bytes)
}

/// A fragment header (RFC 8200 section 4.5).
pub(crate) fn fragment(offset: u16, more: bool) -> (u8, Vec<u8>) {
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    (44, vec![0, 0, high, low, 0, 0, 0, 9])
}

/// A UDP datagram without checksum.
pub(crate) fn udp(src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(src_port.to_be_bytes());
    bytes.extend(dst_port.to_be_bytes());
    bytes.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

/// The link headers that captures have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Ethernet,
    Vlan,
    DoubleVlan,
    Raw,
    LoopbackLittle,
    LoopbackBig,
    Sll,
    Sll2,
}

impl Wire {
    pub(crate) const ALL: [Self; 8] = [
        Self::Ethernet,
        Self::Vlan,
        Self::DoubleVlan,
        Self::Raw,
        Self::LoopbackLittle,
        Self::LoopbackBig,
        Self::Sll,
        Self::Sll2,
    ];

    pub(crate) fn link(self) -> Link {
        match self {
            Self::Ethernet | Self::Vlan | Self::DoubleVlan => Link::Ethernet,
            Self::Raw => Link::Raw,
            Self::LoopbackLittle | Self::LoopbackBig => Link::Loopback,
            Self::Sll => Link::LinuxSll,
            Self::Sll2 => Link::LinuxSll2,
        }
    }

    /// The link header in front of an IPv4 or an IPv6 packet.
    pub(crate) fn header(self, v6: bool) -> Vec<u8> {
        let ethertype: [u8; 2] = if v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
        let macs = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        let family: u32 = if v6 { 30 } else { 2 };
        match self {
            Self::Ethernet => [&macs[..], &ethertype].concat(),
            Self::Vlan => [&macs[..], &[0x81, 0x00, 0x60, 0x2a], &ethertype].concat(),
            Self::DoubleVlan => {
                [&macs[..], &[0x88, 0xa8, 0x00, 0x07], &[0x81, 0x00, 0x20, 0x2a], &ethertype].concat()
            }
            Self::Raw => Vec::new(),
            Self::LoopbackLittle => family.to_le_bytes().to_vec(),
            Self::LoopbackBig => family.to_be_bytes().to_vec(),
            Self::Sll => [&[0, 0, 0, 1, 0, 6][..], &macs[..6], &[0, 0], &ethertype].concat(),
            Self::Sll2 => [&ethertype[..], &[0, 0, 0, 0, 0, 3, 0, 1, 4, 6], &macs[..6], &[0, 0]].concat(),
        }
    }

    /// A whole frame around an IP packet.
    pub(crate) fn frame(self, ip: &[u8]) -> Vec<u8> {
        [&self.header(ip[0] >> 4 == 6)[..], ip].concat()
    }
}
