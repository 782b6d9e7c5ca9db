//! The generator port: UDP over IPv4 over Ethernet, of given sizes, spread over a number of flows.
//!
//! Flows come from 10.0.1.1 upwards, 60,000 source ports an address, all to 10.0.2.1 port 5000, and take turns
//! ([`flow_endpoint`]). Packets carry a correct IP header checksum and no UDP checksum (RFC 768 allows that for
//! IPv4).

use std::io;

use crate::burst::Burst;
use crate::mbuf::Mbuf;
use crate::pool::Pool;
use crate::port::{Receive, RxPort};
use crate::stats::Ledger;

const ETHERNET: usize = 14;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const PORTS_PER_ADDRESS: u32 = 60_000;
const FIRST_PORT: u16 = 1024;

/// Sizes of generated packets: bytes of the whole IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// All of one size, from 28 to 65,535.
    Fixed(u16),
    /// The simple Internet mix: of twelve packets seven of 40, four of 576, one of 1500.
    Imix,
}

impl Sizes {
    /// The sizes of one round, in the order in which they are sent.
    #[must_use]
    pub fn round(self) -> Vec<u16> {
        match self {
            Self::Fixed(size) => vec![size],
            Self::Imix => vec![40, 576, 40, 576, 40, 1500, 40, 576, 40, 576, 40, 40],
        }
    }
}

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct GeneratorConfig {
    /// Sizes of the packets.
    pub sizes: Sizes,
    /// Number of flows, at least 1.
    pub flows: u32,
    /// Packets until the port ends.
    pub packets: u64,
}

/// The port.
///
/// ```
/// use pipeline::{Burst, Pool, PoolConfig, port::{Generator, GeneratorConfig, Receive, RxPort, Sizes}};
/// let pool = Pool::new(PoolConfig { buffers: 64, ..PoolConfig::default() })?;
/// let config = GeneratorConfig { sizes: Sizes::Fixed(64), flows: 2, packets: 3 };
/// let mut port = Generator::new(&config, pool)?;
/// let mut burst = Burst::new();
/// assert_eq!(port.receive(&mut burst, 32), Receive::Packets);
/// assert_eq!(burst.len(), 3);
/// assert_eq!(burst.as_slice()[0].packet_len(), 14 + 64);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Generator {
    pool: Pool,
    turn: Turn,
    left: u64,
    received: u64,
}

/// Whose turn it is: sizes and flows one after the other.
#[derive(Debug)]
struct Turn {
    templates: Vec<Template>,
    flows: u32,
    next_template: usize,
    next_flow: u32,
    number: u32,
}

/// A packet of one size, with flow fields of zero, and the sum of its IP header.
#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    header_sum: u32,
}

