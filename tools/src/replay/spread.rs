//! Which core receives which packet of a capture: flows go by hash, as a card with several queues would spread them, and ESP by its
//! SPI too. It need not be the core that owns the SA: packets are handed on to that.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use ipsec_esp::flow_key::FlowKey;
use ipsec_esp::header::link::Link;
use ipsec_esp::header::{ipv4, ipv6, protocol};
use pipeline::capture::Capture;

/// The numbers of the packets that each of `cores` cores receives, in the order of the capture.
pub(super) fn shares(capture: &Capture, link: Link, cores: usize) -> Vec<Vec<u32>> {
    let mut shares = vec![Vec::new(); cores.max(1)];
    // The same spread each time, so that runs can be compared.
    let state = FixedState::with_seed(0);
    for (number, packet) in (0_u32..).zip(capture.iter()) {
        let core = state.hash_one(identity(packet.data, link)) as usize % shares.len();
        if let Some(share) = shares.get_mut(core) {
            share.push(number);
        }
    }
    shares
}

/// What packets of one flow have in common; packets that are not IP are one flow.
fn identity(frame: &[u8], link: Link) -> impl Hash {
    let ip = link.parse(frame).filter(|network| network.version.is_some());
    let ip = ip.and_then(|network| frame.get(usize::from(network.l2_len)..))?;
    let key = FlowKey::parse(ip).ok()?.key;
    Some((key, spi(ip)))
}

/// SPI of plain ESP behind an IP header without extensions.
fn spi(ip: &[u8]) -> Option<[u8; 4]> {
    let (next, len) = match ip.first()? >> 4 {
        4 => (*ip.get(9)?, usize::from(ip.first()? & 15) * 4),
        _ => (*ip.get(6)?, ipv6::LEN),
    };
    let esp = ip.get(len.max(ipv4::LEN)..)?;
    (next == protocol::ESP).then(|| esp.first_chunk().copied()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet and IPv4 with `protocol` and four bytes behind.
    fn frame(last_of_src: u8, protocol: u8, behind: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([
            8,
            0,
            0x45,
            0,
            0,
            28,
            0,
            0,
            0,
            0,
            64,
            protocol,
            0,
            0,
            10,
            0,
            0,
            last_of_src,
            10,
            0,
            1,
            1,
        ]);
        frame.extend(behind);
        frame.extend([0; 4]);
        frame
    }

    fn core_of(frame: &[u8]) -> u64 {
        FixedState::with_seed(0).hash_one(identity(frame, Link::Ethernet))
    }

    #[test]
    fn a_flow_stays_together_and_flows_and_spis_part() {
        let udp = frame(1, 17, [0, 1, 0, 2]);
        assert_eq!(core_of(&udp), core_of(&udp.clone()));
        assert_ne!(core_of(&udp), core_of(&frame(2, 17, [0, 1, 0, 2])));
        assert_ne!(core_of(&udp), core_of(&frame(1, 17, [0, 1, 0, 3])));
        assert_ne!(core_of(&frame(1, 50, [0, 0, 16, 1])), core_of(&frame(1, 50, [0, 0, 16, 2])));
    }
}
