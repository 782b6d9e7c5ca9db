//! Putting ESP around a packet that leaves.

use pipeline::Mbuf;

use super::bytes::{checksum, put, sum};
use super::find::{find, set_version};
use super::ip::{self, Head, Place, V4_HEADER, V6_HEADER};
use super::{CardSa, Direction, ESP_HEADER, InlineMode, Iv, Ranges, Refusal, TRAILER, UDP_HEADER, protocol};

/// Makes of a plain packet an ESP packet that lacks only cipher and ICV, and gives it its number. `random` is what nobody can predict.
///
/// A frame that is refused is as it was, but for padding of the link behind it.
pub(in crate::drivers::nic::card) fn build(
    sa: &mut CardSa,
    packet: &mut Mbuf,
    l2_len: usize,
    random: [u8; 16],
) -> Result<Ranges, Refusal> {
    let ip = packet.data().get(l2_len..).ok_or(Refusal::Malformed)?;
    let head = Head::read(ip).ok_or(Refusal::Malformed)?;
    packet.truncate(l2_len + head.total_len);
    let udp_len = if sa.udp.is_some() { UDP_HEADER } else { 0 };
    let (tunnel, wrapped, outer_len, is_v4) = match sa.mode {
        InlineMode::Tunnel { src, dst } => {
            let inner = if head.is_v4 { protocol::IPV4 } else { protocol::IPV6 };
            let outer_len = if src.is_ipv4() { V4_HEADER } else { V6_HEADER };
            (Some((src, dst)), Place { offset: 0, protocol: inner, named_at: 0 }, outer_len, src.is_ipv4())
        }
        InlineMode::Transport if head.is_part => return Err(Refusal::Fragment),
        InlineMode::Transport if head.insert.protocol == protocol::NOTHING => return Err(Refusal::Nothing),
        InlineMode::Transport => (None, head.insert, 0, head.is_v4),
    };
    let payload_len = head.total_len - wrapped.offset;
    let cipher_len = (payload_len + TRAILER).next_multiple_of(sa.alignment);
    let pad_len = cipher_len - payload_len - TRAILER;
    let front = outer_len + udp_len + ESP_HEADER + sa.iv.len();
    let back = pad_len + TRAILER + sa.icv_len;
    let total_len = front + head.total_len + back;
    let fits = front <= packet.headroom() && back <= packet.tailroom() && !packet.is_chained();
    if !fits || total_len > Head::longest(is_v4) {
        return Err(Refusal::TooLong);
    }
    let Direction::Out(numbers) = &mut sa.way else { return Err(Refusal::NotOfThisSa) };
    let number = numbers.take().ok_or(Refusal::Exhausted)?;
    let mut write = || -> Option<Ranges> {
        let trailer = packet.append(back)?;
        trailer.iter_mut().zip(1..).take(pad_len).for_each(|(byte, value)| *byte = value);
        put(trailer, pad_len, &[pad_len as u8, wrapped.protocol])?;
        let data = packet.prepend(front)?;
        // Tunnel: the link header goes to the front. Transport: the IP header goes with it.
        let kept = l2_len + wrapped.offset;
        data.copy_within(front..front + kept, 0);
        let (l2, ip) = data.split_at_mut_checked(l2_len)?;
        let inside = if sa.udp.is_some() { protocol::UDP } else { protocol::ESP };
        let esp_front = match tunnel {
            Some(ends) => {
                set_version(l2, is_v4);
                ip::write_outer(ip, ends, inside, &head, total_len, number)?;
                outer_len
            }
            None => {
                ip::patch(ip, is_v4, wrapped.named_at, inside, total_len)?;
                wrapped.offset
            }
        };
        if let Some(ports) = sa.udp {
            let length = u16::try_from(total_len - esp_front).ok()?;
            put(ip, esp_front, &ports.src.to_be_bytes())?;
            put(ip, esp_front + 2, &ports.dst.to_be_bytes())?;
            put(ip, esp_front + 4, &length.to_be_bytes())?;
            put(ip, esp_front + 6, &[0, 0])?;
        }
        let esp = esp_front + udp_len;
        put(ip, esp, &sa.spi.to_be_bytes())?;
        put(ip, esp + 4, &(number as u32).to_be_bytes())?;
        match sa.iv {
            Iv::None => {}
            Iv::Sequence => put(ip, esp + ESP_HEADER, &number.to_be_bytes())?,
            Iv::Random(len) => put(ip, esp + ESP_HEADER, random.get(..len)?)?,
        }
        sa.ranges(l2_len + esp, l2_len + total_len, sa.esn.then_some((number >> 32) as u32))
    };
    // All that could fail was tried above; a number that is lost here is lost.
    write().ok_or(Refusal::TooLong)
}

/// Where cipher and ICV work in a packet that the host has built. What lies behind the IP packet is padding of the link, and goes.
pub(in crate::drivers::nic::card) fn ranges_out(
    sa: &CardSa,
    packet: &mut Mbuf,
    l2_len: usize,
    high: u32,
) -> Result<Ranges, Refusal> {
    let ports = sa.udp;
    let arrived = find(packet.data(), l2_len, |port| ports.is_some_and(|ports| ports.dst == port));
    let arrived = arrived.ok_or(Refusal::NotOfThisSa)?;
    let is_its = arrived.spi == sa.spi && arrived.over_udp == sa.udp.is_some();
    if !is_its || !matches!(sa.way, Direction::Out(_)) {
        return Err(Refusal::NotOfThisSa);
    }
    packet.truncate(arrived.end());
    sa.ranges(arrived.esp, arrived.end(), sa.esn.then_some(high)).ok_or(Refusal::NotOfThisSa)
}

/// Fills in the checksum of a datagram over IPv6, which covers the ciphertext (RFC 8200 section 8.1). Nothing to do over IPv4 and without UDP.
pub(in crate::drivers::nic::card) fn finish_checksum(
    sa: &CardSa,
    packet: &mut Mbuf,
    l2_len: usize,
    ranges: &Ranges,
) {
    if sa.udp.is_none() {
        return;
    }
    let Some(ip) = packet.data_mut().get_mut(l2_len..) else { return };
    let Some(at) = (ranges.esp - l2_len).checked_sub(UDP_HEADER) else { return };
    let Some(head) = Head::read(ip).filter(|head| !head.is_v4) else { return };
    let value = (|| {
        let datagram = ip.get(at..head.total_len)?;
        let addresses = ip.get(8..V6_HEADER)?;
        let pseudo = sum(datagram.len() as u64 + u64::from(protocol::UDP), addresses);
        Some(checksum(sum(pseudo, datagram)))
    })();
    // 0 would say that there is none.
    let value = value.map_or(0, |value| if value == 0 { 0xffff } else { value });
    let _written = put(ip, at + 6, &value.to_be_bytes());
}
