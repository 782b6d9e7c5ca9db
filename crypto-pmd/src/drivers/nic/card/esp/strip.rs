//! Taking ESP off a packet that arrived and was decrypted.

use pipeline::Mbuf;

use super::find::{Arrived, set_version};
use super::ip::{self, Head};
use super::{CardSa, InlineMode, Ranges, TRAILER, UDP_HEADER, protocol};

/// What was inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::drivers::nic::card) enum Stripped {
    /// A packet, now behind the link header.
    Packet,
    /// Nothing: a dummy.
    Dummy,
}

/// Where cipher and ICV work; `None` where the packet is none that the SA's other end makes.
pub(in crate::drivers::nic::card) fn ranges_in(
    sa: &CardSa,
    arrived: &Arrived,
    high: Option<u32>,
) -> Option<Ranges> {
    sa.ranges(arrived.esp, arrived.end(), high)
}

/// Checks trailer and padding of a decrypted packet and takes ESP off. `None` where they are wrong, and of the packet only what was never encrypted is left.
pub(in crate::drivers::nic::card) fn strip(
    sa: &CardSa,
    packet: &mut Mbuf,
    arrived: &Arrived,
    ranges: &Ranges,
) -> Option<Stripped> {
    let stripped = take_off(sa, packet, arrived, ranges);
    if stripped.is_none() {
        packet.truncate(arrived.l2_len);
    }
    stripped
}

fn take_off(sa: &CardSa, packet: &mut Mbuf, arrived: &Arrived, ranges: &Ranges) -> Option<Stripped> {
    let (l2_len, data) = (arrived.l2_len, packet.data());
    let plain = data.get(ranges.cipher..ranges.tag())?;
    let (&next_header, rest) = plain.split_last()?;
    let (&pad_len, rest) = rest.split_last()?;
    let payload_len = rest.len().checked_sub(usize::from(pad_len))?;
    let padding = rest.get(payload_len..)?;
    if !padding.iter().zip(1..=u8::MAX).all(|(byte, expected)| *byte == expected) {
        return None;
    }
    debug_assert_eq!(plain.len(), payload_len + usize::from(pad_len) + TRAILER);
    if next_header == protocol::NOTHING {
        return Some(Stripped::Dummy);
    }
    packet.truncate(ranges.cipher + payload_len);
    match sa.mode {
        InlineMode::Tunnel { .. } => {
            let is_v4 = match next_header {
                protocol::IPV4 => true,
                protocol::IPV6 => false,
                _ => return None,
            };
            let data = packet.data_mut();
            let gap = ranges.cipher.checked_sub(l2_len)?;
            let inner = Head::read(data.get(ranges.cipher..)?).filter(|inner| inner.is_v4 == is_v4)?;
            let tos = congestion(arrived.head.tos, inner.tos)?;
            data.copy_within(..l2_len, gap);
            packet.trim_front(gap).then_some(())?;
            let (l2, ip) = packet.data_mut().split_at_mut_checked(l2_len)?;
            set_version(l2, is_v4);
            if tos != inner.tos {
                ip::set_tos(ip, tos)?;
            }
        }
        InlineMode::Transport => {
            let udp_len = if arrived.over_udp { UDP_HEADER } else { 0 };
            let head_end = arrived.esp.checked_sub(udp_len)?;
            let gap = ranges.cipher.checked_sub(head_end)?;
            packet.data_mut().copy_within(..head_end, gap);
            packet.trim_front(gap).then_some(())?;
            let ip = packet.data_mut().get_mut(l2_len..)?;
            let total_len = head_end - l2_len + payload_len;
            ip::patch(ip, arrived.head.is_v4, arrived.head.upper.named_at, next_header, total_len)?;
        }
    }
    Some(Stripped::Packet)
}

/// DSCP and ECN of the inner header when the outer one is taken off (RFC 6040 section 4.2, figure 4); `None` for a congestion mark that
/// the inner packet's sender would not understand: such a packet is dropped.
fn congestion(outer: u8, inner: u8) -> Option<u8> {
    const NOT_ECT: u8 = 0;
    const ECT_1: u8 = 1;
    const CE: u8 = 3;
    let mark = match (inner & 3, outer & 3) {
        (NOT_ECT, CE) => return None,
        (NOT_ECT, _) => NOT_ECT,
        (_, CE) => CE,
        (mark, ECT_1) if mark != CE => ECT_1,
        (mark, _) => mark,
    };
    Some(inner & !3 | mark)
}
