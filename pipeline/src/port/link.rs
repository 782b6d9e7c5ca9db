//! An in-memory link with faults: loss, duplication, reordering, corruption and delay, drawn from a seed, in virtual
//! time. The same seed makes the same faults, and while there is room on the way the same order, whatever the bursts and
//! however fast the cores.
//!
//! The two ends may lie on two cores. A packet that is sent waits at the receiving end until virtual time has reached its
//! arrival. Invariant: what was sent is received, lost or on its way; duplicates are made, and counted as made. The link
//! blocks instead of losing when it is full.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use crate::burst::Burst;
use crate::mbuf::Mbuf;
use crate::pool::Pool;
use crate::port::{Receive, RxPort, TxPort};
use crate::ring::Ring;
use crate::stats::Ledger;

/// Bursts between the ends, besides the packets that wait for their arrival.
const RING_BURSTS: usize = 16;

/// What a link does to packets. Probabilities are from 0 to 1, times in virtual nanoseconds.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Where the faults are drawn from.
    pub seed: u64,
    /// Probability that a packet never arrives.
    pub loss: f64,
    /// Probability that a packet arrives twice.
    pub duplication: f64,
    /// Probability that a packet is held back while later ones pass.
    pub reordering: f64,
    /// Probability that one to three bits of a packet are flipped.
    pub corruption: f64,
    /// Bytes at a packet's front that are never corrupted, as a link header.
    pub spared: usize,
    /// How long a packet is on its way.
    pub delay_ns: RangeInclusive<u64>,
    /// How much longer one is that is held back.
    pub held_back_ns: RangeInclusive<u64>,
    /// Packets that may be on their way.
    pub depth: usize,
}

impl Default for LinkConfig {
    /// No faults and no delay.
    fn default() -> Self {
        Self {
            seed: 0,
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            corruption: 0.0,
            spared: 0,
            delay_ns: 0..=0,
            held_back_ns: 0..=0,
            depth: 1024,
        }
    }
}

/// A link cannot be like this.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A probability out of range.
    #[error("{field} is {value}; a probability is from 0 to 1")]
    Probability {
        /// Which one.
        field: &'static str,
        /// What it is.
        value: f64,
    },
    /// A range whose start is behind its end.
    #[error("{0} ends before it starts; give the smaller time first")]
    EmptyRange(&'static str),
}

/// Virtual nanoseconds, moved on by whoever runs the test; clones share it.
#[derive(Clone, Debug, Default)]
pub struct VirtualTime(Arc<AtomicU64>);

impl VirtualTime {
    /// Now.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Moves on by so many nanoseconds.
    pub fn advance(&self, nanoseconds: u64) {
        self.0.fetch_add(nanoseconds, Ordering::AcqRel);
    }
}

/// Both ends of a new link; duplicates are made in buffers of `pool`.
///
/// ```
/// use pipeline::port::{LinkConfig, Receive, RxPort, TxPort, VirtualTime, link};
/// use pipeline::{Burst, Pool, PoolConfig};
/// let pool = Pool::new(PoolConfig { buffers: 4, ..PoolConfig::default() })?;
/// let time = VirtualTime::default();
/// let (mut tx, mut rx) = link(LinkConfig { delay_ns: 50..=50, ..LinkConfig::default() }, &time, pool.clone())?;
/// tx.open();
/// let mut burst = Burst::new();
/// pool.alloc_burst(&mut burst, 2);
/// assert_eq!(tx.transmit(&mut burst), 2);
/// assert_eq!(rx.receive(&mut burst, 32), Receive::Idle, "they are on their way");
/// time.advance(50);
/// assert_eq!(rx.receive(&mut burst, 32), Receive::Packets);
/// assert_eq!(burst.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`LinkError`].
pub fn link(config: LinkConfig, time: &VirtualTime, pool: Pool) -> Result<(LinkTx, LinkRx), LinkError> {
    config.check()?;
    let ring = Arc::new(Ring::with_capacity(RING_BURSTS));
    let tx = LinkTx { ring: Arc::clone(&ring), open: false, sent: 0 };
    let rx = LinkRx {
        ring,
        time: time.clone(),
        pool,
        random: fastrand::Rng::with_seed(config.seed),
        // A packet and its duplicate.
        way: BinaryHeap::with_capacity(config.depth.max(1) + 1),
        config,
        entered: Burst::new(),
        serial: 0,
        last_arrival: 0,
        received: 0,
        faults: Faults::default(),
    };
    Ok((tx, rx))
}

