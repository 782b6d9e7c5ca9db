//! A card as a port in virtual time. The far end sends everything back that leaves the card, so that what one SA of a pair seals, the other one opens;
//! it looks at the numbers on the way, sends old frames once more, and some with a flipped bit.
//!
//! ESP of inline crypto is built here, by hand.

use std::collections::{BTreeMap, VecDeque};

use crypto_pmd::drivers::nic::{
    Card, CardConfig, Engine, Engines, Faults, Health, Nic, NicConfig, NicRx, NicTx, Profile, WireRx, WireTx,
};
use crypto_pmd::inline::{
    InboundState, InlineMode, InlineSa, OutboundState, RxOutcome, RxReport, SaState, Service, TxOffload,
};
use crypto_pmd::{Driver as _, SessionParams};
use pipeline::clock::Hand;
use pipeline::port::{RxPort, TxPort};
use pipeline::{Burst, Clock, Ledger, MAX_BURST, Mbuf, Pool, PoolConfig};

use super::{WATCHDOG, gcm, small};

pub(crate) const PROTOCOL_SPI: u32 = 0x1001;
pub(crate) const CRYPTO_SPI: u32 = 0x2002;
/// Where the numbers of inline protocol start: they wrap soon.
pub(crate) const START: u64 = (1 << 32) - 40;

pub(crate) fn nic_profile() -> Profile {
    let mut card = small("services = [\"lookaside\", \"inline-crypto\", \"inline-protocol\"]");
    assert_eq!(card.queues, 2);
    // More buffers than frames are under way when the far end sends everything back at once.
    card.ring_depth = 256;
    card
}

pub(crate) fn out(spi: u32, session: SessionParams, esn: bool, next: u64) -> InlineSa {
    InlineSa {
        spi,
        destination: None,
        session,
        esn,
        mode: InlineMode::Tunnel { src: [192, 0, 2, 1].into(), dst: [192, 0, 2, 2].into() },
        udp: None,
        replay_window: 64,
        state: OutboundState { next_sequence: next }.into(),
    }
}

/// The other end of an SA.
pub(crate) fn inn(sa: &InlineSa) -> InlineSa {
    let SaState::Outbound(state) = sa.state else { panic!("an SA that sends") };
    let highest = state.next_sequence - 1;
    InlineSa { state: InboundState { highest, bitmap: vec![u64::MAX] }.into(), ..sa.clone() }
}

/// An Ethernet frame of UDP in IPv4 that carries a number and some more bytes.
pub(crate) fn plain(id: u64, more: usize) -> Vec<u8> {
    let payload: Vec<u8> =
        id.to_be_bytes().into_iter().chain((0..more).map(|at| (id as usize * 31 + at) as u8)).collect();
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0][..], &ipv4(17, [10, 0, 0, 1], [10, 0, 0, 2], &udp(&payload))]
        .concat()
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let len = 8 + payload.len() as u16;
    [&[1, 2, 3, 4][..], &len.to_be_bytes(), &[0, 0], payload].concat()
}

pub(crate) fn ipv4(protocol: u8, src: [u8; 4], dst: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let len = 20 + payload.len() as u16;
    let mut ip = vec![0x45, 0, (len >> 8) as u8, len as u8, 0, 1, 0, 0, 64, protocol, 0, 0];
    ip.extend(src.iter().chain(&dst));
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    ip[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    ip.extend(payload);
    ip
}

/// The frame of a plain one that a host leaves to a card's inline crypto: all of ESP but cipher and ICV.
pub(crate) fn esp_frame(frame: &[u8], spi: u32, number: u64) -> Vec<u8> {
    let inner = &frame[14..];
    let pad = (4 - (inner.len() + 2) % 4) % 4;
    let esp: Vec<u8> =
        [&spi.to_be_bytes()[..], &(number as u32).to_be_bytes(), &number.to_be_bytes(), inner].concat();
    let esp = [&esp[..], &(1..=pad as u8).collect::<Vec<_>>(), &[pad as u8, 4], &[0; 16]].concat();
    [&frame[..14], &ipv4(50, [192, 0, 2, 1], [192, 0, 2, 2], &esp)].concat()
}

/// The number in an ESP frame whose cipher has it as its IV.
pub(crate) fn spi_and_number(frame: &[u8]) -> Option<(u32, u64)> {
    let is_esp = frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&50);
    let esp = frame.get(34..50).filter(|_| is_esp)?;
    Some((u32::from_be_bytes(esp[..4].try_into().unwrap()), u64::from_be_bytes(esp[8..].try_into().unwrap())))
}

