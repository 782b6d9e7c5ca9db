//! Where ESP lies in a frame.

use std::net::IpAddr;

use super::bytes::{long, word};
use super::ip::Head;
use super::{ESP_HEADER, UDP_HEADER, protocol};

const ETHERNET: usize = 14;
const ETHERTYPE_V4: u16 = 0x0800;
const ETHERTYPE_V6: u16 = 0x86dd;
/// Types of the tags that are followed, two at most.
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const MOST_TAGS: usize = 2;

/// An ESP packet as it lies in a frame; offsets from the frame's first byte.
#[derive(Clone, Copy, Debug)]
pub(in crate::drivers::nic::card) struct Arrived {
    pub(in crate::drivers::nic::card) l2_len: usize,
    pub(super) head: Head,
    pub(super) esp: usize,
    pub(super) over_udp: bool,
    pub(in crate::drivers::nic::card) spi: u32,
    /// The half of the number that travels.
    pub(in crate::drivers::nic::card) low: u32,
}

impl Arrived {
    pub(in crate::drivers::nic::card) fn dst(&self) -> IpAddr {
        self.head.dst
    }

    /// Where the IP packet ends.
    pub(in crate::drivers::nic::card) fn end(&self) -> usize {
        self.l2_len + self.head.total_len
    }
}

/// Length of the link header of a frame that arrived: Ethernet with tags or without, or none at all. `None` for a frame that is not IP.
pub(in crate::drivers::nic::card) fn link_len(frame: &[u8], is_ethernet: bool) -> Option<usize> {
    if !is_ethernet {
        return Some(0);
    }
    let mut len = ETHERNET;
    for _ in 0..=MOST_TAGS {
        match word(frame, len - 2)? {
            ETHERTYPE_V4 | ETHERTYPE_V6 => return Some(len),
            tag if TAGS.contains(&tag) => len += 4,
            _ => return None,
        }
    }
    None
}

/// Says in a link header, whose last two bytes are the EtherType, that the other version of IP follows. Nothing to do where there is none.
pub(super) fn set_version(l2: &mut [u8], is_v4: bool) {
    let ethertype = if is_v4 { ETHERTYPE_V4 } else { ETHERTYPE_V6 };
    if let Some(field) = l2.last_chunk_mut() {
        *field = ethertype.to_be_bytes();
    }
}

/// The ESP packet in a frame, directly or over UDP to a port that `is_port` knows. `None` for everything else, fragments of ESP too.
pub(in crate::drivers::nic::card) fn find(
    frame: &[u8],
    l2_len: usize,
    is_port: impl Fn(u16) -> bool,
) -> Option<Arrived> {
    let ip = frame.get(l2_len..)?;
    let head = Head::read(ip).filter(|head| !head.is_part)?;
    let ip = ip.get(..head.total_len)?;
    let start = head.upper.offset;
    let (esp, over_udp) = match head.upper.protocol {
        protocol::ESP => (start, false),
        protocol::UDP if is_port(word(ip, start + 2)?) => {
            // The datagram ends with the packet, and does not start with four zeros, as IKE does (RFC 3948 section 2.2).
            let is_whole = usize::from(word(ip, start + 4)?) + start == head.total_len;
            let is_esp = long(ip, start + UDP_HEADER)? != 0;
            (is_whole && is_esp).then_some((start + UDP_HEADER, true))?
        }
        _ => return None,
    };
    let (spi, low) = (long(ip, esp)?, long(ip, esp + ESP_HEADER / 2)?);
    Some(Arrived { l2_len, head, esp: l2_len + esp, over_udp, spi, low })
}