impl LinkConfig {
    fn check(&self) -> Result<(), LinkError> {
        let probabilities = [
            ("loss", self.loss),
            ("duplication", self.duplication),
            ("reordering", self.reordering),
            ("corruption", self.corruption),
        ];
        for (field, value) in probabilities {
            if !(0.0..=1.0).contains(&value) {
                return Err(LinkError::Probability { field, value });
            }
        }
        for (field, range) in [("delay_ns", &self.delay_ns), ("held_back_ns", &self.held_back_ns)] {
            if range.is_empty() {
                return Err(LinkError::EmptyRange(field));
            }
        }
        Ok(())
    }
}

/// The sending end.
#[derive(Debug)]
pub struct LinkTx {
    ring: Arc<Ring>,
    open: bool,
    sent: u64,
}

impl TxPort for LinkTx {
    fn transmit(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let count = burst.len();
        if let Err(back) = self.ring.push(std::mem::take(burst)) {
            *burst = back;
            return 0;
        }
        self.sent += count as u64;
        count
    }

    fn open(&mut self) {
        if !std::mem::replace(&mut self.open, true) {
            self.ring.open();
        }
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            self.ring.close();
        }
    }

    fn account(&self, ledger: &mut Ledger) {
        ledger.sent += self.sent;
    }
}

/// How many packets met which fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Never arrived.
    pub lost: u64,
    /// Arrived twice.
    pub duplicated: u64,
    /// Had bits flipped.
    pub corrupted: u64,
    /// Were held back.
    pub held_back: u64,
}

/// The receiving end.
#[derive(Debug)]
pub struct LinkRx {
    ring: Arc<Ring>,
    time: VirtualTime,
    pool: Pool,
    config: LinkConfig,
    random: fastrand::Rng,
    /// Packets that were looked at, by arrival.
    way: BinaryHeap<Reverse<Waiting>>,
    /// What is left of the burst that came last.
    entered: Burst,
    serial: u64,
    /// Arrival of the last packet that was not held back: none overtakes it.
    last_arrival: u64,
    received: u64,
    faults: Faults,
}

/// A packet on its way, ordered by arrival, then by when it was sent.
#[derive(Debug)]
struct Waiting {
    arrival: u64,
    serial: u64,
    packet: Mbuf,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.arrival, self.serial) == (other.arrival, other.serial)
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.arrival, self.serial).cmp(&(other.arrival, other.serial))
    }
}

impl LinkRx {
    /// How many packets met which fault so far.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// When the next packet arrives of those that were looked at, in virtual nanoseconds.
    #[must_use]
    pub fn next_arrival(&self) -> Option<u64> {
        self.way.peek().map(|Reverse(next)| next.arrival)
    }

    /// The books of the link itself, as a device between two others: what was handed to it, and what became of that. Right
    /// only while no core uses it.
    #[must_use]
    pub fn ledger(&self, tx: &LinkTx) -> Ledger {
        let mut ledger = Ledger { received: tx.sent, sent: self.received, ..Ledger::default() };
        self.account_faults(&mut ledger);
        ledger
    }

    fn account_faults(&self, ledger: &mut Ledger) {
        ledger.held += (self.ring.count_items() + self.entered.len() + self.way.len()) as u64;
        if self.faults.lost > 0 {
            *ledger.dropped.entry("link_lost").or_insert(0) += self.faults.lost;
            let stage = ledger.dropped_by_stage.entry("link").or_default();
            *stage.entry("link_lost").or_insert(0) += self.faults.lost;
        }
        if self.faults.duplicated > 0 {
            *ledger.made.entry("link_duplicate").or_insert(0) += self.faults.duplicated;
        }
    }

    /// Looks at what was sent, as far as there is room on the way.
    fn take_in(&mut self) {
        while self.way.len() < self.config.depth.max(1) {
            if self.entered.is_empty() {
                match self.ring.pop() {
                    Some(burst) => self.entered = burst,
                    None => return,
                }
            }
            let room = self.config.depth.max(1) - self.way.len();
            let mut burst = std::mem::take(&mut self.entered);
            burst.drain_front(room).for_each(|packet| self.send_on_its_way(packet));
            self.entered = burst;
        }
    }

    /// Draws a packet's faults. As many numbers are drawn for each, so that one fault does not change those of others.
    fn send_on_its_way(&mut self, mut packet: Mbuf) {
        let mut draw = |probability: f64| self.random.f64() < probability;
        let config = &self.config;
        let (lost, twice) = (draw(config.loss), draw(config.duplication));
        let (held_back, corrupted) = (draw(config.reordering), draw(config.corruption));
        let delay = self.random.u64(config.delay_ns.clone());
        let longer = self.random.u64(config.held_back_ns.clone());
        let bits = self.random.u64(..);
        if lost {
            self.faults.lost += 1;
            return;
        }
        let mut arrival = self.time.now().saturating_add(delay).max(self.last_arrival);
        if held_back {
            self.faults.held_back += 1;
            arrival = arrival.saturating_add(longer);
        } else {
            self.last_arrival = arrival;
        }
        let copy = if twice { self.copy_of(&packet) } else { None };
        if corrupted && corrupt(&mut packet, self.config.spared, bits) {
            self.faults.corrupted += 1;
        }
        self.queue(packet, arrival);
        if let Some(copy) = copy {
            self.faults.duplicated += 1;
            self.queue(copy, arrival.saturating_add(longer));
        }
    }