fn id_of(plain: &[u8]) -> u64 {
    u64::from_be_bytes(plain[42..50].try_into().unwrap())
}

/// What is asked of the card for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ask {
    Nothing,
    Crypto,
    Protocol,
}

pub(crate) struct PortRig {
    pub(crate) hand: Hand,
    pub(crate) clock: Clock,
    pub(crate) card: Card,
    pub(crate) engine: Engine,
    pub(crate) nic: Nic,
    pub(crate) rx: NicRx,
    pub(crate) tx: NicTx,
    pub(crate) far_rx: WireRx,
    pub(crate) far_tx: WireTx,
    pub(crate) pool: Pool,
    far_pool: Pool,
    pub(crate) random: fastrand::Rng,
    /// Slots of the SAs that send.
    pub(crate) crypto_slot: u32,
    pub(crate) protocol_slot: u32,
    pub(crate) inbound_slot: u32,
    pub(crate) next_id: u64,
    next_number: u64,
    waiting: Burst,
    /// What comes back to the card.
    pub(crate) back: VecDeque<Mbuf>,
    /// Frames of inline protocol that were on the wire, to come again.
    seen: Vec<Vec<u8>>,
    /// The last number on the wire, by SPI.
    last: BTreeMap<u32, u64>,
    pub(crate) offered: u64,
    /// What came back to the host, by what was asked for it: numbers of frames, and how often each.
    pub(crate) came: BTreeMap<(Ask, u64), u32>,
    /// How the card reported of frames that it did not let in.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Whether the far end makes trouble.
    pub(crate) trouble: bool,
    pub(crate) trace: u64,
}

impl PortRig {
    pub(crate) fn new(profile: &Profile, seed: u64) -> Self {
        Self::with_depth(profile, seed, 200)
    }

    pub(crate) fn with_depth(profile: &Profile, seed: u64, depth: usize) -> Self {
        let (clock, hand) = Clock::manual();
        let config = CardConfig { engines: Engines::Software, faults: Faults::none(), clock: clock.clone() };
        let (card, engine) = Card::new(profile.clone(), config).unwrap();
        let config = NicConfig {
            watchdog: WATCHDOG,
            patience: std::time::Duration::from_micros(100),
            copies: 64,
            ..NicConfig::default()
        };
        let nic = Nic::new(&card, config).unwrap();
        let new_pool = || Pool::new(PoolConfig { buffers: 2048, stride: 2368 }).unwrap();
        let (pool, far_pool) = (new_pool(), new_pool());
        let (far_rx, far_tx) = card.wire(far_pool.clone()).unwrap();
        let (rx, tx) = nic.ports(pool.clone(), depth).unwrap();
        let protocol = out(PROTOCOL_SPI, gcm(7), true, START);
        let crypto = out(CRYPTO_SPI, gcm(9), false, 1);
        let protocol_slot = nic.install(Service::Protocol, &protocol).unwrap();
        let crypto_slot = nic.install(Service::Crypto, &crypto).unwrap();
        let inbound_slot = nic.install(Service::Protocol, &inn(&protocol)).unwrap();
        nic.install(Service::Crypto, &inn(&crypto)).unwrap();
        Self {
            hand,
            clock,
            card,
            engine,
            nic,
            rx,
            tx,
            far_rx,
            far_tx,
            pool,
            far_pool,
            random: fastrand::Rng::with_seed(seed),
            crypto_slot,
            protocol_slot,
            inbound_slot,
            next_id: 1,
            next_number: 1,
            waiting: Burst::new(),
            back: VecDeque::new(),
            seen: Vec::new(),
            last: BTreeMap::new(),
            offered: 0,
            came: BTreeMap::new(),
            refused: BTreeMap::new(),
            trouble: true,
            trace: 0,
        }
    }

    pub(crate) fn request(&self, service: Service) -> TxOffload {
        let slot = if service == Service::Crypto { self.crypto_slot } else { self.protocol_slot };
        TxOffload { service, slot, esn_high: 0 }
    }

    /// A frame with a request, as the host hands it over.
    pub(crate) fn frame(&mut self, ask: Ask) -> Mbuf {
        let (id, more) = (self.next_id, self.random.usize(0..=400));
        self.next_id += 1;
        let plain = plain(id, more);
        let bytes = if ask == Ask::Crypto { esp_frame(&plain, CRYPTO_SPI, self.next_number) } else { plain };
        self.next_number += u64::from(ask == Ask::Crypto);
        let mut packet = if self.random.u8(0..8) == 0 {
            let cut = self.random.usize(1..bytes.len());
            let mut first = self.pool.alloc_copy(&bytes[..cut]).unwrap();
            first.chain(self.pool.alloc_copy(&bytes[cut..]).unwrap()).unwrap();
            first
        } else {
            self.pool.alloc_copy(&bytes).unwrap()
        };
        packet.set_l2_len(14);
        match ask {
            Ask::Nothing => {}
            Ask::Crypto => self.request(Service::Crypto).write(&mut packet),
            Ask::Protocol => self.request(Service::Protocol).write(&mut packet),
        }
        packet
    }

