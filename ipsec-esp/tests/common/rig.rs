//! Both halves of ESP as stages over one driver, with packets driven through them and their fate read from the books.

use std::net::IpAddr;

use crypto_pmd::drivers::Software;
use crypto_pmd::{Driver, Key, Placement, QueuePairConfig, Registry};
use ipsec_esp::header::esp::Spi;
use ipsec_esp::header::link::Link;
use ipsec_esp::inbound::Inbound;
use ipsec_esp::outbound::Outbound;
use ipsec_esp::sa::{Mode, Offload, SaParams, SaSlot, UdpEncap};
use ipsec_esp::selector::Selector;
use ipsec_esp::spd::{Action, Direction, Policy};
use ipsec_esp::stage::EspStage;
use ipsec_esp::suite::Suite;
use pipeline::stage::Stage;
use pipeline::{Burst, Clock, Ledger, MAX_BURST, Mbuf, Pool, PoolConfig};

use super::frames::{EAST4, EAST6, WEST4, WEST6};
use super::{bytes_of, pattern};

pub(crate) const SPI: u32 = 0x1001;
pub(crate) const NAT_T: u16 = 4500;

/// What became of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It came out, treated in this way.
    Out(&'static str, Vec<u8>),
    Dropped(&'static str),
    Absorbed(&'static str),
}

/// Tunnel over IPv4.
pub(crate) fn tunnel4() -> Mode {
    Mode::Tunnel { src: EAST4.into(), dst: WEST4.into() }
}

/// Tunnel over IPv6.
pub(crate) fn tunnel6() -> Mode {
    Mode::Tunnel { src: EAST6.into(), dst: WEST6.into() }
}

pub(crate) const TRANSPORT: Mode = Mode::Transport { destination: None };

/// An SA with made-up keys, which fits either side.
pub(crate) fn sa(suite: Suite, mode: Mode) -> SaParams {
    SaParams {
        spi: Spi(SPI),
        suite,
        encryption_key: Key::new(&pattern(suite.encryption_key_len(), 3)),
        integrity_key: Key::new(&pattern(suite.integrity_key_len(), 99)),
        mode,
        udp_encap: None,
        esn: false,
        replay_window: 64,
        sequence: 1,
        offload: Offload::default(),
    }
}

/// As [`sa`] for the suite of this name.
pub(crate) fn sa_of(suite: &str, mode: Mode) -> SaParams {
    sa(Suite::parse(suite).unwrap(), mode)
}

pub(crate) fn over_udp(params: SaParams) -> SaParams {
    SaParams { udp_encap: Some(UdpEncap { src_port: NAT_T, dst_port: NAT_T }), ..params }
}

pub(crate) fn new_pool(buffers: usize) -> Pool {
    Pool::new(PoolConfig { buffers, ..PoolConfig::default() }).unwrap()
}

/// ESP out and in over one driver.
pub(crate) struct Rig {
    pub(crate) registry: Registry,
    pub(crate) pool: Pool,
    pub(crate) out: EspStage<Outbound>,
    pub(crate) inn: EspStage<Inbound>,
    /// Packets given to and taken from each half.
    moved: [[u64; 2]; 2],
}

impl Rig {
    /// Neither SAs nor policies.
    pub(crate) fn bare(link: Link, pool: Pool) -> Self {
        Self::over(Software::new(), &QueuePairConfig::default(), link, pool)
    }

    pub(crate) fn over(
        driver: impl Driver + 'static,
        config: &QueuePairConfig,
        link: Link,
        pool: Pool,
    ) -> Self {
        let registry = Registry::new();
        registry.attach(driver).unwrap();
        let mut out = Outbound::new(link, pool.clone()).unwrap();
        out.set_flow_cache(16);
        let inn = Inbound::new(link).unwrap();
        let dispatcher = || registry.dispatcher(config).unwrap();
        Self {
            out: EspStage::new(out, dispatcher(), Clock::new()),
            inn: EspStage::new(inn, dispatcher(), Clock::new()),
            registry,
            pool,
            moved: [[0; 2]; 2],
        }
    }

    /// One SA for every packet, both ways.
    pub(crate) fn new(link: Link, params: &SaParams) -> Self {
        Self::with_pool(link, params, new_pool(256))
    }

    pub(crate) fn with_pool(link: Link, params: &SaParams, pool: Pool) -> Self {
        let mut rig = Self::bare(link, pool);
        rig.protect(params);
        rig
    }

    /// Both halves take every packet with this SA.
    pub(crate) fn protect(&mut self, params: &SaParams) {
        let slot = self.add_out(params);
        self.policy_out(Selector::ANY, protect(&[slot]));
        let slot = self.add_in(params);
        self.policy_in(Selector::ANY, protect(&[slot]));
    }

    pub(crate) fn add_out(&mut self, params: &SaParams) -> SaSlot {
        params.check(false).unwrap();
        let session = self.registry.open(params.session_params(), Placement::Any).unwrap();
        self.out.half_mut().add_sa(params, session)
    }

    pub(crate) fn add_in(&mut self, params: &SaParams) -> SaSlot {
        params.check(true).unwrap();
        let session = self.registry.open(params.session_params(), Placement::Any).unwrap();
        self.inn.half_mut().add_sa(params, session).unwrap()
    }

    pub(crate) fn policy_out(&mut self, selector: Selector, action: Action) {
        let policy = Policy { direction: Direction::Outbound, priority: 100, selector, action };
        self.out.half_mut().spd_mut().add(policy).unwrap();
    }

    pub(crate) fn policy_in(&mut self, selector: Selector, action: Action) {
        let policy = Policy { direction: Direction::Inbound, priority: 100, selector, action };
        self.inn.half_mut().spd_mut().add(policy).unwrap();
    }

    pub(crate) fn packet(&self, bytes: &[u8]) -> Mbuf {
        self.pool.alloc_copy(bytes).unwrap()
    }

    /// Packets through the outbound half, so many at a time.
    pub(crate) fn seal_all(&mut self, packets: Vec<Mbuf>, burst: usize) -> Vec<Mbuf> {
        drive(&mut self.out, &mut self.moved[0], packets, burst)
    }

    /// Packets through the inbound half, so many at a time.
    pub(crate) fn open_all(&mut self, packets: Vec<Mbuf>, burst: usize) -> Vec<Mbuf> {
        drive(&mut self.inn, &mut self.moved[1], packets, burst)
    }

    pub(crate) fn seal_mbuf(&mut self, packet: Mbuf) -> Fate {
        fate(&mut self.out, &mut self.moved[0], packet)
    }

    pub(crate) fn open_mbuf(&mut self, packet: Mbuf) -> Fate {
        fate(&mut self.inn, &mut self.moved[1], packet)
    }

    /// One frame through the outbound half.
    pub(crate) fn seal(&mut self, frame: &[u8]) -> Fate {
        self.seal_mbuf(self.packet(frame))
    }

    /// One frame through the inbound half.
    pub(crate) fn open(&mut self, frame: &[u8]) -> Fate {
        self.open_mbuf(self.packet(frame))
    }

    /// The protected frame of one that must be protected.
    pub(crate) fn sealed(&mut self, frame: &[u8]) -> Vec<u8> {
        match self.seal(frame) {
            Fate::Out("protected", bytes) => bytes,
            other => panic!("expected a protected packet, found {other:?}"),
        }
    }

    /// What came in equals what went out, was dropped, absorbed or is held; and no buffer is lost.
    pub(crate) fn assert_exact(&self) {
        let [out, inn] = self.moved;
        assert_exact(&self.out, out);
        assert_exact(&self.inn, inn);
        if self.out.held() + self.inn.held() == 0 {
            assert_eq!(self.pool.available(), self.pool.buffers(), "a buffer did not come back");
        }
    }
}

/// A policy action with these SAs.
pub(crate) fn protect(slots: &[SaSlot]) -> Action {
    Action::Protect(slots.iter().copied().collect())
}

/// A selector by its addresses.
pub(crate) fn between(src: &str, dst: &str) -> Selector {
    Selector::parse(src, dst, "any", "any", "any").unwrap()
}

pub(crate) fn address(bytes: &[u8]) -> IpAddr {
    match <[u8; 4]>::try_from(bytes) {
        Ok(v4) => v4.into(),
        Err(_) => <[u8; 16]>::try_from(bytes).unwrap().into(),
    }
}

/// The books of one stage alone, with what was given to and taken from it.
pub(crate) fn books(stage: &impl Stage, [received, sent]: [u64; 2]) -> Ledger {
    let mut ledger = Ledger { received, sent, ..Ledger::default() };
    stage.account(&mut ledger);
    ledger
}

fn assert_exact(stage: &impl Stage, moved: [u64; 2]) {
    let ledger = books(stage, moved);
    assert!(ledger.is_exact(), "{ledger:?}");
    assert_eq!(ledger.sent_by.values().sum::<u64>(), ledger.sent, "{ledger:?}");
}

/// Offers packets until all went in and nothing is held.
fn drive(stage: &mut impl Stage, moved: &mut [u64; 2], packets: Vec<Mbuf>, burst: usize) -> Vec<Mbuf> {
    let (mut input, mut output, mut done) = (Burst::new(), Burst::new(), Vec::new());
    let mut packets = packets.into_iter().peekable();
    moved[0] += packets.len() as u64;
    for _ in 0..1_000_000 {
        while input.len() < burst.min(MAX_BURST) {
            let Some(packet) = packets.next() else { break };
            input.push(packet).unwrap();
        }
        stage.process(&mut input, &mut output);
        done.extend(output.drain());
        if input.is_empty() && packets.peek().is_none() && stage.held() == 0 {
            moved[1] += done.len() as u64;
            return done;
        }
    }
    panic!("packets stay inside: {} held", stage.held());
}

/// Sends one packet through and reads from the books what became of it; it must be exactly one thing.
fn fate(stage: &mut impl Stage, moved: &mut [u64; 2], packet: Mbuf) -> Fate {
    let before = books(stage, *moved);
    let out = drive(stage, moved, vec![packet], 1);
    let after = books(stage, *moved);
    let sent = gained(&before.sent_by, &after.sent_by).map(|name| Fate::Out(name, Vec::new()));
    let dropped = gained(&before.dropped, &after.dropped).map(Fate::Dropped);
    let absorbed = gained(&before.absorbed, &after.absorbed).map(Fate::Absorbed);
    let fates: Vec<Fate> = sent.chain(dropped).chain(absorbed).collect();
    assert_eq!(fates.len(), 1, "one packet, one fate: {fates:?}");
    match (&fates[0], out.as_slice()) {
        (Fate::Out(name, _), [packet]) => Fate::Out(name, bytes_of(packet)),
        (Fate::Dropped(_) | Fate::Absorbed(_), []) => fates[0].clone(),
        (fate, out) => panic!("{fate:?}, but {} packets came out", out.len()),
    }
}

type Named = std::collections::BTreeMap<&'static str, u64>;

/// The names under which more was counted, once for each packet.
fn gained(before: &Named, after: &Named) -> impl Iterator<Item = &'static str> {
    let before = before.clone();
    after.clone().into_iter().flat_map(move |(name, count)| {
        let more = count - before.get(name).copied().unwrap_or(0);
        std::iter::repeat_n(name, more as usize)
    })
}