    fn queue(&mut self, packet: Mbuf, arrival: u64) {
        let serial = self.serial;
        self.serial += 1;
        self.way.push(Reverse(Waiting { arrival, serial, packet }));
    }

    /// The same packet in buffers of its own; `None` when there are none.
    fn copy_of(&self, packet: &Mbuf) -> Option<Mbuf> {
        let mut copy = self.pool.alloc_copy(&vec_of(packet))?;
        copy.set_number(packet.number());
        copy.set_timestamp_ns(packet.timestamp_ns());
        copy.set_rx_tick(packet.rx_tick());
        copy.set_l2_len(packet.l2_len() as u8);
        Some(copy)
    }
}

/// The bytes of a packet in one piece.
fn vec_of(packet: &Mbuf) -> Vec<u8> {
    packet.segments().flatten().copied().collect()
}

/// Flips one to three bits behind the first `spared` bytes; false when there is nothing behind them.
fn corrupt(packet: &mut Mbuf, spared: usize, bits: u64) -> bool {
    let len = packet.packet_len();
    let Some(range) = len.checked_sub(spared).filter(|&range| range > 0) else { return false };
    for flip in 0..=bits % 3 {
        // 20 bits name a place in packets of any length.
        let word = bits >> (2 + flip * 20);
        let offset = spared + ((word & 0xf_ffff) as usize * range) / (1 << 20);
        let mut byte = [0];
        if packet.copy_out(offset, &mut byte) {
            // Different bits for each flip, so that two do not undo each other.
            byte[0] ^= 1 << ((bits / 3 + flip * 3) & 7);
            let _inside = packet.copy_in(offset, &byte);
        }
    }
    true
}

impl RxPort for LinkRx {
    fn receive(&mut self, burst: &mut Burst<Mbuf>, limit: usize) -> Receive {
        // Asked first: what is pushed before the last sender closes is seen below.
        let closed = self.ring.is_finished();
        self.take_in();
        let (now, limit) = (self.time.now(), limit.min(burst.room()));
        let before = burst.len();
        while burst.len() - before < limit
            && self.next_arrival().is_some_and(|arrival| arrival <= now)
            && let Some(Reverse(next)) = self.way.pop()
        {
            // Room was seen to above.
            drop(burst.push(next.packet));
        }
        self.received += (burst.len() - before) as u64;
        match burst.len() > before {
            true => Receive::Packets,
            false if closed && self.way.is_empty() && self.entered.is_empty() => Receive::End,
            false => Receive::Idle,
        }
    }

    /// What came out at this end.
    fn account(&self, ledger: &mut Ledger) {
        ledger.received += self.received;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PoolConfig;
    use proptest::prelude::*;

    fn pool() -> Pool {
        Pool::new(PoolConfig { buffers: 2048, ..PoolConfig::default() }).unwrap()
    }

    fn numbered(pool: &Pool, number: u32, len: usize) -> Mbuf {
        let bytes: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_mul(7) ^ number as u8).collect();
        let mut packet = pool.alloc_copy(&bytes).unwrap();
        packet.set_number(number);
        packet
    }

    /// Sends `packets` packets of 100 bytes, ten a virtual microsecond; numbers and bytes as they arrive, and the books.
    fn through(config: LinkConfig, packets: u32, limit: usize) -> (Vec<(u32, Vec<u8>)>, Faults, Ledger) {
        let (pool, time) = (pool(), VirtualTime::default());
        let (mut tx, mut rx) = link(config, &time, pool.clone()).unwrap();
        tx.open();
        let (mut sent, mut arrived, mut burst) = (0, Vec::new(), Burst::new());
        loop {
            for _ in 0..10.min(packets - sent) {
                burst.push(numbered(&pool, sent, 100)).unwrap();
                sent += 1;
            }
            while tx.transmit(&mut burst) == 0 && !burst.is_empty() {
                receive(&mut rx, limit, &mut arrived);
                time.advance(100);
            }
            if sent == packets {
                tx.close();
            }
            let end = receive(&mut rx, limit, &mut arrived);
            assert!(rx.ledger(&tx).is_exact());
            if end {
                return (arrived, rx.faults(), rx.ledger(&tx));
            }
            time.advance(1000);
        }
    }