    /// Makes up to `most` frames and sends what the port takes.
    pub(crate) fn offer(&mut self, most: usize) {
        for _ in 0..self.random.usize(0..=most).min(self.waiting.room()) {
            let ask = [Ask::Nothing, Ask::Crypto, Ask::Protocol, Ask::Protocol][self.random.usize(0..4)];
            let frame = self.frame(ask);
            self.waiting.push(frame).unwrap();
        }
        self.offered += self.tx.transmit(&mut self.waiting) as u64;
    }

    /// The far end: looks at what left, and sends it back.
    fn reflect(&mut self) {
        let mut burst = Burst::new();
        self.far_rx.receive(&mut burst, MAX_BURST);
        for frame in burst.drain() {
            let bytes = frame.data().to_vec();
            if let Some((spi, number)) = spi_and_number(&bytes) {
                let last = self.last.insert(spi, number);
                assert!(last.is_none_or(|last| last < number), "SPI {spi:#x}: {number} after {last:?}");
                if spi == PROTOCOL_SPI {
                    self.seen.push(bytes.clone());
                }
            }
            self.back.push_back(frame);
            if self.trouble && !self.seen.is_empty() && self.random.u8(0..8) == 0 {
                let old = &self.seen[self.random.usize(..self.seen.len())];
                self.back.extend(self.far_pool.alloc_copy(old));
            }
            if self.trouble && spi_and_number(&bytes).is_some() && self.random.u8(0..16) == 0 {
                let mut flipped = bytes;
                // Not in the addresses, the SPI or the number.
                let at = self.random.usize(42..flipped.len());
                flipped[at] ^= 1 << self.random.u8(0..8);
                self.back.extend(self.far_pool.alloc_copy(&flipped));
            }
        }
        let mut burst = Burst::new();
        // Fewer than the host has buffers posted and takes in a step.
        while burst.len() < 24
            && let Some(frame) = self.back.pop_front()
        {
            burst.push(frame).unwrap();
        }
        self.far_tx.transmit(&mut burst);
        burst.drain().rev_into(&mut self.back);
    }

    pub(crate) fn receive(&mut self) -> Vec<Mbuf> {
        let (mut burst, mut all) = (Burst::new(), Vec::new());
        self.rx.receive(&mut burst, 32);
        all.extend(burst.drain());
        all
    }

    /// Checks what came to the host.
    fn settle(&mut self, mut packet: Mbuf) {
        let report = RxReport::take(&mut packet);
        let bytes = packet.data().to_vec();
        let ask = match report {
            None => Ask::Nothing,
            Some(report) if report.outcome != RxOutcome::Ok => {
                *self.refused.entry(name_of(report.outcome)).or_default() += 1;
                return;
            }
            Some(report) if report.service == Service::Crypto => Ask::Crypto,
            Some(report) => {
                assert_eq!((report.slot, report.esn_high), (self.inbound_slot, 0));
                Ask::Protocol
            }
        };
        let inner = if ask == Ask::Crypto { [&bytes[..14], &bytes[50..]].concat() } else { bytes };
        if ask == Ask::Nothing && spi_and_number(&inner).is_some() {
            *self.refused.entry("unknown").or_default() += 1;
            return;
        }
        let id = id_of(&inner);
        let more = usize::from(u16::from_be_bytes([inner[16], inner[17]])) - 20 - 8 - 8;
        assert_eq!(inner[..50 + more], plain(id, more), "{ask:?}: frame {id} is not what was sent");
        *self.came.entry((ask, id)).or_default() += 1;
        self.trace = self.trace.rotate_left(7) ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// Time goes on.
    pub(crate) fn step(&mut self, ns: u64) {
        self.hand.advance(ns);
        self.engine.step();
        self.reflect();
        self.engine.step();
        for packet in self.receive() {
            self.settle(packet);
        }
    }

    pub(crate) fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.card.counters().into_iter().collect()
    }

    /// The books of both ends of the host's port.
    pub(crate) fn ledgers(&self) -> (Ledger, Ledger) {
        let (mut tx, mut rx) = (Ledger::default(), Ledger::default());
        self.tx.account(&mut tx);
        self.rx.account(&mut rx);
        (tx, rx)
    }