impl Generator {
    /// A port that makes packets in buffers of `pool`.
    ///
    /// # Errors
    /// Sizes below 28 bytes (IP and UDP headers), or no flow.
    pub fn new(config: &GeneratorConfig, pool: Pool) -> io::Result<Self> {
        let sizes = config.sizes.round();
        if config.flows == 0 || sizes.iter().any(|&size| usize::from(size) < IP_HEADER + UDP_HEADER) {
            let what = "a generator needs at least one flow, and sizes from 28 bytes (IP and UDP headers)";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let turn = Turn {
            templates: sizes.into_iter().map(Template::new).collect(),
            flows: config.flows,
            next_template: 0,
            next_flow: 0,
            number: 0,
        };
        Ok(Self { pool, turn, left: config.packets, received: 0 })
    }

    /// Goes on for `packets` more packets.
    pub fn rewind(&mut self, packets: u64) {
        self.left = packets;
    }
}

impl Turn {
    #[inline(always)]
    fn make(&mut self, pool: &Pool) -> Option<Mbuf> {
        let template = self.templates.get(self.next_template)?;
        let mut packet = pool.alloc_copy(&template.bytes)?;
        template.stamp_flow(packet.data_mut(), self.next_flow);
        packet.set_number(self.number);
        self.number = self.number.wrapping_add(1);
        self.next_template += 1;
        if self.next_template == self.templates.len() {
            self.next_template = 0;
        }
        self.next_flow += 1;
        if self.next_flow == self.flows {
            self.next_flow = 0;
        }
        Some(packet)
    }
}

/// Source address and UDP source port of flow `n`.
#[must_use]
pub fn flow_endpoint(flow: u32) -> (u32, u16) {
    const FIRST_ADDRESS: u32 = 0x0a00_0101;
    let port = FIRST_PORT + (flow % PORTS_PER_ADDRESS) as u16;
    (FIRST_ADDRESS + flow / PORTS_PER_ADDRESS, port)
}

impl Template {
    fn new(ip_len: u16) -> Self {
        let mut bytes = vec![0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00];
        bytes.extend([0x45, 0]);
        bytes.extend(ip_len.to_be_bytes());
        bytes.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
        bytes.extend([0; 4]);
        bytes.extend([10, 0, 2, 1]);
        bytes.extend([0, 0, 0x13, 0x88]);
        bytes.extend((ip_len - IP_HEADER as u16).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend((0..usize::from(ip_len) - IP_HEADER - UDP_HEADER).map(|n| n as u8));
        let header = bytes.iter().skip(ETHERNET).take(IP_HEADER);
        let header_sum = header.enumerate().map(|(n, &b)| u32::from(b) << (8 * ((n as u32 + 1) & 1))).sum();
        Self { bytes, header_sum }
    }

    #[inline(always)]
    fn stamp_flow(&self, frame: &mut [u8], flow: u32) {
        let (address, port) = flow_endpoint(flow);
        let mut sum = self.header_sum + (address >> 16) + (address & 0xffff);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        if let Some(fields) =
            frame.get_mut(ETHERNET + 10..ETHERNET + 22).and_then(<[u8]>::first_chunk_mut::<12>)
        {
            fields[..2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
            fields[2..6].copy_from_slice(&address.to_be_bytes());
            fields[10..12].copy_from_slice(&port.to_be_bytes());
        }
    }
}

impl RxPort for Generator {
    #[inline]
    fn receive(&mut self, burst: &mut Burst<Mbuf>, limit: usize) -> Receive {
        let wanted = (limit.min(burst.room()) as u64).min(self.left);
        let before = burst.len();
        for _ in 0..wanted {
            let Some(packet) = self.turn.make(&self.pool) else { break };
            drop(burst.push(packet));
            self.received += 1;
            self.left -= 1;
        }
        match burst.len() > before {
            true => Receive::Packets,
            false if self.left == 0 => Receive::End,
            false => Receive::Idle,
        }
    }

    fn account(&self, ledger: &mut Ledger) {
        ledger.received += self.received;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PoolConfig;

    fn packets(sizes: Sizes, flows: u32, count: usize) -> Vec<Mbuf> {
        let pool = Pool::new(PoolConfig { buffers: 256, ..PoolConfig::default() }).unwrap();
        let config = GeneratorConfig { sizes, flows, packets: count as u64 };
        let mut port = Generator::new(&config, pool).unwrap();
        let (mut burst, mut all) = (Burst::new(), Vec::new());
        while port.receive(&mut burst, 7) != Receive::End {
            all.extend(burst.drain());
        }
        all
    }

    #[test]
    fn header_checksums_are_right_and_flows_take_turns() {
        let all = packets(Sizes::Fixed(64), 3, 9);
        let ports: Vec<_> = all.iter().map(|p| u16::from_be_bytes([p.data()[34], p.data()[35]])).collect();
        assert_eq!(ports, [1024, 1025, 1026].repeat(3));
        for packet in &all {
            let words = packet.data()[14..34].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
            let sum: u32 = words.sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        }
    }

    #[test]
    fn the_internet_mix_has_seven_four_and_one() {
        let all = packets(Sizes::Imix, 1, 24);
        let count = |len| all.iter().filter(|p| p.packet_len() == len + ETHERNET).count();
        assert_eq!((count(40), count(576), count(1500)), (14, 8, 2));
    }

    #[test]
    fn a_jumbo_packet_is_chained_and_its_flow_stamped() {
        let all = packets(Sizes::Fixed(9000), 1, 2);
        assert!(all[0].is_chained());
        assert_eq!(all[0].data()[26..30], [10, 0, 1, 1]);
    }

    #[test]
    fn sizes_without_room_for_headers_are_refused() {
        let pool = Pool::new(PoolConfig { buffers: 1, ..PoolConfig::default() }).unwrap();
        let config = GeneratorConfig { sizes: Sizes::Fixed(27), flows: 1, packets: 1 };
        assert!(Generator::new(&config, pool).is_err());
    }
}