    fn receive(rx: &mut LinkRx, limit: usize, arrived: &mut Vec<(u32, Vec<u8>)>) -> bool {
        let mut burst = Burst::new();
        loop {
            match rx.receive(&mut burst, limit) {
                Receive::Packets => arrived.extend(burst.drain().map(|p| (p.number(), vec_of(&p)))),
                Receive::Idle => return false,
                Receive::End => return true,
            }
        }
    }

    #[test]
    fn a_link_without_faults_brings_everything_in_order() {
        let (arrived, faults, ledger) =
            through(LinkConfig { delay_ns: 10..=9000, ..LinkConfig::default() }, 500, 7);
        assert!(arrived.iter().map(|(number, _)| *number).eq(0..500));
        assert_eq!((faults, ledger.received, ledger.sent), (Faults::default(), 500, 500));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_packet_is_accounted_for_and_the_burst_changes_nothing(
            seed in any::<u64>(), loss in 0.0..0.5, duplication in 0.0..0.5, reordering in 0.0..0.5,
            corruption in 0.0..0.5, limit in 1_usize..=64,
        ) {
            let config = LinkConfig {
                seed, loss, duplication, reordering, corruption, spared: 14,
                delay_ns: 0..=2000, held_back_ns: 1..=5000, depth: 1024,
            };
            let (arrived, faults, ledger) = through(config.clone(), 300, limit);
            let narrow = through(LinkConfig { depth: 3, ..config.clone() }, 300, limit);
            prop_assert!(narrow.2.is_exact() && narrow.1 == faults);
            prop_assert!(ledger.is_exact() && ledger.held == 0, "{ledger:?}");
            prop_assert_eq!(arrived.len() as u64, 300 - faults.lost + faults.duplicated);
            let pool = pool();
            let changed = arrived.iter().filter(|(number, bytes)| *bytes != vec_of(&numbered(&pool, *number, 100)));
            prop_assert!(changed.clone().all(|(_, bytes)| bytes.len() == 100));
            prop_assert_eq!(changed.count() as u64, faults.corrupted);
            prop_assert!(through(config, 300, 64) == (arrived, faults, ledger));
        }
    }

    #[test]
    fn faults_are_about_as_many_as_asked() {
        let config = LinkConfig {
            seed: 1,
            loss: 0.1,
            duplication: 0.2,
            reordering: 0.3,
            corruption: 0.4,
            held_back_ns: 5000..=9000,
            ..LinkConfig::default()
        };
        let (arrived, faults, _) = through(config, 10_000, 32);
        assert!((900..1100).contains(&faults.lost), "{faults:?}");
        assert!(
            (1650..1950).contains(&faults.duplicated) && (2550..2850).contains(&faults.held_back),
            "{faults:?}"
        );
        assert!((3400..3800).contains(&faults.corrupted), "{faults:?}");
        assert!(!arrived.is_sorted_by_key(|(number, _)| *number));
    }

    #[test]
    fn chained_packets_are_copied_and_corrupted_like_others() {
        let (pool, time) = (pool(), VirtualTime::default());
        let config = LinkConfig { duplication: 1.0, corruption: 1.0, spared: 5000, ..LinkConfig::default() };
        let (mut tx, mut rx) = link(config, &time, pool.clone()).unwrap();
        let mut burst = Burst::new();
        burst.push(numbered(&pool, 3, 9000)).unwrap();
        tx.transmit(&mut burst);
        assert_eq!((rx.receive(&mut burst, 2), burst.len()), (Receive::Packets, 2));
        let whole = vec_of(&numbered(&pool, 3, 9000));
        let arrived: Vec<_> = burst.iter().map(vec_of).collect();
        assert_eq!(arrived.iter().filter(|bytes| **bytes == whole).count(), 1);
        assert!(arrived.iter().all(|bytes| bytes.len() == 9000 && bytes[..5000] == whole[..5000]));
    }

    #[test]
    fn what_a_link_cannot_be_is_said_by_name() {
        let error =
            |config| link(config, &VirtualTime::default(), pool()).err().map(|error| error.to_string());
        let none = LinkConfig::default;
        assert_eq!(
            error(LinkConfig { loss: 1.5, ..none() }).unwrap(),
            "loss is 1.5; a probability is from 0 to 1"
        );
        assert!(error(LinkConfig { corruption: f64::NAN, ..none() }).unwrap().contains("corruption"));
        let backwards = RangeInclusive::new(2, 1);
        assert!(error(LinkConfig { delay_ns: backwards, ..none() }).unwrap().contains("delay_ns"));
        assert!(link(none(), &VirtualTime::default(), pool()).is_ok());
    }
}