    /// Sends so many frames more, and lets everything come to its end.
    pub(crate) fn run(&mut self, frames: u64, bound: u64) {
        let (end, frames) = (self.clock.tick() + bound, self.offered + frames);
        while self.offered < frames {
            assert!(
                self.clock.tick() < end,
                "{} of {frames}: {:?} {:?}",
                self.offered,
                self.counters(),
                self.nic.counters()
            );
            self.offer(12);
            let ns = self.random.u64(1..=8_000);
            self.step(ns);
        }
        self.settle_down(bound);
    }

    /// Until nothing is under way any more.
    pub(crate) fn settle_down(&mut self, bound: u64) {
        let end = self.clock.tick() + bound;
        let mut quiet = 0;
        while quiet < 400 {
            assert!(
                self.clock.tick() < end,
                "frames hang: {:?} {:?} {:?}",
                self.ledgers(),
                self.counters(),
                self.nic.counters()
            );
            self.offered += self.tx.transmit(&mut self.waiting) as u64;
            self.step(1_000);
            let is_idle = self.tx.in_flight() == 0 && self.waiting.is_empty() && self.back.is_empty();
            quiet = if is_idle && self.nic.health() == Health::Working { quiet + 1 } else { 0 };
        }
    }

    /// Each frame is accounted for, by the host, by the card, and at the far end.
    pub(crate) fn assert_exact(&self) {
        let ((tx, rx), card) = (self.ledgers(), self.counters());
        let about = || format!("{tx:?} {rx:?} {card:?} {:?}", self.nic.counters());
        let of = |name: &str| card.get(name).copied().unwrap_or(0);
        let sum = |names: &[&str]| names.iter().map(|name| of(name)).sum::<u64>();
        let dropped: u64 = tx.dropped.values().sum();
        assert_eq!(self.offered, tx.sent + dropped + tx.held, "{}", about());
        assert_eq!(tx.held, 0, "{}", about());
        assert_eq!(
            of("tx_frames"),
            sum(&["tx_sent", "tx_refused", "tx_lost", "tx_link_down"]),
            "{}",
            about()
        );
        let rx_ends =
            ["rx_delivered", "no_rx_buffer", "rx_link_down", "rx_lost", "rx_too_long", "rx_dummies"];
        assert_eq!(of("rx_frames"), sum(&rx_ends), "{}", about());
        let (mut far_in, mut far_out) = (Ledger::default(), Ledger::default());
        self.far_rx.account(&mut far_in);
        self.far_tx.account(&mut far_out);
        assert_eq!(of("tx_sent"), far_in.received, "{}", about());
        assert_eq!(of("rx_frames"), far_out.sent, "{}", about());
        // What may have gone out lies between what certainly did and that with what is not known.
        let unknown = tx.dropped.get("nic_reset").copied().unwrap_or(0);
        assert!((tx.sent..=tx.sent + unknown).contains(&far_in.received), "{}", about());
        assert_eq!(of("rx_delivered"), rx.received, "{}", about());
        assert_eq!(rx.held, 0, "{}", about());
        // Inline protocol lets nothing in twice; nothing else was sent twice.
        for ((ask, id), times) in &self.came {
            assert_eq!(*times, 1, "{ask:?} {id}: {}", about());
        }
    }

    /// The end: every buffer comes home.
    pub(crate) fn close(self) {
        let Self { mut engine, nic, rx, tx, pool, far_pool, far_rx, far_tx, waiting, back, hand, .. } = self;
        drop((rx, tx, waiting, back));
        for _ in 0..1000 {
            hand.advance(1_000);
            engine.step();
            nic.collect();
        }
        assert_eq!((nic.collect(), pool.available()), (0, pool.buffers()));
        drop((far_rx, far_tx));
        assert_eq!(far_pool.available(), far_pool.buffers());
    }
}

trait Back {
    fn rev_into(self, to: &mut VecDeque<Mbuf>);
}

impl<I: Iterator<Item = Mbuf>> Back for I {
    /// To the front again, in order.
    fn rev_into(self, to: &mut VecDeque<Mbuf>) {
        let all: Vec<_> = self.collect();
        all.into_iter().rev().for_each(|frame| to.push_front(frame));
    }
}

fn name_of(outcome: RxOutcome) -> &'static str {
    match outcome {
        RxOutcome::Ok => "ok",
        RxOutcome::IntegrityFailed => "integrity_failed",
        RxOutcome::Replayed => "replayed",
        RxOutcome::TooOld => "too_old",
        RxOutcome::Malformed => "malformed",
        RxOutcome::Failed => "failed",
    }
}
